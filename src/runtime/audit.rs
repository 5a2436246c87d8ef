//! One line of the log for each command: what it was, who gave it and what came of it.
//!
//! On the API or dialplan thread, after the command. What only reads is logged at DEBUG, a start that is refused at WARNING,
//! everything else at INFO. Texts and digits are not logged, only how many there are.

use tracing::field::display;

use crate::control::Giver;
use crate::control::command::{self, Action, Command, Direction, SendText};
use crate::units::{CallId, StreamName};

/// Characters of a refusal that the log shows.
const LOGGED: usize = 200;

/// A command, as the log names it.
pub(super) struct Entry {
    verb: &'static str,
    /// The call, where it is about one.
    call: Option<CallId>,
    /// The stream.
    stream: Option<StreamName>,
    /// What of it.
    what: Option<String>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Changes,
    Starts,
}

impl Entry {
    /// A line that is not a command, with what can be read of it.
    pub(super) fn unreadable(line: &[u8]) -> Self {
        let (call, verb) = command::subject(line);
        let verb = verb.unwrap_or("command");
        let kind =
            if ["start", "start_ai", "transcribe", "record"].contains(&verb) { Kind::Starts } else { Kind::Changes };
        Self { verb, call, stream: None, what: None, kind }
    }

    /// About the module.
    pub(super) fn of(command: &Command) -> Self {
        let kind = if command.changes() { Kind::Changes } else { Kind::Reads };
        Self { verb: command.verb(), call: None, stream: None, what: None, kind }
    }

    /// About a stream or a recording.
    pub(super) fn about(call: CallId, name: StreamName, action: &Action) -> Self {
        let kind = match action {
            Action::Health => Kind::Reads,
            Action::Start(_) | Action::StartAi(_) | Action::RecordStart { .. } => Kind::Starts,
            _ => Kind::Changes,
        };
        Self { verb: action.verb(), call: Some(call), stream: Some(name), what: what(action), kind }
    }

    /// Writes the line. Who gave the command is found out only for a line that somebody reads.
    pub(super) fn log(self, reply: &str, giver: &dyn Fn() -> Giver) {
        let refusal = reply.strip_prefix("-ERR ").or_else(|| reply.strip_prefix("-USAGE: "));
        let outcome = if refusal.is_some() { "refused" } else { "ok" };
        let reason = refusal.map(|text| text.chars().take(LOGGED).collect::<String>());
        let (call, stream) = (self.call.as_ref().map(display), self.stream.as_ref().map(display));
        let (op, what) = (self.verb, self.what);
        macro_rules! line {
            ($level:ident) => {{
                let Giver { by, user, call: by_call } = giver();
                tracing::$level!(target: "LIFECYCLE", call, op, outcome, stream, what, reason, by, by_user = user,
                    by_call = by_call.as_ref().map(display));
            }};
        }
        match self.kind {
            Kind::Reads if !tracing::enabled!(target: "LIFECYCLE", tracing::Level::DEBUG) => {}
            Kind::Reads => line!(debug),
            Kind::Starts if refusal.is_some() => line!(warn),
            Kind::Changes | Kind::Starts => line!(info),
        }
    }
}

/// What of a stream an action changes.
fn what(action: &Action) -> Option<String> {
    Some(match action {
        Action::Pause(direction) | Action::Resume(direction) => match direction {
            Direction::Capture => "capture".to_owned(),
            Direction::Playback => "playback".to_owned(),
        },
        Action::Gain(source, gain) => format!("{} {:.1} dB", source.as_str(), gain.db()),
        Action::Mute(source) | Action::Unmute(source) => source.as_str().to_owned(),
        Action::Dtmf(steps) => format!("{} tones", steps.len()),
        Action::Clear => "playback".to_owned(),
        Action::RecordStart { .. } => "start".to_owned(),
        Action::RecordStop => "stop".to_owned(),
        Action::Mask(on) => if *on { "on" } else { "off" }.to_owned(),
        Action::AiUpdate(given) => given.iter().map(|(row, _)| row.key.as_ref()).collect::<Vec<_>>().join(","),
        Action::Stop { text: Some(text) }
        | Action::SendText(SendText { whole: text, .. })
        | Action::Say(text)
        | Action::AiSend(text)
        | Action::AiResult { output: text, .. } => format!("{} bytes", text.len()),
        Action::Stop { text: None } | Action::Start(_) | Action::StartAi(_) | Action::Health => return None,
    })
}
