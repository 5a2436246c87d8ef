//! The caller's phone, its media half: an RTP socket that speaks at a steady pace and keeps all it hears.
//!
//! Two threads per phone, a sender and a receiver, which end when the phone is dropped. Codec and packet time may change in
//! mid-call; a packet is decoded by its payload type. What is heard is joined in the order of arrival. Where FreeSWITCH sent nothing, or late since the machine was busy, the timestamps leap:
//! `Heard` counts that, and leaves it out of the samples.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use super::codec::{Codec, linear, mulaw};
use super::codec::{Decoding, Encoding};

/// Payload type of keys, RFC 4733.
pub const TELEPHONE_EVENT: u8 = 101;

/// Payload type of comfort noise, RFC 3389.
const COMFORT_NOISE: u8 = 13;

/// The keys by the numbers of their events.
const KEYS: &[u8] = b"0123456789*#ABCD";

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
    hum: Option<Hum>,
    reflection: Option<Reflection>,
}

/// What is heard comes back, quieter and later.
struct Reflection {
    gain: f64,
    waiting: VecDeque<i16>,
}

/// A tone that is one wave whatever the codec becomes.
struct Hum {
    hz: f64,
    amplitude: f64,
    /// In turns.
    phase: f64,
}

impl Mouth {
    /// The samples of one packet of `count` samples of each channel.
    fn packet(&mut self, codec: Codec, count: u32) -> Vec<i16> {
        let mut samples = self.own(codec, count);
        if let Some(reflection) = &mut self.reflection {
            for sample in &mut samples {
                *sample = sample.saturating_add(reflection.waiting.pop_front().unwrap_or(0));
            }
        }
        samples
    }

    fn own(&mut self, codec: Codec, count: u32) -> Vec<i16> {
        let channels = codec.channels();
        if let (Some(hum), true) = (&mut self.hum, self.once.is_empty()) {
            let step = hum.hz / f64::from(codec.rate());
            let instant = |_| {
                hum.phase = (hum.phase + step).fract();
                let sample = (hum.amplitude * (TAU * hum.phase).sin()).round() as i16;
                std::iter::repeat_n(sample, channels as usize)
            };
            return (0..count).flat_map(instant).collect();
        }
        (0..count * channels).map(|_| self.next()).collect()
    }

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

/// How the phone speaks at the moment.
#[derive(Clone, Copy)]
struct Format {
    codec: Codec,
    ptime_ms: u32,
    silent: bool,
}

/// A key to be pressed.
struct Press {
    event: u8,
    duration_ms: u32,
}

/// A key heard, by the timestamp all its packets have.
struct KeyHeard {
    timestamp: u32,
    event: u8,
}

struct Shared {
    /// L16 has the machine's order of bytes, not the network's.
    native: bool,
    format: Mutex<Format>,
    keys: Mutex<VecDeque<Press>>,
    keys_heard: Mutex<Vec<KeyHeard>>,
    /// Packets of comfort noise to be sent instead of speech.
    comfort_noise: AtomicU32,
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
    /// A phone on a free port of 127.0.0.1. With `native` its L16 has the machine's order of bytes.
    pub fn new(codec: Codec, native: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket can");
        let shared = Arc::new(Shared {
            native,
            format: Mutex::new(Format { codec, ptime_ms: 20, silent: false }),
            keys: Mutex::default(),
            keys_heard: Mutex::default(),
            comfort_noise: AtomicU32::new(0),
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
        self.shared.format.lock().codec
    }

    /// Speaks so from here on, `silent` not at all.
    pub fn speak_as(&self, codec: Codec, ptime_ms: u32, silent: bool) {
        *self.shared.format.lock() = Format { codec, ptime_ms, silent };
    }

    /// Sends nothing for so long, while what is to be said waits: FreeSWITCH makes up frames for the packets that do not come.
    pub fn falter(&self, time: Duration) {
        let before = *self.shared.format.lock();
        self.speak_as(before.codec, before.ptime_ms, true);
        std::thread::sleep(time);
        *self.shared.format.lock() = before;
    }

    /// Presses these keys, one after another with 100 ms between them, instead of what is said meanwhile.
    pub fn press(&self, keys: &str, duration_ms: u32) {
        let event = |key: u8| KEYS.iter().position(|known| *known == key).expect("a key") as u8;
        self.shared.keys.lock().extend(keys.bytes().map(|key| Press { event: event(key), duration_ms }));
    }

    /// Sends one packet of comfort noise in place of the next packet of speech, also while the phone is silent.
    pub fn send_comfort_noise(&self) {
        self.shared.comfort_noise.fetch_add(1, Ordering::Relaxed);
    }

    /// The keys heard so far.
    pub fn keys_heard(&self) -> String {
        self.shared.keys_heard.lock().iter().map(|key| char::from(KEYS[usize::from(key.event)])).collect()
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
        mouth.hum = None;
    }

    /// Says a tone whenever there is nothing else: one wave of this pitch, also when the codec changes.
    pub fn hum(&self, hz: f64, amplitude: f64) {
        self.shared.mouth.lock().hum = Some(Hum { hz, amplitude, phase: 0.0 });
    }

    /// From here on sends back what it hears, lower by so many dB and so much later, beside what it says: on a codec of one channel.
    pub fn reflect(&self, loss_db: f64, delay_ms: u32) {
        let waiting = vec![0; (self.codec().rate() * delay_ms / 1_000) as usize].into();
        self.shared.mouth.lock().reflection = Some(Reflection { gain: 10_f64.powf(-loss_db / 20.0), waiting });
    }

    /// The packets sent so far, their samples as they were before encoding.
    pub fn said(&self) -> Vec<Packet> {
        self.shared.said.lock().clone()
    }

    /// How many packets have been sent so far.
    pub fn said_count(&self) -> usize {
        self.shared.said.lock().len()
    }

    /// The packets received so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.packets.lock().clone()
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Heard {
        assemble(&self.shared.packets.lock(), self.codec())
    }

    /// Listens for `time` from now on and gives what was heard meanwhile.
    pub fn listen(&self, time: Duration) -> Heard {
        let from = self.shared.packets.lock().len();
        std::thread::sleep(time);
        assemble(&self.shared.packets.lock()[from..], self.codec())
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
        expected = Some(packet.timestamp.wrapping_add(packet.samples.len() as u32 / codec.channels()));
    }
    heard
}

fn send(shared: &Shared) {
    let (mut sequence, mut timestamp) = (1_000_u16, 0_u32);
    let mut due = Instant::now();
    let mut encoding = Encoding::new(shared.native);
    let mut pressing: Option<Pressing> = None;
    while !shared.done.load(Ordering::Relaxed) {
        let Format { codec, ptime_ms, silent } = *shared.format.lock();
        due += Duration::from_millis(ptime_ms.into());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let Some(peer) = *shared.peer.lock() else { continue };
        let count = codec.rate() * ptime_ms / 1_000;
        let mut send = |payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]| {
            let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&timestamp.to_be_bytes());
            packet.extend_from_slice(&0x5445_5354_u32.to_be_bytes());
            packet.extend_from_slice(payload);
            // A call that has ended has no port any more; the test sees it elsewhere.
            let _ = shared.socket.send_to(&packet, peer);
            sequence = sequence.wrapping_add(1);
        };
        pressing = pressing.or_else(|| Some(Pressing::new(shared.keys.lock().pop_front()?, timestamp)));
        if let Some(mut key) = pressing.take() {
            let (payload, times) = key.packet(ptime_ms, codec.rate());
            if let Some(payload) = payload {
                (0..times).for_each(|_| send(TELEPHONE_EVENT, key.elapsed_ms == ptime_ms, key.timestamp, &payload));
            }
            pressing = (!key.is_over()).then_some(key);
        } else if shared.comfort_noise.load(Ordering::Relaxed) > 0 {
            shared.comfort_noise.fetch_sub(1, Ordering::Relaxed);
            // One byte: the noise's level in -dBov.
            send(COMFORT_NOISE, false, timestamp, &[70]);
        } else if !silent {
            let samples = shared.mouth.lock().packet(codec, count);
            let payload_type = codec.payload_type();
            send(payload_type, false, timestamp, &encoding.encode(codec, &samples));
            let sequence = sequence.wrapping_sub(1);
            shared.said.lock().push(Packet { at: Instant::now(), payload_type, sequence, timestamp, samples });
        }
        timestamp = timestamp.wrapping_add(count);
    }
}

/// A key on its way: packets with its first timestamp and a growing duration, the last one three times, then a pause.
struct Pressing {
    key: Press,
    timestamp: u32,
    elapsed_ms: u32,
}

impl Pressing {
    fn new(key: Press, timestamp: u32) -> Self {
        Self { key, timestamp, elapsed_ms: 0 }
    }

    /// The next packet and how many times it is sent.
    fn packet(&mut self, ptime_ms: u32, rate: u32) -> (Option<[u8; 4]>, usize) {
        let before = self.elapsed_ms;
        self.elapsed_ms += ptime_ms;
        if before >= self.key.duration_ms {
            return (None, 0);
        }
        let over = self.elapsed_ms >= self.key.duration_ms;
        let [high, low] = ((self.elapsed_ms * rate / 1_000) as u16).to_be_bytes();
        (Some([self.key.event, 10 | u8::from(over) << 7, high, low]), if over { 3 } else { 1 })
    }

    fn is_over(&self) -> bool {
        self.elapsed_ms >= self.key.duration_ms + 100
    }
}

fn receive(shared: &Shared) {
    let mut buffer = [0_u8; 4_096];
    let mut decoding = Decoding::new(shared.native);
    while !shared.done.load(Ordering::Relaxed) {
        let Ok((length, _)) = shared.socket.recv_from(&mut buffer) else { continue };
        let packet = &buffer[..length];
        if length < 12 || packet[0] >> 6 != 2 {
            continue;
        }
        let header = 12 + usize::from(packet[0] & 0x0f) * 4;
        let Some(payload) = packet.get(header..) else { continue };
        let payload_type = packet[1] & 0x7f;
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if payload_type == TELEPHONE_EVENT {
            let mut keys = shared.keys_heard.lock();
            if let Some(&event) = payload.first().filter(|event| usize::from(**event) < KEYS.len())
                && keys.last().is_none_or(|last| last.timestamp != timestamp)
            {
                keys.push(KeyHeard { timestamp, event });
            }
        }
        let samples =
            Codec::of_payload_type(payload_type).map_or_else(Vec::new, |codec| decoding.decode(codec, payload));
        if let Some(Reflection { gain, waiting }) = &mut shared.mouth.lock().reflection {
            waiting.extend(samples.iter().map(|sample| (f64::from(*sample) * *gain) as i16));
        }
        shared.packets.lock().push(Packet {
            at: Instant::now(),
            payload_type,
            sequence: u16::from_be_bytes([packet[2], packet[3]]),
            timestamp,
            samples,
        });
    }
}
