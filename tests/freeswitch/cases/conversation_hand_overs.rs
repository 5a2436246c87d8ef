//! An agent hands its caller over to a person: by name, announced, with music meanwhile; and has the caller back if nobody takes them.

use std::sync::Arc;
use std::time::Duration;

use super::conversation_turns::Telephone;
use crate::harness::callee::{Callee, Manner};
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE};
use crate::harness::{in_freeswitch, in_fresh_freeswitch};
use crate::realtime::Stage;
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// The music and the announcement, Hz.
const MUSIC: u32 = 1_850;
const ANNOUNCEMENT: u32 = 2_450;
/// How long the agent's last words are.
const GOODBYE_MS: u32 = 2_000;
const SUMMARY: &str = "Wants a table for two.";

/// The agent announces the transfer to `front desk`, which is this phone, and calls the function.
fn hand_over<'f>(freeswitch: &'f FreeSwitch, callee: &Callee, timeout_s: &str) -> (Stage<'f>, Arc<SipCall>) {
    let somebody = format!("front desk={},cellar=1", callee.port());
    let tone = |hz: u32, ms: u32| format!("tone_stream://v=-13;%({ms},0,{hz})");
    let (music, announcement) = (tone(MUSIC, 600_000), tone(ANNOUNCEMENT, 1_000));
    let options = [
        ("builtin_tools", "transfer"),
        ("transfer_destinations", somebody.as_str()),
        ("transfer_mode", "announced"),
        ("transfer_dial_string", "[absolute_codec_string=PCMU]sofia/tests/sip:x@127.0.0.1:{}"),
        ("transfer_timeout_s", timeout_s),
        ("transfer_hold_music", music.as_str()),
        ("transfer_announcement", announcement.as_str()),
    ];
    let place = Telephone::place(freeswitch, &options);
    let call = Arc::clone(&place.call);
    call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
    let mut stage = Stage::new(place);
    stage.connected();
    let session = stage.told("session.update").remove(0);
    let function = &session["session"]["tools"][0];
    assert_eq!(function["name"], "transfer", "{session}");
    assert_eq!(function["parameters"]["properties"]["destination"]["enum"][0], "front desk", "{function}");
    assert!(!session.to_string().contains(&callee.port().to_string()), "the model is told no number: {session}");
    stage.confirm();
    stage.await_state("LISTENING", 1_500);
    stage.speak("u1", 300);
    stage.begin("r1", "goodbye");
    stage.audio("r1", "goodbye", GOODBYE_MS);
    let arguments = serde_json::json!({"destination": "front desk", "summary": SUMMARY}).to_string();
    stage.call("r1", "c1", "transfer", &arguments);
    stage.end("r1");
    stage.await_state("SPEAKING", 1_000);
    (stage, call)
}

/// From where on, and how long, the caller hears this tone, ms.
fn hears(call: &SipCall, hz: f64) -> Option<(usize, usize)> {
    let heard = call.phone.heard();
    let stretches = audio::tone_stretches(&heard, 8_000, hz, THERE / 4.0, 160);
    let length = stretches.iter().map(|stretch| stretch.len() / 8).sum();
    stretches.iter().find(|stretch| stretch.len() >= 800).map(|stretch| (stretch.start / 8, length))
}

/// Whether the conversation is on the call.
fn talks(freeswitch: &FreeSwitch, call: &SipCall) -> bool {
    freeswitch.api(&format!("uuid_audio_stream {} health", call.uuid)).starts_with('{')
}

#[test]
fn a_person_takes_the_caller_and_the_conversation_ends() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner { rings: Duration::from_millis(1_500), ..Manner::default() });
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let (mut stage, call) = hand_over(freeswitch, &callee, "20");
        let connected = || hears(&call, OTHER).is_some();
        assert!(eventually(2 * SOON, connected), "the caller hears nobody");
        let first = stage.heard_whole("goodbye", GOODBYE_MS) as usize;
        let (music, lasted) = hears(&call, MUSIC.into()).expect("there is music");
        assert!(music + 40 >= first + GOODBYE_MS as usize, "the music begins at {music}, the last words at {first}");
        assert!(lasted >= 1_500, "{lasted} ms of music while the phone rings and the person hears the announcement");
        let (person, _) = hears(&call, OTHER).expect("as above");
        assert!(person + 40 >= music + lasted, "the music ends before the person is heard");
        // What the person hears: the announcement, then the caller.
        let told = || audio::tone_ms(&callee.phone.heard(), 8_000, CALLER, THERE / 4.0) >= 1_000;
        assert!(eventually(SOON, told), "the person does not hear the caller");
        let heard = callee.phone.heard();
        let announced = audio::tone_stretches(&heard, 8_000, ANNOUNCEMENT.into(), THERE / 4.0, 160);
        let caller = audio::tone_stretches(&heard, 8_000, CALLER, THERE / 4.0, 160);
        let length: usize = announced.iter().map(|stretch| stretch.len() / 8).sum();
        assert!((900..=1_100).contains(&length), "{length} ms of the announcement");
        assert!(announced[0].start < caller[0].start, "the announcement comes first");
        let person = freeswitch.variable(&call.uuid, "bridge_uuid").expect("they are connected");
        for leg in [&call.uuid, &person] {
            let summary = freeswitch.variable(leg, "audio_stream_ai_transfer_summary");
            assert_eq!(summary.as_deref(), Some(SUMMARY));
            assert_eq!(freeswitch.variable(leg, "audio_stream_ai_transfer_to").as_deref(), Some("front desk"));
        }
        assert!(eventually(SOON, || !talks(freeswitch, &call)), "the conversation goes on");
        stage.pass(200);
        let reasons = freeswitch.variable(&call.uuid, "audio_stream_ai_reason");
        assert_eq!(reasons.as_deref(), Some("agent_transfer"));
        // The person hangs up, and the call is over.
        freeswitch.ok(&format!("uuid_kill {person}"));
        assert!(eventually(SOON, || !freeswitch.exists(&call.uuid)), "the call stays");
    });
}

#[test]
fn a_caller_whom_nobody_takes_is_back_with_the_agent() {
    in_freeswitch(|freeswitch| {
        let busy = Manner { rings: Duration::from_millis(1_000), answer: 486, ..Manner::default() };
        let deaf = Manner { rings: Duration::from_secs(30), ..Manner::default() };
        for (manner, timeout_s, why) in [(busy, "20", "the line is busy"), (deaf, "2", "nobody answered")] {
            let callee = Callee::new(manner);
            let (mut stage, call) = hand_over(freeswitch, &callee, timeout_s);
            assert!(eventually(SOON, || hears(&call, MUSIC.into()).is_some()), "{why}: there is no music");
            let before = stage.appended_ms();
            let output = stage.expect_within("conversation.item.create", 8_000);
            let told = output["item"]["output"].as_str().unwrap_or_default();
            assert!(output["item"]["call_id"] == "c1" && told.contains(why), "the model is told: {output}");
            let meanwhile = stage.appended_ms() - before;
            assert!(meanwhile <= 200, "{why}: the service hears {meanwhile} ms of the caller meanwhile");
            let answer = stage.expect("response.create");
            stage.answer(&answer, "r2", "sorry", 1_000);
            stage.await_state("SPEAKING", 1_000);
            stage.await_state("LISTENING", 2_000);
            stage.speak("u2", 300);
            stage.respond("r3", "again", 700);
            stage.await_state("SPEAKING", 1_000);
            stage.await_state("LISTENING", 2_000);
            let begins = [("goodbye", GOODBYE_MS), ("sorry", 1_000), ("again", 700)];
            let [goodbye, sorry, _] = begins.map(|(item, ms)| stage.heard_whole(item, ms) as usize);
            let (music, lasted) = hears(&call, MUSIC.into()).expect("as above");
            assert!(goodbye + GOODBYE_MS as usize <= music + 40 && music + lasted <= sorry + 40, "{why}: out of order");
            assert!(talks(freeswitch, &call), "{why}: the conversation is over");
            // The variables that were set for the time of the call are as before.
            assert_eq!(freeswitch.variable(&call.uuid, "hangup_after_bridge"), None, "{why}");
            drop(stage);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn an_extension_of_the_dialplan_is_called_by_default() {
    in_freeswitch(|freeswitch| {
        let options = [
            ("builtin_tools", "transfer"),
            ("transfer_destinations", "front desk=tone-700"),
            ("transfer_mode", "announced"),
        ];
        let place = Telephone::place(freeswitch, &options);
        let call = Arc::clone(&place.call);
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.begin("r1", "goodbye");
        stage.audio("r1", "goodbye", GOODBYE_MS);
        stage.call("r1", "c1", "transfer", r#"{"destination":"Front Desk"}"#);
        stage.end("r1");
        assert!(eventually(2 * SOON, || hears(&call, OTHER).is_some()), "the extension is not heard");
        stage.heard_whole("goodbye", GOODBYE_MS);
        assert!(eventually(SOON, || !talks(freeswitch, &call)), "the conversation goes on");
        freeswitch.hang_up_all();
    });
}

#[test]
fn an_unload_by_force_leaves_the_caller_with_the_person() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        let callee = Callee::new(Manner { rings: Duration::from_millis(500), ..Manner::default() });
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let (stage, call) = hand_over(&freeswitch, &callee, "20");
        assert!(eventually(2 * SOON, || hears(&call, OTHER).is_some()), "the caller hears nobody");
        assert!(eventually(SOON, || !talks(&freeswitch, &call)), "the conversation goes on");
        drop(stage);
        let refused = freeswitch.api("unload mod_audio_stream");
        assert!(refused.contains("Module in use"), "the application runs, and unload answered: {refused}");
        let answer = freeswitch.api("unload -f mod_audio_stream");
        assert!(answer.contains("+OK"), "unload -f answered: {answer}");
        let log = freeswitch.log();
        assert!(!log.contains("Giving up on"), "nobody waits for the application: {}", freeswitch.last_words());
        assert!(log.contains("unload interface_kept"), "{}", freeswitch.last_words());
        // They go on talking, and another load has calls of its own.
        freeswitch.load();
        let talked = || hears(&call, OTHER).map_or(0, |(_, ms)| ms);
        let before = talked();
        assert!(eventually(SOON, || talked() >= before + 1_000), "the caller does not hear the person");
        let other = SipCall::place(&freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&other.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(3_200);
        // The application returns.
        let person = freeswitch.variable(&call.uuid, "bridge_uuid").expect("they are connected");
        freeswitch.ok(&format!("uuid_kill {person}"));
        assert!(eventually(SOON, || !freeswitch.exists(&call.uuid)), "the call stays");
        let from = server.connection(0).audio_bytes();
        server.connection(0).wait_bytes(from + 8_000);
        drop(other);
        freeswitch.hang_up_all();
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn an_unload_by_force_lets_the_person_be_called_on() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        let callee = Callee::new(Manner { rings: Duration::from_secs(8), ..Manner::default() });
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let (stage, call) = hand_over(&freeswitch, &callee, "30");
        assert!(eventually(SOON, || hears(&call, MUSIC.into()).is_some()), "there is no music");
        let answer = freeswitch.api("unload -f mod_audio_stream");
        assert!(answer.contains("+OK"), "unload -f answered: {answer}");
        assert!(!freeswitch.log().contains("Giving up on"), "{}", freeswitch.last_words());
        drop(stage);
        assert!(eventually(2 * SOON, || hears(&call, OTHER).is_some()), "the caller hears nobody");
        freeswitch.load();
        freeswitch.hang_up_all();
        assert!(eventually(SOON, || !freeswitch.exists(&call.uuid)), "the call stays");
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn the_caller_meets_a_person_in_a_conference() {
    in_freeswitch(|freeswitch| {
        let person = SipCall::place(freeswitch, &Dial::to("conference-desk"));
        person.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let options = [("builtin_tools", "transfer"), ("transfer_destinations", "front desk=conference:desk")];
        let place = Telephone::place(freeswitch, &options);
        let call = Arc::clone(&place.call);
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let mut stage = Stage::new(place);
        stage.connected();
        let session = stage.told("session.update").remove(0);
        assert!(!session.to_string().contains("conference"), "the model is told no room: {session}");
        stage.confirm();
        stage.await_state("LISTENING", 1_500);
        stage.speak("u1", 300);
        stage.begin("r1", "goodbye");
        stage.audio("r1", "goodbye", GOODBYE_MS);
        let arguments = serde_json::json!({"destination": "front desk", "summary": SUMMARY}).to_string();
        stage.call("r1", "c1", "transfer", &arguments);
        stage.end("r1");
        stage.await_state("SPEAKING", 1_000);
        assert!(eventually(2 * SOON, || hears(&call, OTHER).is_some()), "the caller hears nobody");
        assert!(eventually(SOON, || hears(&person, CALLER).is_some()), "the person does not hear the caller");
        let said = stage.heard_whole("goodbye", GOODBYE_MS) as usize;
        let (met, _) = hears(&call, OTHER).expect("as above");
        assert!(said + GOODBYE_MS as usize <= met + 40, "the agent's last words are heard before the conference");
        let summary = freeswitch.variable(&call.uuid, "audio_stream_ai_transfer_summary");
        assert_eq!(summary.as_deref(), Some(SUMMARY));
        assert!(freeswitch.api("conference desk list count").contains('2'), "both are members");
        assert!(eventually(SOON, || !talks(freeswitch, &call)), "the conversation goes on");
    });
}
