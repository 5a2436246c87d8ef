//! How much one stream may write into the log: fewer than ten lines a second, and no warning over and over.
//!
//! Whatever a server, a service or an operator does, the log stays readable, and FreeSWITCH's log thread has time for others. Lines
//! beyond the tenth in a second are written at DEBUG, which is not limited; a warning that repeats is not written. Both are counted,
//! and the next line of the same stream says how many there were. Lines that come once in the life of a stream always pass.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Lines of one stream within a [`SECOND`].
const OF_STREAM: usize = 9;
/// Lines of the module itself, which are about all servers and commands.
const OF_MODULE: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
/// The same warning or error of one stream within a [`PERIOD`].
const REPEATS: u32 = 5;
const PERIOD: Duration = Duration::from_secs(5);
/// Streams that are remembered. Beyond, the lines of a new one count as the module's.
const MOST: usize = 4_096;

/// Whose line it is: uuid and name of a stream; both empty for the module's.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Writer {
    pub(super) call: String,
    pub(super) stream: String,
}

/// A place in the source.
pub(super) type Place = (&'static str, u32);

/// What is about to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// File and line of the source.
    pub(super) place: Place,
    /// A warning or an error.
    pub(super) warns: bool,
    /// It comes once in the life of a stream.
    pub(super) once: bool,
}

/// What becomes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is written, with the number of those that were not since the last one.
    Write(u64),
    /// It is written at DEBUG.
    Demote,
    /// It is not written.
    Drop,
}

/// The writers of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    writers: HashMap<Writer, Budget>,
}

#[derive(Debug)]
struct Budget {
    /// When the lines of the last second were written.
    lines: VecDeque<Instant>,
    /// Warnings by their place, since when, and how many.
    warnings: Vec<(Place, Instant, u32)>,
    held_back: u64,
    last: Instant,
}

impl Budgets {
    /// What becomes of this line of its writer.
    pub(super) fn admit(&mut self, now: Instant, writer: Writer, line: Line) -> Verdict {
        if self.writers.len() >= MOST && !self.writers.contains_key(&writer) {
            self.writers.retain(|_, budget| now.saturating_duration_since(budget.last) < PERIOD);
        }
        let full = self.writers.len() >= MOST && !self.writers.contains_key(&writer);
        let writer = if full { Writer::default() } else { writer };
        let is_module = writer == Writer::default();
        let fresh = || Budget { lines: VecDeque::new(), warnings: Vec::new(), held_back: 0, last: now };
        self.writers.entry(writer).or_insert_with(fresh).admit(now, line, is_module)
    }
}

impl Budget {
    fn admit(&mut self, now: Instant, line: Line, is_module: bool) -> Verdict {
        self.last = now;
        if !line.once {
            let most = if is_module { OF_MODULE } else { OF_STREAM };
            self.lines.retain(|at| now.saturating_duration_since(*at) < SECOND);
            if line.warns && !is_module && self.repeats(now, line.place) {
                self.held_back += 1;
                return Verdict::Drop;
            }
            if self.lines.len() >= most {
                self.held_back += 1;
                return Verdict::Demote;
            }
            self.lines.push_back(now);
        }
        Verdict::Write(std::mem::take(&mut self.held_back))
    }

    /// Whether this warning has been written often enough.
    fn repeats(&mut self, now: Instant, place: Place) -> bool {
        self.warnings.retain(|(_, since, _)| now.saturating_duration_since(*since) < PERIOD);
        match self.warnings.iter_mut().find(|(other, ..)| *other == place) {
            Some((.., count)) if *count >= REPEATS => return true,
            Some((.., count)) => *count += 1,
            None => self.warnings.push((place, now, 1)),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Line = Line { place: ("a.rs", 1), warns: false, once: false };

    fn writer(call: &str) -> Writer {
        Writer { call: call.to_owned(), stream: "default".to_owned() }
    }

    #[test]
    fn a_stream_writes_fewer_than_ten_lines_a_second() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        let verdicts: Vec<_> = (0..100).map(|_| budgets.admit(start, writer("a"), PLAIN)).collect();
        assert!(verdicts[..OF_STREAM].iter().all(|verdict| *verdict == Verdict::Write(0)), "{verdicts:?}");
        assert!(verdicts[OF_STREAM..].iter().all(|verdict| *verdict == Verdict::Demote), "{verdicts:?}");
        assert_eq!(budgets.admit(start, writer("b"), PLAIN), Verdict::Write(0), "another call is not concerned");
        let later = start + SECOND;
        assert_eq!(budgets.admit(later, writer("a"), PLAIN), Verdict::Write(91), "the next one says how many");
        assert_eq!(budgets.admit(later, writer("a"), PLAIN), Verdict::Write(0));
        let once = Line { once: true, ..PLAIN };
        let passes = |budgets: &mut Budgets| budgets.admit(later, writer("a"), once) == Verdict::Write(0);
        assert!((0..100).all(|_| passes(&mut budgets)), "what comes once always passes");
        let written = |budgets: &mut Budgets| budgets.admit(later, Writer::default(), PLAIN) == Verdict::Write(0);
        assert_eq!((0..200).filter(|_| written(&mut budgets)).count(), OF_MODULE);
    }

    #[test]
    fn a_warning_that_repeats_is_held_back_and_others_are_not() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        let warning = Line { warns: true, ..PLAIN };
        let at = |ms: u64| start + Duration::from_millis(ms);
        let verdicts: Vec<_> = (0..40).map(|n| budgets.admit(at(n * 120), writer("a"), warning)).collect();
        let written = verdicts.iter().filter(|verdict| **verdict == Verdict::Write(0)).count();
        assert_eq!(written, REPEATS as usize, "within the period");
        assert_eq!(verdicts.last(), Some(&Verdict::Drop));
        let other = Line { place: ("a.rs", 2), ..warning };
        assert_eq!(budgets.admit(at(4_900), writer("a"), other), Verdict::Write(35));
        assert_eq!(budgets.admit(at(4_900), writer("b"), warning), Verdict::Write(0));
        assert_eq!(budgets.admit(start + PERIOD, writer("a"), warning), Verdict::Write(0));
    }

    #[test]
    fn the_memory_of_the_budgets_is_bounded() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        for call in 0..MOST + 200 {
            budgets.admit(start, writer(&call.to_string()), PLAIN);
        }
        assert!(budgets.writers.len() <= MOST + 1, "{}", budgets.writers.len());
        assert_eq!(budgets.admit(start, writer("one more"), PLAIN), Verdict::Demote, "it shares what the module has");
        assert_eq!(budgets.admit(start + PERIOD, writer("later"), PLAIN), Verdict::Write(0));
        assert!(budgets.writers.len() <= 2, "those of the past are forgotten");
    }
}
