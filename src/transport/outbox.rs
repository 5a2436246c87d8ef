//! The queue between a stream and its socket: first in, first out, bounded; when full the oldest audio goes.
//!
//! Owned by the stream's task, on its worker; nobody else touches it, so it needs no lock and nobody ever waits for
//! the network in it. Bounded three ways: audio by its duration (the oldest is dropped and counted: of audio that is
//! late anyway the newest is worth most), texts and control messages by number and by bytes (the newest is refused,
//! so that its sender learns of it). What the socket has taken is out of reach and is never dropped.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The bounds of an [`Outbox`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxLimits {
    /// Most audio waiting; one message is always kept, however long.
    pub max_audio: Duration,
    /// Most messages waiting that are not audio.
    pub max_texts: usize,
    /// Most bytes in them.
    pub max_text_bytes: usize,
}

impl Default for OutboxLimits {
    /// 5 s of audio; 1 000 other messages of 1 MiB together.
    fn default() -> Self {
        Self { max_audio: Duration::from_secs(5), max_texts: 1_000, max_text_bytes: 1 << 20 }
    }
}

/// What one message carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Payload {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// The server takes no more messages; the message was not queued. Report it to its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server is not reading: {waiting} messages of {bytes} bytes are waiting for it")]
pub struct OutboxFull {
    /// Messages waiting, audio not counted.
    pub waiting: usize,
    /// Bytes in them.
    pub bytes: usize,
}

/// Counts since the outbox was made, and its present state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OutboxStats {
    /// Audio messages handed to the socket.
    pub audio_sent: u64,
    /// Other messages handed to the socket.
    pub texts_sent: u64,
    /// Payload bytes handed to the socket.
    pub bytes_sent: u64,
    /// Audio messages dropped because the server reads too slowly.
    pub audio_dropped: u64,
    /// Their duration.
    pub dropped: Duration,
    /// Audio waiting now.
    pub waiting: Duration,
}

#[derive(Debug)]
struct Entry {
    payload: Payload,
    /// How long its audio lasts; `None` for everything else.
    audio: Option<Duration>,
}

/// The queue of one connection, kept over reconnects.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    queue: VecDeque<Entry>,
    audio_waiting: usize,
    texts_waiting: usize,
    text_bytes: usize,
    stats: OutboxStats,
}

impl Outbox {
    /// An empty queue; it takes memory only as messages wait.
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            audio_waiting: 0,
            texts_waiting: 0,
            text_bytes: 0,
            stats: OutboxStats::default(),
        }
    }

    /// Queues audio that lasts `duration`; returns how many older audio messages it pushed out.
    pub fn push_audio(&mut self, payload: Payload, duration: Duration) -> usize {
        self.queue.push_back(Entry { payload, audio: Some(duration) });
        self.audio_waiting += 1;
        self.stats.waiting += duration;
        let mut dropped = 0;
        while self.stats.waiting > self.limits.max_audio && self.audio_waiting > 1 {
            if !self.drop_oldest_audio() {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    /// Queues a text or control message behind everything that waits.
    ///
    /// Errors when the bounds are reached: the server does not read. Nothing is queued then.
    pub fn push(&mut self, payload: Payload) -> Result<(), OutboxFull> {
        let bytes = self.text_bytes + payload.len();
        if self.texts_waiting >= self.limits.max_texts || bytes > self.limits.max_text_bytes {
            return Err(OutboxFull { waiting: self.texts_waiting, bytes: self.text_bytes });
        }
        self.text_bytes = bytes;
        self.texts_waiting += 1;
        self.queue.push_back(Entry { payload, audio: None });
        Ok(())
    }

    /// Everything that waits, for a connection that is closed beside the next one; the counts stay here.
    pub fn hand_over(&mut self) -> Self {
        let mut other = Self::new(self.limits);
        std::mem::swap(&mut self.queue, &mut other.queue);
        (other.audio_waiting, other.texts_waiting, other.text_bytes) =
            (self.audio_waiting, self.texts_waiting, self.text_bytes);
        other.stats.waiting = self.stats.waiting;
        self.clear();
        other
    }

    /// Drops everything, as when a reconnected protocol starts over.
    pub fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.audio_waiting = 0;
        self.texts_waiting = 0;
        self.text_bytes = 0;
        self.stats.waiting = Duration::ZERO;
    }

    /// Messages waiting that are not audio.
    pub fn texts_waiting(&self) -> usize {
        self.texts_waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Messages waiting, of all kinds.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Counts and state.
    pub fn stats(&self) -> OutboxStats {
        self.stats
    }

    /// The oldest message, for the socket.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let entry = self.queue.pop_front()?;
        // After a stall the queue's memory goes back.
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        self.stats.bytes_sent += entry.payload.len() as u64;
        match entry.audio {
            Some(duration) => {
                self.audio_waiting -= 1;
                self.stats.waiting -= duration;
                self.stats.audio_sent += 1;
            }
            None => {
                self.texts_waiting -= 1;
                self.text_bytes -= entry.payload.len();
                self.stats.texts_sent += 1;
            }
        }
        Some(match entry.payload {
            Payload::Text(text) => Message::Text(Utf8Bytes::from(text)),
            Payload::Binary(bytes) => Message::Binary(Bytes::from(bytes)),
        })
    }

    fn drop_oldest_audio(&mut self) -> bool {
        // Texts in front of it are few: they are bounded in number.
        let Some(at) = self.queue.iter().position(|entry| entry.audio.is_some()) else { return false };
        let Some(duration) = self.queue.remove(at).and_then(|entry| entry.audio) else { return false };
        self.audio_waiting -= 1;
        self.stats.waiting -= duration;
        self.stats.audio_dropped += 1;
        self.stats.dropped += duration;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn limits(max_audio_ms: u64) -> OutboxLimits {
        OutboxLimits { max_audio: Duration::from_millis(max_audio_ms), max_texts: 3, max_text_bytes: 100 }
    }

    fn audio(n: u8) -> Payload {
        Payload::Binary(vec![n; 320])
    }

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop())
            .map(|message| match message {
                Message::Text(text) => text.to_string(),
                Message::Binary(bytes) => bytes[0].to_string(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn finding_012_backpressure_never_blocks_the_media_thread() {
        // A server that never reads: an hour of audio is pushed without waiting, in bounded memory.
        let mut outbox = Outbox::new(limits(1_000));
        for n in 0..180_000u32 {
            outbox.push_audio(audio((n % 251) as u8), FRAME);
            assert!(outbox.len() <= 50);
        }
        let stats = outbox.stats();
        assert_eq!((stats.audio_dropped, stats.waiting), (180_000 - 50, Duration::from_secs(1)));
        assert_eq!(stats.dropped, FRAME * (180_000 - 50));
        let newest: Vec<String> = (180_000 - 50..180_000u32).map(|n| (n % 251).to_string()).collect();
        assert_eq!(drain(&mut outbox), newest);
    }

    #[test]
    fn texts_are_never_dropped_or_overtaken() {
        let mut outbox = Outbox::new(limits(40));
        outbox.push(Payload::Text("first".into())).unwrap();
        outbox.push_audio(audio(1), FRAME);
        outbox.push(Payload::Text("second".into())).unwrap();
        for n in 2..6 {
            outbox.push_audio(audio(n), FRAME);
        }
        outbox.push(Payload::Text("third".into())).unwrap();
        assert_eq!(drain(&mut outbox), ["first", "second", "4", "5", "third"]);
    }

    #[test]
    fn texts_are_bounded_and_the_sender_learns_of_it() {
        let mut outbox = Outbox::new(limits(40));
        assert!(outbox.push(Payload::Text("x".repeat(101))).is_err());
        outbox.push(Payload::Text("x".repeat(99))).unwrap();
        assert_eq!(outbox.push(Payload::Text("xx".into())), Err(OutboxFull { waiting: 1, bytes: 99 }));
        drain(&mut outbox);
        for _ in 0..3 {
            outbox.push(Payload::Text(String::new())).unwrap();
        }
        assert!(outbox.push(Payload::Text(String::new())).is_err());
        drain(&mut outbox);
        assert!(outbox.push(Payload::Text("x".repeat(100))).is_ok(), "room comes back as messages go");
    }

    #[test]
    fn one_message_is_kept_even_when_longer_than_the_limit() {
        let mut outbox = Outbox::new(limits(0));
        assert_eq!(outbox.push_audio(audio(1), FRAME), 0);
        assert_eq!(outbox.push_audio(audio(2), FRAME), 1);
        assert_eq!(drain(&mut outbox), ["2"]);
    }

    proptest! {
        /// Against a model: what comes out is what went in, in order, without the audio that was counted as dropped.
        #[test]
        fn order_is_kept_and_every_loss_is_counted(
            steps in proptest::collection::vec((0u8..3, 1u64..60), 0..200), max in 0u64..300,
        ) {
            let mut outbox = Outbox::new(OutboxLimits { max_texts: 1_000, max_text_bytes: 100_000, ..limits(max) });
            let (mut pushed, mut popped, mut audio_pushed) = (Vec::new(), Vec::new(), 0u64);
            let mut next = |step: u8| { let id = format!("{step}:{}", pushed.len()); pushed.push(id.clone()); id };
            for (step, ms) in steps {
                match step {
                    0 => {
                        audio_pushed += 1;
                        outbox.push_audio(Payload::Text(next(0)), Duration::from_millis(ms));
                    }
                    1 => outbox.push(Payload::Text(next(1))).unwrap(),
                    _ => popped.extend(outbox.pop().map(|message| message.to_string())),
                }
            }
            popped.extend(std::iter::from_fn(|| outbox.pop()).map(|message| message.to_string()));
            let stats = outbox.stats();
            prop_assert_eq!(stats.audio_sent + stats.audio_dropped, audio_pushed);
            let mut wanted = pushed.iter();
            for id in &popped {
                let skipped: Vec<_> = wanted.by_ref().take_while(|other| *other != id).collect();
                prop_assert!(skipped.iter().all(|id| id.starts_with('0')), "a text was lost: {:?}", skipped);
            }
            prop_assert!(wanted.all(|id| id.starts_with('0')));
            prop_assert_eq!(pushed.len() - popped.len(), stats.audio_dropped as usize);
        }
    }
}
