//! `record start` and `record stop` carried out.
//!
//! On the API or dialplan thread. The file is made here, so that whatever keeps it from being made is the reply; from then on it
//! belongs to the recorder's thread. Nothing of a refused recording is left. A recording that has waited for media is put on its
//! call by the thread of [`Starts`](super::starts::Starts), with a file that the pool for calls has made.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::execute::OK;
use super::host::{Call, CallAudio, NoAudio};
use super::module::{DRAINING, Module};
use super::starts::NoRoom;
use super::waiting::WAITS;
use crate::call::{RegisterError, Reservation};
use crate::control::options::{OptionError, OptionValues};
use crate::control::resolve::resolve;
use crate::event::Record;
use crate::media::tap_ring;
use crate::record::place::{self, NewFile, PlaceError};
use crate::record::{RecordingHandle, RecordingWriter};
use crate::units::{CallId, StreamName};

/// Audio a recording's ring holds: twenty rounds of the writer's thread, for disks that stand still at times.
const RING_MS: u32 = 2_000;
/// A ring's least size in samples: a call that goes from 8 to 48 kHz keeps one of some use.
const RING_MIN: usize = 48_000;
/// How long `record stop` waits for the file to be whole. An API thread waits no longer for an answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why a recording was not started. The text is the reply to the operator.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The options do not say where.
    #[error("-ERR {0}")]
    Option(#[from] OptionError),
    /// The call's audio cannot be had.
    #[error("-ERR {0}")]
    NoAudio(#[from] NoAudio),
    /// Too many starts wait for media.
    #[error("-ERR {0}")]
    NoRoom(#[from] NoRoom),
    /// The media bug was refused.
    #[error("-ERR {0}")]
    Media(String),
    /// The name is taken.
    #[error("-ERR {0}")]
    Register(#[from] RegisterError),
    /// The file cannot be made.
    #[error("-ERR {0}")]
    Place(#[from] PlaceError),
    /// Nothing new is started.
    #[error("{DRAINING}")]
    Draining,
}

impl Module {
    pub(super) fn begin_recording(&self, call: &dyn Call, name: StreamName, file: &str) -> String {
        match self.record(call, &name, file) {
            Ok(true) => OK.to_owned(),
            Ok(false) => format!("{OK}; {WAITS}"),
            Err(error) => error.to_string(),
        }
    }

    pub(super) fn end_recording(&self, call: &CallId, name: &StreamName) -> String {
        let recorder = self.recorder();
        let registry = recorder.registry();
        let Some(recording) = registry.get(call, name).filter(|recording| registry.release_name(recording)) else {
            return registry.unknown(call, name);
        };
        recorder.end(&recording, "stopped", PATIENCE);
        OK.to_owned()
    }

    /// Records, or waits until the call has media; whether the recording has begun.
    fn record(&self, call: &dyn Call, name: &StreamName, file: &str) -> Result<bool, RecordError> {
        if self.drain.is_on() {
            return Err(RecordError::Draining);
        }
        let id = call.id();
        let audio = call.audio();
        if let Err(error @ (NoAudio::Ending | NoAudio::Never(_))) = audio {
            return Err(error.into());
        }
        let reservation = self.recorder().registry().reserve(&id, name)?;
        let (folder, media_wait) = self.record_settings(call, name)?;
        let path = place::resolve(file, folder.as_deref())?;
        match audio {
            Ok(audio) => self.launch_recording(call, path, audio, reservation).map(|()| true),
            Err(NoAudio::NotYet) if !media_wait.is_zero() => {
                place::check(&path)?;
                self.await_media_to_record(path, reservation, media_wait)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the file and puts the recording on the call, whose `audio` is that of its caller and that to its caller.
    pub(super) fn launch_recording(
        &self,
        call: &dyn Call,
        path: PathBuf,
        audio: (CallAudio, CallAudio),
        reservation: Reservation<RecordingHandle>,
    ) -> Result<(), RecordError> {
        let file = NewFile::create(path, audio.0.rate)?;
        self.attach_recording(call, file, audio, reservation).map_err(|(error, _)| error)
    }

    /// Puts the recording on the call. An error gives the file back, which takes itself back when it is dropped.
    pub(super) fn attach_recording(
        &self,
        call: &dyn Call,
        new: NewFile,
        (reads, writes): (CallAudio, CallAudio),
        reservation: Reservation<RecordingHandle>,
    ) -> Result<(), (RecordError, NewFile)> {
        let key = reservation.key();
        let (path, rate) = (new.path().to_owned(), new.rate());

        let started = Instant::now();
        let ring = |audio: CallAudio| {
            let samples = audio.rate.samples_in_ms(RING_MS) * audio.channels.max(1) as usize;
            tap_ring(samples.max(RING_MIN), started)
        };
        let (caller_in, caller_out, caller) = ring(reads);
        let (heard_in, heard_out, heard) = ring(writes);
        let handle = RecordingHandle::new(reservation.id, key, path, rate, started, [caller, heard]);
        let attach = || call.attach_recorder(&handle, caller_in, heard_in).map_err(RecordError::Media);
        if let Err(error) = reservation.attach(&handle, attach) {
            return Err((error, new));
        }
        let Some(storage) = new.keep() else { return Ok(()) };
        let file = handle.path.to_string_lossy().into_owned();
        let recorder = self.recorder();
        // Before the thread has it, whose event of the end comes after.
        recorder.sink().emit(&handle, Record::Started { file, rate: handle.rate }.into());
        let (registry, sink) = (recorder.registry().clone(), recorder.sink().clone());
        recorder.adopt(RecordingWriter::new(
            handle.clone(),
            registry,
            sink,
            [caller_out, heard_out],
            Box::new(storage),
        ));
        tracing::info!(target: "LIFECYCLE", call = %handle.call(), op = "record_start", outcome = "ok", stream = %handle.name(),
            file = %handle.path.display(), rate = %handle.rate);
        Ok(())
    }

    /// Where recordings of a relative name go, and how long a recording waits for its call's media: what the stream of that name
    /// was started with, else what variables and configuration say. The folder is the switch's own where nothing says another.
    fn record_settings(&self, call: &dyn Call, name: &StreamName) -> Result<(Option<PathBuf>, Duration), OptionError> {
        let (folder, media_wait_s) = match self.registry().get(&call.id(), name) {
            Some(stream) => (stream.spec.options.record_dir.clone(), stream.spec.options.media_wait_s),
            None => {
                let get = |name: &str| call.get(name);
                let (options, warnings) = resolve(&OptionValues::default(), &get, &self.config())?;
                let of_ours = |text: &str| text.contains("record_dir") || text.contains("media_wait_s");
                for warning in warnings.iter().filter(|warning| of_ours(&warning.0)) {
                    tracing::warn!(target: "LIFECYCLE", call = %call.id(), op = "options", outcome = "adjusted", text = %warning);
                }
                (options.record_dir, options.media_wait_s)
            }
        };
        let of_switch = || call.get("recordings_dir").filter(|folder| folder.starts_with('/')).map(PathBuf::from);
        Ok((folder.or_else(of_switch), Duration::from_secs(media_wait_s.into())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::{ChannelSnapshot, MediaBug};
    use crate::control::config::Config;
    use crate::control::variables::Variables;
    use crate::event::{FsEvent, HoldCause};
    use crate::media::TapWriter;
    use crate::media::link::{ReadHalf, WriteHalf};
    use crate::runtime::host::{CallAudio, Host, Purpose, SilenceWriter, Written};
    use crate::stream::action::{CallAction, Rest};
    use crate::stream::handle::StreamHandle;
    use crate::tts::{Programs, Started};
    use crate::units::SampleRate;

    /// A switch that refuses every media bug.
    pub(in crate::runtime) struct Refusing;

    impl Host for Refusing {
        fn locate(&self, _id: &CallId) -> Option<Box<dyn Call + '_>> {
            Some(Box::new(Self))
        }

        fn thread_started(&self, _name: &str) {}

        fn media_thread_started(&self, _name: &str) {}

        fn fire(&self, _event: &FsEvent, _snapshot: Option<&dyn ChannelSnapshot>) {}

        fn act(&self, _call: &CallId, _stream: &StreamName, _action: &CallAction) -> Result<Option<Rest>, String> {
            Err("no".into())
        }

        fn hold(&self, _call: &CallId) -> Option<HoldCause> {
            None
        }

        fn silence_writer(&self) -> Box<dyn SilenceWriter> {
            Box::new(Refusing)
        }

        fn programs(&self) -> Arc<dyn Programs> {
            Arc::new(Refusing)
        }
    }

    impl Programs for Refusing {
        fn start(&self, _argv: &[String]) -> std::io::Result<Started> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    impl SilenceWriter for Refusing {
        fn write(&mut self, _call: &CallId, _purpose: Purpose) -> Written {
            Written::Gone
        }
    }

    impl Variables for Refusing {
        fn get(&self, name: &str) -> Option<String> {
            (name == "recordings_dir").then(|| std::env::temp_dir().to_string_lossy().into_owned())
        }
    }

    impl Call for Refusing {
        fn id(&self) -> CallId {
            CallId::new("refusing")
        }

        fn report(&self, _status: &str, _error: &str) {}

        fn note(&self, _name: &str, _value: &str) {}

        fn reported(&self) -> Option<String> {
            None
        }

        fn audio(&self) -> Result<(CallAudio, CallAudio), NoAudio> {
            let audio = CallAudio { rate: SampleRate::HZ_8000, ptime_ms: 20, channels: 1 };
            Ok((audio, audio))
        }

        fn mask(&self, _on: bool) -> Result<bool, &'static str> {
            Err("no")
        }

        fn is_masked(&self) -> bool {
            false
        }

        fn attach(
            &self,
            _stream: &Arc<StreamHandle>,
            _read: ReadHalf,
            _write: WriteHalf,
        ) -> Result<Box<dyn MediaBug>, String> {
            Err("no".into())
        }

        fn attach_recorder(
            &self,
            recording: &Arc<RecordingHandle>,
            _caller: TapWriter,
            _heard: TapWriter,
        ) -> Result<Box<dyn MediaBug>, String> {
            assert!(recording.path.exists(), "the file is there before the first frame");
            Err("refused".into())
        }
    }

    #[test]
    fn a_refused_bug_leaves_no_file_and_no_name_taken() {
        let module = Module::start(Arc::new(Refusing), Config::default()).unwrap();
        let file = format!("mas-refused-{}.wav", std::process::id());
        for _ in 0..2 {
            assert_eq!(module.begin_recording(&Refusing, StreamName::default(), &file), "-ERR refused");
            assert!(!std::env::temp_dir().join(&file).exists());
        }
        let (call, name) = (Refusing.id(), StreamName::default());
        assert!(module.end_recording(&call, &name).starts_with("-ERR no recording 'default' on this call"));
        module.shutdown();
        let late = module.begin_recording(&Refusing, name, &file);
        assert_eq!(late, "-ERR the module is shutting down");
        assert!(!std::env::temp_dir().join(&file).exists());
    }
}
