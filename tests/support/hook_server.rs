//! A server that carries out functions: strict about how it is asked, and answering to order.
//!
//! One named thread for each connection, over HTTP/1.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use ring::hmac;
use serde_json::Value;

use super::wait_for;

/// How a request is answered, if it is in order.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    /// Before the answer.
    pub wait: Duration,
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self { status: 200, body: body.to_owned(), wait: Duration::ZERO }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
    /// Why it was refused, where it was not in order.
    pub objection: Option<String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A running server; dropping it ends its threads.
pub struct HookServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    key: &'static str,
    /// By the name of the function.
    replies: Vec<(&'static str, Reply)>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

impl HookServer {
    /// Carries out these functions for requests that are signed with `key`.
    pub fn start(key: &'static str, replies: Vec<(&'static str, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { key, replies, asked: Mutex::default(), over: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // A client that goes away has learned what it needs.
                let serve = move || drop(serve(&shared, &stream));
                std::thread::Builder::new().name("hook".into()).spawn(serve).unwrap();
            }
        };
        std::thread::Builder::new().name("hooks".into()).spawn(accept).unwrap();
        Self { address, shared }
    }

    /// What is configured as `tool_url`.
    pub fn url(&self) -> String {
        format!("http://{}/functions?of=tests", self.address)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().clone()
    }

    /// Waits until so many requests have come.
    #[track_caller]
    pub fn wait_asked(&self, count: usize) -> Vec<Asked> {
        wait_for("requests for functions", Duration::from_secs(15), || {
            Some(self.asked()).filter(|asked| asked.len() >= count)
        })
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The thread that accepts notices with the next connection; there may be none to make any more.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut asked = Asked { path, headers, body: Value::Null, objection: None };
        let mut bytes = vec![0; asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut bytes)?;
        asked.objection = objection(shared.key, &line, &asked, &bytes);
        asked.body = serde_json::from_slice(&bytes).unwrap_or_default();
        let reply = shared.replies.iter().find(|(name, _)| asked.body["name"] == *name).map(|(_, reply)| reply.clone());
        let reply = match (&asked.objection, reply) {
            (None, Some(reply)) => reply,
            (None, None) => Reply { status: 404, ..Reply::ok("no such function") },
            (Some(objection), _) => Reply { status: 401, ..Reply::ok(objection) },
        };
        shared.asked.lock().push(asked);
        std::thread::sleep(reply.wait);
        let (status, length) = (reply.status, reply.body.len());
        write!(writer, "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")?;
        writer.write_all(reply.body.as_bytes())?;
    }
}

/// What a careful server finds wrong with a request.
fn objection(key: &str, line: &str, asked: &Asked, bytes: &[u8]) -> Option<String> {
    let objection = |holds: bool, text: &str| (!holds).then(|| text.to_owned());
    let timestamp = asked.header("x-audio-stream-timestamp").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let fresh = timestamp.parse::<u64>().is_ok_and(|at| at.abs_diff(now) <= 30);
    let signature = asked.header("x-audio-stream-signature").and_then(|text| text.strip_prefix("sha256="));
    let tag: Option<Vec<u8>> = signature.and_then(|hex| {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
    });
    let signed = [timestamp.as_bytes(), b".", bytes].concat();
    let known = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let right = tag.is_some_and(|tag| hmac::verify(&known, &signed, &tag).is_ok());
    let fields = ["arguments", "call_id", "from", "name", "stream", "to", "uuid"];
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut names: Vec<_> = body.as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
    names.sort();
    objection(line.starts_with("POST "), "not a POST")
        .or_else(|| objection(asked.header("content-type") == Some("application/json"), "not JSON"))
        .or_else(|| objection(fresh, "an old request"))
        .or_else(|| objection(right, "a wrong signature"))
        .or_else(|| objection(names == fields && body["arguments"].is_object(), "other fields"))
}
