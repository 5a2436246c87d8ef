//! What happens to a call in its midst, the stream going on: other codecs and packet times, hold, transfers, bridges.
//!
//! Calls that change their codec to or from L16 go to `native-…`: FreeSWITCH decides on a call's first codec whether it swaps the
//! bytes of its packets, and a change leaves that as it is.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, Direction, Offer, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, SOON, THERE};
use crate::support::websocket_server::{Action, Connection, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// A stream of a call that is put through changes.
struct Talk<'f> {
    freeswitch: &'f FreeSwitch,
    call: SipCall,
    _far: WebSocketServer,
    connection: Arc<Connection>,
    /// Of the stream.
    rate: u32,
    channels: u16,
}

impl<'f> Talk<'f> {
    /// A call to `extension` with a stream of `arguments`, such as `stereo 16k`.
    fn start(freeswitch: &'f FreeSwitch, dial: &Dial, mix: &str, rate: u32) -> Self {
        let call = SipCall::place(freeswitch, dial);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, &format!("{mix} {rate}"));
        let connection = server.connection(0);
        let channels = if mix == "stereo" { 2 } else { 1 };
        let talk = Self { freeswitch, call, _far: server, connection, rate, channels };
        talk.say(CALLER);
        talk
    }

    fn say(&self, hz: f64) {
        self.call.phone.say_forever(&signal::tone(self.call.phone.codec().rate(), hz, 1_000, LOUD));
    }

    fn bytes_in(&self, ms: u32) -> u64 {
        u64::from(self.rate) * 2 * u64::from(self.channels) * u64::from(ms) / 1_000
    }

    fn health(&self) -> serde_json::Value {
        self.freeswitch.json(&format!("{} health", self.call.uuid))
    }

    /// The server hears the caller without a gap at the wire's rate, and the caller hears what the server says now, whole and
    /// nothing else of it. Returns what the server heard meanwhile.
    fn goes_on(&self, when: &str) -> Vec<i16> {
        let phone = &self.call.phone;
        let from = self.connection.audio_bytes();
        let said = signal::tone(24_000, SERVER, 600, LOUD);
        self.connection.order(Action::Play(Play::mono(said, 24_000)));
        let heard = phone.listen(Duration::from_millis(2_000));
        let captured = self.connection.audio_bytes() - from;
        let share = captured as f64 / self.bytes_in(2_000) as f64;
        assert!((0.85..=1.15).contains(&share), "{when}: the server gets {share:.2} of the wire's rate");
        let ms = audio::tone_ms(&heard, phone.codec().rate(), SERVER, THERE);
        assert!((560..=650).contains(&ms), "{when}: of 600 ms the caller hears {ms}; {}", self.health());
        assert_eq!(
            audio::tone_stretches(&heard, phone.codec().rate(), SERVER, THERE, 160).len(),
            1,
            "{when}: in one piece"
        );
        let server_heard = self.connection.audio().split_off(from as usize / 2);
        let caller = audio::channel(&server_heard, usize::from(self.channels), 0);
        let ms = audio::tone_ms(&caller, self.rate, CALLER, THERE);
        assert!(ms >= 1_600, "{when}: of 2000 ms the server hears {ms}");
        let health = self.health();
        assert_eq!((&health["state"], &health["health"]), (&"STREAMING".into(), &"HEALTHY".into()), "{when}: {health}");
        server_heard
    }

    /// Every message but the last holds 20 ms, however the call's packets came.
    fn messages_are_whole(&self) {
        let messages = self.connection.binaries();
        let size = self.bytes_in(20) as usize;
        let odd = messages[..messages.len() - 1].iter().find(|message| message.len() != size);
        assert_eq!(odd.map(Vec::len), None, "20 ms have {size} bytes");
    }

    fn ends_well(&self) {
        self.freeswitch.stream(&self.call.uuid, "stop");
        self.connection.wait_end();
        self.messages_are_whole();
    }
}

/// Codec and packet time, one after another.
const OFFERS: [(Codec, u32); 5] =
    [(Codec::L16, 20), (Codec::Pcmu, 40), (Codec::L16Wide, 20), (Codec::Pcmu, 10), (Codec::Pcmu, 20)];

#[test]
fn a_codec_or_ptime_change_leaves_both_directions_as_they_were() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("native-park"), "mono", 16_000);
        talk.goes_on("before");
        for (codec, ptime_ms) in OFFERS {
            talk.call.reinvite(Offer { ptime_ms, ..Offer::of(codec) });
            talk.say(CALLER);
            talk.goes_on(&format!("{codec:?} in packets of {ptime_ms} ms"));
            let packets = talk.call.phone.packets();
            let last = packets.last().expect("there are packets");
            assert_eq!(last.samples.len() as u32, codec.rate() * ptime_ms / 1_000, "{codec:?}, {ptime_ms} ms");
        }
        talk.ends_well();
    });
}

#[test]
fn playback_in_progress_survives_a_change_of_codec() {
    in_freeswitch(|freeswitch| {
        for (from, to) in [(Codec::Pcmu, Codec::L16), (Codec::L16, Codec::Pcmu)] {
            let talk = Talk::start(freeswitch, &Dial::to("native-park").codec(from), "mono", 16_000);
            let played = |phone: &crate::harness::rtp::Phone, codec: Codec| {
                let heard = crate::harness::rtp::assemble(&phone.packets(), codec);
                audio::tone_ms(&heard, codec.rate(), SERVER, THERE)
            };
            let said = signal::tone(16_000, SERVER, 3_000, LOUD);
            talk.connection.order(Action::Play(Play::mono(said, 16_000)));
            let begun = || played(&talk.call.phone, from) >= 800;
            assert!(eventually(SOON, begun), "the tone does not begin");
            talk.call.reinvite(Offer::of(to));
            std::thread::sleep(Duration::from_millis(3_500));
            let (before, after) = (played(&talk.call.phone, from), played(&talk.call.phone, to));
            assert!(
                (2_750..=3_060).contains(&(before + after)),
                "{from:?} to {to:?}: heard {before} + {after} ms of 3000"
            );
            let other = crate::harness::rtp::assemble(&talk.call.phone.packets(), to);
            let pure = audio::share_of_tone(&other[to.rate() as usize / 10..to.rate() as usize], to.rate(), SERVER);
            assert!(pure > 0.98, "{from:?} to {to:?}: after the change {pure:.3} is the tone");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn both_legs_stay_in_their_places_when_the_codec_changes() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("native-tone-700"), "stereo", 16_000);
        for codec in [Codec::Pcmu, Codec::L16, Codec::Pcmu] {
            if codec != talk.call.phone.codec() {
                talk.call.reinvite(Offer::of(codec));
                talk.say(CALLER);
            }
            let from = talk.connection.audio_bytes() as usize / 2;
            std::thread::sleep(Duration::from_millis(2_500));
            let heard = talk.connection.audio().split_off(from);
            let [left, right] = [0, 1].map(|index| audio::channel(&heard, 2, index));
            let ms = [(&left, CALLER), (&left, OTHER), (&right, CALLER), (&right, OTHER)]
                .map(|(side, hz)| audio::tone_ms(side, 16_000, hz, if hz == CALLER { ABSENT } else { THERE }));
            assert!(ms[0] >= 2_000 && ms[3] >= 2_000, "{codec:?}: caller left, other leg right: {ms:?}");
            assert!(ms[1] == 0 && ms[2] <= 40, "{codec:?}: {ms:?}");
            // A packet of the other rate would sound at half or twice its pitch.
            for hz in [CALLER / 2.0, CALLER * 2.0, OTHER / 2.0, OTHER * 2.0] {
                let ms = [&left, &right].map(|side| audio::tone_ms(side, 16_000, hz, THERE));
                assert_eq!(ms, [0, 0], "{codec:?}: {hz} Hz");
            }
        }
        talk.ends_well();
    });
}

#[test]
fn on_hold_playback_waits_and_goes_on_where_it_was() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "tone-700"] {
            let talk = Talk::start(freeswitch, &Dial::to(extension), "mono", 8_000);
            talk.goes_on("before");
            let played = || talk.health()["inject"]["played_ms"].as_u64().expect("a number");
            let before = played();
            let heard_from = talk.call.phone.packets().len();
            talk.connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 2_000, LOUD), 8_000)));
            assert!(eventually(SOON, || played() >= before + 500));
            talk.call.reinvite(Offer { direction: Direction::SendOnly, ..Offer::of(Codec::Pcmu) });
            std::thread::sleep(Duration::from_millis(300));
            let (held, packets) = (played(), talk.call.phone.packets().len());
            std::thread::sleep(Duration::from_millis(1_500));
            assert_eq!(
                talk.call.phone.packets().len(),
                packets,
                "{extension}: FreeSWITCH sends nothing to who holds it"
            );
            assert_eq!(played(), held, "{extension}: what nobody hears is not played");
            talk.call.reinvite(Offer::of(Codec::Pcmu));
            assert!(eventually(SOON, || played() == before + 2_000), "{extension}: {}", talk.health());
            // Long enough that what comes next is another utterance.
            std::thread::sleep(Duration::from_millis(800));
            let packets = talk.call.phone.packets();
            let heard = crate::harness::rtp::assemble(&packets[heard_from..], Codec::Pcmu);
            let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
            assert!((1_850..=2_060).contains(&ms), "{extension}: of 2000 ms the caller heard {ms}");
            talk.goes_on("after the hold");
            talk.ends_well();
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_clear_during_a_hold_leaves_nothing_stale() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"), "mono", 8_000);
        talk.connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER_AGAIN, 3_000, LOUD), 8_000)));
        let playing = || audio::tone_ms(&talk.call.phone.heard(), 8_000, SERVER_AGAIN, THERE) >= 300;
        assert!(eventually(SOON, playing));
        for direction in [Direction::Inactive, Direction::SendOnly] {
            talk.call.reinvite(Offer { direction, ..Offer::of(Codec::Pcmu) });
        }
        freeswitch.stream(&talk.call.uuid, "clear");
        talk.call.reinvite(Offer::of(Codec::Pcmu));
        let heard = talk.call.phone.listen(Duration::from_millis(1_000));
        assert_eq!(audio::tone_ms(&heard, 8_000, SERVER_AGAIN, ABSENT), 0);
        talk.goes_on("after the hold");
    });
}

#[test]
fn a_call_that_is_bridged_and_unbridged_streams_on() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"), "stereo", 16_000);
        talk.goes_on("parked");
        let other = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        other.phone.say_forever(&signal::tone(16_000, OTHER, 1_000, LOUD));
        for _ in 0..2 {
            freeswitch.ok(&format!("uuid_bridge {} {}", talk.call.uuid, other.uuid));
            std::thread::sleep(Duration::from_millis(500));
            let heard = talk.goes_on("bridged");
            let right = audio::channel(&heard, 2, 1);
            assert!(audio::tone_ms(&right, 16_000, OTHER, THERE) >= 1_000, "the other leg is in the right channel");
            let heard = talk.call.phone.listen(Duration::from_millis(600));
            assert!(audio::amplitude(&heard, 8_000, OTHER) > THERE, "the caller hears the other leg");
            // Either goes its own way again.
            freeswitch.ok(&format!("uuid_transfer {} -both park XML tests", talk.call.uuid));
            std::thread::sleep(Duration::from_millis(500));
            let heard = talk.goes_on("parked again");
            let right = audio::channel(&heard, 2, 1);
            assert_eq!(audio::tone_ms(&right, 16_000, OTHER, ABSENT), 0, "nothing is left of the other leg");
        }
        talk.ends_well();
    });
}

#[test]
fn a_transfer_takes_the_stream_along() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"), "mono", 16_000);
        for extension in ["tone-700", "sleep", "conference-changes", "bridge-tone-700", "park"] {
            freeswitch.ok(&format!("uuid_transfer {} {extension} XML tests", talk.call.uuid));
            std::thread::sleep(Duration::from_millis(700));
            talk.goes_on(extension);
        }
        talk.ends_well();
    });
}

#[test]
fn a_blind_transfer_by_the_other_leg_takes_the_stream_along() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"), "mono", 8_000);
        let agent = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.ok(&format!("uuid_bridge {} {}", talk.call.uuid, agent.uuid));
        std::thread::sleep(Duration::from_millis(500));
        talk.goes_on("bridged");
        agent.refer_to("tone-700");
        let transferred = || {
            let heard = talk.call.phone.listen(Duration::from_millis(200));
            audio::amplitude(&heard, 8_000, OTHER) > THERE
        };
        assert!(eventually(SOON, transferred), "the caller is not transferred");
        talk.goes_on("transferred");
        assert!(eventually(SOON, || agent.ended()), "who transfers is out of it");
        talk.ends_well();
    });
}

#[test]
fn after_an_attended_transfer_the_third_party_is_streamed() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"), "stereo", 8_000);
        let [first, second, third] = [(); 3].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        third.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        freeswitch.ok(&format!("uuid_bridge {} {}", talk.call.uuid, first.uuid));
        freeswitch.ok(&format!("uuid_bridge {} {}", second.uuid, third.uuid));
        std::thread::sleep(Duration::from_millis(500));
        talk.goes_on("bridged with the first");
        first.refer_to_other_leg_of(&second);
        let connected = || {
            let heard = talk.call.phone.listen(Duration::from_millis(200));
            audio::amplitude(&heard, 8_000, OTHER) > THERE
        };
        assert!(eventually(SOON, connected), "the caller does not hear the third party");
        let heard = talk.goes_on("bridged with the third");
        let right = audio::channel(&heard, 2, 1);
        assert!(audio::tone_ms(&right, 8_000, OTHER, THERE) >= 1_000, "the third party is in the right channel");
        assert!(eventually(SOON, || first.ended() && second.ended()), "who transfers is out of it");
        talk.ends_well();
    });
}

#[test]
fn stereo_streams_of_24_to_48_khz_work_both_ways_on_all_calls() {
    in_freeswitch(|freeswitch| {
        for codec in [Codec::Pcmu, Codec::L16Wide] {
            let call = SipCall::place(freeswitch, &Dial::to("tone-700").codec(codec));
            call.phone.say_forever(&signal::tone(codec.rate(), CALLER, 1_000, LOUD));
            for rate in [24_000, 32_000, 48_000] {
                let server = WebSocketServer::start(Script::default());
                freeswitch.start_stream(&call.uuid, &server, &format!("stereo {rate}"));
                let connection = server.connection(0);
                let [left, right] = [SERVER, SERVER_AGAIN].map(|hz| signal::tone(rate, hz, 800, LOUD));
                let both = signal::interleave(&left, &right);
                connection.order(Action::Play(Play::mono(both, rate).stereo()));
                let heard = call.phone.listen(Duration::from_millis(1_800));
                for hz in [SERVER, SERVER_AGAIN] {
                    let ms = audio::tone_ms(&heard, codec.rate(), hz, THERE / 2.0);
                    assert!(
                        (740..=850).contains(&ms),
                        "{codec:?}, {rate} Hz: of 800 ms of {hz} Hz the caller hears {ms}"
                    );
                }
                freeswitch.stream(&call.uuid, "stop");
                connection.wait_end();
                let captured = connection.audio();
                let [left, right] = [0, 1].map(|index| audio::channel(&captured, 2, index));
                let ms =
                    [(&left, CALLER, THERE), (&left, OTHER, ABSENT), (&right, CALLER, ABSENT), (&right, OTHER, THERE)]
                        .map(|(side, hz, floor)| audio::tone_ms(side, rate, hz, floor));
                // The other leg is what the switch plays; the server's voice replaces it on its way to the caller alone.
                assert!(ms[0] >= 1_400 && ms[1] == 0 && ms[2] == 0, "{codec:?}, {rate} Hz: {ms:?}");
                assert!(ms[3] >= 1_400, "{codec:?}, {rate} Hz: {ms:?}");
            }
            freeswitch.hang_up_all();
        }
    });
}
