//! How fast a server may send: a bucket of tokens that every frame takes from, so that messages, fragments, pings and long
//! messages share one limit.
//!
//! A token is one frame, or 8 KiB of a longer one. The bucket holds ten seconds of tokens, so a long answer that is
//! sent in one burst is taken at once: 200 s of it in pieces of 20 ms, at the default limit. While it is empty the socket is not read, which slows the server by TCP; nothing is lost. A server that keeps it empty
//! is reported by the connection, and later disconnected. Pure arithmetic: the time comes as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes of a frame that one token pays for.
const BYTES: u64 = 8 * 1024;
/// Bytes of the shortest frame, which no read may take without a token.
const SHORTEST_FRAME: u64 = 2;
/// What a full bucket holds: so much time's tokens.
const BURST: Duration = Duration::from_secs(10);
/// An empty bucket is read from again when so much time's tokens are there: a read for each token would cost more than the
/// messages.
const REST: Duration = Duration::from_millis(20);
/// From so much of a full bucket on, time need not be counted. What is taken meanwhile may come back twice, once for the time in
/// which the bucket was full; so a burst is at most so much longer.
const AMPLE: f64 = 0.95;
/// A server that has let the bucket fill so far, and the socket run dry, is no longer ahead. A dry socket alone says little: of
/// long messages it may hold less than what is read at once.
const CALM: Duration = Duration::from_millis(250);

/// The bucket of one connection.
#[derive(Debug)]
pub(super) struct Inflow {
    per_second: f64,
    tokens: f64,
    counted_at: Instant,
    /// Payload bytes of the present frame that no token has paid for yet.
    unpaid: u64,
    /// Since when the bucket has run empty again and again, without a calm between.
    ahead_since: Option<Instant>,
    /// The socket had nothing more at the last read.
    dry: bool,
    resting: bool,
}

impl Inflow {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            tokens: per_second * BURST.as_secs_f64(),
            counted_at: now,
            unpaid: 0,
            ahead_since: None,
            dry: false,
            resting: false,
        }
    }

    /// The same as [`room`](Self::room) while the bucket is nearly full, without the clock: mostly a server sends far less than it
    /// may.
    pub(super) fn ample_room(&self, payload_left: u64) -> Option<usize> {
        let ample = !self.is_ahead() && self.tokens >= self.full() * AMPLE;
        ample.then(|| self.room_of_tokens(payload_left))
    }

    /// How many bytes may be read now, of which `payload_left` belong to a frame that has begun. An error is the time at which
    /// to ask again.
    pub(super) fn room(&mut self, now: Instant, payload_left: u64) -> Result<usize, Instant> {
        self.tokens = self.tokens_at(now);
        self.counted_at = now;
        if self.is_calm(self.tokens) {
            self.ahead_since = None;
        }
        let enough = if self.resting { (self.per_second * REST.as_secs_f64()).max(1.0) } else { 1.0 };
        if self.tokens < enough {
            self.resting = true;
            self.ahead_since.get_or_insert(now);
            let missing = Duration::from_secs_f64((enough - self.tokens) / self.per_second);
            return Err(now + missing.max(Duration::from_millis(1)));
        }
        self.resting = false;
        Ok(self.room_of_tokens(payload_left))
    }

    fn room_of_tokens(&self, payload_left: u64) -> usize {
        // Whole ones, as a frame takes them.
        let tokens = self.tokens as u64;
        usize::try_from(payload_left.min(tokens * BYTES) + tokens * SHORTEST_FRAME).unwrap_or(usize::MAX)
    }

    fn full(&self) -> f64 {
        self.per_second * BURST.as_secs_f64()
    }

    fn tokens_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.counted_at);
        (self.tokens + passed.as_secs_f64() * self.per_second).min(self.full())
    }

    fn is_calm(&self, tokens: f64) -> bool {
        self.dry && tokens >= self.per_second * CALM.as_secs_f64()
    }

    /// A frame has begun.
    pub(super) fn frame(&mut self) {
        self.dry = false;
        self.unpaid = 0;
        self.tokens -= 1.0;
    }

    /// Some of its payload has come.
    pub(super) fn payload(&mut self, bytes: u64) {
        self.dry = false;
        self.unpaid += bytes;
        self.tokens -= (self.unpaid / BYTES) as f64;
        self.unpaid %= BYTES;
    }

    /// The socket has nothing more.
    pub(super) fn read_dry(&mut self) {
        self.dry = true;
    }

    /// The socket is not read for a reason of our own, for which the server is not to blame.
    pub(super) fn stand_by(&mut self) {
        self.ahead_since = None;
    }

    /// Whether the server has sent faster than it may, and nobody has seen a calm since.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead_since.is_some()
    }

    /// How long the server has been sending faster than it may.
    pub(super) fn ahead_for(&self, now: Instant) -> Duration {
        let since = self.ahead_since.filter(|_| !self.is_calm(self.tokens_at(now)));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Reads for `time` from a server that always has more frames of `payload` bytes; gives how many frames and bytes came.
    fn flood(inflow: &mut Inflow, now: &mut Instant, time: Duration, payload: u64) -> (u64, u64) {
        let end = *now + time;
        let (mut frames, mut bytes, mut left) = (0, 0, 0);
        while *now < end {
            let mut room = match inflow.room(*now, left) {
                Ok(room) => room.min(4_096) as u64,
                Err(again) => {
                    assert!(again > *now, "a wait of no time would be a loop");
                    *now = again;
                    continue;
                }
            };
            assert!(room > 0);
            bytes += room;
            while room > 0 {
                if left == 0 {
                    // The header, which may be cut; here it is not.
                    room = room.saturating_sub(2);
                    inflow.frame();
                    frames += 1;
                    left = payload;
                } else {
                    let here = left.min(room);
                    inflow.payload(here);
                    (left, room) = (left - here, room - here);
                }
            }
        }
        (frames, bytes)
    }

    #[test]
    fn frames_of_any_kind_come_at_the_limit_after_a_burst() {
        for payload in [0, 2, 125, 8_000] {
            let mut now = Instant::now();
            let mut inflow = Inflow::new(1_000, now);
            let (burst, _) = flood(&mut inflow, &mut now, MS, payload);
            assert!((9_990..=10_010).contains(&burst), "{burst} frames of {payload} bytes at once");
            let (frames, _) = flood(&mut inflow, &mut now, 5_000 * MS, payload);
            assert!((4_950..=5_050).contains(&frames), "{frames} frames of {payload} bytes in 5 s");
            assert!(inflow.ahead_for(now) >= 4_900 * MS);
        }
    }

    #[test]
    fn a_nearly_full_bucket_is_read_from_without_the_clock() {
        let mut now = Instant::now();
        let mut inflow = Inflow::new(1_000, now);
        let take = |inflow: &mut Inflow| {
            let mut frames = 0;
            while let Some(room) = inflow.ample_room(0) {
                assert!(room > 9_000, "{room}");
                inflow.frame();
                frames += 1;
            }
            frames
        };
        assert_eq!(take(&mut inflow), 501);
        now += BURST;
        let (burst, _) = flood(&mut inflow, &mut now, MS, 0);
        assert!((9_990..=10_010).contains(&burst), "{burst} frames at once");
        assert_eq!(take(&mut inflow), 0, "the server is ahead");
        inflow.read_dry();
        now += BURST;
        assert_eq!(take(&mut inflow), 0, "nobody has seen the calm");
        inflow.room(now, 0).unwrap();
        assert_eq!(take(&mut inflow), 501);
    }

    #[test]
    fn long_frames_count_by_their_length() {
        let mut now = Instant::now();
        let mut inflow = Inflow::new(1_000, now);
        flood(&mut inflow, &mut now, MS, 16 << 20);
        let (_, bytes) = flood(&mut inflow, &mut now, 5_000 * MS, 16 << 20);
        let expected = 5 * 1_000 * BYTES;
        assert!((expected * 98 / 100..=expected * 102 / 100).contains(&bytes), "{bytes} bytes in 5 s");
    }

    #[test]
    fn a_server_within_its_limit_is_never_ahead() {
        let mut now = Instant::now();
        let mut inflow = Inflow::new(1_000, now);
        for _ in 0..200 {
            for _ in 0..90 {
                inflow.room(now, 0).unwrap();
                inflow.frame();
                inflow.payload(640);
            }
            inflow.read_dry();
            now += 100 * MS;
        }
        assert_eq!(inflow.ahead_for(now), Duration::ZERO);
    }

    #[test]
    fn a_server_that_pauses_is_no_longer_ahead() {
        let mut now = Instant::now();
        let mut inflow = Inflow::new(100, now);
        flood(&mut inflow, &mut now, 900 * MS, 0);
        assert!(inflow.ahead_for(now) > 800 * MS);
        inflow.read_dry();
        assert_eq!(inflow.ahead_for(now + CALM), Duration::ZERO);
        inflow.room(now + CALM, 0).unwrap();
        inflow.frame();
        assert_eq!(inflow.ahead_for(now + CALM), Duration::ZERO, "it begins anew");
    }

    #[test]
    fn a_flood_of_which_the_socket_holds_little_stays_ahead() {
        let mut now = Instant::now();
        let mut inflow = Inflow::new(1_000, now);
        flood(&mut inflow, &mut now, MS, 16 << 20);
        for _ in 0..100 {
            flood(&mut inflow, &mut now, 50 * MS, 16 << 20);
            inflow.read_dry();
            now += MS;
        }
        assert!(inflow.ahead_for(now) >= 4_900 * MS, "{:?}", inflow.ahead_for(now));
    }
}
