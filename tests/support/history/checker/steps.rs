//! The observations of a ticket as steps of the model.

use super::{
    super::{
        Event, Operation, OrderView, Outcome, Request,
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
        "OrderPaid" => (Change::Paid, payment_ms(index, event)?),
        "OrderRefundDue" => {
            let for_status = match event.reason.as_deref() {
                Some("already_paid") => Status::Paid,
                Some("order_cancelled") => Status::Cancelled,
                Some("ticket_taken") => Status::Expired,
                _ => return contradiction(format!("{event:?} has an invalid reason")),
            };
            (Change::Refund { for_status }, payment_ms(index, event)?)
        }
        _ => return contradiction(format!("{event:?} has an invalid type")),
    };
    require(from_ms <= event.at_ms, || {
        format!("{description} at {}, before {from_ms}", event.at_ms)
    })?;
    let (order, version) = (event.order.clone(), event.version);
    let ticket_taken = event.reason.as_deref() == Some("ticket_taken");
    let after = ticket_taken.then(|| {
        let by = unlapsed_orders(index, &event.ticket, from_ms);
        let observation = Observation::TakenOver { order: order.clone(), by };
        let description = format!("{order} had expired with its ticket taken");
        add(steps, StepKind::Observation(observation), from_ms, event.at_ms, description)
    });
    let at =
        add(steps, StepKind::Change { order, version, change }, from_ms, event.at_ms, description);
    steps[at].after = after;
    Ok(())
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

/// Returns the time of the first request that can have placed the order: a request with this order
/// in its response, an earlier request with the same key, or else a request with an unknown
/// outcome.
fn earliest_request_ms(index: &Index<'_>, created: &Event) -> Result<u64, Contradiction> {
    let of_buyer = || {
        let requests = index.history.requests.iter();
        requests.filter_map(|request| match &request.operation {
            Operation::Place { ticket, key }
                if *ticket == created.ticket && request.buyer == created.buyer =>
            {
                Some((request, key.as_ref()))
            }
            _ => None,
        })
    };
    let created_by = of_buyer().find(
        |(request, _)| matches!(&request.outcome, Outcome::Order(order) if order.order == created.order),
    );
    let from_ms = match created_by {
        Some((request, None)) => Some(request.from_ms),
        Some((_, key)) => {
            of_buyer().filter(|(_, other)| *other == key).map(|(it, _)| it.from_ms).min()
        }
        None => {
            let unknown = of_buyer().filter(|(request, _)| request.outcome == Outcome::Unknown);
            unknown.map(|(request, _)| request.from_ms).min()
        }
    };
    from_ms.map_or_else(|| contradiction(format!("no request for {created:?}")), Ok)
}

fn earliest_cancel_ms(index: &Index<'_>, cancelled: &Event) -> Result<u64, Contradiction> {
    let operation = Operation::Cancel { order: cancelled.order.clone() };
    let requests = index.history.requests.iter();
    let by_owner = requests.filter(|it| it.operation == operation && it.buyer == cancelled.buyer);
    let from_ms = by_owner.map(|request| request.from_ms).min();
    from_ms.map_or_else(|| contradiction(format!("no request for {cancelled:?}")), Ok)
}

fn payment_ms(index: &Index<'_>, event: &Event) -> Result<u64, Contradiction> {
    let payment = event.payment.as_deref().and_then(|payment| index.payments.get(payment));
    let payment = payment.filter(|payment| payment.order == event.order);
    payment.map_or_else(|| contradiction(format!("no payment for {event:?}")), |it| Ok(it.at_ms))
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
    for order in orders_in(outcome).iter().filter(|order| order.ticket == ticket) {
        let observation = order_observation(index, order, request)?;
        add(steps, StepKind::Observation(observation), from_ms, *to_ms, description.clone());
    }
    if let Some(observation) = other_observation(index, ticket, request)? {
        add(steps, StepKind::Observation(observation), from_ms, *to_ms, description);
    }
    Ok(())
}

fn orders_in(outcome: &Outcome) -> &[OrderView] {
    match outcome {
        Outcome::Order(order) => std::slice::from_ref(order),
        Outcome::Orders(orders) => orders,
        _ => &[],
    }
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
        (Operation::Place { ticket: requested, .. }, outcome) if requested == ticket => {
            match outcome {
                Outcome::Reserved => Some(Observation::Reserved {
                    by: unlapsed_orders(index, ticket, request.from_ms),
                }),
                Outcome::Sold => Some(Observation::Sold),
                Outcome::NoSuchTicket => Some(Observation::UnknownTicket),
                _ => None,
            }
        }
        (Operation::Cancel { order }, Outcome::Cancelled) if is_of_ticket(order) => {
            let statuses = vec![Status::Cancelled, Status::Expired];
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

/// Returns the orders with an active hold on the ticket at this time.
fn unlapsed_orders(index: &Index<'_>, ticket: &str, at_ms: u64) -> Vec<String> {
    let at_ms = at_ms.saturating_sub(index.history.clock_tolerance_ms);
    let created = index.changes.values().filter_map(|versions| versions.get(&0));
    let holding = created.filter(|it| it.ticket == ticket && it.expires_at_ms > at_ms);
    holding.map(|event| event.order.clone()).collect()
}
