//! The caller's phone, its media half: an RTP socket that speaks at a steady 20 ms and keeps all it hears.
//!
//! Two threads per phone, a sender and a receiver, which end when the phone is dropped. What is heard is decoded and
//! joined in the order of arrival. Where FreeSWITCH sent nothing, or late since the machine was busy, the timestamps leap:
//! `Heard` counts that, and leaves it out of the samples.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What the phone speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// 16-bit big-endian samples at 16 kHz.
    L16,
}

impl Codec {
    /// Samples a second.
    pub fn rate(self) -> u32 {
        match self {
            Self::Pcmu => 8_000,
            Self::L16 => 16_000,
        }
    }

    /// The RTP payload type the phone offers.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::L16 => 97,
        }
    }

    /// The encoding's name, rate and so on, in SDP.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::L16 => "L16/16000",
        }
    }

    fn frame(self) -> usize {
        self.rate() as usize / 50
    }

    fn encode(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Pcmu => samples.iter().map(|&sample| mulaw(sample)).collect(),
            Self::L16 => samples.iter().flat_map(|sample| sample.to_be_bytes()).collect(),
        }
    }

    fn decode(self, payload: &[u8]) -> Vec<i16> {
        match self {
            Self::Pcmu => payload.iter().map(|&byte| linear(byte)).collect(),
            Self::L16 => payload.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect(),
        }
    }
}

/// One packet, as it came or as it was sent.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When.
    pub at: Instant,
    /// Its payload type.
    pub payload_type: u8,
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// The decoded samples.
    pub samples: Vec<i16>,
}

#[derive(Default)]
struct Mouth {
    once: VecDeque<i16>,
    forever: Vec<i16>,
    position: usize,
}

impl Mouth {
    fn next(&mut self) -> i16 {
        if let Some(sample) = self.once.pop_front() {
            return sample;
        }
        if self.forever.is_empty() {
            return 0;
        }
        let sample = self.forever[self.position];
        self.position = (self.position + 1) % self.forever.len();
        sample
    }
}

struct Shared {
    codec: Codec,
    socket: UdpSocket,
    peer: Mutex<Option<SocketAddr>>,
    mouth: Mutex<Mouth>,
    said: Mutex<Vec<Packet>>,
    packets: Mutex<Vec<Packet>>,
    done: AtomicBool,
}

/// The media half of a phone.
pub struct Phone {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Phone {
    /// A phone on a free port of 127.0.0.1.
    pub fn new(codec: Codec) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket can");
        let shared = Arc::new(Shared {
            codec,
            socket,
            peer: Mutex::default(),
            mouth: Mutex::default(),
            said: Mutex::default(),
            packets: Mutex::default(),
            done: AtomicBool::new(false),
        });
        let spawn = |name: &str, run: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared)).expect("a thread")
        };
        let threads = vec![spawn("rtp-send", send), spawn("rtp-receive", receive)];
        Self { shared, threads }
    }

    /// The port to put into SDP.
    pub fn port(&self) -> u16 {
        self.shared.socket.local_addr().expect("it is bound").port()
    }

    /// Its codec.
    pub fn codec(&self) -> Codec {
        self.shared.codec
    }

    /// From here on packets go to this port of 127.0.0.1; before, none is sent.
    pub fn connect(&self, port: u16) {
        *self.shared.peer.lock() = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// Says these samples after what is still to be said.
    pub fn say(&self, samples: &[i16]) {
        self.shared.mouth.lock().once.extend(samples);
    }

    /// Says these samples over and over whenever there is nothing else; none: silence.
    pub fn say_forever(&self, samples: &[i16]) {
        let mut mouth = self.shared.mouth.lock();
        mouth.forever = samples.to_vec();
        mouth.position = 0;
    }

    /// The packets sent so far, their samples as they were before encoding.
    pub fn said(&self) -> Vec<Packet> {
        self.shared.said.lock().clone()
    }

    /// The packets received so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.packets.lock().clone()
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Heard {
        assemble(&self.shared.packets.lock(), self.shared.codec)
    }

    /// Listens for `time` from now on and gives what was heard meanwhile.
    pub fn listen(&self, time: Duration) -> Heard {
        let from = self.shared.packets.lock().len();
        std::thread::sleep(time);
        assemble(&self.shared.packets.lock()[from..], self.shared.codec)
    }
}

/// What a phone heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The decoded samples of all packets, joined.
    pub samples: Vec<i16>,
    /// Sample periods within them for which there was no packet.
    pub missing: usize,
    /// Packets that did not follow the one before by their sequence number: lost or swapped on the way.
    pub disordered: usize,
}

impl std::ops::Deref for Heard {
    type Target = [i16];

    fn deref(&self) -> &[i16] {
        &self.samples
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Joins packets. A timestamp that leaps by more than 10 s is a new beginning and nothing missing.
pub fn assemble(packets: &[Packet], codec: Codec) -> Heard {
    let mut heard = Heard::default();
    let mut expected: Option<u32> = None;
    let mut next: Option<u16> = None;
    for packet in packets.iter().filter(|packet| packet.payload_type == codec.payload_type()) {
        let gap = expected.map_or(0, |expected| packet.timestamp.wrapping_sub(expected));
        if gap < 10 * codec.rate() {
            heard.missing += gap as usize;
        }
        heard.disordered += usize::from(next.is_some_and(|next| next != packet.sequence));
        next = Some(packet.sequence.wrapping_add(1));
        heard.samples.extend_from_slice(&packet.samples);
        expected = Some(packet.timestamp.wrapping_add(packet.samples.len() as u32));
    }
    heard
}

fn send(shared: &Shared) {
    let period = Duration::from_millis(20);
    let (mut sequence, mut timestamp) = (1_000_u16, 0_u32);
    let mut due = Instant::now();
    while !shared.done.load(Ordering::Relaxed) {
        due += period;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let Some(peer) = *shared.peer.lock() else { continue };
        let samples: Vec<i16> = {
            let mut mouth = shared.mouth.lock();
            (0..shared.codec.frame()).map(|_| mouth.next()).collect()
        };
        let mut packet = vec![0x80, shared.codec.payload_type()];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&0x5445_5354_u32.to_be_bytes());
        packet.extend_from_slice(&shared.codec.encode(&samples));
        let count = samples.len() as u32;
        let payload_type = shared.codec.payload_type();
        shared.said.lock().push(Packet { at: Instant::now(), payload_type, sequence, timestamp, samples });
        // A call that has ended has no port any more; the test sees it elsewhere.
        let _ = shared.socket.send_to(&packet, peer);
        sequence = sequence.wrapping_add(1);
        timestamp = timestamp.wrapping_add(count);
    }
}

fn receive(shared: &Shared) {
    let mut buffer = [0_u8; 4_096];
    while !shared.done.load(Ordering::Relaxed) {
        let Ok((length, _)) = shared.socket.recv_from(&mut buffer) else { continue };
        let packet = &buffer[..length];
        if length < 12 || packet[0] >> 6 != 2 {
            continue;
        }
        let header = 12 + usize::from(packet[0] & 0x0f) * 4;
        let Some(payload) = packet.get(header..) else { continue };
        shared.packets.lock().push(Packet {
            at: Instant::now(),
            payload_type: packet[1] & 0x7f,
            sequence: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp: u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]),
            samples: shared.codec.decode(payload),
        });
    }
}

/// G.711 µ-law of a sample.
pub fn mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 132;
    let exponent = (magnitude.ilog2() - 7) as i32;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) | mantissa) as u8
}

/// The sample of a µ-law byte.
pub fn linear(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 132) << ((byte >> 4) & 7)) - 132;
    (if byte & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}
