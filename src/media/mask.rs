//! Whether a call's caller is masked: their audio and keys are withheld from every stream and recording of the call.
//!
//! Owner: it lies in the session's memory, as the call's keys do, so it is one for all attachments of the call, those that come
//! later included, and ends with the call. Commands write it; the media callbacks and the hook on keys read it, one load a frame.
//!
//! Captured frames of the time are silence of the same length, so that nothing shifts. Keys are not noted at all. Nothing here
//! waits or allocates.

use super::sync::{AtomicBool, Ordering};

/// Samples of FreeSWITCH's largest frame.
const LARGEST_FRAME: usize = 8_192;

/// What a masked frame is replaced by.
static SILENCE: [i16; LARGEST_FRAME] = [0; LARGEST_FRAME];

/// Whether the caller is masked.
#[derive(Debug, Default)]
pub struct Mask(AtomicBool);

impl Mask {
    /// Withholds the caller from the next frame on, or no longer. Any thread; whether that is a change.
    pub fn set(&self, on: bool) -> bool {
        self.0.swap(on, Ordering::AcqRel) != on
    }

    /// Whether the caller is masked.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The frame as it may be seen: itself, or silence of its length.
    pub fn seen<'a>(&self, samples: &'a [i16]) -> &'a [i16] {
        if self.is_on() { SILENCE.get(..samples.len()).unwrap_or(&SILENCE) } else { samples }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_keeps_its_length_and_nothing_else() {
        let mask = Mask::default();
        assert_eq!(mask.seen(&[1, -2, 3]), [1, -2, 3]);
        assert!(mask.set(true) && !mask.set(true));
        assert_eq!(mask.seen(&[1, -2, 3]), [0, 0, 0]);
        assert!(mask.set(false));
        assert_eq!(mask.seen(&[1, -2, 3]), [1, -2, 3]);
    }
}
