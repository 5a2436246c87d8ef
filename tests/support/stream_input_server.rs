//! ElevenLabs' `stream-input` to test with: strict about what it is sent, and misbehaving to order.
//!
//! One named thread runs all connections. What a piece sounds like follows from its text and its place, so that a recording shows
//! which pieces were heard; how long each character takes is [`lasts`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::{signal, wait_for};

/// How long the voice takes for a character, ms: no average tells where it is, since it pauses at commas.
pub const fn lasts(c: char) -> u32 {
    match c {
        ' ' => 0,
        ',' => 600,
        _ => 60,
    }
}

/// How a connection behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manner {
    /// As it should.
    #[default]
    Well,
    /// No message has an alignment.
    WithoutAlignment,
    /// It refuses the account after the first piece of text.
    Refuses,
    /// It says no more than the first ten characters of each piece.
    Stalls,
    /// It closes the connection in the middle of the first piece.
    HangsUp,
}

/// A piece of text, and what was made of it.
#[derive(Clone, Debug)]
pub struct Spoken {
    pub connection: usize,
    pub text: String,
    pub samples: Vec<i16>,
    pub rate: u32,
}

/// A running server; dropping it closes its sockets.
pub struct StreamInputServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    key: &'static str,
    manner: Manner,
    spoken: Mutex<Vec<Spoken>>,
    /// How each connection ended; `None` while it is up.
    ended: Mutex<Vec<Option<&'static str>>>,
    objections: Mutex<Vec<String>>,
}

impl StreamInputServer {
    pub fn start(key: &'static str, manner: Manner) -> Self {
        let shared = Arc::new(Shared {
            key,
            manner,
            spoken: Mutex::default(),
            ended: Mutex::default(),
            objections: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("stream-input".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, of_thread) => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    /// What is configured as `tts_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every piece so far.
    pub fn spoken(&self) -> Vec<Spoken> {
        self.shared.spoken.lock().clone()
    }

    /// What was wrong with what it was sent.
    pub fn objections(&self) -> Vec<String> {
        self.shared.objections.lock().clone()
    }

    /// Waits until a connection has ended, and gives how: `last` with the message for that, `gone` without.
    #[track_caller]
    pub fn wait_ended(&self, connection: usize) -> &'static str {
        wait_for("the end of a connection", Duration::from_secs(30), || {
            self.shared.ended.lock().get(connection).copied().flatten()
        })
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.ended.lock().len()
    }
}

impl Drop for StreamInputServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { serve(stream, &shared).await });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) {
    let mut rate = 0;
    #[allow(clippy::result_large_err, reason = "the library's own type")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let refused = |status: u16| {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = status.try_into().unwrap();
            Err(response)
        };
        if request.headers().get("xi-api-key").is_none_or(|key| key != shared.key) {
            return refused(401);
        }
        let path = request.uri().path();
        let voice = path.strip_prefix("/v1/text-to-speech/").and_then(|rest| rest.strip_suffix("/stream-input"));
        if voice.is_none_or(|voice| voice.is_empty() || voice.contains('/')) {
            return refused(404);
        }
        for (name, value) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
            match &*name {
                "output_format" => rate = value.strip_prefix("pcm_").and_then(|rate| rate.parse().ok()).unwrap_or(0),
                "model_id" | "language_code" => {}
                _ => return refused(422),
            }
        }
        if [8_000, 16_000, 24_000].contains(&rate) { Ok(response) } else { refused(422) }
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let connection = {
        let mut ended = shared.ended.lock();
        ended.push(None);
        ended.len() - 1
    };
    let mut first = true;
    let mut how = "gone";
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(objection) = objection(&said, first) {
            shared.objections.lock().push(format!("{objection}: {text}"));
        }
        if std::mem::take(&mut first) {
            continue;
        }
        let text = said["text"].as_str().unwrap_or_default();
        if text.is_empty() {
            how = "last";
            let _ = socket.send(Message::text(json!({"isFinal": true}).to_string())).await;
            continue;
        }
        if shared.manner == Manner::Refuses {
            let refusal =
                json!({"message": "This request exceeds your quota.", "error": "quota_exceeded", "code": 1008});
            let _ = socket.send(Message::text(refusal.to_string())).await;
            break;
        }
        let spoken = speak(connection, text, rate);
        shared.spoken.lock().push(spoken.clone());
        for message in messages(&spoken, shared.manner == Manner::WithoutAlignment) {
            let _ = socket.send(Message::text(message.to_string())).await;
            if shared.manner == Manner::Stalls {
                break;
            }
            if shared.manner == Manner::HangsUp {
                let _ = socket.close(None).await;
                break;
            }
        }
    }
    shared.ended.lock()[connection] = Some(how);
}

/// What the real one would not take.
fn objection(said: &Value, first: bool) -> Option<&'static str> {
    let fields = said.as_object()?;
    let text = said["text"].as_str();
    if first {
        let known = ["text", "voice_settings", "generation_config"];
        let schedule = said["generation_config"]["chunk_length_schedule"].as_array();
        let in_range = |value: &Value| value.as_u64().is_some_and(|value| (50..=500).contains(&value));
        return match text {
            Some(" ") if !fields.keys().all(|name| known.contains(&name.as_str())) => Some("an unknown field"),
            Some(" ") if !schedule.is_none_or(|list| list.iter().all(in_range)) => Some("a schedule out of range"),
            Some(" ") => None,
            _ => Some("the first text is no space"),
        };
    }
    match text {
        None => Some("no text"),
        Some("") => None,
        Some(text) if !text.ends_with(' ') => Some("a text that does not end with a space"),
        Some(_) if !fields.keys().all(|name| ["text", "flush", "try_trigger_generation"].contains(&name.as_str())) => {
            Some("an unknown field")
        }
        Some(_) => None,
    }
}

/// What a piece of text sounds like.
fn speak(connection: usize, text: &str, rate: u32) -> Spoken {
    let ms: u32 = text.chars().map(lasts).sum();
    let seed = text.bytes().fold(connection as u64 + 11, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
    // Noise, of which no part is silent and none is like another.
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 48) as i16 / 5
    };
    let samples = (0..signal::samples(rate, ms)).map(|_| next()).collect();
    Spoken { connection, text: text.to_owned(), samples, rate }
}

/// A piece in messages of ten characters each, the times counted from the beginning of each message.
fn messages(spoken: &Spoken, plain: bool) -> Vec<Value> {
    let all: Vec<char> = spoken.text.chars().collect();
    let per_ms = spoken.rate as usize / 1_000;
    let mut at = 0;
    let mut out = Vec::new();
    for part in all.chunks(10) {
        let (mut starts, mut lengths, mut ms) = (Vec::new(), Vec::new(), 0);
        for c in part {
            starts.push(ms);
            lengths.push(lasts(*c));
            ms += lasts(*c);
        }
        let count = ms as usize * per_ms;
        let bytes: Vec<u8> = spoken.samples[at..at + count].iter().flat_map(|sample| sample.to_le_bytes()).collect();
        at += count;
        let chars: Vec<String> = part.iter().map(char::to_string).collect();
        let alignment = json!({"chars": chars, "charStartTimesMs": starts, "charDurationsMs": lengths});
        let alignment = if plain { Value::Null } else { alignment };
        out.push(json!({"audio": STANDARD.encode(bytes), "isFinal": null, "normalizedAlignment": alignment,
            "alignment": alignment}));
    }
    out
}
