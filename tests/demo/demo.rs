//! A call from end to end, to look at: `cargo run --release --example demo` leaves `target/demo/report.html`.
//!
//! A caller with a recorded voice is parked and streamed to an echo server; the second answer is cut by `clear`. It runs in the
//! FreeSWITCH that `FREESWITCH_PREFIX`, pkg-config or PATH finds, else (or with `--standin`) in the stand-in of tests/standin/host.
//! It ends with an error when the audio did not arrive where it should. The module is the one cargo built for this program;
//! `MOD_AUDIO_STREAM_SO` names another.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod drawing;
mod echo;
#[path = "../freeswitch/mod.rs"]
mod harness;
#[path = "../standin/host/mod.rs"]
mod host;
mod line;
mod measure;
mod real;
mod report;
mod standin;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use echo::EchoServer;
use line::{Line, RATE};
use measure::{Command, Figures, QUIET, Recording, measure};
use support::{module, wav};

/// Longest wait for anything; on a healthy machine nothing takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the module is asked how much playback waits.
const LOOK: Duration = Duration::from_millis(20);

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
    let voice = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo/voice.wav");
    let voice = wav::read(&voice).map_err(|error| format!("{}: {error}", voice.display()))?;
    assert_eq!((voice.rate, voice.channels), (RATE, 1), "the phone speaks 8 kHz mono");
    let module = module::built_module();
    let server = EchoServer::start().map_err(|error| format!("the echo server does not start: {error}"))?;
    println!("module    {}", shown(&module));

    let standin = std::env::args().any(|argument| argument == "--standin");
    let installation = if standin { Err("asked for".to_owned()) } else { real::find() };
    let call = match installation {
        Ok(installation) => {
            println!("host      FreeSWITCH {} ({})", installation.version, installation.binary.display());
            real::with_call(&installation, |line| converse(line, &server, &voice.samples))
        }
        Err(why) => {
            println!("host      the stand-in FreeSWITCH of tests/standin/host: {why}");
            standin::with_call(&module, |line| converse(line, &server, &voice.samples))
                .map_err(|error| format!("the module was not loaded: {error}"))?
        }
    }?;
    // What was recorded is worth keeping also when it cannot be measured.
    let folder = module::scratch_folder().with_file_name("demo");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let write = |name: &str, contents: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, contents).map_err(|error| format!("{}: {error}", file.display()))
    };
    write("events.log", report::events_log(&call).as_bytes())?;
    let figures = measure(&call)?;
    let tracks = [("said.wav", &figures.said), ("heard.wav", &figures.heard)];
    for (name, track) in tracks {
        let samples = track.laid_out(figures.length, true);
        wav::write(&folder.join(name), RATE, 1, &samples).map_err(|error| format!("{name}: {error}"))?;
    }
    write("report.html", report::html(&call, &figures).as_bytes())?;
    tell(&figures, &folder);
    Ok(())
}

/// The last words: what was measured and what to open.
fn tell(figures: &Figures, folder: &Path) {
    let to_caller: Vec<_> = figures.to_caller.iter().map(|ms| format!("{ms:.1}")).collect();
    println!();
    println!("said to server     {:5.1} ms (median of {} packets)", figures.to_server.median, figures.to_server.count);
    println!("server to heard    {} ms (first and second answer)", to_caller.join(" and "));
    println!("clear to silence   {:5.1} ms ({:.1} s of audio dropped)", figures.to_silence(), figures.cleared);
    println!();
    println!("Open {} in a browser.", shown(&folder.join("report.html")));
    println!("Beside it: said.wav, heard.wav (what the caller said and heard), events.log.");
}

/// A path as it is typed from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::new());
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// The conversation: the demonstration's hold on a call.
struct Talk<'a> {
    line: &'a dyn Line,
    server: &'a EchoServer,
    origin: Instant,
    commands: Vec<Command>,
    queue: Vec<(Instant, f64)>,
}

/// The call from its first second to its last. An error says what did not happen.
fn converse(line: &dyn Line, server: &EchoServer, voice: &[i16]) -> Result<Recording, String> {
    let mut talk = Talk { line, server, origin: Instant::now(), commands: Vec::new(), queue: Vec::new() };
    talk.say(&format!("call {} is parked", line.uuid()));
    talk.pause(Duration::from_millis(400));
    talk.command(&format!("start {} mono 16k", server.url()))?;
    talk.wait("the event connect", |line, _| line.events().iter().any(|event| event.name == "connect").then_some(()))?;
    talk.say("the server is connected");
    talk.pause(Duration::from_millis(400));

    talk.say("the caller speaks");
    line.say(voice);
    let answer = talk.wait("the server's answer", |_, server| server.answer(0))?;
    talk.say("the caller has paused; the server repeats all of it in one message");
    talk.wait("sound at the phone", |line, _| first_sound(line, answer.at))?;
    talk.say("the caller hears the answer");
    let length = Duration::from_secs_f64(answer.samples.len() as f64 / f64::from(echo::RATE));
    talk.pause(length + Duration::from_millis(500));

    talk.say("the caller speaks again");
    line.say(voice);
    let answer = talk.wait("the server's second answer", |_, server| server.answer(1))?;
    let sound = talk.wait("sound at the phone", |line, _| first_sound(line, answer.at))?;
    talk.say("the caller hears the second answer");
    let barge_in = sound + loudest(voice);
    talk.pause(barge_in.saturating_duration_since(Instant::now()));
    talk.command("clear")?;
    // As long as the rest of the answer would have sounded, and then some.
    talk.pause(length - loudest(voice) + Duration::from_millis(200));

    let ask = |command: &str| {
        let answer = line.api(&format!("uuid_audio_stream {command}"));
        serde_json::from_str(&answer).map_err(|error| format!("'{command}' answered {answer}: {error}"))
    };
    let (health, version) = (ask(&format!("{} health", line.uuid()))?, ask("version")?);
    talk.command("stop")?;
    talk.wait("the event disconnect", |line, _| {
        line.events().iter().any(|event| event.name == "disconnect").then_some(())
    })?;
    talk.say("the server is disconnected");
    talk.pause(Duration::from_millis(300));
    let hung_up = Instant::now();
    line.hang_up();
    talk.say("the caller hangs up");
    let Talk { origin, commands, queue, .. } = talk;
    Ok(Recording {
        origin,
        host: line.host().to_owned(),
        medium: line.medium().to_owned(),
        uuid: line.uuid().to_owned(),
        url: server.url(),
        said: line.said(),
        heard: line.heard(),
        server: server.log(),
        commands,
        events: line.events(),
        queue,
        health,
        version,
        hung_up,
    })
}

impl Talk<'_> {
    fn say(&self, what: &str) {
        println!("{:5.1} s   {what}", self.origin.elapsed().as_secs_f64());
    }

    /// Gives the module a command; an error is a refusal.
    fn command(&mut self, text: &str) -> Result<(), String> {
        self.say(&format!("uuid_audio_stream <uuid> {text}"));
        let line = format!("uuid_audio_stream {} {text}", self.line.uuid());
        let at = Instant::now();
        let answer = self.line.api(&line).trim().to_owned();
        let took_ms = at.elapsed().as_secs_f64() * 1e3;
        let accepted = answer.starts_with("+OK");
        self.commands.push(Command { at, text: text.to_owned(), answer: answer.clone(), took_ms });
        if accepted { Ok(()) } else { Err(format!("'{text}' was answered: {answer}")) }
    }

    /// Looks how much playback waits; nothing to see while there is no stream.
    fn look(&mut self) {
        let health = self.line.api(&format!("uuid_audio_stream {} health", self.line.uuid()));
        let Ok(health) = serde_json::from_str::<serde_json::Value>(&health) else { return };
        let Some(bytes) = health["inject"]["buffer_inuse_bytes"].as_f64() else { return };
        self.queue.push((Instant::now(), bytes / 2.0 / f64::from(echo::RATE) * 1e3));
    }

    fn pause(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let next = Instant::now() + LOOK;
            // Not just before the end: what follows is to be on time.
            if next <= end + LOOK / 2 {
                self.look();
            }
            std::thread::sleep(next.min(end).saturating_duration_since(Instant::now()));
        }
    }

    fn wait<T>(&mut self, what: &str, probe: impl Fn(&dyn Line, &EchoServer) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe(self.line, self.server) {
                return Ok(found);
            }
            if Instant::now() > end {
                return Err(format!("waited {PATIENCE:?} for {what}"));
            }
            self.pause(LOOK);
        }
    }
}

/// When the phone was first given sound since `since`.
fn first_sound(line: &dyn Line, since: Instant) -> Option<Instant> {
    let sounds = |samples: &[i16]| samples.iter().any(|sample| sample.unsigned_abs() > QUIET);
    line.heard().iter().find(|packet| packet.at >= since && sounds(&packet.samples)).map(|packet| packet.at)
}

/// Where the sentence's second third is loudest: in the middle of a word.
fn loudest(voice: &[i16]) -> Duration {
    let window = RATE as usize / 10;
    let thirds = voice.len() / 3..voice.len() * 2 / 3;
    let loudness = |from: &usize| support::audio::rms(&voice[*from..*from + window]);
    let from = thirds.step_by(window / 4).max_by(|a, b| loudness(a).total_cmp(&loudness(b)));
    Duration::from_secs_f64((from.unwrap_or(0) + window / 2) as f64 / f64::from(RATE))
}
