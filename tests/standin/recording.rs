//! Recordings of calls: what is in the file, where it may be, and how it ends.
//!
//! These calls go by the clock: a frame's time decides its place in the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::calls::{CALLER, LOUD, OTHER, Stream, call, events, is, switch};
use crate::host::{Call, CallKind, CallOptions, Event};
use crate::support::wav::Wav;
use crate::support::websocket_server::{PATIENCE, Play, Script};
use crate::support::{audio, eventually, signal, wav};
use serde_json::Value;

/// How often a case is tried on a machine that is busy elsewhere.
const ATTEMPTS: u32 = 8;
/// A call is not in time any more if its thread is late by this.
const LATE: Duration = Duration::from_millis(150);

/// A call, and the folder of its recordings.
struct Recorded {
    call: Call<'static>,
    folder: PathBuf,
}

impl Recorded {
    fn place(options: CallOptions) -> Self {
        let call = call(options);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recordings-{}", call.uuid()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        call.set_variable("AUDIO_STREAM_RECORD_DIR", folder.to_str().unwrap());
        Self { call, folder }
    }

    fn command(&self, command: &str) -> String {
        crate::calls::command(&self.call, command)
    }

    #[track_caller]
    fn ok(&self, command: &str) {
        assert_eq!(self.command(command), "+OK Success", "{command}");
    }

    fn events(&self, kind: &str) -> Vec<Event> {
        events(&self.call, kind)
    }

    /// Waits for the event of the recording's end.
    fn ended(&self, file: &str) -> Event {
        let path = self.folder.join(file);
        switch().wait_event(|event| {
            is(event, "record")
                && event.header("Audio-Stream-Status") != Some("started")
                && event.header("Audio-Stream-File") == path.to_str()
        })
    }

    #[track_caller]
    fn read(&self, file: &str) -> Wav {
        let wav = wav::read(&self.folder.join(file)).unwrap();
        assert_eq!(wav.channels, 2);
        wav
    }

    /// Whether the machine has kept up with the call and all of its recordings that have ended. If not, a frame's place in the file
    /// is another than in what was said.
    fn kept_up(&self) -> bool {
        let whole = |event: &Event| event.header("Audio-Stream-Dropped-Frames").is_none_or(|dropped| dropped == "0");
        self.call.latest() < LATE && self.events("record").iter().all(whole)
    }

    /// Stops the recording and reads it.
    #[track_caller]
    fn stop(&self, file: &str) -> Wav {
        self.ok("record stop");
        self.ended(file);
        self.read(file)
    }
}

impl Drop for Recorded {
    /// Whatever the test was about: nobody logs, fires events or panics in a media callback.
    fn drop(&mut self) {
        if !thread::panicking() {
            let uuid = Some(self.call.uuid());
            let wrong = switch().look(|_, logs| {
                let wrong = |log: &&crate::host::Log| {
                    log.uuid.as_deref() == uuid && (log.in_media_callback || log.text.contains(" panic "))
                };
                logs.iter().find(wrong).cloned()
            });
            assert!(wrong.is_none(), "{wrong:?}");
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn by_the_clock(kind: CallKind) -> CallOptions {
    CallOptions { kind, ..CallOptions::default() }
}

/// Tries a case again where it gives nothing, since the machine did not keep up with it.
#[track_caller]
fn steadily<T>(case: impl Fn() -> Option<T>) {
    assert!(
        (0..ATTEMPTS).any(|_| case().is_some()),
        "the machine does not keep up with a call once in {ATTEMPTS} times"
    );
}

/// Where `part` lies in `whole`, sample for sample.
#[track_caller]
fn exactly(what: &str, whole: &[i16], part: &[i16]) -> usize {
    let (at, alike) = audio::find(whole, part);
    let differs = whole[at..].iter().zip(part).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: from {at} on alike to {alike}, then another sample after so many");
    at
}

/// Lets the caller say it all.
fn say(call: &Call<'_>, said: &[i16]) {
    call.speak(said);
    call.wait_until("all is said", |call| call.unspoken() == 0);
}

#[test]
fn a_recording_and_what_both_ends_heard_agree_sample_for_sample() {
    for recording_first in [true, false] {
        steadily(|| {
            let recorded = Recorded::place(by_the_clock(CallKind::Playing));
            let call = &recorded.call;
            if recording_first {
                recorded.ok("record start both.wav");
            }
            let stream = Stream::start(call, "mono 8k inject_buffer_ms=10000");
            if !recording_first {
                recorded.ok("record start both.wav");
            }
            let (said, answer) = (signal::speech(8_000, 1_500, 3), signal::speech(8_000, 1_500, 4));
            stream.play(Play::mono(answer.clone(), 8_000));
            say(call, &said);
            assert!(eventually(PATIENCE, || stream.health()["inject"]["played_ms"].as_u64() >= Some(1_500)));
            let wav = recorded.stop("both.wav");
            let in_time = recorded.kept_up() && stream.health()["inject"]["underrun_count"] == 0;
            in_time.then(|| {
                assert_eq!(wav.rate, 8_000);
                exactly("the caller in the recording", &wav.channel(0), &said);
                exactly("the server in the recording", &wav.channel(1), &answer);
                // Not only what we know was played, but all the caller was given meanwhile.
                let heard = call.heard();
                let from = exactly("the server at the caller's ear", &heard, &answer);
                let around = &heard[from.saturating_sub(80)..][..12_080];
                exactly("what was heard, with what is around it", &wav.channel(1), around);
                exactly("what the server got", &stream.stop(), &said);
            })
        });
    }
}

#[test]
fn both_channels_are_aligned() {
    steadily(|| {
        let recorded = Recorded::place(by_the_clock(CallKind::Echo));
        recorded.ok("record start echo.wav");
        // A pause before, so that silence has been put in.
        let said = signal::speech(8_000, 1_000, 5);
        say(&recorded.call, &said);
        recorded.call.hold(true);
        thread::sleep(Duration::from_millis(700));
        recorded.call.hold(false);
        let again = signal::speech(8_000, 1_000, 6);
        say(&recorded.call, &again);
        thread::sleep(Duration::from_millis(100));
        let wav = recorded.stop("echo.wav");
        recorded.kept_up().then(|| {
            for (when, said) in [("before the hold", said), ("after it", again)] {
                let at = [0, 1].map(|channel| exactly(when, &wav.channel(channel), &said));
                assert!(at[0].abs_diff(at[1]) <= 160, "{when}: {at:?}");
            }
        })
    });
}

#[test]
fn a_call_without_a_stream_is_recorded_with_its_silence() {
    steadily(|| {
        let recorded = Recorded::place(by_the_clock(CallKind::Parked));
        recorded.ok("record start parked.wav");
        let said = signal::speech(8_000, 1_000, 7);
        say(&recorded.call, &said);
        recorded.call.hold(true);
        thread::sleep(Duration::from_millis(600));
        let health: Value = serde_json::from_str(&recorded.command("health")).unwrap();
        assert_eq!((&health["mode"], &health["state"]), (&"record".into(), &"RECORDING".into()), "{health}");
        assert!(health["record"]["duration_ms"].as_u64() >= Some(500), "{health}");
        assert_eq!(health["record"]["heard"]["peak_dbfs"], Value::Null, "{health}");
        let wav = recorded.stop("parked.wav");
        recorded.kept_up().then(|| {
            exactly("the caller", &wav.channel(0), &said);
            assert!(wav.channel(1).iter().all(|&sample| sample == 0), "nobody wrote to the channel");
            assert!(wav.channel(0).len() >= 12_000, "the hold is {} samples long", wav.channel(0).len());

            let event = recorded.ended("parked.wav");
            let body = event.json();
            assert_eq!((&body["status"], &body["reason"]), (&"stopped".into(), &"stopped".into()), "{body}");
            let peak = wav.channel(0).iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            let expected = 20.0 * (f64::from(peak) / 32_768.0).log10();
            assert!((body["caller"]["peak_dbfs"].as_f64().unwrap() - expected).abs() < 0.01, "{body}");
            let expected = 20.0 * (audio::rms(&wav.channel(0)) / 32_768.0).log10();
            assert!((body["caller"]["rms_dbfs"].as_f64().unwrap() - expected).abs() < 0.02, "{body}");
            assert_eq!(body["duration_ms"], (wav.channel(0).len() as u64 / 8), "{body}");
            assert_eq!(recorded.events("record").len(), 2, "one of its start and one of its end");
        })
    });
}

#[test]
fn a_codec_change_in_mid_call_keeps_the_files_rate() {
    steadily(|| {
        let recorded = Recorded::place(by_the_clock(CallKind::Echo));
        recorded.ok("record start change.wav");
        say(&recorded.call, &signal::tone(8_000, CALLER, 1_000, LOUD));
        recorded.call.set_codec(48_000, 20, 2);
        let tone = signal::tone(48_000, OTHER, 1_000, LOUD);
        say(&recorded.call, &signal::interleave(&tone, &tone));
        thread::sleep(Duration::from_millis(100));
        let wav = recorded.stop("change.wav");
        recorded.kept_up().then(|| {
            assert_eq!(wav.rate, 8_000);
            for channel in [wav.channel(0), wav.channel(1)] {
                for hz in [CALLER, OTHER] {
                    let ms = audio::tone_ms(&channel, 8_000, hz, LOUD / 2.0);
                    assert!((940..=1_040).contains(&ms), "{hz} Hz for {ms} ms");
                }
            }
        })
    });
}

#[test]
fn a_crash_leaves_a_valid_file_that_lacks_less_than_a_second() {
    let recorded = Recorded::place(by_the_clock(CallKind::Echo));
    recorded.ok("record start crash.wav");
    let said = signal::speech(8_000, 2_500, 8);
    let heard_before = recorded.call.heard_count();
    recorded.call.speak(&said);
    for _ in 0..25 {
        thread::sleep(Duration::from_millis(100));
        let heard = recorded.call.heard_count() - heard_before;
        fs::copy(recorded.folder.join("crash.wav"), recorded.folder.join("copy.wav")).unwrap();
        let copy = recorded.read("copy.wav");
        assert!(copy.channel(0).len() + 8_000 >= heard, "{} of {heard} samples", copy.channel(0).len());
    }
    recorded.stop("crash.wav");
}

#[test]
fn every_refusal_says_why_and_leaves_nothing() {
    let recorded = Recorded::place(by_the_clock(CallKind::Parked));
    let folder = recorded.folder.display();
    fs::write(recorded.folder.join("there.wav"), "precious").unwrap();
    fs::create_dir(recorded.folder.join("folder.wav")).unwrap();
    for (command, reply) in [
        (
            "record start there.wav".to_owned(),
            format!("-ERR {folder}/there.wav already exists; recordings are never overwritten, choose another name"),
        ),
        (
            "record start folder.wav".to_owned(),
            format!("-ERR {folder}/folder.wav already exists; recordings are never overwritten, choose another name"),
        ),
        (
            "record start no/such.wav".to_owned(),
            format!("-ERR there is no folder {folder}/no; create it, or choose another"),
        ),
        (
            "record start ../out.wav".to_owned(),
            "-ERR '../out.wav' cannot be the name of a recording: it must not have '..' in it".to_owned(),
        ),
        (
            "record start a.mp3".to_owned(),
            "-ERR 'a.mp3' cannot be the name of a recording: recordings are WAV files, whose names end in .wav"
                .to_owned(),
        ),
        ("record stop".to_owned(), "-ERR no recording 'default' on this call; start one first".to_owned()),
    ] {
        assert_eq!(recorded.command(&command), reply);
    }
    let unwritable = recorded.command("record start /proc/a.wav");
    assert!(unwritable.starts_with("-ERR ") && unwritable.contains("/proc"), "{unwritable}");
    assert_eq!((recorded.call.bugs(), recorded.events("record").len()), (0, 0));
    assert_eq!(fs::read(recorded.folder.join("there.wav")).unwrap(), b"precious");

    recorded.ok("record start one.wav");
    let twice = recorded.command("record start two.wav");
    let running = format!("recording 'default' of this call is running already ({folder}/one.wav)");
    assert_eq!(twice, format!("-ERR {running}; stop it first or give this one name=<other>"));
    assert!(!recorded.folder.join("two.wav").exists());
    recorded.ok("record name=b start two.wav");
    assert_eq!(recorded.command("record name=c stop"), "-ERR no recording 'c' on this call; it has b, default");
    recorded.ok("record stop");
    recorded.ok("record name=b stop");
    assert_eq!(recorded.command("record stop"), "-ERR no recording 'default' on this call; start one first");
    assert_eq!(recorded.call.bugs(), 0);
    recorded.ended("one.wav");
    recorded.ended("two.wav");
}

#[test]
fn without_record_dir_a_recording_is_in_the_switchs_folder() {
    let recorded = Recorded::place(by_the_clock(CallKind::Parked));
    recorded.call.set_variable("AUDIO_STREAM_RECORD_DIR", "");
    let nowhere = recorded.command("record start a.wav");
    let advice = "set record_dir in audio_stream.conf.xml, or give an absolute path";
    assert_eq!(nowhere, format!("-ERR there is no folder for recordings: {advice}"));
    recorded.call.set_variable("recordings_dir", recorded.folder.to_str().unwrap());
    recorded.ok("record start a b.wav");
    recorded.stop("a b.wav");
    recorded.ok(&format!("record start {}/absolute.wav", recorded.folder.display()));
    recorded.stop("absolute.wav");
}

#[test]
fn a_recording_outlives_streams_and_ends_with_the_call() {
    steadily(|| {
        let recorded = Recorded::place(by_the_clock(CallKind::Playing));
        recorded.call.set_variable("greeting", "hello");
        let stream = Stream::start(&recorded.call, "mono 8k");
        recorded.ok("record start whole.wav");
        let health = stream.health();
        assert_eq!(health["record"]["file"], recorded.folder.join("whole.wav").to_str().unwrap(), "{health}");
        stream.stop();
        let said = signal::speech(8_000, 1_000, 9);
        say(&recorded.call, &said);
        recorded.call.hangup();
        recorded.call.wait_ended();
        let event = recorded.ended("whole.wav");
        assert_eq!(event.header("Audio-Stream-Reason"), Some("the call ended"));
        assert_eq!(event.header("variable_greeting"), Some("hello"), "with the channel's data, though it is gone");
        let kept = &said[..said.len() - 160];
        recorded.kept_up().then(|| exactly("the caller", &recorded.read("whole.wav").channel(0), kept))
    });
}

#[test]
fn two_recordings_and_two_streams_of_one_call_are_each_whole() {
    steadily(|| {
        let recorded = Recorded::place(by_the_clock(CallKind::Playing));
        let one = Stream::start_as(&recorded.call, "one", Script::default(), "mono 8k inject_mode=mix");
        recorded.ok("record name=a start a.wav");
        let two = Stream::start_as(&recorded.call, "two", Script::default(), "mono 8k inject_mode=mix");
        recorded.ok("record name=b start b.wav");
        one.play(Play::mono(signal::tone(8_000, CALLER, 1_000, LOUD), 8_000));
        two.play(Play::mono(signal::tone(8_000, OTHER, 1_000, LOUD), 8_000));
        let played = |stream: &Stream<'_>| stream.health()["inject"]["played_ms"] == 1_000;
        assert!(eventually(PATIENCE, || played(&one) && played(&two)));
        let heard = [("a", "a.wav"), ("b", "b.wav")].map(|(name, file)| {
            recorded.ok(&format!("record name={name} stop"));
            recorded.ended(file);
            (file, recorded.read(file).channel(1))
        });
        let uninterrupted = |stream: &Stream<'_>| stream.health()["inject"]["underrun_count"] == 0;
        (recorded.kept_up() && uninterrupted(&one) && uninterrupted(&two)).then(|| {
            for (file, heard) in heard {
                for hz in [CALLER, OTHER] {
                    let ms = audio::tone_ms(&heard, 8_000, hz, LOUD / 2.0);
                    assert!((940..=1_040).contains(&ms), "{file}: {hz} Hz for {ms} ms");
                }
            }
        })
    });
}

#[test]
fn the_dialplan_records_too() {
    let recorded = Recorded::place(by_the_clock(CallKind::Parked));
    recorded.call.execute("audio_stream", "record start dialplan.wav");
    recorded.call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(recorded.call.variable("audio_stream_status").as_deref(), Some("ok"));
    recorded.call.execute("audio_stream", "record start dialplan.wav");
    recorded.call.wait_until("the application has returned", |call| call.executed() == 2);
    assert_eq!(recorded.call.variable("audio_stream_status").as_deref(), Some("error"));
    recorded.call.execute("audio_stream", "record stop");
    recorded.ended("dialplan.wav");
}

#[test]
fn stops_and_hangups_at_any_moment_leave_whole_files_only() {
    for turn in 0..24_u64 {
        let recorded = Recorded::place(by_the_clock(CallKind::Echo));
        recorded.call.speak(&signal::tone(8_000, CALLER, 200, LOUD));
        recorded.ok("record start a.wav");
        thread::sleep(Duration::from_millis(turn % 6 * 9));
        match turn % 3 {
            0 => recorded.call.hangup(),
            1 => recorded.ok("record stop"),
            _ => {
                recorded.call.hangup();
                let stop = recorded.command("record stop");
                let known = ["+OK Success", "-ERR No such channel!"];
                assert!(known.contains(&stop.as_str()), "{stop}");
            }
        }
        recorded.ended("a.wav");
        recorded.read("a.wav");
        assert_eq!(recorded.events("record").len(), 2);
        assert_eq!(recorded.events("error").len(), 0);
        if turn % 3 == 1 {
            assert_eq!(recorded.call.bugs(), 0);
        }
    }
}
