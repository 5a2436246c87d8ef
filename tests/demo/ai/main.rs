//! A conversation with an agent, to look at: `cargo run --release --example demo_ai` leaves `target/demo/ai.html`.
//!
//! A caller talks with an agent on the scripted Realtime server, and interrupts it. The agent's voice, and the caller's words of
//! the interruption, are espeak-ng's; where that is not installed both are stored speech, and the output says so. It runs in the
//! FreeSWITCH that is found, else (or with `--standin`) in the stand-in of tests/standin/host, as the other demonstration does. It ends
//! with an error when something was not heard that should have been.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "../drawing.rs"]
mod drawing;
#[path = "../../freeswitch/mod.rs"]
mod harness;
#[path = "../../standin/host/mod.rs"]
mod host;
#[allow(dead_code)]
#[path = "../line.rs"]
mod line;
mod measure;
#[path = "../real.rs"]
mod real;
#[path = "../../support/openai/mod.rs"]
mod realtime;
mod report;
#[path = "../standin.rs"]
mod standin;
#[path = "../../support/mod.rs"]
mod support;
mod voice;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use line::Line;
use measure::{Recording, measure};
use realtime::{Answer, Pace, RealtimeServer, Script};
use support::{module, wav};
use voice::Voices;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the caller listens before interrupting.
const LISTENS: Duration = Duration::from_millis(2_300);
/// The service's own time: silence that ends a turn, and thinking.
pub const SILENCE_MS: u64 = 400;
pub const THINKING: Duration = Duration::from_millis(250);
/// The agent's answers.
pub const ANSWERS: [&str; 2] = [
    "Good morning. Your order has left our house today, and it will be brought to you tomorrow before noon, to the address \
     that you have given us. You need not be there yourself.",
    "Of course. It will be with you on Friday.",
];
/// What the caller says, in turn.
pub const CALLER: [&str; 2] =
    ["This call is streamed to a server that sends it back.", "Excuse me, could it be Friday instead?"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nThe demonstration has failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo/voice.wav");
    let stored = wav::read(&stored).map_err(|error| format!("{}: {error}", stored.display()))?;
    let voices = Voices::make(&stored);
    let answer = |at: usize| Answer {
        voice: Some(voices.agent[at].clone()),
        text: ANSWERS[at].to_owned(),
        thinking: THINKING,
        pace: Pace::Times(6.0),
        late: 2,
        ..Answer::default()
    };
    let caller = CALLER.iter().map(|words| Some((*words).to_owned())).collect();
    let server = RealtimeServer::start(Script { caller, ..Script::answering([answer(0), answer(1)]) });
    let built = module::built_module();
    println!("module    {}", shown(&built));
    println!("voices    {}", voices.whose);

    let standin = std::env::args().any(|argument| argument == "--standin");
    let installation = if standin { Err("asked for".to_owned()) } else { real::find() };
    let call = match installation {
        Ok(installation) => {
            println!("host      FreeSWITCH {} ({})", installation.version, installation.binary.display());
            real::with_call(&installation, |line| converse(line, &server, &voices))
        }
        Err(why) => {
            println!("host      the stand-in FreeSWITCH of tests/standin/host: {why}");
            standin::with_call(&built, |line| converse(line, &server, &voices))
                .map_err(|error| format!("the module was not loaded: {error}"))?
        }
    }?;
    let folder = module::scratch_folder().with_file_name("demo");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join("ai.html");
    let figures = measure(&call)?;
    fs::write(&file, report::html(&call, &figures)).map_err(|error| format!("{}: {error}", file.display()))?;
    println!();
    for (index, turn) in figures.turns.iter().enumerate() {
        println!(
            "turn {}   end of speech to first audio {:6.1} ms, of which the service took {:.1} ms",
            index + 1,
            turn.to_first_audio(),
            turn.service_ms()
        );
    }
    for (index, told) in call.told().iter().enumerate() {
        let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        println!(
            "turn {}   the module says: last sound to answer {}, model {}, interruption to silence {}, heard {} ms",
            index + 1,
            ms(told.answer_ms),
            ms(told.model_ms),
            ms(told.silence_ms),
            told.heard_ms
        );
    }
    println!("interruption to silence {:6.1} ms after the service had noticed it", figures.cut.to_silence());
    println!(
        "heard of the answer     {:6.0} ms; the service was sent {} ms",
        figures.cut.heard_ms, figures.cut.told_ms
    );
    println!("\nOpen {} in a browser.", shown(&file));
    Ok(())
}

/// A path as it is typed from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::new());
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// The conversation, from its first second to its last.
fn converse(line: &dyn Line, server: &RealtimeServer, voices: &Voices) -> Result<Recording, String> {
    let origin = Instant::now();
    let say = |what: &str| println!("{:5.1} s   {what}", origin.elapsed().as_secs_f64());
    let states = || -> Vec<String> {
        let state = |event: &line::Event| {
            let header = event.headers.iter().find(|(name, _)| name == "Audio-Stream-State")?;
            (event.name == "ai_state").then(|| header.1.clone())
        };
        line.events().iter().filter_map(state).collect()
    };
    // The n-th time the conversation was in this state.
    let wait = |state: &str, times: usize| -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while states().iter().filter(|told| *told == state).count() < times {
            if Instant::now() > end {
                return Err(format!("waited {PATIENCE:?} for the state {state}; it was {:?}", states()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    let order = format!(
        "uuid_audio_stream {} start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model \
         transcription_model=words vad_silence_duration_ms={SILENCE_MS}",
        line.uuid(),
        server.base_url()
    );
    say("start_ai");
    let answered = line.api(&order);
    if !answered.starts_with("+OK") {
        return Err(format!("start_ai was answered: {answered}"));
    }
    wait("LISTENING", 1)?;
    say("the agent is connected and listens");
    std::thread::sleep(Duration::from_millis(400));
    say("the caller speaks");
    line.say(&voices.caller[0]);
    wait("SPEAKING", 1)?;
    say("the agent answers");
    std::thread::sleep(LISTENS);
    say("the caller interrupts");
    line.say(&voices.caller[1]);
    wait("SPEAKING", 2)?;
    say("the agent answers again");
    wait("LISTENING", 3)?;
    std::thread::sleep(Duration::from_millis(500));
    say("the caller hangs up");
    let (said, heard) = (line.said(), line.heard());
    let version = line.api("uuid_audio_stream version");
    line.hang_up();
    let connection = server.connection(0);
    connection.wait_end();
    let record = connection.record();
    if !record.complaints.is_empty() {
        return Err(format!("the service has complained: {:?}", record.complaints));
    }
    Ok(Recording {
        origin,
        host: line.host().to_owned(),
        medium: line.medium().to_owned(),
        voices: voices.whose.clone(),
        said,
        heard,
        events: line.events(),
        service_said: record.said.clone(),
        service_told: record.told.clone(),
        version: serde_json::from_str(&version).unwrap_or_default(),
    })
}
