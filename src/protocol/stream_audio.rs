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

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One field: of whatever type the far end chose, so that a wrong type can be named instead of failing the message.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Field<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// An object or a list.
    Other,
}

impl Field<'_> {
    /// A whole number, also when it came as a string; `None` for everything else.
    pub(super) fn as_u32(&self) -> Option<u32> {
        match self {
            Self::Number(n) if n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n) => Some(*n as u32),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A truth value, also when it came as a string or as 0 or 1; `None` for everything else.
    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Number(n) if *n == 0.0 || *n == 1.0 => Some(*n == 1.0),
            Self::Text(text) => match text.trim() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

/// The fields that describe audio, of the message itself or of its `data`.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct AudioFields<'a> {
    pub(super) audio_type: Field<'a>,
    pub(super) sample_rate: Field<'a>,
    pub(super) channels: Field<'a>,
    pub(super) clear: Field<'a>,
    pub(super) file: Field<'a>,
    pub(super) audio: Field<'a>,
}

/// The fields of a message that this protocol knows.
#[derive(Clone, PartialEq, Debug, Default)]
struct Message<'a> {
    kind: Field<'a>,
    data: Option<AudioFields<'a>>,
    own: AudioFields<'a>,
}

/// The audio fields of `text` when it is a `streamAudio` message; `None` when it is a JSON message of another kind.
///
/// Errors when `text` is not JSON.
pub(super) fn parse(text: &str) -> Result<Option<AudioFields<'_>>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let message = MessageVisitor { top: true }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(match message {
        Message { kind: Field::Text(kind), data, own } if kind == "streamAudio" => Some(data.unwrap_or(own)),
        Message { kind: Field::Absent, own, .. } if !own.audio.is_absent() || !own.audio_type.is_absent() => Some(own),
        _ => None,
    })
}

/// The message without its audio, as compact JSON; `None` when what is left is not small.
///
/// `audio` is the field as [`parse`] gave it.
pub(super) fn without_audio(text: &str, audio: &Field<'_>) -> Option<String> {
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
    message.remove("audioData");
    if let Some(data) = message.get_mut("data").and_then(serde_json::Value::as_object_mut) {
        data.remove("audioData");
    }
    serde_json::to_string(&value).ok()
}

struct MessageVisitor {
    /// At the message itself; otherwise within its `data`, where there is no further `data`.
    top: bool,
}

impl<'de> DeserializeSeed<'de> for MessageVisitor {
    type Value = Message<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message<'de>, A::Error> {
        let mut message = Message::default();
        while let Some(key) = map.next_key_seed(FieldSeed)? {
            let Field::Text(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let slot = match &*key {
                "type" => &mut message.kind,
                "audioDataType" => &mut message.own.audio_type,
                "sampleRate" => &mut message.own.sample_rate,
                "channels" => &mut message.own.channels,
                "clear" => &mut message.own.clear,
                "file" => &mut message.own.file,
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Message<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Message::default())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Message<'de>, E> {
        Ok(Message::default())
    }
}

/// `data`: its audio fields when it is an object, `None` when it is anything else.
struct DataSeed;

impl<'de> DeserializeSeed<'de> for DataSeed {
    type Value = Option<AudioFields<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let message = MessageVisitor { top: false }.deserialize(deserializer)?;
        Ok((message != Message::default()).then_some(message.own))
    }
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Field<'de>, E> {
        Ok(Field::Flag(flag))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Field<'de>, E> {
        Ok(Field::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_wrapped_and_a_bare_message_are_the_same() {
        let bare = r#"{"audioDataType":"raw","sampleRate":16000,"audioData":"AAAA"}"#;
        let wrapped = format!(r#"{{"id":[1,{{"audioData":"x"}}],"type":"streamAudio","data":{bare}}}"#);
        let fields = parse(bare).unwrap().unwrap();
        assert_eq!(parse(&wrapped).unwrap().unwrap(), fields);
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
            assert_eq!(parse(text).unwrap(), None, "{text}");
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
            let fields = parse(&text).unwrap().unwrap();
            assert_eq!(
                without_audio(&text, &fields.audio).as_deref(),
                Some(r#"{"data":{"id":"7","sampleRate":8000},"type":"streamAudio","x":"y"}"#)
            );
        }
    }

    #[test]
    fn a_message_with_much_beside_its_audio_has_no_play_event() {
        let text = format!(r#"{{"audioData":"AAAA","junk":"{}"}}"#, "x".repeat(70_000));
        let fields = parse(&text).unwrap().unwrap();
        assert_eq!(without_audio(&text, &fields.audio), None);
    }

    #[test]
    fn numbers_and_flags_may_be_strings() {
        for (field, number) in [
            (Field::Number(8_000.0), Some(8_000)),
            (Field::Text("8000".into()), Some(8_000)),
            (Field::Number(8_000.5), None),
            (Field::Number(-1.0), None),
            (Field::Number(1e30), None),
            (Field::Number(f64::NAN), None),
            (Field::Text("8k".into()), None),
            (Field::Flag(true), None),
            (Field::Other, None),
            (Field::Absent, None),
        ] {
            assert_eq!(field.as_u32(), number, "{field:?}");
        }
        assert_eq!(Field::Text("true".into()).as_bool(), Some(true));
        assert_eq!(Field::Number(0.0).as_bool(), Some(false));
        assert_eq!(Field::Number(2.0).as_bool(), None);
    }
}
