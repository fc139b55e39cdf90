"""Demo shop: the state behind the page in `shop/`, and the services around the orders service.

The shop reads the event bus and plays the ticket service and the payment service. The page calls the
orders service directly, like any client.
"""

import json
import threading
import uuid

import flash_sale
from tickets import Tickets

BUYERS = ("alice", "bob")
FLASH_SALE_BUYERS = 100
QUEUE = "orders-shop"
# Number of past events in the first update of a page.
PAST_EVENTS = 500
# Interval of empty updates; a failed write shows that the page was closed.
HEARTBEAT_SECONDS = 15


class Shop:
    """State and commands of the demo page. `history` is the file with all received events."""

    def __init__(self, api_url, issuer, bus, history):
        self.api_url = api_url
        self.bus = bus
        self._issuer = issuer
        self._history = history
        self._changed = threading.Condition()
        self._tickets, self._received = Tickets(), []
        # Newest version that this process has published, by ticket id: its event may still be on the way.
        self._published = {}
        for event in _read_history(history):
            self._apply(event)

    def subscribe(self):
        """Receives all events of the bus in a thread until the process ends."""
        queue = self.bus.subscribe(QUEUE, ["orders", "payments", "tickets"])
        threading.Thread(target=self.bus.receive, args=(queue, self.receive), daemon=True).start()

    def receive(self, event):
        """Stores an event, applies it, and wakes the waiting pages."""
        with self._changed:
            with open(self._history, "a") as history:
                history.write(json.dumps(event) + "\n")
            self._apply(event)
            self._changed.notify_all()

    def updates(self):
        """Yields JSON: first all tickets with the past events, then the tickets with each new event.

        Yields `None` after `HEARTBEAT_SECONDS` without an event.
        """
        with self._changed:
            sent = len(self._received)
            first = self._update(self._received[-PAST_EVENTS:])
        yield first
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._received) > sent, HEARTBEAT_SECONDS)
                received, sent = self._received[sent:], len(self._received)
                update = self._update(received) if received else None
            yield update

    def config(self):
        """Returns the address of the API and the tokens of the sample buyers."""
        return {"apiUrl": self.api_url, "buyers": {name: self._issuer.token(sub=name) for name in BUYERS}}

    def put_on_sale(self, title, price):
        """Publishes a new ticket, as the ticket service does."""
        ticket = {"id": f"ticket-{uuid.uuid4().hex[:8]}", "title": title, "price": price, "version": 0}
        self.bus.put("tickets", "TicketCreated", ticket)
        return ticket

    def change_price(self, ticket_id, price):
        """Publishes a new price, as the ticket service does. A withdrawn ticket is on sale again."""
        title, version = self._tickets.by_id[ticket_id]["title"], self._next_version(ticket_id)
        ticket = {"id": ticket_id, "title": title, "price": price, "version": version}
        self.bus.put("tickets", "TicketUpdated", ticket)
        return ticket

    def withdraw(self, ticket_id):
        """Publishes the end of a ticket's sale, as the ticket service does."""
        withdrawal = {"id": ticket_id, "version": self._next_version(ticket_id)}
        self.bus.put("tickets", "TicketWithdrawn", withdrawal)
        return withdrawal

    def start_payment(self, order_id):
        """Publishes the start of a payment, as the payment service does."""
        start = {"orderId": order_id}
        self.bus.put("payments", "PaymentStarted", start)
        return start

    def pay(self, order_id):
        """Publishes a payment, as the payment service does."""
        payment = {"id": f"payment-{uuid.uuid4().hex[:8]}", "orderId": order_id}
        self.bus.put("payments", "PaymentCreated", payment)
        return payment

    def refund(self, order_id, payment_id):
        """Publishes the refund of a whole payment, as the payment service does."""
        refund = {"id": payment_id, "orderId": order_id}
        self.bus.put("payments", "PaymentRefunded", refund)
        return refund

    def flash_sale(self, ticket_id):
        """Lets 100 buyers order one ticket at once. Yields the results."""
        buyers = [f"fan-{number:03}" for number in range(1, FLASH_SALE_BUYERS + 1)]
        return flash_sale.run(self.api_url, ticket_id, {name: self._issuer.token(sub=name) for name in buyers})

    def _next_version(self, ticket_id):
        with self._changed:
            known = self._tickets.by_id[ticket_id]["version"]
            version = max(known, self._published.get(ticket_id, known)) + 1
            self._published[ticket_id] = version
            return version

    def _apply(self, event):
        try:
            applied = self._tickets.apply(event)
        except (KeyError, TypeError):
            # Any program can publish a malformed event. The page shows it in the log.
            applied = False
        self._received.append({"event": event, "applied": applied})

    def _update(self, received):
        return json.dumps({"tickets": list(self._tickets.by_id.values()), "received": received})


def _read_history(file):
    """Returns the stored events. Removes a last line cut off by a crash; its event is still in the queue."""
    if not file.exists():
        return []
    complete, _, cut_off = file.read_text().rpartition("\n")
    if cut_off:
        file.write_text(complete + "\n" if complete else "")
    return [json.loads(line) for line in complete.splitlines()]
