"""Tests of the demo shop: event consumer, stored history, HTTP server, flash sale."""

import http.client
import itertools
import json
import random
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flash_sale
import shop_server
from shop import Shop
from tickets import Tickets

ORDER, OTHER = "order-1", "order-2"


def ticket_event(version, title="Concert"):
    return {
        "source": "tickets",
        "detail-type": "TicketUpdated" if version else "TicketCreated",
        "id": f"ticket-{version}",
        "detail": {"id": "concert-1", "title": title, "price": 25.5, "version": version},
    }


def withdrawal(version):
    return {
        "source": "tickets",
        "detail-type": "TicketWithdrawn",
        "id": f"ticket-{version}",
        "detail": {"id": "concert-1", "version": version},
    }


def order_event(version, status, order=ORDER, since="2026-11-23T09:25:06.093Z", until="2026-11-23T09:25:36.093Z"):
    return {
        "source": "orders",
        "detail-type": "any: the consumer acts on the status",
        "id": f"{order}:{version}",
        "detail": {
            "id": order,
            "version": version,
            "status": status,
            "userId": f"buyer of {order}",
            "createdAt": since,
            "expiresAt": until,
            "ticket": {"id": "concert-1", "title": "Concert", "price": 25.5, "version": 0},
            "refunds": [],
            "metadata": {"occurredAt": since},
        },
    }


CREATED = order_event(0, "awaiting_payment")
LATER = order_event(0, "awaiting_payment", OTHER, "2026-11-23T09:26:10.000Z", "2026-11-23T09:26:40.000Z")


class Consumer(unittest.TestCase):
    def apply(self, *events):
        """Returns the order id in the ticket's lock, and the result of each event."""
        tickets = Tickets()
        applied = [tickets.apply(event) for event in events]
        lock = tickets.by_id["concert-1"]["lock"]
        return lock and lock["order"], applied

    def test_order_locks_its_ticket_until_cancelled_expired_or_refunded(self):
        self.assertEqual(self.apply(CREATED), (ORDER, [True]))
        for end in ("cancelled", "expired", "refunded"):
            self.assertEqual(self.apply(CREATED, order_event(1, end)), (None, [True, True]))
        self.assertEqual(self.apply(order_event(2, "refunded"), order_event(1, "paid")), (None, [True, False]))

    def test_extension_moves_the_end_of_the_hold(self):
        extended = order_event(1, "awaiting_payment", until="2026-11-23T09:30:10.000Z")
        for events in itertools.permutations((CREATED, extended)):
            tickets = Tickets()
            for event in events:
                tickets.apply(event)
            self.assertEqual(tickets.by_id["concert-1"]["lock"]["until"], "2026-11-23T09:30:10.000Z")

    def test_outdated_or_repeated_event_changes_nothing(self):
        self.assertEqual(self.apply(order_event(1, "expired"), CREATED), (None, [True, False]))
        self.assertEqual(self.apply(CREATED, CREATED), (ORDER, [True, False]))

    def test_ended_order_keeps_the_lock_of_another_order(self):
        self.assertEqual(self.apply(CREATED, LATER, order_event(1, "expired")), (OTHER, [True] * 3))

    def test_held_ticket_stays_held_while_the_states_of_two_orders_are_interleaved(self):
        # The first order buys the ticket back and is over again; the other order holds the ticket.
        bought_back, over = order_event(2, "paid"), order_event(3, "cancelled")
        for events in itertools.permutations((CREATED, order_event(1, "expired"), bought_back, over, LATER)):
            self.assertEqual(self.apply(*events)[0], OTHER)

    def test_late_event_keeps_the_lock_of_a_newer_or_paid_order(self):
        self.assertEqual(self.apply(LATER, CREATED), (OTHER, [True, True]))
        self.assertEqual(self.apply(order_event(1, "paid"), LATER), (ORDER, [True, True]))

    def test_paid_order_locks_its_ticket_permanently(self):
        tickets = Tickets()
        for event in (CREATED, order_event(1, "expired"), order_event(2, "paid")):
            tickets.apply(event)
        lock = tickets.by_id["concert-1"]["lock"]
        self.assertEqual((lock["order"], lock["buyer"], lock["until"]), (ORDER, "buyer of order-1", None))

    def test_newest_event_alone_is_enough(self):
        self.assertEqual(self.apply(order_event(3, "paid")), (ORDER, [True]))

    def test_every_delivery_ends_in_the_true_state(self):
        rng = random.Random(1)
        for _ in range(10_000):
            history = random_history(rng) + random_sale(rng)
            newest = {event["detail"]["id"]: event for event in history}
            older = [event for event in history if event is not newest[event["detail"]["id"]]]
            kept = [event for event in older if rng.random() < 0.7]
            delivered = [event for event in (*newest.values(), *kept) for _ in range(rng.choice((1, 1, 2)))]
            rng.shuffle(delivered)
            tickets = Tickets()
            for event in delivered:
                tickets.apply(event)
            self.check(tickets.by_id["concert-1"], newest, delivered)

    def check(self, ticket, newest, delivered):
        """Compares a ticket with the newest event of each order and of the ticket."""
        sale = newest.pop("concert-1")
        withdrawn = sale["detail-type"] == "TicketWithdrawn"
        self.assertEqual((ticket["version"], ticket["withdrawn"]), (sale["detail"]["version"], withdrawn), delivered)
        if not withdrawn:
            self.assertEqual(ticket["title"], sale["detail"]["title"], delivered)
        live = [event["detail"] for event in newest.values() if event["detail"]["status"] in LIVE]
        expected = [(it["id"], it["expiresAt"] if it["status"] == "awaiting_payment" else None) for it in live]
        lock = ticket["lock"]
        self.assertEqual([(lock["order"], lock["until"])] if lock else [], expected, delivered)

    def test_ticket_takes_the_newest_version_and_keeps_the_lock(self):
        tickets = Tickets()
        events = (CREATED, ticket_event(2, "New"), ticket_event(1, "Old"), ticket_event(2, "Again"))
        self.assertEqual([tickets.apply(event) for event in events], [True, True, False, False])
        ticket = tickets.by_id["concert-1"]
        self.assertEqual((ticket["title"], ticket["version"], ticket["lock"]["order"]), ("New", 2, ORDER))

    def test_withdrawn_ticket_keeps_title_and_lock_until_it_is_on_sale_again(self):
        tickets = Tickets()
        events = (CREATED, ticket_event(0), withdrawal(1), withdrawal(1), ticket_event(0))
        self.assertEqual([tickets.apply(event) for event in events], [True, True, True, False, False])
        ticket = tickets.by_id["concert-1"]
        self.assertEqual((ticket["title"], ticket["withdrawn"], ticket["lock"]["order"]), ("Concert", True, ORDER))
        self.assertTrue(tickets.apply(ticket_event(2, "Back")))
        self.assertEqual((ticket["title"], ticket["withdrawn"]), ("Back", False))


LIVE = ("awaiting_payment", "paid")


def random_history(rng):
    """Events of orders of one ticket, of which at most one is live at any time."""
    history, states, live = [], {}, None
    for _ in range(rng.randint(1, 14)):
        ended = [order for order in states if order != live]
        if live is None and ended and rng.random() < 0.4:
            # A late payment buys an expired order, or its owner cancels it.
            order, change = rng.choice(ended), {"status": rng.choice(("paid", "cancelled"))}
        elif live is None:
            order = f"order-{len(states)}"
            minute = f"2026-11-23T09:{len(states) + 10}"
            change = {"status": "awaiting_payment", "since": f"{minute}:00.000Z", "until": f"{minute}:30.000Z"}
        elif rng.random() < 0.3:
            order, change = live, {}  # a refund becomes due or is settled: the status stays
        elif states[live]["status"] == "paid":
            order, change = live, {"status": "refunded"}
        elif rng.random() < 0.3:
            order, change = live, {"until": states[live]["since"].replace("T09:", "T10:")}  # the payment has started
        else:
            order, change = live, {"status": rng.choice(("paid", "cancelled", "expired"))}
        before = states.get(order, {"version": -1})
        states[order] = state = {**before, **change, "version": before["version"] + 1}
        live = order if state["status"] in LIVE else None
        history.append(order_event(order=order, **state))
    return history


def random_sale(rng):
    """Events of one ticket, which is withdrawn and put back on sale."""
    later = [
        withdrawal(version) if rng.random() < 0.4 else ticket_event(version, f"Title {version}")
        for version in range(1, rng.randint(1, 5))
    ]
    return [ticket_event(0), *later]


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

    def shop(self):
        return Shop("http://api", FakeIssuer(), FakeBus(), self.history)

    def test_history_survives_a_restart_without_a_line_cut_off_by_a_crash(self):
        first = self.shop()
        first.receive(ticket_event(0))
        first.receive(CREATED)
        with open(self.history, "a") as history:
            history.write('{"source": "ord')
        self.shop().receive(order_event(1, "paid"))
        update = json.loads(next(self.shop().updates()))
        self.assertEqual([entry["applied"] for entry in update["received"]], [True] * 3)
        self.assertEqual(update["tickets"][0]["lock"]["until"], None)

    def test_updates_start_with_the_history_and_continue_with_new_events(self):
        shop = self.shop()
        shop.receive(ticket_event(0))
        updates = shop.updates()
        self.assertEqual(len(json.loads(next(updates))["received"]), 1)
        shop.receive(CREATED)
        shop.receive(CREATED)
        update = json.loads(next(updates))
        self.assertEqual([entry["applied"] for entry in update["received"]], [True, False])
        self.assertEqual(update["tickets"][0]["lock"]["order"], ORDER)

    def test_malformed_event_is_listed_and_changes_nothing(self):
        shop = self.shop()
        shop.receive({"source": "orders", "detail-type": "OrderCreated", "detail": {"ticket": 7}})
        update = json.loads(next(shop.updates()))
        self.assertEqual((update["tickets"], update["received"][0]["applied"]), ([], False))


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

    def test_invalid_request_publishes_nothing(self):
        for path in ("/prices", "/withdrawals"):
            self.assertEqual(self.post(path, {"ticketId": "unknown", "price": 1})[0], 400)
        self.assertEqual(self.post("/refunds", {"orderId": ORDER})[0], 400)
        for body in ({}, {"title": "Circus", "price": "much"}, [], None):
            self.assertEqual(self.post("/tickets", body)[0], 400)
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
