"""Finds orders, releases the hold of an order, or marks an order as paid.

    orders.py find --order ID | --ticket ID | --payment ID | --buyer ID
    orders.py release ORDER [--write]
    orders.py pay ORDER --by NAME --note TEXT [--amount 25.50] [--write]
    orders.py refunded ORDER --payment ID --by NAME --note TEXT [--write]

`find` prints each order with its ticket's lock, its payments and its refunds. The service stores the current state of
an order, not its events; --history reads the earlier versions from the stream, which keeps them for 24 hours.
The output has the buyer's id: personal data.

`release` cancels the order as its owner would: it calls the live cancel-order function in the owner's name. The order
is `cancelled`, the ticket is free, and no later payment buys the order. An order that a payment bought cannot be
released. A paid order of a free ticket (price 0, no payment) can: its buyer loses the ticket.

`pay` publishes `PaymentCreated` with an id `manual-...`, and waits until the service has booked it. The service
decides as for every payment: the order is paid, or a refund is due. Repeats change nothing.

`refunded` publishes `PaymentRefunded` of a payment `manual-...`, after the money went back by hand: the refund is
settled. If this payment bought the order, the order is `refunded` and its ticket is free.
"""

import decimal
import json
import sys
import time

import items
import stack as stacks
from stack import FOUND, Stack, UserError
from tables import Tables

POLL_SECONDS = 0.5
_QUEUED = "It stays in the queue: see PaymentEventsDeadLetterQueue and the log of payment-events."
EMPTY_PAGES = 5  # in a row: the end of an open shard


class Orders:
    """The orders of a stack."""

    def __init__(self, stack):
        self.stack = stack
        self.tables = Tables(stack)

    def of_ticket(self, ticket_id, scan):
        """The ids of the orders of a ticket: of its lock, or of all orders if the table is scanned."""
        found = self.tables.get("Tickets", ticket_id)
        if not found and not scan:
            raise UserError(f"There is no ticket {ticket_id}.")
        locked_by = items.plain(found or {}).get("locked_by")
        ids = [locked_by] if locked_by else []
        if scan:
            filters = {
                "FilterExpression": "ticket.id = :ticket",
                "ExpressionAttributeValues": {":ticket": {"S": ticket_id}},
            }
            ids += [item["id"]["S"] for item in self.tables.scan("Orders", **filters) if item["id"]["S"] != locked_by]
        print(f"ticket {ticket_id}")
        print(f"  {_lock(found)}")
        return ids

    def of_payment(self, payment_id):
        """The ids of the order of a payment."""
        payment = self.tables.find("Payments", payment_id)
        if not payment:
            raise UserError(
                f"There is no payment {payment_id}: it is not booked yet, in PaymentEventsDeadLetterQueue, "
                "or was booked by the first edition (see its order)."
            )
        return [payment.order_id]

    def of_buyer(self, buyer):
        """The ids of the orders of a buyer. Prints the buyer's slots."""
        ids = [item["id"]["S"] for item in self.tables.of_buyer(buyer)]
        slots = items.plain(self.tables.get("Buyers", buyer) or {})
        if not ids and not slots:
            raise UserError(f"The buyer {buyer} has no orders.")
        occupied = {name: int(until) for name, until in slots.items() if name.startswith("slot_") and until > _now()}
        print(f"buyer {buyer}: {len(ids)} orders, {len(occupied)} occupied slots")
        return ids

    def show(self, order_id):
        """Prints an order. Returns whether it exists."""
        item = self.tables.get("Orders", order_id)
        print(f"order {order_id}")
        if not item:
            print("  missing")
            return False
        try:
            order = items.Order.parse(item)
        except items.Unreadable as error:
            print(f"  unreadable: {error}\n  {json.dumps(item, default=str)}")
            return True
        for line in self._lines(order):
            print(f"  {line}")
        return True

    def _lines(self, order):
        now = _now()
        status = order.status + (" (due: shown as expired)" if order.is_due(now) else "")
        yield f"status {status}, version {order.version}, correlation id {order.correlation_id}"
        yield f"buyer {order.user_id}"
        yield f"created {items.timestamp(order.created_at)}, hold until {items.timestamp(order.expires_at)}"
        yield f"ticket {order.ticket_id}, price {decimal.Decimal(order.price) / 100:.2f}"
        yield f"lock of the ticket: {_lock(self.tables.get('Tickets', order.ticket_id), order.id)}"
        if order.payment_id:
            yield f"paid by {order.payment_id}: {self._payment(order.payment_id)}"
        for payment_id, reason, state in order.refunds:
            yield f"refund {state} of {payment_id}, reason {reason}: {self._payment(payment_id)}"

    def _payment(self, payment_id):
        payment = self.tables.find("Payments", payment_id)
        if not payment:
            return "no item in the payments table"
        amount = "no amount" if payment.amount is None else f"amount {decimal.Decimal(payment.amount) / 100:.2f}"
        return f"{payment.result}, {amount}, sent {items.timestamp(payment.sent_at)}, order {payment.order_id}"

    def history(self, ids):
        """Prints the versions of orders in the stream, oldest first."""
        streams, name = self.stack.client("dynamodbstreams"), self.tables.names["Orders"]
        arn = self.tables.dynamodb.describe_table(TableName=name)["Table"]["LatestStreamArn"]
        found, gaps = 0, set()
        for record in _records(streams, arn, gaps):
            image = record["dynamodb"].get("NewImage")
            if record["dynamodb"]["Keys"]["id"]["S"] in ids:
                found += 1
                state = items.plain(image) if image else {"status": "removed"}
                print(
                    f"  {record['dynamodb']['ApproximateCreationDateTime']:%Y-%m-%d %H:%M:%S} "
                    f"{record['dynamodb']['Keys']['id']['S']} version {state.get('version', '-')} {state.get('status')}"
                )
        print(f"{found} changes in the stream")
        for gap in sorted(gaps):
            print(f"The history may be incomplete: {gap}.")

    def existing(self, order_id):
        """Reads an order that must exist."""
        order = self.tables.find("Orders", order_id)
        if not order:
            raise UserError(f"There is no order {order_id}.")
        return order

    def release(self, order):
        """Cancels an order in its owner's name. Returns the status of the response."""
        # The parts of API Gateway's event (payload format 2.0) that the function reads. The authorizer has
        # checked the claims of a real request; this caller is checked by `lambda:InvokeFunction`.
        path = f"/api/orders/{order.id}"
        route, claims = "DELETE /api/orders/{id}", {"sub": order.user_id}
        http = {"method": "DELETE", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": ""}
        event = {
            "version": "2.0",
            "routeKey": route,
            "rawPath": path,
            "rawQueryString": "",
            "headers": {"host": "operations"},
            "pathParameters": {"id": order.id},
            "requestContext": {
                "authorizer": {"jwt": {"claims": claims, "scopes": None}},
                "http": http,
                "routeKey": route,
                "stage": "$default",
                "timeEpoch": _now(),
            },
            "isBase64Encoded": False,
        }
        response = self.stack.invoke("CancelOrder", event)
        return response["statusCode"] if response else 500

    def publish(self, kind, detail):
        """Publishes an event of a payment."""
        entry = {
            "EventBusName": self.stack.output("EventBusName"),
            "Source": "payments",
            "DetailType": kind,
            "Detail": json.dumps(detail),
        }
        response = self.stack.client("events").put_events(Entries=[entry])
        if response["FailedEntryCount"]:
            raise UserError(f"The bus refused the event: {response['Entries'][0].get('ErrorMessage')}")

    def booked(self, payment_id, seconds):
        """Waits for the item of a payment. Returns it; `None` after this time."""
        deadline = time.monotonic() + seconds
        while not (payment := self.tables.find("Payments", payment_id)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return payment

    def settled(self, order_id, payment_id, seconds):
        """Waits until a payment is refunded. Returns whether it is, after at most this time."""
        deadline = time.monotonic() + seconds
        while not (done := _is_refunded(self.existing(order_id), payment_id)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return done


def _is_refunded(order, payment_id):
    """Whether an order has the refund of this payment, and no longer the purchase."""
    bought = order.status == items.REFUNDED and order.payment_id == payment_id
    return bought or any((id, state) == (payment_id, "settled") for id, _, state in order.refunds)


def _lock(item, order_id=None):
    """Describes the lock of a ticket's item."""
    if not item:
        return "the ticket is missing"
    try:
        ticket = items.Ticket.parse(item)
    except items.Unreadable as error:
        return f"the ticket is unreadable: {error}"
    if not ticket.locked_by:
        return "free" + (" (withdrawn)" if ticket.withdrawn else "")
    owner = "this order" if ticket.locked_by == order_id else f"order {ticket.locked_by}"
    if ticket.is_sold:
        return f"sold to {owner}"
    return f"held by {owner} until {items.timestamp(ticket.locked_until)}" + (
        ", lapsed" if ticket.has_lapsed(_now()) else ""
    )


def _records(streams, arn, gaps):
    """Yields the records of a stream, shard after shard: a parent before its children. Adds the reasons for gaps."""
    shards, start = [], {}
    while True:
        page = streams.describe_stream(StreamArn=arn, **start)["StreamDescription"]
        shards += page["Shards"]
        if not page.get("LastEvaluatedShardId"):
            break
        start = {"ExclusiveStartShardId": page["LastEvaluatedShardId"]}
    for shard in shards:
        try:
            yield from _of_shard(streams, arn, shard, gaps)
        except (streams.exceptions.TrimmedDataAccessException, streams.exceptions.ResourceNotFoundException):
            gaps.add("the stream dropped records during the run")


def _of_shard(streams, arn, shard, gaps):
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    is_open, empty = "EndingSequenceNumber" not in shard["SequenceNumberRange"], 0
    # An open shard has no last page. A page can be empty although more records follow.
    while iterator:
        page = streams.get_records(ShardIterator=iterator)
        yield from page["Records"]
        empty = 0 if page["Records"] else empty + 1
        iterator = page.get("NextShardIterator")
        if is_open and empty == EMPTY_PAGES:
            gaps.add(f"an open shard was read until {EMPTY_PAGES} empty pages")
            return


def _now():
    return int(time.time() * 1000)


def _order_id(text):
    id = items.order_id(text)
    if not id:
        raise UserError(f"{text} is not an order id: a UUID with hyphens.")
    return id


def _amount(text):
    """Parses an amount in the format of a ticket price: 25.50."""
    try:
        amount = decimal.Decimal(text)
    except decimal.InvalidOperation:
        amount = decimal.Decimal(-1)
    if not amount.is_finite() or amount < 0 or amount != round(amount, 2):
        raise UserError(f"{text} is not an amount: a number with at most two decimals, for example 25.50.")
    return amount


def find(orders, arguments):
    if arguments.order:
        ids = [_order_id(arguments.order)]
    elif arguments.ticket:
        ids = orders.of_ticket(arguments.ticket, arguments.scan)
    elif arguments.payment:
        ids = orders.of_payment(arguments.payment)
    else:
        ids = orders.of_buyer(arguments.buyer)
    exist = [orders.show(id) for id in ids]
    if arguments.history:
        orders.history(set(ids))
    return 0 if all(exist) else FOUND


def release(orders, arguments):
    order = orders.existing(_order_id(arguments.order))
    orders.show(order.id)
    if order.payment_id and order.is_paid:
        raise UserError("The order is paid: a refund by the payment service releases its ticket.")
    if order.is_paid:
        print("The order is paid, and its ticket costs nothing: its buyer would lose the ticket.")
    if not arguments.write:
        stacks.dry_run("the order would be cancelled in its owner's name")
        return 0
    status = orders.release(order)
    if status == 204:
        print("The order is cancelled.")
        return 0
    print(f"The order is not cancelled: status {status} (409: paid meanwhile; 503: try again).", file=sys.stderr)
    return FOUND


def pay(orders, arguments):
    order = orders.existing(_order_id(arguments.order))
    orders.show(order.id)
    detail = _payment(order, arguments)
    print(f"payment {json.dumps(detail)}")
    if order.is_paid:
        raise UserError("The order is paid already. A second payment would be a refund due.")
    if not arguments.write:
        stacks.dry_run("PaymentCreated would be published")
        return 0
    orders.publish("PaymentCreated", detail)
    payment = orders.booked(detail["id"], arguments.seconds)
    if payment is None:
        print(f"The payment is not booked after {arguments.seconds} s. {_QUEUED}", file=sys.stderr)
        return FOUND
    orders.show(order.id)
    order = orders.existing(order.id)
    if payment.result != items.BOUGHT:
        print(f"The payment does not buy the order: a refund is due, reason {payment.result}.", file=sys.stderr)
        return FOUND
    if not order.is_paid or order.payment_id != payment.id:
        print(f"The payment is booked, but the order is {order.status} now.", file=sys.stderr)
        return FOUND
    print("The order is paid.")
    return 0


def refunded(orders, arguments):
    order, payment_id = orders.existing(_order_id(arguments.order)), arguments.payment
    orders.show(order.id)
    if not payment_id.startswith("manual-"):
        raise UserError(f"{payment_id} is not a payment of `pay`: the payment service reports its own refunds.")
    if payment_id not in (order.payment_id, *(id for id, _, _ in order.refunds)):
        raise UserError(f"The order has no payment {payment_id}.")
    detail = _detail(payment_id, order, arguments)
    print(f"refund {json.dumps(detail)}")
    if not arguments.write:
        sale = order.is_paid and order.payment_id == payment_id
        stacks.dry_run("PaymentRefunded would be published" + (", and the ticket would be free" if sale else ""))
        return 0
    orders.publish("PaymentRefunded", detail)
    if not orders.settled(order.id, payment_id, arguments.seconds):
        print(f"The refund is not recorded after {arguments.seconds} s. {_QUEUED}", file=sys.stderr)
        return FOUND
    orders.show(order.id)
    print("The refund is recorded.")
    return 0


def _detail(payment_id, order, arguments):
    """The detail of an event that an operator publishes."""
    if not arguments.by.strip() or not arguments.note.strip():
        raise UserError("--by and --note must not be empty: they are the only record of this decision.")
    return {"id": payment_id, "orderId": order.id, "by": arguments.by, "note": arguments.note}


def _payment(order, arguments):
    """The detail of the event. A repeat has the same id, until the order has this payment."""
    known = {order.payment_id, *(payment_id for payment_id, _, _ in order.refunds)} - {None}
    number = sum(payment_id.startswith(f"manual-{order.id}-") for payment_id in known) + 1
    detail = _detail(f"manual-{order.id}-{number}", order, arguments)
    if arguments.amount is not None:
        detail["amount"] = float(_amount(arguments.amount))
    return detail


def main(words):
    parser = stacks.arguments(__doc__, writes=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="find|release|pay|refunded")
    finding = commands.add_parser("find", help="print orders")
    by = finding.add_mutually_exclusive_group(required=True)
    by.add_argument("--order", metavar="ID")
    by.add_argument("--ticket", metavar="ID", help="the order that the ticket's lock names")
    by.add_argument("--payment", metavar="ID")
    by.add_argument("--buyer", metavar="ID", help="sub of the token")
    finding.add_argument("--scan", action="store_true", help="with --ticket: all its orders; reads the whole table")
    finding.add_argument("--history", action="store_true", help="versions in the stream; reads the whole stream")
    finding.set_defaults(run=find)
    releasing = commands.add_parser("release", help="cancel an order in its owner's name")
    releasing.add_argument("order", metavar="ORDER")
    releasing.set_defaults(run=release)
    paying = commands.add_parser("pay", help="mark an order as paid")
    paying.add_argument("order", metavar="ORDER")
    paying.add_argument("--amount", help="the paid amount, 25.50; default: the price is trusted to be paid")
    paying.set_defaults(run=pay)
    refunding = commands.add_parser("refunded", help="record the refund of a payment of `pay`")
    refunding.add_argument("order", metavar="ORDER")
    refunding.add_argument("--payment", required=True, metavar="ID", help="manual-...")
    refunding.set_defaults(run=refunded)
    for command in (paying, refunding):
        command.add_argument("--by", required=True, metavar="NAME", help="the person who decides this")
        command.add_argument("--note", required=True, metavar="TEXT", help="the reason, for example a bank statement")
        command.add_argument("--seconds", type=int, default=60, help="time to wait for the result (60)")
    for command in (releasing, paying, refunding):
        stacks.add_write(command)
    arguments = parser.parse_args(words)
    return arguments.run(Orders(Stack.named(arguments.stack)), arguments)


if __name__ == "__main__":
    stacks.run(main)
