"""Reads and conditional writes of the tables."""

import time

from botocore.exceptions import ClientError

import items

TABLES = {"Orders": items.Order, "Tickets": items.Ticket, "Payments": items.Payment}
# Maximum of one TransactGetItems call (DynamoDB API reference).
MAX_TRANSACTION = 100
CONFLICTS = {"ConditionalCheckFailed", "TransactionConflict", "None"}
RETRIES = 5
PAUSE_SECONDS = 0.1


class Tables:
    """The tables of a stack."""

    def __init__(self, stack):
        self.dynamodb = stack.client("dynamodb")
        self.names = {table: stack.output(f"{table}TableName") for table in (*TABLES, "Buyers")}

    def get(self, table, id):
        """Reads an item, strongly consistent. Returns it in boto3's form; `None` if it is missing."""
        key = {"id": {"S": id}}
        return self.dynamodb.get_item(TableName=self.names[table], Key=key, ConsistentRead=True).get("Item")

    def find(self, table, id):
        """Reads and parses an item; `None` if it is missing. Raises `Unreadable`."""
        item = self.get(table, id)
        return item and TABLES[table].parse(item)

    def snapshot(self, keys):
        """Reads items of (table, id) at one moment. Returns them parsed, `None` if missing, in this order."""
        gets = [{"Get": {"TableName": self.names[table], "Key": {"id": {"S": id}}}} for table, id in keys]
        responses = retried(lambda: self.dynamodb.transact_get_items(TransactItems=gets))["Responses"]
        found = (response.get("Item") for response in responses)
        return [item and TABLES[table].parse(item) for (table, _), item in zip(keys, found)]

    def scan(self, table, **filters):
        """Yields all items of a table in boto3's form, not strongly consistent, which costs half."""
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=self.names[table], **filters):
            yield from page["Items"]

    def of_buyer(self, buyer):
        """Yields the orders of a buyer from the index, oldest first. The index may lag."""
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.names["Orders"],
            IndexName="by_user",
            KeyConditionExpression="user_id = :buyer",
            ExpressionAttributeValues={":buyer": {"S": buyer}},
        )
        for page in pages:
            yield from page["Items"]

    def write(self, *writes):
        """Commits writes in one transaction. Returns whether every condition held."""
        try:
            self.dynamodb.transact_write_items(TransactItems=list(writes))
        except ClientError as error:
            if _is_conflict(error):
                return False
            raise
        return True

    def update(self, table, id, expression, condition, values, names=()):
        """An update for `write`. Every update has the condition that this release can read the item."""
        return {"Update": self._conditional(table, id, condition, values, names) | {"UpdateExpression": expression}}

    def check(self, table, id, condition, values=None, names=()):
        """A condition for `write`."""
        return {"ConditionCheck": self._conditional(table, id, condition, values or {}, names)}

    def _conditional(self, table, id, condition, values, names):
        return {
            "TableName": self.names[table],
            "Key": {"id": {"S": id}},
            "ConditionExpression": f"({condition}) AND {items.READABLE}",
            "ExpressionAttributeNames": {f"#{name}": name for name in ("schema", *names)},
            "ExpressionAttributeValues": items.item({":schema": items.SCHEMA, **values}),
        }


def retried(call):
    """Calls DynamoDB again after a conflict of a transaction with live traffic."""
    for attempt in range(RETRIES):
        try:
            return call()
        except ClientError as error:
            if not _is_conflict(error) or attempt == RETRIES - 1:
                raise
            time.sleep(PAUSE_SECONDS * (attempt + 1))


def _is_conflict(error):
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return error.response["Error"]["Code"] == "TransactionCanceledException" and reasons <= CONFLICTS
