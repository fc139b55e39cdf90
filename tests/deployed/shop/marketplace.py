"""The stack under test, described by ORDERS_STACK_FILE, as its other services and its users see it."""

import functools
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
from browser import eventually

STACK = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
BATCH = 10


def client(service):
    return boto3.client(
        service,
        region_name=STACK["region"],
        endpoint_url=STACK["endpointUrl"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


DYNAMODB, EVENTS, SQS = client("dynamodb"), client("events"), client("sqs")


def put_on_sale(title, price=20):
    """Puts a ticket on sale. Returns its id after the service has stored it."""
    ticket = post("/tickets", {"title": title, "price": price})["id"]
    eventually(lambda: item(ticket), f"the ticket {ticket}")
    return ticket


def item(ticket):
    """Returns the item of a ticket in the table; `None` if there is none."""
    key = {"TableName": STACK["outputs"]["TicketsTableName"], "Key": {"id": {"S": ticket}}}
    return DYNAMODB.get_item(**key).get("Item")


def post(path, body):
    """Sends a command to the shop's server. Returns the response."""
    return send("POST", f"{STACK['shopUrl']}{path}", body)


def order(buyer, ticket):
    """Orders a ticket. Returns the id of the order."""
    return api(buyer, "", {"ticketId": ticket})["id"]


def extend(buyer, *orders):
    """Makes holds longer, so that they outlast the checks of a test on a slow machine."""
    for order in orders:
        post("/payment-starts", {"orderId": order})
    for order in orders:
        eventually(lambda order=order: api(buyer, f"/{order}")["expiresIn"] > 60, "a longer hold")


def api(buyer, path, body=None, method=None):
    """Sends a request for the buyer's orders to the API. Returns the response."""
    method = method or ("POST" if body else "GET")
    return send(method, f"{STACK['apiUrl']}/api/orders{path}", body, Authorization=f"Bearer {token(buyer)}")


@functools.cache
def token(buyer):
    query = urllib.parse.urlencode({"buyer": buyer})
    return send("GET", f"{STACK['shopUrl']}/config?{query}")["buyers"][buyer]


def send(method, url, body=None, **headers):
    headers = {**headers, "Content-Type": "application/json"}
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or "null")
    except urllib.error.HTTPError as error:
        error.add_note(error.read().decode())
        raise


def publish(source, kind, detail):
    """Publishes an event on the bus."""
    entry = {"EventBusName": STACK["busName"], "Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
    EVENTS.put_events(Entries=[entry])


def show(*events):
    """Sends events to the shop alone, without the bus and the orders service, and waits until it has them."""
    queue = SQS.get_queue_url(QueueName="orders-shop")["QueueUrl"]
    for start in range(0, len(events), BATCH):
        batch = enumerate(events[start : start + BATCH])
        entries = [{"Id": str(index), "MessageBody": json.dumps(event)} for index, event in batch]
        SQS.send_message_batch(QueueUrl=queue, Entries=entries)
    last = events[-1]["id"]
    eventually(lambda: any(it["event"].get("id") == last for it in updates()["received"]), "the events in the shop")


def events(order):
    """Returns the types of the events about an order that the orders service has published, oldest first."""
    received = send("GET", f"{STACK['shopUrl']}/histories?order={order}")
    return [it["event"]["detail-type"] for it in received if it["applied"] and it["event"]["source"] == "orders"]


def updates(cursor=""):
    """Returns the events after a cursor, and the tickets that they changed, as the page gets them."""
    return send("GET", f"{STACK['shopUrl']}/updates?after={cursor}")


def ticket_event(ticket, title, price=20, version=0):
    """Returns the event of a new ticket."""
    detail = {"id": ticket, "title": title, "price": price, "version": version}
    return {
        "id": str(uuid.uuid4()),
        "source": "tickets",
        "detail-type": "TicketCreated",
        "time": now(),
        "detail": detail,
    }


def order_event(ticket, buyer, seconds=30):
    """Returns the event of a new order of a ticket."""
    id = str(uuid.uuid4())
    detail = {
        "id": id,
        "version": 0,
        "status": "awaiting_payment",
        "userId": buyer,
        "createdAt": now(milliseconds=True),
        "expiresAt": now(seconds, milliseconds=True),
        "ticket": {"id": ticket, "title": "A ticket", "price": 20, "version": 0},
        "refunds": [],
        "metadata": {
            "eventId": f"{id}:0",
            "occurredAt": now(milliseconds=True),
            "correlationId": "test",
            "causationId": "test",
        },
    }
    return {"id": id, "source": "orders", "detail-type": "OrderCreated", "time": now(), "detail": detail}


def now(seconds=0, milliseconds=False):
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (".000Z" if milliseconds else "Z")
