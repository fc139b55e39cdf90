"""Tests of many tabs, tickets and events."""

import json

from browser import eventually
from case import EXPECTED_ERRORS, ShopTest
from marketplace import extend, order, order_event, put_on_sale, show, ticket_event, updates

TABS = 8
TICKETS = 1_000
EVENTS = 600
# The page learns the ids of the sample tickets from the configuration.
WITH_SAMPLES = """
const send = window.fetch;
window.fetch = async (url, ...rest) => {
  const response = await send(url, ...rest);
  if (!String(url).startsWith("/config")) return response;
  return new Response(JSON.stringify({...await response.json(), samples: SAMPLES}));
};
"""


class Tabs(ShopTest):
    # The emulator may be too slow for eight tabs on a busy machine: the page repeats the request.
    expected_errors = (*EXPECTED_ERRORS, "status of 503")

    def test_eight_tabs_with_a_thousand_tickets_are_usable(self):
        sample = put_on_sale("A sample ticket")
        first = order("pat", put_on_sale("Ordered long ago"))
        show(*(ticket_event(f"load-{number}", f"Load test {number}") for number in range(TICKETS)))
        repeated = order_event("load-0", "someone")
        show(*({**repeated, "id": str(number)} for number in range(EVENTS)))
        before = WITH_SAMPLES.replace("SAMPLES", json.dumps([sample]))
        tabs = [self.open("pat", before=before, kind="tab") for _ in range(TABS)]
        newest = put_on_sale("The newest ticket")
        for tab in tabs:
            tab.ticket(newest, "free")
        last = tabs[-1]
        last.search("")
        self.assertEqual(last.script("return document.querySelector('.ticket').dataset.ticket"), sample)
        self.assertRegex(last.text(".more"), r"^8 of 1,?\d{3} tickets")
        self.inspect(last, "thousand-tickets")
        last.press("#more")
        eventually(lambda: len(last.driver.find_elements("css selector", ".ticket")) == 28, "more tickets")
        last.find("#search").send_keys("load test 777")
        last.find("[data-ticket='load-777']", "Available")
        last.find(".more", "1 ticket matches “load test 777”")
        self.inspect(last, "search")
        last.search("newest")
        last.buy(newest)
        extend("pat", last.order())
        for tab in tabs[:-1]:
            self.assertIn("Held by you", tab.ticket_text(newest, "held"))
        last.script("location.hash = arguments[0]", f"#/orders/{first}")
        last.find(".history", "Pat holds Ordered long ago")

    def test_update_has_only_the_changed_ticket(self):
        show(*(ticket_event(f"other-{number}", f"Other {number}") for number in range(50)))
        ticket = put_on_sale("A changed ticket")
        cursor = updates()["cursor"]
        order("pat", ticket)
        update = eventually(lambda: (it := updates(cursor))["received"] and it, "an update")
        self.assertEqual([it["id"] for it in update["tickets"]], [ticket])
