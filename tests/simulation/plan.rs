//! Parameters of a run, chosen by the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::coverage::Fault;

/// Parameters of a run.
pub(crate) struct Plan {
    /// Hold of an order.
    pub(crate) hold: Duration,
    /// Time after the end of a hold in which a payment can still be sent.
    pub(crate) late_limit: Duration,
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
            late_limit: Duration::from_secs(late_limit),
            skew_ms: if skewed { rng.i64(1..=300) } else { 0 },
            tickets: rng.u64(1..=2),
            buyers: rng.u64(2..=3),
            actions: rng.u64(2..=5),
            rates,
        }
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
        Fault::ScheduleLate | Fault::ScheduleTwice | Fault::ScheduleNever | Fault::ClockSkew => 20,
    }
}
