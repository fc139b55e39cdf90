"""AWS moves an alias's calls to a new version step by step, with CodeDeploy. The emulator knows no
CodeDeploy and refuses a template that names it. This fix leaves it out, and lets an alias follow the
newest code and settings, so that a change made by hand on this machine takes effect at once."""

import samtranslator.translator.transform as sam


def apply():
    transform = sam.transform
    sam.transform = lambda *args, **kwargs: at_once(transform(*args, **kwargs))


def at_once(template):
    """The template without CodeDeploy, and with aliases of the newest."""
    resources = template["Resources"]
    for name in [name for name, resource in resources.items() if resource["Type"].startswith("AWS::CodeDeploy::")]:
        del resources[name]
    for resource in resources.values():
        resource.get("UpdatePolicy", {}).pop("CodeDeployLambdaAliasUpdate", None)
        if resource["Type"] == "AWS::Lambda::Alias":
            resource["Properties"]["FunctionVersion"] = "$LATEST"
    return template
