//! Both parts over real sockets, one named thread for each connection. HTTP/1.1, kept alive, bodies in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::Parts;

/// A server with both parts. Dropping it ends its threads.
pub struct PartsServer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    /// Connections are closed as soon as they are made.
    unreachable: AtomicBool,
    over: AtomicBool,
    connections: AtomicU32,
}

impl PartsServer {
    /// Starts it on a port of its own.
    pub fn start(parts: Parts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            parts,
            unreachable: AtomicBool::new(false),
            over: AtomicBool::new(false),
            connections: AtomicU32::new(0),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("parts".into())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if of_thread.over.load(Ordering::Relaxed) {
                        return;
                    }
                    of_thread.connections.fetch_add(1, Ordering::Relaxed);
                    let shared = Arc::clone(&of_thread);
                    std::thread::Builder::new().name("part".into()).spawn(move || serve(&shared, &stream)).unwrap();
                }
            })
            .unwrap();
        Self { port, shared }
    }

    /// Its URL, to which `/v1` and the rest is added.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether it answers.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.unreachable.store(!reachable, Ordering::Relaxed);
    }

    /// Connections so far.
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// What it was asked.
    pub fn parts(&self) -> &Parts {
        &self.shared.parts
    }
}

impl Drop for PartsServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The thread that accepts notices with the next connection; there may be none to make any more.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(shared: &Shared, stream: &TcpStream) {
    // A connection that the client has closed ends its thread with an error that nobody needs.
    let _ = try_serve(shared, stream);
}

fn try_serve(shared: &Shared, stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut line, mut length, mut key, mut kind) = (String::new(), 0, None, String::new());
        if reader.read_line(&mut line)? == 0 || shared.unreachable.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => key = Some(value.to_owned()),
                "content-type" => kind = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = shared.parts.answer(&path, key.as_deref(), &kind, &body);
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            answer.status, answer.content_type
        );
        writer.write_all(head.as_bytes())?;
        for (wait, piece) in answer.pieces {
            std::thread::sleep(wait);
            let Some(piece) = piece.filter(|_| !shared.unreachable.load(Ordering::Relaxed)) else { return Ok(()) };
            writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
            writer.write_all(&piece)?;
            writer.write_all(b"\r\n")?;
        }
        writer.write_all(b"0\r\n\r\n")?;
    }
}
