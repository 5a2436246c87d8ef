#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::control::config::{Config, ConfigDoc};
use crate::control::in_force::InForce;
use crate::control::resolve::{resolve, resolve_for, without_effect};
use crate::control::variables::NoVariables;
use crate::media::InjectMode;
use crate::stream::state::StreamMode;
use crate::units::Mix;

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn given(pairs: &[(&str, &str)]) -> OptionValues {
    let mut values = OptionValues::default();
    for (key, text) in pairs {
        values.add(row(key).unwrap(), text).unwrap();
    }
    values
}

fn config(settings: &[(&str, &str)], profile: &[(&str, &str)]) -> Config {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let (config, warnings) = Config::load(&ConfigDoc {
        settings: owned(settings),
        profiles: vec![("p".into(), owned(profile))],
        ..ConfigDoc::default()
    });
    assert_eq!(warnings, []);
    config
}

fn from_variables(pairs: &[(&str, &str)]) -> (StreamOptions, Vec<String>) {
    let (options, warnings) = resolve(&OptionValues::default(), &variables(pairs), &Config::default()).unwrap();
    (options, warnings.into_iter().map(|warning| warning.0).collect())
}

#[test]
fn defaults_of_the_table_are_the_defaults() {
    let mut options = StreamOptions::default();
    for (key, text) in CHANGES.iter().chain(AI_CHANGES) {
        row(key).unwrap().set(&mut options, text).unwrap();
    }
    for row in all() {
        row.set(&mut options, row.default).unwrap_or_else(|why| panic!("{}: {why}", row.key));
    }
    assert_eq!(options, StreamOptions::default());
    let (resolved, warnings) = resolve(&OptionValues::default(), &NoVariables, &Config::default()).unwrap();
    assert_eq!((resolved, warnings), (StreamOptions::default(), vec![]));
}

#[test]
fn every_option_has_its_own_variable_and_none_serves_two() {
    let mut seen = HashSet::new();
    for row in all() {
        let plain = OPTIONS.iter().any(|plain| plain.key == row.key);
        let prefix = if plain { "AUDIO_STREAM" } else { "AUDIO_STREAM_AI" };
        let own = format!("{prefix}_{}", row.key.strip_prefix("ai_").unwrap_or(&row.key).to_ascii_uppercase());
        assert_eq!(row.variables.first().map(|variable| variable.name.as_str()), Some(own.as_str()));
        assert!(seen.insert(row.key.as_str()), "{}", row.key);
        for variable in &row.variables {
            assert!(seen.insert(variable.name.as_str()), "{}", variable.name);
        }
    }
    for known in NO_EFFECT {
        assert!(seen.insert(known.variable), "{}", known.variable);
    }
}

/// A value other than the default for each option of a conversation.
const AI_CHANGES: &[(&str, &str)] = &[
    ("engine", "xai_realtime"),
    ("openai_api_key", "k"),
    ("openai_auth", "none"),
    ("openai_model", "m"),
    ("openai_base_url", "ws://h"),
    ("openai_service", "azure"),
    ("openai_organization", "o"),
    ("openai_project", "p"),
    ("openai_safety_identifier", "s"),
    ("openai_backend_model", "m"),
    ("openai_backend_prompt", "Be exact."),
    ("xai_api_key", "k"),
    ("xai_auth", "bearer"),
    ("xai_model", "m"),
    ("xai_base_url", "ws://h"),
    ("voice_live_api_key", "k"),
    ("voice_live_auth", "bearer"),
    ("voice_live_model", "m"),
    ("voice_live_base_url", "https://r.services.ai.azure.com"),
    ("inworld_api_key", "k"),
    ("inworld_auth", "basic"),
    ("inworld_model", "m"),
    ("inworld_base_url", "ws://h"),
    ("gemini_api_key", "k"),
    ("gemini_auth", "bearer"),
    ("gemini_model", "m"),
    ("gemini_base_url", "ws://h"),
    ("gemini_start_sensitivity", "low"),
    ("gemini_end_sensitivity", "high"),
    ("gemini_speech_ms", "100"),
    ("gemini_compression_tokens", "20000"),
    ("gemini_setup", r#"{"labels": {"a": "b"}}"#),
    ("deepgram_api_key", "k"),
    ("deepgram_auth", "bearer"),
    ("deepgram_model", "m"),
    ("deepgram_base_url", "ws://h"),
    ("deepgram_agent", "a"),
    ("elevenlabs_api_key", "k"),
    ("elevenlabs_agent_id", "agent_1"),
    ("elevenlabs_public", "true"),
    ("elevenlabs_base_url", "ws://h"),
    ("elevenlabs_environment", "staging"),
    ("elevenlabs_model", "m"),
    ("elevenlabs_variables", "{\"name\":\"Ann\"}"),
    ("elevenlabs_overrides", "{\"tts\":{\"stability\":0.5}}"),
    ("elevenlabs_llm_body", "{\"a\":1}"),
    ("elevenlabs_user_id", "u"),
    ("assemblyai_api_key", "k"),
    ("assemblyai_agent", "a"),
    ("assemblyai_base_url", "ws://h"),
    ("assemblyai_session", "{\"output\":{\"volume\":80}}"),
    ("ultravox_api_key", "k"),
    ("ultravox_agent", "a"),
    ("ultravox_model", "m"),
    ("ultravox_base_url", "ws://h"),
    ("ultravox_call", "{\"temperature\":0.4}"),
    ("stt_provider", "deepgram"),
    ("early_answer", "on"),
    ("stt_url", "http://h"),
    ("stt_model", "m"),
    ("stt_api_key", "k"),
    ("llm_url", "http://h"),
    ("llm_model", "m"),
    ("llm_api_key", "k"),
    ("system_prompt", "Be brief."),
    ("voice", "marin"),
    ("speed", "1.25"),
    ("ai_output", "tts"),
    ("ai_audio", "pcm"),
    ("turn_detection", "semantic_vad"),
    ("vad_threshold", "0.75"),
    ("vad_prefix_padding_ms", "0"),
    ("vad_silence_duration_ms", "900"),
    ("vad_idle_timeout_ms", "6000"),
    ("vad_eagerness", "high"),
    ("noise_reduction", "far_field"),
    ("transcription_model", "t"),
    ("transcription_language", "de"),
    ("transcription_prompt", "Names"),
    ("transcript_deltas", "on"),
    ("max_response_tokens", "inf"),
    ("reasoning_effort", "low"),
    ("tools", r#"[{"type":"function","name":"f"}]"#),
    ("tool_url", "https://tools.example/call"),
    ("tool_key", "k"),
    ("mcp_servers", r#"[{"server_label":"a","server_url":"https://h"}]"#),
    ("mcp_approval", "reject"),
    ("tool_choice", "required"),
    ("parallel_tool_calls", "no"),
    ("openai_session", r#"{"truncation": "disabled"}"#),
    ("raw_events", "on"),
    ("builtin_tools", "hang_up, send_dtmf"),
    ("transfer_destinations", "sales=1000,2000"),
    ("transfer_mode", "announced"),
    ("transfer_dial_string", "user/{}"),
    ("transfer_timeout_s", "20"),
    ("transfer_hold_music", "local_stream://moh"),
    ("transfer_announcement", "/a.wav"),
    ("tool_variables", "ai_x"),
    ("tool_filler", "One moment."),
    ("tool_filler_ms", "900"),
    ("tool_timeout_ms", "5000"),
    ("barge_in", "off"),
    ("barge_in_min_ms", "300"),
    ("false_interruption_ms", "2000"),
    ("interruption_ignore", "mm-hm, I see"),
    ("barge_in_dtmf", "no"),
    ("dtmf_to_model", "yes"),
    ("dtmf_length", "16"),
    ("dtmf_terminator", "none"),
    ("dtmf_timeout_ms", "5000"),
    ("greeting_file", "/g.wav"),
    ("greeting", "Hello."),
    ("greeting_instructions", "Say hello."),
    ("idle_timeout_ms", "9000"),
    ("idle_instructions", "Ask."),
    ("idle_hang_up_at", "3"),
    ("wind_down_instructions", "Say goodbye."),
    ("wind_down_s", "20"),
    ("thinking_sound", "/t.ogg"),
    ("thinking_gain", "-6"),
    ("ambient_sound", "comfort_noise"),
    ("ambient_gain", "3"),
    ("apology", "Sorry."),
    ("fallback_file", "/f.mp3"),
    ("fallback", "Sorry."),
    ("response_timeout_ms", "1000"),
    ("ai_stalled_s", "15"),
    ("ai_reconnect_max", "0"),
    ("ai_reconnect_ms", "10"),
    ("ai_ring_buffer_ms", "0"),
    ("ai_playback_ms", "1000"),
    ("tts_clean", "off"),
    ("tts_abbreviations", "Bldg#, GmbH?, -gasse"),
    ("tts_provider", "elevenlabs,command"),
    ("tts_voice", "v"),
    ("tts_model", "m"),
    ("tts_url", "http://h"),
    ("tts_api_key", "k"),
    ("tts_language", "de"),
    ("tts_instructions", "Softly."),
    ("tts_speed", "1.5"),
    ("tts_stability", "0.5"),
    ("tts_similarity_boost", "0.5"),
    ("tts_style", "0.5"),
    ("tts_output_format", "wav"),
    ("tts_ca_file", "none"),
    ("tts_elevenlabs_voice", "v"),
    ("tts_elevenlabs_model", "m"),
    ("tts_elevenlabs_url", "http://h"),
    ("tts_elevenlabs_api_key", "k"),
    ("tts_elevenlabs_language", "de"),
    ("tts_elevenlabs_instructions", "Softly."),
    ("tts_elevenlabs_speed", "1.5"),
    ("tts_elevenlabs_stability", "0.5"),
    ("tts_elevenlabs_similarity_boost", "0.5"),
    ("tts_elevenlabs_style", "0.5"),
    ("tts_elevenlabs_output_format", "wav"),
    ("tts_elevenlabs_ca_file", "none"),
    ("tts_elevenlabs_ws_voice", "v"),
    ("tts_elevenlabs_ws_model", "m"),
    ("tts_elevenlabs_ws_url", "http://h"),
    ("tts_elevenlabs_ws_api_key", "k"),
    ("tts_elevenlabs_ws_language", "de"),
    ("tts_elevenlabs_ws_instructions", "Softly."),
    ("tts_elevenlabs_ws_speed", "1.5"),
    ("tts_elevenlabs_ws_stability", "0.5"),
    ("tts_elevenlabs_ws_similarity_boost", "0.5"),
    ("tts_elevenlabs_ws_style", "0.5"),
    ("tts_elevenlabs_ws_output_format", "wav"),
    ("tts_elevenlabs_ws_ca_file", "none"),
    ("tts_openai_voice", "v"),
    ("tts_openai_model", "m"),
    ("tts_openai_url", "http://h"),
    ("tts_openai_api_key", "k"),
    ("tts_openai_language", "de"),
    ("tts_openai_instructions", "Softly."),
    ("tts_openai_speed", "1.5"),
    ("tts_openai_stability", "0.5"),
    ("tts_openai_similarity_boost", "0.5"),
    ("tts_openai_style", "0.5"),
    ("tts_openai_output_format", "wav"),
    ("tts_openai_ca_file", "none"),
    ("tts_deepgram_voice", "v"),
    ("tts_deepgram_model", "m"),
    ("tts_deepgram_url", "http://h"),
    ("tts_deepgram_api_key", "k"),
    ("tts_deepgram_language", "de"),
    ("tts_deepgram_instructions", "Softly."),
    ("tts_deepgram_speed", "1.5"),
    ("tts_deepgram_stability", "0.5"),
    ("tts_deepgram_similarity_boost", "0.5"),
    ("tts_deepgram_style", "0.5"),
    ("tts_deepgram_output_format", "wav"),
    ("tts_deepgram_ca_file", "none"),
    ("tts_cartesia_voice", "v"),
    ("tts_cartesia_model", "m"),
    ("tts_cartesia_url", "http://h"),
    ("tts_cartesia_api_key", "k"),
    ("tts_cartesia_language", "de"),
    ("tts_cartesia_instructions", "Softly."),
    ("tts_cartesia_speed", "1.5"),
    ("tts_cartesia_stability", "0.5"),
    ("tts_cartesia_similarity_boost", "0.5"),
    ("tts_cartesia_style", "0.5"),
    ("tts_cartesia_output_format", "wav"),
    ("tts_cartesia_ca_file", "none"),
    ("tts_command_voice", "v"),
    ("tts_command_model", "m"),
    ("tts_command_url", "http://h"),
    ("tts_command_api_key", "k"),
    ("tts_command_language", "de"),
    ("tts_command_instructions", "Softly."),
    ("tts_command_speed", "1.5"),
    ("tts_command_stability", "0.5"),
    ("tts_command_similarity_boost", "0.5"),
    ("tts_command_style", "0.5"),
    ("tts_command_output_format", "wav"),
    ("tts_command_ca_file", "none"),
    ("tts_command", "say {text}"),
    ("tts_command_rate", "22050"),
    ("tts_timeout_ms", "500"),
    ("tts_cache", "false"),
    ("dsp_enabled", "off"),
    ("dc_blocker", "off"),
    ("gate_threshold_db", "off"),
    ("compressor_threshold_db", "-18"),
    ("compressor_ratio", "4"),
    ("compressor_makeup_db", "0"),
    ("high_shelf_gain_db", "off"),
    ("high_shelf_hz", "2500"),
    ("lpf_cutoff_hz", "3800"),
    ("soft_clip", "off"),
    ("echo_cancellation", "on"),
    ("noise_suppression", "high"),
    ("caller_gain_control", "on"),
    ("local_vad_threshold", "0.7"),
    ("local_vad_min_speech_ms", "100"),
    ("local_vad_hangover_ms", "700"),
];

#[test]
fn the_polish_has_the_default_stages_of_the_chain() {
    assert_eq!(StreamOptions::default().ai.speaking.polish.settings(), crate::dsp::ChainSettings::default());
    let mut options = StreamOptions::default();
    row("dsp_enabled").unwrap().set(&mut options, "false").unwrap();
    assert_eq!(options.ai.speaking.polish.settings(), crate::dsp::ChainSettings::BYPASS);
}

#[test]
fn conversation_options_take_effect_and_bad_values_are_refused() {
    let mut known: Vec<_> = SPEECH_OPTIONS.iter().chain(AI_OPTIONS.iter()).map(|row| row.key.as_str()).collect();
    let mut changed: Vec<_> = AI_CHANGES.iter().map(|(key, _)| *key).collect();
    known.sort_unstable();
    changed.sort_unstable();
    assert_eq!(changed, known);
    let mut seen = Vec::new();
    for (key, value) in AI_CHANGES {
        let mut options = StreamOptions::default();
        row(key).unwrap().set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
        assert_ne!(options, StreamOptions::default(), "{key}");
        assert!(!seen.contains(&options.ai), "{key} changes what another changes");
        seen.push(options.ai);
    }
    for (key, value) in [
        ("vad_threshold", "1.1"),
        ("vad_threshold", "-0.1"),
        ("vad_threshold", "NaN"),
        ("vad_threshold", "1e9"),
        ("speed", "0.2"),
        ("max_response_tokens", "0"),
        ("max_response_tokens", "4097"),
        ("vad_idle_timeout_ms", "4999"),
        ("barge_in", "perhaps"),
        ("tools", "{}"),
        ("tools", r#"[{"name":"a b"}]"#),
        ("tools", r#"[{"name":"f","type":"mcp"}]"#),
        ("tools", r#"[{"name":"f"},{"name":"f"}]"#),
        ("transfer_destinations", "a b=c d"),
        ("transfer_destinations", "-x"),
        ("tool_variables", "1a"),
        ("greeting", "a\u{7}b"),
        ("compressor_threshold_db", "1"),
        ("lpf_cutoff_hz", "99"),
        ("tts_provider", "festival"),
        ("tts_voice", "a\"b"),
        ("tts_speed", "5"),
    ] {
        assert!(row(key).unwrap().set(&mut StreamOptions::default(), value).is_err(), "{key}={value}");
    }
}

#[test]
fn the_older_modules_variables_of_a_conversation_are_understood() {
    let resolved = |pairs: &[(&str, &str)]| {
        let (options, warnings) =
            resolve_for(StreamMode::Ai, &OptionValues::default(), &variables(pairs), &Config::default()).unwrap();
        (options.ai, warnings.into_iter().map(|warning| warning.0).collect::<Vec<_>>())
    };
    let (ai, warnings) = resolved(&[
        ("AI_OPENAI_API_KEY", "k"),
        ("AI_OPENAI_MODEL", "m"),
        ("AI_SYSTEM_PROMPT", "Be brief.\\nAnd kind."),
        ("AI_VAD_THRESHOLD", "0.8"),
        ("AI_ENABLE_BARGE_IN", "0"),
        ("AI_MAX_RESPONSE_TOKENS", "100"),
        ("AI_CALL_TRANSFER_EXTENSION", "1000"),
        ("AI_TEMPERATURE", "0.8"),
    ]);
    assert_eq!((ai.model.as_str(), ai.vad_threshold, ai.system_prompt.as_str()), ("m", 0.8, "Be brief.\nAnd kind."));
    assert_eq!((ai.key.as_ref().unwrap().expose(), ai.transfer_destinations.named[0].number.as_str()), ("k", "1000"));
    assert_eq!(warnings, Vec::<String>::new());
    let (_, warnings) = resolved(&[
        ("AI_TEMPERATURE", "0.2"),
        ("AUDIO_STREAM_AI_VAD_THRESHOLD", "7"),
        ("AI_OPENAI_API_KEY", "hunter2\n"),
    ]);
    assert_eq!(
        warnings,
        [
            "bad value '***' of channel variable AI_OPENAI_API_KEY: it has a control character; remove it; using openai_api_key=***",
            "bad value '7' of channel variable AUDIO_STREAM_AI_VAD_THRESHOLD: give 0 to 1; using vad_threshold=0.5",
        ]
    );
    // Streams to servers do not look at them.
    assert_eq!(from_variables(&[("AI_VAD_THRESHOLD", "7")]).1, Vec::<String>::new());
    let temperature = variables(&[("AI_TEMPERATURE", "0.2")]);
    assert_eq!(without_effect(StreamMode::Ws, &temperature), []);
    let text = "channel variable AI_TEMPERATURE=0.2 has no effect: the GA protocol has no temperature".to_owned();
    assert_eq!(without_effect(StreamMode::Ai, &temperature), [("AI_TEMPERATURE", Warning(text))]);
}

#[test]
fn the_key_is_taken_from_the_first_place_that_has_one() {
    let from = |given_key: bool, variable: bool, profile: bool, setting: bool| {
        let pairs = |on: bool, value: &'static str| {
            if on { vec![("openai_api_key".to_owned(), value.to_owned())] } else { vec![] }
        };
        let doc = ConfigDoc {
            settings: pairs(setting, "setting"),
            profiles: vec![("p".into(), pairs(profile, "profile"))],
            environment: vec![("OPENAI_API_KEY".into(), "environment".into()), ("HOME".into(), "x".into())],
            ..ConfigDoc::default()
        };
        let mut arguments = vec![("profile", "p")];
        arguments.extend(given_key.then_some(("openai_api_key", "argument")));
        let set = if variable { vec![("AUDIO_STREAM_AI_OPENAI_API_KEY", "variable")] } else { vec![] };
        let config = Config::load(&doc).0;
        let options = resolve_for(StreamMode::Ai, &given(&arguments), &variables(&set), &config).unwrap().0;
        options.ai.key.as_ref().unwrap().expose().to_owned()
    };
    assert_eq!(from(true, true, true, true), "argument");
    assert_eq!(from(false, true, true, true), "variable");
    assert_eq!(from(false, false, true, true), "profile");
    assert_eq!(from(false, false, false, true), "setting");
    assert_eq!(from(false, false, false, false), "environment");
}

#[test]
fn an_empty_key_in_the_file_leaves_the_one_of_the_environment() {
    let environment = [("OPENAI_API_KEY", "environment"), ("ELEVENLABS_API_KEY", "environment")];
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let doc = ConfigDoc {
        settings: owned(&[("openai-api-key", ""), ("tts_elevenlabs_api_key", " ")]),
        profiles: vec![("p".into(), owned(&[("openai_api_key", "")]))],
        environment: owned(&environment),
        ..ConfigDoc::default()
    };
    let (config, warnings) = Config::load(&doc);
    assert_eq!(warnings, []);
    for arguments in [&[][..], &[("profile", "p")]] {
        let options = resolve_for(StreamMode::Ai, &given(arguments), &variables(&[]), &config).unwrap().0;
        assert_eq!(options.ai.key.as_ref().unwrap().expose(), "environment");
    }
    assert_eq!(config.settings().get("tts_elevenlabs_api_key"), None);
}

/// A value other than the default for each option, with what it must have changed.
const CHANGES: &[(&str, &str)] = &[
    ("mix", "stereo"),
    ("rate", "16k"),
    ("protocol", "twilio"),
    ("codec", "pcma"),
    ("l16_byte_order", "big"),
    ("transcribe_model", "nova-3"),
    ("transcribe_language", "en"),
    ("transcribe_url", "wss://stt.example.com/v1"),
    ("transcribe_key", "hunter2"),
    ("control_format", "json"),
    ("buffer_ms", "60"),
    ("frame_ms", "30"),
    ("playback", "no"),
    ("inject_mode", "mix"),
    ("inject_buffer_ms", "30000"),
    ("inject_full", "drop"),
    ("inject_min_buffer_ms", "auto"),
    ("duck_db", "60"),
    ("follow_mute", "false"),
    ("caller_gain", "-6"),
    ("agent_gain", "3.5"),
    ("allow", "hangup,transfer"),
    ("allow_file_injection", "true"),
    ("file_injection_dir", "/srv/prompts"),
    ("binary_rate", "24000"),
    ("binary_channels", "2"),
    ("control_format", "json"),
    ("max_audio_base64_len", "1000"),
    ("max_queue_ms", "60000"),
    ("connect_timeout_ms", "100"),
    ("reconnect_max", "3"),
    ("reconnect_ms", "250"),
    ("media_wait_s", "30"),
    ("max_messages_per_s", "500"),
    ("heartbeat_s", "30"),
    ("headers", r#"{"X-A":"b c"}"#),
    ("ready", "first_message"),
    ("ready_timeout_ms", "500"),
    ("correlation", "all"),
    ("headers_from", "sip_h_X-Tenant, X-Customer:customer_id"),
    ("subprotocol", "audio.drachtio.org"),
    ("username", "bob"),
    ("password", "s3cret"),
    ("tls_ca", "/etc/ca.pem"),
    ("tls_cert", "/etc/cert.pem"),
    ("tls_key", "/etc/key.pem"),
    ("tls_verify_hostname", "false"),
    ("max_duration_s", "3600"),
    ("log_every_ms", "0"),
    ("suppress_log", "true"),
    ("record_dir", "/var/rec"),
    ("send_silence", "true"),
    ("transcribe_model", "nova-3"),
    ("transcribe_language", "de"),
    ("transcribe_url", "wss://stt.example/v1"),
    ("transcribe_key", "s3cret"),
];

#[test]
fn every_option_can_be_set_from_every_source_to_the_same_effect() {
    let unchanged = ["profile"];
    let covered: Vec<_> = CHANGES.iter().map(|(key, _)| *key).chain(unchanged).collect();
    assert!(OPTIONS.iter().all(|row| covered.contains(&row.key.as_str())));
    for (key, text) in CHANGES {
        let pair = [(*key, *text)];
        let mut expected = StreamOptions::default();
        row(key).unwrap().set(&mut expected, text).unwrap();
        assert_ne!(expected, StreamOptions::default(), "{key}");
        // Half of a pair is refused by itself, so its other half comes along.
        let other: &[(&str, &str)] = match *key {
            "password" => &[("username", "bob")],
            "tls_cert" => &[("tls_key", "/k")],
            "tls_key" => &[("tls_cert", "/c")],
            "allow_file_injection" => &[("file_injection_dir", "/d")],
            _ => &[],
        };
        for (key, text) in other {
            row(key).unwrap().set(&mut expected, text).unwrap();
        }
        let pairs = [&pair[..], other].concat();
        let as_variables: Vec<_> =
            pairs.iter().map(|(key, text)| (format!("AUDIO_STREAM_{}", key.to_uppercase()), *text)).collect();
        let as_variables: Vec<_> = as_variables.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        for (source, given, variables, config) in [
            ("argument", given(&pairs), variables(&[]), Config::default()),
            ("variable", OptionValues::default(), variables(&as_variables), Config::default()),
            ("profile", given(&[("profile", "p")]), variables(&[]), config(&[], &pairs)),
            ("setting", OptionValues::default(), variables(&[]), config(&pairs, &[])),
        ] {
            let (options, warnings) = resolve(&given, &variables, &config).unwrap();
            assert_eq!((options, warnings), (expected.clone(), vec![]), "{key} as {source}");
        }
    }
}

#[test]
fn arguments_beat_variables_then_profile_settings_and_defaults() {
    let config = config(
        &[("buffer_ms", "100"), ("frame_ms", "100"), ("max_queue_ms", "1000"), ("heartbeat_s", "1"), ("profile", "p")],
        &[("buffer_ms", "200"), ("frame_ms", "90"), ("max_queue_ms", "2000")],
    );
    let variables = variables(&[("AUDIO_STREAM_BUFFER_MS", "300"), ("STREAM_FRAME_MS", "80")]);
    let (options, warnings) = resolve(&given(&[("buffer_ms", "400")]), &variables, &config).unwrap();
    assert_eq!(warnings, []);
    let got = [options.buffer_ms, options.frame_ms, options.max_queue_ms, options.heartbeat_s, options.log_every_ms];
    assert_eq!(got, [400, 80, 2_000, 1, 10_000]);
    let (options, _) = resolve(&given(&[("profile", "")]), &NoVariables, &config).unwrap();
    assert_eq!(options.buffer_ms, 100, "an empty profile= turns the settings' profile off");
}

#[test]
fn the_names_of_the_older_modules_work() {
    for (name, value, same) in [
        ("STREAM_BUFFER_SIZE", "100", ("buffer_ms", "100")),
        ("AUDIO_STREAM_RTP_PACKETS", "5", ("buffer_ms", "100")),
        ("AUDIO_STREAM_SAMPLING", "16000", ("rate", "16k")),
        ("AUDIO_STREAM_CHANNELS", "2", ("mix", "stereo")),
        ("STREAM_HEART_BEAT", "20", ("heartbeat_s", "20")),
        ("STREAM_SUPPRESS_LOG", "1", ("suppress_log", "true")),
        ("wav_file_path", "/var/rec", ("record_dir", "/var/rec")),
        ("STREAM_EXTRA_HEADERS", r#"{"A":"b"}"#, ("headers", r#"{"A":"b"}"#)),
        ("STREAM_TLS_CA_FILE", "NONE", ("tls_ca", "none")),
        ("STREAM_TLS_CA_FILE", "/ca.pem", ("tls_ca", "/ca.pem")),
        ("STREAM_TLS_DISABLE_HOSTNAME_VALIDATION", "true", ("tls_verify_hostname", "false")),
        ("STREAM_PLAYBACK", "false", ("playback", "false")),
        ("STREAM_SAMPLE_RATE", "24000", ("binary_rate", "24k")),
        ("STREAM_FRAME_MS", "30", ("frame_ms", "30")),
        ("STREAM_INJECT_BUFFER_MS", "700", ("inject_buffer_ms", "700")),
        ("STREAM_INJECT_MIN_BUFFER_MS", "0", ("inject_min_buffer_ms", "0")),
        ("STREAM_INJECT_LOG_EVERY_MS", "2000", ("log_every_ms", "2000")),
        ("AUDIO_STREAM_INJECT_LOG_EVERY_MS", "2000", ("log_every_ms", "2000")),
        ("STREAM_MAX_AUDIO_BASE64_LEN", "4194304", ("max_audio_base64_len", "4194304")),
        ("STREAM_MAX_QUEUE_MS", "9000", ("max_queue_ms", "9000")),
    ] {
        let expected = resolve(&given(&[same]), &NoVariables, &Config::default()).unwrap().0;
        assert_ne!(expected, StreamOptions::default());
        assert_eq!(from_variables(&[(name, value)]), (expected, vec![]), "{name}");
    }
    let (options, _) = from_variables(&[("STREAM_BUFFER_SIZE", "40"), ("AUDIO_STREAM_BUFFER_MS", "60")]);
    assert_eq!(options.buffer_ms, 60, "our own name wins over an alias");
    let (options, warnings) = from_variables(&[("AUDIO_STREAM_BUFFER_MS", ""), ("STREAM_BUFFER_SIZE", "40")]);
    assert_eq!((options.buffer_ms, warnings), (40, vec![]), "an empty variable is not set");
}

#[test]
fn a_bad_variable_is_named_and_what_holds_without_it_is_used() {
    for (name, value, warning) in [
        (
            "STREAM_BUFFER_SIZE",
            "7",
            "bad value '7' of channel variable STREAM_BUFFER_SIZE: give 20 to 1000 ms; using buffer_ms=20",
        ),
        (
            "STREAM_HEART_BEAT",
            "-1",
            "bad value '-1' of channel variable STREAM_HEART_BEAT: give 1 to 3600 s, or 0 for none; using heartbeat_s=15",
        ),
        (
            "STREAM_TLS_DISABLE_HOSTNAME_VALIDATION",
            "x",
            "bad value 'x' of channel variable STREAM_TLS_DISABLE_HOSTNAME_VALIDATION: give true or false; \
             using tls_verify_hostname=true",
        ),
        (
            "AUDIO_STREAM_CHANNELS",
            "3",
            "bad value '3' of channel variable AUDIO_STREAM_CHANNELS: give 1 or 2; using mix=mono",
        ),
        (
            "AUDIO_STREAM_PASSWORD",
            "s3cret\n",
            "bad value '***' of channel variable AUDIO_STREAM_PASSWORD: it has a control character; remove it; \
             using password=***",
        ),
        (
            "STREAM_EXTRA_HEADERS",
            "{\"A\":\"s3cret\\r\\n\"}",
            "bad value '***' of channel variable STREAM_EXTRA_HEADERS: the value of header 'A' has a line break or a control character; \
             using headers=***",
        ),
        (
            "AUDIO_STREAM_PROFILE",
            "gone",
            "channel variable AUDIO_STREAM_PROFILE=gone: no such profile in audio_stream.conf.xml; it has none",
        ),
    ] {
        assert_eq!(from_variables(&[(name, value)]), (StreamOptions::default(), vec![warning.to_owned()]));
    }
    let (options, warnings) = resolve(
        &OptionValues::default(),
        &variables(&[("AUDIO_STREAM_BUFFER_MS", "7")]),
        &config(&[("buffer_ms", "100")], &[]),
    )
    .unwrap();
    assert_eq!(options.buffer_ms, 100);
    assert!(warnings[0].0.ends_with("using buffer_ms=100"));
    let (_, warnings) =
        resolve(&given(&[("buffer_ms", "60")]), &variables(&[("AUDIO_STREAM_BUFFER_MS", "7")]), &Config::default())
            .unwrap();
    assert_eq!(warnings, [], "a variable that is not used is not complained about");
}

#[test]
fn an_unused_variable_is_reported_only_if_it_asks_for_a_change() {
    for quiet in [("STREAM_MESSAGE_DEFLATE", "true"), ("STREAM_NO_RECONNECT", "1"), ("STREAM_DEBUG_JSON", "no")] {
        assert_eq!(without_effect(StreamMode::Ws, &variables(&[quiet])), [], "{quiet:?}");
    }
    for (name, value, warning) in [
        (
            "STREAM_MESSAGE_DEFLATE",
            "false",
            "channel variable STREAM_MESSAGE_DEFLATE=false has no effect: messages are never compressed",
        ),
        (
            "STREAM_NO_RECONNECT",
            "false",
            "channel variable STREAM_NO_RECONNECT=false has no effect: a lost connection is made again only where \
             reconnect_max says so",
        ),
    ] {
        let warned = without_effect(StreamMode::Ws, &variables(&[(name, value)]));
        assert_eq!(warned, [(name, Warning(warning.to_owned()))]);
    }
}

#[test]
fn files_without_a_folder_are_warned_of() {
    let (options, warnings) = from_variables(&[("STREAM_ALLOW_FILE_INJECTION", "true")]);
    assert!(options.allow_file_injection);
    assert_eq!(
        warnings,
        ["allow_file_injection=true has no effect: set file_injection_dir to the folder of the files"]
    );
}

#[test]
fn options_that_need_each_other_are_refused_alone() {
    for pairs in [
        &[("tls_cert", "/c")][..],
        &[("tls_key", "/k")],
        &[("password", "s3cret")],
        &[("username", "u"), ("headers", r#"{"authorization":"s3cret"}"#)],
    ] {
        let error = resolve(&given(pairs), &NoVariables, &Config::default()).unwrap_err();
        assert!(matches!(error, OptionError::Combination(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

#[test]
fn words_are_taken_in_capitals_too_from_every_source() {
    let words = [
        ("mix", "Mixed"),
        ("rate", "16K"),
        ("protocol", "NATIVE"),
        ("codec", "PCMU"),
        ("inject_mode", "MIX"),
        ("binary_rate", "OFF"),
        ("allow", "HangUp"),
    ];
    let mut expected = StreamOptions::default();
    for (key, text) in words {
        row(key).unwrap().set(&mut expected, &text.to_ascii_lowercase()).unwrap();
    }
    let as_variables = words.map(|(key, text)| (format!("AUDIO_STREAM_{}", key.to_uppercase()), text));
    let as_variables: Vec<_> = as_variables.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    for (given, variables, config) in [
        (given(&words), variables(&[]), Config::default()),
        (OptionValues::default(), variables(&as_variables), Config::default()),
        (given(&[("profile", "p")]), variables(&[]), config(&[], &words)),
        (OptionValues::default(), variables(&[]), config(&words, &[])),
    ] {
        assert_eq!(resolve(&given, &variables, &config).unwrap(), (expected.clone(), vec![]));
    }
    let (options, warnings) = resolve(
        &given(&[("inject_mode", "Replace")]),
        &variables(&[("AUDIO_STREAM_MIX", "Stereo")]),
        &Config::default(),
    )
    .unwrap();
    assert_eq!((options.inject_mode, options.mix, warnings), (InjectMode::Replace, Mix::Stereo, vec![]));
}

#[test]
fn half_a_pair_from_no_argument_is_dropped_with_a_warning() {
    let authorization = r#"{"X-A":"b","authorization":"s3cret"}"#;
    for (pairs, variable, profile, setting) in [
        (
            &[("tls_cert", "/c")][..],
            "channel variable AUDIO_STREAM_TLS_CERT (tls_cert) is ignored: tls_key is not set",
            "tls_cert of profile p is ignored: tls_key is not set",
            "setting tls_cert is ignored: tls_key is not set",
        ),
        (
            &[("tls_key", "/k")],
            "channel variable AUDIO_STREAM_TLS_KEY (tls_key) is ignored: tls_cert is not set",
            "tls_key of profile p is ignored: tls_cert is not set",
            "setting tls_key is ignored: tls_cert is not set",
        ),
        (
            &[("password", "s3cret")],
            "channel variable AUDIO_STREAM_PASSWORD (password) is ignored: username is not set",
            "password of profile p is ignored: username is not set",
            "setting password is ignored: username is not set",
        ),
    ] {
        let as_variables: Vec<_> =
            pairs.iter().map(|(key, text)| (format!("AUDIO_STREAM_{}", key.to_uppercase()), *text)).collect();
        let as_variables: Vec<_> = as_variables.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        for (given, variables, config, warning) in [
            (OptionValues::default(), variables(&as_variables), Config::default(), variable),
            (given(&[("profile", "p")]), variables(&[]), config(&[], pairs), profile),
            (OptionValues::default(), variables(&[]), config(pairs, &[]), setting),
        ] {
            let resolved = resolve(&given, &variables, &config).unwrap();
            assert_eq!(resolved, (StreamOptions::default(), vec![Warning(warning.to_owned())]));
        }
    }
    let names = |options: &StreamOptions| options.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let user = [("username", "u"), ("password", "s3cret")];
    // The stronger source wins; within one, the header.
    let given_profile = given(&[("profile", "p")]);
    let (options, warnings) =
        resolve(&given_profile, &NoVariables, &config(&[("headers", authorization)], &user)).unwrap();
    assert_eq!((options.username.as_deref(), names(&options)), (Some("u"), vec!["X-A".to_owned()]));
    assert_eq!(
        warnings[0].0,
        "the Authorization header of setting headers is ignored: username of profile p overrides it"
    );
    let both =
        [("AUDIO_STREAM_USERNAME", "u"), ("AUDIO_STREAM_PASSWORD", "s3cret"), ("STREAM_EXTRA_HEADERS", authorization)];
    let (options, warnings) = from_variables(&both);
    assert_eq!((options.username.as_deref(), options.password.is_some(), names(&options).len()), (None, false, 2));
    assert_eq!(
        warnings,
        ["channel variable AUDIO_STREAM_USERNAME (username) is ignored: the Authorization header of channel variable \
          STREAM_EXTRA_HEADERS (headers) overrides it"]
    );
    // An argument that is part of it is refused, and one that turns the other half off is not.
    let variable_user = variables(&[("AUDIO_STREAM_USERNAME", "u")]);
    let error = resolve(&given(&[("headers", authorization)]), &variable_user, &Config::default()).unwrap_err();
    assert!(matches!(error, OptionError::Combination(_)), "{error}");
    let (options, warnings) = resolve(&given(&[("username", "")]), &NoVariables, &config(&user, &[])).unwrap();
    assert_eq!(options, StreamOptions::default());
    assert_eq!(warnings, [Warning("setting password is ignored: username is not set".to_owned())]);
}

#[test]
fn a_prebuffer_longer_than_the_queue_is_cut_to_it() {
    let given = given(&[("inject_buffer_ms", "100"), ("inject_min_buffer_ms", "5000")]);
    let (options, warnings) = resolve(&given, &NoVariables, &Config::default()).unwrap();
    assert_eq!(options.inject_min_buffer_ms, Some(100));
    assert_eq!(
        warnings[0].0,
        "inject_min_buffer_ms=5000 is more than inject_buffer_ms=100; using inject_min_buffer_ms=100"
    );
}

#[test]
fn an_unknown_profile_is_refused_with_the_list_of_known_ones() {
    let error = resolve(&given(&[("profile", "x")]), &NoVariables, &config(&[], &[])).unwrap_err();
    assert_eq!(error.to_string(), "no profile 'x' in audio_stream.conf.xml; it has p");
}

#[test]
fn printing_options_shows_names_alone() {
    let values = given(&[("username", "bob"), ("password", "s3cret")]);
    assert_eq!(format!("{values:?}"), r#"["username", "password"]"#);
}

/// Texts that hold credentials, as an operator may give them in the place of a URL and elsewhere.
const WITH_CREDENTIALS: [&str; 8] = [
    "https://bob:s3cret@h.example/v1",
    "wss://s3cret@h.example",
    "wss://h.example/v1/s3cret/realtime",
    "http://h.example/?key=s3cret",
    "ftp://bob:s3cret@h.example/s3cret",
    "https://bob:s3:c/r?e#t@h.example/s3cret",
    "bob:s3cret@h.example/v1",
    "wss://a.example, https://bob:s3cret@h.example/s3cret?s3cret#s3cret",
];

#[test]
fn no_option_shows_the_credentials_of_a_url() {
    let module = crate::control::config::MODULE_SETTINGS
        .iter()
        .map(|row| (row.key.as_str(), row.shown(""), row.allowed.as_str()));
    let urls = all().map(|row| (row.key.as_str(), row.shown(""), row.allowed.as_str())).chain(module);
    let urls: Vec<_> = urls.filter(|(key, _, allowed)| key.contains("url") || allowed.contains("URL")).collect();
    assert!(urls.len() >= 16, "{urls:?}");
    // A text that is nothing at all is hidden by those that take a URL alone.
    assert!(urls.iter().all(|(.., shown, _)| shown == "***"), "{urls:?}");
    for text in WITH_CREDENTIALS {
        for row in all() {
            let mut values = OptionValues::default();
            let refused = values.add(row, text).err().map(|error| format!("{error} {error:?}")).unwrap_or_default();
            let printed = format!("{} {values:?} {refused}", row.shown(text));
            let bare = text.starts_with("bob:") && !urls.iter().any(|(key, ..)| *key == row.key);
            assert!(bare || !printed.contains("s3cret"), "{}: {printed}", row.key);
        }
        for row in crate::control::config::MODULE_SETTINGS.iter() {
            let bare = text.starts_with("bob:") && row.key != "allow_key_to";
            assert!(bare || !row.shown(text).contains("s3cret"), "{}", row.key);
        }
    }
}

#[test]
fn config_and_bad_variables_show_no_credentials_of_a_url() {
    for text in &WITH_CREDENTIALS[..6] {
        for row in all().filter(|row| row.key != "profile") {
            let doc = ConfigDoc { settings: vec![(row.key.clone(), (*text).to_owned())], ..ConfigDoc::default() };
            let (config, warnings) = Config::load(&doc);
            let printed = InForce::of(&config, &config, None).map(|values| format!("{values:?}")).unwrap_or_default();
            let variable = variables(&[(&row.variables[0].name, text)]);
            let resolved = resolve_for(StreamMode::Ai, &OptionValues::default(), &variable, &config);
            let told = match resolved {
                Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
                Err(error) => error.to_string(),
            };
            let printed = format!("{warnings:?} {printed} {told}");
            assert!(!printed.contains("s3cret"), "{}={text}: {printed}", row.key);
        }
    }
}
