//! The requests over HTTP that a stream's peer has asked for, with the connections that all streams of the module share.
//!
//! On the stream's worker; owned by its task. At most [`MOST`] at once; one more fails. Dropping one drops its connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::peer::{Fetch, Fetched};
use crate::transport::{ConnectOptions, Endpoint, Headers, HttpClient, HttpError, HttpRequest, HttpResponse};

/// Requests at once: one turn being written down and one answer are the rule.
const MOST: usize = 8;

/// See the [module](self).
pub(super) struct Fetches {
    client: HttpClient,
    running: Vec<Running>,
}

struct Running {
    id: u64,
    state: State,
}

enum State {
    Asking(Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>),
    Answering(Box<HttpResponse>),
    /// It could not even be asked.
    Failed(String),
}

/// What has come of one.
pub(super) struct Piece {
    id: u64,
    what: What,
}

enum What {
    Head { status: u16, request_id: Option<String> },
    Body(Bytes),
    End,
    Failed(String),
}

impl Piece {
    /// The request, and what has come.
    pub(super) fn of(&self) -> (u64, Fetched<'_>) {
        let what = match &self.what {
            What::Head { status, request_id } => Fetched::Head { status: *status, request_id: request_id.as_deref() },
            What::Body(bytes) => Fetched::Body(bytes),
            What::End => Fetched::End,
            What::Failed(message) => Fetched::Failed(message),
        };
        (self.id, what)
    }
}

impl Fetches {
    pub(super) const fn new(client: HttpClient) -> Self {
        Self { client, running: Vec::new() }
    }

    /// Begins a request; `how` has the time limit and the TLS of the stream.
    pub(super) fn begin(&mut self, fetch: Fetch, how: &ConnectOptions) {
        let id = fetch.id;
        let state = match request(fetch, how) {
            _ if self.running.len() >= MOST => State::Failed("too many requests at once".to_owned()),
            Err(message) => State::Failed(message),
            Ok(request) => {
                let client = self.client.clone();
                State::Asking(Box::pin(async move { client.send(&request).await }))
            }
        };
        self.running.push(Running { id, state });
    }

    /// Drops a request, if it is still there.
    pub(super) fn abort(&mut self, id: u64) {
        self.running.retain(|running| running.id != id);
    }

    /// Ready when something has come of one.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        for at in 0..self.running.len() {
            let running = &mut self.running[at];
            let Poll::Ready(what) = running.poll(cx) else { continue };
            let id = running.id;
            if matches!(what, What::End | What::Failed(_)) {
                self.running.remove(at);
            } else {
                // The others have their turn next.
                self.running.rotate_left(at + 1);
            }
            return Poll::Ready(Piece { id, what });
        }
        Poll::Pending
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<What> {
        match &mut self.state {
            State::Failed(message) => Poll::Ready(What::Failed(std::mem::take(message))),
            State::Asking(asking) => asking.as_mut().poll(cx).map(|answer| match answer {
                Ok(response) => {
                    let (status, request_id) = (response.status, response.request_id());
                    self.state = State::Answering(Box::new(response));
                    What::Head { status, request_id }
                }
                Err(error) => What::Failed(error.to_string()),
            }),
            State::Answering(response) => std::pin::pin!(response.chunk()).poll(cx).map(|chunk| match chunk {
                Ok(Some(bytes)) => What::Body(bytes),
                Ok(None) => What::End,
                Err(error) => What::Failed(error.to_string()),
            }),
        }
    }
}

fn request(fetch: Fetch, how: &ConnectOptions) -> Result<HttpRequest, String> {
    let mut endpoint = Endpoint::parse_http(&fetch.target.url).map_err(|error| error.to_string())?;
    if let Some(secret) = fetch.target.secret {
        endpoint = endpoint.with_secret(secret).map_err(|error| error.to_string())?;
    }
    let mut headers = Headers::default();
    for (name, value) in &fetch.target.headers {
        headers.insert(name, value).map_err(|error| error.to_string())?;
    }
    Ok(HttpRequest {
        endpoint,
        headers,
        body: fetch.body.map(|body| (body.content_type, body.bytes.into())),
        tls: how.tls.clone(),
        connect_timeout: how.timeout,
    })
}
