//! Checks of the hold limit, over all tickets of a buyer.

use std::collections::BTreeMap;

use super::{
    super::{Event, Outcome, Request},
    Contradiction,
    index::Index,
    require,
    steps::{earliest_cancel_ms, earliest_request_ms, payment_of},
};

/// Time in which an order certainly holds its ticket unpaid, and the longest such time.
struct Hold<'a> {
    order: &'a str,
    buyer: &'a str,
    certain_ms: (u64, u64),
    possible_ms: (u64, u64),
}

/// Checks that no buyer holds more unpaid tickets than allowed, and that a buyer who is refused
/// because of the limit can have held as many.
pub(super) fn check_holds(index: &Index<'_>) -> Result<(), Contradiction> {
    let limit = index.history.holds_per_buyer;
    if limit == 0 {
        let refused = index.history.requests.iter().find(|it| it.outcome == Outcome::TooManyHolds);
        return require(refused.is_none(), || format!("{refused:?} without a limit of holds"));
    }
    let holds: Vec<Hold<'_>> =
        index.changes.values().map(|versions| hold(index, versions)).collect::<Result<_, _>>()?;
    for hold in &holds {
        let at_ms = hold.certain_ms.0;
        let held = holds.iter().filter(|other| {
            let (from_ms, to_ms) = other.certain_ms;
            other.buyer == hold.buyer && from_ms <= at_ms && at_ms < to_ms
        });
        let orders: Vec<&str> = held.map(|other| other.order).collect();
        require(orders.len() as u64 <= limit, || {
            format!("{} holds more tickets than {limit} at {at_ms}: {orders:?}", hold.buyer)
        })?;
    }
    index.history.requests.iter().try_for_each(|request| check_refusal(index, &holds, request))
}

fn check_refusal(
    index: &Index<'_>,
    holds: &[Hold<'_>],
    request: &Request,
) -> Result<(), Contradiction> {
    if request.outcome != Outcome::TooManyHolds {
        return Ok(());
    }
    let tolerance = index.history.clock_tolerance_ms;
    let possible = holds.iter().filter(|hold| {
        let (from_ms, to_ms) = hold.possible_ms;
        hold.buyer == request.buyer
            && from_ms <= request.to_ms
            && to_ms.saturating_add(tolerance) >= request.from_ms
    });
    let count = possible.count() as u64;
    require(count >= index.history.holds_per_buyer, || {
        format!("{request:?} with at most {count} holds")
    })
}

fn hold<'a>(
    index: &Index<'a>,
    versions: &BTreeMap<u64, &'a Event>,
) -> Result<Hold<'a>, Contradiction> {
    let created = versions[&0];
    let tolerance = index.history.clock_tolerance_ms;
    let placed_ms = index.placed_ms.get(created.order.as_str()).copied();
    let mut certain_end_ms = created.expires_at_ms;
    let mut possible_end_ms = created.expires_at_ms;
    for event in versions.values().skip(1) {
        let (earliest_ms, latest_ms) = match event.kind.as_str() {
            "OrderExtended" => {
                // An extension at the last moment can find the slot taken.
                let is_in_time = event.at_ms.saturating_add(tolerance) < created.expires_at_ms;
                certain_end_ms = if is_in_time { event.expires_at_ms } else { certain_end_ms };
                possible_end_ms = event.expires_at_ms;
                continue;
            }
            "OrderPaid" => (payment_of(index, event)?.at_ms, event.at_ms),
            "OrderCancelled" => (earliest_cancel_ms(index, event)?, event.at_ms),
            "OrderExpired" => (event.expires_at_ms, event.at_ms),
            _ => continue,
        };
        certain_end_ms = certain_end_ms.min(earliest_ms);
        possible_end_ms = possible_end_ms.min(latest_ms);
        break;
    }
    Ok(Hold {
        order: &created.order,
        buyer: &created.buyer,
        certain_ms: (
            placed_ms.map_or(created.at_ms, |placed_ms| placed_ms.min(created.at_ms)),
            certain_end_ms.saturating_sub(tolerance),
        ),
        possible_ms: (earliest_request_ms(index, created)?, possible_end_ms),
    })
}
