"""Steps of the smoke test that buy, hold and lose tickets."""

import collections
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import smoke_buyers
import stack as stacks
from smoke_site import Failed, NotHere, expect, moment

# Longest hold for which a step waits.
MAX_HOLD_SECONDS = 120
# From the end of a hold until its event arrives; "on time" of the alarm is 2 s.
LATE_SECONDS = 10
EARLY_MESSAGES = 20
SCHEDULED_HOLD_SECONDS = 90
# A shorter hold can end before the event that extends it arrives.
MIN_EXTENDED_SECONDS = 10
# A schedule fires within a minute after its time.
SCHEDULER_SECONDS = 60
SCHEDULE_LEAD_SECONDS = 60
# Error of this computer's clock.
CLOCK_SECONDS = 5


def bus(site):
    """An event of another service reaches the table."""
    started = time.monotonic()
    site.ticket()
    return f"a ticket is in the table {time.monotonic() - started:.1f} s after its event"


def tokens(site):
    """API Gateway accepts the tokens of a buyer, and refuses broken ones."""
    buyer = site.buyer()
    for kind, token in buyer.tokens.items():
        expect(f"{kind} token", site.request("GET", "/api/orders", token).status, 200)
    broken = smoke_buyers.broken(buyer.token)
    for name, token in broken.items():
        expect(name, site.request("GET", "/api/orders", token).status, 401)
    return f"accepted: {', '.join(buyer.tokens)}; refused: {', '.join(broken)}"


def key_twice(site):
    """A repeated key gives the order of the first request."""
    buyer, ticket, key = site.buyer(), site.ticket(), str(uuid.uuid4())
    first, second = (site.order(buyer, ticket, key) for _ in range(2))
    expect("first request, second request", [first.status, second.status], [201, 200])
    expect("order of the second request", second.body["id"], first.body["id"])
    listed = site.request("GET", "/api/orders?limit=100&sort=-createdAt", buyer.token).body
    found = [order["id"] for order in listed if order["ticket"]["id"] == ticket]
    # The list may lag, but never has a second order.
    expect("orders of the ticket", [id for id in found if id != first.body["id"]], [])
    shown = site.request("GET", f"/api/orders/{first.body['id']}", buyer.token)
    expect("GET of the order", shown.status, 200)
    return "201, then 200 with the same order"


def race(site):
    """Of many buyers at once, one gets the ticket."""
    buyers = site.buyers[: smoke_buyers.COUNT]
    if len(buyers) < 2:
        raise NotHere("needs the tokens of several buyers in TOKEN")
    ticket, start = site.ticket(), threading.Barrier(len(buyers))

    def order(buyer):
        start.wait()
        return site.order(buyer, ticket).status

    with ThreadPoolExecutor(len(buyers)) as pool:
        statuses = collections.Counter(pool.map(order, buyers))
    expect(f"statuses of {len(buyers)} buyers", dict(sorted(statuses.items())), {201: 1, 409: len(buyers) - 1})
    return f"one 201, {len(buyers) - 1} 409"


def expired(site):
    """The hold of an order ends on time."""
    order = site.hold()
    event = site.expiry(order, _wait_seconds(order))
    return f"OrderExpired {lateness(event):.1f} s after the end of the hold"


def early(site):
    """An expiry message before its time waits in the queue: it expires no order early, and is no dead letter."""
    dead = site.waiting("ExpiryDeadLetter", "")
    order = site.hold()
    seconds = _wait_seconds(order)
    before = site.waiting("Expiry", "Delayed", "NotVisible")
    _send_expiries(site, order["id"])
    seen = f"{EARLY_MESSAGES} early messages wait"
    try:
        # Other timers come and go.
        wanted = before + EARLY_MESSAGES // 2
        window = max(1, seconds - LATE_SECONDS - 1)
        site.until(seen, lambda: site.waiting("Expiry", "Delayed", "NotVisible") >= wanted, window)
    except Failed:
        # The counts of SQS can be a minute old. A lost early message then fails the step "schedule".
        if site.emulated:
            raise
        seen = f"the number of {EARLY_MESSAGES} early messages was not visible in time"
    event = site.expiry(order, seconds)
    expect("version of the expired order", event["detail"]["version"], 1)
    late = lateness(event)
    expect("dead letters of the expiry queue", site.waiting("ExpiryDeadLetter", ""), dead)
    return f"{seen}; one expiry, {late:.1f} s after the end of the hold"


def schedule(site):
    """A hold of at least 90 s has a schedule. It is deleted with a cancelled order; the other fires, a minute early."""
    buyers = [site.buyer() for _ in range(2)]
    cancelled, kept = (_scheduled(site, site.hold(buyer)) for buyer in buyers)
    for order in (cancelled, kept):
        site.until(f"schedule of {order['id']}", lambda id=order["id"]: _has_schedule(site, id), 20)
    expect("DELETE of an order", site.cancel(buyers[0], cancelled["id"]), 204)
    due = moment(kept["expiresAt"]) - SCHEDULE_LEAD_SECONDS
    site.until("the schedule of the cancelled order is deleted", lambda: not _has_schedule(site, cancelled["id"]), 20)
    if time.time() > due:
        raise Failed("the schedule of the cancelled order was not deleted before its time")
    # A fired schedule is deleted soon after; "soon" has no limit in the user guide.
    left = max(0, due - time.time()) + 2 * SCHEDULER_SECONDS
    site.until("the schedule has fired", lambda: not _has_schedule(site, kept["id"]), left)
    fired = time.time() - due
    if fired < -CLOCK_SECONDS:
        raise Failed(f"a schedule fired {-fired:.0f} s before its time")
    if time.time() < moment(kept["expiresAt"]) - CLOCK_SECONDS:
        shown = site.request("GET", f"/api/orders/{kept['id']}", buyers[1].token).body["status"]
        expect("status before the end of the hold", shown, "awaiting_payment")
    seen = f"created; one deleted, one fired {fired:.0f} s after its time"
    if site.emulated:
        # The rest of the way is that of the step "early message".
        return seen
    event = site.expiry(kept, SCHEDULE_LEAD_SECONDS + LATE_SECONDS)
    return f"{seen}; OrderExpired {lateness(event):.1f} s after the end of the hold"


def lateness(event):
    """Returns the seconds from the end of the hold to the expiry. Raises `Failed` if it was early or late."""
    detail = event["detail"]
    late = moment(detail["metadata"]["occurredAt"]) - moment(detail["expiresAt"])
    if not 0 <= late <= LATE_SECONDS:
        raise Failed(f"{detail['id']} expired {late:.1f} s after the end of its hold")
    return late


def _wait_seconds(order):
    """Returns how long to wait for the end of a hold."""
    return _hold_seconds(order) + LATE_SECONDS


def _hold_seconds(order):
    hold = round(moment(order["expiresAt"]) - moment(order["createdAt"]))
    if hold > MAX_HOLD_SECONDS:
        raise NotHere(f"a hold takes {hold} s (HoldSeconds); the step waits for at most {MAX_HOLD_SECONDS} s")
    return hold


def _send_expiries(site, order):
    body = f'{{"orderId": "{order}"}}'
    for _ in range(0, EARLY_MESSAGES, 10):
        entries = [{"Id": str(number), "MessageBody": body} for number in range(10)]
        result = site.client("sqs").send_message_batch(QueueUrl=site.stack.output("ExpiryQueueUrl"), Entries=entries)
        expect("refused messages", result.get("Failed", []), [])


def _scheduled(site, order):
    """Returns an order after the extension of a hold that is too short for a schedule."""
    hold = _hold_seconds(order)
    if hold >= SCHEDULED_HOLD_SECONDS:
        return order
    if hold < MIN_EXTENDED_SECONDS:
        raise NotHere(f"a hold takes {hold} s (HoldSeconds); its extension needs {MIN_EXTENDED_SECONDS} s")
    return _extended(site, order)


def _extended(site, order):
    """Extends a hold: its end is in 90 s, as if its payment had started long ago. Returns the order."""
    function = f"{site.stack.output('PaymentEventsFunctionName')}:{stacks.ALIAS}"
    settings = site.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    to_pay = int(settings["PAYMENT_SECONDS"])
    if to_pay < SCHEDULED_HOLD_SECONDS:
        raise NotHere(f"a started payment has {to_pay} s (PaymentSeconds); the step needs {SCHEDULED_HOLD_SECONDS} s")
    started = time.time() + SCHEDULED_HOLD_SECONDS - to_pay
    site.publish("payments", "PaymentStarted", {"orderId": order["id"]}, Time=started)
    return site.events.wait(order["id"], "OrderExtended", 60)["detail"]


def _has_schedule(site, order):
    group = site.stack.output("ScheduleGroupName")
    return bool(site.client("scheduler").list_schedules(GroupName=group, NamePrefix=order)["Schedules"])
