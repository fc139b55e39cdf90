"""Replaces a buyer's id by a random pseudonym (`erased-<uuid>`), in the tables of this service.

    erase.py BUYER [--write]

Replaced: the buyer of each order that does not await payment, and of the lock that names this order. Deleted: the
buyer's item in the Buyers table, unless an order still awaits payment. Orders that await payment keep their buyer: the
command lists them and ends with 1. Run it again after their end. The version of an order stays, and
no event is published. The buyer can no longer see, cancel or repeat the erased orders.

A late payment can buy an expired order during the erasure: 10 seconds later, the locks of the expired orders are read
again.

Not reached:
  - OrderRelayDeadLetterQueue, which has whole orders for 14 days: redrive it before the erasure, or delete its
    messages. A redrive after the erasure publishes the buyer's id again;
  - events already published, in consumers and in an archive of the bus: ask each consumer;
  - the stream of the Orders table, which keeps the old images for 24 hours;
  - backups: point-in-time recovery has the old items for 35 days, and a restore brings the buyer back;
  - the issuer of the tokens (user pool): delete the account there, first;
  - order ids made from an idempotency key: whoever knows the buyer and the key can compute the id.
Logs and payments have no buyer.
"""

import sys
import time
import uuid

import items
import stack as stacks
from stack import FOUND, Stack, UserError
from tables import RETRIES, Tables

PAYMENT_SECONDS = 10  # maximum of an invocation of payment-events: `Timeout` in template.yaml


class Erasure:
    """The erasure of one buyer."""

    def __init__(self, stack, buyer, pseudonym):
        self.tables = Tables(stack)
        self.buyer = buyer
        self.pseudonym = pseudonym

    def orders(self):
        """Reads the buyer's orders. Returns those to erase, those that await payment, and the unreadable ids."""
        final, awaiting, unreadable = [], [], []
        for item in self.tables.of_buyer(self.buyer):
            try:
                # The index may lag.
                order = self.tables.find("Orders", item["id"]["S"])
            except items.Unreadable:
                unreadable.append(item["id"]["S"])
                continue
            if order and order.user_id == self.buyer:
                (awaiting if order.status == items.AWAITING else final).append(order)
        return final, awaiting, unreadable

    def erase(self, order):
        """Replaces the buyer of an order and of its lock, until neither names it. Returns whether it is done."""
        for _ in range(RETRIES):
            try:
                stored = self.tables.find("Orders", order.id)
                ticket = self.tables.find("Tickets", order.ticket_id)
            except items.Unreadable:
                return False
            writes = []
            if stored and stored.user_id == self.buyer:
                if stored.status == items.AWAITING:
                    return False
                writes.append(self._order(stored))
            if ticket and ticket.locked_by == order.id and ticket.locked_for == self.buyer:
                writes.append(self._lock(order))
            if not writes:
                return True
            self.tables.write(*writes)
        return False

    def erase_all(self, orders):
        """Erases orders. Returns the ids of those that are not erased.

        A late payment that read an expired order before its erasure can lock the ticket for the buyer afterwards:
        the lock is read again when this payment has ended.
        """
        failed = {order.id for order in orders if not self.erase(order)}
        expired = [order for order in orders if order.status == items.EXPIRED and order.id not in failed]
        if expired:
            time.sleep(PAYMENT_SECONDS)
        return failed | {order.id for order in expired if not self.erase(order)}

    def _order(self, order):
        condition = "#version = :version AND user_id = :buyer"
        values = {":version": order.version, ":buyer": self.buyer, ":pseudonym": self.pseudonym}
        return self.tables.update("Orders", order.id, "SET user_id = :pseudonym", condition, values, ["version"])

    def _lock(self, order):
        condition = "locked_by = :order AND locked_for = :buyer"
        values = {":order": order.id, ":buyer": self.buyer, ":pseudonym": self.pseudonym}
        return self.tables.update("Tickets", order.ticket_id, "SET locked_for = :pseudonym", condition, values)

    def forget_slots(self):
        """Deletes the buyer's slots."""
        self.tables.dynamodb.delete_item(TableName=self.tables.names["Buyers"], Key={"id": {"S": self.buyer}})


def main(words):
    parser = stacks.arguments(__doc__)
    parser.add_argument("buyer", metavar="BUYER", help="sub of the buyer's tokens")
    arguments = parser.parse_args(words)
    pseudonym = f"erased-{uuid.uuid4()}"
    erasure = Erasure(Stack.named(arguments.stack), arguments.buyer, pseudonym)
    final, awaiting, unreadable = erasure.orders()
    slots = erasure.tables.get("Buyers", arguments.buyer)
    if not (final or awaiting or unreadable or slots):
        raise UserError(f"The buyer {arguments.buyer} has no orders and no slots.")
    for order in awaiting:
        print(f"not erased: order {order.id} awaits payment until {items.timestamp(order.expires_at)}")
    for id in unreadable:
        print(f"not erased: order {id} is unreadable")
    if arguments.write:
        failed = erasure.erase_all(final)
        for id in sorted(failed):
            print(
                f"not erased: order {id} changes at present, or its ticket is unreadable; run the command again",
                file=sys.stderr,
            )
        if slots and not awaiting:
            erasure.forget_slots()
        print(f"{len(final) - len(failed)} orders erased, the buyer is {pseudonym} now")
        return FOUND if failed or awaiting or unreadable else 0
    stacks.dry_run(f"{len(final)} orders{' and the slots' if slots and not awaiting else ''} would be erased")
    return FOUND if awaiting or unreadable else 0


if __name__ == "__main__":
    stacks.run(main)
