"""Example of an event consumer: the state of all tickets, computed from events alone.

The bus delivers events at least once, and the events of different orders in any sequence. Two rules
make the result correct: an event is ignored unless its version is newer than the known one, and an
order removes a lock only if the lock names this order.
"""


class Tickets:
    """Tickets and their locks, by ticket id.

    A lock holds the order id, the buyer, and `until`. After `until`, by the clock of the orders service,
    any buyer can take the ticket, even before `OrderExpired` arrives. A sold ticket has a lock with
    `until` = `None`.
    """

    def __init__(self):
        self.by_id = {}
        self._order_versions = {}

    def apply(self, event):
        """Applies an event. Returns `False` if it was a repeat or outdated."""
        source, detail_type, detail = event["source"], event["detail-type"], event["detail"]
        if source == "tickets":
            return self._apply_ticket(detail)
        if source == "orders":
            return self._apply_order(detail_type, detail)
        return True

    def _apply_ticket(self, detail):
        ticket = self._ticket(detail["id"])
        if detail["version"] <= ticket["version"]:
            return False
        # An event carries the whole ticket, so a missing earlier event does no harm.
        ticket.update({field: detail[field] for field in ("title", "price", "version")})
        return True

    def _apply_order(self, detail_type, detail):
        order, version = detail["id"], detail["version"]
        if version <= self._order_versions.get(order, -1):
            return False
        self._order_versions[order] = version
        ticket = self._ticket(detail["ticket"]["id"])
        lock = ticket["lock"]
        if detail_type == "OrderCreated":
            # The events of an earlier order on this ticket may arrive later; its hold ends earlier.
            if not lock or (lock["until"] and lock["until"] < detail["expiresAt"]):
                ticket["lock"] = {
                    "order": order,
                    "buyer": detail["userId"],
                    "since": detail["metadata"]["occurredAt"],
                    "until": detail["expiresAt"],
                }
        elif detail_type == "OrderPaid":
            ticket["lock"] = {"order": order, "buyer": detail["userId"], "until": None}
        elif detail_type in ("OrderCancelled", "OrderExpired") and lock and lock["order"] == order:
            ticket["lock"] = None
        return True

    def _ticket(self, id):
        # The first event of an order may arrive before the event of its ticket.
        return self.by_id.setdefault(id, {"id": id, "title": id, "price": None, "version": -1, "lock": None})
