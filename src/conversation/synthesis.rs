//! The voice of a model that writes, and of what an operator has said: sentences to the speech synthesis, its audio through the polish at
//! the call's rate.
//!
//! Owned by the stream's task. One sentence after the other comes back as it is made; what comes late of one that was given up is
//! dropped with its request. The resampler and the chain are this stream's own.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::dsp::{Chain, ChainSettings, Resampler};
use crate::tts::{Speech, SpeechEvent, SpeechSettings, SpeechShared};
use crate::units::SampleRate;

/// Synthesis and polish of one stream.
#[derive(Debug)]
pub struct Synthesis {
    speech: Speech,
    /// What is certain or likely to be said, made before it is needed: greeting and apology.
    expected: Vec<String>,
    resampler: Option<Resampler>,
    chain: Chain,
}

impl Synthesis {
    /// Nothing to say yet. `rate` is the call's; `expected` is what will be said as it stands.
    pub fn new(
        settings: Arc<SpeechSettings>,
        shared: Arc<SpeechShared>,
        polish: ChainSettings,
        rate: SampleRate,
        expected: Vec<String>,
    ) -> Self {
        Self { speech: Speech::new(settings, shared, rate), expected, resampler: None, chain: Chain::new(rate, polish) }
    }

    /// The rate of [`polish`](Self::polish)ed audio.
    pub const fn rate(&self) -> SampleRate {
        self.chain.rate()
    }

    /// Asks for a sentence; `first`: it begins a turn.
    pub fn request(&mut self, sentence: u64, text: &str, first: bool) {
        if first {
            self.speech.begin_turn();
        }
        self.speech.request(sentence, text);
    }

    /// Has the sentences that are expected made for the cache. On a worker.
    pub fn prepare(&mut self) {
        for text in std::mem::take(&mut self.expected) {
            self.speech.prepare(&text);
        }
    }

    /// The sentence is not wanted any more.
    pub fn abort(&mut self, sentence: u64) {
        self.speech.abort(sentence);
        self.resampler = None;
        self.chain.reset();
    }

    /// No sentence is wanted any more.
    pub fn abort_all(&mut self) {
        self.speech.abort_all();
        self.resampler = None;
        self.chain.reset();
    }

    /// Whether every sentence has been made, or given up.
    pub fn is_idle(&self) -> bool {
        self.speech.depth() == 0
    }

    /// Ready when something has come of the requests. On a worker.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SpeechEvent> {
        self.speech.poll_next(cx)
    }

    /// Audio of the synthesis as the caller is to hear it.
    pub fn polish(&mut self, samples: &[i16], rate: SampleRate) -> Vec<i16> {
        if self.resampler.as_ref().is_none_or(|resampler| resampler.from() != rate) {
            let tail = self.tail();
            self.resampler = Some(Resampler::new(rate, self.rate(), 1));
            if !tail.is_empty() {
                let mut out = tail;
                self.convert(samples, &mut out);
                return out;
            }
        }
        let mut out = Vec::with_capacity(samples.len());
        self.convert(samples, &mut out);
        out
    }

    /// What the resampler has kept of a sentence that is complete.
    pub fn tail(&mut self) -> Vec<i16> {
        let mut out = Vec::new();
        if let Some(mut resampler) = self.resampler.take() {
            resampler.drain(&mut out);
            self.chain.process(&mut out);
        }
        out
    }

    fn convert(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let from = out.len();
        if let Some(resampler) = &mut self.resampler {
            resampler.process(samples, out);
        }
        if let Some(new) = out.get_mut(from..) {
            self.chain.process(new);
        }
    }
}
