"""Test of the API page beside the demo shop."""

import json
import os
import time
import unittest
from pathlib import Path

from browser import PHONE, WIDE, Browser, eventually
from selenium.webdriver.common.by import By

STACK = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
# The browser itself logs the refused order as an error.
EXPECTED_ERROR = "status of 404"


class ApiPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.driver = cls.enterClassContext(Browser(STACK["shopUrl"])).driver

    def open(self, size=WIDE):
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get(f"{STACK['shopUrl']}/api/")
        self.find("#operations-orders-createOrder")

    def find(self, selector):
        return eventually(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None), selector)

    def text(self, selector):
        return eventually(lambda: [self.find(selector).text], selector)[0]

    def press(self, selector):
        # Not `click`: the header of the page can cover the element.
        self.driver.execute_script("arguments[0].click()", self.find(selector))

    def test_page_shows_each_operation_and_the_example_of_each_refusal(self):
        self.open()
        for operation in ("createOrder", "listOrders", "showOrder", "cancelOrder"):
            self.find(f"#operations-orders-{operation}")
        self.press("#operations-orders-createOrder .opblock-summary-control")
        refused = "#operations-orders-createOrder .response[data-code='409']"
        names = [
            option.text
            for option in self.find(f"{refused} .examples-select-element").find_elements(By.TAG_NAME, "option")
        ]
        self.assertEqual(names, ["reserved", "sold", "changed", "behind", "holds"])
        self.assertIn("urn:problem-type:orders:ticket-reserved", self.text(f"{refused} .example"))

    def sent(self, operation):
        time.sleep(0.5)
        return self.driver.find_elements(By.CSS_SELECTOR, f"{operation} .request-url")

    def test_request_goes_to_the_local_stack_as_alice(self):
        self.open()
        create = "#operations-orders-createOrder"
        self.press(f"{create} .opblock-summary-control")
        # A press has no effect while the page still prepares the form.
        eventually(lambda: self.press(f"{create} .btn.execute") or self.sent(create), "a request")
        live = f"{create} .live-responses-table"
        self.assertIn(f"{STACK['apiUrl']}/api/orders", self.text(f"{create} .request-url"))
        self.assertRegex(self.text(f"{create} .curl"), r"Idempotency-Key: try-\d+")
        # Without the sample tickets, the response of the service is a refusal.
        eventually(lambda: "no-such-ticket" in self.text(live) or '"alice"' in self.text(live), "the response")

    def test_page_fits_a_phone_and_loads_nothing_from_other_hosts(self):
        self.open(PHONE)
        self.assertLessEqual(self.driver.execute_script("return document.documentElement.scrollWidth"), PHONE[0])
        origins = "performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin)"
        self.assertEqual(set(self.driver.execute_script(f"return {origins}")), {STACK["shopUrl"]})
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        self.assertEqual([message for message in messages if EXPECTED_ERROR not in message], [])
