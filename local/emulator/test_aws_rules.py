"""Tests of rules of AWS on which the service relies, and which the emulator has without a fix."""

import io
import json
import tempfile
import unittest
import zipfile

from botocore.exceptions import ClientError

from emulator_testing import ACCOUNT, Emulator, create_table

KIB = 1024


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.emulator = cls.enterClassContext(Emulator(cls.enterClassContext(tempfile.TemporaryDirectory())))
        cls.dynamodb = cls.emulator.client("dynamodb")
        create_table(cls.dynamodb, "rows")

    def refusal(self, call, **request):
        """Calls an operation that must fail. Returns the error of the response."""
        with self.assertRaises(ClientError) as caught:
            call(**request)
        return caught.exception.response

    def test_client_token_commits_once_and_refuses_other_writes(self):
        def request(price):
            add = {
                "TableName": "rows",
                "Key": {"id": {"N": "1"}},
                "UpdateExpression": "ADD price :price",
                "ExpressionAttributeValues": {":price": {"N": price}},
            }
            return {"ClientRequestToken": "token", "TransactItems": [{"Update": add}]}

        for _ in range(2):
            self.dynamodb.transact_write_items(**request("5"))
        item = self.dynamodb.get_item(TableName="rows", Key={"id": {"N": "1"}})["Item"]
        self.assertEqual(item["price"], {"N": "5"})
        error = self.refusal(self.dynamodb.transact_write_items, **request("6"))["Error"]["Code"]
        self.assertEqual(error, "IdempotentParameterMismatchException")

    def test_failed_condition_of_a_transaction_returns_the_item(self):
        item = {"id": {"N": "2"}, "version": {"N": "7"}}
        self.dynamodb.put_item(TableName="rows", Item=item)
        put = {
            "TableName": "rows",
            "Item": {"id": {"N": "2"}},
            "ConditionExpression": "attribute_not_exists(id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        (reason,) = self.refusal(self.dynamodb.transact_write_items, TransactItems=[{"Put": put}])[
            "CancellationReasons"
        ]
        self.assertEqual((reason["Code"], reason["Item"]), ("ConditionalCheckFailed", item))

    def test_item_has_at_most_400_kibibytes(self):
        item = {"id": {"N": "3"}, "text": {"S": "x" * 400 * KIB}}
        error = self.refusal(self.dynamodb.put_item, TableName="rows", Item=item)["Error"]["Code"]
        self.assertEqual(error, "ValidationException")

    def test_page_of_a_scan_ends_at_one_mebibyte(self):
        create_table(self.dynamodb, "large")
        for number in range(4):
            item = {"id": {"N": str(number)}, "text": {"S": "x" * 350 * KIB}}
            self.dynamodb.put_item(TableName="large", Item=item)
        page = self.dynamodb.scan(TableName="large")
        self.assertIn("LastEvaluatedKey", page)
        self.assertLess(page["Count"], 4)

    def test_call_publishes_at_most_10_events(self):
        entry = {"Source": "test", "DetailType": "Test", "Detail": "{}"}
        error = self.refusal(self.emulator.client("events").put_events, Entries=[entry] * 11)["Error"]["Code"]
        self.assertEqual(error, "ValidationException")

    def test_function_ends_at_its_timeout(self):
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("index.py", "import time\n\ndef handler(event, context): time.sleep(60)")
        functions = self.emulator.client("lambda")
        functions.create_function(
            FunctionName="slow",
            Runtime="python3.12",
            Handler="index.handler",
            Role=f"arn:aws:iam::{ACCOUNT}:role/test",
            Code={"ZipFile": package.getvalue()},
            Timeout=1,
        )
        response = functions.invoke(FunctionName="slow")
        self.assertEqual(response["FunctionError"], "Unhandled")
        self.assertIn("timed out", json.load(response["Payload"])["errorMessage"])


if __name__ == "__main__":
    unittest.main()
