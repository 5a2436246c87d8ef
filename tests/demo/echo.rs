//! The echo server: repeats what the caller said, once the caller has paused.
//!
//! As speech services do, it sends a whole answer at once, much faster than it is heard, so that the module has something to
//! queue and `clear` something to drop. One thread; it keeps everything received and when, and ends when dropped.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use crate::support::audio::rms;
use crate::support::signal::{from_bytes, to_bytes};
use crate::support::websocket_server::stream_audio;

/// Samples a second of the stream, both ways.
pub const RATE: u32 = 16_000;
/// After so much silence what was said is repeated.
pub const PAUSE: Duration = Duration::from_millis(800);
/// A message louder than this (RMS) is voice; the phone's own silence is below.
const VOICE: f64 = 150.0;
/// Kept before the first and after the last message with voice, so that no consonant is cut.
const MARGIN: usize = RATE as usize / 25;

/// A message of audio received.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// S16, mono.
    pub samples: Vec<i16>,
}

/// An answer sent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Just before it was given to the socket.
    pub at: Instant,
    /// S16, mono, at [`RATE`].
    pub samples: Vec<i16>,
}

/// What the server has seen and done.
#[derive(Clone, Default)]
pub struct Log {
    /// When the WebSocket was open.
    pub opened: Option<Instant>,
    /// Messages of audio.
    pub arrivals: Vec<Arrival>,
    /// Answers.
    pub answers: Vec<Answer>,
    /// When and how the connection ended.
    pub ended: Option<(Instant, String)>,
}

/// A running server.
pub struct EchoServer {
    port: u16,
    log: Arc<Mutex<Log>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start() -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let log = Arc::new(Mutex::new(Log::default()));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&log);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("echo-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, &shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { port, log, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/echo", self.port)
    }

    /// What it has seen and done so far.
    pub fn log(&self) -> Log {
        self.log.lock().unwrap().clone()
    }

    /// The answer of this number, counted from 0, once it was sent.
    pub fn answer(&self, number: usize) -> Option<Answer> {
        self.log.lock().unwrap().answers.get(number).cloned()
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, log: &Mutex<Log>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    // One caller at a time is all there is here.
    while let Ok((tcp, _)) = listener.accept().await {
        let end = converse(tcp, log).await.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
        log.lock().unwrap().ended = Some((Instant::now(), end));
    }
}

async fn converse(tcp: TcpStream, log: &Mutex<Log>) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    tcp.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::accept_async(tcp).await?;
    log.lock().unwrap().opened = Some(Instant::now());
    let mut ear = Ear::default();
    while let Some(message) = socket.next().await {
        let Message::Binary(bytes) = message? else { continue };
        let samples = from_bytes(&bytes);
        log.lock().unwrap().arrivals.push(Arrival { at: Instant::now(), samples: samples.clone() });
        let Some(utterance) = ear.listen(samples) else { continue };
        let ms = utterance.len() as u64 * 1_000 / u64::from(RATE);
        let number = log.lock().unwrap().answers.len() + 1;
        let text = format!(r#"{{"type":"utterance","number":{number},"ms":{ms}}}"#);
        let audio = stream_audio(&to_bytes(&utterance), RATE, 1);
        log.lock().unwrap().answers.push(Answer { at: Instant::now(), samples: utterance });
        socket.send(Message::text(audio)).await?;
        socket.send(Message::text(text)).await?;
    }
    Ok(())
}

/// Hears where an utterance begins and ends.
#[derive(Default)]
struct Ear {
    recent: Vec<i16>,
    /// Where in `recent` the voice was last heard to end; `None`: not yet.
    voiced_to: Option<usize>,
}

impl Ear {
    /// Takes the next samples; gives the utterance whose pause they complete.
    fn listen(&mut self, samples: Vec<i16>) -> Option<Vec<i16>> {
        let voice = rms(&samples) > VOICE;
        self.recent.extend(samples);
        if voice {
            self.voiced_to = Some(self.recent.len());
        }
        match self.voiced_to {
            None => {
                // Of what comes before the voice only the margin is needed, and the message in which the voice may begin.
                let old = self.recent.len().saturating_sub(MARGIN);
                self.recent.drain(..old);
                None
            }
            Some(end) if self.recent.len() - end >= PAUSE.as_millis() as usize * RATE as usize / 1_000 => {
                let mut utterance = std::mem::take(&mut self.recent);
                utterance.truncate(end + MARGIN);
                self.voiced_to = None;
                Some(utterance)
            }
            Some(_) => None,
        }
    }
}
