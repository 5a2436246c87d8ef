//! The module between load and shutdown.
//!
//! Made at load, dropped at shutdown; load, unload and load again make a new one each. Owns the threads and the registry.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::clock::{self, Clock};
use super::correlate::{correlate, webhook};
use super::drain::Drain;
use super::ending::Ending;
use super::events::EventThread;
use super::host::{Call, CallAudio, Host, NoAudio};
use super::http::HttpThread;
use super::members::Members;
use super::metrics::ModuleMetrics;
use super::recorder::Recorder;
use super::ring_sizes::{self, RingSizes};
use super::shard::Shard;
use super::start_lines;
use super::starts::{Begun, NoRoom, Prepared, Starts};
use super::watch::WatchThread;
use crate::blocking::Blocking;
use crate::call::{Attached as _, RegisterError, Registry, Reservation, Sink as _};
use crate::control::command::{CommandError, StartAiRequest, StartRequest};
use crate::control::config::Config;
use crate::control::health::{Build, Version};
use crate::control::options::{OptionValues, Warning};
use crate::control::resolve::without_effect;
use crate::control::unused::unused;
use crate::conversation::engines;
use crate::conversation::{AiPlan, BadPlan, CallerProcessor, Conversation, Synthesis};
use crate::event::RecordStatus;
use crate::inject::{InjectConfig, Injector, Prebuffer, SoundLibrary, WhenFull};
use crate::media::link::{MediaLink, ReadHalf, WriteHalf};
use crate::media::{capture_ring, playout_ring};
use crate::peer::{Peer, Server};
use crate::protocol::{self, CallInfo};
use crate::stream::backgrounds::BackgroundRings;
use crate::stream::call_mixes::CallMixes;
use crate::stream::handle::{StreamCommand, StreamHandle};
use crate::stream::spec::StreamSpec;
use crate::stream::state::{StreamMode, StreamState};
use crate::stream::status::StreamStatus;
use crate::stream::task::{self, Parts};
use crate::transport::{
    ABNORMAL_CLOSE, BadHeader, BreakerKind, BreakerReport, Breakers, ConnectOptions, HttpClient, NotAllowed,
    ServerGate, TlsProfiles,
};
use crate::tts::{CacheLimits, CacheStats, Launcher, SpeechShared};
use crate::units::{CallId, Mix, SampleRate, StreamName};

/// The other end of a stream, and what goes with it.
pub(super) struct Other {
    peer: Box<dyn Peer>,
    /// The WebSocket subprotocol to offer.
    subprotocol: Option<String>,
    caller: CallerProcessor,
    synthesis: Option<Synthesis>,
    breaker: BreakerKind,
}

/// What the end of the module takes at most. After that, what is left is named.
pub const LIMIT: Duration = Duration::from_secs(5);
/// Kept of it for what follows: the streams, then threads and files, then what is done to calls, then events.
const FOR_STREAMS: Duration = Duration::from_millis(4_500);
const FOR_THREADS: Duration = Duration::from_millis(1_500);
const FOR_RECORDINGS: Duration = Duration::from_millis(1_000);
const FOR_CALLS: Duration = Duration::from_millis(600);
/// What an agent's speech may exceed its bound by, in the queue.
const PLAYBACK_SLACK_MS: u32 = 1_000;
/// What a server's audio may exceed its bound by, in the queue, when its socket is not read any more: what is read ahead and a message or
/// a file, each of at most that length.
const EXCESS_MS: u32 = 600_000;

/// What this build is.
pub const BUILD: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    build: Build {
        commit: env!("MOD_AUDIO_STREAM_COMMIT"),
        date: env!("MOD_AUDIO_STREAM_DATE"),
        profile: env!("MOD_AUDIO_STREAM_PROFILE"),
        rustc: env!("MOD_AUDIO_STREAM_RUSTC"),
        freeswitch_abi: env!("MOD_AUDIO_STREAM_ABI"),
    },
};

/// The refusal while the module drains.
pub(super) const DRAINING: &str = "-ERR the module is draining and starts nothing new; 'drain off' ends that";

/// Why a stream was not started. The text is the reply to the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options do not make a stream.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// A header cannot be sent.
    #[error("-ERR {0}")]
    Header(#[from] BadHeader),
    /// The server may not be connected to.
    #[error("-ERR {0}")]
    Server(#[from] NotAllowed),
    /// The call's audio cannot be had.
    #[error("-ERR {0}")]
    NoAudio(#[from] NoAudio),
    /// Too many starts wait for media.
    #[error("-ERR {0}")]
    NoRoom(#[from] NoRoom),
    /// The media bug was refused.
    #[error("-ERR {0}")]
    Media(String),
    /// A message would not hold whole frames of the call.
    #[error("-ERR buffer_ms={buffer_ms} is not a multiple of the call's ptime of {ptime_ms} ms")]
    BufferMs {
        /// As asked for.
        buffer_ms: u32,
        /// Of the call.
        ptime_ms: u32,
    },
    /// The name is taken.
    #[error("-ERR {0}")]
    Register(#[from] RegisterError),
    /// The options make no conversation for this call.
    #[error("-ERR {0}")]
    Plan(#[from] BadPlan),
    /// Not a name of the table.
    #[error("-ERR there is no protocol '{0}'")]
    Protocol(&'static str),
    /// Nothing new is started.
    #[error("{DRAINING}")]
    Draining,
    /// The process uses too much memory.
    #[error("-ERR max_memory_mib={limit}: FreeSWITCH uses {used} MiB; end streams or calls, or raise the setting")]
    Memory {
        /// The limit.
        limit: u32,
        /// What the process uses.
        used: u64,
    },
}

impl StartError {
    /// A word for the metrics.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Command(_) | Self::Header(_) | Self::BufferMs { .. } | Self::Plan(_) | Self::Protocol(_) => "options",
            Self::Server(_) => "allowed_servers",
            Self::NoAudio(_) | Self::Media(_) => "media",
            Self::NoRoom(_) => "too_many_waiting",
            Self::Register(RegisterError::Taken(_)) => "name_taken",
            Self::Register(RegisterError::Closed) => "unloading",
            Self::Register(RegisterError::Limit(reached)) => reached.word(),
            Self::Draining => "draining",
            Self::Memory { .. } => "max_memory_mib",
        }
    }
}

/// What a start has led to, and warnings for its reply: words of the command that do not do what they seem to.
pub type Started = (Begun, Vec<Warning>);

/// The module between load and shutdown.
pub struct Module {
    config: RwLock<Arc<Config>>,
    /// As it was when the module was loaded.
    config_at_load: Arc<Config>,
    registry: Arc<Registry<StreamHandle>>,
    starts: Starts,
    members: Members,
    mixes: CallMixes,
    shards: Vec<Shard>,
    clock: Arc<Clock>,
    recorder: Recorder,
    events: Arc<EventThread>,
    tls: TlsProfiles,
    /// Where look-ups, files, decoding and the starts of programs may block.
    pub(super) blocking: Blocking,
    speech: Arc<SpeechShared>,
    sounds: Arc<SoundLibrary>,
    pub(super) breakers: Arc<Breakers>,
    /// What is counted for the metrics.
    pub(super) metrics: ModuleMetrics,
    /// Whether nothing new is started.
    pub(super) drain: Drain,
    http: HttpThread,
    watch: WatchThread,
    /// Which servers may be connected to.
    servers: ServerGate,
    /// Channel variables without effect that were warned about since the configuration was read.
    warned: Mutex<BTreeSet<&'static str>>,
    /// Held while the trace of a call is settled, so that streams that start at once agree.
    trace: Mutex<()>,
    loaded: Instant,
}

impl Module {
    /// Starts the module's threads. An error means that a thread could not be made; then none is left.
    pub fn start(host: Arc<dyn Host>, config: Config) -> std::io::Result<Arc<Self>> {
        let metrics = ModuleMetrics::default();
        let events = Arc::new(EventThread::start(host.clone())?);
        let of_clock = host.clone();
        let writer = move || {
            of_clock.media_thread_started(clock::THREAD);
            of_clock.silence_writer()
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let clock = match Clock::start(writer, cores, metrics.clock.clone()) {
            Ok(clock) => Arc::new(clock),
            Err(error) => {
                events.stop(&Ending::within(LIMIT));
                return Err(error);
            }
        };
        let recorder = match Recorder::start(host.clone(), events.clone()) {
            Ok(recorder) => recorder,
            Err(error) => {
                let ending = Ending::within(LIMIT);
                clock.stop(&ending, FOR_CALLS);
                events.stop(&ending);
                return Err(error);
            }
        };
        let blocking = Blocking::default();
        let tls = TlsProfiles::new(blocking.clone());
        let config = Arc::new(config);
        let settings = config.module();
        let limits = CacheLimits {
            bytes: settings.tts_cache_mib as usize * (1 << 20),
            age: Duration::from_secs(settings.tts_cache_age_s.into()),
        };
        let servers = ServerGate::new(blocking.clone());
        servers.set(settings.allowed_servers.clone());
        let registry = Arc::<Registry<StreamHandle>>::default();
        let breakers = Arc::new(Breakers::watched_by(events.clone()));
        let mut module = Self {
            shards: Vec::new(),
            config: RwLock::new(config.clone()),
            config_at_load: config,
            members: Members::new(registry.clone()),
            registry,
            starts: Starts::default(),
            mixes: CallMixes::default(),
            clock,
            recorder,
            events,
            speech: SpeechShared::new(
                HttpClient::new(tls.clone(), servers.clone()),
                Launcher::new(host.programs(), blocking.clone()),
                breakers.clone(),
                limits,
            ),
            sounds: Arc::default(),
            breakers,
            metrics,
            drain: Drain::default(),
            http: HttpThread::default(),
            watch: WatchThread::default(),
            tls,
            blocking,
            servers,
            warned: Mutex::default(),
            trace: Mutex::default(),
            loaded: Instant::now(),
        };
        for number in 0..module.workers() {
            let lateness = module.metrics.worker_lateness.clone();
            match Shard::start(number, host.clone(), (module.clock.clone(), module.events.clone()), lateness) {
                Ok(shard) => module.shards.push(shard),
                Err(error) => {
                    module.stop_threads(&Ending::within(LIMIT));
                    return Err(error);
                }
            }
        }
        let module = Arc::new(module);
        let watched_over = Arc::downgrade(&module);
        let look = move |now| {
            watched_over.upgrade().is_some_and(|module| {
                module.look_after_streams(now);
                true
            })
        };
        let watched = module.watch.run(host.clone(), look);
        if let Err(error) = watched.and_then(|()| module.starts.run(Arc::downgrade(&module), host.clone())) {
            module.stop_threads(&Ending::within(LIMIT));
            return Err(error);
        }
        module.serve_http(&host);
        Ok(module)
    }

    /// Serves the pages where the configuration says so. What prevents that keeps nothing else from working.
    fn serve_http(self: &Arc<Self>, host: &Arc<dyn Host>) {
        let Some(address) = self.config().module().http_listen else { return };
        let module = Arc::downgrade(self);
        if let Err(error) = self.http.start(address, host, move |path| module.upgrade()?.web_page(path)) {
            tracing::warn!(target: "LIFECYCLE", op = "http", outcome = "not_served", %address, %error,
                advice = "everything else works; change http_listen or free the port, and load the module again");
        }
    }

    /// As configured; else one for each two processors, since media threads need them too, four at most.
    fn workers(&self) -> usize {
        match self.config().module().workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2).clamp(1, 4),
            workers => workers as usize,
        }
    }

    /// The configuration new streams start with.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    /// The configuration whose settings were read at load.
    pub(super) fn config_at_load(&self) -> &Config {
        &self.config_at_load
    }

    /// Replaces it; streams that run keep theirs, except for the list of servers, which holds for every connection from now on.
    pub fn reconfigure(&self, config: Config) {
        self.servers.set(config.module().allowed_servers.clone());
        *self.config.write() = Arc::new(config);
        self.warned.lock().clear();
    }

    /// The workers.
    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// All streams.
    pub fn registry(&self) -> &Registry<StreamHandle> {
        &self.registry
    }

    /// Starts that wait for their call's media.
    pub(super) const fn starts(&self) -> &Starts {
        &self.starts
    }

    /// Calls in conferences.
    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// What fires events.
    pub(super) const fn events(&self) -> &Arc<EventThread> {
        &self.events
    }

    /// All recordings, and the thread that writes them.
    pub(super) const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Time since the module was loaded.
    pub fn uptime(&self) -> Duration {
        self.loaded.elapsed()
    }

    /// Attaches a stream to `call` and has it connect, or has it wait until the call has media. Returns as soon as the media bug is
    /// on the call or the start waits: what becomes of it is reported by events.
    ///
    /// An error means that nothing is left of the attempt. Does not wait for the network.
    pub fn begin(
        self: &Arc<Self>,
        call: &dyn Call,
        name: StreamName,
        request: StartRequest,
    ) -> Result<Started, StartError> {
        let (given, slip) = (request.options.clone(), request.slip());
        let resolved = request.resolve(call.id(), name, &self.config(), &|name: &str| call.get(name))?;
        self.warn_of_no_effect(call, StreamMode::Ws);
        let mut started = self.begin_as(call, resolved, &given)?;
        started.1.splice(..0, slip);
        Ok(started)
    }

    /// Warns of each variable that asks for what this module does not do, once for each time the configuration is read.
    fn warn_of_no_effect(&self, call: &dyn Call, mode: StreamMode) {
        for (variable, warning) in without_effect(mode, &|name: &str| call.get(name)) {
            if self.warned.lock().insert(variable) {
                tracing::warn!(target: "LIFECYCLE", call = %call.id(), op = "options", outcome = "ignored", text = %warning);
            }
        }
    }

    /// The same for a conversation with an AI.
    pub fn begin_ai(
        self: &Arc<Self>,
        call: &dyn Call,
        name: StreamName,
        request: StartAiRequest,
    ) -> Result<Started, StartError> {
        let given = request.options.clone();
        let resolved = request.resolve(call.id(), name, &self.config(), &|name: &str| call.get(name))?;
        self.warn_of_no_effect(call, StreamMode::Ai);
        self.begin_as(call, resolved, &given)
    }

    fn begin_as(
        self: &Arc<Self>,
        call: &dyn Call,
        (mut spec, mut warnings): (StreamSpec, Vec<Warning>),
        given: &OptionValues,
    ) -> Result<Started, StartError> {
        self.admit()?;
        let asked_for_buffer = given.get("buffer_ms").is_some();
        let unused = unused(given, &spec.options, spec.endpoint.endpoint().is_tls());
        warnings.extend(unused.iter().cloned());
        warnings.extend(correlate(&self.trace, call, &mut spec));
        let (id, name) = (&spec.call, &spec.name);
        for warning in &warnings {
            tracing::warn!(target: "LIFECYCLE", call = %id, op = "options", outcome = "adjusted", stream = %name, text = %warning);
        }
        self.servers.now().check(spec.endpoint.endpoint().host())?;
        let connect = ConnectOptions { servers: self.servers.clone(), ..spec.connect_options()? };
        let prepared = Prepared { spec, connect, asked_for_buffer };
        let begun = match call.audio() {
            Ok(audio) => self.launch(call, prepared, audio, None).map(Begun::Stream),
            Err(NoAudio::NotYet) if prepared.spec.options.media_wait_s > 0 => {
                self.await_media(call, prepared).map(|()| Begun::Waiting)
            }
            Err(error) => Err(error.into()),
        };
        Ok((begun?, unused))
    }

    /// Takes a stream's name, where the limits leave room for it. What a disconnected stream of the name still has to play gives way.
    pub(super) fn take_name(&self, spec: &StreamSpec) -> Result<Reservation<StreamHandle>, RegisterError> {
        let (call, name) = (&spec.call, &spec.name);
        if let Some(disconnected) = self.registry.get(call, name).filter(|stream| stream.is_disconnected()) {
            self.end(&disconnected, None, "replaced");
        }
        let server = spec.endpoint.endpoint().origin();
        self.registry.reserve_within(&self.config().module().limits(), call, name, &server)
    }

    /// Puts the stream on the call, whose `audio` is that of its caller and that to its caller. `held` is its name if it is taken
    /// already.
    pub(super) fn launch(
        self: &Arc<Self>,
        call: &dyn Call,
        Prepared { mut spec, mut connect, asked_for_buffer }: Prepared,
        (mut reads, mut writes): (CallAudio, CallAudio),
        held: Option<Reservation<StreamHandle>>,
    ) -> Result<Arc<StreamHandle>, StartError> {
        let (id, name) = (spec.call.clone(), spec.name.clone());
        for direction in [&mut reads, &mut writes] {
            if direction.ptime_ms == 0 {
                direction.ptime_ms = spec.options.frame_ms;
            }
        }
        let buffer_ms = spec.options.buffer_ms;
        if !buffer_ms.is_multiple_of(reads.ptime_ms) {
            if asked_for_buffer {
                return Err(StartError::BufferMs { buffer_ms, ptime_ms: reads.ptime_ms });
            }
            // Nobody chose it for this call, so it must not keep a call of a rarer ptime from streaming.
            spec.options.buffer_ms = buffer_ms.next_multiple_of(reads.ptime_ms);
            tracing::info!(target: "LIFECYCLE", call = %id, op = "options", outcome = "adjusted", stream = %name, buffer_ms,
                ptime_ms = reads.ptime_ms, using = spec.options.buffer_ms);
        }
        let Other { peer, subprotocol, caller, synthesis, breaker } =
            self.other_end(&mut spec, call, reads.rate, writes.rate)?;
        let shard = self.shards.iter().min_by_key(|shard| shard.load()).ok_or(RegisterError::Closed)?;
        let reservation = match held {
            Some(reservation) => reservation,
            None => self.take_name(&spec)?,
        };

        let legs = if spec.options.mix == Mix::Stereo { 2 } else { 1 };
        let sizes = RingSizes::of((reads, writes), legs, spec.options.buffer_ms, spec.options.playback);
        let (capture_in, capture_out, capture_shared) = capture_ring(sizes.capture);
        let (playout_in, playout_out, playout_shared) = playout_ring(writes.rate, sizes.playout);
        let mix = self.mixes.of(&id);
        // Until the bug is on the call: the streams' places in the mix have the order of their bugs.
        let order = mix.in_order();
        let link = MediaLink::in_call(capture_shared, playout_shared.clone(), mix.mix().clone());
        let inject = InjectConfig {
            buffer_ms: match spec.options.mode {
                StreamMode::Ws => spec.options.inject_buffer_ms,
                // The task refuses what is more, and tells the agent; the rest is room for rounding.
                StreamMode::Ai => spec.options.ai.playback_ms + PLAYBACK_SLACK_MS,
            },
            excess_ms: match (spec.options.mode, spec.options.inject_full) {
                (StreamMode::Ws, WhenFull::Wait) => EXCESS_MS,
                _ => 0,
            },
            min_buffer_ms: spec.options.inject_min_buffer_ms.unwrap_or_default(),
            ring_ms: sizes.playout_ms,
            frame_ms: writes.ptime_ms,
        };
        let rings = BackgroundRings::new(&spec.options, writes.rate, sizes.playout, inject);
        let link = Arc::new(link.with_backgrounds(rings.shared));
        let read = ReadHalf::new(capture_in, link.clone());
        let read = if spec.options.mix == Mix::Stereo { read.with_both_legs() } else { read };
        let write = WriteHalf::new(playout_out, spec.options.inject_mode, link.clone());
        let write = write.with_backgrounds(rings.heard);
        let (write, reference) = match caller.cancels_echo() {
            true => {
                let (reference_in, reference_out, _) = capture_ring(ring_sizes::reference(writes));
                (write.with_reference(reference_in), Some(reference_out))
            }
            false => (write, None),
        };
        link.mixer.set_duck(spec.options.duck());
        link.mixer.caller.set_gain(spec.options.caller_gain);
        link.mixer.agent.set_gain(spec.options.agent_gain);
        // What the wire carries, where the protocol does not leave it to the options.
        let wire = peer.capture().pcm;
        if wire != spec.wire() && spec.options.mode == StreamMode::Ws {
            tracing::warn!(target: "LIFECYCLE", call = %id, op = "options", outcome = "adjusted", stream = %name,
                protocol = spec.options.protocol, asked_rate = %spec.options.rate, asked_mix = %spec.options.mix,
                rate = %wire.rate, channels = wire.channels, advice = "the protocol has no other");
        }
        spec.options.rate = wire.rate;
        connect.preferred_subprotocol = subprotocol;
        let (handle, commands) = {
            let series = self.metrics.series_of(&spec);
            StreamHandle::new(reservation.id, spec, link, series)
        };

        self.members.apply_to(&handle);
        // Before the task, which takes the stream out of the registry when it ends.
        reservation.attach(&handle, || {
            let bug = call.attach(&handle, read, write).map_err(StartError::Media);
            drop(order);
            bug
        })?;
        // Again, since the conference may have muted the call meanwhile and not found the stream.
        self.members.apply_to(&handle);
        handle.series.started.fetch_add(1, Ordering::Relaxed);
        let adaptive = handle.spec.options.inject_min_buffer_ms.is_none();
        let mut injector = Injector::new(playout_in, playout_shared, inject);
        if adaptive {
            injector.set_prebuffer(Prebuffer::Auto { most: Duration::from_millis(inject.buffer_ms.into()) });
        }
        let parts = Parts {
            handle: handle.clone(),
            commands,
            sink: self.events.clone(),
            capture: capture_out,
            reference,
            injector,
            caller,
            peer,
            synthesis,
            backgrounds: rings.injectors,
            sounds: self.sounds.clone(),
            breaker,
            connect,
            tls: self.tls.clone(),
            speech: self.speech.clone(),
            breakers: self.breakers.clone(),
            blocking: self.blocking.clone(),
        };
        let module = self.clone();
        let of_task = handle.clone();
        start_lines::log(&handle, reads, writes, &sizes);
        let running = task::run(parts);
        shard.adopt(handle.clone(), async move {
            running.await;
            module.metrics.forget(&module.registry, &of_task);
        });
        Ok(handle)
    }

    /// Who is at the other end of a stream; with it the form of what is captured is settled.
    pub(super) fn other_end(
        &self,
        spec: &mut StreamSpec,
        call: &dyn Call,
        caller: SampleRate,
        playout: SampleRate,
    ) -> Result<Other, StartError> {
        let options = &spec.options;
        let unknown = StartError::Protocol(options.protocol);
        match options.mode {
            StreamMode::Ws => {
                let entry = protocol::find(options.protocol).ok_or(unknown)?;
                let protocol = entry.make(spec.protocol_config(call_info(call)));
                Ok(Other {
                    subprotocol: protocol.subprotocol().map(str::to_owned),
                    peer: Box::new(Server::new(protocol, options.retry(), chance(spec))),
                    caller: CallerProcessor::default(),
                    synthesis: None,
                    breaker: BreakerKind::WebSocket,
                })
            }
            StreamMode::Ai => {
                let entry = engines::find(options.protocol).ok_or(unknown)?;
                let codec = call.get("read_codec");
                let plan = AiPlan::new(entry, &options.ai, options.headers.clone(), caller, codec.as_deref())?;
                let polish = options.ai.speaking.polish.settings();
                let expected = plan.agent.expected_texts();
                let synthesis = plan
                    .speech
                    .map(|speech| Synthesis::new(Arc::new(speech), self.speech.clone(), polish, playout, expected));
                let seed = chance(spec);
                let conversation = Conversation::new(plan.engine, plan.agent, options.buffer_ms, seed)
                    .with_transcript_deltas(options.ai.transcript_deltas)
                    .with_options(options.ai.clone())
                    .with_webhook(webhook(call, spec, call_info(call)));
                Ok(Other {
                    subprotocol: None,
                    caller: CallerProcessor::new(plan.caller, conversation.capture().pcm.rate),
                    peer: Box::new(conversation),
                    synthesis,
                    breaker: BreakerKind::Ai,
                })
            }
        }
    }

    /// The health of a stream now; `record` is the recording with its name.
    pub fn status_of(&self, stream: &StreamHandle, record: Option<RecordStatus>) -> StreamStatus {
        StreamStatus::of(stream, record, self.speech.cache_stats().hit_pct())
    }

    /// Every server's breaker: of streams, of conversations, of speech synthesis.
    pub fn breakers(&self) -> Vec<BreakerReport> {
        self.breakers.report(Instant::now())
    }

    /// Events and actions on calls that were dropped.
    pub(super) fn events_dropped(&self) -> u64 {
        self.events.dropped()
    }

    /// What the cache of speech has done and holds.
    pub(super) fn speech_cache(&self) -> CacheStats {
        self.speech.cache_stats()
    }

    /// A call is bridged. A conversation whose caller was being handed over ends, so that nobody hears it any more. On FreeSWITCH's
    /// event threads: waits for no lock of a call.
    pub fn is_bridged(&self, call: &CallId) {
        for stream in self.registry.all() {
            if stream.call() == call && stream.hand_over.connected() {
                self.registry.release_name(&stream);
                // An ended or overwhelmed task ends anyway, by the bug's removal.
                let _ = stream.command(StreamCommand::Stop { text: None, reason: "transferred" });
                self.events.detach(&stream);
            }
        }
    }

    /// Asks a stream to end: its capture ends now, the rest follows without the caller waiting for it.
    pub fn end(&self, stream: &Arc<StreamHandle>, text: Option<String>, reason: &'static str) {
        self.registry.release_name(stream);
        // An ended or overwhelmed task ends anyway, by the bug's removal.
        let _ = stream.command(StreamCommand::Stop { text, reason });
        stream.detach();
    }

    /// Ends all streams, recordings and threads, within [`LIMIT`] as a whole. What hangs in a call, on a disk or elsewhere is left
    /// and named in a warning; nothing else of the module runs afterwards.
    pub fn shutdown(&self) {
        let ending = Ending::within(LIMIT);
        self.registry.close();
        for waiting in self.starts.stop(&ending, FOR_STREAMS) {
            self.no_longer_waits(&waiting, None, "", "module unloaded");
        }
        let streams = self.registry.all();
        for stream in &streams {
            self.registry.release_name(stream);
            // An ended or overwhelmed task ends anyway, by the bug's removal.
            let _ = stream.command(StreamCommand::Stop { text: None, reason: "module unloaded" });
            // Not here: a call may hang.
            self.events.detach(stream);
        }
        let until = ending.keeping(FOR_THREADS);
        for stream in &streams {
            if !stream.wait_finished(until.saturating_duration_since(Instant::now())) {
                ending.leave(format!(
                    "stream {} of call {} in state {}",
                    stream.name(),
                    stream.call(),
                    stream.state().as_str()
                ));
            }
        }
        for shard in &self.shards {
            shard.stop(&ending, FOR_RECORDINGS);
        }
        for stream in &streams {
            stream.leave();
            if !stream.is_finished() {
                // Its task is gone with its shard; the threads that wait for the stream still learn of its end.
                let reason = "module unloaded".to_owned();
                stream.set_state(StreamState::Error);
                if stream.begin_end() {
                    self.events.emit(stream, stream.spec.options.mode.last_event(ABNORMAL_CLOSE, &reason));
                }
                stream.finish(reason);
            }
        }
        self.recorder.end_all("module unloaded", ending.keeping(FOR_RECORDINGS));
        self.stop_threads(&ending);
        let left = ending.left();
        if !left.is_empty() {
            tracing::warn!(target: "LIFECYCLE", op = "shutdown", outcome = "left_behind", seconds = LIMIT.as_secs(),
                count = left.len(), what = left.join("; "));
        }
    }

    fn stop_threads(&self, ending: &Ending) {
        // After `shutdown` nothing waits.
        drop(self.starts.stop(ending, FOR_RECORDINGS));
        self.watch.stop(ending, FOR_RECORDINGS);
        self.http.stop(ending, FOR_RECORDINGS);
        for shard in &self.shards {
            shard.stop(ending, FOR_RECORDINGS);
        }
        self.clock.stop(ending, FOR_RECORDINGS);
        // Before the events, of which the ends of recordings are some.
        self.recorder.stop(ending, FOR_CALLS);
        self.events.stop(ending);
    }
}

/// A number for the chances of a stream: randomly keyed, so that no two have the same.
fn chance(spec: &StreamSpec) -> u64 {
    RandomState::new().hash_one(spec.call.as_str())
}

/// What protocols tell their servers of a call. The channel's variables come before the fields of its caller profile, so that
/// a dialplan can say otherwise.
fn call_info(call: &dyn Call) -> CallInfo {
    let get = |name: &str| call.get(name).unwrap_or_default();
    CallInfo {
        channel: get("channel_name"),
        account_id: get("accountcode"),
        from: get("caller_id_number"),
        to: get("destination_number"),
        outbound: get("direction") == "outbound",
        ..CallInfo::default()
    }
}
