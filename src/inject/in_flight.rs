//! The source of what is on its way to the caller: in the playout ring, or between the queue and the ring.
//!
//! On the worker's thread, owned by the [`Injector`](super::Injector). When the call's rate changes the ring is flushed, and what nobody
//! has heard goes back to the queue to be resampled anew. The ring cannot be read back (the consumer alone takes samples out of
//! it), and resampling what it held a second time would leave a seam; so the source is kept until it has been heard: as
//! long as the ring at most.

use std::collections::VecDeque;

use crate::units::SampleRate;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct InFlight {
    runs: VecDeque<Run>,
    /// The last run goes on.
    open: bool,
}

/// What went through the resampler between two of its fresh starts.
#[derive(Debug)]
struct Run {
    rate: SampleRate,
    /// Ring position of the run's first sample.
    start: u64,
    /// Number of the run's first source sample since the beginning, and how many there have been.
    first: u64,
    fed: u64,
    /// Source samples from the start that have been heard and are no longer kept.
    heard: u64,
    samples: VecDeque<i16>,
}

impl InFlight {
    /// Notes that `samples` at `rate`, the first of which is source sample number `first`, went to the resampler. If they
    /// begin a run, its output begins at ring position `start`.
    pub fn fed(&mut self, start: u64, first: u64, rate: SampleRate, samples: &[i16]) {
        if !self.open {
            self.runs.push_back(Run { rate, start, first, fed: 0, heard: 0, samples: VecDeque::new() });
            self.open = true;
        }
        if let Some(run) = self.runs.back_mut() {
            run.samples.extend(samples);
            run.fed += samples.len() as u64;
        }
    }

    /// The ring position, at the rate `to`, at which everything before source sample `number` has been heard; `None` where
    /// it has been. `number` at most one past the last that was [`fed`](Self::fed).
    pub fn position_after(&self, number: u64, to: SampleRate) -> Option<u64> {
        let run = self.runs.iter().find(|run| number <= run.first + run.fed)?;
        let before = number.checked_sub(run.first).filter(|before| *before > 0)?;
        let (from, to) = (u64::from(run.rate.hz()), u64::from(to.hz()));
        // As many as the resampler gives for them.
        Some(run.start + (2 * before * to + from) / (2 * from))
    }

    /// The resampler was drained: what comes next begins a run.
    pub const fn close(&mut self) {
        self.open = false;
    }

    /// Forgets what lies before ring position `consumed`; `to` is the ring's rate.
    pub fn consumed(&mut self, consumed: u64, to: SampleRate) {
        while let Some(next) = self.runs.get(1)
            && next.start <= consumed
        {
            self.runs.pop_front();
        }
        let Some(run) = self.runs.front_mut() else { return };
        let (from, to) = (u64::from(run.rate.hz()), u64::from(to.hz()));
        let heard = (consumed.saturating_sub(run.start) * from + to / 2) / to;
        let gone = (heard.saturating_sub(run.heard) as usize).min(run.samples.len());
        run.samples.drain(..gone);
        run.heard += gone as u64;
        // A run that has ended leaves less than a sample of the ring behind when its length is rounded.
        if !self.open && self.runs.len() == 1 && self.runs.iter().all(|run| run.samples.len() as u64 * to < from) {
            self.runs.clear();
        }
    }

    /// Everything that is left, first to last, each part with its rate.
    pub fn take(&mut self) -> impl DoubleEndedIterator<Item = (SampleRate, Vec<i16>)> + use<> {
        self.open = false;
        std::mem::take(&mut self.runs).into_iter().map(|run| (run.rate, run.samples.into()))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: SampleRate = SampleRate::HZ_16000;

    fn left(flight: &mut InFlight) -> Vec<(u32, Vec<i16>)> {
        flight.take().map(|(rate, samples)| (rate.hz(), samples)).collect()
    }

    #[test]
    fn what_was_not_heard_is_left_in_order() {
        let mut flight = InFlight::default();
        flight.fed(100, 0, SampleRate::HZ_8000, &[1, 2, 3]);
        flight.fed(106, 3, SampleRate::HZ_8000, &[4]);
        flight.close();
        flight.fed(108, 4, SampleRate::HZ_16000, &[5, 6]);
        let after = |number| flight.position_after(number, TO);
        assert_eq!([0, 1, 4, 5, 6].map(after), [None, Some(102), Some(108), Some(109), Some(110)]);
        flight.consumed(90, TO);
        flight.consumed(104, TO);
        assert_eq!(left(&mut flight), [(8_000, vec![3, 4]), (16_000, vec![5, 6])]);
        assert_eq!(left(&mut flight), []);
    }

    #[test]
    fn a_run_that_was_heard_is_gone() {
        let mut flight = InFlight::default();
        flight.fed(0, 0, SampleRate::HZ_48000, &[1, 2, 3, 4]);
        flight.close();
        flight.fed(1, 4, SampleRate::HZ_48000, &[5, 6, 7, 8, 9, 10]);
        flight.consumed(1, TO);
        assert_eq!(left(&mut flight), [(48_000, vec![5, 6, 7, 8, 9, 10])]);
        flight.fed(1, 4, SampleRate::HZ_48000, &[5, 6, 7, 8]);
        flight.close();
        flight.consumed(2, TO);
        assert_eq!(left(&mut flight), [], "a third of a sample is none");
        flight.fed(2, 8, TO, &[1]);
        flight.clear();
        assert_eq!(left(&mut flight), []);
    }
}
