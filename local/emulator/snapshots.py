"""What AWS has stored stays stored, a transaction whole or not at all, and a table's stream for a day.
The emulator saves its state only when it is stopped in good order, and its streams never. This fix
saves them while it runs, so that a crash loses a fraction of a second at most; and always from the
loop that carries out the requests, so never in the middle of a transaction.

The order matters. What is saved first may be older than what is saved later, and then work is done
twice after a crash; the other way round it would be lost. So first the functions, which know how far
they have come in a stream, then what they send to, then the tables. A crash between two files leaves a function
ahead of its stream, and then what comes next would never be read: so no position is taken up that is
beyond the end of what was saved."""

import asyncio
import copy
import logging
import os
import time

from ministack import app
from ministack.core import persistence
from ministack.services import dynamodb, lambda_svc

SECONDS = float(os.environ.get("EMULATOR_SNAPSHOT_SECONDS", "0.25"))
DATA = ("eventbridge", "scheduler", "sqs", "dynamodb")
# They grow with every request, and nobody misses them after a crash.
LOGS = ("cloudwatch", "cloudwatch_logs")
# Everything else changes with deployments only, and so is saved less often.
ROUNDS_BETWEEN_FULL = 16


def apply():
    _keep_streams()
    _keep_positions_within_streams()
    if not app.PERSIST_STATE:
        return
    serve = app.app

    async def serve_and_save(scope, receive, send):
        async def send_and_save(message):
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                scope["saving"] = asyncio.get_running_loop().create_task(_save_forever())

        await serve(scope, receive, send_and_save if scope["type"] == "lifespan" else send)

    app.app = serve_and_save


async def _save_forever():
    logging.getLogger("persistence").setLevel(logging.WARNING)
    number = 0
    while True:
        services = app._build_persistence_save_dict()
        if number % ROUNDS_BETWEEN_FULL == 0:
            rest = [name for name in services if name not in ("lambda", *DATA, *LOGS)]
            _save(services, ["lambda", *rest])
        began = time.monotonic()
        _save(services, DATA)
        number += 1
        # However much data there is, to save it takes a tenth of the time at most.
        await asyncio.sleep(max(SECONDS, 10 * (time.monotonic() - began)))


def _save(services, names):
    persistence.save_all({name: services[name] for name in names if name in services})


def _keep_streams():
    get_state, load = dynamodb.get_state, dynamodb.load_persisted_state

    def get_state_with_streams():
        return {**get_state(), "streams": [[name, _unread(*name)] for name in dynamodb._stream_records._data]}

    def load_with_streams(data):
        for name, (records, position) in data.pop("streams", []):
            dynamodb._stream_records._data[tuple(name)] = records
            dynamodb._stream_trimmed._data[tuple(name)] = position
        load(data)

    dynamodb.get_state, dynamodb.load_persisted_state = get_state_with_streams, load_with_streams


def _keep_positions_within_streams():
    load_all = app._load_persisted_state

    def load_all_within_streams():
        load_all()
        for account, region, mapping in lambda_svc._iter_all_esms():
            key = (account, region, mapping["UUID"])
            positions = lambda_svc._dynamodb_stream_positions._data
            if key in positions:
                table = mapping["EventSourceArn"].split("/")[1]
                end = dynamodb.stream_end_position(table, account_id=account, region=region)
                positions[key] = min(positions[key], end)

    app._load_persisted_state = load_all_within_streams


def _unread(account, region, table):
    """What some function has still to read of a table's stream, and where that begins. To save the
    whole day's stream again and again would take too long."""
    start = dynamodb.stream_start_position(table, account_id=account, region=region)
    positions = [
        lambda_svc._dynamodb_stream_positions._data.get((account, region, mapping["UUID"]), start)
        for _, _, mapping in lambda_svc._iter_all_esms()
        if f":table/{table}/stream/" in mapping.get("EventSourceArn", "")]
    position = max(start, min(positions, default=start))
    records = dynamodb._live_stream_records(table, account, region)
    return copy.deepcopy(records[position - start:]), position
