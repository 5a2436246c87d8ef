//! One sentence being made, and everybody who listens to it.
//!
//! A stream that asks for a sentence that is already being made hears that one from its beginning. A task on the asking
//! stream's worker makes it; a [`Listener`] takes from it at its own pace, on any worker, and is woken when there is more. The
//! last listener to go ends the task, and with it the request or the program. All samples are kept until then: a synthesis is
//! bounded by [`MOST`].

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::cache::Spoken;
use super::error::{Severity, SpeechError};
use crate::peer::SpeechMark;
use crate::units::SampleRate;

/// Longest sentence: a page read out. 28 MB at 48 kHz.
pub(super) const MOST: Duration = Duration::from_secs(300);
/// Samples a listener takes at once, in ms.
const PIECE_MS: u32 = 1_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedSynthesis {
    provider: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    samples: Vec<i16>,
    rate: SampleRate,
    /// What the provider calls the request.
    request_id: Option<String>,
    /// How far the text has been spoken at which moment, where the provider says so.
    marks: Vec<SpeechMark>,
    ended: Option<Result<(), SpeechError>>,
    wakers: Vec<Waker>,
    listeners: usize,
    task: Option<AbortHandle>,
}

impl State {
    fn wake(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}

impl SharedSynthesis {
    pub(super) fn new(provider: &'static str, rate: SampleRate) -> Arc<Self> {
        let state = State {
            samples: Vec::new(),
            rate,
            request_id: None,
            marks: Vec::new(),
            ended: None,
            wakers: Vec::new(),
            listeners: 0,
            task: None,
        };
        Arc::new(Self { provider, state: Mutex::new(state) })
    }

    /// Who makes it.
    pub(super) const fn provider(&self) -> &'static str {
        self.provider
    }

    /// The task that makes it; ended at once if nobody listens any more.
    pub(super) fn set_task(&self, task: AbortHandle) {
        let mut state = self.state.lock();
        if state.listeners == 0 {
            task.abort();
        }
        state.task = Some(task);
    }

    /// Somebody listens from the beginning; `None` when it was given up, since nobody did.
    pub(super) fn listen(self: &Arc<Self>) -> Option<Listener> {
        let mut state = self.state.lock();
        if state.task.is_some() && state.listeners == 0 {
            return None;
        }
        state.listeners += 1;
        Some(Listener { source: Source::SharedSynthesis(Arc::clone(self)), at: 0, marked: 0 })
    }

    /// The provider has answered, and calls the request so.
    pub(super) fn set_request(&self, id: Option<String>) {
        self.state.lock().request_id = id;
    }

    /// More of it. An error when it has become too long.
    pub(super) fn push(&self, samples: &[i16], rate: SampleRate) -> Result<(), SpeechError> {
        let mut state = self.state.lock();
        state.rate = rate;
        if rate.duration_of((state.samples.len() + samples.len()) as u64) > MOST {
            let message = format!("it went on for more than {} s", MOST.as_secs());
            return Err(SpeechError::new(self.provider, Severity::Text, "too_long", message, None));
        }
        state.samples.extend_from_slice(samples);
        let wakers = if samples.is_empty() { Vec::new() } else { state.wake() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// How far the text has been spoken at which moment; before the audio of it.
    pub(super) fn mark(&self, marks: &[SpeechMark]) {
        self.state.lock().marks.extend_from_slice(marks);
    }

    /// How long it is by now.
    pub(super) fn length(&self) -> Duration {
        let state = self.state.lock();
        state.rate.duration_of(state.samples.len() as u64)
    }

    /// No more of it; what was made, if it is whole. Only the first end counts.
    pub(super) fn end(&self, how: Result<(), SpeechError>) -> Option<Spoken> {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return None;
        }
        let spoken = how.is_ok().then(|| Spoken { samples: state.samples.clone(), rate: state.rate });
        state.ended = Some(how);
        let wakers = state.wake();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        spoken
    }
}

/// Somebody who hears a sentence as it is made, or what was made before.
#[derive(Debug)]
pub(super) struct Listener {
    source: Source,
    /// Samples taken.
    at: usize,
    /// Marks taken.
    marked: usize,
}

#[derive(Debug)]
enum Source {
    SharedSynthesis(Arc<SharedSynthesis>),
    Cached(Arc<Spoken>),
}

/// What a listener finds.
#[derive(Debug)]
pub(super) enum Heard {
    /// More, and what is known by now of when which character is spoken.
    Audio(Vec<i16>, SampleRate, Vec<SpeechMark>),
    /// All of it.
    End(Result<(), SpeechError>),
}

impl Listener {
    pub(super) const fn cached(spoken: Arc<Spoken>) -> Self {
        Self { source: Source::Cached(spoken), at: 0, marked: 0 }
    }

    pub(super) const fn is_cached(&self) -> bool {
        matches!(self.source, Source::Cached(_))
    }

    /// What the provider calls the request.
    pub(super) fn request_id(&self) -> Option<String> {
        match &self.source {
            Source::SharedSynthesis(synthesis) => synthesis.state.lock().request_id.clone(),
            Source::Cached(_) => None,
        }
    }

    /// How much was taken.
    pub(super) const fn taken(&self) -> usize {
        self.at
    }

    /// What comes next, at most a second of it.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        let Self { source, at, marked } = self;
        let mut piece = |samples: &[i16], rate: SampleRate, marks: &[SpeechMark]| {
            let rest = samples.get(*at..).unwrap_or_default();
            let piece = rest[..rest.len().min(rate.samples_in_ms(PIECE_MS))].to_vec();
            *at += piece.len();
            if piece.is_empty() {
                return None;
            }
            let new = marks.get(std::mem::replace(marked, marks.len())..).unwrap_or_default();
            Some(Heard::Audio(piece, rate, new.to_vec()))
        };
        match source {
            Source::Cached(spoken) => {
                Poll::Ready(piece(&spoken.samples, spoken.rate, &[]).unwrap_or(Heard::End(Ok(()))))
            }
            Source::SharedSynthesis(synthesis) => {
                let mut state = synthesis.state.lock();
                if let Some(heard) = piece(&state.samples, state.rate, &state.marks) {
                    return Poll::Ready(heard);
                }
                match &state.ended {
                    Some(ended) => Poll::Ready(Heard::End(ended.clone())),
                    None => {
                        register(&mut state.wakers, cx);
                        Poll::Pending
                    }
                }
            }
        }
    }

    /// Its failure, when it has ended without anything to hear for this listener; woken when that may have changed.
    pub(super) fn poll_silent_failure(&mut self, cx: &mut Context<'_>) -> Option<SpeechError> {
        let Source::SharedSynthesis(synthesis) = &self.source else { return None };
        let mut state = synthesis.state.lock();
        match &state.ended {
            Some(Err(error)) if state.samples.is_empty() => Some(error.clone()),
            Some(_) => None,
            None => {
                register(&mut state.wakers, cx);
                None
            }
        }
    }
}

fn register(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Source::SharedSynthesis(synthesis) = &self.source else { return };
        let mut state = synthesis.state.lock();
        state.listeners -= 1;
        if state.listeners == 0
            && state.ended.is_none()
            && let Some(task) = &state.task
        {
            task.abort();
        }
    }
}
