//! Answers of the API as JSON: `global_health`, `list`, `breakers`, `version`, and `health` of a recording without a stream.
//! `health` of a stream is [`StreamStatus`] itself.
//!
//! Each answer is one object on one line, with the fields of its struct in their order. Made on the API thread from snapshots.

use serde::Serialize;

use crate::event::{Health, RecordStatus};
use crate::record::RecordingHandle;
use crate::stream::spec::StreamSpec;
use crate::stream::state::StreamMode;
use crate::stream::status::StreamStatus;
use crate::transport::BreakerReport;
use crate::units::{CallId, Mix, SampleRate, StreamName};

/// `answer` as one line of JSON.
pub fn json(answer: &impl Serialize) -> String {
    // Structs of texts and numbers can always be written as JSON.
    serde_json::to_string(answer).unwrap_or_else(|_| "{}".to_owned())
}

/// Health of a recording whose name no stream has.
#[derive(Serialize)]
pub struct RecordingHealth<'a> {
    session_uuid: &'a CallId,
    name: &'a StreamName,
    mode: &'static str,
    uptime_sec: u64,
    state: &'static str,
    record: RecordStatus,
    health: Health,
}

impl<'a> RecordingHealth<'a> {
    /// The recording now.
    pub fn of(recording: &'a RecordingHandle) -> Self {
        let record = recording.status();
        Self {
            session_uuid: recording.call(),
            name: recording.name(),
            mode: "record",
            uptime_sec: recording.started.elapsed().as_secs(),
            state: "RECORDING",
            health: if record.dropped_frames > 0 { Health::Degraded } else { Health::Healthy },
            record,
        }
    }
}

/// Whether the module drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DrainStatus {
    /// It starts nothing new.
    pub draining: bool,
    /// Time until what is live is ended. `None`: there is no limit.
    pub drain_ends_in_sec: Option<u64>,
}

/// What is live while the module drains.
#[derive(Serialize)]
pub struct DrainReport {
    /// Whether it drains.
    #[serde(flatten)]
    pub drain: DrainStatus,
    /// Streams and conversations that have not ended.
    pub streams: usize,
    /// Recordings that have not ended.
    pub recordings: usize,
    /// Starts that wait for their call's media.
    pub waiting: usize,
}

/// The module at one moment.
#[derive(Serialize)]
pub struct GlobalHealth {
    active_ws_sessions: usize,
    active_ai_sessions: usize,
    waiting_sessions: usize,
    total_sessions_created: u64,
    total_sessions_destroyed: u64,
    healthy: usize,
    degraded: usize,
    unhealthy: usize,
    uptime_sec: u64,
    #[serde(flatten)]
    drain: DrainStatus,
    #[serde(flatten)]
    version: Version,
}

impl GlobalHealth {
    /// `totals`: streams attached and streams ended since the module was loaded. `streams`: those that exist now. `waiting`: starts
    /// that wait for their call's media.
    pub fn of(
        totals: (u64, u64),
        uptime_sec: u64,
        drain: DrainStatus,
        version: Version,
        streams: &[StreamStatus],
        waiting: usize,
    ) -> Self {
        let of_mode = |mode| streams.iter().filter(|stream| stream.mode == mode).count();
        let of_health = |health| streams.iter().filter(|stream| stream.health == health).count();
        Self {
            active_ws_sessions: of_mode(StreamMode::Ws),
            active_ai_sessions: of_mode(StreamMode::Ai),
            waiting_sessions: waiting,
            total_sessions_created: totals.0,
            total_sessions_destroyed: totals.1,
            healthy: of_health(Health::Healthy),
            degraded: of_health(Health::Degraded),
            unhealthy: of_health(Health::Unhealthy),
            uptime_sec,
            drain,
            version,
        }
    }
}

/// The build of the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Version {
    /// Version of the module.
    pub version: &'static str,
    /// Origin of the build.
    pub build: Build,
}

/// Origin of a build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Build {
    /// Commit of the source.
    pub commit: &'static str,
    /// Time of the build.
    pub date: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// Version of the compiler.
    pub rustc: &'static str,
    /// Module interface version of FreeSWITCH, and the headers that were used.
    pub freeswitch_abi: &'static str,
}

/// The streams of the module.
#[derive(Serialize)]
pub struct StreamList<'a> {
    count: usize,
    streams: Vec<ListedStream<'a>>,
}

/// One line of the list. The endpoint is without secrets.
#[derive(Serialize)]
struct ListedStream<'a> {
    session_uuid: &'a CallId,
    name: &'a StreamName,
    mode: StreamMode,
    state: &'static str,
    health: Health,
    uptime_sec: u64,
    endpoint: String,
    protocol: &'static str,
    mix: Mix,
    rate: SampleRate,
}

impl<'a> StreamList<'a> {
    /// The list of `streams`: what each was started with, and its status.
    pub fn of(streams: impl IntoIterator<Item = (&'a StreamSpec, &'a StreamStatus)>) -> Self {
        let listed = |(spec, status): (&'a StreamSpec, &'a StreamStatus)| ListedStream {
            session_uuid: &status.session_uuid,
            name: &status.name,
            mode: status.mode,
            state: status.state,
            health: status.health,
            uptime_sec: status.uptime_sec,
            endpoint: spec.endpoint.to_string(),
            protocol: spec.options.protocol,
            mix: spec.options.mix,
            rate: spec.options.rate,
        };
        let streams: Vec<_> = streams.into_iter().map(listed).collect();
        Self { count: streams.len(), streams }
    }
}

/// The circuit breakers of the module.
#[derive(Serialize)]
pub struct BreakerList {
    count: usize,
    breakers: Vec<BreakerReport>,
}

impl BreakerList {
    /// The list of `breakers`.
    pub fn of(breakers: Vec<BreakerReport>) -> Self {
        Self { count: breakers.len(), breakers }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::call::AttachmentId;
    use crate::media::tap_ring;
    use crate::stream::options::StreamOptions;
    use crate::stream::spec::EndpointUrl;
    use crate::stream::status::{CallbackStatus, CaptureStatus, InjectStatus};
    use crate::transport::{BreakerKind, BreakerState};

    fn status(health: Health) -> StreamStatus {
        StreamStatus {
            session_uuid: CallId::new("abc-123"),
            name: StreamName::default(),
            mode: StreamMode::Ws,
            uptime_sec: 342,
            held: false,
            held_ms: 0,
            masked: false,
            reconnects: 0,
            state: "STREAMING",
            capture: CaptureStatus::default(),
            inject: InjectStatus::default(),
            ai: None,
            callback: CallbackStatus::default(),
            record: None,
            health,
            health_reasons: Vec::new(),
        }
    }

    const VERSION: Version = Version {
        version: "1.2.3",
        build: Build {
            commit: "abcdef0",
            date: "2026-11-20T00:00:00Z",
            profile: "release",
            rustc: "1.95.0",
            freeswitch_abi: "api 5",
        },
    };

    #[test]
    fn breakers_read_as_documented() {
        let report = |state, failures, probe_in_ms: Option<u64>| BreakerReport {
            place: "wss://api.example".into(),
            kind: BreakerKind::Ai,
            state,
            failures,
            probe_in: probe_in_ms.map(Duration::from_millis),
        };
        assert_eq!(
            json(&BreakerList::of(vec![
                report(BreakerState::Closed, 2, None),
                report(BreakerState::Open, 5, Some(41_001)),
                report(BreakerState::HalfOpen, 5, Some(0)),
            ])),
            concat!(
                r#"{"count":3,"breakers":["#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"closed","failures":2,"probe_in_sec":null},"#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"open","failures":5,"probe_in_sec":42},"#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"half_open","failures":5,"probe_in_sec":0}]}"#,
            )
        );
        assert_eq!(json(&BreakerList::of(Vec::new())), r#"{"count":0,"breakers":[]}"#);
    }

    #[test]
    fn a_recording_without_a_stream_has_health() {
        let taps = [(); 2].map(|()| tap_ring(800, Instant::now()).2);
        let key = (CallId::new("u"), StreamName::default());
        let path = PathBuf::from("/r/a \"b\".wav");
        let recording = RecordingHandle::new(AttachmentId(1), key, path, SampleRate::HZ_8000, Instant::now(), taps);
        assert_eq!(
            json(&RecordingHealth::of(&recording)),
            concat!(
                r#"{"session_uuid":"u","name":"default","mode":"record","uptime_sec":0,"state":"RECORDING","#,
                r#""record":{"file":"/r/a \"b\".wav","rate":8000,"duration_ms":0,"dropped_frames":0,"#,
                r#""caller":{"peak_dbfs":null,"rms_dbfs":null},"heard":{"peak_dbfs":null,"rms_dbfs":null}},"#,
                r#""health":"HEALTHY"}"#,
            )
        );
    }

    #[test]
    fn a_recording_that_dropped_frames_is_degraded() {
        let (mut caller, _rest, tap) = tap_ring(200, Instant::now());
        let format = crate::media::CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };
        let dropped = (0..3).filter(|at| !caller.frame_at(Duration::from_millis(at * 20), format, &[1; 160])).count();
        assert!(dropped > 0);
        let key = (CallId::new("u"), StreamName::default());
        let taps = [tap, tap_ring(800, Instant::now()).2];
        let path = PathBuf::from("/r/a.wav");
        let recording = RecordingHandle::new(AttachmentId(1), key, path, SampleRate::HZ_8000, Instant::now(), taps);
        let answer = json(&RecordingHealth::of(&recording));
        assert!(answer.contains(&format!(r#""dropped_frames":{dropped},"#)), "{answer}");
        assert!(answer.ends_with(r#""health":"DEGRADED"}"#), "{answer}");
    }

    #[test]
    fn global_health_counts_each_stream_once() {
        let streams = [Health::Healthy, Health::Unhealthy, Health::Degraded].map(status);
        assert_eq!(
            json(&GlobalHealth::of((9, 6), 86_400, DrainStatus::default(), VERSION, &streams, 2)),
            concat!(
                r#"{"active_ws_sessions":3,"active_ai_sessions":0,"waiting_sessions":2,"total_sessions_created":9,"total_sessions_destroyed":6,"#,
                r#""healthy":1,"degraded":1,"unhealthy":1,"uptime_sec":86400,"draining":false,"drain_ends_in_sec":null,"#,
                r#""version":"1.2.3","build":{"commit":"abcdef0","#,
                r#""date":"2026-11-20T00:00:00Z","profile":"release","rustc":"1.95.0","freeswitch_abi":"api 5"}}"#,
            )
        );
    }

    #[test]
    fn the_list_names_each_stream_without_its_secrets() {
        let spec = StreamSpec {
            call: CallId::new("abc-123"),
            name: StreamName::default(),
            profile: None,
            endpoint: EndpointUrl::parse("wss://u:hunter2@host:8443/in?key=hunter2").unwrap(),
            metadata: None,
            options: StreamOptions { mix: Mix::Stereo, rate: SampleRate::HZ_16000, ..StreamOptions::default() },
        };
        assert_eq!(
            json(&StreamList::of([(&spec, &status(Health::Healthy))])),
            concat!(
                r#"{"count":1,"streams":[{"session_uuid":"abc-123","name":"default","mode":"ws","state":"STREAMING","#,
                r#""health":"HEALTHY","uptime_sec":342,"endpoint":"wss://host:8443/in?***","protocol":"native","mix":"stereo","rate":16000}]}"#,
            )
        );
        assert_eq!(json(&StreamList::of([])), r#"{"count":0,"streams":[]}"#);
    }

    #[test]
    fn the_version_names_the_build() {
        assert!(json(&VERSION).starts_with(r#"{"version":"1.2.3","build":{"commit":"abcdef0","#));
    }
}
