"""AWS tells SAM the values of a template's parameters. The emulator tells it none, so SAM takes the
defaults where it needs a value, in an API's CORS settings for one. This fix hides the defaults from
SAM: the parameters stay in the template, and get their values with the rest."""

import samtranslator.translator.transform as sam


def apply():
    transform = sam.transform

    def transform_without_defaults(template, *args, **kwargs):
        parameters = template.get("Parameters", {})
        undecided = {name: {"Type": it["Type"]} for name, it in parameters.items()}
        transformed = transform({**template, "Parameters": undecided}, *args, **kwargs)
        return {**transformed, "Parameters": parameters}

    sam.transform = transform_without_defaults
