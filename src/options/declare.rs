//! What a declaration says of an option: the values it takes, its default, its variables, its nature.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::values;
use crate::units::Secret;
use crate::units::choice::Choice;
use crate::units::text::{shown, shown_url};

/// Reads a text as a `V`. `None` in the error means that the text is not what the option takes.
type Read<V> = Box<dyn Fn(&str) -> Result<V, Option<String>> + Send + Sync>;

/// How a value may be shown.
pub type Show = fn(&str) -> String;

/// What an option that is a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A file that is read.
    File,
    /// A folder.
    Folder,
}

/// The declaration of an option whose value is a `V`.
pub struct Opt<V> {
    pub(super) read: Read<V>,
    pub(super) allowed: String,
    pub(super) default: &'static str,
    pub(super) key: Option<&'static str>,
    pub(super) own_variable: Option<&'static str>,
    pub(super) older: Vec<Variable>,
    pub(super) environment: Option<&'static str>,
    pub(super) secret: bool,
    pub(super) show: Show,
    pub(super) file: Option<FileKind>,
    pub(super) json: bool,
    pub(super) server_only: bool,
    pub(super) at_load: bool,
    pub(super) live: bool,
}

/// A channel variable that sets an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// How its value becomes the option's.
    pub form: Form,
}

/// How a variable's value becomes an option's. Most variables of the older modules differ in name only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As it is.
    Same,
    /// A switch with the opposite meaning.
    Inverted,
    /// A number of packets of 20 ms.
    Packets,
    /// 1 or 2 channels: mono or stereo.
    Channels,
}

impl Form {
    /// The option's text for a variable's text. The refusal does not quote it.
    pub fn convert(self, text: &str) -> Result<String, String> {
        match self {
            Self::Same => Ok(text.to_owned()),
            Self::Inverted => {
                values::flag(text).map(|on| (!on).to_string()).ok_or_else(|| "give true or false".to_owned())
            }
            Self::Packets => values::number(text)
                .filter(|packets| (1..=50).contains(packets))
                .map(|packets| (packets * 20).to_string())
                .ok_or_else(|| "give 1 to 50 packets of 20 ms".to_owned()),
            Self::Channels => match text {
                "1" => Ok("mono".to_owned()),
                "2" => Ok("stereo".to_owned()),
                _ => Err("give 1 or 2".to_owned()),
            },
        }
    }

    /// How it differs, for the documentation.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Inverted => " (the opposite)",
            Self::Packets => " (packets of 20 ms)",
            Self::Channels => " (1 or 2 channels)",
        }
    }
}

impl<V: 'static> Opt<V> {
    fn new(
        allowed: impl Into<String>,
        read: impl Fn(&str) -> Result<V, Option<String>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            read: Box::new(read),
            allowed: allowed.into(),
            default: "",
            key: None,
            own_variable: None,
            older: Vec::new(),
            environment: None,
            secret: false,
            show: shown,
            file: None,
            json: false,
            server_only: false,
            at_load: false,
            live: false,
        }
    }

    /// The same declaration with another reader.
    fn reading<W>(self, read: impl FnOnce(Read<V>) -> Read<W>) -> Opt<W> {
        Opt {
            read: read(self.read),
            allowed: self.allowed,
            default: self.default,
            key: self.key,
            own_variable: self.own_variable,
            older: self.older,
            environment: self.environment,
            secret: self.secret,
            show: self.show,
            file: self.file,
            json: self.json,
            server_only: self.server_only,
            at_load: self.at_load,
            live: self.live,
        }
    }

    /// The default as an operator writes it; the empty text where nothing is said.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    /// `word` in place of a value, which is `None` then.
    pub fn or(mut self, word: &'static str) -> Opt<Option<V>> {
        self.allowed = format!("{}, or {word}", self.allowed);
        self.or_unsaid(word)
    }

    /// An empty text is `None`.
    pub fn optional(self) -> Opt<Option<V>> {
        self.or_unsaid("")
    }

    fn or_unsaid(self, word: &'static str) -> Opt<Option<V>> {
        self.reading(|read| {
            Box::new(move |text| if text.eq_ignore_ascii_case(word) { Ok(None) } else { read(text).map(Some) })
        })
    }

    /// An empty text means the default. Call it after [`default`](Self::default).
    pub fn or_empty(self) -> Self {
        let default = self.default;
        self.reading(|read| Box::new(move |text| read(if text.is_empty() { default } else { text })))
    }

    /// A key that is not the field's name.
    pub const fn key(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    /// An own channel variable that does not follow from the key: `name` in place of the key, behind the prefix.
    pub const fn variable(mut self, name: &'static str) -> Self {
        self.own_variable = Some(name);
        self
    }

    /// An older channel variable that means the same.
    pub fn also(self, name: &str) -> Self {
        self.older(name, Form::Same)
    }

    /// An older channel variable whose value is read as `form` says.
    pub fn older(mut self, name: &str, form: Form) -> Self {
        self.older.push(Variable { name: name.to_owned(), form });
        self
    }

    /// A variable of the process environment that gives the value where nothing else does.
    pub const fn environment(mut self, name: &'static str) -> Self {
        self.environment = Some(name);
        self
    }

    /// The value is never shown.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self.show = |_| "***".to_owned();
        self
    }

    /// The value is shown as `show` makes it, because a part of it may be secret.
    pub fn shown_by(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// An absolute path in it is one of an existing file or folder.
    pub const fn names(mut self, kind: FileKind) -> Self {
        self.file = Some(kind);
        self
    }

    /// The value may be JSON with spaces in it, without quotes around it.
    pub const fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// A conversation does not have it.
    pub const fn server_only(mut self) -> Self {
        self.server_only = true;
        self
    }

    /// A conversation that runs can change it.
    pub const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// It is read when the module is loaded, and not by `reloadxml`.
    pub const fn at_load(mut self) -> Self {
        self.at_load = true;
        self
    }
}

impl Opt<u32> {
    /// 0 besides the range, with what it means.
    pub fn or_zero(mut self, meaning: &'static str) -> Self {
        self.allowed = format!("{}, or 0 for {meaning}", self.allowed);
        self.reading(|read| Box::new(move |text| if values::number(text) == Some(0) { Ok(0) } else { read(text) }))
    }
}

/// Bounds with a unit: `20 to 1000 ms`.
fn range(min: impl ToString, max: impl ToString, unit: &str) -> String {
    format!("{} to {} {unit}", min.to_string(), max.to_string()).trim_end().to_owned()
}

/// Words as a sentence has them: `a, b or c`.
pub fn in_words(words: impl IntoIterator<Item = &'static str>, conjunction: &str) -> String {
    let words: Vec<_> = words.into_iter().collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} {conjunction} {last}", before.join(", ")),
        None => String::new(),
    }
}

/// Anything that `read` takes; `None` refuses it.
pub fn checked<V: 'static>(allowed: impl Into<String>, read: fn(&str) -> Option<V>) -> Opt<V> {
    Opt::new(allowed, move |text| read(text).ok_or(None))
}

/// Anything that `read` takes. Its error completes "bad value: …" and does not quote the value.
pub fn text<V: 'static>(allowed: impl Into<String>, read: fn(&str) -> Result<V, String>) -> Opt<V> {
    Opt::new(allowed, move |text| read(text).map_err(Some))
}

/// A whole number.
pub fn number(bounds: RangeInclusive<u32>, unit: &str) -> Opt<u32> {
    let allowed = range(bounds.start(), bounds.end(), unit);
    Opt::new(allowed, move |text| values::number(text).filter(|value| bounds.contains(value)).ok_or(None))
}

/// A number with a fraction.
pub fn decimal(bounds: RangeInclusive<f32>, unit: &str) -> Opt<f32> {
    let allowed = range(bounds.start(), bounds.end(), unit);
    Opt::new(allowed, move |text| values::decimal(text).filter(|value| bounds.contains(value)).ok_or(None))
}

/// On or off, in FreeSWITCH's own words.
pub fn switch() -> Opt<bool> {
    checked("true or false", values::flag)
}

/// One of an enum's words.
pub fn choice<T: Choice>() -> Opt<T> {
    checked(in_words(T::WORDS.iter().map(|(word, _)| *word), "or"), T::named)
}

/// `word`, which is `None`, or one of an enum's words.
pub fn choice_or<T: Choice>(word: &'static str) -> Opt<Option<T>> {
    let words = std::iter::once(word).chain(T::WORDS.iter().map(|(word, _)| *word));
    Opt { allowed: in_words(words, "or"), ..choice::<T>().or(word) }
}

/// Some of an enum's words, separated by commas.
pub fn choices<T: Choice>() -> Opt<Vec<T>> {
    let words = in_words(T::WORDS.iter().map(|(word, _)| *word), "and");
    list(format!("any of {words}, separated by commas"), T::named)
}

/// Values separated by commas, each understood by `one`.
pub fn list<V: 'static>(allowed: impl Into<String>, one: fn(&str) -> Option<V>) -> Opt<Vec<V>> {
    Opt::new(allowed, move |text| values::list(text, one).ok_or(None))
}

/// A plain text that may be empty.
pub fn name(allowed: &str) -> Opt<String> {
    text(allowed, |text| Ok(values::plain(text)?.unwrap_or_default().to_owned()))
}

/// A URL, which is shown without what may let somebody in: `read` says which schemes it may have. `None` where it is empty.
pub fn url(allowed: &str, read: fn(&str) -> Result<(), String>) -> Opt<Option<String>> {
    let checked = move |text: &str| {
        let Some(url) = values::plain(text)? else { return Ok(None) };
        read(url).map(|()| Some(url.to_owned()))
    };
    Opt::new(allowed, move |text| checked(text).map_err(Some)).shown_by(shown_url)
}

/// A plain text; `None` where it is empty.
pub fn optional(allowed: &str) -> Opt<Option<String>> {
    text(allowed, |text| Ok(values::plain(text)?.map(str::to_owned)))
}

/// A plain text that is never shown; `None` where it is empty.
pub fn secret(allowed: &str) -> Opt<Option<Secret>> {
    text(allowed, |text| Ok(values::plain(text)?.map(Secret::new))).secret()
}

/// A long text for a model or a voice; `None` where it is empty.
pub fn words(allowed: &str) -> Opt<Option<String>> {
    text(allowed, |text| Ok(values::words(text)?.map(str::to_owned)))
}

/// The path of a file; `None` where it is empty.
pub fn path(allowed: &str) -> Opt<Option<PathBuf>> {
    text(allowed, |text| Ok(values::plain(text)?.map(PathBuf::from))).names(FileKind::File)
}
