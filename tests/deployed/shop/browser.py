"""A headless browser, and the actions of a person in the demo shop."""

import base64
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

ROOT = Path(__file__).resolve().parent.parent.parent.parent
sys.path.insert(0, str(ROOT / "local"))

import tools  # noqa: E402

SCREENSHOTS = ROOT / "target/shop"
TIMEOUT_SECONDS = 90
WIDE, PHONE = (1280, 860), (320, 640)
SIZES = {"wide": WIDE, "phone": PHONE}
HERE = Path(__file__).resolve().parent
CONTRAST = (HERE / "contrast.js").read_text()
# Whether an element keeps its place for two frames.
STANDS_STILL = """
const [element, done] = arguments;
const place = () => JSON.stringify(element.getBoundingClientRect());
const before = place();
setTimeout(() => done(element.isConnected && place() === before), 34);
"""
SEARCH = """
const field = document.getElementById("search");
if (field && field.value !== arguments[0]) {
  field.value = arguments[0];
  field.dispatchEvent(new Event("input"));
}
"""
# Rows of the log below these have the same form.
AXE_RUN = """
const done = arguments[0];
axe.run({exclude: [["#log > li:nth-child(n + 6)"]]}).then(({violations}) => done(
  violations.map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html).join(" ")}`.slice(0, 400))));
"""
# No sandbox, because root cannot use it; no background requests.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


class Browser:
    """A browser with a window for each buyer, inside a `with` block."""

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
        self.driver.set_script_timeout(2 * TIMEOUT_SECONDS)
        self._closing.callback(self.driver.quit)
        return self

    def __exit__(self, *_):
        self._closing.close()

    def open(self, buyer, size=WIDE, before="", path="", kind="window", is_ready="#log > li"):
        """Opens the shop in a new window or tab. `before` is a script to run before the page's scripts."""
        self.driver.switch_to.new_window(kind)
        window = Window(self, self.driver.current_window_handle)
        window.set_screen(size)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        self.driver.get(f"{self.shop_url}/?buyer={buyer}{path}")
        window.find(is_ready)
        return window


class Window:
    """A window of the browser. Each action waits until it is possible."""

    def __init__(self, browser, handle):
        self._browser, self._driver, self._handle = browser, browser.driver, handle

    @property
    def driver(self):
        self._driver.switch_to.window(self._handle)
        return self._driver

    def set_screen(self, size=WIDE, dark=False):
        """Sets the size of the screen and the colour scheme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "features": [
                    {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce"},
                ]
            },
        )

    def set_network(self, offline=False, latency_ms=0):
        """Emulates a missing or slow network."""
        conditions = {"offline": offline, "latency": latency_ms, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def violations(self):
        """Returns the violations of WCAG that axe finds."""
        if not self.script("return Boolean(window.axe)"):
            self.script(axe())
        return self.driver.execute_async_script(AXE_RUN)

    def low_contrasts(self):
        """Returns the texts with too little contrast, also those in pictures."""
        return self.script(CONTRAST)

    def find(self, selector, containing=""):
        """Returns the first matching element with this text."""

        def search():
            elements = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in elements if containing in element.text), None)

        return eventually(search, f"{selector} with '{containing}'")

    def use(self, selector, action):
        """Returns the result of an action on an element. The page may redraw the element before the action."""
        return eventually(lambda: [action(self.find(selector))], selector)[0]

    def text(self, selector):
        return self.use(selector, lambda element: element.text)

    def attribute(self, selector, name):
        return self.use(selector, lambda element: element.get_attribute(name))

    def is_shown(self, selector):
        return self.use(selector, lambda element: element.is_displayed())

    def choose(self, selector, value):
        """Chooses an option of a list, also the one that the page has selected itself."""

        def change(element):
            Select(element).select_by_value(value)
            # The browser reports no change if the option was selected already.
            self.script("arguments[0].dispatchEvent(new Event('change'))", element)

        self.use(selector, change)

    def press(self, selector, containing=""):
        def click():
            element = self.find(selector, containing)
            if not self.driver.execute_async_script(STANDS_STILL, element):
                return False
            element.click()
            return True

        # The page may redraw or move the element before the click, for example after a change of the screen's size.
        eventually(click, f"a press of {selector}")

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def ticket(self, id, state=""):
        """Returns the card of a ticket in this state."""

        def search():
            shown = self.driver.find_elements(By.CSS_SELECTOR, f"[data-ticket='{id}']")
            if not shown:
                # The page shows only the first tickets.
                self.search(id)
            return next((card for card in shown if state in card.get_attribute("class").split() or not state), None)

        return eventually(search, f"the ticket {id}, {state}")

    def ticket_text(self, id, state=""):
        return eventually(lambda: [self.ticket(id, state).text], f"the text of {id}")[0]

    def search(self, text):
        """Shows the tickets that match; all tickets if the text is empty."""
        self.script(SEARCH, text)

    def buy(self, ticket):
        """Presses the button of a ticket."""
        self.ticket(ticket)
        self.press(f"#buy-{ticket}")

    def seconds_left(self):
        return int(self.text(".order .ring b") or -1)

    def focused(self):
        """Returns the focused element."""
        return self.driver.switch_to.active_element

    def focused_tag(self):
        return self.script("return document.activeElement.localName")

    def focused_id(self):
        return self.script("return document.activeElement.id")

    def alarm(self):
        """Returns the last error announced to screen readers."""
        return self.script("return document.getElementById('alarms').textContent")

    def announcement(self):
        """Returns the last news announced to screen readers."""
        return self.script("return document.getElementById('announcements').textContent")

    def order(self):
        """Returns the id of the displayed order."""
        eventually(lambda: "#/orders/" in self.driver.current_url, "an order's page")
        return self.driver.current_url.rpartition("/")[2]

    def screenshot(self, name, whole_page=False):
        """Saves a screenshot of the window or of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        if whole_page:
            self.script("scrollTo(0, 0)")
        page = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        settings = {"captureBeyondViewport": True, "clip": {**page, "scale": 1}} if whole_page else {}
        image = self.driver.execute_cdp_cmd("Page.captureScreenshot", settings)
        (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(image["data"]))

    def close(self):
        self.driver.close()
        self._driver.switch_to.window(self._driver.window_handles[0])


@functools.cache
def axe():
    """Returns the source of axe-core."""
    deno = [tools.format_bin() / "deno", "run", "--quiet", "--no-config", "--frozen", f"--lock={HERE / 'axe.lock'}"]
    return subprocess.run([*deno, HERE / "axe.js"], check=True, capture_output=True, text=True).stdout


def eventually(condition, expected, timeout_seconds=TIMEOUT_SECONDS):
    """Returns the result of `condition` when it is true; fails after a timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        # The page may be redrawn at any moment.
        with contextlib.suppress(StaleElementReferenceException, NoSuchElementException):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"Not found: {expected}.")
        time.sleep(0.05)
