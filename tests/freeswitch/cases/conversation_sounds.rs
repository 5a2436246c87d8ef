//! What a caller hears besides answers: a recorded greeting, a sentence during a function, sounds behind the talk, last words.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::conversation::{states, wait_state};
use super::conversation_turns::Telephone;
use crate::harness::esl::Esl;
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, THERE, listen_to};
use crate::realtime::{Auth, Command, RealtimeServer, Script, Stage, heard_ms, sound};
use crate::support::{audio, eventually, signal, wav};

/// Tones of the sounds, Hz.
const AMBIENT: f64 = 350.0;
const THINKING: f64 = 2_450.0;
/// Their amplitude in the file.
const LEVEL: f64 = 2_000.0;

/// A WAV file for a test; removed with it.
struct Recording(PathBuf);

impl Recording {
    fn new(name: &str, rate: u32, samples: &[i16]) -> Self {
        let path = std::env::temp_dir().join(format!("mas-{}-{name}.wav", std::process::id()));
        wav::write(&path, rate, 1, samples).expect("a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("plain")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_recorded_greeting_is_heard_while_the_service_connects() {
    in_freeswitch(|freeswitch| {
        let file = Recording::new("greeting", 8_000, &sound("greeting", 2_000));
        // The second call finds it decoded, and the third hears another one.
        for _ in 0..2 {
            let options = [("greeting_file", file.path()), ("greeting", "Welcome to the clinic.")];
            let placed = Instant::now();
            let place = Telephone::place(freeswitch, &options);
            let call = place.call.clone();
            let begun = Instant::now();
            let mut stage = Stage::new(place);
            stage.connected();
            // The service takes its time.
            stage.pass(1_200);
            let heard = stage.heard("greeting", 2_000).map_or(0, |(_, heard)| heard);
            assert!(heard >= 300, "{heard} ms were heard before there is a session");
            stage.confirm();
            stage.await_state("SPEAKING", 500);
            let told = stage.expect_within("conversation.item.create", 2_500);
            assert_eq!(told["item"]["role"], "assistant", "{told}");
            assert_eq!(told["item"]["content"][0]["text"], "Welcome to the clinic.", "{told}");
            stage.await_state("LISTENING", 1_000);
            let at = stage.heard_whole("greeting", 2_000);
            let packets = call.phone.packets();
            let first = packets[(at / 20) as usize].at;
            let took = first.saturating_duration_since(placed.min(begun)).as_millis();
            assert!(took <= 1_500, "the greeting began {took} ms after the call was placed");
            stage.speak("u1", 300);
            stage.respond("r1", "i1", 500);
            stage.await_state("SPEAKING", 1_000);
            stage.await_state("LISTENING", 1_500);
            stage.heard_whole("i1", 500);
            call.hang_up();
        }
    });
}

#[test]
fn a_key_cuts_the_recorded_greeting_short() {
    in_freeswitch(|freeswitch| {
        let file = Recording::new("long", 8_000, &sound("greeting", 4_000));
        let options = [("greeting_file", file.path()), ("greeting", "One two three four five six seven eight.")];
        let mut stage = Stage::new(Telephone::place(freeswitch, &options));
        stage.connected();
        stage.confirm();
        stage.await_state("SPEAKING", 1_500);
        stage.pass(1_000);
        stage.operate(Command::Key('5'));
        stage.within(1_000, "the interruption", |stage| !stage.events("barge_in").is_empty());
        stage.pass(500);
        let (_, heard) = stage.heard("greeting", 4_000).expect("its beginning");
        assert!((800..3_000).contains(&heard), "{heard} ms");
        let told = stage.expect("conversation.item.create");
        let words = told["item"]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(words.starts_with("One") && !words.contains("eight"), "the model is told: {words}");
    });
}

#[test]
fn a_sentence_bridges_the_time_that_a_function_takes() {
    in_freeswitch(|freeswitch| {
        let tools = json!([{"name": "look_up"}]).to_string();
        let options = [("tools", tools.as_str()), ("tool_filler", "One moment please."), ("tool_filler_ms", "1000")];
        let mut stage = Stage::new(Telephone::place(freeswitch, &options));
        stage.open();
        stage.speak("u1", 300);
        stage.begin("r1", "looking");
        stage.audio("r1", "looking", 600);
        stage.call("r1", "c1", "look_up", "{}");
        stage.end("r1");
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("PROCESSING", 1_500);
        stage.silent(800);
        let filler = stage.expect_within("response.create", 800);
        let instructions = filler["response"]["instructions"].as_str().unwrap_or_default();
        assert!(instructions.ends_with("One moment please."), "{instructions}");
        stage.answer(&filler, "r2", "filler", 700);
        stage.await_state("SPEAKING", 500);
        stage.operate(Command::Result("c1", "{\"status\": \"sent\"}"));
        stage.expect("conversation.item.create");
        let answer = stage.expect("response.create");
        stage.answer(&answer, "r3", "answer", 900);
        stage.pass(300);
        stage.await_state("LISTENING", 3_000);
        let begins = [("looking", 600), ("filler", 700), ("answer", 900)].map(|(item, ms)| stage.heard_whole(item, ms));
        assert!(begins[0] + 1_200 <= begins[1] && begins[1] + 660 <= begins[2], "{begins:?}");
        stage.silent(2_500);
    });
}

/// How loud a tone is in what the caller hears from now on.
fn level(call: &SipCall, hz: f64, ms: u64) -> f64 {
    let from = call.phone.heard().len();
    call.phone.listen(Duration::from_millis(ms));
    audio::amplitude(call.phone.heard().get(from..).unwrap_or_default(), 8_000, hz)
}

#[test]
fn sounds_behind_the_talk_yield_to_it_and_are_no_part_of_it() {
    in_freeswitch(|freeswitch| {
        let ambient = Recording::new("ambient", 16_000, &signal::tone(16_000, AMBIENT, 1_000, LEVEL));
        let thinking = Recording::new("thinking", 8_000, &signal::tone(8_000, THINKING, 400, LEVEL));
        let options = [("ambient_sound", ambient.path()), ("thinking_sound", thinking.path())];
        let place = Telephone::place(freeswitch, &options);
        let call = place.call.clone();
        let mut stage = Stage::new(place);
        stage.open();
        let near = |level: f64, expected: f64| (level / expected - 1.0).abs() < 0.15;
        let alone = level(&call, AMBIENT, 1_000);
        assert!(near(alone, LEVEL), "the ambient sound alone: {alone:.0}");
        assert!(level(&call, THINKING, 400) < LEVEL / 20.0, "nobody thinks yet");
        stage.speak("u1", 300);
        let thinks = level(&call, THINKING, 1_000);
        assert!(near(thinks, LEVEL), "while the agent thinks: {thinks:.0}");
        stage.begin("r1", "answer");
        stage.audio("r1", "answer", 8_000);
        stage.end("r1");
        stage.await_state("SPEAKING", 500);
        stage.pass(200);
        // The answer's own sound has parts at these tones, too.
        let said = sound("answer", 8_000);
        let part = {
            let from = call.phone.heard().len();
            assert!(eventually(SOON, || call.phone.heard().len() >= from + 8_000), "no packets come");
            call.phone.heard()[from..from + 8_000].to_vec()
        };
        // An interruption is silence but for the ambient sound, and what was heard is the answer's alone.
        let at = stage.appended_ms();
        stage.speech_started("u2", at);
        let cut = stage.expect("conversation.item.truncate");
        let told = cut["audio_end_ms"].as_u64().expect("a number");
        assert!((1_000..8_000).contains(&told), "{told} ms of the answer were heard");
        let (place, alike) = audio::find(&said, &part);
        let rest: Vec<i16> = part.iter().zip(&said[place..]).map(|(a, b)| a.saturating_sub(*b)).collect();
        let [under, thinks] = [AMBIENT, THINKING].map(|hz| audio::amplitude(&rest, 8_000, hz));
        assert!(alike > 0.95, "the answer is heard as it is: {alike:.3}");
        assert!((0.15..0.40).contains(&(under / LEVEL)), "the ambient sound under the answer: {under:.0}");
        assert!(thinks < LEVEL / 10.0, "the thinking sound has ended: {thinks:.0}");
        let goes_on = level(&call, AMBIENT, 800);
        assert!(near(goes_on, LEVEL), "the ambient sound goes on: {goes_on:.0}");
        assert!(level(&call, THINKING, 300) < LEVEL / 20.0, "the caller speaks");
        stage.speech_stopped("u2", at + 500);
        stage.committed("u2");
        stage.respond("r2", "i2", 500);
        stage.await_state("LISTENING", 3_000);
        let health = freeswitch.json(&format!("{} health", call.uuid));
        let played = health["inject"]["played_ms"].as_u64().expect("a number");
        assert!(played < told + 1_000, "sounds do not count as played: {health}");
        assert_eq!(health["health"], "HEALTHY", "{health}");
        freeswitch.stream(&call.uuid, "stop");
        let ended = || level(&call, AMBIENT, 300) < LEVEL / 20.0;
        assert!(eventually(SOON, ended), "the ambient sound ends with the conversation");
    });
}

#[test]
fn comfort_noise_fills_the_silence_and_its_neighbour_has_none() {
    in_freeswitch(|freeswitch| {
        let place = Telephone::place(freeswitch, &[("ambient_sound", "comfort_noise"), ("ambient_gain", "6")]);
        let beside = Telephone::place(freeswitch, &[]);
        let (call, quiet) = (place.call.clone(), beside.call.clone());
        let (mut stage, mut other) = (Stage::new(place), Stage::new(beside));
        stage.open();
        other.open();
        let rms = |call: &SipCall| {
            let from = call.phone.heard().len();
            call.phone.listen(Duration::from_millis(1_000));
            audio::rms(call.phone.heard().get(from..).unwrap_or_default())
        };
        let dbfs = 20.0 * (rms(&call) / 32_768.0).log10();
        assert!((-48.0..=-34.0).contains(&dbfs), "{dbfs:.1} dBFS");
        assert!(rms(&quiet) < 10.0, "the other call is silent");
    });
}

/// The next application of the dialplan is heard.
fn dialplan_goes_on(call: &SipCall) -> bool {
    let heard = call.phone.heard();
    audio::amplitude(&heard[heard.len().saturating_sub(1_600)..], 8_000, 1_400.0) > THERE / 4.0
}

/// The conversation has failed, after the caller has heard something.
#[track_caller]
fn has_failed(events: &Esl, call: &SipCall) {
    wait_state(events, &call.uuid, "FAILED", 1);
    assert_eq!(states(events, &call.uuid), ["CONNECTING", "PROCESSING", "SPEAKING", "FAILED"]);
    assert!(eventually(SOON, || dialplan_goes_on(call)), "the dialplan does not go on");
}

#[test]
fn a_failed_service_is_excused_before_the_dialplan_goes_on() {
    in_freeswitch(|freeswitch| {
        let file = Recording::new("sorry", 8_000, &sound("sorry", 1_500));
        let script = Script { auth: Auth::Bearer("sk-another".into()), ..Script::default() };
        let server = RealtimeServer::start(script);
        let events = listen_to(freeswitch);
        for fallback in [format!("fallback_file={}", file.path()), "fallback='Please call again later.'".to_owned()] {
            let order = format!(
                "start_ai wait=true openai_base_url={} openai_api_key=sk-test openai_model=test-model {fallback}",
                server.base_url()
            );
            let call = SipCall::place(freeswitch, &Dial::to("stream_wait").header("X-Stream", order));
            has_failed(&events, &call);
            let heard = call.phone.heard();
            if fallback.contains("file") {
                let (_, length) = heard_ms(&heard, &sound("sorry", 1_500), 8_000).expect("the recording is heard");
                assert!(length >= 1_480.0, "{length} ms of 1500");
            } else {
                assert!(audio::rms(&heard[..heard.len() / 2]) > 100.0, "a voice is heard");
            }
            assert_eq!(freeswitch.variable(&call.uuid, "audio_stream_status").as_deref(), Some("error"));
            freeswitch.hang_up_all();
        }
    });
}
