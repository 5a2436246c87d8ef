//! The operator's own functions for the model, read from JSON as OpenAI writes them.
//!
//! Pure. A name that the module or the service could not use is refused here, before there is a call.

use serde::Deserialize;
use serde_json::Value;

use super::agent::Builtin;
use crate::options::values::{MAX_WORDS, json_fault};
use crate::units::text::shown;

/// Most functions that a service accepts.
pub const MAX_FUNCTIONS: usize = 128;

/// A function that the model may call and the operator answers.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    #[serde(default, rename = "type")]
    kind: Kind,
    /// 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// When to call it, for the model.
    #[serde(default)]
    pub description: String,
    /// A JSON schema of an object.
    #[serde(default = "no_parameters")]
    pub parameters: Value,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Function,
}

fn no_parameters() -> Value {
    serde_json::json!({ "type": "object", "properties": {} })
}

impl Function {
    /// A function of that name.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self { kind: Kind::Function, name: name.into(), description: description.into(), parameters }
    }

    /// Whether services accept its name: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub fn has_valid_name(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        (1..=64).contains(&self.name.len()) && self.name.chars().all(plain)
    }

    /// Whether one of `others` has its name.
    pub fn is_among(&self, others: &[Self]) -> bool {
        others.iter().any(|other| other.name == self.name)
    }

    fn check(&self) -> Result<(), String> {
        let name = shown(&self.name);
        if !self.has_valid_name() {
            return Err(format!("the name '{name}' is not 1 to 64 of A-Z a-z 0-9 _ -"));
        }
        if Builtin::named(&self.name).is_some() {
            return Err(format!("'{name}' is the name of a built-in function; see builtin_tools"));
        }
        if !self.parameters.is_object() {
            return Err(format!("the parameters of '{name}' are not a JSON object"));
        }
        Ok(())
    }
}

/// Functions from a JSON array. Empty text is none. The refusal completes "bad value: …".
pub(super) fn read_functions(text: &str) -> Result<Vec<Function>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > MAX_WORDS {
        return Err(format!("give at most {MAX_WORDS} bytes"));
    }
    let functions: Vec<Function> = serde_json::from_str(text).map_err(|error| {
        format!("give a JSON array of functions with name, description and parameters: {}", json_fault(&error))
    })?;
    if functions.len() > MAX_FUNCTIONS {
        return Err(format!("give at most {MAX_FUNCTIONS} functions"));
    }
    for (at, function) in functions.iter().enumerate() {
        function.check()?;
        if function.is_among(&functions[..at]) {
            return Err(format!("the function '{}' is given twice", shown(&function.name)));
        }
    }
    Ok(functions)
}

/// Whether a function's result says that it has failed: `{"ok": false, …}`, or an error and nothing that denies it.
pub(in crate::conversation) fn is_failure(result: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(result) else { return false };
    match fields.get("ok") {
        Some(ok) => *ok == false,
        None => fields.get("error").is_some_and(|error| !error.is_null() && *error != false),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn functions_are_read_with_and_without_their_details() {
        let read =
            read_functions(r#"[{"type": "function", "name": "a-B_1"}, {"name": "b", "description": "d"}]"#).unwrap();
        assert_eq!(read, [Function::new("a-B_1", "", no_parameters()), Function::new("b", "d", no_parameters())]);
        assert_eq!(read_functions(""), Ok(vec![]));
    }

    #[test]
    fn a_result_that_names_an_error_is_one() {
        for (result, failed) in [
            (r#"{"ok":false,"error":"no answer in time"}"#, true),
            (r#"{"error":"there is no such order"}"#, true),
            (r#"{"ok":true,"error":"none"}"#, false),
            (r#"{"error":null,"status":"shipped"}"#, false),
            (r#"{"status":"shipped"}"#, false),
            ("an error", false),
            ("", false),
        ] {
            assert_eq!(is_failure(result), failed, "{result}");
        }
    }

    #[test]
    fn a_function_that_no_service_takes_is_refused_by_name() {
        for (text, why) in [
            (r#"[{"name": "a b"}]"#, "the name 'a b' is not 1 to 64 of A-Z a-z 0-9 _ -"),
            (r#"[{"name": "hang_up"}]"#, "'hang_up' is the name of a built-in function; see builtin_tools"),
            (r#"[{"name": "f", "parameters": []}]"#, "the parameters of 'f' are not a JSON object"),
            (r#"[{"name": "f"}, {"name": "f"}]"#, "the function 'f' is given twice"),
        ] {
            assert_eq!(read_functions(text).unwrap_err(), why);
        }
        for text in ["{}", r#"[{"name": "f", "type": "mcp"}]"#, r#"[{"name": "f", "strict": true}]"#] {
            let why = read_functions(text).unwrap_err();
            assert!(why.starts_with("give a JSON array of functions"), "{why}");
        }
    }
}
