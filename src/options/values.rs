//! Reads the values of options from text: numbers, switches, names, plain texts.
//!
//! Pure. A refusal completes "bad value …": it says what is allowed and never quotes the value, which may be secret.

use serde_json::error::Category;

use crate::units::text::shown;

/// Longest text for a model, bytes.
pub const MAX_WORDS: usize = 32_768;
/// Longest text of a plain option, bytes.
pub const MAX_TEXT: usize = 1_024;

/// A whole number of decimal digits.
pub fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A number in decimal digits, which may have a minus sign and a fraction.
pub fn decimal(text: &str) -> Option<f32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { text.parse().ok().filter(|value: &f32| value.is_finite()) } else { None }
}

/// Words separated by commas, each read by `one`; `None` if one of them is refused.
pub fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(one).collect()
}

/// Whether `text` is the name of a channel variable.
pub fn is_variable(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Text for a model or a voice, of at most [`MAX_WORDS`] bytes; line breaks and tabs are the only control characters. `None`
/// where it is empty.
pub fn words(text: &str) -> Result<Option<&str>, String> {
    if text.len() > MAX_WORDS {
        Err(format!("give at most {MAX_WORDS} bytes"))
    } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Err("it has a control character; remove it".into())
    } else {
        Ok((!text.trim().is_empty()).then_some(text))
    }
}

/// A switch, in the words FreeSWITCH itself accepts.
pub fn flag(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "yes", "on", "t", "enabled", "active", "allow", "1"]) {
        Some(true)
    } else if is(&["false", "no", "off", "f", "disabled", "inactive", "disallow", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether a channel variable is true for FreeSWITCH: a word of [`flag`], or a number that is not 0 before its point.
pub fn is_true(text: &str) -> bool {
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = number.split('.').next().unwrap_or_default();
    flag(text) == Some(true)
        || (number.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
            && whole.bytes().any(|digit| digit != b'0'))
}

/// A text of at most [`MAX_TEXT`] bytes without control characters; `None` where it is empty.
pub fn plain(text: &str) -> Result<Option<&str>, String> {
    if text.len() > MAX_TEXT {
        Err(format!("give at most {MAX_TEXT} bytes"))
    } else if text.chars().any(char::is_control) {
        Err("it has a control character; remove it".into())
    } else {
        Ok((!text.is_empty()).then_some(text))
    }
}

/// What is wrong with an operator's JSON, in words that quote none of its values.
pub fn json_fault(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let field = |begin: &str| said.strip_prefix(begin)?.split('`').next().map(shown);
    let place = match (error.line(), error.column()) {
        (0, _) | (_, 0) => String::new(),
        (1, column) => format!(" at character {column}"),
        (line, column) => format!(" at line {line}, character {column}"),
    };
    match (error.classify(), field("missing field `"), field("unknown field `")) {
        (Category::Eof, ..) => "the JSON ends too early: a quote, brace or bracket is not closed".to_owned(),
        (Category::Data, Some(name), _) => format!("the field '{name}' is missing{place}"),
        (Category::Data, _, Some(name)) => format!("there is no field '{name}' here{place}"),
        (Category::Data, ..) => format!("a value has the wrong type{place}"),
        (Category::Syntax | Category::Io, ..) => format!("the JSON is not valid{place}"),
    }
}

/// Whether `text` is a name as HTTP has them (RFC 9110 `token`).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_digits() {
        assert_eq!(number("020"), Some(20));
        for text in ["", "+1", "-1", " 1", "1 ", "1.0", "0x1", "4294967296", "²"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_fault_in_json_is_told_in_words_without_values() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[expect(dead_code, reason = "only read")]
            name: String,
        }
        let fault = |text: &str| json_fault(&serde_json::from_str::<Named>(text).unwrap_err());
        for (text, said) in [
            ("", "the JSON ends too early: a quote, brace or bracket is not closed"),
            ("{\"name\": \"s3cret", "the JSON ends too early: a quote, brace or bracket is not closed"),
            ("{\"name\": s3cret}", "the JSON is not valid at character 10"),
            ("{}", "the field 'name' is missing at character 2"),
            ("{\"name\": 7}", "a value has the wrong type at character 10"),
            ("\"s3cret\"", "a value has the wrong type at character 8"),
            ("{\n\"names\": \"s3cret\"}", "there is no field 'names' here at line 2, character 7"),
        ] {
            assert_eq!(fault(text), said, "{text}");
        }
    }

    #[test]
    fn a_variable_is_true_as_it_is_for_freeswitch() {
        for text in ["true", "Yes", "allow", "1", "2", "01", "-1", "+7", "1.5", "10"] {
            assert!(is_true(text), "{text}");
        }
        for text in ["", "false", "0", "00", "-0", "0.9", ".5", "-", "maybe", "1a", "--1", "²"] {
            assert!(!is_true(text), "{text}");
        }
    }

    #[test]
    fn switches_take_the_words_of_freeswitch() {
        for (text, expected) in [("true", Some(true)), ("YES", Some(true)), ("off", Some(false)), ("0", Some(false))] {
            assert_eq!(flag(text), expected, "{text}");
        }
        assert_eq!(flag(""), None);
        assert_eq!(flag("maybe"), None);
    }
}
