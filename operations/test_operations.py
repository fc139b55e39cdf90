"""Tests of audit, retell and erase with fake clients: calls, conflicts and failures."""

import json
import unittest
from unittest import mock

from botocore.exceptions import ClientError

import audit
import erase
import fakes
import items
import retell
import stack as stacks
from fakes import NOW, FakeDynamo, FakeLambda, order, order_id, order_item, quiet, ticket_item
from findings import Kind
from stack import UserError


class FakeSqs:
    """SQS that keeps the sent messages."""

    def __init__(self):
        self.messages = []

    def send_message(self, QueueUrl, MessageBody):
        self.messages.append((QueueUrl, MessageBody))


def refused(*codes):
    """The failure of a transaction with these reasons."""
    reasons = [{"Code": code} for code in codes]
    response = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    return ClientError(response, "TransactWriteItems")


class Audit(unittest.TestCase):
    def compared(self, failures=(), sqs=None, **rows):
        self.dynamodb = FakeDynamo({(table, item["id"]["S"]): item for table, item in rows.values()}, failures)
        found = audit.Audit(fakes.stack(dynamodb=self.dynamodb, sqs=sqs))
        found.compare()
        return found

    def test_what_depends_on_an_unreadable_item_is_left_as_it_is(self):
        found = self.compared(
            sold=("Tickets", ticket_item(1)),
            unreadable=("Orders", order_item(1, status="paid", schema=2)),
            other=("Orders", order_item(2, status="expired")),
        )
        self.assertEqual(list(found.unreadable), [("Orders", order_id(1))])
        self.assertEqual((found.repair(), self.dynamodb.writes), (0, []))
        code, printed = quiet(audit.report, found, 5)
        self.assertEqual(code, 1)
        self.assertIn("0 disagreements, 1 unreadable items", printed)

    def test_unreadable_payment_counts_as_a_sale(self):
        unreadable = {"id": {"S": "p1"}, "schema": {"N": "2"}}
        named = {**unreadable, "order_id": {"S": order_id(1)}}
        other = {**unreadable, "order_id": {"S": order_id(2)}}
        for payment, kind, is_released in (
            (named, Kind.TICKET_SOLD_TO_ENDED_ORDER, False),
            (other, Kind.PERMANENT_LOCK_OF_ENDED_ORDER, True),
            (unreadable, Kind.TICKET_SOLD_TO_ENDED_ORDER, False),
            ({**unreadable, "order_id": {"N": "1"}}, Kind.TICKET_SOLD_TO_ENDED_ORDER, False),
            ({**unreadable, "order_id": {"S": "no id"}}, Kind.TICKET_SOLD_TO_ENDED_ORDER, False),
        ):
            found = self.compared(
                ticket=("Tickets", ticket_item(1)),
                order=("Orders", order_item(1, status="expired")),
                payment=("Payments", payment),
            )
            self.assertEqual(list(found.disagreements()), [kind], payment)
            found.repair()
            self.assertEqual(bool(self.dynamodb.writes), is_released, payment)

    def test_release_is_conditional_on_the_lock_and_the_order(self):
        found = self.compared(
            [refused("None", "ConditionalCheckFailed"), refused("TransactionConflict", "None")],
            ticket=("Tickets", ticket_item(1)),
            order=("Orders", order_item(1, status="refunded", version=4)),
        )
        found.repair()
        update, check = self.dynamodb.writes[0]
        self.assertIn(
            "locked_by = :order AND attribute_not_exists(locked_until)", update["Update"]["ConditionExpression"]
        )
        self.assertEqual(items.plain(check["ConditionCheck"]["ExpressionAttributeValues"])[":version"], 4)
        self.assertIn(items.READABLE, check["ConditionCheck"]["ConditionExpression"])

    def test_other_failures_are_not_hidden(self):
        found = self.compared(
            [refused("ValidationError")],
            ticket=("Tickets", ticket_item(1)),
            order=("Orders", order_item(1, status="refunded")),
        )
        with self.assertRaises(ClientError):
            found.repair()

    def test_relock_checks_that_the_named_order_is_still_missing(self):
        found = self.compared(
            ticket=("Tickets", ticket_item(9, locked_until=NOW)), order=("Orders", order_item(1, status="paid"))
        )
        found.repair()
        update, own, named = self.dynamodb.writes[0]
        self.assertIn("locked_by = :named AND locked_until = :until", update["Update"]["ConditionExpression"])
        self.assertEqual(items.plain(own["ConditionCheck"]["ExpressionAttributeValues"])[":status"], "paid")
        self.assertEqual(named["ConditionCheck"]["Key"], {"id": {"S": order_id(9)}})
        self.assertIn("attribute_not_exists(id)", named["ConditionCheck"]["ConditionExpression"])

    def test_due_order_gets_its_message_once(self):
        queues = FakeSqs()
        with mock.patch.object(audit, "EXPIRY_SECONDS", 0):
            found = self.compared(sqs=queues, order=("Orders", order_item(1)))
            made, printed = quiet(found.repair)
        [(queue, message)] = queues.messages
        self.assertEqual((made, queue), (0, "expiry"))
        self.assertEqual(json.loads(message), {"orderId": order_id(1), "expiresAt": "2023-11-14T22:13:50.000Z"})
        self.assertIn("1 messages wait in the expiry queue", printed)

    def test_refund_of_a_removed_order_does_not_count_and_its_sale_does(self):
        payment = {"id": "p1", "order_id": order_id(1), "sent_at": NOW}
        for result, expected, line in (
            ("too_late", 0, "refund-of-missing-order: 1 (the order was removed after KeepUnpaidDays, or is lost)"),
            ("bought", 1, "payment-of-missing-order: 1 (refund the buyer, or restore the order)"),
        ):
            found = self.compared(payment=("Payments", items.item({**payment, "result": result})))
            code, printed = quiet(audit.report, found, 5)
            self.assertEqual(code, expected)
            self.assertIn(line, printed)

    def test_first_edition_payment_does_not_count(self):
        found = self.compared(ticket=("Tickets", ticket_item(1)), order=("Orders", order_item(1, status="paid")))
        code, printed = quiet(audit.report, found, 5)
        self.assertEqual(code, 0)
        self.assertIn("payment-without-row: 1", printed)


class Retell(unittest.TestCase):
    def orders(self, count):
        return retell.readable([order_item(number, created_at=NOW - number) for number in range(count)])

    def test_orders_are_published_in_batches_of_ten_oldest_first(self):
        functions = FakeLambda(*[{"batchItemFailures": []}] * 3)
        self.assertIsNone(retell.retell(fakes.stack(**{"lambda": functions}), self.orders(21)))
        self.assertEqual([len(event["Records"]) for _, event in functions.calls], [10, 10, 1])
        name, event = functions.calls[0]
        self.assertEqual(
            (name, event["Records"][0]["dynamodb"]["NewImage"]["id"]["S"]), ("OrderRelay:live", order_id(20))
        )
        self.assertNotIn("OldImage", event["Records"][0]["dynamodb"])

    def test_failure_ends_the_run_at_the_first_order_that_is_not_published(self):
        failed = {"batchItemFailures": [{"itemIdentifier": order_id(5)}]}
        for results, expected in (([{"batchItemFailures": []}, failed], 5), ([RuntimeError()], 20)):
            functions = FakeLambda(*results)
            first = retell.retell(fakes.stack(**{"lambda": functions}), self.orders(21))
            self.assertEqual(first.id, order_id(expected))

    def test_bytes_of_a_newer_release_are_passed_on(self):
        [(order, item)] = retell.readable([order_item(1, seat=b"\x00\x01")])
        self.assertEqual(retell.record(order, item)["dynamodb"]["NewImage"]["seat"], {"B": "AAE="})

    def test_times_are_in_utc(self):
        texts = ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00")
        self.assertEqual([retell._time(text) for text in texts], [NOW] * 3)


class ErasedDynamo(FakeDynamo):
    """DynamoDB that replaces the buyer, and then runs this action once."""

    def __init__(self, rows, failures, action):
        super().__init__(rows, failures)
        self.action = action

    def transact_write_items(self, TransactItems):
        super().transact_write_items(TransactItems)
        for update in (write["Update"] for write in TransactItems):
            table, values = update["TableName"], update["ExpressionAttributeValues"]
            key = table, update["Key"]["id"]["S"]
            attribute = {"Orders": "user_id", "Tickets": "locked_for"}[table]
            self.rows[key] = {**self.rows[key], attribute: values[":pseudonym"]}
        action, self.action = self.action, None
        if action:
            action()


class Erase(unittest.TestCase):
    def erasure(self, ticket, stored, *failures, action=None):
        rows = {("Tickets", "t1"): ticket, ("Orders", order_id(1)): stored}
        self.dynamodb = ErasedDynamo(rows, failures, action)
        return erase.Erasure(fakes.stack(dynamodb=self.dynamodb), "alice", "erased-1")

    def erase(self, *arguments, **action):
        return self.erasure(*arguments, **action).erase(order(1, status="paid"))

    def buyers(self):
        """The buyer of the order, and of the lock."""
        rows = self.dynamodb.rows
        return rows["Orders", order_id(1)]["user_id"]["S"], rows["Tickets", "t1"]["locked_for"]["S"]

    def test_lock_is_changed_only_if_it_names_the_order_and_the_buyer(self):
        stored = order_item(1, status="paid")
        for ticket, writes in ((ticket_item(1), 2), (ticket_item(2), 1), (ticket_item(1, locked_for="bob"), 1)):
            self.assertTrue(self.erase(ticket, stored))
            self.assertEqual([len(written) for written in self.dynamodb.writes], [writes])

    def test_order_is_read_again_after_a_conflict(self):
        conflict = refused("ConditionalCheckFailed", "None")
        self.assertTrue(self.erase(ticket_item(1), order_item(1, status="refunded", version=7), conflict))
        values = self.dynamodb.writes[0][0]["Update"]["ExpressionAttributeValues"]
        self.assertEqual(items.plain(values)[":version"], 7)
        self.assertFalse(self.erase(ticket_item(1), order_item(1)), "the order awaits payment")
        self.assertFalse(self.erase(ticket_item(1, schema=2), order_item(1, status="paid")))

    def buy_back(self):
        """A late payment that read the order before the erasure. It writes the lock, and not the order's buyer."""
        self.dynamodb.rows["Tickets", "t1"] = ticket_item(1)

    def test_lock_of_a_late_payment_is_erased_too(self):
        self.assertTrue(self.erase(ticket_item(), order_item(1, status="expired"), action=self.buy_back))
        self.assertEqual(self.buyers(), ("erased-1", "erased-1"))

    def test_late_payment_of_an_expired_order_is_awaited(self):
        erasure = self.erasure(ticket_item(), order_item(1, status="expired"))
        with mock.patch.object(erase.time, "sleep", lambda _: self.buy_back()):
            self.assertEqual(erasure.erase_all([order(1, status="expired")]), set())
        self.assertEqual(self.buyers(), ("erased-1", "erased-1"))

    def test_other_orders_wait_for_no_payment(self):
        erasure = self.erasure(ticket_item(1), order_item(1, status="paid"))
        with mock.patch.object(erase.time, "sleep", side_effect=AssertionError):
            self.assertEqual(erasure.erase_all([order(1, status="paid")]), set())

    def test_erasure_that_never_ends_is_reported(self):
        conflicts = [refused("ConditionalCheckFailed", "None") for _ in range(10)]
        erasure = self.erasure(ticket_item(1), order_item(1, status="paid"), *conflicts)
        self.assertEqual(erasure.erase_all([order(1, status="paid")]), {order_id(1)})


class Stack(unittest.TestCase):
    def test_missing_output_is_explained(self):
        with self.assertRaisesRegex(UserError, "no output ApiUrl"):
            fakes.stack().output("ApiUrl")

    def test_failures_are_messages(self):
        def fail(error):
            def main(_):
                raise error

            with self.assertRaises(SystemExit) as ended:
                stacks.run(main)
            return ended.exception.code

        for error in (UserError("text"), items.Unreadable("text"), refused("ValidationError")):
            code, printed = quiet(fail, error)
            self.assertEqual(code, 2)
            self.assertNotEqual(printed, "")


if __name__ == "__main__":
    unittest.main()
