"""Fault injection for tests: `PutEvents` rejects single entries.

AWS may reject single entries of a `PutEvents` call. The emulator does so only for the reserved sources of
AWS. While the file `refuse-events` is in the emulator's state folder, every second event of this service
gets a reserved source.
"""

import itertools
from pathlib import Path

from ministack.core import persistence
from ministack.services import eventbridge


def apply():
    put_events, counter = eventbridge._put_events, itertools.count()

    def put_events_or_reject(data, **kwargs):
        if (Path(persistence.STATE_DIR) / "refuse-events").exists():
            for entry in data.get("Entries", []):
                if entry.get("Source") == "orders" and next(counter) % 2:
                    entry["Source"] = "aws.refused"
        return put_events(data, **kwargs)

    eventbridge._put_events = put_events_or_reject
