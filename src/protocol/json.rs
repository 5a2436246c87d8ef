//! Reading JSON of the server: only the fields asked for, of whatever type they are, and nothing copied.
//!
//! Pure; runs on the stream's worker. Unknown fields are skipped without recursion, however deeply nested; the last of
//! several fields of one name counts. A message of 10 kB costs some ten microseconds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as _, Serializer};
use serde_json::value::RawValue;

/// One field: of whatever type the server chose, so that a wrong type can be named instead of failing the message.
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

impl<'a> Field<'a> {
    /// The field in `raw`; a string keeps the length of its life.
    pub(super) fn of(raw: Option<&'a RawValue>) -> Self {
        let Some(raw) = raw else { return Self::Absent };
        // A number beyond every float, or half a surrogate pair: there, but nothing that can be used.
        FieldSeed.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).unwrap_or(Self::Other)
    }

    /// The string; `None` for everything else.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

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

/// The fields of those `names` of the object that `text` is; `None` when it is JSON of another kind.
///
/// Errors when `text` is not JSON. A field that is `null` is not there.
pub(super) fn object<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<Option<Fields<'a, N>>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = ObjectSeed(names).deserialize(&mut reader).and_then(|fields| reader.end().map(|()| fields));
    fields.map_err(|error| error.to_string())
}

/// The fields of those `names` of the object that `raw` is; all missing when it is none.
pub(super) fn inner<'a, const N: usize>(raw: Option<&'a RawValue>, names: [&str; N]) -> Fields<'a, N> {
    raw.and_then(|raw| object(raw.get(), names).ok().flatten()).unwrap_or([None; N])
}

/// Fields in the order they were asked for.
pub(super) type Fields<'a, const N: usize> = [Option<&'a RawValue>; N];

/// For `serialize_with`: a number as a string, as most vendors have them.
pub(super) fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

struct ObjectSeed<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for ObjectSeed<'_, N> {
    type Value = Option<Fields<'de, N>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for ObjectSeed<'_, N> {
    type Value = Option<Fields<'de, N>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [None; N];
        while let Some(key) = map.next_key_seed(FieldSeed)? {
            let slot = self.0.iter().zip(&mut fields).find(|(name, _)| key.as_str() == Some(**name));
            match slot {
                Some((_, slot)) => *slot = Some(map.next_value::<&RawValue>()?).filter(|raw| raw.get() != "null"),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        IgnoredAny::deserialize(de::value::SeqAccessDeserializer::new(list))?;
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads one [`Field`].
pub(super) struct FieldSeed;

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

    fn raw<const N: usize>(text: &str, names: [&str; N]) -> [Option<String>; N] {
        object(text, names).unwrap().unwrap().map(|field| field.map(|raw| raw.get().to_owned()))
    }

    #[test]
    fn the_fields_asked_for_are_found_and_the_rest_is_skipped() {
        let text =
            r#"{"x":[{"event":1}],"event":"media","media": {"payload" : "AA\/="},"n":null,"\u0062":2,"event":"last"}"#;
        let fields = raw(text, ["media", "event", "n", "b", "nonesuch"]);
        let expected = [Some(r#"{"payload" : "AA\/="}"#), Some(r#""last""#), None, Some("2"), None];
        assert_eq!(fields, expected.map(|field| field.map(str::to_owned)));
    }

    #[test]
    fn a_value_has_no_fields_and_text_that_is_no_json_is_an_error() {
        for text in ["1", "-1", "1.5", "\"{}\"", "[{\"event\":1}]", "null", "true"] {
            assert!(object(text, ["event"]).unwrap().is_none(), "{text}");
        }
        for text in
            ["", "{", "{\"event\":}", "{} {}", "{\"event\":1", "nul", &"[".repeat(100_000), &"{\"a\":".repeat(9_999)]
        {
            assert!(object(text, ["event"]).is_err(), "{}", &text[..text.len().min(30)]);
        }
    }

    #[test]
    fn an_inner_object_that_is_none_has_no_fields() {
        let [media] = object(r#"{"media":"text"}"#, ["media"]).unwrap().unwrap();
        assert!(inner(media, ["payload"])[0].is_none());
        assert!(inner(None, ["payload"])[0].is_none());
    }

    #[test]
    fn a_text_without_escapes_is_not_copied() {
        let [payload] = object(r#"{"payload":"AAAA"}"#, ["payload"]).unwrap().unwrap();
        assert!(matches!(Field::of(payload), Field::Text(Cow::Borrowed("AAAA"))));
    }

    #[test]
    fn json_values_that_rust_cannot_hold_are_there_but_unusable() {
        for text in [r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#] {
            let Ok(Some([a])) = object(text, ["a"]) else { continue };
            assert_eq!(Field::of(a), Field::Other, "{text}");
        }
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
