//! `say` on streams to servers: what the operator has said is heard in one piece, in its place among what the server sends.

use serde_json::Value;

use crate::calls::{Stream, assert_heard, call, command, pass, playing};
use crate::host::Call;
use crate::support::speech_server::{Answer, Service, SpeechServer};
use crate::support::websocket_server::{Action, PATIENCE, Play};
use crate::support::{eventually, signal, wait_for};

/// ElevenLabs' voice at the call's own rate, unchanged: what is heard can be compared sample for sample.
fn voice(server: &SpeechServer) -> String {
    format!(
        "mono 8k tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} tts_output_format=pcm_8000 \
         tts_cache=false dsp_enabled=false",
        server.url(false)
    )
}

fn speech_server(answers: impl Into<Vec<Answer>>) -> SpeechServer {
    SpeechServer::start(Service::ElevenLabs("xi-test"), answers)
}

/// Whole samples that wait to be heard.
fn queued(stream: &Stream<'_>) -> usize {
    stream.health()["inject"]["buffer_inuse_bytes"].as_u64().unwrap() as usize / 2
}

/// Waits until all is queued that came before the provider stalled, which it does after 8 kB, with the chunk it is in.
fn stalled(stream: &Stream<'_>) -> usize {
    wait_for("half a second of it", PATIENCE, || (queued(stream) == 4_092).then_some(4_092))
}

/// Lets the call go on until nothing waits any more.
fn play_out(call: &Call<'_>, stream: &Stream<'_>) {
    let frames = queued(stream) / 160 + 10;
    pass(call, &[stream], frames);
    assert_eq!(queued(stream), 0, "{}", stream.health());
}

fn playback(stream: &Stream<'_>) -> Vec<String> {
    stream.events("playback").iter().map(|event| event.header("Audio-Stream-Status").unwrap().to_owned()).collect()
}

#[test]
fn what_the_operator_says_is_heard_in_its_place() {
    let synthesis = speech_server([Answer::default()]);
    let call = call(playing());
    let stream = Stream::start(&call, &voice(&synthesis));
    let (before, after) = (signal::speech(8_000, 400, 3), signal::speech(8_000, 400, 5));
    stream.play(Play::mono(before.clone(), 8_000));
    stream.ok("say **Good morning.** Your table is ready, and so is the cook.");
    let said = wait_for("both sentences", PATIENCE, || {
        let of = |text: &str| synthesis.asked().into_iter().find(|asked| asked.body["text"] == text);
        let sentences = [of("Good morning.")?.samples, of("Your table is ready, and so is the cook.")?.samples];
        let whole = sentences.iter().all(|sentence| !sentence.is_empty());
        (whole && queued(&stream) == before.len() + sentences.concat().len()).then_some(sentences.concat())
    });
    assert_eq!(synthesis.asked().len(), 2);
    stream.play(Play::mono(after.clone(), 8_000));
    play_out(&call, &stream);
    assert_heard(&call.heard(), &[before, said, after].concat());
    assert!(eventually(PATIENCE, || playback(&stream) == ["started", "finished"]), "{:?}", playback(&stream));
    assert!(stream.events("error").is_empty());
    // The server hears the caller, and nothing of what was said for it.
    assert_eq!(stream.texts().len(), 0);
}

#[test]
fn the_servers_audio_waits_for_the_end_of_what_is_said() {
    let synthesis = speech_server([Answer { stall_after: Some(8_000), ..Answer::default() }]);
    let call = call(playing());
    let stream = Stream::start(&call, &voice(&synthesis));
    stream.ok("say Please hold the line while I look that up for you.");
    let before = stalled(&stream);
    let server = signal::speech(8_000, 400, 7);
    stream.play(Play::mono(server.clone(), 8_000));
    assert_eq!(queued(&stream), before, "it waits");
    synthesis.go_on();
    let said = synthesis.asked()[0].samples.clone();
    wait_for("all of it", PATIENCE, || (queued(&stream) == said.len() + server.len()).then_some(()));
    play_out(&call, &stream);
    assert_heard(&call.heard(), &[said, server].concat());
}

#[test]
fn a_clear_drops_what_is_being_said_and_the_next_is_heard() {
    for by_server in [false, true] {
        let stall = Answer { stall_after: Some(8_000), ..Answer::default() };
        let synthesis = speech_server([stall, Answer::default()]);
        let call = call(playing());
        let stream = Stream::start(&call, &voice(&synthesis));
        stream.ok("say Please hold the line while I look that up for you.");
        stalled(&stream);
        if by_server {
            // What cannot be played clears what was queued before it as well.
            let nothing = r#"{"type":"streamAudio","data":{"clear":true,"audioDataType":"flac","audioData":"AAAA"}}"#;
            stream.connection.order(Action::Text(nothing.to_owned()));
        } else {
            stream.ok("clear");
        }
        synthesis.wait_dropped(0);
        // The media thread drops what it has.
        pass(&call, &[&stream], 3);
        let from = call.heard_count();
        stream.ok("say Thank you for holding.");
        let said = wait_for("the next", PATIENCE, || {
            let asked = synthesis.asked().pop().filter(|asked| asked.body["text"] == "Thank you for holding.")?;
            (!asked.samples.is_empty() && queued(&stream) == asked.samples.len()).then_some(asked.samples)
        });
        play_out(&call, &stream);
        assert_heard(&call.heard_from(from), &said);
    }
}

#[test]
fn what_cannot_be_said_is_refused_or_reported() {
    let refusal = r#"{"detail":{"status":"quota_exceeded","message":"No credits are left."}}"#;
    let synthesis = speech_server([Answer::refuse(401, refusal)]);
    let call = call(playing());
    let keyless = Stream::start_as(&call, "keyless", Default::default(), "mono 8k tts_provider=elevenlabs");
    let refused = keyless.command("say Good morning.");
    assert!(refused.starts_with("-ERR no speech can be made") && refused.contains("ELEVENLABS_API_KEY"), "{refused}");
    let silent = Stream::start_as(&call, "silent", Default::default(), "mono 8k playback=false");
    let refused = silent.command("say Good morning.");
    assert!(refused.starts_with("-ERR playback is off"), "{refused}");
    assert!(command(&call, "say name=silent").starts_with("-USAGE"));

    let stream = Stream::start(&call, &voice(&synthesis));
    stream.ok("say Good morning.");
    let error: Value = stream.wait_event("error").json();
    let message = &error["message"];
    assert_eq!(
        (&message["component"], &message["provider_code"]),
        (&"tts".into(), &"quota_exceeded".into()),
        "{error}"
    );
    assert_eq!(message["sentence"], "Good morning.");
    let server = signal::speech(8_000, 200, 9);
    stream.play(Play::mono(server.clone(), 8_000));
    assert!(eventually(PATIENCE, || queued(&stream) == server.len()), "the stream goes on: {}", stream.health());
}
