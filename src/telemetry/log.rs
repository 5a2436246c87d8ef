//! From `tracing` records to log lines of the form `[uuid] COMPONENT operation outcome key=value …`, or to JSON objects.
//!
//! A record's target is the component; its fields `call`, `op` and `outcome` take their places in the line and every
//! other field follows as `key=value`; in JSON each is a member. The line goes to a [`Sink`], which in FreeSWITCH is its own log. Called on
//! workers and API threads, never on the media thread: formatting allocates and the log may wait.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::budget::{Budgets, Line, Verdict, Writer};
use crate::units::choice::choice;

/// Components a line can come from.
const COMPONENTS: [&str; 9] =
    ["WS_STREAM", "AI_ENGINE", "TTS", "DSP", "INJECT", "CAPTURE", "LIFECYCLE", "OPENAI", "RING_BUF"];

/// Seriousness of a line, in FreeSWITCH's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Data lost, a connection failed, a crash prevented.
    Error,
    /// Recoverable: overflow, underrun, time-out.
    Warning,
    /// State changes an operator wants to see.
    Notice,
    /// Periodic summaries.
    Info,
    /// Everything else.
    Debug,
}

choice! {
    /// The form of a log line.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum LogFormat {
        /// `[uuid] COMPONENT operation outcome key=value …`.
        #[default]
        Text = "text",
        /// One JSON object.
        Json = "json",
    }
}

/// Takes finished lines. Implemented by the host; must not call back into `tracing`.
pub trait Sink: Send + Sync {
    /// One line without a line end; `call` is the uuid it is about, where there is one.
    fn line(&self, severity: Severity, call: Option<&str>, line: &str);

    /// Whether somebody reads lines of that seriousness. Cheap: asked for each record below [`Severity::Info`], before its texts
    /// are made.
    fn wants(&self, severity: Severity) -> bool {
        let _ = severity;
        true
    }
}

/// The process has one subscriber as long as it runs, but hosts come and go with load and unload.
static CURRENT: RwLock<Option<Arc<dyn Sink>>> = RwLock::new(None);
static INSTALLED: OnceLock<()> = OnceLock::new();
static BUDGETS: LazyLock<Mutex<Budgets>> = LazyLock::new(Mutex::default);
static JSON: AtomicBool = AtomicBool::new(false);

/// The form of all further lines. Any thread.
pub fn set_format(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Sends all further lines to `sink`; `None` silences them. May be called again at every load and unload.
pub fn set_sink(sink: Option<Arc<dyn Sink>>) {
    *CURRENT.write() = sink;
    *BUDGETS.lock() = Budgets::default();
    INSTALLED.get_or_init(|| {
        // An error means that somebody in this process was first: then our records go to them.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(Lines));
    });
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    /// Who reads what may change, so `tracing` must not keep the answer for what is asked below.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if !COMPONENTS.contains(&metadata.target()) {
            Interest::never()
        } else if *metadata.level() >= Level::DEBUG {
            Interest::sometimes()
        } else {
            Interest::always()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let wanted = || CURRENT.read().as_ref().is_some_and(|sink| sink.wants(Severity::Debug));
        COMPONENTS.contains(&metadata.target()) && (*metadata.level() < Level::DEBUG || wanted())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(sink) = CURRENT.read().clone() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut severity = match (*event.metadata().level(), fields.notice) {
            (_, true) => Severity::Notice,
            (Level::ERROR, _) => Severity::Error,
            (Level::WARN, _) => Severity::Warning,
            (Level::INFO, _) => Severity::Info,
            _ => Severity::Debug,
        };
        if severity != Severity::Debug {
            let line = fields.to_line(event.metadata(), severity);
            let verdict = BUDGETS.lock().admit(Instant::now(), fields.writer(), line);
            match verdict {
                Verdict::Drop => return,
                Verdict::Demote if !sink.wants(Severity::Debug) => return,
                Verdict::Demote => severity = Severity::Debug,
                Verdict::Write(0) => {}
                Verdict::Write(count) => fields.push("held_back", count.into()),
            }
        }
        let component = event.metadata().target();
        let line = if JSON.load(Ordering::Relaxed) { fields.json(component) } else { fields.line(component) };
        sink.line(severity, fields.call.as_deref(), &line);
    }
}

#[derive(Default)]
struct Fields {
    call: Option<String>,
    op: String,
    outcome: String,
    rest: Vec<(&'static str, Value)>,
    notice: bool,
}

/// Operations whose lines come once for each stream, or once for each option of its start.
const ONCE: [&str; 2] = ["options", "stream_closed"];

impl Fields {
    /// Whose line it is.
    fn writer(&self) -> Writer {
        let stream = self.rest.iter().find(|(name, _)| *name == "stream").and_then(|(_, value)| value.as_str());
        Writer { call: self.call.clone().unwrap_or_default(), stream: stream.unwrap_or_default().to_owned() }
    }

    /// What the budget has to know of it.
    fn to_line(&self, metadata: &'static Metadata<'static>, severity: Severity) -> Line {
        Line {
            place: (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default()),
            warns: matches!(severity, Severity::Error | Severity::Warning),
            once: ONCE.contains(&self.op.as_str()),
        }
    }

    fn line(&self, component: &str) -> String {
        let mut line = String::with_capacity(96);
        if let Some(call) = &self.call {
            line.push('[');
            push_bare(&mut line, call);
            line.push_str("] ");
        }
        line.push_str(component);
        for part in [&self.op, &self.outcome] {
            if !part.is_empty() {
                line.push(' ');
                push_bare(&mut line, part);
            }
        }
        for (name, value) in &self.rest {
            let _ = write!(line, " {name}=");
            match value {
                Value::String(text) => push_value(&mut line, text),
                value => {
                    let _ = write!(line, "{value}");
                }
            }
        }
        line
    }

    /// The same as one JSON object, in the order of the text. JSON escapes control characters, so it is one line.
    fn json(&self, component: &str) -> String {
        let mut line = String::with_capacity(192);
        let call = self.call.as_deref().map(|call| ("session_uuid", Value::from(call)));
        let named = [("component", component), ("operation", &self.op), ("outcome", &self.outcome)];
        let named = named.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, text.into()));
        for (name, value) in call.into_iter().chain(named).chain(self.rest.iter().cloned()) {
            let _ = write!(line, "{}{}:{value}", if line.is_empty() { '{' } else { ',' }, Value::from(name));
        }
        line.push('}');
        line
    }

    fn set(&mut self, name: &'static str, value: &str) {
        match name {
            "call" => self.call = Some(value.to_owned()),
            "op" => value.clone_into(&mut self.op),
            "outcome" => value.clone_into(&mut self.outcome),
            _ => self.push(name, value.into()),
        }
    }

    fn push(&mut self, name: &'static str, value: Value) {
        self.rest.push((if name == "message" { "text" } else { name }, value));
    }
}

/// What has a place of its own in the line stands there as it is, but cannot break the line.
fn push_bare(out: &mut String, text: &str) {
    out.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
}

/// Values with spaces, quotes or control characters are quoted, so that a line stays one line of `key=value` pairs.
fn push_value(out: &mut String, value: &str) {
    let plain = !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if plain {
        out.push_str(value);
    } else {
        let _ = write!(out, "{value:?}");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "notice" {
            self.notice = value;
        } else {
            self.push(field.name(), value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use parking_lot::Mutex;

    struct Kept(Mutex<Vec<(Severity, Option<String>, String)>>);
    impl Sink for Kept {
        fn line(&self, severity: Severity, call: Option<&str>, line: &str) {
            self.0.lock().push((severity, call.map(str::to_owned), line.to_owned()));
        }
    }

    #[test]
    fn a_record_becomes_one_line_with_its_fields_in_place() {
        let kept = Arc::new(Kept(Mutex::default()));
        set_sink(Some(kept.clone()));
        tracing::info!(target: "CAPTURE", call = %"abc", op = "summary", outcome = "ok", frames = 3, text = "a b\n\"c\"");
        tracing::info!(target: "LIFECYCLE", notice = true, op = "load", outcome = "ok", version = "1");
        tracing::error!(target: "hyper::proto", "not ours");
        let text = "line1\" code=0 reason=\"x";
        let error = std::io::Error::other(text);
        let failure: &(dyn std::error::Error + 'static) = &error;
        tracing::info!(target: "INJECT", op = "str", text);
        tracing::info!(target: "INJECT", op = "display", text = %text);
        tracing::info!(target: "INJECT", op = "format", text = format_args!("{text}"));
        tracing::info!(target: "INJECT", op = "error", text = failure);
        tracing::info!(target: "INJECT", op = "message", "{text}");
        tracing::info!(target: "INJECT", op = "two\nlines", call = %"a\r\nb", bytes = ?[1, 2], empty = "");
        set_format(LogFormat::Json);
        tracing::info!(target: "CAPTURE", call = %"abc", op = "summary", outcome = "ok", frames = 3, ok = true, text = "a\n\"c\"");
        set_format(LogFormat::Text);
        set_sink(None);
        tracing::info!(target: "LIFECYCLE", op = "late", outcome = "lost");
        let lines = kept.0.lock();
        // A server's text cannot pass for our own pairs, however it was recorded.
        let inject = |op: &str| (Severity::Info, None, format!(r#"INJECT {op} text="line1\" code=0 reason=\"x""#));
        assert_eq!(
            *lines,
            [
                (
                    Severity::Info,
                    Some("abc".to_owned()),
                    "[abc] CAPTURE summary ok frames=3 text=\"a b\\n\\\"c\\\"\"".to_owned()
                ),
                (Severity::Notice, None, "LIFECYCLE load ok version=1".to_owned()),
                inject("str"),
                inject("display"),
                inject("format"),
                inject("error"),
                inject("message"),
                (
                    Severity::Info,
                    Some("a\r\nb".to_owned()),
                    "[a??b] INJECT two?lines bytes=\"[1, 2]\" empty=\"\"".to_owned()
                ),
                (
                    Severity::Info,
                    Some("abc".to_owned()),
                    r#"{"session_uuid":"abc","component":"CAPTURE","operation":"summary","outcome":"ok","frames":3,"ok":true,"text":"a\n\"c\""}"#.to_owned()
                ),
            ]
        );
    }
}
