//! The table of all commands, and how the documentation and replies write them.
//!
//! To add a command about a call, add an [`Action`] and a row here; to add one about the module, a
//! [`Command`](super::Command) and a row.

use std::time::Duration;

use super::action::{Action, BreakerOrder, DrainOrder, DrainWord, MaskWord, Role, SendText};
use super::error::CommandError;
use super::rest::Rest;
use super::row::{CommandRow, Context, Read};
use super::start::{start, start_ai, transcribe};
use super::{API, Command};
use crate::control::options::{self, OptionValues};
use crate::dsp::gain::{BadGain, Gain};
use crate::dsp::tone::{DigitTiming, digits};
use crate::options::values;
use crate::units::choice::Choice as _;
use crate::units::text::shown;

/// Longest time limit of `drain on`, s: a day.
const MOST_DRAIN_S: u32 = 86_400;

/// Every command.
pub static COMMANDS: &[CommandRow] = &[
    CommandRow {
        verb: "start",
        arguments: "<ws-url> [mono|mixed|stereo] [8k|16k|24k|32k|48k|Hz] [key=value ...] [metadata]",
        doc: "Attaches a stream to the call and connects it to the server. The metadata begins with the first word that is not an \
              option. It is sent unchanged as the first text message.",
        read: Read::Call(start),
    },
    CommandRow {
        verb: "transcribe",
        arguments: "[mono|mixed|stereo] [8k|16k|24k|32k|48k|Hz] [key=value ...] [settings]",
        doc: "Attaches a stream to the call whose words a transcription service writes down: `protocol=` names the service. Each \
              result is a `transcript` event. The settings are a JSON object for services that take one.",
        read: Read::Call(transcribe),
    },
    CommandRow {
        verb: "start_ai",
        arguments: "[key=value ...]",
        doc: "Attaches a conversation with an AI to the call and connects it to the service.",
        read: Read::Call(start_ai),
    },
    CommandRow {
        verb: "stop",
        arguments: "[text]",
        doc: "Sends the text, if one is given, closes the connection with code 1000 and detaches the stream. The reply says which \
              stream gets the text if no `name=` is given.",
        read: Read::Call(|_, rest, _| Ok(Action::Stop { text: rest.text().map(str::to_owned) })),
    },
    CommandRow {
        verb: "pause",
        arguments: "[capture|playback]",
        doc: "Stops sending captured audio; audio of this time is never sent. Playback continues. With `playback`, stops playback \
              instead; audio from the server waits.",
        read: Read::Call(|row, rest, _| Ok(Action::Pause(row.direction(rest)?))),
    },
    CommandRow {
        verb: "resume",
        arguments: "[capture|playback]",
        doc: "Sends captured audio again. With `playback`, continues playback where it was paused.",
        read: Read::Call(|row, rest, _| Ok(Action::Resume(row.direction(rest)?))),
    },
    CommandRow {
        verb: "send_text",
        arguments: "[role=user|system|assistant] [respond=true|false] <text>",
        doc: "Sends one text message; spaces and quotes are kept. In a conversation, the model receives the text as if the caller had \
              said it, and answers. `role=system`: as instructions or facts from you; `assistant`: as if it had said it itself. \
              `respond=false`: without an answer. Another role is refused. A server receives both words as part of the text.",
        read: Read::Call(send_text),
    },
    CommandRow {
        verb: "clear",
        arguments: "",
        doc: "Drops all queued playback at once. In a conversation, this interrupts the agent.",
        read: Read::Call(|row, rest, _| rest.end(row.verb, Action::Clear)),
    },
    CommandRow {
        verb: "gain",
        arguments: "caller|agent|leg <dB>",
        doc: "Sets the gain of the caller for the server, or of the server (`agent`) or the other leg (`leg`, for all streams of \
              the call) for the caller: -60 to 20 dB, from the next packet on.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = row.source(rest, context)?;
            let (db, rest) = rest.word().ok_or_else(|| context.missing(row, "the gain in dB"))?;
            let db = db.parse::<Gain>().map_err(|_| BadGain(shown(db)))?;
            // As in `-6 dB`.
            let rest = rest.word().filter(|(word, _)| word.eq_ignore_ascii_case("dB")).map_or(rest, |(_, rest)| rest);
            rest.end(row.verb, Action::Gain(source, db))
        }),
    },
    CommandRow {
        verb: "mute",
        arguments: "caller|agent|leg",
        doc: "Mutes the caller for the server, or the server (`agent`) or the other leg for the caller, from the next packet on.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = row.source(rest, context)?;
            rest.end(row.verb, Action::Mute(source))
        }),
    },
    CommandRow {
        verb: "unmute",
        arguments: "caller|agent|leg",
        doc: "Undoes `mute`. The gain is unchanged.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = row.source(rest, context)?;
            rest.end(row.verb, Action::Unmute(source))
        }),
    },
    CommandRow {
        verb: "dtmf",
        arguments: "<digits>[@ms]",
        doc: "Plays DTMF tones to the caller: 0-9 * # A-D; `w` is a pause of half a second, `W` of one second. `@ms` sets the \
              duration of each tone (default 100).",
        read: Read::Call(|row, rest, context| {
            let (text, rest) = rest.word().ok_or_else(|| context.missing(row, "a digit"))?;
            let steps = digits(text, DigitTiming::default())?;
            rest.end(row.verb, Action::Dtmf(steps))
        }),
    },
    CommandRow {
        verb: "record",
        arguments: "start <file.wav> | stop",
        doc: "Records the call to a stereo file, with or without a stream: the caller on the left, and what they hear on the right. A \
              relative file name is below `record_dir`. An existing file is never overwritten. The recording does not end with a \
              stream of the same name.",
        read: Read::Call(record),
    },
    CommandRow {
        verb: "mask",
        arguments: "on|off",
        doc: "Withholds the caller's audio and DTMF digits from every stream and recording of the call, for example while they give a \
              card number; also from those that begin meanwhile. In place of the audio there is silence of the same length.",
        read: Read::Call(|row, rest, context| {
            let (word, rest) = rest.word().ok_or_else(|| context.missing(row, "on or off"))?;
            let word: MaskWord = row.choice(word)?;
            rest.end(row.verb, Action::Mask(word == MaskWord::On))
        }),
    },
    CommandRow {
        verb: "say",
        arguments: "<text>",
        doc: "Has the text spoken to the caller: by the agent of a conversation, on a stream to a server by the `tts_provider`, behind \
              what is queued. The other audio of the server waits until the text has been queued. `clear` drops it.",
        read: Read::Call(|row, rest, context| match rest.text() {
            Some(text) => Ok(Action::Say(text.to_owned())),
            None => Err(context.missing(row, "the text")),
        }),
    },
    CommandRow {
        verb: "ai_result",
        arguments: "<call-id> <result>",
        doc: "Answers the function call announced by `ai_action`. The model receives the result, which is usually JSON.",
        read: Read::Call(|row, rest, context| {
            let (call_id, rest) = rest.word().ok_or_else(|| context.missing(row, "the call's id"))?;
            let output = rest.text().ok_or_else(|| context.missing(row, "the result"))?;
            Ok(Action::AiResult { call_id: call_id.to_owned(), output: output.to_owned() })
        }),
    },
    CommandRow {
        verb: "ai_update",
        arguments: "<key=value ...>",
        doc: "Changes options of a conversation that runs, for this session and those after a reconnect: `system_prompt`, `tools`, \
              `tool_choice`, `voice` (before the agent is heard), `speed`, `turn_detection` and the `vad_…` options, \
              `max_response_tokens`.",
        read: Read::Call(ai_update),
    },
    CommandRow {
        verb: "ai_send",
        arguments: "<json>",
        doc: "Sends an event to the service of a conversation, as it is: a JSON object with a `type`.",
        read: Read::Call(ai_send),
    },
    CommandRow {
        verb: "health",
        arguments: "",
        doc: "Prints the health of the stream and the recording of that name as JSON.",
        read: Read::Call(|row, rest, _| rest.end(row.verb, Action::Health)),
    },
    CommandRow {
        verb: "global_health",
        arguments: "",
        doc: "Prints module health as JSON.",
        read: Read::Module(|row, rest| rest.end(row.verb, Command::GlobalHealth)),
    },
    CommandRow {
        verb: "list",
        arguments: "",
        doc: "Prints all streams as JSON.",
        read: Read::Module(|row, rest| rest.end(row.verb, Command::List)),
    },
    CommandRow {
        verb: "breakers",
        arguments: "[reset [server]]",
        doc: "Prints the circuit breaker of every server that has failed or asked for a pause as JSON. With `reset`, closes the \
              breaker of that server, which is given as printed or by a URL, or every one, and forgets its failures.",
        read: Read::Module(breakers),
    },
    CommandRow {
        verb: "version",
        arguments: "",
        doc: "Prints the version and the origin of the build as JSON.",
        read: Read::Module(|row, rest| rest.end(row.verb, Command::Version)),
    },
    CommandRow {
        verb: "metrics",
        arguments: "",
        doc: "Prints all metrics in the text format of Prometheus.",
        read: Read::Module(|row, rest| rest.end(row.verb, Command::Metrics)),
    },
    CommandRow {
        verb: "drain",
        arguments: "on [seconds] | off | status",
        doc: "`on`: from now on no stream, conversation or recording is started; those that are live end by themselves, or after so \
              many seconds. `off`: back to normal. `status` prints as JSON what is still live.",
        read: Read::Module(drain),
    },
    CommandRow {
        verb: "config",
        arguments: "[profile=<name>] | check [file]",
        doc: "Prints as JSON the value of every setting and option that is in force where neither the command nor a channel variable \
              says otherwise, and where it comes from: default, environment, settings or profile. Without `profile=`, the profile of \
              the settings applies. Secrets are `***`. `check` reads a file, without one the `audio_stream.conf.xml` on the disk, and says what \
              is wrong in it; nothing is changed.",
        read: Read::Module(config),
    },
];

/// The syntax of all commands on one line: what `show api` prints, and `-USAGE:`.
pub fn syntax() -> String {
    COMMANDS.iter().map(CommandRow::syntax).collect::<Vec<_>>().join(" | ")
}

/// The syntax of the dialplan application: what `show application` prints.
pub fn application_syntax() -> String {
    let start = COMMANDS.first().map_or("", |row| row.arguments).replace("[key=value", "[wait=true|ready] [key=value");
    let others = COMMANDS.iter().skip(1).filter(|row| row.is_for_call()).map(|row| row.syntax_after(""));
    std::iter::once(format!("[name=<id>] {start}")).chain(others).collect::<Vec<_>>().join(" | ")
}

/// The syntax of the application for conversations.
pub fn ai_application_syntax() -> String {
    let others = COMMANDS.iter().filter(|row| row.is_for_call() && !row.verb.starts_with("start"));
    let others = others.map(|row| row.syntax_after(""));
    std::iter::once("[name=<id>] [wait=true|ready] [key=value ...]".to_owned())
        .chain(others)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// What to give to `switch_console_set_complete` at load, one line each.
pub fn completions() -> Vec<String> {
    let line = |row: &CommandRow| {
        let of_call = if row.is_for_call() { "::console::list_uuid " } else { "" };
        format!("add {API} {of_call}{}", row.verb)
    };
    COMMANDS.iter().map(line).collect()
}

/// What to give to `switch_console_set_complete` at unload.
pub fn completion_removal() -> String {
    format!("del {API}")
}

fn send_text(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let whole = rest.text().ok_or_else(|| context.missing(row, "the text"))?.to_owned();
    let (mut role, mut respond, mut slip, mut rest) = (None, None, None, rest);
    while let Some((word, after)) = rest.word() {
        let known = match word.split_once('=') {
            Some(("role", value)) if role.is_none() => {
                role = Role::named(value);
                role.map(drop).ok_or("role=user, role=system or role=assistant")
            }
            // Behind a role, text may begin with anything.
            Some(("respond", value)) if respond.is_none() => {
                respond = values::flag(value);
                respond.map(drop).ok_or("respond=true or respond=false")
            }
            _ => break,
        };
        if let Err(known) = known {
            slip = role.is_none().then(|| CommandError::TextOption { given: shown(word), known: known.to_owned() });
            break;
        }
        rest = after;
    }
    let text = rest.text().unwrap_or_default().to_owned();
    let (role, respond) = (role.unwrap_or_default(), respond.unwrap_or(true));
    Ok(Action::SendText(SendText { whole, text, role, respond, slip }))
}

fn ai_update(row: &CommandRow, mut rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let mut given = OptionValues::default();
    while let Some((word, _)) = rest.word() {
        let Some((option, value, after)) = rest.option(options::live_row)? else {
            if word.starts_with("name=") {
                return Err(CommandError::NamePlace(row.verb));
            }
            // What stands behind the '=' may be secret.
            let key = word.split_once('=').map_or(word, |(key, _)| key);
            return Err(CommandError::NotLive(shown(key)));
        };
        given.add(option, value)?;
        rest = after;
    }
    if given.iter().next().is_none() {
        return Err(context.missing(row, "an option"));
    }
    Ok(Action::AiUpdate(given))
}

fn ai_send(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let text = rest.text().ok_or_else(|| context.missing(row, "the event"))?.trim_ascii();
    let event: serde_json::Value =
        serde_json::from_str(text).map_err(|error| CommandError::NoEvent(values::json_fault(&error)))?;
    match event.get("type").and_then(|kind| kind.as_str()) {
        Some(kind) if !kind.is_empty() => Ok(Action::AiSend(text.to_owned())),
        _ => Err(CommandError::NoEvent("the text is JSON, but not an object with a type".into())),
    }
}

fn record(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let (word, rest) = rest.word().ok_or_else(|| context.missing(row, "start or stop"))?;
    match word.to_ascii_lowercase().as_str() {
        "start" => match rest.text() {
            Some(file) => Ok(Action::RecordStart { file: file.trim_ascii().to_owned() }),
            None => Err(context.missing(row, "the file")),
        },
        "stop" => rest.end(row.verb, Action::RecordStop),
        _ => Err(CommandError::UnknownVerb {
            given: format!("record {}", shown(word)),
            known: "record start, record stop".into(),
        }),
    }
}

fn drain(row: &CommandRow, rest: Rest<'_>) -> Result<Command, CommandError> {
    let missing = || CommandError::Missing { syntax: row.syntax(), missing: "on, off or status" };
    let (word, rest) = rest.word().ok_or_else(missing)?;
    let order = match row.choice(word)? {
        DrainWord::On => {
            let (limit, rest) = match rest.word() {
                Some((text, rest)) => (Some(drain_limit(text)?), rest),
                None => (None, rest),
            };
            return rest.end(row.verb, Command::Drain(DrainOrder::On { limit }));
        }
        DrainWord::Off => DrainOrder::Off,
        DrainWord::Status => DrainOrder::Status,
    };
    rest.end(row.verb, Command::Drain(order))
}

fn drain_limit(text: &str) -> Result<Duration, CommandError> {
    let seconds = values::number(text).filter(|seconds| (1..=MOST_DRAIN_S).contains(seconds));
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| CommandError::Word {
        verb: "drain on",
        given: shown(text),
        known: format!("1 to {MOST_DRAIN_S} seconds"),
    })
}

fn breakers(row: &CommandRow, rest: Rest<'_>) -> Result<Command, CommandError> {
    let Some((word, rest)) = rest.word() else { return Ok(Command::Breakers(BreakerOrder::Report)) };
    if !word.eq_ignore_ascii_case("reset") {
        return Err(CommandError::Word { verb: row.verb, given: shown(word), known: "reset".into() });
    }
    let server = rest.text().map(|text| text.trim_ascii().to_owned());
    Ok(Command::Breakers(BreakerOrder::Reset { server }))
}

fn config(row: &CommandRow, rest: Rest<'_>) -> Result<Command, CommandError> {
    if let Some((_, rest)) = rest.word().filter(|(word, _)| word.eq_ignore_ascii_case("check")) {
        return Ok(Command::CheckConfig { file: rest.text().map(|file| file.trim_ascii().to_owned()) });
    }
    let named = rest.word().and_then(|(word, after)| Some((word.strip_prefix("profile=")?.to_owned(), after)));
    let (profile, rest) = named.map_or((None, rest), |(name, after)| (Some(name), after));
    rest.end(row.verb, Command::Config { profile })
}
