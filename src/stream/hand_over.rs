//! An agent hands its caller over to a person who is called first: what is asked of FreeSWITCH, and how far it has come.
//!
//! ```text
//! asked ─(the call's own thread: application audio_stream_transfer)─► calling ─► connected: the conversation ends
//!                                                                        └─────► nobody: the model learns why
//! ```
//! One at a time for each stream; shared by the stream's task, the call's own thread and FreeSWITCH's event threads. The lock is held
//! for a look. Nothing in it is the model's but the summary and the destination, both checked.

use parking_lot::Mutex;

use super::action::HandOver;
use crate::conversation::AiOptions;

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Asked,
    Calling,
    Connected,
}

struct Pending {
    /// The model's function call.
    call_id: String,
    to: HandOver,
    phase: Phase,
}

/// The hand-over of one stream, if there is one.
#[derive(Default)]
pub struct HandOverInProgress(Mutex<Option<Pending>>);

impl HandOverInProgress {
    /// The agent asks for it by a function call. The one before is over by then.
    pub fn ask(&self, call_id: &str, to: &HandOver) {
        *self.0.lock() = Some(Pending { call_id: call_id.to_owned(), to: to.clone(), phase: Phase::Asked });
    }

    /// The person is called now, on the call's own thread; `None` where nobody is to be.
    pub fn begin(&self) -> Option<HandOver> {
        let mut pending = self.0.lock();
        let pending = pending.as_mut().filter(|pending| pending.phase == Phase::Asked)?;
        pending.phase = Phase::Calling;
        Some(pending.to.clone())
    }

    /// The call is bridged; whether that is because the person has taken it.
    pub fn connected(&self) -> bool {
        let mut pending = self.0.lock();
        let Some(pending) = pending.as_mut().filter(|pending| pending.phase == Phase::Calling) else { return false };
        pending.phase = Phase::Connected;
        true
    }

    /// Calling is over: the function call to be answered, if nobody has taken the caller.
    pub fn ended(&self) -> Option<String> {
        self.0.lock().take().filter(|pending| pending.phase != Phase::Connected).map(|pending| pending.call_id)
    }
}

/// What FreeSWITCH is asked for to call the person.
#[derive(PartialEq, Eq, Debug)]
pub struct Calling {
    /// Channel variables of the caller for the time of it.
    pub variables: Vec<(&'static str, String)>,
    /// Of the application `bridge`.
    pub dial: String,
}

impl Calling {
    /// To hand over `to`, as `options` say; `exports` are the variables that the other leg gets anyway.
    pub fn new(options: &AiOptions, to: &HandOver, exports: Option<&str>) -> Self {
        let mut variables = vec![
            ("continue_on_fail", "true".to_owned()),
            ("hangup_after_bridge", "true".to_owned()),
            // Early media of the other side is neither an answer nor the music.
            ("ignore_early_media", "true".to_owned()),
            ("call_timeout", options.transfer_timeout_s.to_string()),
        ];
        let exported = exports.into_iter().chain(to.variables().map(|(name, _)| name));
        variables.push(("export_vars", exported.collect::<Vec<_>>().join(",")));
        if let Some(music) = &options.transfer_hold_music {
            variables.extend(["transfer_ringback", "ringback"].map(|name| (name, music.clone())));
        }
        if let Some(announcement) = &options.transfer_announcement {
            // On the other leg before it counts as answered; however long it takes.
            variables.push(("group_confirm_key", "exec".to_owned()));
            variables.push(("group_confirm_file", format!("playback {announcement}")));
            variables.push(("group_confirm_cancel_timeout", "true".to_owned()));
        }
        Self { variables, dial: options.transfer_dial_string.replace("{}", &to.number) }
    }
}

/// Why nobody has taken the caller, in words for the model, from FreeSWITCH's `originate_disposition`.
pub fn refusal(disposition: &str) -> String {
    let what = match disposition {
        "NO_ANSWER" | "NO_USER_RESPONSE" | "ALLOTTED_TIMEOUT" | "ORIGINATOR_CANCEL" => "nobody answered",
        "USER_BUSY" => "the line is busy",
        "CALL_REJECTED" => "the call was rejected",
        "USER_NOT_REGISTERED" | "SUBSCRIBER_ABSENT" => "nobody is there",
        _ => return format!("the call failed ({disposition}); the caller is with you again"),
    };
    format!("{what}; the caller is with you again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sales() -> HandOver {
        HandOver { name: "sales".into(), number: "1001".into(), summary: "Wants a boat.".into(), announced: true }
    }

    #[test]
    fn only_a_bridge_of_the_one_who_is_called_connects() {
        let pending = HandOverInProgress::default();
        assert!(!pending.connected() && pending.begin().is_none() && pending.ended().is_none());
        pending.ask("c1", &sales());
        assert!(!pending.connected(), "another bridge, before anybody was called");
        assert_eq!(pending.begin(), Some(sales()));
        assert_eq!(pending.begin(), None);
        assert_eq!(pending.ended(), Some("c1".into()));
        pending.ask("c2", &sales());
        pending.begin();
        assert!(pending.connected() && !pending.connected());
        assert_eq!(pending.ended(), None, "the model is not told that it failed");
    }

    #[test]
    fn the_call_has_its_music_time_limit_and_announcement() {
        let options = AiOptions {
            transfer_dial_string: "user/{}@{}".into(),
            transfer_hold_music: Some("/moh.wav".into()),
            transfer_announcement: Some("/a.wav".into()),
            transfer_timeout_s: 7,
            ..AiOptions::default()
        };
        let calling = Calling::new(&options, &sales(), Some("x"));
        assert_eq!(calling.dial, "user/1001@1001");
        let value = |wanted: &str| calling.variables.iter().find(|(name, _)| *name == wanted).unwrap().1.as_str();
        assert_eq!(value("export_vars"), "x,audio_stream_ai_transfer_to,audio_stream_ai_transfer_summary");
        assert_eq!((value("call_timeout"), value("transfer_ringback")), ("7", "/moh.wav"));
        assert_eq!((value("group_confirm_key"), value("group_confirm_file")), ("exec", "playback /a.wav"));
        let plain = Calling::new(&AiOptions::default(), &sales(), None);
        assert!(plain.variables.iter().all(|(name, _)| !name.contains("confirm") && !name.contains("ringback")));
        assert_eq!(plain.dial, "loopback/1001/${context}");
    }
}
