"""Fix: templates with CodeDeploy are deployable.

On AWS CodeDeploy moves the traffic of an alias to a new version step by step. The emulator lacks CodeDeploy
and rejects such a template. This fix removes CodeDeploy from the template and points each alias to `$LATEST`:
a manual change of code or settings takes effect at once.
"""

import samtranslator.translator.transform as sam


def apply():
    transform = sam.transform
    sam.transform = lambda *args, **kwargs: without_codedeploy(transform(*args, **kwargs))


def without_codedeploy(template):
    """Returns the template without CodeDeploy, with all aliases on `$LATEST`."""
    resources = template["Resources"]
    for name in [name for name, resource in resources.items() if resource["Type"].startswith("AWS::CodeDeploy::")]:
        del resources[name]
    for resource in resources.values():
        resource.get("UpdatePolicy", {}).pop("CodeDeployLambdaAliasUpdate", None)
        if resource["Type"] == "AWS::Lambda::Alias":
            resource["Properties"]["FunctionVersion"] = "$LATEST"
    return template
