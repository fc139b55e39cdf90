//! Counts of injected faults and observed results.

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
    /// An injected fault.
    Fault {
        Conflict = "a transaction conflicts for too long",
        Throttle = "the store throttles a request",
        ServerError = "the store returns 5xx",
        Slow = "every call of a function is slow",
        Hang = "the store does not reply until the call times out",
        LateEffect = "a call times out and takes effect later",
        ReplyLost = "the reply is lost after the commit",
        SentAgain = "the reply is lost and the call is sent again",
        Crash = "a function crashes between two calls",
        ResponseLost = "a response to a buyer is lost",
        DuplicateDelivery = "a message is delivered twice",
        DelayedDelivery = "a message is delivered late",
        Outage = "a message is delivered after an outage",
        SharedReceive = "two functions receive a message at once",
        DeleteLost = "a handled message is not deleted",
        VisibilityFailed = "a visibility timeout cannot be set",
        SendFailed = "an early message cannot be sent again",
        SendReplyLost = "an early message is sent again and the reply is lost",
        EventRefused = "the bus rejects some events of a call",
        PutFailed = "the bus rejects a call",
        PutReplyLost = "the bus accepts events and the reply is lost",
        ExpiryRefused = "the queue rejects some expiries of a call",
        RelaySinkFailed = "a call of the scheduler or a queue fails",
        TicketNotPublished = "a ticket version is not published",
        TicketContradicted = "a ticket version is published with other content",
        ScheduleLate = "a schedule fires late",
        ScheduleTwice = "a schedule fires twice",
        ScheduleNever = "a schedule never fires: its message is dead-lettered",
        ExpiryLost = "an expiry message disappears",
        LockDamaged = "a restore leaves a lapsed lock on a free or a sold ticket",
        ClockSkew = "a function's clock is wrong",
        PoisonMessage = "a message is invalid",
        PoisonRecord = "a stream record is invalid",
    }
}

counted! {
    /// A result of the service.
    Observed {
        Placed = "placed",
        TakenOver = "placed by takeover",
        PlacedFree = "placed as paid: a free ticket",
        PlacedAtVersion = "placed at the requested version",
        Cancelled = "awaiting -> cancelled",
        CancelledFree = "free -> cancelled",
        CancelledWhenDue = "awaiting, due -> cancelled",
        CancelledWhenExpired = "expired -> cancelled",
        Expired = "awaiting, due -> expired",
        ExpiredExtended = "extended, due -> expired",
        Extended = "awaiting -> extended",
        ExtendedLate = "awaiting -> extended, committed after the end of the hold",
        Refunded = "paid -> refunded",
        RefundSettled = "refund due -> settled",
        Paid = "awaiting -> paid",
        PaidWhenDue = "awaiting, due -> paid",
        PaidLate = "expired -> paid",
        PaidByTakeover = "expired -> paid by takeover",
        PaidAfterOutage = "paid by a payment sent in time, handled after the late limit",
        RefundWrongAmountInTime = "awaiting: refund due, wrong_amount",
        RefundAlreadyPaid = "paid: refund due, already_paid",
        RefundCancelled = "cancelled: refund due, order_cancelled",
        RefundWrongAmount = "expired: refund due, wrong_amount",
        RefundFree = "free: refund due, already_paid",
        RefundOrderRefunded = "refunded: refund due, order_refunded",
        RefundTooLate = "expired: refund due, too_late",
        RefundTicketChanged = "expired: refund due, ticket_changed",
        RefundTicketWithdrawn = "expired: refund due, ticket_changed by a withdrawal",
        RefundTicketTaken = "expired: refund due, ticket_taken",
        PaymentOfAnotherOrder = "payment of another order refused",
        TicketFirst = "first version of a ticket applied",
        TicketNext = "next version of a ticket applied",
        TicketOverGap = "version of a ticket applied over a gap",
        TicketWithdrawn = "withdrawal of a ticket applied",
        TicketWithdrawnFirst = "withdrawal applied before any other version",
        TicketReopened = "withdrawn ticket on sale again",
        TicketRefused = "version of a ticket not applied",
        ContradictionDeadLettered = "contradictory version of a ticket dead-lettered",
        Created = "201",
        CreatedAgain = "201 after a lost reply",
        Repeated = "200 to an order with a key",
        OwnOrder = "200 to an order without a key, by the buyer who has the ticket",
        Shown = "200 to a read",
        Listed = "200 to a list",
        CancelAccepted = "204",
        Unchanged = "304",
        BadRequest = "400",
        NotFound = "404",
        Withdrawn = "410",
        TicketChanged = "409 ticket changed",
        TicketBehind = "409 ticket changed, newer version requested",
        TooManyHolds = "409 too many holds",
        Reserved = "409 reserved",
        Sold = "409 sold",
        OrderPaid = "409 paid",
        KeyReused = "422",
        Unavailable = "503",
        NoResponse = "no response",
        ConcurrentRepeat = "two requests at once",
        Scheduled = "schedule created",
        ScheduleDeleted = "schedule deleted",
        ExpiryQueued = "expiry sent to its queue",
        RetryScheduled = "message retried later",
        SentAgainLater = "early message sent again with a delay",
        OutOfOrder = "message overtakes another",
        BatchRetried = "stream batch retried",
        PublishedAgain = "event published again",
        DeadLettered = "message dead-lettered",
        RecordDeadLettered = "stream record dead-lettered",
        PaymentWithoutOrder = "payment without an order",
        StartWithoutOrder = "start of a payment without an order",
        StartRepeated = "start of a payment for an extended order",
        StartLate = "start of a payment for an order that is due or over",
        RefundMade = "refund due made by the payment service",
        RefundEarly = "refund made before its payment is booked",
        RefundForAnotherOrder = "refund dead-lettered: for another order or payment",
        RefundPartial = "partial refund dead-lettered",
        PaidAfterRefund = "payment received again after its refund",
        SlotTakenOver = "lapsed slot taken over",
        ReconciledTwice = "two runs of reconcile at once",
        ReconcileExpired = "forgotten hold expired by reconcile",
        ReconcileReleased = "lock of an ended order released by reconcile",
        ReconcileMadePermanent = "lock of a paid order made permanent by reconcile",
        ReconcileOvertaken = "write of reconcile refused: order or lock have changed",
        ReconcileFailed = "ticket left out by reconcile: the store failed",
        ReconcileUnfinished = "scan of reconcile not finished",
        Forgotten = "order forgotten",
        PlacedAnew = "placed with the key of a forgotten order",
        ForgottenBooked = "event for a forgotten order, its payment is booked",
        ForgottenDeadLettered = "event for a forgotten order dead-lettered",
    }
}

/// Number of occurrences of each fault and result.
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

    /// Returns the lines of the printed table: name and count.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let faults = Fault::ALL.iter().map(|fault| fault.name()).zip(self.faults.iter().copied());
        let observed = Observed::ALL.iter().map(|observed| observed.name());
        faults.chain(observed.zip(self.observed.iter().copied()))
    }
}
