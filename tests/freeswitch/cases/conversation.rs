//! A caller on the telephone talks with an agent on the scripted Realtime server.

use std::time::{Duration, Instant};

use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, THERE, listen_to};
use crate::realtime::{Answer, Auth, Coding, Connection, RealtimeServer, Script, WrongKey, chord, heard_ms};
use crate::support::websocket_server::{Script as ServerScript, WebSocketServer};
use crate::support::{audio, eventually, signal, wait_for};

fn arguments(server: &RealtimeServer) -> String {
    format!(
        "openai_base_url={} openai_api_key=sk-test openai_model=test-model transcription_model=words \
         vad_silence_duration_ms=300",
        server.base_url()
    )
}

pub(super) fn states(events: &Esl, uuid: &str) -> Vec<String> {
    let states = events.stream_events("ai_state", uuid);
    states.iter().filter_map(|event| event.get("Audio-Stream-State").map(str::to_owned)).collect()
}

/// Waits until the conversation was in this state so many times.
#[track_caller]
pub(super) fn wait_state(events: &Esl, uuid: &str, state: &str, times: usize) {
    wait_for(&format!("{state} number {times}"), SOON, || {
        (states(events, uuid).iter().filter(|told| *told == state).count() >= times).then_some(())
    });
}

/// Waits until the agent speaks no more and listens.
#[track_caller]
pub(super) fn wait_heard_out(events: &Esl, uuid: &str) {
    let listened = states(events, uuid).iter().filter(|state| *state == "LISTENING").count();
    wait_state(events, uuid, "LISTENING", listened + 1);
}

/// What the caller has heard of three answers, chords of these seeds: of the first, 8 s long, as many ms as the service was told;
/// then nothing until the second; the second, 900 ms, and the third, 700 ms, whole.
#[track_caller]
pub(super) fn assert_cut_off_then_whole(heard: &[i16], told: f64, [first, second, third]: [u64; 3]) {
    let (at, interrupted) = heard_ms(heard, &chord(8_000, 8_000, first), 8_000).unwrap();
    assert!((told - interrupted).abs() <= 20.0, "heard {interrupted} ms, told {told}");
    let (next, result) = heard_ms(heard, &chord(8_000, 900, second), 8_000).unwrap();
    let (_, last) = heard_ms(heard, &chord(8_000, 700, third), 8_000).unwrap();
    assert!((880.0..=920.0).contains(&result) && (680.0..=720.0).contains(&last), "{result} {last}");
    // Within a frame of the interruption there is silence until the next answer, whatever the service still sends.
    let between = heard.get(at + (interrupted * 8.0) as usize + 160..next.saturating_sub(160)).unwrap_or_default();
    assert!(!between.is_empty() && audio::rms(between) < 50.0, "{}", audio::rms(between));
}

/// The function that agents of these cases may call, as the option `tools` names it.
pub(super) const LOOK_UP: &str = r#"[{"name":"look_up","description":"Looks up.","parameters":{"type":"object"}}]"#;

/// The service heard the caller's `speech` as they spoke. FreeSWITCH makes up a frame where a packet comes late, so that a part decides.
#[track_caller]
pub(super) fn assert_speech_arrives(connection: &Connection, speech: &[i16]) {
    let spoken = Coding::Pcmu.decode(&Coding::Pcmu.encode(speech)).unwrap();
    let heard = connection.record().audio.clone();
    let alike = spoken.chunks_exact(1_600).map(|part| audio::find(&heard, part).1).fold(0.0, f64::max);
    assert!(alike > 0.99, "the service does not have the caller's words: {alike}");
}

/// The caller speaks for so long while they hear the agent, and the answer to that is a function.
#[track_caller]
pub(super) fn interrupt_for_a_function(events: &Esl, call: &SipCall, ms: u32) -> Event {
    call.phone.listen(Duration::from_millis(1_500));
    call.phone.say(&signal::speech(8_000, ms, 4));
    wait_for("the function", SOON, || events.stream_events("ai_action", &call.uuid).into_iter().next())
}

/// The operator gives the result of a function.
pub(super) fn answer_function(freeswitch: &FreeSwitch, call: &SipCall, action: &Event) {
    let call_id = action.get("Audio-Stream-Call-Id").unwrap();
    freeswitch.stream(&call.uuid, &format!("ai_result {call_id} {{\"status\": \"shipped\"}}"));
}

/// How much of the first answer that was interrupted the caller had heard, in ms, as the operator was told.
#[track_caller]
pub(super) fn heard_until_interrupted(events: &Esl, uuid: &str) -> f64 {
    events.stream_events("ai_barge_in", uuid)[0].get("Audio-Stream-Heard-Ms").unwrap().parse().unwrap()
}

/// The service loses all connections, and is there again soon.
pub(super) fn lose_connections(server: &RealtimeServer, call: &SipCall) {
    server.set_reachable(false);
    call.phone.listen(Duration::from_millis(700));
    server.set_reachable(true);
}

#[track_caller]
fn start(freeswitch: &FreeSwitch, events: &Esl, call: &SipCall, server: &RealtimeServer) {
    freeswitch.stream(&call.uuid, &format!("start_ai {}", arguments(server)));
    wait_state(events, &call.uuid, "LISTENING", 1);
}

#[test]
fn two_turns_on_the_telephone_with_an_exact_interruption() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "tone-700"] {
            let events = listen_to(freeswitch);
            let answers = [Answer { late: 4, ..Answer::chord(71, 8_000) }, Answer::chord(72, 800)];
            let server = RealtimeServer::start(Script::answering(answers));
            let call = SipCall::place(freeswitch, &Dial::to(extension));
            start(freeswitch, &events, &call, &server);
            call.phone.say(&signal::speech(8_000, 900, 3));
            wait_state(&events, &call.uuid, "SPEAKING", 1);
            call.phone.listen(Duration::from_millis(1_500));
            call.phone.say(&signal::speech(8_000, 900, 4));
            let connection = server.connection(0);
            connection.wait_said("input_audio_buffer.speech_started", 2);
            wait_state(&events, &call.uuid, "SPEAKING", 2);
            wait_state(&events, &call.uuid, "LISTENING", 3);
            call.phone.listen(Duration::from_millis(300));

            // Where something else plays, the agent is heard over it, and samples are not the agent's alone.
            let heard = call.phone.heard();
            let record = connection.record();
            assert_eq!(record.complaints, [], "{extension}");
            let truncated = record.told("conversation.item.truncate");
            assert_eq!(truncated.len(), 1, "{extension}");
            let told = truncated[0]["audio_end_ms"].as_f64().unwrap();
            if extension == "park" {
                let (at, first) = heard_ms(&heard, &chord(8_000, 8_000, 71), 8_000).unwrap();
                let (next, second) = heard_ms(&heard, &chord(8_000, 800, 72), 8_000).unwrap();
                assert!((told - first).abs() <= 20.0, "heard {first} ms, told {told}");
                assert!((780.0..=820.0).contains(&second), "{second}");
                // From the cut on, and within a frame of it, there is silence until the next answer.
                let between =
                    heard.get(at + (first * 8.0) as usize + 160..next.saturating_sub(160)).unwrap_or_default();
                assert!(
                    !between.is_empty() && audio::rms(between) < 50.0,
                    "{} between the answers",
                    audio::rms(between)
                );
            }
            let barge_in = events.stream_events("ai_barge_in", &call.uuid);
            assert_eq!(barge_in.len(), 1, "{extension}");
            assert_eq!(barge_in[0].get("Audio-Stream-Heard-Ms"), Some(format!("{told}").as_str()), "{extension}");
        }
    });
}

#[test]
fn a_call_record_has_the_numbers_of_its_conversation() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let server = RealtimeServer::start(Script::answering([Answer::chord(73, 6_000), Answer::chord(74, 700)]));
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        start(freeswitch, &events, &call, &server);
        call.phone.say(&signal::speech(8_000, 900, 3));
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        call.phone.listen(Duration::from_millis(1_000));
        call.phone.say(&signal::speech(8_000, 900, 4));
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        wait_state(&events, &call.uuid, "LISTENING", 3);
        let turns = events.stream_events("ai_turn", &call.uuid);
        assert_eq!(turns.len(), 2);
        let ms = |turn: &Event, name: &str| turn.get(name).and_then(|ms| ms.parse::<u64>().ok());
        // Most of it is the silence of 300 ms that ends a turn.
        for turn in &turns {
            let answer = ms(turn, "Audio-Stream-Answer-Ms").expect("the caller has spoken");
            assert!((290..1_000).contains(&answer), "{answer} ms from the caller's last sound to the answer");
            assert!(ms(turn, "Audio-Stream-Model-Ms").is_some_and(|model| model < 300), "{turn:?}");
        }
        assert_eq!(turns[0].get("Audio-Stream-Interrupted"), Some("true"));
        assert!(ms(&turns[0], "Audio-Stream-Silence-Ms").is_some_and(|silence| silence <= 100), "{:?}", turns[0]);
        assert!(
            ms(&turns[1], "Audio-Stream-Heard-Ms").is_some_and(|heard| (680..=720).contains(&heard)),
            "{:?}",
            turns[1]
        );
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert_eq!((&health["ai"]["turns"], &health["ai"]["interruptions"]), (&2.into(), &1.into()), "{health}");
        assert!(freeswitch.api("uuid_audio_stream metrics").contains("audio_stream_ai_answer_seconds_count"));
        call.hang_up();
        let summary = events.wait_stream("ai_summary", &call.uuid);
        assert_eq!(summary.get("Audio-Stream-Reason"), Some("call_ended"));
        let record = events
            .wait_event(SOON, |event| event.name() == "CHANNEL_HANGUP_COMPLETE" && event.uuid() == call.uuid)
            .expect("the call ends");
        for (name, value) in [("turns", "2"), ("interruptions", "1"), ("input_tokens", "10"), ("output_tokens", "10")] {
            let variable = format!("variable_audio_stream_ai_{name}");
            assert_eq!(record.get(&variable), Some(value), "{variable}");
        }
        assert_eq!(record.get("variable_audio_stream_ai_answer_ms"), summary.get("Audio-Stream-Answer-Ms"));
    });
}

#[test]
fn the_callers_sentence_survives_three_seconds_without_network() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let server = RealtimeServer::start(Script::answering([Answer::chord(73, 500)]));
        let witness = WebSocketServer::start(ServerScript::default());
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        // FreeSWITCH makes up a frame where a packet comes late, so what it reads is not what the phone says. A second stream,
        // whose network stays, receives what there was to send.
        freeswitch.stream(&call.uuid, &format!("start name=witness {} mono 8k", witness.url()));
        witness.connection(0).wait_bytes(1_600);
        start(freeswitch, &events, &call, &server);
        call.phone.say(&signal::speech(8_000, 6_500, 61));
        let first = server.connection(0);
        first.wait_said("input_audio_buffer.speech_started", 1);
        call.phone.listen(Duration::from_millis(700));
        call.phone.falter(Duration::from_millis(70));
        call.phone.listen(Duration::from_millis(800));
        server.set_reachable(false);
        call.phone.listen(Duration::from_secs(3));
        server.set_reachable(true);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        let second = server.connection(1);
        let is_over = || second.record().audio.rchunks(1_600).next().is_some_and(|end| audio::rms(end) == 0.0);
        assert!(eventually(SOON, is_over), "the sentence has no end");
        let sent = [first.record().audio.clone(), second.record().audio.clone()];
        let read = || Coding::Pcmu.decode(&Coding::Pcmu.encode(&witness.connection(0).audio())).unwrap();
        let place = |part: &[i16]| read().windows(part.len()).position(|there| there == part);
        assert!(
            eventually(SOON, || place(&sent[1]).is_some()),
            "the second session does not contain what was read, in one piece"
        );
        let (before, after) = (place(&sent[0]).expect("what was read, in one piece"), place(&sent[1]).unwrap());
        assert!(audio::rms(&sent[0][sent[0].len() - 800..]) > 0.0, "the network fails within the sentence");
        // What the kernel had taken and not delivered when the connection broke cannot be known: a message or two.
        let lost = after as i64 - (before + sent[0].len()) as i64;
        assert!((0..=480).contains(&lost), "{lost} samples are missing where the network failed");
        assert_eq!(second.record().complaints, []);
        assert!(states(&events, &call.uuid).contains(&"RECONNECTING".to_owned()));
    });
}

#[test]
fn a_refused_key_lets_the_dialplan_go_on_at_once() {
    in_freeswitch(|freeswitch| {
        for wrong_key in [WrongKey::Status, WrongKey::Event] {
            let events = listen_to(freeswitch);
            let script = Script { auth: Auth::Bearer("sk-another".into()), wrong_key, ..Script::default() };
            let server = RealtimeServer::start(script);
            let order = format!("start_ai wait=true {}", arguments(&server));
            let placed = Instant::now();
            let call = SipCall::place(freeswitch, &Dial::to("stream_wait").header("X-Stream", order));
            // The next application of the dialplan.
            let goes_on = || {
                let heard = call.phone.heard();
                let last = &heard[heard.len().saturating_sub(1_600)..];
                audio::amplitude(last, 8_000, 1_400.0) > THERE / 4.0
            };
            assert!(eventually(SOON, goes_on), "{wrong_key:?}: {:?}", states(&events, &call.uuid));
            assert!(placed.elapsed() < SOON);
            call.phone.listen(Duration::from_secs(2));
            assert_eq!(states(&events, &call.uuid), ["CONNECTING", "FAILED"], "{wrong_key:?}");
            assert_eq!(server.accepted(), 1, "{wrong_key:?}: it was not tried again");
            // FreeSWITCH itself logs what the dialplan gives an application.
            let log = freeswitch.log();
            let ours = log.lines().filter(|line| line.contains(" mod_audio_stream:"));
            assert_eq!(ours.filter(|line| line.contains("sk-test")).count(), 0, "the key is in the module's log");
        }
    });
}
