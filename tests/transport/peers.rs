//! The servers of the tests, each serving one connection on a port of its own.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mod_audio_stream::transport::{
    ConnectError, ConnectOptions, Connection, Endpoint, Incoming, Outbox, OutboxLimits, TlsProfiles, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub use crate::wire::frame;

/// Far beyond anything that should happen: only a hang comes near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing happened"))
}

/// Serves one TCP connection with `handler`.
pub async fn raw<F, T>(handler: impl FnOnce(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { handler(listener.accept().await.unwrap().0).await }))
}

/// Serves one WebSocket connection with `handler`.
pub async fn websocket<F, T>(
    handler: impl FnOnce(WebSocketStream<TcpStream>) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    raw(|stream| async { handler(tokio_tungstenite::accept_async(stream).await.unwrap()).await }).await
}

/// Serves one connection that is upgraded by hand; the stream then carries raw frames.
pub async fn upgraded<F, T>(handler: impl FnOnce(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    raw(|mut stream| async {
        let request = read_request(&mut stream).await;
        stream.write_all(answer(&request).as_bytes()).await.unwrap();
        handler(stream).await
    })
    .await
}

pub async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

pub fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The proper answer to an upgrade request.
pub fn answer(request: &str) -> String {
    let key = derive_accept_key(header(request, "Sec-WebSocket-Key").unwrap().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    )
}

/// Reads until the client's side ends.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

pub fn outbox() -> Outbox {
    Outbox::new(OutboxLimits::default())
}

pub async fn dial(url: &str, options: &ConnectOptions) -> Result<Connection, ConnectError> {
    let endpoint = Endpoint::parse(url).unwrap();
    patiently("connecting", connect(&endpoint, options, &TlsProfiles::default(), &AtomicBool::new(false))).await
}

pub async fn connected(address: SocketAddr) -> Connection {
    dial(&format!("ws://{address}/"), &ConnectOptions::default()).await.unwrap()
}

/// The same, to a server that may send so many messages a second.
pub async fn connected_within(address: SocketAddr, max_messages_per_s: u32) -> Connection {
    let options = ConnectOptions { max_messages_per_s, ..ConnectOptions::default() };
    dial(&format!("ws://{address}/"), &options).await.unwrap()
}

/// The next thing that comes, with nothing to send.
pub async fn next(connection: &mut Connection) -> Incoming {
    patiently("waiting for a message", connection.drive(&mut outbox())).await
}

/// Sends what waits, for a moment, while nothing is expected to come.
pub async fn drive_briefly(connection: &mut Connection, outbox: &mut Outbox) {
    let came = tokio::time::timeout(Duration::from_millis(20), connection.drive(outbox)).await;
    assert!(came.is_err(), "{came:?} was not expected");
}
