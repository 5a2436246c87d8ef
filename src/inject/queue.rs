//! Audio waiting to be played: mono, in the rate it came in, in order, bounded in time.
//!
//! On the worker's thread, owned by the [`Injector`](super::Injector). Counts are samples of one channel. Full: the newest is
//! refused. Memory goes back piece by piece as the audio is taken out: no piece is longer than [`PIECE_SAMPLES`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{PcmFormat, SampleRate};

/// Longest piece in samples: 8 KiB is returned to the allocator at a time, half a second at 8 kHz.
pub const PIECE_SAMPLES: usize = 4_096;
/// Most pieces, or twice what the capacity takes at the highest rate if that is more: so that only a server that changes its
/// rate with every few samples ever meets it. Without it such a server would pay two bytes a sample and we eighty.
const MAX_PIECES: u64 = 2_048;
/// The highest rate, in samples a millisecond.
const HIGHEST_KHZ: u64 = 64;

/// A bounded queue; see the [module](self).
#[derive(Debug)]
pub struct Queue {
    capacity: Duration,
    pieces: VecDeque<Piece>,
    /// Samples already taken from the first piece.
    taken: usize,
    /// Samples waiting at each rate: one entry but while the rate changes.
    tally: Vec<(SampleRate, u64)>,
    /// How long they play: asked for more often than it changes.
    lasts: Duration,
    /// See [`changes`](Self::changes).
    changes: u64,
    /// The last message's format, for the room that is left.
    format: PcmFormat,
    /// Samples of a frame that the last message ended in the middle of.
    partial: Vec<i16>,
}

#[derive(Debug)]
struct Piece {
    rate: SampleRate,
    samples: Vec<i16>,
}

/// What became of a message, in samples of one channel at its rate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pushed {
    /// Queued.
    pub accepted: u64,
    /// Refused: the end of the message.
    pub refused: u64,
}

impl Queue {
    /// A queue of up to `capacity`; reports its size for `rate` until the first message.
    pub const fn new(capacity: Duration, rate: SampleRate) -> Self {
        Self {
            capacity,
            pieces: VecDeque::new(),
            taken: 0,
            tally: Vec::new(),
            lasts: Duration::ZERO,
            changes: 0,
            format: PcmFormat { rate, channels: 1 },
            partial: Vec::new(),
        }
    }

    /// Queues `samples`, mixed down to mono, as far as they fit. A frame that ends in mid-message goes on in the next one.
    pub fn push(&mut self, samples: &[i16], format: PcmFormat) -> Pushed {
        if format != self.format {
            self.partial.clear();
            self.format = format;
        }
        let channels = usize::from(format.channels.max(1));
        if channels == 1 {
            return self.push_mono(samples.len(), samples.iter().copied());
        }
        let mut frames = std::mem::take(&mut self.partial);
        frames.extend_from_slice(samples);
        let whole = frames.len() / channels * channels;
        let mono = frames[..whole].chunks_exact(channels).map(|frame| {
            // The mean of i16s is an i16.
            frame.iter().map(|&sample| i32::from(sample)).sum::<i32>().div_euclid(channels as i32) as i16
        });
        let pushed = self.push_mono(whole / channels, mono);
        self.partial = frames[whole..].to_vec();
        pushed
    }

    fn push_mono(&mut self, count: usize, mut samples: impl Iterator<Item = i16>) -> Pushed {
        let rate = self.format.rate;
        let fits = usize::try_from(self.room()).unwrap_or(usize::MAX).min(count);
        let mut left = fits;
        while left > 0 {
            let space = match self.pieces.back() {
                Some(last) if last.rate == rate => PIECE_SAMPLES.saturating_sub(last.samples.len()),
                _ => 0,
            };
            if space == 0 {
                if self.pieces.len() as u64 >= self.most_pieces() {
                    break;
                }
                self.pieces.push_back(Piece { rate, samples: Vec::with_capacity(left.min(PIECE_SAMPLES)) });
                continue;
            }
            let Some(last) = self.pieces.back_mut() else { break };
            let now = left.min(space);
            last.samples.extend(samples.by_ref().take(now));
            left -= now;
        }
        let accepted = fits - left;
        self.count(rate, accepted as i64);
        Pushed { accepted: accepted as u64, refused: (count - accepted) as u64 }
    }

    /// The next samples, at most `most` of them and all of one rate.
    pub fn front(&self, most: usize) -> Option<(SampleRate, &[i16])> {
        let piece = self.pieces.front()?;
        let waiting = piece.samples.get(self.taken..)?;
        Some((piece.rate, &waiting[..waiting.len().min(most)]))
    }

    const fn most_pieces(&self) -> u64 {
        let needed = 2 * HIGHEST_KHZ * self.capacity.as_millis() as u64 / PIECE_SAMPLES as u64;
        if needed > MAX_PIECES { needed } else { MAX_PIECES }
    }

    /// Takes `count` samples of what [`Self::front`] gave out of the queue.
    pub fn advance(&mut self, count: usize) {
        let Some(piece) = self.pieces.front() else { return };
        let (rate, len) = (piece.rate, piece.samples.len());
        let count = count.min(len - self.taken);
        self.taken += count;
        self.count(rate, -(count as i64));
        if self.taken == len {
            self.taken = 0;
            self.pieces.pop_front();
            self.shrink();
        }
    }

    /// Puts `samples` that were taken out back at the front, whatever the capacity.
    pub fn put_back(&mut self, rate: SampleRate, samples: Vec<i16>) {
        if samples.is_empty() {
            return;
        }
        if let Some(piece) = self.pieces.front_mut() {
            piece.samples.drain(..self.taken);
            self.taken = 0;
        }
        self.count(rate, samples.len() as i64);
        self.pieces.push_front(Piece { rate, samples });
    }

    /// Drops everything; returns how long it would have played.
    pub fn clear(&mut self) -> Duration {
        self.pieces = VecDeque::new();
        self.tally = Vec::new();
        self.partial = Vec::new();
        self.taken = 0;
        self.changes += 1;
        std::mem::take(&mut self.lasts)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How long what waits will play.
    pub const fn duration(&self) -> Duration {
        self.lasts
    }

    /// Goes up with whatever changes the queue or the room in it.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Samples waiting.
    pub fn samples(&self) -> u64 {
        self.tally.iter().map(|&(_, samples)| samples).sum()
    }

    /// Samples of the last message's rate that still fit.
    pub fn room(&self) -> u64 {
        self.room_before(Duration::ZERO)
    }

    /// The same, were the capacity shorter by `reserve`.
    pub fn room_before(&self, reserve: Duration) -> u64 {
        let left = self.capacity.saturating_sub(self.duration() + reserve);
        // Rounded down; since `duration` is too, a queue of one rate takes exactly its capacity.
        self.format.rate.samples_in(left)
    }

    /// Bytes held from the allocator for samples: at most 8 KiB more than what waits, where it waits at one rate.
    pub fn allocated_bytes(&self) -> usize {
        let samples: usize = self.pieces.iter().map(|piece| piece.samples.capacity()).sum();
        samples * size_of::<i16>() + self.pieces.capacity() * size_of::<Piece>()
    }

    fn count(&mut self, rate: SampleRate, samples: i64) {
        let at = self.tally.iter().position(|&(known, _)| known == rate).unwrap_or_else(|| {
            self.tally.push((rate, 0));
            self.tally.len() - 1
        });
        let waiting = self.tally[at].1.saturating_add_signed(samples);
        self.tally[at].1 = waiting;
        if waiting == 0 {
            self.tally.swap_remove(at);
        }
        self.lasts = self.tally.iter().map(|&(rate, samples)| rate.duration_of(samples)).sum();
        self.changes += 1;
    }

    /// The list of pieces gets smaller too, by halves so that it is not copied with every piece.
    fn shrink(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        } else if self.pieces.capacity() > 16 && self.pieces.len() < self.pieces.capacity() / 4 {
            self.pieces.shrink_to(self.pieces.capacity() / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn format(hz: u32, channels: u16) -> PcmFormat {
        PcmFormat { rate: SampleRate::new(hz).unwrap(), channels }
    }

    fn queue(ms: u64) -> Queue {
        Queue::new(Duration::from_millis(ms), SampleRate::HZ_8000)
    }

    fn take_all(queue: &mut Queue) -> Vec<(u32, i16)> {
        let mut out = Vec::new();
        while let Some((rate, samples)) = queue.front(1_000) {
            out.extend(samples.iter().map(|&sample| (rate.hz(), sample)));
            let count = samples.len();
            queue.advance(count);
        }
        out
    }

    #[test]
    fn exactly_the_capacity_fits_at_every_rate() {
        for hz in [8_000, 11_025, 22_050, 44_100, 48_000, 63_997] {
            let mut queue = queue(1_000);
            let pushed = queue.push(&vec![1; hz as usize * 3], format(hz, 1));
            assert_eq!(pushed, Pushed { accepted: hz.into(), refused: u64::from(hz) * 2 });
            assert_eq!((queue.room(), queue.duration()), (0, Duration::from_secs(1)));
            queue.advance(10);
            assert_eq!(queue.push(&[1; 11], format(hz, 1)), Pushed { accepted: 10, refused: 1 }, "{hz} Hz");
        }
    }

    #[test]
    fn memory_goes_back_as_the_audio_is_taken() {
        let mut queue = queue(60_000);
        queue.push(&vec![1; 8_000 * 60], format(8_000, 1));
        let full = queue.allocated_bytes();
        assert!(full <= 2 * 8_000 * 60 + 16_384, "{full}");
        while queue.samples() > 0 {
            queue.advance(160);
            let bound = queue.samples() as usize * 2 + 2 * PIECE_SAMPLES + 256 * size_of::<Piece>();
            assert!(queue.allocated_bytes() <= bound, "{} for {}", queue.allocated_bytes(), queue.samples());
        }
        assert_eq!(queue.allocated_bytes(), 0);
    }

    #[test]
    fn small_messages_share_their_pieces() {
        let mut queue = queue(5_000);
        for _ in 0..250 {
            queue.push(&[3; 160], format(8_000, 1));
        }
        assert_eq!(queue.pieces.len(), (250 * 160_usize).div_ceil(PIECE_SAMPLES));
    }

    #[test]
    fn the_queue_is_bounded_when_every_sample_changes_the_rate() {
        let mut queue = queue(30_000);
        let mut refused = 0;
        for n in 0..100_000_u32 {
            refused += queue.push(&[1], format(8_000 + n % 2, 1)).refused;
        }
        assert_eq!(queue.samples() + refused, 100_000);
        assert!(queue.allocated_bytes() < 200_000, "{}", queue.allocated_bytes());
    }

    #[test]
    fn a_stereo_frame_may_be_cut_between_messages() {
        let mut queue = queue(1_000);
        queue.push(&[100, 200, 300], format(8_000, 2));
        queue.push(&[500], format(8_000, 2));
        queue.push(&[-1, -2], format(8_000, 2));
        assert_eq!(take_all(&mut queue), [(8_000, 150), (8_000, 400), (8_000, -2)]);
        queue.push(&[7], format(8_000, 2));
        queue.push(&[8], format(8_000, 1));
        queue.push(&[20, 40], format(8_000, 2));
        assert_eq!(take_all(&mut queue), [(8_000, 8), (8_000, 30)]);
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut queue = queue(1);
        queue.push(&[1, 2, 3, 4, 5, 6, 7, 8], format(8_000, 1));
        queue.advance(3);
        queue.put_back(SampleRate::HZ_8000, vec![2, 3]);
        queue.put_back(SampleRate::HZ_16000, vec![1]);
        queue.put_back(SampleRate::HZ_16000, vec![]);
        assert_eq!((queue.samples(), queue.room()), (8, 0));
        let back = take_all(&mut queue);
        assert_eq!(back[0], (16_000, 1));
        assert_eq!(back[1..].iter().map(|&(_, sample)| sample).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8]);
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_out_in_order_and_the_rest_is_counted(
            messages in prop::collection::vec((0_usize..6_000, prop::sample::select(vec![8_000_u32, 16_000, 44_100])), 0..20),
            takes in prop::collection::vec(0_usize..5_000, 0..20),
        ) {
            let mut queue = queue(700);
            let (mut model, mut out, mut next) = (Vec::new(), Vec::new(), 0_i16);
            let mut takes = takes.into_iter();
            for (len, hz) in messages {
                let sound: Vec<i16> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                let pushed = queue.push(&sound, format(hz, 1));
                prop_assert_eq!(pushed.accepted + pushed.refused, len as u64);
                model.extend(sound[..pushed.accepted as usize].iter().map(|&sample| (hz, sample)));
                prop_assert!(queue.duration() <= Duration::from_millis(700));
                let mut left = takes.next().unwrap_or(0);
                while left > 0 && let Some((rate, samples)) = queue.front(left) {
                    out.extend(samples.iter().map(|&sample| (rate.hz(), sample)));
                    let count = samples.len();
                    queue.advance(count);
                    left -= count;
                }
                prop_assert_eq!(queue.samples() as usize, model.len() - out.len());
            }
            out.extend(take_all(&mut queue));
            prop_assert_eq!(out, model);
            prop_assert_eq!(queue.allocated_bytes(), 0);
        }
    }
}
