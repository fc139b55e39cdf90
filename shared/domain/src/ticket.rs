//! The ticket replica: a copy of the ticket service's newest data, with the lock of this service.

use std::{fmt, str::FromStr, time::Duration};

use crate::{OrderId, Price, TicketId, Timestamp, UserId};

/// Version of a ticket, counted by the ticket service. The higher version is the newer event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketVersion(u64);

impl TicketVersion {
    /// The largest integer that every JSON parser keeps exact (RFC 8259, section 6).
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

    /// The version before this; `None` for 0.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// Title of a ticket: 1 to [`Title::MAX_CHARS`] characters, not all of them blank.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Title(String);

/// Reason why a text is not a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// The text is empty or blank.
    #[error("must not be blank")]
    Blank,
    /// The text is too long: every order keeps a copy.
    #[error("must be at most {} characters long", Title::MAX_CHARS)]
    TooLong,
}

impl Title {
    /// Maximum length, in characters.
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

/// A ticket at one version, as in its events and on its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Ticket id.
    pub id: TicketId,
    /// Title.
    pub title: Title,
    /// Price.
    pub price: Price,
    /// Version of title and price.
    pub version: TicketVersion,
}

/// Sale of a ticket at one version, as in the ticket service's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sale {
    /// The ticket is on sale.
    Open(Ticket),
    /// The sale has ended, until a newer version. Holds continue and can be paid.
    Withdrawn {
        /// Ticket id.
        id: TicketId,
        /// Version of the withdrawal.
        version: TicketVersion,
    },
}

impl Sale {
    /// Ticket id.
    #[must_use]
    pub fn id(&self) -> &TicketId {
        match self {
            Self::Open(Ticket { id, .. }) | Self::Withdrawn { id, .. } => id,
        }
    }

    /// Version of the ticket.
    #[must_use]
    pub fn version(&self) -> TicketVersion {
        match self {
            Self::Open(Ticket { version, .. }) | Self::Withdrawn { version, .. } => *version,
        }
    }

    /// The ticket, if it is on sale.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::Open(ticket) => Some(ticket),
            Self::Withdrawn { .. } => None,
        }
    }
}

/// The sale at its newest known version, with the ticket's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketReplica {
    /// Sale at the newest known version.
    pub sale: Sale,
    /// Lock of this service. Ticket events never change it.
    pub lock: Lock,
    /// Buyer whose order the lock names: a hint that saves a read of the order. `None` if unknown.
    pub locked_for: Option<UserId>,
}

/// Lock of a ticket: the order that has the ticket, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// No order has the ticket.
    Free,
    /// An order that awaits payment has the ticket until its hold lapses.
    Held {
        /// Order id.
        by: OrderId,
        /// End of the hold: the order's `expires_at`.
        until: Timestamp,
    },
    /// A paid order has the ticket permanently.
    Sold {
        /// Order id.
        to: OrderId,
    },
}

impl Lock {
    /// The order that has the ticket, if any.
    #[must_use]
    pub fn holder(self) -> Option<OrderId> {
        match self {
            Self::Free => None,
            Self::Held { by: holder, .. } | Self::Sold { to: holder } => Some(holder),
        }
    }
}

/// Type of a ticket event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// `TicketCreated`.
    Created,
    /// `TicketUpdated`.
    Updated,
    /// `TicketWithdrawn`.
    Withdrawn,
}

/// Stored versions that an incoming ticket may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketRule {
    /// Only the preceding version of a known ticket.
    Next,
    /// The preceding version, or no version (unknown ticket).
    FirstOrNext,
    /// Any older version, or no version: missing events are skipped.
    AnyNewer,
}

/// Verdict of the version rule on an incoming ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write the ticket.
    Apply,
    /// The replica has this version or a newer version: no-op.
    Stale,
    /// Events between the replica's version and the incoming version are missing.
    Gap,
}

impl TicketRule {
    /// Judges an incoming version against the stored version.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use orders_domain::{TicketVersion, UpdateKind, Verdict, rule_for};
    ///
    /// let stored = Some(TicketVersion::new(4));
    /// let first_receive = rule_for(UpdateKind::Updated, 1, Duration::ZERO);
    /// assert_eq!(first_receive.judge(stored, TicketVersion::new(5)), Verdict::Apply);
    /// assert_eq!(first_receive.judge(stored, TicketVersion::new(4)), Verdict::Stale);
    /// assert_eq!(first_receive.judge(stored, TicketVersion::new(7)), Verdict::Gap);
    ///
    /// let third_receive = rule_for(UpdateKind::Updated, 3, Duration::from_secs(10));
    /// assert_eq!(third_receive.judge(stored, TicketVersion::new(7)), Verdict::Apply);
    /// ```
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

/// Number of receives from which on an event is applied over a gap.
const RECEIVES_BEFORE_GAP: u32 = 3;
/// Age from which on an event is applied over a gap.
const AGE_BEFORE_GAP: Duration = Duration::from_secs(10);

/// Rule for an event on its nth receive, `age` after it was sent. The missing events of a gap have two
/// receives and 10 s to arrive. Then the event is applied over the gap: every event carries the whole
/// ticket. Both limits count: a queue can deliver a message twice within a moment, and an event that has
/// waited for a day can come just before the missing one.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use orders_domain::{TicketRule, UpdateKind, rule_for};
///
/// let age = Duration::from_secs(10);
/// assert_eq!(rule_for(UpdateKind::Created, 1, age), TicketRule::FirstOrNext);
/// assert_eq!(rule_for(UpdateKind::Updated, 2, age), TicketRule::Next);
/// assert_eq!(rule_for(UpdateKind::Updated, 3, age), TicketRule::AnyNewer);
/// assert_eq!(rule_for(UpdateKind::Updated, 3, Duration::from_secs(9)), TicketRule::Next);
/// ```
#[must_use]
pub fn rule_for(kind: UpdateKind, receive_count: u32, age: Duration) -> TicketRule {
    let is_patient = receive_count < RECEIVES_BEFORE_GAP || age < AGE_BEFORE_GAP;
    match kind {
        UpdateKind::Created if is_patient => TicketRule::FirstOrNext,
        UpdateKind::Updated | UpdateKind::Withdrawn if is_patient => TicketRule::Next,
        UpdateKind::Created | UpdateKind::Updated | UpdateKind::Withdrawn => TicketRule::AnyNewer,
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
    fn title_is_neither_blank_nor_too_long() {
        assert_eq!(" \t".parse::<Title>(), Err(TitleError::Blank));
        assert_eq!("é".repeat(1_001).parse::<Title>(), Err(TitleError::TooLong));
        assert_eq!("é".repeat(1_000).parse::<Title>().unwrap().as_str().chars().count(), 1_000);
    }

    #[test]
    fn title_is_written_as_read() {
        assert_eq!(" Café ".parse::<Title>().unwrap().to_string(), " Café ");
    }

    #[test]
    fn ticket_version_keeps_its_number() {
        assert_eq!(version(7).number(), 7);
    }

    #[test]
    fn lock_names_the_order_of_a_hold_or_a_sale() {
        let order = OrderId::from_bytes([1; 16]);
        assert_eq!(Lock::Held { by: order, until: Timestamp::MAX }.holder(), Some(order));
        assert_eq!(Lock::Sold { to: order }.holder(), Some(order));
        assert_eq!(Lock::Free.holder(), None);
    }

    #[test]
    fn unknown_ticket_accepts_created_but_not_updated() {
        let created = rule_for(UpdateKind::Created, 1, AGE_BEFORE_GAP);
        let updated = rule_for(UpdateKind::Updated, 1, AGE_BEFORE_GAP);
        assert_eq!(created.judge(None, version(0)), Verdict::Apply);
        assert_eq!(created.judge(None, version(7)), Verdict::Apply);
        assert_eq!(updated.judge(None, version(0)), Verdict::Gap);
        assert_eq!(updated.judge(None, version(1)), Verdict::Gap);
    }

    #[test]
    fn next_version_applies_older_is_stale_later_is_a_gap() {
        for kind in [UpdateKind::Created, UpdateKind::Updated, UpdateKind::Withdrawn] {
            let nearly = Duration::from_millis(9_999);
            for (receive_count, age) in
                [(0, AGE_BEFORE_GAP), (1, Duration::MAX), (2, Duration::MAX), (3, nearly)]
            {
                let rule = rule_for(kind, receive_count, age);
                assert_eq!(rule.judge(Some(version(4)), version(3)), Verdict::Stale);
                assert_eq!(rule.judge(Some(version(4)), version(4)), Verdict::Stale);
                assert_eq!(rule.judge(Some(version(4)), version(5)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(6)), Verdict::Gap);
            }
        }
    }

    #[test]
    fn third_receive_after_ten_seconds_applies_over_a_gap() {
        for kind in [UpdateKind::Created, UpdateKind::Updated, UpdateKind::Withdrawn] {
            for receive_count in [3, 4, u32::MAX] {
                let rule = rule_for(kind, receive_count, AGE_BEFORE_GAP);
                assert_eq!(rule.judge(None, version(9)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(9)), Verdict::Apply);
                assert_eq!(rule.judge(Some(version(4)), version(4)), Verdict::Stale);
            }
        }
    }

    proptest! {
        #[test]
        fn version_never_goes_back_under_any_rule(
            stored in proptest::option::of(any::<u64>()),
            incoming: u64,
            receive_count: u32,
            age: Duration,
        ) {
            for kind in [UpdateKind::Created, UpdateKind::Updated, UpdateKind::Withdrawn] {
                let verdict =
                    rule_for(kind, receive_count, age).judge(stored.map(version), version(incoming));
                if let Some(stored) = stored {
                    prop_assert_eq!(verdict == Verdict::Stale, incoming <= stored);
                }
            }
        }
    }
}
