"""Restores parts of the emulator's state from the rows of the journal."""

import json
import time

from ministack.services import dynamodb

from journal_file import from_json

STREAM_SECONDS = 24 * 60 * 60


def by_kind(rows):
    """Returns the decoded rows: kind -> rest of the key -> value."""
    decoded = {}
    for key, text in rows.items():
        kind, *rest = json.loads(key)
        decoded.setdefault(kind, {})[tuple(rest)] = from_json(text)
    return decoded


def queues(rows):
    """Returns the queues with their messages."""
    restored = rows.get("queue", {})
    for (*key, _), message in rows.get("message", {}).items():
        restored[tuple(key)]["messages"].append(message)
    return restored


def items(tables, rows):
    """Puts the items into the tables. Returns the table ids."""
    by_id = {table["TableId"]: table for table in tables.values()}
    for (table_id, partition, sort), item in rows.get("item", {}).items():
        if table_id in by_id:
            by_id[table_id]["items"].setdefault(partition, {})[sort] = item
    for table in tables.values():
        dynamodb._update_counts(table)
    return by_id.keys()


def streams(tables, rows):
    """Restores the stream records of the last day. Returns the first and the next number of each stream."""
    kept, starts, ends = {}, {}, {}
    for (stream, _), record in rows.get("record", {}).items():
        if record["dynamodb"]["ApproximateCreationDateTime"] > time.time() - STREAM_SECONDS:
            kept.setdefault(stream, []).append(record)
    for name, table in tables.items():
        stream = table.get("LatestStreamArn")
        if (stream,) in rows.get("end", {}):
            records = kept.get(stream, [])
            ends[stream] = rows["end"][stream,]
            starts[stream] = ends[stream] - len(records)
            dynamodb._stream_records._data[name] = records
            dynamodb._stream_trimmed._data[name] = starts[stream]
    return starts, ends


def drop_reviews(state):
    """Removes stacks in review. SAM refuses to deploy over a stack that a crash has left in review."""
    if state:
        stacks, changes = state["stacks"]._data, state["change_sets"]._data
        in_review = {key for key, stack in stacks.items() if _is_in_review(stack)}
        names = {stacks.pop(key)["StackName"] for key in in_review}
        for key in [key for key, change in changes.items() if change["StackName"] in names]:
            del changes[key]


def is_deploying(stack):
    """Returns whether a deployment of the stack is in progress."""
    return stack["StackStatus"].endswith("_IN_PROGRESS") and not _is_in_review(stack)


def is_needed(table_ids, stream_starts, key):
    """Returns whether a row belongs to an existing table, or to the last day of an existing stream."""
    kind, *rest = json.loads(key)
    if kind == "item":
        return rest[0] in table_ids
    if kind in ("record", "end"):
        stream, *number = rest
        return stream in stream_starts and (not number or number[0] >= stream_starts[stream])
    return True


def _is_in_review(stack):
    """Returns whether a stack consists of a change set only."""
    return stack["StackStatus"] == "REVIEW_IN_PROGRESS"
