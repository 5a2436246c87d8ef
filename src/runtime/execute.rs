//! Commands carried out: from a parsed line to the reply.
//!
//! On the API thread or the dialplan's. Waits for nothing but locks held for a look-up, and for FreeSWITCH's own while a media bug
//! is put on or taken off a call.

use std::sync::Arc;
use std::time::Instant;

use super::audit::Entry;
use super::host::{Call, Calls};
use super::module::{BUILD, Module};
use super::starts::{Begun, Kind, Waiting};
use super::waiting::WAITS;
use crate::control::command::{self, Action, BreakerOrder, Command, CommandError, Direction, SendText, Source};
use crate::control::health::{BreakerList, GlobalHealth, RecordingHealth, StreamList, json};
use crate::control::in_force::InForce;
use crate::control::options::OptionValues;
use crate::control::unused::unused;
use crate::control::{Config, Giver, Warning, review};
use crate::conversation::{changes, engines};
use crate::media::Fader;
use crate::media::playout::MOST_TONES;
use crate::peer::Change;
use crate::stream::handle::{StreamCommand, StreamCommandError, StreamHandle};
use crate::stream::options::StreamOptions;
use crate::stream::state::StreamMode;
use crate::stream::status::StreamStatus;
use crate::units::text::{counted, shown};
use crate::units::{CallId, StreamName};

/// The reply to what is done as asked.
pub(super) const OK: &str = "+OK Success";

/// The reply to a `stop`, which ends the stream in any case.
fn stopped(has_text: bool, connected: bool) -> String {
    let unsent = if has_text && !connected { "; the text is not sent, as there is no connection" } else { "" };
    format!("{OK}{unsent}")
}

impl Module {
    /// Carries out one line of the API, and logs it with its `giver`; the reply's first word is `+OK`, `-ERR` or `-USAGE:`, or it
    /// is one JSON object.
    pub fn execute(self: &Arc<Self>, line: &[u8], calls: &dyn Calls, giver: &dyn Fn() -> Giver) -> String {
        let (entry, reply) = match command::parse(line) {
            Err(error) => (Entry::unreadable(line), error.to_string()),
            Ok(Command::Call { call, name, action }) => match calls.locate(&call) {
                None => (Entry::about(call, name.unwrap_or_default(), &action), "-ERR No such channel!".to_owned()),
                Some(found) => return self.act(found.as_ref(), name, action, giver).0,
            },
            Ok(command) => (Entry::of(&command), self.report_or_order(command, calls)),
        };
        entry.log(&reply, giver);
        reply
    }

    /// Carries out a command about the module.
    fn report_or_order(self: &Arc<Self>, command: Command, calls: &dyn Calls) -> String {
        match command {
            Command::GlobalHealth => json(&self.global_health()),
            Command::List => self.list(calls),
            Command::Breakers(BreakerOrder::Report) => json(&BreakerList::of(self.breakers())),
            Command::Breakers(BreakerOrder::Reset { server }) => self.reset_breakers(server.as_deref()),
            Command::Version => json(&BUILD),
            Command::Metrics => self.metrics_page(),
            Command::Drain(order) => self.order_drain(order),
            Command::CheckConfig { file } => check_config(calls, file.as_deref()),
            Command::Config { profile } => {
                let values = InForce::of(&self.config(), self.config_at_load(), profile.as_deref());
                values.map_or_else(|error| format!("-ERR {error}"), |values| json(&values))
            }
            // `execute` has taken these.
            Command::Call { .. } => String::new(),
        }
    }

    /// Carries out one action on a call, and logs it with its `giver`; also what a `start` has led to. Without a `name` it is for the
    /// default stream, unless its text begins with the name of another one.
    pub fn act(
        self: &Arc<Self>,
        call: &dyn Call,
        name: Option<StreamName>,
        action: Action,
        giver: &dyn Fn() -> Giver,
    ) -> (String, Option<Begun>) {
        let (unnamed, name) = (name.is_none(), name.unwrap_or_default());
        let entry = Entry::about(call.id(), name.clone(), &action);
        let meant = if unnamed { self.is_meant_for_default(&call.id(), &action) } else { Ok(()) };
        let with_text = unnamed && matches!(action, Action::Stop { text: Some(_) });
        let mut done = match meant {
            Ok(()) => self.carry_out(call, name.clone(), action),
            Err(error) => (error.to_string(), None),
        };
        if with_text && done.0 == OK {
            done.0 = format!("{OK}; stream '{name}' ends with the text as its last message");
        }
        entry.log(&done.0, giver);
        done
    }

    fn is_meant_for_default(&self, call: &CallId, action: &Action) -> Result<(), CommandError> {
        let mut others = self.registry().names(call);
        others.retain(|name| *name != StreamName::default());
        command::astray(action, &others)
    }

    fn carry_out(self: &Arc<Self>, call: &dyn Call, name: StreamName, action: Action) -> (String, Option<Begun>) {
        let action = match action {
            Action::RecordStart { file } => return (self.begin_recording(call, name, &file), None),
            Action::RecordStop if self.stop_waiting(Kind::Recording, call, &name) => return (OK.to_owned(), None),
            Action::RecordStop => return (self.end_recording(&call.id(), &name), None),
            Action::Stop { ref text } if self.stop_waiting(Kind::Stream, call, &name) => {
                return (stopped(text.is_some(), false), None);
            }
            // A mask of one stream would leave the card number in the others.
            Action::Mask(_) if name != StreamName::default() => {
                return ("-ERR the mask is for the whole call: leave out name=".to_owned(), None);
            }
            Action::Mask(on) => return (mask(call, on), None),
            Action::Health => return (self.health(call, &name), None),
            action => action,
        };
        let id = call.id();
        let begun = match action {
            Action::Start(request) => self.begin(call, name, *request),
            Action::StartAi(request) => self.begin_ai(call, name, *request),
            action => {
                let reply = match self.registry().get(&id, &name) {
                    Some(stream) => self.instruct(&stream, action),
                    None if self.starts().get(Kind::Stream, &id, &name).is_some() => {
                        format!(
                            "-ERR stream '{name}' waits for the call's media; until then only stop and health are possible"
                        )
                    }
                    None => self.registry().unknown(&id, &name),
                };
                return (reply, None);
            }
        };
        match begun {
            Ok((begun, warnings)) => {
                let waits = if matches!(begun, Begun::Waiting) { format!("; {WAITS}") } else { String::new() };
                (format!("{OK}{waits}{}", behind_reply(&warnings)), Some(begun))
            }
            Err(error) => {
                self.metrics.refused.count(error.word());
                (error.to_string(), None)
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
            | Action::Mask(_)
            | Action::Health => Ok(()),
            Action::Stop { text } => {
                let (has_text, connected) = (text.is_some(), stream.state().is_connected());
                self.end(stream, text, "stopped");
                return stopped(has_text, connected);
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
                    return format!(
                        "-ERR {waiting} tones are still waiting to be played; try again later, or give fewer"
                    );
                }
                stream.command(StreamCommand::Tones(steps))
            }
            Action::SendText(send) if stream.spec.options.mode != StreamMode::Ai => {
                stream.command(StreamCommand::SendText(send.whole))
            }
            Action::SendText(SendText { slip: Some(error), .. }) => return error.to_string(),
            Action::SendText(SendText { text, .. }) if text.is_empty() => return "-ERR the text is missing".to_owned(),
            Action::SendText(SendText { text, role, respond, .. }) => {
                stream.command(StreamCommand::Tell { speaker: role.into(), text, respond })
            }
            Action::Clear => stream.command(StreamCommand::Clear),
            Action::AiResult { .. } | Action::AiUpdate(_) | Action::AiSend(_)
                if stream.spec.options.mode != StreamMode::Ai =>
            {
                return "-ERR this stream is not a conversation; start_ai starts one".to_owned();
            }
            Action::Say(text) => match speaks(stream) {
                Ok(()) => stream.command(StreamCommand::Say(text)),
                Err(why) => return format!("-ERR {why}"),
            },
            Action::AiUpdate(given) => match update(stream, &given) {
                Ok((changes, warnings)) => match stream.command(StreamCommand::Change(changes)) {
                    Ok(()) => return format!("{OK}{}", behind_reply(&warnings)),
                    refused => refused,
                },
                Err(why) => return format!("-ERR {why}"),
            },
            Action::AiSend(event) => {
                let options = &stream.spec.options;
                if !engines::of(&options.ai).raw {
                    return format!("-ERR engine={} has no service that takes events", options.protocol);
                }
                if !stream.ai.lock().status.stats.connected {
                    return "-ERR the service is not connected at the moment; try again".to_owned();
                }
                stream.command(StreamCommand::Raw(event))
            }
            Action::AiResult { call_id, output } => {
                if !stream.ai.lock().awaited.contains(&call_id) {
                    return format!("-ERR no function call '{}' waits for a result", shown(&call_id));
                }
                stream.command(StreamCommand::ToolResult { call_id, output })
            }
        };
        match ordered {
            Ok(()) => OK.to_owned(),
            Err(error @ (StreamCommandError::Ended | StreamCommandError::Busy)) => format!("-ERR {error}"),
        }
    }

    fn health(&self, call: &dyn Call, name: &StreamName) -> String {
        let (id, masked) = (call.id(), call.is_masked());
        let recording = self.recorder().registry().get(&id, name);
        // Before its first frame a stream does not know of the mask.
        let with_mask = |mut status: StreamStatus| {
            status.masked |= masked;
            json(&status)
        };
        match (self.registry().get(&id, name), recording) {
            (Some(stream), recording) => {
                with_mask(self.status_of(&stream, recording.map(|recording| recording.status())))
            }
            (None, recording) => match (self.waiting_stream(&id, name), recording) {
                (Some(status), _) => with_mask(status),
                (None, Some(recording)) => json(&RecordingHealth::of(&recording)),
                (None, None) => self.registry().unknown(&id, name),
            },
        }
    }

    fn reset_breakers(&self, server: Option<&str>) -> String {
        // Without a scheme, what stands before an '@' cannot be told from what stands behind it.
        let named = server.map(|server| match server.contains('@') && !server.contains("://") {
            true => "***".to_owned(),
            false => shown(server),
        });
        match (self.breakers.reset(Instant::now(), server), named) {
            (0, Some(server)) => format!("-ERR no breaker of '{server}'; `breakers` prints those there are"),
            (count, named) => {
                tracing::info!(target: "LIFECYCLE", notice = true, op = "breakers_reset", outcome = "ok", count,
                    server = named.unwrap_or_else(|| "all".to_owned()));
                format!("{OK}: {count} reset")
            }
        }
    }

    fn list(&self, calls: &dyn Calls) -> String {
        let streams = self.registry().all();
        let mut statuses = self.statuses(&streams);
        let waiting = self.starts().streams();
        let masked = |waiting: &Waiting| calls.locate(waiting.call()).is_some_and(|call| call.is_masked());
        statuses.extend(
            waiting
                .iter()
                .filter_map(|waiting| Some(StreamStatus { masked: masked(waiting), ..waiting_status(waiting)? })),
        );
        let specs =
            streams.iter().map(|stream| &stream.spec).chain(waiting.iter().filter_map(|waiting| waiting.spec()));
        json(&StreamList::of(specs.zip(&statuses)))
    }

    /// The health of a stream that waits for its call's media.
    fn waiting_stream(&self, call: &CallId, name: &StreamName) -> Option<StreamStatus> {
        self.starts().get(Kind::Stream, call, name).and_then(|waiting| waiting_status(&waiting))
    }

    pub(super) fn global_health(&self) -> GlobalHealth {
        let streams = self.statuses(&self.registry().all());
        let waiting = self.starts().streams().len();
        let drain = self.drain.status();
        GlobalHealth::of(self.registry().totals(), self.uptime().as_secs(), drain, BUILD, &streams, waiting)
    }

    pub(super) fn statuses(&self, streams: &[Arc<StreamHandle>]) -> Vec<StreamStatus> {
        streams.iter().map(|stream| self.status_of(stream, None)).collect()
    }
}

/// What is wrong in a file, a line for each.
fn check_config(calls: &dyn Calls, file: Option<&str>) -> String {
    let (file, doc) = match calls.configuration_file(file) {
        Ok(read) => read,
        Err(why) => return format!("-ERR {why}"),
    };
    let (settings, profiles) = (doc.settings.len(), doc.profiles.len());
    let (config, mut warnings) = Config::load(&doc);
    warnings.extend(review(&config));
    if warnings.is_empty() {
        let (settings, profiles) = (counted(settings, "setting"), counted(profiles, "profile"));
        return format!("+OK {file}: nothing is wrong in {settings} and {profiles}");
    }
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    format!("-ERR {file}: {}\n{}", counted(lines.len(), "warning"), lines.join("\n"))
}

fn waiting_status(waiting: &Waiting) -> Option<StreamStatus> {
    Some(StreamStatus::waiting(waiting.spec()?, waiting.started.elapsed()))
}

/// Why a text would not be heard, where that is known beforehand.
fn speaks(stream: &StreamHandle) -> Result<(), String> {
    let options = &stream.spec.options;
    if options.mode == StreamMode::Ai {
        return Ok(());
    }
    if !options.playback {
        return Err("playback is off for this stream, so nothing would be heard".to_owned());
    }
    if stream.is_disconnected() {
        return Err("the connection of this stream has ended; what it has queued still plays".to_owned());
    }
    options.ai.speech().map(drop).map_err(|missing| format!("no speech can be made: tts_provider {missing}"))
}

/// Warnings as the end of a reply.
fn behind_reply(warnings: &[Warning]) -> String {
    warnings.iter().map(|warning| format!("; warning: {warning}")).collect()
}

/// What `ai_update` asks of a conversation, if it can be had, and what of it changes nothing.
fn update(stream: &StreamHandle, given: &OptionValues) -> Result<(Vec<Change>, Vec<Warning>), String> {
    let options = &stream.spec.options;
    let wanted: Vec<Change> = given.iter().map(|(row, text)| (row.key.clone(), text.to_owned())).collect();
    let (before, spoken) = {
        let shared = stream.ai.lock();
        (shared.changes.clone(), shared.status.stats.spoken)
    };
    let now = changes::changed(&options.ai, &before)?;
    changes::check(engines::of(&options.ai), &now, options.headers.clone(), &wanted, spoken)?;
    let ai = Arc::new(changes::changed(&now, &wanted)?);
    let warnings = unused(given, &StreamOptions { ai, ..options.clone() }, true);
    Ok((wanted, warnings))
}

/// Masks the caller of `call`, or no longer. In the log, since it explains silence in streams and recordings.
fn mask(call: &dyn Call, on: bool) -> String {
    match call.mask(on) {
        Ok(changed) => {
            tracing::info!(target: "LIFECYCLE", notice = true, call = %call.id(), op = "mask", outcome = "ok", on, changed);
            OK.to_owned()
        }
        Err(why) => format!("-ERR the caller cannot be masked: {why}"),
    }
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
