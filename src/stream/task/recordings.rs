//! Recordings that an agent plays in place of sentences: from the library, or loaded on a thread that may block.
//!
//! On the stream's worker; owned by its task. An agent asks for two at most.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::conversation::AiOptions;
use crate::inject::{Sound, SoundLibrary};
use crate::peer::Recording;
use crate::units::sound::SoundSource;

/// A recording, or why it cannot be played.
pub(super) type Loaded = Result<Arc<Sound>, String>;

/// See the [module](self).
pub(super) struct Recordings {
    library: Arc<SoundLibrary>,
    greeting: Option<SoundSource>,
    fallback: Option<SoundSource>,
    loading: Vec<(u64, JoinHandle<Loaded>)>,
}

impl Recordings {
    pub(super) fn new(library: Arc<SoundLibrary>, options: &AiOptions) -> Self {
        let (greeting, fallback) = (options.greeting_file.clone(), options.fallback_file.clone());
        Self { library, greeting, fallback, loading: Vec::new() }
    }

    /// Where they come from.
    pub(super) const fn library(&self) -> &Arc<SoundLibrary> {
        &self.library
    }

    /// The recording where it is known already; otherwise it comes from [`poll_next`](Self::poll_next). A changed file is heard from the
    /// next call on.
    pub(super) fn begin(&mut self, sentence: u64, recording: Recording) -> Option<Loaded> {
        let source = match recording {
            Recording::Greeting => self.greeting.clone(),
            Recording::Fallback => self.fallback.clone(),
        };
        let Some(source) = source else { return Some(Err("there is no such recording".to_owned())) };
        let found = self.library.get(&source);
        let library = self.library.clone();
        let loading = tokio::task::spawn_blocking(move || library.load(&source));
        if found.is_none() {
            self.loading.push((sentence, loading));
        }
        found.map(Ok)
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
                let failed = |_| Err("the recording could not be decoded".to_owned());
                return Poll::Ready((sentence, loaded.unwrap_or_else(failed)));
            }
        }
        Poll::Pending
    }
}
