"""Reads events, and checks them against the JSON schemas in `docs/`, as the services that receive them do."""

import functools
import json
import math
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCHEMAS = {
    "orders": "order-events.schema.json",
    "payments": "payment-events.schema.json",
    "tickets": "ticket-events.schema.json",
}
# Fields with an amount of money, by type.
AMOUNTS = {"TicketCreated": "price", "TicketUpdated": "price", "PaymentCreated": "amount", "PaymentRefunded": "amount"}
MAX_ROUNDED_CENTS = Decimal("1e-6")
MAX_REASON_LENGTH = 200

FORMATS = FormatChecker(("uuid",))


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value):
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def _pattern(_, pattern, value, __):
    # In Python, `$` also matches before a line break at the end.
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError("does not match the pattern")


# The schemas state in words that a whole number is written without a fraction, and that amounts have two decimals.
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
Validator = validators.extend(Draft202012Validator, {"pattern": _pattern}, type_checker=_TYPES)


def read(text):
    """Returns the event in a message. An unreadable message becomes an event without a known source."""
    try:
        event = json.loads(text)
        # Python also reads NaN, 1e400 and half a surrogate pair, which other JSON parsers refuse.
        json.dumps(event, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"source": "unknown", "detail-type": "Unreadable", "detail": text}


def problem(event):
    """Returns the reason for which the schema of its type refuses an event; `None` if it is valid."""
    source, kind = event.get("source"), event.get("detail-type")
    if not isinstance(source, str) or source not in SCHEMAS:
        return "source: unknown"
    if not isinstance(kind, str) or kind not in _validators(source):
        return "detail-type: unknown"
    for error in _validators(source)[kind].iter_errors(event):
        return _reason(error)
    amount = event["detail"].get(AMOUNTS.get(kind))
    return None if amount is None or _has_cents(amount) else f"detail.{AMOUNTS[kind]}: more than two decimals"


@functools.cache
def _validators(source):
    """Returns a validator for each type of events of a source."""
    schema = json.loads((DOCS / SCHEMAS[source]).read_text())
    types = schema.pop("oneOf")
    return {type["$ref"].rpartition("/")[2]: Validator({**schema, **type}, format_checker=FORMATS) for type in types}


def _reason(error):
    place = ".".join(map(str, error.absolute_path)) or "event"
    # The messages of other errors repeat the value, which can be long.
    rule = error.message if error.validator == "required" else f"{error.validator} {json.dumps(error.validator_value)}"
    return f"{place}: {rule}"[:MAX_REASON_LENGTH]


def _has_cents(amount):
    if not math.isfinite(amount):
        return False
    cents = Decimal(str(amount)) * 100
    return abs(cents - cents.to_integral_value()) <= MAX_ROUNDED_CENTS
