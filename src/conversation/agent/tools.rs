//! What the model may do with the call: which functions exist, which of them we carry out ourselves, and whether the
//! arguments are valid for it.
//!
//! The model is not to be trusted: nothing it says is expanded, run or handed to a shell. A built-in function exists
//! only where the profile names it, takes only the fields listed here, and each value only in the characters listed here.
//! A refusal is a text for the model, in words that it can act on. Pure.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Action;
use super::destinations::{Destination, Destinations};
use crate::conversation::mcp::Approval;
use crate::units::choice::Choice;

/// The functions carried out by the module itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Builtin {
    /// `hang_up {reason?}`
    HangUp,
    /// `transfer {destination, summary?}`
    Transfer,
    /// `send_dtmf {digits}`
    SendDtmf,
    /// `set_variable {name, value}`
    SetVariable,
}

impl Builtin {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::HangUp, Self::Transfer, Self::SendDtmf, Self::SetVariable];

    /// The name in a profile, and to the model.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HangUp => "hang_up",
            Self::Transfer => "transfer",
            Self::SendDtmf => "send_dtmf",
            Self::SetVariable => "set_variable",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// Its description for the model.
    pub const fn description(self) -> &'static str {
        match self {
            Self::HangUp => "Ends the call, after everything you have said was heard. Say goodbye first.",
            Self::Transfer => "Transfers the caller, after everything you have said was heard. Announce it first.",
            Self::SendDtmf => "Sends touch tones to the caller's side: 0-9, A-D, * and #; w waits half a second.",
            Self::SetVariable => "Notes a value for the systems that handle the call afterwards.",
        }
    }

    /// Its parameters as a JSON schema.
    fn parameters(self, policy: &ToolPolicy) -> Value {
        let text = || json!({ "type": "string" });
        let summary = "what the caller wants and what was said, in a few sentences, for the person who takes the call";
        let (properties, required) = match self {
            Self::HangUp => (json!({ "reason": text() }), vec![]),
            Self::Transfer => {
                let summary = json!({ "type": "string", "description": summary });
                (json!({ "destination": policy.destinations.schema(), "summary": summary }), vec!["destination"])
            }
            Self::SendDtmf => (json!({ "digits": text() }), vec!["digits"]),
            Self::SetVariable => (json!({ "name": text(), "value": text() }), vec!["name", "value"]),
        };
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }
}

impl Choice for Builtin {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::HangUp.name(), Self::HangUp),
        (Self::Transfer.name(), Self::Transfer),
        (Self::SendDtmf.name(), Self::SendDtmf),
        (Self::SetVariable.name(), Self::SetVariable),
    ];
}

/// What a profile allows the model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ToolPolicy {
    /// The built-in functions that exist.
    pub builtin: Vec<Builtin>,
    /// The operator's own functions: told as events, answered over the API.
    pub custom: Vec<String>,
    /// Where the model may transfer to.
    pub destinations: Destinations,
    /// A transfer calls the person first, for at most this long, and the model learns how that went.
    pub announced: Option<Duration>,
    /// The variables it may set; empty: those that begin with `ai_`.
    pub variables: Vec<String>,
    /// Who decides on tools of servers that the service asks.
    pub approval: Approval,
}

/// What becomes of a function call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// We do it.
    Act(Action),
    /// The operator does it.
    Ask,
    /// It is not done; the reason goes to the model.
    Refuse(Refusal),
}

/// Why a call is refused, in words for the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HangUp {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    destination: String,
    #[serde(default)]
    summary: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendDtmf {
    digits: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetVariable {
    name: String,
    value: String,
}

/// Whether a text may become the value of a channel variable. The dialplan expands what it reads: `${`, `$${`, and commands in them.
fn is_plain_value(value: &str) -> bool {
    value.chars().count() <= 1_024 && !value.chars().any(char::is_control) && !value.contains("${")
}

impl ToolPolicy {
    /// The built-in functions as the model is to know them: name, description and parameters as a JSON schema.
    pub fn functions(&self) -> impl Iterator<Item = (&'static str, &'static str, Value)> {
        self.builtin.iter().map(|builtin| (builtin.name(), builtin.description(), builtin.parameters(self)))
    }

    /// Decides on a call of `name` with `arguments` as the model wrote them.
    pub(super) fn judge(&self, name: &str, arguments: &str) -> Verdict {
        let refuse = |why: &str| Verdict::Refuse(Refusal(why.to_owned()));
        if let Some(builtin) = Builtin::named(name).filter(|builtin| self.builtin.contains(builtin)) {
            return match self.action(builtin, arguments) {
                Ok(action) => Verdict::Act(action),
                Err(why) => refuse(&why),
            };
        }
        if !self.custom.iter().any(|custom| custom == name) {
            return refuse("there is no such function");
        }
        if is_object(arguments) { Verdict::Ask } else { refuse("the arguments are not a JSON object") }
    }

    fn action(&self, builtin: Builtin, arguments: &str) -> Result<Action, String> {
        let read = |error: serde_json::Error| format!("bad arguments: {error}");
        let arguments = blank_is_empty(arguments);
        match builtin {
            Builtin::HangUp => {
                let HangUp { reason } = serde_json::from_str(arguments).map_err(read)?;
                let reason = reason.chars().filter(|c| !c.is_control()).take(128).collect();
                Ok(Action::HangUp { reason })
            }
            Builtin::Transfer => {
                let Transfer { destination, summary } = serde_json::from_str(arguments).map_err(read)?;
                let Destination { name, number } = self.destinations.find(&destination)?;
                let summary: String = summary.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                if !is_plain_value(&summary) {
                    return Err("summary: give up to 1024 characters, without ${".into());
                }
                Ok(Action::Transfer { name, number, summary })
            }
            Builtin::SendDtmf => {
                let SendDtmf { digits } = serde_json::from_str(arguments).map_err(read)?;
                let tone = |c: char| c.is_ascii_digit() || matches!(c, 'A'..='D' | 'a'..='d' | '*' | '#' | 'w');
                if !(1..=32).contains(&digits.len()) || !digits.chars().all(tone) || digits.chars().all(|c| c == 'w') {
                    return Err("digits: give 1 to 32 of 0-9 A-D * # and w".into());
                }
                Ok(Action::SendDtmf { digits })
            }
            Builtin::SetVariable => {
                let SetVariable { name, value } = serde_json::from_str(arguments).map_err(read)?;
                let plain = name
                    .bytes()
                    .enumerate()
                    .all(|(at, b)| b.is_ascii_alphabetic() || b == b'_' || (at > 0 && b.is_ascii_digit()));
                if !(1..=64).contains(&name.len()) || !plain {
                    return Err("name: give a letter, then up to 63 of A-Z a-z 0-9 _".into());
                }
                let allowed = match self.variables.as_slice() {
                    [] => name.starts_with("ai_"),
                    names => names.contains(&name),
                };
                if !allowed {
                    return Err("name: not a variable that may be set".into());
                }
                if !is_plain_value(&value) {
                    return Err("value: give up to 1024 printable characters, without ${".into());
                }
                Ok(Action::SetVariable { name, value })
            }
        }
    }
}

/// Whether `arguments` is a JSON object, which somebody can judge.
pub(super) fn is_object(arguments: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(blank_is_empty(arguments)).is_ok()
}

/// Models leave the arguments away where there are none.
fn blank_is_empty(arguments: &str) -> &str {
    if arguments.trim().is_empty() { "{}" } else { arguments }
}

/// Longest text that a result has for the caller, bytes.
const MOST_WORDS: usize = 4 << 10;

/// The words that a result has for the caller: the member `say` of a JSON object. They are said at once, without the model.
pub(super) fn words_for_the_caller(output: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Result {
        say: String,
    }
    let Result { say } = serde_json::from_str(output).ok()?;
    let say = say[..say.floor_char_boundary(MOST_WORDS)].trim();
    (!say.is_empty()).then(|| say.to_owned())
}

/// The text for the model when a call was not carried out.
pub fn failure(why: impl fmt::Display) -> String {
    serde_json::json!({ "ok": false, "error": why.to_string() }).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> ToolPolicy {
        let destinations = Destinations { any: true, ..Destinations::default() };
        ToolPolicy {
            builtin: Builtin::ALL.to_vec(),
            custom: vec!["look_up".into()],
            destinations,
            ..ToolPolicy::default()
        }
    }

    fn acts(name: &str, arguments: &str) -> bool {
        matches!(policy().judge(name, arguments), Verdict::Act(_))
    }

    #[test]
    fn a_built_in_function_exists_only_where_it_is_named() {
        let none = ToolPolicy::default();
        for builtin in Builtin::ALL {
            assert!(matches!(none.judge(builtin.name(), "{}"), Verdict::Refuse(_)), "{}", builtin.name());
            assert_eq!(Builtin::named(builtin.name()), Some(builtin));
        }
        assert_eq!(policy().judge("look_up", "{\"a\":1}"), Verdict::Ask);
        assert!(matches!(policy().judge("look_up", "[1]"), Verdict::Refuse(_)));
        assert!(matches!(policy().judge("rm", "{}"), Verdict::Refuse(_)));
    }

    #[test]
    fn good_arguments_become_actions() {
        assert_eq!(policy().judge("hang_up", ""), Verdict::Act(Action::HangUp { reason: String::new() }));
        assert_eq!(
            policy().judge("transfer", r#"{"destination":"+4930*1"}"#),
            Verdict::Act(Action::Transfer { name: "+4930*1".into(), number: "+4930*1".into(), summary: String::new() })
        );
        assert_eq!(
            policy().judge("send_dtmf", r#"{"digits":"1w2#"}"#),
            Verdict::Act(Action::SendDtmf { digits: "1w2#".into() })
        );
        assert_eq!(
            policy().judge("set_variable", r#"{"name":"ai_mood","value":"fine, $5"}"#),
            Verdict::Act(Action::SetVariable { name: "ai_mood".into(), value: "fine, $5".into() })
        );
    }

    #[test]
    fn arguments_that_could_do_more_than_they_say_are_refused() {
        for (name, arguments) in [
            ("transfer", r#"{"destination":""}"#),
            ("transfer", r#"{"destination":"1000 XML public"}"#),
            ("transfer", r#"{"destination":"-both"}"#),
            ("transfer", r#"{"destination":"${system(id)}"}"#),
            ("transfer", r#"{"destination":"a/b"}"#),
            ("transfer", r#"{"destination":"1000","context":"public"}"#),
            ("transfer", r#"{"destination":1000}"#),
            ("transfer", r#"{"destination":"1000","summary":"${system(id)}"}"#),
            ("send_dtmf", r#"{"digits":"1@2000"}"#),
            ("send_dtmf", r#"{"digits":"wwww"}"#),
            ("set_variable", r#"{"name":"exec_after_bridge_app","value":"x"}"#),
            ("set_variable", r#"{"name":"ai_x y","value":"x"}"#),
            ("set_variable", r#"{"name":"ai_x","value":"${system(id)}"}"#),
            ("set_variable", r#"{"name":"ai_x","value":"$${x}"}"#),
            ("set_variable", "{\"name\":\"ai_x\",\"value\":\"a\\nb\"}"),
            ("set_variable", r#"{"name":"ai_x"}"#),
            ("hang_up", "now"),
            ("hang_up", r#"{"cause":"x"}"#),
        ] {
            assert!(!acts(name, arguments), "{name} {arguments}");
        }
    }

    #[test]
    fn lists_of_a_profile_are_exact() {
        let destinations = Destinations::parse("sales=1001").unwrap_or_default();
        let narrow = ToolPolicy { destinations, variables: vec!["outcome".into()], ..policy() };
        let judge = |name: &str, arguments: &str| matches!(narrow.judge(name, arguments), Verdict::Act(_));
        assert!(judge("transfer", r#"{"destination":"sales"}"#) && !judge("transfer", r#"{"destination":"1001"}"#));
        let told: Vec<_> = narrow.functions().map(|(name, _, parameters)| (name, parameters)).collect();
        assert_eq!(told[1].0, "transfer");
        assert_eq!(told[1].1["properties"]["destination"]["enum"], json!(["sales"]));
        assert_eq!(told[1].1["required"], json!(["destination"]));
        assert!(judge("set_variable", r#"{"name":"outcome","value":""}"#));
        assert!(!judge("set_variable", r#"{"name":"ai_x","value":""}"#));
    }

    proptest! {
        #[test]
        fn no_argument_gets_through_that_is_not_plain(value in any::<String>(), field in 0usize..3) {
            let (name, arguments) = match field {
                0 => ("transfer", serde_json::json!({ "destination": value })),
                1 => ("send_dtmf", serde_json::json!({ "digits": value })),
                _ => ("set_variable", serde_json::json!({ "name": "ai_x", "value": value })),
            };
            match policy().judge(name, &arguments.to_string()) {
                Verdict::Act(Action::Transfer { number: destination, .. }) => {
                    let special = |b: &u8| !b.is_ascii_graphic() || b"/${}'\"\\;|&<>`,:@".contains(b);
                    prop_assert!(!destination.as_bytes().iter().any(special), "{}", destination);
                }
                Verdict::Act(Action::SendDtmf { digits }) => prop_assert!(digits.len() <= 32 && digits.is_ascii()),
                Verdict::Act(Action::SetVariable { value, .. }) => {
                    let expands = value.contains("${") || value.chars().any(char::is_control);
                    prop_assert!(!expands, "{:?}", value);
                }
                _ => {}
            }
        }
    }
}
