//! Audio of the server, from its message to the playback queue, and its outcome.
//!
//! Owned by the stream's task. Samples and G.711 go into the queue at once; files are read and decoded where that may block, one
//! after the other, and what comes after a file waits for it here, in its order: at most [`MOST_WAITING`] messages
//! and [`MOST_WAITING_BYTES`], beyond which messages are refused. Before that, and before the queue is full, [`Playback::has_room`] says
//! that nothing is to be received. A clear drops what waits, and the file that is being decoded; if that hangs with its disk, the
//! stream's next file waits for it, so that one stream keeps one thread at most.
//!
//! An announcement, which is speech that comes piece by piece, is queued as a whole: from its first piece to its end what the
//! server sends waits as it does behind a file.
//!
//! What has happened is taken from [`Playback::next`], in order.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::files::{Decoded, Decoding, Files};
use super::options::StreamOptions;
use crate::blocking::Blocking;
use crate::dsp::tone::ToneStep;
use crate::inject::{Injector, InjectorStatus, PlayOutcome, PlaybackEvent, TooManyTones, WhenFull};
use crate::protocol::{Audio, AudioKind, MarkId, Play};
use crate::units::{Law, PcmFormat, SampleRate};

/// Messages that wait for the file or announcement before them.
const MOST_WAITING: usize = 512;
/// Bytes of audio that wait for the file or announcement before them.
const MOST_WAITING_BYTES: usize = 8 << 20;
/// Bytes of audio that are received while `inject_buffer_ms` wait already: so much is a server's `clear` seen ahead.
const READ_AHEAD: u64 = 1 << 20;

/// What has become of something that is played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum PlaybackUpdate {
    /// Utterances, marks, clears.
    Event(PlaybackEvent),
    /// Something did not fit, and there is an alarm, or waiting audio was dropped to make room.
    Overflowed(PlayOutcome),
    /// Audio that is not played, and why.
    Refused(String),
}

/// What the caller is to hear of one stream.
pub(super) struct Playback {
    injector: Injector,
    enabled: bool,
    /// Audio for which there is no room is left in the socket.
    waits: bool,
    files: Files,
    decoding: Option<Decoding>,
    /// Some of an announcement has been queued, and its end has not.
    announcing: bool,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Marks behind a file that was cleared: answered after those before it.
    cleared_marks: Vec<MarkId>,
    updates: VecDeque<PlaybackUpdate>,
    /// When the first audio of the utterance that has not started yet came.
    arrived: Option<Instant>,
    /// When the clear that has not been performed yet was asked for.
    clearing: Option<Instant>,
}

enum Waiting {
    Play(Audio),
    Mark(MarkId),
}

impl Playback {
    /// Plays through `injector` as the options say; files are read and decoded with `blocking`.
    pub(super) fn new(injector: Injector, options: &StreamOptions, blocking: Blocking) -> Self {
        Self {
            injector,
            enabled: options.playback,
            waits: options.inject_full == WhenFull::Wait,
            files: Files::new(options, blocking),
            decoding: None,
            announcing: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            cleared_marks: Vec::new(),
            updates: VecDeque::new(),
            arrived: None,
            clearing: None,
        }
    }

    /// Queues what a message of a server has.
    pub(super) fn play(&mut self, now: Instant, play: Play) {
        if !self.enabled {
            return;
        }
        if play.clear {
            self.clear(now);
        }
        self.note_arrival(now);
        if self.is_held_up() {
            self.wait(Waiting::Play(play.audio));
        } else {
            self.begin(now, play.audio);
        }
    }

    /// Whether what comes now has to wait.
    fn is_held_up(&self) -> bool {
        self.announcing || self.decoding.is_some()
    }

    /// Whether the next piece of an announcement is to be queued. If not, that becomes true with a [`pump`](Self::pump), a
    /// [`clear`](Self::clear), or a file [`decoded`](Self::decoded).
    pub(super) fn takes_announcement(&self) -> bool {
        self.decoding.is_none() && (!self.waits || self.injector.excess_bytes() < READ_AHEAD)
    }

    /// Queues the next piece of an announcement.
    pub(super) fn announce(&mut self, now: Instant, samples: &[i16], rate: SampleRate) {
        self.announcing = self.enabled;
        self.speak(now, samples, rate);
    }

    /// The announcement has been queued to its end, or there will be no more of it: what waited for that is queued.
    pub(super) fn announced(&mut self, now: Instant) {
        self.announcing = false;
        self.go_on(now);
    }

    /// Queues speech at once. Not while a file is being decoded: agents name none.
    pub(super) fn speak(&mut self, now: Instant, samples: &[i16], rate: SampleRate) {
        if self.enabled {
            if !samples.is_empty() {
                self.note_arrival(now);
            }
            self.queue(now, samples, PcmFormat { rate, channels: 1 });
        }
    }

    /// Has `id` answered when everything before it has been heard.
    pub(super) fn mark(&mut self, id: MarkId) {
        if self.is_held_up() {
            self.wait(Waiting::Mark(id));
        } else {
            self.set_mark(id);
        }
    }

    /// Drops everything that has not been heard.
    pub(super) fn clear(&mut self, now: Instant) {
        if !self.is_silent() {
            self.clearing.get_or_insert(now);
        }
        self.arrived = None;
        self.injector.clear();
        // A file that is being decoded goes on to its end, bounded; nobody looks at it any more.
        self.decoding = None;
        self.announcing = false;
        let marks = std::mem::take(&mut self.waiting).into_iter().filter_map(|waiting| match waiting {
            Waiting::Mark(id) => Some(id),
            Waiting::Play(_) => None,
        });
        self.cleared_marks.extend(marks);
        self.waiting_bytes = 0;
        self.take_events();
    }

    /// Whether more audio of the server is to be received. If not, it becomes true with a [`pump`](Self::pump), a
    /// [`clear`](Self::clear), or a file [`decoded`](Self::decoded). A message that is received anyway is played, too.
    pub(super) fn has_room(&self) -> bool {
        let ahead = self.injector.excess_bytes() + self.waiting_bytes as u64;
        !self.waits || (ahead < READ_AHEAD && self.waiting.len() < MOST_WAITING / 2)
    }

    /// Whether more than `inject_buffer_ms` of audio wait.
    pub(super) fn is_full(&self) -> bool {
        self.injector.excess_bytes() > 0
    }

    /// Mixes tones into what the caller hears, beside everything else.
    pub(super) fn play_tones(&mut self, steps: &[ToneStep]) -> Result<(), TooManyTones> {
        self.injector.play_tones(steps)
    }

    /// Moves audio on towards the media thread, and sees what that has done.
    pub(super) fn pump(&mut self, now: Instant) {
        self.injector.pump(now);
        self.take_events();
    }

    fn take_events(&mut self) {
        for event in self.injector.take_events() {
            if let PlaybackEvent::Cleared { played_ms } = event {
                self.answer_cleared(played_ms);
            }
            self.updates.push_back(PlaybackUpdate::Event(event));
        }
        if !self.cleared_marks.is_empty() && !self.injector.is_clearing() {
            self.answer_cleared(self.injector.played_ms());
        }
    }

    fn answer_cleared(&mut self, played_ms: u64) {
        let answers = self.cleared_marks.drain(..).map(|id| PlaybackEvent::MarkCleared { id, played_ms });
        self.updates.extend(answers.map(PlaybackUpdate::Event));
    }

    /// An utterance begins with the first audio after everything before it was heard.
    fn note_arrival(&mut self, now: Instant) {
        if self.is_silent() {
            self.arrived.get_or_insert(now);
        }
    }

    /// When the first audio of the utterance came that has just started.
    pub(super) const fn take_arrival(&mut self) -> Option<Instant> {
        self.arrived.take()
    }

    /// When the clear was asked for that has just been performed.
    pub(super) const fn take_clearing(&mut self) -> Option<Instant> {
        self.clearing.take()
    }

    /// The peak of what has gone towards the media thread since the last call.
    pub(super) const fn take_peak(&mut self) -> u16 {
        self.injector.take_peak()
    }

    /// The next thing that has happened.
    pub(super) fn next(&mut self) -> Option<PlaybackUpdate> {
        self.updates.pop_front()
    }

    /// Ready when a file has been decoded: to be given to [`decoded`](Self::decoded).
    pub(super) fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Decoded> {
        let Some(decoding) = &mut self.decoding else { return Poll::Pending };
        let result = ready!(decoding.as_mut().poll(cx));
        self.decoding = None;
        Poll::Ready(result)
    }

    /// Queues a decoded file and the messages that waited behind it.
    pub(super) fn decoded(&mut self, now: Instant, decoded: Decoded) {
        match decoded {
            Ok((samples, format)) => self.queue(now, &samples, format),
            Err(reason) => self.refuse(reason),
        }
        self.go_on(now);
    }

    /// Queues what has waited, up to the next file.
    fn go_on(&mut self, now: Instant) {
        while !self.is_held_up()
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Play(audio) => {
                    self.waiting_bytes -= bytes_of(&audio);
                    self.begin(now, audio);
                }
                Waiting::Mark(id) => self.set_mark(id),
            }
        }
    }

    /// When to pump whatever the media thread does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.injector.deadline()
    }

    /// Whether everything has been heard and reported.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_held_up() && self.updates.is_empty() && self.injector.is_idle()
    }

    /// Whether no audio waits to be heard; read it before the position that it is used with.
    pub(super) fn is_silent(&self) -> bool {
        !self.is_held_up() && self.injector.is_silent()
    }

    /// Audio accepted and not heard yet.
    pub(super) fn buffered(&self) -> Duration {
        self.injector.buffered()
    }

    /// What the caller was given, in ms.
    pub(super) fn played_ms(&self) -> u64 {
        self.injector.played_ms()
    }

    /// The queue, where it has changed since the last call.
    pub(super) fn news(&mut self) -> Option<InjectorStatus> {
        self.injector.news()
    }

    /// The queue.
    pub(super) fn status(&self) -> InjectorStatus {
        self.injector.status()
    }

    fn begin(&mut self, now: Instant, audio: Audio) {
        match audio {
            Audio::Pcm { samples, format } => self.queue(now, &samples, format),
            Audio::Encoded { kind: AudioKind::G711(law, format), bytes } => {
                let samples = companded(law, &bytes);
                self.queue(now, &samples, format);
            }
            Audio::Encoded { kind, bytes } => self.decoding = Some(self.files.decode(kind, bytes)),
            Audio::File { path, kind } => match self.files.open(kind, path) {
                Ok(decoding) => self.decoding = Some(decoding),
                Err(reason) => self.refuse(reason),
            },
        }
    }

    fn queue(&mut self, now: Instant, samples: &[i16], format: PcmFormat) {
        let outcome = self.injector.play(now, samples, format);
        self.take_events();
        if outcome.alarm.is_some() || outcome.restarted_ms.is_some() {
            self.updates.push_back(PlaybackUpdate::Overflowed(outcome));
        }
    }

    fn wait(&mut self, waiting: Waiting) {
        let bytes = match &waiting {
            Waiting::Play(audio) => bytes_of(audio),
            Waiting::Mark(_) => 0,
        };
        if self.waiting.len() < MOST_WAITING && self.waiting_bytes + bytes <= MOST_WAITING_BYTES {
            self.waiting_bytes += bytes;
            self.waiting.push_back(waiting);
            return;
        }
        self.refuse("audio is not played: too much waits behind a file or an announcement".to_owned());
        if let Waiting::Mark(id) = waiting {
            self.set_mark_cleared(id);
        }
    }

    fn set_mark(&mut self, id: MarkId) {
        if let Err(error) = self.injector.mark(id) {
            self.refuse(format!("a mark is answered at once: {error}"));
            self.set_mark_cleared(id);
        }
    }

    /// Answers a mark that never comes into the queue.
    fn set_mark_cleared(&mut self, id: MarkId) {
        self.cleared_marks.push(id);
        self.take_events();
    }

    fn refuse(&mut self, reason: String) {
        self.updates.push_back(PlaybackUpdate::Refused(reason));
    }
}

fn companded(law: Law, bytes: &[u8]) -> Vec<i16> {
    let mut samples = Vec::with_capacity(bytes.len());
    law.decode(bytes, &mut samples);
    samples
}

fn bytes_of(audio: &Audio) -> usize {
    match audio {
        Audio::Pcm { samples, .. } => samples.len() * size_of::<i16>(),
        Audio::Encoded { bytes, .. } => bytes.len(),
        Audio::File { path, .. } => path.len(),
    }
}

#[cfg(test)]
#[path = "playback_tests.rs"]
mod tests;
