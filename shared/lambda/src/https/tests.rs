use aws_smithy_types::byte_stream::ByteStream;
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

/// A server that is this host by what the authority says. It answers with the number of the connection,
/// so many requests on each. Returns its port.
async fn serve(authority: &Authority, host: &str, requests: usize) -> u16 {
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
        for connection in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{connection}");
            for _ in 0..requests {
                assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    port
}

/// Asks localhost, at that port.
async fn ask(connector: &SharedHttpConnector, port: u16) -> Result<String, ConnectorError> {
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_uri(format!("https://localhost:{port}/")).unwrap();
    let mut answer = connector.call(request).await?;
    let body = ByteStream::new(answer.take_body()).collect().await.unwrap();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_connection_to_a_trusted_server_stays_open_for_the_next_request() {
    let authority = authority();
    let port = serve(&authority, "localhost", 2).await;
    let connector = connector(authority.pem().as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&connector, port).await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_server_is_not_trusted_that_another_authority_vouches_for_or_that_is_another_host() {
    let (trusted, other) = (authority(), authority());
    let connector = connector(trusted.pem().as_bytes()).unwrap();
    for port in [serve(&other, "localhost", 1).await, serve(&trusted, "example.com", 1).await] {
        let error = ask(&connector, port).await.unwrap_err();
        assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_after_which_the_sdk_tries_again() {
    let authority = authority();
    let port = serve(&authority, "localhost", 0).await;
    let connector = connector(authority.pem().as_bytes()).unwrap();
    assert!(ask(&connector, port).await.unwrap_err().is_io());
}

#[test]
fn what_is_no_certificate_is_no_root() {
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for roots in ["", garbled, "-----BEGIN CERTIFICATE-----\n?"] {
        assert!(connector(roots.as_bytes()).is_err(), "{roots}");
    }
}
