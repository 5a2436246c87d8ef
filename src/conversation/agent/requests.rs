//! Requests for responses of the model: those that wait, the one that is outstanding, and which response belongs to which request.
//!
//! ```text
//! want ─► queue ─ ask ─► sent ─┬─ begun ─► response
//!           ▲                  └─ refused, lost, not wanted now ─┐
//!           └────────────────── with its words ──────────────────┘
//! ```
//! A response belongs to a request if the service repeats the request's number. If the service repeats no numbers, the order of
//! events decides: a response that begins while a request is outstanding belongs to it, unless a turn of the caller ended
//! since, which the service answers by itself. If the service refuses the request later, that response was its own, and the
//! request waits again.
//!
//! Pure; owned by the turns of the agent. Bounded: [`MOST`] requests wait, one is outstanding, [`SETTLED`] are remembered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outputs::Outputs;
use crate::conversation::engine::{Command, FailureClass};

/// Texts that wait; further ones are not taken.
const MOST: usize = 16;
/// Requests that seem to have begun, and may still be refused.
const SETTLED: usize = 8;
/// Refusals of one request before it is given up.
const MAX_REFUSALS: u32 = 5;
/// Time before a request is repeated that was refused because another response was running.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Time before a failed response is asked for again, if the service states none.
const RETRY: Duration = Duration::from_secs(1);

/// What a response is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The agent speaks first.
    Greeting,
    /// The operator's words.
    Say,
    /// The caller was silent for the idle timeout.
    Idle,
    /// A function takes its time.
    Filler,
    /// An answer to the conversation so far. One is enough for everything before it.
    Answer,
}

/// A response that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    /// The number it was sent with last.
    id: u64,
    purpose: Purpose,
    /// Instructions; or, if `exact`, words.
    instructions: Option<String>,
    /// The service says these words exactly.
    exact: bool,
    refusals: u32,
    failures: u32,
    not_before: Option<Instant>,
    /// The caller's turn ended since, so the service begins a response by itself, which covers this answer too.
    overtaken: bool,
    /// It repeats an answer that was cut off before it was heard. A turn of the caller may follow and be answered instead.
    patient: bool,
}

impl Request {
    fn new(purpose: Purpose, instructions: Option<String>) -> Self {
        Self {
            id: 0,
            purpose,
            instructions,
            exact: false,
            refusals: 0,
            failures: 0,
            not_before: None,
            overtaken: false,
            patient: false,
        }
    }

    /// Whether it was sent with this number.
    pub(super) const fn was_sent_as(&self, id: u64) -> bool {
        self.id == id
    }

    /// Whether it is only of use at the moment for which it was wanted.
    const fn is_passing(&self) -> bool {
        matches!(self.purpose, Purpose::Idle | Purpose::Filler)
    }

    /// Whether it is for certain words, which no other answer says.
    pub(super) const fn has_words(&self) -> bool {
        matches!(self.purpose, Purpose::Greeting | Purpose::Say)
    }
}

/// What the outstanding request is still worth when its response begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Wanted,
    /// Not now, since the caller speaks. Its response is cancelled, and the request waits again.
    Later,
    /// Its response is cancelled.
    Never,
}

#[derive(Debug)]
struct Sent {
    request: Request,
    until: Instant,
    wish: Wish,
    /// A response that began meanwhile and seems to be the service's own.
    rival: Option<String>,
}

/// Where a response comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// The service began it by itself.
    Service,
    /// This request.
    Request(Request),
    /// A request that is not wanted now: cancel it. If it is wanted later, the request waits again.
    Unwanted,
}

/// What happens to a request that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// The refusal is about no request of ours.
    Unknown,
    /// The request is not wanted any more, or another response covers it.
    Settled,
    /// It waits until the running response is over.
    Busy,
    /// It is tried once more. Tell the operator of the failure.
    Retried,
    /// It is given up. Tell the operator of the failure.
    GivenUp,
}

/// Which requests may be asked for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Askable {
    /// Answers. Not while a function runs.
    pub(super) answers: bool,
    /// Answers that repeat one that was cut off. Not while the caller speaks.
    pub(super) patient: bool,
}

/// The requests of one conversation.
#[derive(Debug)]
pub(super) struct Requests {
    timeout: Duration,
    queue: VecDeque<Request>,
    sent: Option<Sent>,
    /// Requests that seem to have begun, but the service has not repeated their numbers.
    settled: VecDeque<Request>,
    ids: u64,
    /// The service repeats numbers: a response without a number is its own.
    names: bool,
}

impl Requests {
    /// `timeout` is how long a response may take to begin.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, queue: VecDeque::new(), sent: None, settled: VecDeque::new(), ids: 0, names: false }
    }

    /// A response is wanted; `false`: too many wait, and this one is dropped.
    pub(super) fn want(&mut self, purpose: Purpose, instructions: Option<String>) -> bool {
        self.add(Request::new(purpose, instructions))
    }

    /// The same of these words, exactly.
    pub(super) fn want_words(&mut self, purpose: Purpose, words: String) -> bool {
        self.add(Request { exact: true, ..Request::new(purpose, Some(words)) })
    }

    fn add(&mut self, request: Request) -> bool {
        let purpose = request.purpose;
        if purpose == Purpose::Answer
            && let Some(waiting) = self.queue.iter_mut().find(|request| request.purpose == Purpose::Answer)
        {
            (waiting.overtaken, waiting.patient, waiting.not_before) = (false, false, None);
            return true;
        }
        // Something else is about to be said.
        if matches!(purpose, Purpose::Idle | Purpose::Filler) && self.is_waiting() {
            return true;
        }
        // There is one answer at most.
        let room = purpose == Purpose::Answer || self.queue.len() < MOST;
        match purpose {
            _ if !room => {}
            Purpose::Greeting => self.queue.push_front(request),
            _ => self.queue.push_back(request),
        }
        room
    }

    /// The caller has heard nothing of a response, so it is wanted again: the words of `request`, or an answer. Not before
    /// `at`, and an answer not before the caller is silent.
    pub(super) fn want_again(&mut self, request: Option<Request>, at: Option<Instant>) {
        match request {
            Some(request) if request.is_passing() => {}
            Some(request) if request.has_words() => self.put_back(Request { not_before: at, ..request }),
            _ => self.put_back(Request { not_before: at, patient: true, ..Request::new(Purpose::Answer, None) }),
        }
    }

    /// A response failed before any of it was heard: whether it is tried once more, `after` the time that the service states.
    pub(super) fn retry(&mut self, now: Instant, request: Option<Request>, after: Option<Duration>) -> bool {
        let request = request.unwrap_or_else(|| Request::new(Purpose::Answer, None));
        let wait = after.unwrap_or(RETRY);
        let again = request.failures == 0 && wait <= self.timeout;
        if again {
            self.put_back(Request { failures: 1, not_before: Some(now + wait), overtaken: false, ..request });
        }
        again
    }

    /// Back to the front, where it was taken from. So the queue may exceed its bound by one. One answer is enough.
    fn put_back(&mut self, request: Request) {
        if request.purpose != Purpose::Answer || self.queue.iter().all(|waiting| waiting.purpose != Purpose::Answer) {
            self.queue.push_front(request);
        }
    }

    /// Answers that repeat one that was cut off wait until then.
    pub(super) fn postpone(&mut self, at: Instant) {
        for request in self.queue.iter_mut().filter(|request| request.patient) {
            request.not_before = Some(at);
        }
    }

    /// Sends the next request, if none is outstanding and one is due; whether it did.
    pub(super) fn ask(&mut self, askable: Askable, now: Instant, out: &mut Outputs) -> bool {
        if self.sent.is_some() {
            return false;
        }
        let may = |request: &Request| {
            let answer = request.purpose == Purpose::Answer;
            request.not_before.is_none() && (!answer || askable.answers) && (!request.patient || askable.patient)
        };
        // Words are said in their order. They do not wait for an answer that is not due.
        let next = self.queue.iter().position(|request| may(request) || request.purpose != Purpose::Answer);
        let Some(mut request) = next.filter(|at| may(&self.queue[*at])).and_then(|at| self.queue.remove(at)) else {
            return false;
        };
        self.ids += 1;
        (request.id, request.overtaken) = (self.ids, false);
        let (id, instructions) = (request.id, request.instructions.clone());
        out.command(match instructions {
            Some(text) if request.exact => Command::Say { request: id, text },
            instructions => Command::Respond { request: id, instructions },
        });
        self.sent = Some(Sent { request, until: now + self.timeout, wish: Wish::Wanted, rival: None });
        true
    }

    /// The caller speaks: the outstanding request is not wanted now. Words for a silence or a wait are not wanted at all.
    pub(super) fn caller_speaks(&mut self) {
        self.queue.retain(|request| !request.is_passing());
        if let Some(sent) = &mut self.sent {
            sent.wish = if sent.request.is_passing() { Wish::Never } else { Wish::Later };
        }
    }

    /// The functions have returned: words for the wait that have not been asked for are not wanted any more.
    pub(super) fn functions_returned(&mut self) {
        self.queue.retain(|request| request.purpose != Purpose::Filler);
    }

    /// The operator clears: words that wait are dropped. The caller still gets their answer.
    pub(super) fn clear(&mut self) {
        self.queue.retain(|request| request.purpose == Purpose::Answer);
        if let Some(sent) = self.sent.as_mut().filter(|sent| sent.request.purpose != Purpose::Answer) {
            sent.wish = Wish::Never;
        }
    }

    /// A turn of the caller is over, and the service answers it by itself.
    pub(super) fn overtake(&mut self) {
        let sent = self.sent.iter_mut().map(|sent| &mut sent.request);
        for request in self.queue.iter_mut().chain(sent) {
            request.overtaken = true;
        }
    }

    /// A response begins; `named` is the number that the service repeats.
    pub(super) fn begun(&mut self, response_id: &str, named: Option<u64>) -> Origin {
        self.names |= named.is_some();
        let ours = |sent: &mut Sent| match named {
            Some(id) => sent.request.id == id,
            None => !self.names && !sent.request.overtaken,
        };
        let Some(Sent { request, wish, .. }) = self.sent.take_if(ours) else {
            if let Some(sent) = &mut self.sent {
                sent.rival = Some(response_id.to_owned());
            }
            self.answered();
            return Origin::Service;
        };
        if named.is_none() {
            self.settle(request.clone());
        }
        if request.purpose == Purpose::Answer {
            self.answered();
        }
        // A response that begins after the caller's turn answers that turn.
        match wish {
            Wish::Never => Origin::Unwanted,
            Wish::Later if !request.overtaken => {
                self.want_again(Some(request), None);
                Origin::Unwanted
            }
            Wish::Wanted | Wish::Later => Origin::Request(request),
        }
    }

    /// A response covers every answer that was wanted before the caller's last turn.
    fn answered(&mut self) {
        self.queue.retain(|request| request.purpose != Purpose::Answer || !request.overtaken);
    }

    fn settle(&mut self, request: Request) {
        if self.settled.len() == SETTLED {
            self.settled.pop_front();
        }
        self.settled.push_back(request);
    }

    /// A response is over. If the outstanding request was neither refused nor begun until then, the response belonged to it.
    pub(super) fn over(&mut self, response_id: &str) {
        let names = self.names;
        let ours = |sent: &mut Sent| !names && sent.rival.as_deref() == Some(response_id);
        if let Some(sent) = self.sent.take_if(ours) {
            self.settle(sent.request);
        }
    }

    /// The service refused the request with this number, or a request without naming it.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        id: Option<u64>,
        class: FailureClass,
        after: Option<Duration>,
    ) -> Refused {
        let on_its_way = |sent: &mut Sent| match id {
            Some(id) => sent.request.id == id,
            // After a turn of the caller the refused response may be one that the service wanted by itself.
            None => !sent.request.overtaken,
        };
        let (mut request, wish, answered) = match self.sent.take_if(on_its_way) {
            Some(sent) => (sent.request, sent.wish, sent.rival.is_some()),
            None => match self.settled.iter().position(|request| Some(request.id) == id) {
                Some(at) => match self.settled.remove(at) {
                    Some(request) => (request, Wish::Wanted, true),
                    None => return Refused::Unknown,
                },
                None => return Refused::Unknown,
            },
        };
        let covered = request.purpose == Purpose::Answer && request.overtaken && answered;
        if wish == Wish::Never || covered {
            return Refused::Settled;
        }
        match class {
            FailureClass::Busy if request.refusals < MAX_REFUSALS => {
                request.refusals += 1;
                self.put_back(Request { not_before: Some(now + ASK_AGAIN), ..request });
                Refused::Busy
            }
            FailureClass::Transient if self.retry(now, Some(request), after) => Refused::Retried,
            _ => Refused::GivenUp,
        }
    }

    /// Requests whose time has come may be asked for. Whether the outstanding one is given up for taking too long, though it is
    /// still wanted.
    pub(super) fn late(&mut self, now: Instant) -> bool {
        for request in &mut self.queue {
            request.not_before.take_if(|at| now >= *at);
        }
        self.sent.take_if(|sent| now >= sent.until).is_some_and(|sent| sent.wish == Wish::Wanted)
    }

    /// The session is gone: the outstanding request waits for the next one.
    pub(super) fn session_gone(&mut self) {
        if let Some(sent) = self.sent.take().filter(|sent| sent.wish != Wish::Never) {
            self.put_back(sent.request);
        }
        self.queue.retain(|request| !request.is_passing());
        for request in &mut self.queue {
            request.overtaken = false;
        }
        self.settled.clear();
        self.names = false;
    }

    /// Whether a response is wanted or asked for.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.is_some() || !self.queue.is_empty()
    }

    /// Whether an answer is asked for. It will cover what the caller has said until it begins.
    pub(super) fn is_answer_sent(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.request.purpose == Purpose::Answer)
    }

    /// When something is due; `session`: there is one.
    pub(super) fn deadline(&self, session: bool) -> Option<Instant> {
        let waiting = self.queue.iter().filter(|_| session).filter_map(|request| request.not_before);
        waiting.chain(self.sent.as_ref().map(|sent| sent.until)).min()
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
