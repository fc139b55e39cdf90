"""Fix: the limits of SQS on messages in flight, delays and visibility timeouts.

The emulator accepts every delay and every visibility timeout, and delivers any number of messages. AWS refuses
(SQS API reference, "SendMessage", "ReceiveMessage" and "ChangeMessageVisibility"; SQS developer guide, "Amazon SQS
standard queue quotas"):
- a delay of more than 15 minutes, a long poll of more than 20 seconds;
- a visibility timeout that ends more than 12 hours after the receive, and any timeout of a message that is not in
  flight;
- more than 120,000 messages in flight: a long poll, as by Lambda, then returns no message, a short poll fails.
This fix adds these limits.
"""

import time

from ministack.services import sqs

MAX_DELAY_SECONDS = 15 * 60
MAX_WAIT_SECONDS = 20
MAX_VISIBILITY_SECONDS = 12 * 60 * 60
MAX_IN_FLIGHT = 120_000


def apply():
    _limit_sends()
    _limit_receives()
    _limit_visibility()


def _limit_sends():
    send = sqs._act_send_message

    def send_within_limits(data, url):
        _check("DelaySeconds", data.get("DelaySeconds"), MAX_DELAY_SECONDS)
        return send(data, url)

    _replace("SendMessage", "_act_send_message", send_within_limits)


def _limit_receives():
    collect, receive = sqs._collect_msgs, sqs._act_receive_message

    def collect_within_limits(queue, count, timeout):
        messages = collect(queue, max(0, min(count, MAX_IN_FLIGHT - _in_flight(queue))), timeout)
        for message in messages:
            message["received_at"] = time.time()
        return messages

    async def receive_within_limits(data, url):
        _check("VisibilityTimeout", data.get("VisibilityTimeout"), MAX_VISIBILITY_SECONDS)
        _check("WaitTimeSeconds", data.get("WaitTimeSeconds"), MAX_WAIT_SECONDS)
        queue = sqs._get_q(data.get("QueueUrl", url), "sqs:ReceiveMessage")
        wait = data.get("WaitTimeSeconds", queue["attributes"].get("ReceiveMessageWaitTimeSeconds", 0))
        if int(wait) == 0 and _in_flight(queue) >= MAX_IN_FLIGHT:
            raise sqs._Err("OverLimit", "Too many messages in flight.", 403)
        return await receive(data, url)

    sqs._collect_msgs = collect_within_limits
    _replace("ReceiveMessage", "_act_receive_message", receive_within_limits)


def _limit_visibility():
    change, change_batch = sqs._act_change_visibility, sqs._act_change_visibility_batch

    def change_within_limits(data, url):
        queue = sqs._get_q(data.get("QueueUrl", url), "sqs:ChangeMessageVisibility")
        _check_visibility(queue, data)
        return change(data, url)

    def change_batch_within_limits(data, url):
        """Each entry has a result of its own."""
        queue = sqs._get_q(data.get("QueueUrl", url), "sqs:ChangeMessageVisibility")
        accepted, refused = [], []
        for entry in data.get("Entries", []):
            try:
                _check_visibility(queue, entry)
                accepted.append(entry)
            except sqs._Err as error:
                fault = {"Code": error.code, "Message": error.message, "SenderFault": True}
                refused.append({"Id": entry.get("Id", ""), **fault})
        if not refused:
            return change_batch(data, url)
        result = change_batch({**data, "Entries": accepted}, url) if accepted else {"Successful": [], "Failed": []}
        return {**result, "Failed": [*result["Failed"], *refused]}

    _replace("ChangeMessageVisibility", "_act_change_visibility", change_within_limits)
    _replace("ChangeMessageVisibilityBatch", "_act_change_visibility_batch", change_batch_within_limits)


def _check_visibility(queue, request):
    seconds, handle = request.get("VisibilityTimeout"), request.get("ReceiptHandle")
    _check("VisibilityTimeout", seconds, MAX_VISIBILITY_SECONDS)
    message = next((it for it in queue["messages"] if handle and it["receipt_handle"] == handle), None)
    if message is None:
        return  # The emulator refuses an unknown receipt handle.
    now = time.time()
    if message["visible_at"] <= now:
        reason = "Message does not exist or is not available for visibility timeout change."
        raise _invalid("ReceiptHandle", handle, reason)
    if now + int(seconds) > message.get("received_at", now) + MAX_VISIBILITY_SECONDS:
        limit = f"Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_SECONDS} seconds]"
        raise _invalid("VisibilityTimeout", seconds, limit)


def _in_flight(queue):
    if len(queue["messages"]) < MAX_IN_FLIGHT:
        return 0  # There is room for all, so the exact number does not matter.
    now = time.time()
    return sum(message["visible_at"] > now and message.get("receive_count", 0) > 0 for message in queue["messages"])


def _check(name, value, maximum):
    if value is not None and not 0 <= int(value) <= maximum:
        raise _invalid(name, value, f"Must be between 0 and {maximum}, if provided.")


def _invalid(name, value, reason):
    return sqs._Err("InvalidParameterValue", f"Value {value} for parameter {name} is invalid. Reason: {reason}")


def _replace(action, name, function):
    sqs._HANDLERS[action] = function
    setattr(sqs, name, function)
