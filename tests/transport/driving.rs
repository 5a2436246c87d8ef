//! What a connection carries, and what happens when the server is slow, silent or too fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mod_audio_stream::transport::{
    ConnectOptions, Connection, ErrorCode, Heartbeat, Incoming, Outbox, OutboxLimits, Payload, TransportError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::peers::*;

const FRAME: Duration = Duration::from_millis(20);

#[tokio::test]
async fn messages_arrive_whole_in_order_and_unmerged() {
    let (address, server) = websocket(|mut peer| async move {
        let mut got = Vec::new();
        while let Some(Ok(message)) = peer.next().await {
            match message {
                Message::Text(_) | Message::Binary(_) => got.push(message),
                _ => break,
            }
        }
        got
    })
    .await;
    let mut connection = connected(address).await;
    let mut outbox = outbox();
    let mut wanted = Vec::new();
    for n in 0..200u8 {
        if n % 3 == 0 {
            let text = format!("{{\"n\":  {n}}} ä");
            outbox.push(Payload::Text(text.clone())).unwrap();
            wanted.push(Message::text(text));
        } else {
            let bytes = vec![n; usize::from(n) * 50];
            outbox.push_audio(Payload::Binary(bytes.clone()), FRAME);
            wanted.push(Message::binary(bytes));
        }
    }
    connection.close(1000, "");
    let closed = patiently("closing", connection.drive(&mut outbox)).await;
    assert!(matches!(closed, Incoming::Closed(_)), "{closed:?}");
    assert_eq!(server.await.unwrap(), wanted);
}

#[tokio::test]
async fn driving_can_be_dropped_at_any_moment_without_loss() {
    const MESSAGES: usize = 2_000;
    let (address, server) = websocket(|peer| async move {
        let (mut sink, source) = peer.split();
        let mut echoed = source.take(MESSAGES);
        while let Some(Ok(message)) = echoed.next().await {
            sink.send(message).await.unwrap();
        }
        (sink, echoed)
    })
    .await;
    let mut connection = connected(address).await;
    let mut outbox = outbox();
    let (mut pushed, mut came) = (0, 0);
    patiently("the echo", async {
        while came < MESSAGES {
            if pushed < MESSAGES
                && outbox.push(Payload::Text(format!("{pushed} {}", "x".repeat(pushed % 3_000)))).is_ok()
            {
                pushed += 1;
            }
            // The other branch often wins, after the drive was polled a random number of times.
            tokio::select! {
                biased;
                incoming = connection.drive(&mut outbox) => {
                    assert_eq!(incoming, Incoming::Text(format!("{came} {}", "x".repeat(came % 3_000)).into()));
                    came += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    drop(server.await.unwrap());
}

#[tokio::test]
async fn finding_012_a_server_that_does_not_read_costs_old_audio() {
    let (start_reading, wait) = tokio::sync::oneshot::channel::<()>();
    let (address, server) = websocket(|mut peer| async move {
        wait.await.unwrap();
        let mut got = Vec::new();
        while let Some(Ok(message)) = peer.next().await {
            match message {
                Message::Text(text) if &*text == "end" => {
                    peer.send(Message::text("got it all")).await.unwrap();
                    break;
                }
                Message::Text(text) => got.push((true, text.parse::<u32>().unwrap())),
                Message::Binary(bytes) => got.push((false, u32::from_le_bytes(bytes[..4].try_into().unwrap()))),
                _ => break,
            }
        }
        got
    })
    .await;
    let mut connection = connected(address).await;
    let limits = OutboxLimits { max_audio: Duration::from_secs(1), ..OutboxLimits::default() };
    let mut outbox = Outbox::new(limits);
    let mut texts = Vec::new();
    // 64 MB: much more than the system's buffers on both sides take.
    for n in 0..20_000u32 {
        let mut audio = vec![0; 3_200];
        audio[..4].copy_from_slice(&n.to_le_bytes());
        outbox.push_audio(Payload::Binary(audio), FRAME);
        if n % 1_000 == 0 {
            outbox.push(Payload::Text(n.to_string())).unwrap();
            texts.push(n);
        }
        assert!(outbox.stats().waiting <= Duration::from_secs(1));
        if n % 20 == 0 {
            tokio::select! {
                biased;
                incoming = connection.drive(&mut outbox) => panic!("{incoming:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    let stats = outbox.stats();
    assert!(stats.audio_dropped > 0, "the system swallowed everything: {stats:?}");
    assert_eq!(stats.dropped, FRAME * u32::try_from(stats.audio_dropped).unwrap());
    start_reading.send(()).unwrap();
    outbox.push(Payload::Text("end".into())).unwrap();
    let answer = patiently("the end", connection.drive(&mut outbox)).await;
    assert_eq!(answer, Incoming::Text("got it all".into()));
    let got = server.await.unwrap();
    let got_texts: Vec<u32> = got.iter().filter(|(text, _)| *text).map(|(_, n)| *n).collect();
    assert_eq!(got_texts, texts, "texts are never dropped");
    let audio: Vec<u32> = got.iter().filter(|(text, _)| !*text).map(|(_, n)| *n).collect();
    assert!(audio.is_sorted_by(|a, b| a < b), "audio keeps its order");
    assert_eq!(audio.last(), Some(&19_999), "the newest audio survives");
    assert_eq!(audio.len() as u64 + outbox.stats().audio_dropped, 20_000, "every loss is counted");
}

#[tokio::test]
async fn a_server_that_floods_is_read_in_order() {
    const MESSAGES: u32 = 20_000;
    let (address, server) = websocket(|mut peer| async move {
        for n in 0..MESSAGES {
            peer.feed(Message::binary(n.to_le_bytes().repeat(1 + n as usize % 100))).await.unwrap();
        }
        peer.flush().await.unwrap();
        peer
    })
    .await;
    let mut connection = connected_within(address, u32::MAX).await;
    for n in 0..MESSAGES {
        let wanted = n.to_le_bytes().repeat(1 + n as usize % 100);
        assert_eq!(next(&mut connection).await, Incoming::Binary(wanted.into()));
    }
    drop(server.await.unwrap());
}

#[tokio::test]
async fn large_and_small_messages_keep_their_order() {
    let sizes: [usize; 14] = [1, 40_000, 0, 32_768, 32_767, 5, 200_000, 4_096, 65_535, 65_536, 1, 300_000, 125, 126];
    let (address, server) = upgraded(move |mut stream| async move {
        let mut bytes = Vec::new();
        for (n, size) in sizes.into_iter().enumerate() {
            bytes.extend(frame(0x82, &vec![n as u8; size]));
        }
        let mut pieces = [1usize, 7, 4_096, 13, 40_001, 2].into_iter().cycle();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
            rest = tail;
        }
        stream
    })
    .await;
    let mut connection = connected(address).await;
    for (n, size) in sizes.into_iter().enumerate() {
        assert_eq!(next(&mut connection).await, Incoming::Binary(vec![n as u8; size].into()), "message {n}");
    }
    drop(server.await.unwrap());
}

#[tokio::test]
async fn fragments_are_joined_with_pings_between_them() {
    let (address, server) = upgraded(|mut stream| async move {
        for bytes in [frame(0x01, b"Gr"), frame(0x89, b"?"), frame(0x00, &[0xc3]), frame(0x80, &[0xbc, 0xdf - 0x80])] {
            stream.write_all(&bytes).await.unwrap();
        }
        // The pong, masked: 0x8a, length 1 with the mask bit.
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!((pong[0], pong[1], pong[6] ^ pong[2]), (0x8a, 0x81, b'?'));
        stream
    })
    .await;
    let mut connection = connected(address).await;
    assert_eq!(next(&mut connection).await, Incoming::Text("Grü_".into()));
    let mut outbox = outbox();
    tokio::select! {
        incoming = connection.drive(&mut outbox) => panic!("{incoming:?}"),
        served = server => drop(served.unwrap()),
    }
}

#[tokio::test]
async fn pings_of_the_server_are_answered_while_nothing_is_sent() {
    let (address, server) = websocket(|mut peer| async move {
        for n in 0..100u8 {
            peer.send(Message::Ping(vec![n].into())).await.unwrap();
            assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(vec![n].into()));
        }
        peer.send(Message::text("done")).await.unwrap();
        peer
    })
    .await;
    let mut connection = connected(address).await;
    assert_eq!(next(&mut connection).await, Incoming::Text("done".into()));
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_flood_of_pings_from_an_end_that_never_reads_is_survived() {
    let (address, server) = upgraded(|mut stream| async move {
        let ping = frame(0x89, &[b'x'; 125]);
        for _ in 0..100_000 {
            stream.write_all(&ping).await.unwrap();
        }
        stream.write_all(&frame(0x81, b"done")).await.unwrap();
        stream
    })
    .await;
    let mut connection = connected_within(address, u32::MAX).await;
    assert_eq!(next(&mut connection).await, Incoming::Text("done".into()));
    drop(server.await.unwrap());
}

fn heartbeat(interval: u64, timeout: u64) -> ConnectOptions {
    let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
    ConnectOptions { heartbeat: Some(Heartbeat { interval, timeout }), ..ConnectOptions::default() }
}

#[tokio::test]
async fn an_end_that_answers_neither_of_two_pings_has_failed() {
    let (address, server) = upgraded(|mut stream| async move { read_to_end(&mut stream).await }).await;
    let mut connection = dial(&format!("ws://{address}/"), &heartbeat(110, 100)).await.unwrap();
    match next(&mut connection).await {
        Incoming::Failed(TransportError { code: ErrorCode::PingTimeout, message, .. }) => {
            assert!(message.contains("two pings") && message.contains("140 ms"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    drop(connection);
    let sent = server.await.unwrap();
    assert_eq!((sent[..2].to_vec(), sent[6..8].to_vec()), (vec![0x89, 0x80], vec![0x89, 0x80]), "two pings were sent");
}

#[tokio::test]
async fn an_end_that_answers_pings_stays_connected() {
    let (address, server) = websocket(|mut peer| async move {
        for _ in 0..5 {
            assert!(matches!(peer.next().await, Some(Ok(Message::Ping(_)))));
            peer.flush().await.unwrap();
        }
        peer.send(Message::text("alive")).await.unwrap();
        peer
    })
    .await;
    let mut connection = dial(&format!("ws://{address}/"), &heartbeat(20, 600_000)).await.unwrap();
    assert_eq!(next(&mut connection).await, Incoming::Text("alive".into()));
    drop(server.await.unwrap());
}

/// Sends only, for `time`.
async fn not_reading(connection: &mut Connection, outbox: &mut Outbox, time: Duration) {
    let sending = std::future::poll_fn(|cx| connection.poll_send(cx, outbox));
    if let Ok(incoming) = tokio::time::timeout(time, sending).await {
        panic!("{incoming:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_read_is_slowed_and_loses_nothing() {
    // 80 MB: much more than the system's buffers on both sides take.
    const MESSAGES: u32 = 400;
    let sent = Arc::new(AtomicU32::new(0));
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let (address, server) = websocket({
        let sent = sent.clone();
        |peer| async move {
            let (mut sink, mut source) = peer.split();
            let send = async {
                for n in 0..MESSAGES {
                    sink.send(Message::binary(n.to_le_bytes().repeat(50_000))).await.unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            };
            let hear = async {
                while let Some(Ok(Message::Text(text))) = source.next().await {
                    heard.send(text.to_string()).unwrap();
                }
            };
            tokio::join!(send, hear);
        }
    })
    .await;
    let mut connection = connected_within(address, u32::MAX).await;
    let mut outbox = outbox();
    for n in 0..20 {
        outbox.push(Payload::Text(n.to_string())).unwrap();
        not_reading(&mut connection, &mut outbox, Duration::from_millis(20)).await;
        assert_eq!(patiently("what we say", hears.recv()).await, Some(n.to_string()), "what we say arrives");
    }
    let stalled = sent.load(Ordering::Relaxed);
    assert!(stalled < MESSAGES, "the server waits");
    for n in 0..MESSAGES {
        let Incoming::Binary(bytes) = next(&mut connection).await else { panic!("message {n}") };
        assert!(bytes.len() == 200_000 && bytes[..4] == n.to_le_bytes(), "message {n}");
        if n == MESSAGES / 2 {
            not_reading(&mut connection, &mut outbox, Duration::from_millis(20)).await;
        }
    }
    drop(connection);
    server.await.unwrap();
}

#[tokio::test]
async fn no_pong_is_missed_while_nothing_is_read() {
    let (address, server) = upgraded(|mut stream| async move { read_to_end(&mut stream).await }).await;
    let mut connection = dial(&format!("ws://{address}/"), &heartbeat(20, 100)).await.unwrap();
    not_reading(&mut connection, &mut outbox(), Duration::from_millis(500)).await;
    let end = next(&mut connection).await;
    assert!(matches!(end, Incoming::Failed(TransportError { code: ErrorCode::PingTimeout, .. })), "{end:?}");
    drop(connection);
    assert_eq!(server.await.unwrap()[..2], [0x89, 0x80], "pings are sent all the while");
}

#[tokio::test]
async fn what_is_not_read_does_not_count_as_sent_too_fast() {
    let (address, server) = websocket(|mut peer| async move {
        for n in 0..12_000u32 {
            peer.send(Message::text(n.to_string())).await.unwrap();
        }
        peer
    })
    .await;
    let mut connection = connected(address).await;
    // Ten seconds' worth at once are within the limit of 1,000 a second; from then on the server is ahead of it, for 0.2 s.
    for n in 0..11_700u32 {
        assert_eq!(next(&mut connection).await, Incoming::Text(n.to_string().into()));
        if n == 10_200 {
            not_reading(&mut connection, &mut outbox(), Duration::from_millis(1_200)).await;
        }
    }
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_connection_that_closes_is_read_to_its_end() {
    let (address, server) = websocket(|mut peer| async move {
        peer.send(Message::text("before")).await.unwrap();
        while peer.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    let mut connection = connected(address).await;
    connection.close(1000, "");
    let mut outbox = outbox();
    let mut drive = async || std::future::poll_fn(|cx| connection.poll_send(cx, &mut outbox)).await;
    assert_eq!(patiently("the text", drive()).await, Incoming::Text("before".into()));
    assert!(matches!(patiently("the close", drive()).await, Incoming::Closed(_)));
    server.await.unwrap();
}
