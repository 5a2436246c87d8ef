//! The operator's recordings and backgrounds on their way to a stream: from the library at once, or loaded where that may block.
//!
//! Owned by the stream's task, on its worker. A load has a place among those of audio files, so that a disk that hangs keeps none of
//! another kind; what nobody waits for any more goes on to its end, for the next call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::blocking::{Blocking, Kind};
use crate::inject::{Sound, SoundLibrary};
use crate::units::sound::SoundSource;

/// A sound, or in words why it cannot be played.
pub(super) type Loaded = Result<Arc<Sound>, String>;

/// Where the sounds of a stream come from.
pub(super) struct Sounds {
    library: Arc<SoundLibrary>,
    blocking: Blocking,
}

impl Sounds {
    /// From `library`, which is filled with `blocking`.
    pub(super) const fn new(library: Arc<SoundLibrary>, blocking: Blocking) -> Self {
        Self { library, blocking }
    }

    /// The sound where it is known already, or else the loading of it. One that is known is loaded as well: its file may have changed,
    /// for the next call. On a worker.
    pub(super) fn get(&self, source: &SoundSource) -> Result<Arc<Sound>, Loading> {
        let found = self.library.get(source);
        let (library, blocking, source) = (self.library.clone(), self.blocking.clone(), source.clone());
        let loading = tokio::spawn(async move {
            let folder = match &source {
                SoundSource::File(path) => path.parent().map(|folder| folder.display().to_string()),
                SoundSource::ComfortNoise => None,
            };
            let failed = format!("{source}: it could not be decoded");
            let load = move || library.load(&source);
            let loaded = match folder {
                Some(folder) => blocking.run_for(Kind::Files, &folder, load).await,
                None => blocking.run(Kind::Decoding, load).await,
            };
            loaded.unwrap_or(Err(failed))
        });
        found.ok_or(Loading(loading))
    }
}

/// A sound that is being loaded. Dropped, it is loaded nevertheless.
pub(super) struct Loading(JoinHandle<Loaded>);

impl Future for Loading {
    type Output = Loaded;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Loaded> {
        // The task ends early only with its worker.
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|loaded| loaded.unwrap_or_else(|_| Err("the module is being unloaded".into())))
    }
}
