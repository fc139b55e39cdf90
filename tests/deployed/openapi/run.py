"""Checks docs/openapi.yaml against the running service: run.py [CASES]

schemathesis generates at least CASES requests (500) from the document, valid and invalid ones. Each response must
be documented, with its status, content type, headers and body. Invalid requests must be rejected, valid ones must
not, and no request may cause a 5xx. Half of the requests name existing tickets, orders and cursors. Older orders are
cancelled, because the buyer may hold few tickets. At the end, each documented response must have occurred, except
those that no request can cause.
"""

import collections
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import boto3
import requests
import schemathesis
import schemathesis.cli
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
DOCUMENT = ROOT / "docs/openapi.yaml"
TOKEN_OF_NOBODY = ["python3", ROOT / "local/cli.py", "token", '{"sub": "no buyer"}']
TICKETS = 200
PATIENCE_SECONDS = 60
KEYS = ["key-1", "key-2"]
# Responses of an overloaded or failing service: not caused by a request.
TROUBLE = {"429", "500", "503"}
# Response of the gateway to malformed HTTP: a cancellation has no part that can be invalid.
UNASKABLE = {"cancelOrder 400"}
# Fewer than a buyer can hold, so that orders can be placed until the end.
HOLDS = 5

stack = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
url, token = stack["apiUrl"], stack["tokens"]["alice"]
buyer = {"Authorization": f"Bearer {token}"}
known = {}
calls = itertools.count()
seen = collections.Counter()
held = collections.deque()


def make_ready():
    """Publishes tickets and places an order of each kind."""
    run_id = uuid.uuid4()
    tickets = [f"openapi-{run_id}-{number}" for number in range(TICKETS)]
    changed, free, withdrawn = (f"openapi-{run_id}-{name}" for name in ("changed", "free", "withdrawn"))
    bus = boto3.client(
        "events",
        region_name=stack["region"],
        endpoint_url=stack["endpointUrl"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )

    def put(source, kind, details):
        for start in range(0, len(details), 10):
            bus.put_events(
                Entries=[
                    {
                        "EventBusName": stack["busName"],
                        "Source": source,
                        "DetailType": kind,
                        "Detail": json.dumps(detail),
                    }
                    for detail in details[start : start + 10]
                ]
            )

    def ticket(name, price=25.5, version=0):
        return {"id": name, "title": "A concert", "price": price, "version": version}

    put("tickets", "TicketCreated", [ticket(name) for name in (*tickets, withdrawn)] + [ticket(free, 0)])
    put("tickets", "TicketCreated", [ticket(changed, version=1)])
    put("tickets", "TicketWithdrawn", [{"id": withdrawn, "version": 1}])
    order = {name: eventually(lambda: place(ticket)) for name, ticket in zip(("paid", "cancelled"), tickets)}
    put("payments", "PaymentCreated", [{"id": f"openapi-{run_id}", "orderId": order["paid"], "amount": 25.5}])
    requests.delete(f"{url}/api/orders/{order['cancelled']}", headers=buyer).raise_for_status()
    eventually(lambda: ask(f"/api/orders/{order['paid']}").json()["status"] == "paid")
    eventually(lambda: place(tickets[-1]))
    # A version that never exists: no order is placed before the withdrawal arrives.
    eventually(lambda: order_ticket(withdrawn, ticketVersion=9).status_code == 410)
    eventually(lambda: order_ticket(changed, ticketVersion=9).status_code == 409)
    page = eventually(lambda: ask("/api/orders?limit=1").headers.get("Link"))
    cursor = page.split("cursor=")[1].split(">")[0]
    known.update(tickets=tickets, orders=list(order.values()), cursors=[cursor])
    known.update(changed=changed, free=free, withdrawn=withdrawn)


def order_ticket(ticket, **fields):
    return requests.post(f"{url}/api/orders", headers=buyer, json={"ticketId": ticket, **fields})


def place(ticket):
    return order_ticket(ticket).json().get("id")


def ask(path):
    return requests.get(f"{url}{path}", headers=buyer)


def eventually(look):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit("the stack is not ready")
        time.sleep(0.2)
    return found


@schemathesis.hook
def before_load_schema(_, document):
    """Makes half of the values existing ones. A cursor is opaque: all cursors are existing ones."""
    parts = document["components"]
    ticket = parts["schemas"]["CreateOrder"]["properties"]
    ticket["ticketId"] = {"anyOf": [{"enum": known["tickets"]}, ticket["ticketId"]]}
    ticket["ticketVersion"] = {"anyOf": [{"const": 0}, ticket["ticketVersion"]]}
    (key,) = [it for it in parts["parameters"].values() if it["name"] == "Idempotency-Key"]
    key["schema"] = {"anyOf": [{"enum": KEYS}, key["schema"]]}
    del key["example"]
    order_id = document["paths"]["/api/orders/{id}"]["parameters"][0]
    order_id["schema"] = {"anyOf": [{"enum": known["orders"]}, order_id["schema"]]}
    (cursor,) = [it for it in document["paths"]["/api/orders"]["get"]["parameters"] if it.get("name") == "cursor"]
    cursor["schema"] = {"enum": known["cursors"]}


@schemathesis.hook
def before_call(_, case, __):
    """Gives three of four valid requests a new key, because a used key leads to 422. Writes a version without a
    fraction: 1.0 is an integer for JSON Schema, but not for the service."""
    is_good = case.meta and case.meta.generation.mode.is_positive
    if is_good and isinstance(case.body, dict) and isinstance(case.body.get("ticketVersion"), float):
        case.body["ticketVersion"] = int(case.body["ticketVersion"])
    if is_good and case.headers.get("Idempotency-Key") in KEYS and next(calls) % 4:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.hook
def after_call(_, case, response):
    seen[case.operation.definition.raw["operationId"], str(response.status_code)] += 1
    if response.status_code == 201:
        held.append(response.json()["id"])
    while len(held) > HOLDS:
        requests.delete(f"{url}/api/orders/{held.popleft()}", headers=buyer).raise_for_status()


def ask_on_purpose():
    """Sends the requests that are rarely generated."""
    schema = schemathesis.openapi.from_path(DOCUMENT)
    place_order, show = schema["/api/orders"]["POST"], schema["/api/orders/{id}"]["GET"]
    too_long = {"ticketId": "ticket", "padding": "x" * 5_000}
    json_type = {"media_type": "application/json"}
    paid = {"path_parameters": {"id": known["orders"][0]}}
    nobody = subprocess.check_output(TOKEN_OF_NOBODY, text=True).strip()
    other = {"Authorization": f"Bearer {stack['tokens']['bob']}"}
    bought = {"ticketId": known["tickets"][0]}

    def order(ticket, version=None):
        return place_order.Case(body={"ticketId": ticket, "ticketVersion": version}, **json_type)

    for case, status in (
        (place_order.Case(body=too_long, **json_type), 413),
        (place_order.Case(body={}, headers={"Content-Type": "text/plain"}, **json_type), 415),
        (place_order.Case(body=bought, **json_type), 200),
        (place_order.Case(body=bought, headers=other, **json_type), 409),
        (order(known["withdrawn"]), 410),
        (order(known["changed"], version=0), 409),
        (order(known["changed"], version=2), 409),
        (order(known["free"], version=0), 201),
        (show.Case(headers={"Authorization": f"Bearer {nobody}"}, **paid), 401),
        (show.Case(headers={"If-None-Match": "*"}, **paid), 304),
        (show.Case(headers={"If-None-Match": "é".encode("latin-1")}, **paid), 400),
        (schema["/api/orders/{id}"]["DELETE"].Case(**paid), 409),
    ):
        check(case, status)
    # Without the hook, which cancels orders, the buyer reaches the hold limit.
    check(order(next(filter(is_beyond_the_limit, known["tickets"]))), 409)


def check(case, status):
    case.headers = {**buyer, **(case.headers or {})}
    response = case.call(base_url=url)
    case.validate_response(response, headers=case.headers)
    assert response.status_code == status, f"status {response.status_code}, expected {status}"


def is_beyond_the_limit(ticket):
    return order_ticket(ticket).json().get("type", "").endswith(":too-many-holds")


def generate(cases):
    """Runs schemathesis. Returns whether all checks succeed."""
    arguments = [
        "--config-file",
        HERE / "schemathesis.toml",
        "run",
        DOCUMENT,
        "--url",
        url,
        "--header",
        f"Authorization: Bearer {token}",
    ]
    options = ["--seed", 1, "--max-examples", 25]
    for seed in itertools.count(2):
        try:
            failed = schemathesis.cli.schemathesis.main([*map(str, arguments + options)], standalone_mode=False)
        except SystemExit as end:
            failed = end.code
        if failed or sum(seen.values()) >= cases:
            return not failed
        # The phases that use only the document run once.
        options = ["--seed", seed, "--max-examples", 1_000, "--phases", "fuzzing,stateful"]


def main(cases=500):
    make_ready()
    good = generate(int(cases))
    ask_on_purpose()
    print(f"{sum(seen.values())} requests:")
    missing = []
    for operations in yaml.safe_load(DOCUMENT.read_text())["paths"].values():
        for operation in (operations[method] for method in ("post", "get", "delete") if method in operations):
            name, statuses = operation["operationId"], operation["responses"]
            print(f"  {name}: " + ", ".join(f"{status} {seen[name, status]}" for status in statuses))
            missing += [f"{name} {status}" for status in statuses.keys() - TROUBLE if not seen[name, status]]
    missing = sorted(set(missing) - UNASKABLE)
    if missing:
        sys.exit(f"documented responses that never occurred: {', '.join(missing)}")
    sys.exit(not good)


if __name__ == "__main__":
    main(*sys.argv[1:])
