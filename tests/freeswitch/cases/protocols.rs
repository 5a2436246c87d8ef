//! A call for each protocol, against a bot of its vendor.
//!
//! What the caller hears and the reports of it are compared by samples, not by when they arrive.

use std::sync::Arc;

use crate::harness::bots::{METADATA, Told, Vendor};
use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Connection, Handshake, Received, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// A frame, ms.
const FRAME_MS: u64 = 20;

/// A bot in a call.
struct Meeting<'f> {
    freeswitch: &'f FreeSwitch,
    vendor: Vendor,
    call: SipCall,
    events: Esl,
    _far: WebSocketServer,
    connection: Arc<Connection>,
}

impl<'f> Meeting<'f> {
    fn begin(freeswitch: &'f FreeSwitch, vendor: Vendor) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let events = listen_to(freeswitch);
        events.subscribe("plain CUSTOM mod_audio_stream::playback");
        let server = WebSocketServer::start(vendor.script());
        let options = format!(
            "mono {} protocol={} {} allow=dtmf inject_buffer_ms=10000 {METADATA}",
            vendor.rate(),
            vendor.name(),
            vendor.options()
        );
        freeswitch.start_stream(&call.uuid, &server, &options);
        let connection = server.connection(0);
        let meeting = Self { freeswitch, vendor, call, events, _far: server, connection };
        meeting.wait("the beginning", |told| told.begun);
        meeting
    }

    fn told(&self) -> Told {
        self.vendor.read(&self.connection.arrivals())
    }

    #[track_caller]
    fn wait(&self, what: &str, wanted: impl Fn(&Told) -> bool) {
        let came = eventually(SOON, || wanted(&self.told()));
        assert!(came, "{:?}: waited for {what}; it received {:?}", self.vendor, {
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

impl Meeting<'_> {
    /// What the caller has heard: the tones one after the other, and how many ms of each there are. Silence between two pieces of
    /// one tone is no tone.
    fn heard(&self) -> Vec<(f64, f64)> {
        let heard = self.call.phone.heard();
        let silences = audio::silences(&heard, 300, 40);
        let ends = silences.iter().map(|silence| silence.start).chain([heard.len()]);
        let begins = [0].into_iter().chain(silences.iter().map(|silence| silence.end));
        let mut tones: Vec<(f64, f64)> = Vec::new();
        for (begin, end) in begins.zip(ends).filter(|(begin, end)| end > begin) {
            for sound in heard[begin..end].chunks(80) {
                let ms = sound.len() as f64 / 8.0;
                let strength = |hz: &f64| audio::amplitude(sound, 8_000, *hz);
                let strongest =
                    [SERVER, SERVER_AGAIN, OTHER].into_iter().max_by(|a, b| strength(a).total_cmp(&strength(b)));
                match tones.last_mut() {
                    // The end of a glide is too short to be seen.
                    Some((last, all)) if strongest == Some(*last) || sound.len() < 40 => *all += ms,
                    _ => tones.extend(strongest.map(|hz| (hz, ms))),
                }
            }
        }
        tones
    }

    /// How many ms of this tone the caller has heard so far.
    fn heard_ms(&self, hz: f64) -> f64 {
        self.heard().iter().filter(|(heard, _)| *heard == hz).map(|(_, ms)| ms).sum()
    }

    /// Waits until the module tells of playback with this status, and of this mark, after so much of it; gives `played_ms`.
    #[track_caller]
    fn wait_playback(&self, status: &str, mark: Option<&str>, least_ms: u64) -> u64 {
        let played_ms = |event: &Event| event.get("Audio-Stream-Played-Ms").and_then(|ms| ms.parse::<u64>().ok());
        let found = self.events.wait_event(SOON, |event| {
            event.subclass() == "mod_audio_stream::playback"
                && event.uuid() == self.call.uuid
                && event.get("Audio-Stream-Status") == Some(status)
                && (mark.is_none() || event.get("Audio-Stream-Mark") == mark)
                && played_ms(event) >= Some(least_ms)
        });
        let event = found.unwrap_or_else(|| panic!("{:?}: no {status} of {mark:?}", self.vendor));
        let heard = mark.map(|mark| if mark == "never" { "false" } else { "true" });
        assert_eq!(event.get("Audio-Stream-Heard"), heard, "{:?}", self.vendor);
        played_ms(&event).expect("a number")
    }
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

    // ... and back, and the mark after it is answered with its last sample.
    meeting.say(SERVER, 800);
    let marked = meeting.mark("after \"it\"");
    if marked {
        meeting.wait("the mark", |told| !told.marks.is_empty());
        assert_eq!(meeting.told().marks[0].0, "after \"it\"");
    }
    let played_ms = if vendor.names_marks() {
        meeting.wait_playback("mark", Some("after \"it\""), 0)
    } else {
        meeting.wait_playback("finished", None, 0)
    };
    assert!(
        played_ms.abs_diff(800) <= FRAME_MS,
        "{vendor:?}: the voice of 800 ms ends where {played_ms} ms are played"
    );

    // Cleared in the midst.
    meeting.say(SERVER_AGAIN, 5_000);
    meeting.mark("never");
    assert!(eventually(SOON, || meeting.heard_ms(SERVER_AGAIN) >= 500.0), "{vendor:?}: nothing is heard");
    connection.order(vendor.clear(&meeting.told().stream));
    let cut = meeting.wait_playback("cleared", None, 0);
    if vendor.names_marks() {
        assert_eq!(meeting.wait_playback("mark", Some("never"), 0), cut, "{vendor:?}");
    }
    if vendor.returns_cleared_marks() {
        meeting.wait("the cleared mark", |told| told.marks.len() == 2 && told.marks[1].0 == "never");
    }
    if matches!(vendor, Vendor::Plivo | Vendor::Vonage) {
        meeting.wait("the clear", |told| told.cleared.len() == 1);
        assert_eq!(meeting.told().marks.len(), 1, "{vendor:?}: what was cleared is not told as heard");
    }

    // What is said afterwards is heard at once, and nothing more of what was cleared comes before, in or after it.
    meeting.say(OTHER, 400);
    let all_ms = meeting.wait_playback("finished", None, cut + 1);
    assert!((all_ms - cut).abs_diff(400) <= FRAME_MS, "{vendor:?}: {all_ms} ms are played, {cut} before the last 400");
    assert!(eventually(SOON, || meeting.heard_ms(OTHER) >= 380.0), "{vendor:?}: {:?}", meeting.heard());
    let health = freeswitch.json(&format!("{} health", call.uuid));
    let (tones, what) = (meeting.heard(), format!("{vendor:?}: cleared at {cut} ms; {health}"));
    assert_eq!(tones.iter().map(|tone| tone.0).collect::<Vec<_>>(), [SERVER, SERVER_AGAIN, OTHER], "{what}");
    for ((hz, ms), expected) in tones.iter().zip([played_ms, cut - played_ms, all_ms - cut]) {
        assert!(
            (ms - expected as f64).abs() <= FRAME_MS as f64,
            "of {hz} Hz {ms} ms are heard, not {expected}; {what}"
        );
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
        !matches!(vendor, Vendor::Native | Vendor::NativePcmu | Vendor::Plivo | Vendor::Vonage | Vendor::Asterisk);
    assert_eq!(meeting.told().ended, ends_itself, "{vendor:?}");
}

#[test]
fn an_asterisk_server_answers_its_call_and_hangs_it_up() {
    in_freeswitch(|freeswitch| {
        let innocent = SipCall::place(freeswitch, &Dial::to("park"));
        let script = Script::of([Action::Text("ANSWER".to_owned())]).with_handshake(Handshake::Subprotocol("media"));
        let server = WebSocketServer::start(script);
        let arguments = format!("{} mono 8k protocol=asterisk allow=answer,hangup", server.url());
        // Returns when the call is answered, which nobody but the server does.
        let call = SipCall::place(freeswitch, &Dial::to("answered-by-server").header("X-Stream", arguments));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let connection = server.connection(0);
        let start = connection.wait_text(|text| text.starts_with("MEDIA_START "));
        assert!(start.contains(&format!(" channel_id:{} format:ulaw optimal_frame_size:160", call.uuid)), "{start}");
        connection.wait_bytes(8_000);
        connection.order(Action::Text("HANGUP".to_owned()));
        assert!(eventually(SOON, || call.ended()), "the call goes on: {:?}", connection.texts());
        assert!(matches!(connection.wait_end(), Received::Close(1_000, _)), "{:?}", connection.ended());
        assert!(freeswitch.exists(&innocent.uuid) && !innocent.ended());
    });
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
    a_call_with_a_native_server_by_g711: NativePcmu,
    a_call_with_an_audio_fork_server: AudioFork,
    a_call_with_a_jambonz_server: Jambonz,
    a_call_with_a_twilio_bot: Twilio,
    a_call_with_a_telnyx_bot: Telnyx,
    a_call_with_a_plivo_bot: Plivo,
    a_call_with_a_vonage_bot: Vonage,
    a_call_with_an_exotel_bot: Exotel,
    a_call_with_a_pipecat_bot: Pipecat,
    a_call_with_an_asterisk_server: Asterisk,
}
