//! The caller's audio that a recogniser may have to be sent again: since the last words that are final.
//!
//! Pure. Positions are bytes since the conversation began. At most [`MOST`] is kept; the oldest goes first.

use std::collections::VecDeque;

/// Most that is kept, bytes: 30 s at 16 kHz.
const MOST: usize = 30 * 32_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Kept {
    audio: VecDeque<u8>,
    start: u64,
}

impl Kept {
    pub(super) fn push(&mut self, audio: &[u8]) {
        self.audio.extend(audio);
        let over = self.audio.len().saturating_sub(MOST);
        self.drop_first(over);
    }

    /// The position of the first byte that is kept.
    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// The position behind the last.
    pub(super) fn end(&self) -> u64 {
        self.start + self.audio.len() as u64
    }

    /// What lies before is not wanted any more.
    pub(super) fn forget_before(&mut self, position: u64) {
        let count = position.min(self.end()).saturating_sub(self.start) as usize;
        // Whole samples.
        self.drop_first(count - count % 2);
    }

    /// What lies between, as far as it is kept.
    pub(super) fn between(&self, from: u64, to: u64) -> Vec<u8> {
        let at = |position: u64| position.clamp(self.start, self.end()).saturating_sub(self.start) as usize;
        self.audio.range(at(from)..at(to).max(at(from))).copied().collect()
    }

    fn drop_first(&mut self, count: usize) {
        self.audio.drain(..count);
        self.start += count as u64;
        if self.audio.capacity() > 4 * self.audio.len() + 65_536 {
            self.audio.shrink_to(self.audio.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_kept_by_its_position_within_the_bound() {
        let mut kept = Kept::default();
        kept.push(&[1, 2, 3, 4, 5, 6]);
        kept.forget_before(3);
        assert_eq!((kept.start(), kept.end()), (2, 6));
        assert_eq!(kept.between(0, 4), [3, 4]);
        assert_eq!(kept.between(5, 3), [0; 0]);
        kept.forget_before(99);
        assert_eq!((kept.start(), kept.end()), (6, 6));
        kept.push(&vec![7; MOST + 10]);
        assert_eq!((kept.start(), kept.between(0, u64::MAX).len()), (16, MOST));
    }
}
