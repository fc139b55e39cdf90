//! Keeps what a function measures, so that a test can look at it.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// What has been measured, as `name value`, in order.
#[derive(Clone, Debug, Default)]
pub struct Measures(Arc<Mutex<Vec<String>>>);

impl Measures {
    /// What has been measured since the last look.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, key: &Key) -> Arc<Measure> {
        Arc::new(Measure { name: key.name().to_owned(), all: self.clone() })
    }
}

struct Measure {
    name: String,
    all: Measures,
}

impl Measure {
    fn note(&self, value: &dyn std::fmt::Display) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(format!("{} {value}", self.name));
    }
}

impl CounterFn for Measure {
    fn increment(&self, value: u64) {
        self.note(&value);
    }

    fn absolute(&self, value: u64) {
        self.note(&value);
    }
}

impl HistogramFn for Measure {
    fn record(&self, value: f64) {
        self.note(&value);
    }
}

impl Recorder for Measures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}
