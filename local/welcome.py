"""First steps with a new stack: sample tickets, and commands printed after `make run`."""

import json
import shlex
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
ORDERED_TICKET = "concert-1"
NEW_TICKET = {"id": "circus-1", "title": "Circus in the park", "price": 25.5, "version": 0}
ARRIVAL_SECONDS = 20

TEXT = """
The shop, a demo page:

  {shop}

  Worth a try: a free ticket, a withdrawn one, a slow payment, a refund, and 11 cinema seats, of which a
  buyer can hold 10 unpaid.

The API:

  {api}/api/orders

Paste these lines into another terminal first:

API={api}
ALICE={alice}
BOB={bob}

Alice orders a ticket; the hold lasts 30 seconds. Bob gets 409 with a Retry-After header:

{post} -H "Authorization: Bearer $ALICE"
{post} -H "Authorization: Bearer $BOB"

Alice lists her orders, reads the newest, and cancels it:

curl -i $API/api/orders -H "Authorization: Bearer $ALICE"
ORDER=$(curl -s "$API/api/orders?sort=-createdAt&limit=1" -H "Authorization: Bearer $ALICE" \
| sed 's/.*"id":"\\([^"]*\\)","userId".*/\\1/')
curl -i $API/api/orders/$ORDER -H "Authorization: Bearer $ALICE"
curl -i -X DELETE $API/api/orders/$ORDER -H "Authorization: Bearer $ALICE"

The ticket service puts another ticket on sale:

curl -s {api} --aws-sigv4 aws:amz:{region}:events --user {key}:{key} -H 'X-Amz-Target: AWSEvents.PutEvents' \
-H 'Content-Type: application/x-amz-json-1.1' -d {put_events}

Ctrl-C stops the stack. The data is kept until make clean-state.
"""


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


def text(stack):
    """Returns the addresses, the tokens, and commands to try."""
    order = shlex.quote(json.dumps({"ticketId": ORDERED_TICKET}))
    entry = {
        "EventBusName": stack.outputs["EventBusName"],
        "Source": "tickets",
        "DetailType": "TicketCreated",
        "Detail": json.dumps(NEW_TICKET),
    }
    return TEXT.format(
        shop=stack.ports.url("shop"),
        api=stack.endpoint,
        region=aws.REGION,
        key=aws.ACCESS_KEY,
        alice=stack.issuer.token(sub="alice"),
        bob=stack.issuer.token(sub="bob"),
        post=f"curl -i $API/api/orders -H 'Content-Type: application/json' -d {order}",
        put_events=shlex.quote(json.dumps({"Entries": [entry]})),
    )
