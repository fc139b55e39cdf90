"""Fix: stored state survives a crash.

AWS never loses an acknowledged write. The emulator saves its state only when stopped in good order, and
never saves its streams. This fix appends all changes to a journal file before each response. The
emulator can be killed at any moment: a change that is not complete in the file was never acknowledged,
and each change in the file is consistent.

The cost of a change must not grow with the amount of data, so only changed rows are written. Items are
tracked when set or removed. Code that changes a queue, a schedule, a stream position or a transaction
token reads it from its dictionary first: each entry read is compared with its stored row. All other
state changes only in requests of its own, after which all of it is compared.

Changes during a deployment are written together at its end, because the emulator cannot continue half a
deployment.

Threads beside the event loop poll schedules and queues. Their changes are written within 0.1 s. `LOCK`
keeps each of their operations in one piece.
"""

import asyncio
import re
from pathlib import Path

from ministack import app
from ministack.core import persistence
from ministack.services import eventbridge, lambda_svc, scheduler, sqs

from journal_state import State
from journal_tracking import locked

STORE_SECONDS = 0.1
# Requests that change only items, messages, schedules and stream positions.
DATA_TARGET = re.compile(rb"\.(\w*Items?|Query|Scan|\w*Message\w*|PutEvents|(Get|List|Describe)\w+)$")
DATA_PATH = re.compile(r"/schedules/|/api/|/_aws/execute-api/|/_ministack/|.*/invocations$")


def apply():
    if not app.PERSIST_STATE:
        return
    for module, names in {
        sqs: ("_expire_retained", "_dlq_sweep", "_receive_messages_for_esm", "_delete_messages_for_esm"),
        eventbridge: ("_dispatch_to_sqs",),
        scheduler: ("_tick_schedules",),
        lambda_svc: ("_send_ddb_stream_failure_record",),
    }.items():
        for name in names:
            setattr(module, name, locked(getattr(module, name)))
    for action, handler in sqs._HANDLERS.items():
        if not asyncio.iscoroutinefunction(handler):
            sqs._HANDLERS[action] = locked(handler)
    _store_before_responses(State(Path(persistence.STATE_DIR) / "journal"))


def _store_before_responses(state):
    serve = app.app

    async def store_and_serve(scope, receive, send):
        async def store_and_send(message):
            if message["type"] == "http.response.start":
                state.settings_changed |= _may_change_settings(scope)
                state.store()
            elif message["type"] == "lifespan.startup.complete":
                # A reference keeps the task from being garbage-collected.
                scope["storing"] = asyncio.get_running_loop().create_task(_store_forever(state))
            await send(message)

        await serve(scope, receive, store_and_send)

    app.app = store_and_serve
    app.load_state, app.save_all = state.load().get, lambda _: state.store()


async def _store_forever(state):
    while True:
        await asyncio.sleep(STORE_SECONDS)
        state.store()


def _may_change_settings(scope):
    target = dict(scope["headers"]).get(b"x-amz-target", b"")
    return scope["method"] != "GET" and not DATA_TARGET.search(target) and not DATA_PATH.match(scope["path"])
