"""Tests of the demo shop: stored history, updates, HTTP server, flash sale."""

import http.client
import json
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flash_sale
import shop_server
from shop import PAST_EVENTS, Shop
from test_tickets import CREATED, LATER, ORDER, order_event, payment_event, ticket_event


class FakeBus:
    """Records published events."""

    def __init__(self):
        self.published = []

    def put(self, *event):
        self.published.append(event)


class FakeIssuer:
    def token(self, sub):
        return f"token of {sub}"


class ShopState(unittest.TestCase):
    def setUp(self):
        self.history = Path(self.enterContext(tempfile.TemporaryDirectory())) / "shop.jsonl"

    def shop(self, *events):
        shop = Shop("http://api", FakeIssuer(), FakeBus(), self.history, ["concert-1"])
        for event in events:
            shop.receive(event)
        return shop

    def test_history_survives_a_restart_without_a_line_cut_off_by_a_crash(self):
        self.shop(ticket_event(0), CREATED)
        with open(self.history, "a") as history:
            history.write('{"source": "ord')
        self.shop(order_event(1, "paid"))
        update = self.shop().updates()
        self.assertEqual([entry["applied"] for entry in update["received"]], [True] * 3)
        self.assertEqual(update["tickets"][0]["lock"]["until"], None)

    def test_first_update_is_complete_and_the_next_has_only_the_changes(self):
        shop = self.shop(ticket_event(0), ticket_event(0, "Opera", "opera-1"))
        first = shop.updates()
        self.assertEqual((first["isComplete"], len(first["tickets"]), len(first["received"])), (True, 2, 2))
        shop.receive(CREATED)
        shop.receive(CREATED)
        second = shop.updates(first["cursor"])
        self.assertEqual((second["isComplete"], [it["id"] for it in second["tickets"]]), (False, ["concert-1"]))
        self.assertEqual([entry["applied"] for entry in second["received"]], [True, False])
        self.assertEqual(second["tickets"][0]["lock"]["order"], ORDER)
        third = shop.updates(second["cursor"])
        self.assertEqual((third["tickets"], third["received"], third["cursor"]), ([], [], second["cursor"]))

    def test_update_is_complete_after_a_restart_after_many_events_and_for_a_malformed_cursor(self):
        shop = self.shop(ticket_event(0), CREATED)
        cursor = shop.updates()["cursor"]
        run = cursor.partition("-")[0]
        for other in ("", "x", "-", f"{run}", f"{run}-", f"{run}-x", f"{run}--1", f"{run}-3", f"{run}-1e9"):
            self.assertTrue(shop.updates(other)["isComplete"], other)
        self.assertTrue(self.shop().updates(cursor)["isComplete"])
        for _ in range(PAST_EVENTS):
            shop.receive(CREATED)
        self.assertFalse(shop.updates(cursor)["isComplete"])
        shop.receive(CREATED)
        update = shop.updates(cursor)
        self.assertEqual((update["isComplete"], len(update["received"])), (True, PAST_EVENTS))

    def test_history_of_an_order_is_complete_after_many_newer_events(self):
        shop = self.shop(CREATED, payment_event(), payment_event(order=ORDER.upper()), order_event(1, "paid"))
        for _ in range(PAST_EVENTS):
            shop.receive(LATER)
        types = [entry["event"]["detail-type"] for entry in shop.history(ORDER)]
        self.assertEqual(types, ["OrderCreated", "PaymentCreated", "PaymentCreated", "OrderPaid"])
        self.assertEqual(shop.history("unknown"), [])

    def test_any_buyer_gets_a_token(self):
        shop = self.shop()
        self.assertEqual(list(shop.config("carol")["buyers"]), ["alice", "bob", "carol"])
        self.assertEqual(list(shop.config("bob")["buyers"]), ["alice", "bob"])
        for name in ("a b", "[x", "é", "x" * 256, "x\n"):
            self.assertRaises(ValueError, shop.config, name)


class Server(unittest.TestCase):
    def setUp(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.bus = FakeBus()
        self.shop = Shop("http://api", FakeIssuer(), self.bus, folder / "shop.jsonl")
        self.server = shop_server.serve(self.shop, 0)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def request(self, method, path, body=None, **headers):
        """Returns the status and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        self.assertIn("default-src 'self'", response.getheader("Content-Security-Policy"))
        return response.status, response.read()

    def post(self, path, value):
        return self.request("POST", path, json.dumps(value), **{"Content-Type": "application/json"})

    def test_server_serves_only_the_files_of_the_page(self):
        for path in ("/", "/?buyer=bob", "/shop.js", "/shop.css"):
            self.assertEqual(self.request("GET", path)[0], 200, path)
        for path in ("/../shop.py", "/../stack.json", "//etc/passwd", "/shop", "/nothing.js"):
            self.assertEqual(self.request("GET", path)[0], 404, path)

    def test_tokens_are_served_only_under_the_own_host_name(self):
        status, body = self.request("GET", "/config")
        self.assertEqual((status, json.loads(body)["buyers"]["bob"]), (200, "token of bob"))
        status, body = self.request("GET", "/config?buyer=carol%40home")
        self.assertEqual((status, json.loads(body)["buyers"]["carol@home"]), (200, "token of carol@home"))
        self.assertEqual(self.request("GET", "/config?buyer=a%20b")[0], 400)
        self.assertEqual(self.request("GET", "/config", Host="elsewhere.example")[0], 403)

    def test_ticket_and_payment_are_published(self):
        self.assertEqual(self.post("/tickets", {"title": "Circus", "price": "7.5"})[0], 202)
        self.assertEqual(self.post("/payments", {"orderId": ORDER})[0], 202)
        [ticket_created, payment_created] = self.bus.published
        self.assertEqual(ticket_created[:2], ("tickets", "TicketCreated"))
        self.assertEqual((ticket_created[2]["title"], ticket_created[2]["price"]), ("Circus", 7.5))
        self.assertEqual(payment_created[:2], ("payments", "PaymentCreated"))
        self.assertEqual(payment_created[2]["orderId"], ORDER)

    def test_changes_of_a_ticket_have_consecutive_versions(self):
        self.shop.receive(ticket_event(0))
        self.assertEqual(self.post("/withdrawals", {"ticketId": "concert-1"})[0], 202)
        # The event of the withdrawal has not arrived yet.
        self.assertEqual(self.post("/prices", {"ticketId": "concert-1", "price": 30})[0], 202)
        ticket = {"id": "concert-1", "title": "Concert", "price": 30, "version": 2}
        expected = [
            ("tickets", "TicketWithdrawn", {"id": "concert-1", "version": 1}),
            ("tickets", "TicketUpdated", ticket),
        ]
        self.assertEqual(self.bus.published, expected)

    def test_start_and_refund_of_a_payment_are_published(self):
        self.assertEqual(self.post("/payment-starts", {"orderId": ORDER})[0], 202)
        self.assertEqual(self.post("/refunds", {"orderId": ORDER, "paymentId": "payment-1"})[0], 202)
        expected = [
            ("payments", "PaymentStarted", {"orderId": ORDER}),
            ("payments", "PaymentRefunded", {"id": "payment-1", "orderId": ORDER}),
        ]
        self.assertEqual(self.bus.published, expected)

    def test_page_reads_updates_histories_and_flash_sales(self):
        self.shop.receive(CREATED)
        cursor = json.loads(self.request("GET", "/updates")[1])["cursor"]
        self.assertEqual(json.loads(self.request("GET", f"/updates?after={cursor}")[1])["received"], [])
        [entry] = json.loads(self.request("GET", f"/histories?order={ORDER}")[1])
        self.assertEqual(entry["event"]["detail-type"], "OrderCreated")
        status, body = self.post("/flash-sales", {"ticketId": "concert-1"})
        self.assertEqual(status, 202)
        self.assertEqual(self.request("GET", f"/flash-sales?id={json.loads(body)['id']}")[0], 200)
        self.assertEqual(self.request("GET", "/flash-sales?id=unknown")[0], 404)

    def test_bus_without_a_response_is_reported(self):
        def fail(*_):
            raise RuntimeError("PutEvents rejected TicketCreated")

        self.bus.put = fail
        self.assertEqual(self.post("/tickets", {"title": "Circus", "price": 1})[0], 503)

    def test_invalid_request_publishes_nothing(self):
        for path in ("/prices", "/withdrawals"):
            self.assertEqual(self.post(path, {"ticketId": "unknown", "price": 1})[0], 400)
        self.assertEqual(self.post("/refunds", {"orderId": ORDER})[0], 400)
        titles = (None, 7, "", " ", "x" * 1001)
        prices = ("much", None, -1, 0.001, 1e10, float("nan"), float("inf"))
        tickets = [{"title": title, "price": 1} for title in titles] + [{"title": "A", "price": it} for it in prices]
        for body in ({}, [], None, *tickets):
            self.assertEqual(self.post("/tickets", body)[0], 400, body)
        for order in (None, 7, "order-1", [], {}):
            self.assertEqual(self.post("/payments", {"orderId": order})[0], 400, order)
        self.assertEqual(self.post("/flash-sales", {"ticketId": "unknown"})[0], 400)
        self.assertEqual(self.post("/elsewhere", {})[0], 404)
        # An HTML form of another site can send this request.
        form = {"Content-Type": "text/plain"}
        self.assertEqual(self.request("POST", "/payments", '{"orderId": "1"}', **form)[0], 400)
        self.assertEqual(self.bus.published, [])


class FakeApi(ThreadingHTTPServer):
    """An orders API: `token-7` gets 201, all other tokens get 409. Responds once all requests are there."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, buyers):
        self.all_arrived = threading.Barrier(buyers, timeout=20)
        super().__init__(("127.0.0.1", 0), FakeApiHandler)


class FakeApiHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.all_arrived.wait()
        won = self.headers["Authorization"] == "Bearer token-7"
        body = json.dumps({"id": ORDER} if won else {"title": "The ticket is reserved"}).encode()
        self.send_response(201 if won else 409)
        self.send_header("Retry-After", "30")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class FlashSale(unittest.TestCase):
    def test_buyers_order_concurrently_and_each_result_is_reported(self):
        tokens = {f"fan-{number}": f"token-{number}" for number in range(20)}
        server = FakeApi(len(tokens))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        results = list(flash_sale.run(f"http://127.0.0.1:{server.server_port}", "concert-1", tokens))
        self.assertEqual({result["buyer"] for result in results}, set(tokens))
        [winner] = [result for result in results if result["status"] == 201]
        self.assertEqual((winner["buyer"], winner["order"]), ("fan-7", ORDER))
        refused = {(it["reason"], it["retryAfter"]) for it in results if it["status"] == 409}
        self.assertEqual(refused, {("The ticket is reserved", "30")})

    def test_unreachable_api_is_reported(self):
        results = list(flash_sale.run("http://127.0.0.1:1", "concert-1", {"one": "", "two": ""}))
        self.assertEqual([result["status"] for result in results], [0, 0])


if __name__ == "__main__":
    unittest.main()
