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
AN_HOUR_LATE = "const late = Date.now; Date.now = () => late() - 3_600_000;"
# The browser itself logs these responses as errors.
EXPECTED_ERRORS = ("status of 404", "status of 409")


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
        expires_at = api("alice" if winner is windows[0] else "bob", winner.order())["expiresAt"]
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


def put_on_sale(title):
    """Puts a ticket on sale. Returns its id after the service has stored it."""
    request = urllib.request.Request(
        f"{STACK['shopUrl']}/tickets",
        json.dumps({"title": title, "price": 20}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        ticket = json.load(response)["id"]
    key = {"TableName": STACK["outputs"]["TicketsTableName"], "Key": {"id": {"S": ticket}}}
    eventually(lambda: "Item" in DYNAMODB.get_item(**key), f"the ticket {ticket}")
    return ticket


def api(buyer, order):
    """Returns an order from the API."""
    request = urllib.request.Request(
        f"{STACK['apiUrl']}/api/orders/{order}", headers={"Authorization": f"Bearer {STACK['tokens'][buyer]}"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


if __name__ == "__main__":
    unittest.main(testLoader=DefinitionOrder(), verbosity=2)
