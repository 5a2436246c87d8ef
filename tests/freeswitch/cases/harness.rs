//! The harness's own parts do what they claim.

use std::time::Instant;

use crate::harness::esl::Event;
use crate::harness::process::{cpu_seconds, rss_kb, threads};
use crate::harness::rtp::{Codec, Packet, assemble, linear, mulaw};
use crate::support::passage::{Passage, follow, missing, noise, trace};

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

#[test]
fn what_is_missing_or_foreign_in_a_signal_is_counted() {
    let said = noise(7, 16_000);
    assert!(said.iter().all(|&sample| sample != 0 && linear(mulaw(sample)) == sample));
    let silence = [0; 333];
    let heard = [&silence[..], &said[1_600..4_800], &silence, &said[4_800..8_000], &said[8_160..9_600]].concat();
    let passage = follow(&said, &heard);
    assert_eq!(passage, Passage { arrived: 7_840, lost: 160, foreign: 0, from: 1_600 });
    assert_eq!(passage.to(), 9_600);
    // Swapped, and so both missing and foreign; and what nobody has said.
    let swapped = [&said[..1_600], &said[1_760..1_920], &said[1_600..1_760], &said[1_920..3_200]].concat();
    let passage = follow(&said, &swapped);
    assert_eq!((passage.lost, passage.foreign), (160, 160));
    // Of what one had and the other did not have.
    let (all, some) = (trace(&said, &said).1, trace(&said, &heard).1);
    assert_eq!((missing(&all, &some), missing(&some, &all)), (1_600 + 160, 0));
    let other = trace(&said, &[&said[..8_100], &said[8_160..9_600]].concat()).1;
    assert_eq!((missing(&other, &some), missing(&some, &some)), (1_600 + 100, 0));
    let strange = [&said[..1_600], &noise(8, 160), &said[1_600..3_200]].concat();
    let passage = follow(&said, &strange);
    assert!(passage.lost <= 24 && passage.foreign.abs_diff(160) <= 24, "{passage:?}");
}
