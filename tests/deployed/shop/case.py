"""Base of the tests: a browser for each class, and the checks of every state of the page."""

import unittest

from browser import SIZES, WIDE, Browser, eventually
from marketplace import STACK, events, put_on_sale

# The browser itself logs these responses as errors.
EXPECTED_ERRORS = ("status of 404", "status of 409", "status of 410")
# What the browser logs about a missing network, and about a response without CORS headers.
NETWORK_ERRORS = ("ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "ERR_BLOCKED_BY_CLIENT", "CORS policy", "ERR_NETWORK")


class ShopTest(unittest.TestCase):
    expected_errors = EXPECTED_ERRORS

    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser(STACK["shopUrl"]))

    def open(self, buyer, **settings):
        window = self.browser.open(buyer, **settings)
        self.addCleanup(window.close)
        self.addCleanup(self.check_console, window)
        return window

    def buy(self, window, title):
        """Orders a new ticket with this title. Returns the ids of ticket and order."""
        ticket = put_on_sale(title)
        window.buy(ticket)
        return ticket, window.order()

    def has_events(self, order, expected):
        """Waits until the orders service has published these events about an order, and no others."""
        eventually(lambda: events(order) == expected, f"the events {expected}")

    def check_console(self, window):
        errors = [line["message"] for line in window.driver.get_log("browser") if line["level"] == "SEVERE"]
        unexpected = [error for error in errors if not any(expected in error for expected in self.expected_errors)]
        self.assertEqual(unexpected, [])

    def inspect(self, window, name):
        """Checks accessibility, the contrast in both themes, and the width; saves screenshots of both sizes."""
        window.set_screen(dark=True)
        self.assertEqual(window.low_contrasts(), [], f"{name}, dark")
        for size, screen in SIZES.items():
            window.set_screen(screen)
            window.screenshot(f"{name}-{size}", whole_page=True)
            self.assertLessEqual(window.script("return document.documentElement.scrollWidth"), screen[0], name)
        # On the phone, the last size.
        self.assertEqual(window.low_contrasts() + window.violations(), [], name)
        window.set_screen(WIDE)
