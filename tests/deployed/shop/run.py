"""The shop in a real browser, against the stack that ORDERS_STACK_FILE describes. Pictures of it are left in
target/shop, whatever becomes of the tests."""

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
    "dynamodb", region_name=STACK["region"], endpoint_url=STACK["endpointUrl"],
    aws_access_key_id="test", aws_secret_access_key="test")
HOLD_SECONDS = 30
AN_HOUR_LATE = "const late = Date.now; Date.now = () => late() - 3_600_000;"
# What a page may say on its console: the browser itself tells of these answers.
EXPECTED_ANSWERS = ("status of 404", "status of 409")


class InTheirSequence(unittest.TestLoader):
    """The first test's order lapses while the others run, and the last looks at what is left of it."""

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
        """Orders a new ticket of this title. Returns its id and the order's."""
        ticket = put_on_sale(title)
        window.press(f"#buy-{ticket}")
        return ticket, window.order()

    def check_console(self, window):
        complaints = [line["message"] for line in window.driver.get_log("browser") if line["level"] == "SEVERE"]
        self.assertEqual([it for it in complaints if not any(answer in it for answer in EXPECTED_ANSWERS)], [])

    def test_a_ticket_that_is_ordered_is_held_and_its_seconds_run_down(self):
        self.first.ticket(self.first_ticket, "free")
        self.first.picture("tickets")
        self.first.press(f"#buy-{self.first_ticket}")
        self.first.order()
        whole = eventually(lambda: self.first.seconds_left() > 0 and self.first.seconds_left(), "a countdown")
        self.assertLessEqual(whole, HOLD_SECONDS)
        eventually(lambda: self.first.seconds_left() < whole, "a second less")
        other = self.open("bob")
        self.assertIn("Held by Alice", other.ticket(self.first_ticket, "held").text)

    def test_an_order_that_is_paid_is_its_buyers_and_a_second_charge_is_given_back(self):
        window = self.open("bob")
        ticket, order = self.buy(window, "A night of jazz")
        window.press("#pay", "Pay 20.00")
        window.find(".order .status", "Paid")
        window.picture("paid")
        window.press("#pay", "Pay twice")
        window.find(".history", "Bob gets the money back: the order was paid already")
        self.assertEqual(window.events(order), ["OrderCreated", "OrderPaid", "OrderRefundDue"])
        window.press("#back")
        self.assertIn("Sold to you", window.ticket(ticket, "sold").text)
        window.find(".orders li", "A night of jazz").find_element("css selector", ".paid")

    def test_an_order_that_is_cancelled_frees_its_ticket_and_a_late_charge_is_given_back(self):
        window = self.open("alice")
        ticket, order = self.buy(window, "Poems and tea")
        window.press("#cancel")
        window.find(".order .status", "Cancelled")
        window.press("#pay", "Pay too late")
        window.find(".history", "Alice gets the money back: the order was cancelled")
        self.assertEqual(window.events(order), ["OrderCreated", "OrderCancelled", "OrderRefundDue"])
        window.picture("cancelled")
        window.press("#back")
        window.ticket(ticket, "free")

    def test_of_two_windows_one_wins_and_the_other_is_told_why_and_from_when_it_can_try_again(self):
        ticket = put_on_sale("The last seat")
        windows = [self.open("alice"), self.open("bob")]
        for window in windows:
            window.ticket(ticket, "free")
        for window in windows:
            # Without waiting for what it leads to.
            window.script("document.getElementById(arguments[0]).click()", f"buy-{ticket}")
        winner = eventually(lambda: next((it for it in windows if "#/orders/" in it.driver.current_url), None), "a winner")
        [loser] = [it for it in windows if it is not winner]
        refusal = loser.find(f"[data-ticket='{ticket}'] .refusal").text
        self.assertRegex(refusal, r"^Someone was faster\. The ticket is reserved\. Told to wait (2\d|30) s: try again from ")
        expires_at = api("alice" if winner is windows[0] else "bob", winner.order())["expiresAt"]
        again_at = datetime.strptime(refusal[-12:-4], "%H:%M:%S").time()
        local = datetime.fromisoformat(expires_at).astimezone()
        apart = (again_at.minute * 60 + again_at.second - local.minute * 60 - local.second) % 3600
        self.assertIn(apart, (0, 1, 3599))
        winner.picture("race-won")
        loser.picture("race-lost")
        # Another buyer's order is answered like none.
        loser.script("location.hash = arguments[0]", f"#/orders/{winner.order()}")
        loser.find(".order", "you have no order with this id")

    def test_the_log_tells_what_is_on_the_bus_and_shows_all_of_it(self):
        window = self.open("alice")
        window.script("document.querySelector('main input').focus()")
        window.find("[name=title]").send_keys("Puppets at noon", Keys.TAB)
        window.driver.switch_to.active_element.send_keys(Keys.CONTROL, "a")
        window.driver.switch_to.active_element.send_keys("7.50", Keys.ENTER)
        row = window.find("#log li", "Puppets at noon is on sale for 7.50")
        row.find_element("css selector", "summary").send_keys(Keys.ENTER)
        event = json.loads(row.find_element("css selector", "pre").text)
        self.assertEqual((event["source"], event["detail"]["price"]), ("tickets", 7.5))
        window.picture("log")

    def test_a_flash_sale_has_one_winner_and_ninety_nine_who_are_told_to_wait(self):
        ticket = put_on_sale("The reunion")
        window = self.open("alice")
        window.ticket(ticket, "free")
        Select(window.find("#flash-ticket")).select_by_value(ticket)
        window.press("button", "Let 100 buyers try")
        window.find("#flash-picture[data-answers='100']")
        self.assertRegex(window.text("#flash-picture .summary"), (
            r"^Fan \d+ got it\. 99 were told: the ticket is reserved, try again in \d+ s\. "
            r"Half of them waited up to \d+ ms, the last \d+ ms\.$"))
        dots = "return document.querySelectorAll('.crowd ' + arguments[0]).length"
        self.assertEqual([window.script(dots, kind) for kind in (".won", ".refused", "circle")], [1, 99, 100])
        self.assertIn("Held by Fan", window.ticket(ticket, "held").text)
        window.picture("flash-sale", whole=True)
        window.look(WIDE, night=True)
        window.picture("flash-sale-by-night", whole=True)
        window.look(PHONE)
        self.check_width(window)
        window.picture("phone", whole=True)

    def test_a_ticket_is_bought_and_paid_by_keyboard_alone(self):
        ticket = put_on_sale("Organ at midnight")
        window = self.open("bob")
        window.find(f"#buy-{ticket}")
        self.tab_to(window, f"buy-{ticket}")
        # Nothing that happens meanwhile takes the focus away.
        window.find(f"#buy-{put_on_sale('Drums at daybreak')}")
        self.assertEqual(window.driver.switch_to.active_element.get_attribute("id"), f"buy-{ticket}")
        window.driver.switch_to.active_element.send_keys(Keys.ENTER)
        window.order()
        eventually(lambda: window.driver.switch_to.active_element.tag_name == "h1", "the focus on the new screen's heading")
        window.find("#pay")
        self.tab_to(window, "pay")
        outline = window.script("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        window.driver.switch_to.active_element.send_keys(Keys.ENTER)
        window.find(".order .status", "Paid")
        self.assertEqual(window.driver.switch_to.active_element.get_attribute("id"), "pay")
        eventually(lambda: "Bob has bought Organ at midnight." in window.script(
            "return document.getElementById('said').textContent"), "a word on it for those who listen")

    def tab_to(self, window, id):
        for _ in range(60):
            window.driver.switch_to.active_element.send_keys(Keys.TAB)
            if window.driver.switch_to.active_element.get_attribute("id") == id:
                return
        self.fail(f"{id} cannot be reached by keyboard")

    def test_every_control_has_a_name_and_every_text_its_contrast_by_day_and_by_night(self):
        window = self.open("alice")
        self.check_access(window)
        self.buy(window, "Plays in the yard")
        window.find(".history .event, .history li")
        self.check_access(window)
        window.picture("order-by-night")

    def check_access(self, window):
        controls = "a, button, input, select, summary"
        eventually(lambda: all(
            control.accessible_name for control in window.driver.find_elements("css selector", controls)), "a name for all")
        for night in (False, True):
            window.look(WIDE, night)
            self.assertEqual(window.script((HERE / "contrast.js").read_text()), [], "by night" if night else "by day")

    def test_nothing_is_wider_than_a_phone(self):
        window = self.open("bob", size=PHONE)
        self.check_width(window)
        self.buy(window, "A title that is as long as one that a person who has never seen a phone would think of")
        window.find(".history li")
        self.check_width(window)
        window.picture("order-on-a-phone")

    def check_width(self, window):
        self.assertLessEqual(window.script("return document.documentElement.scrollWidth"), PHONE[0])

    def test_the_servers_clock_counts_and_not_the_buyers(self):
        window = self.open("alice", before=AN_HOUR_LATE)
        self.buy(window, "Dawn chorus")
        left = eventually(lambda: window.seconds_left() > 0 and window.seconds_left(), "a countdown")
        self.assertIn(left, range(HOLD_SECONDS - 10, HOLD_SECONDS + 2))

    def test_nothing_comes_from_elsewhere(self):
        window = self.open("alice")
        loaded = window.script("return performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin)")
        self.assertEqual(set(loaded), {STACK["shopUrl"], STACK["apiUrl"]})

    def test_when_the_seconds_are_over_the_ticket_is_free_and_a_late_charge_is_given_back(self):
        order = self.first.order()
        self.first.find(".order .status", "Expired")
        self.first.find(".history", "Alice loses Songs at dusk: the hold is over")
        self.first.picture("expired")
        other = self.open("bob")
        other.ticket(self.first_ticket, "free")
        other.press(f"#buy-{self.first_ticket}")
        other.order()
        self.first.press("#pay", "Pay too late")
        self.first.find(".history", "Alice gets the money back: the ticket has gone to someone else")
        self.assertEqual(self.first.events(order), ["OrderCreated", "OrderExpired", "OrderRefundDue"])


def put_on_sale(title):
    """Lets the shop's server put a ticket on sale. Returns its id, once the service has heard of it."""
    request = urllib.request.Request(
        f"{STACK['shopUrl']}/tickets", json.dumps({"title": title, "price": 20}).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        ticket = json.load(answer)["id"]
    key = {"TableName": STACK["outputs"]["TicketsTableName"], "Key": {"id": {"S": ticket}}}
    eventually(lambda: "Item" in DYNAMODB.get_item(**key), f"the ticket {ticket}")
    return ticket


def api(buyer, order):
    """An order, as the service shows it to this buyer."""
    request = urllib.request.Request(
        f"{STACK['apiUrl']}/api/orders/{order}", headers={"Authorization": f"Bearer {STACK['tokens'][buyer]}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


if __name__ == "__main__":
    unittest.main(testLoader=InTheirSequence(), verbosity=2)
