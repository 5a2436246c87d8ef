//! Where the turns lie in what was said and heard, and the times between.
//!
//! Times are seconds since the call was given to the demonstration, of packets as they crossed and of the service's events as they
//! were written to its socket. Sound is what is louder than -46 dB of full scale.

use std::time::Instant;

use serde_json::Value;

use crate::line::{Event, Packet, RATE};

/// Samples no louder than this are silence.
const QUIET: u16 = 160;
/// A pause longer than this ends an utterance; those within a sentence are shorter.
const PAUSE: f64 = 0.6;

/// Everything recorded of the call.
pub struct Recording {
    /// Time 0.
    pub origin: Instant,
    /// What runs the module.
    pub host: String,
    /// How audio crosses between phone and FreeSWITCH.
    pub medium: String,
    /// Whose voices.
    pub voices: String,
    /// What the phone sent.
    pub said: Vec<Packet>,
    /// What the phone was given.
    pub heard: Vec<Packet>,
    /// The module's events.
    pub events: Vec<Event>,
    /// What the service sent, and received.
    pub service_said: Vec<(Instant, Value)>,
    /// What the service received, without the audio.
    pub service_told: Vec<(Instant, Value)>,
    /// `version`.
    pub version: Value,
}

impl Recording {
    /// Seconds since the origin.
    pub fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// When the service said events of this type.
    pub fn far(&self, kind: &str) -> Vec<(f64, &Value)> {
        let of_kind = self.service_said.iter().filter(|(_, event)| event["type"] == kind);
        of_kind.map(|(at, event)| (self.seconds(*at), event)).collect()
    }

    /// The states reported, and when.
    pub fn states(&self) -> Vec<(f64, String)> {
        let state = |event: &Event| {
            let header = event.headers.iter().find(|(name, _)| name == "Audio-Stream-State")?;
            (event.name == "ai_state").then(|| (self.seconds(event.at), header.1.clone()))
        };
        self.events.iter().filter_map(state).collect()
    }
}

/// What the module says of one turn, ms.
pub struct Told {
    pub answer_ms: Option<u64>,
    pub model_ms: Option<u64>,
    pub silence_ms: Option<u64>,
    pub heard_ms: u64,
}

impl Recording {
    /// What the module says of each turn.
    pub fn told(&self) -> Vec<Told> {
        let turns = self.events.iter().filter(|event| event.name == "ai_turn");
        let told = |event: &Event| {
            let body: Value = serde_json::from_str(event.body.as_deref()?).ok()?;
            Some(Told {
                answer_ms: body["answer_ms"].as_u64(),
                model_ms: body["model_ms"].as_u64(),
                silence_ms: body["silence_ms"].as_u64(),
                heard_ms: body["heard_ms"].as_u64()?,
            })
        };
        turns.filter_map(told).collect()
    }
}

/// One turn of the caller's and the answer to it.
pub struct Turn {
    /// When the caller's speech ended.
    pub said_to: f64,
    /// When it began.
    pub said_from: f64,
    /// When the service had heard the end of it.
    pub stopped: f64,
    /// When it sent the first audio.
    pub first_delta: f64,
    /// When the phone was given the first sound of it, and the last.
    pub heard_from: f64,
    pub heard_to: f64,
    /// The words.
    pub caller: String,
    pub agent: String,
}

impl Turn {
    /// From the end of the caller's speech to the first sound of the answer, ms.
    pub fn to_first_audio(&self) -> f64 {
        (self.heard_from - self.said_to) * 1e3
    }

    /// Of it the service's: the silence it waits for and its thinking, by its own clock.
    pub fn service_ms(&self) -> f64 {
        (self.first_delta - self.said_to) * 1e3
    }

    /// From the service's first audio to the first sound.
    pub fn way_back_ms(&self) -> f64 {
        (self.heard_from - self.first_delta) * 1e3
    }
}

/// The interruption.
pub struct Cut {
    /// When the caller began.
    pub said: f64,
    /// When the service noticed, and said so.
    pub noticed: f64,
    /// When the last sound of the answer was over.
    pub silence: f64,
    /// How much of the answer was heard.
    pub heard_ms: f64,
    /// What the service received about it.
    pub told_ms: u64,
}

impl Cut {
    /// From the service's notice to silence, ms; 0 where it was silent already.
    pub fn to_silence(&self) -> f64 {
        ((self.silence - self.noticed) * 1e3).max(0.0)
    }
}

/// What was measured.
pub struct Figures {
    /// In order.
    pub turns: Vec<Turn>,
    /// How the first answer was cut.
    pub cut: Cut,
    /// Seconds of the call.
    pub length: f64,
}

/// The stretches of sound: from the first to after the last loud sample, each.
fn utterances(call: &Recording, packets: &[Packet]) -> Vec<(f64, f64)> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    for packet in packets {
        let loud = |sample: &i16| sample.unsigned_abs() > QUIET;
        let Some(first) = packet.samples.iter().position(loud) else { continue };
        let last = packet.samples.iter().rposition(loud).unwrap_or(first);
        let at = |sample: usize| call.seconds(packet.at) + sample as f64 / f64::from(RATE);
        match found.last_mut() {
            Some(utterance) if at(first) - utterance.1 < PAUSE => utterance.1 = at(last + 1),
            _ => found.push((at(first), at(last + 1))),
        }
    }
    found
}

/// Finds the turns; an error says what is missing.
pub fn measure(call: &Recording) -> Result<Figures, String> {
    let (said, heard) = (utterances(call, &call.said), utterances(call, &call.heard));
    if said.len() != 2 || heard.len() != 2 {
        return Err(format!("two sentences were to be said and two heard, not {said:?} and {heard:?}"));
    }
    let stopped = call.far("input_audio_buffer.speech_stopped");
    let started = call.far("input_audio_buffer.speech_started");
    let created = call.far("response.created");
    let deltas = call.far("response.output_audio.delta");
    let words = |kind: &str, field: &str, at: usize| {
        call.far(kind).get(at).and_then(|(_, event)| event[field].as_str()).unwrap_or_default().to_owned()
    };
    let (true, true) = (stopped.len() == 2 && started.len() == 2, created.len() == 2) else {
        return Err(format!("the service has heard {} turns and answered {}", stopped.len(), created.len()));
    };
    let turn = |at: usize| {
        let first = deltas.iter().find(|(when, _)| *when >= created[at].0).map(|(when, _)| *when);
        let first_delta = first.ok_or("the service has sent no audio")?;
        Ok::<_, String>(Turn {
            said_from: said[at].0,
            said_to: said[at].1,
            stopped: stopped[at].0,
            first_delta,
            heard_from: heard[at].0,
            heard_to: heard[at].1,
            caller: words("conversation.item.input_audio_transcription.completed", "transcript", at),
            agent: words("response.output_audio_transcript.done", "transcript", at),
        })
    };
    let truncated = call.service_told.iter().find(|(_, event)| event["type"] == "conversation.item.truncate");
    let told = truncated.and_then(|(_, event)| event["audio_end_ms"].as_u64());
    let told_ms = told.ok_or("the service was not told how much was heard")?;
    let cut = Cut {
        said: said[1].0,
        noticed: started[1].0,
        silence: heard[0].1,
        heard_ms: (heard[0].1 - heard[0].0) * 1e3,
        told_ms,
    };
    let length = call.heard.last().map_or(0.0, |packet| call.seconds(packet.at)) + 0.2;
    Ok(Figures { turns: vec![turn(0)?, turn(1)?], cut, length })
}

/// Packets laid out in time, `seconds` long. Those a little early or late follow each other, as a phone plays them.
pub fn laid_out(call: &Recording, packets: &[Packet], seconds: f64) -> Vec<i16> {
    let mut out = vec![0; (seconds * f64::from(RATE)) as usize];
    let mut cursor = 0_usize;
    for packet in packets {
        let due = (call.seconds(packet.at) * f64::from(RATE)) as usize;
        let follows = cursor > 0 && (cursor > due || due - cursor < RATE as usize / 10);
        let from = if follows { cursor } else { due };
        for (place, sample) in out.iter_mut().skip(from).zip(&packet.samples) {
            *place = *sample;
        }
        cursor = from + packet.samples.len();
    }
    out
}
