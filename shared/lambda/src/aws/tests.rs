use std::sync::Arc;

use aws_smithy_async::rt::sleep::SharedAsyncSleep;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Starts a server with a certificate of this authority for `host`. It responds with these statuses on its
/// first connection until either side closes it, with the next statuses on its second connection, and so
/// on. Returns its port.
async fn serve(authority: &Authority, host: &str, connections: &'static [&[u16]]) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().der().clone();
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for statuses in connections {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            for status in *statuses {
                if stream.read(&mut [0; 4_096]).await.unwrap_or(0) == 0 {
                    break;
                }
                let response = format!("HTTP/1.1 {status} Status\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

/// Sends requests to localhost by a client that trusts this authority.
async fn send(authority: &Authority, port: u16, times: usize) -> Result<(), String> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url(format!("https://localhost:{port}"))
        .http_client(client_trusting(authority.pem().as_bytes()).unwrap())
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .build();
    let dynamodb = aws_sdk_dynamodb::Client::from_conf(config);
    for _ in 0..times {
        dynamodb.list_tables().send().await.map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn http_client_keeps_its_connection_to_a_trusted_server() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[200, 200, 200]]).await;
    send(&authority, port, 3).await.unwrap();
}

#[tokio::test]
async fn http_client_rejects_another_authority_and_another_host() {
    const CONNECTIONS: &[&[u16]] = &[&[200], &[200], &[200]];
    let (trusted, other) = (authority(), authority());
    for port in [
        serve(&other, "localhost", CONNECTIONS).await,
        serve(&trusted, "example.com", CONNECTIONS).await,
    ] {
        let error = send(&trusted, port, 1).await.unwrap_err();
        assert!(error.contains("InvalidCertificate"), "{error}");
    }
}

#[tokio::test]
async fn sdk_retries_a_broken_connection_on_a_new_connection() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[], &[200]]).await;
    send(&authority, port, 1).await.unwrap();
}

#[tokio::test]
async fn sdk_retries_a_5xx_on_a_new_connection() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[500, 500, 500], &[200]]).await;
    send(&authority, port, 1).await.unwrap();
}

#[test]
fn http_client_rejects_a_file_without_valid_certificates() {
    let invalid = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", invalid, "-----BEGIN CERTIFICATE-----\n?"] {
        assert!(!are_roots(pem.as_bytes()), "{pem}");
    }
    assert!(are_roots(ROOTS));
}
