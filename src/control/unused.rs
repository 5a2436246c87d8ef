//! Options of a command that change nothing, because of what the stream is or of another option.
//!
//! Each is a warning in the reply and in the log. Only what the command itself gives is looked at: a profile may serve several kinds of
//! streams. Pure; on the API or dialplan thread.

use super::options::{OptionValues, Warning};
use crate::conversation::options::{Detection, TransferMode};
use crate::conversation::services::EngineName;
use crate::conversation::{VoiceMode, engines};
use crate::media::InjectMode;
use crate::protocol;
use crate::protocol::transcription::deepgram::wire;
use crate::stream::options::StreamOptions;
use crate::stream::state::{Ready, StreamMode};
use crate::tts;

/// Options that need another one.
struct Need {
    keys: &'static [&'static str],
    met: fn(&StreamOptions) -> bool,
    /// What is needed, in words that complete "it needs …".
    needs: &'static str,
}

/// Of every stream.
const OF_ALL: &[Need] = &[
    Need { keys: &["duck_db"], met: |o| o.inject_mode == InjectMode::Duck, needs: "inject_mode=duck" },
    Need { keys: &["file_injection_dir"], met: |o| o.allow_file_injection, needs: "allow_file_injection=true" },
    Need {
        keys: &["inject_mode", "inject_min_buffer_ms", "agent_gain"],
        met: |o| o.playback,
        needs: "a stream that plays what the server sends (playback=true)",
    },
];

/// Of streams to servers.
const OF_SERVERS: &[Need] = &[
    Need { keys: &["ready_timeout_ms"], met: |o| o.ready == Some(Ready::FirstMessage), needs: "ready=first_message" },
    Need { keys: &["reconnect_ms"], met: |o| o.reconnect_max > 0, needs: "reconnect_max" },
    Need { keys: &["l16_byte_order"], met: |o| o.protocol == "telnyx", needs: "protocol=telnyx" },
    Need { keys: &["control_format"], met: |o| o.protocol == "asterisk", needs: "protocol=asterisk" },
    Need {
        keys: &["binary_rate", "binary_channels"],
        met: |o| matches!(o.protocol, "native" | "audio_fork" | "jambonz"),
        needs: "protocol=native, audio_fork or jambonz",
    },
    Need {
        keys: &["codec"],
        met: |o| !matches!(o.protocol, "audio_fork" | "jambonz" | "twilio" | "vonage" | "exotel" | "pipecat"),
        needs: "a protocol that has a choice of codecs",
    },
    Need {
        keys: &["transcribe_model", "transcribe_language", "transcribe_url", "transcribe_key"],
        met: |o| protocol::find(o.protocol).is_some_and(|entry| entry.service.is_some()),
        needs: "the protocol of a transcription service",
    },
    Need {
        keys: &["inject_buffer_ms", "inject_full"],
        met: |o| o.playback,
        needs: "a stream that plays what the server sends (playback=true)",
    },
];

/// Of conversations.
const OF_CONVERSATIONS: &[Need] = &[
    Need {
        keys: &[
            "openai_auth",
            "openai_model",
            "openai_base_url",
            "openai_service",
            "openai_organization",
            "openai_project",
            "openai_safety_identifier",
        ],
        met: |o| matches!(o.ai.engine, EngineName::OpenAi | EngineName::OpenAiLive),
        needs: "engine=openai_realtime or openai_live",
    },
    Need {
        keys: &["openai_backend_model", "openai_backend_prompt"],
        met: |o| o.ai.engine == EngineName::OpenAiLive,
        needs: "engine=openai_live",
    },
    Need {
        keys: &["xai_api_key", "xai_auth", "xai_model", "xai_base_url"],
        met: |o| o.ai.engine == EngineName::Xai,
        needs: "engine=xai_realtime",
    },
    Need {
        keys: &["voice_live_api_key", "voice_live_auth", "voice_live_model", "voice_live_base_url"],
        met: |o| o.ai.engine == EngineName::VoiceLive,
        needs: "engine=voice_live",
    },
    Need {
        keys: &["inworld_api_key", "inworld_auth", "inworld_model", "inworld_base_url"],
        met: |o| o.ai.engine == EngineName::Inworld,
        needs: "engine=inworld_realtime",
    },
    Need {
        keys: &[
            "elevenlabs_api_key",
            "elevenlabs_agent_id",
            "elevenlabs_public",
            "elevenlabs_base_url",
            "elevenlabs_environment",
            "elevenlabs_model",
            "elevenlabs_variables",
            "elevenlabs_overrides",
            "elevenlabs_llm_body",
            "elevenlabs_user_id",
        ],
        met: |o| o.ai.engine == EngineName::ElevenLabs,
        needs: "engine=elevenlabs",
    },
    Need {
        keys: &["ultravox_api_key", "ultravox_agent", "ultravox_model", "ultravox_base_url", "ultravox_call"],
        met: |o| o.ai.engine == EngineName::Ultravox,
        needs: "engine=ultravox",
    },
    Need {
        keys: &["assemblyai_api_key", "assemblyai_agent", "assemblyai_base_url", "assemblyai_session"],
        met: |o| o.ai.engine == EngineName::AssemblyAi,
        needs: "engine=assemblyai",
    },
    Need {
        keys: &[
            "stt_provider",
            "early_answer",
            "stt_url",
            "stt_model",
            "stt_api_key",
            "llm_url",
            "llm_model",
            "llm_api_key",
        ],
        met: |o| o.ai.engine == EngineName::Cascade,
        needs: "engine=cascade",
    },
    Need {
        keys: &["vad_threshold", "vad_silence_duration_ms", "vad_idle_timeout_ms"],
        met: |o| o.ai.turn_detection == Detection::Server,
        needs: "turn_detection=server_vad",
    },
    Need {
        keys: &["vad_threshold"],
        met: |o| o.ai.engine != EngineName::Cascade,
        needs: "another engine than cascade",
    },
    Need {
        keys: &["vad_silence_duration_ms"],
        met: |o| o.ai.engine != EngineName::Cascade || !engines::of(&o.ai).finds_turns(&o.ai),
        needs: "a recogniser that finds the turns (stt_provider=deepgram)",
    },
    Need {
        keys: &["vad_eagerness"],
        // Flux ends turns by meaning whichever of the two is asked for.
        met: |o| o.ai.turn_detection == Detection::Semantic || is_flux(o),
        needs: "turn_detection=semantic_vad",
    },
    Need { keys: &["tool_key"], met: |o| o.ai.tool_url.is_some(), needs: "tool_url" },
    Need { keys: &["tool_filler_ms"], met: |o| o.ai.tool_filler.is_some(), needs: "tool_filler" },
    Need {
        keys: &["transfer_dial_string", "transfer_timeout_s", "transfer_hold_music", "transfer_announcement"],
        met: |o| o.ai.transfer_mode == TransferMode::Announced,
        needs: "transfer_mode=announced",
    },
    Need { keys: &["thinking_gain"], met: |o| o.ai.thinking_sound.is_some(), needs: "thinking_sound" },
    Need { keys: &["ambient_gain"], met: |o| o.ai.ambient_sound.is_some(), needs: "ambient_sound" },
    Need { keys: &["interruption_ignore"], met: |o| o.ai.false_interruption_ms > 0, needs: "false_interruption_ms" },
    Need {
        keys: &["idle_instructions", "idle_hang_up_at"],
        met: |o| o.ai.idle_timeout_ms > 0,
        needs: "idle_timeout_ms",
    },
    Need { keys: &["wind_down_instructions"], met: |o| o.max_duration_s > 0, needs: "max_duration_s" },
    Need { keys: &["wind_down_s"], met: |o| o.ai.wind_down_instructions.is_some(), needs: "wind_down_instructions" },
    Need { keys: &["apology"], met: speaks, needs: "ai_output=tts" },
];

/// The options of `given` that change nothing in a stream with these `options`, over TLS or not.
pub fn unused(given: &OptionValues, options: &StreamOptions, tls: bool) -> Vec<Warning> {
    let own = if options.mode == StreamMode::Ai { OF_CONVERSATIONS } else { OF_SERVERS };
    let needs = |key: &str| {
        let need = OF_ALL.iter().chain(own).find(|need| need.keys.contains(&key) && !(need.met)(options));
        need.map(|need| need.needs.to_owned())
            .or_else(|| (is_tls(key) && !tls).then(|| "a server with TLS".to_owned()))
            .or_else(|| speech_needs(key, options))
    };
    // What says that something is not wanted is obeyed by doing nothing.
    let wanted = given.iter().filter(|(row, text)| !text.is_empty() && !row.is_default(text));
    wanted.filter_map(|(row, _)| Some(warning(&row.key, &needs(&row.key)?))).collect()
}

fn warning(key: &str, needs: &str) -> Warning {
    Warning(format!("{key} has no effect here: it needs {needs}"))
}

fn is_tls(key: &str) -> bool {
    matches!(key, "tls_ca" | "tls_cert" | "tls_key" | "tls_verify_hostname")
}

/// Whether the module's own synthesis speaks what the model writes.
fn speaks(options: &StreamOptions) -> bool {
    options.ai.output == VoiceMode::Synthesis || engines::of(&options.ai).writes
}

/// Whether a cascade leaves the turns to a model of Flux.
fn is_flux(options: &StreamOptions) -> bool {
    let ai = &options.ai;
    ai.engine == EngineName::Cascade && !engines::of(ai).finds_turns(ai) && wire::is_flux(&ai.parts.stt.model)
}

/// What an option of speech needs that is not there.
fn speech_needs(key: &str, options: &StreamOptions) -> Option<String> {
    if !key.starts_with("tts_") {
        return None;
    }
    if options.mode == StreamMode::Ai && !speaks(options) && options.ai.fallback.is_none() {
        return Some("ai_output=tts or a fallback".to_owned());
    }
    let provider = tts::provider_of_option(key)?;
    let in_chain = options.ai.speaking.speech.provider.contains(&provider);
    (!in_chain).then(|| format!("{provider} in tts_provider"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::config::Config;
    use crate::control::options::{all, row};
    use crate::control::resolve::resolve_for;
    use crate::control::variables::NoVariables;

    fn warnings(mode: StreamMode, pairs: &[(&str, &str)]) -> Vec<String> {
        let mut given = OptionValues::default();
        for (key, text) in pairs {
            given.add(row(key).unwrap(), text).unwrap();
        }
        let options = resolve_for(mode, &given, &NoVariables, &Config::default()).unwrap().0;
        unused(&given, &options, false).into_iter().map(|warning| warning.0).collect()
    }

    #[test]
    fn an_option_that_changes_nothing_is_named_with_what_it_needs() {
        for (mode, pairs, warned) in [
            (StreamMode::Ws, &[("duck_db", "20")][..], &["duck_db has no effect here: it needs inject_mode=duck"][..]),
            (StreamMode::Ws, &[("duck_db", "20"), ("inject_mode", "duck")], &[]),
            (StreamMode::Ws, &[("reconnect_ms", "100")], &["reconnect_ms has no effect here: it needs reconnect_max"]),
            (StreamMode::Ws, &[("reconnect_ms", "500")], &[]),
            (
                StreamMode::Ws,
                &[("transcribe_model", "m"), ("tls_ca", "/ca.pem")],
                &[
                    "transcribe_model has no effect here: it needs the protocol of a transcription service",
                    "tls_ca has no effect here: it needs a server with TLS",
                ],
            ),
            (
                StreamMode::Ws,
                &[("inject_full", "drop"), ("playback", "false")],
                &["inject_full has no effect here: it needs a stream that plays what the server sends (playback=true)"],
            ),
            (StreamMode::Ws, &[("tts_voice", "v")], &[]),
            (
                StreamMode::Ws,
                &[("tts_openai_voice", "v")],
                &["tts_openai_voice has no effect here: it needs openai in tts_provider"],
            ),
            (
                StreamMode::Ai,
                &[("xai_model", "m"), ("tts_voice", "v")],
                &[
                    "xai_model has no effect here: it needs engine=xai_realtime",
                    "tts_voice has no effect here: it needs ai_output=tts or a fallback",
                ],
            ),
            (
                StreamMode::Ai,
                &[("ai_output", "tts"), ("tts_elevenlabs_ws_model", "m"), ("tts_provider", "elevenlabs_ws")],
                &[],
            ),
            (
                StreamMode::Ai,
                &[("turn_detection", "semantic_vad"), ("vad_threshold", "0.3"), ("vad_eagerness", "low")],
                &["vad_threshold has no effect here: it needs turn_detection=server_vad"],
            ),
            (
                StreamMode::Ai,
                &[("stt_provider", "deepgram"), ("early_answer", "on")],
                &[
                    "stt_provider has no effect here: it needs engine=cascade",
                    "early_answer has no effect here: it needs engine=cascade",
                ],
            ),
            (
                StreamMode::Ai,
                &[("engine", "cascade"), ("vad_silence_duration_ms", "300"), ("vad_threshold", "0.3")],
                &[
                    "vad_silence_duration_ms has no effect here: it needs a recogniser that finds the turns \
                     (stt_provider=deepgram)",
                    "vad_threshold has no effect here: it needs another engine than cascade",
                ],
            ),
            (
                StreamMode::Ai,
                &[
                    ("engine", "cascade"),
                    ("stt_provider", "deepgram"),
                    ("stt_model", "nova-3"),
                    ("vad_silence_duration_ms", "300"),
                    ("vad_eagerness", "low"),
                ],
                &["vad_eagerness has no effect here: it needs turn_detection=semantic_vad"],
            ),
            (
                StreamMode::Ai,
                &[
                    ("engine", "cascade"),
                    ("stt_provider", "deepgram"),
                    ("stt_model", "flux-general-en"),
                    ("vad_eagerness", "low"),
                ],
                &[],
            ),
        ] {
            assert_eq!(warnings(mode, pairs), warned, "{pairs:?}");
        }
    }

    #[test]
    fn every_option_that_needs_another_exists() {
        for need in OF_ALL.iter().chain(OF_SERVERS).chain(OF_CONVERSATIONS) {
            for key in need.keys {
                assert!(row(key).is_some(), "{key}");
            }
        }
        assert!(all().filter(|row| is_tls(&row.key)).count() == 4);
    }
}
