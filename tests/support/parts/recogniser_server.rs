//! The scripted recogniser over real sockets. One thread serves all its connections until the server is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::recogniser::{Listening, Recogniser, Says};
use crate::support::websocket_server::{Action, Connection, Received, Script, WebSocketServer};

/// Between two looks at what has come.
const LOOK: Duration = Duration::from_millis(10);

/// See the [module](self).
pub struct RecogniserServer {
    server: Arc<WebSocketServer>,
    recogniser: Recogniser,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A connection, and how much of what came was taken.
struct Served {
    connection: Arc<Connection>,
    listening: Option<Listening>,
    taken: usize,
}

impl RecogniserServer {
    /// A server on 127.0.0.1.
    pub fn start() -> Self {
        let server = Arc::new(WebSocketServer::start(Script::default()));
        let (recogniser, over) = (Recogniser::default(), Arc::new(AtomicBool::new(false)));
        let of_thread = (server.clone(), recogniser.clone(), over.clone());
        let serve = move || serve(&of_thread.0, &of_thread.1, &of_thread.2);
        let thread = std::thread::Builder::new().name("recogniser".into()).spawn(serve).unwrap();
        Self { server, recogniser, over, thread: Some(thread) }
    }

    /// Its URL, to which the path is added.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.server.port())
    }

    /// What it heard.
    pub fn recogniser(&self) -> &Recogniser {
        &self.recogniser
    }

    /// The connection is reset: what is on its way is lost.
    pub fn reset(&self) {
        self.server.connections().last().unwrap().order(Action::Reset);
    }
}

impl Drop for RecogniserServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has failed the test already.
            let _ = thread.join();
        }
    }
}

fn serve(server: &WebSocketServer, recogniser: &Recogniser, over: &AtomicBool) {
    let mut served: Vec<Served> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        for connection in server.connections().into_iter().skip(served.len()) {
            let opened = recogniser.open(now, &connection.uri, connection.header("authorization"));
            if let Err(status) = opened {
                connection.order(Action::Close(4_000 + status, String::new()));
            }
            served.push(Served { connection, listening: opened.ok(), taken: 0 });
        }
        for Served { connection, listening, taken } in &mut served {
            let Some(ear) = listening else { continue };
            let mut gone = false;
            for arrival in connection.arrivals_from(*taken) {
                *taken += 1;
                match arrival.message {
                    Received::Text(text) => ear.read(now, &text),
                    Received::Binary(audio) => ear.hear(now, &audio),
                    Received::Close(..) | Received::Gone(_) => gone = true,
                }
            }
            while let Some(says) = ear.poll() {
                connection.order(match says {
                    Says::Text(text) => Action::Text(text),
                    Says::Close(code) => Action::Close(code, String::new()),
                });
            }
            listening.take_if(|_| gone);
        }
        std::thread::sleep(LOOK);
    }
}
