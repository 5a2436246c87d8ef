//! Who is trusted, by whom, and what is said when not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mod_audio_stream::transport::{
    ConnectError, ConnectOptions, Connection, ErrorCode, Incoming, Payload, TlsOptions, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, crypto::ring};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::peers::*;

/// An authority, its files in a folder that goes with it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mod_audio_stream_tls_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for `name`, written as `<file>.pem` and `<file>.key`.
    fn issue(&self, file: &str, name: &str, days: (i32, i32)) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(days.0, 1, 1), rcgen::date_time_ymd(days.1, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (self.folder.join(format!("{file}.pem")), self.folder.join(format!("{file}.key")));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }

    fn server(&self, name: &str, days: (i32, i32), clients: Option<&Authority>) -> ServerConfig {
        use rustls::pki_types::pem::PemObject;
        let (cert, key) = self.issue("server", name, days);
        let chain = rustls::pki_types::CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap).collect();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let provider = Arc::new(ring::default_provider());
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
                )
            }
        };
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const VALID: (i32, i32) = (2020, 2100);

/// Serves WebSockets over TLS, echoing, until its task is dropped; handshakes that fail are passed over.
async fn serve(config: ServerConfig) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let Ok(mut peer) = tokio_tungstenite::accept_async(stream).await else { continue };
            while let Some(Ok(message)) = peer.next().await {
                if message.is_text() || message.is_binary() {
                    peer.send(message).await.unwrap();
                }
            }
        }
    });
    (address, task)
}

fn trusting(file: PathBuf) -> TlsOptions {
    TlsOptions { trust: Trust::File(file), ..TlsOptions::default() }
}

async fn dial_tls(host: &str, address: SocketAddr, tls: TlsOptions) -> Result<Connection, ConnectError> {
    let options = ConnectOptions { tls, ..ConnectOptions::default() };
    dial(&format!("wss://{host}:{}/", address.port()), &options).await
}

async fn echoes(mut connection: Connection) {
    let mut outbox = outbox();
    let text = "x".repeat(100_000);
    outbox.push(Payload::Text(text.clone())).unwrap();
    outbox.push_audio(Payload::Binary(vec![5; 320]), Duration::from_millis(20));
    assert_eq!(patiently("the echo", connection.drive(&mut outbox)).await, Incoming::Text(text.into()));
    assert_eq!(patiently("the echo", connection.drive(&mut outbox)).await, Incoming::Binary(vec![5; 320].into()));
    connection.close(1000, "");
    assert!(matches!(patiently("closing", connection.drive(&mut outbox)).await, Incoming::Closed(_)));
}

fn refused(result: Result<Connection, ConnectError>, code: ErrorCode, words: &str) {
    match result {
        Ok(_) => panic!("should have been refused: {words}"),
        Err(error) => {
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_vouched_for_by_the_ca_file_is_trusted() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("localhost", VALID, None)).await;
    echoes(dial_tls("localhost", address, trusting(authority.file())).await.unwrap()).await;
}

#[tokio::test]
async fn a_literal_address_is_verified_against_the_certificate() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("127.0.0.1", VALID, None)).await;
    echoes(dial_tls("127.0.0.1", address, trusting(authority.file())).await.unwrap()).await;
    let other = dial_tls("localhost", address, trusting(authority.file())).await;
    refused(other, ErrorCode::SslHandshakeFailed, "another name");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_by_default() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("localhost", VALID, None)).await;
    let result = dial_tls("localhost", address, TlsOptions::default()).await;
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        refused(result, ErrorCode::SslHandshakeFailed, "tls_ca ");
    } else {
        // Without any authorities on the machine nothing can be verified, and that is said instead.
        assert!(result.is_err());
    }
    let another = Authority::new();
    refused(
        dial_tls("localhost", address, trusting(another.file())).await,
        ErrorCode::SslHandshakeFailed,
        "TLS handshake",
    );
}

#[tokio::test]
async fn without_the_name_check_strangers_are_still_not_trusted() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("other.example", VALID, None)).await;
    refused(
        dial_tls("localhost", address, trusting(authority.file())).await,
        ErrorCode::SslHandshakeFailed,
        "another name",
    );
    let any_name = |file| TlsOptions { verify_hostname: false, ..trusting(file) };
    echoes(dial_tls("localhost", address, any_name(authority.file())).await.unwrap()).await;
    let stranger = Authority::new();
    refused(
        dial_tls("localhost", address, any_name(stranger.file())).await,
        ErrorCode::SslHandshakeFailed,
        "TLS handshake",
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused_even_for_any_name() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("other.example", (2020, 2021), None)).await;
    let options = TlsOptions { verify_hostname: false, ..trusting(authority.file()) };
    refused(dial_tls("localhost", address, options).await, ErrorCode::SslHandshakeFailed, "clock");
}

#[tokio::test]
async fn trusting_anything_trusts_anything() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("other.example", (2020, 2021), None)).await;
    let options = TlsOptions { trust: Trust::Anything, ..TlsOptions::default() };
    echoes(dial_tls("localhost", address, options).await.unwrap()).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_servers_that_ask() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (address, _server) = serve(authority.server("localhost", VALID, Some(&clients))).await;
    refused(
        dial_tls("localhost", address, trusting(authority.file())).await,
        ErrorCode::SslHandshakeFailed,
        "client certificate",
    );
    let (cert, key) = clients.issue("client", "freeswitch", VALID);
    let with = |cert: &Path, key: &Path| TlsOptions {
        cert_file: Some(cert.into()),
        key_file: Some(key.into()),
        ..trusting(authority.file())
    };
    echoes(dial_tls("localhost", address, with(&cert, &key)).await.unwrap()).await;
    let (wrong_cert, wrong_key) = authority.issue("wrong", "freeswitch", VALID);
    let wrong = dial_tls("localhost", address, with(&wrong_cert, &wrong_key)).await;
    refused(wrong, ErrorCode::SslHandshakeFailed, "TLS handshake");
}

#[tokio::test]
async fn unusable_tls_files_are_a_setup_error_that_names_them() {
    let authority = Authority::new();
    let (address, _server) = serve(authority.server("localhost", VALID, None)).await;
    let missing = authority.folder.join("missing.pem");
    let result = dial_tls("localhost", address, trusting(missing)).await;
    refused(result, ErrorCode::TlsInitFailed, "missing.pem");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_failed_handshake() {
    let (address, server) = raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        read_to_end(&mut stream).await;
    })
    .await;
    let options = TlsOptions { trust: Trust::Anything, ..TlsOptions::default() };
    refused(dial_tls("127.0.0.1", address, options).await, ErrorCode::SslHandshakeFailed, "does not seem to speak TLS");
    server.await.unwrap();
}

/// A connection over TLS to a server that then does `handler` with its stream.
async fn established<F>(
    handler: impl FnOnce(tokio_tungstenite::WebSocketStream<TlsStream<TcpStream>>) -> F + Send + 'static,
) -> Connection
where
    F: Future<Output = ()> + Send,
{
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(authority.server("localhost", VALID, None)));
    let (address, _server) = raw(move |stream| async move {
        handler(tokio_tungstenite::accept_async(acceptor.accept(stream).await.unwrap()).await.unwrap()).await;
    })
    .await;
    let options = TlsOptions { trust: Trust::Anything, ..TlsOptions::default() };
    dial_tls("localhost", address, options).await.unwrap()
}

#[tokio::test]
async fn a_tls_connection_cut_without_goodbye_is_a_failure() {
    let mut connection = established(|mut peer| async move {
        peer.send(Message::text("x")).await.unwrap();
        // Closes the socket under TLS: no close_notify.
        peer.get_mut().get_mut().0.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert_eq!(next(&mut connection).await, Incoming::Text("x".into()));
    let failed = next(&mut connection).await;
    assert!(matches!(&failed, Incoming::Failed(error) if error.code == ErrorCode::Io), "{failed:?}");
}

#[tokio::test]
async fn bytes_that_are_not_tls_are_a_tls_error() {
    let mut connection = established(|mut peer| async move {
        // The client is up when it speaks.
        peer.next().await.unwrap().unwrap();
        peer.get_mut().get_mut().0.write_all(&[0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let mut outbox = outbox();
    outbox.push(Payload::Text("up".into())).unwrap();
    let failed = patiently("the failure", connection.drive(&mut outbox)).await;
    assert!(matches!(&failed, Incoming::Failed(error) if error.code == ErrorCode::SslError), "{failed:?}");
}
