//! What the server sends reaches the caller, whatever the channel is doing.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, THERE, listen_to};
use crate::support::websocket_server::{Action, Echo, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

/// What the caller hears while the server is silent.
enum Otherwise {
    Nothing,
    Tone(f64),
}

/// Calls `extension`, lets the server play two seconds of tone, and holds what was heard against it: the whole tone,
/// in one piece, clean, with nothing else in it, and afterwards what there was before.
fn the_caller_hears_the_server(freeswitch: &FreeSwitch, extension: &str, codec: Codec, otherwise: &Otherwise) {
    let rate = codec.rate();
    let call = SipCall::place(freeswitch, &Dial::to(extension).codec(codec));
    call.phone.say_forever(&signal::tone(rate, CALLER, 1_000, LOUD));
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&call.uuid, &server, "mono 8k");
    let connection = server.connection(0);
    connection.wait_bytes(8_000);
    let bridged = extension.starts_with("bridge");
    let file = freeswitch.folder.join(format!("recordings/given-{}.wav", call.uuid));
    if bridged {
        freeswitch.stream(&call.uuid, &format!("record start {}", file.display()));
    }

    connection.order(Action::Play(Play::mono(signal::tone(16_000, SERVER, 2_000, LOUD), 16_000)));
    let heard = call.phone.listen(Duration::from_millis(4_000));
    let block = (rate / 100) as usize;
    if bridged {
        // As it left the module.
        freeswitch.stream(&call.uuid, "record stop");
        let given = wav::read(&file).expect("the module wrote it").channel(1);
        let stretches = audio::tone_stretches(&given, rate, SERVER, THERE, block);
        assert_eq!(stretches.len(), 1, "{extension}: the channel is given the tone in one piece, not {stretches:?}");
        let whole = stretches[0].len().abs_diff(2 * rate as usize) <= rate as usize / 50;
        assert!(whole, "{extension}: the channel is given {stretches:?} of a tone of 2 s");
        let middle = &given[stretches[0].start + 2 * block..stretches[0].end - 2 * block];
        let snr = audio::snr_of_tone(middle, rate, SERVER);
        assert!(snr > 45.0, "{extension}: the channel is given the tone with {snr:.1} dB");
    }
    let stretches = audio::tone_stretches(&heard, rate, SERVER, THERE, block);
    assert_eq!(stretches.len(), 1, "{extension}: the server's tone comes in one piece, not {stretches:?}");
    let tone = stretches[0].clone();
    let ms = tone.len() as u32 * 1_000 / rate;
    assert!((1_960..=2_020).contains(&ms), "{extension}: heard {ms} ms of a tone of 2000");
    let middle = &heard[tone.start + rate as usize / 4..tone.end - rate as usize / 4];
    // On a starved machine FreeSWITCH itself drops a frame of a bridge now and then, after it has passed the module, as the
    // recording has shown; each piece of the wave is still whole.
    let seams = audio::seams(middle, rate, SERVER, block);
    let bounds: Vec<_> = [0].into_iter().chain(seams.iter().copied()).chain([middle.len()]).collect();
    let pieces = bounds.windows(2).filter(|pair| pair[1] - pair[0] > 4 * block);
    let snr = pieces.map(|pair| audio::snr_of_tone(&middle[pair[0] + block..pair[1] - block], rate, SERVER));
    let snr = snr.fold(f64::MAX, f64::min);
    let least = if codec == Codec::Pcmu { 30.0 } else { 45.0 };
    if snr <= least || seams.len() > if bridged { 2 } else { 0 } {
        let file = freeswitch.folder.join("recordings/heard.wav");
        let _ = wav::write(&file, rate, 1, &heard);
        let health = freeswitch.json(&format!("{} health", call.uuid));
        let (missing, disordered) = (heard.missing, heard.disordered);
        panic!(
            "{extension}: the server's tone has {snr:.1} dB, seams at {seams:?} of {}; no packet for {missing} samples, \
             {disordered} packets out of order; heard: {}; {health}",
            middle.len(),
            file.display()
        );
    }

    // A writer that is late on a busy machine shifts what follows; one that skips every other frame is not late.
    let missing = heard.missing as u32 * 1_000 / rate;
    let parked = matches!(otherwise, Otherwise::Nothing);
    assert!(parked || missing < 400, "{extension}: for {missing} ms of 4000 there is no packet");
    let after = heard.get(tone.end + rate as usize / 5..).unwrap_or_default();
    match otherwise {
        Otherwise::Nothing => assert!(audio::rms(after) < 50.0, "{extension}: silence follows the server's tone"),
        Otherwise::Tone(hz) => {
            let amplitude = audio::amplitude(middle, rate, *hz);
            assert!(amplitude < ABSENT, "{extension}: {hz} Hz under the server's tone: {amplitude}");
            let amplitude = audio::amplitude(&after[..rate as usize / 2], rate, *hz);
            assert!(amplitude > THERE, "{extension}: {hz} Hz is not heard again: {amplitude}");
        }
    }
    assert!(freeswitch.exists(&call.uuid));
}

fn heard_in(extension: &'static str, otherwise: Otherwise) {
    in_freeswitch(|freeswitch| {
        the_caller_hears_the_server(freeswitch, extension, Codec::Pcmu, &otherwise);
    });
}

#[test]
fn a_parked_caller_hears_the_server() {
    heard_in("park", Otherwise::Nothing);
}

#[test]
fn a_sleeping_caller_hears_the_server() {
    heard_in("sleep", Otherwise::Nothing);
}

#[test]
fn a_caller_in_playback_hears_the_server() {
    heard_in("tone-700", Otherwise::Tone(OTHER));
}

#[test]
fn a_caller_in_echo_hears_the_server() {
    heard_in("echo", Otherwise::Tone(CALLER));
}

#[test]
fn a_bridged_caller_hears_the_server() {
    heard_in("bridge-tone-700", Otherwise::Tone(OTHER));
}

#[test]
fn a_caller_alone_in_a_conference_hears_the_server() {
    heard_in("conference-alone", Otherwise::Nothing);
}

#[test]
fn a_caller_with_l16_at_16_khz_hears_the_server() {
    in_freeswitch(|freeswitch| {
        the_caller_hears_the_server(freeswitch, "park", Codec::L16, &Otherwise::Nothing);
        freeswitch.hang_up_all();
        the_caller_hears_the_server(freeswitch, "tone-700", Codec::L16, &Otherwise::Tone(OTHER));
    });
}

#[test]
fn only_its_own_conference_member_hears_the_server() {
    in_freeswitch(|freeswitch| {
        let one = SipCall::place(freeswitch, &Dial::to("conference-pair"));
        let other = SipCall::place(freeswitch, &Dial::to("conference-pair"));
        one.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        other.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&one.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(8_000);
        server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
        let from = other.phone.heard().len();
        let heard = one.phone.listen(Duration::from_secs(3));
        let overheard = other.phone.heard().samples.split_off(from);
        assert!(audio::tone_ms(&heard, 8_000, SERVER, THERE) >= 1_400);
        assert!(
            audio::tone_ms(&heard, 8_000, OTHER, THERE) >= 500,
            "the other member is heard when the server is silent"
        );
        assert_eq!(audio::tone_ms(&overheard, 8_000, SERVER, ABSENT), 0);
        assert!(audio::tone_ms(&overheard, 8_000, CALLER, THERE) >= 2_000);
    });
}

#[test]
fn raw_binary_audio_of_odd_chunks_is_heard_whole() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 16k");
        let said = signal::speech(16_000, 1_500, 11);
        let play = Play::mono(said.clone(), 16_000).form(Form::Binary).chunks(333);
        server.connection(0).order(Action::Play(play));
        let heard = call.phone.listen(Duration::from_secs(3));
        let (at, alike) = audio::find(&heard, &said);
        assert!(alike > 0.999, "the server's speech is at best {alike} alike");
        let exact = heard[at..].iter().zip(&said).filter(|(heard, said)| heard == said).count();
        assert_eq!(exact, said.len(), "16 kHz to 16 kHz arrives sample for sample");
    });
}

#[test]
fn stereo_audio_of_another_rate_is_heard_as_one_channel() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let [left, right] = [SERVER, SERVER_AGAIN].map(|hz| signal::tone(24_000, hz, 1_000, 2.0 * LOUD));
        let both = signal::interleave(&left, &right);
        server.connection(0).order(Action::Play(Play::mono(both, 24_000).stereo()));
        let heard = call.phone.listen(Duration::from_millis(2_500));
        for hz in [SERVER, SERVER_AGAIN] {
            let ms = audio::tone_ms(&heard, 8_000, hz, THERE);
            assert!((940..=1_040).contains(&ms), "{hz} Hz is heard for {ms} ms");
        }
    });
}

#[test]
fn audio_that_comes_all_at_once_is_heard_whole_and_in_order() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=10000");
        let mut said = signal::tone(8_000, SERVER, 1_000, LOUD);
        said.extend(signal::tone(8_000, SERVER_AGAIN, 4_000, LOUD));
        server.connection(0).order(Action::Play(Play::mono(said, 8_000)));
        let heard = call.phone.listen(Duration::from_millis(6_500));
        let first = audio::tone_stretches(&heard, 8_000, SERVER, THERE, 160);
        let second = audio::tone_stretches(&heard, 8_000, SERVER_AGAIN, THERE, 160);
        assert_eq!((first.len(), second.len()), (1, 1), "each tone comes once: {first:?} {second:?}");
        assert!(first[0].end <= second[0].start + 160);
        assert!(
            first[0].len().abs_diff(8_000) <= 320 && second[0].len().abs_diff(32_000) <= 320,
            "{first:?} {second:?}"
        );
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert_eq!(health["inject"]["overflow_count"], 0, "{health}");
        assert_eq!(health["inject"]["buffer_inuse_bytes"], 0, "memory is released when it has played: {health}");
        let played = health["inject"]["played_ms"].as_u64().unwrap_or_default();
        assert!((4_990..=5_010).contains(&played), "{health}");
    });
}

#[test]
fn an_answer_longer_than_the_buffer_is_heard_whole() {
    in_freeswitch(|freeswitch| {
        let (call, innocent) =
            (SipCall::place(freeswitch, &Dial::to("park")), SipCall::place(freeswitch, &Dial::to("park")));
        let events = listen_to(freeswitch);
        let [server, beside] = [(); 2].map(|()| WebSocketServer::start(Script::default()));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=1000 heartbeat_s=1");
        freeswitch.start_stream(&innocent.uuid, &beside, "mono 8k");
        // 24 s of 48 kHz, of which one may wait and eleven, a MiB, are read ahead.
        let step = |n: u32| 500.0 + 110.0 * f64::from(n);
        let said: Vec<_> = (0..24).flat_map(|n| signal::tone(48_000, step(n), 1_000, LOUD)).collect();
        server.connection(0).order(Action::Play(Play::mono(said, 48_000)));
        let answer = signal::tone(8_000, SERVER_AGAIN, 20_000, LOUD);
        beside.connection(0).order(Action::Play(Play::mono(answer, 8_000)));
        call.phone.listen(Duration::from_secs(3));
        let health = freeswitch.json(&format!("{} health", call.uuid));
        let waiting = health["inject"]["buffer_inuse_bytes"].as_u64().unwrap_or_default() / 96;
        assert!((9_000..=14_500).contains(&waiting), "{waiting} ms wait: {health}");
        call.phone.listen(Duration::from_millis(22_500));
        let heard = call.phone.heard();
        let mut end = 0;
        for n in 0..24 {
            let stretches = audio::tone_stretches(&heard, 8_000, step(n), THERE, 80);
            let ms: usize = stretches.iter().map(|stretch| stretch.len() / 8).sum();
            assert!((960..=1_040).contains(&ms), "of second {n} {ms} ms are heard: {stretches:?}");
            let start = stretches.first().map_or(0, |stretch| stretch.start);
            assert!(start + 160 >= end, "second {n} is heard at {start}, before the one that precedes it");
            end = stretches.last().map_or(end, |stretch| stretch.end);
        }
        let ms = audio::tone_ms(&innocent.phone.heard(), 8_000, SERVER_AGAIN, THERE);
        assert!((19_900..=20_060).contains(&ms), "beside it {ms} of 20000 ms are heard");
        for uuid in [&call.uuid, &innocent.uuid] {
            assert!(events.stream_events("overflow", uuid).is_empty(), "nothing is lost");
            let health = freeswitch.json(&format!("{uuid} health"));
            assert_eq!(health["health"], "HEALTHY", "{health}");
        }
    });
}

#[test]
fn an_overflow_is_reported_and_the_stream_goes_on() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=2000 inject_full=drop");
        server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 60_000, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_millis(4_500));
        let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
        assert!((100..=3_000).contains(&ms), "of the minute {ms} ms are heard");
        events.wait_stream("overflow", &call.uuid);
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert!(health["inject"]["overflow_count"].as_u64() > Some(0), "{health}");
        assert_eq!(health["health"], "DEGRADED", "{health}");
        server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER_AGAIN, 500, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_millis(1_500));
        assert!(audio::tone_ms(&heard, 8_000, SERVER_AGAIN, THERE) >= 460);
    });
}

#[test]
fn clear_drops_what_was_queued_and_nothing_that_follows() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=20000");
        let connection = server.connection(0);
        connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 10_000, LOUD), 8_000)));
        let playing = || audio::tone_ms(&call.phone.heard(), 8_000, SERVER, THERE) >= 1_000;
        assert!(eventually(Duration::from_secs(5), playing), "the tone does not begin");
        freeswitch.stream(&call.uuid, "clear");
        // The packets under way at that moment are let pass; then there is silence.
        let _ = call.phone.listen(Duration::from_millis(100));
        let silence = call.phone.listen(Duration::from_millis(700));
        assert!(audio::rms(&silence) < 50.0, "after clear there is {}", audio::rms(&silence));

        connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER_AGAIN, 600, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_millis(1_500));
        let ms = audio::tone_ms(&heard, 8_000, SERVER_AGAIN, THERE);
        assert!((560..=640).contains(&ms), "{ms} ms of the 600 sent after clear are heard");
        assert_eq!(audio::tone_ms(&heard, 8_000, SERVER, ABSENT), 0);
    });
}

#[test]
fn mixed_injection_leaves_the_other_leg_audible() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_mode=mix");
        server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_secs(3));
        let both = audio::tone_stretches(&heard, 8_000, SERVER, THERE, 160);
        assert_eq!(both.len(), 1, "{both:?}");
        let middle = &heard[both[0].start + 800..both[0].end - 800];
        assert!(audio::amplitude(middle, 8_000, OTHER) > THERE);
    });
}

#[test]
fn an_echoing_server_returns_the_callers_speech() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        let server = WebSocketServer::start(Script::echo(Echo::StreamAudio { rate: 16_000, channels: 1 }));
        // On a busy machine the echo comes late too; 400 ms that wait make up for it.
        freeswitch.start_stream(&call.uuid, &server, "mono 16k inject_min_buffer_ms=400");
        server.connection(0).wait_bytes(3_200);
        let lost_before = freeswitch.packets_lost(&call.uuid);
        call.phone.say(&signal::speech(16_000, 1_500, 5));
        call.phone.listen(Duration::from_millis(700));
        call.phone.falter(Duration::from_millis(70));
        call.phone.listen(Duration::from_secs(3));
        let lost = freeswitch.packets_lost(&call.uuid) - lost_before;
        let heard = call.phone.heard();
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert_eq!(health["inject"]["underrun_count"], 0, "{health}");

        // FreeSWITCH makes up a frame where a packet comes late. So what was said is compared packet by packet, and what the
        // server received must come back exactly as it was.
        let received = server.connection(0).audio();
        let mut from = 0;
        let said =
            call.phone.said().into_iter().map(|packet| packet.samples).filter(|samples| audio::rms(samples) > 0.0);
        let missing =
            said.filter(|packet| match received[from..].windows(packet.len()).position(|there| there == packet) {
                Some(at) => {
                    from += at + packet.len();
                    false
                }
                None => true,
            });
        let missing = missing.count() as u64;
        assert!(missing <= lost, "{missing} packets are missing, and FreeSWITCH says that it lost {lost}");
        let sounds = |sample: &i16| sample.unsigned_abs() > 1;
        let begin = received.iter().position(sounds).expect("the caller speaks") - 160;
        let speech = &received[begin..from + 160];
        assert!(
            heard.windows(speech.len()).any(|there| there == speech),
            "what the server sent is not heard as it was"
        );
    });
}

#[test]
fn an_opus_caller_at_48_khz_is_streamed_and_hears_the_server() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let tag = freeswitch.new_uuid();
        let port = freeswitch.ports.sip;
        // The caller is FreeSWITCH, too: the leg it places is the phone, whose ear is recorded.
        let phone = freeswitch.originate(
            &format!("sofia/tests/park@127.0.0.1:{port}"),
            "playback(tone_stream://v=-13;%(60000,0,440))",
            &format!("absolute_codec_string=opus@48000h@20i,sip_h_X-Tag={tag},RECORD_READ_ONLY=true"),
        );
        let answered = events.wait_event(Duration::from_secs(5), |event| {
            event.get("variable_sip_h_X-Tag") == Some(&tag) && event.uuid() != phone
        });
        let caller = answered.expect("the call arrives").uuid().to_owned();
        assert_eq!(freeswitch.variable(&caller, "read_rate").as_deref(), Some("48000"));

        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&caller, &server, "mono 48k");
        let connection = server.connection(0);
        connection.wait_bytes(2 * 96_000);
        let captured = connection.audio().split_off(48_000);
        assert!(audio::amplitude(&captured, 48_000, CALLER) > 2_000.0);
        assert!(audio::snr_of_tone(&captured[..24_000], 48_000, CALLER) > 15.0);

        let file = freeswitch.folder.join("recordings/opus.wav");
        freeswitch.ok(&format!("uuid_record {phone} start {}", file.display()));
        connection.order(Action::Play(Play::mono(signal::tone(24_000, SERVER, 2_000, LOUD), 24_000)));
        std::thread::sleep(Duration::from_millis(3_500));
        freeswitch.ok(&format!("uuid_record {phone} stop {}", file.display()));
        let wav = wav::read(&file).expect("FreeSWITCH wrote it");
        let heard = wav.channel(0);
        let ms = audio::tone_ms(&heard, wav.rate, SERVER, THERE);
        // A recording leaves out what comes late on a busy machine.
        assert!((1_700..=2_100).contains(&ms), "the caller heard {ms} ms of a tone of 2000 at {} Hz", wav.rate);
    });
}
