//! All that was seen of one ticket, as steps of its model.

use super::{
    super::{
        Answer, Asked, Event, OrderSeen, Request,
        model::{Change, Look, Status, Step, What},
    },
    Contradiction, contradiction,
    facts::Facts,
    require,
};

/// The steps of one ticket.
pub(super) fn of_ticket(facts: &Facts<'_>, ticket: &str) -> Result<Vec<Step>, Contradiction> {
    let mut steps = Vec::new();
    for versions in facts.changes.values() {
        for event in versions.values().filter(|event| event.ticket == ticket) {
            add_change(facts, event, &mut steps)?;
        }
    }
    for request in &facts.history.requests {
        add_looks(facts, ticket, request, &mut steps)?;
    }
    Ok(steps)
}

/// An event: the change was between what caused it and its being told.
fn add_change(
    facts: &Facts<'_>,
    event: &Event,
    steps: &mut Vec<Step>,
) -> Result<(), Contradiction> {
    let tolerance = facts.history.clock_tolerance_ms;
    let seen = format!("{} of {} was told as version {}", event.kind, event.order, event.version);
    let (change, from_ms) = match event.kind.as_str() {
        "OrderCreated" => {
            let ticket_version = facts.shown.get(event.order.as_str());
            let ticket_version = ticket_version.map(|order| order.ticket_version);
            (Change::Created { ticket_version }, asked_from(facts, event)?)
        }
        "OrderCancelled" => (Change::Cancelled, cancelled_from(facts, event)?),
        "OrderExpired" => (Change::Expired, event.expires_at_ms.saturating_sub(tolerance)),
        "OrderPaid" => (Change::Paid, charged_at(facts, event)?),
        "OrderRefundDue" => {
            let for_status = match event.reason.as_deref() {
                Some("already_paid") => Status::Paid,
                Some("order_cancelled") => Status::Cancelled,
                Some("ticket_taken") => Status::Expired,
                _ => return contradiction(format!("{event:?} has no good reason")),
            };
            (Change::Refund { for_status }, charged_at(facts, event)?)
        }
        _ => return contradiction(format!("{event:?} is of no kind")),
    };
    require(from_ms <= event.at_ms, || format!("{seen} at {}, before {from_ms}", event.at_ms))?;
    let (order, version) = (event.order.clone(), event.version);
    let taken = event.reason.as_deref() == Some("ticket_taken");
    let after = taken.then(|| {
        let by = not_lapsed(facts, &event.ticket, from_ms);
        let look = Look::TakenFrom { order: order.clone(), by };
        let seen = format!("{order} had expired and its ticket was taken");
        add(steps, What::Look(look), from_ms, event.at_ms, seen)
    });
    let at = add(steps, What::Change { order, version, change }, from_ms, event.at_ms, seen);
    steps[at].after = after;
    Ok(())
}

fn add(steps: &mut Vec<Step>, what: What, from_ms: u64, to_ms: u64, seen: String) -> usize {
    steps.push(Step { what, from_ms, to_ms, seen, after: None });
    steps.len() - 1
}

/// When the first request was sent that can have placed the order: one that was told of it, or that
/// shares its key; or, if nobody was told, one whose outcome is not known.
fn asked_from(facts: &Facts<'_>, created: &Event) -> Result<u64, Contradiction> {
    let of_buyer = || {
        let requests = facts.history.requests.iter();
        requests.filter_map(|request| match &request.asked {
            Asked::Place { ticket, key }
                if *ticket == created.ticket && request.buyer == created.buyer =>
            {
                Some((request, key.as_ref()))
            }
            _ => None,
        })
    };
    let told = of_buyer().find(
        |(request, _)| matches!(&request.answer, Answer::Order(order) if order.order == created.order),
    );
    let from_ms = match told {
        Some((request, None)) => Some(request.from_ms),
        Some((_, key)) => {
            of_buyer().filter(|(_, other)| *other == key).map(|(it, _)| it.from_ms).min()
        }
        None => {
            let unknown = of_buyer().filter(|(request, _)| request.answer == Answer::Unknown);
            unknown.map(|(request, _)| request.from_ms).min()
        }
    };
    from_ms.map_or_else(|| contradiction(format!("nobody asked for {created:?}")), Ok)
}

fn cancelled_from(facts: &Facts<'_>, cancelled: &Event) -> Result<u64, Contradiction> {
    let asked = Asked::Cancel { order: cancelled.order.clone() };
    let requests = facts.history.requests.iter();
    let by_owner = requests.filter(|it| it.asked == asked && it.buyer == cancelled.buyer);
    let from_ms = by_owner.map(|request| request.from_ms).min();
    from_ms.map_or_else(|| contradiction(format!("nobody asked for {cancelled:?}")), Ok)
}

fn charged_at(facts: &Facts<'_>, event: &Event) -> Result<u64, Contradiction> {
    let charge = event.payment.as_deref().and_then(|payment| facts.charges.get(payment));
    let charge = charge.filter(|charge| charge.order == event.order);
    charge.map_or_else(|| contradiction(format!("{event:?} is about no charge")), |it| Ok(it.at_ms))
}

/// A request's answer: what it says was so at some instant between the two.
fn add_looks(
    facts: &Facts<'_>,
    ticket: &str,
    request: &Request,
    steps: &mut Vec<Step>,
) -> Result<(), Contradiction> {
    let Request { asked, from_ms, to_ms, answer, buyer } = request;
    let seen = format!("{buyer} got {answer:?} for {asked:?}");
    // A list may lag behind.
    let from_ms = if *asked == Asked::List { 0 } else { *from_ms };
    for order in orders_in(answer).iter().filter(|order| order.ticket == ticket) {
        let look = order_look(facts, order, request)?;
        add(steps, What::Look(look), from_ms, *to_ms, seen.clone());
    }
    if let Some(look) = look(facts, ticket, request)? {
        add(steps, What::Look(look), from_ms, *to_ms, seen);
    }
    Ok(())
}

fn orders_in(answer: &Answer) -> &[OrderSeen] {
    match answer {
        Answer::Order(order) => std::slice::from_ref(order),
        Answer::Orders(orders) => orders,
        _ => &[],
    }
}

/// An order as it was shown: one that is due is shown as expired, whether or not it has expired yet.
fn order_look(
    facts: &Facts<'_>,
    order: &OrderSeen,
    request: &Request,
) -> Result<Look, Contradiction> {
    let tolerance = facts.history.clock_tolerance_ms;
    let Some(status) = Status::named(&order.status) else {
        return contradiction(format!("{order:?} is in no status"));
    };
    let shown_too_long = status == Status::Awaiting
        && request.from_ms >= order.expires_at_ms.saturating_add(tolerance);
    require(!shown_too_long, || format!("{order:?} was due when it was shown, by {request:?}"))?;
    let may_be_due = request.to_ms.saturating_add(tolerance) >= order.expires_at_ms;
    let mut statuses = vec![status];
    if status == Status::Expired && may_be_due {
        statuses.push(Status::Awaiting);
    }
    Ok(Look::Order { order: order.order.clone(), version: Some(order.version), statuses })
}

/// What an answer without an order says of this ticket, if anything.
fn look(facts: &Facts<'_>, ticket: &str, request: &Request) -> Result<Option<Look>, Contradiction> {
    let is_of_ticket =
        |order: &str| facts.created(order).is_some_and(|created| created.ticket == ticket);
    let owns =
        |order: &str| facts.created(order).is_some_and(|created| created.buyer == request.buyer);
    Ok(match (&request.asked, &request.answer) {
        (Asked::Place { ticket: wanted, .. }, answer) if wanted == ticket => match answer {
            Answer::Reserved => {
                Some(Look::Reserved { by: not_lapsed(facts, ticket, request.from_ms) })
            }
            Answer::Sold => Some(Look::Sold),
            Answer::NoSuchTicket => Some(Look::Unknown),
            _ => None,
        },
        (Asked::Cancel { order }, Answer::Cancelled) if is_of_ticket(order) => {
            let statuses = vec![Status::Cancelled, Status::Expired];
            Some(Look::Order { order: order.clone(), version: None, statuses })
        }
        (Asked::Cancel { order }, Answer::OrderPaid) if is_of_ticket(order) => {
            let statuses = vec![Status::Paid];
            Some(Look::Order { order: order.clone(), version: None, statuses })
        }
        (Asked::Cancel { order } | Asked::Show { order }, Answer::NoSuchOrder)
            if is_of_ticket(order) && owns(order) =>
        {
            Some(Look::NoOrder { order: order.clone() })
        }
        (Asked::Cancel { order }, Answer::Cancelled | Answer::OrderPaid) => {
            let known = facts.created(order).is_some();
            require(known, || format!("{request:?} is about no order"))?;
            None
        }
        _ => None,
    })
}

/// The orders whose hold on the ticket had not lapsed at this time.
fn not_lapsed(facts: &Facts<'_>, ticket: &str, at_ms: u64) -> Vec<String> {
    let at_ms = at_ms.saturating_sub(facts.history.clock_tolerance_ms);
    let created = facts.changes.values().filter_map(|versions| versions.get(&0));
    let holding = created.filter(|it| it.ticket == ticket && it.expires_at_ms > at_ms);
    holding.map(|event| event.order.clone()).collect()
}
