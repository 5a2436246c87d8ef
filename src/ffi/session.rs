//! A call's session, read-locked for as long as it is looked at.
//!
//! API, dialplan and event threads, and the playout clock. The lock only keeps the session from being destroyed; it may be
//! held while FreeSWITCH's functions are called, never while waiting for the network.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::bindings::{
    Host, SWITCH_CODEC_FLAG_PASSTHROUGH, switch_bool_t, switch_call_cause_t, switch_channel_cap_t,
    switch_channel_flag_t, switch_channel_state_t, switch_channel_t, switch_codec_implementation_t,
    switch_core_media_dtmf_t, switch_core_session_t, switch_status_t,
};
use super::host::text_of;
use super::log::c_string;
use crate::event::HoldCause;
use crate::options::values::is_true;
use crate::stream::action::{CallAction, Rest, until_pause};
use crate::units::{SampleRate, StreamName};

/// The application that hands a caller over, on the session's own thread.
pub(crate) const HAND_OVER: &CStr = c"audio_stream_transfer";
/// The dialplan of mod_dptools whose extensions are applications themselves.
const INLINE: &CStr = c"inline";

/// A session that is certain to exist: because it is read-locked, or because the caller runs on its thread.
pub(crate) struct Session<'a> {
    host: &'static Host,
    session: NonNull<switch_core_session_t>,
    channel: NonNull<switch_channel_t>,
    locked: bool,
    /// Must not be sent to another thread or kept.
    scope: PhantomData<(&'a (), *const ())>,
}

/// One direction's codec as FreeSWITCH has it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Codec {
    pub(crate) rate: SampleRate,
    /// 0 where FreeSWITCH reports none.
    pub(crate) ptime_ms: u32,
    pub(crate) channels: u32,
}

impl Session<'static> {
    /// The session of `uuid`, read-locked; `None` when there is none, or it is being destroyed.
    pub(crate) fn locate(host: &'static Host, uuid: &str) -> Option<Self> {
        let uuid = c_string(uuid);
        // SAFETY: the strings live through the call. The session comes back read-locked, which `Drop` undoes.
        let session = unsafe {
            host.switch_core_session_perform_locate(uuid.as_ptr(), c"mod_audio_stream".as_ptr(), c"locate".as_ptr(), 0)
        };
        let session = NonNull::new(session)?;
        // SAFETY: the session is read-locked; its channel lives as long as it.
        let channel = unsafe { host.switch_core_session_get_channel(session.as_ptr()) };
        let found =
            NonNull::new(channel).map(|channel| Self { host, session, channel, locked: true, scope: PhantomData });
        if found.is_none() {
            // SAFETY: locked above, once.
            unsafe { host.switch_core_session_rwunlock(session.as_ptr()) };
        }
        found
    }
}

impl<'a> Session<'a> {
    /// The session whose own thread is calling, or whose callback is running.
    ///
    /// # Safety
    /// `session` is valid for `'a`.
    pub(crate) unsafe fn current(host: &'static Host, session: *mut switch_core_session_t) -> Option<Session<'a>> {
        let session = NonNull::new(session)?;
        // SAFETY: valid by the caller's word.
        let channel = NonNull::new(unsafe { host.switch_core_session_get_channel(session.as_ptr()) })?;
        Some(Session { host, session, channel, locked: false, scope: PhantomData })
    }

    pub(crate) fn host(&self) -> &'static Host {
        self.host
    }

    pub(crate) fn as_ptr(&self) -> *mut switch_core_session_t {
        self.session.as_ptr()
    }

    pub(crate) fn channel(&self) -> *mut switch_channel_t {
        self.channel.as_ptr()
    }

    pub(crate) fn uuid(&self) -> String {
        // SAFETY: the session is valid.
        let uuid = unsafe { self.host.switch_core_session_get_uuid(self.as_ptr()) };
        // SAFETY: the uuid is part of the session.
        unsafe { text_of(uuid) }.unwrap_or_default()
    }

    /// What the channel keeps under `name`. Never anything but what [`keep`](Self::keep) put there as the same `T`: the name says
    /// which type and layout.
    pub(crate) fn kept<T>(&self, name: &CStr) -> Option<NonNull<T>> {
        // SAFETY: the channel is valid.
        NonNull::new(unsafe { self.host.switch_channel_get_private(self.channel(), name.as_ptr()) }).map(NonNull::cast)
    }

    /// Puts a new `T` into the session's own memory, which goes with the session, and keeps it under `name`. It is never dropped.
    /// `None` when FreeSWITCH has no memory. Not two threads at once for one session and name.
    pub(crate) fn keep<T: Default>(&self, name: &CStr) -> Option<NonNull<T>> {
        const {
            assert!(align_of::<T>() <= align_of::<u64>(), "FreeSWITCH aligns for words of 64 bits");
            assert!(!std::mem::needs_drop::<T>(), "nobody drops it");
        }
        // SAFETY: the session is valid, and the names live as long as the process.
        let memory = unsafe {
            self.host.switch_core_perform_session_alloc(
                self.as_ptr(),
                size_of::<T>(),
                c"mod_audio_stream".as_ptr(),
                c"keep".as_ptr(),
                0,
            )
        };
        let kept = NonNull::new(memory.cast::<T>())?;
        // SAFETY: fresh memory of that size, aligned for any C type.
        unsafe { kept.write(T::default()) };
        // SAFETY: the channel is valid, and the name is copied.
        let status =
            unsafe { self.host.switch_channel_set_private(self.channel(), name.as_ptr(), kept.as_ptr().cast()) };
        (status == switch_status_t::SWITCH_STATUS_SUCCESS).then_some(kept)
    }

    /// A channel variable's value; invalid UTF-8 in it is replaced.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let name = c_string(name);
        // SAFETY: the channel is valid. With `dup` the value is copied into the session's pool under the channel's lock, so
        // that another thread changing the variable does not pull it away.
        let value = unsafe {
            self.host.switch_channel_get_variable_dup(self.channel(), name.as_ptr(), switch_bool_t::SWITCH_TRUE, -1)
        };
        // SAFETY: NULL or a string of the session's pool.
        unsafe { text_of(value) }
    }

    /// Whether a channel variable is true for FreeSWITCH. For media threads: nothing is allocated unless it is set, and then FreeSWITCH copies
    /// a word into the session's pool.
    pub(crate) fn is_set(&self, name: &CStr) -> bool {
        // SAFETY: the channel is valid; copied as in `variable`.
        let value = unsafe {
            self.host.switch_channel_get_variable_dup(self.channel(), name.as_ptr(), switch_bool_t::SWITCH_TRUE, -1)
        };
        // SAFETY: NULL or a string of the session's pool.
        let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) });
        value.and_then(|value| value.to_str().ok()).is_some_and(is_true)
    }

    /// Sets a channel variable, or removes it. A value that FreeSWITCH could expand later (`${…}`) is refused by it.
    pub(crate) fn set_variable(&self, name: &CStr, value: Option<&str>) {
        self.put_variable(name, value, switch_bool_t::SWITCH_TRUE);
    }

    /// Sets a variable to a text of the operator's, which may have `${…}` in it, or removes it.
    pub(crate) fn set_own_variable(&self, name: &CStr, value: Option<&str>) {
        self.put_variable(name, value, switch_bool_t::SWITCH_FALSE);
    }

    fn put_variable(&self, name: &CStr, value: Option<&str>, check: switch_bool_t) {
        let value = value.map(c_string);
        let value = value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr());
        // SAFETY: the channel is valid and the strings live through the call; FreeSWITCH copies them.
        unsafe { self.host.switch_channel_set_variable_var_check(self.channel(), name.as_ptr(), value, check) };
    }

    /// Carries out a server's action on the call, up to the first pause that FreeSWITCH would sleep through; what is left comes
    /// back. The error says in words why it could not. Its texts are one argument each: nothing expands them, and dialplan and
    /// context are those the caller is in.
    pub(crate) fn act(&self, stream: &StreamName, action: &CallAction) -> Result<Option<Rest>, String> {
        let mut left = None;
        let status = match action {
            CallAction::HangUp => {
                // SAFETY: the channel is valid; the strings are constants.
                unsafe {
                    self.host.switch_channel_perform_hangup(
                        self.channel(),
                        c"mod_audio_stream".as_ptr(),
                        c"act".as_ptr(),
                        0,
                        switch_call_cause_t::SWITCH_CAUSE_NORMAL_CLEARING,
                    )
                };
                return Ok(None);
            }
            CallAction::Answer => {
                // SAFETY: the session is locked and its channel valid; the strings are constants.
                unsafe {
                    self.host.switch_channel_perform_answer(
                        self.channel(),
                        c"mod_audio_stream".as_ptr(),
                        c"act".as_ptr(),
                        0,
                    )
                }
            }
            CallAction::Transfer { destination } => self.transfer(destination, None),
            CallAction::HandOver(hand_over) => {
                for (name, value) in hand_over.variables() {
                    self.set_variable(&c_string(name), Some(value).filter(|value| !value.is_empty()));
                }
                match hand_over.room() {
                    Some(room) => self.transfer(&format!("conference:{room}"), Some(INLINE)),
                    None if hand_over.announced => self.queue_hand_over(stream),
                    None => self.transfer(&hand_over.number, None),
                }
            }
            CallAction::SendDtmf { digits } => {
                let (digits, rest) = if self.queues_pauses() { (digits.as_str(), None) } else { until_pause(digits) };
                if digits.is_empty() {
                    return Ok(rest);
                }
                left = rest;
                let digits = c_string(digits);
                // SAFETY: the session is locked; FreeSWITCH copies the string.
                unsafe { self.host.switch_core_session_send_dtmf_string(self.as_ptr(), digits.as_ptr()) }
            }
            CallAction::SetVariable { name, value } => {
                self.set_variable(&c_string(name), Some(value));
                return Ok(None);
            }
        };
        if status == switch_status_t::SWITCH_STATUS_SUCCESS {
            Ok(left)
        } else {
            Err(format!("FreeSWITCH refused it (status {}); its log has the reason", status.0))
        }
    }

    /// Has the session's own thread call the person to whom the stream's agent hands the caller over.
    fn queue_hand_over(&self, stream: &StreamName) -> switch_status_t {
        let name = c_string(stream.as_str());
        // SAFETY: the session is locked; FreeSWITCH copies the strings.
        unsafe {
            self.host.switch_core_session_execute_application_async(self.as_ptr(), HAND_OVER.as_ptr(), name.as_ptr())
        }
    }

    /// Sends the caller to an extension of `dialplan`, or of the one it is in; in the context it is in.
    fn transfer(&self, destination: &str, dialplan: Option<&CStr>) -> switch_status_t {
        let destination = c_string(destination);
        // SAFETY: the session is locked; FreeSWITCH copies the string, and takes NULL for what the caller is in.
        unsafe {
            self.host.switch_ivr_session_transfer(
                self.as_ptr(),
                destination.as_ptr(),
                dialplan.map_or(std::ptr::null(), CStr::as_ptr),
                std::ptr::null(),
            )
        }
    }

    pub(crate) fn has_flag(&self, flag: switch_channel_flag_t) -> bool {
        // SAFETY: the channel is valid.
        unsafe { self.host.switch_channel_test_flag(self.channel(), flag) != 0 }
    }

    /// Whether the caller's phone (by a re-INVITE) or a command has the call on hold, or its media bypasses FreeSWITCH.
    pub(crate) fn hold(&self) -> Option<HoldCause> {
        let on_hold = [switch_channel_flag_t::CF_PROTO_HOLD, switch_channel_flag_t::CF_HOLD];
        if self.has_flag(switch_channel_flag_t::CF_PROXY_MODE) {
            Some(HoldCause::Bypass)
        } else {
            on_hold.into_iter().any(|flag| self.has_flag(flag)).then_some(HoldCause::Hold)
        }
    }

    /// Whether somebody writes to the call whenever there is something to be heard, with pauses: the other leg of a bridge, which may
    /// send comfort noise, or a conference.
    pub(crate) fn has_writer_at_times(&self) -> bool {
        [switch_channel_flag_t::CF_BRIDGED, switch_channel_flag_t::CF_CONFERENCE]
            .into_iter()
            .any(|flag| self.has_flag(flag))
    }

    pub(crate) fn state(&self) -> switch_channel_state_t {
        // SAFETY: the channel is valid.
        unsafe { self.host.switch_channel_get_state(self.channel()) }
    }

    /// Whether the call is still up and is not being transferred.
    pub(crate) fn is_ready(&self) -> bool {
        // SAFETY: the channel is valid.
        let ready = unsafe {
            self.host.switch_channel_test_ready(self.channel(), switch_bool_t::SWITCH_TRUE, switch_bool_t::SWITCH_FALSE)
        };
        ready != 0
    }

    /// Whether the call is answered or has early media, with a codec in both directions.
    pub(crate) fn has_media(&self) -> bool {
        // SAFETY: the channel is valid.
        let ready = unsafe {
            self.host.switch_channel_test_ready(self.channel(), switch_bool_t::SWITCH_FALSE, switch_bool_t::SWITCH_TRUE)
        };
        ready != 0
    }

    /// Whether either direction's codec is one that this FreeSWITCH cannot decode or encode.
    pub(crate) fn passes_audio_through(&self) -> bool {
        // SAFETY: the session is valid.
        let read = unsafe { self.host.switch_core_session_get_read_codec(self.as_ptr()) };
        // SAFETY: as above.
        let write = unsafe { self.host.switch_core_session_get_write_codec(self.as_ptr()) };
        [read, write].into_iter().any(|codec| {
            // SAFETY: NULL, or one of the session's codecs, whose memory is the session's.
            unsafe { codec.as_ref() }.is_some_and(|codec| codec.flags & SWITCH_CODEC_FLAG_PASSTHROUGH != 0)
        })
    }

    /// What the caller's audio is decoded to; `None` before the call has audio.
    pub(crate) fn read_codec(&self) -> Option<Codec> {
        let mut codec = switch_codec_implementation_t::default();
        // SAFETY: the session is valid and `codec` is a struct of the size FreeSWITCH copies.
        let status = unsafe { self.host.switch_core_session_get_read_impl(self.as_ptr(), &raw mut codec) };
        Codec::of(status, &codec)
    }

    /// How keys leave the call as events of RTP: the pause between two of them, ms. `None` where they leave in another way, or not at all.
    pub(crate) fn rtp_keys_pause_ms(&self) -> Option<u32> {
        // SAFETY: the session is valid.
        let media = unsafe { self.host.switch_core_session_get_media_handle(self.as_ptr()) };
        if media.is_null() || self.has_flag(switch_channel_flag_t::CF_PROXY_MODE) || !self.has_media() {
            return None;
        }
        // SAFETY: the session has media of its own.
        unsafe { self.host.switch_core_media_check_dtmf_type(self.as_ptr()) };
        // SAFETY: as above.
        let agreed = unsafe { self.host.switch_core_media_get_mparams(media) };
        // SAFETY: NULL, or part of the session; the fields are numbers that its own thread may be changing.
        let (kind, pause) = unsafe { agreed.as_ref() }.map(|agreed| (agreed.dtmf_type, agreed.dtmf_delay))?;
        (kind == switch_core_media_dtmf_t::DTMF_2833).then_some(pause)
    }

    /// Whether the endpoint takes a pause between keys into its queue; otherwise FreeSWITCH sleeps through it.
    fn queues_pauses(&self) -> bool {
        // SAFETY: the channel is valid.
        let may = unsafe {
            self.host.switch_channel_test_cap(self.channel(), switch_channel_cap_t::CC_QUEUEABLE_DTMF_DELAY) != 0
        };
        may && self.rtp_keys_pause_ms().is_some()
    }

    /// The clock of the caller's RTP packets, Hz: not always the rate of what they are decoded to.
    pub(crate) fn rtp_clock_hz(&self) -> Option<u32> {
        let mut codec = switch_codec_implementation_t::default();
        // SAFETY: as in `read_codec`.
        let status = unsafe { self.host.switch_core_session_get_real_read_impl(self.as_ptr(), &raw mut codec) };
        (status == switch_status_t::SWITCH_STATUS_SUCCESS).then_some(codec.samples_per_second)
    }

    /// What audio for the caller is before it is encoded; `None` before the call has audio.
    pub(crate) fn write_codec(&self) -> Option<Codec> {
        let mut codec = switch_codec_implementation_t::default();
        // SAFETY: as in `read_codec`.
        let status = unsafe { self.host.switch_core_session_get_write_impl(self.as_ptr(), &raw mut codec) };
        Codec::of(status, &codec)
    }
}

impl Codec {
    fn of(status: switch_status_t, codec: &switch_codec_implementation_t) -> Option<Self> {
        if status != switch_status_t::SWITCH_STATUS_SUCCESS {
            return None;
        }
        let rate = SampleRate::from_hz(codec.actual_samples_per_second)?;
        let ptime_ms = u32::try_from(codec.microseconds_per_packet).ok()?.div_ceil(1_000);
        Some(Self { rate, ptime_ms, channels: u32::from(codec.number_of_channels).max(1) })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.locked {
            // SAFETY: read-locked by `locate`, and unlocked here only. FreeSWITCH's rwlock does not mind which thread.
            unsafe { self.host.switch_core_session_rwunlock(self.session.as_ptr()) };
        }
    }
}
