//! A voice over one WebSocket against real sockets: what is heard, when each character is, and what failure costs.

use std::sync::Arc;

use mod_audio_stream::tts::{Speech, SpeechEvent, SpeechShared};

use crate::support::stream_input_server::{Manner, Spoken, StreamInputServer, lasts};
use crate::synthesis::{hear, next, say, shared, stream};

fn voice(shared: &Arc<SpeechShared>, server: &StreamInputServer, key: &str, rate: u32) -> Speech {
    let url = server.url();
    let settings = [
        ("tts_provider", "elevenlabs_ws,command"),
        ("tts_elevenlabs_ws_url", url.as_str()),
        ("tts_elevenlabs_ws_api_key", key),
        ("tts_elevenlabs_ws_voice", "Rachel"),
        ("tts_elevenlabs_ws_model", "eleven_flash_v2_5"),
        ("tts_elevenlabs_ws_speed", "1.125"),
        ("tts_command", "cat /dev/zero"),
    ];
    stream(shared, rate, &settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_pieces_of_a_turn_are_spoken_over_one_connection() {
    let server = StreamInputServer::start("eleven-geheim", Manner::Well);
    let shared = shared();
    for (turn, rate) in [8_000, 16_000, 48_000].into_iter().enumerate() {
        let mut speech = voice(&shared, &server, "eleven-geheim", rate);
        for (id, text) in [(1, "The first piece, which"), (2, "goes on in the second."), (3, "Done.")] {
            let heard = say(&mut speech, id, text).await;
            assert_eq!(heard.report().provider, "elevenlabs_ws");
            let Spoken { connection, text: sent, samples, rate } = server.spoken().pop().unwrap();
            assert_eq!((connection, sent, rate), (turn, format!("{text} "), heard.rate));
            assert_eq!(heard.samples, samples);
            // When each character ends, over all messages of the piece.
            let mut ms = 0;
            let ends = text.chars().filter(|c| !c.is_whitespace()).map(|c| {
                ms += lasts(c);
                ms
            });
            let marks: Vec<_> = heard.marks.iter().map(|mark| (mark.chars, mark.end.as_millis() as u32)).collect();
            assert_eq!(marks, (1..).zip(ends).collect::<Vec<_>>());
        }
        // The next turn has a melody of its own, and the last one a proper end.
        speech.begin_turn();
        assert_eq!(server.wait_ended(turn), "last");
    }
    assert_eq!((server.connections(), server.objections()), (3, vec![]));
}

#[tokio::test]
async fn a_piece_without_alignment_ends_with_its_audio() {
    let server = StreamInputServer::start("k", Manner::WithoutAlignment);
    let mut speech = voice(&shared(), &server, "k", 8_000);
    for (id, text) in [(1, "One piece"), (2, "and another.")] {
        let heard = say(&mut speech, id, text).await;
        heard.report();
        assert!(heard.marks.is_empty() && heard.samples == server.spoken().pop().unwrap().samples);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_the_line_cannot_speak_the_next_provider_does() {
    for (manner, key, code) in [(Manner::Well, "wrong", "http_401"), (Manner::Refuses, "k", "quota_exceeded")] {
        let server = StreamInputServer::start("k", manner);
        let mut speech = voice(&shared(), &server, key, 8_000);
        speech.request(1, "A piece of text.");
        let SpeechEvent::Retried { error, .. } = next(&mut speech).await else { panic!("it was spoken") };
        assert_eq!((error.provider, error.code.as_str()), ("elevenlabs_ws", code));
        assert!(!format!("{error} {error:?}").contains("geheim"));
        let SpeechEvent::Switched { to, .. } = next(&mut speech).await else { panic!("no switch") };
        assert_eq!(to, "command");
    }
    // In the middle of a piece it is too late for another voice.
    let server = StreamInputServer::start("k", Manner::HangsUp);
    let mut speech = voice(&shared(), &server, "k", 8_000);
    speech.request(1, "A piece of text that is longer than one message.");
    let heard = hear(&mut speech, 1).await;
    assert_eq!(heard.error().code, "connection_lost");
    assert!(!heard.samples.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_interruption_closes_the_line() {
    let server = StreamInputServer::start("k", Manner::Stalls);
    let mut speech = voice(&shared(), &server, "k", 8_000);
    speech.request(1, "A piece that is interrupted while it is heard.");
    assert!(matches!(next(&mut speech).await, SpeechEvent::Audio { id: 1, .. }));
    speech.abort(1);
    assert_eq!(server.wait_ended(0), "gone");
    let heard = say(&mut speech, 2, "Next turn.").await;
    assert_eq!((server.connections(), heard.samples), (2, server.spoken().pop().unwrap().samples));
}
