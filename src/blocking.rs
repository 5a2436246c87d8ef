//! Work that blocks its thread: name look-ups, files, decoding, programs. Each kind has a bound of its own, so that no kind waits
//! behind another.
//!
//! Such work is done on the blocking threads of the shards' runtimes (`mas-blocking`), of which every runtime may have
//! [`THREADS`]: as many as all kinds together may use. So work that has a place in its kind has a thread at once, whatever
//! hangs elsewhere. What waits for a place costs no thread: it waits in the task that wants it, in the order of arrival, and is
//! never begun if the task gives it up. What runs cannot be ended; it keeps its place until it returns.
//!
//! Within a kind, what waits for one thing among several (a program, a folder of files) takes at most half of the places, so
//! that one that hangs leaves places for the others.
//!
//! One value for the module, cloned; each clone has the same places. Nothing is refused here: the callers bound how much of
//! their work may wait, each where it says so. What has waited is counted, and the metrics show it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

use crate::units::choice::{Choice, choice};

choice! {
    /// What the work waits for.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Kind {
        /// The resolver.
        Names = "names",
        /// The disk with the certificates.
        Certificates = "certificates",
        /// The disk with audio files: those that servers have played, and the operator's sounds.
        Files = "files",
        /// The processor, for audio files.
        Decoding = "decoding",
        /// The start of a program.
        Programs = "programs",
        /// The end of a program that was killed.
        Ends = "ends",
    }
}

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, kind)| *kind)
    }

    /// How many of its jobs may run at the same time, in the whole module.
    pub const fn places(self) -> usize {
        match self {
            // A look-up takes half a minute if no name server answers.
            Self::Names => 8,
            Self::Certificates => 2,
            Self::Files => 4,
            // More would take the processor from the workers.
            Self::Decoding => 2,
            Self::Programs | Self::Ends => 4,
        }
    }
}

/// Blocking threads that a runtime must allow.
pub const THREADS: usize = {
    let (mut threads, mut at) = (0, 0);
    while at < Kind::WORDS.len() {
        threads += Kind::WORDS[at].1.places();
        at += 1;
    }
    threads
};

/// Where work that blocks is done. Clones are one.
#[derive(Clone)]
pub struct Blocking(Arc<[Places]>);

/// The places of one kind.
struct Places {
    free: Arc<Semaphore>,
    /// The places that one thing may take, as long as some of its work runs or waits.
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
    waiting: AtomicU64,
    waited: AtomicU64,
}

/// How busy a kind is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for a place.
    pub waiting: u64,
    /// Jobs that have had to wait so far.
    pub waited: u64,
}

impl Default for Blocking {
    /// Nothing runs.
    fn default() -> Self {
        let places = |kind: Kind| Places {
            free: Arc::new(Semaphore::new(kind.places())),
            shares: Mutex::default(),
            waiting: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        };
        Self(Kind::all().map(places).collect())
    }
}

impl Blocking {
    /// Does `job` where it may block, as soon as its kind has a place. An error means that it panicked or that the runtime ends.
    ///
    /// Dropping the future gives up a job that has not begun; one that runs goes on to its end, and nobody learns of it. Must be
    /// polled on a worker.
    pub async fn run<T: Send + 'static>(
        &self,
        kind: Kind,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let place = self.places(kind).one().await;
        spawn_blocking(move || {
            let _place = place;
            job()
        })
        .await
    }

    /// The same for work that waits for `thing`, which takes at most half of the places of its kind.
    pub async fn run_for<T: Send + 'static>(
        &self,
        kind: Kind,
        thing: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let places = self.places(kind);
        let share = places.wait_for(places.share(thing, kind.places() / 2)).await;
        let job = move || {
            let _share = share;
            job()
        };
        self.run(kind, job).await
    }

    /// How busy a kind is.
    pub fn load(&self, kind: Kind) -> Load {
        let places = self.places(kind);
        Load {
            running: kind.places() - places.free.available_permits(),
            waiting: places.waiting.load(Ordering::Relaxed),
            waited: places.waited.load(Ordering::Relaxed),
        }
    }

    fn places(&self, kind: Kind) -> &Places {
        &self.0[kind as usize]
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Kind::all().map(|kind| (kind, self.load(kind)))).finish()
    }
}

impl Places {
    /// A place, once there is one.
    async fn one(&self) -> Option<OwnedSemaphorePermit> {
        self.wait_for(self.free.clone()).await
    }

    /// One of these, once there is one; `None` only if they were taken away, which never happens.
    async fn wait_for(&self, places: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Some(place);
        }
        self.waited.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits::new(&self.waiting);
        places.acquire_owned().await.ok()
    }

    /// What `thing` may take: so many places.
    fn share(&self, thing: &str, places: usize) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(thing).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(places));
        shares.insert(thing.to_owned(), Arc::downgrade(&share));
        share
    }
}

/// Counted as waiting until it is dropped.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().max_blocking_threads(THREADS).build().unwrap()
    }

    /// Jobs that hang until this is dropped.
    struct Hung {
        _go_on: Vec<mpsc::Sender<()>>,
    }

    impl Hung {
        /// So many jobs of a kind, all of which have been asked for.
        async fn start(blocking: &Blocking, kind: Kind, count: usize) -> Self {
            let mut hung = Vec::new();
            for _ in 0..count {
                let (go_on, hangs) = mpsc::channel::<()>();
                let blocking = blocking.clone();
                tokio::spawn(async move { blocking.run(kind, move || hangs.recv()).await });
                hung.push(go_on);
            }
            while blocking.load(kind).running + blocking.load(kind).waiting as usize != count {
                tokio::task::yield_now().await;
            }
            Self { _go_on: hung }
        }
    }

    #[test]
    fn a_kind_that_hangs_delays_no_other() {
        runtime().block_on(async {
            for hanging in Kind::all() {
                let blocking = Blocking::default();
                let hung = Hung::start(&blocking, hanging, hanging.places() + 3).await;
                assert_eq!(blocking.load(hanging), Load { running: hanging.places(), waiting: 3, waited: 3 });
                for kind in Kind::all().filter(|kind| *kind != hanging) {
                    // As many at the same time as the kind has places.
                    let meet = Arc::new(std::sync::Barrier::new(kind.places()));
                    let jobs = (0..kind.places()).map(|_| {
                        let meet = meet.clone();
                        blocking.run(kind, move || meet.wait().is_leader())
                    });
                    let done = timeout(PATIENCE, futures_util::future::join_all(jobs)).await;
                    assert!(done.is_ok(), "{kind:?} waits for {hanging:?}");
                    assert_eq!(blocking.load(kind), Load { running: 0, waiting: 0, waited: 0 });
                }
                drop(hung);
            }
        });
    }

    #[test]
    fn one_thing_that_hangs_leaves_places_for_the_others() {
        runtime().block_on(async {
            let blocking = Blocking::default();
            let (go_on, hangs) = mpsc::channel::<()>();
            let hangs = Arc::new(Mutex::new(hangs));
            let stuck: Vec<_> = (0..2 * Kind::Programs.places())
                .map(|_| {
                    let (blocking, hangs) = (blocking.clone(), hangs.clone());
                    let job = move || hangs.lock().recv().is_err();
                    tokio::spawn(async move { blocking.run_for(Kind::Programs, "hangs", job).await })
                })
                .collect();
            let half = Kind::Programs.places() / 2;
            while blocking.load(Kind::Programs).waiting == 0 || blocking.load(Kind::Programs).running < half {
                tokio::task::yield_now().await;
            }
            let other = blocking.run_for(Kind::Programs, "other", || "done");
            assert_eq!(timeout(PATIENCE, other).await.unwrap().unwrap(), "done");
            assert_eq!(blocking.load(Kind::Programs).running, half);
            drop(go_on);
            for job in stuck {
                timeout(PATIENCE, job).await.unwrap().unwrap().unwrap();
            }
            let known = || blocking.places(Kind::Programs).shares.lock().len();
            blocking.run_for(Kind::Programs, "new", || ()).await.unwrap();
            assert_eq!(known(), 1, "what nobody waits for is forgotten");
        });
    }

    #[test]
    fn what_is_given_up_before_its_turn_is_not_done() {
        runtime().block_on(async {
            let (blocking, done) = (Blocking::default(), Arc::new(AtomicU32::new(0)));
            let job = || {
                let done = done.clone();
                blocking.run(Kind::Decoding, move || done.fetch_add(1, Ordering::Relaxed))
            };
            let hung = Hung::start(&blocking, Kind::Decoding, Kind::Decoding.places()).await;
            for _ in 0..10 {
                timeout(Duration::from_millis(1), job()).await.unwrap_err();
            }
            assert_eq!(blocking.load(Kind::Decoding).waiting, 0);
            drop(hung);
            assert_eq!(job().await.unwrap(), 0, "none of those given up was done before it");
            assert_eq!(done.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_job_that_panics_gives_its_place_back() {
        runtime().block_on(async {
            let blocking = Blocking::default();
            for _ in 0..2 * Kind::Decoding.places() {
                let panicked: Result<(), _> = blocking.run(Kind::Decoding, || panic!("on purpose")).await;
                assert!(panicked.is_err());
            }
            assert_eq!(blocking.run(Kind::Decoding, || 1).await.unwrap(), 1);
        });
    }
}
