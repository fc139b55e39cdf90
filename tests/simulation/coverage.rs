//! What a run can meet and what can come of it, each with a count.

macro_rules! counted {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $kind { $($variant),* }

        impl $kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

counted! {
    /// What goes wrong.
    Fault {
        Conflict = "a transaction conflicts for too long",
        Throttle = "the store is throttled",
        ServerError = "the store answers 5xx",
        Slow = "every call of a function is slow",
        Hang = "the store hangs until the call times out",
        LateEffect = "a call times out and takes effect later",
        ReplyLost = "the reply is lost after the commit",
        Crash = "a function crashes between two calls",
        AnswerLost = "the buyer never hears the answer",
        DuplicateDelivery = "a message is delivered twice",
        DelayedDelivery = "a message is delivered late",
        SharedReceive = "two functions receive a message at once",
        DeleteLost = "a handled message is not deleted",
        HideFailed = "a message's wait cannot be set",
        EventRefused = "the bus refuses some events of a call",
        PutFailed = "the bus refuses a call",
        PutReplyLost = "the bus takes events and the reply is lost",
        ExpiryRefused = "the queue refuses some expiries of a call",
        RelaySinkFailed = "an expiry cannot be set, or a record not buried",
        TicketUntold = "a ticket's version is never told",
        ScheduleLate = "a schedule fires late",
        ScheduleTwice = "a schedule fires twice",
        ScheduleNever = "a schedule never fires: its message is dead-lettered",
        ClockSkew = "a function's clock is off",
        PoisonMessage = "a message makes no sense",
        PoisonRecord = "a stream record makes no sense",
    }
}

counted! {
    /// What happens.
    Observed {
        Placed = "placed",
        TakenOver = "placed by takeover",
        Cancelled = "awaiting -> cancelled",
        CancelledWhenDue = "awaiting, due -> cancelled",
        Expired = "awaiting, due -> expired",
        Paid = "awaiting -> paid",
        PaidWhenDue = "awaiting, due -> paid",
        PaidLate = "expired -> paid",
        RefundAlreadyPaid = "paid: refund due",
        RefundCancelled = "cancelled: refund due",
        RefundTaken = "expired: refund due",
        TicketFirst = "a ticket becomes known",
        TicketNext = "a ticket's next version",
        TicketOverGap = "a ticket's version over a gap",
        TicketRefused = "a ticket's version does not apply",
        Created = "201",
        Repeated = "201 to a repeat",
        Shown = "200",
        Listed = "200 to a list",
        Let = "204",
        Unchanged = "304",
        BadRequest = "400",
        NotFound = "404",
        Reserved = "409 reserved",
        Sold = "409 sold",
        OrderPaid = "409 paid",
        KeyReused = "422",
        Unavailable = "503",
        NoAnswer = "no answer",
        DoubleClick = "double click",
        Scheduled = "an expiry is scheduled",
        Unscheduled = "a schedule is taken back",
        SentStraight = "an expiry is sent straight to its queue",
        ComesAgain = "a message waits in its queue",
        OutOfOrder = "a message overtakes another",
        RelayedAgain = "a stream batch comes again",
        PublishedAgain = "an event is published again",
        DeadLettered = "a message is dead-lettered",
        Redriven = "a dead letter is sent again",
        Buried = "a record is buried",
        ChargedForNothing = "a charge names no order",
    }
}

/// How often each was met.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    faults: Vec<u64>,
    observed: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { faults: vec![0; Fault::ALL.len()], observed: vec![0; Observed::ALL.len()] }
    }
}

impl Coverage {
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(crate) fn observed(&mut self, observed: Observed) {
        self.observed[observed as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.faults.iter_mut().zip(&other.faults) {
            *sum += count;
        }
        for (sum, count) in self.observed.iter_mut().zip(&other.observed) {
            *sum += count;
        }
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// Every line of the table: what, and how often.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let faults = Fault::ALL.iter().map(|fault| fault.name()).zip(self.faults.iter().copied());
        let observed = Observed::ALL.iter().map(|observed| observed.name());
        faults.chain(observed.zip(self.observed.iter().copied()))
    }
}
