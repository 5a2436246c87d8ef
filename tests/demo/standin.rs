//! The call in the stand-in FreeSWITCH: the built module is loaded as FreeSWITCH loads it; the phone is a clock of our own.
//!
//! One thread gives the call a packet every 20 ms and notes when, so that times are those of the phone and not of a poll.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Call, CallKind, CallOptions, Host, MODULE};
use crate::line::{Event, Line, Packet, RATE, own_headers};

const PTIME: Duration = Duration::from_millis(20);
const FRAME: usize = RATE as usize / 50;

struct StandIn<'h> {
    host: &'h Host,
    call: Call<'h>,
    mouth: Mutex<VecDeque<i16>>,
    said: Mutex<Vec<Packet>>,
    over: AtomicBool,
}

/// Loads `module`, places a call and gives it to `converse`; an error is the host's reason for not loading it.
pub fn with_call<T>(module: &Path, converse: impl FnOnce(&dyn Line) -> T) -> Result<T, String> {
    let host = Host::start("");
    host.load_module_at(module, MODULE)?;
    // With a clock of ours only the session's own thread writes: it answers each packet of the caller's.
    let kind = CallKind::Playing;
    let call = host.call(CallOptions { kind, rate: RATE, virtual_clock: true, ..CallOptions::default() });
    let line =
        StandIn { host: &host, call, mouth: Mutex::default(), said: Mutex::default(), over: AtomicBool::new(false) };
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| line.speak());
        // However it went, the phone's thread has to end.
        let _end = Ended(&line.over);
        converse(&line)
    }))
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl StandIn<'_> {
    fn speak(&self) {
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += PTIME;
            let mut mouth = self.mouth.lock().unwrap();
            let mut samples: Vec<_> = (0..FRAME).map_while(|_| mouth.pop_front()).collect();
            drop(mouth);
            samples.resize(FRAME, 0);
            self.call.speak(&samples);
            self.said.lock().unwrap().push(Packet { at: Instant::now(), samples });
            self.call.tick(1);
        }
    }
}

impl Line for StandIn<'_> {
    fn host(&self) -> &str {
        "Stand-in FreeSWITCH (tests/standin/host)"
    }

    fn medium(&self) -> &str {
        "linear 8 kHz, 20 ms packets handed over in memory"
    }

    fn uuid(&self) -> &str {
        self.call.uuid()
    }

    fn api(&self, command: &str) -> String {
        self.host.api(command)
    }

    fn say(&self, samples: &[i16]) {
        self.mouth.lock().unwrap().extend(samples);
    }

    fn said(&self) -> Vec<Packet> {
        self.said.lock().unwrap().clone()
    }

    fn heard(&self) -> Vec<Packet> {
        let samples = self.call.heard();
        let (clock, now) = (self.host.now(), Instant::now());
        let mut rest = samples.as_slice();
        let cut = |frame: crate::host::HeardFrame| {
            let (samples, after) = rest.split_at_checked(frame.samples as usize)?;
            rest = after;
            Some(Packet { at: now - clock.saturating_sub(frame.at), samples: samples.to_vec() })
        };
        // A packet that came between the two questions is left for the next time.
        self.call.heard_frames().into_iter().map_while(cut).collect()
    }

    fn events(&self) -> Vec<Event> {
        let ours = |event: crate::host::Event| {
            let name = event.subclass.strip_prefix("mod_audio_stream::")?.to_owned();
            Some(Event { at: event.at, name, headers: own_headers(&event.headers), body: event.body })
        };
        self.host.events().into_iter().filter_map(ours).collect()
    }

    fn hang_up(&self) {
        self.call.hangup();
        self.call.wait_ended();
    }
}
