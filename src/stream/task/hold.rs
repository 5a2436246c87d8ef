//! A call that is put on hold, and taken back: reported to the peer and the operator.
//!
//! Meanwhile nothing is captured, and what waits to be played goes on waiting. A hold ends nothing: what a stream has left to play
//! when its connection is gone waits as well.

use std::time::Instant;

use super::{Phase, Task};
use crate::event::Hold;
use crate::peer::Input;

impl Task {
    /// Tells of a hold that has begun or ended.
    pub(super) fn follow_hold(&mut self, now: Instant) {
        let held = self.handle.hold.is_on();
        if held == self.held {
            return;
        }
        self.held = held;
        let held_ms = self.handle.hold.total(now).as_millis() as u64;
        let cause = self.handle.hold.cause();
        tracing::info!(target: "LIFECYCLE", call = %self.handle.call(), op = "hold",
            outcome = if held { "begun" } else { "ended" }, stream = %self.handle.name(), cause = cause.as_str(), held_ms);
        if self.speaks() {
            self.emit(Hold { held, cause, held_ms });
            self.tell(Input::Held(held), now);
        } else if matches!(self.phase, Phase::PlayingOut { .. }) {
            self.phase = self.playing_out(now);
        }
    }
}
