//! A queue with a share for each owner: the shares are served in turn, a job at a time, so that nobody who queues a lot delays
//! the others.
//!
//! Plain data behind a lane's lock. A share is bounded in jobs and bytes. A job that does not fit is dropped and counted by the
//! lane; jobs that are owed always fit. Urgent jobs go before the others of their owner and have room of their own. Two jobs of one owner never run at
//! the same time: a share is out of the turn from [`Fair::next`] until [`Fair::done`]. A job may pause ([`Fair::pause`]): then what is
//! left of it waits for its time before the owner's other jobs, and only urgent ones overtake it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

use crate::units::CallId;

/// One thing to be done for its owner.
pub(super) trait Job: Send + 'static {
    /// Whose share it takes.
    type Owner: Clone + Eq + Hash + Send;

    /// Its owner.
    fn owner(&self) -> Self::Owner;

    /// The call it is about, if it is about one.
    fn call(&self) -> Option<CallId>;

    /// Memory that it holds besides itself.
    fn bytes(&self) -> usize {
        0
    }

    /// It goes before the other jobs of its owner.
    fn is_urgent(&self) -> bool {
        false
    }

    /// There is always room for it.
    fn is_owed(&self) -> bool {
        false
    }

    /// It may keep its thread for seconds.
    fn is_slow(&self) -> bool {
        false
    }
}

/// What a share may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
}

/// The queue.
pub(super) struct Fair<J: Job> {
    limits: Limits,
    shares: HashMap<J::Owner, Share<J>>,
    /// Owners with a job that waits and none that runs.
    turn: VecDeque<J::Owner>,
}

struct Share<J> {
    urgent: VecDeque<J>,
    /// What is left of a job that pauses, and until when.
    left: Option<(Instant, J)>,
    others: VecDeque<J>,
    bytes: usize,
}

impl<J> Share<J> {
    const fn new() -> Self {
        Self { urgent: VecDeque::new(), left: None, others: VecDeque::new(), bytes: 0 }
    }

    fn len(&self) -> usize {
        self.urgent.len() + usize::from(self.left.is_some()) + self.others.len()
    }

    /// The job whose turn it is.
    fn first(&self, now: Instant) -> Option<&J> {
        self.urgent.front().or_else(|| match &self.left {
            Some((until, job)) => (*until <= now).then_some(job),
            None => self.others.front(),
        })
    }

    /// Takes it.
    fn take_first(&mut self, now: Instant) -> Option<J> {
        self.urgent.pop_front().or_else(|| match self.left.take_if(|(until, _)| *until <= now) {
            Some((_, job)) => Some(job),
            None if self.left.is_none() => self.others.pop_front(),
            None => None,
        })
    }
}

impl<J: Job> Fair<J> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, shares: HashMap::new(), turn: VecDeque::new() }
    }

    /// Queues a job. An error is the job, for which its owner's share has no room.
    pub(super) fn push(&mut self, job: J) -> Result<(), J> {
        let owner = job.owner();
        let known = self.shares.contains_key(&owner);
        let share = self.shares.entry(owner.clone()).or_insert_with(Share::new);
        let Limits { jobs, bytes } = self.limits;
        let full = match job.is_urgent() {
            // Urgent jobs have a place of their own: others that fill the share do not keep them out.
            true => share.urgent.len() >= jobs,
            // An empty share takes anything: a job that is larger than a share is still done, alone.
            false => share.len() > 0 && (share.others.len() >= jobs || share.bytes + job.bytes() > bytes),
        };
        if full && !job.is_owed() {
            return Err(job);
        }
        share.bytes += job.bytes();
        let queue = if job.is_urgent() { &mut share.urgent } else { &mut share.others };
        queue.push_back(job);
        // Whose share is known is in the turn already, or will be when its job is done.
        if !known {
            self.turn.push_back(owner);
        }
        Ok(())
    }

    /// The next job, and its owner for [`done`](Self::done) or [`pause`](Self::pause). `None`: none waits, or none may be begun now.
    pub(super) fn next(&mut self, now: Instant, slow_may: bool) -> Option<(J::Owner, J)> {
        let may = |share: &Share<J>| share.first(now).is_some_and(|job| slow_may || !job.is_slow());
        let at = self.turn.iter().position(|owner| self.shares.get(owner).is_some_and(may))?;
        let owner = self.turn.remove(at)?;
        let share = self.shares.get_mut(&owner)?;
        let job = share.take_first(now)?;
        share.bytes -= job.bytes();
        Some((owner, job))
    }

    /// The job of this owner has been done: the next one may run, after those of the others.
    pub(super) fn done(&mut self, owner: J::Owner) {
        if self.shares.get(&owner).is_some_and(|share| share.len() > 0) {
            self.turn.push_back(owner);
        } else {
            self.shares.remove(&owner);
        }
    }

    /// The job of this owner pauses: `left` is the next of its jobs that are not urgent, then.
    pub(super) fn pause(&mut self, owner: J::Owner, left: J, until: Instant) {
        let share = self.shares.entry(owner.clone()).or_insert_with(Share::new);
        share.bytes += left.bytes();
        share.left = Some((until, left));
        self.turn.push_back(owner);
    }

    /// When the next pause ends after `now`.
    pub(super) fn next_pause_end(&self, now: Instant) -> Option<Instant> {
        let ends = self.shares.values().filter_map(|share| share.left.as_ref()).map(|(until, _)| *until);
        ends.filter(|until| *until > now).min()
    }

    /// Drops what is left of jobs that pause; how many.
    pub(super) fn give_up_pauses(&mut self) -> usize {
        self.shares.values_mut().filter_map(|share| share.left.take()).count()
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.shares.values().map(Share::len).sum()
    }

    /// Whether no job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.shares.values().all(|share| share.len() == 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, PartialEq, Debug)]
    struct Word {
        owner: char,
        text: String,
        urgent: bool,
        owed: bool,
        slow: bool,
    }

    impl Job for Word {
        type Owner = char;

        fn owner(&self) -> char {
            self.owner
        }

        fn call(&self) -> Option<CallId> {
            None
        }

        fn bytes(&self) -> usize {
            self.text.len()
        }

        fn is_urgent(&self) -> bool {
            self.urgent
        }

        fn is_owed(&self) -> bool {
            self.owed
        }

        fn is_slow(&self) -> bool {
            self.slow
        }
    }

    fn word(owner: char, text: impl Into<String>) -> Word {
        Word { owner, text: text.into(), urgent: false, owed: false, slow: false }
    }

    fn now() -> Instant {
        Instant::now()
    }

    fn fair() -> Fair<Word> {
        Fair::new(Limits { jobs: 4, bytes: 10 })
    }

    /// All jobs, each done before the next begins.
    fn drained(fair: &mut Fair<Word>) -> Vec<String> {
        let mut done = Vec::new();
        while let Some((owner, job)) = fair.next(now(), true) {
            done.push(job.text);
            fair.done(owner);
        }
        assert!(fair.is_empty());
        done
    }

    #[test]
    fn shares_are_served_in_turn() {
        let mut fair = fair();
        for text in ["a1", "a2", "a3"] {
            fair.push(word('a', text)).unwrap();
        }
        fair.push(word('b', "b1")).unwrap();
        fair.push(word('c', "c1")).unwrap();
        assert_eq!(drained(&mut fair), ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn a_full_share_drops_its_own_jobs_and_no_others() {
        let mut fair = fair();
        let kept = (0..9).filter(|_| fair.push(word('a', "a")).is_ok()).count();
        assert_eq!(kept, 4);
        assert!(fair.push(word('b', "12345678")).is_ok());
        assert!(fair.push(word('b', "123")).is_err(), "11 of 10 bytes");
        assert!(fair.push(word('b', "12")).is_ok());
        assert!(fair.push(Word { owed: true, ..word('a', "last") }).is_ok());
        assert_eq!(drained(&mut fair), ["a", "12345678", "a", "12", "a", "a", "last"]);
        assert!(fair.push(word('c', "longer than a share")).is_ok(), "alone it is done");
        assert!(fair.push(Word { urgent: true, ..word('c', "!") }).is_ok(), "urgent jobs have room of their own");
    }

    #[test]
    fn urgent_jobs_go_first_and_keep_their_order() {
        let mut fair = fair();
        fair.push(word('a', "1")).unwrap();
        fair.push(word('a', "2")).unwrap();
        fair.push(Word { urgent: true, ..word('a', "!") }).unwrap();
        fair.push(Word { urgent: true, ..word('a', "?") }).unwrap();
        assert_eq!(drained(&mut fair), ["!", "?", "1", "2"]);
    }

    #[test]
    fn jobs_of_one_owner_never_run_together() {
        let mut fair = fair();
        fair.push(word('a', "a1")).unwrap();
        let (owner, _) = fair.next(now(), true).unwrap();
        fair.push(word('a', "a2")).unwrap();
        assert!(fair.next(now(), true).is_none() && !fair.is_empty());
        fair.push(word('b', "b1")).unwrap();
        assert_eq!(fair.next(now(), true).unwrap().1.text, "b1");
        fair.done(owner);
        assert_eq!(fair.next(now(), true).unwrap().1.text, "a2");
    }

    #[test]
    fn what_is_left_after_a_pause_goes_before_all_but_urgent_jobs() {
        let (mut fair, begin) = (fair(), now());
        let later = |ms| begin + Duration::from_millis(ms);
        fair.push(word('a', "1w")).unwrap();
        fair.push(word('a', "after")).unwrap();
        let (owner, _) = fair.next(begin, true).unwrap();
        fair.pause(owner, word('a', "2"), later(500));
        fair.push(word('b', "b1")).unwrap();
        assert_eq!(fair.next(begin, true).unwrap().1.text, "b1");
        fair.done('b');
        assert!(fair.next(later(499), true).is_none());
        assert_eq!((fair.next_pause_end(begin), fair.next_pause_end(later(500))), (Some(later(500)), None));
        fair.push(Word { urgent: true, ..word('a', "!") }).unwrap();
        let (owner, job) = fair.next(later(499), true).unwrap();
        assert_eq!(job.text, "!");
        fair.done(owner);
        assert!(fair.next(later(499), true).is_none() && !fair.is_empty());
        let (owner, job) = fair.next(later(500), true).unwrap();
        assert_eq!(job.text, "2");
        fair.pause(owner, word('a', "3"), later(900));
        assert_eq!((fair.give_up_pauses(), fair.give_up_pauses()), (1, 0));
        assert_eq!(drained(&mut fair), ["after"]);
    }

    #[test]
    fn slow_jobs_wait_where_they_may_not_run_and_delay_no_others() {
        let mut fair = fair();
        fair.push(Word { slow: true, ..word('a', "slow") }).unwrap();
        fair.push(word('b', "b1")).unwrap();
        let (owner, job) = fair.next(now(), false).unwrap();
        assert_eq!(job.text, "b1");
        fair.done(owner);
        assert!(fair.next(now(), false).is_none() && !fair.is_empty());
        assert_eq!(drained(&mut fair), ["slow"]);
    }
}
