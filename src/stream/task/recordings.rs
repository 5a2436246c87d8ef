//! Recordings that an agent plays in place of sentences.
//!
//! On the stream's worker; owned by its task. An agent asks for two at most.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::conversation::AiOptions;
use crate::peer::Recording;
use crate::stream::sounds::{Loaded, Loading, Sounds};
use crate::units::sound::SoundSource;

/// See the [module](self).
pub(super) struct Recordings {
    sounds: Sounds,
    greeting: Option<SoundSource>,
    fallback: Option<SoundSource>,
    loading: Vec<(u64, Loading)>,
}

impl Recordings {
    pub(super) fn new(sounds: Sounds, options: &AiOptions) -> Self {
        let (greeting, fallback) = (options.greeting_file.clone(), options.fallback_file.clone());
        Self { sounds, greeting, fallback, loading: Vec::new() }
    }

    /// Where they come from.
    pub(super) const fn sounds(&self) -> &Sounds {
        &self.sounds
    }

    /// The recording where it is known already; otherwise it comes from [`poll_next`](Self::poll_next). A changed file is heard from the
    /// next call on.
    pub(super) fn begin(&mut self, sentence: u64, recording: Recording) -> Option<Loaded> {
        let source = match recording {
            Recording::Greeting => self.greeting.clone(),
            Recording::Fallback => self.fallback.clone(),
        };
        let Some(source) = source else { return Some(Err("there is no such recording".to_owned())) };
        match self.sounds.get(&source) {
            Ok(sound) => Some(Ok(sound)),
            Err(loading) => {
                self.loading.push((sentence, loading));
                None
            }
        }
    }

    /// The recording is not wanted any more, if it is one.
    pub(super) fn abort(&mut self, sentence: u64) {
        self.loading.retain(|(loading, _)| *loading != sentence);
    }

    /// Ready when a recording has been loaded, or could not be.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(u64, Loaded)> {
        for at in 0..self.loading.len() {
            let (sentence, loading) = &mut self.loading[at];
            if let Poll::Ready(loaded) = Pin::new(loading).poll(cx) {
                let sentence = *sentence;
                self.loading.remove(at);
                return Poll::Ready((sentence, loaded));
            }
        }
        Poll::Pending
    }
}
