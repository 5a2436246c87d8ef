//! A session of the GA protocol made into that of another service: fields renamed and rewritten.
//!
//! Pure; once for each connection.

use serde_json::{Map, Value, json};

use super::profile::{Modality, SessionProfile};

/// Gives the field at the path `from` the path `to`; with an empty `to` it is removed. Paths are names separated by dots.
pub(super) fn rename(session: &mut Value, from: &str, to: &str) {
    let (parent, name) = from.rsplit_once('.').unwrap_or(("", from));
    let Some(value) = object(session, parent).and_then(|parent| parent.remove(name)) else { return };
    if to.is_empty() {
        return;
    }
    let (parent, name) = to.rsplit_once('.').unwrap_or(("", to));
    if let Some(parent) = object(session, parent) {
        parent.insert(name.to_owned(), value);
    }
}

/// What makes a session `after` of one that is `before`: the fields that differ, each whole, and the type of the session.
/// Instructions and functions that are there no more are empty. `None`: nothing differs.
pub(super) fn difference(before: &Value, after: &Value) -> Option<Value> {
    let mut fields = differing(before, after);
    for (name, empty) in [("instructions", json!("")), ("tools", json!([]))] {
        if before.get(name).is_some() && after.get(name).is_none() {
            fields.insert(name.to_owned(), empty);
        }
    }
    if fields.is_empty() {
        return None;
    }
    if let Some(kind) = after.get("type") {
        fields.insert("type".to_owned(), kind.clone());
    }
    Some(fields.into())
}

/// Of objects that only hold others, what differs in them.
fn differing(before: &Value, after: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in after.as_object().into_iter().flatten() {
        let known = before.get(name).unwrap_or(&Value::Null);
        let value = match name.as_str() {
            _ if known == value => continue,
            "audio" | "input" | "output" => differing(known, value).into(),
            _ => value.clone(),
        };
        fields.insert(name.clone(), value);
    }
    fields
}

/// The object at a path.
fn object<'a>(session: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    let mut value = session;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        value = value.get_mut(name)?;
    }
    value.as_object_mut()
}

/// xAI: the terms to expect are a list.
pub(super) fn key_terms(session: &mut Value, _: &SessionProfile) {
    if let Some(transcription) = object(session, "audio.input.transcription")
        && let Some(terms) = transcription.get("keyterms").and_then(Value::as_str)
    {
        let terms: Vec<_> = terms.split(',').map(str::trim).filter(|term| !term.is_empty()).take(100).collect();
        let terms = json!(terms);
        transcription.insert("keyterms".to_owned(), terms);
    }
}

/// Inworld: the model is part of the session, and its default eagerness has no name.
pub(super) fn with_model(session: &mut Value, profile: &SessionProfile) {
    session["model"] = json!(profile.model);
    session["output_modalities"] = json!(["audio", "text"]);
    if let Some(detection) = object(session, "audio.input.turn_detection")
        && detection.get("eagerness").is_some_and(|eagerness| eagerness == "auto")
    {
        detection.remove("eagerness");
    }
}

/// Azure Voice Live: formats are words, a voice says whose it is, speech has a transcript.
pub(super) fn flat(session: &mut Value, profile: &SessionProfile) {
    for name in ["audio", "reasoning"] {
        rename(session, name, "");
    }
    session["input_audio_sampling_rate"] = json!(profile.input.rate().hz());
    for name in ["input_audio_format", "output_audio_format"] {
        if let Some(kind) = session.get(name).map(|format| format["type"].clone()) {
            session[name] = json!(match kind.as_str() {
                Some("audio/pcmu") => "g711_ulaw",
                Some("audio/pcma") => "g711_alaw",
                _ => "pcm16",
            });
        }
    }
    if profile.modality == Modality::Audio {
        session["modalities"] = json!(["text", "audio"]);
    }
    if let Some(voice) = session.get("voice").and_then(Value::as_str) {
        // Azure's names begin with a locale: en-US-Ava:DragonHDLatestNeural. OpenAI's are one word.
        let kind = if voice.contains('-') { "azure-standard" } else { "openai" };
        session["voice"] = json!({"type": kind, "name": voice});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_what_differs_whole_and_nothing_else() {
        let before = json!({"type": "realtime", "instructions": "a", "tools": [{"name": "f"}], "tool_choice": "auto", "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad", "threshold": 0.5}},
            "output": {"voice": "marin", "speed": 1.0}}});
        assert_eq!(difference(&before, &before), None);
        let mut after = before.clone();
        after["audio"]["input"]["turn_detection"] = json!({"type": "server_vad", "threshold": 0.6});
        after["audio"]["output"]["voice"] = json!("cedar");
        let expected = json!({"type": "realtime", "audio": {
            "input": {"turn_detection": {"type": "server_vad", "threshold": 0.6}}, "output": {"voice": "cedar"}}});
        assert_eq!(difference(&before, &after), Some(expected));
        for name in ["instructions", "tools", "tool_choice"] {
            rename(&mut after, name, "");
        }
        after["audio"] = before["audio"].clone();
        let emptied = json!({"type": "realtime", "instructions": "", "tools": []});
        assert_eq!(difference(&before, &after), Some(emptied));
        let flat = |voice: &str| json!({"voice": {"type": "openai", "name": voice}, "turn_detection": null});
        assert_eq!(difference(&flat("a"), &flat("b")), Some(json!({"voice": {"type": "openai", "name": "b"}})));
    }

    #[test]
    fn a_field_is_moved_removed_or_left_where_it_is_not() {
        let mut session = json!({"a": {"b": {"c": 1}, "d": 2}});
        rename(&mut session, "a.b.c", "c");
        rename(&mut session, "a.d", "a.b.e");
        rename(&mut session, "a.x.y", "z");
        rename(&mut session, "nothing", "z");
        assert_eq!(session, json!({"a": {"b": {"e": 2}}, "c": 1}));
        rename(&mut session, "a.b", "");
        assert_eq!(session, json!({"a": {}, "c": 1}));
    }
}
