//! Which calls a conference has muted or put on hold: their streams send silence in the caller's place.
//!
//! FreeSWITCH's event threads write, the threads that start streams read; both hold the table's lock for a look-up. There is an
//! entry for each call that has been a conference's member, until the call is gone. Beyond [`MOST`] entries further members are
//! not followed, which the log says.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::call::Registry;
use crate::stream::handle::StreamHandle;
use crate::units::CallId;

/// Members that can be followed at once.
const MOST: usize = 65_536;

/// What a conference's event says of one of its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberNews {
    /// The event's number. FreeSWITCH may deliver events in another order.
    pub sequence: u64,
    /// The conference hears nothing of the member.
    pub muted: bool,
}

/// The latest news of each member, and the streams that follow it.
pub struct Members {
    streams: Arc<Registry<StreamHandle>>,
    news: Mutex<HashMap<CallId, MemberNews>>,
}

impl Members {
    /// Nothing is known of anybody.
    pub(super) fn new(streams: Arc<Registry<StreamHandle>>) -> Self {
        Self { streams, news: Mutex::default() }
    }

    /// A conference tells of a member; `lives` says whether there is such a call. Any thread.
    pub fn follow(&self, call: &CallId, news: MemberNews, lives: impl FnOnce(&CallId) -> bool) {
        if self.note(call, news) && !lives(call) {
            // Its end was told before, on another thread, and is not told again.
            self.forget(call);
        }
    }

    /// Whether the member was not known.
    fn note(&self, call: &CallId, news: MemberNews) -> bool {
        let mut members = self.news.lock();
        let known = members.get(call).copied();
        if known.is_some_and(|known| known.sequence >= news.sequence) {
            return false;
        }
        if known.is_none() && members.len() >= MOST {
            tracing::warn!(target: "LIFECYCLE", call = %call, op = "follow_mute", outcome = "table_full", most = MOST);
            return false;
        }
        members.insert(call.clone(), news);
        if known.is_some_and(|known| known.muted) == news.muted {
            return known.is_none();
        }
        // Under the lock: a stream that is just being attached asks once it is in the registry, and so misses nothing.
        for stream in self.streams.all().iter().filter(|stream| stream.call() == call) {
            apply(stream, news.muted);
            tracing::info!(target: "LIFECYCLE", call = %call, op = "follow_mute",
                outcome = if news.muted { "muted" } else { "unmuted" }, stream = %stream.name());
        }
        known.is_none()
    }

    /// The call is gone. Any thread.
    pub fn forget(&self, call: &CallId) {
        self.news.lock().remove(call);
    }

    /// Has a stream begin as its call's conference wants it.
    pub(super) fn apply_to(&self, stream: &StreamHandle) {
        let members = self.news.lock();
        apply(stream, members.get(stream.call()).is_some_and(|member| member.muted));
    }
}

fn apply(stream: &StreamHandle, muted: bool) {
    stream.media.mixer.set_member_muted(muted && stream.spec.options.follow_mute);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_behind_the_end_of_a_call_leave_no_entry() {
        let members = Members::new(Arc::default());
        let known = || members.news.lock().len();
        let (call, gone) = (CallId::new("call"), CallId::new("gone"));
        let news = |sequence, muted| MemberNews { sequence, muted };
        members.follow(&call, news(1, true), |_| true);
        members.forget(&gone);
        members.follow(&gone, news(3, false), |_| false);
        members.follow(&gone, news(2, true), |_| false);
        assert_eq!(known(), 1);
        // Of a member that is known nobody asks; the end is told.
        members.follow(&call, news(4, false), |_| false);
        assert_eq!(known(), 1);
        members.forget(&call);
        assert_eq!(known(), 0);
    }
}
