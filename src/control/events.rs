//! FreeSWITCH events as ESL subscribers see them: `CUSTOM` with a subclass of [`EVENTS`], headers and a JSON body.
//!
//! Rendered on the event thread from a [`StreamEvent`]. Pure: whoever fires the event adds the channel's data, or the call's uuid as
//! `Unique-ID` where the call is gone already. Texts from the far end are cut and freed of control characters in headers; in bodies
//! of our own they are JSON strings; a body that is the far end's own text is passed on as it came, up to [`MAX_BODY`].

use serde::Serialize;

use crate::control::health::{RecordJson, two_decimals};
use crate::control::text::cut;
use crate::conversation::agent::{self, BargeInCause, Component, Speaker, State};
use crate::stream::event::{Overflow, Playback, Queue, RecordEvent, Severity, StreamEvent};
use crate::stream::status::{ChannelLevel, RecordStatus};
use crate::transport::ErrorCode;
use crate::units::{CallId, SampleRate, StreamName};

/// Longest body, bytes. A longer text of the far end is cut, which the header `Audio-Stream-Truncated` tells.
pub const MAX_BODY: usize = 262_144;
/// Longest text repeated as a header, bytes. A longer one stands in the body only.
pub const MAX_HEADER_TEXT: usize = 8_192;
/// Longest reason or message, bytes; a longer one is cut.
pub const MAX_REASON: usize = 1_024;

/// An event ready to be fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FsEvent {
    /// The call it is about.
    pub call: CallId,
    /// Full name of the subclass.
    pub subclass: &'static str,
    /// Names and values; values are one line and never empty.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<String>,
    /// Channel variables to set before the event is fired: what the dialplan sees of it.
    pub variables: Vec<(&'static str, String)>,
}

/// A subclass: reserved at load, freed at unload, documented.
pub struct EventRow {
    /// Full name.
    pub subclass: &'static str,
    /// When it is fired.
    pub doc: &'static str,
    /// One such event.
    pub example: fn() -> StreamEvent,
}

/// Every subclass that is fired.
pub static EVENTS: &[EventRow] = &[
    EventRow {
        subclass: "mod_audio_stream::connect",
        doc: "The server accepted the connection.",
        example: || StreamEvent::Connected,
    },
    EventRow {
        subclass: "mod_audio_stream::disconnect",
        doc: "The connection ended, from whichever side; 1006 where the other side just vanished. Fired even when the call is gone.",
        example: || StreamEvent::Disconnected { code: 1000, reason: "bye".into() },
    },
    EventRow {
        subclass: "mod_audio_stream::error",
        doc: "Something failed. Codes: 1 IO, 2 INVALID_HEADER, 3 SERVER_MASKED, 4 NOT_SUPPORTED, 5 PING_TIMEOUT, 6 CONNECT_FAILED, \
              7 TLS_INIT_FAILED, 8 SSL_HANDSHAKE_FAILED, 9 SSL_ERROR, 10 TIMEOUT, 11 PROTOCOL.",
        example: || StreamEvent::Error { code: ErrorCode::ConnectFailed, message: "connection refused".into() },
    },
    EventRow {
        subclass: "mod_audio_stream::json",
        doc: "The server sent a text that is no command to the module. The body is the text, unchanged.",
        example: || StreamEvent::Json(r#"{"type":"transcription","text":"hello"}"#.into()),
    },
    EventRow {
        subclass: "mod_audio_stream::play",
        doc: "The server sent audio in a text message. The body is the message without the audio.",
        example: || StreamEvent::Play(r#"{"audioDataType":"raw","sampleRate":8000}"#.into()),
    },
    EventRow {
        subclass: "mod_audio_stream::overflow",
        doc: "Audio was dropped because a queue was full: `inject`, playback that waits to be heard (`inject_buffer_ms`), or `send`, \
              captured audio that waits for a server that does not read (`max_queue_ms`). Severity `error`: it lasts.",
        example: || {
            StreamEvent::Overflow(Overflow {
                queue: Queue::Inject,
                severity: Severity::Warning,
                drops: 6,
                dropped_ms: 120,
                total_dropped_ms: 480,
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::playback",
        doc: "What the caller hears of the server: `started` and `finished` with an utterance, `cleared` when what waited to be \
              heard has been dropped, `mark` when a named mark of the server's was heard, or else dropped. `played_ms`: what the \
              caller had been given of the stream by then.",
        example: || StreamEvent::Playback(Playback::Mark { name: "m1".into(), heard: true, played_ms: 1_240 }),
    },
    EventRow {
        subclass: "mod_audio_stream::underrun",
        doc: "The caller heard gaps within what the server sent, because it came too late. At most one event in five seconds.",
        example: || StreamEvent::Underrun { count: 2, played_ms: 8_640 },
    },
    EventRow {
        subclass: "mod_audio_stream::dtmf",
        doc: "The caller pressed a key, which the server was told in its protocol's form, if that has one. Not during a pause, nor \
              while the channel variable `sensitive_dtmf` is true.",
        example: || StreamEvent::Dtmf { digit: '5', duration_ms: 120 },
    },
    EventRow {
        subclass: "mod_audio_stream::record",
        doc: "A recording began (`started`), ended (`stopped`) or could not go on (`failed`, after an `error`); the name is the \
              recording's. Levels in dB of full scale, `null` for silence. Fired even when the call is gone.",
        example: || {
            StreamEvent::Record(RecordEvent::Stopped {
                status: RecordStatus {
                    file: "/var/lib/freeswitch/recordings/a.wav".into(),
                    rate: SampleRate::HZ_8000,
                    duration_ms: 61_500,
                    dropped_frames: 0,
                    caller: ChannelLevel { peak: 16_423, mean_square: 1_073_741 },
                    heard: ChannelLevel { peak: 8_231, mean_square: 536_870 },
                },
                reason: "stopped".into(),
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::speech",
        doc: "The caller of a conversation begins to speak, or stops.",
        example: || StreamEvent::Speech { speaking: true },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_state",
        doc: "A conversation's state has changed: IDLE, CONNECTING, LISTENING, PROCESSING, SPEAKING, RECONNECTING, FAILED or \
              ERROR. The one with `last` ends it, and is fired even when the call is gone. Why stands there where there is a \
              reason: the code is an HTTP status, a close code or the service's own. The dialplan finds the state in \
              `${audio_stream_status}`.",
        example: || {
            StreamEvent::Ai(agent::Event::State {
                state: State::Failed,
                last: true,
                code: "401".into(),
                message: "the key was refused".into(),
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_transcript",
        doc: "What the caller or the agent said. With `transcript_deltas` also each piece of it, which is not `final`.",
        example: || {
            StreamEvent::Ai(agent::Event::Transcript {
                speaker: Speaker::Caller,
                item_id: "item_1".into(),
                text: "Where is my order?".into(),
                whole: true,
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_response",
        doc: "The model has responded; its words as far as they came. `interrupted`: it was cut off.",
        example: || {
            StreamEvent::Ai(agent::Event::Response {
                response_id: "resp_1".into(),
                text: "It is on its way.".into(),
                interrupted: false,
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_action",
        doc: "The model calls a function, with arguments as it wrote them. `builtin`: the module carries it out; all others \
              wait for `ai_result` with the `call_id`.",
        example: || {
            StreamEvent::Ai(agent::Event::Action {
                call_id: "call_1".into(),
                name: "look_up".into(),
                arguments: r#"{"order":7}"#.into(),
                builtin: false,
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_barge_in",
        doc: "The caller interrupted the agent: by `server_vad`, `local_vad`, `dtmf`, or the `operator` did by `clear`. Of what the \
              agent had said in `received_ms`, `heard_ms` were heard.",
        example: || {
            StreamEvent::Ai(agent::Event::BargeIn {
                cause: BargeInCause::EngineVad,
                item_id: Some("item_2".into()),
                heard_ms: 1_220,
                received_ms: 4_000,
            })
        },
    },
    EventRow {
        subclass: "mod_audio_stream::ai_idle",
        doc: "Nobody has spoken for `idle_timeout_ms`, so often in a row.",
        example: || StreamEvent::Ai(agent::Event::Idle { count: 1 }),
    },
];

/// The subclass a stream's event is fired as.
pub const fn subclass(event: &StreamEvent) -> &'static str {
    match event {
        StreamEvent::Connected => "mod_audio_stream::connect",
        StreamEvent::Disconnected { .. } => "mod_audio_stream::disconnect",
        StreamEvent::Error { .. } => "mod_audio_stream::error",
        StreamEvent::Json(_) => "mod_audio_stream::json",
        StreamEvent::Play(_) => "mod_audio_stream::play",
        StreamEvent::Overflow(_) => "mod_audio_stream::overflow",
        StreamEvent::Playback(_) => "mod_audio_stream::playback",
        StreamEvent::Underrun { .. } => "mod_audio_stream::underrun",
        StreamEvent::Dtmf { .. } => "mod_audio_stream::dtmf",
        StreamEvent::Record(_) => "mod_audio_stream::record",
        StreamEvent::Speech { .. } => "mod_audio_stream::speech",
        StreamEvent::Ai(event) => subclass_of(event),
    }
}

const fn subclass_of(event: &agent::Event) -> &'static str {
    match event {
        agent::Event::State { .. } => "mod_audio_stream::ai_state",
        agent::Event::Transcript { .. } => "mod_audio_stream::ai_transcript",
        agent::Event::Response { .. } => "mod_audio_stream::ai_response",
        agent::Event::Action { .. } => "mod_audio_stream::ai_action",
        agent::Event::BargeIn { .. } => "mod_audio_stream::ai_barge_in",
        agent::Event::Idle { .. } => "mod_audio_stream::ai_idle",
        agent::Event::Error { .. } | agent::Event::SpeechFailed { .. } => "mod_audio_stream::error",
    }
}

#[derive(Serialize)]
struct Body<T> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<T>,
}

#[derive(Serialize)]
struct Closing<'a> {
    code: u16,
    reason: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: u8,
    error: &'a str,
}

#[derive(Serialize)]
struct OverflowBody {
    status: &'static str,
    queue: &'static str,
    severity: &'static str,
    drops: u64,
    dropped_ms: u64,
    total_dropped_ms: u64,
}

#[derive(Serialize)]
struct PlaybackBody<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<bool>,
    played_ms: u64,
}

#[derive(Serialize)]
struct UnderrunBody {
    status: &'static str,
    count: u64,
    played_ms: u64,
}

#[derive(Serialize)]
struct DtmfBody {
    status: &'static str,
    digit: char,
    duration_ms: u32,
}

#[derive(Serialize)]
struct SpeechBody {
    status: &'static str,
}

#[derive(Serialize)]
struct StateBody<'a> {
    state: &'static str,
    last: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct TranscriptBody<'a> {
    speaker: &'static str,
    item_id: &'a str,
    text: &'a str,
    r#final: bool,
}

#[derive(Serialize)]
struct ResponseBody<'a> {
    response_id: &'a str,
    text: &'a str,
    interrupted: bool,
}

#[derive(Serialize)]
struct ActionBody<'a> {
    call_id: &'a str,
    name: &'a str,
    arguments: &'a str,
    builtin: bool,
}

#[derive(Serialize)]
struct BargeInBody<'a> {
    cause: &'static str,
    item_id: Option<&'a str>,
    heard_ms: u64,
    received_ms: u64,
}

#[derive(Serialize)]
struct IdleBody {
    count: u32,
}

/// An `error` of a conversation: what the older modules have, and whose it is.
#[derive(Serialize)]
struct AiFailure<'a> {
    code: u8,
    error: &'a str,
    component: &'static str,
    provider_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
}

/// The words for who spoke.
const fn speaker_word(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::Caller => "caller",
        Speaker::Agent => "agent",
    }
}

/// Headers, body and variables of what happened in a conversation.
fn render_ai(event: &agent::Event, out: &mut FsEvent) {
    let mut header = |name, value: &str| {
        // A text too long for a header stands in the body.
        if value.len() <= MAX_HEADER_TEXT {
            out.headers.push((name, one_line(value)));
        }
    };
    let word = |yes: bool| if yes { "true" } else { "false" };
    out.body = match event {
        agent::Event::State { state, last, code, message } => {
            let (code, message) = (cut(code, MAX_REASON), cut(message, MAX_REASON));
            header("Audio-Stream-State", state.as_str());
            header("Audio-Stream-Last", word(*last));
            header("Audio-Stream-Code", code);
            header("Audio-Stream-Reason", message);
            let status = match (state, last) {
                (State::Failed, _) => "error",
                (_, true) => "ended",
                (state, false) => state.as_str(),
            };
            out.variables.push(("audio_stream_status", status.to_owned()));
            if *state == State::Failed {
                out.variables.push(("audio_stream_error", one_line(message)));
            }
            json(&StateBody { state: state.as_str(), last: *last, code, message })
        }
        agent::Event::Transcript { speaker, item_id, text, whole } => {
            let text = cut(text, MAX_BODY);
            header("Audio-Stream-Speaker", speaker_word(*speaker));
            header("Audio-Stream-Item-Id", item_id);
            header("Audio-Stream-Text", text);
            header("Audio-Stream-Final", word(*whole));
            json(&TranscriptBody { speaker: speaker_word(*speaker), item_id, text, r#final: *whole })
        }
        agent::Event::Response { response_id, text, interrupted } => {
            let text = cut(text, MAX_BODY);
            header("Audio-Stream-Response-Id", response_id);
            header("Audio-Stream-Text", text);
            header("Audio-Stream-Interrupted", word(*interrupted));
            json(&ResponseBody { response_id, text, interrupted: *interrupted })
        }
        agent::Event::Action { call_id, name, arguments, builtin } => {
            let arguments = cut(arguments, MAX_BODY);
            header("Audio-Stream-Call-Id", call_id);
            header("Audio-Stream-Action", name);
            header("Audio-Stream-Arguments", arguments);
            header("Audio-Stream-Builtin", word(*builtin));
            json(&ActionBody { call_id, name, arguments, builtin: *builtin })
        }
        agent::Event::BargeIn { cause, item_id, heard_ms, received_ms } => {
            header("Audio-Stream-Cause", cause.as_str());
            header("Audio-Stream-Item-Id", item_id.as_deref().unwrap_or_default());
            header("Audio-Stream-Heard-Ms", &heard_ms.to_string());
            header("Audio-Stream-Received-Ms", &received_ms.to_string());
            let (item_id, heard_ms, received_ms) = (item_id.as_deref(), *heard_ms, *received_ms);
            json(&BargeInBody { cause: cause.as_str(), item_id, heard_ms, received_ms })
        }
        agent::Event::Idle { count } => {
            header("Audio-Stream-Count", &count.to_string());
            json(&IdleBody { count: *count })
        }
        agent::Event::Error { component, code, message } => {
            let component = match component {
                Component::Engine => "openai",
                Component::Tool => "tool",
            };
            failure(out, component, code, message, None)
        }
        agent::Event::SpeechFailed { text, code, message, latency } => {
            failure(out, "tts", code, message, Some((text, latency.as_millis() as u64)))
        }
    };
}

/// An `error` of a conversation. Its code is that of a far end that did not do as it should.
fn failure(
    out: &mut FsEvent,
    component: &'static str,
    provider_code: &str,
    message: &str,
    speech: Option<(&String, u64)>,
) -> Option<String> {
    let (code, error) = (ErrorCode::Protocol, cut(message, MAX_REASON));
    let provider_code = cut(provider_code, MAX_REASON);
    let sentence = speech.map(|(text, _)| cut(text, MAX_REASON));
    out.headers.extend([
        ("Audio-Stream-Status", "error".into()),
        ("Audio-Stream-Code", code.as_u8().to_string()),
        ("Audio-Stream-Error", code.as_str().into()),
        ("Audio-Stream-Reason", one_line(error)),
        ("Audio-Stream-Component", component.into()),
        ("Audio-Stream-Provider-Code", one_line(provider_code)),
    ]);
    let latency_ms = speech.map(|(_, latency_ms)| latency_ms);
    let message = AiFailure { code: code.as_u8(), error, component, provider_code, sentence, latency_ms };
    json(&Body { status: "error", message: Some(message) })
}

/// `event` of stream `name` on `call` as FreeSWITCH fires it.
pub fn render(call: &CallId, name: &StreamName, event: &StreamEvent) -> FsEvent {
    let mut headers = vec![("Audio-Stream-UUID", one_line(call.as_str())), ("Audio-Stream-Name", name.to_string())];
    let body = match event {
        StreamEvent::Ai(event) => {
            let mut out = FsEvent {
                call: call.clone(),
                subclass: subclass_of(event),
                headers,
                body: None,
                variables: Vec::new(),
            };
            render_ai(event, &mut out);
            out.headers.retain(|(_, value)| !value.is_empty());
            return out;
        }
        StreamEvent::Speech { speaking } => {
            let status = if *speaking { "started" } else { "stopped" };
            headers.push(("Audio-Stream-Status", status.into()));
            json(&SpeechBody { status })
        }
        StreamEvent::Connected => {
            headers.push(("Audio-Stream-Status", "connected".into()));
            json(&Body::<()> { status: "connected", message: None })
        }
        StreamEvent::Disconnected { code, reason } => {
            let reason = cut(reason, MAX_REASON);
            headers.push(("Audio-Stream-Status", "disconnected".into()));
            headers.push(("Audio-Stream-Code", code.to_string()));
            headers.push(("Audio-Stream-Reason", one_line(reason)));
            json(&Body { status: "disconnected", message: Some(Closing { code: *code, reason }) })
        }
        StreamEvent::Error { code, message } => {
            let message = cut(message, MAX_REASON);
            headers.push(("Audio-Stream-Status", "error".into()));
            headers.push(("Audio-Stream-Code", code.as_u8().to_string()));
            headers.push(("Audio-Stream-Error", code.as_str().into()));
            headers.push(("Audio-Stream-Reason", one_line(message)));
            json(&Body { status: "error", message: Some(Failure { code: code.as_u8(), error: message }) })
        }
        StreamEvent::Json(text) | StreamEvent::Play(text) => {
            if text.len() <= MAX_HEADER_TEXT {
                headers.push(("Audio-Stream-Message", one_line(text)));
            }
            if text.len() > MAX_BODY {
                headers.push(("Audio-Stream-Truncated", "true".into()));
                headers.push(("Audio-Stream-Length", text.len().to_string()));
            }
            Some(cut(text, MAX_BODY).replace('\0', "\u{fffd}"))
        }
        StreamEvent::Overflow(overflow) => {
            headers.push(("Audio-Stream-Status", "overflow".into()));
            headers.push(("Audio-Stream-Queue", overflow.queue.as_str().into()));
            headers.push(("Audio-Stream-Severity", overflow.severity.as_str().into()));
            headers.push(("Audio-Stream-Drops", overflow.drops.to_string()));
            headers.push(("Audio-Stream-Dropped-Ms", overflow.dropped_ms.to_string()));
            headers.push(("Audio-Stream-Total-Dropped-Ms", overflow.total_dropped_ms.to_string()));
            json(&OverflowBody {
                status: "overflow",
                queue: overflow.queue.as_str(),
                severity: overflow.severity.as_str(),
                drops: overflow.drops,
                dropped_ms: overflow.dropped_ms,
                total_dropped_ms: overflow.total_dropped_ms,
            })
        }
        StreamEvent::Playback(playback) => {
            let (status, played_ms, mark) = match playback {
                Playback::Started { played_ms } => ("started", played_ms, None),
                Playback::Finished { played_ms } => ("finished", played_ms, None),
                Playback::Cleared { played_ms } => ("cleared", played_ms, None),
                Playback::Mark { name, heard, played_ms } => ("mark", played_ms, Some((cut(name, MAX_REASON), *heard))),
            };
            headers.push(("Audio-Stream-Status", status.into()));
            headers.push(("Audio-Stream-Played-Ms", played_ms.to_string()));
            if let Some((name, heard)) = mark {
                headers.push(("Audio-Stream-Mark", one_line(name)));
                headers.push(("Audio-Stream-Heard", heard.to_string()));
            }
            let (mark, heard) = (mark.map(|(name, _)| name), mark.map(|(_, heard)| heard));
            json(&PlaybackBody { status, mark, heard, played_ms: *played_ms })
        }
        StreamEvent::Underrun { count, played_ms } => {
            headers.push(("Audio-Stream-Status", "underrun".into()));
            headers.push(("Audio-Stream-Count", count.to_string()));
            headers.push(("Audio-Stream-Played-Ms", played_ms.to_string()));
            json(&UnderrunBody { status: "underrun", count: *count, played_ms: *played_ms })
        }
        StreamEvent::Dtmf { digit, duration_ms } => {
            headers.push(("Audio-Stream-Status", "dtmf".into()));
            headers.push(("Audio-Stream-Digit", digit.to_string()));
            headers.push(("Audio-Stream-Duration-Ms", duration_ms.to_string()));
            json(&DtmfBody { status: "dtmf", digit: *digit, duration_ms: *duration_ms })
        }
        StreamEvent::Record(RecordEvent::Started { file, rate }) => {
            headers.push(("Audio-Stream-Status", "started".into()));
            headers.push(("Audio-Stream-File", one_line(file)));
            headers.push(("Audio-Stream-Rate", rate.to_string()));
            json(&RecordStarted { status: "started", file, rate: rate.hz() })
        }
        StreamEvent::Record(RecordEvent::Stopped { status, reason }) => {
            record_ended("stopped", status, cut(reason, MAX_REASON), &mut headers)
        }
        StreamEvent::Record(RecordEvent::Failed { status, reason }) => {
            record_ended("failed", status, cut(reason, MAX_REASON), &mut headers)
        }
    };
    headers.retain(|(_, value)| !value.is_empty());
    FsEvent { call: call.clone(), subclass: subclass(event), headers, body, variables: Vec::new() }
}

#[derive(Serialize)]
struct RecordStarted<'a> {
    status: &'static str,
    file: &'a str,
    rate: u32,
}

#[derive(Serialize)]
struct RecordEnded<'a> {
    status: &'static str,
    reason: &'a str,
    #[serde(flatten)]
    record: RecordJson<'a>,
}

/// The end of a recording: its headers, and its body.
fn record_ended(
    word: &'static str,
    status: &RecordStatus,
    reason: &str,
    headers: &mut Vec<(&'static str, String)>,
) -> Option<String> {
    let db = |level: Option<f64>| level.map(two_decimals).map(|db| db.to_string()).unwrap_or_default();
    headers.extend([
        ("Audio-Stream-Status", word.into()),
        ("Audio-Stream-File", one_line(&status.file)),
        ("Audio-Stream-Reason", one_line(reason)),
        ("Audio-Stream-Rate", status.rate.to_string()),
        ("Audio-Stream-Duration-Ms", status.duration_ms.to_string()),
        ("Audio-Stream-Dropped-Frames", status.dropped_frames.to_string()),
        ("Audio-Stream-Caller-Peak-Dbfs", db(status.caller.peak_dbfs())),
        ("Audio-Stream-Caller-Rms-Dbfs", db(status.caller.rms_dbfs())),
        ("Audio-Stream-Heard-Peak-Dbfs", db(status.heard.peak_dbfs())),
        ("Audio-Stream-Heard-Rms-Dbfs", db(status.heard.rms_dbfs())),
    ]);
    json(&RecordEnded { status: word, reason, record: RecordJson::of(status) })
}

/// Plain structs of texts and numbers always become JSON; should one not, the event goes without a body.
fn json(body: &impl Serialize) -> Option<String> {
    serde_json::to_string(body).ok()
}

/// A header's value. FreeSWITCH takes `ARRAY::` at its beginning for a list and would take the text apart; a space keeps it whole.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.starts_with("ARRAY::") { format!(" {line}") } else { line }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn rendered(event: &StreamEvent) -> FsEvent {
        render(&CallId::new("abc-1"), &StreamName::default(), event)
    }

    fn header<'a>(event: &'a FsEvent, name: &str) -> Option<&'a str> {
        event.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn bodies_are_those_of_the_predecessor() {
        for (event, subclass, body) in [
            (StreamEvent::Connected, "mod_audio_stream::connect", r#"{"status":"connected"}"#),
            (
                StreamEvent::Disconnected { code: 1000, reason: "a \"b\"\n\\".into() },
                "mod_audio_stream::disconnect",
                r#"{"status":"disconnected","message":{"code":1000,"reason":"a \"b\"\n\\"}}"#,
            ),
            (
                StreamEvent::Disconnected { code: 1006, reason: String::new() },
                "mod_audio_stream::disconnect",
                r#"{"status":"disconnected","message":{"code":1006,"reason":""}}"#,
            ),
            (
                StreamEvent::Error { code: ErrorCode::Timeout, message: "no answer in 5000 ms".into() },
                "mod_audio_stream::error",
                r#"{"status":"error","message":{"code":10,"error":"no answer in 5000 ms"}}"#,
            ),
            (StreamEvent::Json("{\"a\": 1}".into()), "mod_audio_stream::json", "{\"a\": 1}"),
            (StreamEvent::Json("not json".into()), "mod_audio_stream::json", "not json"),
            (StreamEvent::Play("{\"b\":2}".into()), "mod_audio_stream::play", "{\"b\":2}"),
            (
                StreamEvent::Dtmf { digit: '#', duration_ms: 90 },
                "mod_audio_stream::dtmf",
                r##"{"status":"dtmf","digit":"#","duration_ms":90}"##,
            ),
        ] {
            let rendered = rendered(&event);
            assert_eq!((rendered.subclass, rendered.body.as_deref()), (subclass, Some(body)));
        }
    }

    #[test]
    fn the_end_of_a_recording_tells_its_length_and_its_levels() {
        let mut event = (EVENTS.iter().find(|row| row.subclass.ends_with("::record")).unwrap().example)();
        if let StreamEvent::Record(RecordEvent::Stopped { status, .. }) = &mut event {
            status.heard = ChannelLevel::default();
        }
        let event = rendered(&event);
        let body: serde_json::Value = serde_json::from_str(event.body.as_deref().unwrap()).unwrap();
        assert_eq!((&body["status"], &body["reason"]), (&"stopped".into(), &"stopped".into()));
        assert_eq!((&body["duration_ms"], &body["rate"]), (&61_500.into(), &8_000.into()));
        assert_eq!(body["caller"], serde_json::json!({"peak_dbfs": -6.0, "rms_dbfs": -30.0}));
        assert_eq!(body["heard"], serde_json::json!({"peak_dbfs": null, "rms_dbfs": null}));
        assert_eq!(header(&event, "Audio-Stream-Caller-Peak-Dbfs"), Some("-6"));
        assert_eq!(header(&event, "Audio-Stream-Caller-Rms-Dbfs"), Some("-30"));
        assert_eq!(header(&event, "Audio-Stream-Heard-Peak-Dbfs"), None, "silence has no level");
        assert_eq!(header(&event, "Audio-Stream-Duration-Ms"), Some("61500"));
    }

    #[test]
    fn what_the_body_says_stands_in_headers_too() {
        let event = rendered(&StreamEvent::Error { code: ErrorCode::ConnectFailed, message: "refused\r\nX: y".into() });
        assert_eq!(header(&event, "Audio-Stream-UUID"), Some("abc-1"));
        assert_eq!(header(&event, "Audio-Stream-Name"), Some("default"));
        assert_eq!(header(&event, "Audio-Stream-Status"), Some("error"));
        assert_eq!(header(&event, "Audio-Stream-Code"), Some("6"));
        assert_eq!(header(&event, "Audio-Stream-Error"), Some("CONNECT_FAILED"));
        assert_eq!(header(&event, "Audio-Stream-Reason"), Some("refused  X: y"));
        let event = rendered(&StreamEvent::Json("ARRAY::a|:b".into()));
        assert_eq!(header(&event, "Audio-Stream-Message"), Some(" ARRAY::a|:b"));
        assert_eq!(event.body.as_deref(), Some("ARRAY::a|:b"));
        let event = rendered(&StreamEvent::Disconnected { code: 1000, reason: String::new() });
        assert_eq!(header(&event, "Audio-Stream-Reason"), None, "FreeSWITCH deletes a header that is empty");
    }

    #[test]
    fn texts_of_the_far_end_are_bounded() {
        let event = rendered(&StreamEvent::Json("é".repeat(MAX_BODY)));
        assert_eq!(event.body.unwrap().len(), MAX_BODY);
        let lengths: Vec<_> = event.headers.iter().map(|(name, value)| (*name, value.len())).collect();
        assert!(lengths.iter().all(|(_, length)| *length < 64), "{lengths:?}");
        assert!(event.headers.contains(&("Audio-Stream-Truncated", "true".into())));
        assert!(event.headers.contains(&("Audio-Stream-Length", (2 * MAX_BODY).to_string())));
        let event = rendered(&StreamEvent::Disconnected { code: 1011, reason: "é".repeat(MAX_BODY) });
        assert!(event.body.unwrap().len() < 2 * MAX_REASON);
        let event = rendered(&StreamEvent::Json("a\0b".into()));
        assert_eq!(event.body.as_deref(), Some("a\u{fffd}b"), "a NUL would end the text in C");
    }

    #[test]
    fn every_event_has_one_row_and_every_row_its_event() {
        let rows: HashSet<_> = EVENTS.iter().map(|row| row.subclass).collect();
        assert_eq!(rows.len(), EVENTS.len());
        for row in EVENTS {
            assert_eq!(subclass(&(row.example)()), row.subclass);
            assert!(row.subclass.starts_with("mod_audio_stream::"));
        }
    }

    #[test]
    fn error_codes_in_the_documentation_are_the_codes() {
        let row = EVENTS.iter().find(|row| row.subclass == "mod_audio_stream::error").unwrap();
        use ErrorCode::*;
        let codes = [Io, InvalidHeader, ServerMasked, NotSupported, PingTimeout, ConnectFailed, TlsInitFailed];
        for code in codes.into_iter().chain([SslHandshakeFailed, SslError, Timeout, Protocol]) {
            assert!(row.doc.contains(&format!("{} {}", code.as_u8(), code.as_str())), "{code:?}");
        }
    }
}
