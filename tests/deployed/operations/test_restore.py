"""A restore of tables at different moments: audit repairs or lists every disagreement, and sells no ticket twice."""

import re
from concurrent.futures import ThreadPoolExecutor

import findings
import items
from commands import OperationsTest
from findings import Kind, Treatment
from history import OVER, History

SEED, ORDERS, TICKETS = 14, 1000, 500
# Writes between the two moments of a restore.
APART = 250
RECONCILE = "ReconcileFunctionName"


class Restore(OperationsTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # As in the runbook: the relay sets timers for restored orders, so it stands still during a restore.
        cls.set_relay(False)
        cls.addClassCleanup(cls.set_relay, True)

    @classmethod
    def set_relay(cls, enabled):
        functions = cls.service.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if ":dynamodb:" in mapping["EventSourceArn"]:
                functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)

    def setUp(self):
        self.history = History(SEED, ORDERS, TICKETS)
        self.now, self.before = len(self.history.log), len(self.history.log) - APART

    def test_orders_from_before_tickets_from_after(self):
        orders = self.history.at("Orders", self.before)
        self.restore(orders, self.history.at("Tickets", self.now), self.history.at("Payments", self.now))
        self.check(
            repaired={"paid-order-without-lock", "due-order-without-lock"},
            listed={"ticket-sold-to-missing-order", "ticket-sold-to-awaiting-order", "payment-not-in-order"},
        )

    def test_orders_from_after_tickets_from_before(self):
        orders = self.history.at("Orders", self.now)
        self.assertEqual({order["status"] for order in orders.values()}, {*OVER, "awaiting_payment", "paid"})
        self.restore(orders, self.history.at("Tickets", self.before), self.history.at("Payments", self.now))
        self.check(repaired={"paid-order-without-lock", "permanent-lock-of-ended-order"}, listed=set())

    def restore(self, orders, tickets, payments):
        """Writes the restored items. Some cannot be read by this release."""
        self.unreadable = [id for id, order in orders.items() if order["status"] == "paid"][:3]
        orders |= {id: {**orders[id], "schema": 2, "status": "in_transfer"} for id in self.unreadable}
        self.restored = [("Orders", orders), ("Tickets", tickets), ("Payments", payments)]
        for table, rows in self.restored:
            self.write(table, [{"PutRequest": {"Item": items.item(row)}} for row in rows.values()])
        self.addCleanup(self.forget)

    def forget(self):
        for table, rows in self.restored:
            self.write(table, [{"DeleteRequest": {"Key": {"id": {"S": id}}}} for id in rows])

    def write(self, table, requests):
        name = self.service.outputs[f"{table}TableName"]
        for start in range(0, len(requests), 25):
            self.service.client("dynamodb").batch_write_item(RequestItems={name: requests[start : start + 25]})

    def check(self, repaired, listed):
        sold = self.sold_tickets()
        before = self.stored()
        found = self.kinds(self.run_command("audit", "--repair", "--all", code=1))
        self.assertLessEqual(repaired | listed, found)
        self.assertEqual(self.stored(), before, "a dry run changes nothing")

        text = self.run_command("audit", "--repair", "--write", "--all", code=1)
        reconciled = self.reconcile()
        after = self.run_command("audit", "--all", code=1) if reconciled else text
        ended = {kind.label for kind in Kind if kind.treatment is Treatment.REPAIR}
        ended |= {kind.label for kind in Kind if kind.treatment is Treatment.RECONCILE and reconciled}
        self.assertFalse(self.kinds(after) & ended, after)
        self.assertLessEqual(listed, self.kinds(after))
        self.assertIn("3 unreadable items", after)
        # A second run finds nothing to repair.
        self.assertIn("Dry run: 0 repairs", self.run_command("audit", "--repair", code=1))

        paid = {order["ticket"]["M"]["id"]["S"] for order in self.stored()["Orders"] if order["status"]["S"] == "paid"}
        self.assertGreater(len(paid), 100)
        self.assert_sold(sorted(paid | sold))
        orders = {order["id"]["S"]: order["status"]["S"] for order in self.stored()["Orders"]}
        self.assertEqual([orders[id] for id in self.unreadable], ["in_transfer"] * 3)

    def reconcile(self):
        """Runs the reconcile function, if this release has it. Returns whether it ran."""
        name = self.service.outputs.get(RECONCILE)
        if name:
            response = self.service.client("lambda").invoke(FunctionName=f"{name}:live", Payload=b"{}")
            self.assertNotIn("FunctionError", response)
        return name is not None

    def sold_tickets(self):
        """The tickets whose restored lock and restored payments agree that they are sold."""
        _, (_, tickets), (_, payments) = self.restored
        bought = {payment["order_id"] for payment in payments.values() if payment["result"] == "bought"}
        refunded = {id for id, order in self.restored[0][1].items() if order["status"] == "refunded"}
        sold = [ticket for ticket in tickets.values() if "locked_by" in ticket and "locked_until" not in ticket]
        return {ticket["id"] for ticket in sold if ticket["locked_by"] in bought - refunded}

    def assert_sold(self, tickets):
        """Every buyer is refused these tickets: they are sold."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(self.order, tickets))
        self.assertEqual([answer for answer in answers if answer != (409, "ticket-sold")], [])

    def order(self, ticket):
        status, body = self.order_ticket(ticket)
        return status, body.get("type", "").rpartition(":")[2]

    def stored(self):
        """The stored items of this restore."""
        dynamodb = self.service.client("dynamodb")
        found = {}
        for table, rows in self.restored:
            pages = dynamodb.get_paginator("scan").paginate(TableName=self.service.outputs[f"{table}TableName"])
            found[table] = [item for page in pages for item in page["Items"] if item["id"]["S"] in rows]
        return found

    def kinds(self, text):
        """The kinds of disagreements in the output of audit."""
        return {kind.label for kind in findings.Kind if re.search(rf"^{kind.label}: \d", text, re.MULTILINE)}
