//! Sounds that a caller hears beside a stream's voice: the ambient sound all the time, the thinking sound while the agent thinks.
//!
//! ```text
//! SoundLibrary ─► Track (repeats) ─► Injector ─► playout ring ─► media::link::Background ─► the call's mix
//! ```
//! On the stream's worker; owned by its task. Each has a ring and an injector of its own, so a sound never counts as something that
//! the agent has said, a flush of the voice does not touch it, and it follows the call's rate as the voice does. What is off costs
//! nothing. The samples are decoded once for all calls, on a thread that may block; here they are copied, [`AHEAD`] ahead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::options::StreamOptions;
use super::sounds::{Loading, Sounds};
use super::state::StreamMode;
use crate::dsp::gain::Gain;
use crate::inject::{InjectConfig, Injector, Sound};
use crate::media::link::{Background, Backgrounds as Heard, MOST_BACKGROUNDS};
use crate::media::ring::RingSize;
use crate::media::{PlayoutShared, playout_ring};
use crate::units::sound::SoundSource;
use crate::units::{PcmFormat, SampleRate};

/// Audio that is queued ahead of the ring.
const AHEAD: Duration = Duration::from_millis(200);
/// What is queued at once.
const PIECE_MS: u32 = 100;
/// Factor on the ambient sound while the agent speaks: -12 dB.
const UNDER_VOICE: f32 = 0.25;

/// Which of the tracks is which; the same in every array here.
const AMBIENT: usize = 0;
const THINKING: usize = 1;

/// The two ends of each sound's ring, before the stream starts.
#[derive(Default)]
pub struct BackgroundRings {
    /// For the stream's task.
    pub injectors: [Option<Injector>; MOST_BACKGROUNDS],
    /// For the media bug.
    pub heard: Heard,
    /// For both.
    pub shared: [Option<Arc<PlayoutShared>>; MOST_BACKGROUNDS],
}

impl BackgroundRings {
    /// Rings of `size` at the call's rate, for the sounds that `options` name.
    pub fn new(options: &StreamOptions, rate: SampleRate, size: RingSize, inject: InjectConfig) -> Self {
        let mut rings = Self::default();
        for (track, (source, gain)) in tracks(options).into_iter().enumerate() {
            if source.is_none() {
                continue;
            }
            let (writer, reader, shared) = playout_ring(rate, size);
            let config = InjectConfig { buffer_ms: 1_000, excess_ms: 0, min_buffer_ms: 0, ..inject };
            rings.injectors[track] = Some(Injector::new(writer, shared.clone(), config));
            let under_voice = if track == AMBIENT { UNDER_VOICE } else { 0.0 };
            rings.heard[track] = Some(Box::new(Background::new(reader, gain, under_voice)));
            rings.shared[track] = Some(shared);
        }
        rings
    }
}

fn tracks(options: &StreamOptions) -> [(Option<SoundSource>, Gain); MOST_BACKGROUNDS] {
    let ai = &options.ai;
    let wanted = options.mode == StreamMode::Ai && options.playback;
    [(&ai.ambient_sound, ai.ambient_gain), (&ai.thinking_sound, ai.thinking_gain)]
        .map(|(source, gain)| (source.clone().filter(|_| wanted), gain))
}

/// A sound that repeats.
struct Track {
    injector: Injector,
    source: SoundSource,
    sound: Option<Arc<Sound>>,
    loading: Option<Loading>,
    on: bool,
    /// The next sample.
    at: usize,
}

/// The sounds of one stream.
pub(super) struct Backgrounds {
    /// In boxes, since most streams have none.
    tracks: [Option<Box<Track>>; MOST_BACKGROUNDS],
}

impl Backgrounds {
    /// Silent until [`begin`](Self::begin).
    pub(super) fn new(injectors: [Option<Injector>; MOST_BACKGROUNDS], options: &StreamOptions) -> Self {
        let sources = tracks(options).map(|(source, _)| source);
        let mut tracks: [Option<Box<Track>>; MOST_BACKGROUNDS] = Default::default();
        for (track, (injector, source)) in injectors.into_iter().zip(sources).enumerate() {
            if let (Some(injector), Some(source)) = (injector, source) {
                let silent = Track { injector, source, sound: None, loading: None, on: false, at: 0 };
                tracks[track] = Some(Box::new(silent));
            }
        }
        Self { tracks }
    }

    /// Loads the sounds and begins the ambient one. On a worker.
    pub(super) fn begin(&mut self, now: Instant, sounds: &Sounds) {
        for track in self.tracks.iter_mut().flatten() {
            match sounds.get(&track.source) {
                Ok(sound) => track.sound = Some(sound),
                Err(loading) => track.loading = Some(loading),
            }
        }
        if let Some(ambient) = &mut self.tracks[AMBIENT] {
            ambient.switch(now, true);
        }
    }

    /// Begins or ends the thinking sound.
    pub(super) fn think(&mut self, now: Instant, thinks: bool) {
        if let Some(track) = &mut self.tracks[THINKING] {
            track.switch(now, thinks);
        }
    }

    /// The stream ends: everything glides out.
    pub(super) fn stop(&mut self, now: Instant) {
        self.tracks.iter_mut().flatten().for_each(|track| track.switch(now, false));
    }

    /// Moves the sounds on towards the media thread.
    pub(super) fn pump(&mut self, now: Instant) {
        self.tracks.iter_mut().flatten().for_each(|track| track.pump(now));
    }

    /// When to pump whatever the media thread does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tracks.iter().flatten().filter_map(|track| track.injector.deadline()).min()
    }

    /// Ready when a sound has been loaded; an error says which could not be, and why.
    pub(super) fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        for track in self.tracks.iter_mut().flatten() {
            let Some(loading) = &mut track.loading else { continue };
            let Poll::Ready(loaded) = Pin::new(loading).poll(cx) else { continue };
            track.loading = None;
            return Poll::Ready(loaded.map(|sound| track.sound = Some(sound)));
        }
        Poll::Pending
    }
}

impl Track {
    /// Begins from the first sample on, or ends at once.
    fn switch(&mut self, now: Instant, on: bool) {
        if std::mem::replace(&mut self.on, on) == on {
            return;
        }
        self.at = 0;
        if !on {
            self.injector.clear();
        }
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        if let Some(sound) = self.sound.as_ref().filter(|_| self.on) {
            let format = PcmFormat { rate: sound.rate, channels: 1 };
            let piece = sound.rate.samples_in_ms(PIECE_MS);
            while self.injector.status().buffered_ms < AHEAD.as_millis() as u64 {
                let rest = sound.samples.get(self.at..).unwrap_or_default();
                let next = &rest[..rest.len().min(piece)];
                if self.injector.play(now, next, format).accepted == 0 {
                    break;
                }
                self.at = if next.len() == rest.len() { 0 } else { self.at + next.len() };
            }
        }
        self.injector.pump(now);
        // Nobody is to learn of it.
        drop(self.injector.take_events());
    }
}
