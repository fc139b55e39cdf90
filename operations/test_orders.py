"""Tests of orders with fake clients: release, payments, refunds and the history."""

import argparse
import unittest

import fakes
import items
import orders
from fakes import NOW, FakeBus, FakeDynamo, FakeLambda, order, order_id, order_item, quiet
from stack import UserError


class FakeStreams:
    """A stream with the pages of each shard. The records of the page `None` have been dropped."""

    class exceptions:
        class TrimmedDataAccessException(Exception):
            pass

        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, pages, is_open):
        self.pages, self.range = pages, {} if is_open else {"EndingSequenceNumber": "9"}

    def describe_stream(self, StreamArn):
        shards = [{"ShardId": shard, "SequenceNumberRange": self.range} for shard in self.pages]
        return {"StreamDescription": {"Shards": shards}}

    def get_shard_iterator(self, StreamArn, ShardId, ShardIteratorType):
        return {"ShardIterator": (ShardId, 0)}

    def get_records(self, ShardIterator):
        shard, number = ShardIterator
        records, *more = self.pages[shard][number:]
        if records is None:
            raise self.exceptions.TrimmedDataAccessException
        return {"Records": records, **({"NextShardIterator": (shard, number + 1)} if more else {})}


class Orders(unittest.TestCase):
    def test_gaps_of_the_history_are_named(self):
        dropped, opened = "the stream dropped records during the run", "an open shard was read until 5 empty pages"
        for pages, is_open, numbers, expected in (
            ({"closed": [[1], [], [2]]}, False, [1, 2], set()),
            ({"open": [[1], [], [2], *[[]] * 9]}, True, [1, 2], {opened}),
            ({"trimmed": [[1], None], "closed": [[2]]}, False, [1, 2], {dropped}),
        ):
            gaps = set()
            found = list(orders._records(FakeStreams(pages, is_open), "arn", gaps))
            self.assertEqual((found, gaps), (numbers, expected))

    def test_release_is_the_request_of_the_owner(self):
        functions = FakeLambda({"statusCode": 204}, RuntimeError())
        found = orders.Orders(fakes.stack(**{"lambda": functions}))
        self.assertEqual([found.release(order(1)), found.release(order(1))], [204, 500])
        name, event = functions.calls[0]
        self.assertEqual(name, "CancelOrder:live")
        self.assertEqual(event["requestContext"]["authorizer"]["jwt"]["claims"], {"sub": "alice"})
        self.assertEqual(event["pathParameters"], {"id": order_id(1)})

    def test_payment_after_a_refund_of_the_purchase_has_a_new_id(self):
        arguments = argparse.Namespace(by="ann", note="bank", amount=None)
        first = orders._payment(order(1), arguments)["id"]
        refunded = order(1, status="refunded", payment_id=first)
        self.assertEqual(orders._payment(refunded, arguments)["id"][-2:], "-2")

    def test_payment_is_a_success_only_if_the_order_is_paid_by_it(self):
        manual = f"manual-{order_id(1)}-1"
        for after, result, expected in (
            (order_item(1, status="paid", payment_id=manual), "bought", 0),
            (order_item(1, status="refunded", payment_id=manual), "bought", 1),
            (order_item(1, status="paid"), "bought", 1),
            (order_item(1, status="paid"), "already_paid", 1),
        ):
            dynamodb = FakeDynamo({("Orders", order_id(1)): order_item(1)})
            booked = {"id": manual, "order_id": order_id(1), "result": result, "sent_at": NOW}
            bus = FakeBus(dynamodb.rows, {("Orders", order_id(1)): after, ("Payments", manual): items.item(booked)})
            arguments = argparse.Namespace(order=order_id(1), by="ann", note="bank", amount=None, seconds=0, write=True)
            code, printed = quiet(orders.pay, orders.Orders(fakes.stack(dynamodb=dynamodb, events=bus)), arguments)
            self.assertEqual((code, "The order is paid." in printed), (expected, expected == 0), printed)

    def test_refund_of_a_manual_payment_is_recorded(self):
        key, manual = ("Orders", order_id(1)), f"manual-{order_id(1)}-1"
        due = [{"payment_id": manual, "reason": "too_late"}]
        sold = order_item(1, status="paid", payment_id=manual)
        expired = order_item(1, status="expired", refunds_due=due)
        cases = (
            (sold, order_item(1, status="refunded", payment_id=manual), True),
            (expired, order_item(1, status="expired", refunds_due=[{**due[0], "state": "settled"}]), True),
            (sold, sold, False),
            (expired, expired, False),
        )
        for before, after, is_recorded in cases:
            dynamodb = FakeDynamo({key: before})
            bus = FakeBus(dynamodb.rows, {key: after})
            found = orders.Orders(fakes.stack(dynamodb=dynamodb, events=bus))
            arguments = self.refund(manual)
            code, printed = quiet(orders.refunded, found, arguments)
            self.assertEqual((code, "The refund is recorded" in printed), (not is_recorded, is_recorded))
            detail = {"id": manual, "orderId": order_id(1), "by": "ann", "note": "bank"}
            self.assertEqual(bus.events, [("PaymentRefunded", detail)])

    def test_only_a_manual_payment_of_the_order_is_refunded_by_hand(self):
        dynamodb = FakeDynamo({("Orders", order_id(1)): order_item(1, status="paid")})
        found = orders.Orders(fakes.stack(dynamodb=dynamodb))
        for payment in ("p1", "manual-1"):
            with self.assertRaises(UserError):
                quiet(orders.refunded, found, self.refund(payment))

    def refund(self, payment):
        return argparse.Namespace(order=order_id(1), payment=payment, by="ann", note="bank", seconds=0, write=True)

    def test_release_of_a_free_order_is_a_loss_of_its_buyer(self):
        free = {"id": "t1", "title": "Concert", "price": 0, "version": 0}
        dynamodb = FakeDynamo({("Orders", order_id(1)): order_item(1, status="paid", ticket=free, payment_id=None)})
        arguments = argparse.Namespace(order=order_id(1), write=False)
        code, printed = quiet(orders.release, orders.Orders(fakes.stack(dynamodb=dynamodb)), arguments)
        self.assertEqual(code, 0)
        self.assertIn("its buyer would lose the ticket", printed)

    def test_repeated_payment_has_the_same_id_until_its_refund_is_due(self):
        arguments = argparse.Namespace(by="ann", note="bank", amount="25.50")
        first = orders._payment(order(1), arguments)
        self.assertEqual(first, orders._payment(order(1), arguments))
        self.assertEqual(first["amount"], 25.5)
        refunds = [{"payment_id": first["id"], "reason": "wrong_amount"}, {"payment_id": "p1", "reason": "too_late"}]
        second = orders._payment(order(1, refunds_due=refunds), arguments)
        self.assertEqual((first["id"][-2:], second["id"][-2:]), ("-1", "-2"))

    def test_amount_is_a_price(self):
        self.assertEqual([str(orders._amount(text)) for text in ("0", "25.5", "7.00")], ["0", "25.5", "7.00"])
        for text in ("", "x", "-1", "1.234", "NaN", "Infinity", "7,50"):
            with self.assertRaises(UserError, msg=text):
                orders._amount(text)


if __name__ == "__main__":
    unittest.main()
