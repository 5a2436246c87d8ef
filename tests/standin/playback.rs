//! What the caller hears of the server's audio, whatever the call is doing meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{
    ABSENT, CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, Stream, call, has_stood_still, parked, pass, pass_by_keys,
    pass_paced, playing,
};
use crate::calls::{switch, wait_detached};
use crate::host::{CallKind, CallOptions, Log, flag};
use crate::support::websocket_server::{Action, Form, PATIENCE, Play, Received, Script, stream_audio};
use crate::support::{audio, eventually, signal};

/// How often a test by the clock is tried on a machine that is busy elsewhere: it starves the worker now and then, which the
/// count of underruns tells.
const ATTEMPTS: u32 = 8;

/// Samples over which a sound glides into silence or another: 5 ms of 8 kHz.
const GLIDE: usize = 40;

fn tone(hz: f64, ms: u32) -> Vec<i16> {
    signal::tone(8_000, hz, ms, LOUD)
}

#[track_caller]
fn assert_tone(what: &str, samples: &[i16], rate: u32, hz: f64, expected: f64) {
    let amplitude = audio::amplitude(samples, rate, hz);
    assert!((amplitude - expected).abs() < ABSENT, "{what}: {hz} Hz with {amplitude:.0}, not {expected:.0}");
}

/// Where `said` begins in `heard`, by the first sample that is not silent.
fn start_of(said: &[i16], heard: &[i16]) -> usize {
    let first = |samples: &[i16]| samples.iter().position(|sample| *sample != 0).unwrap_or(0);
    first(heard).saturating_sub(first(said))
}

#[test]
fn at_the_calls_rate_each_sample_is_heard_once_then_silence() {
    let said = signal::speech(8_000, 700, 31);
    for (form, chunk) in
        [(Form::StreamAudio, 1_600), (Form::StreamAudio, 333), (Form::Bare, 640), (Form::Binary, 4_000)]
    {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        pass(&call, &[&stream], 3);
        let from = call.heard_count();
        stream.play(Play::mono(said.clone(), 8_000).form(form).chunks(chunk));
        pass(&call, &[&stream], 40);
        let heard = call.heard_from(from);
        assert_eq!(heard[..said.len()], said[..], "messages of {chunk} bytes");
        assert!(heard[said.len() + GLIDE..].iter().all(|sample| *sample == 0));
        assert_eq!(stream.health()["inject"]["played_ms"], 700);
        assert_eq!(stream.health()["inject"]["buffer_inuse_bytes"], 0);
    }
}

#[test]
fn binary_audio_may_be_cut_anywhere_even_within_a_sample() {
    let said = signal::speech(8_000, 200, 37);
    for chunk in [1, 3, 159, 321] {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        stream.play(Play::mono(said.clone(), 8_000).form(Form::Binary).chunks(chunk));
        pass(&call, &[&stream], 12);
        assert_eq!(call.heard()[..said.len()], said[..], "messages of {chunk} bytes");
    }
}

#[test]
fn two_channels_of_the_server_become_one_for_the_caller() {
    let both = signal::interleave(&tone(SERVER, 400), &tone(SERVER_AGAIN, 400));
    for (form, chunk) in [(Form::StreamAudio, 3_200), (Form::Binary, 333), (Form::StreamAudio, 1_001)] {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k binary_rate=8000 binary_channels=2");
        stream.play(Play::mono(both.clone(), 8_000).stereo().form(form).chunks(chunk));
        pass(&call, &[&stream], 22);
        let heard = &call.heard()[..3_200];
        assert_tone("left", heard, 8_000, SERVER, LOUD / 2.0);
        assert_tone("right", heard, 8_000, SERVER_AGAIN, LOUD / 2.0);
    }
}

#[test]
fn every_server_rate_is_heard_clean_on_every_call() {
    const MS: u32 = 600;
    let calls: Vec<_> = [8_000, 16_000, 48_000]
        .iter()
        .flat_map(|&rate| [8_000, 16_000, 24_000, 32_000, 48_000].map(|from| (rate, from)))
        .map(|(rate, from)| (call(CallOptions { rate, ..playing() }), rate, from))
        .collect();
    let streams: Vec<_> = calls.iter().map(|(call, ..)| Stream::start(call, "mono 8k")).collect();
    for (stream, (_, _, from)) in streams.iter().zip(&calls) {
        stream.play(Play::mono(signal::tone(*from, SERVER, MS, LOUD), *from));
    }
    for _ in 0..MS / 20 + 5 {
        let due = Instant::now() + Duration::from_millis(20);
        for (stream, (call, ..)) in streams.iter().zip(&calls) {
            pass(call, &[stream], 1);
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // The end of the server's audio is due meanwhile, even if the worker wakes late for it.
        streams.iter().for_each(Stream::sync);
    }
    for (stream, (call, rate, from)) in streams.iter().zip(&calls) {
        let what = format!("{from} Hz on a call of {rate} Hz");
        let heard = call.heard();
        let length = signal::samples(*rate, MS);
        let health = stream.health();
        assert_eq!(health["inject"]["played_ms"], MS, "{what}: {health}");
        let snr = audio::snr_of_tone(&heard[length / 20..length - length / 20], *rate, SERVER);
        assert!(snr > 60.0, "{what}: {snr:.1} dB");
        assert_tone(&what, &heard[..length], *rate, SERVER, LOUD);
        let rest = heard.len() - length - signal::samples(*rate, 5);
        assert!(heard[heard.len() - rest..].iter().all(|sample| *sample == 0), "{what}: silence follows");
    }
}

#[test]
fn a_codec_of_two_channels_plays_on_both() {
    let call = call(CallOptions { rate: 16_000, channels: 2, ..playing() });
    let stream = Stream::start(&call, "mono 8k");
    let said = signal::speech(16_000, 300, 41);
    stream.play(Play::mono(said.clone(), 16_000));
    pass(&call, &[&stream], 20);
    assert_eq!(call.heard()[..2 * said.len()], signal::interleave(&said, &said)[..]);
}

#[test]
fn a_long_answer_sent_at_once_is_heard_to_its_end_in_order() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_buffer_ms=30000");
    let said = signal::speech(8_000, 12_000, 43);
    stream.play(Play::mono(said.clone(), 8_000));
    pass(&call, &[&stream], 605);
    assert_eq!(call.heard()[..said.len()], said[..]);
    assert_eq!(stream.health()["inject"]["underrun_count"], 0);
}

#[test]
fn parked_callers_of_any_codec_hear_the_modules_own_clock() {
    const MS: u32 = 1_000;
    let shapes = [(8_000, 20), (16_000, 20), (48_000, 10), (8_000, 60), (8_000, 30)];
    for attempt in 1.. {
        let calls = shapes.map(|(rate, ptime_ms)| call(CallOptions { rate, ptime_ms, ..CallOptions::default() }));
        let streams = calls.each_ref().map(|call| Stream::start(call, "mono 8k"));
        thread::sleep(Duration::from_millis(150));
        assert!(calls.iter().all(|call| call.heard_count() == 0), "nothing is written while there is nothing to hear");
        let said = shapes.map(|(rate, _)| signal::speech(rate, MS, u64::from(rate)));
        for ((stream, said), (rate, _)) in streams.iter().zip(&said).zip(shapes) {
            stream.play(Play::mono(said.clone(), rate));
        }
        for (stream, call) in streams.iter().zip(&calls) {
            call.wait_until("all is heard", |_| stream.health()["inject"]["played_ms"] == MS);
        }
        if attempt < ATTEMPTS && streams.iter().any(|stream| stream.health()["inject"]["underrun_count"] != 0) {
            continue;
        }
        thread::sleep(Duration::from_millis(600));
        let counts = calls.each_ref().map(|call| call.heard_count());
        for ((call, said), (rate, ptime_ms)) in calls.iter().zip(&said).zip(shapes) {
            let heard = call.heard();
            let at = start_of(said, &heard);
            assert_eq!(heard[at..at + said.len()], said[..], "{rate} Hz, {ptime_ms} ms");
            let packet = signal::samples(rate, ptime_ms);
            assert!(call.heard_frames().iter().all(|frame| frame.samples as usize == packet), "packets are whole");
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(calls.each_ref().map(|call| call.heard_count()), counts, "the clock stops after the end");
        return;
    }
}

#[test]
fn the_modules_clock_steps_back_when_somebody_else_writes() {
    for attempt in 1.. {
        let call = call(CallOptions::default());
        let stream = Stream::start(&call, "mono 8k");
        let said = signal::speech(8_000, 1_600, 47);
        stream.play(Play::mono(said.clone(), 8_000));
        call.wait_until("a part is heard", |call| call.heard_count() > 3_200);
        call.set_kind(CallKind::Playing);
        call.wait_until("all is heard", |_| stream.health()["inject"]["played_ms"] == 1_600);
        if attempt < ATTEMPTS && stream.health()["inject"]["underrun_count"] != 0 {
            continue;
        }
        let heard = call.heard();
        let at = start_of(&said, &heard);
        assert_eq!(heard[at..at + said.len()], said[..], "no sample is lost or doubled");
        // Who plays writes one packet for each that is read.
        let (read, written) = (call.frames_read(), call.heard_frames().len() as u64);
        call.wait_until("30 more frames", |call| call.frames_read() >= read + 30);
        let (read, written) = (call.frames_read() - read, call.heard_frames().len() as u64 - written);
        assert!(written <= read + 2, "{written} packets for {read} that were read: two are writing");
        return;
    }
}

#[test]
fn an_utterance_shorter_than_the_prebuffer_is_heard_too() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_min_buffer_ms=300");
    let said = signal::speech(8_000, 60, 53);
    let sent = switch().now();
    stream.play(Play::mono(said.clone(), 8_000));
    pass_paced(&call, &[&stream], 40, 20);
    let heard = call.heard();
    let at = start_of(&said, &heard);
    let waited = call.heard_frames()[at / 160].at - sent;
    assert!(waited >= Duration::from_millis(300), "it waits for more first: {waited:?}");
    assert_eq!(heard[at..at + said.len()], said[..]);
}

#[test]
fn the_server_replaces_what_is_played_and_then_gives_it_back() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    call.play(&tone(OTHER, 1_200));
    pass(&call, &[&stream], 10);
    stream.play(Play::mono(tone(SERVER, 400), 8_000));
    pass(&call, &[&stream], 40);
    let heard = call.heard();
    assert_tone("before", &heard[..1_600], 8_000, OTHER, LOUD);
    assert_tone("meanwhile", &heard[1_640..4_800], 8_000, SERVER, LOUD);
    assert_tone("meanwhile", &heard[1_640..4_800], 8_000, OTHER, 0.0);
    assert_tone("afterwards", &heard[4_840..8_000], 8_000, OTHER, LOUD);
    assert_tone("afterwards", &heard[4_840..8_000], 8_000, SERVER, 0.0);
    fades_away("where they meet", &heard[1_600..], &tone(SERVER, 400));
    // 1030 Hz at this amplitude makes steps of 6 470 at most, and the glides bend it a little.
    assert!(audio::max_step(&heard[4_000..]) < 7_500, "no click where they part: {}", audio::max_step(&heard[4_000..]));
}

/// What is heard beside `voice` is gone within 5 ms, in a straight line: no click, and then the voice alone, bit for bit.
fn fades_away(what: &str, heard: &[i16], voice: &[i16]) {
    for (at, (heard, voice)) in heard.iter().zip(voice).enumerate() {
        let (beside, left) = (i32::from(*heard) - i32::from(*voice), 40_usize.saturating_sub(at));
        assert!(
            beside.unsigned_abs() as usize <= LOUD as usize * left / 40 + usize::from(left > 0),
            "{what}: {beside} at {at}"
        );
    }
}

#[test]
fn in_a_bridge_only_the_caller_hears_the_server() {
    let (a, b) = (call(parked()), call(parked()));
    a.bridge(&b);
    let stream = Stream::start(&a, "mono 8k");
    a.speak(&tone(CALLER, 1_000));
    b.speak(&tone(OTHER, 1_000));
    let together = |frames: usize| {
        for _ in 0..frames {
            b.tick(1);
            pass(&a, &[&stream], 1);
        }
    };
    together(10);
    stream.play(Play::mono(tone(SERVER, 400), 8_000));
    together(40);
    let (heard, other) = (a.heard(), b.heard());
    assert_tone("before", &heard[..1_600], 8_000, OTHER, LOUD);
    assert_tone("meanwhile", &heard[1_640..4_800], 8_000, SERVER, LOUD);
    assert_tone("meanwhile", &heard[1_640..4_800], 8_000, OTHER, 0.0);
    assert_tone("afterwards", &heard[4_840..8_000], 8_000, OTHER, LOUD);
    assert_tone("the other", &other[..8_000], 8_000, CALLER, LOUD);
    assert_tone("the other", &other[..8_000], 8_000, SERVER, 0.0);
    assert_eq!(stream.stop(), tone(CALLER, 1_000), "the server hears the caller alone");
}

#[test]
fn in_an_echo_the_caller_hears_the_server_and_then_himself() {
    let call = call(CallOptions { kind: CallKind::Echo, ..parked() });
    let stream = Stream::start(&call, "mono 8k");
    call.speak(&tone(CALLER, 1_000));
    stream.play(Play::mono(tone(SERVER, 400), 8_000));
    pass(&call, &[&stream], 50);
    let heard = call.heard();
    fades_away("the echo", &heard, &tone(SERVER, 400));
    assert_tone("afterwards", &heard[3_240..8_000], 8_000, CALLER, LOUD);
    assert_eq!(stream.stop(), tone(CALLER, 1_000), "and the server does not hear itself");
}

#[test]
fn inject_mode_mix_lets_the_caller_hear_both() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_mode=mix");
    let other = tone(OTHER, 800);
    call.play(&other);
    pass(&call, &[&stream], 10);
    stream.play(Play::mono(tone(SERVER, 400), 8_000));
    pass(&call, &[&stream], 30);
    let heard = call.heard();
    let sum: Vec<_> = other[1_600..4_800].iter().zip(tone(SERVER, 400)).map(|(a, b)| a + b).collect();
    assert_eq!(heard[1_600..4_800], sum[..]);
    assert_eq!(heard[4_840..], other[4_840..]);
}

#[test]
fn a_sum_too_loud_saturates_and_never_wraps() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_mode=mix");
    let loud = signal::tone(8_000, SERVER, 400, 30_000.0);
    call.play(&[30_000; 3_200]);
    stream.play(Play::mono(loud.clone(), 8_000));
    pass(&call, &[&stream], 20);
    let sum: Vec<_> = loud.iter().map(|sample| sample.saturating_add(30_000)).collect();
    assert_eq!(call.heard(), sum);
}

#[test]
fn two_streams_that_mix_are_both_heard() {
    let call = call(playing());
    let one = Stream::start_as(&call, "one", Script::default(), "mono 8k inject_mode=mix");
    let two = Stream::start_as(&call, "two", Script::default(), "mono 8k inject_mode=mix");
    one.play(Play::mono(tone(SERVER, 400), 8_000));
    two.play(Play::mono(tone(SERVER_AGAIN, 400), 8_000));
    pass(&call, &[&one, &two], 22);
    let heard = &call.heard()[..3_200];
    // With the other leg, silent as it is, there are three sources: each at two thirds, so that they cannot clip.
    assert_tone("both", &heard[800..], 8_000, SERVER, LOUD * 2.0 / 3.0);
    assert_tone("both", &heard[800..], 8_000, SERVER_AGAIN, LOUD * 2.0 / 3.0);
}

#[test]
fn after_clear_only_what_follows_is_heard() {
    let by_command: fn(&Stream<'_>) = |stream| stream.ok("clear");
    let by_server: fn(&Stream<'_>) = |stream| {
        stream.connection.order(Action::Text(r#"{"type":"streamAudio","data":{"clear":true}}"#.into()));
        stream.heed();
    };
    for clear in [by_command, by_server] {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        stream.play(Play::mono(tone(SERVER, 3_000), 8_000));
        pass(&call, &[&stream], 25);
        clear(&stream);
        stream.sync();
        let from = call.heard_count();
        assert_eq!(stream.health()["inject"]["played_ms"], 500);
        pass(&call, &[&stream], 10);
        let silence = call.heard_from(from);
        assert!(silence[GLIDE..].iter().all(|sample| *sample == 0), "within one frame there is silence");
        assert!(audio::max_step(&call.heard()[from - 10..]) < 6_500, "which comes without a click");
        assert_eq!(stream.health()["inject"]["played_ms"], 500, "what was cleared does not count as heard");

        let next = signal::speech(8_000, 300, 59);
        let from = call.heard_count();
        stream.play(Play::mono(next.clone(), 8_000));
        pass(&call, &[&stream], 18);
        assert_eq!(call.heard_from(from)[..next.len()], next[..]);
        assert_eq!(stream.health()["inject"]["played_ms"], 800);
    }
}

#[test]
fn audio_right_behind_a_clear_is_heard_from_its_first_sample() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    stream.play(Play::mono(tone(SERVER, 3_000), 8_000));
    pass(&call, &[&stream], 25);
    let next = signal::speech(8_000, 300, 61);
    let message = stream_audio(&signal::to_bytes(&next), 8_000, 1).replace(r#""data":{"#, r#""data":{"clear":true,"#);
    stream.connection.order(Action::Text(message));
    stream.heed();
    stream.sync();
    let from = call.heard_count();
    pass(&call, &[&stream], 20);
    let heard = call.heard_from(from);
    // The glide from the old sound lies over the first 5 ms of the new.
    assert_eq!(heard[GLIDE..next.len()], next[GLIDE..]);
    assert!(heard[next.len() + GLIDE..].iter().all(|sample| *sample == 0));
    assert_eq!(stream.health()["inject"]["played_ms"], 800);
}

#[test]
fn a_codec_change_during_playback_loses_and_repeats_nothing() {
    for from in [8_000, 16_000, 48_000] {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        stream.play(Play::mono(signal::tone(from, SERVER, 2_160, LOUD), from));
        let mut tone_ms = 0;
        let codecs = [
            (8_000, 20, 1),
            (16_000, 20, 1),
            (48_000, 10, 1),
            (8_000, 40, 1),
            (48_000, 40, 1),
            (48_000, 60, 1),
            (16_000, 20, 2),
        ];
        for (rate, ptime_ms, channels) in codecs {
            call.set_codec(rate, ptime_ms, channels);
            let at = call.heard_count();
            let frames = match (channels, ptime_ms) {
                (2, _) => 40,
                (_, 60) => 4,
                _ => 320 / ptime_ms as usize,
            };
            pass_paced(&call, &[&stream], frames, ptime_ms);
            let heard = audio::channel(&call.heard_from(at), channels as usize, 0);
            let block = signal::samples(rate, 10);
            let stretches = audio::tone_stretches(&heard, rate, SERVER, LOUD / 2.0, block);
            let what = format!("{from} Hz on {rate} Hz, {ptime_ms} ms");
            assert_eq!(stretches.len(), 1, "{what}: {stretches:?}");
            let there = stretches[0].clone();
            assert!(
                there.start <= 2 * signal::samples(rate, ptime_ms),
                "{what}: a frame or two until the rate is known"
            );
            tone_ms += there.len() * 1_000 / rate as usize;
            let middle = &heard[there.start + 2 * block..there.end - 2 * block];
            let snr = audio::snr_of_tone(middle, rate, SERVER);
            assert!(snr > 50.0, "{what}: {snr:.1} dB");
        }
        let health = stream.health();
        let played = health["inject"]["played_ms"].as_u64().unwrap();
        assert!((2_158..=2_162).contains(&played), "{from} Hz: {health}");
        assert!(tone_ms.abs_diff(2_160) <= 40, "{from} Hz: {tone_ms} ms of tone");
    }
}

#[test]
fn on_hold_playback_waits_and_then_goes_on_where_it_was() {
    // The switch has the caller on hold, or they have the switch on hold: then it writes and sends nothing of it.
    for by_whom in [flag::HOLD, flag::PROTO_HOLD] {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        let said = signal::speech(8_000, 800, 67);
        stream.play(Play::mono(said.clone(), 8_000));
        pass(&call, &[&stream], 10);
        call.set_flag(by_whom, true);
        pass(&call, &[&stream], 10);
        assert_eq!(stream.health()["inject"]["played_ms"], 200, "what nobody hears is not played");
        call.set_flag(by_whom, false);
        pass(&call, &[&stream], 35);
        assert_eq!(call.heard()[..said.len()], said[..]);
    }
}

#[test]
fn playback_waits_while_keys_are_sent_to_the_caller() {
    // Six keys of 250 ms with a pause of 40 ms behind each, by the clock.
    const SENDING: Duration = Duration::from_millis(6 * 290);
    for attempt in 1.. {
        let (keyed, other) = (call(playing()), call(playing()));
        let (stream, innocent) = (Stream::start(&keyed, "mono 8k"), Stream::start(&other, "mono 8k"));
        let asks = Stream::start_as(&keyed, "asks", Script::default(), "protocol=plivo allow=dtmf");
        let said = signal::speech(8_000, 400, 71);
        for stream in [&stream, &innocent] {
            stream.play(Play::mono(said.clone(), 8_000));
        }
        let began = Instant::now();
        asks.connection.order(Action::Text(r#"{"event":"sendDTMF","dtmf":"123456"}"#.to_owned()));
        keyed.wait_until("the digits", |call| call.variable("host_sent_dtmf").as_deref() == Some("123456"));
        keyed.tick(5);
        if attempt < ATTEMPTS && began.elapsed() >= SENDING {
            // The machine stood still until they had all been sent.
            continue;
        }
        pass(&other, &[&innocent], 5);
        let played = |stream: &Stream<'_>| stream.health()["inject"]["played_ms"].clone();
        assert_eq!((played(&stream), played(&innocent)), (0.into(), 100.into()));
        thread::sleep(SENDING + Duration::from_millis(100));
        pass(&keyed, &[&stream], 25);
        let health = stream.health();
        assert_eq!((played(&stream), &health["inject"]["keys_ms"]), (400.into(), &100.into()), "{health}");
        let (at, alike) = audio::find(&keyed.heard(), &said);
        assert!(alike > 0.999, "whole, from sample {at} on: {alike}");
        return;
    }
}

#[test]
fn a_key_that_freeswitch_does_not_send_holds_nothing_up() {
    for (variable, value) in [("host_refuses_dtmf", "true"), ("dtmf_type", "info"), ("dtmf_type", "none")] {
        let keyed = call(playing());
        keyed.set_variable(variable, value);
        let stream = Stream::start(&keyed, "mono 8k");
        let asks = Stream::start_as(&keyed, "asks", Script::default(), "protocol=plivo allow=dtmf");
        asks.connection.order(Action::Text(r#"{"event":"sendDTMF","dtmf":"12"}"#.to_owned()));
        if variable == "dtmf_type" {
            keyed.wait_until("the digits", |call| call.variable("host_sent_dtmf").as_deref() == Some("12"));
        } else {
            let ours = |log: &Log| log.uuid.as_deref() == Some(keyed.uuid());
            switch().wait_log(|log| ours(log) && log.text.contains("LIFECYCLE call_action failed"));
        }
        let said = signal::speech(8_000, 400, 71);
        stream.play(Play::mono(said.clone(), 8_000));
        pass(&keyed, &[&stream], 25);
        let health = stream.health();
        assert_eq!(
            (&health["inject"]["played_ms"], &health["inject"]["keys_ms"]),
            (&400.into(), &0.into()),
            "{health}"
        );
        assert_eq!(keyed.heard()[..said.len()], said[..], "{variable}");
    }
}

#[test]
fn a_hold_is_told_and_is_no_fault_of_the_stream() {
    for (by_whom, cause) in [(flag::HOLD, "hold"), (flag::PROTO_HOLD, "hold"), (flag::PROXY_MODE, "bypass")] {
        let (held, free) = (call(CallOptions::default()), call(CallOptions::default()));
        let (stream, innocent) = (Stream::start(&held, "mono 8k"), Stream::start(&free, "mono 8k"));
        let began = Instant::now();
        held.set_flag(by_whom, true);
        let told = stream.wait_event("hold");
        assert_eq!((told.json()["held"].clone(), told.header("Audio-Stream-Held")), (true.into(), Some("true")));
        assert_eq!((told.json()["cause"].clone(), told.header("Audio-Stream-Cause")), (cause.into(), Some(cause)));
        // Longer than a stream may be without a frame.
        thread::sleep(Duration::from_millis(5_500));
        let health = stream.health();
        assert_eq!((&health["held"], &health["health"]), (&true.into(), &"HEALTHY".into()), "{health}");
        held.set_flag(by_whom, false);
        let told = stream.wait_events("hold", 2);
        let (health, most) = (stream.health(), began.elapsed().as_millis() as u64);
        assert_eq!(told[1].json()["held_ms"], health["held_ms"], "{health}");
        assert!((5_000..=most).contains(&health["held_ms"].as_u64().unwrap()), "{health}");
        assert!(innocent.events("hold").is_empty());
        assert_eq!(innocent.health()["held_ms"], 0);
    }
}

#[test]
fn more_than_the_buffer_holds_waits_and_is_heard_whole() {
    let (call, innocent) = (call(playing()), call(playing()));
    let stream = Stream::start(&call, "mono 8k inject_buffer_ms=500");
    let beside = Stream::start(&innocent, "mono 8k");
    // 90 s, of which half a second may wait and 65 s are read ahead.
    let said = signal::speech(8_000, 90_000, 31);
    stream.connection.order(Action::Play(Play::mono(said.clone(), 8_000).chunks(16_000)));
    let waiting = || stream.health()["inject"]["buffer_inuse_bytes"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || waiting() >= 66_000 * 16), "{}", stream.health());
    let answer = signal::speech(8_000, 1_000, 37);
    beside.play(Play::mono(answer.clone(), 8_000));
    for _ in 0..90_000 / 20 {
        call.tick(1);
        stream.sync();
        assert!(waiting() <= 67_500 * 16, "half a second, a MiB and a message");
        if beside.call.heard_count() < answer.len() {
            pass(&innocent, &[&beside], 1);
        }
    }
    assert_eq!(innocent.heard()[..answer.len()], answer[..], "nobody else notices");
    pass(&call, &[&stream], 10);
    assert_eq!(call.heard()[..said.len()], said[..]);
    let health = stream.health();
    assert_eq!((&health["inject"]["overflow_count"], &health["health"]), (&0.into(), &"HEALTHY".into()), "{health}");
    assert!(stream.events("overflow").is_empty());
    let slowed =
        |log: &crate::host::Log| log.uuid.as_deref() == Some(call.uuid()) && log.text.contains("server_slowed");
    assert_eq!(switch().look(|_, logs| logs.iter().filter(|log| slowed(log)).count()), 1, "it is said once");
}

#[test]
fn a_clear_makes_room_for_what_the_server_still_has() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_buffer_ms=500");
    let said = signal::speech(8_000, 90_000, 43);
    stream.connection.order(Action::Play(Play::mono(said.clone(), 8_000).chunks(16_000)));
    stream.connection.order(Action::Text("behind it all".into()));
    let waiting = || stream.health()["inject"]["buffer_inuse_bytes"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || waiting() >= 66_000 * 16), "{}", stream.health());
    assert!(stream.events("json").is_empty(), "what is behind the audio is not read yet");
    stream.ok("clear");
    stream.wait_event("json");
    let rest = waiting() / 16;
    assert!((20_000..=25_000).contains(&rest), "what had not been read: {rest} ms");
}

#[test]
fn a_servers_clear_is_seen_a_mib_ahead() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_buffer_ms=500");
    stream.play(Play::mono(tone(SERVER, 60_000), 8_000).chunks(16_000));
    pass(&call, &[&stream], 5);
    stream.connection.order(Action::Text(r#"{"type":"streamAudio","data":{"clear":true}}"#.into()));
    stream.heed();
    pass(&call, &[&stream], 3);
    let from = call.heard_count();
    pass(&call, &[&stream], 5);
    assert!(call.heard_from(from).iter().all(|sample| *sample == 0));
}

#[test]
fn with_inject_full_drop_the_excess_is_dropped_and_reported() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k inject_buffer_ms=500 inject_full=drop");
    let said = tone(SERVER, 3_000);
    stream.play(Play::mono(said.clone(), 8_000).chunks(16_000));
    // The first two and a half of the messages of a second each are too many.
    let health = stream.health();
    assert_eq!(health["inject"]["overflow_count"], 3, "{health}");
    assert_eq!(health["health"], "DEGRADED");
    pass(&call, &[&stream], 60);
    let played = stream.health()["inject"]["played_ms"].as_u64().unwrap();
    assert!((500..=700).contains(&played), "the queue and what was in the ring: {played}");
    assert_eq!(call.heard()[..3_200], said[..3_200], "the oldest is kept");
    let first = stream.wait_event("overflow").json();
    let lost = first["dropped_ms"].as_u64().unwrap();
    assert!((300..=500).contains(&lost), "the first loss is reported: {first}");

    stream.play(Play::mono(tone(SERVER, 8_000), 8_000).chunks(16_000));
    let event = stream.wait_event("overflow");
    let body = event.json();
    assert_eq!((&body["queue"], &body["severity"]), (&"inject".into(), &"warning".into()), "{body}");
    assert_eq!(event.header("Audio-Stream-Queue"), Some("inject"));
    assert_eq!(stream.events("overflow").len(), 1, "once, not for each message");
    switch().wait_log(|log| log.uuid.as_deref() == Some(call.uuid()) && log.text.contains("buffer_overflow"));
    let inuse = stream.health()["inject"]["buffer_inuse_bytes"].as_u64().unwrap();
    // The queue, and in the ring 120 ms and as much that was flushed, until a frame comes by.
    assert!(inuse <= 740 * 16, "{inuse} bytes wait");
}

#[test]
fn with_playback_off_the_caller_hears_nothing_of_the_server() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k playback=false");
    call.play(&tone(OTHER, 400));
    stream.play(Play::mono(tone(SERVER, 400), 8_000));
    pass(&call, &[&stream], 20);
    assert_eq!(call.heard(), tone(OTHER, 400));
    assert!(!stream.events("play").is_empty(), "the events still come");
}

#[test]
fn what_a_server_sent_before_it_closed_is_heard_to_the_end() {
    let said = signal::speech(8_000, 900, 71);
    for attempt in 1.. {
        let call = call(playing());
        let script = Script::of([Action::Play(Play::mono(said.clone(), 8_000)), Action::Close(1000, "done".into())]);
        let from = switch().now();
        let stream = Stream::start_as(&call, "default", script, "mono 8k");
        stream.wait_event("disconnect");
        pass_by_keys(&call, &stream, 60);
        wait_detached_by_frames(&call);
        if attempt < ATTEMPTS && has_stood_still(&call, from) {
            continue;
        }
        assert_eq!(call.heard()[..said.len()], said[..]);
        return;
    }
}

/// Like [`wait_detached`], with the frames it takes for a bug to leave by itself.
fn wait_detached_by_frames(call: &crate::host::Call<'_>) {
    call.wait_until("the stream has left the call", |call| {
        call.tick(1);
        call.bugs() == 0
    });
}

#[test]
fn stop_silences_the_server_at_once() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    stream.play(Play::mono(tone(SERVER, 3_000), 8_000));
    pass(&call, &[&stream], 10);
    call.play(&tone(OTHER, 400));
    let from = call.heard_count();
    stream.ok("stop");
    wait_detached(&call);
    call.tick(20);
    assert_eq!(call.heard_from(from), tone(OTHER, 400));
    assert!(matches!(stream.connection.wait_end(), Received::Close(1000, _)));
}

#[test]
fn recordings_of_the_call_have_the_server_in_them() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    call.record();
    call.speak(&tone(CALLER, 800));
    stream.play(Play::mono(tone(SERVER, 600), 8_000));
    pass(&call, &[&stream], 40);
    let recorded = call.recorded();
    let (left, right) = (audio::channel(&recorded, 2, 0), audio::channel(&recorded, 2, 1));
    assert_tone("left", &left[800..4_000], 8_000, CALLER, LOUD);
    assert_tone("right", &right[800..4_000], 8_000, SERVER, LOUD);
}

#[test]
fn play_events_tell_of_each_message_without_its_audio() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    let message = r#"{"type":"streamAudio","id":7,"data":{"audioDataType":"raw","sampleRate":8000,"audioData":"AAAAAA==","note":"é"}}"#;
    stream.connection.order(Action::Text(message.into()));
    let event = stream.wait_event("play");
    let body = event.json();
    assert_eq!(body.to_string().matches("AAAAAA").count(), 0, "{body}");
    assert!(body.to_string().contains("8000") && body.to_string().contains('é'), "{body}");
}
