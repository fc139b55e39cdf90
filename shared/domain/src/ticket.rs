//! The ticket replica: what the ticket service last said, and who holds the ticket here.

use std::{fmt, str::FromStr};

use crate::{OrderId, Price, TicketId, Timestamp};

/// The ticket service's count of a ticket's changes. It decides which of two events is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketVersion(u64);

impl TicketVersion {
    /// The largest whole number that every reader of JSON keeps exact (RFC 8259, section 6).
    pub const MAX: Self = Self(9_007_199_254_740_991);

    /// The version with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The version's number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The version just before; none before 0.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// What a ticket is called: 1 to [`Title::MAX_CHARS`] characters, not all of them blank.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Title(String);

/// Why a text is not a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// The text has no characters but blanks.
    #[error("must not be blank")]
    Blank,
    /// The text is too long to keep on every order.
    #[error("must be at most {} characters long", Title::MAX_CHARS)]
    TooLong,
}

impl Title {
    /// The longest title, in characters.
    pub const MAX_CHARS: usize = 1_000;

    /// The title as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Title {
    type Err = TitleError;

    fn from_str(text: &str) -> Result<Self, TitleError> {
        if text.trim().is_empty() {
            Err(TitleError::Blank)
        } else if text.chars().count() > Self::MAX_CHARS {
            Err(TitleError::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A ticket as it was at one version: what its events carry and what an order keeps for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which ticket.
    pub id: TicketId,
    /// What it is called.
    pub title: Title,
    /// What it costs.
    pub price: Price,
    /// The version that says so.
    pub version: TicketVersion,
}

/// The ticket at its newest known version, with its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketReplica {
    /// What the ticket service last said.
    pub ticket: Ticket,
    /// Which order has the ticket. Ticket events never change it.
    pub lock: Lock,
}

/// Which order has a ticket, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// No order has it.
    Free,
    /// An order that awaits payment has it, until its hold lapses.
    Held {
        /// The order that has it.
        by: OrderId,
        /// When the hold lapses; the order's `expires_at`.
        until: Timestamp,
    },
    /// A paid order has it for good.
    Sold {
        /// The order that has it.
        to: OrderId,
    },
}

/// What a lock means to a buyer who wants the ticket now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can be locked.
    Free,
    /// It can be taken over: this order's hold has lapsed, though nothing has expired the order yet.
    Lapsed(OrderId),
    /// Somebody holds it.
    Reserved {
        /// When the hold lapses.
        until: Timestamp,
    },
    /// Somebody has paid for it.
    Sold,
}

impl Lock {
    /// The order that has the ticket.
    #[must_use]
    pub fn holder(self) -> Option<OrderId> {
        match self {
            Self::Free => None,
            Self::Held { by: holder, .. } | Self::Sold { to: holder } => Some(holder),
        }
    }

    /// What the lock means at this moment. A hold has lapsed from `until` on.
    #[must_use]
    pub fn availability(self, now: Timestamp) -> Availability {
        match self {
            Self::Free => Availability::Free,
            Self::Held { by, until } if until <= now => Availability::Lapsed(by),
            Self::Held { until, .. } => Availability::Reserved { until },
            Self::Sold { .. } => Availability::Sold,
        }
    }
}

/// Which ticket event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// `TicketCreated`.
    Created,
    /// `TicketUpdated`.
    Updated,
}

/// Which stored versions an incoming ticket may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketRule {
    /// Only the version just before; the ticket must be known.
    Next,
    /// The version just before, or nothing at all.
    FirstOrNext,
    /// Any older version, or nothing at all: the events between are given up on.
    AnyNewer,
}

/// What the version rule says of an incoming ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Apply,
    /// The replica has this version or a newer one: nothing to do.
    Stale,
    /// Events between the replica's version and this one are missing.
    Gap,
}

impl TicketRule {
    /// Judges an incoming version against the stored one.
    #[must_use]
    pub fn judge(self, stored: Option<TicketVersion>, incoming: TicketVersion) -> Verdict {
        let applies = match (self, stored) {
            (_, Some(stored)) if incoming <= stored => return Verdict::Stale,
            (Self::AnyNewer, _) | (Self::FirstOrNext, None) => true,
            (Self::Next, None) => false,
            (Self::Next | Self::FirstOrNext, Some(_)) => incoming.previous() == stored,
        };
        if applies { Verdict::Apply } else { Verdict::Gap }
    }
}

/// The rule for an event on its nth receive. A gap is given two chances to close by itself: each
/// event carries the whole ticket, so from the third receive on it is applied over the gap.
#[must_use]
pub fn rule_for(kind: UpdateKind, receive_count: u32) -> TicketRule {
    match kind {
        UpdateKind::Created | UpdateKind::Updated if receive_count >= 3 => TicketRule::AnyNewer,
        UpdateKind::Created => TicketRule::FirstOrNext,
        UpdateKind::Updated => TicketRule::Next,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(number: u64) -> TicketVersion {
        TicketVersion::new(number)
    }

    #[test]
    fn a_title_is_not_blank_and_not_endless() {
        assert_eq!(" \t".parse::<Title>(), Err(TitleError::Blank));
        assert_eq!("é".repeat(1_001).parse::<Title>(), Err(TitleError::TooLong));
        assert_eq!("é".repeat(1_000).parse::<Title>().unwrap().as_str().chars().count(), 1_000);
    }

    #[test]
    fn a_title_is_written_as_it_was_read() {
        assert_eq!(" Café ".parse::<Title>().unwrap().to_string(), " Café ");
    }

    #[test]
    fn a_version_is_the_number_that_the_ticket_service_sent() {
        assert_eq!(version(7).number(), 7);
    }

    #[test]
    fn a_ticket_is_with_the_order_that_holds_it_or_has_bought_it() {
        let order = OrderId::from_bytes([1; 16]);
        assert_eq!(Lock::Held { by: order, until: Timestamp::MAX }.holder(), Some(order));
        assert_eq!(Lock::Sold { to: order }.holder(), Some(order));
        assert_eq!(Lock::Free.holder(), None);
    }

    #[test]
    fn a_hold_lapses_at_its_last_millisecond_and_a_sale_never() {
        let order = OrderId::from_bytes([1; 16]);
        let at = |ms| Timestamp::from_epoch_ms(ms).unwrap();
        let held = Lock::Held { by: order, until: at(100) };
        assert_eq!(held.availability(at(99)), Availability::Reserved { until: at(100) });
        assert_eq!(held.availability(at(100)), Availability::Lapsed(order));
        assert_eq!(Lock::Sold { to: order }.availability(Timestamp::MAX), Availability::Sold);
        assert_eq!(Lock::Free.availability(at(0)), Availability::Free);
    }

    #[test]
    fn a_created_ticket_may_be_the_first_and_an_updated_one_may_not() {
        let created = rule_for(UpdateKind::Created, 1);
        let updated = rule_for(UpdateKind::Updated, 1);
        assert_eq!(created.judge(None, version(0)), Verdict::Apply);
        assert_eq!(created.judge(None, version(7)), Verdict::Apply);
        assert_eq!(updated.judge(None, version(0)), Verdict::Gap);
        assert_eq!(updated.judge(None, version(1)), Verdict::Gap);
    }

    #[test]
    fn the_next_version_applies_an_older_one_is_stale_a_later_one_is_a_gap() {
        for kind in [UpdateKind::Created, UpdateKind::Updated] {
            for receive_count in [0, 1, 2] {
                let rule = rule_for(kind, receive_count);
                assert_eq!(rule.judge(Some(version(4)), version(3)), Verdict::Stale);
                assert_eq!(rule.judge(Some(version(4)), version(4)), Verdict::Stale);
                assert_eq!(rule.judge(Some(version(4)), version(5)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(6)), Verdict::Gap);
            }
        }
    }

    #[test]
    fn from_the_third_receive_on_a_gap_is_given_up_on() {
        for kind in [UpdateKind::Created, UpdateKind::Updated] {
            for receive_count in [3, 4, u32::MAX] {
                let rule = rule_for(kind, receive_count);
                assert_eq!(rule.judge(None, version(9)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(9)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(4)), Verdict::Stale);
            }
        }
    }

    proptest! {
        #[test]
        fn no_rule_ever_lets_a_version_go_back(
            stored in proptest::option::of(any::<u64>()),
            incoming: u64,
            receive_count: u32,
        ) {
            for kind in [UpdateKind::Created, UpdateKind::Updated] {
                let verdict = rule_for(kind, receive_count).judge(stored.map(version), version(incoming));
                if let Some(stored) = stored {
                    prop_assert_eq!(verdict == Verdict::Stale, incoming <= stored);
                }
            }
        }
    }
}
