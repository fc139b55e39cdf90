"""Fix: functions receive the messages of a queue in any order.

A standard queue delivers in any order (SQS developer guide, "Amazon SQS standard queues"), so events of a bus reach a
function in any order too. The emulator delivers in the order of sending. This fix selects the messages of each
delivery to a function at random. Other receivers, the tests among them, still receive in the order of sending.
"""

import contextvars
import random

from ministack.services import sqs

_to_function = contextvars.ContextVar("to_function", default=False)


def apply():
    receive, collect = sqs._receive_messages_for_esm, sqs._collect_msgs

    def receive_in_any_order(*args):
        token = _to_function.set(True)
        try:
            return receive(*args)
        finally:
            _to_function.reset(token)

    def collect_in_any_order(queue, *args):
        if not _to_function.get() or queue["is_fifo"]:
            return collect(queue, *args)
        messages = random.sample(queue["messages"], len(queue["messages"]))
        return collect({**queue, "messages": messages}, *args)

    sqs._receive_messages_for_esm, sqs._collect_msgs = receive_in_any_order, collect_in_any_order
