"""A real browser without a screen, and what a person does with the shop in it."""

import base64
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parent.parent.parent.parent
sys.path.insert(0, str(ROOT / "local"))

import tools  # noqa: E402

PICTURES = ROOT / "target/shop"
PATIENCE_SECONDS = 45
WIDE, PHONE = (1280, 860), (360, 740)
# No sandbox, for it may be root who tests; and no calls to anywhere that nobody has asked for.
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb")


class Browser:
    """One browser with a window for each buyer who has opened the shop. Closed after a `with`."""

    def __init__(self, shop_url):
        self.shop_url = shop_url
        self._closing = contextlib.ExitStack()

    def __enter__(self):
        program, driver, environment = tools.browser()
        options = webdriver.ChromeOptions()
        options.binary_location = str(program)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        profile = self._closing.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        service = webdriver.ChromeService(str(driver), env={**os.environ, **environment})
        self.driver = webdriver.Chrome(options, service)
        self._closing.callback(self.driver.quit)
        return self

    def __exit__(self, *_):
        self._closing.close()

    def open(self, buyer, size=WIDE, night=False, before=""):
        """Opens the shop in a new window; `before` is a script that runs before the page's own."""
        self.driver.switch_to.new_window("window")
        window = Window(self, self.driver.current_window_handle)
        window.look(size, night)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        self.driver.get(f"{self.shop_url}/?buyer={buyer}")
        window.find("#log > li")
        return window


class Window:
    """One of the browser's windows. Whatever is done in it is done as soon as it can be."""

    def __init__(self, browser, handle):
        self._browser, self._driver, self._handle = browser, browser.driver, handle

    @property
    def driver(self):
        self._driver.switch_to.window(self._handle)
        return self._driver

    def look(self, size=WIDE, night=False):
        """By day or by night, on a screen of this size."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if night else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def find(self, selector, containing=""):
        """The first such element that shows this text, once there is one."""
        def look():
            elements = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in elements if containing in element.text), None)
        return eventually(look, f"{selector} with '{containing}'")

    def text(self, selector):
        return self.find(selector).text

    def press(self, selector, containing=""):
        self.find(selector, containing).click()

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def ticket(self, id, state=""):
        """A ticket's card, once it is in this state."""
        def look():
            shown = self.driver.find_elements(By.CSS_SELECTOR, f"[data-ticket='{id}']")
            if not shown:
                # It may be one of those that are shown on request.
                self.script("document.getElementById('all')?.click()")
            return next((card for card in shown if state in card.get_attribute("class").split() or not state), None)
        return eventually(look, f"the ticket {id}, {state}")

    def seconds_left(self):
        return int(self.find(".order .ring b").text or -1)

    def events(self, order):
        """The types of an order's events in the log, oldest first."""
        rows = self.script(
            "return [...document.querySelectorAll('#log .event')].filter(row => row.textContent.includes(arguments[0]))"
            ".map(row => row.dataset.kind).reverse()", order)
        return [kind for kind in rows if kind.startswith("Order")]

    def order(self):
        """The id of the order that is shown."""
        eventually(lambda: "#/orders/" in self.driver.current_url, "an order's page")
        return self.driver.current_url.rpartition("/")[2]

    def picture(self, name, whole=False):
        """Keeps a picture of the window, or of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        if whole:
            self.script("scrollTo(0, 0)")
        page = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        picture = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": {**page, "scale": 1}} if whole else {})
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))

    def close(self):
        self.driver.close()
        self._driver.switch_to.window(self._driver.window_handles[0])


def eventually(look, wish, patience_seconds=PATIENCE_SECONDS):
    """What is found, once it is there."""
    deadline = time.monotonic() + patience_seconds
    while True:
        # The page may be drawn anew at any moment.
        with contextlib.suppress(StaleElementReferenceException, NoSuchElementException):
            if found := look():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"There was never {wish}.")
        time.sleep(0.05)
