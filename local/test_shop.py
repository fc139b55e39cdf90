"""What the shop knows from the bus alone, what it remembers, and what its server answers to whom."""

import http.client
import json
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flash_sale
import shop
from tickets import Tickets

ORDER, OTHER = "order-1", "order-2"


def ticket_event(version, title="Concert", id="concert-1"):
    return {"source": "tickets", "detail-type": "TicketCreated", "id": f"ticket-{version}",
            "detail": {"id": id, "title": title, "price": 25.5, "version": version}}


def order_event(kind, version, order=ORDER, until="2026-11-23T09:25:36.093Z", ticket="concert-1"):
    return {"source": "orders", "detail-type": kind, "id": f"{order}:{version}", "detail": {
        "id": order, "version": version, "userId": f"buyer of {order}", "expiresAt": until,
        "ticket": {"id": ticket, "price": 25.5}, "metadata": {"occurredAt": "2026-11-23T09:25:06.093Z"}}}


CREATED = order_event("OrderCreated", 0)
LATER = order_event("OrderCreated", 0, OTHER, "2026-11-23T09:26:40.000Z")


class WhatEventsTell(unittest.TestCase):
    def lock_after(self, *events):
        """The order that the ticket's lock names after these events, and whether each was news."""
        tickets = Tickets()
        news = [tickets.hear(event) for event in events]
        lock = tickets.by_id["concert-1"]["lock"]
        return lock and lock["order"], news

    def test_an_order_locks_its_ticket_until_it_is_cancelled_or_expired(self):
        self.assertEqual(self.lock_after(CREATED), (ORDER, [True]))
        for end in ("OrderCancelled", "OrderExpired"):
            self.assertEqual(self.lock_after(CREATED, order_event(end, 1)), (None, [True, True]))

    def test_what_is_not_newer_changes_nothing(self):
        self.assertEqual(self.lock_after(order_event("OrderExpired", 1), CREATED), (None, [True, False]))
        self.assertEqual(self.lock_after(CREATED, CREATED), (ORDER, [True, False]))

    def test_an_order_that_ends_unlocks_no_other_orders_ticket(self):
        self.assertEqual(self.lock_after(CREATED, LATER, order_event("OrderExpired", 1)), (OTHER, [True] * 3))

    def test_an_order_that_is_heard_of_late_takes_no_other_orders_lock(self):
        self.assertEqual(self.lock_after(LATER, CREATED), (OTHER, [True, True]))
        self.assertEqual(self.lock_after(order_event("OrderPaid", 1), LATER), (ORDER, [True, True]))

    def test_an_order_that_is_paid_late_has_its_ticket_again_for_good(self):
        tickets = Tickets()
        for event in (CREATED, order_event("OrderExpired", 1), order_event("OrderPaid", 2)):
            tickets.hear(event)
        self.assertEqual(tickets.by_id["concert-1"]["lock"], {"order": ORDER, "buyer": "buyer of order-1", "until": None})

    def test_a_refund_leaves_the_lock_alone(self):
        self.assertEqual(self.lock_after(order_event("OrderPaid", 1), order_event("OrderRefundDue", 2))[0], ORDER)

    def test_a_tickets_newest_version_counts_and_leaves_the_lock_alone(self):
        tickets = Tickets()
        events = (CREATED, ticket_event(2, "New"), ticket_event(1, "Old"), ticket_event(2, "Again"))
        self.assertEqual([tickets.hear(event) for event in events], [True, True, False, False])
        ticket = tickets.by_id["concert-1"]
        self.assertEqual((ticket["title"], ticket["version"], ticket["lock"]["order"]), ("New", 2, ORDER))


class Bus:
    """A bus that only notes what is put on it."""

    def __init__(self):
        self.put_on = []

    def put(self, *event):
        self.put_on.append(event)


class Issuer:
    def token(self, sub):
        return f"token of {sub}"


class TheShop(unittest.TestCase):
    def setUp(self):
        self.memory = Path(self.enterContext(tempfile.TemporaryDirectory())) / "shop.jsonl"
        self.bus = Bus()

    def open(self, api_url="http://api"):
        return shop.Shop(api_url, Issuer(), self.bus, self.memory)

    def test_what_it_has_heard_outlives_it_and_the_half_that_a_crash_leaves_is_forgotten(self):
        first = self.open()
        first.hear(ticket_event(0))
        first.hear(CREATED)
        with open(self.memory, "a") as memory:
            memory.write('{"source": "ord')
        self.open().hear(order_event("OrderPaid", 1))
        story = json.loads(next(self.open().stories()))
        self.assertEqual([heard["news"] for heard in story["heard"]], [True] * 3)
        self.assertEqual(story["tickets"][0]["lock"]["until"], None)

    def test_a_page_is_told_what_there_is_and_then_each_event(self):
        window = self.open()
        window.hear(ticket_event(0))
        stories = window.stories()
        self.assertEqual(len(json.loads(next(stories))["heard"]), 1)
        window.hear(CREATED)
        window.hear(CREATED)
        story = json.loads(next(stories))
        self.assertEqual([heard["news"] for heard in story["heard"]], [True, False])
        self.assertEqual(story["tickets"][0]["lock"]["order"], ORDER)

    def test_what_nobody_understands_is_told_and_changes_nothing(self):
        window = self.open()
        window.hear({"source": "orders", "detail-type": "OrderCreated", "detail": {"ticket": 7}})
        story = json.loads(next(window.stories()))
        self.assertEqual((story["tickets"], story["heard"][0]["news"]), ([], False))


class TheServer(unittest.TestCase):
    def setUp(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.bus = Bus()
        self.server = shop.serve(shop.Shop("http://api", Issuer(), self.bus, folder / "shop.jsonl"), 0)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(self, method, path, body=None, **headers):
        """The status and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        self.assertIn("default-src 'self'", answer.getheader("Content-Security-Policy"))
        return answer.status, answer.read()

    def post(self, path, value):
        return self.ask("POST", path, json.dumps(value), **{"Content-Type": "application/json"})

    def test_the_page_and_what_it_names_are_served_and_nothing_else(self):
        for path in ("/", "/?buyer=bob", "/shop.js", "/shop.css"):
            self.assertEqual(self.ask("GET", path)[0], 200, path)
        for path in ("/../shop.py", "/../stack.json", "//etc/passwd", "/shop", "/nothing.js"):
            self.assertEqual(self.ask("GET", path)[0], 404, path)

    def test_only_its_own_pages_get_tokens(self):
        status, body = self.ask("GET", "/config")
        self.assertEqual((status, json.loads(body)["buyers"]["bob"]), (200, "token of bob"))
        self.assertEqual(self.ask("GET", "/config", Host="elsewhere.example")[0], 403)

    def test_a_ticket_and_a_charge_are_put_on_the_bus(self):
        self.assertEqual(self.post("/tickets", {"title": "Circus", "price": "7.5"})[0], 202)
        self.assertEqual(self.post("/payments", {"orderId": ORDER})[0], 202)
        [(source, kind, ticket), (payer, charged, payment)] = self.bus.put_on
        self.assertEqual((source, kind, ticket["title"], ticket["price"]), ("tickets", "TicketCreated", "Circus", 7.5))
        self.assertEqual((payer, charged, payment["orderId"]), ("payments", "PaymentCreated", ORDER))

    def test_what_is_no_good_request_puts_nothing_on_the_bus(self):
        for body in ({}, {"title": "Circus", "price": "much"}, [], None):
            self.assertEqual(self.post("/tickets", body)[0], 400)
        self.assertEqual(self.post("/elsewhere", {})[0], 404)
        # What a form on a page from elsewhere could send.
        self.assertEqual(self.ask("POST", "/payments", '{"orderId": "1"}', **{"Content-Type": "text/plain"})[0], 400)
        self.assertEqual(self.bus.put_on, [])


class FlashSales(unittest.TestCase):
    def test_all_are_sent_at_once_and_each_is_told_what_it_was_answered(self):
        buyers = {f"fan-{number}": f"token-{number}" for number in range(20)}
        all_here = threading.Barrier(len(buyers), timeout=20)

        class Api(BaseHTTPRequestHandler):
            def do_POST(self):
                all_here.wait()
                won = self.headers["Authorization"] == "Bearer token-7"
                body = json.dumps({"id": ORDER} if won else {"title": "The ticket is reserved"}).encode()
                self.send_response(201 if won else 409)
                self.send_header("Retry-After", "30")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        server.daemon_threads = True
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answers = list(flash_sale.run(f"http://127.0.0.1:{server.server_port}", "concert-1", buyers))
        self.assertEqual({answer["buyer"] for answer in answers}, set(buyers))
        [winner] = [answer for answer in answers if answer["status"] == 201]
        self.assertEqual((winner["buyer"], winner["order"]), ("fan-7", ORDER))
        refused = [answer for answer in answers if answer["status"] == 409]
        self.assertEqual({(answer["why"], answer["retryAfter"]) for answer in refused}, {("The ticket is reserved", "30")})

    def test_an_api_that_is_not_there_is_told_as_such(self):
        answers = list(flash_sale.run("http://127.0.0.1:1", "concert-1", {"one": "", "two": ""}))
        self.assertEqual([answer["status"] for answer in answers], [0, 0])


if __name__ == "__main__":
    unittest.main()
