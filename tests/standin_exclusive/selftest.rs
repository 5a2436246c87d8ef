//! The stand-in host, tried with a small C module: it calls and locks as FreeSWITCH's source says FreeSWITCH does.

use crate::host::{CallKind, CallOptions, Host, compile_module, flag, level};

const READ_STREAM: u32 = 1;
const WRITE_STREAM: u32 = 1 << 1;
const WRITE_REPLACE: u32 = 1 << 2;
const STEREO: u32 = 1 << 5;
const FIRST: u32 = 1 << 26;

fn start() -> Host {
    let host = Host::start("");
    host.load_module_at(&compile_module("mod_selftest"), "mod_selftest").unwrap();
    host
}

fn trace(host: &Host) -> Vec<String> {
    host.api("selftest trace").lines().map(str::to_owned).collect()
}

fn add(host: &Host, uuid: &str, name: &str, flags: u32, mode: &str) -> String {
    host.api(&format!("selftest {uuid} add {name} {flags} {mode}"))
}

fn parked() -> CallOptions {
    CallOptions { virtual_clock: true, ..CallOptions::default() }
}

fn playing() -> CallOptions {
    CallOptions { kind: CallKind::Playing, ..parked() }
}

#[test]
fn a_bug_is_initialised_called_per_frame_and_closed_once() {
    let host = start();
    let call = host.call(parked());
    assert_eq!(add(&host, call.uuid(), "a", READ_STREAM, "-"), "+OK\n");
    assert_eq!(call.bugs(), 1);
    call.speak(&[5; 320]);
    call.tick(2);
    assert_eq!(host.api(&format!("selftest {} remove a", call.uuid())), "+OK\n");
    call.tick(2);
    let frame = "a READ rate=8000 channels=1 samples=160 bytes=320 lanes=5,5,5,5";
    assert_eq!(trace(&host), ["a INIT", frame, frame, "a CLOSE unlocked unlisted"]);
    assert_eq!(call.bugs(), 0);
}

#[test]
fn hanging_up_closes_bugs_with_the_list_locked() {
    let host = start();
    let call = host.call(parked());
    add(&host, call.uuid(), "a", READ_STREAM, "-");
    call.hangup();
    call.wait_ended();
    assert_eq!(trace(&host), ["a INIT", "a CLOSE locked unlisted"]);
    assert_eq!(add(&host, call.uuid(), "b", READ_STREAM, "-"), "-ERR No such channel!\n");
}

#[test]
fn a_refused_bug_is_not_closed() {
    let host = start();
    let call = host.call(parked());
    assert_eq!(add(&host, call.uuid(), "a", READ_STREAM, "refuse"), "-ERR\n");
    call.tick(1);
    assert_eq!(trace(&host), ["a INIT"]);
    assert_eq!(call.bugs(), 0);
}

#[test]
fn a_bug_that_answers_false_is_pruned_and_closed() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "r", READ_STREAM, "end_on_read");
    add(&host, call.uuid(), "w", WRITE_REPLACE, "end_on_write");
    call.speak(&[5; 160]);
    call.tick(3);
    let expected = [
        "r INIT",
        "w INIT",
        "r READ rate=8000 channels=1 samples=160 bytes=320 lanes=5,5,5,5",
        "r CLOSE unlocked unlisted",
        "w WRITE_REPLACE samples=160 first=0",
        "w CLOSE unlocked unlisted",
    ];
    assert_eq!(trace(&host), expected);
    assert_eq!(call.bugs(), 0);
}

#[test]
fn the_caller_hears_what_the_callback_wrote_into_the_frame() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", WRITE_REPLACE, "double");
    call.play(&[21; 160]);
    call.tick(2);
    assert_eq!(call.heard(), [vec![42; 160], vec![0; 160]].concat());
    assert_eq!(call.heard_frames().iter().map(|frame| frame.samples).collect::<Vec<_>>(), [160, 160]);
}

#[test]
fn a_bug_asked_to_be_first_comes_before_older_ones() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "plus", WRITE_REPLACE, "add");
    add(&host, call.uuid(), "double", WRITE_REPLACE | FIRST, "double");
    call.play(&[10; 160]);
    call.tick(1);
    assert_eq!(call.heard(), [21; 160]);
}

#[test]
fn a_recorder_behind_a_first_bug_records_what_the_caller_hears() {
    let host = start();
    let call = host.call(playing());
    call.record();
    add(&host, call.uuid(), "double", WRITE_REPLACE | FIRST, "double");
    call.speak(&[1; 480]);
    call.play(&[10; 480]);
    call.tick(3);
    let recorded = call.recorded();
    assert!(recorded.chunks(2).any(|frame| frame == [1, 20]), "{recorded:?}");
    assert!(!recorded.contains(&10));
}

#[test]
fn nobody_writes_to_a_parked_call() {
    let host = start();
    let call = host.call(parked());
    add(&host, call.uuid(), "a", WRITE_REPLACE, "-");
    call.tick(5);
    assert_eq!(trace(&host), ["a INIT"]);
    assert_eq!(call.heard_count(), 0);
}

#[test]
fn stereo_pairs_the_caller_with_the_other_leg() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", READ_STREAM | WRITE_STREAM | STEREO, "-");
    call.speak(&[1; 480]);
    call.play(&[2; 480]);
    call.tick(3);
    let trace = trace(&host);
    // The first packet is read before anything was written: the other leg is bytes of 255.
    assert_eq!(trace[1], "a READ rate=8000 channels=2 samples=160 bytes=640 lanes=1,-1,1,-1");
    assert_eq!(trace[2], "a READ rate=8000 channels=2 samples=160 bytes=640 lanes=1,2,1,2");
}

#[test]
fn stereo_of_a_two_channel_codec_has_four_lanes() {
    let host = start();
    let call = host.call(CallOptions { rate: 48000, channels: 2, ..playing() });
    add(&host, call.uuid(), "a", READ_STREAM | WRITE_STREAM | STEREO, "-");
    call.speak(&[1, 2].repeat(2 * 960));
    call.play(&[3, 4].repeat(2 * 960));
    call.tick(2);
    assert_eq!(trace(&host)[2], "a READ rate=48000 channels=2 samples=960 bytes=7680 lanes=1,3,2,4");
}

#[test]
fn mixed_audio_is_the_saturated_sum() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", READ_STREAM | WRITE_STREAM, "-");
    call.speak(&[30000; 320]);
    call.play(&[30000; 320]);
    call.tick(2);
    assert_eq!(trace(&host)[2], "a READ rate=8000 channels=1 samples=160 bytes=320 lanes=32767,32767,32767,32767");
}

#[test]
fn comfort_noise_reaches_a_bug_as_samples_of_minus_one() {
    let host = start();
    let call = host.call(CallOptions { comfort_noise: true, ..parked() });
    add(&host, call.uuid(), "a", READ_STREAM, "-");
    call.tick(1);
    assert_eq!(trace(&host)[1], "a READ rate=8000 channels=1 samples=160 bytes=320 lanes=-1,-1,-1,-1");
}

#[test]
fn a_codec_change_changes_the_frames_of_a_living_bug() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", READ_STREAM | WRITE_REPLACE, "-");
    call.speak(&[7; 160 + 640]);
    call.tick(1);
    call.set_codec(16000, 40, 1);
    call.tick(1);
    let expected = [
        "a INIT",
        "a READ rate=8000 channels=1 samples=160 bytes=320 lanes=7,7,7,7",
        "a WRITE_REPLACE samples=160 first=0",
        "a READ rate=16000 channels=1 samples=640 bytes=1280 lanes=7,7,7,7",
        "a WRITE_REPLACE samples=640 first=0",
    ];
    assert_eq!(trace(&host), expected);
}

#[test]
fn bridged_calls_hear_each_other_in_packets_of_their_own_length() {
    let host = start();
    let (a, b) = (host.call(parked()), host.call(CallOptions { ptime_ms: 30, ..parked() }));
    a.bridge(&b);
    a.speak(&[9; 480]);
    b.speak(&[8; 240]);
    a.tick(3);
    b.tick(1);
    assert_eq!(b.heard(), [9; 480]);
    assert_eq!(b.heard_frames().iter().map(|frame| frame.samples).collect::<Vec<_>>(), [240, 240]);
    assert_eq!(a.heard(), [8; 160], "80 samples wait for the rest of their packet");
    assert!(a.test_flag(flag::BRIDGED));
}

#[test]
fn echo_returns_what_was_said() {
    let host = start();
    let call = host.call(CallOptions { kind: CallKind::Echo, ..parked() });
    let said: Vec<i16> = (0..320).collect();
    call.speak(&said);
    call.tick(2);
    assert_eq!(call.heard(), said);
}

#[test]
fn on_hold_nothing_is_read_or_written() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", READ_STREAM | WRITE_REPLACE, "-");
    call.hold(true);
    call.tick(3);
    assert_eq!(trace(&host), ["a INIT"]);
    assert_eq!(call.heard_count(), 0);
}

#[test]
fn the_clock_gives_a_frame_every_packet_time() {
    let host = start();
    let call = host.call(CallOptions { kind: CallKind::Playing, ..CallOptions::default() });
    call.wait_until("ten frames were heard", |call| call.heard_frames().len() >= 10);
    let frames = call.heard_frames();
    // Only that it does not run ahead: a busy machine may be late.
    assert!(frames[9].at - frames[0].at >= std::time::Duration::from_millis(9 * 20 - 25));
}

#[test]
fn attaching_before_the_answer_asks_for_early_media() {
    let host = start();
    let call = host.call(CallOptions { answered: false, ..parked() });
    assert_eq!(add(&host, call.uuid(), "a", READ_STREAM, "-"), "+OK\n");
    assert!(call.test_flag(flag::EARLY_MEDIA));
    let refusing = host.call(CallOptions { answered: false, refuses_media: true, ..parked() });
    assert_eq!(add(&host, refusing.uuid(), "b", READ_STREAM, "-"), "-ERR\n");
    refusing.wait_ended();
}

#[test]
fn an_application_runs_on_the_sessions_thread() {
    let host = start();
    let call = host.call(parked());
    call.set_variable("greeting", "hello");
    call.execute("selftest_read", "3");
    call.wait_until("the application reads", |call| call.variable("current_application").is_some());
    call.tick(3);
    assert_eq!(call.executed(), 1);
    assert_eq!(call.variable("selftest_frames").as_deref(), Some("3"));
    assert_eq!(call.variable("selftest_expanded"), None, "a value that would be expanded is refused");
    let event = host.wait_event(|event| event.subclass == "selftest::done");
    assert_eq!(event.header("unique-id"), Some(call.uuid()));
    assert_eq!(event.header("variable_greeting"), Some("hello"));
    assert_eq!(event.json()["frames"], 3);
    call.execute("selftest_read", "1000000");
    call.hangup();
    call.wait_ended();
}

#[test]
fn commands_get_their_argument_stripped_and_answer_in_pieces() {
    let host = start();
    assert_eq!(host.api("selftest echo  two  words  "), "[ two  words] 7");
    assert_eq!(host.api("nonsense"), "INVALID COMMAND!\n");
    assert_eq!(host.apis(), [("selftest".to_owned(), "<uuid> add|remove".to_owned())]);
    assert_eq!(host.applications(), [("selftest_read".to_owned(), "<frames>".to_owned())]);
}

#[test]
fn a_module_in_use_is_not_unloaded_unless_forced() {
    let host = start();
    assert_eq!(host.api("selftest lock"), "+OK locked\n");
    assert_eq!(host.unload_module_named("mod_selftest", false), Err("Module in use.".to_owned()));
    assert_eq!(host.api("selftest unlock"), "");
    assert_eq!(host.unload_module_named("mod_selftest", false), Ok(()));
    assert_eq!(host.unload_module_named("mod_selftest", false), Err("No such module!".to_owned()));
}

#[test]
fn loading_and_unloading_registers_and_frees_everything() {
    let host = Host::start("");
    let path = compile_module("mod_selftest");
    for _ in 0..3 {
        host.load_module_at(&path, "mod_selftest").unwrap();
        assert_eq!(host.load_module_at(&path, "mod_selftest"), Err("Module already loaded".to_owned()));
        assert_eq!(host.subclasses(), [("selftest::done".to_owned(), "selftest".to_owned())]);
        assert_eq!(host.completions(), ["selftest ::console::list_uuid add", "selftest trace"]);
        host.unload_module_named("mod_selftest", false).unwrap();
        assert!(host.subclasses().is_empty());
        assert!(host.completions().is_empty());
        assert_eq!(host.api("selftest trace"), "INVALID COMMAND!\n");
    }
}

#[test]
fn configuration_is_read_through_the_xml_functions() {
    let host = Host::start("");
    host.set_config(
        "selftest.conf",
        Some(
            r#"<?xml version="1.0"?>
            <!-- a <param name="not" value="this"/> -->
            <configuration name="selftest.conf" description="x">
              <settings><param name="one" value="1 &lt; 2"/><other/><param name='two' value='"'/></settings>
            </configuration>"#,
        ),
    );
    host.load_module_at(&compile_module("mod_selftest"), "mod_selftest").unwrap();
    let notices: Vec<_> =
        host.logs().into_iter().filter(|log| log.level == level::NOTICE).map(|log| log.text).collect();
    assert_eq!(notices, ["one=1 < 2", "two=\""]);
    host.set_config("selftest.conf", None);
}

#[test]
fn logging_inside_a_media_callback_is_noticed() {
    let host = start();
    let call = host.call(playing());
    add(&host, call.uuid(), "a", WRITE_REPLACE, "chatter");
    call.tick(1);
    assert!(host.wait_log(|log| log.text == "chatter").in_media_callback);
}
