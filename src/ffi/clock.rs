//! Frames of silence written to a channel that nobody else writes to, so that playback is heard there.
//!
//! On the playout clock's own threads. Each frame passes through the session's media bugs as any other, and ours fills it.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bindings::{
    Host, SWITCH_CODEC_FLAG_DECODE, SWITCH_CODEC_FLAG_ENCODE, SWITCH_IO_FLAG_NONE, SWITCH_RECOMMENDED_BUFFER_SIZE,
    switch_codec_t, switch_frame_t, switch_status_t,
};
use super::session::{Codec, Session};
use super::thread;
use crate::runtime::host::{Purpose, SILENCE_WRITERS, SilenceWriter, Written};
use crate::units::CallId;

/// The playout clock's threads, 0 where there is none. Not a thread-local: the first look at one of a module loaded later has
/// the dynamic linker allocate the thread's copy of all of them, in the media thread's callback.
static WRITERS: [AtomicU64; SILENCE_WRITERS] = [const { AtomicU64::new(0) }; SILENCE_WRITERS];

/// Whether the current frame was written by the playout clock. For the WRITE_REPLACE callback; reads a register and at most
/// [`SILENCE_WRITERS`] words of two cache lines, which change only when a thread starts or ends.
pub(super) fn is_writing() -> bool {
    let this = thread::this();
    WRITERS.iter().any(|writer| writer.load(Ordering::Relaxed) == this)
}

/// A place among [`WRITERS`] for the calling thread.
fn register() -> Option<&'static AtomicU64> {
    let this = thread::this();
    WRITERS.iter().find(|place| place.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed).is_ok())
}

/// Writes silence; keeps one open L16 codec for each format it has met.
pub(super) struct ChannelSilence {
    host: &'static Host,
    /// This thread among the writers.
    place: Option<&'static AtomicU64>,
    /// `None` where FreeSWITCH has no L16 of the format.
    codecs: HashMap<(u32, u32, u32), Option<OpenCodec>>,
    /// One frame; 8-byte aligned as FreeSWITCH's own.
    frame: Box<[u64; SWITCH_RECOMMENDED_BUFFER_SIZE as usize / 8]>,
}

impl ChannelSilence {
    /// For the calling thread, which writes nothing else: so there is nothing to take back after a frame.
    pub(super) fn new(host: &'static Host) -> Self {
        Self {
            host,
            place: register(),
            codecs: HashMap::new(),
            frame: Box::new([0; SWITCH_RECOMMENDED_BUFFER_SIZE as usize / 8]),
        }
    }
}

impl SilenceWriter for ChannelSilence {
    fn write(&mut self, call: &CallId, purpose: Purpose) -> Written {
        let Some(session) = Session::locate(self.host, call.as_str()) else { return Written::Gone };
        let Some(format) = session.write_codec() else { return Written::NotNow };
        // On hold FreeSWITCH would send nothing of it.
        if !session.is_ready() || session.hold().is_some() {
            return Written::NotNow;
        }
        if format.ptime_ms == 0 || (purpose == Purpose::Packets && session.has_writer_at_times()) {
            return Written::NotNow;
        }
        // L16 has no 60 ms at 16 kHz and above; FreeSWITCH joins shorter frames to the call's own.
        let Some((format, codec)) = [format.ptime_ms, 20, 10]
            .into_iter()
            .map(|ptime_ms| Codec { ptime_ms, ..format })
            .find_map(|format| Some((format, self.codec(format)?)))
        else {
            return Written::NotNow;
        };
        let ptime = Duration::from_millis(u64::from(format.ptime_ms));
        let samples = format.rate.samples_in_ms(format.ptime_ms) * format.channels as usize;
        let bytes = samples * 2;
        if bytes > size_of_val(&*self.frame) {
            return Written::NotNow;
        }
        // The callback left its audio in the buffer.
        self.frame.fill(0);
        let mut frame = switch_frame_t {
            codec,
            data: self.frame.as_mut_ptr().cast::<c_void>(),
            datalen: bytes as u32,
            buflen: SWITCH_RECOMMENDED_BUFFER_SIZE,
            samples: (samples / format.channels as usize) as u32,
            rate: format.rate.hz(),
            channels: format.channels,
            ..switch_frame_t::default()
        };
        // SAFETY: the session is locked; frame, codec and buffer live through the call and are this thread's alone.
        let status = unsafe {
            self.host.switch_core_session_write_frame(session.as_ptr(), &raw mut frame, SWITCH_IO_FLAG_NONE, 0)
        };
        if status == switch_status_t::SWITCH_STATUS_SUCCESS { Written::Frame(ptime) } else { Written::NotNow }
    }
}

impl Drop for ChannelSilence {
    /// The thread ends, and the next one may get its identity.
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.store(0, Ordering::Relaxed);
        }
    }
}

impl ChannelSilence {
    fn codec(&mut self, format: Codec) -> Option<*mut switch_codec_t> {
        let key = (format.rate.hz(), format.ptime_ms, format.channels);
        let host = self.host;
        let codec = self.codecs.entry(key).or_insert_with(|| OpenCodec::open(host, format));
        codec.as_mut().map(|codec| codec.codec.as_mut_ptr())
    }
}

/// An open L16 codec at an address that does not change.
struct OpenCodec {
    host: &'static Host,
    codec: Box<MaybeUninit<switch_codec_t>>,
}

// SAFETY: an open codec is memory of its own with a lock of its own; the writer's thread is its only user.
unsafe impl Send for OpenCodec {}

impl OpenCodec {
    fn open(host: &'static Host, format: Codec) -> Option<Self> {
        let mut codec = Box::new(MaybeUninit::<switch_codec_t>::zeroed());
        // SAFETY: `codec` is zeroed memory of the codec's size which does not move before `destroy`; without a pool
        // FreeSWITCH makes one and frees it with the codec.
        let status = unsafe {
            host.switch_core_codec_init_with_bitrate(
                codec.as_mut_ptr(),
                c"L16".as_ptr(),
                ptr::null(),
                ptr::null(),
                format.rate.hz(),
                i32::try_from(format.ptime_ms).ok()?,
                i32::try_from(format.channels).ok()?,
                0,
                SWITCH_CODEC_FLAG_ENCODE | SWITCH_CODEC_FLAG_DECODE,
                ptr::null(),
                ptr::null_mut(),
            )
        };
        if status == switch_status_t::SWITCH_STATUS_SUCCESS {
            Some(Self { host, codec })
        } else {
            tracing::warn!(target: "INJECT", op = "clock_codec", outcome = "refused", rate = format.rate.hz(), ptime_ms = format.ptime_ms, channels = format.channels);
            None
        }
    }
}

impl Drop for OpenCodec {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once.
        unsafe { self.host.switch_core_codec_destroy(self.codec.as_mut_ptr()) };
    }
}
