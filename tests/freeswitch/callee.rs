//! A phone that is called: it rings, perhaps with early media, and answers or refuses. One call at a time.
//!
//! FreeSWITCH reaches it at `sofia/tests/sip:x@127.0.0.1:PORT`. One thread answers FreeSWITCH's requests; the media is a
//! [`Phone`], which speaks as soon as the phone has told FreeSWITCH where its media is.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rtp::{Codec, Phone};
use super::sip::{Message, Offer};

/// What the phone does with a call.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// It sends 183 with its media at once; otherwise 180.
    pub early_media: bool,
    /// How long it rings.
    pub rings: Duration,
    /// The final answer: 200 takes the call.
    pub answer: u16,
}

impl Default for Manner {
    /// Takes the call at once.
    fn default() -> Self {
        Self { early_media: false, rings: Duration::ZERO, answer: 200 }
    }
}

/// A phone that waits for calls; dropped, it falls silent.
pub struct Callee {
    /// Its ear and mouth.
    pub phone: Arc<Phone>,
    port: u16,
    socket: Arc<UdpSocket>,
    state: Arc<Mutex<State>>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// The INVITE that rings, where it came from and when it is answered.
    ringing: Option<(Message, SocketAddr, Instant)>,
    answered: u32,
    ended: u32,
    /// The INVITE of the call it has taken, and where that came from.
    taken: Option<(Message, SocketAddr)>,
    /// Number of its last request.
    requests: u32,
}

impl Callee {
    /// A phone that speaks PCMU.
    pub fn new(manner: Manner) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket can");
        let port = socket.local_addr().expect("it is bound").port();
        let phone = Arc::new(Phone::new(Codec::Pcmu, false));
        let (state, done) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let of_thread = Answering { manner, socket: socket.clone(), port, phone: phone.clone(), state: state.clone() };
        let stop = done.clone();
        let run = move || {
            while !stop.load(Ordering::Relaxed) {
                of_thread.turn();
            }
        };
        let thread = std::thread::Builder::new().name("callee".to_owned()).spawn(run).expect("a thread");
        Self { phone, port, socket, state, done, thread: Some(thread) }
    }

    /// What to dial.
    pub fn endpoint(&self) -> String {
        format!("sofia/tests/sip:x@127.0.0.1:{}", self.port)
    }

    /// Its SIP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it rings.
    pub fn rings(&self) -> bool {
        self.state.lock().ringing.is_some()
    }

    /// Calls it has taken so far.
    pub fn answered(&self) -> u32 {
        self.state.lock().answered
    }

    /// Calls that FreeSWITCH has ended so far, ringing ones included.
    pub fn ended(&self) -> u32 {
        self.state.lock().ended
    }

    /// Has FreeSWITCH transfer the other leg of the call it has taken to this extension: a blind transfer. Its answer is of no
    /// interest.
    #[track_caller]
    pub fn refer_to(&self, extension: &str) {
        let mut state = self.state.lock();
        state.requests += 1;
        let number = state.requests;
        let (invite, freeswitch) = state.taken.as_ref().expect("it has taken a call");
        let contact = invite.get("Contact");
        let target = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(contact, |(uri, _)| uri);
        let (from, to, call_id, port) = (invite.get("To"), invite.get("From"), invite.get("Call-ID"), self.port);
        let request = format!(
            "REFER {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-callee-{port}-{number}\r\n\
             From: {from};tag=callee\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} REFER\r\n\
             Contact: <sip:x@127.0.0.1:{port}>\r\nMax-Forwards: 70\r\nRefer-To: <sip:{extension}@{freeswitch}>\r\n\
             Referred-By: <sip:x@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), freeswitch).expect("a socket can");
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Answering {
    manner: Manner,
    socket: Arc<UdpSocket>,
    port: u16,
    phone: Arc<Phone>,
    state: Arc<Mutex<State>>,
}

impl Answering {
    fn turn(&self) {
        let mut buffer = [0_u8; 16_384];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer)
            && let Some(message) = Message::parse(&String::from_utf8_lossy(&buffer[..length]))
            && message.status().is_none()
        {
            self.request(message, from);
        }
        let due = self.state.lock().ringing.take_if(|(_, _, at)| *at <= Instant::now());
        if let Some((invite, from, _)) = due {
            let taken = self.manner.answer == 200;
            self.respond(&invite, from, self.manner.answer, taken);
            let mut state = self.state.lock();
            state.answered += u32::from(taken);
            if taken && state.taken.is_none() {
                state.taken = Some((invite, from));
            }
        }
    }

    fn request(&self, message: Message, from: SocketAddr) {
        match message.method() {
            "INVITE" if self.state.lock().ringing.is_none() => {
                if let Some(port) = message.media_port() {
                    self.phone.connect(port);
                }
                let status = if self.manner.early_media { 183 } else { 180 };
                self.respond(&message, from, status, self.manner.early_media);
                self.state.lock().ringing = Some((message, from, Instant::now() + self.manner.rings));
            }
            "CANCEL" => {
                self.respond(&message, from, 200, false);
                let ringing = self.state.lock().ringing.take();
                if let Some((invite, from, _)) = ringing {
                    self.respond(&invite, from, 487, false);
                    self.state.lock().ended += 1;
                }
            }
            "BYE" => {
                self.respond(&message, from, 200, false);
                self.state.lock().ended += 1;
            }
            "ACK" | "INVITE" => {}
            _ => self.respond(&message, from, 200, false),
        }
    }

    fn respond(&self, request: &Message, to: SocketAddr, status: u16, media: bool) {
        let mut response = format!("SIP/2.0 {status} Answer\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "record-route" | "from" | "call-id" | "cseq" => {
                    let _ = write!(response, "{name}: {value}\r\n");
                }
                "to" if !value.contains("tag=") => {
                    let _ = write!(response, "{name}: {value};tag=callee\r\n");
                }
                "to" => {
                    let _ = write!(response, "{name}: {value}\r\n");
                }
                _ => {}
            }
        }
        let body = if media { Offer::of(Codec::Pcmu).sdp(self.phone.port(), 1) } else { String::new() };
        let content = if media { "Content-Type: application/sdp\r\n" } else { "" };
        let port = self.port;
        let _ = write!(
            response,
            "Contact: <sip:x@127.0.0.1:{port}>\r\n{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // FreeSWITCH that is gone is seen elsewhere.
        let _ = self.socket.send_to(response.as_bytes(), to);
    }
}
