//! What AI services send, in whole conversations: engine, agent and driver as a stream's task runs them, for every engine. A cascade's
//! services answer over HTTP, with server-sent events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mod_audio_stream::conversation::engines::ENGINES;
use mod_audio_stream::conversation::gemini::fuzz_gemini_live;
use mod_audio_stream::conversation::openai::fuzz_openai_realtime;
use mod_audio_stream::conversation::{AiOptions, AiPlan, Conversation, engines};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::{Action, Connect, Event, Fetched, Input, MonoAudio, Output, Peer};
use mod_audio_stream::protocol::MarkId;
use mod_audio_stream::units::SampleRate;

use crate::engine::{Seeds, run};
use crate::steps::{
    AUDIO, BINARY, BODY, CLOSED, END, FAIL, HEAD_200, HEAD_401, HEAD_500, HEARD, INTERRUPT, KEY, LATER, SILENT, SPEAKS,
    Step, steps, transcripts,
};

const TOOLS: &str = r#"[{"name":"look_up","description":"","parameters":{"type":"object"}}]"#;
/// Outputs of one input that are more than any conversation needs.
const ENDLESS: usize = 20_000;

fn options(engine: &str) -> AiOptions {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    let given = |key: &str| match key {
        "dtmf_to_model" | "transcription_model" => None,
        key if key.ends_with("_api_key") => Some("sk-1"),
        key if key.ends_with("_base_url") => Some("https://resource.example"),
        "deepgram_model" => Some("open_ai/m"),
        key if key.ends_with("_model") || key.ends_with("_agent_id") => Some("m"),
        _ => None,
    };
    for row in &rows {
        if let Some(value) = given(&row.key) {
            row.set(&mut options, value).unwrap_or_else(|why| panic!("{}: {why}", row.key));
        }
    }
    for (key, value) in [
        ("engine", engine),
        ("stt_url", "http://stt.example"),
        ("llm_url", "http://llm.example"),
        ("tools", TOOLS),
        ("builtin_tools", "hang_up,transfer,send_dtmf,set_variable"),
        ("transfer_destinations", "1000,human"),
        ("tool_variables", "note"),
        ("greeting", "Hello."),
        ("idle_timeout_ms", "5000"),
    ] {
        let row = rows.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    options
}

/// A call with an agent.
struct Call {
    conversation: Conversation,
    now: Instant,
    /// What the outputs ask for, and is still to be answered.
    answers: VecDeque<Input<'static>>,
    /// Requests over HTTP that have no end yet, oldest first.
    fetches: Vec<u64>,
    queued: Duration,
    played: Duration,
    last_mark: Option<MarkId>,
    over: bool,
}

impl Call {
    fn new(options: &AiOptions) -> Self {
        let entry = engines::of(options);
        let plan = AiPlan::new(entry, options, Vec::new(), SampleRate::HZ_16000, None).expect("the options are whole");
        let mut call = Self {
            conversation: Conversation::new(plan.engine, plan.agent, 20, 1),
            now: Instant::now(),
            answers: VecDeque::new(),
            fetches: Vec::new(),
            queued: Duration::ZERO,
            played: Duration::ZERO,
            last_mark: None,
            over: false,
        };
        call.tell(Input::Start);
        call
    }

    /// Hands over an input, and answers what follows, as a stream's task does.
    fn tell(&mut self, input: Input<'_>) {
        self.conversation.handle(self.now, input);
        self.drain();
        let mut answered = 0;
        while let Some(answer) = self.answers.pop_front() {
            answered += 1;
            assert!(answered < ENDLESS, "one input is answered for ever");
            self.conversation.handle(self.now, answer);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.conversation.poll() {
            outputs += 1;
            assert!(outputs < ENDLESS, "one input has ever more outputs");
            self.take(output);
        }
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Connect(Connect { .. }) => self.answers.push_back(Input::Opened { unix_seconds: 1_795_000_000 }),
            Output::Fetch(fetch) => {
                assert!(!self.fetches.contains(&fetch.id), "a request's number is its own");
                self.fetches.push(fetch.id);
            }
            Output::AbortFetch { id } => self.fetches.retain(|open| *open != id),
            Output::Speak { audio, .. } => {
                assert!(!audio.duration().is_zero(), "audio without a sample");
                self.queued += audio.duration();
            }
            Output::Flush { id } => {
                self.queued = Duration::ZERO;
                self.answers.push_back(Input::Flushed { id, played: self.played });
            }
            Output::Mark(id) => {
                assert!(self.last_mark.is_none_or(|last| last < id), "marks are new and in order");
                self.last_mark = Some(id);
                self.answers.push_back(Input::MarkHeard(id));
            }
            Output::Synthesize { sentence, text, .. } => {
                assert!(!text.trim().is_empty(), "silence is to be spoken");
                let audio = MonoAudio::Pcm { samples: vec![100; 160], rate: SampleRate::HZ_8000 };
                self.answers.push_back(Input::SpeechAudio { sentence, audio });
                self.answers.push_back(Input::SpeechDone { sentence });
            }
            Output::Act { call_id, action } => {
                check(&action);
                if !call_id.is_empty() {
                    self.answers.push_back(Input::ToolResult { call_id, output: "{}".into() });
                }
            }
            Output::Fault(fault) => {
                assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024, "{} bytes", fault.reason.len());
                assert!(!fault.reason.contains(char::is_control), "{:?}", fault.reason);
            }
            Output::Event(Event::Ai(_)) => assert!(!self.over, "an event after the last one"),
            Output::End(_) => {
                assert!(!self.over, "the stream ends twice");
                self.over = true;
            }
            _ => {}
        }
    }

    fn fetched(&mut self, piece: Fetched<'_>) {
        let Some(id) = self.fetches.first().copied() else { return };
        if matches!(piece, Fetched::End | Fetched::Failed(_)) {
            self.fetches.remove(0);
        }
        self.tell(Input::Fetched { id, piece });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let heard = self.queued.min(time);
        self.queued -= heard;
        self.played += heard;
        let (played, waiting) = (self.played, self.queued);
        self.tell(Input::Playback { played, idle: waiting.is_zero(), waiting });
        if self.conversation.deadline().is_some_and(|due| due <= self.now) {
            self.tell(Input::Timeout);
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Text(text) => self.tell(Input::Text(&text)),
            Step::Bytes(BINARY, bytes) => self.tell(Input::Binary(bytes)),
            Step::Bytes(BODY, bytes) => self.fetched(Fetched::Body(bytes)),
            Step::Happens(HEAD_200) => self.fetched(Fetched::Head { status: 200, request_id: None }),
            Step::Happens(HEAD_401) => self.fetched(Fetched::Head { status: 401, request_id: None }),
            Step::Happens(HEAD_500) => self.fetched(Fetched::Head { status: 500, request_id: None }),
            Step::Happens(END) => self.fetched(Fetched::End),
            Step::Happens(FAIL) => self.fetched(Fetched::Failed("connection reset")),
            Step::Happens(HEARD) => self.pass(self.queued),
            Step::Happens(LATER) => self.pass(Duration::from_secs(1)),
            Step::Happens(SPEAKS) => self.tell(Input::LocalSpeech(true)),
            Step::Happens(SILENT) => self.tell(Input::LocalSpeech(false)),
            Step::Happens(AUDIO) => {
                let form = self.conversation.capture();
                let samples = form.pcm.samples_in_ms(200);
                self.tell(Input::Audio(&vec![0x55; samples * form.encoding.sample_bytes()]));
            }
            Step::Happens(CLOSED) => self.tell(Input::Closed { code: 1_006, reason: "" }),
            Step::Happens(KEY) => self.tell(Input::Dtmf { digit: '5', duration_ms: 100 }),
            Step::Happens(INTERRUPT) => self.tell(Input::Interrupt),
            Step::Bytes(..) | Step::Happens(_) => {}
        }
    }
}

/// What an agent does to a call is of the characters that its documentation names, whatever the model has written.
fn check(action: &Action) {
    match action {
        Action::HangUp { reason } => {
            assert!(reason.chars().count() <= 128 && !reason.contains(char::is_control), "{reason:?}");
        }
        Action::Transfer { name, number, summary } => {
            assert!(
                [("1000", "1000"), ("human", "human")].contains(&(name.as_str(), number.as_str())),
                "{name}={number}"
            );
            assert!(summary.chars().count() <= 1_024 && !summary.contains("${"), "{summary:?}");
            assert!(!summary.contains(char::is_control), "{summary:?}");
        }
        Action::SendDtmf { digits } => {
            let is_key = |c: char| matches!(c, '0'..='9' | 'A'..='D' | '*' | '#' | 'w');
            assert!((1..=32).contains(&digits.len()) && digits.chars().all(is_key), "{digits:?}");
        }
        Action::SetVariable { name, value } => {
            assert!(name == "note" && value.chars().count() <= 1_024, "{name}={value:?}");
            assert!(!value.contains("${") && !value.contains(char::is_control), "{value:?}");
        }
    }
}

#[test]
fn conversations_with_services_of_every_engine() {
    for entry in ENGINES {
        // Streams have a protocol of that name, too.
        let own = match entry.name {
            "deepgram" => "deepgram_agent",
            "assemblyai" => "assemblyai_agent",
            name => name,
        };
        converse(entry.name, own, &options(entry.name));
    }
    // A cascade whose recogniser hears the caller all the time, with either side finding the turns.
    for (name, turns) in [("cascade-live", "server_vad"), ("cascade-live-local", "local")] {
        let mut options = options("cascade");
        for (key, value) in [("stt_provider", "deepgram"), ("early_answer", "on"), ("turn_detection", turns)] {
            let row =
                AiOptions::rows().into_iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no option {key}"));
            row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
        }
        converse(name, "cascade", &options);
    }
}

/// Conversations by these options, with the transcripts of an engine for a beginning.
fn converse(name: &str, engine: &str, options: &AiOptions) {
    let seeds = Seeds::of("conversation").and(transcripts(engine)).and(transcripts("openai_realtime"));
    run(&format!("conversation-{name}"), seeds, |data| {
        let mut call = Call::new(options);
        steps(data).for_each(|step| call.step(step));
        if !call.over {
            call.tell(Input::Stop { text: None, call_ended: true });
        }
    });
}

#[test]
fn events_of_a_realtime_service() {
    let seeds = Seeds::of("openai_realtime").and(transcripts("openai_realtime"));
    run("openai_realtime", seeds, fuzz_openai_realtime);
}

#[test]
fn messages_of_gemini_live() {
    run("gemini", Seeds::of("gemini").and(transcripts("gemini")), fuzz_gemini_live);
}
