//! What a session says, piece by piece: words with their times, audio, calls, and the ends of answers.
//!
//! Pure; owned by a session.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::realtime::{Answer, Coding, Pace};

/// Audio in one message, ms.
const CHUNK_MS: u64 = 100;
/// Between messages that come after an interruption.
const LATE: Duration = Duration::from_millis(10);

/// Something that is to be said, in its order.
#[derive(Clone, Debug)]
pub enum Piece {
    Message(Value),
    Audio(Vec<u8>),
    /// The answer is over; these functions are open now.
    Done(Vec<String>),
}

/// An answer that is being said.
#[derive(Debug)]
pub struct Speaking {
    pub reply_id: String,
    /// Its words, and when each has been said, ms.
    words: Vec<(String, u64)>,
    pieces: VecDeque<Piece>,
    pub next: Instant,
    pace: Pace,
    late: u32,
    /// Audio that was sent, ms.
    said_ms: u64,
}

impl Speaking {
    /// This answer, which begins at `at`. `calls`: the ids of its functions.
    pub fn new(at: Instant, reply_id: &str, answer: &Answer, coding: Coding, calls: &[String]) -> Self {
        let mut pieces = VecDeque::from([Piece::Message(json!({"type": "reply.started", "reply_id": reply_id}))]);
        let samples = answer.voice.as_ref().map(|voice| voice.samples(coding.rate())).unwrap_or_default();
        let ms = samples.len() as u64 * 1_000 / u64::from(coding.rate());
        let texts: Vec<&str> = answer.text.split_whitespace().collect();
        let mut words = Vec::new();
        for (at, word) in texts.iter().enumerate() {
            let time = |at: usize| ms * at as u64 / texts.len() as u64;
            words.push(((*word).to_owned(), time(at + 1)));
            pieces.push_back(Piece::Message(json!({"type": "transcript.agent.delta", "delta": word,
                "start_ms": time(at), "end_ms": time(at + 1)})));
        }
        let bytes = coding.encode(&samples);
        pieces.extend(bytes.chunks(coding.bytes(CHUNK_MS)).map(|chunk| Piece::Audio(chunk.to_vec())));
        pieces.extend(answer.calls.iter().zip(calls).map(|(call, id)| Piece::Message(call_of(call, id))));
        pieces.push_back(Piece::Message(json!({"type": "transcript.agent", "text": answer.text, "reply_id": reply_id,
            "item_id": format!("{reply_id}_item"), "interrupted": false})));
        pieces.push_back(Piece::Message(json!({"type": "reply.done", "status": "completed"})));
        pieces.push_back(Piece::Done(calls.to_vec()));
        let reply_id = reply_id.to_owned();
        Self { reply_id, words, pieces, next: at, pace: answer.pace, late: answer.late, said_ms: 0 }
    }

    /// The next piece that is due.
    pub fn take(&mut self, now: Instant, coding: Coding) -> Option<Piece> {
        if self.next > now {
            return None;
        }
        let piece = self.pieces.pop_front()?;
        if let Piece::Audio(bytes) = &piece {
            let ms = coding.ms(bytes.len());
            self.said_ms += ms;
            if let Pace::Times(times) = self.pace {
                self.next += Duration::from_secs_f64(ms as f64 / 1_000.0 / times);
            }
        }
        Some(piece)
    }

    /// Whether anything of it is still to be sent.
    pub fn is_over(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The caller cuts it off: what counts as said, and when audio still comes.
    pub fn cut_off(self, now: Instant) -> (String, Vec<Instant>) {
        let said = self.words.iter().take_while(|(_, end)| *end <= self.said_ms).map(|(word, _)| word.as_str());
        let late = (1..=self.late).map(|number| now + LATE * number).collect();
        (said.collect::<Vec<_>>().join(" "), late)
    }
}

/// A call as the service tells it.
pub fn call_of(call: &crate::realtime::Call, id: &str) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    json!({"type": "tool.call", "call_id": id, "name": call.name, "arguments": arguments})
}
