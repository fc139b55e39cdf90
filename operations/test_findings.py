"""Tests of findings and items: each disagreement of an order, a lock and a payment, and unreadable items."""

import unittest

import findings
import items
from fakes import NOW, order, order_item, payment, ticket, ticket_item
from findings import Expire, Kind, Relock
from stack import ROOT

LAPSED, HELD = NOW, NOW + 30_000


class Locks(unittest.TestCase):
    def found(self, ticket, *orders, bought=()):
        """The kinds of the disagreements, and whether each has a repair."""
        self.last = findings.of_ticket("t1", ticket, {order.id: order for order in orders}, set(bought), NOW)
        return [(finding.kind, finding.repair is not None) for finding in self.last]

    def test_agreement_is_no_finding(self):
        for ticket_, orders in (
            (ticket(), [order(1, status="cancelled"), order(2, status="expired"), order(3, status="refunded")]),
            (ticket(1, locked_until=HELD), [order(1)]),
            (ticket(1, locked_until=LAPSED), [order(1, expires_at=LAPSED)]),
            (ticket(1), [order(1, status="paid"), order(2, status="expired")]),
            (None, [order(1, status="cancelled")]),
        ):
            self.assertEqual(self.found(ticket_, *orders), [])

    def test_permanent_lock_of_an_order_that_is_over_is_released(self):
        for status in items.OVER:
            found = self.found(ticket(1), order(1, status=status))
            self.assertEqual(found, [(Kind.PERMANENT_LOCK_OF_ENDED_ORDER, True)])
        found = self.found(ticket(1), order(1, ticket_id="t2"))
        self.assertEqual(found, [(Kind.PERMANENT_LOCK_OF_ENDED_ORDER, True)])

    def test_sale_in_the_payments_table_is_not_released(self):
        ended = order(1, status="expired")
        self.assertEqual(self.found(ticket(1), ended, bought=[ended.id]), [(Kind.TICKET_SOLD_TO_ENDED_ORDER, False)])
        found = self.found(ticket(1), ended, order(2, status="paid"), bought=[ended.id])
        self.assertEqual(found[0], (Kind.PAID_ORDER_OF_TICKET_SOLD_TO_ANOTHER, False))

    def test_paid_order_gets_its_lock_unless_another_may_have_the_ticket(self):
        paid, missing = order(1, status="paid"), 9
        relocked = [
            (ticket(), ()),
            (ticket(1, locked_until=HELD), ()),
            (ticket(2, locked_until=HELD), [order(2, status="cancelled")]),
            (ticket(2), [order(2, status="refunded")]),
            (ticket(2), [order(2, ticket_id="t2")]),
            (ticket(missing, locked_until=HELD), ()),
        ]
        for ticket_, others in relocked:
            self.assertEqual(self.found(ticket_, paid, *others), [(Kind.PAID_ORDER_WITHOUT_LOCK, True)])
            self.assertIsInstance(self.last[0].repair, Relock)
        self.assertEqual(self.found(ticket(missing), paid)[0], (Kind.PAID_ORDER_OF_TICKET_SOLD_TO_ANOTHER, False))
        self.assertEqual(self.found(None, paid), [(Kind.PAID_ORDER_OF_MISSING_TICKET, False)])

    def test_live_hold_of_another_buyer_is_listed(self):
        found = self.found(ticket(2, locked_until=HELD), order(1, status="paid"), order(2))
        self.assertEqual(found, [(Kind.TWO_LIVE_ORDERS, False), (Kind.PAID_ORDER_BEHIND_A_HOLD, False)])

    def test_due_order_expires_before_the_paid_order_gets_its_lock(self):
        due = order(2, expires_at=LAPSED)
        self.assertEqual(
            self.found(ticket(2, locked_until=LAPSED), order(1, status="paid"), due),
            [(Kind.PAID_ORDER_WITHOUT_LOCK, True)],
        )
        self.assertEqual(self.last[0].repair, Expire(due))

    def test_two_paid_orders_are_only_listed(self):
        orders = [order(1, status="paid"), order(2, status="paid")]
        for ticket_ in (ticket(), ticket(1), ticket(1, locked_until=HELD)):
            self.assertEqual(self.found(ticket_, *orders), [(Kind.TWO_LIVE_ORDERS, False)])
        found = self.found(ticket(3), *orders, order(3, status="refunded"))
        self.assertEqual(found, [(Kind.TWO_LIVE_ORDERS, False), (Kind.PERMANENT_LOCK_OF_ENDED_ORDER, False)])

    def test_locks_that_end_by_themselves_are_listed(self):
        for until, missing, ended in (
            (LAPSED, Kind.LAPSED_LOCK_OF_MISSING_ORDER, Kind.LAPSED_LOCK_OF_ENDED_ORDER),
            (HELD, Kind.HOLD_OF_MISSING_ORDER, Kind.HOLD_OF_ENDED_ORDER),
        ):
            self.assertEqual(self.found(ticket(1, locked_until=until)), [(missing, False)])
            found = self.found(ticket(1, locked_until=until), order(1, status="cancelled"))
            self.assertEqual(found, [(ended, False)])
        self.assertEqual(self.found(ticket(1, locked_until=HELD + 1), order(1)), [(Kind.HOLD_END_DIFFERS, False)])

    def test_sale_to_an_order_that_is_not_paid_is_listed(self):
        self.assertEqual(self.found(ticket(1)), [(Kind.TICKET_SOLD_TO_MISSING_ORDER, False)])
        self.assertEqual(self.found(ticket(1), order(1)), [(Kind.TICKET_SOLD_TO_AWAITING_ORDER, False)])

    def test_awaiting_order_without_its_lock_ends_or_expires(self):
        for ticket_ in (ticket(), None):
            self.assertEqual(self.found(ticket_, order(1)), [(Kind.AWAITING_ORDER_WITHOUT_LOCK, False)])
            due = order(1, expires_at=LAPSED)
            self.assertEqual(self.found(ticket_, due), [(Kind.DUE_ORDER_WITHOUT_LOCK, True)])


class Page(unittest.TestCase):
    def test_each_kind_is_explained(self):
        page = (ROOT / "docs/operations.md").read_text()
        self.assertEqual([kind.label for kind in Kind if f"`{kind.label}`" not in page], [])


class Payments(unittest.TestCase):
    def test_payment_agrees_with_its_order(self):
        refund = {"payment_id": "p2", "reason": "wrong_amount"}
        for status in ("paid", "refunded"):
            paid = order(1, status=status, refunds_due=[refund])
            self.assertIsNone(findings.of_payment(payment(1), paid))
            self.assertIsNone(findings.of_payment(payment(2, "wrong_amount"), paid))
            self.assertEqual(findings.payment_ids(paid), ["p1", "p2"])

    def test_payment_without_its_order_or_in_no_order_is_listed(self):
        self.assertIs(findings.of_payment(payment(1), None).kind, Kind.PAYMENT_OF_MISSING_ORDER)
        self.assertIs(findings.of_payment(payment(1, "too_late"), None).kind, Kind.REFUND_OF_MISSING_ORDER)
        for status in ("expired", "awaiting_payment"):
            self.assertIs(findings.of_payment(payment(1), order(1, status=status)).kind, Kind.PAYMENT_NOT_IN_ORDER)
        # Another payment, or another result.
        paid = order(1, status="paid")
        self.assertIs(findings.of_payment(payment(2), paid).kind, Kind.PAYMENT_NOT_IN_ORDER)
        self.assertIs(findings.of_payment(payment(1, "too_late"), paid).kind, Kind.PAYMENT_NOT_IN_ORDER)


class Items(unittest.TestCase):
    def test_unknown_attributes_are_ignored(self):
        self.assertEqual(order(1, seat="A 1"), order(1))
        self.assertEqual(ticket(hall="North"), ticket())
        self.assertEqual(ticket(locked_until=5), ticket(), "an end without an order locks nothing")

    def test_free_order_has_no_payment(self):
        free = {"id": "t1", "title": "Concert", "price": 0, "version": 0}
        self.assertIsNone(order(1, status="paid", ticket=free, payment_id=None).payment_id)

    def test_invalid_item_is_unreadable(self):
        orders = [
            {"schema": 2},
            {"status": "in_transfer"},
            {"version": "1"},
            {"version": -1},
            {"user_id": ""},
            {"id": "7"},
            {"expires_at": None},
            {"ticket": {"id": "t1"}},
            {"payment_id": "p1"},
            {"refunds_due": [{"payment_id": "p1", "reason": "too_late", "state": "lost"}]},
        ]
        for changes in orders:
            with self.assertRaises(items.Unreadable, msg=changes):
                items.Order.parse(order_item(1, **changes))
        for changes in ({"schema": 2}, {"title": None}, {"locked_by": "7"}, {"version": None}):
            with self.assertRaises(items.Unreadable, msg=changes):
                items.Ticket.parse(ticket_item(**changes))

    def test_order_id_is_a_uuid_in_any_case(self):
        id = "5f2bd9a4-96bb-5b0d-94f4-1f6c0d5c8a3e"
        self.assertEqual([items.order_id(text) for text in (id, id.upper())], [id, id])
        for text in ("", "7", id.replace("-", ""), f"{{{id}}}"):
            self.assertIsNone(items.order_id(text))

    def test_timestamp_has_milliseconds(self):
        self.assertEqual(items.timestamp(1_700_000_030_007), "2023-11-14T22:13:50.007Z")


if __name__ == "__main__":
    unittest.main()
