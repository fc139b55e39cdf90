"""First steps with a new stack: sample tickets, and the text printed after `make run`."""

import os
import time

import aws
from tools import UserError

# More seats than one buyer can hold unpaid.
SEATS = tuple(
    {"id": f"cinema-{seat}", "title": f"Cinema, seat {seat}", "price": 9.5, "version": 0} for seat in range(1, 12)
)
# The shop shows the newest first.
SAMPLE_TICKETS = (
    *SEATS,
    {"id": "revue-1", "title": "The revue of last year", "price": 18, "version": 0},
    {"id": "reading-1", "title": "A reading in the library", "price": 0, "version": 0},
    {"id": "concert-1", "title": "Concert in the park", "price": 25.5, "version": 0},
    {"id": "opera-1", "title": "An evening at the opera", "price": 120, "version": 0},
    {"id": "match-1", "title": "The cup final", "price": 49.99, "version": 0},
)
SAMPLE_WITHDRAWAL = {"id": "revue-1", "version": 1}
ARRIVAL_SECONDS = 20

# The address of the shop is the last line: longer outputs scroll it away.
TEXT = """
  API    {api}/api/orders   documentation: {shop}/api/
  try    make -s token SUB=alice{state}   prints a token; README.md has requests and events to paste
  data   {folder}, kept until make clean-state{state}; Ctrl-C stops the stack

  shop   {shop}"""


def put_sample_tickets(stack):
    """Publishes the sample tickets, and waits until the service has stored them."""
    bus, dynamodb = stack.bus(), aws.client("dynamodb", stack.endpoint)
    for ticket in SAMPLE_TICKETS:
        bus.put("tickets", "TicketCreated", ticket)
    bus.put("tickets", "TicketWithdrawn", SAMPLE_WITHDRAWAL)
    deadline = time.monotonic() + ARRIVAL_SECONDS
    for ticket in SAMPLE_TICKETS:
        key = {"id": {"S": ticket["id"]}}
        while "Item" not in dynamodb.get_item(TableName=stack.outputs["TicketsTableName"], Key=key):
            if time.monotonic() > deadline:
                raise UserError(f"The service did not store the sample tickets; see {stack.emulator.log}")
            time.sleep(0.2)


def text(folder, ports):
    """Returns the addresses of a stack, and where to start."""
    # Every later command needs the setting too.
    state = f" STATE={os.environ['ORDERS_STATE']}" if "ORDERS_STATE" in os.environ else ""
    return TEXT.format(api=ports.url("emulator"), shop=ports.url("shop"), folder=folder, state=state)
