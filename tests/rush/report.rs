//! The report of a run: what buyers see, lateness, dead letters, cost, and the bottleneck.

use std::{collections::BTreeMap, fmt};

use crate::{
    meter::{Usage, ms},
    sqs::QueueName,
    world::World,
};

/// Results of a run.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) title: String,
    seconds: f64,
    pub(crate) statuses: BTreeMap<&'static str, u64>,
    pub(crate) of_bot: BTreeMap<&'static str, u64>,
    pub(crate) successes: Quantiles,
    pub(crate) responses: Quantiles,
    pub(crate) events: Quantiles,
    pub(crate) timers: Quantiles,
    pub(crate) expiries: Quantiles,
    pub(crate) payments: Quantiles,
    pub(crate) tickets: Quantiles,
    pub(crate) bought: u64,
    pub(crate) refunds_due: u64,
    queues: Vec<(QueueName, u64, u64, u32)>,
    pub(crate) dead: u64,
    /// Messages and changes that are not finished.
    pub(crate) left: usize,
    pub(crate) transactions: u64,
    pub(crate) conflicts: u64,
    throttled: u64,
    /// Transactions of the ticket with the most.
    pub(crate) of_hottest_ticket: u32,
    lambda: String,
    cost: f64,
    usage: Vec<Usage>,
}

/// Quantiles of a duration, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) p50: u32,
    pub(crate) p99: u32,
    pub(crate) max: u32,
}

impl Quantiles {
    pub(crate) fn new(values: &[u32]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let at = |per_cent: usize| sorted.get(sorted.len() * per_cent / 100).copied();
        Self {
            count: sorted.len(),
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

/// Prices of docs/costs.md, in dollars.
mod price {
    pub(super) const GATEWAY_REQUEST: f64 = 1.0e-6;
    pub(super) const INVOCATION: f64 = 0.2e-6;
    pub(super) const GB_SECOND: f64 = 13.333_4e-6;
    pub(super) const WRITE_UNIT: f64 = 0.625e-6;
    pub(super) const READ_UNIT: f64 = 0.125e-6;
    pub(super) const EVENT: f64 = 1.0e-6;
    pub(super) const SCHEDULE: f64 = 1.0e-6;
    pub(super) const SQS_REQUEST: f64 = 0.4e-6;
    /// A line of 277 bytes, at $0.50 per GB.
    pub(super) const LOG_OF_INVOCATION: f64 = 0.14e-6;
    /// The line of the access log.
    pub(super) const LOG_OF_REQUEST: f64 = 0.13e-6;
    pub(super) const LOG_OF_EVENT: f64 = 0.17e-6;
}

fn cost(world: &World) -> f64 {
    let number = |value: u64| ms(value) * 1_000.0;
    let (written, read) = world.dynamo().units();
    let requests = number(world.gateway().requests);
    let lambda = world.lambda();
    let gigabytes = f64::from(world.settings.memory_mb) / 1_024.0;
    let sqs: u64 = QueueName::ALL.iter().map(|name| world.queue(*name).requests).sum();
    let events = world.bus().events();
    requests * (price::GATEWAY_REQUEST + price::LOG_OF_REQUEST)
        + number(lambda.invocations) * (price::INVOCATION + price::LOG_OF_INVOCATION)
        + ms(lambda.billed_ms) * gigabytes * price::GB_SECOND
        + written * price::WRITE_UNIT
        + read * price::READ_UNIT
        + events * (price::EVENT + price::LOG_OF_EVENT)
        + world.scheduler().fired() * price::SCHEDULE
        + number(sqs) * price::SQS_REQUEST
}

impl Report {
    pub(crate) fn new(title: &str, world: &World) -> Self {
        let cost = cost(world);
        let seen = world.seen();
        let (dynamo, lambda) = (world.dynamo(), world.lambda());
        let mut usage = dynamo.usage();
        usage.extend(lambda.usage());
        usage.extend(world.gateway().usage());
        usage.push(world.stream.usage());
        usage.push(world.bus().usage());
        usage.extend(world.scheduler().usage());
        let mut queues = Vec::new();
        let (mut dead, mut left) = (0, world.stream.len());
        for name in QueueName::ALL {
            let queue = world.queue(name);
            usage.extend(queue.usage(name));
            queues.push((name, queue.sent, queue.receives, queue.most_receives));
            dead += queue.dead;
            left += queue.len();
        }
        // What refused first, and then what was used most.
        usage.sort_by(|one, other| {
            let refused = |usage: &Usage| usage.first_refused_ms.unwrap_or(u64::MAX);
            refused(one).cmp(&refused(other)).then(other.peak.total_cmp(&one.peak))
        });
        Self {
            title: format!("{title} [{}]", world.settings.name),
            seconds: ms(world.now_ms()),
            statuses: seen.statuses.clone(),
            of_bot: seen.of_bot.clone(),
            successes: Quantiles::new(&seen.successes),
            responses: Quantiles::new(&seen.responses),
            events: Quantiles::new(&seen.events),
            timers: Quantiles::new(&seen.timers),
            expiries: Quantiles::new(&seen.expiries),
            payments: Quantiles::new(&seen.payments),
            tickets: Quantiles::new(&seen.tickets),
            bought: seen.bought,
            refunds_due: seen.refunds_due,
            queues,
            dead,
            left,
            transactions: dynamo.transactions,
            conflicts: dynamo.conflicts,
            throttled: dynamo.throttled,
            of_hottest_ticket: dynamo.of_ticket.values().copied().max().unwrap_or_default(),
            lambda: format!(
                "{} invocations, {} cold starts, {} throttled, {} timeouts",
                lambda.invocations, lambda.cold_starts, lambda.throttles, lambda.timeouts
            ),
            cost,
            usage,
        }
    }

    /// Number of responses with one of these statuses.
    pub(crate) fn responded(&self, statuses: &[&str]) -> u64 {
        statuses.iter().filter_map(|status| self.statuses.get(status)).sum()
    }

    /// Number of responses with a 5xx.
    pub(crate) fn server_errors(&self) -> u64 {
        let is_5xx = |status: &&&str| status.starts_with('5') || **status == "other";
        self.statuses.keys().filter(is_5xx).map(|status| self.statuses[status]).sum()
    }

    /// The resource that refused first, or that was used most.
    pub(crate) fn bottleneck(&self) -> &Usage {
        &self.usage[0]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n== {} == {:.0} s simulated", self.title, self.seconds)?;
        let statuses: Vec<_> =
            self.statuses.iter().map(|(status, number)| format!("{number} x {status}")).collect();
        writeln!(f, "  {:<26}{}", "responses", statuses.join(", "))?;
        if !self.of_bot.is_empty() {
            writeln!(f, "  {:<26}{:?}", "responses to the bot", self.of_bot)?;
        }
        writeln!(f, "  {:<26}{:>9}{:>9}{:>9}{:>9}", "", "number", "p50 ms", "p99 ms", "max ms")?;
        for (name, quantiles) in [
            ("latency of successes", self.successes),
            ("latency of all but 429", self.responses),
            ("event after its commit", self.events),
            ("timer after its commit", self.timers),
            ("OrderExpired after its end", self.expiries),
            ("payment, from the bus on", self.payments),
            ("ticket, from the bus on", self.tickets),
        ] {
            let Quantiles { count, p50, p99, max } = quantiles;
            if count > 0 {
                writeln!(f, "  {name:<26}{count:>9}{p50:>9}{p99:>9}{max:>9}")?;
            }
        }
        for (name, sent, receives, most) in self.queues.iter().filter(|(_, sent, ..)| *sent > 0) {
            let name = format!("{name:?} queue");
            writeln!(f, "  {name:<26}{sent} sent, {receives} receives, at most {most} of one")?;
        }
        writeln!(
            f,
            "  {:<26}{} bought, {} refunds due; {} dead letters, {} unfinished",
            "payments", self.bought, self.refunds_due, self.dead, self.left
        )?;
        writeln!(
            f,
            "  {:<26}{} transactions, {} conflicts, {} throttled; at most {} for one ticket",
            "DynamoDB", self.transactions, self.conflicts, self.throttled, self.of_hottest_ticket
        )?;
        writeln!(f, "  {:<26}{}", "Lambda", self.lambda)?;
        writeln!(f, "  {:<26}${:.2}", "cost", self.cost)?;
        for (index, usage) in self.usage.iter().take(4).enumerate() {
            let label = if index == 0 { "bottleneck" } else { "then" };
            writeln!(f, "  {label:<26}{usage}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, peak, limit, .. } = self;
        write!(f, "{name}: {:.0} % of {limit} in the busiest second", peak * 100.0)?;
        if let Some(first) = self.first_refused_ms {
            write!(f, "; refused {} times, first at {:.1} s", self.refused, ms(first))?;
        }
        Ok(())
    }
}
