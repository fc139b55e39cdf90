"""Tests of the event consumer of the demo shop."""

import itertools
import random
import unittest

from tickets import Tickets

ORDER, OTHER = "5f2bd9a4-96bb-5b0d-94f4-1f6c0d5c8a3e", "5f2bd9a4-96bb-5b0d-94f4-1f6c0d5c8a3f"
TYPES = {
    "awaiting_payment": "OrderExtended",
    "paid": "OrderPaid",
    "cancelled": "OrderCancelled",
    "expired": "OrderExpired",
    "refunded": "OrderRefunded",
}


def ticket_event(version, title="Concert", id="concert-1"):
    return {
        "source": "tickets",
        "detail-type": "TicketUpdated" if version else "TicketCreated",
        "id": f"ticket-{version}",
        "detail": {"id": id, "title": title, "price": 25.5, "version": version},
    }


def withdrawal(version):
    return {
        "source": "tickets",
        "detail-type": "TicketWithdrawn",
        "id": f"ticket-{version}",
        "detail": {"id": "concert-1", "version": version},
    }


def order_event(version, status, order=ORDER, since="2026-11-23T09:25:06.093Z", until="2026-11-23T09:25:36.093Z"):
    return {
        "source": "orders",
        "detail-type": TYPES[status] if version else "OrderCreated",
        "id": f"{order}:{version}",
        "detail": {
            "id": order,
            "version": version,
            "status": status,
            "userId": f"buyer of {order}",
            "createdAt": since,
            "expiresAt": until,
            "ticket": {"id": "concert-1", "title": "Concert", "price": 25.5, "version": 0},
            "refunds": [],
            "metadata": {
                "eventId": f"{order}:{version}",
                "occurredAt": since,
                "correlationId": "checkout",
                "causationId": "checkout",
            },
            **({"paidBy": "payment-1", "paymentId": "payment-1"} if status in ("paid", "refunded") else {}),
        },
    }


def payment_event(kind="PaymentCreated", order=ORDER, **fields):
    detail = {"id": "payment-1", "orderId": order, **fields}
    return {"source": "payments", "detail-type": kind, "id": kind, "time": "2026-11-23T09:25:20Z", "detail": detail}


CREATED = order_event(0, "awaiting_payment")
LATER = order_event(0, "awaiting_payment", OTHER, "2026-11-23T09:26:10.000Z", "2026-11-23T09:26:40.000Z")


class Consumer(unittest.TestCase):
    def apply(self, *events):
        """Returns the order id in the ticket's lock, and the result of each event."""
        tickets = Tickets()
        applied = [tickets.apply(event) for event in events]
        lock = tickets.by_id["concert-1"]["lock"]
        return lock and lock["order"], applied

    def test_order_locks_its_ticket_until_cancelled_expired_or_refunded(self):
        self.assertEqual(self.apply(CREATED), (ORDER, [True]))
        for end in ("cancelled", "expired", "refunded"):
            self.assertEqual(self.apply(CREATED, order_event(1, end)), (None, [True, True]))
        self.assertEqual(self.apply(order_event(2, "refunded"), order_event(1, "paid")), (None, [True, False]))

    def test_extension_moves_the_end_of_the_hold(self):
        extended = order_event(1, "awaiting_payment", until="2026-11-23T09:30:10.000Z")
        for events in itertools.permutations((CREATED, extended)):
            tickets = Tickets()
            for event in events:
                tickets.apply(event)
            self.assertEqual(tickets.by_id["concert-1"]["lock"]["until"], "2026-11-23T09:30:10.000Z")

    def test_outdated_or_repeated_event_changes_nothing(self):
        self.assertEqual(self.apply(order_event(1, "expired"), CREATED), (None, [True, False]))
        self.assertEqual(self.apply(CREATED, CREATED), (ORDER, [True, False]))

    def test_ended_order_keeps_the_lock_of_another_order(self):
        self.assertEqual(self.apply(CREATED, LATER, order_event(1, "expired")), (OTHER, [True] * 3))

    def test_held_ticket_stays_held_while_the_states_of_two_orders_are_interleaved(self):
        # The first order buys the ticket back and is over again; the other order holds the ticket.
        bought_back, over = order_event(2, "paid"), order_event(3, "cancelled")
        for events in itertools.permutations((CREATED, order_event(1, "expired"), bought_back, over, LATER)):
            self.assertEqual(self.apply(*events)[0], OTHER)

    def test_late_event_keeps_the_lock_of_a_newer_or_paid_order(self):
        self.assertEqual(self.apply(LATER, CREATED), (OTHER, [True, True]))
        self.assertEqual(self.apply(order_event(1, "paid"), LATER), (ORDER, [True, True]))

    def test_paid_order_locks_its_ticket_permanently(self):
        tickets = Tickets()
        for event in (CREATED, order_event(1, "expired"), order_event(2, "paid")):
            tickets.apply(event)
        lock = tickets.by_id["concert-1"]["lock"]
        self.assertEqual((lock["order"], lock["buyer"], lock["until"]), (ORDER, f"buyer of {ORDER}", None))

    def test_newest_event_alone_is_enough(self):
        self.assertEqual(self.apply(order_event(3, "paid")), (ORDER, [True]))

    def test_every_delivery_ends_in_the_true_state(self):
        rng = random.Random(1)
        for _ in range(10_000):
            history = random_history(rng) + random_sale(rng)
            newest = {event["detail"]["id"]: event for event in history}
            older = [event for event in history if event is not newest[event["detail"]["id"]]]
            kept = [event for event in older if rng.random() < 0.7]
            delivered = [event for event in (*newest.values(), *kept) for _ in range(rng.choice((1, 1, 2)))]
            rng.shuffle(delivered)
            tickets = Tickets()
            for event in delivered:
                tickets.apply(event)
            self.check(tickets.by_id["concert-1"], newest, delivered)

    def check(self, ticket, newest, delivered):
        """Compares a ticket with the newest event of each order and of the ticket."""
        sale = newest.pop("concert-1")
        withdrawn = sale["detail-type"] == "TicketWithdrawn"
        self.assertEqual((ticket["version"], ticket["withdrawn"]), (sale["detail"]["version"], withdrawn), delivered)
        if not withdrawn:
            self.assertEqual(ticket["title"], sale["detail"]["title"], delivered)
        live = [event["detail"] for event in newest.values() if event["detail"]["status"] in LIVE]
        expected = [(it["id"], it["expiresAt"] if it["status"] == "awaiting_payment" else None) for it in live]
        lock = ticket["lock"]
        self.assertEqual([(lock["order"], lock["until"])] if lock else [], expected, delivered)

    def test_ticket_takes_the_newest_version_and_keeps_the_lock(self):
        tickets = Tickets()
        events = (CREATED, ticket_event(2, "New"), ticket_event(1, "Old"), ticket_event(2, "Again"))
        self.assertEqual([tickets.apply(event) for event in events], [True, True, False, False])
        ticket = tickets.by_id["concert-1"]
        self.assertEqual((ticket["title"], ticket["version"], ticket["lock"]["order"]), ("New", 2, ORDER))

    def test_withdrawn_ticket_keeps_title_and_lock_until_it_is_on_sale_again(self):
        tickets = Tickets()
        events = (CREATED, ticket_event(0), withdrawal(1), withdrawal(1), ticket_event(0))
        self.assertEqual([tickets.apply(event) for event in events], [True, True, True, False, False])
        ticket = tickets.by_id["concert-1"]
        self.assertEqual((ticket["title"], ticket["withdrawn"], ticket["lock"]["order"]), ("Concert", True, ORDER))
        self.assertTrue(tickets.apply(ticket_event(2, "Back")))
        self.assertEqual((ticket["title"], ticket["withdrawn"]), ("Back", False))


LIVE = ("awaiting_payment", "paid")


def random_history(rng):
    """Events of orders of one ticket, of which at most one is live at any time."""
    history, states, live = [], {}, None
    for _ in range(rng.randint(1, 14)):
        ended = [order for order in states if order != live]
        if live is None and ended and rng.random() < 0.4:
            # A late payment buys an expired order, or its owner cancels it.
            order, change = rng.choice(ended), {"status": rng.choice(("paid", "cancelled"))}
        elif live is None:
            order = f"order-{len(states)}"
            minute = f"2026-11-23T09:{len(states) + 10}"
            change = {"status": "awaiting_payment", "since": f"{minute}:00.000Z", "until": f"{minute}:30.000Z"}
        elif rng.random() < 0.3:
            order, change = live, {}  # a refund becomes due or is settled: the status stays
        elif states[live]["status"] == "paid":
            order, change = live, {"status": "refunded"}
        elif rng.random() < 0.3:
            order, change = live, {"until": states[live]["since"].replace("T09:", "T10:")}  # the payment has started
        else:
            order, change = live, {"status": rng.choice(("paid", "cancelled", "expired"))}
        before = states.get(order, {"version": -1})
        states[order] = state = {**before, **change, "version": before["version"] + 1}
        live = order if state["status"] in LIVE else None
        history.append(order_event(order=order, **state))
    return history


def random_sale(rng):
    """Events of one ticket, which is withdrawn and put back on sale."""
    later = [
        withdrawal(version) if rng.random() < 0.4 else ticket_event(version, f"Title {version}")
        for version in range(1, rng.randint(1, 5))
    ]
    return [ticket_event(0), *later]


if __name__ == "__main__":
    unittest.main()
