"""Not a fix but a fault, for tests: AWS may refuse single entries of a `PutEvents`; the emulator does
so only for sources that are AWS's own. While the file `refuse-events` is in its state folder, every
second event of this service is taken for one of those."""

import itertools
from pathlib import Path

from ministack.core import persistence
from ministack.services import eventbridge


def apply():
    put_events, numbers = eventbridge._put_events, itertools.count()

    def put_events_or_refuse(data, **kwargs):
        if (Path(persistence.STATE_DIR) / "refuse-events").exists():
            for entry in data.get("Entries", []):
                if entry.get("Source") == "orders" and next(numbers) % 2:
                    entry["Source"] = "aws.refused"
        return put_events(data, **kwargs)

    eventbridge._put_events = put_events_or_refuse
