"""Publishes the current state of orders on the bus again, by the live relay.

    retell.py --order ID... | --ticket ID | --all [--from TIME] [--to TIME]   [--write]

It helps only a consumer that missed events: the event of an order's current version has the id that it had the first
time, and the whole state. A consumer that has this state, or a newer one, ignores it. The relay makes the event from
a stream record without an old image:
  - its type follows the status. A refund due is in `refunds`; `OrderRefundDue` is not published again;
  - `occurredAt` is the time of this run, except for `OrderCreated`, which has its own;
  - a held order gets its timer again, which is harmless: an order expires once, and not before its `expires_at`;
  - the metrics of the relay count the event again.
A record that the relay rejects counts as accepted, and is in OrderRelayDeadLetterQueue.

--ticket and --all read the whole Orders table. Unreadable orders are left out. After a failure, run the command again
with --from and the time that it prints. --from and --to limit the time of creation: orders created before and changed
in that time are left out. After a time without events, use --all alone.
"""

import datetime
import sys
import time

import items
import stack as stacks
from stack import FOUND, Stack, UserError
from tables import Tables

# Records of one invocation: one PutEvents call of the relay.
BATCH = 10
SHOWN = 20


def find(tables, arguments):
    """Yields the items of the orders in boto3's form."""
    if arguments.order:
        for id in " ".join(arguments.order).split():
            item = tables.get("Orders", id.lower())
            if not item:
                raise UserError(f"There is no order {id}.")
            yield item
        return
    condition, values = "created_at BETWEEN :from AND :to", {":from": arguments.start, ":to": arguments.end}
    if arguments.ticket:
        condition, values = f"ticket.id = :ticket AND {condition}", {":ticket": arguments.ticket, **values}
    yield from tables.scan("Orders", FilterExpression=condition, ExpressionAttributeValues=items.item(values))


def readable(found):
    """Returns the readable items, oldest first. Prints the others."""
    orders = []
    for item in found:
        try:
            orders.append((items.Order.parse(item), item))
        except items.Unreadable as error:
            print(f"left out: order {item['id']['S']} is unreadable: {error}", file=sys.stderr)
    return sorted(orders, key=lambda pair: (pair[0].created_at, pair[0].id))


def record(order, item):
    """The stream record of an order's current version, without an old image."""
    return stacks.as_lambda(
        {
            "eventID": f"retell-{order.id}-{order.version}",
            "eventName": "MODIFY",
            "eventSource": "aws:dynamodb",
            "eventVersion": "1.1",
            "awsRegion": "",
            "dynamodb": {
                # The time of the write is unknown. An earlier time would count as lag of the relay.
                "ApproximateCreationDateTime": int(time.time()),
                "Keys": {"id": item["id"]},
                "NewImage": item,
                "SequenceNumber": order.id,
                "SizeBytes": 0,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
    )


def retell(stack, orders):
    """Passes the orders to the relay, the oldest first. Returns the first one that it did not accept."""
    for start in range(0, len(orders), BATCH):
        batch = orders[start : start + BATCH]
        failed = stacks.relay(stack, [record(*pair) for pair in batch])
        if failed is not None:
            return next((order for order, _ in batch if order.id == failed), batch[0][0])
    return None


def _time(text):
    """Parses a time in UTC to epoch milliseconds: 2026-11-23 or 2026-11-23T09:25:00Z."""
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text} is not a time, for example 2026-11-23T09:25:00Z.") from None
    return round((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def main(words):
    parser = stacks.arguments(__doc__)
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--order", nargs="+", metavar="ID")
    by.add_argument("--ticket", metavar="ID")
    by.add_argument("--all", action="store_true", help="all orders, or those that were created between --from and --to")
    parser.add_argument("--from", dest="start", metavar="TIME", help="created at or after this time, in UTC")
    parser.add_argument("--to", dest="end", metavar="TIME", help="created at or before this time, in UTC")
    arguments = parser.parse_args(words)
    if arguments.order and (arguments.start or arguments.end):
        raise UserError("--from and --to limit --ticket and --all, not --order.")
    arguments.start = _time(arguments.start) if arguments.start else 0
    arguments.end = _time(arguments.end) if arguments.end else 2**53
    stack = Stack.named(arguments.stack)
    orders = readable(find(Tables(stack), arguments))
    print(f"{len(orders)} orders")
    for order, _ in orders[:SHOWN]:
        print(f"  {order.id}:{order.version} {order.status}, created {items.timestamp(order.created_at)}")
    if len(orders) > SHOWN:
        print(f"  ... and {len(orders) - SHOWN} more")
    if not arguments.write:
        stacks.dry_run("these states would be published again")
        return 0
    failed = retell(stack, orders)
    if failed is None:
        print(f"{len(orders)} states accepted by the relay; rejected ones are in OrderRelayDeadLetterQueue")
        return 0
    print(
        f"The relay failed at order {failed.id}, created {items.timestamp(failed.created_at)}: see its log.",
        file=sys.stderr,
    )
    return FOUND


if __name__ == "__main__":
    stacks.run(main)
