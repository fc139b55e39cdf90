//! Report of a load test.

use std::{collections::BTreeMap, time::Duration};

use orders_tests::history::{Event, History, Operation, Outcome, Request};

use crate::cpu::Cpu;

/// Figures of a load test.
pub(crate) struct Report<'a> {
    pub(crate) history: &'a History,
    pub(crate) tickets: usize,
    /// Time from the first request to the last response.
    pub(crate) duration: Duration,
    pub(crate) cpu: Cpu,
}

impl Report<'_> {
    #[expect(clippy::print_stdout, reason = "output of the load test")]
    pub(crate) fn print(&self) {
        println!(
            "{}{}{}{}",
            self.throughput(),
            self.latencies(),
            self.outcomes(),
            self.bottleneck()
        );
    }

    fn throughput(&self) -> String {
        let (requests, seconds) = (self.history.requests.len(), self.duration.as_secs_f64());
        format!(
            "{requests} requests for {} tickets in {seconds:.1} s: {:.0} a second\n",
            self.tickets,
            as_f64(requests) / seconds
        )
    }

    /// Latencies by kind of request, in milliseconds.
    fn latencies(&self) -> String {
        let mut by_kind: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for request in &self.history.requests {
            by_kind.entry(kind(request)).or_default().push(request.to_ms - request.from_ms);
        }
        for event in &self.history.events {
            if let Some((kind, since_ms)) = self.lateness_of(event) {
                by_kind.entry(kind).or_default().push(event.at_ms.saturating_sub(since_ms));
            }
        }
        let head = format!(
            "\n{:32}{:>8}{:>8}{:>8}{:>8}{:>8}\n",
            "ms", "count", "p50", "p90", "p99", "max"
        );
        let lines = by_kind.into_iter().map(|(kind, mut times)| {
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100];
            let (count, p50, p90, p99, max) = (times.len(), at(50), at(90), at(99), at(100));
            format!("{kind:32}{count:>8}{p50:>8}{p90:>8}{p99:>8}{max:>8}\n")
        });
        head + &lines.collect::<String>()
    }

    /// Start of the time after which an event arrives: the end of an expired hold, or the request that
    /// placed the order.
    fn lateness_of(&self, event: &Event) -> Option<(&'static str, u64)> {
        match event.kind.as_str() {
            "OrderExpired" => Some(("OrderExpired after its end", event.expires_at_ms)),
            "OrderCreated" => {
                let placed = |request: &&Request| {
                    matches!(request.operation, Operation::Place { .. })
                        && request.outcome.order().is_some_and(|view| view.order == event.order)
                };
                let request = self.history.requests.iter().find(placed)?;
                Some(("OrderCreated after its request", request.from_ms))
            }
            _ => None,
        }
    }

    fn outcomes(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &self.history.events {
            *counts.entry(&event.kind).or_default() += 1;
        }
        let unknown =
            self.history.requests.iter().filter(|it| it.outcome == Outcome::Unknown).count();
        let lines = counts.iter().map(|(kind, count)| format!("{count:>8}  {kind}\n"));
        format!("\n{}{unknown:>8}  unknown outcomes, repeated\n", lines.collect::<String>())
    }

    /// CPU time by process group.
    fn bottleneck(&self) -> String {
        let Cpu { emulator, functions, buyers } = self.cpu;
        let all = (emulator + functions + buyers).max(1);
        let requests = self.history.requests.len().max(1) as u64;
        let line = |name, used: u64| {
            format!(
                "{name:12}{:>8}.{:02} s{:>6} %{:>10} us a request\n",
                used / 100,
                used % 100,
                used * 100 / all,
                used * 10_000 / requests
            )
        };
        format!(
            "\nCPU time\n{}{}{}",
            line("emulator", emulator),
            line("functions", functions),
            line("buyers", buyers)
        )
    }
}

fn kind(request: &Request) -> &'static str {
    match (&request.operation, &request.outcome) {
        (_, Outcome::Unknown) => "unknown",
        (Operation::Place { .. }, Outcome::Placed(_) | Outcome::Order(_)) => "order: placed",
        (Operation::Place { .. }, Outcome::Reserved) => "order: reserved",
        (Operation::Place { .. }, Outcome::Sold) => "order: sold",
        (Operation::Cancel { .. }, _) => "cancel",
        (Operation::Show { .. }, _) => "show",
        _ => "other",
    }
}

#[expect(clippy::cast_precision_loss, reason = "approximate figures for people")]
fn as_f64(number: usize) -> f64 {
    number as f64
}
