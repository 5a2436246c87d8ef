//! Values of a service's JSON, read leniently and borrowed from their text; objects that are merged.
//!
//! What is unknown is skipped, what has another type than it should is taken as absent, so that a new field of one event cannot
//! spoil another. Pure; runs on the stream's worker. A text is not copied where its JSON has no escapes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// An id of the server, cut at 128 characters: it is kept, and shown in events.
pub(in crate::conversation) fn short_id(id: &str) -> &str {
    id.char_indices().nth(128).map_or(id, |(end, _)| &id[..end])
}

/// A text; empty where the field is absent or no text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::conversation) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text.
    pub(in crate::conversation) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// As an id: at most 128 characters, `None` when empty.
    pub(in crate::conversation) fn id(&self) -> Option<String> {
        let text = short_id(self.as_str());
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(in crate::conversation) fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    #[cfg(test)]
    pub(in crate::conversation) fn is_borrowed(&self) -> bool {
        matches!(self.0, Some(Cow::Borrowed(_)))
    }
}

/// A number; `None` where the field is absent or no number.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(in crate::conversation) struct Number(pub(in crate::conversation) Option<f64>);

impl Number {
    /// A whole number from 0; fractions are cut.
    pub(in crate::conversation) fn whole(self) -> Option<u64> {
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
pub(in crate::conversation) struct Aside<T>(pub(in crate::conversation) T);

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

/// Puts further fields into an object: objects are merged, everything else is replaced.
pub(in crate::conversation) fn merge(object: &mut Value, fields: &Map<String, Value>) {
    let Some(object) = object.as_object_mut() else { return };
    for (name, value) in fields {
        match (object.get_mut(name), value) {
            (Some(known @ Value::Object(_)), Value::Object(fields)) => merge(known, fields),
            _ => {
                object.insert(name.clone(), value.clone());
            }
        }
    }
}
/// The kind of a message whose fields could not be read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::conversation) struct KindOnly<'a> {
    #[serde(rename = "type", borrow)]
    pub(in crate::conversation) kind: Text<'a>,
}
