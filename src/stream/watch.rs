//! The watch over one stream: what stands still that should move, and what went wrong of late.
//!
//! Looked at every [`EVERY`] by a thread that is no worker, so that a worker that hangs is noticed, too; `health` reads it at any
//! moment. Everything comes from atomics of the media thread and of the stream's task, as [`Vitals`]. What a stream lost counts for
//! [`WINDOW`]: one fault of an hour ago is no trouble of today.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::state::StreamState;
use crate::event::{Event, Health, HealthChanged, Part, Stalled, Trouble};
use crate::peer::State;

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(1);
/// How far back losses count.
const WINDOW: Duration = Duration::from_secs(30);
/// Underruns above this are trouble, percent of the frames with playback.
const UNDERRUN_LIMIT_PCT: f64 = 5.0;
/// Captured audio lost above this is trouble, percent of what was captured.
const DROP_LIMIT_PCT: f64 = 1.0;
/// Without a captured frame for longer, capture stands still.
const CAPTURE_LIMIT: Duration = Duration::from_secs(5);
/// Without a sample taken for longer, playback stands still.
const PLAYBACK_LIMIT: Duration = Duration::from_secs(5);
/// Without a tick for longer, a worker stands still.
const WORKER_LIMIT: Duration = Duration::from_secs(2);
/// Looks at which the caller was loud, before a service should have said something: less is a noise.
const LOUD_LOOKS: u32 = 2;
/// A caller's level above this is speech, dB of full scale: speech on telephones peaks at -20 to -3, noise stays below -40.
pub(super) const LOUD_DBFS: f64 = -35.0;

/// What a stream has lost and done, since its start or within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) captured: u64,
    pub(super) dropped: u64,
    pub(super) send_dropped_ms: u64,
    pub(super) voiced: u64,
    pub(super) starved: u64,
    pub(super) overflows: u64,
}

impl Counts {
    fn since(self, earlier: Self) -> Self {
        let [captured, dropped, send_dropped_ms, voiced, starved, overflows] = [
            (self.captured, earlier.captured),
            (self.dropped, earlier.dropped),
            (self.send_dropped_ms, earlier.send_dropped_ms),
            (self.voiced, earlier.voiced),
            (self.starved, earlier.starved),
            (self.overflows, earlier.overflows),
        ]
        .map(|(now, then)| now.saturating_sub(then));
        Self { captured, dropped, send_dropped_ms, voiced, starved, overflows }
    }
}

/// A stream at one moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Vitals {
    pub(super) state: StreamState,
    /// Of the conversation, if it is one.
    pub(super) talk: Option<State>,
    /// The call is on hold, or its media bypasses FreeSWITCH.
    pub(super) held: bool,
    /// Since FreeSWITCH gave the last frame, or since the start.
    pub(super) still: Duration,
    pub(super) counts: Counts,
    /// Playback waits that a frame would take.
    pub(super) waits: bool,
    /// Another number whenever FreeSWITCH has taken playback, or has had a reason to take none.
    pub(super) taken: u64,
    /// Messages received.
    pub(super) received: u64,
    /// Messages of captured audio sent.
    pub(super) sent: u64,
    /// The caller is heard.
    pub(super) loud: bool,
    /// Since the worker's last tick.
    pub(super) worker: Duration,
}

/// When something last moved, or had a reason not to.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    moved: Instant,
    /// How long it may stand still; zero: for ever.
    limit: Duration,
    /// It was reported to stand still, since then.
    told: Option<Instant>,
}

impl Pulse {
    fn new(now: Instant, limit: Duration) -> Self {
        Self { moved: now, limit, told: None }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        !self.limit.is_zero() && now.saturating_duration_since(self.moved) > self.limit
    }

    /// The event of a stall that has begun or ended.
    fn report(&mut self, part: Part, now: Instant) -> Option<Event> {
        let stalled = self.is_stalled(now);
        if stalled == self.told.is_some() {
            return None;
        }
        let since = self.told.take().unwrap_or(self.moved);
        self.told = stalled.then_some(since);
        let stalled_ms = now.saturating_duration_since(since).as_millis() as u64;
        Some(Stalled { part, stalled, stalled_ms }.into())
    }
}

/// What is known of one stream.
#[derive(Debug)]
pub struct Watch {
    looked: Instant,
    /// Counts at the looks within the window, oldest first. Never empty.
    window: VecDeque<(Instant, Counts)>,
    capture: Pulse,
    playback: Pulse,
    worker: Pulse,
    service: Pulse,
    taken: u64,
    received: u64,
    sent: u64,
    loud_looks: u32,
    health: Health,
    /// The stream ends: nothing is reported any more.
    over: bool,
}

impl Watch {
    /// Over a stream that starts now. `service`: how long a service may say nothing while the caller speaks; zero: for ever.
    pub(super) fn new(now: Instant, service: Duration) -> Self {
        Self {
            looked: now,
            window: VecDeque::from([(now, Counts::default())]),
            capture: Pulse::new(now, CAPTURE_LIMIT),
            playback: Pulse::new(now, PLAYBACK_LIMIT),
            worker: Pulse::new(now, WORKER_LIMIT),
            service: Pulse::new(now, service),
            taken: 0,
            received: 0,
            sent: 0,
            loud_looks: 0,
            health: Health::Healthy,
            over: false,
        }
    }

    /// The stream ends. Its last event is not followed by one of the watch.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// The regular look. Returns what is to be reported.
    pub(super) fn look(&mut self, now: Instant, vitals: &Vitals) -> Vec<Event> {
        if self.over {
            return Vec::new();
        }
        self.follow(now, vitals);
        while self.window.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.window.pop_front();
        }
        let pulses = [
            (Part::Capture, &mut self.capture),
            (Part::Playback, &mut self.playback),
            (Part::Worker, &mut self.worker),
            (Part::Service, &mut self.service),
        ];
        let mut events: Vec<_> = pulses.into_iter().filter_map(|(part, pulse)| pulse.report(part, now)).collect();
        let reasons = self.troubles(now, vitals);
        let health = health_of(&reasons);
        let before = std::mem::replace(&mut self.health, health);
        if health != before {
            events.push(HealthChanged { health, before, reasons }.into());
        }
        self.window.push_back((now, vitals.counts));
        events
    }

    /// Sees what has moved, or has a reason not to.
    fn follow(&mut self, now: Instant, vitals: &Vitals) {
        let taken = std::mem::replace(&mut self.taken, vitals.taken) != vitals.taken;
        let said = std::mem::replace(&mut self.received, vitals.received) != vitals.received;
        let listens = std::mem::replace(&mut self.sent, vitals.sent) != vitals.sent;
        let missed = now.saturating_duration_since(std::mem::replace(&mut self.looked, now)) > 3 * EVERY;
        if missed || vitals.held {
            // Nothing has to move on hold. And after a pause of the whole process everything seems to stand still.
            self.capture.moved = now;
        }
        self.capture.moved = self.capture.moved.max(now.checked_sub(vitals.still).unwrap_or(now));
        if missed || vitals.held || taken || !vitals.waits {
            self.playback.moved = now;
        }
        self.worker.moved = if missed { now } else { now.checked_sub(vitals.worker).unwrap_or(now) };
        let turn = matches!(vitals.talk, Some(State::Listening | State::Processing));
        let heard = listens && vitals.loud;
        if missed || vitals.held || said || !turn {
            self.loud_looks = 0;
        }
        self.loud_looks += u32::from(heard);
        if missed || vitals.held || said || !turn || (self.loud_looks < LOUD_LOOKS && !heard) {
            // What the caller says from now on, the service should answer.
            (self.loud_looks, self.service.moved) = (0, now);
        }
    }

    /// What is wrong now, in the order of [`Trouble`].
    pub(super) fn troubles(&self, now: Instant, vitals: &Vitals) -> Vec<Trouble> {
        let waits = vitals.waits && vitals.taken == self.taken && !vitals.held;
        let silent = vitals.received == self.received && !vitals.held;
        // A frame may have come since the last look.
        let capture = self.capture.is_stalled(now) && vitals.still > CAPTURE_LIMIT && !vitals.held;
        let lost = vitals.counts.since(self.window.front().map_or(Counts::default(), |(_, counts)| *counts));
        let begun = self.window.front().map_or(now, |(at, _)| *at);
        let window_ms = now.saturating_duration_since(begun).as_millis() as u64;
        [
            (vitals.state == StreamState::Disconnected, Trouble::Disconnected),
            (
                vitals.state == StreamState::Reconnecting || vitals.talk == Some(State::Reconnecting),
                Trouble::Reconnecting,
            ),
            (
                vitals.state == StreamState::Error || matches!(vitals.talk, Some(State::Failed | State::Error)),
                Trouble::Failed,
            ),
            (capture, Trouble::Stalled(Part::Capture)),
            (waits && self.playback.is_stalled(now), Trouble::Stalled(Part::Playback)),
            (self.worker.is_stalled(now), Trouble::Stalled(Part::Worker)),
            (silent && self.service.is_stalled(now), Trouble::Stalled(Part::Service)),
            (pct(lost.starved, lost.voiced + lost.starved) > UNDERRUN_LIMIT_PCT, Trouble::Underruns),
            (lost.overflows > 0, Trouble::Overflow),
            (pct(lost.dropped, lost.captured + lost.dropped) > DROP_LIMIT_PCT, Trouble::CaptureDrops),
            (pct(lost.send_dropped_ms, window_ms) > DROP_LIMIT_PCT, Trouble::SendDrops),
        ]
        .into_iter()
        .filter_map(|(is, trouble)| is.then_some(trouble))
        .collect()
    }
}

/// The worst of what is wrong.
pub(super) fn health_of(troubles: &[Trouble]) -> Health {
    troubles.iter().map(|trouble| trouble.health()).max().unwrap_or(Health::Healthy)
}

/// `part` of `whole` in percent; zero of nothing.
pub(super) fn pct(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
