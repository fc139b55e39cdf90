"""Compares every order with its ticket's lock and its payments, and lists the disagreements by kind.

Run audit after a restore or a manual change of the tables. It reads the Orders, Tickets and Payments tables wholly
(half a read unit for each 4 KB; twice with --write), and keeps the items in memory, about 1 KB an order. Each suspect
is read again in a transaction of its own, so live traffic is no disagreement.

With --repair, audit lists the repairs; with --repair --write, it makes them:
  - a permanent lock of an order that is over is removed;
  - a paid order without its permanent lock gets it, if the ticket is free, or its lock names the order itself or an
    order that is over or missing. A live hold of another buyer is never overwritten;
  - a due order without its lock gets the message of its timer again, and the service expires it.
Each repair is conditional on all items as they were read. Repairs can be repeated beside live traffic.

Exit code: 0 if orders, locks and payments agree, 1 if not, or if an item cannot be read, 2 for a wrong use.
"""

import collections
import json
import time

import findings
import items
import stack as stacks
from findings import Expire, Release
from stack import FOUND, Stack, UserError
from tables import MAX_TRANSACTION, TABLES, Tables

SHOWN = 20  # disagreements of a kind, without --all
ROUNDS = 4  # attempts to repair a ticket that changes meanwhile
EXPIRY_SECONDS = 60
POLL_SECONDS = 0.5


class Audit:
    """The disagreements of a stack."""

    def __init__(self, stack):
        self.stack = stack
        self.tables = Tables(stack)
        self.counts = dict.fromkeys(TABLES, 0)
        self.unreadable = {}  # reason by (table, id)
        self.tickets = {}  # disagreements by ticket id
        self.payments = []
        self._bought = set()  # orders that may have a sale that their rows do not have
        self._has_unknown_sale = False  # an unreadable payment names no order
        self._order_ids = collections.defaultdict(set)  # live orders of a ticket, and the order that its lock names

    def compare(self):
        """Reads the tables and collects the disagreements."""
        scanned = {table: self._scan(table) for table in TABLES}
        orders, tickets, payments = scanned.values()
        if self._has_unknown_sale:
            self._bought |= orders.keys()
        for payment in payments.values():
            order = orders.get(payment.order_id)
            if order and payment.result == items.BOUGHT and order.payment_id != payment.id:
                self._bought.add(order.id)
        for order in orders.values():
            if not order.is_over:
                self._order_ids[order.ticket_id].add(order.id)
        for ticket in tickets.values():
            if ticket.locked_by:
                self._order_ids[ticket.id].add(ticket.locked_by)
        for ticket_id, ids in self._order_ids.items():
            known = {id: orders[id] for id in ids if id in orders}
            if findings.of_ticket(ticket_id, tickets.get(ticket_id), known, self._bought, now()):
                self._read_ticket_again(ticket_id)
        self._compare_payments(orders, payments)

    def disagreements(self):
        """All disagreements, by kind."""
        by_kind = collections.defaultdict(list)
        for finding in [*self.payments, *(finding for found in self.tickets.values() for finding in found)]:
            by_kind[finding.kind].append(finding)
        return by_kind

    def repair(self):
        """Makes the repairs. Returns their number."""
        made, sent = 0, set()
        for _ in range(ROUNDS):
            pending = [ticket_id for ticket_id, found in self.tickets.items() if any(it.repair for it in found)]
            repairs = [it.repair for ticket_id in pending for it in self.tickets[ticket_id] if it.repair]
            due = {it.order.id: it.order for it in repairs if isinstance(it, Expire) and it.order.id not in sent}
            made += sum(self.tables.write(*self._writes(it)) for it in repairs if not isinstance(it, Expire))
            made += self._expire(due)
            sent |= due.keys()
            for ticket_id in pending:
                self._read_ticket_again(ticket_id)
        return made

    def _scan(self, table):
        """Reads a table. Returns its readable items by id."""
        parsed = {}
        for item in self.tables.scan(table):
            self.counts[table] += 1
            try:
                parsed[item["id"]["S"]] = TABLES[table].parse(item)
            except items.Unreadable as error:
                self.unreadable[table, item["id"]["S"]] = str(error)
                if table == "Payments":
                    self._protect_order_of(item)
        return parsed

    def _protect_order_of(self, payment):
        """Counts an unreadable payment as a sale: of the order that it names, or of every order."""
        order_id = items.order_id(payment.get("order_id", {}).get("S", ""))
        if order_id:
            self._bought.add(order_id)
        else:
            self._has_unknown_sale = True

    def _read_ticket_again(self, ticket_id):
        """Reads a ticket and its orders at one moment, and collects the disagreements."""
        ids = self._order_ids[ticket_id]
        try:
            while True:
                read = sorted(ids)[: MAX_TRANSACTION - 1]
                ticket, *orders = self.tables.snapshot([("Tickets", ticket_id), *(("Orders", id) for id in read)])
                if ticket is None or ticket.locked_by is None or ticket.locked_by in ids:
                    break
                ids.add(ticket.locked_by)
        except items.Unreadable:
            # Nothing that depends on this item is compared or repaired.
            found = []
        else:
            known = {order.id: order for order in orders if order}
            found = findings.of_ticket(ticket_id, ticket, known, self._bought, now())
        self.tickets[ticket_id] = found

    def _compare_payments(self, orders, payments):
        suspects = [
            (payment.id, payment.order_id)
            for payment in payments.values()
            if findings.of_payment(payment, orders.get(payment.order_id))
        ]
        suspects += [
            (id, order.id) for order in orders.values() for id in findings.payment_ids(order) if id not in payments
        ]
        for payment_id, order_id in suspects:
            try:
                payment, order = self.tables.snapshot([("Payments", payment_id), ("Orders", order_id)])
            except items.Unreadable:
                continue
            if payment is None:
                self.payments.append(findings.without_row(payment_id, order_id))
            elif finding := findings.of_payment(payment, order):
                self.payments.append(finding)

    def _writes(self, repair):
        """The writes of a repair: the change of the lock, with checks that the orders are as they were read."""
        ticket, order = repair.ticket, repair.order
        if isinstance(repair, Release):
            sold = "locked_by = :order AND attribute_not_exists(locked_until)"
            release = "REMOVE locked_by, locked_until, locked_for"
            return [self.tables.update("Tickets", ticket.id, release, sold, {":order": order.id}), self._as_read(order)]
        values = {":order": order.id, ":buyer": order.user_id, ":named": ticket.locked_by}
        relock = "SET locked_by = :order, locked_for = :buyer REMOVE locked_until"
        condition = "attribute_exists(id) AND attribute_not_exists(locked_by)"
        if ticket.locked_by:
            condition = "locked_by = :named AND attribute_not_exists(locked_until)"
        if ticket.locked_until is not None:
            condition, values[":until"] = "locked_by = :named AND locked_until = :until", ticket.locked_until
        writes = [self.tables.update("Tickets", ticket.id, relock, condition, values), self._as_read(order)]
        if repair.named and repair.named != order:
            writes.append(self._as_read(repair.named))
        elif ticket.locked_by and not repair.named:
            writes.append(self.tables.check("Orders", ticket.locked_by, "attribute_not_exists(id)"))
        return writes

    def _as_read(self, order):
        """Checks that an order has the version and the status that were read."""
        values = {":version": order.version, ":status": order.status}
        return self.tables.check(
            "Orders", order.id, "#version = :version AND #status = :status", values, ("version", "status")
        )

    def _expire(self, due):
        """Sends the expiry messages of orders, and waits until the service has expired them. Returns their number."""
        for order in due.values():
            message = {"orderId": order.id, "expiresAt": items.timestamp(order.expires_at)}
            self.stack.client("sqs").send_message(
                QueueUrl=self.stack.output("ExpiryQueueUrl"), MessageBody=json.dumps(message)
            )
        left, deadline = set(due), time.monotonic() + EXPIRY_SECONDS
        while left and time.monotonic() < deadline:
            left = {id for id in left if (order := self.tables.find("Orders", id)) and order.is_due(now())}
            time.sleep(POLL_SECONDS if left else 0)
        if left:
            print(f"{len(left)} messages wait in the expiry queue: is the mapping of expire-orders enabled?")
        return len(due) - len(left)


def now():
    """The time in epoch milliseconds."""
    return int(time.time() * 1000)


def report(audit, shown):
    """Prints the disagreements. Returns the exit code."""
    print(", ".join(f"{table}: {count}" for table, count in audit.counts.items()))
    for (table, id), reason in sorted(audit.unreadable.items()):
        print(f"unreadable, left as it is: {table} {id}: {reason}")
    by_kind = audit.disagreements()
    for kind in findings.Kind:
        found = by_kind[kind]
        if found:
            print(f"{kind.label}: {len(found)} ({kind.treatment.value})")
        for finding in found[:shown]:
            print(f"  {', '.join(finding.ids)}")
        if len(found) > shown:
            print(f"  ... and {len(found) - shown} more: --all")
    wrong = sum(len(found) for kind, found in by_kind.items() if not kind.treatment.is_note)
    print(f"{wrong} disagreements, {len(audit.unreadable)} unreadable items")
    return FOUND if wrong or audit.unreadable else 0


def main(words):
    parser = stacks.arguments(__doc__)
    parser.add_argument("--repair", action="store_true", help="repair the disagreements with a single right answer")
    parser.add_argument("--all", action="store_true", help=f"list all disagreements; default: {SHOWN} of a kind")
    arguments = parser.parse_args(words)
    if arguments.write and not arguments.repair:
        raise UserError("--write needs --repair (make: REPAIR=1).")
    stack, shown = Stack.named(arguments.stack), None if arguments.all else SHOWN
    audit = Audit(stack)
    audit.compare()
    repairs = sum(bool(finding.repair) for found in audit.tickets.values() for finding in found)
    if arguments.write:
        print(f"{audit.repair()} repairs made")
        audit = Audit(stack)
        audit.compare()
    code = report(audit, shown or len(audit.tickets) + len(audit.payments) + SHOWN)
    if arguments.repair and not arguments.write:
        stacks.dry_run(f"{repairs} repairs would be made")
    return code


if __name__ == "__main__":
    stacks.run(main)
