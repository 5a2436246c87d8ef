//! Recordings that an agent plays in place of sentences: from the library, or loaded on a thread that may block.
//!
//! On the stream's worker; owned by its task. An agent asks for two at most.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::Task;
use crate::conversation::AiOptions;
use crate::inject::{Sound, SoundLibrary, SoundSource};
use crate::peer::{Input, MonoAudio, Recording};

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
    fn begin(&mut self, sentence: u64, recording: Recording) -> Option<Loaded> {
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

    fn abort(&mut self, sentence: u64) {
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

impl Task {
    /// The agent plays a recording.
    pub(super) fn recite(&mut self, sentence: u64, recording: Recording, now: Instant) {
        if let Some(loaded) = self.recordings.begin(sentence, recording) {
            self.recited(sentence, loaded, now);
        }
    }

    /// The recording is not wanted any more, if it is one.
    pub(super) fn abort_recording(&mut self, sentence: u64) {
        self.recordings.abort(sentence);
    }

    /// A recording is there. What follows from it is still to be performed.
    pub(super) fn recited(&mut self, sentence: u64, loaded: Loaded, now: Instant) {
        let then = match loaded {
            Ok(sound) => {
                let audio = MonoAudio::Pcm { samples: sound.samples.to_vec(), rate: sound.rate };
                self.peer.handle(now, Input::SpeechAudio { sentence, audio });
                Input::SpeechDone { sentence }
            }
            Err(message) => Input::SpeechFailed { sentence, code: "recording".to_owned(), message },
        };
        self.peer.handle(now, then);
    }
}
