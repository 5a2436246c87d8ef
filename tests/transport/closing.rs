//! How connections end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mod_audio_stream::transport::{Closure, ErrorCode, Incoming, NO_CLOSE_CODE, Payload, Side};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::peers::*;

fn closed(code: u16, reason: &str, by: Side) -> Incoming {
    Incoming::Closed(Closure { code, reason: reason.into(), by })
}

#[tokio::test]
async fn our_close_comes_after_everything_queued_and_is_answered() {
    let (address, server) = websocket(|mut peer| async move {
        let mut got = Vec::new();
        while let Some(Ok(message)) = peer.next().await {
            got.push(message);
        }
        got
    })
    .await;
    let mut connection = connected(address).await;
    let mut outbox = outbox();
    for n in 0..50u8 {
        outbox.push_audio(Payload::Binary(vec![n; 640]), Duration::from_millis(20));
    }
    outbox.push(Payload::Text("bye".into())).unwrap();
    connection.close(1000, "Normal closure");
    connection.close(1011, "only the first close counts");
    let end = patiently("closing", connection.drive(&mut outbox)).await;
    assert_eq!(end, closed(1000, "Normal closure", Side::Us));
    let got = server.await.unwrap();
    assert_eq!(got.len(), 52);
    assert_eq!(got[50], Message::text("bye"));
    assert_eq!(got[51], Message::Close(Some(CloseFrame { code: 1000.into(), reason: "Normal closure".into() })));
}

#[tokio::test]
async fn the_code_and_reason_of_the_server_are_reported() {
    for (frame, wanted) in [
        (Some((1000, "done")), closed(1000, "done", Side::Peer)),
        (Some((1011, "Überlast")), closed(1011, "Überlast", Side::Peer)),
        (Some((4000, "")), closed(4000, "", Side::Peer)),
        (None, closed(NO_CLOSE_CODE, "", Side::Peer)),
    ] {
        let (address, server) = websocket(move |mut peer| async move {
            let frame =
                frame.map(|(code, reason): (u16, &str)| CloseFrame { code: code.into(), reason: reason.into() });
            peer.send(Message::text("last words")).await.unwrap();
            peer.send(Message::Close(frame)).await.unwrap();
            // The answer to the close is the same code.
            peer.next().await.unwrap().unwrap()
        })
        .await;
        let mut connection = connected(address).await;
        assert_eq!(next(&mut connection).await, Incoming::Text("last words".into()));
        assert_eq!(next(&mut connection).await, wanted);
        assert!(server.await.unwrap().is_close());
    }
}

#[tokio::test]
async fn an_end_that_never_answers_our_close_does_not_keep_us() {
    let (address, server) = upgraded(|mut stream| async move { read_to_end(&mut stream).await }).await;
    let mut connection = connected(address).await;
    connection.close(1000, "x");
    assert_eq!(next(&mut connection).await, closed(1000, "x", Side::Us));
    drop(connection);
    server.await.unwrap();
}

#[tokio::test]
async fn an_end_that_neither_reads_nor_answers_does_not_keep_us() {
    let (address, server) = upgraded(|stream| async move {
        tokio::time::sleep(Duration::from_secs(600)).await;
        stream
    })
    .await;
    let mut connection = connected(address).await;
    let mut outbox = outbox();
    for _ in 0..1_000 {
        let _ = outbox.push_audio(Payload::Binary(vec![0; 64_000]), Duration::from_millis(1));
    }
    connection.close(1000, "x");
    let end = patiently("closing", connection.drive(&mut outbox)).await;
    assert_eq!(end, closed(1000, "x", Side::Us));
    server.abort();
}

#[tokio::test]
async fn a_hangup_instead_of_a_close_answer_counts_as_closed() {
    let (address, server) = upgraded(|mut stream| async move {
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte).await.unwrap();
    })
    .await;
    let mut connection = connected(address).await;
    connection.close(1001, "going");
    assert_eq!(next(&mut connection).await, closed(1001, "going", Side::Us));
    server.await.unwrap();
}

#[tokio::test]
async fn messages_that_cross_our_close_are_still_handed_on() {
    let (address, server) = websocket(|mut peer| async move {
        peer.send(Message::text("crossing")).await.unwrap();
        while let Some(Ok(_)) = peer.next().await {}
    })
    .await;
    let mut connection = connected(address).await;
    connection.close(1000, "");
    assert_eq!(next(&mut connection).await, Incoming::Text("crossing".into()));
    assert_eq!(next(&mut connection).await, closed(1000, "", Side::Us));
    server.await.unwrap();
}

#[tokio::test]
async fn a_long_close_reason_is_cut_and_a_forbidden_code_replaced() {
    let (address, server) = websocket(|mut peer| async move { peer.next().await.unwrap().unwrap() }).await;
    let mut connection = connected(address).await;
    connection.close(1006, &"ü".repeat(100));
    next(&mut connection).await;
    let wanted = CloseFrame { code: 1000.into(), reason: "ü".repeat(61).into() };
    assert_eq!(server.await.unwrap(), Message::Close(Some(wanted)));
}

#[tokio::test]
async fn an_end_that_vanishes_is_a_failure_and_not_a_close() {
    // Between frames, in a header, in a payload, in a fragmented message; in order or by reset.
    let large = frame(0x82, &vec![1; 70_000]);
    let pieces: [&[u8]; 5] = [b"", &[0x82], &large[..5], &large[..60_000], &frame(0x01, b"half")];
    for piece in pieces {
        for reset in [false, true] {
            let piece = piece.to_vec();
            let (address, server) = upgraded(move |mut stream| async move {
                stream.write_all(&piece).await.unwrap();
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            })
            .await;
            let mut connection = connected(address).await;
            match next(&mut connection).await {
                Incoming::Failed(error) => {
                    assert_eq!(error.code, ErrorCode::Io);
                    assert!(error.message.contains("1006"), "{error}");
                }
                other => panic!("{other:?}"),
            }
            server.await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_end_that_vanishes_while_we_send_is_a_failure() {
    let (address, server) = upgraded(|stream| async move { drop(stream) }).await;
    let mut connection = connected(address).await;
    server.await.unwrap();
    let mut outbox = outbox();
    let failed = patiently("noticing", async {
        loop {
            outbox.push_audio(Payload::Binary(vec![0; 320]), Duration::from_millis(20));
            tokio::select! {
                incoming = connection.drive(&mut outbox) => break incoming,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    })
    .await;
    assert!(matches!(&failed, Incoming::Failed(error) if error.code == ErrorCode::Io), "{failed:?}");
}

#[tokio::test]
async fn an_ended_connection_stays_silent() {
    let (address, server) = websocket(|mut peer| async move { peer.close(None).await.unwrap() }).await;
    let mut connection = connected(address).await;
    assert_eq!(next(&mut connection).await, closed(NO_CLOSE_CODE, "", Side::Peer));
    server.await.unwrap();
    connection.close(1000, "too late");
    let mut outbox = outbox();
    outbox.push(Payload::Text("x".into())).unwrap();
    drive_briefly(&mut connection, &mut outbox).await;
    assert_eq!(outbox.len(), 1, "nothing is taken from the outbox any more");
}
