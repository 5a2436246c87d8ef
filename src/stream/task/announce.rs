//! What the operator has said on a stream to a server: a text, sentence by sentence, to the synthesis and into the playback queue.
//!
//! The synthesis is made with the first text. The end of the text is that of its last sentence: until then the server's audio
//! waits. A sentence that nobody can speak is an `error` event, and the next one follows.

use std::sync::Arc;
use std::time::Instant;

use super::Task;
use crate::conversation::Synthesis;
use crate::peer::{AiEvent, Event};
use crate::tts::SpeechEvent;

impl Task {
    /// Has a text said.
    pub(super) fn announce(&mut self, text: &str, now: Instant) {
        let ai = &self.handle.spec.options.ai;
        let sentences = ai.speaking.sentences().sentences(text);
        if self.synthesis.is_none() {
            let settings = match ai.speech() {
                Ok(settings) => Arc::new(settings),
                Err(missing) => return self.fault(&missing.to_string(), now),
            };
            let (polish, rate) = (ai.speaking.polish.settings(), self.handle.media.playout.wanted_rate());
            self.synthesis = Some(Box::new(Synthesis::new(settings, self.speech.clone(), polish, rate, Vec::new())));
        }
        let Some(synthesis) = &mut self.synthesis else { return };
        for (at, sentence) in sentences.iter().enumerate() {
            self.said += 1;
            synthesis.request(self.said, sentence, at == 0);
        }
    }

    /// Something has come of a sentence.
    pub(super) fn announced(&mut self, event: SpeechEvent, now: Instant) {
        let Some(synthesis) = &mut self.synthesis else { return };
        let samples = match &event {
            SpeechEvent::Audio { samples, rate, .. } => synthesis.polish(samples, *rate),
            SpeechEvent::Done { .. } | SpeechEvent::Failed { .. } => synthesis.tail(),
            SpeechEvent::Switched { .. } | SpeechEvent::Retried { .. } => return,
        };
        let (rate, over) = (synthesis.rate(), synthesis.is_idle());
        if !samples.is_empty() {
            self.playback.announce(now, &samples, rate);
        }
        match event {
            SpeechEvent::Audio { .. } => return,
            SpeechEvent::Failed { text, error, latency, .. } => {
                let message = error.to_string();
                self.note(Event::Ai(AiEvent::SpeechFailed { text, code: error.code, message, latency }), now);
            }
            _ => {}
        }
        if over {
            self.playback.announced(now);
        }
    }

    /// What the operator has had said is not wanted any more, as far as it has not been queued.
    pub(super) fn drop_announcement(&mut self) {
        if let Some(synthesis) = &mut self.synthesis {
            synthesis.abort_all();
        }
    }
}
