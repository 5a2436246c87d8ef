//! Which threads of the clock are writing, and which of them are held up by their call.
//!
//! Behind the clock's lock, but for [`is_asleep`].

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A write that has not come back for so long may be held up by its call: one of an Opus packet takes 0.4 ms, p99 0.6.
const OVERDUE: Duration = Duration::from_millis(3);

/// The writes of all threads.
#[derive(Default)]
pub(super) struct Work {
    threads: Vec<Thread>,
}

/// A thread of the clock.
struct Thread {
    /// Where the system tells of it.
    stat: Option<PathBuf>,
    write: Option<Write>,
    /// Its number is another's to have.
    left: bool,
}

/// A write that has not come back.
struct Write {
    began: Instant,
    held_up: bool,
}

/// A write that may be held up: of the thread of that number, since then.
pub(super) struct Suspect {
    number: usize,
    began: Instant,
    stat: Option<PathBuf>,
}

impl Work {
    /// One more thread, as [`this_thread`] names it; its number.
    pub(super) fn join(&mut self, stat: Option<PathBuf>) -> usize {
        let thread = Thread { stat, write: None, left: false };
        match self.threads.iter().position(|thread| thread.left) {
            Some(number) => {
                self.threads[number] = thread;
                number
            }
            None => {
                self.threads.push(thread);
                self.threads.len() - 1
            }
        }
    }

    /// That thread ends; the next that joins has its number.
    pub(super) fn leave(&mut self, number: usize) {
        if let Some(thread) = self.threads.get_mut(number) {
            *thread = Thread { stat: None, write: None, left: true };
        }
    }

    /// That thread writes now.
    pub(super) fn begin(&mut self, number: usize, began: Instant) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.write = Some(Write { began, held_up: false });
        }
    }

    /// That thread has written.
    pub(super) fn end(&mut self, number: usize) {
        if let Some(thread) = self.threads.get_mut(number) {
            thread.write = None;
        }
    }

    /// Threads that write and, as far as is known, are not held up.
    pub(super) fn count(&self) -> usize {
        self.running().count()
    }

    /// When the next of the writes may count as held up.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.running().map(|(_, write, _)| write.began + OVERDUE).min()
    }

    /// The writes that take so long that they may be held up.
    pub(super) fn suspects(&self, now: Instant) -> Vec<Suspect> {
        let overdue = self.running().filter(|(_, write, _)| write.began + OVERDUE <= now);
        overdue.map(|(number, write, stat)| Suspect { number, began: write.began, stat: stat.cloned() }).collect()
    }

    /// It is held up, if it has not come back meanwhile. Whether it has not.
    pub(super) fn is_held_up(&mut self, suspect: &Suspect) -> bool {
        let write = self.threads.get_mut(suspect.number).and_then(|thread| thread.write.as_mut());
        let write = write.filter(|write| write.began == suspect.began);
        write.map(|write| write.held_up = true).is_some()
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Write, Option<&PathBuf>)> {
        let threads = self.threads.iter().enumerate();
        threads
            .filter_map(|(number, thread)| Some((number, thread.write.as_ref()?, thread.stat.as_ref())))
            .filter(|(_, write, _)| !write.held_up)
    }
}

impl Suspect {
    /// Whether its thread waits for something, and not just for a core. Asks the system: not with the clock's lock held.
    pub(super) fn is_asleep(&self) -> bool {
        self.stat.as_deref().is_none_or(is_asleep)
    }
}

/// Where the system tells of the calling thread; `None` where it does not.
pub(super) fn this_thread() -> Option<PathBuf> {
    let thread = std::fs::read_link("/proc/thread-self").ok()?;
    Some(Path::new("/proc").join(thread).join("stat"))
}

/// Anything but running or runnable. Where the system does not tell, the time that the write takes has to do.
fn is_asleep(stat: &Path) -> bool {
    let Ok(stat) = std::fs::read(stat) else { return true };
    // The name, in brackets, may hold anything; the state follows.
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
    state != Some(&b'R')
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_waits_is_told_from_one_that_runs() {
        assert!(!is_asleep(&this_thread().expect("Linux")), "this one runs");
        let (tell, told) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tell.send(this_thread().expect("Linux")).expect("heard");
            gate.recv()
        });
        let stat = told.recv().expect("told");
        while !is_asleep(&stat) {
            std::thread::yield_now();
        }
        open.send(()).expect("it waits");
        other.join().expect("it ends").expect("opened");
        assert!(is_asleep(&stat), "one that has ended does not run");
    }

    #[test]
    fn a_write_that_came_back_meanwhile_is_not_held_up() {
        let (mut work, began) = (Work::default(), Instant::now());
        let (one, other) = (work.join(None), work.join(None));
        work.begin(one, began);
        work.begin(other, began + OVERDUE);
        assert_eq!((work.count(), work.next_overdue()), (2, Some(began + OVERDUE)));
        let suspects = work.suspects(began + OVERDUE);
        assert_eq!(suspects.len(), 1);
        work.begin(one, began + OVERDUE);
        assert!(!work.is_held_up(&suspects[0]) && work.count() == 2);
        work.begin(one, began);
        assert!(work.is_held_up(&suspects[0]));
        assert_eq!((work.count(), work.next_overdue()), (1, Some(began + 2 * OVERDUE)));
        work.end(one);
        work.end(other);
        assert_eq!((work.count(), work.next_overdue()), (0, None));
        work.leave(one);
        assert_eq!((work.join(None), work.join(None)), (one, other + 1), "a number that is free is given again");
    }
}
