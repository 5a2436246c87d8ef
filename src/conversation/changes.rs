//! Options of a conversation that are changed while it runs.
//!
//! ```text
//! ai_update ─► check (API thread) ─► Changes ─► Engine ─► confirmed: the options in force, those of later sessions too
//!                                                    └─► refused by the service: as before, and an error for the operator
//! ```
//! Pure. One change is under way at a time; what is asked for meanwhile waits and goes together, the last value of an option
//! counts. So no more waits than there are options.

use std::sync::{Arc, LazyLock};

use super::agent::VoiceMode;
use super::engines::EngineEntry;
use super::options::AiOptions;
use super::setup::{HeaderList, Setup};
use crate::options::{Options as _, Row, in_words};
use crate::peer::Change;
use crate::units::SampleRate;
use crate::units::text::shown;

static ROWS: LazyLock<Vec<Row<AiOptions>>> =
    LazyLock::new(|| AiOptions::rows().into_iter().filter(|row| row.live).collect());

/// What an option is for, where its effect depends on who finds the caller's turns.
fn is_of_detection(key: &str) -> bool {
    key == "turn_detection" || key.starts_with("vad_")
}

/// `options` with these changes. The refusal is in words for the operator.
pub fn changed(options: &AiOptions, changes: &[Change]) -> Result<AiOptions, String> {
    let mut options = options.clone();
    for (key, text) in changes {
        let Some(row) = ROWS.iter().find(|row| row.key == *key) else {
            let known = in_words(ROWS.iter().map(|row| row.key.as_str()), "and");
            return Err(format!("a conversation that runs cannot change {}; it can change {known}", shown(key)));
        };
        row.set(&mut options, text).map_err(|why| format!("bad value for {key}: {why}"))?;
    }
    Ok(options)
}

/// Whether a conversation that runs with `options` can change these. `spoken`: its agent has been heard. The refusal is in words
/// for the operator.
pub fn check(
    entry: &EngineEntry,
    options: &AiOptions,
    headers: HeaderList,
    changes: &[Change],
    spoken: bool,
) -> Result<(), String> {
    if entry.live.is_some_and(<[_]>::is_empty) {
        return Err(format!("with engine={} nothing of a conversation that runs can be changed", entry.name));
    }
    let next = changed(options, changes)?;
    let named = |key: &str| changes.iter().any(|(changed, _)| changed == key);
    let emptied =
        changes.iter().find(|(key, text)| text.is_empty() && !matches!(key.as_str(), "system_prompt" | "tools"));
    if let Some(live) = entry.live
        && let Some((key, _)) = changes.iter().find(|(key, _)| !live.contains(&key.as_str()))
    {
        let live = in_words(live.iter().copied(), "and");
        return Err(format!(
            "{key}: a session of engine={} takes it at its beginning; it can change {live}",
            entry.name
        ));
    }
    if let Some((key, _)) = emptied {
        return Err(format!("{key} cannot be taken back; give a value"));
    }
    let written = entry.writes || options.output == VoiceMode::Synthesis;
    if let Some(key) = ["voice", "speed"].into_iter().find(|key| written && named(key)) {
        return Err(format!("{key} is the model's, and in this conversation the tts_provider speaks"));
    }
    if named("voice") && next.voice != options.voice && spoken {
        return Err("voice: the agent has been heard, and a session keeps the voice of its first audio".to_owned());
    }
    if next.finds_turns() != options.finds_turns() {
        return Err("turn_detection: a conversation that runs cannot change from or to local".to_owned());
    }
    let local = entry.finds_turns(options);
    if let Some((key, _)) = changes.iter().find(|(key, _)| (local || entry.writes) && is_of_detection(key)) {
        let who =
            if local { "the module itself finds the turns" } else { "the recogniser is asked for turns by its URL" };
        return Err(format!("{key}: {who} in this conversation, as it was started"));
    }
    let setup = Setup { options: &next, headers, policy: &next.policy(), rate: SampleRate::HZ_8000, codec: None };
    entry.make(setup).map(drop)
}

/// The options in force, and the changes of them.
#[derive(Debug)]
pub(super) struct Changes {
    options: Arc<AiOptions>,
    in_force: Vec<Change>,
    /// Asked of the engine.
    asked: Option<(Box<AiOptions>, Vec<Change>)>,
    waiting: Vec<Change>,
}

impl Changes {
    pub(super) const fn new(options: Arc<AiOptions>) -> Self {
        Self { options, in_force: Vec::new(), asked: None, waiting: Vec::new() }
    }

    /// The operator wants these.
    pub(super) fn want(&mut self, changes: &[Change]) {
        merge(&mut self.waiting, changes);
    }

    /// The options to ask the engine for now, if it is their turn. Answered by [`settle`](Self::settle). An error names what
    /// cannot be; it is dropped.
    pub(super) fn next(&mut self) -> Option<Result<&AiOptions, String>> {
        if self.asked.is_some() || self.waiting.is_empty() {
            return None;
        }
        let changes = std::mem::take(&mut self.waiting);
        match changed(&self.options, &changes) {
            Ok(options) => Some(Ok(&self.asked.insert((Box::new(options), changes)).0)),
            Err(why) => Some(Err(why)),
        }
    }

    /// The engine has what was asked for, or the service refuses it; the options that are now in force.
    pub(super) fn settle(&mut self, done: bool) -> Option<Arc<AiOptions>> {
        let (options, changes) = self.asked.take()?;
        if !done {
            return None;
        }
        self.options = Arc::from(options);
        merge(&mut self.in_force, &changes);
        Some(self.options.clone())
    }

    /// The changes in force.
    pub(super) fn in_force(&self) -> &[Change] {
        &self.in_force
    }
}

fn merge(changes: &mut Vec<Change>, more: &[Change]) {
    for (key, text) in more {
        changes.retain(|(known, _)| known != key);
        changes.push((key.clone(), text.clone()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::engines::find;
    use super::super::options::Detection;
    use super::*;

    fn change(key: &str, text: &str) -> Change {
        (key.to_owned(), text.to_owned())
    }

    fn options(engine: &str) -> AiOptions {
        let mut options = AiOptions::default();
        let all = AiOptions::rows();
        for (key, text) in [
            ("engine", engine),
            ("openai_api_key", "sk-1"),
            ("openai_model", "m"),
            ("xai_api_key", "k"),
            ("xai_model", "m"),
            ("inworld_api_key", "k"),
            ("inworld_model", "m"),
            ("voice_live_api_key", "k"),
            ("voice_live_model", "m"),
            ("voice_live_base_url", "https://r.services.ai.azure.com"),
            ("stt_url", "http://127.0.0.1:1"),
            ("stt_model", "m"),
            ("llm_url", "http://127.0.0.1:1"),
            ("llm_model", "m"),
            ("gemini_api_key", "k"),
            ("gemini_model", "m"),
            ("elevenlabs_api_key", "k"),
            ("elevenlabs_agent_id", "a"),
            ("assemblyai_api_key", "k"),
            ("ultravox_api_key", "k"),
        ] {
            let row = all.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key}"));
            row.set(&mut options, text).unwrap();
        }
        options
    }

    fn refusal(options: &AiOptions, key: &str, text: &str, spoken: bool) -> String {
        let entry = find(options.engine.as_str()).unwrap();
        check(entry, options, Vec::new(), &[change(key, text)], spoken).err().unwrap_or_default()
    }

    #[test]
    fn what_an_engine_cannot_change_is_refused_in_words() {
        for (engine, key, text, why) in [
            ("openai_realtime", "voice", "cedar", ""),
            ("openai_realtime", "speed", "1.5", ""),
            ("openai_realtime", "speed", "", "speed cannot be taken back; give a value"),
            ("openai_realtime", "system_prompt", "", ""),
            ("openai_realtime", "turn_detection", "semantic_vad", ""),
            (
                "openai_realtime",
                "turn_detection",
                "local",
                "turn_detection: a conversation that runs cannot change from or to local",
            ),
            ("openai_realtime", "tool_choice", "f", "tool_choice: 'f' is not one of the functions in tools"),
            (
                "openai_realtime",
                "barge_in",
                "off",
                "a conversation that runs cannot change barge_in; it can change system_prompt, voice, speed, turn_detection, vad_threshold, vad_prefix_padding_ms, vad_silence_duration_ms, vad_eagerness, max_response_tokens, tools and tool_choice",
            ),
            ("xai_realtime", "speed", "0.5", "xAI cannot do what is asked: speed: give 0.7 to 1.5"),
            (
                "xai_realtime",
                "turn_detection",
                "semantic_vad",
                "xAI cannot do what is asked: turn_detection: only server_vad works there",
            ),
            ("voice_live", "speed", "1.2", "Azure Voice Live cannot do what is asked: speed: remove it"),
            (
                "inworld_realtime",
                "max_response_tokens",
                "9",
                "Inworld cannot do what is asked: max_response_tokens: remove it",
            ),
            ("gemini", "system_prompt", "Be brief.", ""),
            ("gemini", "tools", r#"[{"name": "f"}]"#, ""),
            (
                "gemini",
                "voice",
                "Puck",
                "voice: a session of engine=gemini takes it at its beginning; it can change system_prompt and tools",
            ),
            ("cascade", "system_prompt", "Be brief.", ""),
            ("cascade", "tools", r#"[{"name": "f"}]"#, ""),
            ("cascade", "voice", "marin", "voice is the model's, and in this conversation the tts_provider speaks"),
            (
                "elevenlabs",
                "system_prompt",
                "Be brief.",
                "with engine=elevenlabs nothing of a conversation that runs can be changed",
            ),
            (
                "ultravox",
                "system_prompt",
                "Be brief.",
                "with engine=ultravox nothing of a conversation that runs can be changed",
            ),
            ("assemblyai", "system_prompt", "Be brief.", ""),
            ("assemblyai", "vad_silence_duration_ms", "900", ""),
            (
                "assemblyai",
                "turn_detection",
                "local",
                "turn_detection: a conversation that runs cannot change from or to local",
            ),
            (
                "cascade",
                "vad_silence_duration_ms",
                "900",
                "vad_silence_duration_ms: the module itself finds the turns in this conversation, as it was started",
            ),
        ] {
            assert_eq!(refusal(&options(engine), key, text, false), why, "{engine} {key}={text}");
        }
    }

    #[test]
    fn the_voice_stays_once_the_agent_was_heard() {
        let before = options("openai_realtime");
        let why = "voice: the agent has been heard, and a session keeps the voice of its first audio";
        assert_eq!(refusal(&before, "voice", "cedar", true), why);
        assert_eq!(refusal(&before, "system_prompt", "x", true), "");
        let same = AiOptions { voice: Some("cedar".into()), ..before.clone() };
        assert_eq!(refusal(&same, "voice", "cedar", true), "");
        let local = AiOptions { turn_detection: Detection::Local, ..before };
        assert!(refusal(&local, "vad_threshold", "0.4", false).starts_with("vad_threshold: the module itself finds"));
    }

    #[test]
    fn what_is_asked_for_meanwhile_waits_and_goes_together() {
        let mut changes = Changes::new(Arc::new(options("openai_realtime")));
        assert!(changes.next().is_none());
        changes.want(&[change("speed", "1.1")]);
        assert_eq!(changes.next().unwrap().unwrap().speed, Some(1.1));
        for (key, text) in [("speed", "1.2"), ("system_prompt", "A"), ("speed", "1.3")] {
            changes.want(&[change(key, text)]);
            assert!(changes.next().is_none(), "one at a time");
        }
        assert!(changes.settle(false).is_none());
        assert_eq!(changes.in_force(), []);
        let next = changes.next().unwrap().unwrap();
        assert_eq!((next.speed, next.system_prompt.as_str()), (Some(1.3), "A"));
        assert_eq!(changes.settle(true).unwrap().speed, Some(1.3));
        assert_eq!(changes.in_force(), [change("system_prompt", "A"), change("speed", "1.3")]);
        // The next one is of those that are in force.
        changes.want(&[change("voice", "cedar")]);
        assert_eq!(changes.next().unwrap().unwrap().speed, Some(1.3));
    }
}
