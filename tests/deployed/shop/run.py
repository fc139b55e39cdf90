"""Tests of the demo shop in a browser, against the stack described by ORDERS_STACK_FILE.

Screenshots are saved in target/shop.
"""

import json
import os
import unittest
import urllib.request
from datetime import datetime
from pathlib import Path

import boto3
from api_page import ApiPage  # noqa: F401
from browser import PHONE, WIDE, Browser, eventually
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

HERE = Path(__file__).resolve().parent
STACK = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
DYNAMODB = boto3.client(
    "dynamodb",
    region_name=STACK["region"],
    endpoint_url=STACK["endpointUrl"],
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
HOLD_SECONDS = 30
HOLDS_PER_BUYER = 10
AN_HOUR_LATE = "const late = Date.now; Date.now = () => late() - 3_600_000;"
# The page gets no events after `window.updates.onmessage = null`.
WITH_UPDATES = "EventSource = class extends EventSource { constructor(url) { super(url); window.updates = this; } };"
# The browser itself logs these responses as errors.
EXPECTED_ERRORS = ("status of 404", "status of 409", "status of 410")


class DefinitionOrder(unittest.TestLoader):
    """Runs tests in the order of their definition: the first order expires meanwhile; the last test checks it."""

    def getTestCaseNames(self, case):
        return [name for name in vars(case) if name.startswith("test_")]


class Shop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser(STACK["shopUrl"]))
        cls.first_ticket = put_on_sale("Songs at dusk")
        cls.first = cls.browser.open("alice")

    def open(self, buyer, **settings):
        window = self.browser.open(buyer, **settings)
        self.addCleanup(window.close)
        self.addCleanup(self.check_console, window)
        return window

    def open_without_updates(self, buyer, ticket):
        """Opens a window that shows the ticket and gets no further events."""
        window = self.open(buyer, before=WITH_UPDATES)
        window.ticket(ticket, "free")
        window.script("updates.onmessage = null")
        return window

    def buy(self, window, title):
        """Orders a new ticket with this title. Returns the ids of ticket and order."""
        ticket = put_on_sale(title)
        window.press(f"#buy-{ticket}")
        return ticket, window.order()

    def check_console(self, window):
        errors = [line["message"] for line in window.driver.get_log("browser") if line["level"] == "SEVERE"]
        unexpected = [error for error in errors if not any(expected in error for expected in EXPECTED_ERRORS)]
        self.assertEqual(unexpected, [])

    def test_ordered_ticket_is_held_with_a_countdown(self):
        self.first.ticket(self.first_ticket, "free")
        self.first.screenshot("tickets")
        self.first.press(f"#buy-{self.first_ticket}")
        self.first.order()
        start = eventually(lambda: self.first.seconds_left() > 0 and self.first.seconds_left(), "a countdown")
        self.assertLessEqual(start, HOLD_SECONDS)
        eventually(lambda: self.first.seconds_left() < start, "a second less")
        other = self.open("bob")
        self.assertIn("Held by Alice", other.ticket(self.first_ticket, "held").text)

    def test_paid_order_sells_the_ticket_and_a_second_payment_is_refunded(self):
        window = self.open("bob")
        ticket, order = self.buy(window, "A night of jazz")
        window.press("#pay", "Pay 20.00")
        window.find(".order .status", "Paid")
        window.screenshot("paid")
        window.press("#pay", "Pay twice")
        window.find(".history", "Bob is due a refund: the order was already paid")
        self.assertEqual(window.events(order), ["OrderCreated", "OrderPaid", "OrderRefundDue"])
        window.press("#back")
        self.assertIn("Sold to you", window.ticket(ticket, "sold").text)
        window.find(".orders li", "A night of jazz").find_element("css selector", ".paid")

    def test_cancelled_order_frees_the_ticket_and_a_late_payment_is_refunded(self):
        window = self.open("alice")
        ticket, order = self.buy(window, "Poems and tea")
        window.press("#cancel")
        window.find(".order .status", "Cancelled")
        window.press("#pay", "Pay too late")
        window.find(".history", "Alice is due a refund: the order was cancelled")
        self.assertEqual(window.events(order), ["OrderCreated", "OrderCancelled", "OrderRefundDue"])
        window.screenshot("cancelled")
        window.press("#back")
        window.ticket(ticket, "free")

    def test_free_ticket_is_owned_with_one_click_and_can_be_given_back(self):
        ticket = put_on_sale("A reading for all", price=0)
        window = self.open("bob")
        self.assertIn("Free", window.ticket(ticket, "free").text)
        window.press(f"#buy-{ticket}")
        order = window.order()
        window.find(".order .status", "Paid")
        window.screenshot("free")
        window.press("#cancel", "Give back")
        window.find(".order .status", "Cancelled")
        window.find(".history", "Bob cancelled A reading for all")
        self.assertEqual(window.events(order), ["OrderPaid", "OrderCancelled"])
        window.press("#back")
        window.ticket(ticket, "free")

    def test_slow_payment_makes_the_hold_longer(self):
        window = self.open("alice")
        _, order = self.buy(window, "A choir of hundreds")
        window.press("#pay-slowly", "Pay slowly")
        eventually(lambda: window.seconds_left() > HOLD_SECONDS + 60, "a longer countdown")
        window.screenshot("extended")
        self.assertEqual(window.text("#pay-slowly"), "In progress …")
        window.find(".order .status", "Paid")
        self.assertEqual(window.events(order), ["OrderCreated", "OrderExtended", "OrderPaid"])

    def test_refund_frees_the_ticket_and_a_due_refund_is_settled(self):
        window = self.open("bob")
        ticket, order = self.buy(window, "A play that is cancelled")
        window.press("#pay", "Pay 20.00")
        window.press("#refund", "Refund")
        window.find(".order .status", "Refunded")
        window.press("#pay", "Pay again")
        window.find(".refunds", "Refund due: the order was refunded.")
        window.screenshot("refund-due")
        self.check_accessibility(window)
        window.press(".refunds button", "Refund")
        window.find(".refunds", "Refund settled: the order was refunded.")
        window.screenshot("refunded")
        expected = ["OrderCreated", "OrderPaid", "OrderRefunded", "OrderRefundDue", "OrderRefundSettled"]
        eventually(lambda: window.events(order) == expected, f"the events {expected}")
        window.press("#back")
        window.ticket(ticket, "free")

    def test_withdrawn_ticket_is_not_for_sale_until_its_next_update(self):
        ticket = put_on_sale("A tour that may end")
        window, late = self.open("alice"), self.open_without_updates("bob", ticket)
        Select(window.find("#changed-ticket")).select_by_value(ticket)
        window.press("#withdraw")
        card = window.ticket(ticket, "withdrawn")
        self.assertIn("Withdrawn", card.text)
        self.assertEqual(card.find_elements("css selector", "button"), [])
        window.screenshot("withdrawn", whole_page=True)
        self.check_accessibility(window)
        eventually(lambda: "withdrawn" in item(ticket), "the withdrawal")
        late.press(f"#buy-{ticket}")
        late.find(f"[data-ticket='{ticket}'] .refusal", "The ticket has been withdrawn.")
        window.press("button", "Change price")
        window.ticket(ticket, "free")
        eventually(lambda: "withdrawn" not in item(ticket), "the update")
        window.press(f"#buy-{ticket}")
        window.order()

    def test_changed_price_needs_the_consent_of_the_buyer(self):
        ticket = put_on_sale("A price that moves")
        window = self.open_without_updates("alice", ticket)
        post("/prices", {"ticketId": ticket, "price": 25})
        eventually(lambda: item(ticket)["version"] == {"N": "1"}, "the new price")
        window.press(f"#buy-{ticket}")
        card = f"[data-ticket='{ticket}']"
        window.find(f"{card} .refusal", "The ticket has changed. New price: 25.00. Order again to accept it.")
        self.assertEqual(window.text(f"{card} .price"), "25.00")
        window.screenshot("changed")
        window.press(f"#buy-{ticket}")
        self.assertEqual(api("alice", f"/{window.order()}")["ticket"]["price"], 25)

    def test_own_order_is_found_again(self):
        ticket = put_on_sale("Ordered on another device")
        window = self.open_without_updates("bob", ticket)
        order = api("bob", "", {"ticketId": ticket})["id"]
        window.press(f"#buy-{ticket}")
        self.assertEqual(window.order(), order)
        window.find("#found", "You have ordered this ticket already.")
        window.screenshot("found")

    def test_hold_limit_names_the_time_to_try_again(self):
        cancel_holds("bob")
        self.addCleanup(cancel_holds, "bob")
        seats = [put_on_sale(f"Seat {number + 1}") for number in range(HOLDS_PER_BUYER)]
        ticket = put_on_sale("One seat too many")
        orders = [api("bob", "", {"ticketId": seat}) for seat in seats]
        window = self.open("bob")
        window.press(f"#buy-{ticket}")
        refusal = window.find(f"[data-ticket='{ticket}'] .refusal").text
        self.assertRegex(
            refusal,
            (
                r"^Too many unpaid tickets\. Pay for one, cancel one, or wait\. "
                r"Try again in \d+ s, at \d\d:\d\d:\d\d\.$"
            ),
        )
        window.screenshot("hold-limit")
        api("bob", f"/{orders[0]['id']}", method="DELETE")
        window.press(f"#buy-{ticket}")
        window.find(".order .status", "Awaiting payment")

    def test_concurrent_orders_have_one_winner_and_the_refusal_names_reason_and_time(self):
        ticket = put_on_sale("The last seat")
        windows = [self.open("alice"), self.open("bob")]
        for window in windows:
            window.ticket(ticket, "free")
        for window in windows:
            # A script click does not wait for the response.
            window.script("document.getElementById(arguments[0]).click()", f"buy-{ticket}")
        winner = eventually(
            lambda: next((window for window in windows if "#/orders/" in window.driver.current_url), None), "a winner"
        )
        [loser] = [window for window in windows if window is not winner]
        refusal = loser.find(f"[data-ticket='{ticket}'] .refusal").text
        self.assertRegex(refusal, r"^The ticket is reserved\. Try again in (2\d|3[01]) s, at \d\d:\d\d:\d\d\.$")
        expires_at = api("alice" if winner is windows[0] else "bob", f"/{winner.order()}")["expiresAt"]
        again_at = datetime.strptime(refusal[-9:-1], "%H:%M:%S").time()
        local = datetime.fromisoformat(expires_at).astimezone()
        difference = (again_at.minute * 60 + again_at.second - local.minute * 60 - local.second) % 3600
        # Retry-After is rounded up, and has up to one random second added.
        self.assertIn(difference, (0, 1, 2, 3599))
        winner.screenshot("race-won")
        loser.screenshot("race-lost")
        # The response for another buyer's order is the same as for a missing order.
        loser.script("location.hash = arguments[0]", f"#/orders/{winner.order()}")
        loser.find(".order", "no order with this id belongs to you")

    def test_log_lists_the_events_with_their_json(self):
        window = self.open("alice")
        window.script("document.querySelector('main input').focus()")
        window.find("[name=title]").send_keys("Puppets at noon", Keys.TAB)
        window.driver.switch_to.active_element.send_keys(Keys.CONTROL, "a")
        window.driver.switch_to.active_element.send_keys("7.50", Keys.ENTER)
        row = window.find("#log li", "Puppets at noon is on sale for 7.50")
        row.find_element("css selector", "summary").send_keys(Keys.ENTER)
        event = json.loads(row.find_element("css selector", "pre").text)
        self.assertEqual((event["source"], event["detail"]["price"]), ("tickets", 7.5))
        window.screenshot("log")

    def test_flash_sale_has_one_winner_and_99_refusals(self):
        ticket = put_on_sale("The reunion")
        window = self.open("alice")
        window.ticket(ticket, "free")
        Select(window.find("#flash-ticket")).select_by_value(ticket)
        window.press("button", "Send 100 orders")
        window.find("#flash-chart[data-results='100']")
        self.assertRegex(
            window.text("#flash-chart .summary"),
            (
                r"^Fan \d+ got the ticket\. 99 refused: the ticket is reserved, try again in \d+ s\. "
                r"Response time: median \d+ ms, maximum \d+ ms\.$"
            ),
        )
        dots = "return document.querySelectorAll('.crowd ' + arguments[0]).length"
        self.assertEqual([window.script(dots, kind) for kind in (".won", ".refused", "circle")], [1, 99, 100])
        self.assertIn("Held by Fan", window.ticket(ticket, "held").text)
        window.screenshot("flash-sale", whole_page=True)
        window.set_screen(WIDE, dark=True)
        window.screenshot("flash-sale-dark", whole_page=True)
        window.set_screen(PHONE)
        self.check_width(window)
        window.screenshot("phone", whole_page=True)

    def test_ticket_is_bought_and_paid_by_keyboard_alone(self):
        ticket = put_on_sale("Organ at midnight")
        window = self.open("bob")
        window.find(f"#buy-{ticket}")
        self.tab_to(window, f"buy-{ticket}")
        # A new ticket redraws the list; the focus stays.
        window.find(f"#buy-{put_on_sale('Drums at daybreak')}")
        self.assertEqual(window.driver.switch_to.active_element.get_attribute("id"), f"buy-{ticket}")
        window.driver.switch_to.active_element.send_keys(Keys.ENTER)
        window.order()
        eventually(lambda: window.driver.switch_to.active_element.tag_name == "h1", "the focus on the new heading")
        window.find("#pay")
        self.tab_to(window, "pay")
        outline = window.script("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        window.driver.switch_to.active_element.send_keys(Keys.ENTER)
        window.find(".order .status", "Paid")
        self.assertEqual(window.driver.switch_to.active_element.get_attribute("id"), "pay")
        announcements = "return document.getElementById('announcements').textContent"
        eventually(
            lambda: "Bob has bought Organ at midnight." in window.script(announcements), "a screen reader announcement"
        )

    def tab_to(self, window, id):
        for _ in range(60):
            window.driver.switch_to.active_element.send_keys(Keys.TAB)
            if window.driver.switch_to.active_element.get_attribute("id") == id:
                return
        self.fail(f"{id} is not reachable by keyboard")

    def test_controls_have_names_and_texts_have_contrast_in_both_themes(self):
        window = self.open("alice")
        self.check_accessibility(window)
        self.buy(window, "Plays in the yard")
        window.find(".history .event, .history li")
        self.check_accessibility(window)
        window.screenshot("order-dark")

    def check_accessibility(self, window):
        controls = "a, button, input, select, summary"
        eventually(
            lambda: all(control.accessible_name for control in window.driver.find_elements("css selector", controls)),
            "all names",
        )
        for dark in (False, True):
            window.set_screen(WIDE, dark)
            self.assertEqual(window.script((HERE / "contrast.js").read_text()), [], "dark" if dark else "light")

    def test_page_fits_the_width_of_a_phone(self):
        window = self.open("bob", size=PHONE)
        self.check_width(window)
        self.buy(window, "A title that is as long as one that a person who has never seen a phone would think of")
        window.find(".history li")
        self.check_width(window)
        window.screenshot("order-on-a-phone")

    def check_width(self, window):
        self.assertLessEqual(window.script("return document.documentElement.scrollWidth"), PHONE[0])

    def test_countdown_follows_the_clock_of_the_server(self):
        window = self.open("alice", before=AN_HOUR_LATE)
        self.buy(window, "Dawn chorus")
        left = eventually(lambda: window.seconds_left() > 0 and window.seconds_left(), "a countdown")
        self.assertIn(left, range(HOLD_SECONDS - 10, HOLD_SECONDS + 2))

    def test_page_loads_nothing_from_other_hosts(self):
        window = self.open("alice")
        origins = "performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin)"
        loaded = window.script(f"return {origins}")
        self.assertEqual(set(loaded), {STACK["shopUrl"], STACK["apiUrl"]})

    def test_expired_order_frees_the_ticket_and_a_late_payment_is_refunded(self):
        order = self.first.order()
        self.first.find(".order .status", "Expired")
        self.first.find(".history", "Alice’s hold of Songs at dusk has expired")
        self.first.screenshot("expired")
        other = self.open("bob")
        other.ticket(self.first_ticket, "free")
        other.press(f"#buy-{self.first_ticket}")
        other.order()
        self.first.press("#pay", "Pay too late")
        self.first.find(".history", "Alice is due a refund: another buyer has the ticket")
        self.assertEqual(self.first.events(order), ["OrderCreated", "OrderExpired", "OrderRefundDue"])


def put_on_sale(title, price=20):
    """Puts a ticket on sale. Returns its id after the service has stored it."""
    ticket = post("/tickets", {"title": title, "price": price})["id"]
    eventually(lambda: item(ticket), f"the ticket {ticket}")
    return ticket


def item(ticket):
    """Returns the item of a ticket in the table; `None` if there is none."""
    key = {"TableName": STACK["outputs"]["TicketsTableName"], "Key": {"id": {"S": ticket}}}
    return DYNAMODB.get_item(**key).get("Item")


def post(path, body):
    """Sends a command to the shop's server. Returns the response."""
    return send("POST", f"{STACK['shopUrl']}{path}", body)


def api(buyer, path, body=None, method=None):
    """Sends a request for the buyer's orders to the API. Returns the response."""
    method = method or ("POST" if body else "GET")
    return send(method, f"{STACK['apiUrl']}/api/orders{path}", body, Authorization=f"Bearer {STACK['tokens'][buyer]}")


def cancel_holds(buyer):
    """Cancels all unpaid orders of a buyer."""
    for order in api(buyer, "?limit=100&sort=-createdAt"):
        if order["status"] == "awaiting_payment":
            api(buyer, f"/{order['id']}", method="DELETE")


def send(method, url, body, **headers):
    headers = {**headers, "Content-Type": "application/json"}
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read() or "null")


if __name__ == "__main__":
    unittest.main(testLoader=DefinitionOrder(), verbosity=2)
