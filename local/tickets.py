"""Example of an event consumer: the state of all tickets, computed from events alone.

The bus delivers events at least once and in any order, and each event of an order carries the whole order. The
consumer keeps the newest state of each order. A ticket has no lock of its own that events set and clear: its lock
follows from the newest states of its orders. Locks, versions and withdrawals are the same for every sequence of
deliveries, also with repeats and with losses of older events.
"""

from collections import defaultdict


class Tickets:
    """Tickets and their locks, by ticket id.

    A lock holds the order id, the buyer, `since` and `until`. After `until`, by the clock of the orders service,
    any buyer can take the ticket, even before a newer state of the order arrives. A sold ticket has a lock with
    `until` = `None`. A withdrawn ticket keeps its lock, and takes no new orders until a newer event puts it back on
    sale.
    """

    def __init__(self):
        self.by_id = {}
        self._orders = {}
        self._orders_by_ticket = defaultdict(set)

    def apply(self, event):
        """Applies a valid event. Returns `False` if it was a repeat or outdated."""
        source, detail = event["source"], event["detail"]
        if source == "tickets":
            return self._apply_ticket(detail, event["detail-type"] == "TicketWithdrawn")
        if source == "orders":
            return self._apply_order(detail)
        return True

    def _apply_ticket(self, detail, withdrawn):
        # A withdrawal has neither title nor price: the ticket keeps those known by then.
        fields = ("version",) if withdrawn else ("title", "price", "version")
        new = {"withdrawn": withdrawn, **{field: detail[field] for field in fields}}
        ticket = self._ticket(detail["id"])
        if new["version"] <= ticket["version"]:
            return False
        # A ticket on sale has its whole state from one event, so a missing earlier event does no harm.
        ticket.update(new)
        return True

    def _apply_order(self, detail):
        order = {field: detail[field] for field in ("id", "version", "status", "userId", "createdAt", "expiresAt")}
        ticket_id = detail["ticket"]["id"]
        known = self._orders.get(order["id"])
        if known and _age(order) <= _age(known):
            return False
        self._orders[order["id"]] = order
        self._orders_by_ticket[ticket_id].add(order["id"])
        self._ticket(ticket_id)["lock"] = self._lock(ticket_id)
        return True

    def _lock(self, ticket_id):
        """The lock from the newest state of each order of the ticket.

        Two live orders at once mean that the end of one is on its way: the paid or the later hold counts.
        """
        orders = [self._orders[id] for id in self._orders_by_ticket[ticket_id]]
        for order in orders:
            if order["status"] == "paid":
                return {"order": order["id"], "buyer": order["userId"], "since": order["createdAt"], "until": None}
        holds = [order for order in orders if order["status"] == "awaiting_payment"]
        if not holds:
            return None
        order = max(holds, key=lambda order: (order["expiresAt"], order["id"]))
        return {
            "order": order["id"],
            "buyer": order["userId"],
            "since": order["createdAt"],
            "until": order["expiresAt"],
        }

    def _ticket(self, id):
        # The first event of an order may arrive before the event of its ticket.
        unknown = {"id": id, "title": id, "price": None, "version": -1, "withdrawn": False, "lock": None}
        return self.by_id.setdefault(id, unknown)


def _age(order):
    return order["createdAt"], order["version"]
