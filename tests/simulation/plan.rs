//! What a seed decides from the start.

use std::time::Duration;

use fastrand::Rng;

use crate::coverage::Fault;

/// What kind of run it is.
pub(crate) struct Plan {
    /// How long an order holds its ticket.
    pub(crate) hold: Duration,
    /// How far any function's clock is off, at most.
    pub(crate) skew_ms: i64,
    pub(crate) tickets: u64,
    pub(crate) buyers: u64,
    /// What each buyer does, in steps.
    pub(crate) errands: u64,
    rates: Vec<u64>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let hold = *rng.choice([3, 30, 30, 30, 75, 600].as_slice()).expect("some");
        // Few kinds of faults at once: all at once, nothing would get anywhere.
        let calm = rng.u8(0..8) == 0;
        let rates: Vec<u64> = Fault::ALL
            .iter()
            .map(|fault| {
                let rate = rng.choice([0, 0, 0, 5, 20, 80].as_slice()).expect("some");
                if calm { 0 } else { rate * weight(*fault) / 4 }
            })
            .collect();
        let skewed = rates[Fault::ClockSkew as usize] > 0;
        Self {
            hold: Duration::from_secs(hold),
            skew_ms: if skewed { rng.i64(1..=300) } else { 0 },
            tickets: rng.u64(1..=2),
            buyers: rng.u64(2..=3),
            errands: rng.u64(2..=5),
            rates,
        }
    }

    /// How often of 1,000 times a fault strikes.
    pub(crate) fn rate(&self, fault: Fault) -> u64 {
        self.rates[fault as usize]
    }
}

/// How likely a fault is beside others, in quarters: one that can strike at every call, less.
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
        | Fault::AnswerLost
        | Fault::SharedReceive
        | Fault::DeleteLost
        | Fault::HideFailed
        | Fault::PutFailed
        | Fault::PutReplyLost
        | Fault::RelaySinkFailed => 4,
        Fault::DuplicateDelivery
        | Fault::DelayedDelivery
        | Fault::EventRefused
        | Fault::ExpiryRefused
        | Fault::TicketUntold
        | Fault::PoisonMessage
        | Fault::PoisonRecord => 8,
        Fault::ScheduleLate | Fault::ScheduleTwice | Fault::ScheduleNever | Fault::ClockSkew => 20,
    }
}
