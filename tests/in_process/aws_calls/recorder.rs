//! Recorder of AWS calls and their capacity units.

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

/// The calls since the last check.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallLog(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Number of calls by operation. The name includes the number of entries of a batch or
    /// transaction.
    operations: BTreeMap<String, usize>,
    /// Capacity units reported by DynamoDB, read and written.
    units: (f64, f64),
}

impl Calls {
    pub(crate) fn totals(&self, name: &'static str) -> (&'static str, usize, f64, f64) {
        let (read, written) = self.units;
        (name, self.operations.values().sum(), read, written)
    }
}

impl CallLog {
    /// Records a call, with the number of entries in this field of the request.
    pub(crate) fn record_batch(&self, operation: &str, request: &Value, field: &str) {
        let name = match request[field].as_array() {
            Some(entries) => {
                // DynamoDB bills up to 1 KB as one unit. The JSON form is longer than the billed
                // size.
                assert!(entries.iter().all(|entry| entry.to_string().len() < 1_024));
                format!("{operation} of {}", entries.len())
            }
            None => operation.to_owned(),
        };
        *self.0.lock().unwrap().operations.entry(name).or_default() += 1;
    }

    fn record_units(&self, operation: &str, response: &Value) {
        let consumed = &response["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units: f64 = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let (read, written) = &mut self.0.lock().unwrap().units;
        *(if matches!(operation, "GetItem" | "Query" | "Scan") { read } else { written }) += units;
    }

    pub(crate) fn take(&self) -> Calls {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Checks the operations and the units since the last check.
    #[track_caller]
    pub(crate) fn assert_calls(&self, expected: &[(&str, usize)], units: (f64, f64)) {
        let calls = self.take();
        let operations: Vec<_> =
            calls.operations.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!((&operations[..], calls.units), (expected, units));
    }
}

/// An HTTP client that records each request to DynamoDB and its consumed capacity.
#[derive(Clone, Debug)]
pub(crate) struct CallRecorder<Inner> {
    pub(crate) inner: Inner,
    pub(crate) log: CallLog,
}

impl HttpClient for CallRecorder<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(CallRecorder { inner, log: self.log.clone() })
    }
}

impl HttpConnector for CallRecorder<SharedHttpConnector> {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.split_once('.').unwrap().1.to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.log.record_batch(&operation, &body, "TransactItems");
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let text = body.to_string();
        request.headers_mut().insert("content-length", text.len().to_string());
        *request.body_mut() = SdkBody::from(text);
        let (response, log) = (self.inner.call(request), self.log.clone());
        HttpConnectorFuture::new(async move {
            let mut response = response.await?;
            let body = ByteStream::new(response.take_body()).collect().await.unwrap().into_bytes();
            log.record_units(&operation, &serde_json::from_slice(&body).unwrap());
            *response.body_mut() = SdkBody::from(body);
            Ok(response)
        })
    }
}
