"""Items of the tables, as `shared/dynamo/src/items.rs` writes them.

An item is unreadable if its `schema` is newer than SCHEMA, or if a known attribute is invalid. A command counts an
unreadable item, and changes nothing that depends on it. Times are epoch milliseconds, prices are in minor units.
"""

import dataclasses
import datetime
import decimal
import uuid

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

SCHEMA = 1
AWAITING, PAID, CANCELLED, EXPIRED, REFUNDED = "awaiting_payment", "paid", "cancelled", "expired", "refunded"
OVER = (CANCELLED, EXPIRED, REFUNDED)
STATUSES = (AWAITING, PAID, *OVER)
BOUGHT = "bought"
# Condition of each write: this release can read the item.
READABLE = "(attribute_not_exists(#schema) OR #schema <= :schema)"


class Unreadable(Exception):
    """An item that this release cannot read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An order."""

    id: str
    user_id: str
    ticket_id: str
    price: int
    status: str
    version: int
    created_at: int
    expires_at: int
    payment_id: str | None
    refunds: tuple  # (payment id, reason, state)
    slot: int | None
    correlation_id: str

    @classmethod
    def parse(cls, item):
        """The order of an item in boto3's form."""
        fields = _Fields(item)
        ticket = _Plain(fields.value("ticket", dict))
        order = cls(
            id=fields.order_id("id"),
            user_id=fields.value("user_id", str),
            ticket_id=ticket.value("id", str),
            price=ticket.value("price", int),
            status=fields.value("status", str),
            version=fields.value("version", int),
            created_at=fields.value("created_at", int),
            expires_at=fields.value("expires_at", int),
            payment_id=fields.optional("payment_id", str),
            refunds=tuple(_refund(refund) for refund in fields.optional("refunds_due", list) or []),
            slot=fields.optional("slot", int),
            correlation_id=fields.value("correlation_id", str),
        )
        if order.status not in STATUSES:
            raise Unreadable(f"unknown status {order.status}")
        is_free = order.status == PAID and not order.price
        if (order.payment_id is not None) != (order.status in (PAID, REFUNDED)) and not is_free:
            raise Unreadable("the payment id does not fit the status and the price")
        return order

    @property
    def is_over(self):
        return self.status in OVER

    @property
    def is_paid(self):
        return self.status == PAID

    def is_due(self, now):
        return self.status == AWAITING and self.expires_at <= now

    def is_held(self, now):
        return self.status == AWAITING and self.expires_at > now


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket with its lock. No `locked_by`: free. `locked_by` without `locked_until`: sold."""

    id: str
    title: str | None
    price: int | None
    version: int
    withdrawn: bool
    locked_by: str | None
    locked_until: int | None
    locked_for: str | None

    @classmethod
    def parse(cls, item):
        """The ticket of an item in boto3's form."""
        fields = _Fields(item)
        locked_by = fields.optional("locked_by", str)
        ticket = cls(
            id=fields.value("id", str),
            title=fields.optional("title", str),
            price=fields.optional("price", int),
            version=fields.value("version", int),
            withdrawn=fields.optional("withdrawn", bool) or False,
            locked_by=locked_by and fields.order_id("locked_by"),
            # An end without an order locks nothing.
            locked_until=fields.optional("locked_until", int) if locked_by else None,
            locked_for=fields.optional("locked_for", str),
        )
        if not ticket.withdrawn and (ticket.title is None or ticket.price is None):
            raise Unreadable("the ticket has no title or no price, and is not withdrawn")
        return ticket

    @property
    def is_sold(self):
        return self.locked_by is not None and self.locked_until is None

    def has_lapsed(self, now):
        return self.locked_until is not None and self.locked_until <= now


@dataclasses.dataclass(frozen=True, slots=True)
class Payment:
    """A booked payment. `result` is `bought`, or the reason of the refund."""

    id: str
    order_id: str
    amount: int | None
    result: str
    sent_at: int

    @classmethod
    def parse(cls, item):
        """The payment of an item in boto3's form."""
        fields = _Fields(item)
        return cls(
            id=fields.value("id", str),
            order_id=fields.order_id("order_id"),
            amount=fields.optional("amount", int),
            result=fields.value("result", str),
            sent_at=fields.value("sent_at", int),
        )


class _Plain:
    """Attributes as Python values."""

    def __init__(self, values):
        self.values = values

    def optional(self, name, kind):
        value = self.values.get(name)
        if value is None:
            return None
        if kind is int and isinstance(value, decimal.Decimal) and value == int(value) >= 0:
            return int(value)
        if not isinstance(value, kind) or (kind is str and not value):
            raise Unreadable(f"{name} is invalid")
        return value

    def value(self, name, kind):
        value = self.optional(name, kind)
        if value is None:
            raise Unreadable(f"{name} is missing")
        return value

    def order_id(self, name):
        value = self.value(name, str)
        if order_id(value) != value:
            raise Unreadable(f"{name} is not an order id")
        return value


class _Fields(_Plain):
    """Attributes of an item in boto3's form that this release can read."""

    def __init__(self, item):
        super().__init__(plain(item))
        schema = self.optional("schema", int)
        if schema is not None and schema > SCHEMA:
            raise Unreadable(f"the item has schema {schema}; this release reads schemas up to {SCHEMA}")


def _refund(values):
    refund = _Plain(values)
    state = refund.optional("state", str) or "due"
    if state not in ("due", "settled"):
        raise Unreadable(f"unknown state {state} of a refund")
    return refund.value("payment_id", str), refund.value("reason", str), state


def order_id(text):
    """Returns the text as an order id, in lower case; `None` if it is not a UUID with hyphens."""
    try:
        id = str(uuid.UUID(text))
    except ValueError:
        return None
    return id if id == text.lower() else None


def plain(item):
    """Converts an item in boto3's form to Python values."""
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def item(values):
    """Converts Python values to an item in boto3's form."""
    return {name: TypeSerializer().serialize(value) for name, value in values.items() if value is not None}


def timestamp(ms):
    """RFC 3339 in UTC with milliseconds, as in the API."""
    at = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"
