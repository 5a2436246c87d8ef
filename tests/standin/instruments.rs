//! The test instruments measure what they claim to measure.

use std::time::Duration;

use crate::support::websocket_server::{
    Action, Echo, Form, Handshake, PATIENCE, Play, Received, Script, WebSocketServer,
};
use crate::support::{audio, signal};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

#[test]
fn goertzel_gives_the_amplitude_of_that_tone_only() {
    let samples = signal::tone(8_000, 440.0, 1_000, 10_000.0);
    assert!((audio::amplitude(&samples, 8_000, 440.0) - 10_000.0).abs() < 10.0);
    assert!(audio::amplitude(&samples, 8_000, 1_000.0) < 20.0);
    assert!(audio::share_of_tone(&samples, 8_000, 440.0) > 0.999);
}

#[test]
fn snr_of_a_rounded_tone_is_that_of_16_bits() {
    let clean = signal::tone(16_000, 997.0, 733, 20_000.0);
    assert!(audio::snr_of_tone(&clean, 16_000, 997.0) > 90.0);
    let noisy: Vec<i16> = clean.iter().zip(signal::speech(16_000, 733, 3)).map(|(&a, b)| a / 2 + b / 10).collect();
    let snr = audio::snr_of_tone(&noisy, 16_000, 997.0);
    assert!((5.0..40.0).contains(&snr), "{snr}");
}

#[test]
fn a_lost_sample_in_a_tone_is_a_seam() {
    let mut samples = signal::tone(8_000, 1_030.0, 1_000, 8_000.0);
    assert_eq!(audio::seams(&samples, 8_000, 1_030.0, 80), Vec::<usize>::new());
    samples.remove(4_000);
    assert_eq!(audio::seams(&samples, 8_000, 1_030.0, 80), [4_000]);
}

#[test]
fn speech_is_found_where_it_lies_at_any_volume() {
    let needle = signal::speech(8_000, 600, 7);
    let mut haystack = signal::silence(8_000, 333);
    haystack.extend(needle.iter().map(|s| s / 3));
    haystack.extend(signal::speech(8_000, 700, 9));
    let (at, alike) = audio::find(&haystack, &needle);
    assert_eq!(at, signal::samples(8_000, 333));
    assert!(alike > 0.99, "{alike}");
}

#[test]
fn stretches_of_tone_and_silence_have_their_lengths() {
    let mut samples = signal::silence(8_000, 200);
    samples.extend(signal::tone(8_000, 500.0, 300, 8_000.0));
    samples.extend(signal::silence(8_000, 100));
    assert_eq!(audio::tone_ms(&samples, 8_000, 500.0, 4_000.0), 300);
    let gaps = audio::silences(&samples, 1, 400);
    assert_eq!(gaps.len(), 2);
    assert!(gaps[0].len().abs_diff(1_600) <= 2 && gaps[1].len().abs_diff(800) <= 2, "{gaps:?}");
}

fn client<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

async fn connect(
    server: &WebSocketServer,
    headers: &[(&'static str, &str)],
) -> Result<tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>, tokio_tungstenite::tungstenite::Error> {
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    let mut request = server.url().into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    tokio_tungstenite::client_async(request, tcp).await.map(|(socket, _)| socket)
}

#[test]
fn server_records_echoes_and_plays_in_the_chunks_asked_for() {
    let tone = signal::tone(8_000, 440.0, 100, 5_000.0);
    let play = Play::mono(tone.clone(), 8_000).form(Form::Binary).chunks(333);
    let mut script = Script::echo(Echo::Binary);
    script.actions = vec![Action::Text("hello".into()), Action::Play(play), Action::AfterBytes(4)];
    let server = WebSocketServer::start(script);
    client(async {
        let mut socket = connect(&server, &[]).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
        let mut bytes = Vec::new();
        while bytes.len() < tone.len() * 2 {
            let message = socket.next().await.unwrap().unwrap().into_data();
            assert!(message.len() <= 333);
            bytes.extend_from_slice(&message);
        }
        assert_eq!(signal::from_bytes(&bytes), tone);
        socket.send(Message::text("metadata")).await.unwrap();
        socket.send(Message::binary(vec![1, 2, 3, 4])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![1, 2, 3, 4]));
        server.connection(0).order(Action::Close(4_001, "enough".into()));
        let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4_001, "enough"));
        while socket.next().await.is_some() {}
    });
    let connection = server.connection(0);
    assert!(matches!(connection.wait_end(), Received::Close(4_001, _)));
    let messages: Vec<_> = connection.arrivals().into_iter().map(|arrival| arrival.message).collect();
    assert_eq!(messages[..2], [Received::Text("metadata".into()), Received::Binary(vec![1, 2, 3, 4])]);
}

#[test]
fn server_lets_in_only_who_meets_the_handshake() {
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::RequireBasic("user", "pass")));
    client(async {
        assert!(connect(&server, &[]).await.is_err());
        assert!(connect(&server, &[("authorization", "Basic dXNlcjpwYXNz")]).await.is_ok());
    });
    // The client is answered before the server has noted it: wait for the one, then count.
    server.connection(0);
    assert_eq!((server.accepted(), server.connections().len()), (2, 1));
}

#[test]
fn server_resets_and_breaks_the_framing_to_order() {
    let server =
        WebSocketServer::start(Script::of([Action::Raw(vec![0x83, 0x01, 0x00]), Action::Wait(Duration::from_secs(9))]));
    client(async {
        let error = connect(&server, &[]).await.unwrap().next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("opcode"), "{error}");
    });
    let server = WebSocketServer::start(Script::of([Action::Reset]));
    client(async {
        let error = connect(&server, &[]).await.unwrap().next().await.unwrap().unwrap_err();
        assert!(error.to_string().to_lowercase().contains("reset"), "{error}");
    });
}
