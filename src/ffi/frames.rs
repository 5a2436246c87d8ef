//! A call's frames as media bugs are given them: what READ and WRITE_REPLACE callbacks of every kind begin with.
//!
//! On media threads, inside of the callbacks; nothing here waits or allocates.

// What could wait or allocate has no place in a callback; what is done before and after says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use std::ffi::c_void;
use std::mem::MaybeUninit;

use super::bindings::{
    Host, SWITCH_RECOMMENDED_BUFFER_SIZE, switch_bool_t, switch_channel_flag_t, switch_codec_implementation_t,
    switch_frame_t, switch_media_bug_t, switch_status_t,
};
use super::fillers;
use super::session::Session;
use crate::media::CaptureFormat;
use crate::units::SampleRate;

/// Samples that one `switch_core_media_bug_read` may write: FreeSWITCH's own buffer, twice for the second leg.
const LARGEST_FRAME: usize = SWITCH_RECOMMENDED_BUFFER_SIZE as usize;
/// Enough for both legs of a 20 ms frame at 16 kHz, or of 60 ms at 8 kHz. A buffer on the stack is touched page by page when it is made,
/// so the largest would cost every call's thread 16 KB.
const USUAL_FRAME: usize = 1_024;

/// Frames taken in one READ callback. One is the rule; two legs that drift apart leave a backlog of two or three, and a packet may be
/// several of those agreed.
const FRAMES_PER_READ: usize = 16;

/// What a bug's READ callbacks keep between them.
pub(super) struct Reader {
    /// Only the caller is captured.
    one_leg: bool,
    packets: fillers::Measure,
    /// Rate and channels of the call at the last callback.
    shape: Option<(u32, u8)>,
    /// The caller's bytes that the last callback left in FreeSWITCH's buffer.
    left: usize,
}

impl Reader {
    /// For a bug that is to be put on `session`; `one_leg` says that it is given the caller alone. `None` when FreeSWITCH has no
    /// memory.
    pub(super) fn new(session: &Session<'_>, one_leg: bool) -> Option<Self> {
        Some(Self { one_leg, packets: fillers::Measure::of(session)?, shape: None, left: 0 })
    }

    /// Hands to `take` the frames that the bug has been given since the last time.
    ///
    /// # Safety
    /// `bug` is the one whose READ callback runs, on the session that this was made for.
    pub(super) unsafe fn read(
        &mut self,
        host: &Host,
        bug: *mut switch_media_bug_t,
        take: impl FnMut(CaptureFormat, &[i16]),
    ) {
        // SAFETY: `bug` is attached to this session while its callback runs.
        let session = unsafe { host.switch_core_media_bug_get_session(bug) };
        let mut codec = switch_codec_implementation_t::default();
        // SAFETY: the session outlives the callback; `codec` is a struct of the size FreeSWITCH copies.
        unsafe { host.switch_core_session_get_read_impl(session, &raw mut codec) };
        let mut real = switch_codec_implementation_t::default();
        // SAFETY: as above.
        unsafe { host.switch_core_session_get_real_read_impl(session, &raw mut real) };
        // The bug gets frames as the call's own codec decodes them, though an application may have asked for another rate.
        let rate = SampleRate::from_hz(real.actual_samples_per_second);
        let shape = (real.actual_samples_per_second, real.number_of_channels);
        if self.shape.replace(shape).is_some_and(|before| before != shape) && !self.one_leg {
            // What is buffered of the other leg has the rate from before and would be taken for samples of the new one. Costs
            // the frame that the change comes with.
            // SAFETY: as above; the bug's own locks are recursive.
            unsafe { host.switch_core_media_bug_flush(bug) };
        }
        let arrived = {
            let (mut caller, mut other) = (0, 0);
            // SAFETY: `bug` is the one whose callback runs; both places are ours.
            unsafe { host.switch_core_media_bug_inuse(bug, &raw mut caller, &raw mut other) };
            let arrived = caller.saturating_sub(self.left);
            self.left = caller;
            arrived
        };
        let instants = arrived as u64 / 2 / u64::from(codec.number_of_channels.max(1));
        let length = instants * 1_000_000_000 / u64::from(real.actual_samples_per_second.max(1));
        self.packets.frame(length, u64::try_from(real.microseconds_per_packet).unwrap_or(0) * 1_000);
        let packet = codec.decoded_bytes_per_packet as usize;
        // `packet` is of one leg; 0, when there is no codec, would lift FreeSWITCH's own bound.
        if (1..=USUAL_FRAME).contains(&packet) {
            // SAFETY: passed on from the caller.
            unsafe { self.read_into::<USUAL_FRAME>(host, bug, (packet, arrived), rate, take) };
        } else {
            // SAFETY: as above.
            unsafe { self.read_into::<LARGEST_FRAME>(host, bug, (packet, arrived), rate, take) };
        }
    }

    /// Takes frames of `packet` bytes of each leg into a buffer of `SAMPLES` samples on the stack: room for two legs of `SAMPLES`
    /// bytes each. Since the last callback `arrived` bytes of the caller have come.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(never)]
    unsafe fn read_into<const SAMPLES: usize>(
        &mut self,
        host: &Host,
        bug: *mut switch_media_bug_t,
        (packet, arrived): (usize, usize),
        rate: Option<SampleRate>,
        mut take: impl FnMut(CaptureFormat, &[i16]),
    ) {
        let mut samples = MaybeUninit::<[i16; SAMPLES]>::uninit();
        for frame_number in 0..FRAMES_PER_READ {
            let mut frame = switch_frame_t {
                data: samples.as_mut_ptr().cast::<c_void>(),
                buflen: SAMPLES as u32,
                ..switch_frame_t::default()
            };
            // Of two legs the first frame even when one has nothing (it is filled up). More only while both have, for the other
            // leg's audio may be about to come; but as much of the caller as has arrived waits at most, of a packet that is several
            // frames long. With one leg there is nothing to fill up.
            let alone = frame_number == 0 || (self.left > 0 && self.left >= arrived);
            let fill = if alone && !self.one_leg { switch_bool_t::SWITCH_FALSE } else { switch_bool_t::SWITCH_TRUE };
            // SAFETY: `bug` is the one whose callback runs. FreeSWITCH writes at most `buflen` bytes, twice that for two
            // legs, which the buffer has.
            let status = unsafe { host.switch_core_media_bug_read(bug, &raw mut frame, fill) };
            let count = (frame.datalen as usize / 2).min(SAMPLES);
            if status != switch_status_t::SWITCH_STATUS_SUCCESS || count == 0 {
                return;
            }
            self.left = self.left.saturating_sub(packet);
            // SAFETY: FreeSWITCH has just written `datalen` bytes of samples.
            let captured = unsafe { std::slice::from_raw_parts(samples.as_ptr().cast::<i16>(), count) };
            // `samples` counts one leg's frame once, so that the quotient is lanes: legs times channels of the codec.
            let lanes = captured.len() / (frame.samples as usize).max(1);
            if let (Some(rate), Ok(channels)) = (rate.or(SampleRate::from_hz(frame.rate)), u8::try_from(lanes)) {
                take(CaptureFormat { rate, channels }, captured);
            }
        }
    }
}

/// What becomes of a frame on its way to the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is sent, if it has audio.
    Sent,
    /// The caller has the call on hold: FreeSWITCH sends nothing, though frames are written.
    NotSent,
}

/// Hands to `take` the frame on its way to the caller, if it is sent: its rate, its channels, and its samples to look at or to
/// change.
///
/// # Safety
/// `bug` is the one whose WRITE_REPLACE callback runs.
pub(super) unsafe fn written(
    host: &'static Host,
    bug: *mut switch_media_bug_t,
    take: impl FnOnce(SampleRate, u16, &mut [i16]),
) -> Fate {
    // SAFETY: `bug` is the one whose callback runs.
    let frame = unsafe { host.switch_core_media_bug_get_write_replace_frame(bug) };
    // SAFETY: NULL, or the writing thread's frame, which is ours for the time of the callback.
    let Some(frame) = (unsafe { frame.as_ref() }) else { return Fate::Sent };
    let samples = frame.data.cast::<i16>();
    let count = frame.datalen as usize / 2;
    if samples.is_null() || !samples.is_aligned() || count == 0 {
        return Fate::Sent;
    }
    // SAFETY: `bug` is attached to this session while its callback runs.
    let session = unsafe { host.switch_core_media_bug_get_session(bug) };
    // SAFETY: the session outlives the callback.
    let Some(session) = (unsafe { Session::current(host, session) }) else { return Fate::Sent };
    // Where a command has the call on hold, FreeSWITCH does not come so far.
    if session.has_flag(switch_channel_flag_t::CF_PROTO_HOLD) {
        return Fate::NotSent;
    }
    // The frame's own rate is not always filled in; at this point it has been resampled to the codec's.
    let Some(codec) = session.write_codec() else { return Fate::Sent };
    // SAFETY: FreeSWITCH gives the decoded frame of `datalen` bytes to the callback to change.
    let audio = unsafe { std::slice::from_raw_parts_mut(samples, count) };
    take(codec.rate, u16::try_from(codec.channels).unwrap_or(1), audio);
    Fate::Sent
}
