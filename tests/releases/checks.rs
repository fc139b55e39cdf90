//! Checks of each write.

use orders_dynamo::TableNames;
use serde_json::Value;

use crate::{
    release::{Release, is_of_the_next_release, number, text},
    world::{Key, State},
};

/// Checks the write of an item by a release.
pub(crate) fn check_write(
    state: &mut State,
    tables: &TableNames,
    release: Release,
    key: &Key,
    new: &Value,
) -> Result<(), String> {
    let old = state.items.get(key).cloned();
    let name = || format!("{key:?}: {} to {new}", old.clone().unwrap_or_default());
    if let Some(old) = &old {
        if !release.can_read(old) {
            return Err(format!("an item that cannot be read is overwritten: {}", name()));
        }
        if !keeps_attributes(release, old, new) {
            return Err(format!("attributes of a newer release are lost: {}", name()));
        }
        if !old["channel"].is_null() && release != Release::Writes {
            state.see("an older release changes an order with the new attribute");
        }
    }
    if key.0 == tables.orders {
        let expected = old.as_ref().map_or(Some(0), |old| number(old, "version").map(|it| it + 1));
        if number(new, "version") != expected {
            return Err(format!("versions of an order have a gap: {}", name()));
        }
    }
    if let Some(old) = old.as_ref().filter(|_| key.0 == tables.tickets) {
        let holder = state.items.get(&(tables.orders.clone(), text(old, "locked_by").to_owned()));
        let is_moved = old["locked_by"] != new["locked_by"];
        if is_moved && holder.is_some_and(|holder| !release.can_read(holder)) {
            return Err(format!("a lock is released whose order cannot be read: {}", name()));
        }
    }
    if is_of_the_next_release(new) {
        if !matches!(release, Release::Writes) {
            let was = old.as_ref().is_some_and(is_of_the_next_release);
            state.see("the reading release changes an item of the next release");
            if !was {
                return Err(format!("only the next release writes new values: {}", name()));
            }
        }
        for (situation, is_seen) in [
            ("an order gets the new status", text(new, "status") == "returned"),
            ("a payment gets the new reason", text(new, "result") == "amount_too_small"),
            ("a ticket gets the new format", number(new, "schema") == Some(2)),
        ] {
            if is_seen {
                state.see(situation);
            }
        }
    }
    Ok(())
}

/// Whether attributes of the next release survive a write. Their own release removes `audience`.
fn keeps_attributes(release: Release, old: &Value, new: &Value) -> bool {
    let is_kept = |name: &str| old[name].is_null() || old[name] == new[name];
    let is_own = matches!(release, Release::Writes);
    is_kept("channel")
        && (is_own || is_kept("audience") && is_kept("schema"))
        && refunds(old).len() <= refunds(new).len()
        && refunds(old).iter().zip(refunds(new)).all(|(old, new)| is_same_refund(old, new))
}

fn refunds(item: &Value) -> &[Value] {
    item["refunds_due"]["L"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether two refunds have the same attributes, but perhaps another state.
fn is_same_refund(old: &Value, new: &Value) -> bool {
    let without_state = |refund: &Value| {
        let mut refund = refund["M"].clone();
        refund.as_object_mut().map(|attributes| attributes.remove("state"));
        refund
    };
    without_state(old) == without_state(new)
}

/// Checks that each ticket is locked by its one live order, or free.
pub(crate) fn check_tickets(state: &State, tables: &TableNames) -> Result<(), String> {
    let is_live = |order: &&Value| matches!(text(order, "status"), "awaiting_payment" | "paid");
    let orders = || state.items.iter().filter(|((table, _), _)| *table == tables.orders);
    for ((_, id), ticket) in state.items.iter().filter(|((table, _), _)| *table == tables.tickets) {
        let own =
            orders().map(|(_, order)| order).filter(|it| text(&it["ticket"]["M"], "id") == id);
        let live: Vec<&str> = own.filter(is_live).map(|order| text(order, "id")).collect();
        let holder = Some(text(ticket, "locked_by")).filter(|holder| !holder.is_empty());
        if live != holder.into_iter().collect::<Vec<_>>() {
            return Err(format!("ticket {id} is locked by {holder:?}; its live orders: {live:?}"));
        }
    }
    Ok(())
}
