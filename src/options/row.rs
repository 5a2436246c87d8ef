//! A declared option that reads text into its struct, and the macro that makes struct, defaults and rows of declarations.

use std::fmt;
use std::marker::PhantomData;

use super::declare::{FileKind, Form, Opt, Show, Variable};

type Set<T> = Box<dyn Fn(&mut T, &str) -> Result<(), String> + Send + Sync>;

/// An option of a `T`.
pub struct Row<T: 'static> {
    /// Name as an argument and as a setting.
    pub key: String,
    /// Its default as an operator writes it.
    pub default: &'static str,
    /// What it takes, in words that complete "give …".
    pub allowed: String,
    /// Channel variables that set it; the first that is set counts.
    pub variables: Vec<Variable>,
    /// The variable of the process environment that gives it where nothing else does.
    pub environment: Option<&'static str>,
    /// Its value must not be shown.
    pub secret: bool,
    /// How its value may be shown.
    show: Show,
    /// What its value names, if that is a path.
    pub file: Option<FileKind>,
    /// Its value may be JSON with spaces in it.
    pub json: bool,
    /// A conversation does not have it.
    pub server_only: bool,
    /// It is read when the module is loaded, and not by `reloadxml`.
    pub at_load: bool,
    /// A conversation that runs can change it.
    pub live: bool,
    /// What it means.
    pub doc: String,
    set: Set<T>,
}

impl<T> Row<T> {
    /// Reads `text` into `target`. The refusal says what is allowed and never quotes the text.
    pub fn set(&self, target: &mut T, text: &str) -> Result<(), String> {
        (self.set)(target, text)
    }

    /// Whether `text` says what holds without it.
    pub fn is_default(&self, text: &str) -> bool {
        text.eq_ignore_ascii_case(self.default)
    }

    /// `text` as it may be shown.
    pub fn shown(&self, text: &str) -> String {
        (self.show)(text)
    }

    /// The same option of a struct that has a `T` in it.
    pub fn within<U: 'static>(self, part: impl Fn(&mut U) -> &mut T + Send + Sync + 'static) -> Row<U> {
        let set = self.set;
        Row {
            set: Box::new(move |whole, text| set(part(whole), text)),
            key: self.key,
            default: self.default,
            allowed: self.allowed,
            variables: self.variables,
            environment: self.environment,
            secret: self.secret,
            show: self.show,
            file: self.file,
            json: self.json,
            server_only: self.server_only,
            at_load: self.at_load,
            live: self.live,
            doc: self.doc,
        }
    }
}

impl<T> fmt::Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// A struct of options.
pub trait Options: Default + 'static {
    /// Its options, in the order of the documentation.
    fn rows() -> Vec<Row<Self>>;
}

/// Where a declaration stands: what its names and its help text are made of.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field's name.
    pub name: &'static str,
    /// What every channel variable of the struct begins with; empty where there are none.
    pub prefix: &'static str,
    /// The doc comment.
    pub doc: &'static str,
}

/// What may stand behind a field's `=`.
pub trait Declare<V> {
    /// The default.
    fn value(&self) -> V;

    /// The field's options.
    fn rows<T: 'static>(self, field: Field, part: fn(&mut T) -> &mut V) -> Vec<Row<T>>;
}

impl<V: Default + 'static> Declare<V> for Opt<V> {
    fn value(&self) -> V {
        // A default that its own option refuses is found by the tests.
        (self.read)(self.default).unwrap_or_default()
    }

    fn rows<T: 'static>(self, field: Field, part: fn(&mut T) -> &mut V) -> Vec<Row<T>> {
        let key = self.key.unwrap_or(field.name);
        let own = format!("{}{}", field.prefix, self.own_variable.unwrap_or(key).to_ascii_uppercase());
        let own = (!field.prefix.is_empty()).then_some(Variable { name: own, form: Form::Same });
        let (read, give) = (self.read, format!("give {}", self.allowed));
        vec![Row {
            key: key.to_owned(),
            default: self.default,
            allowed: self.allowed,
            variables: own.into_iter().chain(self.older).collect(),
            environment: self.environment,
            secret: self.secret,
            show: self.show,
            file: self.file,
            json: self.json,
            server_only: self.server_only,
            at_load: self.at_load,
            live: self.live,
            doc: field.doc.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            set: Box::new(move |whole, text| {
                *part(whole) = read(text).map_err(|why| why.unwrap_or_else(|| give.clone()))?;
                Ok(())
            }),
        }]
    }
}

/// A field that no option sets.
pub struct Fixed<V>(pub V);

impl<V: Clone> Declare<V> for Fixed<V> {
    fn value(&self) -> V {
        self.0.clone()
    }

    fn rows<T: 'static>(self, _field: Field, _part: fn(&mut T) -> &mut V) -> Vec<Row<T>> {
        Vec::new()
    }
}

/// A field that is a struct of options itself, with the keys and variables it declares.
#[derive(Default)]
pub struct Group<V>(PhantomData<V>);

impl<V: Options> Declare<V> for Group<V> {
    fn value(&self) -> V {
        V::default()
    }

    fn rows<T: 'static>(self, _field: Field, part: fn(&mut T) -> &mut V) -> Vec<Row<T>> {
        V::rows().into_iter().map(|row| row.within(part)).collect()
    }
}

/// Declares a struct of options: fields, `Default` and [`Options`]. See the module's documentation.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident, variables $prefix:literal {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty = $declaration:expr;)*
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                static DEFAULT: std::sync::LazyLock<$name> = std::sync::LazyLock::new(|| $name {
                    $($field: $crate::options::Declare::<$type>::value(&$declaration),)*
                });
                DEFAULT.clone()
            }
        }

        impl $crate::options::Options for $name {
            fn rows() -> Vec<$crate::options::Row<Self>> {
                let mut rows = Vec::new();
                $({
                    let field = $crate::options::Field {
                        name: stringify!($field),
                        prefix: $prefix,
                        doc: concat!($($doc),*),
                    };
                    let declaration = $declaration;
                    rows.extend($crate::options::Declare::<$type>::rows(declaration, field, |o: &mut Self| &mut o.$field));
                })*
                rows
            }
        }
    };
}

pub(crate) use options;
