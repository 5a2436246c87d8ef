//! The health of a stream: a snapshot that is the JSON of `health`, field by field in the order of the structs.
//!
//! Taken on the API thread from atomics and one short lock; true for the moment it was taken. To add a field, declare it in its
//! struct and read it in that struct's `of`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::handle::StreamHandle;
use super::spec::StreamSpec;
use super::state::{StreamMode, StreamState};
use super::watch::{health_of, pct};
use crate::event::{Health, RecordStatus, Trouble};
use crate::peer::AiStatus;
use crate::units::{CallId, StreamName, two_decimals};

/// One stream at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StreamStatus {
    /// The call.
    pub session_uuid: CallId,
    /// Name of the stream on the call.
    pub name: StreamName,
    /// Kind of the stream.
    pub mode: StreamMode,
    /// Time since the stream was attached, or since its start began to wait, s.
    pub uptime_sec: u64,
    /// State of the stream; of a conversation that runs, the conversation's state; `WAITING` until the call has media.
    pub state: &'static str,
    /// The call is on hold.
    pub held: bool,
    /// Time that the call has been on hold since the stream started, ms.
    pub held_ms: u64,
    /// The caller is masked.
    pub masked: bool,
    /// How many times the connection was lost, or could not be made, and another attempt followed.
    pub reconnects: u64,
    /// From the call to the server.
    pub capture: CaptureStatus,
    /// From the server to the call.
    pub inject: InjectStatus,
    /// The conversation, if the stream is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai: Option<AiStatus>,
    /// Time spent in the media thread's callbacks.
    pub callback: CallbackStatus,
    /// The recording with the stream's name on its call, if there is one.
    pub record: Option<RecordStatus>,
    /// The judgement: what is lost counts for 30 s.
    pub health: Health,
    /// What is wrong, if it is not healthy.
    pub health_reasons: Vec<Trouble>,
}

impl StreamStatus {
    /// The stream now. `record` is the recording with its name; `tts_cache_hit_pct` is the module's.
    pub fn of(stream: &StreamHandle, record: Option<RecordStatus>, tts_cache_hit_pct: f64) -> Self {
        let (state, uptime, spec) = (stream.state(), stream.started.elapsed(), &stream.spec);
        let tts_cache_hit_pct = two_decimals(tts_cache_hit_pct);
        let ai =
            (spec.options.mode == StreamMode::Ai).then(|| AiStatus { tts_cache_hit_pct, ..stream.ai.lock().status });
        let (capture, inject) = (CaptureStatus::of(stream), InjectStatus::of(stream));
        let (talk, now) = (ai.map(|ai| ai.state), Instant::now());
        let health_reasons = stream.troubles(now);
        Self {
            session_uuid: spec.call.clone(),
            name: spec.name.clone(),
            mode: spec.options.mode,
            uptime_sec: uptime.as_secs(),
            state: match (state, talk) {
                (StreamState::Connecting | StreamState::Streaming, Some(talk)) => talk.as_str(),
                (state, _) => state.as_str(),
            },
            held: stream.hold.is_on(),
            held_ms: stream.hold.total(now).as_millis() as u64,
            masked: stream.media.is_masked(),
            reconnects: read(&stream.counters.reconnects) + ai.map_or(0, |ai| ai.stats.reconnect_attempts),
            health: health_of(&health_reasons),
            health_reasons,
            capture,
            inject,
            ai,
            callback: CallbackStatus::of(stream),
            record,
        }
    }
}

impl StreamStatus {
    /// A stream that has waited for its call's media for `waited`: not attached, so without any count.
    pub fn waiting(spec: &StreamSpec, waited: Duration) -> Self {
        Self {
            session_uuid: spec.call.clone(),
            name: spec.name.clone(),
            mode: spec.options.mode,
            uptime_sec: waited.as_secs(),
            state: "WAITING",
            held: false,
            held_ms: 0,
            masked: false,
            reconnects: 0,
            capture: CaptureStatus::default(),
            inject: InjectStatus::default(),
            ai: None,
            callback: CallbackStatus::default(),
            record: None,
            health: Health::Healthy,
            health_reasons: Vec::new(),
        }
    }
}

/// The capture side of a stream.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CaptureStatus {
    /// Messages of audio given to the socket.
    pub frames_sent: u64,
    /// Time since FreeSWITCH offered the last frame, ms. `None`: there was none yet. Frames are offered while paused, too.
    pub last_frame_ms_ago: Option<u64>,
    /// Frames lost because the capture ring was full.
    pub dropped_frames: u64,
    /// The same, percent of the frames that FreeSWITCH offered.
    #[serde(serialize_with = "rounded")]
    pub drop_pct: f64,
    /// Captured audio lost because the server read too slowly, ms.
    pub send_dropped_ms: u64,
    /// Age of the newest frame when the latest message was queued, and the audio that waited before it, ms. `None`: nothing was
    /// sent yet.
    pub delay_ms: Option<f64>,
    /// Level of what is captured, dB of full scale. `None`: silence.
    pub level_dbfs: Option<f64>,
}

impl CaptureStatus {
    fn of(stream: &StreamHandle) -> Self {
        let (capture, counters) = (&stream.media.capture, &stream.counters);
        let dropped_frames = capture.dropped_frames();
        Self {
            frames_sent: read(&counters.audio_messages),
            last_frame_ms_ago: capture.last_frame_ago(Instant::now()).map(|ago| ago.as_millis() as u64),
            dropped_frames,
            drop_pct: pct(dropped_frames, capture.frames() + dropped_frames),
            send_dropped_ms: read(&counters.send_dropped_ms),
            delay_ms: stream.capture_meter.delay_ms(),
            level_dbfs: stream.capture_meter.level_dbfs(Instant::now()),
        }
    }
}

/// The playback side of a stream.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct InjectStatus {
    /// Playback that waits, bytes.
    pub buffer_inuse_bytes: u64,
    /// The limit for it, bytes.
    pub buffer_capacity_bytes: u64,
    /// How full the buffer is, percent.
    #[serde(serialize_with = "rounded")]
    pub buffer_fill_pct: f64,
    /// Frames that playback could not fill, percent of the frames that were to have playback.
    #[serde(serialize_with = "rounded")]
    pub underrun_pct: f64,
    /// Gaps within an utterance. Several starved frames in a row are one gap.
    pub underrun_count: u64,
    /// How many times audio was dropped because the buffer was full.
    pub overflow_count: u64,
    /// Playback that the caller was given, ms.
    pub played_ms: u64,
    /// Time that playback waited because FreeSWITCH sent keys to the caller, ms.
    pub keys_ms: u64,
    /// Time from the first audio of the latest utterance to its first sample at the caller, ms. `None`: there was none yet.
    pub delay_ms: Option<f64>,
    /// Level of the playback, dB of full scale. `None`: silence.
    pub level_dbfs: Option<f64>,
}

impl InjectStatus {
    fn of(stream: &StreamHandle) -> Self {
        let (playout, counters) = (&stream.media.playout, &stream.counters);
        let buffer_inuse_bytes = read(&counters.inject_bytes) + playout.level() as u64 * 2;
        let buffer_capacity_bytes = read(&counters.inject_capacity);
        let starved = playout.starved_frames();
        Self {
            buffer_inuse_bytes,
            buffer_capacity_bytes,
            buffer_fill_pct: pct(buffer_inuse_bytes, buffer_capacity_bytes),
            underrun_pct: pct(starved, playout.voiced_frames() + starved),
            underrun_count: playout.underruns(),
            overflow_count: read(&counters.inject_overflows),
            played_ms: playout.played_time().as_millis() as u64,
            keys_ms: playout.withheld_time().as_millis() as u64,
            delay_ms: stream.playback_meter.delay_ms(),
            level_dbfs: stream.playback_meter.level_dbfs(Instant::now()),
        }
    }
}

/// Time spent in the media thread's callbacks, µs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CallbackStatus {
    /// Half of the callbacks took no longer.
    #[serde(serialize_with = "rounded")]
    pub p50_us: f64,
    /// 99 of 100 callbacks took no longer.
    #[serde(serialize_with = "rounded")]
    pub p99_us: f64,
    /// The longest callback.
    #[serde(serialize_with = "rounded")]
    pub max_us: f64,
}

impl CallbackStatus {
    fn of(stream: &StreamHandle) -> Self {
        let latency = stream.media.latency.snapshot();
        let us = |took: Duration| took.as_nanos() as f64 / 1_000.0;
        Self { p50_us: us(latency.p50()), p99_us: us(latency.p99()), max_us: us(latency.max()) }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(two_decimals(*value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::ChannelLevel;
    use crate::peer::{AgentStats, State, TalkFigures, Usage};
    use crate::units::SampleRate;

    #[test]
    fn health_reads_as_documented() {
        let record = RecordStatus {
            file: "/r/a \"b\".wav".into(),
            rate: SampleRate::HZ_8000,
            duration_ms: 1_500,
            dropped_frames: 1,
            caller: ChannelLevel { peak: 32_768, mean_square: 1 << 28 },
            heard: ChannelLevel::default(),
        };
        let mut status = StreamStatus {
            session_uuid: CallId::new("abc-123"),
            name: StreamName::default(),
            mode: StreamMode::Ws,
            uptime_sec: 342,
            state: "STREAMING",
            held: false,
            held_ms: 1_200,
            masked: true,
            reconnects: 2,
            capture: CaptureStatus {
                frames_sent: 17_100,
                last_frame_ms_ago: Some(18),
                dropped_frames: 10,
                drop_pct: pct(10, 17_110),
                send_dropped_ms: 0,
                delay_ms: Some(21.5),
                level_dbfs: Some(-17.25),
            },
            inject: InjectStatus {
                buffer_inuse_bytes: 6_400,
                buffer_capacity_bytes: 40_000,
                buffer_fill_pct: pct(6_400, 40_000),
                underrun_pct: pct(5, 1_000),
                underrun_count: 2,
                overflow_count: 0,
                played_ms: 20_000,
                keys_ms: 300,
                delay_ms: Some(60.0),
                level_dbfs: None,
            },
            ai: None,
            callback: CallbackStatus { p50_us: 1.234, p99_us: 9.876, max_us: 65.536 },
            record: None,
            health: Health::Healthy,
            health_reasons: Vec::new(),
        };
        let head = concat!(
            r#"{"session_uuid":"abc-123","name":"default","mode":"ws","uptime_sec":342,"state":"STREAMING","#,
            r#""held":false,"held_ms":1200,"masked":true,"reconnects":2,"#,
            r#""capture":{"frames_sent":17100,"last_frame_ms_ago":18,"dropped_frames":10,"drop_pct":0.06,"send_dropped_ms":0,"#,
            r#""delay_ms":21.5,"level_dbfs":-17.25},"#,
            r#""inject":{"buffer_inuse_bytes":6400,"buffer_capacity_bytes":40000,"buffer_fill_pct":16.0,"underrun_pct":0.5,"#,
            r#""underrun_count":2,"overflow_count":0,"played_ms":20000,"keys_ms":300,"delay_ms":60.0,"level_dbfs":null},"#,
        );
        let callback = r#""callback":{"p50_us":1.23,"p99_us":9.88,"max_us":65.54},"#;
        let json = |status: &StreamStatus| serde_json::to_string(status).unwrap();
        assert_eq!(json(&status), format!(r#"{head}{callback}"record":null,"health":"HEALTHY","health_reasons":[]}}"#));

        let stats = AgentStats {
            connected: true,
            tts_queue_depth: 1,
            ring_buffer_ms: 2,
            barge_in_count: 3,
            reconnect_attempts: 4,
            usage: Usage { input_tokens: 9, cached_tokens: 8, transcription_ms: 7, ..Usage::default() },
            talk: TalkFigures {
                turns: 5,
                interruptions: 3,
                false_interruptions: 2,
                actions: 1,
                answer_ms: Some(900),
                answer_max_ms: None,
            },
            ..AgentStats::default()
        };
        status.ai = Some(AiStatus { state: State::Speaking, stats, tts_cache_hit_pct: 12.5 });
        status.record = Some(record);
        let ai = concat!(
            r#""ai":{"openai_connected":true,"tts_queue_depth":1,"ring_buffer_ms":2,"barge_in_count":3,"#,
            r#""reconnect_attempts":4,"usage":{"input_tokens":9,"input_text_tokens":0,"input_audio_tokens":0,"#,
            r#""cached_tokens":8,"cached_text_tokens":0,"cached_audio_tokens":0,"output_tokens":0,"#,
            r#""output_text_tokens":0,"output_audio_tokens":0,"transcription_tokens":0,"transcription_ms":7,"session_ms":0},"#,
            r#""turns":5,"interruptions":3,"false_interruptions":2,"actions":1,"answer_ms":900,"answer_max_ms":null,"#,
            r#""tts_cache_hit_pct":12.5},"#,
        );
        let record = concat!(
            r#""record":{"file":"/r/a \"b\".wav","rate":8000,"duration_ms":1500,"dropped_frames":1,"#,
            r#""caller":{"peak_dbfs":0.0,"rms_dbfs":-6.02},"heard":{"peak_dbfs":null,"rms_dbfs":null}},"#,
        );
        assert_eq!(json(&status), format!(r#"{head}{ai}{callback}{record}"health":"HEALTHY","health_reasons":[]}}"#));
    }

    #[test]
    fn a_percentage_of_nothing_is_zero() {
        assert_eq!((pct(0, 0), pct(1, 8)), (0.0, 12.5));
    }
}
