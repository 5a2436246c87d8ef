//! The mix of every call that has streams, and the order in which streams join it.
//!
//! On the API and dialplan threads, which start streams; the media thread knows only the [`CallMix`] it is given. Owned by the
//! module. A call is forgotten when its last stream is gone and another call's first one comes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::media::CallMix;
use crate::units::CallId;

/// The mix of every call that has streams.
#[derive(Debug, Default)]
pub struct CallMixes {
    calls: Mutex<HashMap<CallId, Known>>,
}

#[derive(Debug)]
struct Known {
    mix: Weak<CallMix>,
    order: Arc<Mutex<()>>,
}

/// One call's mix, for a stream that is about to join it.
#[derive(Debug)]
pub struct Joining {
    mix: Arc<CallMix>,
    order: Arc<Mutex<()>>,
}

impl CallMixes {
    /// The mix of `call`: that of its other streams, where there are any.
    pub fn of(&self, call: &CallId) -> Joining {
        let mut calls = self.calls.lock();
        if let Some(known) = calls.get(call)
            && let Some(mix) = known.mix.upgrade()
        {
            return Joining { mix, order: known.order.clone() };
        }
        calls.retain(|_, known| known.mix.strong_count() > 0);
        let joining = Joining { mix: CallMix::new(), order: Arc::default() };
        calls.insert(call.clone(), Known { mix: Arc::downgrade(&joining.mix), order: joining.order.clone() });
        joining
    }

    /// Calls known, those whose streams are gone included until the next call comes.
    pub fn len(&self) -> usize {
        self.calls.lock().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Joining {
    /// The mix.
    pub const fn mix(&self) -> &Arc<CallMix> {
        &self.mix
    }

    /// Held from before the stream joins until its bug is on the call, so that places in the mix and bugs have the same
    /// order. Waits for another stream's start on the same call, which takes no longer than FreeSWITCH's own locks.
    pub fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reviewed mixer left its players registered; and had added a leg to its list before all of it was there.
    #[test]
    fn mixer_004_and_009_no_stream_leaves_anything_behind() {
        let calls = CallMixes::default();
        for number in 0..1_000 {
            let id = CallId::new(&format!("call-{}", number % 7));
            let joining = calls.of(&id);
            let (first, second) = (joining.mix().join(), calls.of(&id).mix().join());
            assert_eq!(joining.mix().slots(), 2, "both streams share one mix");
            // An attachment that fails drops what was made for it.
            drop((first, second));
            assert_eq!((joining.mix().slots(), Arc::strong_count(joining.mix())), (0, 1));
        }
        let one = calls.of(&CallId::new("another"));
        assert_eq!(calls.len(), 1, "calls without streams are forgotten");
        drop(one);
    }

    /// The reviewed mixer tore its list down in a loop that ended only if nobody added to it.
    #[test]
    fn mixer_013_streams_that_join_while_others_leave_end() {
        let calls = CallMixes::default();
        let call = CallId::new("one");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let joining = calls.of(&call);
                        let order = joining.in_order();
                        let slot = joining.mix().join();
                        drop(order);
                        drop(slot);
                    }
                });
            }
        });
        assert_eq!(calls.of(&call).mix().slots(), 0);
    }
}
