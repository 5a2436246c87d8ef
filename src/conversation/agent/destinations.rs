//! Where the model may transfer the caller to: by names that the operator has given, so that it never handles a number.
//!
//! Pure.

use serde_json::{Value, json};

/// Most destinations, each of which the model reads with every session.
const MOST: usize = 64;

/// Begins a destination that is a room of FreeSWITCH's conferences.
pub const CONFERENCE: &str = "conference:";

/// Somebody to whom a caller can be transferred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// 1 to 64 of `A-Z a-z 0-9 _ - .` and spaces: what the model says.
    pub name: String,
    /// Where the call goes: 1 to 64 of `A-Z a-z 0-9 + * # . _ -`, or [`CONFERENCE`] and the room, perhaps with `@` and its profile.
    pub number: String,
}

/// Where the model may transfer to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Destinations {
    /// By name.
    pub named: Vec<Destination>,
    /// Numbers that the model says are taken, too.
    pub any: bool,
}

impl Destinations {
    /// Names and numbers (`sales=1001`) or rooms (`desk=conference:support`), numbers that are their own names, and `any`, separated
    /// by commas.
    pub(in crate::conversation) fn parse(text: &str) -> Result<Self, String> {
        const ALLOWED: &str =
            "give names and numbers such as sales=1001, or desk=conference:support, separated by commas, or any";
        let mut found = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word.eq_ignore_ascii_case("any") {
                found.any = true;
                continue;
            }
            let (name, number) =
                word.split_once('=').map_or((word, word), |(name, number)| (name.trim(), number.trim()));
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '.' | '_' | '-' | ' ');
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) || !(is_number(number) || is_room(number)) {
                return Err(ALLOWED.into());
            }
            if found.named(name).is_some() {
                return Err("a name is given twice".into());
            }
            found.named.push(Destination { name: name.to_owned(), number: number.to_owned() });
        }
        if found.named.len() > MOST {
            return Err(format!("give at most {MOST} destinations"));
        }
        Ok(found)
    }

    /// Whether there is nowhere to transfer to.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && !self.any
    }

    /// The first destination that is a conference.
    pub(in crate::conversation) fn conference(&self) -> Option<&Destination> {
        self.named.iter().find(|destination| is_room(&destination.number))
    }

    fn named(&self, name: &str) -> Option<&Destination> {
        self.named.iter().find(|destination| destination.name.eq_ignore_ascii_case(name.trim()))
    }

    /// The destination that the model means; the error tells it what it may say.
    pub(super) fn find(&self, said: &str) -> Result<Destination, String> {
        match self.named(said) {
            Some(destination) => Ok(destination.clone()),
            None if self.any && is_number(said) => Ok(Destination { name: said.to_owned(), number: said.to_owned() }),
            None if self.any => Err("destination: give 1 to 64 of A-Z a-z 0-9 + * # . _ -".into()),
            None => Err(format!("destination: give one of {}", self.names().join(", "))),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.named.iter().map(|destination| destination.name.as_str()).collect()
    }

    /// The parameter of the function, as a JSON schema.
    pub(super) fn schema(&self) -> Value {
        match (self.any, self.named.is_empty()) {
            (false, _) => json!({ "type": "string", "enum": self.names() }),
            (true, true) => json!({ "type": "string", "description": "extension or number" }),
            (true, false) => {
                let description = format!("{}, or an extension or number", self.names().join(", "));
                json!({ "type": "string", "description": description })
            }
        }
    }
}

/// Whether `text` is [`CONFERENCE`] and a room, perhaps with `@` and a profile.
fn is_room(text: &str) -> bool {
    let word = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (1..=64).contains(&text.len()) && text.chars().all(plain)
    };
    text.strip_prefix(CONFERENCE)
        .is_some_and(|room| room.split_once('@').map_or(word(room), |(room, profile)| word(room) && word(profile)))
}

/// Whether `text` is a number or extension that a call may be sent to.
fn is_number(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '.' | '_' | '-');
    // A leading dash would be an option to `uuid_transfer`.
    (1..=64).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_stand_for_numbers_and_nothing_else_is_taken() {
        let found = Destinations::parse("sales=1001, front desk = +4930*1 ,2000").unwrap();
        assert_eq!(found.find("Front Desk").unwrap().number, "+4930*1");
        assert_eq!(found.find("2000").unwrap().name, "2000");
        for said in ["1001", "+4930*1", "", "sales2", "911"] {
            assert_eq!(found.find(said).unwrap_err(), "destination: give one of sales, front desk, 2000", "{said}");
        }
        assert_eq!(found.schema(), json!({ "type": "string", "enum": ["sales", "front desk", "2000"] }));
    }

    #[test]
    fn a_conference_is_taken_by_its_name_alone() {
        let found = Destinations::parse("any,desk=conference:support,quiet=conference:a-b_2@wideband").unwrap();
        assert_eq!(found.find("desk").unwrap().number, "conference:support");
        assert_eq!(found.conference().unwrap().name, "desk");
        for said in ["conference:support", "conference:other"] {
            assert!(found.find(said).is_err(), "the model says names, not rooms: {said}");
        }
        for text in [
            "desk=conference:",
            "desk=conference:a b",
            "desk=conference:a@",
            "desk=conference:a@b@c",
            "desk=conference:a+flags{mute}",
            "desk=conference:a/b",
            "conference:a",
        ] {
            assert!(Destinations::parse(text).is_err(), "{text}");
        }
        assert_eq!(Destinations::parse("sales=1001").unwrap().conference(), None);
    }

    #[test]
    fn any_number_is_taken_only_where_the_operator_says_so() {
        let found = Destinations::parse("any,sales=1001").unwrap();
        assert_eq!(found.find("sales").unwrap().number, "1001");
        assert_eq!(found.find("911").unwrap().number, "911");
        for said in ["", "1000 XML public", "-both", "${system(id)}", "a/b"] {
            assert!(found.find(said).is_err(), "{said}");
        }
        assert!(Destinations::parse("").unwrap().is_empty() && !Destinations::parse("any").unwrap().is_empty());
    }

    #[test]
    fn lists_that_could_mislead_are_refused() {
        for text in ["a b=c d", "sales=", "=1001", "-x", "sales=1,SALES=2", "a/b", "sales=${x}", "a=1=2"] {
            assert!(Destinations::parse(text).is_err(), "{text}");
        }
        let many = (0..65).map(|n| format!("n{n}=1")).collect::<Vec<_>>().join(",");
        assert!(Destinations::parse(&many).is_err());
    }
}
