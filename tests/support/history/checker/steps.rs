//! The observations of a ticket as steps of the model.

use super::{
    super::{
        Event, Operation, OrderView, Outcome, Payment, PublishedTicket, Request,
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
    let mut to_ms = event.at_ms;
    let (change, from_ms) = match event.kind.as_str() {
        _ if event.version == 0 => (created(index, event)?, earliest_request_ms(index, event)?),
        "OrderCancelled" => {
            let is_free = event.price_cents == 0;
            (Change::Cancelled { is_free }, earliest_cancel_ms(index, event)?)
        }
        "OrderExtended" => {
            let (from_ms, last_ms) = check_extension(index, event)?;
            to_ms = to_ms.min(last_ms);
            (Change::Extended { expires_at_ms: event.expires_at_ms }, from_ms)
        }
        "OrderRefunded" => (Change::Refunded, earliest_refund_ms(index, event)?),
        "OrderRefundSettled" => {
            (Change::Refund { for_status: status(event)? }, earliest_refund_ms(index, event)?)
        }
        "OrderExpired" => (Change::Expired, event.expires_at_ms.saturating_sub(tolerance)),
        "OrderPaid" => {
            let payment = payment_of(index, event)?;
            let is_late = check_sale(tolerance, index.history.late_limit_ms, event, payment)?;
            let asked = versions(index, &event.ticket, event.at_ms, |version| {
                version.offer.as_ref().is_some_and(|it| it.price_cents == event.price_cents)
            });
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
    let after = seen_ticket(index, event, from_ms)
        .map(|(seen, description)| add(steps, seen, from_ms, event.at_ms, description));
    let at = add(steps, StepKind::Change { order, version, change }, from_ms, to_ms, description);
    steps[at].after = after;
    Ok(())
}

fn created(index: &Index<'_>, event: &Event) -> Result<Change, Contradiction> {
    let ticket_version = index.first_views.get(event.order.as_str());
    let ticket_version = ticket_version.map(|order| order.ticket_version);
    let (status, expires_at_ms) = (status(event)?, event.expires_at_ms);
    Ok(Change::Created { ticket_version, status, expires_at_ms })
}

fn status(event: &Event) -> Result<Status, Contradiction> {
    let status = Status::parse(&event.status);
    status.map_or_else(|| contradiction(format!("{event:?} has an invalid status")), Ok)
}

/// Checks that the start of a payment explains a longer hold: sent before the old end. Returns the
/// times between which the change is committed.
fn check_extension(index: &Index<'_>, event: &Event) -> Result<(u64, u64), Contradiction> {
    let history = index.history;
    let before = index.changes[event.order.as_str()][&(event.version - 1)];
    let end_ms = before.expires_at_ms.saturating_add(history.clock_tolerance_ms);
    let starts = history.starts.iter().filter(|start| {
        // By a clock that is behind, the start is from the future and counts from now.
        let latest_ms = start.at_ms / 1_000 * 1_000 + history.time_to_pay_ms;
        let earliest_ms = latest_ms.saturating_sub(history.clock_tolerance_ms);
        let is_possible = (earliest_ms..=latest_ms).contains(&event.expires_at_ms);
        start.order == event.order && history.time_to_pay_ms > 0 && is_possible
    });
    let from_ms = starts.map(|start| start.at_ms).min();
    let Some(from_ms) = from_ms.filter(|from_ms| *from_ms < end_ms) else {
        return contradiction(format!("no start of a payment for {event:?}"));
    };
    Ok((from_ms, end_ms.saturating_add(history.write_deadline_ms)))
}

fn earliest_refund_ms(index: &Index<'_>, event: &Event) -> Result<u64, Contradiction> {
    let from_ms = index.whole_refunds(event).map(|refund| refund.at_ms).min();
    from_ms.map_or_else(|| contradiction(format!("no refund for {event:?}")), Ok)
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
    let status = status(event)?;
    let is_possible = match (event.reason.as_deref(), status) {
        (Some("already_paid"), Status::Paid)
        | (Some("order_cancelled"), Status::Cancelled)
        | (Some("order_refunded"), Status::Refunded) => true,
        (Some("wrong_amount"), Status::Awaiting | Status::Expired) => !pays_price,
        (Some("too_late"), Status::Expired) => {
            pays_price && sent_ms.saturating_add(tolerance) > last_ms
        }
        (Some("ticket_changed" | "ticket_taken"), Status::Expired) => is_in_limit,
        _ => false,
    };
    require(is_possible, || format!("{event:?} has the wrong reason for {payment:?}"))?;
    Ok(status)
}

fn pays_price(event: &Event, payment: &Payment) -> bool {
    payment.amount_cents.is_none_or(|amount| amount == event.price_cents)
}

/// Returns the time in the envelope of a payment.
fn sent_ms(payment: &Payment) -> u64 {
    payment.at_ms / 1_000 * 1_000
}

/// Returns the state of the ticket that the reason of a refund depends on. The ticket is read
/// before the refund is committed.
fn seen_ticket(index: &Index<'_>, event: &Event, from_ms: u64) -> Option<(StepKind, String)> {
    let Event { kind, order, ticket, price_cents: price, at_ms, .. } = event;
    let is_asked = |version: &PublishedTicket| {
        version.offer.as_ref().is_some_and(|offer| offer.price_cents == *price)
    };
    match (kind.as_str(), event.reason.as_deref()) {
        ("OrderRefundDue", Some("ticket_taken")) => {
            let after_ms = from_ms.saturating_sub(index.history.clock_tolerance_ms);
            let versions = versions(index, ticket, *at_ms, is_asked);
            let taken = Observation::TakenOver { order: order.clone(), after_ms, versions };
            let description = format!("{order} had expired with its ticket taken");
            Some((StepKind::Observation(taken), description))
        }
        ("OrderRefundDue", Some("ticket_changed")) => {
            let versions = versions(index, ticket, *at_ms, |version| !is_asked(version));
            let description = format!("the ticket of {order} had another price");
            Some((StepKind::Seen { versions }, description))
        }
        _ => None,
    }
}

/// Returns such versions of a ticket, published by this time.
fn versions(
    index: &Index<'_>,
    ticket: &str,
    by_ms: u64,
    wanted: impl Fn(&PublishedTicket) -> bool,
) -> Vec<u64> {
    let latest_ms = by_ms.saturating_add(index.history.clock_tolerance_ms);
    let published = index.history.tickets.iter().filter(|version| {
        version.ticket == ticket && version.at_ms <= latest_ms && wanted(version)
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

/// Returns the time of the first request that can have placed the order: the request with this
/// order as new in its response, or else a request with an unknown outcome.
pub(super) fn earliest_request_ms(
    index: &Index<'_>,
    created: &Event,
) -> Result<u64, Contradiction> {
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

pub(super) fn earliest_cancel_ms(
    index: &Index<'_>,
    cancelled: &Event,
) -> Result<u64, Contradiction> {
    let operation = Operation::Cancel { order: cancelled.order.clone() };
    let requests = index.history.requests.iter();
    let by_owner = requests.filter(|it| it.operation == operation && it.buyer == cancelled.buyer);
    let from_ms = by_owner.map(|request| request.from_ms).min();
    from_ms.map_or_else(|| contradiction(format!("no request for {cancelled:?}")), Ok)
}

pub(super) fn payment_of<'a>(
    index: &Index<'a>,
    event: &Event,
) -> Result<&'a Payment, Contradiction> {
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
    for kind in other_observations(index, ticket, request)? {
        add(steps, kind, from_ms, *to_ms, description.clone());
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
    let shown = index.changes.get(order.order.as_str()).and_then(|it| it.get(&order.version));
    require(shown.is_none_or(|event| event.expires_at_ms == order.expires_at_ms), || {
        format!("{order:?} differs from {shown:?}")
    })?;
    let shown_when_due = status == Status::Awaiting
        && request.from_ms >= order.expires_at_ms.saturating_add(tolerance);
    require(!shown_when_due, || format!("{order:?} was due when shown by {request:?}"))?;
    let may_be_due = request.to_ms.saturating_add(tolerance) >= order.expires_at_ms;
    let mut statuses = vec![status];
    if status == Status::Expired && may_be_due {
        statuses.push(Status::Awaiting);
    }
    let is_found = matches!(
        (&request.operation, &request.outcome),
        (Operation::Place { key: None, .. }, Outcome::Order(_))
    );
    if is_found {
        // The buyer's order that has the ticket.
        let was_due = request.from_ms >= order.expires_at_ms.saturating_add(tolerance);
        statuses.retain(|status| match status {
            Status::Awaiting => !was_due,
            Status::Paid => true,
            Status::Cancelled | Status::Expired | Status::Refunded => false,
        });
        require(!statuses.is_empty(), || format!("{order:?} is no live order in {request:?}"))?;
    }
    Ok(Observation::Order { order: order.order.clone(), version: Some(order.version), statuses })
}

/// Observations of a response without an order, if the response is about this ticket.
fn other_observations(
    index: &Index<'_>,
    ticket: &str,
    request: &Request,
) -> Result<Vec<StepKind>, Contradiction> {
    let is_of_ticket =
        |order: &str| index.created(order).is_some_and(|created| created.ticket == ticket);
    let owns =
        |order: &str| index.created(order).is_some_and(|created| created.buyer == request.buyer);
    let with_status = |order: &String, statuses| {
        let order = order.clone();
        vec![StepKind::Observation(Observation::Order { order, version: None, statuses })]
    };
    Ok(match (&request.operation, &request.outcome) {
        (Operation::Place { ticket: requested, .. }, _) if requested == ticket => {
            refusal_observations(index, ticket, request)
        }
        // An order that has been refunded has ended too.
        (Operation::Cancel { order }, Outcome::Cancelled) if is_of_ticket(order) => {
            with_status(order, vec![Status::Cancelled, Status::Refunded])
        }
        (Operation::Cancel { order }, Outcome::OrderPaid) if is_of_ticket(order) => {
            with_status(order, vec![Status::Paid])
        }
        (Operation::Cancel { order } | Operation::Show { order }, Outcome::NoSuchOrder)
            if is_of_ticket(order) && owns(order) =>
        {
            vec![StepKind::Observation(Observation::NoOrder { order: order.clone() })]
        }
        (Operation::Cancel { order }, Outcome::Cancelled | Outcome::OrderPaid) => {
            let exists = index.created(order).is_some();
            require(exists, || format!("{request:?} is about an unknown order"))?;
            Vec::new()
        }
        _ => Vec::new(),
    })
}

/// Observations of a refused order: why the buyer cannot have the ticket, and that the buyer does
/// not have it.
fn refusal_observations(index: &Index<'_>, ticket: &str, request: &Request) -> Vec<StepKind> {
    let Request { buyer, from_ms, to_ms, outcome, operation } = request;
    let tolerance = index.history.clock_tolerance_ms;
    let wanted = match operation {
        Operation::Place { version, .. } => *version,
        Operation::Show { .. } | Operation::List | Operation::Cancel { .. } => None,
    };
    let all = || index.changes.keys().filter(|order| is_for(index, order, ticket));
    let is_own = |order: &str| index.created(order).is_some_and(|it| it.buyer == *buyer);
    let names = |own: bool| {
        all().filter(|order| is_own(order) == own).map(ToString::to_string).collect::<Vec<_>>()
    };
    let end_ms = to_ms.saturating_add(tolerance);
    let not_own = || Observation::NotHeld { by: names(true), end_ms };
    let seen = |wanted: &dyn Fn(&PublishedTicket) -> bool| StepKind::Seen {
        versions: versions(index, ticket, *to_ms, wanted),
    };
    let on_sale = |version: &PublishedTicket| {
        version.offer.is_some() && wanted.is_none_or(|wanted| wanted == version.version)
    };
    let (ticket_seen, observation) = match outcome {
        Outcome::NoSuchTicket => return vec![StepKind::Observation(Observation::UnknownTicket)],
        Outcome::Reserved => {
            let after_ms = from_ms.saturating_sub(tolerance);
            (seen(&on_sale), Observation::Reserved { by: names(false), after_ms })
        }
        Outcome::Sold => (seen(&on_sale), Observation::Sold { to: names(false) }),
        Outcome::Withdrawn => (seen(&|version| version.offer.is_none()), not_own()),
        Outcome::TicketChanged { version: shown } => {
            (seen(&|version| version.version == *shown && version.offer.is_some()), not_own())
        }
        Outcome::TooManyHolds => {
            let by = all().map(ToString::to_string).collect();
            (seen(&on_sale), Observation::NotHeld { by, end_ms })
        }
        _ => return Vec::new(),
    };
    vec![ticket_seen, StepKind::Observation(observation)]
}

fn is_for(index: &Index<'_>, order: &str, ticket: &str) -> bool {
    index.created(order).is_some_and(|created| created.ticket == ticket)
}
