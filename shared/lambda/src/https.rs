//! The way to AWS: HTTP/1.1 by hyper, over TLS by rustls on ring.
//!
//! The SDK has a client of its own, which also speaks HTTP/2, goes through proxies and looks for the
//! system's certificates. The services that are called here need none of it, and it is a seventh of a
//! function (docs/performance.md).

use std::sync::Arc;

use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpConnector as TcpConnector, capture_connection},
    },
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::BoxError;

/// What trusts those whose certificates go back to these roots (PEM). It has no time limits of its own:
/// the SDK limits each try.
///
/// # Errors
/// If there are none, or they are garbled.
pub(crate) fn connector(roots: &[u8]) -> Result<SharedHttpConnector, BoxError> {
    let mut trusted = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots) {
        trusted.add(root?)?;
    }
    if trusted.is_empty() {
        return Err("there is no root certificate".into());
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let mut tcp = TcpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    // Plain HTTP is for an endpoint on this machine.
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let connections = Client::builder(TokioExecutor::new()).build(https.wrap_connector(tcp));
    Ok(SharedHttpConnector::new(Https(connections)))
}

/// Sends the SDK's requests by the connections that are open, or opens one.
#[derive(Debug)]
struct Https(Client<HttpsConnector<TcpConnector>, SdkBody>);

impl HttpConnector for Https {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let connection = capture_connection(&mut request);
        if let Some(of_the_sdk) = request.extensions().get::<CaptureSmithyConnection>() {
            of_the_sdk.set_connection_retriever(move || metadata(&connection));
        }
        let response = self.0.request(request);
        HttpConnectorFuture::new(async move {
            // After an error on the way the SDK tries again, and no request here does harm twice.
            let response = response.await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What lets the SDK give up a connection after a 5xx: its next try may meet another server.
fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    connection.connection_metadata().as_ref()?;
    let connection = connection.clone();
    let give_up = move || {
        if let Some(connection) = connection.connection_metadata().as_ref() {
            connection.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(give_up).build())
}

#[cfg(test)]
mod tests;
