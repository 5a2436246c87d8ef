//! A call for each protocol, against a bot of its vendor.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::bots::{METADATA, Told, Vendor};
use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, Packet};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, SERVER, SERVER_AGAIN, SOON, THERE};
use crate::support::farend::{Connection, FarEnd, Received};
use crate::support::{audio, eventually, signal};

/// A bot in a call.
struct Meeting<'f> {
    freeswitch: &'f FreeSwitch,
    vendor: Vendor,
    call: SipCall,
    _far: FarEnd,
    connection: Arc<Connection>,
}

impl<'f> Meeting<'f> {
    fn begin(freeswitch: &'f FreeSwitch, vendor: Vendor) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let far = FarEnd::start(vendor.script());
        let options =
            format!("mono {} protocol={} allow=dtmf inject_buffer_ms=10000 {METADATA}", vendor.rate(), vendor.name());
        freeswitch.start_stream(&call.uuid, &far, &options);
        let connection = far.connection(0);
        let meeting = Self { freeswitch, vendor, call, _far: far, connection };
        meeting.wait("the beginning", |told| told.begun);
        meeting
    }

    fn told(&self) -> Told {
        self.vendor.read(&self.connection.arrivals())
    }

    #[track_caller]
    fn wait(&self, what: &str, wanted: impl Fn(&Told) -> bool) {
        let came = eventually(SOON, || wanted(&self.told()));
        assert!(came, "{:?}: waited in vain for {what}; it was told {:?}", self.vendor, {
            let Told { digits, marks, cleared, begun, .. } = self.told();
            (digits, marks, cleared, begun)
        });
    }

    fn say(&self, hz: f64, ms: u32) {
        let stream = self.told().stream;
        for action in self.vendor.say(&signal::tone(self.vendor.rate(), hz, ms, LOUD), &stream) {
            self.connection.order(action);
        }
    }

    /// Asks for a mark; false where the protocol has none.
    fn mark(&self, name: &str) -> bool {
        let mark = self.vendor.mark(name, &self.told().stream);
        let has = mark.is_some();
        mark.into_iter().for_each(|mark| self.connection.order(mark));
        has
    }
}

/// The packets of the phone in which this tone is heard, by index.
fn with_tone(packets: &[Packet], hz: f64) -> Vec<usize> {
    let loud = |packet: &Packet| audio::amplitude(&packet.samples, Codec::Pcmu.rate(), hz) > 2.0 * ABSENT;
    packets.iter().enumerate().filter(|(_, packet)| loud(packet)).map(|(index, _)| index).collect()
}

fn talks(freeswitch: &FreeSwitch, vendor: Vendor) {
    let meeting = Meeting::begin(freeswitch, vendor);
    let Meeting { call, connection, .. } = &meeting;

    // Speech there ...
    let rate = vendor.rate();
    meeting.wait("a second of speech", |told| told.heard.len() >= rate as usize * 3 / 2);
    let heard = meeting.told().heard.split_off(rate as usize / 2);
    let amplitude = audio::amplitude(&heard[..rate as usize], rate, CALLER);
    assert!(amplitude > THERE, "{vendor:?}: the bot hears the caller with {amplitude:.0}");

    // ... and back, and the mark after it comes when it has been heard.
    meeting.say(SERVER, 800);
    let marked = meeting.mark("after \"it\"");
    if marked {
        meeting.wait("the mark", |told| !told.marks.is_empty());
    }
    std::thread::sleep(Duration::from_millis(if marked { 300 } else { 1_500 }));
    let packets = call.phone.packets();
    let sounding = with_tone(&packets, SERVER);
    let ms = sounding.len() * 20;
    assert!((780..=860).contains(&ms), "{vendor:?}: of 800 ms the caller hears {ms}");
    if marked {
        let (name, at) = meeting.told().marks.remove(0);
        assert_eq!(name, "after \"it\"");
        let come = packets.iter().filter(|packet| packet.at <= at).count();
        let end = sounding.last().expect("it sounded") + 1;
        assert!(
            come + 1 >= end && come <= end + 3,
            "{vendor:?}: the voice ends at packet {end}, the mark comes after {come}"
        );
    }

    // Cleared in the midst.
    meeting.say(SERVER_AGAIN, 5_000);
    meeting.mark("never");
    let playing = || with_tone(&call.phone.packets(), SERVER_AGAIN).len() >= 25;
    assert!(eventually(SOON, playing), "{vendor:?}: nothing is heard");
    let before = call.phone.packets().len();
    connection.order(vendor.clear(&meeting.told().stream));
    if vendor.returns_cleared_marks() {
        meeting.wait("the cleared mark", |told| told.marks.len() == 2 && told.marks[1].0 == "never");
    }
    std::thread::sleep(Duration::from_millis(700));
    let packets = call.phone.packets();
    let after = with_tone(&packets, SERVER_AGAIN).into_iter().filter(|index| *index >= before).count();
    // One frame, and what was on its way.
    assert!(after <= 4, "{vendor:?}: {after} frames are heard after the clear");
    if matches!(vendor, Vendor::Plivo | Vendor::Vonage) {
        let told = meeting.told();
        assert_eq!((told.cleared.len(), told.marks.len()), (1, 1), "{vendor:?}: what was cleared is not told as heard");
    }

    // Keys both ways.
    call.phone.press("5*0#", 100);
    if vendor.tells_keys() {
        meeting.wait("the keys", |told| told.digits == "5*0#");
    }
    if let Some(keys) = vendor.send_keys("12#") {
        connection.order(keys);
        assert!(eventually(SOON, || call.phone.keys_heard() == "12#"), "{vendor:?}: '{}'", call.phone.keys_heard());
    }

    meeting.freeswitch.stream(&call.uuid, "stop");
    assert!(matches!(connection.wait_end(), Received::Close(1_000, _)), "{vendor:?}: {:?}", connection.ended());
    let ends_itself =
        matches!(vendor, Vendor::AudioFork | Vendor::Jambonz | Vendor::Twilio | Vendor::Telnyx | Vendor::Exotel);
    assert_eq!(meeting.told().ended, ends_itself, "{vendor:?}");
}

/// One case for each, so that each is named when it fails.
macro_rules! cases {
    ($($case:ident: $vendor:ident,)*) => {
        $(
            #[test]
            fn $case() {
                in_freeswitch(|freeswitch| talks(freeswitch, Vendor::$vendor));
            }
        )*
    };
}

cases! {
    a_call_with_a_native_server: Native,
    a_call_with_an_audio_fork_server: AudioFork,
    a_call_with_a_jambonz_server: Jambonz,
    a_call_with_a_twilio_bot: Twilio,
    a_call_with_a_telnyx_bot: Telnyx,
    a_call_with_a_plivo_bot: Plivo,
    a_call_with_a_vonage_bot: Vonage,
    a_call_with_an_exotel_bot: Exotel,
}
