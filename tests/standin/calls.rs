//! What the tests of the built module in the stand-in FreeSWITCH share: the switch with the module loaded, streams on its
//! calls, and time that passes frame by frame.
//!
//! [`switch`] is one switch for all tests of a program: they run side by side, each with calls of its own, and the process ends
//! with it. Tests that load, unload or configure take a [`Host`] for themselves instead, in a program of their own.
//!
//! Calls with a virtual clock take a frame when the test says so. [`pass`] waits after each for the stream's worker to have
//! looked at it, so that what is captured and heard does not depend on how busy the machine is.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::{Call, CallKind, CallOptions, Event, Host};
use crate::support::websocket_server::{Action, Connection, PATIENCE, Play, Script, WebSocketServer};
use crate::support::{eventually, wait_for};

/// The tone of the caller, Hz. None of these is a harmonic of another, so each is heard apart.
pub const CALLER: f64 = 440.0;
/// The tone of the other leg, or of what the switch plays.
pub const OTHER: f64 = 700.0;
/// The tone of the server.
pub const SERVER: f64 = 1_030.0;
/// Another tone of the server.
pub const SERVER_AGAIN: f64 = 1_610.0;
/// Peak amplitude of the tones.
pub const LOUD: f64 = 8_000.0;
/// Below this amplitude a tone is not there.
pub const ABSENT: f64 = 200.0;

/// Samples of the glide into silence where a voice is cut off: 5 ms.
const GLIDE: usize = 40;

/// The file that is installed with the module.
pub const CONFIGURATION: &str = include_str!("../../conf/autoload_configs/audio_stream.conf.xml");

/// The switch of this test program, with the module loaded.
pub fn switch() -> &'static Host {
    static SWITCH: OnceLock<&'static Host> = OnceLock::new();
    SWITCH.get_or_init(|| {
        let host = Box::leak(Box::new(Host::start(CONFIGURATION)));
        host.load_module().unwrap();
        host
    })
}

/// A call on [`switch`].
pub fn call(options: CallOptions) -> Call<'static> {
    switch().call(options)
}

/// A command of the module's, without its verb's name: what it answers.
pub fn api(line: &str) -> String {
    switch().api(&format!("uuid_audio_stream {line}")).trim_end_matches('\n').to_owned()
}

/// A command about a call.
pub fn command(call: &Call<'_>, command: &str) -> String {
    api(&format!("{} {command}", call.uuid()))
}

/// What `health` prints of a call.
#[track_caller]
pub fn health(call: &Call<'_>) -> Value {
    let health = command(call, "health");
    serde_json::from_str(&health).unwrap_or_else(|error| panic!("{error}: {health}"))
}

/// The module's events of one kind about a call so far.
pub fn events(call: &Call<'_>, kind: &str) -> Vec<Event> {
    switch().look_at_call(call.uuid(), |events| {
        events.iter().filter(|event| is(event, kind)).map(|event| (*event).clone()).collect()
    })
}

/// The same, once there are at least so many. They are fired by a thread of their own, which may be later than what they tell of.
#[track_caller]
pub fn wait_events(call: &Call<'_>, kind: &str, count: usize) -> Vec<Event> {
    let what = format!("{count} events of kind {kind}");
    wait_for(&what, PATIENCE, || Some(events(call, kind)).filter(|events| events.len() >= count))
}

/// The states that a call's conversation has been in, in order.
pub fn states(call: &Call<'_>) -> Vec<String> {
    events(call, "ai_state").iter().map(|event| event.header("Audio-Stream-State").unwrap().to_owned()).collect()
}

/// A parked call whose frames come with [`pass`].
pub fn parked() -> CallOptions {
    CallOptions { virtual_clock: true, ..CallOptions::default() }
}

/// The same, where each frame of the caller's is answered by one of what [`Call::play`] was given, or of silence.
pub fn playing() -> CallOptions {
    CallOptions { kind: CallKind::Playing, ..parked() }
}

/// A stream of a call, and the server at its other end.
pub struct Stream<'c> {
    host: &'c Host,
    pub call: &'c Call<'c>,
    pub name: &'static str,
    pub server: WebSocketServer,
    pub connection: Arc<Connection>,
    marks: Cell<u32>,
}

impl<'c> Stream<'c> {
    /// Starts the default stream to a server that only listens, and waits until it is connected.
    #[track_caller]
    pub fn start(call: &'c Call<'static>, arguments: &str) -> Self {
        Self::start_as(call, "default", Script::default(), arguments)
    }

    /// The same with a name, and a server that follows a script.
    #[track_caller]
    pub fn start_as(call: &'c Call<'static>, name: &'static str, script: Script, arguments: &str) -> Self {
        Self::start_on(switch(), call, name, script, arguments)
    }

    /// The same on any switch.
    #[track_caller]
    pub fn start_on(host: &'c Host, call: &'c Call<'c>, name: &'static str, script: Script, arguments: &str) -> Self {
        let server = WebSocketServer::start(script);
        let line = format!("uuid_audio_stream {} start name={name} {} {arguments}", call.uuid(), server.url());
        assert_eq!(host.api(&line), "+OK Success\n", "{line}");
        let connection = server.connection(0);
        let stream = Self { host, call, name, server, connection, marks: Cell::new(0) };
        // The server has a connection before its client knows; what is asked of a stream without one is another matter.
        let connects = || stream.command("health").contains(r#""state":"CONNECTING""#);
        assert!(eventually(PATIENCE, || !connects()), "it does not connect: {}", stream.command("health"));
        stream
    }

    /// A command about this stream: a verb, and what it takes.
    pub fn command(&self, command: &str) -> String {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let reply = self.host.api(&format!("uuid_audio_stream {} {verb} name={} {rest}", self.call.uuid(), self.name));
        reply.trim_end_matches('\n').to_owned()
    }

    /// A command that is obeyed.
    #[track_caller]
    pub fn ok(&self, command: &str) {
        assert_eq!(self.command(command), "+OK Success", "{command}");
    }

    #[track_caller]
    pub fn health(&self) -> Value {
        let health = self.command("health");
        serde_json::from_str(&health).unwrap_or_else(|error| panic!("{error}: {health}"))
    }

    /// This stream's events so far: those of one kind, such as `connect`.
    pub fn events(&self, kind: &str) -> Vec<Event> {
        let mine = |event: &&&Event| self.fired(event) && is(event, kind);
        self.host
            .look_at_call(self.call.uuid(), |events| events.iter().filter(mine).map(|event| (*event).clone()).collect())
    }

    /// This stream's events of one kind, once there are at least so many. They are fired by a thread of their own, which may be
    /// later than the stream's worker.
    #[track_caller]
    pub fn wait_events(&self, kind: &str, count: usize) -> Vec<Event> {
        let what = format!("{count} events of kind {kind}");
        wait_for(&what, PATIENCE, || Some(self.events(kind)).filter(|events| events.len() >= count))
    }

    /// Waits for the first event of that kind.
    pub fn wait_event(&self, kind: &str) -> Event {
        self.host.wait_event(|event| self.fired(event) && is(event, kind))
    }

    fn fired(&self, event: &Event) -> bool {
        event.header("Audio-Stream-UUID") == Some(self.call.uuid())
            && event.header("Audio-Stream-Name") == Some(self.name)
    }

    /// Waits until the stream's worker has taken all that was captured, and refilled the playout ring.
    ///
    /// The worker looks at both whenever it is woken, and an order for a text wakes it: when the server has the text, it
    /// has looked.
    #[track_caller]
    pub fn sync(&self) {
        let text = format!("sync {}", self.mark());
        self.ok(&format!("send_text {text}"));
        let end = Instant::now() + PATIENCE;
        while !self.connection.received(&text) {
            assert!(Instant::now() < end && self.connection.ended().is_none(), "{text}: {:?}", self.connection.ended());
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// All whole messages of what was captured so far, once the server has them.
    #[track_caller]
    pub fn heard(&self) -> Vec<i16> {
        // The first has the worker send them; the second comes after them.
        self.sync();
        self.sync();
        self.connection.audio()
    }

    /// Has the server send audio, and waits until all of it is in the stream's queue.
    #[track_caller]
    pub fn play(&self, play: Play) {
        self.connection.order(Action::Play(play));
        self.heed();
    }

    /// Waits until everything that the test made the server send has been received and handled.
    #[track_caller]
    pub fn heed(&self) {
        let text = format!("mark {}", self.mark());
        let end = Instant::now() + PATIENCE;
        let mut looked_at = self.host.look_at_call(self.call.uuid(), |events| events.len());
        let seen = |event: &Event| {
            self.fired(event) && is(event, "json") && event.header("Audio-Stream-Message") == Some(text.as_str())
        };
        while Instant::now() < end {
            // Said again now and then: a flood fills the queue of events, which is bounded.
            self.connection.order(Action::Text(text.clone()));
            let again = Instant::now() + Duration::from_secs(1);
            while Instant::now() < again {
                let found = self.host.look_at_call(self.call.uuid(), |events| {
                    let new = std::mem::replace(&mut looked_at, events.len());
                    events[new..].iter().any(|event| seen(event))
                });
                if found {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("'{text}' is not heeded; health: {}", self.command("health"));
    }

    fn mark(&self) -> u32 {
        self.marks.set(self.marks.get() + 1);
        self.marks.get()
    }

    /// Texts that the server received, except those of [`sync`](Self::sync).
    pub fn texts(&self) -> Vec<String> {
        self.connection.texts().into_iter().filter(|text| !text.starts_with("sync ")).collect()
    }

    /// Stops the stream, and returns all that was captured.
    #[track_caller]
    pub fn stop(&self) -> Vec<i16> {
        self.ok("stop");
        self.connection.wait_end();
        self.connection.audio()
    }
}

impl Drop for Stream<'_> {
    /// Whatever the test was about: nobody logs, fires events or panics in a media callback.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let uuid = Some(self.call.uuid());
        let wrong = self.host.look(|events, logs| {
            let event = events.iter().find(|event| event.in_media_callback && self.fired(event));
            let log = logs
                .iter()
                .find(|log| log.text.contains(" panic ") || log.in_media_callback && log.uuid.as_deref() == uuid);
            (event.cloned(), log.cloned())
        });
        assert!(wrong.0.is_none() && wrong.1.is_none(), "{wrong:?}");
    }
}

/// Whether it is the module's event of that kind.
pub fn is(event: &Event, kind: &str) -> bool {
    event.subclass.strip_prefix("mod_audio_stream::") == Some(kind)
}

/// That this was heard from somewhere on, whole and in one piece, and nothing but silence before and after it.
#[track_caller]
pub fn assert_heard(heard: &[i16], said: &[i16]) {
    let sound = |sample: &i16| *sample != 0;
    let from = heard.iter().position(sound).expect("it is heard");
    let begins = said.iter().position(sound).expect("it sounds");
    assert!(from >= begins, "it begins in its midst");
    let from = from - begins;
    let heard_of_it = &heard[from..heard.len().min(from + said.len())];
    let same = heard_of_it.iter().zip(said).take_while(|(heard, said)| heard == said).count();
    assert_eq!(same, said.len(), "so many samples are heard as they were made");
    let after = heard[from + said.len()..].iter().rposition(sound).map_or(0, |last| last + 1);
    assert!(after <= GLIDE, "silence follows after {after} samples");
}

/// Lets `frames` frames of the call pass, and all of its `streams` look at each.
#[track_caller]
pub fn pass(call: &Call<'_>, streams: &[&Stream<'_>], frames: usize) {
    for _ in 0..frames {
        call.tick(1);
        streams.iter().for_each(|stream| stream.sync());
    }
}

/// The same where no server can be asked: a key that comes with the frame is an event once the worker has looked. Ends with the stream.
#[track_caller]
pub fn pass_by_keys(call: &Call<'_>, stream: &Stream<'_>, frames: usize) {
    for _ in 0..frames {
        let before = stream.events("dtmf").len();
        call.press("5", 100);
        call.tick(1);
        let looked = || stream.events("dtmf").len() > before || stream.command("health").starts_with("-ERR");
        assert!(eventually(PATIENCE, looked), "a frame is not looked at: {}", stream.command("health"));
    }
}

/// The same as [`pass`], no faster than the audio: for what also depends on time, such as the end of an utterance.
#[track_caller]
pub fn pass_paced(call: &Call<'_>, streams: &[&Stream<'_>], frames: usize, ptime_ms: u32) {
    for _ in 0..frames {
        let due = Instant::now() + Duration::from_millis(ptime_ms.into());
        pass(call, streams, 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // Work that was due meanwhile is done before the next frame, even if the worker woke late for it.
        streams.iter().for_each(|stream| stream.sync());
    }
}

/// Whether a call has stood still for about a second since `from`, on the clock of [`Host::now`]: then a stream whose server is gone
/// gives up what is left to be heard. That happens on a machine that is busy elsewhere.
pub fn has_stood_still(call: &Call<'_>, from: Duration) -> bool {
    let packets = call.heard_frames().into_iter().map(|frame| frame.at).filter(|at| *at > from);
    let times: Vec<_> = std::iter::once(from).chain(packets).collect();
    times.windows(2).any(|pair| pair[1] - pair[0] > Duration::from_millis(900))
}

/// Waits until the call has no stream any more.
#[track_caller]
pub fn wait_detached(call: &Call<'_>) {
    call.wait_until("the stream has left the call", |call| call.bugs() == 0);
}
