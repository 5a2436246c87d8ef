use std::collections::BTreeMap;

use super::*;
use crate::control::config::{Config, ConfigDoc};
use crate::control::options::{OptionValues, row};
use crate::control::resolve::resolve_for;
use crate::stream::state::StreamMode;

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// What a `start_ai` with these arguments and variables comes to, where the file has these settings; in words if it is refused.
fn resolved(
    settings: Pairs<'_>,
    arguments: Pairs<'_>,
    variables: Pairs<'_>,
) -> Result<(StreamOptions, Vec<String>), String> {
    let owned = |pairs: Pairs<'_>| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    let environment = owned(&[("ELEVENLABS_API_KEY", "hunter2")]);
    let doc = ConfigDoc { settings: owned(settings), environment, ..ConfigDoc::default() };
    let (config, warnings) = Config::load(&doc);
    assert_eq!(warnings, []);
    let mut given = OptionValues::default();
    for (key, text) in arguments {
        given.add(row(key).unwrap(), text).unwrap();
    }
    let variables: BTreeMap<_, _> = owned(variables).into_iter().collect();
    resolve_for(StreamMode::Ai, &given, &variables, &config)
        .map(|(options, warnings)| (options, warnings.into_iter().map(|warning| warning.0).collect()))
        .map_err(|error| error.to_string())
}

const KEY: (&str, &str) = ("openai_api_key", "hunter2");
const ELSEWHERE: (&str, &str) = ("openai_base_url", "https://elsewhere.example/v1");

#[test]
fn a_configured_key_goes_to_the_configured_server_alone() {
    assert!(resolved(&[KEY], &[], &[]).is_ok());
    assert!(resolved(&[KEY, ELSEWHERE], &[], &[]).is_ok(), "the file says both");
    let refused = resolved(&[KEY], &[ELSEWHERE], &[]).unwrap_err();
    assert!(refused.contains("allow_key_to") && !refused.contains("hunter2"), "{refused}");
    let variable = ("AUDIO_STREAM_AI_OPENAI_BASE_URL", "wss://elsewhere.example");
    assert!(resolved(&[KEY], &[], &[variable]).is_err(), "nor for a channel variable");
    for good in [
        resolved(&[KEY], &[ELSEWHERE, ("openai_api_key", "own")], &[]),
        resolved(&[KEY], &[ELSEWHERE], &[("AI_OPENAI_API_KEY", "own")]),
        resolved(&[KEY], &[ELSEWHERE, ("openai_auth", "none")], &[]),
        resolved(&[KEY], &[("openai_base_url", "wss://api.openai.com/v1/realtime")], &[]),
        resolved(&[KEY, ELSEWHERE], &[("openai_base_url", "wss://elsewhere.example:443/other")], &[]),
        resolved(&[KEY, ("allow_key_to", "https://a, https://elsewhere.example")], &[ELSEWHERE], &[]),
        resolved(&[], &[ELSEWHERE], &[]),
    ] {
        assert!(good.is_ok(), "{good:?}");
    }
    // So does the key that signs requests for functions.
    let tools = [("tool_url", "https://tools.example"), ("tool_key", "hunter2"), ("openai_api_key", "k")];
    let own = [("tool_url", "https://elsewhere.example"), ("tool_key", "own")];
    assert!(resolved(&tools, &own[..1], &[]).is_err() && resolved(&tools, &own, &[]).is_ok());
    assert!(resolved(&tools, &[("tool_url", "https://tools.example/other")], &[]).is_ok());
    // Each service has a key and a place of its own.
    let grok = [("engine", "xai_realtime"), ("xai_api_key", "hunter2")];
    assert!(resolved(&grok, &[("xai_base_url", "wss://elsewhere.example")], &[]).is_err());
    assert!(resolved(&grok, &[("xai_base_url", "wss://api.x.ai/v1/realtime")], &[]).is_ok());
    assert!(resolved(&grok, &[ELSEWHERE], &[]).is_ok(), "the place of another service is not used");
    let agent = [("engine", "deepgram"), ("deepgram_model", "open_ai/m"), ("deepgram_api_key", "hunter2")];
    assert!(resolved(&agent, &[("deepgram_base_url", "wss://elsewhere.example")], &[]).is_err());
    assert!(resolved(&agent, &[("deepgram_base_url", "wss://agent.deepgram.com/v1/agent/converse")], &[]).is_ok());
    // A cascade has two.
    let parts = [("engine", "cascade"), ("stt_url", "http://a"), ("llm_url", "http://b"), ("llm_api_key", "hunter2")];
    assert!(resolved(&parts, &[("llm_url", "http://elsewhere.example")], &[]).is_err());
    assert!(resolved(&parts, &[("stt_url", "http://elsewhere.example")], &[]).is_ok(), "that part has no key");
    for other in
        ["http://elsewhere.example", "https://elsewhere.example:8443", "https://else.example", " https://else.example"]
    {
        assert!(
            resolved(&[KEY, ("allow_key_to", "https://elsewhere.example")], &[("openai_base_url", other)], &[])
                .is_err()
        );
    }
}

#[test]
fn configured_headers_are_not_sent_to_another_server() {
    let headers = ("headers", r#"{"X-Key":"hunter2"}"#);
    let (options, warnings) = resolved(&[headers], &[ELSEWHERE, ("openai_api_key", "own")], &[]).unwrap();
    assert_eq!((options.headers.len(), warnings.len()), (0, 1), "{warnings:?}");
    let own = ("headers", r#"{"X-Key":"own"}"#);
    let (options, warnings) = resolved(&[headers], &[ELSEWHERE, ("openai_api_key", "own"), own], &[]).unwrap();
    assert_eq!((options.headers.len(), warnings), (1, vec![]));
    let (options, _) = resolved(&[headers, KEY], &[], &[]).unwrap();
    assert_eq!(options.headers.len(), 1, "it is the configured server");
}

#[test]
fn a_configured_key_for_speech_goes_to_its_own_provider() {
    let speech = |provider| [KEY, ("ai_output", "tts"), ("tts_provider", provider)];
    let url = ("tts_url", "https://elsewhere.example");
    for provider in ["openai", "elevenlabs,openai"] {
        let mut settings = speech(provider).to_vec();
        settings.push(("tts_openai_api_key", "hunter2"));
        assert!(resolved(&settings, &[], &[]).is_ok());
        assert!(resolved(&settings, &[("tts_openai_url", "https://elsewhere.example")], &[]).is_err());
        assert!(resolved(&settings, &[url], &[]).is_err(), "{provider}: the file's key, or the environment's");
        assert!(resolved(&settings, &[("tts_openai_url", "https://api.openai.com/v1")], &[]).is_ok());
        settings.push(("allow_key_to", "https://elsewhere.example"));
        assert!(resolved(&settings, &[url], &[]).is_ok());
    }
    assert!(resolved(&speech("openai"), &[url], &[]).is_ok(), "there is no key to give away");
    let own = [("tts_url", "https://elsewhere.example"), ("tts_api_key", "own"), ("tts_elevenlabs_api_key", "own")];
    assert!(resolved(&speech("elevenlabs"), &own, &[]).is_ok());
    assert!(resolved(&[KEY, ("ai_output", "audio")], &[url], &[]).is_ok(), "nothing is synthesised");
}

#[test]
fn a_secrets_file_can_be_named_in_the_configuration_only() {
    let named = ("openai_api_key", "file:/etc/hostname");
    assert!(OptionValues::default().add(row(named.0).unwrap(), named.1).unwrap_err().to_string().contains("only"));
    let (options, warnings) = resolved(&[], &[], &[("AI_OPENAI_API_KEY", named.1)]).unwrap();
    assert!(options.ai.key.is_none() && warnings[0].contains("audio_stream.conf.xml only"), "{warnings:?}");
}

#[test]
fn a_configured_key_for_transcripts_goes_to_its_own_service() {
    let settings = [("protocol", "deepgram"), ("transcribe_key", "hunter2")];
    let owned = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let doc = ConfigDoc { settings: owned, ..ConfigDoc::default() };
    let (config, _) = Config::load(&doc);
    let given = |pairs: Pairs<'_>| {
        let mut given = OptionValues::default();
        pairs.iter().for_each(|(key, text)| given.add(row(key).unwrap(), text).unwrap());
        resolve_for(StreamMode::Ws, &given, &BTreeMap::new(), &config).is_ok()
    };
    let elsewhere = ("transcribe_url", "wss://elsewhere.example/v1");
    assert!(given(&[]) && given(&[elsewhere, ("transcribe_key", "own")]) && !given(&[elsewhere]));
}
