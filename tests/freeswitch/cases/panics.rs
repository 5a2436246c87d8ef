//! A panic inside of the module, in a call of FreeSWITCH's: it costs the stream or the recording that it happens in, an event tells, and
//! the call, what else is on it, and another call notice nothing. The built module fails where a name says so, if it has debug
//! assertions; a release has nothing of it.
#![cfg(debug_assertions)]

use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE, listen_to};
use crate::support::passage::{follow, noise};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

const OUTSIDE: &str = "a callback or an event of the stream failed inside of the module";
/// Of what the innocent caller is at the server FreeSWITCH may have made up this share, where packets come late.
const MADE_UP: usize = 50;

/// A call that has to notice nothing.
struct Innocent<'f> {
    freeswitch: &'f FreeSwitch,
    call: SipCall,
    server: WebSocketServer,
    said: Vec<i16>,
    lost: u64,
}

impl<'f> Innocent<'f> {
    fn place(freeswitch: &'f FreeSwitch) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
        server.connection(0).wait_bytes(1_600);
        let said = noise(23, 60 * 8_000);
        let lost = freeswitch.packets_lost(&call.uuid);
        call.phone.say(&said);
        Self { freeswitch, call, server, said, lost }
    }

    /// Every sample of the caller is at the server, and every one of the server at the caller.
    #[track_caller]
    fn has_lost_nothing(&self, events: &Esl, what: &str) {
        let connection = self.server.connection(0);
        let play = Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000).form(Form::Binary);
        connection.order(Action::Play(play));
        self.freeswitch.wait_played(&self.call.uuid, 1_000);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let ms = audio::tone_ms(&self.call.phone.heard(), 8_000, SERVER, THERE);
        assert!((960..=1_040).contains(&ms), "{what}: of 1000 ms of the server {ms} are heard");
        let passage = follow(&self.said, &connection.audio());
        let lost = 160 * (self.freeswitch.packets_lost(&self.call.uuid) - self.lost) as usize;
        assert!(passage.arrived > 8_000 && passage.from + passage.lost <= lost, "{what}: {passage:?}, lost {lost}");
        assert!(passage.foreign <= passage.arrived / MADE_UP, "{what}: {passage:?}");
        for event in ["error", "disconnect"] {
            assert!(events.stream_events(event, &self.call.uuid).is_empty(), "{what}: the other call has an {event}");
        }
    }
}

/// The module's events of this name on a call.
fn named(events: &Esl, event: &str, call: &SipCall, name: &str) -> Vec<Event> {
    let all = events.stream_events(event, &call.uuid);
    all.into_iter().filter(|event| event.get("Audio-Stream-Name") == Some(name)).collect()
}

/// The module has said where it failed.
#[track_caller]
fn is_logged(freeswitch: &FreeSwitch) {
    let told = || freeswitch.log().lines().any(|line| line.contains("panic caught") && line.contains("on purpose"));
    assert!(eventually(SOON, told), "the log does not tell of it");
}

#[test]
fn a_panic_in_a_stream_costs_that_stream_alone() {
    in_freeswitch(|freeswitch| {
        let task = "the stream's task failed inside of the module";
        let places = [
            ("fails-in-task", task),
            ("fails-in-event", OUTSIDE),
            ("fails-in-read", OUTSIDE),
            ("fails-in-write", OUTSIDE),
        ];
        for (name, reason) in places {
            let events = listen_to(freeswitch);
            let other = Innocent::place(freeswitch);
            let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let beside = WebSocketServer::start(Script::default());
            let server = WebSocketServer::start(Script::of([Action::Text("for the operator".to_owned())]));
            freeswitch.stream(&call.uuid, &format!("start name=beside {} mono 8k", beside.url()));
            beside.connection(0).wait_bytes(3_200);
            let lost = freeswitch.packets_lost(&call.uuid);
            let from = beside.connection(0).audio().len();
            freeswitch.stream(&call.uuid, &format!("start name={name} {} mono 8k", server.url()));
            let ended = || !named(&events, "disconnect", &call, name).is_empty();
            assert!(eventually(SOON, ended), "{name}: it goes on");
            let errors = named(&events, "error", &call, name);
            assert_eq!(errors.len(), 1, "{name}: it is told once");
            let error = errors[0].json();
            assert!(error["message"]["error"].as_str().is_some_and(|text| text.contains(reason)), "{name}: {error}");
            // One that fails in its first frame may not be connected yet.
            server.connections().iter().for_each(|connection| drop(connection.wait_end()));
            let listed = || freeswitch.api("uuid_audio_stream list").contains(name);
            assert!(eventually(SOON, || !listed()), "{name}: it is a stream still");
            is_logged(freeswitch);

            // What else is on the call, and the next in its place.
            let next = WebSocketServer::start(Script::default());
            freeswitch.stream(&call.uuid, &format!("start name=next {} mono 8k binary_rate=8k", next.url()));
            next.connection(0).wait_bytes(8_000);
            beside.connection(0).wait_bytes(2 * from as u64 + 24_000);
            let sent = beside.connection(0).audio();
            let seams = audio::seams(&sent[from..], 8_000, CALLER, 80);
            let lost = freeswitch.packets_lost(&call.uuid) - lost;
            assert!(seams.len() as u64 <= 4 * lost, "{name}: seams at {seams:?}, FreeSWITCH lost {lost} packets");
            for stream in ["beside", "next"] {
                for event in ["error", "disconnect"] {
                    let told = named(&events, event, &call, stream);
                    assert!(told.is_empty(), "{name}: {stream} has an {event}");
                }
            }
            assert!(freeswitch.exists(&call.uuid), "{name}: the call has ended");
            other.has_lost_nothing(&events, name);
            assert_eq!(named(&events, "disconnect", &call, name).len(), 1, "{name}: its end is told once");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_panic_in_a_recording_costs_that_recording_alone() {
    in_freeswitch(|freeswitch| {
        for name in ["fails-in-recorder", "fails-in-read", "fails-in-write"] {
            let events = listen_to(freeswitch);
            let other = Innocent::place(freeswitch);
            let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            let file = |name: &str| freeswitch.folder.join(format!("recordings/{}-{name}.wav", call.uuid));
            let record = |name: &str| {
                freeswitch.stream(&call.uuid, &format!("record name={name} start {}", file(name).display()));
            };
            record("good");
            record(name);
            let failed = || {
                let told = named(&events, "record", &call, name);
                told.into_iter().find(|event| event.get("Audio-Stream-Status") != Some("started"))
            };
            assert!(eventually(SOON, || failed().is_some()), "{name}: it goes on");
            let last = failed().expect("as above");
            assert!(last.body.as_deref().is_some_and(|body| body.contains("inside of the module")), "{name}: {last:?}");
            let errors = named(&events, "error", &call, name);
            assert_eq!(errors.len(), 1, "{name}: it is told once");
            is_logged(freeswitch);

            let from = server.connection(0).audio_bytes();
            server.connection(0).wait_bytes(from + 24_000);
            assert!(named(&events, "error", &call, "default").is_empty(), "{name}: the stream has an error");
            freeswitch.stream(&call.uuid, "record name=good stop");
            let stopped = || named(&events, "record", &call, "good").len() == 2;
            assert!(eventually(SOON, stopped), "{name}: the other recording does not end");
            let good = wav::read(&file("good")).expect("a whole file");
            let tone = audio::tone_ms(&good.channel(0), 8_000, CALLER, THERE / 2.0);
            assert!(tone >= 1_000, "{name}: {tone} ms of the caller are in the other recording");
            assert!(wav::read(&file(name)).is_ok(), "{name}: what there is of the failed one is no valid file");
            assert!(freeswitch.exists(&call.uuid), "{name}: the call has ended");
            other.has_lost_nothing(&events, name);
            freeswitch.hang_up_all();
        }
    });
}
