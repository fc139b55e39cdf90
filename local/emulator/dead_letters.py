"""Dead letters of EventBridge and of EventBridge Scheduler: the cause is in the attributes of the message."""

from ministack.services import sqs


def send(queue, body, code, **attributes):
    """Sends a dead letter to a queue."""
    attributes = {
        "ERROR_CODE": code,
        "ERROR_MESSAGE": f"{code}: the target was not called",
        "EXHAUSTED_RETRY_CONDITION": "NonRetryableError",
        "RETRY_ATTEMPTS": "0",
        **attributes,
    }
    strings = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    sqs._act_send_message({"MessageBody": body, "MessageAttributes": strings}, queue["url"])
