//! The caller's phone, its signalling half: as much of a SIP user agent as the cases need. Our RTP socket is its media.
//!
//! One call each, over UDP on 127.0.0.1, without authentication. The test's thread sends requests and waits for their
//! answers; one thread per call takes what arrives: it answers FreeSWITCH's requests and keeps what the test waits for.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::esl::Esl;
use super::rtp::{Codec, Phone, TELEPHONE_EVENT};
use super::server::FreeSwitch;
use crate::support::eventually;

/// How long FreeSWITCH has for the final answer to a request.
const ANSWER: Duration = Duration::from_secs(15);
/// After this long without any answer a request is sent again.
const RETRANSMIT: Duration = Duration::from_millis(500);

/// How a call is made.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The extension called.
    pub to: String,
    /// What the phone speaks.
    pub codec: Codec,
    /// Headers of the INVITE; FreeSWITCH gives them to the dialplan as `sip_h_<name>`.
    pub headers: Vec<(&'static str, String)>,
    /// The phone hangs up so long after the answer; otherwise FreeSWITCH does.
    pub hangup_after: Option<Duration>,
    /// Comfort noise is offered, too.
    pub comfort_noise: bool,
    /// Length of a packet that is offered.
    pub ptime_ms: u32,
    /// Keys as events of RTP are offered.
    pub keys: bool,
}

impl Dial {
    /// A PCMU call to this extension that FreeSWITCH ends. On one to `native-…` L16 has the machine's order of bytes.
    pub fn to(extension: &str) -> Self {
        Self {
            to: extension.to_owned(),
            codec: Codec::Pcmu,
            headers: Vec::new(),
            hangup_after: None,
            comfort_noise: false,
            ptime_ms: 20,
            keys: true,
        }
    }

    /// The same with this codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The same with another header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, offering comfort noise.
    pub fn comfort_noise(mut self) -> Self {
        self.comfort_noise = true;
        self
    }

    /// The same from a phone that does not know keys as events of RTP.
    pub fn without_keys(mut self) -> Self {
        self.keys = false;
        self
    }

    /// The same with packets of this length.
    pub fn ptime(mut self, ms: u32) -> Self {
        self.ptime_ms = ms;
        self
    }

    /// The same, ended by the phone.
    pub fn hangup_after(mut self, time: Duration) -> Self {
        self.hangup_after = Some(time);
        self
    }
}

impl Dial {
    fn offer(&self) -> Offer {
        Offer { ptime_ms: self.ptime_ms, comfort_noise: self.comfort_noise, keys: self.keys, ..Offer::of(self.codec) }
    }
}

/// Who sends audio, as the phone's session description says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// The phone alone: it has FreeSWITCH on hold.
    SendOnly,
    /// Nobody.
    Inactive,
    /// Nobody, said in the old way: the connection address is 0.0.0.0.
    NoAddress,
}

/// What the phone offers in a session description.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The one codec.
    pub codec: Codec,
    /// Length of a packet.
    pub ptime_ms: u32,
    /// Who sends.
    pub direction: Direction,
    /// Comfort noise is offered, too.
    pub comfort_noise: bool,
    /// Keys as events of RTP are offered.
    pub keys: bool,
}

impl Offer {
    /// Packets of 20 ms, both ways.
    pub fn of(codec: Codec) -> Self {
        Self { codec, ptime_ms: 20, direction: Direction::SendRecv, comfort_noise: false, keys: true }
    }

    pub(super) fn sdp(&self, port: u16, version: u32) -> String {
        let (payload_type, rtpmap, rate) = (self.codec.payload_type(), self.codec.rtpmap(), self.codec.rate());
        let direction = match self.direction {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::Inactive => "inactive",
            Direction::NoAddress => "sendrecv",
        };
        let address = if self.direction == Direction::NoAddress { "0.0.0.0" } else { "127.0.0.1" };
        let fmtp = self.codec.fmtp().map_or_else(String::new, |fmtp| format!("a=fmtp:{payload_type} {fmtp}\r\n"));
        let noise = if self.comfort_noise { " 13" } else { "" };
        let (key, keys) = if self.keys {
            let keys =
                format!("a=rtpmap:{TELEPHONE_EVENT} telephone-event/{rate}\r\na=fmtp:{TELEPHONE_EVENT} 0-15\r\n");
            (format!(" {TELEPHONE_EVENT}"), keys)
        } else {
            (String::new(), String::new())
        };
        format!(
            "v=0\r\no=caller 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {payload_type}{noise}{key}\r\na=rtpmap:{payload_type} {rtpmap}\r\n{fmtp}{keys}\
             a=ptime:{}\r\na={direction}\r\n",
            self.ptime_ms
        )
    }
}

/// A call in progress. Dropped, its phone falls silent; FreeSWITCH's end of the call stays.
pub struct SipCall {
    /// The uuid of the caller's channel.
    pub uuid: String,
    /// The caller's ear and mouth.
    pub phone: Phone,
    dialog: Arc<Dialog>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SipCall {
    /// Calls, and waits until FreeSWITCH has answered.
    #[track_caller]
    pub fn place(freeswitch: &FreeSwitch, dial: &Dial) -> Self {
        let call = Self::reach(freeswitch.ports.sip, &[freeswitch], dial, 200).1;
        if let Some(time) = dial.hangup_after {
            call.dialog.state.lock().bye_at = Some(Instant::now() + time);
        }
        call
    }

    /// Calls through a balancer at this SIP port, and waits until one of its servers has answered; which one.
    #[track_caller]
    pub fn place_through(balancer: u16, servers: &[&FreeSwitch], dial: &Dial) -> (usize, Self) {
        Self::reach(balancer, servers, dial, 200)
    }

    /// Calls an extension that sends early media, and waits for that: [`cancel`](Self::cancel) ends the call.
    #[track_caller]
    pub fn ring(freeswitch: &FreeSwitch, dial: &Dial) -> Self {
        Self::reach(freeswitch.ports.sip, &[freeswitch], dial, 183).1
    }

    /// Calls this port, and waits for the answer of this `status`, with which the phone begins to speak; which of the servers
    /// has the call.
    #[track_caller]
    fn reach(port: u16, servers: &[&FreeSwitch], dial: &Dial, status: u16) -> (usize, Self) {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let tag = format!("call-{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let phone = Phone::new(dial.codec, dial.to.starts_with("native-"));
        let subscribe =
            |server: &&FreeSwitch| server.subscribe("plain CHANNEL_ANSWER CHANNEL_PROGRESS_MEDIA CHANNEL_HANGUP");
        let events: Vec<_> = servers.iter().map(subscribe).collect();
        let last_words = || servers.iter().map(|server| server.last_words()).collect::<Vec<_>>().join("\n");
        let dialog = Dialog::new(port, &dial.to, &tag, phone.port(), dial.offer());
        let of_thread = Arc::clone(&dialog);
        let thread =
            std::thread::Builder::new().name("sip".to_owned()).spawn(move || of_thread.receive()).expect("a thread");
        let mut headers = format!("X-Tag: {tag}\r\n");
        for (name, value) in &dial.headers {
            let _ = write!(headers, "{name}: {value}\r\n");
        }
        let invite = dialog.begin_invite(&headers);
        let answer = dialog.response(&invite, |found| found == status || found >= 200);
        assert_eq!(answer.status(), Some(status), "the call to {} was refused:\n{}", dial.to, last_words());
        if status == 200 {
            dialog.settle(&answer);
        }
        phone.speak_as(dial.codec, dial.ptime_ms, false);
        phone.connect(answer.media_port().expect("what answers has media"));

        let wanted = if status == 200 { "CHANNEL_ANSWER" } else { "CHANNEL_PROGRESS_MEDIA" };
        let ours = |event: &super::esl::Event| {
            event.get("variable_sip_h_X-Tag") == Some(&tag) && [wanted, "CHANNEL_HANGUP"].contains(&event.name())
        };
        let mut found = None;
        eventually(ANSWER, || {
            let here =
                |events: &Esl| events.events().iter().find(|event| ours(event)).map(|event| event.uuid().to_owned());
            found = events.iter().enumerate().find_map(|(index, events)| Some((index, here(events)?)));
            found.is_some()
        });
        let (index, uuid) = found.unwrap_or_else(|| panic!("no event of the call to {}:\n{}", dial.to, last_words()));
        (index, Self { uuid, phone, dialog, thread: Some(thread) })
    }

    /// Cancels a call that rings, and gives the final answer: 487, or 200 where FreeSWITCH was faster; then hangs up.
    #[track_caller]
    pub fn cancel(&self) -> u16 {
        let invite = self.dialog.cancel();
        let answer = self.dialog.response(&invite, |status| status >= 200);
        let status = answer.status().expect("it is an answer");
        self.dialog.settle(&answer);
        if status == 200 {
            self.hang_up();
        }
        status
    }

    /// Offers another codec, packet time or direction by a re-INVITE, and speaks so from FreeSWITCH's answer on: not at all
    /// where nobody is to send.
    #[track_caller]
    pub fn reinvite(&self, offer: Offer) {
        self.dialog.state.lock().offer = offer;
        let answer = self.dialog.invite("");
        assert_eq!(answer.status(), Some(200), "the re-INVITE was refused: {}", answer.start);
        self.phone.speak_as(
            offer.codec,
            offer.ptime_ms,
            matches!(offer.direction, Direction::Inactive | Direction::NoAddress),
        );
        self.phone.connect(answer.media_port().expect("the answer has media"));
    }

    /// Has FreeSWITCH transfer the other leg to this extension: a blind transfer.
    #[track_caller]
    pub fn refer_to(&self, extension: &str) {
        self.refer(&format!("<sip:{extension}@127.0.0.1:{}>", self.dialog.port));
    }

    /// Has FreeSWITCH connect the other leg with that of our second call: an attended transfer.
    #[track_caller]
    pub fn refer_to_other_leg_of(&self, second: &Self) {
        let other = &second.dialog;
        let to = other.state.lock().to.clone();
        let to_tag = tag_of(&to).expect("an answered call has both tags");
        let replaces = format!("{}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{}", other.call_id, other.tag);
        self.refer(&format!("<sip:{}@127.0.0.1:{}?Replaces={replaces}>", other.extension, other.port));
    }

    fn refer(&self, target: &str) {
        let answer =
            self.dialog.request("REFER", &format!("Refer-To: {target}\r\nReferred-By: <sip:caller@127.0.0.1>\r\n"), "");
        assert_eq!(answer.status(), Some(202), "the transfer was refused: {}", answer.start);
    }

    /// Hangs up.
    #[track_caller]
    pub fn hang_up(&self) {
        self.dialog.request("BYE", "", "");
        self.dialog.state.lock().ended = true;
    }

    /// Whether FreeSWITCH, or the phone, has hung up.
    pub fn ended(&self) -> bool {
        self.dialog.state.lock().ended
    }
}

impl Drop for SipCall {
    fn drop(&mut self) {
        self.dialog.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A message taken apart.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Message {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        Some(Self { start, headers: lines.filter_map(header).collect(), body: body.to_owned() })
    }

    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// The values of a header that may come several times, in their order.
    fn all(&self, name: &str) -> Vec<String> {
        let named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.flat_map(|(_, value)| value.split(',')).map(|value| value.trim().to_owned()).collect()
    }

    /// Of a response.
    pub(super) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Of a request.
    pub(super) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub(super) fn media_port(&self) -> Option<u16> {
        let media = self.body.lines().find_map(|line| line.strip_prefix("m=audio "))?;
        media.split(' ').next()?.parse().ok()
    }
}

fn tag_of(header: &str) -> Option<&str> {
    header.split(';').find_map(|parameter| parameter.trim().strip_prefix("tag="))
}

/// A request on its way.
struct Request {
    number: u32,
    method: &'static str,
    text: String,
}

/// Both ends of one call's signalling.
struct Dialog {
    socket: UdpSocket,
    port: u16,
    extension: String,
    call_id: String,
    tag: String,
    rtp_port: u16,
    state: Mutex<State>,
    arrived: Condvar,
    done: AtomicBool,
}

struct State {
    cseq: u32,
    /// Where requests go: the URI of FreeSWITCH's Contact.
    target: String,
    /// The header, with FreeSWITCH's tag once it has answered.
    to: String,
    /// The proxies on the way, the nearest first, as the answer has recorded them.
    routes: Vec<String>,
    offer: Offer,
    sdp_version: u32,
    responses: VecDeque<Message>,
    bye_at: Option<Instant>,
    ended: bool,
}

impl Dialog {
    fn new(port: u16, extension: &str, tag: &str, rtp_port: u16, offer: Offer) -> Arc<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(("127.0.0.1", port)).expect("a socket can");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket can");
        let target = format!("sip:{extension}@127.0.0.1:{port}");
        let state = State {
            cseq: 0,
            to: format!("<{target}>"),
            routes: Vec::new(),
            target,
            offer,
            sdp_version: 0,
            responses: VecDeque::new(),
            bye_at: None,
            ended: false,
        };
        Arc::new(Self {
            socket,
            port,
            extension: extension.to_owned(),
            call_id: format!("{tag}@tests"),
            tag: tag.to_owned(),
            rtp_port,
            state: Mutex::new(state),
            arrived: Condvar::new(),
            done: AtomicBool::new(false),
        })
    }

    fn contact(&self) -> String {
        format!("<sip:caller@127.0.0.1:{}>", self.socket.local_addr().expect("it is bound").port())
    }

    fn sdp(&self, state: &mut State) -> String {
        state.sdp_version += 1;
        state.offer.sdp(self.rtp_port, state.sdp_version)
    }

    /// INVITE, final answer, ACK.
    #[track_caller]
    fn invite(&self, headers: &str) -> Message {
        let request = self.begin_invite(headers);
        let answer = self.response(&request, |status| status >= 200);
        self.settle(&answer);
        answer
    }

    fn begin_invite(&self, headers: &str) -> Request {
        let sdp = self.sdp(&mut self.state.lock());
        self.begin("INVITE", headers, &sdp)
    }

    /// Acknowledges the final answer to the last INVITE, whose dialog it makes when it is 200.
    fn settle(&self, answer: &Message) {
        let mut state = self.state.lock();
        let number = state.cseq;
        answer.get("To").clone_into(&mut state.to);
        // The acknowledgement of a refusal belongs to the INVITE's transaction.
        let mut transaction = "INVITE";
        if answer.status() == Some(200) {
            transaction = "ACK";
            let contact = answer.get("Contact");
            let uri =
                contact.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(contact, |(uri, _)| uri);
            uri.clone_into(&mut state.target);
            state.routes = answer.all("Record-Route").into_iter().rev().collect();
        }
        let ack = self.compose(&state, "ACK", (number, transaction), "", "");
        drop(state);
        self.send(&ack);
    }

    /// Cancels the last request, an INVITE without a final answer, and gives that.
    fn cancel(&self) -> Request {
        let state = self.state.lock();
        let number = state.cseq;
        let text = self.compose(&state, "CANCEL", (number, "INVITE"), "", "");
        drop(state);
        self.send(&text);
        // The INVITE has been answered with 183 and is not sent again; the CANCEL is.
        Request { number, method: "INVITE", text }
    }

    /// Sends a request and waits for its final answer.
    #[track_caller]
    fn request(&self, method: &'static str, headers: &str, body: &str) -> Message {
        let request = self.begin(method, headers, body);
        self.response(&request, |status| status >= 200)
    }

    fn begin(&self, method: &'static str, headers: &str, body: &str) -> Request {
        let mut state = self.state.lock();
        state.cseq += 1;
        let number = state.cseq;
        let text = self.compose(&state, method, (number, method), headers, body);
        drop(state);
        self.send(&text);
        Request { number, method, text }
    }

    /// Waits for the answer to this request whose status is `wanted`, and sends the request again while there is none at all.
    #[track_caller]
    fn response(&self, request: &Request, wanted: impl Fn(u16) -> bool) -> Message {
        let Request { number, method, text } = request;
        let mut state = self.state.lock();
        let (end, mut again) = (Instant::now() + ANSWER, Instant::now() + RETRANSMIT);
        loop {
            let mine = |message: &Message| message.get("CSeq") == format!("{number} {method}");
            while let Some(at) = state.responses.iter().position(mine) {
                let response = state.responses.remove(at).expect("it is there");
                if response.status().is_some_and(&wanted) {
                    return response;
                }
                again = end;
            }
            assert!(Instant::now() < end, "FreeSWITCH does not answer {method}");
            if Instant::now() >= again {
                self.send(text);
                again += RETRANSMIT;
            }
            self.arrived.wait_for(&mut state, Duration::from_millis(50));
        }
    }

    /// A request of the transaction with this number and method.
    fn compose(
        &self,
        state: &State,
        method: &str,
        (number, transaction): (u32, &str),
        headers: &str,
        body: &str,
    ) -> String {
        let Self { tag, call_id, .. } = self;
        let State { target, to, routes, .. } = state;
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let port = self.socket.local_addr().expect("it is bound").port();
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-{tag}-{number}-{transaction}\r\n\
             From: <sip:caller@127.0.0.1:{port}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n\
             Contact: {}\r\nMax-Forwards: 70\r\n{routes}{headers}{content}Content-Length: {}\r\n\r\n{body}",
            self.contact(),
            body.len()
        )
    }

    fn send(&self, message: &str) {
        // A FreeSWITCH that is gone is seen elsewhere.
        let _ = self.socket.send(message.as_bytes());
    }

    fn receive(&self) {
        let mut buffer = vec![0_u8; 16_384];
        while !self.done.load(Ordering::Relaxed) {
            if self.state.lock().bye_at.take_if(|at| *at <= Instant::now()).is_some() {
                // Its answer is of no interest.
                let mut state = self.state.lock();
                state.cseq += 1;
                let bye = self.compose(&state, "BYE", (state.cseq, "BYE"), "", "");
                state.ended = true;
                drop(state);
                self.send(&bye);
            }
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let Some(message) = Message::parse(&text) else { continue };
            if message.status().is_some() {
                self.state.lock().responses.push_back(message);
                self.arrived.notify_all();
            } else if message.method() != "ACK" {
                self.answer(&message);
            }
        }
    }

    /// Agrees to whatever FreeSWITCH asks for.
    fn answer(&self, request: &Message) {
        let mut state = self.state.lock();
        state.ended |= request.method() == "BYE";
        let offered = request.method() == "INVITE" || !request.body.is_empty() && request.method() == "UPDATE";
        let body = if offered { self.sdp(&mut state) } else { String::new() };
        drop(state);
        let mut response = "SIP/2.0 200 OK\r\n".to_owned();
        let copied = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
        for (name, value) in &request.headers {
            if copied.iter().any(|copied| copied.eq_ignore_ascii_case(name)) {
                let _ = write!(response, "{name}: {value}\r\n");
            }
        }
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let _ =
            write!(response, "Contact: {}\r\n{content}Content-Length: {}\r\n\r\n{body}", self.contact(), body.len());
        self.send(&response);
    }
}
