//! The queue alone: what is sent, when, and which response belongs to which request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::outputs::Output;
use super::*;
use crate::conversation::engine::{Capabilities, TurnTaking};

const TIMEOUT: Duration = Duration::from_secs(30);
const FREE: Askable = Askable { answers: true, patient: true };

/// A queue and what it has sent.
struct Queue {
    requests: Requests,
    out: Outputs,
    now: Instant,
}

impl Queue {
    fn new() -> Self {
        let turns = TurnTaking::Engine { responds: true, interrupts: true };
        let able = Capabilities {
            turns,
            full_duplex: false,
            truncates: true,
            takes_text: true,
            resumes: false,
            transcribes: true,
            says: false,
            greets: false,
        };
        let mut out = Outputs::new(able);
        out.set_session(true);
        Self { requests: Requests::new(TIMEOUT), out, now: Instant::now() }
    }

    fn say(&mut self, text: &str) -> bool {
        self.requests.want(Purpose::Say, Some(text.to_owned()))
    }

    fn answer(&mut self) {
        self.requests.want(Purpose::Answer, None);
    }

    /// Asks, and gives the number and words of what was sent.
    fn ask(&mut self, askable: Askable) -> Option<(u64, String)> {
        self.requests.ask(askable, self.now, &mut self.out);
        match self.out.pop()? {
            Output::Command(Command::Respond { request, instructions }) => {
                Some((request, instructions.unwrap_or_default()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, id: Option<u64>, class: FailureClass) -> Refused {
        self.requests.refused(self.now, id, class, None)
    }

    fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        self.requests.late(self.now)
    }
}

fn sent(id: u64, words: &str) -> Option<(u64, String)> {
    Some((id, words.to_owned()))
}

#[test]
fn one_request_is_outstanding_and_words_keep_their_order() {
    let mut queue = Queue::new();
    queue.say("one");
    queue.answer();
    queue.say("two");
    queue.answer();
    assert_eq!(queue.ask(FREE), sent(1, "one"));
    assert_eq!(queue.ask(FREE), None);
    assert!(matches!(queue.requests.begun("r1", Some(1)), Origin::Request(_)));
    assert_eq!(queue.ask(Askable { answers: false, ..FREE }), sent(2, "two"), "a function runs");
    assert!(matches!(queue.requests.begun("r2", Some(2)), Origin::Request(_)));
    assert_eq!(queue.ask(FREE), sent(3, ""), "two reasons for an answer are one");
    assert!(matches!(queue.requests.begun("r3", Some(3)), Origin::Request(_)));
    assert!(!queue.requests.is_waiting());
}

#[test]
fn the_greeting_comes_before_words_that_waited_for_the_session() {
    let mut queue = Queue::new();
    queue.say("one");
    queue.requests.want(Purpose::Greeting, Some("welcome".to_owned()));
    assert_eq!(queue.ask(FREE), sent(1, "welcome"));
}

#[test]
fn a_full_queue_takes_no_text_but_an_answer() {
    let mut queue = Queue::new();
    assert!((0..MOST).all(|n| queue.say(&n.to_string())));
    assert!(!queue.say("one too many"));
    assert!(queue.requests.want(Purpose::Answer, None));
}

#[test]
fn a_repeated_number_decides_where_a_response_comes_from() {
    let mut queue = Queue::new();
    queue.say("one");
    queue.ask(FREE);
    assert!(matches!(queue.requests.begun("r1", Some(1)), Origin::Request(_)));
    queue.say("two");
    queue.ask(FREE);
    assert_eq!(queue.requests.begun("r2", None), Origin::Service, "this service repeats numbers");
    assert_eq!(queue.requests.begun("r3", Some(7)), Origin::Service);
    assert!(matches!(queue.requests.begun("r4", Some(2)), Origin::Request(_)));
}

#[test]
fn without_numbers_a_turn_or_a_refusal_decides() {
    let mut queue = Queue::new();
    queue.answer();
    queue.ask(FREE);
    queue.requests.overtake();
    assert_eq!(queue.requests.begun("r1", None), Origin::Service, "it answers the caller");
    assert_eq!(queue.refused(Some(1), FailureClass::Busy), Refused::Settled, "it answers everything before it");
    assert!(!queue.requests.is_waiting());

    queue.say("words");
    queue.ask(FREE);
    assert!(matches!(queue.requests.begun("r2", None), Origin::Request(_)));
    assert_eq!(queue.refused(Some(2), FailureClass::Busy), Refused::Busy, "it was not ours after all");
    assert_eq!(queue.ask(FREE), None);
    queue.pass(ASK_AGAIN);
    assert_eq!(queue.ask(FREE), sent(3, "words"));
}

#[test]
fn a_request_is_refused_a_few_times_and_not_for_ever() {
    let mut queue = Queue::new();
    queue.say("words");
    for _ in 0..MAX_REFUSALS {
        let (id, words) = queue.ask(FREE).unwrap();
        assert_eq!((words.as_str(), queue.refused(Some(id), FailureClass::Busy)), ("words", Refused::Busy));
        queue.pass(ASK_AGAIN);
    }
    let (id, _) = queue.ask(FREE).unwrap();
    assert_eq!(queue.refused(Some(id), FailureClass::Busy), Refused::GivenUp);
    assert!(!queue.requests.is_waiting());
}

#[test]
fn a_failure_is_retried_once_after_the_delay() {
    let mut queue = Queue::new();
    queue.say("words");
    queue.ask(FREE);
    let Origin::Request(request) = queue.requests.begun("r1", Some(1)) else { panic!("it is ours") };
    let delay = Duration::from_millis(1_200);
    assert!(queue.requests.retry(queue.now, Some(request), Some(delay)));
    queue.pass(delay - Duration::from_millis(1));
    assert_eq!(queue.ask(FREE), None);
    queue.pass(Duration::from_millis(1));
    assert_eq!(queue.ask(FREE), sent(2, "words"));
    let Origin::Request(request) = queue.requests.begun("r2", Some(2)) else { panic!("it is ours") };
    assert!(!queue.requests.retry(queue.now, Some(request), None));
    assert!(!queue.requests.retry(queue.now, None, Some(TIMEOUT * 2)), "no caller waits so long");
}

#[test]
fn the_next_session_gets_what_was_outstanding() {
    let mut queue = Queue::new();
    queue.say("one");
    queue.say("two");
    queue.ask(FREE);
    queue.requests.session_gone();
    assert_eq!(queue.ask(FREE), sent(2, "one"));
    assert!(queue.pass(TIMEOUT), "it never begins");
    assert_eq!(queue.ask(FREE), sent(3, "two"));
}

#[test]
fn an_interrupted_request_waits_until_the_caller_is_silent() {
    let mut queue = Queue::new();
    queue.answer();
    queue.ask(FREE);
    queue.requests.caller_speaks();
    assert_eq!(queue.requests.begun("r1", Some(1)), Origin::Unwanted);
    assert_eq!(queue.ask(Askable { patient: false, ..FREE }), None);
    assert_eq!(queue.ask(FREE), sent(2, ""));
}

#[test]
fn the_operator_clears_words_and_leaves_answers() {
    let mut queue = Queue::new();
    queue.say("one");
    queue.ask(FREE);
    queue.say("two");
    queue.answer();
    queue.requests.clear();
    assert_eq!(queue.requests.begun("r1", Some(1)), Origin::Unwanted);
    assert_eq!(queue.ask(FREE), sent(2, ""));
}
