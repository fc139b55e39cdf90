"""Tests without a network, with a slow one, and with tokens of an earlier stack."""

from browser import eventually
from case import EXPECTED_ERRORS, NETWORK_ERRORS, ShopTest
from marketplace import STACK, order, post, put_on_sale

LATENCY_MS = 3_000
# Time limits of requests are a tenth.
SHORT_LIMITS = "const limit = AbortSignal.timeout; AbortSignal.timeout = (ms) => limit.call(AbortSignal, ms / 10);"
LATE = "No response within 10 seconds"
OFFLINE = "You are offline"
# The first configuration has tokens of an earlier stack, which had another key.
OLD_TOKENS = """
const send = window.fetch;
window.loaded = 0;
window.fetch = async (url, ...rest) => {
  const response = await send(url, ...rest);
  if (!String(url).startsWith("/config") || window.loaded++) return response;
  const config = await response.json();
  for (const name in config.buyers) config.buyers[name] = config.buyers[name].slice(0, -20) + "A".repeat(20);
  return new Response(JSON.stringify(config));
};
"""


class Failures(ShopTest):
    expected_errors = (*EXPECTED_ERRORS, *NETWORK_ERRORS, "status of 401")

    def fails(self, window, button, place, message):
        """Presses a button that fails: the page shows and announces the reason, and the button is usable."""
        window.find(button)
        window.script("document.querySelector(arguments[0]).click()", button)
        window.find(place, message)
        eventually(lambda: message in window.alarm(), f"the announcement of {message}")
        eventually(lambda: not window.attribute(button, "aria-disabled"), f"{button} after the failure")

    def test_every_button_of_the_tickets_screen_works_again_after_a_time_offline(self):
        ticket = put_on_sale("Songs without a network")
        window = self.open("lea")
        window.ticket(ticket, "free")
        for field in ("changed-ticket", "flash-ticket"):
            window.choose(f"#{field}", ticket)
        window.find("[name=title]").send_keys("Put on sale later")
        window.set_network(offline=True)
        window.find("#trouble", OFFLINE)
        self.fails(window, f"#buy-{ticket}", f"[data-ticket='{ticket}'] .refusal", OFFLINE)
        new, change = "[aria-labelledby=new-title]", "[aria-labelledby=change-title]"
        self.fails(window, f"{new} button", f"{new} .result", OFFLINE)
        self.fails(window, f"{change} button", f"{change} .result", OFFLINE)
        self.fails(window, "#withdraw", f"{change} .result", OFFLINE)
        self.fails(window, "#flash-start", "#flash-chart", OFFLINE)
        self.inspect(window, "offline")
        window.set_network()
        window.press(f"{new} button")
        window.find(f"{new} .result", "Put on sale later is on sale.")
        window.find("h2", "Put on sale later")
        eventually(lambda: not window.is_shown("#trouble"), "no trouble")
        self.assertEqual(window.attribute("#flash-ticket", "value"), ticket)
        window.press("#flash-start")
        window.find("#flash-chart[data-results='100']")
        window.press("#withdraw")
        window.find(f"{change} .result", "The ticket is withdrawn.")
        window.press(f"{change} button")
        window.find(f"{change} .result", "The price is changed.")

    def test_every_button_of_an_order_works_again_after_a_time_offline(self):
        window = self.open("lea")
        _, order = self.buy(window, "A choir without a network")
        window.find("#pay")
        for button in ("#pay", "#pay-slowly", "#cancel"):
            window.set_network(offline=True)
            self.fails(window, button, ".order .refusal", OFFLINE)
        window.set_network()
        self.inspect(window, "offline-order")
        window.press("#pay")
        window.find(".order .status", "Paid")
        # An error ends with the state that it was about.
        self.assertEqual(window.driver.find_elements("css selector", ".order .refusal"), [])
        window.set_network(offline=True)
        self.fails(window, "#refund", ".order .refusal", OFFLINE)
        window.driver.find_element("id", "back").click()
        window.press("#all-orders")
        window.find("main .refusal", OFFLINE)
        window.script("location.hash = arguments[0]", f"#/orders/{order}")
        window.find(".order .refusal", OFFLINE)
        self.inspect(window, "offline-load")
        window.set_network()
        window.press("#reload", "Try again")
        window.press("#refund", "Refund")
        window.find(".order .status", "Refunded")

    def test_slow_order_shows_progress_and_a_time_limit_with_a_way_to_retry(self):
        ticket = put_on_sale("Slow songs")
        window = self.open("mia", before=SHORT_LIMITS)
        window.ticket(ticket, "free")
        window.set_network(latency_ms=LATENCY_MS)
        window.buy(ticket)
        window.find(f"#buy-{ticket}[aria-disabled]", "Ordering …")
        window.screenshot("slow")
        window.find(f"[data-ticket='{ticket}'] .refusal", f"{LATE}. Try again: if the order was placed, you get it.")
        eventually(lambda: LATE in window.alarm(), "the announcement")
        self.inspect(window, "late")
        window.set_network()
        # The slow order may have been placed; its event then changes the button.
        window.press(f"#buy-{ticket}, #see-{ticket}")
        self.assertTrue(window.order())

    def test_slow_commands_show_progress(self):
        ticket = put_on_sale("A slow sale")
        window = self.open("mia")
        window.ticket(ticket, "free")
        window.buy(ticket)
        window.find("#pay")
        window.set_network(latency_ms=1000)
        window.press("#pay")
        window.find("#pay[aria-disabled]", "In progress …")
        window.find(".order .status", "Paid")

    def test_payment_without_a_result_ends_with_a_message_until_the_order_changes(self):
        window = self.open(
            "noa", before="const wait = setTimeout; setTimeout = (run, ms) => wait(run, ms > 9999 ? 50 : ms);"
        )
        _, order = self.buy(window, "A payment that is lost")
        window.find("#pay")
        window.script(
            "const send = fetch; fetch = (url, ...rest) => url === '/payments' ?"
            " new Response(JSON.stringify({id: 'payment-lost'})) : send(url, ...rest)"
        )
        self.fails(window, "#pay", ".order .refusal", "The payment service has not confirmed yet.")
        post("/payments", {"orderId": order})
        window.find(".order .status", "Paid")
        self.assertEqual(window.driver.find_elements("css selector", ".order .refusal"), [])

    def test_page_is_not_empty_without_the_api(self):
        ticket = put_on_sale("Visible without the API")
        window = self.open("mia", is_ready="h1")
        window.driver.execute_cdp_cmd("Network.enable", {})
        window.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": [f"{STACK['apiUrl']}/*"]})
        window.driver.refresh()
        window.ticket(ticket, "free")
        self.fails(window, f"#buy-{ticket}", f"[data-ticket='{ticket}'] .refusal", "The service does not respond")
        window.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        window.buy(ticket)
        window.find(".order .status", "Awaiting payment")

    def test_slow_start_shows_that_the_page_loads(self):
        window = self.open("mia", is_ready="h1")
        window.set_network(latency_ms=LATENCY_MS)
        window.script("setTimeout(() => location.reload())")
        window.find("h1", "Loading …")
        window.set_network()
        window.find("h1", "On sale")

    def test_tokens_of_an_earlier_stack_are_renewed(self):
        ticket = put_on_sale("Bought with a new token")
        order("oda", ticket)
        window = self.open("oda", before=OLD_TOKENS)
        window.find(".orders a", "Bought with a new token")
        window.press(f"#see-{ticket}")
        window.press("#cancel")
        window.find(".order .status", "Cancelled")
        self.assertGreaterEqual(window.script("return loaded"), 2)
