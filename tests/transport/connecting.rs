//! How connections are made and refused.

use std::time::Duration;

use mod_audio_stream::transport::{ConnectError, ConnectOptions, ErrorCode, Headers, Incoming, Phase};
use mod_audio_stream::units::Secret;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::peers::*;

fn failure(result: Result<mod_audio_stream::transport::Connection, ConnectError>) -> ConnectError {
    result.map(|_| ()).expect_err("the connection should have been refused")
}

/// The error of connecting to a server that answers the request with `reply`.
async fn refused_by(reply: &'static str) -> ConnectError {
    let (address, server) = raw(move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(reply.as_bytes()).await.unwrap();
    })
    .await;
    let error = failure(dial(&format!("ws://{address}/"), &ConnectOptions::default()).await);
    server.await.unwrap();
    error
}

#[tokio::test]
async fn the_request_carries_path_headers_subprotocol_and_password() {
    let (address, server) = raw(|mut stream| async move {
        let request = read_request(&mut stream).await;
        let answer = answer(&request).replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: audio.example\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    })
    .await;
    let mut options = ConnectOptions { subprotocol: Some("audio.example".into()), ..ConnectOptions::default() };
    options.headers.insert("X-Call", &Secret::new("a b  c")).unwrap();
    let url = format!("ws://user:p%40ss@127.0.0.1:{}/a/b?c=d%20e", address.port());
    let connection = dial(&url, &options).await.unwrap();
    assert_eq!(connection.subprotocol(), Some("audio.example"));
    let request = server.await.unwrap();
    assert!(request.starts_with("GET /a/b?c=d%20e HTTP/1.1\r\n"), "{request}");
    let host = format!("127.0.0.1:{}", address.port());
    for (name, value) in [
        ("Host", host.as_str()),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "audio.example"),
        ("Authorization", "Basic dXNlcjpwQHNz"),
        ("X-Call", "a b  c"),
    ] {
        assert_eq!(header(&request, name), Some(value), "{request}");
    }
    assert!(header(&request, "User-Agent").unwrap().starts_with("mod_audio_stream/"));
}

#[tokio::test]
async fn an_authorization_header_goes_before_the_users_password() {
    let (address, server) = raw(|mut stream| async move { read_request(&mut stream).await }).await;
    let mut headers = Headers::default();
    headers.insert("authorization", &Secret::new("Bearer x")).unwrap();
    let options = ConnectOptions { headers, ..ConnectOptions::default() };
    failure(dial(&format!("ws://u:p@{address}/"), &options).await);
    let request = server.await.unwrap();
    assert_eq!(request.matches("uthorization: ").count(), 1, "{request}");
    assert_eq!(header(&request, "authorization"), Some("Bearer x"));
}

#[tokio::test]
async fn finding_020_an_ipv6_server_is_reached() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("this machine has no IPv6 loopback address");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let request = read_request(&mut stream).await;
        stream.write_all(answer(&request).as_bytes()).await.unwrap();
        request
    });
    dial(&format!("ws://[::1]:{port}/"), &ConnectOptions::default()).await.unwrap();
    assert_eq!(header(&server.await.unwrap(), "Host"), Some(format!("[::1]:{port}").as_str()));
}

#[tokio::test]
async fn a_name_is_reached_on_the_address_that_listens() {
    // `localhost` is ::1 and 127.0.0.1 on most machines; only the second listens.
    let (address, _server) = websocket(|_| async {}).await;
    dial(&format!("ws://localhost:{}/", address.port()), &ConnectOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_failed_connect_that_names_it() {
    // Bound, so that nobody else gets it meanwhile, and not listening.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let error = failure(dial(&format!("ws://user:geheim@{address}/"), &ConnectOptions::default()).await);
    assert_eq!(error.code(), ErrorCode::ConnectFailed);
    let text = format!("{error} {error:?}");
    assert!(text.contains(&address.to_string()) && !text.contains("geheim"), "{text}");
}

#[tokio::test]
async fn an_unknown_name_is_a_failed_connect_that_names_it() {
    let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
    let error = failure(dial("ws://no-such-host.invalid/", &options).await);
    assert_eq!(error.code(), ErrorCode::ConnectFailed);
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_given_up() {
    let (address, _server) = raw(|mut stream| async move { read_to_end(&mut stream).await }).await;
    let options = ConnectOptions { timeout: Duration::from_millis(200), ..ConnectOptions::default() };
    for scheme in ["ws", "wss"] {
        let error = failure(dial(&format!("{scheme}://{address}/"), &options).await);
        assert_eq!(error.code(), ErrorCode::Timeout);
        if scheme == "ws" {
            assert!(matches!(error, ConnectError::Timeout { phase: Phase::Upgrade, .. }), "{error}");
            break;
        }
    }
}

#[tokio::test]
async fn an_http_refusal_is_a_failed_connect_with_its_status() {
    for (reply, wanted) in [
        ("HTTP/1.1 401 Nope\r\nContent-Length: 0\r\n\r\n", "HTTP 401 Unauthorized; check user name"),
        ("HTTP/1.1 503 Busy\r\n\r\nsorry", "HTTP 503 Service Unavailable"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP 200 OK"),
        ("HTTP/1.1 404 x\r\n\r\n", "HTTP 404 Not Found"),
        ("HTTP/1.1 599 x\r\n\r\n", "HTTP 599"),
        (
            "HTTP/1.1 302 x\r\nLocation: https://u:geheim@other.example/x?token=geheim\r\n\r\n",
            "HTTP 302 Found; redirects are not followed, it points to other.example/x",
        ),
    ] {
        let error = refused_by(reply).await;
        assert_eq!(error.code(), ErrorCode::ConnectFailed, "{reply}");
        let text = error.to_string();
        assert!(text.contains(wanted) && !text.contains("geheim"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_handshake_is_an_invalid_header() {
    for reply in [
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        "HTTP/1.1 101 x\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let error = refused_by(reply).await;
        assert_eq!(error.code(), ErrorCode::InvalidHeader, "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn a_required_subprotocol_that_is_not_chosen_is_an_error() {
    let (address, _server) = websocket(|_| async {}).await;
    let options = ConnectOptions { subprotocol: Some("audio.example".into()), ..ConnectOptions::default() };
    let error = failure(dial(&format!("ws://{address}/"), &options).await);
    assert_eq!(error.code(), ErrorCode::InvalidHeader, "{error}");
}

#[tokio::test]
async fn a_preferred_subprotocol_may_be_ignored_by_the_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut offered = Vec::new();
        for _ in 0..3 {
            let mut stream = listener.accept().await.unwrap().0;
            let request = read_request(&mut stream).await;
            stream.write_all(answer(&request).as_bytes()).await.unwrap();
            offered.push(header(&request, "Sec-WebSocket-Protocol").map(str::to_owned));
        }
        offered
    });
    let preferred = Some("audio.example".to_owned());
    let options = ConnectOptions { preferred_subprotocol: preferred.clone(), ..ConnectOptions::default() };
    let connection = dial(&format!("ws://{address}/"), &options).await.unwrap();
    assert_eq!(connection.subprotocol(), None);
    // What the operator asks for is not done without.
    let options = ConnectOptions { subprotocol: Some("other".into()), ..options };
    let error = failure(dial(&format!("ws://{address}/"), &options).await);
    assert_eq!(error.code(), ErrorCode::InvalidHeader, "{error}");
    assert!(error.to_string().contains("other"), "{error}");
    assert_eq!(server.await.unwrap(), [preferred, None, Some("other".into())]);
}

#[tokio::test]
async fn a_hangup_during_the_handshake_is_a_failed_connect() {
    for reply in ["", "HTTP/1.1 101 Swit"] {
        let error = refused_by(reply).await;
        assert_eq!(error.code(), ErrorCode::ConnectFailed, "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let (address, server) = raw(|mut stream| async move {
        read_request(&mut stream).await;
        let line = format!("X: {}\r\n", "x".repeat(1_000));
        let _ = stream.write_all(b"HTTP/1.1 101 x\r\n").await;
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
    let error = failure(dial(&format!("ws://{address}/"), &options).await);
    assert_ne!(error.code(), ErrorCode::Timeout, "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_not_lost() {
    let (address, _server) = raw(|mut stream| async move {
        let request = read_request(&mut stream).await;
        let mut bytes = answer(&request).into_bytes();
        bytes.extend(frame(0x81, b"early"));
        // And a large one cut in the middle, to be joined with what follows.
        let large = frame(0x82, &vec![7; 100_000]);
        bytes.extend(&large[..1_000]);
        stream.write_all(&bytes).await.unwrap();
        stream.write_all(&large[1_000..]).await.unwrap();
        stream.write_all(&frame(0x81, b"late")).await.unwrap();
        stream
    })
    .await;
    let mut connection = connected(address).await;
    assert_eq!(next(&mut connection).await, Incoming::Text("early".into()));
    assert_eq!(next(&mut connection).await, Incoming::Binary(vec![7; 100_000].into()));
    assert_eq!(next(&mut connection).await, Incoming::Text("late".into()));
}
