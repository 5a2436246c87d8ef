//! Whether a call's caller is masked: their audio and keys are withheld from every stream and recording of the call, and their audio
//! from those of the other leg of a bridge, where it is what is heard.
//!
//! Owner: it lies in the session's memory, as the call's keys do, so it is one for all attachments of the call, those that come
//! later included, and ends with the call. Commands write it; the media callbacks and the hook on keys read it, one load a frame.
//!
//! Captured frames of the time are silence of the same length, so that nothing shifts. Keys are not noted at all. Nothing here
//! waits or allocates.

use super::sync::{AtomicBool, Ordering};
use crate::units::Mix;

/// Samples of FreeSWITCH's largest frame.
const LARGEST_FRAME: usize = 8_192;

/// What a masked frame is replaced by.
static SILENCE: [i16; LARGEST_FRAME] = [0; LARGEST_FRAME];

/// Who is withheld on a call.
#[derive(Debug, Default)]
pub struct Mask {
    caller: AtomicBool,
    /// The other leg of the bridge, whose caller is masked in a call of their own.
    other: AtomicBool,
}

/// Which legs of a captured frame are withheld.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Withheld {
    /// The caller's.
    pub caller: bool,
    /// The other leg's.
    pub other: bool,
}

impl Mask {
    /// Withholds the caller from the next frame on, or no longer. Any thread; whether that is a change.
    pub fn set(&self, on: bool) -> bool {
        self.caller.swap(on, Ordering::AcqRel) != on
    }

    /// Withholds the other leg from the next frame on, or no longer. Any thread.
    pub fn set_other(&self, on: bool) {
        self.other.store(on, Ordering::Release);
    }

    /// Whether the caller is masked.
    pub fn is_on(&self) -> bool {
        self.caller.load(Ordering::Acquire)
    }

    /// What is withheld of a capture: with both legs in one channel, both of them for either.
    pub fn withheld(&self, mix: Mix) -> Withheld {
        let (caller, other) = (self.is_on(), self.other.load(Ordering::Acquire));
        match mix {
            Mix::Mono => Withheld { caller, other: false },
            Mix::Mixed => Withheld { caller: caller || other, other: false },
            Mix::Stereo => Withheld { caller, other },
        }
    }

    /// The caller's frame as it may be seen: itself, or silence of its length.
    pub fn seen<'a>(&self, samples: &'a [i16]) -> &'a [i16] {
        silenced(self.is_on(), samples)
    }

    /// The same for what the caller hears.
    pub fn heard<'a>(&self, samples: &'a [i16]) -> &'a [i16] {
        silenced(self.other.load(Ordering::Acquire), samples)
    }
}

fn silenced(on: bool, samples: &[i16]) -> &[i16] {
    if on { SILENCE.get(..samples.len()).unwrap_or(&SILENCE) } else { samples }
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
        assert_eq!(mask.heard(&[1, -2, 3]), [1, -2, 3], "the other leg is not masked");
        assert!(mask.set(false));
        assert_eq!(mask.seen(&[1, -2, 3]), [1, -2, 3]);
    }

    #[test]
    fn a_masked_other_leg_is_withheld_where_it_is_captured() {
        let mask = Mask::default();
        mask.set_other(true);
        assert_eq!((mask.is_on(), mask.heard(&[1, -2]), mask.seen(&[1, -2])), (false, &[0, 0][..], &[1, -2][..]));
        let withheld = |caller, other| Withheld { caller, other };
        assert_eq!(mask.withheld(Mix::Mono), withheld(false, false), "it is not captured");
        assert_eq!(mask.withheld(Mix::Mixed), withheld(true, false), "the legs cannot be told apart");
        assert_eq!(mask.withheld(Mix::Stereo), withheld(false, true));
        mask.set_other(false);
        mask.set(true);
        assert_eq!(mask.withheld(Mix::Mixed), withheld(true, false));
        assert_eq!(mask.withheld(Mix::Stereo), withheld(true, false));
    }
}
