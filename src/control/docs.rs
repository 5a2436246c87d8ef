//! The documentation that is written by the tables: Markdown for the README, and the configuration file.
//!
//! Pure. Tests compare the files in the repository with what these give, so that neither can go its own way.

use crate::control::command::COMMANDS;
use crate::control::config::MODULE_SETTINGS;
use crate::control::options::{AI_OPTIONS, NO_EFFECT, OPTIONS, OptionRow, SPEECH_OPTIONS};
use crate::control::web::PAGES;
use crate::event::EVENTS;
use crate::options::{Row, Variable};
use crate::telemetry::metrics::METRICS;
use crate::units::{CallId, StreamName};

/// The profiles of that file. Names of models stand there, where an operator changes them, and nowhere in the code.
const PROFILES: &str = include_str!("profiles.xml");

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// The commands of the API.
pub fn commands_markdown() -> String {
    let mut out = String::from("| command | effect |\n|---|---|\n");
    for row in COMMANDS {
        out += &format!("| {} | {} |\n", code(&row.syntax()), cell(row.doc));
    }
    out
}

/// The options of a stream with their channel variables.
pub fn options_markdown() -> String {
    rows_markdown(&OPTIONS)
}

/// The options of speech that is made from text.
pub fn speech_options_markdown() -> String {
    rows_markdown(&SPEECH_OPTIONS)
}

/// The further options of a conversation.
pub fn ai_options_markdown() -> String {
    rows_markdown(&AI_OPTIONS)
}

fn rows_markdown(rows: &[OptionRow]) -> String {
    let mut out = String::from("| option | value | default | channel variables | meaning |\n|---|---|---|---|---|\n");
    for row in rows {
        let names: Vec<_> = row.variables.iter().map(|variable| named(&code(&variable.name), variable)).collect();
        let (key, default) = (code(&row.key), code(row.default));
        out += &format!(
            "| {key} | {} | {default} | {} | {} |\n",
            cell(&row.allowed),
            names.join(", "),
            cell(&meaning(row))
        );
    }
    out
}

/// Channel variables of the older modules that are accepted and do nothing.
pub fn no_effect_markdown() -> String {
    let mut out = String::from("| channel variable | accepted in silence | what happens |\n|---|---|---|\n");
    for row in NO_EFFECT {
        out += &format!("| {} | {} | {} |\n", code(row.variable), code(row.harmless), cell(row.why));
    }
    out
}

/// The settings of the module as a whole.
pub fn settings_markdown() -> String {
    let mut out = String::from("| setting | value | default | meaning |\n|---|---|---|---|\n");
    for row in MODULE_SETTINGS.iter() {
        out += &format!(
            "| {} | {} | {} | {} |\n",
            code(&row.key),
            cell(&row.allowed),
            code(row.default),
            cell(&meaning(row))
        );
    }
    out
}

/// The metrics.
pub fn metrics_markdown() -> String {
    let mut out = String::from("| metric | kind | meaning |\n|---|---|---|\n");
    for metric in METRICS {
        out += &format!("| {} | {} | {} |\n", code(metric.name), metric.kind.as_str(), cell(metric.help));
    }
    out
}

/// The pages that are served over HTTP.
pub fn pages_markdown() -> String {
    let mut out = String::from("| path | content |\n|---|---|\n");
    for row in PAGES {
        out += &format!("| {} | {} |\n", code(row.path), cell(row.doc));
    }
    out
}

/// The events with an example body and headers of each.
pub fn events_markdown() -> String {
    let mut out = String::from("| subclass | when | example body | headers |\n|---|---|---|---|\n");
    for row in EVENTS {
        let event = (row.example)().render(&CallId::new("3a7c…"), &StreamName::default());
        let own: Vec<_> = event.headers.iter().skip(2).map(|(name, _)| code(name)).collect();
        let body = code(event.body.as_deref().unwrap_or_default());
        out += &format!("| {} | {} | {body} | {} |\n", code(row.subclass), cell(row.doc), own.join(", "));
    }
    out
}

/// `conf/autoload_configs/audio_stream.conf.xml`: every setting with what it takes, at its default.
pub fn configuration_file() -> String {
    let mut out = String::from(
        "<!-- mod_audio_stream. This file lists every setting with its default, so it changes nothing until you edit it.\n     \
         Arguments of the command override channel variables, channel variables override the profile, and the profile overrides\n     \
         these settings. reloadxml applies to streams that start afterwards. A bad value is logged as a WARNING and ignored. -->\n\
         <configuration name=\"audio_stream.conf\" description=\"Streams calls to WebSocket servers\">\n  <settings>\n",
    );
    for row in MODULE_SETTINGS.iter() {
        out += &param(row);
    }
    for row in OPTIONS.iter() {
        out += &param(row);
    }
    out += "    <!-- Options of speech that is made from text: say, and conversations with ai_output=tts. -->\n\n";
    for row in SPEECH_OPTIONS.iter() {
        out += &param(row);
    }
    out += "    <!-- Options of conversations with an AI only: start_ai and the application audio_stream_ai. -->\n\n";
    for row in AI_OPTIONS.iter() {
        out += &param(row);
    }
    out += "  </settings>\n\n";
    out += PROFILES;
    out += "</configuration>\n";
    out
}

/// A variable under its name as printed, and how its value differs.
fn named(name: &str, variable: &Variable) -> String {
    format!("{name}{}", variable.form.note())
}

/// The help text with what follows from the declaration.
fn meaning<T>(row: &Row<T>) -> String {
    let mut text = row.doc.clone();
    if let Some(variable) = row.environment {
        text += &format!(" If it is not set, the environment variable `{variable}` is used.");
    }
    if row.live {
        text += " `ai_update` can change it.";
    }
    if row.at_load {
        text += " Takes effect when the module is loaded.";
    }
    text
}

fn param<T>(row: &Row<T>) -> String {
    let names: Vec<_> = row.variables.iter().map(|variable| named(&variable.name, variable)).collect();
    let variables = if names.is_empty() { String::new() } else { format!("Channel variables: {}.", names.join(", ")) };
    let lines = [meaning(row).replace('`', ""), format!("Value: {}.", row.allowed), variables];
    let text: Vec<_> = lines.iter().flat_map(|line| wrap(line)).collect();
    format!(
        "    <!-- {} -->\n    <param name=\"{}\" value=\"{}\"/>\n\n",
        text.join("\n         "),
        row.key,
        row.default
    )
}

/// Breaks `text` between words into lines of at most 110 bytes, where words allow.
fn wrap(text: &str) -> Vec<String> {
    const WIDTH: usize = 110;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
