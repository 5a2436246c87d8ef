//! One stream's speech: sentences in, their audio out in the same order, by any provider of the chain.
//!
//! Owned by the stream's task, on its worker: [`Speech::request`] as the agent asks, [`Speech::poll_next`] with the task's other
//! sources. The sentence at the front is heard as it is made; the one behind it is being made already. What waits is bounded by
//! [`MOST_WAITING`]. Dropping it, or [`Speech::abort`], ends requests and programs at once, and nothing of them comes out any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::error::{Severity, SpeechError};
use super::line::Line;
use super::settings::SpeechSettings;
use super::shared::{Job, SpeechShared};
use super::synthesis::{Heard, Listener};
use super::voice::How;
use crate::dsp::tone::{ToneGenerator, ToneStep};
use crate::peer::SpeechMark;
use crate::units::SampleRate;

/// Sentences that are made at once: the present one and the next.
const AHEAD: usize = 2;
/// Sentences that wait; the agent keeps its own queue, and sends one after the other.
const MOST_WAITING: usize = 64;
/// Sentences made in advance at the same time.
const MOST_PREPARED: usize = 8;
/// Characters of the text before that a provider gets as context.
const MOST_PREVIOUS: usize = 500;
/// Heard when speech is turned off: two low beeps.
const ERROR_TONE: [(f32, u16); 2] = [(480.0, 150), (380.0, 300)];
const ERROR_TONE_DB: f32 = -18.0;

/// What comes of the requests.
#[derive(Clone, PartialEq, Debug)]
pub enum SpeechEvent {
    /// Another provider speaks from here on: a fallback, or the first choice again.
    Switched {
        /// Of the sentence.
        id: u64,
        /// Who spoke before.
        from: &'static str,
        /// Who speaks now.
        to: &'static str,
    },
    /// A provider could not speak a sentence, and the next is asked for it. For the log.
    Retried {
        /// Of the sentence.
        id: u64,
        /// Why.
        error: SpeechError,
    },
    /// The next of a sentence's audio, mono; a second of it at most.
    Audio {
        /// Of the sentence.
        id: u64,
        /// Whole samples.
        samples: Vec<i16>,
        /// Their rate, the same for all of a sentence.
        rate: SampleRate,
        /// When which character is spoken, as far as the provider says so.
        marks: Vec<SpeechMark>,
    },
    /// A sentence is complete.
    Done {
        /// Of the sentence.
        id: u64,
        /// How it went.
        report: SpeechReport,
    },
    /// A sentence was not spoken, or not to its end. With `off`, the audio before it was the error tone, and nothing but
    /// what is in the cache is spoken for a while.
    Failed {
        /// Of the sentence.
        id: u64,
        /// The text.
        text: String,
        /// Why, as the last provider asked puts it.
        error: SpeechError,
        /// Since the request.
        latency: Duration,
        /// Too many sentences in a row have failed.
        off: bool,
    },
}

/// How a sentence was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpeechReport {
    /// By whom.
    pub provider: &'static str,
    /// It was in the cache.
    pub cached: bool,
    /// From the request to the first audio.
    pub first_audio: Duration,
    /// How long it lasts.
    pub spoken: Duration,
    /// What the provider calls the request, if it says so.
    pub request_id: Option<String>,
}

/// One stream's speech: sentences in, their audio out in the same order.
#[derive(Debug)]
pub struct Speech {
    settings: Arc<SpeechSettings>,
    shared: Arc<SpeechShared>,
    /// The call's.
    rate: SampleRate,
    chain: Chain,
    /// Who spoke last.
    current: usize,
    requests: VecDeque<Request>,
    prepared: Vec<Listener>,
    /// To a provider that speaks the turn over one connection.
    line: Option<(usize, Line)>,
    ready: VecDeque<SpeechEvent>,
    /// What was said last in this turn.
    previous: Option<String>,
}

#[derive(Debug)]
struct Request {
    id: u64,
    text: String,
    previous: Option<String>,
    asked: Instant,
    stage: Stage,
    /// Why the last who was asked could not.
    error: Option<SpeechError>,
    first_audio: Option<Duration>,
    spoken: Duration,
}

/// How far a request has come.
#[derive(Debug)]
enum Stage {
    /// Nobody was asked.
    New,
    /// This provider makes it, or has made it before.
    Made(usize, Listener),
    /// This provider could not.
    TurnedDown(usize),
    /// Nobody can.
    Lost,
}

impl Speech {
    /// Nothing asked for. `rate` is the call's: providers are asked for the nearest they have.
    pub fn new(settings: Arc<SpeechSettings>, shared: Arc<SpeechShared>, rate: SampleRate) -> Self {
        Self {
            chain: Chain::new(settings.voices.len()),
            settings,
            shared,
            rate,
            current: 0,
            requests: VecDeque::new(),
            prepared: Vec::new(),
            line: None,
            ready: VecDeque::new(),
            previous: None,
        }
    }

    /// Asks for a sentence; `id` comes back with every event of it. Begins with the next [`poll_next`](Self::poll_next).
    pub fn request(&mut self, id: u64, text: &str) {
        // Control characters are no speech, and some programs take them for commands.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.requests.len() >= MOST_WAITING {
            let message = format!("{MOST_WAITING} sentences wait already");
            let error = SpeechError::new(self.provider(self.current), Severity::Text, "queue_full", message, None);
            self.ready.push_back(SpeechEvent::Failed { id, text, error, latency: Duration::ZERO, off: false });
            return;
        }
        let skipped = text.chars().count().saturating_sub(MOST_PREVIOUS);
        let previous = self.previous.replace(text.chars().skip(skipped).collect());
        self.requests.push_back(Request {
            id,
            text,
            previous,
            asked: Instant::now(),
            stage: Stage::New,
            error: None,
            first_audio: None,
            spoken: Duration::ZERO,
        });
    }

    /// A new turn begins: the next sentence does not go on from the last.
    pub fn begin_turn(&mut self) {
        self.previous = None;
        self.line = None;
    }

    /// Has a sentence made for the cache, so that it is there when it is needed: an apology, a greeting. It fires no event.
    /// Must be called on a worker.
    pub fn prepare(&mut self, text: &str) {
        let Some(voice) = self.settings.voices.first().filter(|_| self.settings.cache) else { return };
        if self.prepared.len() >= MOST_PREPARED {
            return;
        }
        let job = Job { voice, text, previous: None, rate: self.rate, timeout: self.settings.timeout, cache: true };
        if let Ok(listener) = self.shared.open(&job)
            && !listener.is_cached()
        {
            self.prepared.push(listener);
        }
    }

    /// The sentence is not wanted any more: its request is dropped, and nothing of it comes out.
    pub fn abort(&mut self, id: u64) {
        self.requests.retain(|request| request.id != id);
        self.ready.retain(|event| event.id() != id);
        self.previous = None;
        self.line = None;
    }

    /// No sentence is wanted any more.
    pub fn abort_all(&mut self) {
        self.requests.clear();
        self.ready.clear();
        self.previous = None;
        self.line = None;
    }

    /// Sentences asked for and not complete.
    pub fn depth(&self) -> usize {
        self.requests.len()
    }

    /// What all streams share.
    pub const fn shared(&self) -> &Arc<SpeechShared> {
        &self.shared
    }

    /// [`poll_next`](Self::poll_next) as a future; dropping it loses nothing.
    pub async fn next(&mut self) -> SpeechEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event. `Pending` when there is none: `cx` is woken when audio, an end or a failure has come, and not before.
    /// Never waits; must be called on a worker, since it may begin a request there.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SpeechEvent> {
        let now = Instant::now();
        self.prepared.retain_mut(|listener| !drain(listener, cx));
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(event);
            }
            for at in 0..self.requests.len().min(AHEAD) {
                self.advance(now, at, cx);
            }
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(event);
            }
            if !self.front(now, cx) {
                return Poll::Pending;
            }
        }
    }

    fn provider(&self, at: usize) -> &'static str {
        self.settings.voices.get(at).map_or("none", |voice| voice.provider)
    }

    /// Begins a request, or goes on to the next provider where one has failed before anything was to be heard.
    fn advance(&mut self, now: Instant, at: usize, cx: &mut Context<'_>) {
        while let Some(request) = self.requests.get_mut(at) {
            match &mut request.stage {
                Stage::Lost => return,
                Stage::New | Stage::TurnedDown(_) => self.ask(now, at),
                Stage::Made(provider, listener) => {
                    let provider = *provider;
                    let Some(error) = listener.poll_silent_failure(cx) else { return };
                    self.chain.failed(now, provider, error.severity);
                    request.stage = Stage::TurnedDown(provider);
                    self.ready.extend(request.complain(error));
                }
            }
        }
    }

    /// Asks the next provider for a request.
    fn ask(&mut self, now: Instant, at: usize) {
        let Self { settings, shared, chain, requests, ready, rate, line, .. } = self;
        let Some(request) = requests.get_mut(at) else { return };
        let job = |provider: usize| Job {
            voice: &settings.voices[provider],
            text: &request.text,
            previous: request.previous.as_deref(),
            rate: *rate,
            timeout: settings.timeout,
            cache: settings.cache,
        };
        let tried = match request.stage {
            Stage::TurnedDown(provider) => Some(provider),
            _ => None,
        };
        if tried.is_none() {
            // What was made before needs no provider; the first choice's first.
            let known = (0..settings.voices.len()).filter(|_| settings.cache);
            let mut known = known.filter_map(|provider| Some(Stage::Made(provider, shared.cached(&job(provider))?)));
            if let Some(made) = known.next() {
                drop(known);
                request.stage = made;
                return;
            }
            drop(known);
            if !chain.admit(now) {
                let message = "too many sentences in a row have failed; it is tried again in a while";
                let provider = settings.voices.first().map_or("none", |voice| voice.provider);
                request.stage = Stage::Lost;
                request.error = Some(SpeechError::new(provider, Severity::Retryable, "speech_off", message, None));
                return;
            }
        }
        let Some(provider) = chain.next(now, tried) else {
            request.stage = Stage::Lost;
            return;
        };
        let opened = match settings.voices[provider].how {
            How::Stream(_) => {
                if line.as_ref().is_none_or(|(of, line)| *of != provider || line.is_over()) {
                    let voice = &settings.voices[provider];
                    *line = Some((provider, Line::new(shared, voice, *rate, settings.timeout)));
                }
                // There is one now.
                line.as_ref().map_or_else(|| shared.open(&job(provider)), |(_, line)| line.speak(&request.text))
            }
            How::Http(_) | How::Program => shared.open(&job(provider)),
        };
        match opened {
            Ok(listener) => request.stage = Stage::Made(provider, listener),
            Err(error) => {
                request.stage = Stage::TurnedDown(provider);
                ready.extend(request.complain(error));
            }
        }
    }

    /// Takes from the sentence at the front; whether anything came of it.
    fn front(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let Some(request) = self.requests.front_mut() else { return false };
        let id = request.id;
        let Stage::Made(provider, listener) = &mut request.stage else {
            return self.fail(now);
        };
        let provider = *provider;
        match listener.poll_next(cx) {
            Poll::Pending => false,
            Poll::Ready(Heard::Audio(samples, rate, marks)) => {
                request.first_audio.get_or_insert_with(|| request.asked.elapsed());
                request.spoken = rate.duration_of(listener.taken() as u64);
                if let Some(error) = request.error.take() {
                    self.ready.push_back(SpeechEvent::Retried { id, error });
                }
                if provider != self.current {
                    let (from, to) = (self.provider(self.current), self.provider(provider));
                    self.ready.push_back(SpeechEvent::Switched { id, from, to });
                    self.current = provider;
                }
                self.ready.push_back(SpeechEvent::Audio { id, samples, rate, marks });
                true
            }
            Poll::Ready(Heard::End(Ok(()))) => {
                let cached = listener.is_cached();
                let report = SpeechReport {
                    provider: self.settings.voices[provider].provider,
                    cached,
                    first_audio: request.first_audio.unwrap_or_default(),
                    spoken: request.spoken,
                    request_id: listener.request_id(),
                };
                self.requests.pop_front();
                if !cached {
                    self.chain.succeeded(provider);
                }
                self.ready.push_back(SpeechEvent::Done { id, report });
                true
            }
            Poll::Ready(Heard::End(Err(error))) => {
                self.chain.failed(now, provider, error.severity);
                self.ready.extend(request.complain(error));
                self.fail(now)
            }
        }
    }

    /// The sentence at the front has failed.
    fn fail(&mut self, now: Instant) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        let unknown =
            || SpeechError::new(self.provider(self.current), Severity::Fatal, "internal", "nobody was asked", None);
        let error = request.error.unwrap_or_else(unknown);
        let off = error.code != "speech_off" && self.chain.sentence_failed(now, error.severity);
        if off {
            self.ready.push_back(SpeechEvent::Audio {
                id: request.id,
                samples: error_tone(self.rate),
                rate: self.rate,
                marks: Vec::new(),
            });
        }
        let latency = now.saturating_duration_since(request.asked);
        self.ready.push_back(SpeechEvent::Failed { id: request.id, text: request.text, error, latency, off });
        true
    }
}

impl Request {
    /// Notes why a provider could not; tells of the one before, which is not the last word any more.
    fn complain(&mut self, error: SpeechError) -> Option<SpeechEvent> {
        self.error.replace(error).map(|error| SpeechEvent::Retried { id: self.id, error })
    }
}

impl SpeechEvent {
    /// Of which sentence it is.
    pub const fn id(&self) -> u64 {
        match self {
            Self::Switched { id, .. }
            | Self::Retried { id, .. }
            | Self::Audio { id, .. }
            | Self::Done { id, .. }
            | Self::Failed { id, .. } => *id,
        }
    }
}

/// Takes what nobody hears; whether that was all.
fn drain(listener: &mut Listener, cx: &mut Context<'_>) -> bool {
    loop {
        match listener.poll_next(cx) {
            Poll::Ready(Heard::Audio(..)) => {}
            Poll::Ready(Heard::End(_)) => return true,
            Poll::Pending => return false,
        }
    }
}

fn error_tone(rate: SampleRate) -> Vec<i16> {
    let mut steps = ERROR_TONE.into_iter().map(|(hz, ms)| ToneStep::tone(hz, ERROR_TONE_DB, ms, 50));
    let length: u16 = ERROR_TONE.iter().map(|(_, ms)| ms + 50).sum();
    let mut samples = vec![0; rate.samples_in_ms(length.into())];
    ToneGenerator::default().fill(rate.hz(), &mut samples, || steps.next());
    samples
}
