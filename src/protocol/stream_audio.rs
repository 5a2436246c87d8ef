//! The `streamAudio` message: recognised and taken apart without copying its audio.
//!
//! ```json
//! {"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"channels":1,"clear":true,"audioData":"…"}}
//! ```
//! The same fields may stand without the wrapper. Unknown fields are ignored; a number may come as a string.
//! Pure; runs on the stream's worker. A message of 10 kB costs a few microseconds and no allocation: only the fields
//! above are kept, and text without escapes stays where it is. Nesting is bounded by the JSON reader (128 levels).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::{Field, FieldSeed, inner};

/// The fields that describe audio or a mark, of the message itself or of its `data`.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct AudioFields<'a> {
    /// What a mark is called.
    pub(super) name: Field<'a>,
    pub(super) audio_type: Field<'a>,
    pub(super) sample_rate: Field<'a>,
    pub(super) channels: Field<'a>,
    pub(super) clear: Field<'a>,
    pub(super) file: Field<'a>,
    pub(super) audio: Field<'a>,
}

/// What a JSON message is to the native protocol.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Message<'a> {
    /// Audio, or an order about it.
    Audio(AudioFields<'a>),
    /// An order to drop what is queued, in the words some servers use: `{"type":"clear_playback"}` or
    /// `{"control":{"command":"clear_playback"}}`.
    ClearPlayback,
    /// `{"type":"mark","data":{"name":"…"}}`: to be answered when what was sent before it has been heard. The name.
    Mark(Field<'a>),
    /// Anything else.
    Other,
}

/// The fields of a message that this protocol knows.
#[derive(Clone, PartialEq, Debug, Default)]
struct Known<'a> {
    kind: Field<'a>,
    data: Option<AudioFields<'a>>,
    command: Field<'a>,
    own: AudioFields<'a>,
}

/// What `text` is.
///
/// Errors when it is not JSON.
pub(super) fn parse(text: &str) -> Result<Message<'_>, serde_json::Error> {
    const CLEAR: &str = "clear_playback";
    let mut reader = serde_json::Deserializer::from_str(text);
    let known = KnownVisitor { top: true }.deserialize(&mut reader)?;
    reader.end()?;
    let Known { kind, data, command, own } = known;
    Ok(match kind {
        Field::Text(kind) if kind == "streamAudio" => Message::Audio(data.unwrap_or(own)),
        Field::Text(kind) if kind == "mark" => Message::Mark(data.unwrap_or(own).name),
        Field::Text(kind) if kind == CLEAR => Message::ClearPlayback,
        _ if command.as_str() == Some(CLEAR) => Message::ClearPlayback,
        Field::Absent if !own.audio.is_absent() || !own.audio_type.is_absent() || !own.file.is_absent() => {
            Message::Audio(own)
        }
        _ => Message::Other,
    })
}

/// The message without its audio, as compact JSON; `None` when what is left is not small.
///
/// `audio` is the field as it was read from `text`, `key` its name, in the message or in its `data`.
pub(super) fn without_audio(text: &str, audio: &Field<'_>, key: &str) -> Option<String> {
    /// Far more than the names of a message need, and little enough to be read into memory as a tree.
    const MOST: usize = 64 * 1024;
    let mut shortened = Cow::Borrowed(text);
    if let Field::Text(base64) = audio {
        match base64 {
            // The audio lies within the text: cut it out before anything is copied.
            Cow::Borrowed(slice) => {
                let start = slice.as_ptr() as usize - text.as_ptr() as usize;
                let (head, tail) = (text.get(..start)?, text.get(start + slice.len()..)?);
                shortened = Cow::Owned([head, tail].concat());
            }
            // It had escapes ("\/"), one byte more for each.
            Cow::Owned(string) if text.len().saturating_sub(string.len() * 2) <= MOST => {}
            Cow::Owned(_) => return None,
        }
    }
    if matches!(audio, Field::Text(Cow::Borrowed(_)) | Field::Absent) && shortened.len() > MOST {
        return None;
    }
    let mut value: serde_json::Value = serde_json::from_str(&shortened).ok()?;
    let message = value.as_object_mut()?;
    message.remove(key);
    if let Some(data) = message.get_mut("data").and_then(serde_json::Value::as_object_mut) {
        data.remove(key);
    }
    serde_json::to_string(&value).ok()
}

struct KnownVisitor {
    /// At the message itself; otherwise within its `data`, where there is no further `data`.
    top: bool,
}

impl<'de> DeserializeSeed<'de> for KnownVisitor {
    type Value = Known<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KnownVisitor {
    type Value = Known<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known<'de>, A::Error> {
        let mut message = Known::default();
        while let Some(key) = map.next_key_seed(FieldSeed)? {
            let Field::Text(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let slot = match &*key {
                "control" if self.top => {
                    message.command = map.next_value_seed(ControlSeed)?;
                    continue;
                }
                "type" => &mut message.kind,
                "audioDataType" => &mut message.own.audio_type,
                "sampleRate" => &mut message.own.sample_rate,
                "channels" => &mut message.own.channels,
                "clear" => &mut message.own.clear,
                "file" => &mut message.own.file,
                "name" => &mut message.own.name,
                "audioData" => &mut message.own.audio,
                "data" if self.top => {
                    message.data = map.next_value_seed(DataSeed)?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = map.next_value_seed(FieldSeed)?;
        }
        Ok(message)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Known<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Known::default())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Known<'de>, E> {
        Ok(Known::default())
    }
}

/// `data`: its audio fields when it is an object, `None` when it is anything else.
struct DataSeed;

impl<'de> DeserializeSeed<'de> for DataSeed {
    type Value = Option<AudioFields<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let message = KnownVisitor { top: false }.deserialize(deserializer)?;
        Ok((message != Known::default()).then_some(message.own))
    }
}

/// `control`: its `command`.
struct ControlSeed;

impl<'de> DeserializeSeed<'de> for ControlSeed {
    type Value = Field<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Field::of(inner(Some(raw), ["command"])[0]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn audio_of(text: &str) -> AudioFields<'_> {
        match parse(text).unwrap() {
            Message::Audio(fields) => fields,
            other => unreachable!("{text} is {other:?}"),
        }
    }

    #[test]
    fn both_ways_to_say_clear_playback_are_understood() {
        for text in [
            r#"{"type":"clear_playback"}"#,
            r#"{"control":{"command":"clear_playback"}}"#,
            r#"{"type":"control","control":{"x":[1],"command":"clear_playback"}}"#,
        ] {
            assert_eq!(parse(text).unwrap(), Message::ClearPlayback, "{text}");
        }
        for text in
            [r#"{"control":"clear_playback"}"#, r#"{"command":"clear_playback"}"#, r#"{"control":{"command":7}}"#]
        {
            assert_eq!(parse(text).unwrap(), Message::Other, "{text}");
        }
    }

    #[test]
    fn a_wrapped_and_a_bare_message_are_the_same() {
        let bare = r#"{"audioDataType":"raw","sampleRate":16000,"audioData":"AAAA"}"#;
        let wrapped = format!(r#"{{"id":[1,{{"audioData":"x"}}],"type":"streamAudio","data":{bare}}}"#);
        let fields = audio_of(bare);
        assert_eq!(audio_of(&wrapped), fields);
        assert_eq!(fields.sample_rate.as_u32(), Some(16_000));
        assert!(matches!(&fields.audio, Field::Text(Cow::Borrowed("AAAA"))), "the audio must not be copied");
    }

    #[test]
    fn other_json_is_not_audio_and_broken_json_is_an_error() {
        for text in [
            r#"{"type":"transcription","data":{"audioData":"AAAA"}}"#,
            r#"{"type":7,"audioData":"AAAA"}"#,
            r#"{"data":{"audioData":"AAAA"}}"#,
            "{}",
            "[]",
            "[{\"audioData\":\"AAAA\"}]",
            "null",
            "-1",
            "1e3",
            "true",
            "\"streamAudio\"",
        ] {
            assert_eq!(parse(text).unwrap(), Message::Other, "{text}");
        }
        for text in ["", "{", "{\"type\":\"streamAudio\"", "{} {}", "{\"a\":}", "nul", &"[".repeat(100_000)] {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn the_play_event_has_everything_but_the_audio() {
        for audio in ["AAAA", "AA\\/A", ""] {
            let text = format!(
                r#"{{"type":"streamAudio","x":"y","data":{{"audioData":"{audio}","sampleRate":8000,"id":"7"}}}}"#
            );
            let fields = audio_of(&text);
            assert_eq!(
                without_audio(&text, &fields.audio, "audioData").as_deref(),
                Some(r#"{"data":{"id":"7","sampleRate":8000},"type":"streamAudio","x":"y"}"#)
            );
        }
    }

    #[test]
    fn a_message_with_much_beside_its_audio_has_no_play_event() {
        let text = format!(r#"{{"audioData":"AAAA","junk":"{}"}}"#, "x".repeat(70_000));
        let fields = audio_of(&text);
        assert_eq!(without_audio(&text, &fields.audio, "audioData"), None);
    }
}
