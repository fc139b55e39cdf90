"""A shop window for developers: serves the page in `shop/`, which talks to the orders service as any shop
would, and plays the services around it. It only listens to the bus, and puts on it what they would.

    GET  /config        where the API is, and the sample buyers with their tokens
    GET  /events        what is known of the tickets, and everything on the bus, as server-sent events
    POST /tickets       {title, price}: the ticket service puts a ticket on sale
    POST /payments      {orderId}: the payment service has charged someone for an order
    POST /flash-sales   {ticketId}: a hundred buyers at once; a line of JSON for each answer, as it comes
"""

import functools
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flash_sale
from tickets import Tickets

FILES = Path(__file__).resolve().parent / "shop"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
BUYERS = ("alice", "bob")
FLASH_SALE_BUYERS = 100
QUEUE = "orders-shop"
# How many of the last events a page is told of when it opens.
PAST_EVENTS = 500
# After this long without an event, a line that says nothing shows whether the page is still there.
HEARTBEAT_SECONDS = 15
MOST_BODY_BYTES = 4096


class Shop:
    """What the page is given and can ask for."""

    def __init__(self, api_url, issuer, bus, memory):
        self.api_url = api_url
        self.bus = bus
        self._issuer = issuer
        self._memory = memory
        self._news = threading.Condition()
        self._tickets, self._heard = Tickets(), []
        for event in _remembered(memory):
            self._take_in(event)

    def listen(self):
        """Hears everything on the bus, from a thread of its own, until the process ends."""
        queue = self.bus.subscribe(QUEUE, ["orders", "payments", "tickets"])
        threading.Thread(target=self.bus.receive, args=(queue, self.hear), daemon=True).start()

    def hear(self, event):
        with self._news:
            with open(self._memory, "a") as memory:
                memory.write(json.dumps(event) + "\n")
            self._take_in(event)
            self._news.notify_all()

    def _take_in(self, event):
        try:
            self._heard.append({"event": event, "news": self._tickets.hear(event)})
        except (KeyError, TypeError):
            # Anyone can put anything on the bus. The page shows it; nobody can make sense of it.
            self._heard.append({"event": event, "news": False})

    def stories(self):
        """The tickets and the last events; then each event that comes, with the tickets after it. None, if
        nothing happens for a while."""
        with self._news:
            told, tickets = len(self._heard), list(self._tickets.by_id.values())
            story = json.dumps({"tickets": tickets, "heard": self._heard[-PAST_EVENTS:]})
        yield story
        while True:
            with self._news:
                self._news.wait_for(lambda: len(self._heard) > told, HEARTBEAT_SECONDS)
                heard, told = self._heard[told:], len(self._heard)
                story = json.dumps({"tickets": list(self._tickets.by_id.values()), "heard": heard})
            yield story if heard else None

    def config(self):
        return {"apiUrl": self.api_url, "buyers": {name: self._issuer.token(sub=name) for name in BUYERS}}

    def put_on_sale(self, title, price):
        ticket = {"id": f"ticket-{uuid.uuid4().hex[:8]}", "title": title, "price": price, "version": 0}
        self.bus.put("tickets", "TicketCreated", ticket)
        return ticket

    def charge(self, order_id):
        payment = {"id": f"charge-{uuid.uuid4().hex[:8]}", "orderId": order_id}
        self.bus.put("payments", "PaymentCreated", payment)
        return payment

    def flash_sale(self, ticket_id):
        buyers = [f"fan-{number:03}" for number in range(1, FLASH_SALE_BUYERS + 1)]
        return flash_sale.run(self.api_url, ticket_id, {name: self._issuer.token(sub=name) for name in buyers})


def _remembered(memory):
    """Every event that was ever heard. One that was being written when a crash came is still in the queue."""
    if not memory.exists():
        return []
    whole, _, half = memory.read_text().rpartition("\n")
    if half:
        memory.write_text(whole + "\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


class Handler(BaseHTTPRequestHandler):
    """Serves a shop by HTTP."""

    def __init__(self, shop, *args):
        self.shop = shop
        super().__init__(*args)

    def do_GET(self):
        if not self._is_asked_by_us():
            self._answer(403, {"message": "Forbidden"})
        elif self.path == "/config":
            self._answer(200, self.shop.config())
        elif self.path == "/events":
            self._stream("text/event-stream", (
                f"data: {story}\n\n" if story else ":\n\n" for story in self.shop.stories()))
        else:
            self._send_file(self.path.partition("?")[0].removeprefix("/") or "index.html")

    def do_POST(self):
        body = self._body()
        if not self._is_asked_by_us() or not isinstance(body, dict):
            return self._answer(400, {"message": "Bad Request"})
        try:
            if self.path == "/tickets":
                return self._answer(202, self.shop.put_on_sale(str(body["title"]), float(body["price"])))
            if self.path == "/payments":
                return self._answer(202, self.shop.charge(str(body["orderId"])))
            if self.path == "/flash-sales":
                answers = self.shop.flash_sale(str(body["ticketId"]))
                return self._stream("application/x-ndjson", (json.dumps(answer) + "\n" for answer in answers))
        except (KeyError, TypeError, ValueError):
            return self._answer(400, {"message": "Bad Request"})
        return self._answer(404, {"message": "Not Found"})

    def _is_asked_by_us(self):
        """Not by a page from elsewhere that a browser on this machine has open: what is here has tokens."""
        port = self.server.server_port
        return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

    def _body(self):
        """The body as JSON; none if it is not. Pages from elsewhere cannot send this type unasked."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            return None
        try:
            return json.loads(self.rfile.read(min(int(length), MOST_BODY_BYTES)))
        except ValueError:
            return None

    def _send_file(self, name):
        file = FILES / name
        if file.parent != FILES or file.suffix not in TYPES or not file.is_file():
            return self._answer(404, {"message": "Not Found"})
        self._head(200, f"{TYPES[file.suffix]}; charset=utf-8")
        return self.wfile.write(file.read_bytes())

    def _answer(self, status, value):
        self._head(status, "application/json")
        self.wfile.write(json.dumps(value).encode())

    def _stream(self, content_type, texts):
        self._head(200, content_type)
        try:
            for text in texts:
                self.wfile.write(text.encode())
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The page has been closed.

    def _head(self, status, content_type):
        """The body goes on until the connection ends, as HTTP/1.0 has it."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        # Nothing comes from elsewhere, and nothing goes there.
        self.send_header("Content-Security-Policy", (
            f"default-src 'self'; connect-src 'self' {self.shop.api_url}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"))
        self.end_headers()

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(shop, port):
    """Serves the shop, from threads of its own, until the process ends."""
    server = _Server(("127.0.0.1", port), functools.partial(Handler, shop))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
