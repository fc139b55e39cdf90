"""Changes between the reads of audit and its repair: the conditions of the repair fail, and nothing is overwritten."""

from audit import Audit
from commands import OperationsTest
from scenarios import new_id, now_ms
from stack import Stack


class Races(OperationsTest):
    def setUp(self):
        self.paid, self.other = new_id(), new_id()

    def order(self, id, ticket, status, **more):
        payment = {"payment_id": new_id()} if status in ("paid", "refunded") else {}
        self.service.order(id, ticket, now_ms() + 600_000, status=status, version=1, **payment, **more)
        self.addCleanup(self.forget, id, ticket)

    def race(self, ticket, change):
        """Compares, makes a change, then repairs. Returns the lock after the repair."""
        audit = Audit(Stack.named(None))
        audit.compare()
        self.assertTrue(any(finding.repair for finding in audit.tickets[ticket]), audit.tickets[ticket])
        change()
        self.assertEqual(audit.repair(), 0)
        row = self.service.row("Tickets", ticket)
        return row.get("locked_by"), "locked_until" in row

    def hold(self, ticket):
        """Another buyer gets the ticket."""
        self.order(self.other, ticket, "awaiting_payment")
        self.service.change("Tickets", ticket, locked_by=self.other, locked_until=now_ms() + 600_000)

    def test_hold_that_begins_meanwhile_is_not_overwritten(self):
        for lock in ({}, {"locked_by": new_id(), "locked_until": now_ms() - 1}):
            self.paid, self.other = new_id(), new_id()
            ticket = self.service.ticket(**lock)
            self.order(self.paid, ticket, "paid")
            self.assertEqual(self.race(ticket, lambda: self.hold(ticket)), (self.other, True))

    def test_sale_that_happens_meanwhile_is_not_overwritten(self):
        ended = new_id()
        ticket = self.service.ticket(locked_by=ended)
        self.order(ended, ticket, "refunded")
        self.order(self.paid, ticket, "paid")

        def sell():
            self.order(self.other, ticket, "paid")
            self.service.change("Tickets", ticket, locked_by=self.other)

        self.assertEqual(self.race(ticket, sell), (self.other, False))

    def test_sale_is_not_released(self):
        ended = new_id()
        ticket = self.service.ticket(locked_by=ended)
        self.order(ended, ticket, "expired")

        def sell():
            self.order(self.other, ticket, "paid")
            self.service.change("Tickets", ticket, locked_by=self.other)

        self.assertEqual(self.race(ticket, sell), (self.other, False))

    def test_order_that_is_bought_back_keeps_its_lock(self):
        ended = new_id()
        ticket = self.service.ticket(locked_by=ended)
        self.order(ended, ticket, "expired")
        change = {"status": "paid", "version": 2, "payment_id": new_id()}
        self.assertEqual(
            self.race(ticket, lambda: self.service.change("Orders", ended, **change)),
            (ended, False),
        )

    def test_order_that_is_refunded_meanwhile_gets_no_lock(self):
        ticket = self.service.ticket()
        self.order(self.paid, ticket, "paid")
        change = {"status": "refunded", "version": 2}
        self.assertEqual(self.race(ticket, lambda: self.service.change("Orders", self.paid, **change)), (None, False))

    def test_order_that_appears_meanwhile_keeps_its_hold(self):
        ticket = self.service.ticket(locked_by=self.other, locked_until=now_ms() + 600_000)
        self.order(self.paid, ticket, "paid")
        self.assertEqual(
            self.race(ticket, lambda: self.order(self.other, ticket, "awaiting_payment")),
            (self.other, True),
        )
