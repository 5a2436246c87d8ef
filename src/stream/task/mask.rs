//! A caller who is masked, and not any more: reported to the peer and the operator.
//!
//! What is withheld never comes here: the media thread has replaced it.

use std::time::Instant;

use super::Task;
use crate::event::Mask;
use crate::peer::Input;

impl Task {
    /// Tells of a mask that has begun or ended.
    pub(super) fn follow_mask(&mut self, now: Instant) {
        let masked = self.handle.media.is_masked();
        let (since, before) = self.masked;
        if masked == since.is_some() {
            return;
        }
        let total = before + since.map_or_else(Default::default, |since| now.saturating_duration_since(since));
        self.masked = (masked.then_some(now), total);
        if self.speaks() {
            self.emit(Mask { masked, masked_ms: total.as_millis() as u64 });
            self.tell(Input::Masked(masked), now);
        }
    }
}
