//! A phone that changes its codec in mid-call, on hold or not: what is captured keeps pitch, length and alignment, and what is
//! played its pitch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, assemble};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, Direction, Offer, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, THERE};
use crate::support::websocket_server::{Action, Connection, Play, Script, WebSocketServer};
use crate::support::{audio, signal};

/// Between two changes, long enough to see one from the other.
const SEGMENT: Duration = Duration::from_secs(3);

/// What one change may cost.
const LOST_MS: usize = 60;

/// One stream of the call.
struct Watched {
    mix: &'static str,
    rate: u32,
    channels: usize,
    connection: Arc<Connection>,
    _server: WebSocketServer,
}

impl Watched {
    fn start(freeswitch: &FreeSwitch, uuid: &str, mix: &'static str, rate: u32) -> Self {
        let server = WebSocketServer::start(Script::default());
        freeswitch.stream(uuid, &format!("start name={mix} {} {mix} {rate}", server.url()));
        let connection = server.connection(0);
        connection.wait_bytes(u64::from(rate));
        Self { mix, rate, channels: if mix == "stereo" { 2 } else { 1 }, connection, _server: server }
    }

    fn lane(&self, index: usize, from: usize) -> Vec<i16> {
        audio::channel(&self.connection.audio()[from * self.channels..], self.channels, index)
    }

    fn captured(&self) -> usize {
        self.connection.audio_bytes() as usize / 2 / self.channels
    }
}

/// The phone of `changing`, whose leg has both streams, offers `codecs` one after another; the phone of `other` is bridged with
/// it.
fn lasts(
    freeswitch: &FreeSwitch,
    changing: &SipCall,
    other: Option<&SipCall>,
    codecs: &[Codec],
    held: bool,
    what: &str,
) {
    changing.phone.hum(CALLER, LOUD);
    if let Some(other) = other {
        other.phone.hum(OTHER, LOUD);
    }
    std::thread::sleep(Duration::from_millis(300));
    let streams =
        [("stereo", 16_000), ("mono", 8_000)].map(|(mix, rate)| Watched::start(freeswitch, &changing.uuid, mix, rate));
    let seconds = SEGMENT.as_secs() as u32 * (codecs.len() as u32 + 1) + 4;
    let said = signal::tone(16_000, SERVER, seconds * 1_000, LOUD);
    streams[0].connection.order(Action::Play(Play::mono(said, 16_000)));
    std::thread::sleep(Duration::from_millis(500));
    let played_from = changing.phone.packets().len();
    let first = changing.phone.codec();
    let mut from = streams.each_ref().map(Watched::captured);
    let mut began = Instant::now();
    // What FreeSWITCH itself did without since, on a busy machine.
    let lost = || 20 * freeswitch.packets_lost(&changing.uuid) as usize;
    let mut lost_before = lost();
    let look = |from: [usize; 2], began: Instant, lost_before: usize, changes: usize, what: &str| {
        let wall = began.elapsed().as_millis() as usize;
        let lost = lost().saturating_sub(lost_before);
        for (stream, from) in streams.iter().zip(from) {
            let (mix, rate) = (stream.mix, stream.rate);
            let block = rate as usize / 100;
            for (index, (hz, sounds)) in [(CALLER, true), (OTHER, other.is_some())].into_iter().enumerate() {
                if index >= stream.channels {
                    continue;
                }
                let lane = stream.lane(index, from);
                let ms = lane.len() * 1_000 / rate as usize;
                let whole = ms <= wall + 100 && ms + lost + changes * LOST_MS + 100 >= wall;
                assert!(whole, "{what}, {mix}: in {wall} ms lane {index} gets {ms} ms; FreeSWITCH lost {lost} ms");
                if !sounds {
                    continue;
                }
                let tone: usize = audio::tone_stretches(&lane, rate, hz, THERE / 2.0, block)
                    .iter()
                    .map(|s| s.len() * 10 / block)
                    .sum();
                let least = ms.saturating_sub(changes.max(1) * (LOST_MS + 20) + 2 * lost + 40);
                assert!(tone >= least, "{what}, {mix}: of {ms} ms in lane {index} {tone} are the tone");
                for factor in [0.5, 2.0, 3.0, 6.0, 1.0 / 6.0] {
                    let ms = audio::tone_ms(&lane, rate, hz * factor, ABSENT * 2.0);
                    assert!(ms <= 40, "{what}, {mix}: lane {index} has {ms} ms of {} Hz", hz * factor);
                }
            }
        }
    };
    for codec in codecs {
        std::thread::sleep(SEGMENT);
        if held {
            look(from, began, lost_before, 0, &format!("{what}, before {codec:?}"));
            changing.reinvite(Offer { direction: Direction::SendOnly, ..Offer::of(*codec) });
            std::thread::sleep(Duration::from_secs(1));
            changing.reinvite(Offer::of(*codec));
            std::thread::sleep(Duration::from_millis(LOST_MS as u64));
            (from, began, lost_before) = (streams.each_ref().map(Watched::captured), Instant::now(), lost());
        } else {
            changing.reinvite(Offer::of(*codec));
        }
    }
    std::thread::sleep(SEGMENT);
    look(from, began, lost_before, if held { 0 } else { codecs.len() }, what);
    let packets = changing.phone.packets().split_off(played_from);
    let mut spoken = vec![first];
    spoken.extend(codecs);
    spoken.sort_unstable_by_key(|codec| codec.payload_type());
    spoken.dedup();
    // Of what FreeSWITCH sent at all: on a busy machine it sends less than the clock would have it.
    let (mut heard_ms, mut sent_ms) = (0, 0);
    for codec in spoken {
        let heard = assemble(&packets, codec);
        let heard = audio::channel(&heard, codec.channels() as usize, 0);
        sent_ms += heard.len() * 1_000 / codec.rate() as usize;
        heard_ms += audio::tone_ms(&heard, codec.rate(), SERVER, THERE) as usize;
        for factor in [0.5, 2.0, 3.0, 6.0, 1.0 / 6.0] {
            let ms = audio::tone_ms(&heard, codec.rate(), SERVER * factor, ABSENT * 2.0);
            assert!(ms <= 40, "{what}: the phone hears {ms} ms of {} Hz in {codec:?}", SERVER * factor);
        }
    }
    let least = sent_ms.saturating_sub(codecs.len() * (LOST_MS + 40) + 100);
    assert!(heard_ms >= least, "{what}: of {sent_ms} ms the phone hears {heard_ms} ms of the server");
    if let (Some(other), false) = (other, held) {
        aligned(changing, other, &streams[0], what);
    }
    for stream in &streams {
        assert!(stream.connection.ended().is_none(), "{what}: the stream goes on");
        assert_eq!(stream.connection.texts().len(), 0, "{what}: it was not started again");
        freeswitch.stream(&changing.uuid, &format!("stop name={}", stream.mix));
        stream.connection.wait_end();
    }
}

/// Both phones fall silent in the same moment, and are silent in the same place of both channels.
fn aligned(near: &SipCall, far: &SipCall, stream: &Watched, what: &str) {
    let from = stream.captured();
    std::thread::sleep(Duration::from_millis(500));
    near.phone.hum(CALLER, 0.0);
    far.phone.hum(OTHER, 0.0);
    std::thread::sleep(Duration::from_millis(500));
    let block = stream.rate as usize / 100;
    let ends = [(0, CALLER), (1, OTHER)].map(|(index, hz)| {
        let stretches = audio::tone_stretches(&stream.lane(index, from), stream.rate, hz, THERE / 2.0, block);
        stretches.last().unwrap_or_else(|| panic!("{what}: lane {index} has no tone")).end * 10 / block
    });
    assert!(ends[0].abs_diff(ends[1]) <= 60, "{what}: both legs end at {ends:?} ms");
}

const CHANGES: [Codec; 3] = [Codec::Opus, Codec::Pcma, Codec::Pcmu];

#[test]
fn a_parked_phone_that_changes_its_codec_stays_in_tune() {
    in_freeswitch(|freeswitch| {
        for held in [false, true] {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            lasts(freeswitch, &call, None, &CHANGES, held, &format!("parked, held: {held}"));
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn either_phone_of_a_bridge_changes_its_codec_and_stays_in_tune() {
    in_freeswitch(|freeswitch| {
        for (held, far_changes) in [(false, true), (false, false), (true, true), (true, false)] {
            let [near, far] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
            freeswitch.ok(&format!("uuid_bridge {} {}", near.uuid, far.uuid));
            let (changing, other) = if far_changes { (&far, &near) } else { (&near, &far) };
            lasts(freeswitch, changing, Some(other), &CHANGES, held, &format!("far leg: {far_changes}, held: {held}"));
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn an_opus_phone_of_16_khz_changes_its_codec_and_stays_in_tune() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::OpusWideband));
        assert_eq!(freeswitch.variable(&call.uuid, "read_rate").as_deref(), Some("16000"));
        let codecs = [Codec::Pcmu, Codec::OpusWideband, Codec::Opus];
        lasts(freeswitch, &call, None, &codecs, false, "16 kHz");
    });
}
