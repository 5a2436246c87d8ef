//! Turns of the caller, from the end of their speech to the response, and responses of the model: begun, in progress, over, given
//! up.
//!
//! Only the response in progress is used. What arrives for a response that is over or given up is dropped by its id, here and
//! nowhere else. Everything that is waited for has a time limit.
//!
//! Pure; owned by the agent. Bounded: one response, the requests, [`REMEMBERED`] ids.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outputs::Outputs;
use super::requests::{Askable, Origin, Purpose, Refused, Request, Requests};
use crate::conversation::engine::{Command, Failure, Refuses};
use crate::units::least;

/// Ids of responses that are over or given up; a service is behind by one or two.
const REMEMBERED: usize = 64;
/// Time in which a service commits a turn, from the end of speech or from our own commit.
const COMMIT: Duration = Duration::from_secs(2);

/// A response of the model that is wanted.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: String,
    /// Its messages.
    pub(super) items: Vec<String>,
}

/// What a response that begins means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// Nothing: it is over or given up already.
    Past,
    /// We asked for it and do not want it any more. It has been cancelled.
    Cancelled,
    /// It is the one in progress from now on.
    Wanted,
}

/// The caller's turn as the service sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CallerTurn {
    /// There is none.
    None,
    /// They speak.
    Open,
    /// They have stopped.
    Stopped,
    /// A response to it has begun, and the service has not committed it yet.
    Answered,
}

/// What the service should do next by itself, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// Commit the turn. A noise is no turn, so this may not happen.
    Turn(Instant),
    /// Respond.
    Response(Instant),
}

/// The turns of one conversation.
#[derive(Debug)]
pub(super) struct Turns {
    timeout: Duration,
    requests: Requests,
    response: Option<Response>,
    /// The request of the response that began last; `None`: the service began it by itself.
    request: Option<Request>,
    /// The response that the service is generating, wanted or not.
    active: Option<String>,
    /// The last sign of life of a response.
    last_sign: Option<Instant>,
    /// Responses over or given up.
    past: VecDeque<String>,
    turn: CallerTurn,
    expected: Option<Expected>,
    /// The service commits the turns that it finds.
    commits: bool,
    /// The item that it committed last.
    committed: String,
    /// The service confirms our own commits; `None`: not known yet.
    confirms: Option<bool>,
    /// Our own commits that it has not confirmed yet, and how long to wait for the last.
    committing: u32,
    committed_by: Option<Instant>,
}

impl Turns {
    /// `timeout` is how long a response may show no sign of life.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            requests: Requests::new(timeout),
            response: None,
            request: None,
            active: None,
            last_sign: None,
            past: VecDeque::new(),
            turn: CallerTurn::None,
            expected: None,
            commits: false,
            committed: String::new(),
            confirms: None,
            committing: 0,
            committed_by: None,
        }
    }

    /// A response is wanted; `false`: too many are.
    pub(super) fn want(&mut self, purpose: Purpose, instructions: Option<String>) -> bool {
        self.requests.want(purpose, instructions)
    }

    /// These words are wanted, exactly; `false`: too many are.
    pub(super) fn want_words(&mut self, purpose: Purpose, words: String) -> bool {
        self.requests.want_words(purpose, words)
    }

    /// An answer to the conversation so far is wanted.
    pub(super) fn want_answer(&mut self) {
        self.requests.want(Purpose::Answer, None);
    }

    /// The caller heard nothing of the response that began last, so it is wanted again, unless a turn of the caller is answered
    /// first. If `answers` is false, only a response with certain words is wanted again.
    pub(super) fn unheard(&mut self, now: Instant, answers: bool) {
        let request = self.request.take();
        if answers || request.as_ref().is_some_and(Request::has_words) {
            self.requests.want_again(request, Some(now + COMMIT));
        }
    }

    /// The response that began last failed before any of it was heard: whether it is tried once more.
    pub(super) fn retry(&mut self, now: Instant, after: Option<Duration>) -> bool {
        let request = self.request.take();
        self.requests.retry(now, request, after)
    }

    /// Asks for the next response that is wanted, and says whether there was one. Only while the service is free to answer.
    pub(super) fn ask(&mut self, askable: Askable, now: Instant, out: &mut Outputs) -> bool {
        self.requests.ask(askable, now, out)
    }

    /// The functions have returned: words for the wait are not wanted any more.
    pub(super) fn functions_returned(&mut self) {
        self.requests.functions_returned();
    }

    /// The caller speaks: a response that has not begun is not wanted now.
    pub(super) fn caller_speaks(&mut self) {
        self.requests.caller_speaks();
    }

    /// The operator clears: words that wait are dropped.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
    }

    /// The module does not hear the caller any more. If that was a turn, the service commits it soon.
    pub(super) fn caller_silent(&mut self, now: Instant) {
        self.requests.postpone(now + COMMIT);
    }

    /// The service hears the caller begin.
    pub(super) fn speech_started(&mut self) {
        self.turn = CallerTurn::Open;
        self.expected = None;
    }

    /// The service hears the caller stop. `responds`: it answers turns by itself.
    pub(super) fn speech_stopped(&mut self, now: Instant, responds: bool) {
        self.turn = CallerTurn::Stopped;
        // If a response was cut off, nobody may answer a noise, so do not wait for an answer to what may be one.
        self.expected = if self.commits || !responds || self.requests.is_waiting() {
            Some(Expected::Turn(now + COMMIT))
        } else {
            Some(Expected::Response(now + self.timeout))
        };
        if responds {
            self.requests.overtake();
        }
    }

    /// The service has committed the caller's turn. This may come after the response to it has begun.
    /// If the service does not answer it by itself, an answer is wanted where the turn `counts`.
    pub(super) fn committed(&mut self, now: Instant, item_id: &str, responds: bool, counts: bool) {
        self.commits = true;
        let repeated = !item_id.is_empty() && self.committed == item_id;
        item_id.clone_into(&mut self.committed);
        if repeated || std::mem::replace(&mut self.turn, CallerTurn::None) == CallerTurn::Answered {
            return;
        }
        if responds {
            self.expected = Some(Expected::Response(now + self.timeout));
            self.requests.overtake();
        } else {
            self.expected = None;
            if counts {
                self.want_answer();
            }
        }
    }

    /// We commit the caller's turn. An answer is wanted once the service confirms it.
    pub(super) fn commit(&mut self, now: Instant, out: &mut Outputs) {
        out.command(Command::Commit);
        if self.confirms == Some(false) {
            self.want_answer();
        } else {
            self.committing += 1;
            self.committed_by = Some(now + COMMIT);
        }
    }

    /// The service has confirmed our commit, or refused it (`taken` is false).
    pub(super) fn commit_settled(&mut self, taken: bool) {
        self.confirms = Some(true);
        if self.committing == 0 {
            return;
        }
        self.committing -= 1;
        if self.committing == 0 {
            self.committed_by = None;
        }
        if taken {
            self.want_answer();
        }
    }

    /// A service that does not confirm our first commit confirms none. Then an answer is wanted without that, now and from now
    /// on.
    fn commit_late(&mut self, now: Instant) {
        if self.committed_by.take_if(|by| now >= *by).is_some() {
            self.confirms = Some(self.confirms.is_some());
            self.committing = 0;
            self.want_answer();
        }
    }

    /// A response begins; `named` is the number of a request that the service repeats.
    pub(super) fn started(&mut self, now: Instant, id: String, named: Option<u64>, out: &mut Outputs) -> Begun {
        if self.is_past(&id) {
            return Begun::Past;
        }
        self.active = Some(id.clone());
        self.last_sign = Some(now);
        if self.response.as_ref().is_some_and(|response| response.id == id) {
            return Begun::Wanted;
        }
        self.request = match self.requests.begun(&id, named) {
            Origin::Unwanted => {
                out.command(Command::Cancel { response_id: id.clone(), tell: true });
                self.put_past(id);
                return Begun::Cancelled;
            }
            Origin::Request(request) => Some(request),
            Origin::Service => None,
        };
        self.expected = None;
        if self.turn == CallerTurn::Stopped && self.request.is_none() {
            self.turn = CallerTurn::Answered;
        }
        if let Some(before) = self.response.replace(Response { id, items: Vec::new() }) {
            self.put_past(before.id);
        }
        Begun::Wanted
    }

    /// Something of a response has arrived: whether it is the one in progress.
    pub(super) fn sign_of(&mut self, now: Instant, id: &str) -> bool {
        self.last_sign = Some(now);
        self.response.as_ref().is_some_and(|response| response.id == id)
    }

    /// Whether a response is over or given up.
    pub(super) fn is_past(&self, id: &str) -> bool {
        self.past.iter().any(|past| past == id)
    }

    fn put_past(&mut self, id: String) {
        if !self.is_past(&id) {
            if self.past.len() == REMEMBERED {
                self.past.pop_front();
            }
            self.past.push_back(id);
        }
    }

    /// A message of the response in progress.
    pub(super) fn note_item(&mut self, item_id: &str) {
        if let Some(response) = &mut self.response
            && !response.items.iter().any(|known| known == item_id)
        {
            response.items.push(item_id.to_owned());
        }
    }

    /// A response has ended; it is given where it was the one in progress.
    pub(super) fn done(&mut self, id: String) -> Option<Response> {
        if self.active.as_ref() == Some(&id) {
            self.active = None;
        }
        self.requests.over(&id);
        let response = self.response.take_if(|response| response.id == id);
        self.put_past(id);
        response
    }

    /// Gives up the response in progress; `itself`: the service has done so already.
    pub(super) fn give_up(&mut self, itself: bool, out: &mut Outputs) -> Option<Response> {
        let response = self.response.take()?;
        let tell = !itself && self.active.as_ref() == Some(&response.id);
        out.command(Command::Cancel { response_id: response.id.clone(), tell });
        self.put_past(response.id.clone());
        Some(response)
    }

    /// The service is at no response any more, whatever it said before.
    pub(super) fn service_is_free(&mut self) {
        self.active = None;
    }

    /// A response was refused: what happens to the request.
    pub(super) fn refused(&mut self, now: Instant, failure: &Failure) -> Refused {
        let Refuses::Response(id) = failure.refuses else { return Refused::Unknown };
        let outcome = self.requests.refused(now, id, failure.class, failure.retry_after);
        // The response that seemed to belong to this request does not.
        self.request.take_if(|request| id.is_some_and(|id| request.was_sent_as(id)));
        if outcome == Refused::Unknown && id.is_none() && matches!(self.expected, Some(Expected::Response(_))) {
            // The service could not begin its own answer while another response was running.
            self.expected = None;
            self.want_answer();
            return Refused::Busy;
        }
        outcome
    }

    /// Whether the service did not respond in time to a turn. A noise that is never committed is forgotten.
    pub(super) fn owed_too_long(&mut self, now: Instant) -> bool {
        self.commit_late(now);
        match self.expected {
            Some(Expected::Turn(until)) if now >= until => {
                self.expected = None;
                self.turn = CallerTurn::None;
                false
            }
            Some(Expected::Response(until)) if now >= until => {
                self.expected = None;
                true
            }
            _ => false,
        }
    }

    /// Whether the response in progress was given up for showing no sign of life.
    pub(super) fn stalled(&mut self, now: Instant, out: &mut Outputs) -> bool {
        if self.stalls_at().is_none_or(|at| now < at) {
            return false;
        }
        self.active = None;
        self.last_sign = None;
        let Some(response) = self.response.take() else { return false };
        out.command(Command::Cancel { response_id: response.id.clone(), tell: true });
        self.put_past(response.id);
        true
    }

    /// Whether the response asked for has not begun in time, and is still wanted.
    pub(super) fn asked_too_long(&mut self, now: Instant) -> bool {
        self.requests.late(now)
    }

    /// The response in progress, if it began after a turn of the caller that is not committed yet.
    pub(super) fn answer(&self) -> Option<&Response> {
        self.response.as_ref().filter(|_| self.turn == CallerTurn::Answered)
    }

    /// The response in progress.
    pub(super) fn response(&self) -> Option<&Response> {
        self.response.as_ref()
    }

    /// Whether there is a response in progress.
    pub(super) fn has_response(&self) -> bool {
        self.response.is_some()
    }

    /// Whether a response is in progress, or an answer asked for.
    pub(super) fn is_answering(&self) -> bool {
        self.response.is_some() || self.requests.is_answer_sent()
    }

    /// Whether the service can be asked for a response: it generates none, and will begin none by itself.
    pub(super) fn is_free(&self) -> bool {
        self.active.is_none() && self.expected.is_none() && self.committing == 0
    }

    /// Whether a response is in progress, or to come.
    pub(super) fn is_busy(&self) -> bool {
        self.response.is_some() || self.requests.is_waiting() || self.expected.is_some() || self.committing > 0
    }

    /// The session is gone. What was outstanding is asked for in the next one, and so is a response in progress, which is given:
    /// its words again, or an answer that takes it up where the caller last heard it.
    pub(super) fn session_gone(&mut self) -> Option<Response> {
        self.requests.session_gone();
        let response = self.response.take();
        if self.expected.is_some() || response.is_some() {
            let request = self.request.take().filter(|_| response.is_some());
            self.requests.want_again(request, None);
        }
        self.request = None;
        self.expected = None;
        self.turn = CallerTurn::None;
        self.active = None;
        self.last_sign = None;
        self.commits = false;
        self.committed.clear();
        self.confirms = None;
        self.committing = 0;
        self.committed_by = None;
        self.past.clear();
        if let Some(response) = &response {
            self.put_past(response.id.clone());
        }
        response
    }

    fn stalls_at(&self) -> Option<Instant> {
        let since = self.last_sign.filter(|_| self.response.is_some() || self.active.is_some())?;
        Some(since + self.timeout)
    }

    /// When something is due; `session`: there is one.
    pub(super) fn deadline(&self, session: bool) -> Option<Instant> {
        let expected = self.expected.map(|(Expected::Turn(until) | Expected::Response(until))| until);
        least([expected, self.committed_by, self.requests.deadline(session), self.stalls_at()])
    }
}
