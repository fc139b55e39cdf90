"""Demo shop: the state behind the page in `shop/`, and the services around the orders service.

The shop reads the event bus and plays the ticket service and the payment service. The page calls the
orders service directly, like any client.
"""

import json
import re
import threading
import uuid
from collections import defaultdict
from datetime import UTC, datetime

import events
import flash_sale
from tickets import Tickets

BUYERS = ("alice", "bob")
# User ids that the orders service accepts.
BUYER = re.compile(r"(?!\[)[!-~]{1,255}")
QUEUE = "orders-shop"
# Number of past events in the first update of a page.
PAST_EVENTS = 500


class Shop:
    """State and commands of the demo page.

    `history` is the file with all received events. `samples` are the ids of the tickets that the page shows first.
    """

    def __init__(self, api_url, issuer, bus, history, samples=()):
        self.api_url = api_url
        self.bus = bus
        self._issuer = issuer
        self._history = history
        self._samples = samples
        self._lock = threading.Lock()
        self._run = uuid.uuid4().hex
        self._tickets, self._received, self._received_by_order = Tickets(), [], defaultdict(list)
        # Newest version that this process has published, by ticket id: its event may still be on the way.
        self._published = {}
        self._flash_sales = {}
        for event in _read_history(history):
            self._apply(event)

    def subscribe(self):
        """Receives all events of the bus in a thread until the process ends."""
        queue = self.bus.subscribe(QUEUE, ["orders", "payments", "tickets"])
        threading.Thread(target=self.bus.receive, args=(queue, self.receive), daemon=True).start()

    def receive(self, event):
        """Stores an event and applies it."""
        with self._lock:
            with open(self._history, "a") as history:
                history.write(json.dumps(event) + "\n")
            self._apply(event)

    def updates(self, cursor=""):
        """Returns the events after a cursor, and the tickets that they changed.

        `isComplete`: without a cursor of this process, or with an old one, the update has all tickets and the last
        events.
        """
        with self._lock:
            run, _, position = cursor.partition("-")
            known = int(position) if run == self._run and position.isdecimal() else -1
            is_complete = not max(0, len(self._received) - PAST_EVENTS) <= known <= len(self._received)
            received = self._received[-PAST_EVENTS if is_complete else known :]
            changed = (
                self._tickets.by_id if is_complete else dict.fromkeys(it["ticket"] for it in received if it["ticket"])
            )
            return {
                "cursor": f"{self._run}-{len(self._received)}",
                "isComplete": is_complete,
                "tickets": [dict(self._tickets.by_id[id]) for id in changed],
                "received": received,
            }

    def history(self, order_id):
        """Returns all events of an order."""
        with self._lock:
            return list(self._received_by_order.get(order_id, ()))

    def config(self, buyer=""):
        """Returns the address of the API, the tokens of the sample buyers and of `buyer`, and the sample tickets."""
        if buyer and not BUYER.fullmatch(buyer):
            raise ValueError("A buyer id has 1 to 255 letters, digits or signs of ASCII, and no space.")
        buyers = dict.fromkeys((*BUYERS, buyer) if buyer else BUYERS)
        return {
            "apiUrl": self.api_url,
            "buyers": {name: self._issuer.token(sub=name) for name in buyers},
            "samples": list(self._samples),
        }

    def put_on_sale(self, title, price):
        """Publishes a new ticket, as the ticket service does."""
        ticket = {"id": f"ticket-{uuid.uuid4().hex[:8]}", "title": title, "price": price, "version": 0}
        return self._publish("tickets", "TicketCreated", ticket)

    def change_price(self, ticket_id, price):
        """Publishes a new price, as the ticket service does. A withdrawn ticket is on sale again."""
        title, version = self._tickets.by_id[ticket_id]["title"], self._next_version(ticket_id)
        ticket = {"id": ticket_id, "title": title, "price": price, "version": version}
        return self._publish("tickets", "TicketUpdated", ticket)

    def withdraw(self, ticket_id):
        """Publishes the end of a ticket's sale, as the ticket service does."""
        withdrawal = {"id": ticket_id, "version": self._next_version(ticket_id)}
        return self._publish("tickets", "TicketWithdrawn", withdrawal)

    def start_payment(self, order_id):
        """Publishes the start of a payment, as the payment service does."""
        return self._publish("payments", "PaymentStarted", {"orderId": order_id})

    def pay(self, order_id):
        """Publishes a payment, as the payment service does."""
        payment = {"id": f"payment-{uuid.uuid4().hex[:8]}", "orderId": order_id}
        return self._publish("payments", "PaymentCreated", payment)

    def refund(self, order_id, payment_id):
        """Publishes the refund of a whole payment, as the payment service does."""
        return self._publish("payments", "PaymentRefunded", {"id": payment_id, "orderId": order_id})

    def start_flash_sale(self, ticket_id):
        """Lets many buyers order one ticket at once, in the background. Returns the sale."""
        if ticket_id not in self._tickets.by_id:
            raise KeyError(ticket_id)
        sale = {"id": uuid.uuid4().hex, "ticketId": ticket_id, "results": []}
        self._flash_sales[sale["id"]] = sale
        tokens = {name: self._issuer.token(sub=name) for name in flash_sale.BUYERS}
        threading.Thread(
            target=lambda: sale["results"].extend(flash_sale.run(self.api_url, ticket_id, tokens)), daemon=True
        ).start()
        return sale

    def flash_sale(self, id):
        """Returns a sale with the results so far; `None` if this process has not run it."""
        return self._flash_sales.get(id)

    def _publish(self, source, kind, detail):
        """Publishes an event and returns its detail. Raises `ValueError` if its schema refuses it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        problem = events.problem({"source": source, "detail-type": kind, "time": now, "detail": detail})
        if problem:
            raise ValueError(problem)
        self.bus.put(source, kind, detail)
        return detail

    def _next_version(self, ticket_id):
        with self._lock:
            known = self._tickets.by_id[ticket_id]["version"]
            version = max(known, self._published.get(ticket_id, known)) + 1
            self._published[ticket_id] = version
            return version

    def _apply(self, event):
        # Any program can publish a malformed event. The page shows it in the log.
        problem = events.problem(event)
        applied = problem is None and self._tickets.apply(event)
        order, ticket = _subjects(event) if problem is None else (None, None)
        received = {"event": event, "applied": applied, "problem": problem, "ticket": ticket if applied else None}
        self._received.append(received)
        if order:
            self._received_by_order[order].append(received)


def _subjects(event):
    """Returns the ids of the order and of the ticket of a valid event."""
    source, detail = event["source"], event["detail"]
    if source == "payments":
        return detail["orderId"].lower(), None
    return (detail["id"], detail["ticket"]["id"]) if source == "orders" else (None, detail["id"])


def _read_history(file):
    """Returns the stored events. Removes a last line cut off by a crash; its event is still in the queue."""
    if not file.exists():
        return []
    complete, _, cut_off = file.read_text().rpartition("\n")
    if cut_off:
        file.write_text(complete + "\n" if complete else "")
    return [events.read(line) for line in complete.splitlines()]
