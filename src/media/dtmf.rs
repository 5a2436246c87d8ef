//! Keys the caller presses: from any thread on which FreeSWITCH reports one, past the media bugs, to the streams' workers.
//!
//! ```text
//! FreeSWITCH's DTMF hook ─► the call's DtmfRing ─► READ of each stream ─► the stream's DtmfQueue ─► its task
//! ```
//!
//! Owners: the call's [`DtmfRing`] lies in the session's memory and is shared by all streams of the call, each of which has a
//! position of its own in it; a stream's [`DtmfQueue`] is part of its link. A key so takes its place among the captured frames,
//! and the code that reports it needs to know nothing about streams. A ring keeps the last [`KEPT`] keys; older ones that
//! nobody took are lost, and counted where they are missed. Nothing here waits or allocates.
//!
//! The other way, FreeSWITCH sends keys to the caller as events of RTP, and drops every packet of audio while it does so, after the
//! media bugs were asked for it. [`SentDtmf`] says when, so that playback waits. What FreeSWITCH refuses is not waited for.

use std::time::{Duration, Instant};

use super::counters::Counter;
use super::sync::{AtomicU64, Ordering};

/// Keys a ring keeps: more than a caller presses while a server is being connected to.
pub const KEPT: usize = 32;

/// Longest duration that is reported, ms: 24 bits.
const LONGEST_MS: u32 = 0x00ff_ffff;

/// One key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dtmf {
    /// One of `0-9 A-D * #`.
    pub digit: char,
    /// How long it was pressed, ms.
    pub duration_ms: u32,
}

impl Dtmf {
    /// The key of a DTMF digit in either case; `None` for anything else.
    pub fn new(digit: u8, duration_ms: u32) -> Option<Self> {
        let digit = digit.to_ascii_uppercase();
        let known = matches!(digit, b'0'..=b'9' | b'A'..=b'D' | b'*' | b'#');
        known.then(|| Self { digit: digit.into(), duration_ms: duration_ms.min(LONGEST_MS) })
    }
}

/// The last keys, for any number of writers and readers.
///
/// Each key is one atomic word together with its number, so that a reader sees it whole or sees that it is another one.
#[derive(Debug)]
pub struct DtmfRing {
    written: AtomicU64,
    slots: [AtomicU64; KEPT],
}

impl Default for DtmfRing {
    fn default() -> Self {
        Self { written: AtomicU64::new(0), slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl DtmfRing {
    /// Adds a key. Any thread, any number at once.
    pub fn push(&self, key: Dtmf) {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let word = tag(number) << 32 | u64::from(u32::from(key.digit)) << 24 | u64::from(key.duration_ms);
        if let Some(slot) = self.slots.get(number as usize % KEPT) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The position behind the newest key.
    pub fn end(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The key at `position`, which then moves on; `None` when there is none yet. Adds to `lost` the keys that were there and
    /// are no more.
    pub fn next(&self, position: &mut u64, lost: &Counter) -> Option<Dtmf> {
        loop {
            let end = self.end();
            if *position >= end {
                return None;
            }
            let oldest = end.saturating_sub(KEPT as u64);
            if *position < oldest {
                lost.add(oldest - *position);
                *position = oldest;
            }
            let word = self.slots.get(*position as usize % KEPT)?.load(Ordering::Relaxed);
            // As numbers that wrap: how far the slot's key is ahead of the wanted one.
            let ahead = ((word >> 32) as u32).wrapping_sub(tag(*position) as u32) as i32;
            if ahead < 0 {
                // Its number is taken, but it has not been stored yet.
                return None;
            }
            *position += 1;
            if ahead == 0 {
                let key = Dtmf::new((word >> 24) as u8, word as u32 & LONGEST_MS);
                return key;
            }
            lost.add(1);
        }
    }
}

/// The number of a key as its slot has it: never 0 among the first, which is that of a slot without a key.
const fn tag(number: u64) -> u64 {
    (number + 1) & 0xffff_ffff
}

/// The keys of one stream: the READ callback adds, the stream's task takes.
#[derive(Debug, Default)]
pub struct DtmfQueue {
    ring: DtmfRing,
    taken: AtomicU64,
    lost: Counter,
}

impl DtmfQueue {
    /// Whether there is something to [`take`](Self::take). Any thread.
    pub fn waiting(&self) -> bool {
        self.ring.end() != self.taken.load(Ordering::Relaxed)
    }

    /// The next key. Only for the stream's task.
    pub fn take(&self) -> Option<Dtmf> {
        let mut position = self.taken.load(Ordering::Relaxed);
        let key = self.ring.next(&mut position, &self.lost);
        self.taken.store(position, Ordering::Relaxed);
        key
    }

    /// DtmfQueue that came while nobody took them, and were replaced by newer ones.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    pub(super) fn push(&self, key: Dtmf) {
        self.ring.push(key);
    }
}

/// Until when the caller is sent keys. Shared by all streams of the call.
#[derive(Debug)]
pub struct SentDtmf {
    epoch: Instant,
    /// ns after `epoch`.
    until: AtomicU64,
    /// Keys that FreeSWITCH is just being given: it may send them before its answer is known.
    offered: AtomicU64,
}

impl Default for SentDtmf {
    #[expect(clippy::disallowed_methods, reason = "made before the media thread has it")]
    fn default() -> Self {
        Self { epoch: Instant::now(), until: AtomicU64::new(0), offered: AtomicU64::new(0) }
    }
}

impl SentDtmf {
    /// FreeSWITCH is about to be given a key: one is being sent until the answer is known. Any thread.
    pub fn offer(&self) -> OfferedDtmf<'_> {
        self.offered.fetch_add(1, Ordering::AcqRel);
        OfferedDtmf(self)
    }

    /// Whether a key is being sent.
    pub fn is_sending(&self, now: Instant) -> bool {
        // In this order: a key that was accepted in between is seen in the one or in the other.
        self.offered.load(Ordering::Acquire) > 0 || self.after_epoch(now) < self.until.load(Ordering::Acquire)
    }

    fn after_epoch(&self, at: Instant) -> u64 {
        as_ns(at.saturating_duration_since(self.epoch))
    }
}

/// A key whose acceptance is not known yet. Dropped: FreeSWITCH has refused it.
#[derive(Debug)]
pub struct OfferedDtmf<'a>(&'a SentDtmf);

impl OfferedDtmf<'_> {
    /// The key is sent, for `length`, behind those that are not done. `delay`: the most that may pass before it begins.
    pub fn accepted(self, now: Instant, delay: Duration, length: Duration) {
        let (begin, length) = (self.0.after_epoch(now + delay), as_ns(length));
        // The closure never refuses.
        let _ = self.0.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| Some(until.max(begin) + length));
    }
}

impl Drop for OfferedDtmf<'_> {
    fn drop(&mut self) {
        self.0.offered.fetch_sub(1, Ordering::AcqRel);
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// A stream's place in its call's ring. Used by the READ callback.
#[derive(Debug)]
pub struct DtmfCursor {
    position: u64,
    lost: Counter,
}

impl DtmfCursor {
    /// At the newest key of `ring`: those before are none of this stream's.
    pub fn at_end(ring: &DtmfRing) -> Self {
        Self { position: ring.end(), lost: Counter::default() }
    }

    /// The next key of `ring`.
    pub fn next(&mut self, ring: &DtmfRing) -> Option<Dtmf> {
        ring.next(&mut self.position, &self.lost)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn sent_keys_follow_one_another() {
        let ms = Duration::from_millis;
        let sent = SentDtmf::default();
        let begin = Instant::now();
        let add = |at, length| sent.offer().accepted(at, ms(20), length);
        assert!(!sent.is_sending(begin));
        add(begin, ms(100));
        assert!(sent.is_sending(begin) && sent.is_sending(begin + ms(119)) && !sent.is_sending(begin + ms(120)));
        add(begin + ms(50), ms(100));
        assert!(sent.is_sending(begin + ms(219)) && !sent.is_sending(begin + ms(220)));
        add(begin + ms(1_000), ms(100));
        assert!(sent.is_sending(begin + ms(1_119)) && !sent.is_sending(begin + ms(1_120)));
    }

    #[test]
    fn a_key_that_is_refused_is_being_sent_only_until_then() {
        let sent = SentDtmf::default();
        let now = Instant::now();
        let (first, second) = (sent.offer(), sent.offer());
        assert!(sent.is_sending(now));
        drop(first);
        assert!(sent.is_sending(now));
        drop(second);
        assert!(!sent.is_sending(now));
    }

    fn key(digit: u8) -> Dtmf {
        Dtmf::new(digit, 100).unwrap()
    }

    fn drain(ring: &DtmfRing, cursor: &mut DtmfCursor) -> String {
        std::iter::from_fn(|| cursor.next(ring)).map(|key| key.digit).collect()
    }

    #[test]
    fn every_digit_is_a_key_and_nothing_else_is() {
        let keys: String = (0..=255).filter_map(|byte| Dtmf::new(byte, 1)).map(|key| key.digit).collect();
        assert_eq!(keys, "#*0123456789ABCDABCD");
        assert_eq!(Dtmf::new(b'5', u32::MAX).unwrap().duration_ms, LONGEST_MS);
    }

    #[test]
    fn each_stream_of_a_call_gets_the_keys_pressed_since_it_began() {
        let ring = DtmfRing::default();
        let mut early = DtmfCursor::at_end(&ring);
        ring.push(key(b'1'));
        let mut late = DtmfCursor::at_end(&ring);
        b"2a#".iter().for_each(|digit| ring.push(key(*digit)));
        assert_eq!((drain(&ring, &mut early), drain(&ring, &mut late)), ("12A#".into(), "2A#".into()));
        assert_eq!((early.next(&ring), late.next(&ring)), (None, None));
        ring.push(Dtmf::new(b'*', 2_000).unwrap());
        assert_eq!(early.next(&ring), Some(Dtmf { digit: '*', duration_ms: 2_000 }));
    }

    #[test]
    fn the_newest_keys_are_kept_and_the_dropped_are_counted() {
        let keys = DtmfQueue::default();
        assert!(!keys.waiting());
        for number in 0..KEPT + 5 {
            keys.push(key(b"0123456789"[number % 10]));
        }
        assert!(keys.waiting());
        let taken: String = std::iter::from_fn(|| keys.take()).map(|key| key.digit).collect();
        assert_eq!(taken, "56789012345678901234567890123456"[..KEPT]);
        assert_eq!(keys.lost(), 5);
        assert!(!keys.waiting() && keys.take().is_none());
    }

    #[test]
    fn a_reader_beside_a_writer_sees_whole_keys_in_order() {
        let ring = Arc::new(DtmfRing::default());
        let lost = Counter::default();
        let writer = {
            let ring = ring.clone();
            std::thread::spawn(move || (0..100_000).for_each(|at| ring.push(Dtmf { digit: '7', duration_ms: at })))
        };
        let (mut position, mut last, mut seen) = (0, None, 0_u64);
        while position < 100_000 {
            if let Some(key) = ring.next(&mut position, &lost) {
                assert_eq!((key.digit, u64::from(key.duration_ms)), ('7', position - 1));
                assert!(last < Some(key.duration_ms));
                last = Some(key.duration_ms);
                seen += 1;
            }
        }
        writer.join().unwrap();
        assert_eq!(seen + lost.get(), 100_000);
    }
}
