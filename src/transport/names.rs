//! Name look-ups: a name is asked for once at a time, for everybody who wants it.
//!
//! A resolver that does not answer for one name keeps a thread for half a minute. If every call to that server asked for itself,
//! they would take all places for look-ups; so they share one. Each look-up is a task of the runtime that wanted it first; it
//! ends with its answer and not with who asked, since a look-up that runs cannot be ended. One that nobody wants any more when
//! its turn comes is not made. At most [`MOST`] names are asked for at a time; one more is an error.
//!
//! On the workers; the lock is held for a look.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::blocking::{Blocking, Kind};

/// Names that are asked for at a time.
const MOST: usize = 1_024;

/// Asks for the addresses of a name.
type Resolve = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The addresses of a name, or why there are none; `None` while nothing is known.
type Answer = Option<Arc<io::Result<Vec<SocketAddr>>>>;

/// The look-ups that run or wait. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    blocking: Blocking,
    running: Arc<Mutex<HashMap<String, watch::Sender<Answer>>>>,
}

impl Names {
    pub(super) fn new(blocking: Blocking) -> Self {
        Self { blocking, running: Arc::default() }
    }

    /// The addresses of a name with port 0, in the resolver's order; perhaps none.
    pub(super) async fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.answer(name, resolve).await
    }

    async fn answer(&self, name: &str, resolve: Resolve) -> io::Result<Vec<SocketAddr>> {
        loop {
            let mut answer = self.ask(name, resolve)?;
            // Without an answer it was given up in the very moment in which we asked.
            let Ok(found) = answer.wait_for(Option::is_some).await else { continue };
            return match found.as_deref() {
                Some(Ok(addresses)) => Ok(addresses.clone()),
                Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
                None => continue,
            };
        }
    }

    /// Where the answer will be, of a look-up that runs or of a new one.
    fn ask(&self, name: &str, resolve: Resolve) -> io::Result<watch::Receiver<Answer>> {
        let mut running = self.running.lock();
        if let Some(known) = running.get(name) {
            return Ok(known.subscribe());
        }
        if running.len() >= MOST {
            return Err(io::Error::other(format!("{MOST} names are being looked up already")));
        }
        let (tell, answer) = watch::channel(None);
        running.insert(name.to_owned(), tell.clone());
        drop(running);
        tokio::spawn(self.clone().find(name.to_owned(), tell, resolve));
        Ok(answer)
    }

    async fn find(self, name: String, tell: watch::Sender<Answer>, resolve: Resolve) {
        let running = Running { names: &self, name: &name };
        let (wanted, of_job) = (tell.clone(), name.clone());
        let look_up = move || (!wanted.is_closed()).then(|| resolve(&of_job));
        let found =
            self.blocking.run(Kind::Names, look_up).await.unwrap_or_else(|error| Some(Err(io::Error::other(error))));
        // First, so that who asks from now on has a new answer.
        drop(running);
        if let Some(found) = found {
            // Nobody may want it any more.
            let _ = tell.send(Some(Arc::new(found)));
        }
    }
}

/// In the table until it is dropped, in whatever way the task ends.
struct Running<'a> {
    names: &'a Names,
    name: &'a str,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.names.running.lock().remove(self.name);
    }
}

fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;
    use crate::blocking::THREADS;

    const PATIENCE: Duration = Duration::from_secs(30);
    const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 1], 0);

    /// Until then the resolver does not answer for names that begin with `hangs`.
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    static HUNG: AtomicU32 = AtomicU32::new(0);

    fn fake(name: &str) -> io::Result<Vec<SocketAddr>> {
        if name.starts_with("hangs") {
            HUNG.fetch_add(1, Ordering::Relaxed);
            while !ANSWERS.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if name.ends_with("nowhere") {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such name"));
        }
        Ok(vec![SocketAddr::from(ADDRESS)])
    }

    #[test]
    fn calls_to_a_name_that_hangs_share_one_look_up() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(THREADS).build().unwrap();
        runtime.block_on(async {
            let names = Names::default();
            for _ in 0..100 {
                let given_up = timeout(Duration::from_millis(1), names.answer("hangs", fake)).await;
                assert!(given_up.is_err());
            }
            let other = timeout(PATIENCE, names.answer("other", fake)).await.unwrap();
            assert_eq!(other.unwrap(), [SocketAddr::from(ADDRESS)]);
            let unknown = timeout(PATIENCE, names.answer("nowhere", fake)).await.unwrap().unwrap_err();
            assert_eq!((unknown.kind(), unknown.to_string()), (io::ErrorKind::NotFound, "no such name".to_owned()));
            let (one, two) = (names.answer("hangs", fake), names.answer("hangs", fake));
            let both = async { tokio::join!(one, two) };
            let mut both = Box::pin(both);
            assert!(timeout(Duration::from_millis(20), &mut both).await.is_err());
            assert_eq!(HUNG.load(Ordering::Relaxed), 1);
            ANSWERS.store(true, Ordering::Relaxed);
            let (one, two) = timeout(PATIENCE, both).await.unwrap();
            assert_eq!(one.unwrap(), two.unwrap());
            assert_eq!(HUNG.load(Ordering::Relaxed), 1, "all of them shared one");
            assert!(names.running.lock().is_empty());
        });
    }
}
