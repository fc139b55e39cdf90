"""HTTP server of the demo shop. Serves the page in `shop/`, the API page (`/api/`, built by `make api-page`), and these
endpoints:

GET  /config          ?buyer=: address of the API, tokens of the sample buyers and of this buyer, sample tickets
GET  /updates         ?after=cursor: the events after an update, and the tickets that they changed
GET  /histories       ?order=id: all events of an order
GET  /flash-sales     ?id=: the results of a flash sale so far
POST /tickets         {title, price}: puts a ticket on sale
POST /prices          {ticketId, price}: changes the price of a ticket; a withdrawn ticket is on sale again
POST /withdrawals     {ticketId}: ends the sale of a ticket
POST /payment-starts  {orderId}: starts the payment of an order
POST /payments        {orderId}: pays an order
POST /refunds         {orderId, paymentId}: refunds a payment
POST /flash-sales     {ticketId}: 100 buyers order one ticket at once

The page asks for updates twice a second. A browser opens at most six connections to a host for all tabs, so a
connection held open by each tab would block the seventh tab.
"""

import functools
import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import botocore.exceptions

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
# Commands of the page, and the result of each.
COMMANDS = {
    "/tickets": lambda shop, body: shop.put_on_sale(body["title"], float(body["price"])),
    "/prices": lambda shop, body: shop.change_price(body["ticketId"], float(body["price"])),
    "/withdrawals": lambda shop, body: shop.withdraw(body["ticketId"]),
    "/payment-starts": lambda shop, body: shop.start_payment(body["orderId"]),
    "/payments": lambda shop, body: shop.pay(body["orderId"]),
    "/refunds": lambda shop, body: shop.refund(body["orderId"], body["paymentId"]),
    "/flash-sales": lambda shop, body: shop.start_flash_sale(body["ticketId"]),
}
# Queries of the page, each with one parameter.
QUERIES = {
    "/config": lambda shop, query: shop.config(query.get("buyer", "")),
    "/updates": lambda shop, query: shop.updates(query.get("after", "")),
    "/histories": lambda shop, query: shop.history(query.get("order", "")),
    "/flash-sales": lambda shop, query: shop.flash_sale(query.get("id", "")),
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
        path, _, query = self.path.partition("?")
        if not self._has_own_host():
            return self._respond(403, {"message": "Forbidden"})
        if path not in QUERIES:
            return self._send_file(path.removeprefix("/") or "index.html")
        return self._run(200, lambda: QUERIES[path](self.shop, dict(urllib.parse.parse_qsl(query))))

    def do_POST(self):
        body = self._body()
        if not self._has_own_host() or not isinstance(body, dict):
            return self._respond(400, {"message": "Bad Request"})
        if self.path not in COMMANDS:
            return self._respond(404, {"message": "Not Found"})
        return self._run(202, lambda: COMMANDS[self.path](self.shop, body))

    def _run(self, status, run):
        """Responds with the result of a query or a command, or with the reason of its failure."""
        try:
            result = run()
        except ValueError as error:
            return self._respond(400, {"message": str(error)})
        except (KeyError, TypeError):
            return self._respond(400, {"message": "Bad Request"})
        except (RuntimeError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return self._respond(503, {"message": "The event bus does not respond"})
        return self._respond(404, {"message": "Not Found"}) if result is None else self._respond(status, result)

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

    def handle_error(self, *request):
        # A page was closed before its response.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)
