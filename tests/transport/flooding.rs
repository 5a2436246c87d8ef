//! Servers that send faster than they may: slowed by their socket, reported, disconnected; and those that stay within.

use std::time::{Duration, Instant};

use mod_audio_stream::transport::{ErrorCode, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peers::*;

/// What comes until the connection ends, with what it ended.
async fn until_the_end(connection: &mut mod_audio_stream::transport::Connection) -> (Vec<Incoming>, Incoming) {
    let mut came = Vec::new();
    loop {
        match next(connection).await {
            end @ (Incoming::Failed(_) | Incoming::Closed(_)) => return (came, end),
            incoming => came.push(incoming),
        }
    }
}

#[tokio::test]
async fn a_server_ahead_of_its_limit_is_slowed_and_loses_nothing() {
    const MESSAGES: u32 = 1_300;
    let (address, server) = upgraded(|mut stream| async move {
        let messages: Vec<u8> = (0..MESSAGES).flat_map(|n| frame(0x82, &n.to_be_bytes())).collect();
        stream.write_all(&messages).await.unwrap();
        stream.write_all(&frame(0x88, &1_000u16.to_be_bytes())).await.unwrap();
        stream
    })
    .await;
    let begun = Instant::now();
    let mut connection = connected_within(address, 100).await;
    let (came, end) = until_the_end(&mut connection).await;
    // 1,000 at once, the rest in 3 s. So few that even a busy machine reads them faster than the limit.
    assert!(begun.elapsed() >= Duration::from_millis(2_800), "{:?}", begun.elapsed());
    assert!(matches!(end, Incoming::Closed(_)), "{end:?}");
    let reports: Vec<_> = came.iter().filter(|incoming| matches!(incoming, Incoming::Ahead(_))).collect();
    assert_eq!(reports.len(), 1, "reported once: {reports:?}");
    let messages: Vec<_> = came.into_iter().filter(|incoming| !matches!(incoming, Incoming::Ahead(_))).collect();
    let sent: Vec<_> = (0..MESSAGES).map(|n| Incoming::Binary(n.to_be_bytes().to_vec().into())).collect();
    assert!(messages == sent, "all of them, in order: {} of {MESSAGES}", messages.len());
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_burst_within_the_limit_is_not_reported() {
    let (address, server) = upgraded(|mut stream| async move {
        for _ in 0..3 {
            stream.write_all(&frame(0x81, b"{}").repeat(400)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1_000)).await;
        }
        stream.write_all(&frame(0x88, &1_000u16.to_be_bytes())).await.unwrap();
        stream
    })
    .await;
    let mut connection = connected_within(address, 200).await;
    let (came, _) = until_the_end(&mut connection).await;
    assert!(came.len() == 1_200 && came.iter().all(|incoming| matches!(incoming, Incoming::Text(_))), "{}", came.len());
    drop(server.await.unwrap());
}

/// A server that sends `bytes` again and again; what the connection made of it within which time, and the close code that the
/// server was sent.
async fn flooded_by(bytes: Vec<u8>) -> (Vec<Incoming>, Incoming, Duration, u16) {
    let (address, server) = upgraded(|stream| async move {
        let (mut read, mut write) = stream.into_split();
        let pouring = tokio::spawn(async move { while write.write_all(&bytes).await.is_ok() {} });
        // The close is the last frame: masked, its code first.
        let (mut seen, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            seen.extend_from_slice(&buffer[..count]);
        }
        pouring.await.unwrap();
        let close = &seen[seen.len() - 8..];
        assert_eq!((close[0], close[1]), (0x88, 0x82), "{close:?}");
        u16::from_be_bytes([close[6] ^ close[2], close[7] ^ close[3]])
    })
    .await;
    let begun = Instant::now();
    let mut connection = connected_within(address, 500).await;
    let (came, end) = until_the_end(&mut connection).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10), "{took:?}: {end:?}");
    drop(connection);
    (came, end, took, server.await.unwrap())
}

#[tokio::test]
async fn a_server_that_goes_on_flooding_is_closed_with_1008() {
    let mut fragments = frame(0x01, b"");
    fragments.extend(frame(0x00, b"").repeat(2_000));
    fragments.extend(frame(0x80, b""));
    let kinds = [frame(0x81, b"{}").repeat(1_000), frame(0x89, b"").repeat(1_000), fragments];
    let floods = kinds.map(flooded_by);
    for (came, end, took, close) in futures_util::future::join_all(floods).await {
        let Incoming::Failed(error) = end else { panic!("{end:?}") };
        assert_eq!((error.code, error.close, close), (ErrorCode::Protocol, Some(1_008), 1_008), "{error}");
        assert!(error.message.contains("max_messages_per_s=500"), "{error}");
        let reports = came.iter().filter(|incoming| matches!(incoming, Incoming::Ahead(_))).count();
        assert_eq!(reports, 1);
        // Ten seconds' worth at once, then what may come in that time.
        let (messages, most) = (came.len() - reports, 500.0 * (10.0 + took.as_secs_f64()));
        assert!(messages as f64 <= most, "{messages} messages of at most {most}");
    }
}
