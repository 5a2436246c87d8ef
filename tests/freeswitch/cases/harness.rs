//! The harness's own parts do what they claim.

use std::time::Instant;

use crate::harness::esl::Event;
use crate::harness::process::{cpu_seconds, rss_kb, threads};
use crate::harness::rtp::{Codec, Packet, assemble, linear, mulaw};

#[test]
fn plain_events_are_decoded_with_their_body() {
    let body = r#"{"status":"error","message":{"code":6,"error":"ä: b"}}"#;
    let payload = format!(
        "Event-Name: CUSTOM\nEvent-Subclass: mod_audio_stream%3A%3Aerror\nOdd: 100%\nContent-Length: {}\n\n{body}",
        body.len()
    );
    let event = Event::parse_plain(&payload);
    assert_eq!(event.subclass(), "mod_audio_stream::error");
    assert_eq!(event.get("odd"), Some("100%"));
    assert_eq!(event.body.as_deref(), Some(body));
    assert_eq!(event.json()["message"]["error"], "ä: b");
}

#[test]
fn our_own_process_is_seen() {
    let pid = std::process::id();
    assert!(rss_kb(pid) > 1_000);
    assert!(threads(pid).iter().all(|thread| thread.policy < 7 && !thread.name.is_empty()));
    let before = cpu_seconds(pid);
    let until = std::time::Instant::now() + std::time::Duration::from_millis(100);
    while std::time::Instant::now() < until {}
    assert!(cpu_seconds(pid) > before);
}

#[test]
fn mulaw_of_every_byte_comes_back() {
    for byte in 0..=255_u8 {
        // 0x7f is minus zero, which a sample cannot say.
        if byte != 0x7f {
            assert_eq!(mulaw(linear(byte)), byte);
        }
    }
    assert_eq!((linear(0xff), linear(0x80), linear(0x00)), (0, 32_124, -32_124));
}

#[test]
fn packets_are_joined_and_unsent_ones_counted() {
    let packet = |timestamp: u32, value| Packet {
        at: Instant::now(),
        payload_type: 0,
        sequence: (timestamp.wrapping_add(160) / 160) as u16,
        timestamp,
        samples: vec![value; 160],
    };
    let heard = assemble(&[packet(u32::MAX - 159, 1), packet(160, 2), packet(320, 3)], Codec::Pcmu);
    assert_eq!((heard.len(), heard.missing, heard.disordered), (480, 160, 1));
    assert_eq!((heard[159], heard[160], heard[479]), (1, 2, 3));
}
