"""Fix: the concurrency of an event source mapping can come from a parameter.

A parameter is a text. AWS converts it to the type of the property (CloudFormation template reference, "Parameters");
the emulator keeps the text, and then delivers no message of any queue. This fix converts `MaximumConcurrency`.
"""

from ministack.services.cloudformation import provisioners

HANDLERS = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]


def apply():
    for name in ("create", "update"):
        if name in HANDLERS:
            HANDLERS[name] = _with_numbers(HANDLERS[name])


def _with_numbers(handler):
    return lambda *arguments: handler(*(_converted(it) if isinstance(it, dict) else it for it in arguments))


def _converted(properties):
    scaling = properties.get("ScalingConfig")
    if not scaling or "MaximumConcurrency" not in scaling:
        return properties
    return {**properties, "ScalingConfig": {**scaling, "MaximumConcurrency": int(scaling["MaximumConcurrency"])}}
