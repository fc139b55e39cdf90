use std::time::Duration;

use aws_sdk_dynamodb::config::{Credentials, Region, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::http_client_fn;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Who says of servers who they are.
fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that is this host by what the authority says. It answers with these statuses on its first
/// connection until either side closes it; with those on its second, and so on. Returns its port.
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
                let response = format!("HTTP/1.1 {status} It\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

/// Asks localhost, at that port, so often, by the SDK, which trusts this authority. The last answer, or
/// what went wrong.
async fn ask(authority: &Authority, port: u16, times: usize) -> Result<(), String> {
    let connector = connector(authority.pem().as_bytes()).unwrap();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(format!("https://localhost:{port}"))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .build();
    let dynamodb = aws_sdk_dynamodb::Client::from_conf(config);
    for _ in 0..times {
        dynamodb.list_tables().send().await.map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_to_a_trusted_server_stays_open_for_the_next_request() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[200, 200, 200]]).await;
    ask(&authority, port, 3).await.unwrap();
}

#[tokio::test]
async fn a_server_is_not_trusted_that_another_authority_vouches_for_or_that_is_another_host() {
    const ENOUGH: &[&[u16]] = &[&[200], &[200], &[200]];
    let (trusted, other) = (authority(), authority());
    for port in
        [serve(&other, "localhost", ENOUGH).await, serve(&trusted, "example.com", ENOUGH).await]
    {
        let error = ask(&trusted, port, 1).await.unwrap_err();
        assert!(error.contains("InvalidCertificate"), "{error}");
    }
}

#[tokio::test]
async fn after_a_connection_broke_the_sdk_tries_again_by_another() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[], &[200]]).await;
    ask(&authority, port, 1).await.unwrap();
}

#[tokio::test]
async fn after_a_5xx_the_sdk_tries_again_by_another_connection() {
    let authority = authority();
    let port = serve(&authority, "localhost", &[&[500, 500, 500], &[200]]).await;
    ask(&authority, port, 1).await.unwrap();
}

#[test]
fn what_is_no_certificate_is_no_root() {
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for roots in ["", garbled, "-----BEGIN CERTIFICATE-----\n?"] {
        assert!(connector(roots.as_bytes()).is_err(), "{roots}");
    }
}
