//! The caller's audio before it is sent: the agent's echo and noise taken off, soft voices brought up, and whether the caller speaks.
//!
//! Owned by the stream's task, which sends captured audio through it at the wire's rate, one channel. What is off costs nothing.
//! The suppression keeps some 15 ms back; [`CallerProcessor::drain`] gives them at the end.

use std::collections::VecDeque;

use crate::dsp::{CallerChain, CallerSettings, Vad, VadEvent, VadSettings};
use crate::peer::Input;
use crate::units::SampleRate;

/// What is done to the caller's audio.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct CallerProcessing {
    /// Cancellation of echo, suppression of noise, gain control.
    pub cleaning: CallerSettings,
    /// The module's own voice activity detection; `None`: the engine's is enough.
    pub vad: Option<VadSettings>,
}

/// The processing of one stream.
#[derive(Default)]
pub struct CallerProcessor {
    // In boxes, since most streams have neither.
    chain: Option<Box<CallerChain>>,
    vad: Option<Box<Vad>>,
    cleaned: Vec<i16>,
    heard: VecDeque<Heard>,
}

/// What the module's own voice activity detection finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The caller begins to speak.
    Began,
    /// They have spoken without a long pause for the time of the settings.
    Lasting,
    /// They have stopped.
    Stopped,
}

impl Heard {
    /// The same for a peer.
    pub const fn input(self) -> Input<'static> {
        match self {
            Self::Began => Input::LocalSpeech(true),
            Self::Lasting => Input::LocalLasting,
            Self::Stopped => Input::LocalSpeech(false),
        }
    }
}

impl CallerProcessor {
    /// For audio at `rate`.
    pub fn new(settings: CallerProcessing, rate: SampleRate) -> Self {
        Self {
            chain: (settings.cleaning != CallerSettings::OFF)
                .then(|| Box::new(CallerChain::new(rate, settings.cleaning))),
            vad: settings.vad.map(|vad| Box::new(Vad::new(rate, vad))),
            cleaned: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    /// The caller is played `samples` meanwhile: before [`process`](Self::process) of what is captured at the same time.
    pub fn played(&mut self, samples: &[i16]) {
        if let Some(chain) = &mut self.chain {
            chain.played(samples);
        }
    }

    /// Whether it wants to know what the caller is [`played`](Self::played).
    pub fn cancels_echo(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.settings().echo_cancellation)
    }

    /// Processes the samples of `pcm` from sample `from` on. About 10 µs for 20 ms with everything on.
    pub fn process(&mut self, pcm: &mut Vec<i16>, from: usize) {
        if let Some(chain) = &mut self.chain {
            self.cleaned.clear();
            chain.process(pcm.get(from..).unwrap_or_default(), &mut self.cleaned);
            pcm.truncate(from);
            pcm.append(&mut self.cleaned);
        }
        self.listen(pcm.get(from..).unwrap_or_default());
    }

    /// The end: what was kept back.
    pub fn drain(&mut self, pcm: &mut Vec<i16>) {
        if let Some(chain) = &mut self.chain {
            chain.drain(pcm);
        }
    }

    /// What was heard; each is given once.
    pub fn take(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    fn listen(&mut self, samples: &[i16]) {
        if let Some(vad) = &mut self.vad {
            vad.process(samples, |event| {
                self.heard.push_back(match event {
                    VadEvent::Started { .. } => Heard::Began,
                    VadEvent::Lasting { .. } => Heard::Lasting,
                    VadEvent::Stopped { .. } => Heard::Stopped,
                });
            });
        }
    }
}
