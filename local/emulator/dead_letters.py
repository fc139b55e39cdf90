"""Dead letters of EventBridge and of EventBridge Scheduler: the cause is in the attributes of the message."""

from ministack.core.arn import parse_arn
from ministack.services import eventbridge, sqs


def send(queue_arn, body, code, **attributes):
    """Sends a dead letter to a queue. The caller has checked the permission."""
    attributes = {
        "ERROR_CODE": code,
        "ERROR_MESSAGE": f"{code}: the target was not called",
        "EXHAUSTED_RETRY_CONDITION": "NonRetryableError",
        "RETRY_ATTEMPTS": "0",
        **attributes,
    }
    eventbridge._dispatch_to_sqs(parse_arn(queue_arn), body)
    message = next(it for it in reversed(sqs._queue_by_arn(queue_arn)["messages"]) if it["body"] == body)
    message["message_attributes"] = {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }
