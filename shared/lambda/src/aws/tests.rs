use std::sync::Arc;

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

/// Starts a server for `localhost` with a certificate of this authority. It accepts one connection and
/// responds to each request with 200. Returns its port.
async fn serve(authority: &Authority) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
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
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        while stream.read(&mut [0; 4_096]).await.unwrap_or(0) > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
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
        .retry_config(RetryConfig::disabled())
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
    let port = serve(&authority).await;
    send(&authority, port, 3).await.unwrap();
}

#[tokio::test]
async fn http_client_rejects_a_server_of_another_authority() {
    let (trusted, other) = (authority(), authority());
    let error = send(&trusted, serve(&other).await, 1).await.unwrap_err();
    assert!(error.contains("InvalidCertificate"), "{error}");
}

#[test]
fn http_client_rejects_a_file_without_valid_certificates() {
    let invalid = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", invalid, "-----BEGIN CERTIFICATE-----\n?"] {
        assert!(!are_roots(pem.as_bytes()), "{pem}");
    }
    assert!(are_roots(ROOTS));
}
