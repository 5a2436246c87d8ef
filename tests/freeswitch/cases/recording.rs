//! Recordings made by FreeSWITCH contain the server's voice.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, SERVER, THERE};
use crate::support::farend::{Action, FarEnd, Play, Script};
use crate::support::{audio, signal, wav};

#[test]
fn record_session_has_the_caller_left_and_the_server_right() {
    in_freeswitch(|freeswitch| {
        let file = freeswitch.folder.join("recordings/session.wav");
        let call = SipCall::place(freeswitch, &Dial::to("recorded").header("X-Record", file.display().to_string()));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let far = FarEnd::start(Script::default());
        freeswitch.start_stream(&call.uuid, &far, "mono 8k");
        far.connection(0).wait_bytes(8_000);
        far.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
        std::thread::sleep(Duration::from_millis(2_500));
        freeswitch.hang_up_all();
        let recorded = wav::read(&file).expect("FreeSWITCH wrote it");
        assert_eq!(recorded.channels, 2);
        let (caller, heard) = (recorded.channel(0), recorded.channel(1));
        assert!(audio::tone_ms(&caller, recorded.rate, CALLER, THERE) >= 2_000);
        assert_eq!(audio::tone_ms(&caller, recorded.rate, SERVER, ABSENT), 0);
        let ms = audio::tone_ms(&heard, recorded.rate, SERVER, THERE);
        assert!((1_400..=1_560).contains(&ms), "{ms} ms of the server's 1500 are in the recording");
    });
}

#[test]
fn uuid_record_begun_before_or_after_the_stream_has_the_server() {
    in_freeswitch(|freeswitch| {
        for recorder_first in [true, false] {
            let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
            let file = freeswitch.folder.join(format!("recordings/first-{recorder_first}.wav"));
            let far = FarEnd::start(Script::default());
            let record = || freeswitch.ok(&format!("uuid_record {} start {}", call.uuid, file.display()));
            if recorder_first {
                record();
            }
            freeswitch.start_stream(&call.uuid, &far, "mono 8k");
            if !recorder_first {
                record();
            }
            far.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
            std::thread::sleep(Duration::from_millis(2_500));
            freeswitch.hang_up_all();
            let recorded = wav::read(&file).expect("FreeSWITCH wrote it");
            let ms = audio::tone_ms(&recorded.channel(0), recorded.rate, SERVER, THERE);
            assert!(ms >= 1_400, "recorder first: {recorder_first}; {ms} ms of the server's 1500 are in the recording");
        }
    });
}
