//! The engine on whatever a service may send.

use std::time::Instant;

use super::super::engine::{Engine as _, Event, Input, Output};
use super::engine::Gemini;
use super::setup::fuzzed;

/// Fuzz target: `data`, cut at its line ends, as messages of the service, and checks what must hold whatever arrives.
///
/// # Panics
/// When an invariant is broken: an output after the loss but the close, empty audio, an endless id.
#[allow(clippy::disallowed_methods, reason = "any instant does: the fuzzer drives the protocol from outside")]
pub fn fuzz_gemini_live(data: &[u8]) {
    let now = Instant::now();
    let mut engine = Gemini::new(fuzzed());
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    while engine.poll().is_some() {}
    let mut lost = 0;
    for line in data.split(|byte| *byte == b'\n') {
        engine.handle(now, Input::Binary(line));
        while let Some(output) = engine.poll() {
            assert!(lost == 0 || matches!(output, Output::Close), "an output after the loss");
            match output {
                Output::Event(Event::Lost(_)) => lost += 1,
                Output::Event(Event::Audio { audio, .. }) => assert!(!audio.duration().is_zero()),
                Output::Event(Event::ToolCall { call_id, .. }) => assert!(call_id.chars().count() <= 128),
                Output::Fault(fault) => assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024),
                _ => {}
            }
        }
    }
    assert!(lost <= 1, "lost twice");
}
