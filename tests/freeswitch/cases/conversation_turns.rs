//! Conversations in which requests and turns cross, fail, are refused or are lost, on a real call: the caller hears what they
//! should, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::listen_to;
use crate::realtime::{Command, Complaint, Order, Place, RealtimeServer, Script, Stage, Start, remarks, turns};
use crate::support::signal;

/// Time that the module's own voice activity detection needs after the caller's last sound.
const HANGOVER: Duration = Duration::from_millis(800);

/// Length of the answer on the other call.
const OTHER_MS: u32 = 6_000;

/// A call with a conversation, and the service that a test plays.
pub(super) struct Telephone<'a> {
    freeswitch: &'a FreeSwitch,
    events: Esl,
    pub(super) call: Arc<SipCall>,
    server: RealtimeServer,
}

impl<'a> Telephone<'a> {
    pub(super) fn place(freeswitch: &'a FreeSwitch, options: &[(&str, &str)]) -> Self {
        let events = listen_to(freeswitch);
        let server = RealtimeServer::start(Script::by_hand());
        let call = Arc::new(SipCall::place(freeswitch, &Dial::to("park")));
        let mut command = format!(
            "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model vad_silence_duration_ms=300",
            server.base_url()
        );
        for (key, value) in options {
            command.push_str(&format!(" {key}='{value}'"));
        }
        freeswitch.stream(&call.uuid, &command);
        Self { freeswitch, events, call, server }
    }

    /// The details of the call's events of a kind, by the header that has them.
    fn details(&self, subclass: &str, kind: &str, header: &str) -> Vec<(String, String)> {
        let events = self.events.stream_events(subclass, &self.call.uuid);
        let detail = |event: &Event| (kind.to_owned(), event.get(header).unwrap_or_default().to_owned());
        events.iter().map(detail).collect()
    }
}

impl Place for Telephone<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pass(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn order(&mut self, connection: usize, order: Order) {
        self.server.connection(connection).order(order);
    }

    fn connections(&self) -> usize {
        self.server.connections().len()
    }

    fn told(&self, connection: usize) -> Vec<(Instant, Value)> {
        self.server.connection(connection).record().told.clone()
    }

    fn appended_ms(&self, connection: usize) -> u64 {
        self.server.connection(connection).record().samples / 8
    }

    fn turns_ms(&self, connection: usize) -> Vec<u64> {
        self.server.connection(connection).record().turns_ms.clone()
    }

    fn complaints(&self, connection: usize) -> Vec<Complaint> {
        self.server.connection(connection).record().complaints.clone()
    }

    fn operate(&mut self, command: Command<'_>) {
        let line = match command {
            Command::Say(text) => format!("say {text}"),
            Command::Result(call_id, output) => format!("ai_result {call_id} {output}"),
            Command::Text(text) => format!("send_text {text}"),
            Command::Clear => "clear".to_owned(),
            Command::Key(digit) => return self.call.phone.press(&digit.to_string(), 100),
        };
        self.freeswitch.stream(&self.call.uuid, &line);
    }

    fn caller_says(&mut self, ms: u32) {
        self.call.phone.say(&signal::speech(8_000, ms, 3));
        std::thread::sleep(Duration::from_millis(ms.into()) + HANGOVER);
    }

    fn events(&self) -> Vec<(String, String)> {
        [
            ("ai_state", "state", "Audio-Stream-State"),
            ("error", "error", "Audio-Stream-Provider-Code"),
            ("ai_barge_in", "barge_in", ""),
            ("ai_idle", "idle", "Audio-Stream-Count"),
            ("ai_action", "action", "Audio-Stream-Action"),
            ("ai_response", "response", "Audio-Stream-Text"),
            // Only those of the agent: the caller is not transcribed.
            ("ai_transcript", "transcript", "Audio-Stream-Text"),
            ("ai_transcript", "heard", "Audio-Stream-Heard-Text"),
        ]
        .into_iter()
        .flat_map(|(subclass, kind, header)| self.details(subclass, kind, header))
        .collect()
    }

    fn heard(&self) -> Vec<i16> {
        self.call.phone.heard().samples
    }

    fn is_fast(&self) -> bool {
        false
    }
}

/// Runs a conversation on a call. On a second call meanwhile, another agent answers, and that caller hears its whole answer.
pub(super) fn on_a_call(conversation: fn(Start<'_>)) {
    in_freeswitch(|freeswitch| {
        let start = |options: &[(&str, &str)]| Stage::new(Telephone::place(freeswitch, options));
        let mut other = start(&[]);
        other.open();
        other.speak("u", 300);
        other.respond("r", "other", OTHER_MS);
        other.await_state("SPEAKING", 1_000);
        conversation(&start);
        other.await_state("LISTENING", u64::from(OTHER_MS) + 1_000);
        other.pass(200);
        other.heard_whole("other", OTHER_MS);
        assert_eq!((other.events("error").len(), other.events("barge_in").len()), (0, 0));
    });
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(turns::$name);
        })*
    };
}

// The others are about the service's view alone, or last too long for a call.
cases!(
    the_services_own_answer_is_not_taken_for_ours,
    an_early_hello_leaves_the_greeting_whole,
    sound_from_before_the_session_interrupts_nothing,
    a_cough_before_the_answer_does_not_lose_it,
    a_text_of_the_operator_is_spoken_during_a_function,
    two_texts_of_the_operator_are_spoken_in_order,
    a_refused_text_is_asked_for_again,
    a_greeting_outlives_its_connection,
    a_commit_behind_its_response_wedges_nothing,
    a_failed_response_is_asked_for_once_more,
    a_local_turn_is_answered_once_it_is_committed,
    a_key_does_not_silence_the_agent,
);

macro_rules! remark_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(remarks::$name);
        })*
    };
}

remarks::each_remark!(remark_cases);
