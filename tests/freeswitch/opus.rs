//! Opus by libopus, which FreeSWITCH's own module for it needs, too: the encoder and the decoder of a phone at 48 kHz.
//!
//! Each has the state of one direction of one call and is used by one thread.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar};
use std::ptr::NonNull;
use std::sync::LazyLock;

use libloading::os::unix::Library;

/// Samples a second of each channel.
const RATE: c_int = 48_000;
/// `OPUS_APPLICATION_AUDIO`: nothing is filtered out, as it is for speech.
const AUDIO: c_int = 2_049;
/// Longer than any packet the encoder makes.
const LONGEST_PACKET: usize = 1_500;
/// Samples of one channel in the longest packet, 120 ms.
const LONGEST_FRAME: usize = 5_760;

/// An encoder or a decoder of libopus.
#[repr(C)]
struct State {
    _private: [u8; 0],
}

macro_rules! functions {
    ($(fn $name:ident($($type:ty),*) $(-> $result:ty)?;)*) => {
        struct Functions {
            $($name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
        }

        /// Always valid: the library is never closed.
        static LIBOPUS: LazyLock<Functions> = LazyLock::new(|| {
            // SAFETY: libopus has no initialisers.
            let library = unsafe { Library::new("libopus.so.0") };
            let library = library.expect("FreeSWITCH's mod_opus needs libopus, too");
            let functions = Functions {
                // SAFETY: the signatures are those of opus.h, whose interface has the number 0.
                $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes()).expect("libopus has it") },)*
            };
            std::mem::forget(library);
            functions
        });
    };
}

functions! {
    fn opus_encoder_create(c_int, c_int, c_int, *mut c_int) -> *mut State;
    fn opus_encode(*mut State, *const i16, c_int, *mut c_uchar, c_int) -> c_int;
    fn opus_encoder_destroy(*mut State);
    fn opus_decoder_create(c_int, c_int, *mut c_int) -> *mut State;
    fn opus_decode(*mut State, *const c_uchar, c_int, *mut i16, c_int, c_int) -> c_int;
    fn opus_decoder_destroy(*mut State);
}

/// Encodes what a phone says.
pub struct Encoder {
    state: NonNull<State>,
    channels: usize,
}

// SAFETY: a state has no ties to the thread that made it.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Of one channel or two.
    pub fn new(channels: u32) -> Self {
        let mut error = 0;
        // SAFETY: a supported rate and number of channels; `error` outlives the call.
        let state = unsafe { (LIBOPUS.opus_encoder_create)(RATE, channels as c_int, AUDIO, &raw mut error) };
        let state = NonNull::new(state).unwrap_or_else(|| panic!("libopus makes no encoder: {error}"));
        Self { state, channels: channels as usize }
    }

    /// A packet of these samples, interleaved, whose length is one of Opus's: 10, 20, 40 or 60 ms.
    pub fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut packet = vec![0; LONGEST_PACKET];
        let frame = (samples.len() / self.channels) as c_int;
        let (from, into) = (samples.as_ptr(), packet.as_mut_ptr());
        // SAFETY: the state is alive and ours alone; it reads `frame` samples of each channel, and writes 1,500 bytes at most.
        let length = unsafe { (LIBOPUS.opus_encode)(self.state.as_ptr(), from, frame, into, LONGEST_PACKET as c_int) };
        packet.truncate(usize::try_from(length).unwrap_or_else(|_| panic!("{frame} samples: libopus says {length}")));
        packet
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: it was created by libopus and is not used any more.
        unsafe { (LIBOPUS.opus_encoder_destroy)(self.state.as_ptr()) };
    }
}

/// Decodes what a phone hears.
pub struct Decoder {
    state: NonNull<State>,
    channels: usize,
}

// SAFETY: a state has no ties to the thread that made it.
unsafe impl Send for Decoder {}

impl Decoder {
    /// To one channel or two, whatever a packet has.
    pub fn new(channels: u32) -> Self {
        let mut error = 0;
        // SAFETY: a supported rate and number of channels; `error` outlives the call.
        let state = unsafe { (LIBOPUS.opus_decoder_create)(RATE, channels as c_int, &raw mut error) };
        let state = NonNull::new(state).unwrap_or_else(|| panic!("libopus makes no decoder: {error}"));
        Self { state, channels: channels as usize }
    }

    /// The samples of a packet, interleaved; none of one that is no Opus.
    pub fn decode(&mut self, packet: &[u8]) -> Vec<i16> {
        let mut samples = vec![0; LONGEST_FRAME * self.channels];
        let (from, length, into) = (packet.as_ptr(), packet.len() as c_int, samples.as_mut_ptr());
        // SAFETY: the state is alive and ours alone; it reads `length` bytes and writes 120 ms at most.
        let frame =
            unsafe { (LIBOPUS.opus_decode)(self.state.as_ptr(), from, length, into, LONGEST_FRAME as c_int, 0) };
        samples.truncate(usize::try_from(frame).unwrap_or_default() * self.channels);
        samples
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was created by libopus and is not used any more.
        unsafe { (LIBOPUS.opus_decoder_destroy)(self.state.as_ptr()) };
    }
}
