"""HTTP server of the demo shop. Serves the page in `shop/`, the API page (`/api/`, built by `make api-page`), and these
endpoints:

GET  /config          address of the API, tokens of the sample buyers
GET  /events          tickets and events, as server-sent events
POST /tickets         {title, price}: puts a ticket on sale
POST /prices          {ticketId, price}: changes the price of a ticket; a withdrawn ticket is on sale again
POST /withdrawals     {ticketId}: ends the sale of a ticket
POST /payment-starts  {orderId}: starts the payment of an order
POST /payments        {orderId}: pays an order
POST /refunds         {orderId, paymentId}: refunds a payment
POST /flash-sales     {ticketId}: 100 buyers order one ticket at once; responds with a JSON line for each
"""

import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ports import HOST
from tools import ROOT

FILES = Path(__file__).resolve().parent / "shop"
API_PAGE = ROOT / "target/api"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".yaml": "text/yaml",
}
MAX_BODY_BYTES = 4096
# Commands that publish one event and return its detail.
COMMANDS = {
    "/tickets": lambda shop, body: shop.put_on_sale(str(body["title"]), float(body["price"])),
    "/prices": lambda shop, body: shop.change_price(str(body["ticketId"]), float(body["price"])),
    "/withdrawals": lambda shop, body: shop.withdraw(str(body["ticketId"])),
    "/payment-starts": lambda shop, body: shop.start_payment(str(body["orderId"])),
    "/payments": lambda shop, body: shop.pay(str(body["orderId"])),
    "/refunds": lambda shop, body: shop.refund(str(body["orderId"]), str(body["paymentId"])),
}


def serve(shop, port):
    """Serves the shop from threads until the process ends."""
    server = _Server((HOST, port), functools.partial(Handler, shop))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of the page."""

    def __init__(self, shop, *args):
        self.shop = shop
        super().__init__(*args)

    def do_GET(self):
        if not self._has_own_host():
            self._respond(403, {"message": "Forbidden"})
        elif self.path == "/config":
            self._respond(200, self.shop.config())
        elif self.path == "/events":
            self._stream(
                "text/event-stream", (f"data: {update}\n\n" if update else ":\n\n" for update in self.shop.updates())
            )
        else:
            self._send_file(self.path.partition("?")[0].removeprefix("/") or "index.html")

    def do_POST(self):
        body = self._body()
        if not self._has_own_host() or not isinstance(body, dict):
            return self._respond(400, {"message": "Bad Request"})
        try:
            if self.path in COMMANDS:
                return self._respond(202, COMMANDS[self.path](self.shop, body))
            if self.path == "/flash-sales":
                results = self.shop.flash_sale(str(body["ticketId"]))
                return self._stream("application/x-ndjson", (json.dumps(result) + "\n" for result in results))
        except (KeyError, TypeError, ValueError):
            return self._respond(400, {"message": "Bad Request"})
        return self._respond(404, {"message": "Not Found"})

    def _has_own_host(self):
        """Returns whether `Host` names this server: other sites must not get the tokens by DNS rebinding."""
        port = self.server.server_port
        return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

    def _body(self):
        """Returns the JSON body; `None` if it is malformed.

        Requires the JSON content type: a browser does not let other sites send it without a preflight.
        """
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            return None
        try:
            return json.loads(self.rfile.read(min(int(length), MAX_BODY_BYTES)))
        except ValueError:
            return None

    def _send_file(self, name):
        file = API_PAGE / (name.removeprefix("api/") or "index.html") if name.startswith("api/") else FILES / name
        if file.parent not in (FILES, API_PAGE) or file.suffix not in TYPES or not file.is_file():
            return self._respond(404, {"message": "Not Found"})
        self._send_head(200, f"{TYPES[file.suffix]}; charset=utf-8")
        return self.wfile.write(file.read_bytes())

    def _respond(self, status, value):
        self._send_head(status, "application/json")
        self.wfile.write(json.dumps(value).encode())

    def _stream(self, content_type, texts):
        self._send_head(200, content_type)
        try:
            for text in texts:
                self.wfile.write(text.encode())
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The page was closed.

    def _send_head(self, status, content_type):
        """Sends status and headers. HTTP/1.0: the body extends to the end of the connection."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        # The page loads nothing from other hosts and sends nothing to them.
        self.send_header(
            "Content-Security-Policy",
            (
                f"default-src 'self'; connect-src 'self' {self.shop.api_url}; img-src 'self' data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
        )
        self.end_headers()

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
