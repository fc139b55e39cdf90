//! Slots of a buyer: the limit of unpaid tickets that one buyer holds at once.

use std::collections::BTreeMap;

use crate::Timestamp;

/// One of a buyer's slots, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

/// Number of slots of each buyer: 0 to [`SlotCount::MAX`]. 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotCount(u8);

/// The number is not a number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 0 to {}", SlotCount::MAX)]
pub struct SlotCountError;

impl Slot {
    /// The slot with this number; `None` from [`SlotCount::MAX`] on.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number < SlotCount::MAX).then_some(Self(number))
    }

    /// Number of the slot, from 0.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl SlotCount {
    /// Largest number of slots.
    pub const MAX: u8 = 50;

    /// The number of slots that the template suggests.
    pub const DEFAULT: Self = Self(10);

    /// Whether buyers may hold any number of tickets.
    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u8> for SlotCount {
    type Error = SlotCountError;

    fn try_from(count: u8) -> Result<Self, SlotCountError> {
        if count <= Self::MAX { Ok(Self(count)) } else { Err(SlotCountError) }
    }
}

/// Slots of a buyer, each with the time until which an order occupies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(BTreeMap<Slot, Timestamp>);

/// No slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSlot {
    /// Time at which the next slot becomes free.
    pub until: Timestamp,
}

impl Slots {
    /// Time until which the slot is occupied; `None` if it has never been.
    #[must_use]
    pub fn occupied_until(&self, slot: Slot) -> Option<Timestamp> {
        self.0.get(&slot).copied()
    }

    /// Occupies a slot.
    pub fn occupy(&mut self, slot: Slot, until: Timestamp) {
        self.0.insert(slot, until);
    }

    /// Frees a slot.
    pub fn free(&mut self, slot: Slot) {
        self.0.remove(&slot);
    }

    /// The free slots at this moment. A slot is free from the end of its order's hold on.
    ///
    /// # Errors
    /// [`NoSlot`] if every slot is occupied.
    pub fn free_slots(&self, count: SlotCount, now: Timestamp) -> Result<Vec<Slot>, NoSlot> {
        let is_occupied = |slot: &Slot| self.occupied_until(*slot).is_some_and(|until| until > now);
        let (occupied, free): (Vec<Slot>, Vec<Slot>) =
            (0..count.0).map(Slot).partition(is_occupied);
        let next = occupied.iter().filter_map(|slot| self.occupied_until(*slot)).min();
        match next {
            Some(until) if free.is_empty() => Err(NoSlot { until }),
            Some(_) | None => Ok(free),
        }
    }
}

impl FromIterator<(Slot, Timestamp)> for Slots {
    fn from_iter<T: IntoIterator<Item = (Slot, Timestamp)>>(slots: T) -> Self {
        Self(slots.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_epoch_ms(ms).unwrap()
    }

    fn slot(number: u8) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn slot_count_is_0_to_50() {
        for count in [0, 10, 50] {
            assert_eq!(SlotCount::try_from(count).map(|count| count.0), Ok(count));
        }
        assert_eq!(SlotCount::try_from(51), Err(SlotCountError));
        assert_eq!(Slot::new(49).map(Slot::number), Some(49));
        assert_eq!(Slot::new(50), None);
    }

    #[test]
    fn slot_is_free_from_the_end_of_its_hold_on() {
        let count = SlotCount::try_from(2).unwrap();
        let slots = Slots::from_iter([(slot(0), at(100)), (slot(1), at(50))]);
        assert_eq!(slots.free_slots(count, at(49)), Err(NoSlot { until: at(50) }));
        assert_eq!(slots.free_slots(count, at(50)), Ok(vec![slot(1)]));
        assert_eq!(slots.free_slots(count, at(100)), Ok(vec![slot(0), slot(1)]));
    }

    #[test]
    fn slot_is_occupied_until_it_is_freed() {
        let mut slots = Slots::default();
        slots.occupy(slot(3), at(100));
        assert_eq!(slots.occupied_until(slot(3)), Some(at(100)));
        slots.free(slot(3));
        assert_eq!(slots, Slots::default());
    }

    #[test]
    fn count_of_zero_is_no_limit() {
        for (count, is_unlimited) in [(0, true), (1, false), (50, false)] {
            assert_eq!(SlotCount::try_from(count).map(SlotCount::is_unlimited), Ok(is_unlimited));
        }
    }

    #[test]
    fn slot_beyond_the_count_does_not_matter() {
        let count = SlotCount::try_from(1).unwrap();
        let slots = Slots::from_iter([(slot(1), at(100))]);
        assert_eq!(slots.free_slots(count, at(0)), Ok(vec![slot(0)]));
    }
}
