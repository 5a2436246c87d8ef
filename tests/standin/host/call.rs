//! A call of the stand-in host, seen from the caller's end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::functions::{RawCall, RawCallOptions};
use super::{Host, PATIENCE, c_string};

/// Channel flags for [`Call::set_flag`], as FreeSWITCH numbers them.
pub mod flag {
    pub const ANSWERED: i32 = 1;
    pub const EARLY_MEDIA: i32 = 3;
    pub const TRANSFER: i32 = 6;
    pub const BRIDGED: i32 = 9;
    pub const HOLD: i32 = 10;
    pub const PROXY_MODE: i32 = 17;
    pub const PROXY_MEDIA: i32 = 32;
    pub const PAUSE_BUGS: i32 = 36;
    pub const PROTO_HOLD: i32 = 98;
}

/// What the session's thread does with the frames it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Nothing: nobody writes to the channel.
    Parked,
    /// Writes a frame for each: of what [`Call::play`] was given, else of silence.
    Playing,
    /// Writes each back.
    Echo,
    /// Writes each to the other leg; made by [`Call::bridge`].
    Bridged,
}

impl CallKind {
    fn raw(self) -> i32 {
        match self {
            Self::Parked => 0,
            Self::Playing => 1,
            Self::Echo => 2,
            Self::Bridged => 3,
        }
    }
}

/// How a call is placed.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Hz; of the codec, in both directions.
    pub rate: u32,
    /// Milliseconds in a packet.
    pub ptime_ms: u32,
    /// 1 or 2.
    pub channels: u32,
    pub kind: CallKind,
    /// Frames come when [`Call::tick`] says so, not every `ptime_ms`; and only the threads of sessions can write.
    pub virtual_clock: bool,
    /// A caller who says nothing sends comfort noise, not packets of zeros.
    pub comfort_noise: bool,
    pub answered: bool,
    /// Early media cannot be had: attaching a bug before the answer fails and ends the call.
    pub refuses_media: bool,
    /// There is no codec before [`Call::settle_codec`].
    pub codec_unsettled: bool,
}

impl Default for CallOptions {
    /// An answered, parked call of 8 kHz, 20 ms, one channel, by the clock.
    fn default() -> Self {
        Self {
            rate: 8000,
            ptime_ms: 20,
            channels: 1,
            kind: CallKind::Parked,
            virtual_clock: false,
            comfort_noise: false,
            answered: true,
            refuses_media: false,
            codec_unsettled: false,
        }
    }
}

/// A packet the caller was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardFrame {
    /// On the clock of [`Host::now`].
    pub at: Duration,
    /// Samples, of all channels.
    pub samples: u32,
}

/// A call; dropping it hangs up and waits for its end.
pub struct Call<'h> {
    host: &'h Host,
    raw: *mut RawCall,
    uuid: String,
}

// SAFETY: every function of the C host takes its own locks.
unsafe impl Send for Call<'_> {}
// SAFETY: as above.
unsafe impl Sync for Call<'_> {}

impl<'h> Call<'h> {
    pub(super) fn new(host: &'h Host, options: CallOptions) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let name = c_string(&uuid);
        let raw = host.functions.host_call_new(&RawCallOptions {
            uuid: name.as_ptr(),
            rate: options.rate,
            ptime_ms: options.ptime_ms,
            channels: options.channels,
            kind: options.kind.raw(),
            virtual_clock: options.virtual_clock.into(),
            comfort_noise: options.comfort_noise.into(),
            answered: options.answered.into(),
            refuses_media: options.refuses_media.into(),
            codec_unsettled: options.codec_unsettled.into(),
        });
        Self { host, raw, uuid }
    }

    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The caller says this next: interleaved samples at the codec's rate.
    pub fn speak(&self, samples: &[i16]) {
        self.host.functions.host_call_speak(self.raw, samples.as_ptr(), samples.len());
    }

    /// Samples that the caller has not said yet.
    pub fn unspoken(&self) -> usize {
        self.host.functions.host_call_unspoken(self.raw)
    }

    /// A file plays this next to the caller, when the call is of [`CallKind::Playing`].
    pub fn play(&self, samples: &[i16]) {
        self.host.functions.host_call_play(self.raw, samples.as_ptr(), samples.len());
    }

    /// All samples the caller was given so far.
    pub fn heard(&self) -> Vec<i16> {
        self.heard_from(0)
    }

    /// The samples the caller was given from the `from`th on.
    pub fn heard_from(&self, from: usize) -> Vec<i16> {
        let count = self.host.functions.host_call_heard(self.raw, from, std::ptr::null_mut(), 0);
        let mut samples = vec![0; count];
        self.host.functions.host_call_heard(self.raw, from, samples.as_mut_ptr(), count);
        samples
    }

    /// How many samples the caller was given so far.
    pub fn heard_count(&self) -> usize {
        self.host.functions.host_call_heard(self.raw, 0, std::ptr::null_mut(), 0)
    }

    /// The packets the caller was given so far.
    pub fn heard_frames(&self) -> Vec<HeardFrame> {
        let functions = self.host.functions;
        let count = functions.host_call_heard_frames(self.raw, std::ptr::null_mut(), std::ptr::null_mut(), 0);
        let (mut times, mut sizes) = (vec![0_i64; count], vec![0_u32; count]);
        functions.host_call_heard_frames(self.raw, times.as_mut_ptr(), sizes.as_mut_ptr(), count);
        let frame = |(at, samples): (i64, u32)| HeardFrame { at: Duration::from_nanos(at.unsigned_abs()), samples };
        times.into_iter().zip(sizes).map(frame).collect()
    }

    /// The caller presses these keys, which their next packet carries.
    pub fn press(&self, digits: &str, duration_ms: u32) {
        self.host.functions.host_call_press(self.raw, c_string(digits).as_ptr(), duration_ms);
    }

    /// The same, sent by the signalling: FreeSWITCH has them when this returns, on this thread.
    pub fn press_by_signalling(&self, digits: &str, duration_ms: u32) {
        self.host.functions.host_call_press_by_signalling(self.raw, c_string(digits).as_ptr(), duration_ms);
    }

    /// The digits that have reached the dialplan.
    pub fn digits(&self) -> String {
        self.host.text(self.host.functions.host_call_digits(self.raw)).unwrap_or_default()
    }

    /// Frames read from the caller so far.
    pub fn frames_read(&self) -> u64 {
        self.host.functions.host_call_frames_read(self.raw)
    }

    /// By how much a frame of a call by the clock was read too late, at most: a session's thread that is late by more than ten frames
    /// has lost its place in time.
    pub fn latest(&self) -> Duration {
        Duration::from_nanos(self.host.functions.host_call_latest_ns(self.raw).unsigned_abs())
    }

    /// With a virtual clock: lets `frames` more frames pass, and waits until they have.
    pub fn tick(&self, frames: u32) {
        let done = self.host.functions.host_call_tick(self.raw, frames, millis(PATIENCE));
        assert_ne!(done, 0, "the session's thread is stuck");
    }

    /// Answers the call; FreeSWITCH's event tells of it.
    pub fn answer(&self) {
        self.host.functions.host_call_answer(self.raw, 0);
    }

    /// The call has early media; FreeSWITCH's event tells of it.
    pub fn pre_answer(&self) {
        self.host.functions.host_call_answer(self.raw, 1);
    }

    /// The codec is negotiated, of which no event tells.
    pub fn settle_codec(&self) {
        self.host.functions.host_call_settle_codec(self.raw);
    }

    /// A re-INVITE with another codec.
    pub fn set_codec(&self, rate: u32, ptime_ms: u32, channels: u32) {
        self.host.functions.host_call_set_codec(self.raw, rate, ptime_ms, channels);
    }

    /// From here on the caller sends packets of so many ms, a multiple of the agreed ones or not, but no shorter. Where a reading
    /// finds none FreeSWITCH makes up a frame.
    pub fn send_packets_of(&self, packet_ms: u32) {
        self.host.functions.host_call_set_packets(self.raw, packet_ms);
    }

    pub fn set_kind(&self, kind: CallKind) {
        self.host.functions.host_call_set_kind(self.raw, kind.raw());
    }

    /// Connects two calls: each hears the other.
    pub fn bridge(&self, other: &Self) {
        self.host.functions.host_call_bridge(self.raw, other.raw);
    }

    /// On hold nothing is read and nothing is written.
    pub fn hold(&self, on: bool) {
        self.set_flag(flag::HOLD, on);
    }

    /// Sets one of [`flag`].
    pub fn set_flag(&self, flag: i32, value: bool) {
        self.host.functions.host_call_set_flag(self.raw, flag, value.into());
    }

    pub fn test_flag(&self, flag: i32) -> bool {
        self.host.functions.host_call_test_flag(self.raw, flag) != 0
    }

    /// Runs `meanwhile` while this thread holds the lock of the channel's variables.
    pub fn with_variables_locked(&self, meanwhile: impl FnOnce()) {
        self.host.functions.host_call_lock_variables(self.raw, 1);
        meanwhile();
        self.host.functions.host_call_lock_variables(self.raw, 0);
    }

    pub fn set_variable(&self, name: &str, value: &str) {
        self.host.functions.host_call_set_variable(self.raw, c_string(name).as_ptr(), c_string(value).as_ptr());
    }

    /// A channel variable, else the global one of the name; `None` too when the call is over.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.host.text(self.host.functions.host_call_get_variable(self.raw, c_string(name).as_ptr()))
    }

    /// Has the session's thread run a dialplan application before it reads its next frame; returns at once.
    pub fn execute(&self, application: &str, data: &str) {
        self.host.functions.host_call_execute(self.raw, c_string(application).as_ptr(), c_string(data).as_ptr());
    }

    /// Applications that have returned so far.
    pub fn executed(&self) -> u32 {
        self.host.functions.host_call_executed(self.raw)
    }

    /// Media bugs on the session.
    pub fn bugs(&self) -> u32 {
        self.host.functions.host_call_bugs(self.raw)
    }

    /// Keeps nothing of what is heard from now on, where memory is measured.
    #[allow(dead_code)]
    pub fn keep_nothing(&self) {
        self.host.functions.host_call_keep_nothing(self.raw);
    }

    /// Starts recording as `record_session` does: stereo, left the caller, right what they hear.
    pub fn record(&self) {
        assert_ne!(self.host.functions.host_call_record(self.raw), 0, "the recorder was refused");
    }

    /// What has been recorded, interleaved.
    pub fn recorded(&self) -> Vec<i16> {
        let count = self.host.functions.host_call_recorded(self.raw, std::ptr::null_mut(), 0);
        let mut samples = vec![0; count];
        self.host.functions.host_call_recorded(self.raw, samples.as_mut_ptr(), count);
        samples
    }

    /// Hangs up; returns at once.
    pub fn hangup(&self) {
        self.host.functions.host_call_hangup(self.raw);
    }

    /// Waits until the session is gone.
    pub fn wait_ended(&self) {
        let ended = self.host.functions.host_call_wait_ended(self.raw, millis(PATIENCE));
        assert_ne!(ended, 0, "{} does not end: somebody keeps its session locked", self.uuid);
    }

    /// Looks every millisecond until the call is as wanted.
    ///
    /// # Panics
    /// With `what` after [`PATIENCE`].
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self) {
            assert!(Instant::now() < deadline, "waited until {what}; log: {:#?}", self.host.logs());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.hangup();
        if self.host.functions.host_call_wait_ended(self.raw, millis(PATIENCE)) != 0 {
            self.host.functions.host_call_free(self.raw);
        } else if !thread::panicking() {
            panic!("{} does not end: somebody keeps its session locked", self.uuid);
        }
    }
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}
