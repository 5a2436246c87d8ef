//! Commands carried out: from a parsed line to the reply.
//!
//! On the API thread or the dialplan's. Waits for nothing but locks held for a look-up, and for FreeSWITCH's own while a media bug
//! is put on or taken off a call.

use std::sync::Arc;

use super::host::{Call, Calls};
use super::module::{BUILD, Module};
use crate::control::command::{self, Action, Command, Direction, DrainOrder, Source};
use crate::control::health::{BreakerList, DrainReport, GlobalHealth, RecordingHealth, StreamList, json};
use crate::media::Fader;
use crate::media::playout::MOST_TONES;
use crate::stream::handle::{StreamCommand, StreamCommandError, StreamHandle};
use crate::stream::state::StreamMode;
use crate::stream::status::StreamStatus;
use crate::units::text::shown;
use crate::units::{CallId, StreamName};

impl Module {
    /// Carries out one line of the API; the reply's first word is `+OK`, `-ERR` or `-USAGE:`, or it is one JSON object.
    pub fn execute(self: &Arc<Self>, line: &[u8], calls: &dyn Calls) -> String {
        match command::parse(line) {
            Err(error) => error.to_string(),
            Ok(Command::GlobalHealth) => json(&self.global_health()),
            Ok(Command::List) => self.list(),
            Ok(Command::Breakers) => json(&BreakerList::of(self.breakers())),
            Ok(Command::Version) => json(&BUILD),
            Ok(Command::Metrics) => self.metrics_page(),
            Ok(Command::Drain(order)) => self.drain(order),
            Ok(Command::Call { call, name, action }) => match calls.locate(&call) {
                None => "-ERR No such channel!".to_owned(),
                Some(found) => self.act(found.as_ref(), name, action).0,
            },
        }
    }

    /// Carries out one action on a call; also the stream that a `start` has started.
    pub fn act(
        self: &Arc<Self>,
        call: &dyn Call,
        name: StreamName,
        action: Action,
    ) -> (String, Option<Arc<StreamHandle>>) {
        let action = match action {
            Action::RecordStart { file } => return (self.begin_recording(call, name, &file), None),
            Action::RecordStop => return (self.end_recording(&call.id(), &name), None),
            Action::Health => return (self.health(&call.id(), &name), None),
            action => action,
        };
        let id = call.id();
        let slip = match &action {
            Action::Start(request) => request.slip(),
            _ => None,
        };
        let begun = match action {
            Action::Start(request) => self.begin(call, name, *request),
            Action::StartAi(request) => self.begin_ai(call, name, *request),
            action => {
                let (verb, changed) = (action.verb(), change(&action));
                let reply = match self.registry().get(&id, &name) {
                    None => self.registry().unknown(&id, &name),
                    Some(stream) => self.instruct(&stream, action),
                };
                if let Some(what) = changed.filter(|_| reply.starts_with("+OK")) {
                    tracing::info!(target: "LIFECYCLE", call = %id, op = verb, outcome = "ok", stream = %name, what);
                }
                return (reply, None);
            }
        };
        match begun {
            Ok(stream) => {
                let warning = slip.map(|slip| format!("; warning: {slip}")).unwrap_or_default();
                (format!("+OK Success{warning}"), Some(stream))
            }
            Err(error) => {
                self.metrics.refused.count(error.word());
                let reply = error.to_string();
                tracing::warn!(target: "LIFECYCLE", call = %id, op = "stream_start", outcome = "refused", reason = %reply);
                (reply, None)
            }
        }
    }

    fn instruct(&self, stream: &Arc<StreamHandle>, action: Action) -> String {
        let ordered = match action {
            // `act` has taken these.
            Action::Start(_)
            | Action::StartAi(_)
            | Action::RecordStart { .. }
            | Action::RecordStop
            | Action::Health => Ok(()),
            Action::Stop { text } => {
                self.end(stream, text, "stopped");
                Ok(())
            }
            Action::Pause(direction) => {
                pause(stream, direction, true);
                Ok(())
            }
            Action::Resume(direction) => {
                pause(stream, direction, false);
                Ok(())
            }
            Action::Gain(source, gain) => {
                fader(stream, source).set_gain(gain);
                Ok(())
            }
            Action::Mute(source) => {
                fader(stream, source).set_muted(true);
                Ok(())
            }
            Action::Unmute(source) => {
                fader(stream, source).set_muted(false);
                Ok(())
            }
            Action::Dtmf(steps) => {
                let waiting = stream.media.playout.tones_waiting() as usize;
                if waiting + steps.len() > MOST_TONES {
                    return format!("-ERR {waiting} tones are still to be heard; wait, or give fewer");
                }
                stream.command(StreamCommand::Tones(steps))
            }
            Action::SendText(text) => stream.command(StreamCommand::SendText(text)),
            Action::Clear => stream.command(StreamCommand::Clear),
            Action::Say(_) | Action::AiResult { .. } if stream.spec.options.mode != StreamMode::Ai => {
                return "-ERR this stream is no conversation; start_ai starts one".to_owned();
            }
            Action::Say(text) => stream.command(StreamCommand::Say(text)),
            Action::AiResult { call_id, output } => {
                if !stream.ai.lock().awaited.contains(&call_id) {
                    return format!("-ERR no function call '{}' waits for a result", shown(&call_id));
                }
                stream.command(StreamCommand::ToolResult { call_id, output })
            }
        };
        match ordered {
            Ok(()) => "+OK Success".to_owned(),
            Err(error @ (StreamCommandError::Ended | StreamCommandError::Busy)) => format!("-ERR {error}"),
        }
    }

    fn health(&self, call: &CallId, name: &StreamName) -> String {
        let recording = self.recorder().registry().get(call, name);
        match (self.registry().get(call, name), recording) {
            (Some(stream), recording) => json(&self.status_of(&stream, recording.map(|recording| recording.status()))),
            (None, Some(recording)) => json(&RecordingHealth::of(&recording)),
            (None, None) => self.registry().unknown(call, name),
        }
    }

    fn drain(self: &Arc<Self>, order: DrainOrder) -> String {
        let live = || (self.registry().all().len(), self.recorder().registry().all().len());
        match order {
            DrainOrder::On { limit } => {
                let until = self.drain.begin(limit);
                if let Some(until) = until {
                    self.end_live_at(until);
                }
                let (streams, recordings) = live();
                tracing::info!(target: "LIFECYCLE", notice = true, op = "drain", outcome = "on", streams, recordings,
                    limit_s = limit.map_or(0, |limit| limit.as_secs()));
                "+OK Success".to_owned()
            }
            DrainOrder::Off => {
                if self.drain.end() {
                    tracing::info!(target: "LIFECYCLE", notice = true, op = "drain", outcome = "off");
                }
                "+OK Success".to_owned()
            }
            DrainOrder::Status => {
                let (streams, recordings) = live();
                json(&DrainReport { drain: self.drain.status(), streams, recordings })
            }
        }
    }

    fn list(&self) -> String {
        let streams = self.registry().all();
        let statuses = self.statuses(&streams);
        json(&StreamList::of(streams.iter().map(|stream| &stream.spec).zip(&statuses)))
    }

    pub(super) fn global_health(&self) -> GlobalHealth {
        let streams = self.statuses(&self.registry().all());
        GlobalHealth::of(self.registry().totals(), self.uptime().as_secs(), self.drain.status(), BUILD, &streams)
    }

    pub(super) fn statuses(&self, streams: &[Arc<StreamHandle>]) -> Vec<StreamStatus> {
        streams.iter().map(|stream| self.status_of(stream, None)).collect()
    }
}

/// What an action changes that nothing else tells of, for the log: who looks for a reason why nobody hears anything finds it
/// there. Without the digits, which may be a PIN.
fn change(action: &Action) -> Option<String> {
    Some(match action {
        Action::Pause(direction) | Action::Resume(direction) => match direction {
            Direction::Capture => "capture".to_owned(),
            Direction::Playback => "playback".to_owned(),
        },
        Action::Gain(source, gain) => format!("{} {:.1} dB", source.as_str(), gain.db()),
        Action::Mute(source) | Action::Unmute(source) => source.as_str().to_owned(),
        Action::Dtmf(steps) => format!("{} tones", steps.len()),
        Action::Clear => "playback".to_owned(),
        _ => return None,
    })
}

fn pause(stream: &StreamHandle, direction: Direction, paused: bool) {
    match direction {
        Direction::Capture => stream.media.set_paused(paused),
        Direction::Playback => stream.media.playout.set_paused(paused),
    }
}

fn fader(stream: &StreamHandle, source: Source) -> &Fader {
    match source {
        Source::Caller => &stream.media.mixer.caller,
        Source::Agent => &stream.media.mixer.agent,
        Source::Leg => &stream.media.call().leg,
    }
}
