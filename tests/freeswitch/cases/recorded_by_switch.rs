//! Recordings that FreeSWITCH makes of a call in which the server speaks now and then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, SERVER, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, signal, wav};

/// Who writes to the caller while the server is silent: nobody, FreeSWITCH's silence, its comfort noise, the caller's own echo, a
/// tone; and whether the module sends silence.
const CALLS: [(&str, bool); 7] = [
    ("park", false),
    ("park", true),
    ("sleep", false),
    ("park-silent", false),
    ("park-noise", false),
    ("echo", false),
    ("tone-700", false),
];

/// The server says a second so many times, each 3 s after the one before.
const BURSTS: usize = 6;

/// A call that is being recorded.
struct Recorded {
    what: String,
    stereo: bool,
    call: SipCall,
    _server: WebSocketServer,
    file: PathBuf,
    began: Instant,
}

impl Recorded {
    fn start(freeswitch: &FreeSwitch, (extension, silence): (&str, bool), stereo: bool, recording_first: bool) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to(extension));
        call.phone.hum(CALLER, LOUD);
        let file = freeswitch.folder.join(format!("recordings/{extension}-{silence}-{stereo}-{recording_first}.wav"));
        freeswitch.ok(&format!("uuid_setvar {} RECORD_STEREO {stereo}", call.uuid));
        let record = || {
            freeswitch.ok(&format!("uuid_record {} start {}", call.uuid, file.display()));
            Instant::now()
        };
        let early = recording_first.then(record);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k binary_rate=8k send_silence={silence}"));
        let connection = server.connection(0);
        connection.wait_bytes(3_200);
        let began = early.unwrap_or_else(record);
        let said = Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000).form(Form::Binary);
        for _ in 0..BURSTS {
            connection.order(Action::Play(said.clone()));
            connection.order(Action::Wait(Duration::from_secs(3)));
        }
        let what = format!("{extension}, silence: {silence}, stereo: {stereo}, recording first: {recording_first}");
        Self { what, stereo, call, _server: server, file, began }
    }

    /// Of a call without a stream `unrecorded` ms are missing in FreeSWITCH's recording.
    fn is_whole(&self, freeswitch: &FreeSwitch, unrecorded: usize) {
        let what = &self.what;
        let wall = self.began.elapsed().as_millis() as usize;
        freeswitch.ok(&format!("uuid_record {} stop {}", self.call.uuid, self.file.display()));
        std::thread::sleep(Duration::from_millis(300));
        let recorded = wav::read(&self.file).expect("FreeSWITCH wrote it");
        assert_eq!(recorded.channels, if self.stereo { 2 } else { 1 }, "{what}");
        let right = recorded.channel(u16::from(self.stereo));
        let ms = right.len() / 8;
        let whole = ms <= wall + 100 && ms + unrecorded + 100 >= wall;
        assert!(whole, "{what}: of {wall} ms {ms} ms are recorded; of a call without a stream {unrecorded} ms are not");
        // Start and length of each; what FreeSWITCH does not record of a call tears one in two.
        let mut bursts: Vec<(usize, usize)> = Vec::new();
        for piece in audio::tone_stretches(&right, recorded.rate, SERVER, THERE, 80) {
            match bursts.last_mut() {
                Some((start, length)) if piece.start - *start < 12_000 => *length += piece.len(),
                _ => bursts.push((piece.start, piece.len())),
            }
        }
        assert_eq!(bursts.len(), BURSTS, "{what}: {bursts:?}");
        for (_, length) in &bursts {
            assert!((980 - unrecorded.min(980)..=1_020).contains(&(length / 8)), "{what}: {bursts:?}");
        }
        for pair in bursts.windows(2) {
            let period = (pair[1].0 - pair[0].0) / 8;
            let least = 2_940 - unrecorded.min(2_940);
            assert!((least..=3_060).contains(&period), "{what}: {period} ms from one to the next: {bursts:?}");
        }
        let left = recorded.channel(0);
        let tone = audio::tone_ms(&left, recorded.rate, CALLER, THERE) as usize;
        assert!(tone + 400 + unrecorded >= ms, "{what}: of {ms} ms the caller is in {tone}");
        if self.stereo {
            // Where FreeSWITCH's recorder joins what it has of the caller, the jump has something of all frequencies, for a block.
            let block = (recorded.rate / 50) as usize;
            let pieces = audio::tone_stretches(&left, recorded.rate, SERVER, ABSENT, block);
            assert!(pieces.iter().all(|piece| piece.len() <= block), "{what}: the server is right alone: {pieces:?}");
            let loudest =
                left.chunks(block).map(|block| audio::amplitude(block, recorded.rate, SERVER)).fold(0.0, f64::max);
            assert!(loudest < LOUD / 4.0, "{what}: of the server {loudest} are in the caller's channel");
        }
    }
}

#[test]
fn a_recording_of_freeswitch_has_the_server_in_its_place() {
    in_freeswitch(|freeswitch| {
        for stereo in [true, false] {
            // All at once: the recordings do not disturb each other.
            let running: Vec<_> = [true, false]
                .into_iter()
                .flat_map(|first| CALLS.map(|call| (call, first)))
                .map(|(call, first)| Recorded::start(freeswitch, call, stereo, first))
                .collect();
            let (plain, file) =
                (SipCall::place(freeswitch, &Dial::to("park")), format!("recordings/plain-{stereo}.wav"));
            let file = freeswitch.folder.join(file);
            freeswitch.ok(&format!("uuid_record {} start {}", plain.uuid, file.display()));
            let began = Instant::now();
            std::thread::sleep(Duration::from_secs(3 * BURSTS as u64 + 1));
            let wall = began.elapsed().as_millis() as usize;
            freeswitch.ok(&format!("uuid_record {} stop {}", plain.uuid, file.display()));
            std::thread::sleep(Duration::from_millis(300));
            let recorded = wav::read(&file).expect("FreeSWITCH wrote it").channel(0).len() / 8;
            let unrecorded = wall.saturating_sub(recorded);
            running.iter().for_each(|recorded| recorded.is_whole(freeswitch, unrecorded));
            freeswitch.hang_up_all();
        }
    });
}
