//! Deepgram as the ear of a conversation: Nova, which ends turns by silence, and Flux, which ends them by meaning.
//!
//! Pure. What is on the wire is in `protocol::transcription::deepgram::wire`; here is what it means for a turn.

use std::time::Duration;

use super::super::options::{Detection, Eagerness};
use super::recogniser::{Asked, Recogniser, Said, Words};
use crate::protocol::excerpt;
use crate::protocol::transcription::deepgram::wire::{self, Message, Results, TurnInfo};
use crate::protocol::transcription::{Recognition, Word};
use crate::units::PcmFormat;

pub(super) const KEY_SCHEME: &str = wire::KEY_SCHEME;

/// Least silence after which Nova says that nobody speaks any more: the service takes no less.
const UTTERANCE_END_MS: u64 = 1_000;
/// Silence after which Flux ends a turn, however sure it is: its own default.
const FLUX_TIMEOUT_MS: u64 = 5_000;
/// Flux: how sure it is to be that a turn is over, before it says that it may be.
const EAGER: &str = "0.5";
/// Beyond the silence that a service waits for: its own time and the network's.
const ON_THE_WAY: Duration = Duration::from_millis(1_500);

pub(super) fn url(model: &str) -> &'static str {
    if wire::is_flux(model) { wire::FLUX_URL } else { wire::URL }
}

pub(super) fn query(asked: &Asked) -> Vec<(&'static str, String)> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let recognition = Recognition { model: some(&asked.model), language: some(&asked.language) };
    let pcm = PcmFormat { rate: asked.format.rate, channels: 1 };
    let mut query = wire::query(asked.format.encoding, pcm, &recognition);
    query.extend(
        asked.prompt.split(',').map(str::trim).filter(|term| !term.is_empty()).map(|term| ("keyterm", term.into())),
    );
    if wire::is_flux(&asked.model) {
        let sure = match (asked.locally(), asked.eagerness) {
            // The module ends the turns.
            (true, _) => Some("1.0"),
            (false, Eagerness::Low) => Some("0.9"),
            (false, Eagerness::Medium) => Some("0.8"),
            (false, Eagerness::High) => Some("0.6"),
            (false, Eagerness::Auto) => None,
        };
        query.extend(sure.map(|sure| ("eot_threshold", sure.to_owned())));
        if asked.locally() {
            query.push(("eot_timeout_ms", "60000".to_owned()));
        }
        if asked.early {
            query.push(("eager_eot_threshold", EAGER.to_owned()));
        }
    } else {
        query.push(("punctuate", "true".to_owned()));
        if !asked.locally() {
            let silence = asked.silence.as_millis().max(10);
            query.push(("endpointing", silence.to_string()));
            query.push(("utterance_end_ms", utterance_end(asked).to_string()));
            query.push(("vad_events", "true".to_owned()));
        }
    }
    query
}

fn utterance_end(asked: &Asked) -> u64 {
    UTTERANCE_END_MS.max(asked.silence.as_millis() as u64)
}

pub(super) fn refuses(asked: &Asked) -> Option<&'static str> {
    (asked.turns == Detection::Semantic && !wire::is_flux(&asked.model))
        .then_some("turn_detection=semantic_vad needs a stt_model of Flux, such as flux-general-en")
}

pub(super) fn make(asked: &Asked) -> Box<dyn Recogniser> {
    if wire::is_flux(&asked.model) {
        Box::new(Flux)
    } else {
        Box::new(Nova { patience: Duration::from_millis(utterance_end(asked)) + ON_THE_WAY })
    }
}

fn read(text: &str) -> Result<Message, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("the text is not a message of Deepgram ({error}): {}", excerpt(text)))
}

/// What both say alike.
fn other(message: Message) -> Option<Said> {
    match message {
        Message::Error { description, code } => {
            let code = code.map_or_else(|| "deepgram".to_owned(), |code| excerpt(&code));
            Some(Said::Refuses { code, message: excerpt(&description) })
        }
        _ => None,
    }
}

/// Beginning and end of what was said, or else of what was listened to.
fn spoken(words: &[Word], span: (u64, u64)) -> (u64, u64) {
    let timed = words.iter().find(|word| word.end_ms > 0).zip(words.iter().rev().find(|word| word.end_ms > 0));
    timed.map_or(span, |(first, last)| (first.start_ms, last.end_ms))
}

/// The Nova models.
#[derive(Debug)]
struct Nova {
    patience: Duration,
}

impl Recogniser for Nova {
    fn read(&self, text: &str) -> Result<Option<Said>, String> {
        Ok(match read(text)? {
            Message::Results(results) => Some(Said::Words(words_of(results))),
            Message::SpeechStarted { timestamp } => Some(Said::Began { at_ms: (timestamp.max(0.0) * 1_000.0) as u64 }),
            Message::UtteranceEnd { .. } => Some(Said::Silence),
            message => other(message),
        })
    }

    fn listens_at_once(&self) -> bool {
        true
    }

    fn tells_early(&self) -> bool {
        false
    }

    fn finish(&self) -> &'static str {
        wire::FINALIZE
    }

    fn keep_alive(&self) -> Option<&'static str> {
        Some(wire::KEEP_ALIVE)
    }

    fn goodbye(&self) -> &'static str {
        wire::CLOSE_STREAM
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

fn words_of(results: Results) -> Words {
    let (is_final, is_over, finished) = (results.is_final(), results.speech_final(), results.from_finalize());
    let span_ms = results.span_ms();
    let (text, _, words) = results.best();
    Words {
        text,
        span_ms,
        spoken_ms: spoken(&words, span_ms),
        is_final,
        seems_over: is_over,
        resumed: false,
        is_over,
        finished,
    }
}

/// The Flux models.
#[derive(Debug)]
struct Flux;

impl Recogniser for Flux {
    fn read(&self, text: &str) -> Result<Option<Said>, String> {
        Ok(match read(text)? {
            Message::TurnInfo(turn) => Some(Said::Words(words_of_turn(turn))),
            Message::Connected => Some(Said::Listens),
            message => other(message),
        })
    }

    fn listens_at_once(&self) -> bool {
        false
    }

    fn tells_early(&self) -> bool {
        true
    }

    fn finish(&self) -> &'static str {
        wire::FORCE_END_TURN
    }

    fn keep_alive(&self) -> Option<&'static str> {
        None
    }

    fn goodbye(&self) -> &'static str {
        wire::CLOSE_STREAM
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(FLUX_TIMEOUT_MS) + ON_THE_WAY
    }
}

fn words_of_turn(turn: TurnInfo) -> Words {
    let span_ms = turn.span_ms();
    let (is_over, seems_over, resumed) = (turn.ends(), turn.event == "EagerEndOfTurn", turn.event == "TurnResumed");
    let text = turn.transcript.clone();
    let spoken_ms = spoken(&turn.words(), span_ms);
    Words { text, span_ms, spoken_ms, is_final: is_over, seems_over, resumed, is_over, finished: is_over }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::engine::InputFormat;
    use super::*;
    use crate::units::{Encoding, SampleRate};

    fn asked(model: &str, turns: Detection) -> Asked {
        Asked {
            model: model.into(),
            language: "de".into(),
            prompt: "Zillow, Ms. Fry".into(),
            format: InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le },
            turns,
            silence: Duration::from_millis(300),
            eagerness: Eagerness::High,
            early: true,
        }
    }

    fn asks(model: &str, turns: Detection) -> String {
        let query = query(&asked(model, turns)).into_iter().map(|(name, value)| format!("{name}={value}"));
        query.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_model_is_asked_for_turns_in_its_own_way() {
        let audio = "encoding=linear16 sample_rate=16000";
        let terms = "keyterm=Zillow keyterm=Ms. Fry";
        let nova = format!("{audio} interim_results=true model=nova-3 language=de {terms} punctuate=true");
        assert_eq!(
            asks("nova-3", Detection::Server),
            format!("{nova} endpointing=300 utterance_end_ms=1000 vad_events=true")
        );
        assert_eq!(asks("nova-3", Detection::Local), nova);
        let flux = format!("{audio} model=flux-general-multi language_hint=de {terms}");
        assert_eq!(
            asks("flux-general-multi", Detection::Semantic),
            format!("{flux} eot_threshold=0.6 eager_eot_threshold=0.5")
        );
        assert_eq!(
            asks("flux-general-multi", Detection::Local),
            format!("{flux} eot_threshold=1.0 eot_timeout_ms=60000 eager_eot_threshold=0.5")
        );
        assert_eq!((url("nova-3"), url("flux-general-en")), (wire::URL, wire::FLUX_URL));
        assert!(refuses(&asked("nova-3", Detection::Semantic)).is_some());
    }

    #[test]
    fn what_is_said_is_read_with_its_times() {
        let nova = make(&asked("nova-3", Detection::Server));
        let text = r#"{"type":"Results","channel_index":[0,1],"start":1,"duration":2,"is_final":true,"speech_final":true,
            "from_finalize":true,"channel":{"alternatives":[{"transcript":"Hi there.","confidence":0.9,"words":[
            {"word":"hi","start":1.2,"end":1.5,"confidence":0.9},{"word":"there","start":1.6,"end":2,"confidence":0.9}]}]}}"#;
        let words = Words {
            text: "Hi there.".into(),
            span_ms: (1_000, 3_000),
            spoken_ms: (1_200, 2_000),
            is_final: true,
            seems_over: true,
            resumed: false,
            is_over: true,
            finished: true,
        };
        assert_eq!(nova.read(text), Ok(Some(Said::Words(words))));
        let started = r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":2.5}"#;
        assert_eq!(nova.read(started), Ok(Some(Said::Began { at_ms: 2_500 })));
        let end = r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":2.5}"#;
        assert_eq!(nova.read(end), Ok(Some(Said::Silence)));
        assert_eq!(nova.read(r#"{"type":"Metadata"}"#), Ok(None));
        assert!(nova.read("Hi.").is_err() && nova.read("{}").is_err());

        let flux = make(&asked("flux-general-en", Detection::Server));
        assert_eq!(flux.read(r#"{"type":"Connected","request_id":"r","sequence_id":0}"#), Ok(Some(Said::Listens)));
        let eager = r#"{"type":"TurnInfo","event":"EagerEndOfTurn","turn_index":0,"audio_window_start":1,
            "audio_window_end":2,"transcript":"Yes.","words":[{"word":"Yes.","confidence":1}],"end_of_turn_confidence":0.5}"#;
        let Ok(Some(Said::Words(words))) = flux.read(eager) else { unreachable!() };
        assert!(words.seems_over && !words.is_final && !words.is_over && words.spoken_ms == (1_000, 2_000));
        let error = r#"{"type":"Error","sequence_id":3,"code":"BAD","description":"no"}"#;
        assert_eq!(flux.read(error), Ok(Some(Said::Refuses { code: "BAD".into(), message: "no".into() })));
    }
}
