//! Speech synthesis against real sockets and real programs: what is heard, by whom it is made, and what failure sounds like.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::support::speech_server::{Answer, Service, SpeechServer, wav};
use crate::support::{audio, deaf_port, signal, tls};
use mod_audio_stream::blocking::{self, Blocking};
use mod_audio_stream::ffi::HostPrograms;
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::SpeechMark;
use mod_audio_stream::transport::{Breakers, HttpClient, ServerGate, TlsProfiles};
use mod_audio_stream::tts::{
    CacheLimits, Exit, Launcher, Process, Programs, Severity, Speech, SpeechError, SpeechEvent, SpeechOptions,
    SpeechReport, SpeechShared, Started,
};
use mod_audio_stream::units::SampleRate;

/// Far beyond anything that should happen: only a hang comes near it.
const PATIENCE: Duration = Duration::from_secs(60);
const ELEVEN: Service = Service::ElevenLabs("eleven-geheim");
const OPENAI: Service = Service::OpenAi("sk-geheim");

pub(crate) fn shared() -> Arc<SpeechShared> {
    let programs = Arc::new(HostPrograms::new(std::env::vars_os()));
    let http = HttpClient::new(TlsProfiles::default(), ServerGate::default());
    SpeechShared::new(http, Launcher::new(programs, Blocking::default()), Arc::default(), CacheLimits::default())
}

pub(crate) fn stream(shared: &Arc<SpeechShared>, rate: u32, pairs: &[(&str, &str)]) -> Speech {
    let mut options = SpeechOptions::default();
    let rows = SpeechOptions::rows();
    for (key, value) in pairs {
        rows.iter().find(|row| row.key == *key).unwrap().set(&mut options, value).unwrap();
    }
    let settings = options.resolve(&|_| None).unwrap();
    Speech::new(Arc::new(settings), Arc::clone(shared), SampleRate::new(rate).unwrap())
}

/// Settings of ElevenLabs at `server`, then `more`.
fn eleven<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("tts_provider", "elevenlabs"),
        ("tts_elevenlabs_url", url),
        ("tts_elevenlabs_api_key", "eleven-geheim"),
        ("tts_elevenlabs_voice", "Rachel"),
    ];
    own.into_iter().chain(more.iter().copied()).collect()
}

fn openai<'a>(url: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("tts_provider", "openai"),
        ("tts_openai_url", url),
        ("tts_openai_api_key", "sk-geheim"),
        ("tts_openai_voice", "alloy"),
        ("tts_openai_model", "some-tts"),
    ];
    own.into_iter().chain(more.iter().copied()).collect()
}

/// What one sentence came to.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) samples: Vec<i16>,
    pub(crate) rate: u32,
    pub(crate) marks: Vec<SpeechMark>,
    switched: Vec<(&'static str, &'static str)>,
    retried: Vec<SpeechError>,
    end: Option<Result<SpeechReport, (SpeechError, bool)>>,
}

impl Heard {
    #[track_caller]
    pub(crate) fn report(&self) -> SpeechReport {
        match &self.end {
            Some(Ok(report)) => report.clone(),
            other => panic!("not spoken: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn error(&self) -> &SpeechError {
        match &self.end {
            Some(Err((error, _))) => error,
            other => panic!("spoken: {other:?}"),
        }
    }
}

pub(crate) async fn next(speech: &mut Speech) -> SpeechEvent {
    tokio::time::timeout(PATIENCE, speech.next()).await.expect("nothing came")
}

/// Listens to the sentence `id` to its end; nothing of another may come before that.
pub(crate) async fn hear(speech: &mut Speech, id: u64) -> Heard {
    let mut heard = Heard::default();
    loop {
        let event = next(speech).await;
        assert_eq!(event.id(), id, "out of order: {event:?}");
        match event {
            SpeechEvent::Switched { from, to, .. } => heard.switched.push((from, to)),
            SpeechEvent::Retried { error, .. } => heard.retried.push(error),
            SpeechEvent::Audio { samples, rate, marks, .. } => {
                heard.marks.extend(marks);
                assert!(heard.rate == 0 || heard.rate == rate.hz(), "the rate changes within a sentence");
                heard.rate = rate.hz();
                heard.samples.extend(samples);
            }
            SpeechEvent::Done { report, .. } => heard.end = Some(Ok(report)),
            SpeechEvent::Failed { error, off, .. } => heard.end = Some(Err((error, off))),
        }
        if heard.end.is_some() {
            return heard;
        }
    }
}

pub(crate) async fn say(speech: &mut Speech, id: u64, text: &str) -> Heard {
    speech.request(id, text);
    hear(speech, id).await
}

/// Nothing comes for a while.
async fn quiet(speech: &mut Speech) {
    let silent = tokio::time::timeout(Duration::from_millis(200), speech.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mod_audio_stream_speech_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn speech_arrives_sample_for_sample_however_it_is_cut() {
    let answers: Vec<_> = [1, 3, 1_023, 40_000].map(|chunk| Answer { chunk, ..Answer::default() }).into();
    let server = SpeechServer::start(ELEVEN, answers);
    let url = server.url(false);
    let shared = shared();
    for (number, (rate, asked_rate)) in
        [(8_000, 8_000), (16_000, 16_000), (32_000, 24_000), (48_000, 24_000)].into_iter().enumerate()
    {
        let mut speech = stream(&shared, rate, &eleven(&url, &[]));
        let heard = say(&mut speech, 5, "How may I help you?").await;
        let asked = server.asked().remove(number);
        assert_eq!(asked.objection, None);
        assert_eq!(asked.path, format!("/v1/text-to-speech/Rachel/stream?output_format=pcm_{asked_rate}"));
        assert!(!heard.samples.is_empty() && heard.samples == asked.samples, "{rate} Hz");
        assert_eq!(heard.rate, asked_rate);
        let report = heard.report();
        assert_eq!((report.provider, report.cached), ("elevenlabs", false));
        assert_eq!(report.spoken, SampleRate::new(asked_rate).unwrap().duration_of(heard.samples.len() as u64));
    }
}

#[tokio::test]
async fn a_provider_gets_the_voice_the_model_and_the_text_before() {
    let server = SpeechServer::start(ELEVEN, [Answer::default()]);
    let url = server.url(false);
    let more = [
        ("tts_model", "a_model"),
        ("tts_stability", "0.5"),
        ("tts_similarity_boost", "0.75"),
        ("tts_speed", "1.125"),
        ("tts_language", "de"),
        ("tts_output_format", "ulaw_8000"),
    ];
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &more));
    let heard = say(&mut speech, 1, "Guten Tag.").await;
    say(&mut speech, 2, "Was \"nun\"?\r\n").await;
    speech.abort_all();
    say(&mut speech, 3, "Neu.").await;
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.objection.is_none()), "{asked:?}");
    assert_eq!((heard.samples, heard.rate), (asked[0].samples.clone(), 8_000));
    let settings = serde_json::json!({"stability": 0.5, "similarity_boost": 0.75, "speed": 1.125});
    assert_eq!(
        asked[0].body,
        serde_json::json!({"text": "Guten Tag.", "model_id": "a_model", "language_code": "de", "voice_settings": settings})
    );
    assert_eq!(
        (&asked[1].body["text"], &asked[1].body["previous_text"]),
        (&"Was \"nun\"?  ".into(), &"Guten Tag.".into())
    );
    assert!(asked[2].body["previous_text"].is_null(), "another turn");
}

#[tokio::test]
async fn a_model_without_context_speaks_every_sentence() {
    // Known by its name, or found out.
    for (model, requests) in [("eleven_v3", 5), ("eleven_v3_conversational", 5), ("no_context", 6)] {
        let server = SpeechServer::start(ELEVEN, [Answer::default()]);
        let url = server.url(false);
        let shared = shared();
        let mut speech = stream(&shared, 8_000, &eleven(&url, &[("tts_model", model), ("tts_cache", "false")]));
        for (id, text) in (1..).zip(["The first sentence.", "The second sentence.", "The third sentence."]) {
            say(&mut speech, id, text).await.report();
        }
        // What one call has found out, the next one knows.
        let mut innocent = stream(&shared, 8_000, &eleven(&url, &[("tts_model", model), ("tts_cache", "false")]));
        say(&mut innocent, 1, "Another call.").await.report();
        say(&mut innocent, 2, "And its second sentence.").await.report();
        let asked = server.asked();
        let objections = asked.iter().filter(|asked| asked.objection.is_some()).count();
        assert_eq!((asked.len(), objections), (requests, requests - 5), "{model}: {asked:?}");
    }
}

#[tokio::test]
async fn a_sentence_refused_for_itself_is_retried_once() {
    let refusal = Answer::refuse(400, r#"{"detail":{"status":"max_character_limit_exceeded","message":"Too long"}}"#);
    let server = SpeechServer::start(ELEVEN, [Answer::default(), refusal]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    say(&mut speech, 1, "The first sentence.").await.report();
    let heard = say(&mut speech, 2, "The second sentence.").await;
    assert_eq!(heard.error().code, "max_character_limit_exceeded");
    let asked = server.asked();
    let context: Vec<_> = asked.iter().map(|asked| asked.body.get("previous_text").is_some()).collect();
    assert_eq!(context, [false, true, false]);
}

#[tokio::test]
async fn a_turn_does_not_go_on_from_the_last() {
    let server = SpeechServer::start(ELEVEN, [Answer::default()]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[("tts_speed", "2")]));
    say(&mut speech, 1, "One.").await.report();
    say(&mut speech, 2, "Two.").await.report();
    speech.begin_turn();
    say(&mut speech, 3, "Three.").await.report();
    let asked = server.asked();
    let context: Vec<_> = asked.iter().map(|asked| asked.body["previous_text"].as_str()).collect();
    assert_eq!(context, [None, Some("One."), None]);
    assert!(asked.iter().all(|asked| asked.objection.is_none()), "the speed is one that it accepts: {asked:?}");
}

#[tokio::test]
async fn compatible_servers_speak_pcm_or_wav() {
    let as_asked = Answer { chunk: 7, ..Answer::default() };
    let wav_anyway = Answer { chunk: 1, wav: true, length: true, ..Answer::default() };
    let server = SpeechServer::start(OPENAI, [as_asked.clone(), as_asked, wav_anyway]);
    let url = server.url(false);
    let shared = shared();
    for (number, format) in ["auto", "wav", "auto"].into_iter().enumerate() {
        let more = [("tts_output_format", format), ("tts_speed", "1.5"), ("tts_instructions", "Whisper.")];
        let mut speech = stream(&shared, 8_000, &openai(&url, &more));
        let heard = say(&mut speech, 1, &format!("Sentence {number}.")).await;
        heard.report();
        let asked = server.asked().remove(number);
        assert_eq!(asked.objection, None);
        assert_eq!((heard.samples, heard.rate), (asked.samples, 24_000));
        let form = if number == 1 { "wav" } else { "pcm" };
        assert_eq!(
            asked.body,
            serde_json::json!({"model": "some-tts", "voice": "alloy", "input": format!("Sentence {number}."),
                "response_format": form, "speed": 1.5, "instructions": "Whisper."})
        );
    }
}

#[tokio::test]
async fn deepgram_and_cartesia_speak_every_format_they_have() {
    let deepgram = SpeechServer::start(Service::Deepgram("dg-geheim"), [Answer { chunk: 7, ..Answer::default() }]);
    let cartesia = SpeechServer::start(Service::Cartesia("ca-geheim"), [Answer { chunk: 7, ..Answer::default() }]);
    let shared = shared();
    for (server, provider, key) in [(&deepgram, "deepgram", "dg-geheim"), (&cartesia, "cartesia", "ca-geheim")] {
        let url = server.url(false);
        for (number, (rate, format, asked_rate)) in
            [(8_000, "auto", 8_000), (16_000, "auto", 16_000), (48_000, "auto", 24_000), (16_000, "ulaw_8000", 8_000)]
                .into_iter()
                .enumerate()
        {
            let settings = [
                ("tts_provider", provider),
                ("tts_url", &url),
                ("tts_api_key", key),
                ("tts_voice", "aura-2-thalia-en"),
                ("tts_model", "sonic-3"),
                ("tts_language", "en"),
                ("tts_speed", "4"),
                ("tts_output_format", format),
            ];
            let mut speech = stream(&shared, rate, &settings);
            let heard = say(&mut speech, 1, &format!("Sentence \"{number}\", said & heard.")).await;
            let asked = server.asked().remove(number);
            assert_eq!(asked.objection, None);
            assert_eq!(heard.report().provider, provider);
            assert!(!heard.samples.is_empty() && heard.samples == asked.samples, "{provider} {rate} {format}");
            assert_eq!(heard.rate, asked_rate, "{provider} {format}");
        }
    }
}

#[tokio::test]
async fn refusals_of_deepgram_and_cartesia_have_their_own_words() {
    for (service, provider, status, code) in [
        (Service::Deepgram("right"), "deepgram", 401, "INVALID_AUTH"),
        (Service::Cartesia("right"), "cartesia", 401, "unauthorized"),
        (Service::Deepgram("wrong"), "deepgram", 400, "INVALID_QUERY_PARAMETER"),
    ] {
        let server = SpeechServer::start(service, [Answer::default()]);
        let url = server.url(false);
        let settings = [
            ("tts_provider", provider),
            ("tts_url", &url),
            ("tts_api_key", "wrong"),
            ("tts_voice", "thalia"),
            ("tts_model", "sonic-3"),
        ];
        let heard = say(&mut stream(&shared(), 8_000, &settings), 1, "Hello.").await;
        let error = heard.error();
        assert_eq!((error.provider, error.status, error.code.as_str()), (provider, Some(status), code));
        assert!(heard.samples.is_empty());
    }
}

#[tokio::test]
async fn audio_is_spoken_with_any_status_of_success() {
    let answers: Vec<_> = [201, 203, 206].map(|status| Answer { status, ..Answer::default() }).into();
    let server = SpeechServer::start(OPENAI, answers);
    let mut speech = stream(&shared(), 8_000, &openai(&server.url(false), &[]));
    for number in 0..3 {
        let heard = say(&mut speech, 1 + number as u64, &format!("This is number {number}.")).await;
        heard.report();
        assert!(!heard.samples.is_empty() && heard.samples == server.asked()[number].samples);
    }
}

#[tokio::test]
async fn the_first_audio_is_heard_while_the_rest_is_still_to_come() {
    let server = SpeechServer::start(ELEVEN, [Answer { stall_after: Some(1_023), ..Answer::default() }]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    speech.request(1, "A sentence that is long enough for several pieces.");
    let SpeechEvent::Audio { samples, .. } = next(&mut speech).await else { panic!("no audio first") };
    assert_eq!(samples, server.asked()[0].samples[..511], "the odd byte waits");
    quiet(&mut speech).await;
    server.go_on();
    let rest = hear(&mut speech, 1).await;
    assert_eq!([samples, rest.samples.clone()].concat(), server.asked()[0].samples);
    rest.report();
}

#[tokio::test]
async fn a_refusal_has_the_providers_words_and_not_the_key() {
    let refusals = [
        Answer::refuse(500, r#"{"error":{"message":"The server had an error","type":"server_error","code":null}}"#),
        Answer::refuse(
            400,
            r#"{"error":{"message":"too long for sk-geheim","type":"invalid_request_error","code":"string_above_max_length"}}"#,
        ),
        // The last: after it the server is left in peace for a while.
        Answer::refuse(
            429,
            r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#,
        ),
    ];
    let server = SpeechServer::start(OPENAI, refusals);
    let url = server.url(false);
    let mut speech = stream(&shared(), 16_000, &openai(&url, &[]));
    for (id, status, code, severity) in [
        (1, 500, "server_error", Severity::Retryable),
        (2, 400, "string_above_max_length", Severity::Text),
        (3, 429, "rate_limit_exceeded", Severity::Retryable),
    ] {
        let heard = say(&mut speech, id, "Hello.").await;
        let error = heard.error();
        assert_eq!(
            (error.provider, error.status, error.code.as_str(), error.severity),
            ("openai", Some(status), code, severity)
        );
        assert!(heard.samples.is_empty() && !format!("{error} {error:?} {speech:?}").contains("geheim"));
    }
    let wrong_key = [("tts_openai_api_key", "sk-falsch")];
    let mut speech = stream(&shared(), 16_000, &openai(&url, &wrong_key));
    let heard = say(&mut speech, 1, "Hello.").await;
    let error = heard.error();
    assert_eq!((error.status, error.code.as_str(), error.severity), (Some(401), "invalid_api_key", Severity::Fatal));
    assert!(error.message.contains("***") && !format!("{error:?}").contains("falsch"), "{error}");
}

#[tokio::test]
async fn a_sentence_one_provider_fails_on_is_spoken_by_the_next() {
    let first = SpeechServer::start(ELEVEN, [Answer::refuse(503, "busy")]);
    let second = SpeechServer::start(OPENAI, [Answer::default()]);
    let (first_url, second_url) = (first.url(false), second.url(false));
    let pairs = [eleven(&first_url, &[]), openai(&second_url, &[("tts_provider", "elevenlabs,openai")])].concat();
    let mut speech = stream(&shared(), 8_000, &pairs);
    for id in 1..=5 {
        let heard = say(&mut speech, id, &format!("Sentence {id}.")).await;
        assert_eq!(heard.report().provider, "openai");
        assert_eq!(heard.samples, second.asked()[id as usize - 1].samples);
        let switched: &[_] = if id == 1 { &[("elevenlabs", "openai")] } else { &[] };
        assert_eq!(heard.switched, switched);
        let told: Vec<_> = heard.retried.iter().map(|error| (error.provider, error.status)).collect();
        assert_eq!(told, if id <= 3 { vec![("elevenlabs", Some(503))] } else { vec![] });
    }
    assert_eq!(first.asked().len(), 3, "three failures in a row, and it is not asked any more");
}

#[tokio::test]
async fn a_refused_key_is_not_tried_again() {
    let first = SpeechServer::start(Service::ElevenLabs("another key"), [Answer::default()]);
    let (url, file) = (first.url(false), Folder::new());
    let spoken = file.file("x.wav");
    std::fs::write(&spoken, wav(16_000, &signal::tone(16_000, 500.0, 100, 9_000.0))).unwrap();
    let command = format!("cat {spoken}");
    let more = [("tts_provider", "elevenlabs,command"), ("tts_command", command.as_str())];
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &more));
    for id in 1..=3 {
        assert_eq!(say(&mut speech, id, &format!("Sentence {id}.")).await.report().provider, "command");
    }
    assert_eq!(first.asked().len(), 1);
}

#[tokio::test]
async fn five_lost_sentences_turn_speech_off_but_not_the_cache() {
    let mut answers = vec![Answer::default()];
    answers.extend(std::iter::repeat_n(Answer::refuse(500, ""), 9));
    let server = SpeechServer::start(ELEVEN, answers);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    let apology = say(&mut speech, 100, "I am sorry.").await;
    apology.report();
    for id in 1..=5 {
        let heard = say(&mut speech, id, &format!("Sentence {id}.")).await;
        let Some(Err((error, off))) = &heard.end else { panic!("spoken: {heard:?}") };
        assert_eq!((error.status, *off), (Some(500), id == 5));
        if id == 5 {
            assert!(audio::amplitude(&heard.samples[..1_000], 8_000, 480.0) > 2_000.0, "the error tone");
        } else {
            assert!(heard.samples.is_empty());
        }
    }
    let heard = say(&mut speech, 6, "Anything else?").await;
    assert_eq!((heard.error().code.as_str(), heard.samples.len()), ("speech_off", 0));
    assert_eq!(server.asked().len(), 6);
    let again = say(&mut speech, 7, "I am sorry.").await;
    assert!(again.report().cached && again.samples == apology.samples);
}

#[tokio::test]
async fn a_server_that_fails_all_streams_is_not_tried_by_any() {
    let server = SpeechServer::start(ELEVEN, [Answer::refuse(500, "")]);
    let url = server.url(false);
    let breakers = Arc::<Breakers>::default();
    let programs = Arc::new(HostPrograms::new(std::env::vars_os()));
    let http = HttpClient::new(TlsProfiles::default(), ServerGate::default());
    let shared =
        SpeechShared::new(http, Launcher::new(programs, Blocking::default()), breakers.clone(), CacheLimits::default());
    for id in 1..=5 {
        let mut speech = stream(&shared, 8_000, &eleven(&url, &[]));
        assert_eq!(say(&mut speech, id, "Hello.").await.error().status, Some(500));
    }
    let mut speech = stream(&shared, 8_000, &eleven(&url, &[]));
    assert_eq!(say(&mut speech, 6, "Hello.").await.error().code, "breaker_open");
    assert_eq!(server.asked().len(), 5);
    let report = breakers.report(std::time::Instant::now());
    assert_eq!((report.len(), report[0].state.as_str()), (1, "open"));
    assert_eq!(report[0].place, format!("elevenlabs {}", server.address));
}

#[tokio::test]
async fn a_provider_that_is_late_or_stops_has_failed() {
    let slow = Answer { first_wait: Duration::from_secs(100), ..Answer::default() };
    let stops = Answer { stall_after: Some(2_046), ..Answer::default() };
    let never_begins = Answer { stall_after: Some(0), ..Answer::default() };
    let server = SpeechServer::start(ELEVEN, [slow, never_begins, stops]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[("tts_timeout_ms", "2000")]));
    for (id, samples) in [(1, 0), (2, 0), (3, 1_023)] {
        let heard = say(&mut speech, id, "A sentence that is long enough for several pieces.").await;
        let error = heard.error();
        assert_eq!((error.code.as_str(), error.severity), ("timeout", Severity::Retryable));
        assert_eq!(heard.samples.len(), samples);
        server.wait_dropped(id as usize - 1);
    }
}

#[tokio::test]
async fn a_hang_up_in_the_middle_is_a_failure_and_is_not_kept() {
    for length in [false, true] {
        let hang_up = Answer { hang_up_after: Some(2_046), length, ..Answer::default() };
        let server = SpeechServer::start(ELEVEN, [hang_up, Answer::default()]);
        let url = server.url(false);
        let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
        let heard = say(&mut speech, 1, "A sentence that is long enough.").await;
        assert_eq!(heard.error().code, "connection_lost");
        assert_eq!(heard.samples, server.asked()[0].samples[..1_023]);
        let heard = say(&mut speech, 2, "A sentence that is long enough.").await;
        assert!(!heard.report().cached);
        assert_eq!(heard.samples, server.asked()[1].samples);
    }
}

#[tokio::test]
async fn what_is_no_audio_is_not_played() {
    for (form, bytes) in [
        ("text/html", b"<html>welcome</html>".to_vec()),
        ("application/json", b"{\"ok\":true}".to_vec()),
        ("audio/mpeg", b"ID3\x04\0\0\0\0\0\0....".to_vec()),
        ("audio/wav", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0\x80\xbb\0\0\0\0\0\0\x04\0\x20\0data".to_vec()),
        ("audio/pcm", Vec::new()),
    ] {
        let server =
            SpeechServer::start(OPENAI, [Answer { instead: Some((form, bytes.clone())), ..Answer::default() }]);
        let url = server.url(false);
        let mut speech = stream(&shared(), 8_000, &openai(&url, &[]));
        let heard = say(&mut speech, 1, "Hello.").await;
        let code = if bytes.is_empty() { "no_audio" } else { "bad_audio" };
        assert_eq!((heard.error().code.as_str(), heard.samples.len()), (code, 0), "{form}");
    }
}

#[tokio::test]
async fn an_abort_drops_the_request_and_nothing_of_it_is_heard() {
    let stalls = Answer { stall_after: Some(4_092), ..Answer::default() };
    let server = SpeechServer::start(ELEVEN, [stalls.clone(), stalls, Answer::default()]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    speech.request(1, "A sentence that is long enough for several pieces.");
    assert!(matches!(next(&mut speech).await, SpeechEvent::Audio { id: 1, .. }));
    speech.abort(1);
    quiet(&mut speech).await;
    server.wait_dropped(0);
    speech.request(2, "Another sentence that is long enough for several pieces.");
    assert!(matches!(next(&mut speech).await, SpeechEvent::Audio { id: 2, .. }));
    speech.request(3, "Never asked for, since it goes with the rest.");
    speech.abort_all();
    assert_eq!(speech.depth(), 0);
    quiet(&mut speech).await;
    server.wait_dropped(1);
    let heard = say(&mut speech, 4, "The next turn.").await;
    assert_eq!(heard.samples, server.asked().pop().unwrap().samples);
    heard.report();
    drop(speech);
}

#[tokio::test]
async fn the_next_sentence_is_synthesised_ahead_and_heard_in_order() {
    let stalls = Answer { stall_after: Some(1_023), ..Answer::default() };
    let server = SpeechServer::start(ELEVEN, [stalls, Answer::default()]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    speech.request(1, "The first of several sentences.");
    assert!(matches!(next(&mut speech).await, SpeechEvent::Audio { id: 1, .. }));
    speech.request(2, "The second one.");
    speech.request(3, "The third one.");
    quiet(&mut speech).await;
    while server.asked().len() < 2 {
        quiet(&mut speech).await;
    }
    quiet(&mut speech).await;
    assert_eq!(server.asked().len(), 2, "one ahead and no more");
    server.go_on();
    for id in 1..=3 {
        let heard = hear(&mut speech, id).await;
        heard.report();
        let asked = server.asked().remove(id as usize - 1).samples;
        assert!(asked.ends_with(&heard.samples));
    }
}

#[tokio::test]
async fn what_was_made_once_is_heard_again_bit_for_bit() {
    let server = SpeechServer::start(ELEVEN, [Answer::default()]);
    let url = server.url(false);
    let shared = shared();
    let first = say(&mut stream(&shared, 8_000, &eleven(&url, &[])), 1, "Welcome.").await;
    let second = say(&mut stream(&shared, 8_000, &eleven(&url, &[])), 2, "Welcome.").await;
    assert!(!first.report().cached && second.report().cached && first.samples == second.samples);
    for (rate, more) in [
        (16_000, vec![]),
        (8_000, vec![("tts_elevenlabs_voice", "Adam")]),
        (8_000, vec![("tts_stability", "0.1")]),
        (8_000, vec![("tts_cache", "false")]),
    ] {
        let other = say(&mut stream(&shared, rate, &eleven(&url, &more)), 3, "Welcome.").await;
        assert!(!other.report().cached && other.samples != first.samples, "{rate} {more:?}");
    }
    assert_eq!(server.asked().len(), 5);
    let stats = shared.cache_stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 4, 4));
}

#[tokio::test]
async fn a_sentence_wanted_twice_is_made_once_even_if_the_first_goes() {
    let server = SpeechServer::start(ELEVEN, [Answer { stall_after: Some(1_023), ..Answer::default() }]);
    let url = server.url(false);
    let shared = shared();
    let mut first = stream(&shared, 8_000, &eleven(&url, &[]));
    let mut second = stream(&shared, 8_000, &eleven(&url, &[]));
    first.request(1, "Welcome to the hotel of the forests.");
    assert!(matches!(next(&mut first).await, SpeechEvent::Audio { .. }));
    second.request(9, "Welcome to the hotel of the forests.");
    let SpeechEvent::Audio { samples, .. } = next(&mut second).await else { panic!("no audio") };
    first.abort_all();
    quiet(&mut second).await;
    server.go_on();
    let rest = hear(&mut second, 9).await;
    rest.report();
    assert_eq!([samples, rest.samples].concat(), server.asked()[0].samples);
    assert_eq!((server.asked().len(), shared.cache_stats().joined), (1, 1));
}

#[tokio::test]
async fn a_sentence_can_be_made_before_it_is_needed() {
    let server = SpeechServer::start(ELEVEN, [Answer::default(), Answer::refuse(500, "")]);
    let url = server.url(false);
    let shared = shared();
    let mut speech = stream(&shared, 8_000, &eleven(&url, &[]));
    speech.prepare("I am sorry.");
    while shared.cache_stats().entries == 0 {
        quiet(&mut speech).await;
    }
    let heard = say(&mut speech, 1, "I am sorry.").await;
    assert!(heard.report().cached && heard.samples == server.asked()[0].samples);
}

#[tokio::test]
async fn connections_are_kept_and_a_dead_one_is_replaced() {
    let closes = Answer { close: true, ..Answer::default() };
    let server = SpeechServer::start(ELEVEN, [Answer::default(), Answer::default(), closes, Answer::default()]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    for id in 1..=5 {
        say(&mut speech, id, &format!("Sentence {id}.")).await.report();
    }
    let connections: Vec<_> = server.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1]);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn the_key_goes_only_to_whom_the_authority_vouches_for() {
    let (authority, folder) = (tls::Authority::new(), Folder::new());
    let config = tls::server_config(&authority.server(&["127.0.0.1"]), None);
    let server = SpeechServer::start_with(OPENAI, [Answer::default()], Some(config));
    let url = server.url(true);
    let ours = authority.write(&folder.0, "ca");
    let theirs = tls::Authority::new().write(&folder.0, "other");
    let shared = shared();
    let mut speech = stream(&shared, 8_000, &openai(&url, &[("tts_ca_file", ours.to_str().unwrap())]));
    for id in 1..=2 {
        let heard = say(&mut speech, id, &format!("Sentence {id}.")).await;
        heard.report();
        assert_eq!(heard.samples, server.asked()[id as usize - 1].samples);
    }
    assert_eq!(server.connections(), 1, "one handshake for both");
    let mut speech = stream(&shared, 8_000, &openai(&url, &[("tts_ca_file", theirs.to_str().unwrap())]));
    let heard = say(&mut speech, 3, "Sentence 3.").await;
    assert_eq!(heard.error().code, "connect_failed");
    assert!(heard.error().message.contains("TLS handshake"), "{}", heard.error());
    assert_eq!(server.asked().len(), 2, "nothing was asked of somebody unknown");
}

#[tokio::test]
async fn nobody_there_is_a_failure_with_a_name() {
    let (_reserved, port) = deaf_port();
    let closed = format!("127.0.0.1:{port}");
    let url = format!("http://{closed}");
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    let heard = say(&mut speech, 1, "Hello.").await;
    assert_eq!((heard.error().code.as_str(), heard.error().severity), ("connect_failed", Severity::Retryable));
    assert!(heard.error().message.contains(&closed));
}

#[tokio::test]
async fn a_program_speaks_wav_or_raw_pcm() {
    let folder = Folder::new();
    let tone = signal::tone(22_050, 700.0, 300, 9_000.0);
    let file = folder.file("a tone.wav");
    std::fs::write(&file, wav(22_050, &tone)).unwrap();
    let shared = shared();
    let command = format!("cat \"{file}\"");
    let heard = say(&mut stream(&shared, 8_000, &[("tts_command", &command)]), 1, "Hello.").await;
    assert_eq!((heard.report().provider, heard.rate), ("command", 22_050));
    assert_eq!(heard.samples, tone);
    // Says what it reads, as samples.
    for (pairs, rate) in [(vec![], 16_000), (vec![("tts_command_rate", "11025")], 11_025)] {
        let pairs = [vec![("tts_command", "cat")], pairs].concat();
        let heard = say(&mut stream(&shared, 16_000, &pairs), 1, "$(touch x); `id` \"quote\"").await;
        let spoken: Vec<u8> = heard.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!((String::from_utf8(spoken).unwrap().as_str(), heard.rate), ("$(touch x); `id` \"quote\"", rate));
    }
    let heard = say(&mut stream(&shared, 8_000, &[("tts_command", "printf %s {text}")]), 1, "; echo $HOME|*").await;
    let spoken: Vec<u8> = heard.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(spoken, b"; echo $HOME|*");
}

#[tokio::test]
async fn the_offline_voice_speaks() {
    let shared = shared();
    let text = "The quick brown fox jumps over the lazy dog.";
    let normal = say(&mut stream(&shared, 8_000, &[]), 1, text).await;
    let spoken = normal.report().spoken;
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&spoken), "{spoken:?}");
    assert!(audio::rms(&normal.samples) > 500.0 && normal.rate == 22_050);
    let fast = say(&mut stream(&shared, 8_000, &[("tts_speed", "1.8")]), 1, text).await;
    assert!(fast.report().spoken < spoken * 3 / 4, "{:?} of {spoken:?}", fast.report().spoken);
    let again = say(&mut stream(&shared, 8_000, &[]), 1, text).await;
    assert!(again.report().cached && again.samples == normal.samples);
}

#[tokio::test]
async fn a_program_that_fails_says_why() {
    let shared = shared();
    for (command, code, message, severity) in [
        ("no-such-program-here", "command_failed", "cannot start no-such-program-here", Severity::Fatal),
        (
            "sh -c 'echo no voice >&2; exit 3'",
            "command_failed",
            "sh ended with status 3: no voice",
            Severity::Retryable,
        ),
        ("sh -c 'kill -9 $$'", "command_failed", "killed by signal 9", Severity::Retryable),
        ("true", "no_audio", "no audio", Severity::Retryable),
        ("sleep 100", "timeout", "wrote nothing for 500 ms", Severity::Retryable),
        ("yes", "too_long", "more than 300 s", Severity::Text),
    ] {
        // A busy machine takes its time to start a program.
        let timeout = if code == "timeout" { "500" } else { "30000" };
        let pairs = [("tts_command", command), ("tts_timeout_ms", timeout)];
        let heard = say(&mut stream(&shared, 8_000, &pairs), 1, "Hello.").await;
        let error = heard.error();
        assert_eq!((error.code.as_str(), error.severity), (code, severity), "{command}: {error}");
        assert!(error.message.contains(message), "{error}");
    }
}

#[tokio::test]
async fn an_abort_kills_the_program_and_all_it_started() {
    let folder = Folder::new();
    let pids = folder.file("pids");
    let command = format!("sh -c 'sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; cat; wait'");
    let mut speech = stream(&shared(), 8_000, &[("tts_command", &command)]);
    speech.request(1, "Hello.");
    assert!(matches!(next(&mut speech).await, SpeechEvent::Audio { id: 1, .. }));
    let pids = std::fs::read_to_string(&pids).unwrap();
    let running = |pid: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert_eq!(pids.split_whitespace().filter(running).count(), 2);
    speech.abort(1);
    let end = tokio::time::Instant::now() + PATIENCE;
    while pids.split_whitespace().any(|pid| running(&pid)) {
        assert!(tokio::time::Instant::now() < end, "still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    quiet(&mut speech).await;
}

/// Programs on a disk that hangs until it answers.
struct OnDisk {
    answers: AtomicBool,
    programs: HostPrograms,
    started: AtomicU32,
    ended: Arc<AtomicU32>,
}

struct Counted(Box<dyn Process>, Arc<AtomicU32>);

impl Programs for OnDisk {
    fn start(&self, argv: &[String]) -> std::io::Result<Started> {
        while !self.answers.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let started = self.programs.start(argv)?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Started { process: Box::new(Counted(started.process, Arc::clone(&self.ended))), ..started })
    }
}

impl Process for Counted {
    fn exit(&mut self) -> Option<Exit> {
        self.0.exit()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn programs_that_hang_delay_no_look_up_and_are_ended() {
    let server = SpeechServer::start(ELEVEN, [Answer::default()]);
    let url = server.url(false).replace("127.0.0.1", "localhost");
    let disk = Arc::new(OnDisk {
        answers: AtomicBool::new(false),
        programs: HostPrograms::new(std::env::vars_os()),
        started: AtomicU32::new(0),
        ended: Arc::default(),
    });
    let blocking = Blocking::default();
    let http = HttpClient::new(TlsProfiles::default(), ServerGate::new(blocking.clone()));
    let launcher = Launcher::new(disk.clone(), blocking.clone());
    let shared = SpeechShared::new(http, launcher, Arc::default(), CacheLimits::default());
    // What one program may take.
    let places = blocking::Kind::Programs.places() / 2;
    let options = [("tts_command", "sleep 1000"), ("tts_timeout_ms", "500"), ("tts_cache", "false")];
    let mut stuck: Vec<_> = (0..places + 2).map(|_| stream(&shared, 8_000, &options)).collect();
    for speech in &mut stuck {
        speech.request(1, "Hello.");
    }
    let all = stuck.iter_mut().map(|speech| hear(speech, 1));
    let (all, innocent) = tokio::join!(futures_util::future::join_all(all), async {
        say(&mut stream(&shared, 8_000, &eleven(&url, &[])), 1, "Good morning.").await
    });
    assert_eq!(innocent.samples, server.asked()[0].samples);
    for heard in &all {
        let error = heard.error();
        assert!(error.code == "timeout" && error.message.contains("could not be started"), "{error:?}");
    }
    assert_eq!(blocking.load(blocking::Kind::Programs).running, places, "what hangs keeps its place");
    disk.answers.store(true, Ordering::Relaxed);
    let end = tokio::time::Instant::now() + PATIENCE;
    let counts = || (disk.started.load(Ordering::Relaxed) as usize, disk.ended.load(Ordering::Relaxed) as usize);
    while counts() != (places, places) {
        assert!(tokio::time::Instant::now() < end, "{:?} of {places} that nobody waits for have ended", counts());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn more_sentences_than_can_wait_are_refused_one_by_one() {
    let server = SpeechServer::start(ELEVEN, [Answer { stall_after: Some(0), ..Answer::default() }]);
    let url = server.url(false);
    let mut speech = stream(&shared(), 8_000, &eleven(&url, &[]));
    for id in 0..65 {
        speech.request(id, &format!("Sentence {id}."));
    }
    let SpeechEvent::Failed { id: 64, error, .. } = next(&mut speech).await else { panic!("not refused") };
    assert_eq!((error.code.as_str(), speech.depth()), ("queue_full", 64));
    quiet(&mut speech).await;
}
