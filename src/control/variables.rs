//! Channel variables, as far as options are concerned: a name asked, a value given.
//!
//! The FreeSWITCH side implements [`Variables`] on a channel it holds; tests on a closure or a map.

use std::collections::{BTreeMap, HashMap};

/// Looks up a channel variable.
pub trait Variables {
    /// The value of `name`; `None` where it is not set. FreeSWITCH does not tell an empty value from an unset one, and
    /// neither does the reader of this.
    fn get(&self, name: &str) -> Option<String>;
}

/// A channel on which nothing is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

impl Variables for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }
}
