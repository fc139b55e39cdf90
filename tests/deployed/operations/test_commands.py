"""Each command of operations/: its effect, its dry run, and its wrong uses."""

import contextlib
import json
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from commands import BUYER, OperationsTest
from scenarios import Missing, new_id, now_ms

UNKNOWN = str(uuid.UUID(int=7))


class AnyCommand(OperationsTest):
    def test_help_names_the_stack_and_the_word_for_writing(self):
        for command in ("audit", "erase", "redrive", "retell"):
            text = self.run_command(command, "--help")
            self.assertIn("--stack NAME", text)
            self.assertIn("--write", text)
        for action in ("release", "pay", "refunded"):
            self.assertIn("--write", self.run_command("orders", action, "--help"))

    def test_stack_is_named_by_cloudformation_or_by_a_file(self):
        account = {
            "AWS_ENDPOINT_URL": self.description["endpointUrl"],
            "AWS_DEFAULT_REGION": self.description["region"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        name = self.description["stackName"]
        self.assertIn("PaymentEvents: ", self.run_command("redrive", "--stack", name, ORDERS_STACK_FILE="", **account))
        text = self.run_command("redrive", "--stack", "none", code=2, **account)
        self.assertIn("There is no stack none", text)
        text = self.run_command("redrive", code=2, ORDERS_STACK_FILE="/nowhere/stack.json")
        self.assertIn("/nowhere/stack.json does not exist", text)

    def test_wrong_use_is_explained(self):
        order, _ = self.service.held()
        wrong = [
            (["orders", "find"], "one of the arguments --order --ticket --payment --buyer is required"),
            (["orders", "find", "--order", "x"], "x is not an order id"),
            (["orders", "find", "--ticket", "none"], "There is no ticket none"),
            (["orders", "find", "--payment", "none"], "There is no payment none"),
            (["orders", "find", "--buyer", "nobody"], "The buyer nobody has no orders"),
            (["orders", "find", "--order", order, "--buyer", BUYER], "not allowed with argument"),
            (["orders", "free", order], "invalid choice: 'free'"),
            (["orders", "release"], "arguments are required: ORDER"),
            (["orders", "release", UNKNOWN, "--write"], f"There is no order {UNKNOWN}"),
            (["orders", "pay", order, "--note", "text"], "arguments are required: --by"),
            (["orders", "pay", order, "--by", "ann"], "arguments are required: --note"),
            (["orders", "pay", order, "--by", "ann", "--note", " "], "--by and --note must not be empty"),
            (["orders", "pay", order, "--by", "ann", "--note", "x", "--amount", "7,5"], "7,5 is not an amount"),
            (["orders", "pay", order, "--by", "ann", "--note", "x", "--amount", "7.505"], "7.505 is not an amount"),
            (["orders", "pay", UNKNOWN, "--by", "ann", "--note", "x", "--write"], f"There is no order {UNKNOWN}"),
            (["redrive", "Payments"], "Unknown: Payments. Known: Expiry, OrderRelay, PaymentEvents, TicketEvents"),
            (["redrive", "--write"], "A queue is missing"),
            (["audit", "--write"], "--write needs --repair"),
            (["audit", "--fix"], "unrecognized arguments: --fix"),
            (["retell"], "one of the arguments --order --ticket --all is required"),
            (["retell", "--order", UNKNOWN, "--write"], f"There is no order {UNKNOWN}"),
            (["retell", "--order", order, "--from", "2026-01-01"], "--from and --to limit --ticket and --all"),
            (["retell", "--all", "--from", "yesterday"], "yesterday is not a time"),
            (["erase"], "arguments are required: BUYER"),
            (["erase", "nobody", "--write"], "The buyer nobody has no orders and no slots"),
        ]
        with ThreadPoolExecutor(4) as pool:
            texts = pool.map(lambda it: self.run_command(*it[0], code=2), wrong)
        for (arguments, message), text in zip(wrong, texts):
            self.assertIn(message, text, arguments)
        self.assertEqual(self.service.row("Orders", order)["version"], "0")


class Redrive(OperationsTest):
    def test_expiry_of_the_scheduler_returns_unwrapped(self):
        order, ticket = self.service.held()
        self.service.lapse(order, ticket)
        request = {"QueueUrl": "https://queue", "MessageBody": json.dumps({"orderId": order})}
        queue = self.service.outputs["ExpiryDeadLetterQueueUrl"]
        self.service.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(request))
        text = self.run_command("redrive", "Expiry")
        self.assertIn("Dry run", text)
        self.assertIn(order, text)
        self.assertEqual(self.service.waiting_messages(queue), 1)
        self.assertIn("Expiry: 1 moved back, 0 kept", self.run_command("redrive", "Expiry", "--write"))
        self.service.until("the expiry", lambda: self.service.row("Orders", order)["status"] == "expired")
        self.assertEqual(self.service.waiting_messages(queue), 0)


class Find(OperationsTest):
    def test_order_is_found_by_each_of_its_ids(self):
        order, ticket = self.service.held()
        payment = new_id()
        self.service.tell_payment(order, payment, amount=25.5)
        self.service.until("the payment", lambda: self.service.row("Orders", order)["status"] == "paid")
        for option, id in (("order", order), ("ticket", ticket), ("payment", payment), ("buyer", BUYER)):
            text = self.run_command("orders", "find", f"--{option}", id)
            self.assertIn(f"order {order}\n  status paid, version 1", text)
            self.assertIn("lock of the ticket: sold to this order", text)
            self.assertIn(f"paid by {payment}: bought, amount 25.50", text)

    def test_history_is_read_from_the_stream(self):
        order, ticket = self.service.held()
        self.run_command("orders", "release", order, "--write")
        text = self.run_command("orders", "find", "--order", order.upper(), "--history")
        self.assertRegex(text, f"{order} version 0 awaiting_payment\n.*{order} version 1 cancelled\n2 changes")
        self.assertIn(order, self.run_command("orders", "find", "--ticket", ticket, "--scan"))
        self.assertNotIn(order, self.run_command("orders", "find", "--ticket", ticket))

    def test_missing_and_unreadable_orders_are_reported(self):
        self.assertIn("missing", self.run_command("orders", "find", "--order", UNKNOWN, code=1))
        order, ticket = self.service.held()
        self.addCleanup(self.forget, order, ticket)
        self.service.change("Orders", order, schema=2)
        self.assertIn("unreadable: the item has schema 2", self.run_command("orders", "find", "--order", order))
        self.assertIn("cannot be read", self.run_command("orders", "release", order, "--write", code=2))


class Release(OperationsTest):
    def test_released_order_is_cancelled_and_its_ticket_is_free(self):
        order, ticket = self.service.held()
        keys = ("Orders", order), ("Tickets", ticket)
        before = self.rows(*keys)
        self.assertIn("Dry run", self.run_command("orders", "release", order))
        self.assertEqual(self.rows(*keys), before)
        self.assertIn("The order is cancelled", self.run_command("orders", "release", order, "--write"))
        self.assertEqual(self.service.row("Orders", order)["status"], "cancelled")
        self.assertNotIn("locked_by", self.service.row("Tickets", ticket))
        # A repeat changes nothing.
        self.run_command("orders", "release", order, "--write")
        self.assertEqual(self.service.row("Orders", order)["version"], "1")

    def test_paid_order_is_not_released(self):
        order, _ = self.service.held()
        self.service.tell_payment(order)
        self.service.until("the payment", lambda: self.service.row("Orders", order)["status"] == "paid")
        self.assertIn("The order is paid", self.run_command("orders", "release", order, "--write", code=2))
        self.assertEqual(self.service.row("Orders", order)["status"], "paid")


class Pay(OperationsTest):
    BY = "--by", "ann", "--note", "bank statement 7"

    def test_order_is_paid_by_a_manual_payment(self):
        order, ticket = self.service.held()
        payment = f"manual-{order}-1"
        self.assertIn("Dry run", self.run_command("orders", "pay", order, *self.BY))
        time.sleep(1)
        self.assertEqual(self.rows(("Payments", payment)), [{}])
        text = self.run_command("orders", "pay", order, *self.BY, "--amount", "25.50", "--write")
        self.assertIn("The order is paid", text)
        self.assertEqual(self.service.row("Orders", order)["payment_id"], payment)
        self.assertEqual(self.service.row("Payments", payment)["amount"], "2550")
        self.assertNotIn("locked_until", self.service.row("Tickets", ticket))
        text = self.run_command("orders", "pay", order, *self.BY, "--write", code=2)
        self.assertIn("The order is paid already", text)

    def test_payment_that_does_not_buy_is_reported(self):
        order, _ = self.service.held()
        text = self.run_command("orders", "pay", order, *self.BY, "--amount", "7", "--write", code=1)
        self.assertIn("a refund is due, reason wrong_amount", text)
        # Another decision is another payment.
        self.run_command("orders", "pay", order, *self.BY, "--write")
        self.assertEqual(self.service.row("Orders", order)["payment_id"], f"manual-{order}-2")

    def test_refund_of_a_manual_payment_frees_the_ticket(self):
        order, ticket = self.service.held()
        self.run_command("orders", "pay", order, *self.BY, "--write")
        refund = ["orders", "refunded", order, "--payment", f"manual-{order}-1", *self.BY]
        self.assertIn("the ticket would be free", self.run_command(*refund))
        self.assertIn("The refund is recorded", self.run_command(*refund, "--write"))
        self.assertEqual(self.service.row("Orders", order)["status"], "refunded")
        self.assertNotIn("locked_by", self.service.row("Tickets", ticket))
        # The money of another payment is due: it does not count as the refunded one.
        text = self.run_command("orders", "pay", order, *self.BY, "--write", code=1)
        self.assertIn("a refund is due", text)


class Audit(OperationsTest):
    def test_disagreements_are_listed_and_repaired(self):
        service = self.service
        ended, bare, due = new_id(), new_id(), new_id()
        released = service.ticket(locked_by=ended)
        service.order(ended, released, now_ms(), status="refunded", version=2, payment_id="p1")
        locked = service.ticket()
        service.order(bare, locked, now_ms(), status="paid", version=1, payment_id="p2")
        service.order(due, service.ticket(), now_ms() - 1, status="awaiting_payment", version=0, refunds_due=[])
        held, behind = new_id(), new_id()
        contested = service.ticket(locked_by=held, locked_until=now_ms() + 600_000)
        service.order(held, contested, now_ms() + 600_000, status="awaiting_payment", version=0)
        service.order(behind, contested, now_ms(), status="paid", version=1, payment_id="p3")
        keys = [("Tickets", released), ("Tickets", locked), ("Orders", due), ("Tickets", contested)]
        # The relay sets a timer for the due order, as it does for any new order.
        service.until("the timer", lambda: service.row("Orders", due)["status"] == "expired")
        before = self.rows(*keys)
        text = self.run_command("audit", "--repair", "--all", code=1)
        for kind, id in (
            ("permanent-lock-of-ended-order", ended),
            ("paid-order-without-lock", bare),
            ("paid-order-behind-a-hold", behind),
        ):
            self.assertRegex(text, f"(?s){kind}: .*{id}")
        self.assertIn("Dry run: 2 repairs would be made", text)
        self.assertEqual(self.rows(*keys), before)
        text = self.run_command("audit", "--repair", "--write", code=1)
        self.assertIn("2 repairs made", text)
        self.assertNotIn("paid-order-without-lock", text)
        self.assertNotIn("locked_by", service.row("Tickets", released))
        self.assertEqual(service.row("Tickets", locked)["locked_by"], bare)
        self.assertEqual(service.row("Tickets", contested)["locked_by"], held, "a live hold is not overwritten")
        for order, ticket in ((bare, locked), (behind, contested), (held, contested)):
            self.forget(order, ticket)


class LiveTraffic(OperationsTest):
    def test_live_traffic_is_no_disagreement(self):
        """Buyers, payments and lapsing holds change a few tickets while audit compares and repairs."""
        service, stopped = self.service, threading.Event()
        tickets = [service.ticket() for _ in range(6)]

        def trade():
            while not stopped.is_set():
                status, order = self.order_ticket(random.choice(tickets))
                if status in (200, 201):
                    random.choice([service.tell_payment, self.cancel])(order["id"])
                for ticket in tickets:
                    if random.random() < 0.2 and "locked_by" in (row := service.row("Tickets", ticket)):
                        self.refund(row["locked_by"])

        with ThreadPoolExecutor(2) as pool:
            traders = [pool.submit(trade) for _ in range(2)]
            try:
                while len(self.orders_of(tickets)) <= len(tickets):
                    text = self.run_command("audit", "--repair", "--write")
                    self.assertIn("0 repairs made", text)
            finally:
                stopped.set()
            for trader in traders:
                trader.result()

    def cancel(self, order):
        # The order may be paid meanwhile.
        with contextlib.suppress(Missing):
            self.service.ask("DELETE", f"/api/orders/{order}")

    def refund(self, order):
        payment = self.service.row("Orders", order).get("payment_id")
        if payment:
            self.service.publish("payments", "PaymentRefunded", {"id": payment, "orderId": order})

    def orders_of(self, tickets):
        orders = self.service.client("dynamodb").scan(TableName=self.service.outputs["OrdersTableName"])["Items"]
        return [order for order in orders if order["ticket"]["M"]["id"]["S"] in tickets]


class Retell(OperationsTest):
    def test_state_is_published_again_with_its_id(self):
        with self.service.listening() as heard:
            order, ticket = self.service.held()
            self.service.until("the event", lambda: heard("OrderCreated", order))
            created = self.service.row("Orders", order)["created_at"]
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(created) / 1000 - 1))
        for arguments in (["--order", order], ["--ticket", ticket], ["--all", "--from", at]):
            with self.service.listening() as heard:
                self.assertIn("Dry run", self.run_command("retell", *arguments))
                time.sleep(1)
                self.assertFalse(heard("OrderCreated", order))
                self.assertIn("accepted", self.run_command("retell", *arguments, "--write"))
                self.service.until("the repeated event", lambda: heard("OrderCreated", order))
        self.assertIn("0 orders", self.run_command("retell", "--all", "--to", "2020-01-01"))

    def test_unreadable_order_is_left_out(self):
        order, ticket = self.service.held()
        self.addCleanup(self.forget, order, ticket)
        self.service.change("Orders", order, schema=2)
        text = self.run_command("retell", "--order", order, "--write")
        self.assertIn("is unreadable", text)
        self.assertIn("0 states accepted by the relay", text)


class Erase(OperationsTest):
    def test_buyer_is_replaced_in_final_orders_locks_and_slots(self):
        service, buyer = self.service, f"buyer-{new_id()}"
        sold, free, held = new_id(), new_id(), new_id()
        tickets = [service.ticket(locked_by=order, locked_for=buyer) for order in (sold, held)]
        service.change("Tickets", tickets[1], locked_until=now_ms() + 600_000)
        service.put("Buyers", id=buyer, slot_0=now_ms() + 600_000)
        states = [("paid", 1, {"payment_id": "p4"}), ("cancelled", 1, {}), ("awaiting_payment", 0, {})]
        orders = zip((sold, free, held), (tickets[0], service.ticket(), tickets[1]), states)
        with service.listening() as heard:
            for order, ticket, (status, version, more) in orders:
                service.order(order, ticket, now_ms() + 600_000, status=status, version=version, **more)
                service.change("Orders", order, user_id=buyer)
            for kind, order in (("OrderPaid", sold), ("OrderCancelled", free), ("OrderCreated", held)):
                service.until(kind, lambda: heard(kind, order))
        keys = [("Orders", sold), ("Orders", free), ("Orders", held), ("Tickets", tickets[0]), ("Buyers", buyer)]
        before = self.rows(*keys)
        self.assertIn("Dry run: 2 orders would be erased", self.run_command("erase", buyer, code=1))
        self.assertEqual(self.rows(*keys), before)
        with service.listening() as heard:
            text = self.run_command("erase", buyer, "--write", code=1)
            self.assertIn(f"not erased: order {held} awaits payment", text)
            self.assertIn("2 orders erased", text)
            self.assertEqual(service.row("Buyers", buyer), before[4], "the hold keeps its slot")
            pseudonym = service.row("Orders", sold)["user_id"]
            self.assertTrue(pseudonym.startswith("erased-"))
            self.assertEqual(service.row("Orders", free)["user_id"], pseudonym)
            self.assertEqual(service.row("Tickets", tickets[0])["locked_for"], pseudonym)
            self.assertEqual(service.row("Orders", sold)["version"], "1")
            self.run_command("orders", "release", held, "--write")
            service.until("a later event", lambda: heard("OrderCancelled", held))
            self.assertFalse(heard("OrderPaid", sold) or heard("OrderCancelled", free), "an erasure is no event")
        self.assertIn("1 orders erased", self.run_command("erase", buyer, "--write"))
        self.assertEqual(service.row("Buyers", buyer), {})
        self.assertNotIn(buyer, json.dumps(self.rows(*keys)))
        self.assertIn("has no orders and no slots", self.run_command("erase", buyer, code=2))
