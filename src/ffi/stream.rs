//! What a stream does in its media bug's callbacks: captured audio and keys out of the call, playback into it.
//!
//! On media threads, inside of the callbacks of [`media_bug`]; nothing here waits or allocates but [`attach`].

// What could wait or allocate has no place in a callback; what is done before and after says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::bindings::{
    Host, SMBF_FIRST, SMBF_NO_PAUSE, SMBF_READ_STREAM, SMBF_STEREO, SMBF_WRITE_REPLACE, SMBF_WRITE_STREAM,
    switch_media_bug_t,
};
use super::frames::Fate;
use super::in_use::InUse;
use super::media_bug::{self, Half};
use super::session::Session;
use super::{clock, dtmf, frames, mask, sent_dtmf};
use crate::call::MediaBug;
use crate::media::link::{MediaLink, ReadHalf, WriteHalf};
use crate::media::{DtmfCursor, DtmfRing, Mask, SentDtmf};
use crate::stream::handle::StreamHandle;
use crate::units::Mix;

/// Puts a bug on the session that feeds and plays `stream`; see [`media_bug::attach`].
#[expect(clippy::disallowed_types, reason = "made before a callback has it")]
pub(super) fn attach(
    session: &Session<'_>,
    stream: &Arc<StreamHandle>,
    read: ReadHalf,
    write: WriteHalf,
    in_use: InUse,
) -> Result<Box<dyn MediaBug>, &'static str> {
    // NO_PAUSE: mod_fifo pauses the bugs of callers that wait in a queue; a stream goes on there.
    let legs = match stream.spec.options.mix {
        Mix::Mono => 0,
        Mix::Mixed => SMBF_WRITE_STREAM,
        Mix::Stereo => SMBF_WRITE_STREAM | SMBF_STEREO,
    };
    // FIRST: recordings of the call hear what we play.
    let flags = SMBF_READ_STREAM | SMBF_WRITE_REPLACE | SMBF_FIRST | SMBF_NO_PAUSE | legs;
    let keys = dtmf::listen(session).ok_or("the call's DTMF cannot be listened to")?;
    // SAFETY: in the memory of the session, which is locked.
    let cursor = DtmfCursor::at_end(unsafe { keys.as_ref() });
    let sent = sent_dtmf::listen(session).ok_or("the keys sent to the call cannot be listened to")?;
    let mask = mask::of(session).ok_or("FreeSWITCH is out of memory")?;
    let reader = frames::Reader::new(session, stream.spec.options.mix == Mix::Mono);
    let reader = reader.ok_or("FreeSWITCH is out of memory")?;
    let media = stream.media.clone();
    let mix = stream.spec.options.mix;
    let capture = Capture { half: read, keys, cursor, mask, mix, reader, media: media.clone() };
    let halves = (capture, Playout { half: write, sent, media });
    media_bug::attach(session, (c"mod_audio_stream", flags), stream, halves, in_use)
}

/// READ: the caller's audio and keys into the stream's rings.
struct Capture {
    half: ReadHalf,
    /// In the session's memory, which outlives its bugs.
    keys: NonNull<DtmfRing>,
    cursor: DtmfCursor,
    /// In the session's memory too.
    mask: NonNull<Mask>,
    mix: Mix,
    reader: frames::Reader,
    media: Arc<MediaLink>,
}

impl Half for Capture {
    /// The caller's frame, and the other leg's where the stream wants it, into the capture ring; before it the keys pressed.
    #[expect(clippy::disallowed_methods, reason = "readings of the clock, without a system call")]
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let began = Instant::now();
        self.close();
        // SAFETY: in the memory of the session, which is there in every callback.
        self.half.withhold(unsafe { self.mask.as_ref() }.withheld(self.mix));
        // SAFETY: passed on to the caller.
        unsafe { self.reader.read(host, bug, |format, samples| self.half.frame(format, samples)) };
        self.media.latency.record(began.elapsed());
    }

    /// Takes the keys pressed since the last frame.
    fn close(&mut self) {
        // SAFETY: in the memory of the session, which is there in every callback.
        self.half.take_dtmf(unsafe { self.keys.as_ref() }, &mut self.cursor);
    }
}

/// WRITE_REPLACE: the stream's playback into the frame on its way to the caller.
struct Playout {
    half: WriteHalf,
    /// In the session's memory, which outlives its bugs.
    sent: NonNull<SentDtmf>,
    media: Arc<MediaLink>,
}

impl Half for Playout {
    /// Changes the frame in place: FreeSWITCH uses the frame after the callback without a lock on the bug, so a frame of ours
    /// could be freed under it.
    #[expect(clippy::disallowed_methods, reason = "readings of the clock, without a system call")]
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let began = Instant::now();
        // SAFETY: in the memory of the session, which is there in every callback.
        self.half.withhold(unsafe { self.sent.as_ref() }.is_sending(began));
        // SAFETY: passed on to the caller.
        let fate = unsafe {
            frames::written(host, bug, |rate, channels, audio| {
                self.half.frame(rate.hz(), channels, audio, clock::is_writing());
            })
        };
        if fate == Fate::NotSent {
            self.half.frame_not_sent(clock::is_writing());
        }
        self.media.latency.record(began.elapsed());
    }

    unsafe fn pass_on(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        // SAFETY: passed on to the caller.
        unsafe { frames::written(host, bug, |_, channels, audio| self.half.pass_on(channels, audio)) };
    }
}
