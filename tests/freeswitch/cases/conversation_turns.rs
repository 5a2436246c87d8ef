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
use crate::realtime::{
    Command, Complaint, Order, Place, RealtimeServer, Script, Stage, Start, changes, pauses, remarks, turns,
};
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
    pub(super) server: Arc<RealtimeServer>,
}

impl<'a> Telephone<'a> {
    pub(super) fn place(freeswitch: &'a FreeSwitch, options: &[(&str, &str)]) -> Self {
        Self::dial(freeswitch, &Dial::to("park"), options)
    }

    /// The same on a call that is made so.
    pub(super) fn dial(freeswitch: &'a FreeSwitch, dial: &Dial, options: &[(&str, &str)]) -> Self {
        let events = listen_to(freeswitch);
        let server = Arc::new(RealtimeServer::start(Script::by_hand()));
        let call = Arc::new(SipCall::place(freeswitch, dial));
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

    /// The details of the call's events of a kind: a text, in which `{Name}` stands for the header `Audio-Stream-Name`.
    fn details(&self, subclass: &str, kind: &str, form: &str) -> Vec<(String, String)> {
        let detail = |event: &Event| {
            let mut parts = form.split('{');
            let mut text = parts.next().unwrap_or_default().to_owned();
            for (header, rest) in parts.filter_map(|part| part.split_once('}')) {
                text.push_str(event.get(&format!("Audio-Stream-{header}")).unwrap_or_default());
                text.push_str(rest);
            }
            (kind.to_owned(), text)
        };
        self.events.stream_events(subclass, &self.call.uuid).iter().map(detail).collect()
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
            Command::Tell(role, respond, text) => format!("send_text role={role} respond={respond} {text}"),
            Command::Update(changes) => {
                let pairs: Vec<_> = changes.iter().map(|(key, value)| format!("{key}='{value}'")).collect();
                format!("ai_update {}", pairs.join(" "))
            }
            Command::Raw(event) => format!("ai_send {event}"),
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
            ("ai_state", "state", "{State}"),
            ("error", "error", "{Provider-Code}"),
            ("error", "unheard", "{Item-Id}"),
            ("ai_barge_in", "barge_in", ""),
            ("ai_false_interruption", "went_on", "{Text}"),
            ("ai_idle", "idle", "{Count}"),
            ("ai_action", "action", "{Action}"),
            ("ai_raw", "raw", "{Message}"),
            ("ai_response", "response", "{Text}"),
            ("ai_response", "usage", "{Input-Tokens}/{Cached-Tokens}/{Output-Tokens}"),
            ("ai_transcript", "said", "{Item-Id} after {Previous-Item-Id}: {Text}"),
            // Only those of the agent, where the caller is not transcribed.
            ("ai_transcript", "transcript", "{Text}"),
            ("ai_transcript", "heard", "{Heard-Text}"),
            ("ai_turn", "answer_ms", "{Answer-Ms}"),
            ("ai_turn", "model_ms", "{Model-Ms}"),
            ("ai_turn", "silence_ms", "{Silence-Ms}"),
        ]
        .into_iter()
        .flat_map(|(subclass, kind, form)| self.details(subclass, kind, form))
        .filter(|(kind, detail)| kind != "unheard" || !detail.is_empty())
        .collect()
    }

    fn usage(&self) -> Value {
        self.freeswitch.json(&format!("{} health", self.call.uuid))["ai"]["usage"].clone()
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

crate::realtime::turns::each_turn!(cases);

macro_rules! remark_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(remarks::$name);
        })*
    };
}

remarks::each_remark!(remark_cases);

macro_rules! change_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(changes::$name);
        })*
    };
}

changes::each_change!(change_cases);

macro_rules! pause_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(pauses::$name);
        })*
    };
}

pauses::each_pause!(pause_cases);
