//! Recordings that FreeSWITCH makes of a call in which the server speaks now and then.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, signal, wav};

#[test]
fn a_recording_of_freeswitch_has_the_server_in_its_place() {
    in_freeswitch(|freeswitch| {
        let calls = [("park", false), ("sleep", false), ("park-silent", false), ("park", true)];
        // All at once: the recordings do not disturb each other.
        let recordings = [true, false].into_iter().flat_map(|first| calls.map(|call| (call, first)));
        let running: Vec<_> = recordings
            .map(|((extension, silence), recording_first)| {
                let call = SipCall::place(freeswitch, &Dial::to(extension));
                call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
                let file = freeswitch.folder.join(format!("recordings/{extension}-{silence}-{recording_first}.wav"));
                freeswitch.ok(&format!("uuid_setvar {} RECORD_STEREO true", call.uuid));
                let record = || freeswitch.ok(&format!("uuid_record {} start {}", call.uuid, file.display()));
                if recording_first {
                    record();
                }
                let server = WebSocketServer::start(Script::default());
                freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k binary_rate=8k send_silence={silence}"));
                let connection = server.connection(0);
                connection.wait_bytes(3_200);
                if !recording_first {
                    record();
                }
                let said = Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000).form(Form::Binary);
                for _ in 0..4 {
                    connection.order(Action::Play(said.clone()));
                    connection.order(Action::Wait(Duration::from_secs(3)));
                }
                let what = format!("{extension}, silence: {silence}, recording first: {recording_first}");
                (what, call, server, file)
            })
            .collect();
        std::thread::sleep(Duration::from_secs(13));
        for (what, call, _server, file) in running {
            freeswitch.ok(&format!("uuid_record {} stop {}", call.uuid, file.display()));
            std::thread::sleep(Duration::from_millis(300));
            let recorded = wav::read(&file).expect("FreeSWITCH wrote it");
            assert_eq!(recorded.channels, 2, "{what}");
            let right = recorded.channel(1);
            let bursts = audio::tone_stretches(&right, recorded.rate, SERVER, THERE, 80);
            assert_eq!(bursts.len(), 4, "{what}: {bursts:?}");
            for burst in &bursts {
                assert!((980..=1_020).contains(&(burst.len() / 8)), "{what}: {bursts:?}");
            }
            for pair in bursts.windows(2) {
                let period = (pair[1].start - pair[0].start) / 8;
                assert!((2_940..=3_060).contains(&period), "{what}: {period} ms from one to the next: {bursts:?}");
            }
            let left = recorded.channel(0);
            let ms = audio::tone_ms(&left, recorded.rate, CALLER, THERE) as usize;
            assert!(ms + 400 >= left.len() / 8, "{what}: of {} ms the caller is in {ms}", left.len() / 8);
        }
    });
}
