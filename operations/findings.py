"""Disagreements between orders, the locks of their tickets, and payments. Pure functions of read items.

An order is live while it awaits payment or is paid. Order and lock agree if each live order is named by its ticket's
lock, and each lock names a live order. A due order that its own lapsed lock names agrees with it: its timer is late.
"""

import dataclasses
import enum

from items import AWAITING, BOUGHT, Order, Ticket


class Treatment(enum.Enum):
    """Who ends a disagreement."""

    REPAIR = "repaired by audit --repair"
    TIME = "ends at the end of the hold, without action"
    RECONCILE = "repaired by reconcile, or by the next buyer of the ticket"
    OPERATOR = "no single right answer: see docs/operations.md"
    BUYER = "refund the buyer, or restore the order"
    FIRST_EDITION = "normal for payments of the first edition"
    REMOVED = "the order was removed after KeepUnpaidDays, or is lost"

    @property
    def is_note(self):
        """Whether nothing is wrong: the finding does not count."""
        return self in (Treatment.FIRST_EDITION, Treatment.REMOVED)


class Kind(enum.Enum):
    """Kinds of disagreements, each with its treatment."""

    PERMANENT_LOCK_OF_ENDED_ORDER = "permanent-lock-of-ended-order", Treatment.REPAIR
    PAID_ORDER_WITHOUT_LOCK = "paid-order-without-lock", Treatment.REPAIR
    DUE_ORDER_WITHOUT_LOCK = "due-order-without-lock", Treatment.REPAIR
    LAPSED_LOCK_OF_ENDED_ORDER = "lapsed-lock-of-ended-order", Treatment.RECONCILE
    LAPSED_LOCK_OF_MISSING_ORDER = "lapsed-lock-of-missing-order", Treatment.RECONCILE
    HOLD_OF_ENDED_ORDER = "hold-of-ended-order", Treatment.TIME
    HOLD_OF_MISSING_ORDER = "hold-of-missing-order", Treatment.TIME
    HOLD_END_DIFFERS = "hold-end-differs", Treatment.TIME
    AWAITING_ORDER_WITHOUT_LOCK = "awaiting-order-without-lock", Treatment.TIME
    PAID_ORDER_BEHIND_A_HOLD = "paid-order-behind-a-hold", Treatment.OPERATOR
    PAID_ORDER_OF_TICKET_SOLD_TO_ANOTHER = "paid-order-of-ticket-sold-to-another", Treatment.OPERATOR
    PAID_ORDER_OF_MISSING_TICKET = "paid-order-of-missing-ticket", Treatment.OPERATOR
    TICKET_SOLD_TO_MISSING_ORDER = "ticket-sold-to-missing-order", Treatment.OPERATOR
    TICKET_SOLD_TO_ENDED_ORDER = "ticket-sold-to-ended-order", Treatment.OPERATOR
    TICKET_SOLD_TO_AWAITING_ORDER = "ticket-sold-to-awaiting-order", Treatment.OPERATOR
    TWO_LIVE_ORDERS = "two-live-orders", Treatment.OPERATOR
    PAYMENT_OF_MISSING_ORDER = "payment-of-missing-order", Treatment.BUYER
    PAYMENT_NOT_IN_ORDER = "payment-not-in-order", Treatment.OPERATOR
    PAYMENT_WITHOUT_ROW = "payment-without-row", Treatment.FIRST_EDITION
    REFUND_OF_MISSING_ORDER = "refund-of-missing-order", Treatment.REMOVED

    def __init__(self, label, treatment):
        self.label = label
        self.treatment = treatment


@dataclasses.dataclass(frozen=True)
class Release:
    """Repair: the lock of an order that is over is removed."""

    ticket: Ticket
    order: Order


@dataclasses.dataclass(frozen=True)
class Relock:
    """Repair: a paid order gets its permanent lock. `named` is the order that the lock named, if it exists."""

    ticket: Ticket
    order: Order
    named: Order | None


@dataclasses.dataclass(frozen=True)
class Expire:
    """Repair: the timer's message of a due order is sent again."""

    order: Order


@dataclasses.dataclass(frozen=True)
class Finding:
    """A disagreement with its ids and, if it has a single right answer, its repair."""

    kind: Kind
    ids: tuple  # of the ticket, the order or the payment, as text with their names
    repair: Release | Relock | Expire | None = None


def of_ticket(ticket_id, ticket, orders, bought, now):
    """The disagreements of a ticket.

    `ticket` is `None` if it is missing. `orders` has the live orders of the ticket and the order that the lock names,
    by id; an order that is missing is absent. `bought` has the ids of orders whose sale is, or may be, in the payments
    table only: the row of such an order is older than its sale. Its permanent lock is not released.
    """
    place = (f"ticket {ticket_id}",)
    paid = [order for order in orders.values() if order.ticket_id == ticket_id and order.is_paid]
    holds = [order for order in orders.values() if order.ticket_id == ticket_id and order.is_held(now)]
    found = []
    if len(paid) + len(holds) > 1:
        ids = tuple(f"order {order.id}" for order in (*paid, *holds))
        found.append(Finding(Kind.TWO_LIVE_ORDERS, place + ids))
    if len(paid) == 1:
        found += _of_paid_order(ticket, paid[0], orders, bought, now)
    # A lock that goes to the paid order needs no second treatment.
    if ticket and not any(isinstance(finding.repair, Relock) for finding in found):
        found += _of_lock(ticket, orders, bought, bool(paid), now)
    for order in orders.values():
        if order.ticket_id == ticket_id and order.status == AWAITING:
            found += _of_awaiting_order(ticket, order, now)
    return found


def _of_paid_order(ticket, order, orders, bought, now):
    """The disagreement of the only paid order of a ticket with its lock."""
    ids = (f"ticket {order.ticket_id}", f"order {order.id}")
    if ticket is None:
        return [Finding(Kind.PAID_ORDER_OF_MISSING_TICKET, ids)]
    if ticket.locked_by == order.id and ticket.is_sold:
        return []
    named = orders.get(ticket.locked_by)
    relock = Finding(Kind.PAID_ORDER_WITHOUT_LOCK, ids, Relock(ticket, order, named))
    if ticket.locked_by in (None, order.id):
        return [relock]
    ids += (f"locked by order {ticket.locked_by}",)
    if named is None:
        # A sale to an order that is lost: two buyers may have paid.
        return [Finding(Kind.PAID_ORDER_OF_TICKET_SOLD_TO_ANOTHER, ids)] if ticket.is_sold else [relock]
    is_sale = ticket.is_sold and named.id in bought
    if not is_sale and (named.is_over or named.ticket_id != ticket.id):
        return [relock]
    if ticket.is_sold:
        return [Finding(Kind.PAID_ORDER_OF_TICKET_SOLD_TO_ANOTHER, ids)]
    if named.is_due(now):
        return [Finding(Kind.PAID_ORDER_WITHOUT_LOCK, ids, Expire(named))]
    return [Finding(Kind.PAID_ORDER_BEHIND_A_HOLD, ids)]


def _of_lock(ticket, orders, bought, is_paid_for, now):
    """The disagreement of a lock with the order that it names."""
    if ticket.locked_by is None:
        return []
    ids = (f"ticket {ticket.id}", f"order {ticket.locked_by}")
    named = orders.get(ticket.locked_by)
    lapsed = ticket.has_lapsed(now)
    if named is None:
        if ticket.is_sold:
            return [Finding(Kind.TICKET_SOLD_TO_MISSING_ORDER, ids)]
        return [Finding(Kind.LAPSED_LOCK_OF_MISSING_ORDER if lapsed else Kind.HOLD_OF_MISSING_ORDER, ids)]
    if named.is_over or named.ticket_id != ticket.id:
        if ticket.is_sold:
            if named.id in bought:
                return [Finding(Kind.TICKET_SOLD_TO_ENDED_ORDER, ids)]
            # With two paid orders, each beside the lock, no repair is right.
            repair = None if is_paid_for else Release(ticket, named)
            return [Finding(Kind.PERMANENT_LOCK_OF_ENDED_ORDER, ids, repair)]
        return [Finding(Kind.LAPSED_LOCK_OF_ENDED_ORDER if lapsed else Kind.HOLD_OF_ENDED_ORDER, ids)]
    if named.is_paid:
        return []
    if ticket.is_sold:
        return [Finding(Kind.TICKET_SOLD_TO_AWAITING_ORDER, ids)]
    return [Finding(Kind.HOLD_END_DIFFERS, ids)] if ticket.locked_until != named.expires_at else []


def _of_awaiting_order(ticket, order, now):
    """The disagreement of an awaiting order that its ticket's lock does not name."""
    if ticket and ticket.locked_by == order.id:
        return []
    ids = (f"ticket {order.ticket_id}", f"order {order.id}")
    if order.is_due(now):
        return [Finding(Kind.DUE_ORDER_WITHOUT_LOCK, ids, Expire(order))]
    return [Finding(Kind.AWAITING_ORDER_WITHOUT_LOCK, ids)]


def of_payment(payment, order):
    """The disagreement of a payment's item with its order; `None` if they agree. `order` is `None` if missing."""
    ids = (f"payment {payment.id}", f"order {payment.order_id}")
    if order is None:
        is_sale = payment.result == BOUGHT
        return Finding(Kind.PAYMENT_OF_MISSING_ORDER if is_sale else Kind.REFUND_OF_MISSING_ORDER, ids)
    return None if (payment.id, payment.result) in _payments(order) else Finding(Kind.PAYMENT_NOT_IN_ORDER, ids)


def _payments(order):
    """The payments in an order, each with its result."""
    bought = [(order.payment_id, BOUGHT)] if order.payment_id else []
    return bought + [(payment_id, reason) for payment_id, reason, _ in order.refunds]


def payment_ids(order):
    """The ids of the payments in an order."""
    return [payment_id for payment_id, _ in _payments(order)]


def without_row(payment_id, order_id):
    """The disagreement of a payment that is in an order and has no item."""
    return Finding(Kind.PAYMENT_WITHOUT_ROW, (f"payment {payment_id}", f"order {order_id}"))
