//! Parameters of a run, chosen by the seed.

use std::time::Duration;

use fastrand::Rng;
use orders_domain::SlotCount;

use crate::coverage::Fault;

/// Parameters of a run.
pub(crate) struct Plan {
    /// Hold of an order.
    pub(crate) hold: Duration,
    /// Number of unpaid tickets that one buyer can hold at once; 0 without a limit.
    pub(crate) holds_per_buyer: u8,
    /// Time after the end of a hold in which a payment can still be sent.
    pub(crate) late_limit: Duration,
    /// Time to pay from the start of a payment on; zero if no hold becomes longer.
    pub(crate) time_to_pay: Duration,
    /// Time for which orders without a sale are kept, from the end of their hold on; `None` for ever.
    pub(crate) kept: Option<Duration>,
    /// Largest error of a function's clock.
    pub(crate) skew_ms: i64,
    pub(crate) tickets: u64,
    pub(crate) buyers: u64,
    /// Actions of each buyer.
    pub(crate) actions: u64,
    rates: Vec<u64>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let hold = *rng.choice([3, 30, 30, 30, 75, 600].as_slice()).expect("a choice");
        let late_limit = *rng.choice([0, 5, 60, 600].as_slice()).expect("a choice");
        let time_to_pay = *rng.choice([0, 5, hold, 2 * hold, 300].as_slice()).expect("a choice");
        let holds_per_buyer = *rng.choice([0, 1, 1, 2, 10].as_slice()).expect("a choice");
        let kept = *rng.choice([None, None, None, Some(1), Some(10)].as_slice()).expect("a choice");
        // With all faults at once the buyers would make no progress.
        let without_faults = rng.u8(0..8) == 0;
        let rates: Vec<u64> = Fault::ALL
            .iter()
            .map(|fault| {
                let rate = rng.choice([0, 0, 0, 5, 20, 80].as_slice()).expect("a choice");
                if without_faults { 0 } else { rate * weight(*fault) / 4 }
            })
            .collect();
        let skewed = rates[Fault::ClockSkew as usize] > 0;
        Self {
            hold: Duration::from_secs(hold),
            holds_per_buyer,
            late_limit: Duration::from_secs(late_limit),
            time_to_pay: Duration::from_secs(time_to_pay),
            kept: kept.map(Duration::from_mins),
            skew_ms: if skewed { rng.i64(1..=300) } else { 0 },
            tickets: rng.u64(1..=3),
            buyers: rng.u64(2..=3),
            actions: rng.u64(2..=5),
            rates,
        }
    }

    /// Limits of the function that creates orders.
    pub(crate) fn order_limits(&self) -> create_order::Limits {
        let holds_per_buyer = SlotCount::try_from(self.holds_per_buyer).expect("a slot count");
        create_order::Limits { hold: self.hold, holds_per_buyer }
    }

    /// Limits of the function that handles payments.
    pub(crate) fn payment_limits(&self) -> payment_events::Limits {
        let (late_payment, time_to_pay) = (self.late_limit, self.time_to_pay);
        payment_events::Limits { late_payment, time_to_pay }
    }

    /// Rate of a fault, per 1,000 occasions.
    pub(crate) fn rate(&self, fault: Fault) -> u64 {
        self.rates[fault as usize]
    }
}

/// Weight of a fault, in quarters: low for a fault with many occasions.
fn weight(fault: Fault) -> u64 {
    match fault {
        Fault::Crash => 2,
        Fault::Conflict
        | Fault::Throttle
        | Fault::ServerError
        | Fault::Slow
        | Fault::Hang
        | Fault::LateEffect
        | Fault::ReplyLost
        | Fault::SentAgain
        | Fault::ResponseLost
        | Fault::SharedReceive
        | Fault::DeleteLost
        | Fault::VisibilityFailed
        | Fault::SendFailed
        | Fault::SendReplyLost
        | Fault::PutFailed
        | Fault::PutReplyLost
        | Fault::RelaySinkFailed => 4,
        Fault::DuplicateDelivery
        | Fault::DelayedDelivery
        | Fault::EventRefused
        | Fault::ExpiryRefused
        | Fault::Outage
        | Fault::TicketContradicted
        | Fault::TicketNotPublished
        | Fault::PoisonMessage
        | Fault::PoisonRecord => 8,
        Fault::ScheduleLate
        | Fault::ScheduleTwice
        | Fault::ScheduleNever
        | Fault::ExpiryLost
        | Fault::LockDamaged
        | Fault::ClockSkew => 20,
    }
}
