"""Tests of the log of events: malformed ones are listed as dead-lettered, and all else goes on."""

import json
import uuid

from browser import eventually
from case import ShopTest
from marketplace import order_event, publish, put_on_sale, show, ticket_event
from selenium.webdriver.common.keys import Keys

# The update of one ticket has fields that the page cannot draw.
BROKEN_TICKET = """
const send = window.fetch;
window.fetch = async (url, ...rest) => {
  const response = await send(url, ...rest);
  if (!String(url).startsWith("/updates")) return response;
  const update = await response.json();
  const broken = update.tickets.find(({title}) => title === "A broken ticket");
  if (broken) Object.assign(broken, {title: null, lock: {until: {}}});
  return new Response(JSON.stringify(update));
};
"""


class Log(ShopTest):
    def test_log_lists_the_events_with_their_json(self):
        window = self.open("alice")
        window.script("document.querySelector('main input').focus()")
        window.find("[name=title]").send_keys("Puppets at noon", Keys.TAB)
        window.focused().send_keys(Keys.CONTROL, "a")
        window.focused().send_keys("7.50", Keys.ENTER)
        row = window.find("#log li", "Puppets at noon is on sale for 7.50")
        row.find_element("css selector", "summary").send_keys(Keys.ENTER)
        event = json.loads(row.find_element("css selector", "pre").text)
        self.assertEqual((event["source"], event["detail"]["price"]), ("tickets", 7.5))
        self.inspect(window, "log")

    def test_malformed_events_are_dead_lettered_and_the_page_goes_on(self):
        window = self.open("kim")
        good = put_on_sale("A ticket among others")
        id = "malformed-1"
        ticket = {"id": id, "title": "Malformed", "price": 20, "version": 0}
        events = [
            ("tickets", "TicketCreated", {**ticket, "title": None}),
            ("tickets", "TicketCreated", {**ticket, "title": "x" * 2000}),
            ("tickets", "TicketUpdated", {**ticket, "price": "20"}),
            ("tickets", "TicketUpdated", {**ticket, "price": 20.001}),
            ("tickets", "TicketWithdrawn", {"id": id}),
            ("tickets", "TicketSold", ticket),
            ("payments", "PaymentCreated", {"id": "payment-1", "orderId": 7}),
            ("payments", "PaymentRefunded", {"id": None, "orderId": {}}),
            ("orders", "OrderPaid", {}),
            ("orders", "OrderCreated", {**order_event(good, "kim")["detail"], "ticket": None}),
        ]
        for event in events:
            publish(*event)
        count = "return document.querySelectorAll('#log .dead').length"
        eventually(lambda: window.script(count) >= len(events), "all malformed events")
        self.assertIn("dead-lettered", window.text("#log .dead"))
        window.find("#log .dead", "detail.title: type")
        window.press("#log .dead summary")
        window.find("#log .dead pre")
        self.assertEqual(window.driver.find_elements("css selector", f"[data-ticket='{id}']"), [])
        self.inspect(window, "malformed")
        window.driver.refresh()
        window.buy(good)
        window.find(".order .status", "Awaiting payment")
        eventually(lambda: window.script(count) >= len(events), "the same events after a reload")

    def test_ticket_that_cannot_be_drawn_does_not_stop_the_others(self):
        good, broken = put_on_sale("A sound ticket"), str(uuid.uuid4())
        show(ticket_event(broken, "A broken ticket"))
        window = self.open("kim", before=BROKEN_TICKET)
        window.find(f"[data-ticket='{broken}']", "This ticket cannot be shown.")
        window.ticket(good, "free")
        self.inspect(window, "broken-card")
        window.buy(good)
        window.find(".order .status", "Awaiting payment")
