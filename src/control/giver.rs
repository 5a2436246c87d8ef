//! Who gave a command, as far as FreeSWITCH lets a module know.
//!
//! FreeSWITCH passes neither the address nor the name of an event socket's client to a command. It tells the user of a request
//! over HTTP and the call of a dialplan, and runs a command on the thread of the one who gave it.

use crate::units::CallId;

/// See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Giver {
    /// `dialplan` (an application), `channel` (FreeSWITCH for a call: `${…}` or a hook), `console`, `freeswitch` (its core
    /// otherwise), or the modules that the command went through, the first one first: `mod_event_socket>mod_lua`.
    pub by: String,
    /// The user of a request over HTTP.
    pub user: Option<String>,
    /// The call whose dialplan, script or hook gave it.
    pub call: Option<CallId>,
}

impl Giver {
    /// An application in the dialplan of the call that the command is about.
    pub fn dialplan() -> Self {
        Self { by: "dialplan".to_owned(), user: None, call: None }
    }

    /// From what is known of an API command: the `modules` it went through, the first one first, whether it was typed at the
    /// console, and the `call` it was given for.
    pub fn of_api(modules: &[String], console: bool, user: Option<String>, call: Option<CallId>) -> Self {
        let by = match (modules, &call) {
            ([], Some(_)) => "channel".to_owned(),
            ([], None) if console => "console".to_owned(),
            ([], None) => "freeswitch".to_owned(),
            (modules, _) => modules.join(">"),
        };
        Self { by, user, call }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_a_command_is_the_nearest_that_is_known() {
        let modules = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let call = Some(CallId::new("c1"));
        for (names, console, call, expected) in [
            (&[][..], false, None, "freeswitch"),
            (&[], true, None, "console"),
            (&[], true, call.clone(), "channel"),
            (&["mod_event_socket"], true, None, "mod_event_socket"),
            (&["mod_event_socket", "mod_lua"], false, call, "mod_event_socket>mod_lua"),
        ] {
            assert_eq!(Giver::of_api(&modules(names), console, None, call).by, expected);
        }
    }
}
