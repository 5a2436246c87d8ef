//! The events of the server, read in one pass and borrowed from their text.
//!
//! One flat structure serves all of them, since the names of the fields mean the same everywhere. It is lenient: what
//! is unknown is skipped, what has another type than it should is taken as absent, so that a new field of
//! one event cannot spoil another. Pure; runs on the stream's worker. The base64 of an audio delta is not copied.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An id of the server, cut at 128 characters: it is kept, and shown in events.
pub(super) fn short_id(id: &str) -> &str {
    id.char_indices().nth(128).map_or(id, |(end, _)| &id[..end])
}

/// A text; empty where the field is absent or no text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// As an id: at most 128 characters, `None` when empty.
    pub(super) fn id(&self) -> Option<String> {
        let text = short_id(self.as_str());
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    #[cfg(test)]
    fn is_borrowed(&self) -> bool {
        matches!(self.0, Some(Cow::Borrowed(_)))
    }
}

/// A number; `None` where the field is absent or no number.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Number(pub(super) Option<f64>);

impl Number {
    /// A whole number from 0; fractions are cut.
    pub(super) fn whole(self) -> Option<u64> {
        self.0.filter(|number| (0.0..9e15).contains(number)).map(|number| number as u64)
    }
}

/// Reads any value, keeping only a text.
struct TextVisitor;

/// Implements the visits that yield nothing.
macro_rules! otherwise_default {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: de::Error>(self, _: $type) -> Result<Self::Value, E> { Ok(Self::Value::default()) })*
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

/// Implements the visit of an object that yields nothing.
macro_rules! no_object {
    () => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }

    otherwise_default!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
    no_object!();
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(number as f64)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
        Ok(Number(Some(number)))
    }

    otherwise_default!(visit_bool: bool, visit_str: &str);
    no_object!();
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// An object of which nothing else depends: empty where the field is absent or something else.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Aside<T>(pub(super) T);

struct AsideVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for AsideVisitor<T> {
    type Value = Aside<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Aside<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Aside)
    }

    otherwise_default!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Aside<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsideVisitor(PhantomData))
    }
}

/// `usage`, of a response or of a transcript.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageBody {
    pub(super) input_tokens: Number,
    pub(super) output_tokens: Number,
    pub(super) input_token_details: Aside<TokenDetails>,
    pub(super) output_token_details: Aside<TokenDetails>,
    /// Of a transcript that is billed by time.
    pub(super) seconds: Number,
}

/// `usage.input_token_details` and `.output_token_details`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenDetails {
    pub(super) text_tokens: Number,
    pub(super) audio_tokens: Number,
    pub(super) cached_tokens: Number,
    pub(super) cached_tokens_details: Aside<CachedDetails>,
}

/// `usage.input_token_details.cached_tokens_details`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CachedDetails {
    pub(super) text_tokens: Number,
    pub(super) audio_tokens: Number,
}

/// Any event of the server: the fields that one of them has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) previous_item_id: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    pub(super) content_index: Number,
    pub(super) audio_start_ms: Number,
    pub(super) audio_end_ms: Number,
    #[serde(borrow)]
    pub(super) error: Option<ErrorBody<'a>>,
    #[serde(borrow)]
    pub(super) session: Option<SessionBody<'a>>,
    #[serde(borrow)]
    pub(super) response: Option<ResponseBody<'a>>,
    #[serde(borrow)]
    pub(super) item: Option<ItemBody<'a>>,
    #[serde(borrow)]
    pub(super) rate_limits: Option<Vec<LimitBody<'a>>>,
    pub(super) usage: Aside<UsageBody>,
}

/// `error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) event_id: Text<'a>,
}

/// `session`, as the server confirms it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) expires_at: Number,
}

/// `response`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) status_details: Option<StatusDetails<'a>>,
    #[serde(borrow)]
    pub(super) metadata: Option<MetadataBody<'a>>,
    #[serde(borrow)]
    pub(super) output: Option<Vec<ItemBody<'a>>>,
    pub(super) usage: Aside<UsageBody>,
}

/// `response.metadata`: what was given with the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetadataBody<'a> {
    #[serde(borrow)]
    pub(super) request: Text<'a>,
}

/// `response.status_details`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusDetails<'a> {
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
    #[serde(borrow)]
    pub(super) error: Option<ErrorBody<'a>>,
}

/// `item`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ItemBody<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
    #[serde(borrow)]
    pub(super) server_label: Text<'a>,
}

/// One of `rate_limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitBody<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    pub(super) limit: Number,
    pub(super) remaining: Number,
    pub(super) reset_seconds: Number,
}

/// The kind of a message whose fields could not be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KindOnly<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_audio_of_a_delta_is_not_copied() {
        let event: ServerEvent<'_> =
            serde_json::from_str(r#"{"type":"response.output_audio.delta","delta":"AAAA","content_index":0}"#).unwrap();
        assert!(event.delta.is_borrowed() && event.kind.is_borrowed());
        assert_eq!(event.content_index.whole(), Some(0));
    }

    #[test]
    fn a_field_of_another_type_is_absent_and_spoils_nothing() {
        let text = r#"{"type":"x","delta":{"a":[1,{"b":null}]},"text":7,"name":null,"transcript":[true],
            "content_index":"1","audio_end_ms":-3,"audio_start_ms":1e300,"item":null,"new":{"deep":[[[]]]}}"#;
        let event: ServerEvent<'_> = serde_json::from_str(text).unwrap();
        assert!(event.delta.is_absent() && event.text.is_absent() && event.name.is_absent());
        assert!(event.transcript.is_absent() && event.item.is_none());
        let numbers = [event.content_index, event.audio_end_ms, event.audio_start_ms];
        assert_eq!(numbers.map(Number::whole), [None; 3]);
    }
}
