//! The caller's audio while there is no session: kept, and sent once there is one.
//!
//! Two bounded queues of wire bytes. The backlog is what was captured without a connection; over its bound the oldest goes
//! and is counted. The tail is the last of what was handed on: when a connection breaks, what had not left yet moves back
//! to the front of the backlog, so that nothing is lost and nothing is sent twice. The tail is also the pre-roll of a turn that the
//! module finds: what the caller said before it was sure.
//!
//! Pure; owned by the agent. The backlog's memory goes back when it has been sent.

use std::collections::VecDeque;

/// The bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CallerBounds {
    /// Most bytes of backlog.
    pub(super) backlog: usize,
    /// Most bytes of tail.
    pub(super) tail: usize,
    /// Bytes of one sample: no cut divides one.
    pub(super) sample: usize,
}

/// What waits for the session, and what was handed on last.
#[derive(Debug)]
pub(super) struct CallerAudio {
    bounds: CallerBounds,
    backlog: VecDeque<u8>,
    tail: VecDeque<u8>,
    /// Bytes handed on that are part of no turn yet.
    open: usize,
    dropped: u64,
}

impl CallerAudio {
    pub(super) fn new(bounds: CallerBounds) -> Self {
        let sample = bounds.sample.max(1);
        let whole = |bytes: usize| bytes - bytes % sample;
        let bounds = CallerBounds { backlog: whole(bounds.backlog), tail: whole(bounds.tail), sample };
        Self { bounds, backlog: VecDeque::new(), tail: VecDeque::new(), open: 0, dropped: 0 }
    }

    /// Handed on to the engine.
    pub(super) fn sent(&mut self, audio: &[u8]) {
        self.open += audio.len();
        extend(&mut self.tail, audio, self.bounds.tail);
    }

    /// The caller's turn is over.
    pub(super) fn turn_over(&mut self) {
        self.open = 0;
    }

    /// The caller's turn has begun: the last of what was handed on, at most `most` bytes, and nothing of an earlier turn.
    pub(super) fn begin_turn(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.open).min(self.tail.len());
        self.open = most - most % self.bounds.sample;
        self.tail.range(self.tail.len() - self.open..).copied().collect()
    }

    /// To be sent later.
    pub(super) fn keep(&mut self, audio: &[u8]) {
        self.dropped += extend(&mut self.backlog, audio, self.bounds.backlog) as u64;
    }

    /// The connection broke; the last `undelivered` bytes of what was handed on never left.
    pub(super) fn broken(&mut self, undelivered: usize) {
        let undelivered = undelivered - undelivered % self.bounds.sample;
        let back = undelivered.min(self.tail.len());
        self.dropped += (undelivered - back) as u64;
        let mut waiting = self.tail.split_off(self.tail.len() - back);
        self.tail = VecDeque::new();
        self.open = 0;
        waiting.append(&mut self.backlog);
        let over = waiting.len().saturating_sub(self.bounds.backlog);
        waiting.drain(..over);
        self.dropped += over as u64;
        self.backlog = waiting;
    }

    /// The oldest of the backlog, at most `most` bytes; it counts as sent.
    pub(super) fn take(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.backlog.is_empty() {
            self.backlog = VecDeque::new();
            return None;
        }
        let most = (most - most % self.bounds.sample).max(self.bounds.sample);
        let chunk: Vec<u8> = self.backlog.drain(..most.min(self.backlog.len())).collect();
        self.sent(&chunk);
        Some(chunk)
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Bytes that were lost because more had to wait than there is room for.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.backlog = VecDeque::new();
        self.tail = VecDeque::new();
    }
}

/// Appends within the bound; how many of the oldest bytes that cost.
fn extend(queue: &mut VecDeque<u8>, audio: &[u8], bound: usize) -> usize {
    let fits = &audio[audio.len().saturating_sub(bound)..];
    let over = (queue.len() + fits.len()).saturating_sub(bound);
    queue.drain(..over);
    queue.extend(fits);
    over + (audio.len() - fits.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_fits_is_sent_once_in_its_order_whatever_breaks_when(
            steps in proptest::collection::vec((0usize..4, 1usize..60), 1..60),
        ) {
            // The bounds are never reached here: then nothing at all may be lost.
            let mut caller = CallerAudio::new(CallerBounds { backlog: 1 << 20, tail: 1 << 20, sample: 2 });
            let mut delivered: Vec<u8> = Vec::new();
            let mut in_flight: Vec<u8> = Vec::new();
            let mut captured: Vec<u8> = Vec::new();
            let mut connected = false;
            for (step, size) in steps {
                match step {
                    // Captured.
                    0 | 1 => {
                        let audio: Vec<u8> = (0..size * 2).map(|n| (captured.len() + n) as u8).collect();
                        captured.extend(&audio);
                        if connected {
                            caller.sent(&audio);
                            in_flight.extend(&audio);
                        } else {
                            caller.keep(&audio);
                        }
                    }
                    // Connected: some of what is in flight arrives.
                    2 => {
                        connected = true;
                        while let Some(chunk) = caller.take(14) {
                            in_flight.extend(chunk);
                        }
                        let arrives = (size * 2).min(in_flight.len());
                        delivered.extend(in_flight.drain(..arrives));
                    }
                    // Broken.
                    _ => {
                        if connected {
                            caller.broken(in_flight.len());
                            in_flight.clear();
                        }
                        connected = false;
                    }
                }
            }
            while let Some(chunk) = caller.take(14) {
                in_flight.extend(chunk);
            }
            delivered.extend(in_flight);
            prop_assert_eq!(delivered, captured);
            prop_assert_eq!(caller.dropped(), 0);
        }
    }

    #[test]
    fn over_the_bound_the_oldest_whole_samples_go_and_are_counted() {
        let mut caller = CallerAudio::new(CallerBounds { backlog: 9, tail: 4, sample: 2 });
        caller.keep(&[1, 2, 3, 4, 5, 6]);
        caller.keep(&[7, 8, 9, 10]);
        assert_eq!((caller.waiting(), caller.dropped()), (8, 2));
        assert_eq!(caller.take(3), Some(vec![3, 4]));
        assert_eq!(caller.take(100), Some(vec![5, 6, 7, 8, 9, 10]));
        assert_eq!(caller.take(100), None);
        caller.broken(7);
        assert_eq!((caller.waiting(), caller.dropped()), (4, 4), "the tail holds four of six bytes");
        caller.keep(&[0; 20]);
        assert_eq!(caller.waiting(), 8);
    }
}
