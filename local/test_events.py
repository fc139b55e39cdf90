"""Tests of malformed events: the demo shop refuses each and lists it, and all else goes on."""

import copy
import itertools
import json
import tempfile
import unittest
from pathlib import Path

import events
from shop import Shop

# Required fields of the details; the schemas in `docs/` are tested against the services' own code.
REQUIRED = {
    "TicketCreated": ("id", "title", "price", "version"),
    "TicketUpdated": ("id", "title", "price", "version"),
    "TicketWithdrawn": ("id", "version"),
    "PaymentCreated": ("id", "orderId"),
    "PaymentStarted": ("orderId",),
    "PaymentRefunded": ("id", "orderId"),
}
ORDER_FIELDS = ("id", "version", "status", "userId", "createdAt", "expiresAt", "ticket", "refunds", "metadata")
OTHER_TYPES = (None, True, 7, -1, 1.5, "", " ", "x" * 100_000, [], ["x"], {}, {"x": None})
# Values of another type that a field may have.
ALSO_VALID = {
    "title": ("string",),
    "userId": ("string",),
    "price": (7, 1.5),
    "version": (7,),
    "refunds": ([],),
    "id": (),
}


def examples():
    """Yields each example of the schemas."""
    for file in events.SCHEMAS.values():
        for definition in json.loads((events.DOCS / file).read_text())["$defs"].values():
            yield from definition.get("examples", ())


def malformed():
    """Yields events of each type with one field missing, or of another type, or too long."""
    for event in examples():
        for field in REQUIRED.get(event["detail-type"], ORDER_FIELDS):
            missing = copy.deepcopy(event)
            del missing["detail"][field]
            yield field, missing
            for value in OTHER_TYPES:
                if not is_valid(field, value):
                    yield field, {**event, "detail": {**event["detail"], field: value}}
        for detail in OTHER_TYPES:
            yield "detail", {**event, "detail": detail}
        for kind in (*OTHER_TYPES, event["detail-type"].lower(), "TicketSold"):
            yield "detail-type", {**event, "detail-type": kind}
        for source in (*OTHER_TYPES, "payment"):
            yield "source", {**event, "source": source}
        for field in ("source", "detail-type", "detail"):
            yield field, {key: value for key, value in event.items() if key != field}


def is_valid(field, value):
    if field in ("title", "userId") and isinstance(value, str):
        # Titles have a limit, and user ids of orders have none.
        return value != "" and (field == "userId" or (value != " " and len(value) <= 1000))
    return any(value == valid and type(value) is type(valid) for valid in ALSO_VALID.get(field, ()))


class FakeIssuer:
    def token(self, sub):
        return sub


class Malformed(unittest.TestCase):
    def setUp(self):
        self.history = Path(self.enterContext(tempfile.TemporaryDirectory())) / "shop.jsonl"

    def shop(self):
        return Shop("http://api", FakeIssuer(), None, self.history)

    def test_examples_of_the_schemas_are_valid(self):
        self.assertEqual({events.problem(event) for event in examples()}, {None})

    def test_malformed_event_is_refused_with_the_field(self):
        for field, event in malformed():
            problem = events.problem(event)
            self.assertIsNotNone(problem, event)
            self.assertIn(field, problem.replace("event: 'detail", "detail"), event)
            self.assertLessEqual(len(problem), events.MAX_REASON_LENGTH)

    def test_rules_that_a_schema_states_in_words_hold(self):
        ticket = {"id": "concert-1", "title": "Concert", "price": 25.5, "version": 0}
        event = {"source": "tickets", "detail-type": "TicketCreated"}

        def problem(**fields):
            return events.problem({**event, "detail": {**ticket, **fields}})

        for price in (0, 25, 0.01, 59.970000000000006, 9_999_999_999.99):
            self.assertIsNone(problem(price=price), price)
        for price in (0.001, 25.555, 1e10, float("nan"), float("inf"), -float("inf")):
            self.assertIsNotNone(problem(price=price), price)
        self.assertIsNotNone(problem(version=1.0))
        self.assertIsNotNone(problem(id="concert-1\n"))
        self.assertIsNone(problem(title="é" * 1000, extra=[]))

    def test_date_that_does_not_exist_is_refused(self):
        detail = {"orderId": "5f2bd9a4-96bb-5b0d-94f4-1f6c0d5c8a3e"}
        payment = {"source": "payments", "detail-type": "PaymentStarted", "detail": detail}
        self.assertIsNone(events.problem({**payment, "time": "2026-02-28T10:00:00Z"}))
        self.assertIsNotNone(events.problem({**payment, "time": "2026-02-30T10:00:00Z"}))

    def test_malformed_events_are_listed_and_all_else_goes_on_also_after_a_restart(self):
        good = next(event for event in examples() if event["detail-type"] == "TicketCreated")
        first = self.shop()
        for _, event in itertools.islice(malformed(), 0, None, 10):
            first.receive(event)
        first.receive(good)
        for shop in (first, self.shop()):
            update = shop.updates()
            self.assertEqual([ticket["id"] for ticket in update["tickets"]], [good["detail"]["id"]])
            *refused, last = update["received"]
            self.assertTrue(all(entry["problem"] and not entry["applied"] for entry in refused))
            self.assertEqual((last["problem"], last["applied"]), (None, True))
            # A browser reads no NaN.
            json.dumps(update, allow_nan=False)

    def test_unreadable_message_becomes_an_event_with_its_text(self):
        texts = ('{"detail": NaN}', '{"detail": 1e400}', "[1]", "7", "null", "", "{", "1" * 5000, "[" * 100_000)
        for text in (*texts, '{"detail": "\\ud800"}'):
            event = events.read(text)
            self.assertEqual((event["source"], event["detail"]), ("unknown", text))
            self.assertIsNotNone(events.problem(event))
        self.assertEqual(events.read('{"source": "tickets"}'), {"source": "tickets"})


if __name__ == "__main__":
    unittest.main()
