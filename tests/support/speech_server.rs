//! Speech servers to test with: ElevenLabs, OpenAI, Deepgram and Cartesia over HTTP, strict about what they are asked, and misbehaving to order.
//!
//! One named thread runs all of a server's connections. No two answers to one text are the same samples, as with the real
//! ones, so that what is equal was not made twice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::{signal, wait_for};

/// Whose protocol is spoken, with which key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    ElevenLabs(&'static str),
    OpenAi(&'static str),
    Deepgram(&'static str),
    Cartesia(&'static str),
}

/// How one request is answered; the default speaks well.
#[derive(Clone, Debug)]
pub struct Answer {
    /// A refusal instead of audio: status and body.
    pub refusal: Option<(u16, String)>,
    /// The status of an answer with audio.
    pub status: u16,
    /// Bytes of one chunk.
    pub chunk: usize,
    /// Before the head of the answer.
    pub first_wait: Duration,
    /// Nothing more comes after so many bytes, until [`SpeechServer::go_on`].
    pub stall_after: Option<usize>,
    /// The connection is closed after so many bytes.
    pub hang_up_after: Option<usize>,
    /// The connection is closed, politely, after the answer.
    pub close: bool,
    /// A WAV file of unknown length instead of what was asked for.
    pub wav: bool,
    /// These bytes and this content type instead of audio.
    pub instead: Option<(&'static str, Vec<u8>)>,
    /// A length instead of chunks.
    pub length: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            refusal: None,
            status: 200,
            chunk: 1_023,
            first_wait: Duration::ZERO,
            stall_after: None,
            hang_up_after: None,
            close: false,
            wav: false,
            instead: None,
            length: false,
        }
    }
}

impl Answer {
    pub fn refuse(status: u16, body: &str) -> Self {
        Self { refusal: Some((status, body.to_owned())), ..Self::default() }
    }
}

/// A request that came, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub path: String,
    pub body: Value,
    /// What was (or would have been) spoken.
    pub samples: Vec<i16>,
    pub rate: u32,
    /// Which connection it came on.
    pub connection: usize,
    /// The client went away before the answer's end.
    pub dropped: bool,
    /// Why it was refused, where it was not in order.
    pub objection: Option<String>,
}

/// A running server; dropping it closes its sockets.
pub struct SpeechServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    service: Service,
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<usize>,
    go_on: Notify,
}

impl SpeechServer {
    /// Gives the answers in turn, then always the last one.
    pub fn start(service: Service, answers: impl Into<Vec<Answer>>) -> Self {
        Self::start_with(service, answers, None)
    }

    /// The same over TLS.
    pub fn start_with(service: Service, answers: impl Into<Vec<Answer>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Shared {
            service,
            answers: Mutex::new(answers.into().into()),
            asked: Mutex::default(),
            connections: Mutex::default(),
            go_on: Notify::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::Builder::new().name("speech-server".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, of_thread, tls) => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    /// What is configured as `tts_url`.
    pub fn url(&self, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        let path = if matches!(self.shared.service, Service::OpenAi(_)) { "/v1" } else { "" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }

    /// Waits until so many requests have come.
    #[track_caller]
    pub fn wait_asked(&self, count: usize) -> Vec<Asked> {
        wait_for("requests", Duration::from_secs(30), || Some(self.asked()).filter(|asked| asked.len() >= count))
    }

    /// Waits until the client has dropped a request.
    #[track_caller]
    pub fn wait_dropped(&self, request: usize) {
        wait_for("the drop of a request", Duration::from_secs(30), || self.asked().get(request)?.dropped.then_some(()));
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock()
    }

    /// Lets what stalls go on.
    pub fn go_on(&self) {
        self.shared.go_on.notify_one();
    }
}

impl Drop for SpeechServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        stream.set_nodelay(true).unwrap();
        let number = {
            let mut connections = shared.connections.lock();
            *connections += 1;
            *connections - 1
        };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, &shared, number).await,
                Some(config) => {
                    // A client that does not trust us has learned what it needs.
                    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                        serve(stream, &shared, number).await;
                    }
                }
            }
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared, connection: usize) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let mut asked = Asked { connection, body: body.clone(), ..Asked::default() };
        asked.path = head.lines().next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
        let (index, answer) = {
            let mut list = shared.asked.lock();
            let mut answers = shared.answers.lock();
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            list.push(asked.clone());
            (list.len() - 1, answer.unwrap_or_default())
        };
        let (status, form, bytes) = match order(shared.service, &head, &asked.path, &body) {
            Err((status, objection, body)) => {
                asked.objection = Some(objection);
                (status, "application/json", body.to_string().into_bytes())
            }
            Ok(order) => {
                asked.rate = order.rate;
                let seed =
                    order.text.bytes().fold(index as u64 + 7, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
                asked.samples = signal::speech(order.rate, 20 * order.text.len() as u32, seed);
                match (&answer.refusal, &answer.instead) {
                    (Some((status, body)), _) => (*status, "application/json", body.clone().into_bytes()),
                    (None, Some((form, bytes))) => (answer.status, *form, bytes.clone()),
                    _ if answer.wav || order.wav => (answer.status, "audio/wav", wav(order.rate, &asked.samples)),
                    _ if order.mulaw => {
                        let mut bytes = Vec::new();
                        mod_audio_stream::units::Law::Mu.encode(&asked.samples, &mut bytes);
                        asked.samples.clear();
                        mod_audio_stream::units::Law::Mu.decode(&bytes, &mut asked.samples);
                        (answer.status, "audio/basic", bytes)
                    }
                    _ => (answer.status, "audio/pcm", asked.samples.iter().flat_map(|s| s.to_le_bytes()).collect()),
                }
            }
        };
        shared.asked.lock()[index] = asked;
        let told = tell(&mut stream, shared, &answer, (status, form, index), &bytes).await;
        if told.is_err() {
            shared.asked.lock()[index].dropped = true;
            return;
        }
        if answer.close || answer.hang_up_after.is_some() {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length: usize = header(&head, "content-length").expect("a body with its length").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

async fn tell(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    answer: &Answer,
    (status, form, index): (u16, &str, usize),
    bytes: &[u8],
) -> std::io::Result<()> {
    gone_or(stream, tokio::time::sleep(answer.first_wait)).await?;
    let framing = if answer.length {
        format!("content-length: {}", bytes.len())
    } else {
        "transfer-encoding: chunked".to_owned()
    };
    let close = if answer.close { "connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Told\r\nrequest-id: tts_{index}\r\ncontent-type: {form}\r\n{framing}\r\n{close}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut sent = 0;
    for chunk in bytes.chunks(answer.chunk) {
        if answer.stall_after.is_some_and(|after| sent >= after && sent < after + answer.chunk) {
            gone_or(stream, shared.go_on.notified()).await?;
        }
        if answer.hang_up_after.is_some_and(|after| sent >= after) {
            return stream.flush().await;
        }
        if !answer.length {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        }
        stream.write_all(chunk).await?;
        if !answer.length {
            stream.write_all(b"\r\n").await?;
        }
        stream.flush().await?;
        sent += chunk.len();
    }
    if !answer.length {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await
}

/// Waits, unless the client goes away; it has nothing to say meanwhile.
async fn gone_or(stream: &mut (impl AsyncRead + Unpin), wait: impl Future<Output = ()>) -> std::io::Result<()> {
    tokio::select! {
        _ = stream.read_u8() => Err(std::io::ErrorKind::ConnectionReset.into()),
        () = wait => Ok(()),
    }
}

struct Order {
    text: String,
    rate: u32,
    mulaw: bool,
    wav: bool,
}

type Refused = (u16, String, Value);

/// What is asked for, or how the real one would refuse it.
fn order(service: Service, head: &str, path: &str, body: &Value) -> Result<Order, Refused> {
    if !head.starts_with("POST ") || header(head, "content-type") != Some("application/json") {
        return Err((405, "not a POST of JSON".into(), json!({"detail": "Method Not Allowed"})));
    }
    if header(head, "host").is_none() || header(head, "user-agent").is_none() {
        return Err((400, "no Host or no User-Agent".into(), json!({"detail": "Bad Request"})));
    }
    match service {
        Service::ElevenLabs(key) => elevenlabs(key, head, path, body),
        Service::OpenAi(key) => openai(key, head, path, body),
        Service::Deepgram(key) => deepgram(key, head, path, body),
        Service::Cartesia(key) => cartesia(key, head, path, body),
    }
}

fn deepgram(key: &str, head: &str, path: &str, body: &Value) -> Result<Order, Refused> {
    let refused = |status: u16, code: &str, message: &str| {
        let told = json!({"err_code": code, "err_msg": message, "request_id": "6d5a5aac"});
        (status, format!("{code}: {message}"), told)
    };
    if header(head, "authorization") != Some(format!("Token {key}").as_str()) {
        return Err(refused(401, "INVALID_AUTH", "Invalid credentials."));
    }
    let query = path.strip_prefix("/v1/speak?").ok_or_else(|| refused(404, "NOT_FOUND", path))?;
    let (mut rate, mut encoding, mut model, mut bare) = (None, String::new(), String::new(), false);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "model" => model = value.into_owned(),
            "encoding" => encoding = value.into_owned(),
            "sample_rate" => rate = value.parse::<u32>().ok(),
            "container" => bare = value == "none",
            "speed" if value.parse::<f32>().is_ok_and(|speed| (0.7..=1.5).contains(&speed)) => {}
            _ => return Err(refused(400, "INVALID_QUERY_PARAMETER", &format!("{name}={value}"))),
        }
    }
    if !model.starts_with("aura-") {
        return Err(refused(400, "INVALID_QUERY_PARAMETER", "No such model/version combination found."));
    }
    let known: &[u32] = match encoding.as_str() {
        "linear16" => &[8_000, 16_000, 24_000, 32_000, 48_000],
        "mulaw" => &[8_000, 16_000],
        _ => return Err(refused(400, "UNSUPPORTED_AUDIO_FORMAT", "`encoding` is not applicable")),
    };
    let Some(rate) = rate.filter(|rate| known.contains(rate)) else {
        return Err(refused(400, "UNSUPPORTED_AUDIO_FORMAT", "`sample_rate` is not applicable"));
    };
    // Its default would be WAV.
    if !bare {
        return Err(refused(400, "UNSUPPORTED_AUDIO_FORMAT", "`container` is not none"));
    }
    let fields = body.as_object().filter(|fields| fields.len() == 1);
    let text = fields.and_then(|fields| fields["text"].as_str()).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| refused(400, "PAYLOAD_ERROR", "Failed to deserialize JSON payload."))?;
    if text.chars().count() > 2_000 {
        return Err(refused(413, "PAYLOAD_TOO_LARGE", "Input text exceeds maximum character limit of 2000."));
    }
    Ok(Order { text: text.to_owned(), rate, mulaw: encoding == "mulaw", wav: false })
}

fn cartesia(key: &str, head: &str, path: &str, body: &Value) -> Result<Order, Refused> {
    let refused = |status: u16, code: &str, message: &str| {
        let told = json!({"error_code": code, "title": "Refused", "message": message, "request_id": "2f1c"});
        (status, format!("{code}: {message}"), told)
    };
    if header(head, "x-api-key") != Some(key) {
        return Err(refused(401, "unauthorized", "Invalid API key"));
    }
    if header(head, "cartesia-version") != Some("2026-03-01") {
        return Err(refused(400, "version_required", "Cartesia-Version is missing or unknown"));
    }
    if path != "/tts/bytes" {
        return Err(refused(404, "not_found", path));
    }
    let wrong = |name: &str| refused(400, "invalid_request", &format!("invalid field: {name}"));
    for (name, value) in body.as_object().ok_or_else(|| wrong("body"))? {
        let right = match name.as_str() {
            "model_id" | "transcript" | "language" => value.as_str().is_some_and(|text| !text.is_empty()),
            "voice" => value["mode"] == "id" && value["id"].is_string(),
            "output_format" => value["container"] == "raw",
            "generation_config" => value["speed"].as_f64().is_some_and(|speed| (0.599..=1.501).contains(&speed)),
            _ => false,
        };
        if !right {
            return Err(wrong(name));
        }
    }
    for needed in ["model_id", "transcript", "voice", "output_format"] {
        if body[needed].is_null() {
            return Err(wrong(needed));
        }
    }
    let format = &body["output_format"];
    let rate = format["sample_rate"].as_u64().unwrap_or_default() as u32;
    let known = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];
    let mulaw = match format["encoding"].as_str() {
        Some("pcm_s16le") => false,
        Some("pcm_mulaw") => true,
        _ => return Err(wrong("output_format.encoding")),
    };
    if !known.contains(&rate) {
        return Err(wrong("output_format.sample_rate"));
    }
    Ok(Order { text: body["transcript"].as_str().unwrap_or_default().to_owned(), rate, mulaw, wav: false })
}

fn elevenlabs(key: &str, head: &str, path: &str, body: &Value) -> Result<Order, Refused> {
    if header(head, "xi-api-key") != Some(key) {
        let told = json!({"detail": {"status": "invalid_api_key", "message": "Invalid API key"}});
        return Err((401, "wrong key".into(), told));
    }
    let wrong = |place: &str, message: &str| {
        let told = json!({"detail": [{"loc": ["body", place], "msg": message, "type": "value_error"}]});
        (422, format!("{place}: {message}"), told)
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let voice = path.strip_prefix("/v1/text-to-speech/").and_then(|rest| rest.strip_suffix("/stream"));
    if voice.is_none_or(|voice| voice.is_empty() || voice.contains('/')) {
        return Err((404, format!("no such path {path}"), json!({"detail": "Not Found"})));
    }
    let (rate, mulaw) = match query.strip_prefix("output_format=") {
        Some("ulaw_8000") => (8_000, true),
        Some(format) => {
            let rate = format.strip_prefix("pcm_").and_then(|rate| rate.parse().ok());
            let known = [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
            (rate.filter(|rate| known.contains(rate)).ok_or_else(|| wrong("output_format", format))?, false)
        }
        None => return Err(wrong("query", query)),
    };
    for (name, value) in body.as_object().ok_or_else(|| wrong("body", "not an object"))? {
        let right = match name.as_str() {
            "text" | "model_id" | "language_code" | "previous_text" => value.is_string(),
            "voice_settings" => value.as_object().is_some_and(|settings| {
                settings.iter().all(|(name, value)| {
                    let known = ["stability", "similarity_boost", "style", "speed"].contains(&name.as_str());
                    known && value.is_number()
                })
            }),
            _ => false,
        };
        if !right {
            return Err(wrong(name, "unknown or of the wrong type"));
        }
    }
    let text = body["text"].as_str().filter(|text| !text.is_empty()).ok_or_else(|| wrong("text", "field required"))?;
    let refused = |status: &str, message: String| {
        (400, message.clone(), json!({"detail": {"status": status, "message": message}}))
    };
    let model = body["model_id"].as_str().unwrap_or_default();
    if body.get("previous_text").is_some() && (model.starts_with("eleven_v3") || model == "no_context") {
        let message = format!("Providing previous_text or next_text is not yet supported with the '{model}' model.");
        return Err(refused("unsupported_model", message));
    }
    if let Some(speed) = body["voice_settings"]["speed"].as_f64().filter(|speed| !(0.699..=1.201).contains(speed)) {
        let message = format!("Invalid setting for speed received, expected 0.7 to 1.2, received {speed}.");
        return Err(refused("invalid_voice_settings", message));
    }
    Ok(Order { text: text.to_owned(), rate, mulaw, wav: false })
}

fn openai(key: &str, head: &str, path: &str, body: &Value) -> Result<Order, Refused> {
    let wrong = |param: &str| {
        let message = format!("Invalid value for '{param}'");
        (
            400,
            message.clone(),
            json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}}),
        )
    };
    let bearer = format!("Bearer {key}");
    if !key.is_empty() && header(head, "authorization") != Some(bearer.as_str()) {
        let given = header(head, "authorization").unwrap_or_default();
        let told = json!({"error": {"message": format!("Incorrect API key provided: {given}"), "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}});
        return Err((401, "wrong key".into(), told));
    }
    if path != "/v1/audio/speech" {
        return Err((404, format!("no such path {path}"), json!({"error": {"message": "Invalid URL"}})));
    }
    for (name, value) in body.as_object().ok_or_else(|| wrong("body"))? {
        let right = match name.as_str() {
            "model" | "voice" | "instructions" => value.is_string(),
            "input" => value.as_str().is_some_and(|text| text.chars().count() <= 4_096),
            "response_format" => ["wav", "pcm", "mp3", "opus", "aac", "flac"].contains(&value.as_str().unwrap_or("")),
            "speed" => value.as_f64().is_some_and(|speed| (0.25..=4.0).contains(&speed)),
            _ => false,
        };
        if !right {
            return Err(wrong(name));
        }
    }
    for needed in ["model", "voice", "input"] {
        if body[needed].is_null() {
            return Err(wrong(needed));
        }
    }
    // Its default would be MP3.
    let wav = body["response_format"] == "wav";
    if !wav && body["response_format"] != "pcm" {
        return Err(wrong("response_format"));
    }
    Ok(Order { text: body["input"].as_str().unwrap_or_default().to_owned(), rate: 24_000, mulaw: false, wav })
}

/// A WAV file whose length its writer did not know.
pub fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let mut file = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"LIST\x04\0\0\0INFOdata\xff\xff\xff\xff");
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}
