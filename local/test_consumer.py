"""Tests of the example consumer in docs/: sequence, repeats and losses of events, a restart."""

import itertools
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from consumer import TicketOffice  # noqa: E402

REFUND = {"paymentId": "payment-2", "reason": "already_paid", "state": "due"}


def event(version, status, refunds=(), created="2026-11-23T09:25:06.093Z"):
    ticket = {"id": "concert-1", "title": "Concert in the park", "price": 25.5, "version": 0}
    order = {"id": "order-1", "userId": "alice", "status": status, "version": version, "createdAt": created}
    return {"source": "orders", "detail": {**order, "ticket": ticket, "refunds": list(refunds)}}


LIFE = (
    event(0, "awaiting_payment"),
    event(1, "paid"),
    event(2, "paid", [REFUND]),
    event(3, "refunded", [REFUND]),
    event(4, "refunded", [{**REFUND, "state": "settled"}]),
)
SEND = "order order-1: send ticket concert-1 to alice"
VOID = "order order-1: void ticket concert-1 of alice"
GIVE_BACK = "payment payment-2: refund to alice, already_paid"


class Consumer(unittest.TestCase):
    def setUp(self):
        self.database = Path(self.enterContext(tempfile.TemporaryDirectory())) / "office.sqlite"
        self.actions = []

    def handle(self, events):
        office = TicketOffice(self.database, self.actions.append)
        return [office.handle(event) for event in events]

    def test_each_state_leads_to_its_action_once(self):
        self.assertEqual(self.handle([*LIFE, *LIFE]), [True] * 5 + [False] * 5)
        self.assertEqual(self.actions, [SEND, GIVE_BACK, VOID])

    def test_last_state_is_kept_in_any_sequence_and_without_older_events(self):
        for events in itertools.permutations(LIFE):
            actions = []
            office = TicketOffice(":memory:", actions.append)
            for one in events:
                office.handle(one)
            self.assertIn(VOID, actions)
            self.assertEqual([office.handle(one) for one in LIFE], [False] * 5)
            self.assertEqual(len(actions), len(set(actions)))

    def test_restart_repeats_and_forgets_nothing(self):
        for one in LIFE:
            self.handle([one])
        self.assertEqual(self.handle(LIFE), [False] * 5)
        self.assertEqual(self.actions, [SEND, GIVE_BACK, VOID])

    def test_failed_action_is_repeated_with_its_event(self):
        def fail(_):
            raise OSError("the printer is off")

        with self.assertRaises(OSError):
            TicketOffice(self.database, fail).handle(LIFE[1])
        self.handle(LIFE[:2])
        self.assertEqual(self.actions, [SEND])

    def test_order_placed_anew_with_its_key_is_newer(self):
        self.handle(LIFE)
        self.assertEqual(self.handle([event(0, "awaiting_payment", created="2028-01-01T00:00:00.000Z")]), [True])


if __name__ == "__main__":
    unittest.main()
