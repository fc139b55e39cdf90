"""AWS never loses what it has answered. The emulator saves its state only when it is stopped in good
order, and its streams never. This fix keeps a journal: before an answer is sent, all that has changed
since the last one is appended to a file. It can be killed at any moment: a change that is not in the
file whole has not been told to anybody, and what is in the file belongs together.

The journal is rows of JSON by key. To write them when they change takes no longer the more there is,
but somebody has to see the change. Items are noted when they are set or removed. Whoever changes a
queue, a schedule, a position in a stream or a transaction's token looks it up first, so what has been
looked up is compared with what was written. Everything else changes with requests of its own, after
which all of it is compared.

What happens while a template is deployed is written together with the deployment when that ends: the
emulator could not go on with half of one.

There are threads beside the loop that answers: they look for schedules and for messages. What they do
is written within a moment. `WHOLE` keeps it in one piece, and keeps it from disturbing the loop."""

import asyncio
import functools
import json
import logging
import os
import re
import threading
import time
from pathlib import Path

from ministack import app
from ministack.core import persistence
from ministack.core.responses import AccountRegionScopedDict
from ministack.services import cloudformation, dynamodb, eventbridge, lambda_svc, scheduler, sqs

WHOLE = threading.RLock()
SECONDS_BETWEEN = 0.1
STREAM_SECONDS = 24 * 60 * 60
# They grow with every request, and nobody misses them.
LOGS = ("cloudwatch", "cloudwatch_logs")
# Parts of services' states that have rows of their own.
ENTRIES = ("schedules", "dynamodb_stream_positions")
# Requests that change nothing but items, messages, schedules and positions.
DATA_TARGET = re.compile(rb"\.(\w*Items?|Query|Scan|\w*Message\w*|PutEvents|(Get|List|Describe)\w+)$")
DATA_PATH = re.compile(r"/schedules/|/api/|/_aws/execute-api/|/_ministack/|.*/invocations$")

_to_json = json.JSONEncoder(default=persistence._json_default, separators=(",", ":")).encode


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
            setattr(module, name, _whole(getattr(module, name)))
    for action, handler in sqs._HANDLERS.items():
        if not asyncio.iscoroutinefunction(handler):
            sqs._HANDLERS[action] = _whole(handler)
    _keep(State(Path(persistence.STATE_DIR) / "journal"))


def _whole(function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        with WHOLE:
            return function(*args, **kwargs)

    return run


def _keep(state):
    serve = app.app

    async def store_and_serve(scope, receive, send):
        async def store_and_send(message):
            if message["type"] == "http.response.start":
                state.settings_due |= _may_change_settings(scope)
                state.store()
            elif message["type"] == "lifespan.startup.complete":
                scope["storing"] = asyncio.get_running_loop().create_task(_store_forever(state))
            await send(message)

        await serve(scope, receive, store_and_send)

    app.app = store_and_serve
    app.load_state, app.save_all = state.load().get, lambda _: state.store()


async def _store_forever(state):
    while True:
        await asyncio.sleep(SECONDS_BETWEEN)
        state.store()


def _may_change_settings(scope):
    target = dict(scope["headers"]).get(b"x-amz-target", b"")
    return scope["method"] != "GET" and not DATA_TARGET.search(target) and not DATA_PATH.match(scope["path"])


class Journal:
    """Rows of text by key, in a file that has every change at its end: a line for each row, with no text
    if it is gone, then an empty line."""

    def __init__(self, path):
        self._path = path
        self.rows = {}

    def read(self):
        change = {}
        for line in self._path.read_text().split("\n")[:-1] if self._path.exists() else []:
            if line:
                key, _, text = line.partition("\t")
                change[key] = text
            else:
                self._apply(change)
                change = {}

    def shrink(self, is_of_use):
        """Makes the file anew with the rows that are still of use."""
        self.rows = {key: text for key, text in self.rows.items() if is_of_use(key)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        half = self._path.with_suffix(".tmp")
        with open(half, "w") as file:
            file.writelines(f"{key}\t{text}\n" for key, text in self.rows.items())
            file.write("\n")
        half.replace(self._path)
        self._file = open(self._path, "a")

    def write(self, rows):
        change = {key: text for key, text in rows.items() if self.rows.get(key, "") != text}
        if change:
            self._file.write("".join(f"{key}\t{text}\n" for key, text in change.items()) + "\n")
            self._file.flush()
            self._apply(change)

    def close(self):
        self._file.close()

    def _apply(self, change):
        for key, text in change.items():
            if text:
                self.rows[key] = text
            else:
                self.rows.pop(key, None)


class Noting(dict):
    """A dictionary that notes the keys of what may have been changed: what was put, removed or looked up."""

    def __init__(self):
        super().__init__()
        self.noted = set()


def _noting(name):
    method = getattr(dict, name)

    def note(self, key, *args):
        self.noted.add(key)
        return method(self, key, *args)

    return note


for _name in ("__getitem__", "__setitem__", "__delitem__", "get", "setdefault", "pop"):
    setattr(Noting, _name, _noting(_name))


def _taken(noted):
    """The noted keys, which are noted no longer. Threads may note more meanwhile."""
    while noted:
        yield noted.pop()


class State:
    """What the emulator knows, and a journal of it."""

    def __init__(self, path):
        self._journal = Journal(path)
        self.settings_due = False
        self._items = {}  # what has been set or removed: the table by its id and the item's keys
        self._messages = {}  # by queue: what may change of each message, as written
        self._ends = {}  # by stream: how many records are written
        self._dynamodb_settings = dynamodb.get_state().keys()
        self._entries = {"schedule": Noting(), "position": Noting(), "token": Noting()}
        scheduler._schedules._data = self._entries["schedule"]
        lambda_svc._dynamodb_stream_positions._data = self._entries["position"]
        dynamodb._txn_idempotency._data = self._entries["token"]
        self._queues = sqs._queues._data = Noting()
        self._note_items()
        self._note_queues_that_wait()
        # The code of the functions is large; that of a deployed one never changes. What is no longer
        # of use goes when the journal no longer knows it.
        lambda_svc._write_code_blob = functools.lru_cache(lambda_svc._write_code_blob)
        self._prune_code, lambda_svc._prune_orphan_code_blobs = lambda_svc._prune_orphan_code_blobs, lambda _: None

    def _note_items(self):
        set_item, remove_item, items_replaced = dynamodb._set_item, dynamodb._remove_item, dynamodb._items_replaced

        def note_and_set(table, partition, sort, item):
            self._items[table["TableId"], partition, sort] = table
            return set_item(table, partition, sort, item)

        def note_and_remove(table, partition, sort):
            self._items[table["TableId"], partition, sort] = table
            return remove_item(table, partition, sort)

        def note_all(table):
            for partition, items in table["items"].items():
                self._items.update({(table["TableId"], partition, sort): table for sort in items})
            return items_replaced(table)

        dynamodb._set_item, dynamodb._remove_item, dynamodb._items_replaced = note_and_set, note_and_remove, note_all

    def _note_queues_that_wait(self):
        """One that waits for messages has looked up its queue long before it takes them."""
        collect = sqs._collect_msgs

        def note_and_collect(queue, *args):
            _, _, _, region, account, _ = queue["attributes"]["QueueArn"].split(":")
            self._queues.noted.add((account, region, queue["url"]))
            return collect(queue, *args)

        sqs._collect_msgs = _whole(note_and_collect)

    def store(self):
        """Writes what has changed."""
        if any(_is_deploying(stack) for stack in list(cloudformation._stacks._data.values())):
            return
        with WHOLE:
            rows = {}
            self._take_items(rows)
            self._take_streams(rows)
            self._take_queues(rows)
            for kind, entries in self._entries.items():
                for key in _taken(entries.noted):
                    rows[_key(kind, *key)] = _to_json(dict.get(entries, key)) if key in entries else ""
            if self.settings_due:
                self._take_settings(rows)
                self.settings_due = False
            self._journal.write(rows)

    def _take_items(self, rows):
        while self._items:
            (table_id, partition, sort), table = self._items.popitem()
            item = table["items"].get(partition, {}).get(sort)
            rows[_key("item", table_id, partition, sort)] = "" if item is None else _to_json(item)

    def _take_streams(self, rows):
        for name, records in list(dynamodb._stream_records._data.items()):
            if not records:
                continue
            stream = records[-1]["eventSourceARN"]
            trimmed = dynamodb._stream_trimmed._data.get(name, 0)
            start, end = max(trimmed, self._ends.get(stream, 0)), trimmed + len(records)
            for number in range(start, end):
                rows[_key("record", stream, number)] = _to_json(records[number - trimmed])
            rows[_key("end", stream)] = str(end)
            self._ends[stream] = end

    def _take_queues(self, rows):
        for key in _taken(self._queues.noted):
            queue = dict.get(self._queues, key)
            rows[_key("queue", *key)] = _to_json({**queue, "messages": []}) if queue else ""
            messages = queue["messages"] if queue else []
            written = self._messages.get(key, {})
            self._messages[key] = {message["id"]: _changeable(message) for message in messages}
            for message in messages:
                if written.pop(message["id"], None) != _changeable(message):
                    rows[_key("message", *key, message["id"])] = _to_json(message)
            rows.update({_key("message", *key, gone): "" for gone in written})

    def _take_settings(self, rows):
        for name, get_state in app._build_persistence_save_dict().items():
            if name != "sqs" and name not in LOGS:
                rows[_key("settings", name)] = self._settings(name, get_state)

    def _settings(self, name, get_state):
        if name == "dynamodb":
            get_state = self._get_dynamodb_settings
        while True:
            try:
                state = get_state() or {}
                return _to_json({part: value for part, value in state.items() if part not in ENTRIES})
            except RuntimeError as error:
                # A thread has put something into a dictionary meanwhile.
                if "changed size" not in str(error):
                    raise

    def _get_dynamodb_settings(self):
        tables = AccountRegionScopedDict()
        for key, table in dynamodb._tables.all_items():
            tables._data[key] = {**table, "items": {}}
            tables._data[key].pop(dynamodb._INDEX_MEMBERS, None)
        return {**{name: getattr(dynamodb, f"_{name}") for name in self._dynamodb_settings}, "tables": tables}

    def load(self):
        """Reads the journal. Returns the state of each service, as the emulator takes it up."""
        self._journal.read()
        read = {}
        for key, text in self._journal.rows.items():
            kind, *rest = json.loads(key)
            read.setdefault(kind, {})[tuple(rest)] = _from_json(text)
        states = {name: state for (name,), state in read.get("settings", {}).items()}
        _forget_reviews(states.get("cloudformation"))
        self._load_queues(states, read)
        for name, entries, kind in (
                ("scheduler", "schedules", "schedule"), ("lambda", "dynamodb_stream_positions", "position")):
            states.setdefault(name, {})[entries] = _scoped(read.get(kind, {}))
        dict.update(self._entries["token"], read.get("token", {}))
        tables = states["dynamodb"]["tables"]._data if "dynamodb" in states else {}
        ids, streams = self._load_tables(tables, read)
        self._journal.shrink(functools.partial(_is_of_use, ids, streams))
        code = re.findall(f'"{lambda_svc._BLOB_REF_KEY}":"(\\w+)"', self._journal.rows.get(_key("settings", "lambda"), ""))
        self._prune_code(set(code))
        return states

    def _load_queues(self, states, read):
        queues = read.get("queue", {})
        for (*key, _), message in read.get("message", {}).items():
            queues[tuple(key)]["messages"].append(message)
        for key, queue in queues.items():
            self._messages[key] = {message["id"]: _changeable(message) for message in queue["messages"]}
        states["sqs"] = {"queues": _scoped(queues)}

    def _load_tables(self, tables, read):
        """Puts the items into the tables, and the records beside them. Returns the tables' ids, and the first
        record of each stream that is still to be kept."""
        by_id = {table["TableId"]: table for table in tables.values()}
        for (table_id, partition, sort), item in read.get("item", {}).items():
            if table_id in by_id:
                by_id[table_id]["items"].setdefault(partition, {})[sort] = item
        kept = {}
        for (stream, _), record in read.get("record", {}).items():
            if record["dynamodb"]["ApproximateCreationDateTime"] > time.time() - STREAM_SECONDS:
                kept.setdefault(stream, []).append(record)
        firsts = {}
        for name, table in tables.items():
            dynamodb._update_counts(table)
            stream = table.get("LatestStreamArn")
            if (stream,) in read.get("end", {}):
                records = kept.get(stream, [])
                self._ends[stream] = read["end"][stream,]
                firsts[stream] = self._ends[stream] - len(records)
                dynamodb._stream_records._data[name] = records
                dynamodb._stream_trimmed._data[name] = firsts[stream]
        return by_id.keys(), firsts


def _is_deploying(stack):
    return stack["StackStatus"].endswith("_IN_PROGRESS") and not _is_in_review(stack)


def _is_in_review(stack):
    """Whether only a change set is there, and nothing of the stack itself."""
    return stack["StackStatus"] == "REVIEW_IN_PROGRESS"


def _forget_reviews(state):
    """SAM would refuse to go on with a stack of its own that a crash has left in review."""
    if state:
        stacks, changes = state["stacks"]._data, state["change_sets"]._data
        in_review = {key for key, stack in stacks.items() if _is_in_review(stack)}
        names = {stacks.pop(key)["StackName"] for key in in_review}
        for key in [key for key, change in changes.items() if change["StackName"] in names]:
            del changes[key]


def _changeable(message):
    return message["visible_at"], message["receive_count"], message["receipt_handle"]


def _scoped(entries):
    scoped = AccountRegionScopedDict()
    scoped._data.update(entries)
    return scoped


def _from_json(text):
    # The hook is for what has a name with underscores, and slow.
    return json.loads(text, object_hook=persistence._json_object_hook if '"__' in text else None)


def _key(*parts):
    return _to_json(parts)


def _is_of_use(tables, firsts, key):
    kind, *rest = json.loads(key)
    if kind == "item":
        return rest[0] in tables
    if kind in ("record", "end"):
        stream, *number = rest
        return stream in firsts and (not number or number[0] >= firsts[stream])
    return True
