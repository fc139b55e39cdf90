"""Tests of the ways between the screens, of waiting buyers, and of screen readers."""

from browser import PHONE, eventually
from case import EXPECTED_ERRORS, ShopTest
from marketplace import STACK, api, order, order_event, post, put_on_sale, show, ticket_event
from selenium.webdriver.common.keys import Keys

MISSING = "5f2bd9a4-96bb-5b0d-94f4-1f6c0d5c8a3e"
BAD_ORDERS = (MISSING, "1", "%E0%A4%A", "..", "a/b", "x" * 500, "%00")
BAD_PAGES = ("#/nothing", "#/orderss/1", "#//", "#/%")
ORDERS = 21


class Screens(ShopTest):
    expected_errors = (*EXPECTED_ERRORS, "status of 400")

    def test_waiting_buyer_hears_and_reads_that_the_ticket_is_free_or_sold(self):
        ticket = put_on_sale("Wanted by two")
        window = self.open("quin")
        window.ticket(ticket, "free")
        first = order("rex", ticket)
        window.ticket(ticket, "held")
        window.press(f"#buy-{ticket}", "Try")
        card = f"[data-ticket='{ticket}']"
        self.assertRegex(window.text(f"{card} .refusal"), r"^The ticket is reserved\. Try again at \d\d:\d\d:\d\d\.$")
        self.assertIn("The ticket is reserved.", window.alarm())
        self.inspect(window, "reserved")
        api("rex", f"/{first}", method="DELETE")
        window.ticket(ticket, "free")
        self.assertEqual(window.text(f"{card} .refusal"), "The ticket is free again. You can order it now.")
        eventually(lambda: "Wanted by two is free again." in window.announcement(), "the announcement")
        self.inspect(window, "free-again")
        second = order("rex", ticket)
        window.ticket(ticket, "held")
        post("/payments", {"orderId": second})
        self.assertIn("Sold to Rex", window.ticket_text(ticket, "sold"))
        self.assertEqual(window.driver.find_elements("css selector", f"{card} .refusal"), [])
        eventually(lambda: "Wanted by two is sold to Rex." in window.announcement(), "the announcement")
        self.inspect(window, "sold")

    def test_skip_link_keeps_the_order_and_its_countdown(self):
        window = self.open("sam", size=PHONE)
        _, order = self.buy(window, "A ticket for the keyboard")
        window.find(".order .ring")
        window.script("document.activeElement.blur(); document.getElementById('skip').focus()")
        window.focused().send_keys(Keys.ENTER)
        self.assertEqual(window.order(), order)
        self.assertGreater(window.seconds_left(), 0)
        self.assertEqual(window.focused_tag(), "h1")

    def test_focus_stays_in_the_page_when_its_element_is_removed(self):
        window = self.open("sam")
        _, order = self.buy(window, "A ticket with many buttons")
        for button, change, status in (
            ("#pay-slowly", lambda: post("/payments", {"orderId": order}), "Paid"),
            ("#print", lambda: post("/refunds", {"orderId": order, "paymentId": self.payment(order)}), "Refunded"),
        ):
            window.find(button)
            window.script("document.querySelector(arguments[0]).focus()", button)
            change()
            window.find(".order .status", status)
            eventually(lambda: window.focused_tag() != "body", "a focused element")
            if button == "#pay-slowly":
                window.find("#print")
        # The log keeps 100 rows: new events remove the oldest.
        window.script("const last = document.querySelector('#log > li:last-child summary'); last.focus()")
        show(*({**ticket_event("log-1", "A row of the log", version=it), "id": f"log-{it}"} for it in range(101)))
        window.find("#log", "A row of the log")
        eventually(lambda: window.focused_tag() != "body", "a focused element")
        # The last page removes the button.
        window.press("#back")
        window.find("#more")
        window.script("document.getElementById('more').focus()")
        while window.driver.find_elements("id", "more"):
            window.script("document.getElementById('more')?.click()")
        self.assertIn(window.focused_tag(), ("a", "button", "h1", "input"))

    def payment(self, order):
        return api("sam", f"/{order}")["paidBy"]

    def test_expired_order_can_be_ordered_again_at_the_current_price(self):
        ticket = put_on_sale("A chance for a second order")
        first = order("tea", ticket)
        api("tea", f"/{first}", method="DELETE")
        window = self.open("tea", path=f"#/orders/{first}")
        window.find("[aria-labelledby=again-title] .price", "20.00")
        post("/prices", {"ticketId": ticket, "price": 31})
        window.find("[aria-labelledby=again-title] .price", "31.00")
        self.assertEqual(window.text(".order .price"), "20.00")
        window.press(f"#buy-{ticket}", "Order again")
        eventually(lambda: window.order() != first, "the new order")
        window.find(".order .status", "Awaiting payment")
        self.assertEqual(window.text(".order .price"), "31.00")
        self.assertFalse(window.is_shown("[aria-labelledby=again-title]"))

    def test_bad_link_shows_a_message_with_a_way_back(self):
        window = self.open("uma")
        for id in BAD_ORDERS:
            window.script("location.hash = arguments[0]", f"#/orders/{id}")
            window.find(".order .refusal", "Uma has no order with this id.")
            eventually(lambda: "Uma has no order" in window.alarm(), "the announcement")
            window.press("#back")
            window.find("h1", "On sale")
        for page in BAD_PAGES:
            window.script("location.hash = arguments[0]", page)
            window.find("h1", "No such page")
            window.press("#back")
            window.find("h1", "On sale")
        window.driver.get(f"{STACK['shopUrl']}/?buyer=uma#/orders/{MISSING}")
        window.find(".order .refusal")
        self.inspect(window, "missing-order")
        window.driver.get(f"{STACK['shopUrl']}/?buyer=uma#/nothing")
        window.find("h1", "No such page")
        self.inspect(window, "missing-page")
        window.driver.get(f"{STACK['shopUrl']}/?buyer=a%20b")
        window.find("h1", "No such buyer")
        self.inspect(window, "missing-buyer")
        window.press("main a")
        window.find("h1", "On sale")

    def test_all_orders_are_listed_in_pages(self):
        ticket = put_on_sale("A free seat", price=0)
        ids = []
        for _ in range(ORDERS):
            ids.append(order("vic", ticket))
            api("vic", f"/{ids[-1]}", method="DELETE")
        window = self.open("vic")
        window.find(".orders li", "A free seat")
        window.press("#all-orders")
        window.find("h1", "Vic’s orders")
        count = "return document.querySelectorAll('.orders li').length"
        eventually(lambda: window.script(count) == ORDERS - 1, "the first page")
        self.inspect(window, "orders")
        window.press("#more-orders")
        eventually(lambda: window.script(count) == ORDERS, "all orders")
        window.press(f"#order-{ids[0]}")
        self.assertEqual(window.order(), ids[0])
        window.find(".order h2", "A free seat")

    def test_list_of_all_orders_follows_the_events(self):
        id = order("wes", put_on_sale("Seen in the list"))
        window = self.open("wes", path="#/orders")
        window.find(".orders li", "Awaiting payment")
        api("wes", f"/{id}", method="DELETE")
        window.find(".orders li", "Cancelled")

    def test_any_name_can_buy(self):
        ticket = put_on_sale("A ticket for anyone")
        window = self.open("alice")
        window.press("#another")
        window.find("#other-buyer").send_keys("李", Keys.ENTER)
        window.find(".another .refusal", "Use letters from a to z or digits.")
        self.inspect(window, "another-buyer")
        window.find("#other-buyer").clear()
        window.find("#other-buyer").send_keys("Zoë Müller", Keys.ENTER)
        window.find("main strong", "Zoe Muller")
        window.buy(ticket)
        window.find(".order .status", "Awaiting payment")
        self.assertEqual(api("zoe-muller", f"/{window.order()}")["userId"], "zoe-muller")
        window.find("[aria-current]", "Zoe Muller")

    def test_own_hold_of_another_window_is_shown(self):
        show(event := order_event("elsewhere-1", "wim"), ticket_event("elsewhere-1", "Held elsewhere"))
        window = self.open("wim")
        self.assertIn("Held by you", window.ticket_text("elsewhere-1", "held"))
        self.assertTrue(window.attribute("#see-elsewhere-1", "href").endswith(event["detail"]["id"]))
