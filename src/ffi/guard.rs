//! The C boundary: no panic leaves it, and what one said is kept for the log.
//!
//! A panic that reached FreeSWITCH's frames would abort the whole switch. So the body of every function FreeSWITCH calls
//! runs in [`guard`], which answers with the refusal of that place instead.

use std::panic::{self, AssertUnwindSafe};

/// Runs `body`; a panic in it becomes `refusal`.
///
/// Costs nothing where nothing panics. `body` may leave its own data half changed: each caller gives up that data (the
/// stream whose callback panicked leaves the call).
pub(crate) fn guard<R>(refusal: R, body: impl FnOnce() -> R) -> R {
    match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            // A payload's destructor may panic too; losing a few bytes is better than aborting the switch.
            std::mem::forget(payload);
            refusal
        }
    }
}

/// Sends the words of panics to the log instead of FreeSWITCH's standard error. The standard library is linked into the
/// module, so this concerns the module alone.
pub(crate) fn report_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let text = info.payload_as_str().unwrap_or("no text");
        tracing::error!(target: "LIFECYCLE", op = "panic", outcome = "caught", at = %place, text);
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn a_panic_becomes_the_refusal() {
        assert_eq!(guard(-1, || 7), 7);
        assert_eq!(guard(-1, || panic!("on purpose")), -1);
    }
}
