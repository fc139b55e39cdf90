"""Fix: an event has the time of its entry, and a call has a size limit.

`PutEvents` takes the time of each event from its entry, and refuses a call of 1 MB or more (EventBridge API reference,
"PutEvents"; EventBridge user guide, "Calculating PutEvents event entry size"). The emulator uses the time of the call,
and accepts every size.
"""

import contextvars
import json

from ministack.services import eventbridge

MAX_BYTES = 1024 * 1024
TIME_BYTES = 14

_time = contextvars.ContextVar("time", default=None)


def apply():
    put_events, now = eventbridge._put_events, eventbridge._now_ts

    def put_events_as_sent(data, **options):
        entries = data.get("Entries", [])
        if sum(map(_size, entries)) >= MAX_BYTES:
            message = "Total size of the entries in the request is over the limit."
            return eventbridge.error_response_json("ValidationException", message, 400)
        if not 1 <= len(entries) <= 10:
            return put_events(data, **options)
        answers = [json.loads(_put_at(entry.get("Time"), put_events, entry, options)) for entry in entries]
        failed = sum(answer["FailedEntryCount"] for answer in answers)
        results = [result for answer in answers for result in answer["Entries"]]
        return eventbridge.json_response({"FailedEntryCount": failed, "Entries": results})

    eventbridge._put_events = put_events_as_sent
    eventbridge._now_ts = lambda: now() if _time.get() is None else float(_time.get())


def _put_at(time, put_events, entry, options):
    """Puts an event with this time. Returns the body of the response."""
    token = _time.set(time)
    try:
        _, _, body = put_events({"Entries": [entry]}, **options)
        return body
    finally:
        _time.reset(token)


def _size(entry):
    texts = [entry.get("Source"), entry.get("DetailType"), entry.get("Detail"), *entry.get("Resources", [])]
    return TIME_BYTES * ("Time" in entry) + sum(len(text.encode()) for text in texts if text)
