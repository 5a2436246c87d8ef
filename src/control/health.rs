//! Health of streams and of the module: the judgement, and the JSON of `health`, `global_health`, `list`, `breakers` and `version`.
//!
//! Pure functions of the snapshots in `stream::status`; on the API thread. One JSON object each, on one line. Percentages and
//! microseconds have at most two decimals.

use serde::Serialize;

use crate::peer::State;
use crate::stream::status::{
    BuildInfo, ChannelLevel, ModuleStatus, RecordStatus, StreamMode, StreamState, StreamStatus,
};
use crate::transport::BreakerReport;
use crate::units::{CallId, StreamName};

/// How a stream does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// It works, but audio was lost or late.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Health {
    /// The word in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

/// Playback frames that may be starved before a stream is degraded, percent.
pub const UNDERRUN_LIMIT_PCT: f64 = 5.0;
/// Captured frames that may be dropped before a stream is degraded, percent.
pub const DROP_LIMIT_PCT: f64 = 1.0;
/// Time without a frame after which a stream is unhealthy, ms.
pub const SILENT_LIMIT_MS: u64 = 5_000;

/// The rule: unhealthy when the far end is disconnected, no frame came for more than 5 s, or the state is ERROR; degraded when more
/// than 5 % of playback frames starved, anything overflowed, or more than 1 % of captured frames were dropped. A stream that is still
/// connecting is not disconnected: the connect timeout bounds that.
pub fn assess(status: &StreamStatus) -> Health {
    let gone = matches!(status.state, StreamState::Disconnected | StreamState::Error)
        || status.ai.is_some_and(|ai| matches!(ai.state, State::Reconnecting | State::Failed | State::Error));
    let silent_ms = status.capture.last_frame_ms_ago.unwrap_or(status.uptime_ms);
    if gone || silent_ms > SILENT_LIMIT_MS {
        Health::Unhealthy
    } else if underrun_pct(status) > UNDERRUN_LIMIT_PCT
        || status.inject.overflow_count > 0
        || drop_pct(status) > DROP_LIMIT_PCT
    {
        Health::Degraded
    } else {
        Health::Healthy
    }
}

/// Where a stream stands, in a word: a conversation that runs says where that stands.
fn state_word(status: &StreamStatus) -> &'static str {
    match (status.state, status.ai) {
        (StreamState::Connecting | StreamState::Streaming, Some(ai)) => ai.state.as_str(),
        (state, _) => state.as_str(),
    }
}

/// Starved frames among the frames in which playback was due, percent.
fn underrun_pct(status: &StreamStatus) -> f64 {
    pct(status.inject.starved_frames, status.inject.frames)
}

/// Dropped frames among the frames FreeSWITCH offered, percent.
fn drop_pct(status: &StreamStatus) -> f64 {
    pct(status.capture.dropped_frames, status.capture.frames)
}

fn pct(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

pub(super) fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn us(ns: u64) -> f64 {
    two_decimals(ns as f64 / 1_000.0)
}

#[derive(Serialize)]
struct HealthJson<'a> {
    session_uuid: &'a str,
    name: &'a str,
    mode: &'static str,
    uptime_sec: u64,
    state: &'static str,
    capture: CaptureJson,
    inject: InjectJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    ai: Option<AiJson>,
    callback: CallbackJson,
    /// `null`: there is no recording of the name.
    record: Option<RecordJson<'a>>,
    health: &'static str,
}

/// A recording without a stream of its name.
#[derive(Serialize)]
struct RecordHealthJson<'a> {
    session_uuid: &'a str,
    name: &'a str,
    mode: &'static str,
    uptime_sec: u64,
    state: &'static str,
    record: RecordJson<'a>,
    health: &'static str,
}

/// A recording, in health and in the event that ends it.
#[derive(Serialize)]
pub(super) struct RecordJson<'a> {
    file: &'a str,
    rate: u32,
    duration_ms: u64,
    dropped_frames: u64,
    caller: LevelJson,
    heard: LevelJson,
}

#[derive(Serialize)]
struct LevelJson {
    /// `null`: silence.
    peak_dbfs: Option<f64>,
    rms_dbfs: Option<f64>,
}

impl<'a> RecordJson<'a> {
    pub(super) fn of(status: &'a RecordStatus) -> Self {
        let level = |level: ChannelLevel| LevelJson {
            peak_dbfs: level.peak_dbfs().map(two_decimals),
            rms_dbfs: level.rms_dbfs().map(two_decimals),
        };
        Self {
            file: &status.file,
            rate: status.rate.hz(),
            duration_ms: status.duration_ms,
            dropped_frames: status.dropped_frames,
            caller: level(status.caller),
            heard: level(status.heard),
        }
    }
}

#[derive(Serialize)]
struct CaptureJson {
    frames_sent: u64,
    /// `null`: there was no frame yet.
    last_frame_ms_ago: Option<u64>,
    dropped_frames: u64,
    drop_pct: f64,
    send_dropped_ms: u64,
}

#[derive(Serialize)]
struct InjectJson {
    buffer_inuse_bytes: u64,
    buffer_capacity_bytes: u64,
    buffer_fill_pct: f64,
    underrun_pct: f64,
    underrun_count: u64,
    overflow_count: u64,
    played_ms: u64,
}

#[derive(Serialize)]
struct AiJson {
    openai_connected: bool,
    tts_queue_depth: usize,
    ring_buffer_ms: u64,
    barge_in_count: u64,
    reconnect_attempts: u64,
    tts_cache_hit_pct: f64,
}

#[derive(Serialize)]
struct CallbackJson {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct BuildJson {
    commit: &'static str,
    date: &'static str,
    profile: &'static str,
    rustc: &'static str,
    freeswitch_abi: &'static str,
}

#[derive(Serialize)]
struct GlobalJson {
    active_ws_sessions: usize,
    active_ai_sessions: usize,
    total_sessions_created: u64,
    total_sessions_destroyed: u64,
    healthy: usize,
    degraded: usize,
    unhealthy: usize,
    uptime_sec: u64,
    version: &'static str,
    build: BuildJson,
}

#[derive(Serialize)]
struct VersionJson {
    version: &'static str,
    build: BuildJson,
}

#[derive(Serialize)]
struct BreakersJson<'a> {
    count: usize,
    breakers: Vec<BreakerJson<'a>>,
}

#[derive(Serialize)]
struct BreakerJson<'a> {
    endpoint: &'a str,
    kind: &'static str,
    state: &'static str,
    failures: usize,
    /// Rounded up; `null`: it is closed.
    probe_in_sec: Option<u64>,
}

#[derive(Serialize)]
struct ListJson<'a> {
    count: usize,
    streams: Vec<ListedJson<'a>>,
}

#[derive(Serialize)]
struct ListedJson<'a> {
    session_uuid: &'a str,
    name: &'a str,
    mode: &'static str,
    state: &'static str,
    health: &'static str,
    uptime_sec: u64,
    endpoint: String,
    protocol: &'static str,
    mix: &'static str,
    rate: u32,
}

/// Plain structs of texts and numbers always become JSON; should one not, an empty object is the answer.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

fn build_json(build: &BuildInfo) -> BuildJson {
    BuildJson {
        commit: build.commit,
        date: build.date,
        profile: build.profile,
        rustc: build.rustc,
        freeswitch_abi: build.freeswitch_abi,
    }
}

/// The answer of `health`.
pub fn health_json(status: &StreamStatus) -> String {
    let (capture, inject, callback) = (&status.capture, &status.inject, &status.callback);
    json(&HealthJson {
        session_uuid: status.call.as_str(),
        name: status.name.as_str(),
        mode: status.mode.as_str(),
        uptime_sec: status.uptime_ms / 1_000,
        state: state_word(status),
        capture: CaptureJson {
            frames_sent: capture.frames_sent,
            last_frame_ms_ago: capture.last_frame_ms_ago,
            dropped_frames: capture.dropped_frames,
            drop_pct: two_decimals(drop_pct(status)),
            send_dropped_ms: capture.send_dropped_ms,
        },
        inject: InjectJson {
            buffer_inuse_bytes: inject.buffer_inuse_bytes,
            buffer_capacity_bytes: inject.buffer_capacity_bytes,
            buffer_fill_pct: two_decimals(pct(inject.buffer_inuse_bytes, inject.buffer_capacity_bytes)),
            underrun_pct: two_decimals(underrun_pct(status)),
            underrun_count: inject.underruns,
            overflow_count: inject.overflow_count,
            played_ms: inject.played_ms,
        },
        ai: status.ai.map(|ai| AiJson {
            openai_connected: ai.stats.connected,
            tts_queue_depth: ai.stats.tts_queue_depth,
            ring_buffer_ms: ai.stats.ring_buffer_ms,
            barge_in_count: ai.stats.barge_in_count,
            reconnect_attempts: ai.stats.reconnect_attempts,
            tts_cache_hit_pct: two_decimals(ai.tts_cache_hit_pct),
        }),
        callback: CallbackJson {
            p50_us: us(callback.p50_ns),
            p99_us: us(callback.p99_ns),
            max_us: us(callback.max_ns),
        },
        record: status.record.as_ref().map(RecordJson::of),
        health: assess(status).as_str(),
    })
}

/// The answer of `health` where there is a recording of that name and no stream.
pub fn record_health_json(call: &CallId, name: &StreamName, status: &RecordStatus, uptime_s: u64) -> String {
    let health = if status.dropped_frames > 0 { Health::Degraded } else { Health::Healthy };
    json(&RecordHealthJson {
        session_uuid: call.as_str(),
        name: name.as_str(),
        mode: "record",
        uptime_sec: uptime_s,
        state: "RECORDING",
        record: RecordJson::of(status),
        health: health.as_str(),
    })
}

/// The answer of `global_health`; `streams` are the live ones.
pub fn global_health_json(module: &ModuleStatus, build: &BuildInfo, streams: &[StreamStatus]) -> String {
    let count = |health| streams.iter().filter(|status| assess(status) == health).count();
    json(&GlobalJson {
        active_ws_sessions: streams.iter().filter(|status| status.mode == StreamMode::Ws).count(),
        active_ai_sessions: streams.iter().filter(|status| status.mode != StreamMode::Ws).count(),
        total_sessions_created: module.sessions_created,
        total_sessions_destroyed: module.sessions_destroyed,
        healthy: count(Health::Healthy),
        degraded: count(Health::Degraded),
        unhealthy: count(Health::Unhealthy),
        uptime_sec: module.uptime_s,
        version: build.version,
        build: build_json(build),
    })
}

/// The answer of `version`.
pub fn version_json(build: &BuildInfo) -> String {
    json(&VersionJson { version: build.version, build: build_json(build) })
}

fn listed(status: &StreamStatus) -> ListedJson<'_> {
    ListedJson {
        session_uuid: status.call.as_str(),
        name: status.name.as_str(),
        mode: status.mode.as_str(),
        state: state_word(status),
        health: assess(status).as_str(),
        uptime_sec: status.uptime_ms / 1_000,
        endpoint: status.endpoint.to_string(),
        protocol: status.protocol,
        mix: status.mix.as_str(),
        rate: status.rate.hz(),
    }
}

/// The answer of `list`.
pub fn list_json(streams: &[StreamStatus]) -> String {
    json(&ListJson { count: streams.len(), streams: streams.iter().map(listed).collect() })
}

/// The answer of `breakers`.
pub fn breakers_json(reports: &[BreakerReport]) -> String {
    fn breaker(report: &BreakerReport) -> BreakerJson<'_> {
        let BreakerReport { kind, place, state, failures, probe_in } = report;
        BreakerJson {
            endpoint: place,
            kind: kind.as_str(),
            state: state.as_str(),
            failures: *failures,
            probe_in_sec: probe_in.map(|wait| wait.as_millis().div_ceil(1_000) as u64),
        }
    }
    json(&BreakersJson { count: reports.len(), breakers: reports.iter().map(breaker).collect() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stream::spec::EndpointUrl;
    use crate::stream::status::{CallbackStatus, CaptureStatus, InjectStatus};
    use crate::transport::{BreakerKind, BreakerState};
    use crate::units::{CallId, Mix, SampleRate, StreamName};

    fn streaming() -> StreamStatus {
        StreamStatus {
            call: CallId::new("abc-123"),
            name: StreamName::default(),
            mode: StreamMode::Ws,
            state: StreamState::Streaming,
            uptime_ms: 342_900,
            endpoint: EndpointUrl::parse("wss://u:hunter2@host:8443/in?key=hunter2").unwrap(),
            protocol: "native",
            mix: Mix::Stereo,
            rate: SampleRate::HZ_16000,
            capture: CaptureStatus {
                frames: 17_110,
                frames_sent: 17_100,
                dropped_frames: 10,
                last_frame_ms_ago: Some(18),
                send_dropped_ms: 0,
            },
            inject: InjectStatus {
                buffer_inuse_bytes: 6_400,
                buffer_capacity_bytes: 40_000,
                frames: 1_000,
                starved_frames: 5,
                underruns: 2,
                overflow_count: 0,
                played_ms: 20_000,
            },
            ai: None,
            callback: CallbackStatus { p50_ns: 1_234, p99_ns: 9_876, max_ns: 65_536 },
            record: None,
        }
    }

    fn build() -> BuildInfo {
        BuildInfo {
            version: "1.2.3",
            commit: "abcdef0",
            date: "2026-11-20T00:00:00Z",
            profile: "release",
            rustc: "1.95.0",
            freeswitch_abi: "api 5",
        }
    }

    fn judged(change: impl FnOnce(&mut StreamStatus)) -> Health {
        let mut status = streaming();
        change(&mut status);
        assess(&status)
    }

    #[test]
    fn the_rule_holds_at_its_edges() {
        assert_eq!(judged(|_| ()), Health::Healthy);
        assert_eq!(judged(|s| s.inject.starved_frames = 50), Health::Healthy, "exactly 5 %");
        assert_eq!(judged(|s| s.inject.starved_frames = 51), Health::Degraded);
        assert_eq!(judged(|s| s.inject.overflow_count = 1), Health::Degraded);
        assert_eq!(
            judged(|s| (s.capture.frames, s.capture.dropped_frames) = (1_000, 10)),
            Health::Healthy,
            "exactly 1 %"
        );
        assert_eq!(judged(|s| (s.capture.frames, s.capture.dropped_frames) = (1_000, 11)), Health::Degraded);
        assert_eq!(judged(|s| s.capture.last_frame_ms_ago = Some(5_000)), Health::Healthy);
        assert_eq!(judged(|s| s.capture.last_frame_ms_ago = Some(5_001)), Health::Unhealthy);
        assert_eq!(judged(|s| s.state = StreamState::Disconnected), Health::Unhealthy);
        assert_eq!(judged(|s| s.state = StreamState::Error), Health::Unhealthy);
        assert_eq!(judged(|s| s.state = StreamState::Paused), Health::Healthy);
        assert_eq!(judged(|s| s.state = StreamState::Connecting), Health::Healthy);
    }

    #[test]
    fn a_stream_that_never_saw_a_frame_is_judged_by_its_age() {
        let fresh = |uptime_ms| {
            judged(|s| {
                s.capture = CaptureStatus::default();
                s.inject = InjectStatus::default();
                s.uptime_ms = uptime_ms;
            })
        };
        assert_eq!(fresh(100), Health::Healthy);
        assert_eq!(fresh(5_001), Health::Unhealthy);
    }

    #[test]
    fn the_worse_of_two_judgements_counts() {
        let both = judged(|s| {
            s.state = StreamState::Disconnected;
            s.inject.overflow_count = 1;
        });
        assert_eq!(both, Health::Unhealthy);
    }

    #[test]
    fn breakers_read_as_documented() {
        let report = |state, failures, probe_in_ms: Option<u64>| BreakerReport {
            kind: BreakerKind::Ai,
            place: "wss://api.example".into(),
            state,
            failures,
            probe_in: probe_in_ms.map(Duration::from_millis),
        };
        assert_eq!(
            breakers_json(&[
                report(BreakerState::Closed, 2, None),
                report(BreakerState::Open, 5, Some(41_001)),
                report(BreakerState::HalfOpen, 5, Some(0)),
            ]),
            concat!(
                r#"{"count":3,"breakers":["#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"closed","failures":2,"probe_in_sec":null},"#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"open","failures":5,"probe_in_sec":42},"#,
                r#"{"endpoint":"wss://api.example","kind":"ai","state":"half_open","failures":5,"probe_in_sec":0}]}"#,
            )
        );
        assert_eq!(breakers_json(&[]), r#"{"count":0,"breakers":[]}"#);
    }

    #[test]
    fn health_reads_as_documented() {
        assert_eq!(
            health_json(&streaming()),
            concat!(
                r#"{"session_uuid":"abc-123","name":"default","mode":"ws","uptime_sec":342,"state":"STREAMING","#,
                r#""capture":{"frames_sent":17100,"last_frame_ms_ago":18,"dropped_frames":10,"drop_pct":0.06,"send_dropped_ms":0},"#,
                r#""inject":{"buffer_inuse_bytes":6400,"buffer_capacity_bytes":40000,"buffer_fill_pct":16.0,"underrun_pct":0.5,"#,
                r#""underrun_count":2,"overflow_count":0,"played_ms":20000},"#,
                r#""callback":{"p50_us":1.23,"p99_us":9.88,"max_us":65.54},"record":null,"health":"HEALTHY"}"#,
            )
        );
    }

    #[test]
    fn a_recording_shows_in_health_with_its_levels_beside_a_stream_and_alone() {
        let record = RecordStatus {
            file: "/r/a \"b\".wav".into(),
            rate: SampleRate::HZ_8000,
            duration_ms: 1_500,
            dropped_frames: 1,
            caller: ChannelLevel { peak: 32_768, mean_square: 1 << 28 },
            heard: ChannelLevel::default(),
        };
        let json = concat!(
            r#""record":{"file":"/r/a \"b\".wav","rate":8000,"duration_ms":1500,"dropped_frames":1,"#,
            r#""caller":{"peak_dbfs":0.0,"rms_dbfs":-6.02},"heard":{"peak_dbfs":null,"rms_dbfs":null}}"#,
        );
        let mut stream = streaming();
        stream.record = Some(record.clone());
        assert!(health_json(&stream).contains(&format!("{json},\"health\":\"HEALTHY\"")));
        let alone = record_health_json(&CallId::new("u"), &StreamName::default(), &record, 7);
        let head = r#"{"session_uuid":"u","name":"default","mode":"record","uptime_sec":7,"state":"RECORDING","#;
        assert_eq!(alone, format!("{head}{json},\"health\":\"DEGRADED\"}}"));
    }

    #[test]
    fn global_health_counts_each_stream_once() {
        let mut bad = streaming();
        bad.state = StreamState::Error;
        let mut worn = streaming();
        worn.inject.overflow_count = 3;
        let module = ModuleStatus { sessions_created: 9, sessions_destroyed: 6, uptime_s: 86_400 };
        assert_eq!(
            global_health_json(&module, &build(), &[streaming(), bad, worn]),
            concat!(
                r#"{"active_ws_sessions":3,"active_ai_sessions":0,"total_sessions_created":9,"total_sessions_destroyed":6,"#,
                r#""healthy":1,"degraded":1,"unhealthy":1,"uptime_sec":86400,"version":"1.2.3","build":{"commit":"abcdef0","#,
                r#""date":"2026-11-20T00:00:00Z","profile":"release","rustc":"1.95.0","freeswitch_abi":"api 5"}}"#,
            )
        );
    }

    #[test]
    fn the_list_names_each_stream_without_its_secrets() {
        assert_eq!(
            list_json(&[streaming()]),
            concat!(
                r#"{"count":1,"streams":[{"session_uuid":"abc-123","name":"default","mode":"ws","state":"STREAMING","#,
                r#""health":"HEALTHY","uptime_sec":342,"endpoint":"wss://host:8443/in?***","protocol":"native","mix":"stereo","rate":16000}]}"#,
            )
        );
        assert_eq!(list_json(&[]), r#"{"count":0,"streams":[]}"#);
    }

    #[test]
    fn the_version_names_the_build() {
        assert!(version_json(&build()).starts_with(r#"{"version":"1.2.3","build":{"commit":"abcdef0","#));
    }
}
