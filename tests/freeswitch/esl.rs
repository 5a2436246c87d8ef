//! A client of FreeSWITCH's event socket, as much of it as the tests need.
//!
//! Blocking calls on the test's thread; one reader thread per connection sorts what arrives into replies and events.
//! Every event is kept until the client is dropped. Commands of one client run one after another.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// An event as it came: headers decoded, in order, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it came.
    pub at: Instant,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What its `Content-Length` announced.
    pub body: Option<String>,
}

impl Event {
    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `Event-Name`.
    pub fn name(&self) -> &str {
        self.get("Event-Name").unwrap_or_default()
    }

    /// `Event-Subclass`.
    pub fn subclass(&self) -> &str {
        self.get("Event-Subclass").unwrap_or_default()
    }

    /// The channel's uuid.
    pub fn uuid(&self) -> &str {
        self.get("Unique-ID").unwrap_or_default()
    }

    /// The body as JSON; panics when it is none.
    pub fn json(&self) -> serde_json::Value {
        let body = self.body.as_deref().unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("no JSON in the body ({error}): {body:?}"))
    }

    /// A `text/event-plain` payload: URL-encoded headers, an empty line, and a body of their `Content-Length`.
    pub fn parse_plain(payload: &str) -> Self {
        let (head, rest) = payload.split_once("\n\n").unwrap_or((payload, ""));
        let headers: Vec<_> =
            head.lines().filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), url_decode(v))).collect();
        let event = Self { at: Instant::now(), headers, body: None };
        let length = event.get("Content-Length").and_then(|length| length.parse::<usize>().ok());
        let body = length.map(|length| rest.get(..length).unwrap_or(rest).to_owned());
        Self { body, ..event }
    }

    /// A `text/event-json` payload: an object of strings, the body as `_body`.
    fn parse_json(payload: &str) -> Self {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(payload).unwrap_or_default();
        let mut event = Self { at: Instant::now(), headers: Vec::new(), body: None };
        for (name, value) in object {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if name == "_body" { event.body = Some(value) } else { event.headers.push((name, value)) }
        }
        event
    }
}

/// `%XX` undone; anything malformed stays as it is.
fn url_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let mut ahead = bytes.clone();
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Default)]
struct Inbox {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
    gone: AtomicBool,
}

/// One connection to the event socket.
pub struct Esl {
    socket: TcpStream,
    /// Held from a command to its reply.
    replies: Mutex<mpsc::Receiver<String>>,
    inbox: Arc<Inbox>,
}

/// How long a reply may take: a load or a bridge may need seconds on a busy machine.
const REPLY: Duration = Duration::from_secs(60);

impl Esl {
    /// Connects and authenticates.
    pub fn connect(port: u16, password: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let (reply, replies) = mpsc::channel();
        let inbox = Arc::new(Inbox::default());
        let shared = Arc::clone(&inbox);
        std::thread::Builder::new().name("esl".to_owned()).spawn(move || {
            // An end of the connection is what it looks like to the next command: no reply.
            let _ = read_all(&mut reader, &reply, &shared);
            shared.gone.store(true, Ordering::Release);
            shared.arrived.notify_all();
        })?;
        let client = Self { socket, replies: Mutex::new(replies), inbox };
        let answer = client.command(&format!("auth {password}"))?;
        if answer.starts_with("+OK") { Ok(client) } else { Err(io::Error::other(answer)) }
    }

    /// Sends a command and waits for its reply: the body of an `api/response`, else the `Reply-Text`.
    pub fn command(&self, command: &str) -> io::Result<String> {
        let replies = self.replies.lock();
        (&self.socket).write_all(format!("{command}\n\n").as_bytes())?;
        replies.recv_timeout(REPLY).map_err(|error| io::Error::other(format!("no reply to '{command}': {error}")))
    }

    /// Sends these commands in one write, does `meanwhile`, and waits for the replies, in order.
    #[track_caller]
    pub fn pipeline(&self, commands: &[String], meanwhile: impl FnOnce()) -> Vec<String> {
        let replies = self.replies.lock();
        let text: String = commands.iter().map(|command| format!("{command}\n\n")).collect();
        (&self.socket).write_all(text.as_bytes()).expect("FreeSWITCH is there");
        meanwhile();
        commands.iter().map(|_| replies.recv_timeout(REPLY).expect("FreeSWITCH answers")).collect()
    }

    /// Runs an API command and returns its answer unchanged.
    #[track_caller]
    pub fn api(&self, command: &str) -> String {
        self.command(&format!("api {command}")).unwrap_or_else(|error| panic!("FreeSWITCH does not answer: {error}"))
    }

    /// Runs an API command in the background and gives the job's uuid; its `BACKGROUND_JOB` event carries the answer.
    #[track_caller]
    pub fn bgapi(&self, command: &str) -> String {
        let reply = self.command(&format!("bgapi {command}")).expect("FreeSWITCH answers");
        reply.rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// Subscribes, e.g. to `plain CHANNEL_ANSWER CUSTOM mod_audio_stream::connect`.
    #[track_caller]
    pub fn subscribe(&self, what: &str) {
        let reply = self.command(&format!("event {what}")).expect("FreeSWITCH answers");
        assert!(reply.starts_with("+OK"), "subscription to '{what}' refused: {reply}");
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.inbox.events.lock().clone()
    }

    /// Waits for an event, past or future, for which `wanted` holds.
    pub fn wait_event(&self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let end = Instant::now() + limit;
        let mut events = self.inbox.events.lock();
        let mut seen = 0;
        loop {
            if let Some(event) = events[seen..].iter().find(|event| wanted(event)) {
                return Some(event.clone());
            }
            seen = events.len();
            let gone = self.inbox.gone.load(Ordering::Acquire);
            if gone || self.inbox.arrived.wait_until(&mut events, end).timed_out() && events.len() == seen {
                return None;
            }
        }
    }
}

impl Drop for Esl {
    fn drop(&mut self) {
        // Ends the reader thread.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn read_all(reader: &mut impl BufRead, reply: &mpsc::Sender<String>, inbox: &Inbox) -> io::Result<()> {
    loop {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None if line.is_empty() && headers.is_empty() => {}
                None if line.is_empty() => break,
                None => headers.push((line.trim_end_matches(':').to_owned(), String::new())),
            }
        }
        let frame = Event { at: Instant::now(), headers, body: None };
        let length = frame.get("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        match frame.get("Content-Type") {
            Some("api/response") => drop(reply.send(body)),
            Some("command/reply") => {
                drop(reply.send(frame.get("Reply-Text").map(url_decode).unwrap_or_default()));
            }
            Some("text/event-plain") => inbox.add(Event::parse_plain(&body)),
            Some("text/event-json") => inbox.add(Event::parse_json(&body)),
            _ => {}
        }
    }
}

impl Inbox {
    fn add(&self, event: Event) {
        self.events.lock().push(event);
        self.arrived.notify_all();
    }
}
