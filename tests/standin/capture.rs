//! What the server hears of a call: which leg, at which rate, how much, whatever the call's codec.

use crate::calls::{ABSENT, CALLER, LOUD, OTHER, Stream, api, call, parked, pass, playing, switch, wait_events};
use crate::host::{Call, CallKind, CallOptions};
use crate::support::websocket_server::{Gate, Handshake, Received, Script, WebSocketServer};
use crate::support::{audio, signal};

/// Rates on the wire, each with a stream's name.
const WIRES: [(u32, &str); 5] = [(8_000, "w8"), (16_000, "w16"), (24_000, "w24"), (32_000, "w32"), (48_000, "w48")];
/// Rates of calls.
const CALLS: [u32; 3] = [8_000, 16_000, 48_000];
/// Packet lengths of calls; all divide [`LENGTH_MS`].
const PTIMES: [u32; 5] = [10, 20, 30, 40, 60];
const LENGTH_MS: u32 = 480;

/// Has the caller and the other leg sound their tones for [`LENGTH_MS`], and returns what each stream's server got.
fn tones(call: &Call<'static>, options: &CallOptions, mix: &str) -> Vec<(u32, Vec<i16>)> {
    let channels = options.channels as usize;
    let streams: Vec<_> = WIRES
        .iter()
        .map(|(rate, name)| Stream::start_as(call, name, Script::default(), &format!("{mix} {rate}")))
        .collect();
    let of_all_channels = |hz: f64| {
        let tone = signal::tone(options.rate, hz, LENGTH_MS, LOUD);
        tone.into_iter().flat_map(|sample| vec![sample; channels]).collect::<Vec<_>>()
    };
    call.speak(&of_all_channels(CALLER));
    call.play(&of_all_channels(OTHER));
    let at_once = 120 / options.ptime_ms;
    for _ in 0..LENGTH_MS / options.ptime_ms / at_once {
        call.tick(at_once);
        streams.iter().for_each(Stream::sync);
    }
    streams.iter().zip(WIRES).map(|(stream, (rate, _))| (rate, stream.stop())).collect()
}

/// Calls of every rate and ptime, and their streams at every rate.
fn everywhere(mix: &str, check: impl Fn(&str, u32, &[i16])) {
    for rate in CALLS {
        for ptime_ms in PTIMES {
            let options = CallOptions { rate, ptime_ms, ..playing() };
            let call = call(options.clone());
            for (wire, heard) in tones(&call, &options, mix) {
                check(&format!("{mix} from {rate} Hz, {ptime_ms} ms, to {wire} Hz"), wire, &heard);
            }
        }
    }
}

/// Where neither the legs' first frames nor the end matter.
fn middle(samples: &[i16], rate: u32) -> &[i16] {
    &samples[signal::samples(rate, 130)..signal::samples(rate, LENGTH_MS - 50)]
}

#[track_caller]
fn assert_tone(what: &str, samples: &[i16], rate: u32, hz: f64, expected: f64) {
    let amplitude = audio::amplitude(samples, rate, hz);
    assert!((amplitude - expected).abs() < ABSENT, "{what}: {hz} Hz with {amplitude:.0}, not {expected:.0}");
}

#[test]
fn mono_carries_the_caller_alone_from_every_call_to_every_rate() {
    everywhere("mono", |what, wire, heard| {
        assert_eq!(heard.len(), signal::samples(wire, LENGTH_MS), "{what}");
        assert_tone(what, middle(heard, wire), wire, CALLER, LOUD);
        assert_tone(what, middle(heard, wire), wire, OTHER, 0.0);
        let snr = audio::snr_of_tone(middle(heard, wire), wire, CALLER);
        assert!(snr > 60.0, "{what}: {snr:.1} dB");
    });
}

#[test]
fn mixed_carries_both_legs_from_every_call_to_every_rate() {
    everywhere("mixed", |what, wire, heard| {
        assert_eq!(heard.len(), signal::samples(wire, LENGTH_MS), "{what}");
        assert_tone(what, middle(heard, wire), wire, CALLER, LOUD);
        assert_tone(what, middle(heard, wire), wire, OTHER, LOUD);
    });
}

#[test]
fn stereo_carries_the_caller_left_and_the_other_leg_right() {
    everywhere("stereo", |what, wire, heard| {
        assert_eq!(heard.len(), 2 * signal::samples(wire, LENGTH_MS), "{what}");
        let (left, right) = (audio::channel(heard, 2, 0), audio::channel(heard, 2, 1));
        assert_tone(what, middle(&left, wire), wire, CALLER, LOUD);
        assert_tone(what, middle(&left, wire), wire, OTHER, 0.0);
        assert_tone(what, middle(&right, wire), wire, CALLER, 0.0);
        assert_tone(what, middle(&right, wire), wire, OTHER, LOUD);
    });
}

#[test]
fn a_codec_of_two_channels_gives_the_same_legs() {
    for rate in [8_000, 48_000] {
        for mix in ["mono", "mixed", "stereo"] {
            let options = CallOptions { rate, channels: 2, ..playing() };
            let call = call(options.clone());
            for (wire, heard) in tones(&call, &options, mix) {
                let what = format!("{mix} from {rate} Hz of two channels to {wire} Hz");
                let channels = if mix == "stereo" { 2 } else { 1 };
                assert_eq!(heard.len(), channels * signal::samples(wire, LENGTH_MS), "{what}");
                let left = audio::channel(&heard, channels, 0);
                let other = audio::channel(&heard, channels, channels - 1);
                assert_tone(&what, middle(&left, wire), wire, CALLER, LOUD);
                assert_tone(&what, middle(&left, wire), wire, OTHER, if mix == "mixed" { LOUD } else { 0.0 });
                assert_tone(&what, middle(&other, wire), wire, OTHER, if mix == "mono" { 0.0 } else { LOUD });
            }
        }
    }
}

#[test]
fn at_the_calls_own_rate_every_sample_is_the_callers() {
    for (rate, ptime_ms) in [(8_000, 20), (8_000, 60), (16_000, 10), (48_000, 20)] {
        let call = call(CallOptions { rate, ptime_ms, ..parked() });
        let stream = Stream::start(&call, &format!("mono {rate}"));
        let said = signal::speech(rate, 600, 17);
        call.speak(&said);
        pass(&call, &[&stream], (600 / ptime_ms) as usize);
        assert_eq!(stream.stop(), said, "{rate} Hz, {ptime_ms} ms");
    }
}

#[test]
fn nothing_is_lost_that_was_said_between_start_and_stop() {
    // Neither is waited for: not for the connection at the start, not for the worker at the end.
    for (rate, wire) in [(8_000, 8_000), (8_000, 16_000), (16_000, 24_000), (48_000, 8_000)] {
        let call = call(CallOptions { rate, ..parked() });
        let server = WebSocketServer::start(Script::default());
        let said = signal::tone(rate, CALLER, 160, LOUD);
        call.speak(&said);
        let command = |line: &str| switch().api(&format!("uuid_audio_stream {} {line}", call.uuid()));
        assert_eq!(command(&format!("start {} mono {wire}", server.url())), "+OK Success\n");
        call.tick(8);
        let connection = server.connection(0);
        connection.wait_bytes(320);
        call.speak(&said);
        call.tick(8);
        assert_eq!(command("stop"), "+OK Success\n");
        assert!(matches!(connection.wait_end(), Received::Close(1000, _)));
        let heard = connection.audio();
        assert_eq!(heard.len(), 2 * signal::samples(wire, 160), "{rate} to {wire} Hz");
        if rate == wire {
            assert_eq!(heard, [said.clone(), said].concat());
        }
    }
}

#[test]
fn a_slow_server_gets_the_newest_audio_up_to_the_bound() {
    for (length_ms, kept_ms) in [(600, 600), (1_400, 1_000)] {
        let said = signal::speech(8_000, length_ms, 3);
        let call = call(parked());
        let gate = Gate::after(0);
        let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Gate(gate.clone())));
        let command = |line: &str| switch().api(&format!("uuid_audio_stream {} {line}", call.uuid()));
        assert_eq!(
            command(&format!("start {} mono 8k max_queue_ms=1000 connect_timeout_ms=60000", server.url())),
            "+OK Success\n"
        );
        call.speak(&said);
        for frame in 1..=length_ms as usize / 20 {
            // A key is an event when the worker has looked at its frame.
            call.press("5", 100);
            call.tick(1);
            wait_events(&call, "dtmf", frame);
        }
        gate.open();
        let connection = server.connection(0);
        connection.wait_bytes(2 * signal::samples(8_000, kept_ms) as u64);
        assert_eq!(command("stop"), "+OK Success\n");
        connection.wait_end();
        let heard = connection.audio();
        assert_eq!(heard, said[said.len() - heard.len()..], "the newest of {length_ms} ms, in one piece");
        assert_eq!(heard.len(), signal::samples(8_000, kept_ms), "of {length_ms} ms");
    }
}

#[test]
fn each_message_has_buffer_ms_of_audio_but_the_last() {
    for (ptime_ms, buffer_ms) in [(20, 20), (20, 60), (10, 30), (20, 100), (60, 120), (40, 1_000)] {
        let call = call(CallOptions { ptime_ms, ..parked() });
        let stream = Stream::start(&call, &format!("stereo 16k buffer_ms={buffer_ms}"));
        let frames = (buffer_ms * 2 / ptime_ms + 1) as usize;
        pass(&call, &[&stream], frames);
        let total = stream.stop().len();
        let messages: Vec<_> = stream.connection.binaries().iter().map(Vec::len).collect();
        let (last, whole) = messages.split_last().unwrap();
        assert_eq!(whole, [buffer_ms as usize * 64; 2], "{ptime_ms} ms, buffer_ms={buffer_ms}");
        assert!(*last <= buffer_ms as usize * 64);
        assert_eq!(total, frames * ptime_ms as usize * 32);
    }
}

#[test]
fn a_codec_change_keeps_the_wire_rate_and_every_sample() {
    for wire in [8_000, 16_000, 48_000] {
        let call = call(parked());
        let stream = Stream::start(&call, &format!("mono {wire}"));
        let codecs = [
            (8_000, 20, 1),
            (16_000, 20, 1),
            (48_000, 10, 2),
            (8_000, 60, 1),
            (16_000, 30, 1),
            (48_000, 20, 2),
            (48_000, 40, 1),
            (48_000, 60, 1),
            (48_000, 40, 2),
            (8_000, 20, 1),
        ];
        for (rate, ptime_ms, channels) in codecs {
            call.set_codec(rate, ptime_ms, channels);
            let tone = signal::tone(rate, CALLER, 240, LOUD);
            let said: Vec<_> = tone.into_iter().flat_map(|sample| vec![sample; channels as usize]).collect();
            call.speak(&said);
            pass(&call, &[&stream], (240 / ptime_ms) as usize);
        }
        let heard = stream.stop();
        let segment = signal::samples(wire, 240);
        assert_eq!(heard.len(), codecs.len() * segment, "{wire} Hz");
        for (number, samples) in heard.chunks(segment).enumerate() {
            let what = format!("{:?} to {wire} Hz", codecs[number]);
            assert_tone(&what, &samples[segment / 8..segment - segment / 8], wire, CALLER, LOUD);
        }
        let messages = stream.connection.binaries();
        let whole = messages[..messages.len() - 1].iter().all(|message| message.len() == wire as usize / 25);
        assert!(whole, "messages of 20 ms throughout");
    }
}

#[test]
fn a_codec_change_keeps_the_legs_of_stereo_apart() {
    let call = call(playing());
    let stream = Stream::start(&call, "stereo 16k");
    for (rate, ptime_ms) in [(8_000, 20), (16_000, 20), (48_000, 20), (8_000, 40), (48_000, 60)] {
        call.set_codec(rate, ptime_ms, 1);
        call.speak(&signal::tone(rate, CALLER, 600, LOUD));
        call.play(&signal::tone(rate, OTHER, 600, LOUD));
        let from = stream.heard().len();
        pass(&call, &[&stream], (600 / ptime_ms) as usize);
        let heard = stream.heard().split_off(from);
        // A packet of the old codec that waited in FreeSWITCH for its other leg would be taken for one of the new: 20 ms of
        // 48 kHz for 120 ms of 8 kHz.
        let middle = &heard[signal::samples(16_000, 100) * 2..signal::samples(16_000, 500) * 2];
        let (left, right) = (audio::channel(middle, 2, 0), audio::channel(middle, 2, 1));
        let what = format!("{rate} Hz, {ptime_ms} ms");
        assert_tone(&what, &left, 16_000, CALLER, LOUD);
        assert_tone(&what, &left, 16_000, OTHER, 0.0);
        assert_tone(&what, &right, 16_000, OTHER, LOUD);
        assert_tone(&what, &right, 16_000, CALLER, 0.0);
    }
}

#[test]
fn both_legs_of_a_bridge_are_captured() {
    let (a, b) = (call(parked()), call(parked()));
    a.bridge(&b);
    let stream = Stream::start(&a, "stereo 8k");
    a.speak(&signal::tone(8_000, CALLER, 400, LOUD));
    b.speak(&signal::tone(8_000, OTHER, 400, LOUD));
    for _ in 0..20 {
        b.tick(1);
        pass(&a, &[&stream], 1);
    }
    let heard = stream.stop();
    let (left, right) = (audio::channel(&heard, 2, 0), audio::channel(&heard, 2, 1));
    assert_tone("left", &left[800..3_000], 8_000, CALLER, LOUD);
    assert_tone("right", &right[800..3_000], 8_000, OTHER, LOUD);
}

#[test]
fn a_caller_who_sends_comfort_noise_keeps_the_stream_in_time() {
    let call = call(CallOptions { comfort_noise: true, ..parked() });
    let stream = Stream::start(&call, "mono 8k");
    let said = signal::speech(8_000, 200, 9);
    call.speak(&said);
    pass(&call, &[&stream], 20);
    let heard = stream.stop();
    assert_eq!(heard[..said.len()], said[..]);
    assert_eq!(heard.len(), 20 * 160);
    assert!(heard[said.len()..].iter().all(|sample| sample.abs() <= 1), "comfort noise is silence");
}

#[test]
fn on_hold_nothing_is_captured_and_afterwards_it_goes_on() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    let said = signal::speech(8_000, 200, 21);
    call.speak(&said[..800]);
    pass(&call, &[&stream], 5);
    call.hold(true);
    pass(&call, &[&stream], 10);
    call.hold(false);
    call.speak(&said[800..]);
    pass(&call, &[&stream], 5);
    assert_eq!(stream.stop(), said);
}

#[test]
fn two_streams_of_different_shape_capture_the_same_call() {
    let call = call(CallOptions { kind: CallKind::Echo, rate: 16_000, ..parked() });
    let exact = Stream::start_as(&call, "exact", Script::default(), "mono 16k");
    let stereo = Stream::start_as(&call, "stereo", Script::default(), "stereo 8k buffer_ms=100");
    let said = signal::speech(16_000, 400, 29);
    call.speak(&said);
    pass(&call, &[&exact, &stereo], 20);
    assert_eq!(exact.stop(), said);
    let heard = stereo.stop();
    assert_eq!(heard.len(), 2 * 3_200);
    let (left, right) = (audio::channel(&heard, 2, 0), audio::channel(&heard, 2, 1));
    // The echo leaves a frame later.
    let (at, alike) = audio::find(&right, &left[..2_880]);
    assert!(alike > 0.99 && at == 160, "{alike} at {at}");
}

#[test]
fn packets_longer_than_agreed_are_captured_in_their_own_time() {
    for (packet_ms, mix) in [(40, "mono"), (60, "mono"), (30, "mono"), (40, "mixed"), (60, "stereo"), (30, "stereo")] {
        let call = call(playing());
        let stream = Stream::start(&call, &format!("{mix} 8k"));
        let said = signal::tone(8_000, CALLER, 1_260, LOUD);
        call.speak(&said);
        call.play(&signal::tone(8_000, OTHER, 1_260, LOUD));
        pass(&call, &[&stream], 15);
        call.send_packets_of(packet_ms);
        pass(&call, &[&stream], 48);
        let heard = stream.stop();
        let what = format!("{mix}, packets of {packet_ms} ms");
        let channels = if mix == "stereo" { 2 } else { 1 };
        // Beside another leg, what of the last packet waits for that leg's audio.
        let waiting = said.len() - heard.len() / channels;
        assert!(
            waiting <= if mix == "mono" { 0 } else { 8 * packet_ms as usize },
            "{what}: {waiting} samples are missing"
        );
        let left = audio::channel(&heard, channels, 0);
        if mix == "mono" {
            assert_eq!(left, said[..left.len()], "{what}");
        } else {
            let right = audio::channel(&heard, channels, channels - 1);
            for (side, hz) in [(&left, CALLER), (&right, OTHER)] {
                let ms = audio::tone_ms(side, 8_000, hz, LOUD / 2.0);
                assert!(ms >= 1_160, "{what}: {hz} Hz for {ms} of 1260 ms");
            }
        }
    }
}

#[test]
fn after_long_packets_a_pause_keeps_its_length() {
    let call = call(CallOptions { comfort_noise: true, ..parked() });
    let stream = Stream::start(&call, "mono 8k");
    let said = signal::speech(8_000, 600, 9);
    call.speak(&said);
    call.send_packets_of(60);
    pass(&call, &[&stream], 30);
    call.send_packets_of(20);
    pass(&call, &[&stream], 20);
    let heard = stream.stop();
    assert_eq!(heard[..said.len()], said[..]);
    assert_eq!(heard.len(), 50 * 160);
}

#[test]
fn a_thread_that_copies_variables_holds_up_no_frame() {
    let call = call(CallOptions { comfort_noise: true, kind: CallKind::Playing, ..parked() });
    let streams = [Stream::start_as(&call, "one", Script::default(), "mono 8k"), Stream::start(&call, "stereo 8k")];
    let streams = streams.each_ref();
    let said = signal::speech(8_000, 200, 9);
    call.speak(&said);
    // Packets, and frames that FreeSWITCH makes up.
    call.with_variables_locked(|| call.tick(20));
    // A packet that is longer than agreed has been paid back.
    call.send_packets_of(60);
    call.speak(&said[..480]);
    pass(&call, &streams, 3);
    call.send_packets_of(20);
    call.with_variables_locked(|| call.tick(5));
    pass(&call, &streams, 5);
    let heard = streams[0].stop();
    assert_eq!(heard[..said.len()], said[..]);
    assert_eq!(heard.len(), 33 * 160);
}

#[test]
fn a_masked_caller_is_withheld_from_the_other_legs_streams() {
    let (masked, other) = (call(parked()), call(playing()));
    let [stereo, mixed, mono] = [("stereo", "stereo 8k"), ("mixed", "mixed 8k"), ("mono", "mono 8k")]
        .map(|(name, arguments)| Stream::start_as(&other, name, Script::default(), arguments));
    let streams = [&stereo, &mixed, &mono];
    let passes = || {
        other.speak(&[100; 160]);
        other.play(&[7; 160]);
        pass(&other, &streams, 1);
        streams.map(|stream| stream.connection.audio())
    };
    let last = |audio: &[i16], samples: usize| audio[audio.len() - samples..].to_vec();
    let frame = |[both, one, caller]: [Vec<i16>; 3]| (last(&both, 320), last(&one, 160), last(&caller, 160));
    let side_by_side = |caller: i16, other: i16| [caller, other].repeat(160);
    passes();
    let open = (side_by_side(100, 7), vec![107; 160], vec![100; 160]);
    assert_eq!(frame(passes()), open);

    // As FreeSWITCH's bridge does it.
    for (leg, with) in [(&masked, &other), (&other, &masked)] {
        leg.set_variable("signal_bond", with.uuid());
    }
    assert_eq!(api(&format!("{} mask on", masked.uuid())), "+OK Success");
    let withheld = (side_by_side(100, 0), vec![0; 160], vec![100; 160]);
    assert_eq!(frame(passes()), withheld, "of both legs in one channel, neither is left");
    let is_masked = |name: &str| {
        let health: serde_json::Value =
            serde_json::from_str(&api(&format!("{} health name={name}", other.uuid()))).unwrap();
        health["masked"] == true
    };
    assert_eq!(["stereo", "mixed", "mono"].map(is_masked), [true, true, false]);
    stereo.wait_event("mask");
    assert_eq!(api(&format!("{} mask off", masked.uuid())), "+OK Success");
    // Both channels of a mix come back within a glide of 5 ms.
    passes();
    assert_eq!(frame(passes()), open);

    // What is left of a bridge that has ended does not count.
    other.set_variable("signal_bond", "somebody-else");
    assert_eq!(api(&format!("{} mask on", masked.uuid())), "+OK Success");
    assert_eq!(frame(passes()), open);
}

#[test]
fn frames_without_room_are_a_line_of_the_ring_and_counted() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    stream.wait_event("connect");
    // 40 s at once: no worker is that fast.
    call.tick(2_000);
    let mark = format!("[{}] RING_BUF capture_ring overflow stream=default dropped_frames=", call.uuid());
    let line = switch().wait_log(|log| log.text.starts_with(&mark));
    assert!(line.text.contains(" total=") && line.text.contains("advice=\"a worker is late"), "{}", line.text);
    let dropped = stream.health()["capture"]["dropped_frames"].as_u64().unwrap();
    assert!(dropped > 0 && line.text[mark.len()..].split(' ').next().unwrap().parse::<u64>().unwrap() > 0);
}
