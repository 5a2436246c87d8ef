//! Responses of the model: asked for, begun, in progress, over, given up.
//!
//! Of every response only what belongs to the one in progress is taken: what comes of one that is over or given up is dropped by
//! its id, here and nowhere else. Whatever is waited for has a time by which it is given up.
//!
//! Pure; owned by the agent. Bounded: one response, one request, [`REMEMBERED`] ids.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outputs::Outputs;
use crate::conversation::engine::Command;

/// Ids of responses that are over or given up; a service is behind by one or two.
const REMEMBERED: usize = 64;
/// Refusals of one request for a response before it is given up.
const MAX_REFUSALS: u32 = 5;
/// Before a response is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A response of the model that is wanted.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: String,
    /// Its messages.
    pub(super) items: Vec<String>,
}

/// A response we want the model to make.
#[derive(Debug)]
enum Request {
    None,
    /// As soon as it can be asked for.
    Wanted {
        instructions: Option<String>,
        not_before: Option<Instant>,
    },
    /// It is asked for; `cancel`: and not wanted any more.
    Sent {
        until: Instant,
        cancel: bool,
    },
}

/// What a response that begins is to the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// One that is over or given up: nothing.
    Past,
    /// One that is not wanted any more; it has been cancelled.
    Cancelled,
    /// The one in progress from now on.
    Wanted,
}

/// What becomes of a request that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Nobody wants it any more.
    Unwanted,
    /// It is asked for again.
    Again,
    /// It is given up.
    GivenUp,
}

/// The responses of one conversation.
#[derive(Debug)]
pub(super) struct Turns {
    timeout: Duration,
    response: Option<Response>,
    /// The response the service is at, wanted or not.
    active: Option<String>,
    /// The last sign of life of a response.
    last_sign: Option<Instant>,
    /// Responses over or given up.
    past: VecDeque<String>,
    /// The service owes a response by then.
    owed_until: Option<Instant>,
    request: Request,
    refusals: u32,
}

impl Turns {
    /// `timeout` is how long a response may show no sign of life.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            response: None,
            active: None,
            last_sign: None,
            past: VecDeque::new(),
            owed_until: None,
            request: Request::None,
            refusals: 0,
        }
    }

    /// A response is wanted. One that is asked for already answers everything said before it; its instructions are its own.
    pub(super) fn want(&mut self, instructions: Option<String>) {
        let not_before = match &self.request {
            Request::Wanted { not_before, .. } => *not_before,
            _ => None,
        };
        self.request = Request::Wanted { instructions, not_before };
    }

    /// Asks for the response that is wanted, when it is time. Only while the service is free to answer.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Outputs) {
        match &mut self.request {
            Request::Wanted { instructions, not_before } if not_before.is_none_or(|at| now >= at) => {
                let instructions = instructions.take();
                self.request = Request::Sent { until: now + self.timeout, cancel: false };
                out.command(Command::Respond { instructions });
            }
            _ => {}
        }
    }

    /// A response that was asked for and has not begun is not wanted any more.
    pub(super) fn withdraw(&mut self) {
        match &mut self.request {
            Request::Sent { cancel, .. } => *cancel = true,
            request => *request = Request::None,
        }
    }

    /// The service owes a response, or does not any more.
    pub(super) fn expect(&mut self, now: Option<Instant>) {
        self.owed_until = now.map(|now| now + self.timeout);
    }

    /// A response begins.
    pub(super) fn started(&mut self, now: Instant, id: String, out: &mut Outputs) -> Begun {
        if self.is_past(&id) {
            return Begun::Past;
        }
        self.active = Some(id.clone());
        self.last_sign = Some(now);
        self.owed_until = None;
        self.refusals = 0;
        if let Request::Sent { cancel, .. } = self.request {
            self.request = Request::None;
            if cancel {
                out.command(Command::Cancel { response_id: id.clone(), tell: true });
                self.put_past(id);
                return Begun::Cancelled;
            }
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

    /// The request for a response was refused; `busy`: because another one is running.
    pub(super) fn refused(&mut self, now: Instant, busy: bool) -> Refused {
        self.refusals += 1;
        let unwanted = matches!(self.request, Request::Sent { cancel: true, .. });
        self.request = Request::None;
        if unwanted {
            return Refused::Unwanted;
        }
        if busy && self.refusals <= MAX_REFUSALS {
            self.request = Request::Wanted { instructions: None, not_before: Some(now + ASK_AGAIN) };
            return Refused::Again;
        }
        self.refusals = 0;
        Refused::GivenUp
    }

    /// Whether the response that is owed has not come in time.
    pub(super) fn owed_too_long(&mut self, now: Instant) -> bool {
        self.owed_until.take_if(|until| now >= *until).is_some()
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
        let Request::Sent { until, cancel } = self.request else { return false };
        if now < until {
            return false;
        }
        self.request = Request::None;
        !cancel
    }

    /// Whether there is a response in progress.
    pub(super) fn has_response(&self) -> bool {
        self.response.is_some()
    }

    /// Whether the service can be asked for a response.
    pub(super) fn is_free(&self) -> bool {
        self.active.is_none()
    }

    /// Whether a response is in progress, or to come.
    pub(super) fn is_busy(&self) -> bool {
        self.response.is_some() || !matches!(self.request, Request::None) || self.owed_until.is_some()
    }

    /// Whether a response is asked for, or wanted.
    pub(super) fn wants_one(&self) -> bool {
        !matches!(self.request, Request::None)
    }

    /// The session is gone. Whether the service owed something: a response that had not begun to be heard counts.
    pub(super) fn session_gone(&mut self, heard: bool) -> bool {
        let owed = self.owed_until.is_some() || self.wants_one() || (self.response.is_some() && !heard);
        self.request = Request::None;
        self.owed_until = None;
        self.active = None;
        self.last_sign = None;
        self.past.clear();
        if let Some(response) = self.response.take() {
            self.put_past(response.id);
        }
        owed
    }

    fn stalls_at(&self) -> Option<Instant> {
        let since = self.last_sign.filter(|_| self.response.is_some() || self.active.is_some())?;
        Some(since + self.timeout)
    }

    /// When something is due; `session`: there is one.
    pub(super) fn deadline(&self, session: bool) -> Option<Instant> {
        let request = match &self.request {
            Request::Wanted { not_before, .. } => not_before.filter(|_| session),
            Request::Sent { until, .. } => Some(*until),
            Request::None => None,
        };
        [self.owed_until, request, self.stalls_at()].into_iter().flatten().min()
    }
}
