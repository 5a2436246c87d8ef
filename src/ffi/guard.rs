//! The C boundary: no panic leaves it, and what one said is kept for the log.
//!
//! A panic that reached FreeSWITCH's frames would abort the whole switch. So the body of every function FreeSWITCH calls
//! runs in [`guard`], which answers with the refusal of that place instead.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Runs `body`; a panic in it becomes `refusal`.
///
/// Costs nothing where nothing panics. `body` may leave its own data half changed: each caller gives up that data (the
/// stream whose callback panicked leaves the call).
pub(crate) fn guard<R>(refusal: R, body: impl FnOnce() -> R) -> R {
    match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            discard(payload);
            refusal
        }
    }
}

/// Drops what a panic carried. Its destructor may panic too; what that second panic carries is forgotten, since dropping it
/// could panic once more, and losing a few bytes is better than aborting the switch.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
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
    use std::panic::panic_any;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts how often it is dropped.
    struct Counted(Arc<AtomicU32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Panics when it is dropped, and so does what that panic carries. It has no size, so that forgetting it loses nothing.
    struct Fragile;

    impl Drop for Fragile {
        fn drop(&mut self) {
            panic_any(Fragile);
        }
    }

    #[test]
    fn a_panic_becomes_the_refusal() {
        assert_eq!(guard(-1, || 7), 7);
        assert_eq!(guard(-1, || panic!("on purpose")), -1);
    }
    #[test]
    fn what_a_panic_carries_is_dropped_once() {
        let drops = Arc::new(AtomicU32::new(0));
        let payload = Counted(Arc::clone(&drops));
        assert_eq!(guard(-1, || panic_any(payload)), -1);
        assert_eq!((drops.load(Ordering::Relaxed), Arc::strong_count(&drops)), (1, 1));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_becomes_the_refusal() {
        let drops = Arc::new(AtomicU32::new(0));
        let payload = (Fragile, Counted(Arc::clone(&drops)));
        assert_eq!(guard(-1, || panic_any(payload)), -1);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }
}
