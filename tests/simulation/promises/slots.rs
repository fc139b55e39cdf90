//! Checks of promise 17: the slots of a buyer, after each write of one of the buyer's orders.

use std::collections::BTreeSet;

use orders_domain::{Order, OrderId, Slot, SlotCount, Slots, Status, Timestamp, UserId};

use super::{Change, Promises};
use crate::{coverage::Observed, world::timestamp};

impl Promises {
    /// Checks that a new order occupies a free slot. Returns what it observed.
    pub(super) fn slot_taken(&mut self, order: &Order) -> Option<Observed> {
        let (id, limit) = (order.id, self.holds_per_buyer);
        let Some(slot) = order.slot else {
            self.require(limit == 0, || format!("promise 17: {id} has no slot"));
            return None;
        };
        self.require(slot.number() < limit, || format!("promise 17: {id} has {slot:?}"));
        let earlier: Vec<OrderId> = self
            .orders
            .values()
            .filter(|other| {
                other.user_id == order.user_id && other.slot == Some(slot) && is_unpaid(other)
            })
            .filter(|other| !self.without_slot.contains(&other.id))
            .map(|other| other.id)
            .collect();
        for earlier in &earlier {
            let is_due = self.orders[earlier].is_due(order.created_at);
            self.require(is_due, || format!("promise 17: {id} and {earlier} have {slot:?}"));
            self.without_slot.insert(*earlier);
        }
        (!earlier.is_empty()).then_some(Observed::SlotTakenOver)
    }

    /// Checks that the occupied slots of a buyer are those of the unpaid orders that are not due. A
    /// lapsed slot is free, whatever is stored.
    pub(crate) fn slots_written(
        &mut self,
        changes: &[Change],
        slots: Vec<(UserId, Slots)>,
        now_ms: u64,
    ) {
        // From this time on, an order is due by every clock.
        let at = timestamp(now_ms + self.skew_ms);
        for (user_id, slots) in slots {
            let known = self.slot_states.get(&user_id).and_then(|states| states.last());
            let is_changed = known.is_none_or(|(_, known)| *known != slots);
            let has_change = changes.iter().any(|change| change.after.user_id == user_id);
            let is_empty = slots == Slots::default();
            self.require(!is_changed || has_change || is_empty, || {
                format!("promise 17: the slots of {user_id} changed alone to {slots:?}")
            });
            let occupied = occupied(&slots, at);
            let held = self.held_slots(&user_id, at);
            self.require(occupied == held, || {
                format!("promise 17: {user_id} occupies {occupied:?}, and holds {held:?}")
            });
            let limit = usize::from(self.holds_per_buyer);
            self.require(limit == 0 || held.len() <= limit, || {
                format!("promise 17: {user_id} holds {held:?}")
            });
            if is_changed {
                self.slot_states.entry(user_id).or_default().push((now_ms, slots));
            }
        }
    }

    /// Slots and ends of the buyer's unpaid orders that are not due.
    fn held_slots(&self, user_id: &UserId, at: Timestamp) -> BTreeSet<(Slot, Timestamp)> {
        let orders = self.orders.values().filter(|order| {
            order.user_id == *user_id
                && is_unpaid(order)
                && !order.is_due(at)
                && !self.without_slot.contains(&order.id)
        });
        orders.filter_map(|order| Some((order.slot?, order.expires_at))).collect()
    }

    /// Checks that no slot is leaked: after the end, each occupied slot is that of a free ticket.
    pub(super) fn check_slots(&mut self, slots: Vec<(UserId, Slots)>, now: Timestamp) {
        for (user_id, slots) in slots {
            let (occupied, held) = (occupied(&slots, now), self.held_slots(&user_id, now));
            self.require(occupied == held, || {
                format!("promise 17: {user_id} occupies {occupied:?} at the end")
            });
        }
    }

    pub(super) fn buyers(&self) -> BTreeSet<UserId> {
        self.orders.values().map(|order| order.user_id.clone()).collect()
    }

    /// Whether all slots of the buyer were occupied at some moment between two times.
    pub(super) fn had_no_free_slot(&self, buyer: &str, from_ms: u64, to_ms: u64) -> bool {
        let states = self.slot_states.iter().find(|(user_id, _)| user_id.as_str() == buyer);
        let states = states.map_or(&[][..], |(_, states)| states.as_slice());
        let ends = states.iter().skip(1).map(|(from_ms, _)| *from_ms).chain([to_ms]);
        let limit = usize::from(self.holds_per_buyer);
        let earliest = timestamp(from_ms.saturating_sub(self.skew_ms));
        limit > 0
            && states.iter().zip(ends).any(|((_, slots), end_ms)| {
                end_ms >= from_ms && occupied(slots, earliest).len() >= limit
            })
    }
}

/// Whether the order occupies its slot until `expires_at`.
fn is_unpaid(order: &Order) -> bool {
    match order.status {
        Status::AwaitingPayment | Status::Free => true,
        Status::Paid { .. } | Status::Cancelled | Status::Expired | Status::Refunded { .. } => {
            false
        }
    }
}

fn occupied(slots: &Slots, at: Timestamp) -> BTreeSet<(Slot, Timestamp)> {
    let all = (0..SlotCount::MAX).filter_map(Slot::new);
    let all = all.filter_map(|slot| Some((slot, slots.occupied_until(slot)?)));
    all.filter(|(_, until)| *until > at).collect()
}
