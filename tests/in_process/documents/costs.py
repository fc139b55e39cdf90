"""Computes the tables of docs/costs.md from prices, counted calls and measured bytes, and compares the page with them.

The calls of each operation are counted by `tests/in_process/aws_calls`, the bytes of each line by
`tests/in_process/log_lines`.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/costs.md").read_text()

# Dollars per million, in us-east-1.
API_REQUEST, INVOCATION, EVENT, SQS_REQUEST = 1.00, 0.20, 1.00, 0.40
WRITE_UNIT, READ_UNIT = 0.625, 0.125
GB_SECOND = 13.3334
# Dollars per million bytes.
LOG_BYTE = 0.50 / 1_000
MEMORY_GB = 0.25
# CloudWatch Logs counts 26 bytes more for each line (CloudWatch Logs API reference, `PutLogEvents`).
LINE_OVERHEAD = 26
RECORDS_OF_A_BATCH = 10


# A typical value of each variable of the access log.
VALUES = {
    "requestTime": "27/Nov/2026:11:40:07 +0000",
    "requestId": "JKJaXmPLvHcESHA=",
    "routeKey": "GET /api/orders/{id}",
    "status": "200",
    "responseLatency": "12",
    "responseLength": "345",
    "integrationLatency": "11",
}


def access_log_bytes():
    """Returns the bytes of a line of the access log, by its format in the template."""
    template = (ROOT / "template.yaml").read_text()
    (form,) = re.findall(r"AccessLogSettings:\n.*\n +Format: >-\n((?: {10}.*\n)+)", template)
    line = " ".join(part.strip() for part in form.splitlines())
    line = re.sub(r"\$context\.([\w.]+)", lambda variable: VALUES.get(variable[1], "-"), line)
    return len(line) + LINE_OVERHEAD


def documented_bytes(line):
    """Returns the bytes of a line in the table of the page, with the overhead."""
    (number,) = re.findall(rf"^\| {line} \| (\d+) \|$", PAGE, re.MULTILINE)
    return int(number)


def metrics_bytes(**metrics):
    """Returns the bytes of a line in the embedded metric format, with the overhead."""
    names = [
        {"Name": name, **({"Unit": "Milliseconds"} if isinstance(it, list) else {})} for name, it in metrics.items()
    ]
    namespace = {"Namespace": "Orders", "Dimensions": [["Function"]], "Metrics": names}
    line = {
        "_aws": {"Timestamp": 1_700_000_000_000, "CloudWatchMetrics": [namespace]},
        "Function": "orders-PaymentEventsFunction-AbCdEfGhIjKl",
        **metrics,
    }
    return len(json.dumps(line, separators=(",", ":"))) + LINE_OVERHEAD


@dataclass
class Cost:
    """Dollars of a million operations, by service."""

    api: float = 0
    functions: float = 0
    tables: float = 0
    messages: float = 0
    logs: float = 0

    def __add__(self, other):
        return Cost(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def total(self):
        return sum(getattr(self, name) for name in self.__dataclass_fields__)

    def row(self, name):
        parts = [getattr(self, part) for part in self.__dataclass_fields__]
        cells = [f"{part:.2f}" if part else "" for part in parts]
        return f"| {name} | {' | '.join(cells)} | **{self.total():.2f}** |".replace("|  |", "| |").replace(
            "|  |", "| |"
        )


def invocation(milliseconds):
    return INVOCATION + milliseconds / 1_000 * MEMORY_GB * GB_SECOND


def tables(written, read):
    return Cost(tables=written * WRITE_UNIT + read * READ_UNIT)


def request(written, read):
    """A request of the API."""
    line = documented_bytes("request") + documented_bytes("access log")
    return Cost(api=API_REQUEST, functions=invocation(20), logs=line * LOG_BYTE) + tables(written, read)


def message(written, read, milliseconds=20, sends=1):
    """A message in a batch of its own: received, handled, deleted; sent by EventBridge or by the relay's batch."""
    metrics = metrics_bytes(MessagesFailed=0, MessagesReceived=1)
    return Cost(
        functions=invocation(milliseconds), messages=(sends + 2) * SQS_REQUEST, logs=metrics * LOG_BYTE
    ) + tables(written, read)


def change():
    """A change of an order: its event, in a batch of the relay."""
    metrics = metrics_bytes(ChangesReceived=10, EventsPublished=10, OrdersPlaced=10, RelayLag=[100] * 10)
    return Cost(
        functions=invocation(100) / RECORDS_OF_A_BATCH,
        messages=EVENT,
        logs=(documented_bytes("event published") + metrics / RECORDS_OF_A_BATCH) * LOG_BYTE,
    )


TIMER = Cost(messages=SQS_REQUEST / RECORDS_OF_A_BATCH)
OPERATIONS = {
    "order placed, hold of 30 s": request(7, 2) + change() + TIMER,
    "takeover of a lapsed hold": request(10, 3) + change() + change() + TIMER,
    "repeat with the same key": request(0, 2),
    "refused: reserved or sold": request(0, 1),
    "refused: too many holds": request(0, 2),
    "shown, or a list": request(0, 1),
    "cancelled": request(7, 1) + change(),
    "extended": message(7, 1) + change(),
    "paid": message(9, 1) + change(),
    "paid after the expiry": message(7, 2) + change(),
    "refund due, or payment refunded": message(5, 1) + change(),
    "refund settled": message(3, 1) + change(),
    "expired": message(5, 1, milliseconds=500, sends=0) + change(),
    "timer of a final order": message(0, 1, sends=0),
    "ticket event": message(1, 0),
}
# Times per order.
ORDER = {
    "placed": (1, "order placed, hold of 30 s"),
    "60 % paid": (0.6, "paid"),
    "25 % expired": (0.25, "expired"),
    "15 % cancelled": (0.15, "cancelled"),
    "75 % of the timers find nothing to do": (0.75, "timer of a final order"),
    "shown five times": (5, "shown, or a list"),
    "listed once": (1, "shown, or a list"),
    "four refused buyers": (4, "refused: reserved or sold"),
}


def rows():
    """Yields each row of the two tables."""
    for name, cost in OPERATIONS.items():
        yield cost.row(name)
    total = 0
    for name, (times, operation) in ORDER.items():
        dollars = times * OPERATIONS[operation].total()
        total += dollars
        yield f"| {name} | {dollars:.2f} |"
    yield f"| **sum** | **{total:.2f}** |"
    yield f"| 60 % extended by `PaymentStarted` | {0.6 * OPERATIONS['extended'].total():.2f} |"


def main():
    missing = [row for row in [f"| access log | {access_log_bytes()} |", *rows()] if row not in PAGE]
    if missing:
        sys.exit("docs/costs.md has not:\n" + "\n".join(missing))
    print(f"{len(list(rows()))} rows of docs/costs.md")


if __name__ == "__main__":
    main()
