"""Fix: SAM does not replace parameters by their defaults.

AWS passes the parameter values of a template to SAM. The emulator passes none, so SAM inserts the defaults
where it needs a value, for example in the CORS settings of an API. This fix hides the defaults from SAM: the
parameters stay in the template and are resolved later with all others.
"""

import samtranslator.translator.transform as sam


def apply():
    transform = sam.transform

    def transform_without_defaults(template, *args, **kwargs):
        parameters = template.get("Parameters", {})
        without_defaults = {name: {"Type": parameter["Type"]} for name, parameter in parameters.items()}
        transformed = transform({**template, "Parameters": without_defaults}, *args, **kwargs)
        return {**transformed, "Parameters": parameters}

    sam.transform = transform_without_defaults
