//! What a proper server would not send.

use mod_audio_stream::transport::{ConnectOptions, ErrorCode, Incoming, Rejected};
use tokio::io::AsyncWriteExt;

use crate::peers::*;

/// The first thing that comes of raw bytes after the handshake, and what the server got until the end.
async fn first_of(bytes: Vec<u8>) -> (Incoming, Vec<u8>) {
    let (address, server) = upgraded(|mut stream| async move {
        stream.write_all(&bytes).await.unwrap();
        read_to_end(&mut stream).await
    })
    .await;
    let mut connection = connected(address).await;
    let incoming = next(&mut connection).await;
    drop(connection);
    (incoming, server.await.unwrap())
}

/// The code of a masked close frame.
fn close_code(bytes: &[u8]) -> u16 {
    assert_eq!(bytes[0], 0x88, "a close frame: {bytes:?}");
    u16::from_be_bytes([bytes[6] ^ bytes[2], bytes[7] ^ bytes[3]])
}

#[tokio::test]
async fn masked_frames_are_refused_by_their_own_code() {
    let (incoming, sent) = first_of(vec![0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).await;
    assert!(matches!(&incoming, Incoming::Failed(error) if error.code == ErrorCode::ServerMasked), "{incoming:?}");
    assert_eq!(close_code(&sent), 1002);
}

#[tokio::test]
async fn broken_frames_are_a_protocol_error_with_a_close_frame() {
    for bytes in [
        vec![0xc1, 1, b'x'],                             // a reserved bit
        vec![0x83, 0],                                   // a reserved opcode
        vec![0x8b, 0],                                   // a reserved control opcode
        vec![0x80, 0],                                   // a continuation of nothing
        vec![0x09, 0],                                   // a fragmented ping
        frame(0x89, &[0; 126]),                          // a ping too long
        [frame(0x01, b"a"), frame(0x81, b"b")].concat(), // a message within a message
        vec![0x88, 1, 3],                                // half a close code
    ] {
        let (incoming, sent) = first_of(bytes.clone()).await;
        assert!(
            matches!(&incoming, Incoming::Failed(error) if error.code == ErrorCode::Protocol),
            "{bytes:x?}: {incoming:?}"
        );
        assert_eq!(close_code(&sent), 1002, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_others_accepted() {
    let (address, server) = upgraded(|mut stream| async move {
        stream.write_all(&frame(0x81, &[b'x'; 1_000])).await.unwrap();
        stream.write_all(&frame(0x81, &[b'x'; 1_001])).await.unwrap();
        stream.write_all(&frame(0x82, &[1; 900_000])).await.unwrap();
        // In fragments, each below the limit.
        for first in [0x02, 0x00, 0x80] {
            stream.write_all(&frame(first, &[1; 600])).await.unwrap();
        }
        stream.write_all(&frame(0x81, b"still here")).await.unwrap();
        stream
    })
    .await;
    let options = ConnectOptions { max_message: 1_000, ..ConnectOptions::default() };
    let mut connection = dial(&format!("ws://{address}/"), &options).await.unwrap();
    assert_eq!(next(&mut connection).await, Incoming::Text("x".repeat(1_000).into()));
    for bytes in [1_001, 900_000, 1_800] {
        assert_eq!(next(&mut connection).await, Incoming::Rejected(Rejected::Oversized { bytes, limit: 1_000 }));
    }
    assert_eq!(next(&mut connection).await, Incoming::Text("still here".into()));
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_huge_message_ends_the_connection_with_1009_unread() {
    // The length alone: 2^62 bytes are announced, none need to come.
    let mut huge = vec![0x82, 127];
    huge.extend((1u64 << 62).to_be_bytes());
    let (incoming, sent) = first_of(huge).await;
    match incoming {
        Incoming::Failed(error) => {
            assert_eq!(error.code, ErrorCode::Protocol);
            assert!(error.message.contains("1009") && error.message.contains("4611686018427387904"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(close_code(&sent), 1009);
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_and_the_connection_goes_on() {
    let (address, server) = upgraded(|mut stream| async move {
        stream.write_all(&frame(0x81, &[b'a', 0xff, 0xfe])).await.unwrap();
        stream.write_all(&frame(0x81, &[0xc3])).await.unwrap();
        stream.write_all(&frame(0x81, "gut".as_bytes())).await.unwrap();
        stream
    })
    .await;
    let mut connection = connected(address).await;
    assert_eq!(next(&mut connection).await, Incoming::Rejected(Rejected::NotUtf8));
    assert_eq!(next(&mut connection).await, Incoming::Rejected(Rejected::NotUtf8));
    assert_eq!(next(&mut connection).await, Incoming::Text("gut".into()));
    drop(server.await.unwrap());
}

#[tokio::test]
async fn arbitrary_bytes_end_in_a_failure_and_never_in_a_panic() {
    // A fixed pseudo-random sequence: the test is the same every time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..400)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let (address, server) = upgraded(move |mut stream| async move {
            let _ = stream.write_all(&bytes).await;
        })
        .await;
        let mut connection = connected(address).await;
        loop {
            match next(&mut connection).await {
                Incoming::Failed(_) | Incoming::Closed(_) => break,
                _ => {}
            }
        }
        server.await.unwrap();
    }
}
