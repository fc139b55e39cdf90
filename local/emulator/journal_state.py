"""State of the emulator: collects its changes for the journal, and restores it from there."""

import functools
import re

from ministack import app
from ministack.core.responses import AccountRegionScopedDict
from ministack.services import cloudformation, dynamodb, lambda_svc, scheduler, sqs

import journal_load
from journal_file import JournalFile, row_key, to_json
from journal_tracking import LOCK, TrackedDict, locked

# These grow with each request and are not needed after a restart.
NOT_STORED = ("cloudwatch", "cloudwatch_logs")
# Parts of service states with rows of their own.
SEPARATE_PARTS = ("schedules", "dynamodb_stream_positions")


class State:
    """The state of all services, stored in a journal file."""

    def __init__(self, path):
        self._file = JournalFile(path)
        self.settings_changed = False
        self._items = {}  # changed items: (table id, partition key, sort key) -> table
        self._messages = {}  # queue key -> message id -> changeable fields as stored
        self._ends = {}  # stream -> number of stored records
        self._dynamodb_settings = dynamodb.get_state().keys()
        self._entries = {"schedule": TrackedDict(), "position": TrackedDict(), "token": TrackedDict()}
        scheduler._schedules._data = self._entries["schedule"]
        lambda_svc._dynamodb_stream_positions._data = self._entries["position"]
        dynamodb._txn_idempotency._data = self._entries["token"]
        self._queues = sqs._queues._data = TrackedDict()
        self._track_items()
        self._track_waiting_queues()
        # The code of a deployed function is large and never changes: written once. Unused code is
        # removed after a restart, when the journal no longer refers to it.
        lambda_svc._write_code_blob = functools.lru_cache(lambda_svc._write_code_blob)
        self._prune_code, lambda_svc._prune_orphan_code_blobs = lambda_svc._prune_orphan_code_blobs, lambda _: None

    def _track_items(self):
        set_item, remove_item, items_replaced = dynamodb._set_item, dynamodb._remove_item, dynamodb._items_replaced

        def track_and_set(table, partition, sort, item):
            self._items[table["TableId"], partition, sort] = table
            return set_item(table, partition, sort, item)

        def track_and_remove(table, partition, sort):
            self._items[table["TableId"], partition, sort] = table
            return remove_item(table, partition, sort)

        def track_all(table):
            for partition, items in table["items"].items():
                self._items.update({(table["TableId"], partition, sort): table for sort in items})
            return items_replaced(table)

        dynamodb._set_item, dynamodb._remove_item, dynamodb._items_replaced = track_and_set, track_and_remove, track_all

    def _track_waiting_queues(self):
        """A long poll reads its queue from the dictionary long before it receives messages."""
        collect = sqs._collect_msgs

        def track_and_collect(queue, *args):
            _, _, _, region, account, _ = queue["attributes"]["QueueArn"].split(":")
            self._queues.touched.add((account, region, queue["url"]))
            return collect(queue, *args)

        sqs._collect_msgs = locked(track_and_collect)

    def store(self):
        """Writes all changes as one; none while a deployment is in progress."""
        if any(journal_load.is_deploying(stack) for stack in list(cloudformation._stacks._data.values())):
            return
        with LOCK:
            rows = {}
            self._collect_items(rows)
            self._collect_streams(rows)
            self._collect_queues(rows)
            for kind, entries in self._entries.items():
                for key in entries.take_touched():
                    rows[row_key(kind, *key)] = to_json(dict.get(entries, key)) if key in entries else ""
            if self.settings_changed:
                self._collect_settings(rows)
                self.settings_changed = False
            self._file.write(rows)

    def _collect_items(self, rows):
        while self._items:
            (table_id, partition, sort), table = self._items.popitem()
            item = table["items"].get(partition, {}).get(sort)
            rows[row_key("item", table_id, partition, sort)] = "" if item is None else to_json(item)

    def _collect_streams(self, rows):
        for name, records in list(dynamodb._stream_records._data.items()):
            if not records:
                continue
            stream = records[-1]["eventSourceARN"]
            trimmed = dynamodb._stream_trimmed._data.get(name, 0)
            start, end = max(trimmed, self._ends.get(stream, 0)), trimmed + len(records)
            for number in range(start, end):
                rows[row_key("record", stream, number)] = to_json(records[number - trimmed])
            rows[row_key("end", stream)] = str(end)
            self._ends[stream] = end

    def _collect_queues(self, rows):
        for key in self._queues.take_touched():
            queue = dict.get(self._queues, key)
            rows[row_key("queue", *key)] = to_json({**queue, "messages": []}) if queue else ""
            messages = queue["messages"] if queue else []
            stored = self._messages.get(key, {})
            self._messages[key] = {message["id"]: _changeable(message) for message in messages}
            for message in messages:
                if stored.pop(message["id"], None) != _changeable(message):
                    rows[row_key("message", *key, message["id"])] = to_json(message)
            rows.update({row_key("message", *key, removed): "" for removed in stored})

    def _collect_settings(self, rows):
        for name, get_state in app._build_persistence_save_dict().items():
            if name != "sqs" and name not in NOT_STORED:
                rows[row_key("settings", name)] = self._settings(name, get_state)

    def _settings(self, name, get_state):
        if name == "dynamodb":
            get_state = self._get_dynamodb_settings
        while True:
            try:
                state = get_state() or {}
                return to_json({part: value for part, value in state.items() if part not in SEPARATE_PARTS})
            except RuntimeError as error:
                # Another thread has added an entry to a dictionary during the iteration.
                if "changed size" not in str(error):
                    raise

    def _get_dynamodb_settings(self):
        tables = AccountRegionScopedDict()
        for key, table in dynamodb._tables.all_items():
            tables._data[key] = {**table, "items": {}}
            tables._data[key].pop(dynamodb._INDEX_MEMBERS, None)
        return {**{name: getattr(dynamodb, f"_{name}") for name in self._dynamodb_settings}, "tables": tables}

    def load(self):
        """Reads the journal. Returns the state of each service in the format of the emulator."""
        self._file.read()
        rows = journal_load.by_kind(self._file.rows)
        states = {name: state for (name,), state in rows.get("settings", {}).items()}
        journal_load.drop_reviews(states.get("cloudformation"))
        queues = journal_load.queues(rows)
        for key, queue in queues.items():
            self._messages[key] = {message["id"]: _changeable(message) for message in queue["messages"]}
        states["sqs"] = {"queues": _scoped(queues)}
        for name, entries, kind in (
            ("scheduler", "schedules", "schedule"),
            ("lambda", "dynamodb_stream_positions", "position"),
        ):
            states.setdefault(name, {})[entries] = _scoped(rows.get(kind, {}))
        dict.update(self._entries["token"], rows.get("token", {}))
        tables = states["dynamodb"]["tables"]._data if "dynamodb" in states else {}
        ids = journal_load.items(tables, rows)
        starts, self._ends = journal_load.streams(tables, rows)
        self._file.compact(functools.partial(journal_load.is_needed, ids, starts))
        self._prune_unused_code()
        return states

    def _prune_unused_code(self):
        functions = self._file.rows.get(row_key("settings", "lambda"), "")
        self._prune_code(set(re.findall(f'"{lambda_svc._BLOB_REF_KEY}":"(\\w+)"', functions)))


def _changeable(message):
    """Returns the fields of a message that can change."""
    return message["visible_at"], message["receive_count"], message["receipt_handle"]


def _scoped(entries):
    scoped = AccountRegionScopedDict()
    scoped._data.update(entries)
    return scoped
