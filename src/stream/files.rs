//! Audio files of a server: those in its messages, and those in the operator's folder that it may name.
//!
//! Owned by the stream's task. They are read and decoded where that may block, a file of a stream at a time: one that hangs with its
//! disk keeps its turn, also when nobody waits for it any more, so that a stream keeps one thread at most.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::options::StreamOptions;
use crate::blocking::{Blocking, Kind};
use crate::inject::{DecodeLimits, decode};
use crate::protocol::AudioKind;
use crate::units::PcmFormat;

/// Largest file that is read, bytes: eight minutes of 8 kHz PCM.
const LARGEST_FILE: u64 = 8 << 20;

/// Decoded audio, or in words why there is none.
pub(super) type Decoded = Result<(Vec<i16>, PcmFormat), String>;

/// A file on its way to its samples. Dropped, it is given up: what has begun goes on to its end and comes to nothing.
pub(super) type Decoding = Pin<Box<dyn Future<Output = Decoded> + Send>>;

/// Files of one stream.
pub(super) struct Files {
    blocking: Blocking,
    turn: Arc<Semaphore>,
    folder: Option<PathBuf>,
    limits: DecodeLimits,
}

impl Files {
    /// As the options allow; read and decoded with `blocking`.
    pub(super) fn new(options: &StreamOptions, blocking: Blocking) -> Self {
        Self {
            blocking,
            turn: Arc::new(Semaphore::new(1)),
            folder: options.allow_file_injection.then(|| options.file_injection_dir.clone()).flatten(),
            // What is longer than the queue would lose its end there.
            limits: DecodeLimits { ms: options.inject_buffer_ms, ..DecodeLimits::default() },
        }
    }

    /// A file that has come in a message.
    pub(super) fn decode(&self, kind: AudioKind, bytes: Vec<u8>) -> Decoding {
        self.begin(kind, None, move || Ok(bytes))
    }

    /// The file that the server calls `path`. An error says why no file is played.
    pub(super) fn open(&self, kind: AudioKind, path: String) -> Result<Decoding, String> {
        let folder = self.folder.clone();
        let folder = folder.ok_or("a file is not played: set file_injection_dir to the folder it may be in")?;
        let of = folder.display().to_string();
        Ok(self.begin(kind, Some(of), move || read_below(&folder, &path)))
    }

    /// Takes what `read` gives to its samples; `folder` is where it reads, if it does.
    fn begin(
        &self,
        kind: AudioKind,
        folder: Option<String>,
        read: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Decoding {
        let (blocking, turn, limits) = (self.blocking.clone(), self.turn.clone(), self.limits);
        Box::pin(async move {
            let failed = |_| "the audio could not be decoded".to_owned();
            // Nobody closes the semaphore. The turn goes with the work, which goes on if nobody waits for it any more.
            let turn = turn.acquire_owned().await.ok();
            let (bytes, turn) = match &folder {
                Some(folder) => blocking.run_for(Kind::Files, folder, move || (read(), turn)).await.map_err(failed)?,
                None => (read(), turn),
            };
            let bytes = bytes?;
            let decode = move || {
                let _turn = turn;
                decode(kind, &bytes, limits)
            };
            let decoded = blocking.run(Kind::Decoding, decode).await.map_err(failed)?;
            decoded.map_err(|error| match folder {
                Some(_) => format!("the {kind} file is not played: {error}"),
                None => format!("{kind} audio is not played: {error}"),
            })
        })
    }
}

/// The bytes of the file that the server calls `path`, if it lies below `folder`, links followed. Blocks.
fn read_below(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let refused = |why: &dyn std::fmt::Display| format!("a file is not played: {why}");
    let folder = folder.canonicalize().map_err(|error| refused(&format!("file_injection_dir: {error}")))?;
    let file = folder.join(path).canonicalize().map_err(|error| refused(&error))?;
    if !file.starts_with(&folder) {
        return Err(refused(&"it is not below file_injection_dir"));
    }
    let about = std::fs::metadata(&file).map_err(|error| refused(&error))?;
    if !about.is_file() {
        return Err(refused(&"it is not a file"));
    }
    if about.len() > LARGEST_FILE {
        return Err(refused(&format!("it has {} bytes, more than {LARGEST_FILE}", about.len())));
    }
    std::fs::read(&file).map_err(|error| refused(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;
    use crate::blocking::{Load, THREADS};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn files(blocking: &Blocking) -> Files {
        Files::new(&StreamOptions::default(), blocking.clone())
    }

    /// A file on a disk that hangs until the other end is dropped.
    fn hanging(files: &Files, folder: &str) -> (mpsc::Sender<()>, Decoding) {
        let (disk, hangs) = mpsc::channel::<()>();
        let read = move || hangs.recv().map(|()| Vec::new()).map_err(|error| error.to_string());
        (disk, files.begin(AudioKind::Wav, Some(folder.to_owned()), read))
    }

    async fn is_refused(decoding: Decoding, why: &str) {
        let reason = timeout(PATIENCE, decoding).await.unwrap().unwrap_err();
        assert!(reason.contains(why), "{reason}");
    }

    #[test]
    fn a_file_that_hangs_holds_up_its_own_stream_alone() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(THREADS).build().unwrap();
        runtime.block_on(async {
            let blocking = Blocking::default();
            let [stuck, other] = [(); 2].map(|()| files(&blocking));
            // The server has its file played, clears it, and again.
            let mut disks = Vec::new();
            for _ in 0..10 {
                let (disk, decoding) = hanging(&stuck, "/a");
                assert!(timeout(Duration::from_millis(10), decoding).await.is_err());
                disks.push(disk);
            }
            assert_eq!(blocking.load(Kind::Files), Load { running: 1, waiting: 0, waited: 0 }, "it keeps one place");
            let second = stuck.decode(AudioKind::Wav, vec![0; 100]);
            let mut second = Box::pin(timeout(PATIENCE, second));
            assert!(timeout(Duration::from_millis(10), &mut second).await.is_err(), "one file at a time");
            is_refused(other.decode(AudioKind::Wav, vec![0; 100]), "wav audio is not played").await;
            let (disk, decoding) = hanging(&other, "/b");
            drop(disk);
            is_refused(decoding, "closed channel").await;
            drop(disks);
            assert!(second.await.unwrap().is_err(), "its turn comes when the disk answers");
        });
    }

    #[test]
    fn disks_that_hang_delay_no_audio_that_comes_in_messages() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(THREADS).build().unwrap();
        runtime.block_on(async {
            let blocking = Blocking::default();
            let stuck: Vec<_> =
                (0..=Kind::Files.places()).map(|at| hanging(&files(&blocking), &format!("/{at}"))).collect();
            let (disks, stuck): (Vec<_>, Vec<_>) = stuck.into_iter().unzip();
            let all = tokio::spawn(futures_util::future::join_all(stuck));
            while blocking.load(Kind::Files).waiting == 0 {
                tokio::task::yield_now().await;
            }
            is_refused(files(&blocking).decode(AudioKind::Wav, vec![0; 100]), "wav audio is not played").await;
            drop(disks);
            assert!(timeout(PATIENCE, all).await.unwrap().unwrap().iter().all(Result::is_err));
        });
    }
}
