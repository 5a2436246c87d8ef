//! How soon a caller hears what the model writes: in frames of a call that stands still between them.
//!
//! No time is measured: the call's clock is the test's, which lets a frame pass when the module has what it is to play.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
#[path = "support/realtime/mod.rs"]
mod realtime;
mod standin;
mod support;

use std::time::Duration;

use host::Call;
use realtime::{Answer, Order, RealtimeServer, Script};
use serde_json::Value;
use standin::{call, is, playing, switch};
use support::speech_server::{self, Service, SpeechServer};
use support::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);
/// Samples of a frame.
const FRAME: usize = 160;

fn command(call: &Call<'_>, verb: &str) -> String {
    switch().api(&format!("uuid_audio_stream {} {verb}", call.uuid())).trim().to_owned()
}

/// Waits, without a frame passing, until there is something to play.
#[track_caller]
fn wait_queued(call: &Call<'_>) {
    let queued = || {
        let health: Value = serde_json::from_str(&command(call, "health")).unwrap();
        (health["inject"]["buffer_inuse_bytes"].as_u64()? > 0).then_some(())
    };
    wait_for("audio for the caller", PATIENCE, queued);
}

fn wait_listening(call: &Call<'_>, times: usize) {
    let listening = || {
        let mine =
            |event: &&host::Event| event.header("Audio-Stream-UUID") == Some(call.uuid()) && is(event, "ai_state");
        let states = switch().look(|events, _| {
            events.iter().filter(mine).filter(|event| event.header("Audio-Stream-State") == Some("LISTENING")).count()
        });
        (states >= times).then_some(())
    };
    wait_for("LISTENING", PATIENCE, listening);
}

/// Lets frames pass until nothing waits to be heard, then the conversation see it.
fn hear_out(call: &Call<'_>, frames: u32) {
    for _ in 0..frames {
        call.tick(1);
        // The worker's tick is 4 ms: frames that come faster would find nothing to play.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_sentence_is_heard_two_frames_after_its_first_byte_and_one_that_was_made_before_in_the_next_frame() {
    const TEXT: &str = "Your parcel left us this morning.";
    let stall = speech_server::Answer { stall_after: Some(3 * 2 * FRAME), ..speech_server::Answer::default() };
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [stall]);
    let server = RealtimeServer::start(Script::answering([Answer::text(TEXT)]));
    let call = call(playing());
    let voice = format!(
        "ai_output=tts tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} \
         tts_output_format=pcm_8000 dsp_enabled=false",
        synthesis.url(false)
    );
    let started = command(
        &call,
        &format!(
            "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model {voice}",
            server.base_url()
        ),
    );
    assert_eq!(started, "+OK Success");
    wait_listening(&call, 1);
    call.tick(5);
    assert!(call.heard().iter().all(|sample| *sample == 0), "nothing is said yet");

    // Not made before: the provider has sent 60 ms of it and holds back the rest.
    let connection = server.connection(0);
    connection.order(Order::Respond(Answer::text(TEXT)));
    wait_queued(&call);
    let from = call.heard_count();
    call.tick(2);
    let heard = call.heard_from(from);
    assert!(heard.iter().any(|sample| sample.unsigned_abs() > 100), "silence after the first bytes: {heard:?}");
    synthesis.go_on();
    let said = wait_for("the end of the answer", PATIENCE, || {
        synthesis.asked().pop().map(|asked| asked.samples).filter(|samples| samples.len() > 3 * FRAME)
    });
    wait_for("the whole sentence", PATIENCE, || {
        hear_out(&call, 10);
        let heard = call.heard_from(from);
        let end = &said[said.len() - 2 * FRAME..];
        heard.windows(end.len()).any(|heard| heard == end).then_some(())
    });
    wait_for("the end of the turn", PATIENCE, || {
        hear_out(&call, 5);
        let health: Value = serde_json::from_str(&command(&call, "health")).unwrap();
        (health["state"] == "LISTENING").then_some(())
    });

    // Made before: its first sample is in the frame after the text.
    connection.order(Order::Respond(Answer::text(TEXT)));
    wait_queued(&call);
    let from = call.heard_count();
    call.tick(1);
    let heard = call.heard_from(from);
    assert_eq!(heard, said[..FRAME], "the sentence from its first sample on");
    assert_eq!(synthesis.asked().len(), 1, "nothing was asked for again");
    assert_eq!(command(&call, "stop"), "+OK Success");
}
