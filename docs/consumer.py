"""Example consumer of the order events: a ticket office that sends, voids and refunds.

    make consume                  on the stack of `make run`
    python3 docs/consumer.py BUS  on any event bus, with the AWS credentials and the region of the environment

The bus delivers each event at least once and in any order, and each event carries the whole order. So the consumer

1. subscribes a queue to the source `orders`, not to a list of types;
2. keeps the newest state of each order, by (`createdAt`, `version`), and ignores every other event;
3. acts on `status` and `refunds`, once for each (order, status) and once for each payment to refund.

The states and the actions are in one SQLite file, so a restart repeats and forgets nothing. A message is deleted after
the commit: after a crash the queue delivers the message again.
"""

import json
import sqlite3
import sys

import boto3

NAME = "ticket-office"
# Receives of a message before it moves to the dead-letter queue: a defect must not repeat for ever.
MAX_RECEIVES = 10
TABLES = """
    CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, created_at TEXT, version INTEGER, state TEXT);
    CREATE TABLE IF NOT EXISTS done (action TEXT PRIMARY KEY);
"""
# The newest state of an order wins, in whatever order the events arrive. Times of one length compare as text.
KEEP_NEWEST = """
    INSERT INTO orders VALUES (:id, :createdAt, :version, :state)
    ON CONFLICT (id) DO UPDATE SET created_at = :createdAt, version = :version, state = :state
    WHERE (created_at, version) < (:createdAt, :version)
"""


class TicketOffice:
    """The newest state of each order, and the actions that it has led to."""

    def __init__(self, database, act=print):
        self._database = sqlite3.connect(database)
        self._database.executescript(TABLES)
        self._act = act

    def handle(self, event):
        """Applies an event. Returns `False` if the state was known or older."""
        order = event["detail"]
        # One transaction: the state is stored only together with its actions.
        with self._database:
            changed = self._database.execute(KEEP_NEWEST, {**order, "state": json.dumps(order)}).rowcount
            for action in actions(order) if changed else ():
                # A crash between the action and the commit repeats the action: it needs a key of its own, such as
                # the payment id at the payment provider.
                if self._database.execute("INSERT OR IGNORE INTO done VALUES (?)", [action]).rowcount:
                    self._act(action)
        return bool(changed)


def actions(order):
    """Yields the actions that the state of an order requires."""
    ticket = order["ticket"]["id"]
    if order["status"] == "paid":
        yield f"order {order['id']}: send ticket {ticket} to {order['userId']}"
    if order["status"] == "refunded":
        yield f"order {order['id']}: void ticket {ticket} of {order['userId']}"
    for refund in order["refunds"]:
        if refund["state"] == "due":
            yield f"payment {refund['paymentId']}: refund to {order['userId']}, {refund['reason']}"


def subscribe(bus, queue=NAME):
    """Routes all order events of the bus to a queue, created if missing. Returns the URL of the queue."""
    sqs, events = boto3.client("sqs"), boto3.client("events")
    dead = sqs.create_queue(QueueName=f"{queue}-dead-letters")["QueueUrl"]
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    rule = events.put_rule(Name=queue, EventBusName=bus, EventPattern=json.dumps({"source": ["orders"]}))
    # The queue accepts messages of this rule and of no other sender.
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    permission = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn(sqs, url),
        "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
    }
    attributes = {
        "Policy": json.dumps({"Version": "2012-10-17", "Statement": [permission]}),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": MAX_RECEIVES}),
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    result = events.put_targets(Rule=queue, EventBusName=bus, Targets=[{"Id": queue, "Arn": arn(sqs, url)}])
    if result["FailedEntryCount"]:
        raise RuntimeError(f"PutTargets rejected the queue: {result['FailedEntries']}")
    return url


def arn(sqs, url):
    """Returns the ARN of a queue."""
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(office, sqs, url):
    """Passes the messages of the queue to the office, for ever."""
    while True:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20).get(
            "Messages", []
        ):
            try:
                office.handle(json.loads(message["Body"]))
            except Exception as error:  # noqa: BLE001
                # The queue delivers the message again, and delays no other.
                print(f"Message {message['MessageId']} failed: {error!r}", flush=True)
            else:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def main(bus, database=f"{NAME}.sqlite"):
    url = subscribe(bus)
    print(f"Waiting for the order events of {bus} ...", flush=True)
    receive(TicketOffice(database, lambda action: print(action, flush=True)), boto3.client("sqs"), url)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
