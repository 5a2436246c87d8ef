//! The end of the module's threads, bounded as a whole: what hangs in a call, on a disk or in a queue is left behind and named.
//!
//! Used by the thread that unloads the module. A thread that is left goes on when what it waits for does, finds that the module has
//! ended, and ends, too: the module's file stays mapped, and nothing of FreeSWITCH is touched any more but the log.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two looks at a thread that has not ended.
const LOOK: Duration = Duration::from_millis(2);
/// What a thread has even when the whole time is used up: one that does not hang ends within this.
const LEAST: Duration = Duration::from_millis(20);

/// See the [module](self).
pub(super) struct Ending {
    until: Instant,
    left: Mutex<Vec<String>>,
}

impl Ending {
    /// From now on, within `limit`.
    pub(super) fn within(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, left: Mutex::default() }
    }

    /// When to give up waiting, so that `rest` is kept for what ends later.
    pub(super) fn keeping(&self, rest: Duration) -> Instant {
        let least = Instant::now() + LEAST;
        self.until.checked_sub(rest).map_or(least, |until| until.max(least))
    }

    /// Waits for the thread, and keeps `rest` for what ends later; whether it has ended.
    pub(super) fn join(&self, rest: Duration, thread: JoinHandle<()>) -> bool {
        let until = self.keeping(rest);
        while !thread.is_finished() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        // A panic of the thread was reported by the panic hook.
        let _ = thread.join();
        true
    }

    /// The same, and names a thread that is left.
    pub(super) fn join_named(&self, rest: Duration, name: &str, thread: JoinHandle<()>) {
        if !self.join(rest, thread) {
            self.leave(format!("thread {name}"));
        }
    }

    /// Notes something that is left behind.
    pub(super) fn leave(&self, what: String) {
        self.left.lock().push(what);
    }

    /// What is left behind.
    pub(super) fn left(self) -> Vec<String> {
        self.left.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_hang_are_left_and_named_within_the_time() {
        let (go_on, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = std::sync::Arc::new(Mutex::new(hangs));
        let hang = || {
            let hangs = hangs.clone();
            std::thread::spawn(move || assert!(hangs.lock().recv().is_err()))
        };
        let began = Instant::now();
        let ending = Ending::within(Duration::from_millis(300));
        ending.join_named(Duration::from_millis(100), "a", hang());
        ending.join_named(Duration::ZERO, "b", hang());
        ending.join_named(Duration::ZERO, "c", std::thread::spawn(|| {}));
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
        assert_eq!(ending.left(), ["thread a", "thread b"]);
        drop(go_on);
    }
}
