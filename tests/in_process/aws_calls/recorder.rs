//! Who counts what is asked of AWS, and the units that it takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::{Value, json};

/// What was asked for since the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// How often each operation was asked for. Of a transaction, the number of its writes is a part of
    /// its name.
    operations: BTreeMap<String, usize>,
    /// The capacity units that DynamoDB says it has taken, read and written.
    units: (f64, f64),
}

impl Entries {
    pub(crate) fn sums(&self, what: &'static str) -> (&'static str, usize, f64, f64) {
        let (read, written) = self.units;
        (what, self.operations.values().sum(), read, written)
    }
}

impl Ledger {
    /// Enters a request for an operation on what is in this field of it, if it is there.
    pub(crate) fn enter_batch(&self, operation: &str, request: &Value, field: &str) {
        let name = match request[field].as_array() {
            Some(entries) => {
                // What 1 KB is taken for. As JSON it is longer than AWS counts it.
                assert!(entries.iter().all(|entry| entry.to_string().len() < 1_024));
                format!("{operation} of {}", entries.len())
            }
            None => operation.to_owned(),
        };
        *self.0.lock().unwrap().operations.entry(name).or_default() += 1;
    }

    fn enter_units(&self, operation: &str, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units: f64 = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let entries = &mut self.0.lock().unwrap().units;
        let (read, written) = entries;
        *(if matches!(operation, "GetItem" | "Query") { read } else { written }) += units;
    }

    pub(crate) fn take(&self) -> Entries {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Looks that just this was asked for since the last look: these operations, and as many units
    /// read and written.
    #[track_caller]
    pub(crate) fn has(&self, expected: &[(&str, usize)], units: (f64, f64)) {
        let entries = self.take();
        let asked: Vec<_> =
            entries.operations.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!((&asked[..], entries.units), (expected, units));
    }
}

/// Keeps the ledger of the requests to DynamoDB, and forwards them; asks what each has consumed.
#[derive(Clone, Debug)]
pub(crate) struct CallRecorder<Inner> {
    pub(crate) inner: Inner,
    pub(crate) ledger: Ledger,
}

impl HttpClient for CallRecorder<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(CallRecorder { inner, ledger: self.ledger.clone() })
    }
}

impl HttpConnector for CallRecorder<SharedHttpConnector> {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.split_once('.').unwrap().1.to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.ledger.enter_batch(&operation, &body, "TransactItems");
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let text = body.to_string();
        request.headers_mut().insert("content-length", text.len().to_string());
        *request.body_mut() = SdkBody::from(text);
        let (answer, ledger) = (self.inner.call(request), self.ledger.clone());
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body = ByteStream::new(answer.take_body()).collect().await.unwrap().into_bytes();
            ledger.enter_units(&operation, &serde_json::from_slice(&body).unwrap());
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        })
    }
}
