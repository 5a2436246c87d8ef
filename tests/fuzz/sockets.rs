//! Bytes on real connections: a server's answer to the handshake and the frames behind it, and requests to the module's own pages.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::StatusCode;
use mod_audio_stream::transport::{
    ConnectOptions, Endpoint, HttpListener, Incoming, ListenAddress, Outbox, OutboxLimits, Reply, TlsProfiles, connect,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::engine::{Seeds, run};

/// Only a hang comes near it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest message taken, bytes.
const MOST_MESSAGE: usize = 4 << 10;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Everything up to the empty line.
async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// Serves one connection: the first byte says whether a proper answer to the handshake comes before the others.
async fn serve(listener: &TcpListener, data: &[u8]) {
    let (mut stream, _) = listener.accept().await.expect("the module connects");
    let request = request(&mut stream).await;
    let (first, data) = data.split_first().unwrap_or((&0, &[]));
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    let answer = if first % 4 == 3 { "" } else { &answer };
    let _ = stream.write_all(&[answer.as_bytes(), data].concat()).await;
    let _ = stream.shutdown().await;
    // The client closes first, so that its port is free again.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Connects as a stream does, and takes everything that comes.
async fn receive(url: &str) {
    let endpoint = Endpoint::parse(url).expect("a URL of ours");
    let options = ConnectOptions { max_message: MOST_MESSAGE, ..ConnectOptions::default() };
    let Ok(mut connection) = connect(&endpoint, &options, &TlsProfiles::default(), &AtomicBool::new(false)).await
    else {
        return;
    };
    let mut outbox = Outbox::new(OutboxLimits::default());
    loop {
        match connection.drive(&mut outbox).await {
            Incoming::Text(text) => assert!(text.len() <= MOST_MESSAGE, "{} bytes", text.len()),
            Incoming::Binary(bytes) => assert!(bytes.len() <= MOST_MESSAGE, "{} bytes", bytes.len()),
            Incoming::Closed(_) | Incoming::Failed(_) => return,
            _ => {}
        }
    }
}

#[test]
fn frames_of_a_server() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("a port"));
    run("websocket", Seeds::of("websocket"), |data| {
        runtime.block_on(async {
            let both = async { tokio::join!(serve(&listener, data), receive(&url)) };
            tokio::time::timeout(PATIENCE, both).await.expect("the connection ends with its bytes");
        });
    });
}

#[test]
fn requests_to_the_pages() {
    let runtime = runtime();
    let page = |path: &str| {
        (path == "/metrics").then(|| Reply {
            status: StatusCode::OK,
            content_type: "text/plain",
            content_security_policy: None,
            body: "here".to_owned(),
        })
    };
    let listener = {
        let _inside = runtime.enter();
        HttpListener::bind(ListenAddress::read("127.0.0.1:0").expect("an address")).expect("a port")
    };
    let address = listener.address().to_string();
    runtime.spawn(listener.serve(page));
    run("request", Seeds::of("request"), |data| {
        let reply = runtime.block_on(async {
            let mut stream = TcpStream::connect(&address).await.expect("the pages are served");
            let _ = stream.write_all(data).await;
            let _ = stream.shutdown().await;
            let mut reply = Vec::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
            let _ = read.expect("every request is answered or ended");
            reply
        });
        let reply = String::from_utf8(reply).expect("replies are text");
        assert!(reply.is_empty() || reply.starts_with("HTTP/1."), "{reply}");
        let found = reply.ends_with("here");
        assert!(!found || (data.starts_with(b"GET ") && reply.contains("x-frame-options: DENY")), "{reply}");
    });
}
