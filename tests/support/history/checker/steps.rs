//! The observations of a ticket as steps of the model.

use super::{
    super::{
        Event, Operation, OrderView, Outcome, Payment, Request,
        model::{Change, Observation, Status, Step, StepKind},
    },
    Contradiction, contradiction,
    index::Index,
    require,
};

/// Returns the steps of a ticket.
pub(super) fn of_ticket(index: &Index<'_>, ticket: &str) -> Result<Vec<Step>, Contradiction> {
    let mut steps = Vec::new();
    for versions in index.changes.values() {
        for event in versions.values().filter(|event| event.ticket == ticket) {
            add_change(index, event, &mut steps)?;
        }
    }
    for request in &index.history.requests {
        add_observations(index, ticket, request, &mut steps)?;
    }
    Ok(steps)
}

/// Adds the change of an event: between its cause and its publication.
fn add_change(
    index: &Index<'_>,
    event: &Event,
    steps: &mut Vec<Step>,
) -> Result<(), Contradiction> {
    let tolerance = index.history.clock_tolerance_ms;
    let description = format!("{} of {} as version {}", event.kind, event.order, event.version);
    let (change, from_ms) = match event.kind.as_str() {
        "OrderCreated" => {
            let ticket_version = index.first_views.get(event.order.as_str());
            let ticket_version = ticket_version.map(|order| order.ticket_version);
            (Change::Created { ticket_version }, earliest_request_ms(index, event)?)
        }
        "OrderCancelled" => (Change::Cancelled, earliest_cancel_ms(index, event)?),
        "OrderExpired" => (Change::Expired, event.expires_at_ms.saturating_sub(tolerance)),
        "OrderPaid" => {
            let payment = payment_of(index, event)?;
            let is_late = check_sale(tolerance, index.history.late_limit_ms, event, payment)?;
            let asked = versions(index, event, |price_cents| price_cents == event.price_cents);
            (Change::Paid { is_late, asked }, payment.at_ms)
        }
        "OrderRefundDue" => {
            let payment = payment_of(index, event)?;
            let for_status = check_refund(index, event, payment)?;
            (Change::Refund { for_status }, payment.at_ms)
        }
        _ => return contradiction(format!("{event:?} has an invalid type")),
    };
    require(from_ms <= event.at_ms, || {
        format!("{description} at {}, before {from_ms}", event.at_ms)
    })?;
    let (order, version) = (event.order.clone(), event.version);
    let after = seen_ticket(index, event, from_ms).map(|(observation, description)| {
        add(steps, StepKind::Observation(observation), from_ms, event.at_ms, description)
    });
    let at =
        add(steps, StepKind::Change { order, version, change }, from_ms, event.at_ms, description);
    steps[at].after = after;
    Ok(())
}

/// Checks the payment of a sale. Returns whether the sale is certainly a late one.
fn check_sale(
    tolerance: u64,
    late_limit_ms: u64,
    event: &Event,
    payment: &Payment,
) -> Result<bool, Contradiction> {
    require(pays_price(event, payment), || format!("{event:?} for another amount: {payment:?}"))?;
    let last_ms = event.expires_at_ms + late_limit_ms;
    require(sent_ms(payment) <= last_ms.saturating_add(tolerance), || {
        format!("{event:?} by a payment sent after {last_ms}: {payment:?}")
    })?;
    Ok(payment.at_ms >= event.expires_at_ms.saturating_add(tolerance))
}

/// Checks the reason for a refund, as far as event and payment show it. Returns the order's status.
fn check_refund(
    index: &Index<'_>,
    event: &Event,
    payment: &Payment,
) -> Result<Status, Contradiction> {
    let (tolerance, sent_ms) = (index.history.clock_tolerance_ms, sent_ms(payment));
    let last_ms = event.expires_at_ms + index.history.late_limit_ms;
    let pays_price = pays_price(event, payment);
    let is_in_limit = pays_price && sent_ms <= last_ms.saturating_add(tolerance);
    let status = Status::parse(&event.status);
    let is_possible = match (event.reason.as_deref(), status) {
        (Some("already_paid"), Some(Status::Paid))
        | (Some("order_cancelled"), Some(Status::Cancelled)) => true,
        (Some("wrong_amount"), Some(Status::Awaiting | Status::Expired)) => !pays_price,
        (Some("too_late"), Some(Status::Expired)) => {
            pays_price && sent_ms.saturating_add(tolerance) > last_ms
        }
        (Some("ticket_changed" | "ticket_taken"), Some(Status::Expired)) => is_in_limit,
        _ => false,
    };
    match status {
        Some(status) if is_possible => Ok(status),
        _ => contradiction(format!("{event:?} has the wrong reason for {payment:?}")),
    }
}

fn pays_price(event: &Event, payment: &Payment) -> bool {
    payment.amount_cents.is_none_or(|amount| amount == event.price_cents)
}

/// Returns the time in the envelope of a payment.
fn sent_ms(payment: &Payment) -> u64 {
    payment.at_ms / 1_000 * 1_000
}

/// Returns the state of the ticket that the reason of a refund depends on. The ticket is read before the
/// refund is committed.
fn seen_ticket(index: &Index<'_>, event: &Event, from_ms: u64) -> Option<(Observation, String)> {
    let Event { order, price_cents: price, .. } = event;
    match event.reason.as_deref() {
        Some("ticket_taken") => {
            let by = unlapsed_orders(index, &event.ticket, from_ms);
            let versions = versions(index, event, |price_cents| price_cents == *price);
            let observation = Observation::TakenOver { order: order.clone(), by, versions };
            Some((observation, format!("{order} had expired with its ticket taken")))
        }
        Some("ticket_changed") => {
            let versions = versions(index, event, |price_cents| price_cents != *price);
            let description = format!("the ticket of {order} had another price");
            Some((Observation::Offered { versions }, description))
        }
        _ => None,
    }
}

/// Returns the versions of the event's ticket with such a price, published before the event.
fn versions(index: &Index<'_>, event: &Event, wanted: impl Fn(u64) -> bool) -> Vec<u64> {
    let latest_ms = event.at_ms.saturating_add(index.history.clock_tolerance_ms);
    let published = index.history.tickets.iter().filter(|version| {
        version.ticket == event.ticket && version.at_ms <= latest_ms && wanted(version.price_cents)
    });
    published.map(|version| version.version).collect()
}

fn add(
    steps: &mut Vec<Step>,
    kind: StepKind,
    from_ms: u64,
    to_ms: u64,
    description: String,
) -> usize {
    steps.push(Step { kind, from_ms, to_ms, description, after: None });
    steps.len() - 1
}

/// Returns the time of the first request that can have placed the order: the request with this order
/// as new in its response, or else a request with an unknown outcome.
fn earliest_request_ms(index: &Index<'_>, created: &Event) -> Result<u64, Contradiction> {
    let of_buyer = || {
        index.history.requests.iter().filter(|request| {
            let of_ticket = matches!(&request.operation,
                Operation::Place { ticket, .. } if *ticket == created.ticket);
            of_ticket && request.buyer == created.buyer
        })
    };
    let placed_by = of_buyer().find(
        |request| matches!(&request.outcome, Outcome::Placed(order) if order.order == created.order),
    );
    let unknown = || of_buyer().filter(|request| request.outcome == Outcome::Unknown);
    let from_ms = placed_by
        .map(|request| request.from_ms)
        .or_else(|| unknown().map(|request| request.from_ms).min());
    from_ms.map_or_else(|| contradiction(format!("no request for {created:?}")), Ok)
}

fn earliest_cancel_ms(index: &Index<'_>, cancelled: &Event) -> Result<u64, Contradiction> {
    let operation = Operation::Cancel { order: cancelled.order.clone() };
    let requests = index.history.requests.iter();
    let by_owner = requests.filter(|it| it.operation == operation && it.buyer == cancelled.buyer);
    let from_ms = by_owner.map(|request| request.from_ms).min();
    from_ms.map_or_else(|| contradiction(format!("no request for {cancelled:?}")), Ok)
}

fn payment_of<'a>(index: &Index<'a>, event: &Event) -> Result<&'a Payment, Contradiction> {
    let payment = event.payment.as_deref();
    let payment = payment.and_then(|payment| index.payments.get(&(payment, &event.order)));
    payment.map_or_else(|| contradiction(format!("no payment for {event:?}")), |it| Ok(*it))
}

/// Adds the observations of a response, each at an instant between request and response.
fn add_observations(
    index: &Index<'_>,
    ticket: &str,
    request: &Request,
    steps: &mut Vec<Step>,
) -> Result<(), Contradiction> {
    let Request { operation, from_ms, to_ms, outcome, buyer } = request;
    let description = format!("{buyer} got {outcome:?} for {operation:?}");
    // The index of a list is eventually consistent.
    let from_ms = if *operation == Operation::List { 0 } else { *from_ms };
    for order in outcome.orders().iter().filter(|order| order.ticket == ticket) {
        let observation = order_observation(index, order, request)?;
        add(steps, StepKind::Observation(observation), from_ms, *to_ms, description.clone());
    }
    if let Some(observation) = other_observation(index, ticket, request)? {
        add(steps, StepKind::Observation(observation), from_ms, *to_ms, description);
    }
    Ok(())
}

/// Observation of a shown order. A due order is shown as expired before its expiry is committed.
fn order_observation(
    index: &Index<'_>,
    order: &OrderView,
    request: &Request,
) -> Result<Observation, Contradiction> {
    let tolerance = index.history.clock_tolerance_ms;
    let Some(status) = Status::parse(&order.status) else {
        return contradiction(format!("{order:?} has an invalid status"));
    };
    let shown_when_due = status == Status::Awaiting
        && request.from_ms >= order.expires_at_ms.saturating_add(tolerance);
    require(!shown_when_due, || format!("{order:?} was due when shown by {request:?}"))?;
    let may_be_due = request.to_ms.saturating_add(tolerance) >= order.expires_at_ms;
    let mut statuses = vec![status];
    if status == Status::Expired && may_be_due {
        statuses.push(Status::Awaiting);
    }
    let without_key = matches!(request.operation, Operation::Place { key: None, .. });
    if without_key {
        // A new order, or the buyer's order that has the ticket.
        let was_due = request.from_ms >= order.expires_at_ms.saturating_add(tolerance);
        statuses.retain(|status| match status {
            Status::Awaiting => !was_due,
            Status::Paid => true,
            Status::Cancelled | Status::Expired => false,
        });
        require(!statuses.is_empty(), || format!("{order:?} is no live order in {request:?}"))?;
    }
    Ok(Observation::Order { order: order.order.clone(), version: Some(order.version), statuses })
}

/// Observation of a response without an order, if the response is about this ticket.
fn other_observation(
    index: &Index<'_>,
    ticket: &str,
    request: &Request,
) -> Result<Option<Observation>, Contradiction> {
    let is_of_ticket =
        |order: &str| index.created(order).is_some_and(|created| created.ticket == ticket);
    let owns =
        |order: &str| index.created(order).is_some_and(|created| created.buyer == request.buyer);
    Ok(match (&request.operation, &request.outcome) {
        (Operation::Place { ticket: requested, .. }, _) if requested == ticket => {
            refusal_observation(index, ticket, request)
        }
        (Operation::Cancel { order }, Outcome::Cancelled) if is_of_ticket(order) => {
            let statuses = vec![Status::Cancelled];
            Some(Observation::Order { order: order.clone(), version: None, statuses })
        }
        (Operation::Cancel { order }, Outcome::OrderPaid) if is_of_ticket(order) => {
            let statuses = vec![Status::Paid];
            Some(Observation::Order { order: order.clone(), version: None, statuses })
        }
        (Operation::Cancel { order } | Operation::Show { order }, Outcome::NoSuchOrder)
            if is_of_ticket(order) && owns(order) =>
        {
            Some(Observation::NoOrder { order: order.clone() })
        }
        (Operation::Cancel { order }, Outcome::Cancelled | Outcome::OrderPaid) => {
            let exists = index.created(order).is_some();
            require(exists, || format!("{request:?} is about an unknown order"))?;
            None
        }
        _ => None,
    })
}

/// Observation of a refused order: another buyer has the ticket, or the ticket is unknown.
fn refusal_observation(index: &Index<'_>, ticket: &str, request: &Request) -> Option<Observation> {
    let owns =
        |order: &str| index.created(order).is_some_and(|created| created.buyer == request.buyer);
    match request.outcome {
        Outcome::Reserved => {
            let mut by = unlapsed_orders(index, ticket, request.from_ms);
            by.retain(|order| !owns(order) || can_have_ended(index, order, request.to_ms));
            Some(Observation::Reserved { by })
        }
        Outcome::Sold => {
            let orders = index.changes.keys().filter(|order| !owns(order));
            Some(Observation::Sold { to: orders.map(ToString::to_string).collect() })
        }
        Outcome::NoSuchTicket => Some(Observation::UnknownTicket),
        _ => None,
    }
}

/// Whether the order can have ended before this time. A buyer's own hold that ends between the reads of
/// ticket and order refuses its buyer.
fn can_have_ended(index: &Index<'_>, order: &str, before_ms: u64) -> bool {
    index.changes[order].values().any(|event| match event.kind.as_str() {
        "OrderExpired" => {
            event.expires_at_ms <= before_ms.saturating_add(index.history.clock_tolerance_ms)
        }
        "OrderCancelled" => {
            earliest_cancel_ms(index, event).is_ok_and(|from_ms| from_ms <= before_ms)
        }
        _ => false,
    })
}

/// Returns the orders with an active hold on the ticket at this time.
fn unlapsed_orders(index: &Index<'_>, ticket: &str, at_ms: u64) -> Vec<String> {
    let at_ms = at_ms.saturating_sub(index.history.clock_tolerance_ms);
    let created = index.changes.values().filter_map(|versions| versions.get(&0));
    let holding = created.filter(|it| it.ticket == ticket && it.expires_at_ms > at_ms);
    holding.map(|event| event.order.clone()).collect()
}
