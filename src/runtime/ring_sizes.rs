//! How much room a stream's rings have.
//!
//! The usual part holds what waits in a call that goes well; the spare part takes what comes when a worker is busy elsewhere, or
//! when a re-INVITE brings a codec of a higher rate. Only the usual part costs cache and resident memory: see
//! [`ring`](crate::media::ring).

use super::host::CallAudio;
use crate::media::ring::RingSize;

/// Audio a capture ring has room for beside the usual: many ticks of a shard that is busy elsewhere.
const CAPTURE_RING_MS: u32 = 200;
/// Audio kept in the playout ring; at least three frames, where those are long.
const PLAYOUT_RING_MS: u32 = 120;
/// The least size of a spare part in samples of one leg, whatever the call begins with: 120 ms at 48 kHz. A re-INVITE may bring any
/// codec, and FreeSWITCH's largest frame has 4,096 samples (`SWITCH_RECOMMENDED_BUFFER_SIZE`); a frame that is larger than the ring
/// would never get into it.
const SPARE_MIN: usize = 5_760;
/// Frames that wait in an ordinary call beside what is meant to wait: one that comes while the worker is on its way, and one more.
const FRAMES_BESIDE: u32 = 2;
/// What the usual part of a capture ring is meant to hold at most, however much goes into a message.
const MOST_CAPTURED_MS: u32 = 100;

/// Of the rings of a stream.
pub(super) struct RingSizes {
    pub(super) capture: RingSize,
    pub(super) playout: RingSize,
    /// Audio that is kept in the playout ring.
    pub(super) playout_ms: u32,
}

impl RingSizes {
    /// For a call whose audio from its caller is `reads`, from `legs` legs, and goes out in messages of `buffer_ms`; and to whose
    /// caller `writes` is played. If nothing is ever `played`, nothing is kept for it.
    pub(super) fn of((reads, writes): (CallAudio, CallAudio), legs: usize, buffer_ms: u32, played: bool) -> Self {
        let playout_ms = PLAYOUT_RING_MS.max(3 * writes.ptime_ms);
        let capture = captured(reads, legs, buffer_ms);
        let playout = if played { playout(writes, playout_ms) } else { RingSize::default() };
        Self { capture, playout, playout_ms }
    }
}

/// Of a ring of what was played on the call, for the cancelling of its echo.
pub(super) fn reference(writes: CallAudio) -> RingSize {
    captured(writes, 1, writes.ptime_ms)
}

fn captured(audio: CallAudio, legs: usize, buffer_ms: u32) -> RingSize {
    let samples = |ms| audio.rate.samples_in_ms(ms) * audio.channels as usize;
    let usual = samples(buffer_ms.min(MOST_CAPTURED_MS) + FRAMES_BESIDE * audio.ptime_ms);
    RingSize { usual: legs * usual, spare: legs * samples(CAPTURE_RING_MS).max(SPARE_MIN) }
}

fn playout(audio: CallAudio, playout_ms: u32) -> RingSize {
    RingSize {
        usual: audio.rate.samples_in_ms(playout_ms + FRAMES_BESIDE * audio.ptime_ms),
        // Twice what is kept: what was flushed stays in the ring until the media thread has come by.
        spare: audio.rate.samples_in_ms(2 * playout_ms).max(SPARE_MIN),
    }
}
