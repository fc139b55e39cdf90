"""What a service knows of the tickets that only listens to the bus: a worked example of a consumer.

Events come at least once, and those of different orders in any sequence. Two rules make that harmless:
what is not newer than what is known, by its version, changes nothing; and a ticket is unlocked only by
the order that its lock names.
"""


class Tickets:
    """Each ticket and its lock, by id, as far as events have told.

    A lock has the order, its buyer, and `until`: from that time on, by the orders service's clock, anyone
    can take the ticket, whether or not `OrderExpired` has come. A ticket whose lock has no `until` is sold.
    """

    def __init__(self):
        self.by_id = {}
        self._versions = {}

    def hear(self, event):
        """Takes an event in. Says whether it is news."""
        source, kind, detail = event["source"], event["detail-type"], event["detail"]
        if source == "tickets":
            return self._hear_of_ticket(detail)
        if source == "orders":
            return self._hear_of_order(kind, detail)
        return True

    def _hear_of_ticket(self, detail):
        ticket = self._ticket(detail["id"])
        if detail["version"] <= ticket["version"]:
            return False
        # The whole ticket, so that one which has gone missing is not missed.
        ticket.update({field: detail[field] for field in ("title", "price", "version")})
        return True

    def _hear_of_order(self, kind, detail):
        order, version = detail["id"], detail["version"]
        if version <= self._versions.get(order, -1):
            return False
        self._versions[order] = version
        ticket = self._ticket(detail["ticket"]["id"])
        lock = ticket["lock"]
        if kind == "OrderCreated":
            # The order before it on the same ticket may be heard of later; this one's hold ends later.
            if not lock or (lock["until"] and lock["until"] < detail["expiresAt"]):
                ticket["lock"] = {
                    "order": order, "buyer": detail["userId"],
                    "since": detail["metadata"]["occurredAt"], "until": detail["expiresAt"]}
        elif kind == "OrderPaid":
            ticket["lock"] = {"order": order, "buyer": detail["userId"], "until": None}
        elif kind in ("OrderCancelled", "OrderExpired") and lock and lock["order"] == order:
            ticket["lock"] = None
        return True

    def _ticket(self, id):
        # An order may be heard of before its ticket.
        return self.by_id.setdefault(id, {"id": id, "title": id, "price": None, "version": -1, "lock": None})
