"""A history of orders, tickets and payments, as the service would have written it, cut at any moment.

The items have the formats of `shared/dynamo/src/items.rs`. Each step is one transaction of the service. Short holds
have lapsed by the end of the history, long holds have not.
"""

import random
import time
import uuid

SHORT_MS, LONG_MS = 30_000, 4 * 3_600_000
STARTED_MS, ENDED_MS = 3 * 3_600_000, 20 * 60_000  # before now
PRICE = 2550
# Orders that stay in these statuses, so that the end of the history has orders in every status.
AWAITING, PAID = 80, 300
OVER = ("cancelled", "expired", "refunded")


class History:
    """The writes of a run, in order: (table, id) with the item after the write."""

    def __init__(self, seed, orders, tickets):
        self.random = random.Random(seed)
        self.prefix = uuid.uuid4().hex[:8]
        self.log, self.now = [], 0
        self.rows = {}
        now = int(time.time() * 1000)
        for number in range(tickets):
            price = 0 if number % 20 == 0 else PRICE
            ticket = {"id": f"{self.prefix}-{number}", "title": "Concert", "price": price, "version": 0}
            self._commit(("Tickets", ticket))
        self.tickets = [item["id"] for _, item in self.log]
        self.orders = []
        while len(self.orders) < orders:
            self.now = now - STARTED_MS + (STARTED_MS - ENDED_MS) * len(self.orders) // orders
            self.random.choice([self._place, self._pay, self._pay, self._end, self._refund])()

    def at(self, table, moment):
        """The items of a table after this number of writes."""
        return {item["id"]: item for name, item in self.log[:moment] if name == table}

    def _commit(self, *rows):
        for table, item in rows:
            self.rows[table, item["id"]] = item
            self.log.append((table, item))

    def _order_in(self, status, kept=0):
        """An order in this status, at random; `None` if not more than `kept` are in it."""
        found = [id for id in self.orders if self.rows["Orders", id]["status"] == status]
        return self.rows["Orders", self.random.choice(found)] if len(found) > kept else None

    def _place(self):
        """Places an order for a ticket that is free, or takes over from a lapsed hold."""
        ticket = self.rows["Tickets", self.random.choice(self.tickets)]
        lapsed = ticket.get("locked_until", self.now + 1) <= self.now
        if "locked_by" in ticket and not lapsed:
            return
        is_free = not ticket["price"]
        expires_at = self.now + self.random.choice([SHORT_MS, SHORT_MS, LONG_MS])
        order = {
            "id": str(uuid.UUID(int=self.random.getrandbits(128), version=4)),
            "user_id": f"buyer-{self.random.randrange(300)}",
            "ticket": {name: ticket[name] for name in ("id", "title", "price", "version")},
            "status": "paid" if is_free else "awaiting_payment",
            "version": 0,
            "created_at": self.now,
            "expires_at": expires_at,
            "correlation_id": "history",
        }
        rows = [("Orders", order), ("Tickets", _locked(ticket, order, None if is_free else expires_at))]
        if lapsed:
            rows.append(("Orders", self._changed(self.rows["Orders", ticket["locked_by"]], status="expired")))
        self.orders.append(order["id"])
        self._commit(*rows)

    def _pay(self):
        """Pays an order: in time, late as a buy-back, or with a wrong amount."""
        order = self._order_in(*(("expired",) if self.random.random() < 0.1 else ("awaiting_payment", AWAITING)))
        if not order:
            return
        ticket = self.rows["Tickets", order["ticket"]["id"]]
        is_own = ticket.get("locked_by") == order["id"]
        payment = {"id": f"{self.prefix}-{len(self.log)}", "order_id": order["id"], "sent_at": self.now}
        if self.random.random() < 0.1 or not (is_own or "locked_by" not in ticket):
            payment |= {"amount": 7, "result": "wrong_amount"}
            refund = {"payment_id": payment["id"], "reason": "wrong_amount", "amount": 7}
            after = self._changed(order, refunds_due=[*order.get("refunds_due", []), refund])
            self._commit(("Orders", after), ("Payments", payment))
            return
        payment |= {"amount": PRICE, "result": "bought"}
        after = self._changed(order, status="paid", payment_id=payment["id"])
        self._commit(("Orders", after), ("Tickets", _locked(ticket, after, None)), ("Payments", payment))

    def _end(self):
        """Cancels an order, or expires it if it is due."""
        order = self._order_in("awaiting_payment", AWAITING)
        if order and order["expires_at"] <= self.now:
            self._commit(*self._released(order, status="expired"))
        elif order and self.random.random() < 0.3:
            self._commit(*self._released(order, status="cancelled"))

    def _refund(self):
        """Refunds a paid order."""
        order = self._order_in("paid", PAID)
        if order and "payment_id" in order:
            self._commit(*self._released(order, status="refunded"))

    def _released(self, order, **changes):
        """The end of an order: its ticket is free."""
        after, ticket = self._changed(order, **changes), self.rows["Tickets", order["ticket"]["id"]]
        unlocked = {name: value for name, value in ticket.items() if not name.startswith("locked_")}
        own = ticket.get("locked_by") == order["id"]
        return [("Orders", after), *([("Tickets", unlocked)] if own else [])]

    def _changed(self, order, **changes):
        return {**order, **changes, "version": order["version"] + 1}


def _locked(ticket, order, until):
    """The ticket with the lock of an order; without an end it is sold."""
    unlocked = {name: value for name, value in ticket.items() if not name.startswith("locked_")}
    lock = {"locked_by": order["id"], "locked_for": order["user_id"]}
    return unlocked | lock | ({"locked_until": until} if until else {})
