//! What a conversation's service hears, what its text becomes as speech, and answers of minutes, on a real call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::conversation_turns::Telephone;
use crate::harness::sip::Dial;
use crate::harness::{in_freeswitch, process, repetitions};
use crate::realtime::{Command, RealtimeServer, Stage};
use crate::support::speech_server::{Answer, Asked, Service, SpeechServer};
use crate::support::{audio, signal};

/// Even noise with this level, so many milliseconds of it.
fn noise(ms: u32, rms: f64) -> Vec<i16> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) - 0.5
    };
    // The level of even noise between -1/2 and 1/2 is the square root of 1/12.
    (0..signal::samples(8_000, ms)).map(|_| (next() * rms * 12_f64.sqrt()) as i16).collect()
}

/// Speech of a caller in a loud room: 10 dB above the noise.
fn noisy_speech(ms: u32) -> (Vec<i16>, Vec<i16>) {
    let speech = signal::speech(8_000, ms, 3);
    let rms = audio::rms(&speech) / 10_f64.powf(0.5);
    let mixed = speech.iter().zip(noise(ms, rms)).map(|(speech, noise)| speech.saturating_add(noise)).collect();
    (mixed, noise(3_000, rms))
}

/// How late the least late audio of the last second came, ms, counted from any fixed time: what the machine delays is left out.
fn lateness(server: &RealtimeServer, epoch: Instant) -> f64 {
    let connection = server.connection(0);
    let record = connection.record();
    let last = record.audio_at.last().expect("there is audio").0;
    let recent = record.audio_at.iter().filter(|(at, _)| last.duration_since(*at) < Duration::from_secs(1));
    let late =
        |(at, samples): &(Instant, u64)| at.duration_since(epoch).as_secs_f64() * 1_000.0 - *samples as f64 / 8.0;
    recent.map(late).fold(f64::MAX, f64::min)
}

#[test]
fn filtered_callers_are_heard_in_time_and_found_to_speak() {
    in_freeswitch(|freeswitch| {
        let epoch = Instant::now();
        let options = [("noise_suppression", "high"), ("turn_detection", "local")];
        let mut calls: Vec<_> = [10, 20, 30, 60]
            .into_iter()
            .map(|ptime| {
                let place = Telephone::dial(freeswitch, &Dial::to("park").ptime(ptime), &options);
                let (call, server) = (Arc::clone(&place.call), Arc::clone(&place.server));
                let mut stage = Stage::new(place);
                stage.open();
                (ptime, stage, call, server)
            })
            .collect();
        let (speech, noise) = noisy_speech(1_500);
        for (_, _, call, _) in &calls {
            call.phone.say_forever(&noise);
        }
        std::thread::sleep(Duration::from_secs(2));
        let commits = |stage: &Stage<'_>| stage.told("input_audio_buffer.commit");
        let mut before_speech = Vec::new();
        for (_, stage, call, _) in &mut calls {
            // Loud noise that sets in all at once may have been taken for a word.
            for commit in commits(stage) {
                stage.error("input_audio_buffer_commit_empty", "There was no word.", &commit);
            }
            before_speech.push(commits(stage).len());
            call.phone.say(&speech);
        }
        for ((ptime, stage, ..), before) in calls.iter_mut().zip(before_speech) {
            stage.within(6_000, &format!("{ptime} ms: the turn"), |stage| commits(stage).len() > before);
            let commit = commits(stage).pop().expect("it is there");
            stage.error("input_audio_buffer_commit_empty", "The test answers nothing.", &commit);
        }
        std::thread::sleep(Duration::from_secs(1));
        // The beginning of a turn is sent twice, so time is compared from here on.
        let before: Vec<_> = calls.iter().map(|(.., server)| lateness(server, epoch)).collect();
        for (_, stage, ..) in &mut calls {
            stage.skip();
        }
        std::thread::sleep(Duration::from_secs(8));
        for ((ptime, stage, _, server), before) in calls.iter_mut().zip(before) {
            stage.silent(0);
            let drift = lateness(server, epoch) - before;
            assert!(drift.abs() <= 20.0, "{ptime} ms: within 8 s the service has got {drift:.1} ms behind");
            let heard = server.connection(0).record().audio.clone();
            let loudest = heard.chunks(4_000).map(audio::rms).fold(0.0, f64::max);
            let (spoken, noise) = (audio::rms(&speech), audio::rms(&noise));
            assert!(loudest > spoken / 2.0, "{ptime} ms: the service hears speech with {loudest:.0} of {spoken:.0}");
            let rest = audio::rms(&heard[heard.len() - 8_000..]);
            assert!(rest < noise / 2.0, "{ptime} ms: the service hears noise with {rest:.0} of {noise:.0}");
        }
    });
}

#[test]
fn sound_without_an_end_does_not_silence_the_agent() {
    in_freeswitch(|freeswitch| {
        let idle = [("idle_timeout_ms", "5000")];
        let mut of_service = Stage::new(Telephone::place(freeswitch, &idle));
        let local = Telephone::place(freeswitch, &[("turn_detection", "local")]);
        let music = Arc::clone(&local.call);
        let mut local = Stage::new(local);
        of_service.open();
        local.open();
        music.phone.say_forever(&signal::speech(8_000, 80_000, 5));
        let at = of_service.appended_ms();
        of_service.speech_started("u1", at);
        of_service.silent(50_000);
        of_service.operate(Command::Say("Are you there?"));
        of_service.silent(2_000);
        assert_eq!(of_service.events("error"), [] as [&str; 0]);
        let request = of_service.expect_within("response.create", 12_000);
        of_service.within(1_500, "the event", |stage| stage.events("error") == ["endless_turn"]);
        of_service.answer(&request, "r1", "i1", 1_000);
        of_service.await_state("SPEAKING", 1_000);
        of_service.within(8_000, "the idle timeout", |stage| !stage.events("idle").is_empty());
        of_service.heard_whole("i1", 1_000);

        local.expect("input_audio_buffer.clear");
        local.expect_within("input_audio_buffer.commit", 5_000);
        local.within(1_500, "the event", |stage| stage.events("error").contains(&"endless_turn".to_owned()));
        local.committed("m1");
        local.expect("response.create");
        local.respond("r1", "i1", 1_000);
        local.within(2_000, "the answer", |stage| stage.heard("i1", 1_000).is_some());
        local.silent(4_000);
        assert_eq!(local.told("response.create").len(), 1, "the agent does not talk with the music");
    });
}

#[test]
fn a_voice_gets_clean_text_and_events_the_text_as_it_is() {
    const TEXT: &str = "**Note:** The *office* opens at 9 a.m. daily. See [our site](https://x.io/a_b) for more. \
                        Press # to finish or * to go back. Your number, e.g.\n—\n9 8 7 …\nHave a nice day! 😊";
    in_freeswitch(|freeswitch| {
        let voice = SpeechServer::start(Service::ElevenLabs("xi-test"), [Answer::default()]);
        let url = voice.url(false);
        let options = [
            ("ai_output", "tts"),
            ("tts_provider", "elevenlabs"),
            ("tts_elevenlabs_api_key", "xi-test"),
            ("tts_voice", "v1"),
            ("tts_url", url.as_str()),
            ("tts_output_format", "pcm_8000"),
            ("dsp_enabled", "false"),
        ];
        let place = Telephone::place(freeswitch, &options);
        let call = Arc::clone(&place.call);
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.create("r1");
        stage.message("r1", "i1");
        // The text is complete; the response is not.
        stage.text("r1", "i1", TEXT);
        let expected = [
            "Note: The office opens at 9 a.m. daily.",
            "See our site for more.",
            "Press # to finish or * to go back.",
            "Your number, e.g.",
            "— 9 8 7 … Have a nice day!",
        ];
        let texts = |asked: &[Asked]| -> Vec<String> {
            asked.iter().map(|asked| asked.body["text"].as_str().unwrap_or_default().to_owned()).collect()
        };
        // Sentences are made ahead of what is heard, a few at a time.
        stage.within(20_000, "all sentences", |_| voice.asked().len() >= expected.len());
        stage.end("r1");
        stage.await_state("LISTENING", 8_000);
        let asked = voice.asked();
        assert_eq!(texts(&asked), expected);
        let objections: Vec<_> = asked.iter().filter_map(|asked| asked.objection.clone()).collect();
        assert_eq!(objections, [] as [String; 0]);
        let heard = call.phone.heard();
        let mut after = 0;
        for asked in &asked {
            let (at, alike) = audio::find(&heard[after..], &asked.samples);
            assert!(alike > 0.97, "'{}' is heard like it was made by {alike:.3}", asked.body["text"]);
            after += at + asked.samples.len() - 80;
        }
        // A header is one line.
        assert_eq!(stage.events("response"), [TEXT.replace('\n', " ")], "the operator is told what the model wrote");
        assert_eq!(stage.told("conversation.item.delete"), [] as [Value; 0], "the item is not replaced");
    });
}

#[test]
fn minutes_that_come_at_once_are_heard_or_cut_exactly() {
    let long_ms = repetitions(60, 180) as u32 * 1_000;
    in_freeswitch(|freeswitch| {
        // The service cannot be slowed down, since what it says of the turn comes behind the audio: what may wait is bounded.
        let room = [("ai_playback_ms", "200000")];
        let mut stages = [(); 2].map(|()| Stage::new(Telephone::place(freeswitch, &room)));
        stages.iter_mut().for_each(Stage::open);
        let before = process::rss_kb(freeswitch.pid());
        for stage in &mut stages {
            stage.speak("u1", 300);
            stage.respond("r1", "i1", long_ms);
            stage.await_state("SPEAKING", 1_000);
        }
        let [whole, cut] = &mut stages;
        whole.silent(2_000);
        let each_kb = process::rss_kb(freeswitch.pid()).saturating_sub(before) / 2;
        // An answer waits in the form in which it came: 24,000 samples of two bytes a second.
        let bound_kb = u64::from(long_ms) * 48 / 1_024 + WAITING_KB;
        assert!(each_kb <= bound_kb, "an answer of {long_ms} ms costs {each_kb} KB");
        whole.silent(u64::from(long_ms) * 5 / 6 - 2_000);
        let at = cut.appended_ms();
        cut.speech_started("u2", at);
        let truncation = cut.expect("conversation.item.truncate");
        let told = truncation["audio_end_ms"].as_u64().expect("a number");
        whole.await_state("LISTENING", u64::from(long_ms));
        whole.silent(300);
        whole.heard_whole("i1", long_ms);
        let (_, heard) = cut.heard("i1", long_ms).expect("its beginning was heard");
        assert!(told.abs_diff(heard) <= 20, "{heard} ms were heard, and {told} told");
        assert!(told + 2_000 >= u64::from(long_ms) * 5 / 6, "{told}");
        assert_eq!(cut.told("response.cancel"), [] as [Value; 0], "the response was over");
        for stage in &stages {
            assert_eq!(stage.events("error"), [] as [&str; 0]);
        }
    });
}

/// What the test allows an answer that waits beside its audio.
const WAITING_KB: u64 = 2_048;
