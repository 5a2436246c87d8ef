//! Starts on calls without media: how they begin to wait, are tried, stopped and given up.
//!
//! On the API or dialplan thread, and on the thread of [`Starts`](super::starts::Starts), which owns the table. The thread that
//! takes a start out of the table tells the operator what became of it, so that each has one last event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::events::Work;
use super::host::{Call, NoAudio};
use super::module::{Module, StartError};
use super::starts::{Kind, NoRoom, Prepared, Start, Starter, Target, Tried, Waiting};
use crate::call::{Reservation, Sink as _};
use crate::event::Error;
use crate::record::RecordingHandle;
use crate::stream::handle::StreamHandle;
use crate::transport::{ABNORMAL_CLOSE, ErrorCode};
use crate::units::{CallId, SampleRate, StreamName};

/// What the dialplan is shown while its start waits.
pub const WAITING: &str = "waiting";
/// What the reply says of a start that waits.
pub(super) const WAITS: &str = "waiting for the call's media";

impl Module {
    /// The call may have media now: what waits for it is tried at once. Any thread; never waits.
    pub fn media_is_expected(&self, call: &CallId) {
        self.starts().wake(call);
    }

    /// Has a stream wait for the call's media. What can be wrong with it whatever the media will be is an error now.
    pub(super) fn await_media(self: &Arc<Self>, call: &dyn Call, prepared: Prepared) -> Result<(), StartError> {
        // The rates are not known yet; everything else that the other end depends on is.
        self.other_end(&mut prepared.spec.clone(), call, SampleRate::HZ_8000, SampleRate::HZ_8000)?;
        let (id, name) = (prepared.spec.call.clone(), prepared.spec.name.clone());
        let reservation = self.take_name(&prepared.spec)?;
        let waiting = Waiting::new(reservation.id, id.clone(), name.clone(), Some(prepared.spec.clone()));
        let limit = Duration::from_secs(prepared.spec.options.media_wait_s.into());
        self.starts().add(waiting, Start::Stream(Box::new(prepared), reservation), limit)?;
        tracing::info!(target: "LIFECYCLE", call = %id, op = "stream_start", outcome = "waiting", stream = %name,
            advice = "the call has no audio yet; answer or pre_answer it");
        Ok(())
    }

    /// The same for a recording.
    pub(super) fn await_media_to_record(
        &self,
        path: PathBuf,
        reservation: Reservation<RecordingHandle>,
        limit: Duration,
    ) -> Result<(), NoRoom> {
        let (call, name) = reservation.key();
        let file = path.display().to_string();
        let waiting = Waiting::new(reservation.id, call.clone(), name.clone(), None);
        self.starts().add(waiting, Start::Recording(Target::Path(path), reservation), limit)?;
        tracing::info!(target: "LIFECYCLE", call = %call, op = "record_start", outcome = "waiting", stream = %name, file,
            advice = "the call has no audio yet; answer or pre_answer it");
        Ok(())
    }

    /// Stops a start that waits; whether there was one.
    pub(super) fn stop_waiting(&self, kind: Kind, call: &dyn Call, name: &StreamName) -> bool {
        match self.starts().take(kind, &call.id(), name) {
            None => false,
            Some((waiting, idle)) => {
                // The thread that tries it finds it gone, and does the rest.
                if idle {
                    self.no_longer_waits(&waiting, Some(call), "", "stopped");
                }
                true
            }
        }
    }

    /// The last word on a start that was not attached; `error` is empty when nothing failed.
    pub(super) fn no_longer_waits(&self, waiting: &Arc<Waiting>, call: Option<&dyn Call>, error: &str, reason: &str) {
        tracing::info!(target: "LIFECYCLE", call = %waiting.call(), op = "start", outcome = "ended", stream = %waiting.name(),
            reason);
        if let Some(spec) = waiting.spec() {
            let mode = spec.options.mode;
            let last = if error.is_empty() { mode.quiet_end(reason) } else { mode.last_event(ABNORMAL_CLOSE, reason) };
            self.events().emit(waiting, last);
        }
        tell_dialplan(call, if error.is_empty() { "ended" } else { "error" }, error);
    }
}

impl Starter for Arc<Module> {
    fn attempt(&self, call: &dyn Call, start: Start) -> Tried {
        let audio = match call.audio() {
            Ok(audio) => audio,
            Err(NoAudio::NotYet) => return Tried::NotYet(start),
            Err(NoAudio::Ending) => return Tried::CallEnded(Some(start)),
            Err(never @ NoAudio::Never(_)) => return Tried::Failed(ErrorCode::NotSupported, never.to_string()),
        };
        let done = match start {
            Start::Stream(prepared, name) => {
                self.launch(call, *prepared, audio, Some(name)).map(Some).map_err(|error| error.to_string())
            }
            Start::Recording(Target::Path(path), name) => return Tried::NoFile(path, audio.0.rate, name),
            Start::Recording(Target::File(file), name) => {
                self.attach_recording(call, file, audio, name).map(|()| None).map_err(|(error, file)| {
                    self.work(&call.id(), Box::new(move || drop(file)));
                    error.to_string()
                })
            }
        };
        match done {
            Ok(stream) => Tried::Attached(stream),
            Err(_) if call.audio() == Err(NoAudio::Ending) => Tried::CallEnded(None),
            Err(reply) => {
                let reason = reply.strip_prefix("-ERR ").unwrap_or(&reply);
                Tried::Failed(ErrorCode::NotSupported, reason.to_owned())
            }
        }
    }

    fn work(&self, call: &CallId, work: Work) {
        self.events().work(call, work);
    }

    fn stopped(&self, waiting: &Arc<Waiting>, call: Option<&dyn Call>) {
        self.no_longer_waits(waiting, call, "", "stopped");
    }

    fn attached(&self, call: Option<&dyn Call>) {
        tell_dialplan(call, "started", "");
    }

    fn stop_attached(&self, waiting: &Waiting, stream: Option<&Arc<StreamHandle>>) {
        match stream {
            Some(stream) => self.end(stream, None, "stopped"),
            // Its own event tells of the end.
            None => drop(self.end_recording(waiting.call(), waiting.name())),
        }
    }

    fn give_up(&self, waiting: &Arc<Waiting>, call: Option<&dyn Call>, code: Option<ErrorCode>, reason: &str) {
        if let Some(code) = code {
            tracing::warn!(target: "LIFECYCLE", call = %waiting.call(), op = "start", outcome = "given_up",
                stream = %waiting.name(), reason);
            self.events().emit(waiting, Error::new(code, reason).into());
        }
        self.no_longer_waits(waiting, call, if code.is_some() { reason } else { "" }, reason);
    }
}

/// Shows the dialplan what became of a start, if the application said that it waits.
fn tell_dialplan(call: Option<&dyn Call>, status: &str, error: &str) {
    if let Some(call) = call.filter(|call| call.reported().as_deref() == Some(WAITING)) {
        call.report(status, error);
    }
}
