//! What all streams of the module share for their speech: connections, the cache, what is being made, the breakers.
//!
//! One for the module, used from any worker. The lock is held for a look-up and never across a wait; nothing of one conversation is
//! visible to another but that a sentence is there sooner.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use super::cache::{Cache, CacheLimits, CacheStats};
use super::error::{MOST_ERROR_BODY, Severity, SpeechError};
use super::program::{self, Launcher};
use super::synthesis::{Listener, SharedSynthesis};
use super::voice::{Ask, How, Voice};
use super::wav::{Expected, SpeechDecoder};
use crate::peer::is_success;
use crate::transport::{
    Attempt, BreakerKind, Breakers, HttpClient, HttpError, HttpRequest, HttpResponse, NotNow, Pause,
};
use crate::units::{Encoding, SampleRate};

/// Models that are known to refuse the text before a sentence.
const MOST_REFUSING: usize = 256;

/// What all streams of the module share for their speech.
pub struct SpeechShared {
    http: HttpClient,
    launcher: Launcher,
    breakers: Arc<Breakers>,
    inner: Mutex<Inner>,
}

struct Inner {
    cache: Cache,
    /// What is being made for the cache, by its key.
    running: HashMap<Arc<str>, Arc<SharedSynthesis>>,
    /// Models that have refused the text before a sentence, and spoken the sentence without it.
    refusing: HashSet<String>,
}

/// One sentence to be made.
pub(super) struct Job<'a> {
    pub(super) voice: &'a Voice,
    pub(super) text: &'a str,
    pub(super) previous: Option<&'a str>,
    pub(super) rate: SampleRate,
    pub(super) timeout: Duration,
    pub(super) cache: bool,
}

impl SpeechShared {
    /// Nothing cached. `breakers` keep requests from providers that fail.
    pub fn new(http: HttpClient, launcher: Launcher, breakers: Arc<Breakers>, limits: CacheLimits) -> Arc<Self> {
        let inner = Inner { cache: Cache::new(limits), running: HashMap::new(), refusing: HashSet::new() };
        Arc::new(Self { http, launcher, breakers, inner: Mutex::new(inner) })
    }

    /// Makes requests, with the connections of the speech.
    pub const fn http(&self) -> &HttpClient {
        &self.http
    }

    /// What keeps requests from providers that fail.
    pub(super) const fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    /// What the cache has done and holds.
    pub fn cache_stats(&self) -> CacheStats {
        self.inner.lock().cache.stats()
    }

    /// What was made of that before.
    pub(super) fn cached(&self, job: &Job<'_>) -> Option<Listener> {
        let key = job.voice.cache_key(job.text, job.rate);
        self.inner.lock().cache.get(Instant::now(), &key).map(Listener::cached)
    }

    /// Listens to a sentence: from the cache, together with the stream that has it made already, or made now in a task of its
    /// own on this worker.
    ///
    /// An error if the breaker of its provider is open. Must be called on a worker.
    pub(super) fn open(self: &Arc<Self>, job: &Job<'_>) -> Result<Listener, SpeechError> {
        let now = Instant::now();
        let key: Arc<str> = Arc::from(job.voice.cache_key(job.text, job.rate));
        let mut inner = self.inner.lock();
        if job.cache {
            if let Some(spoken) = inner.cache.get(now, &key) {
                return Ok(Listener::cached(spoken));
            }
            if let Some(listener) = inner.running.get(&key).and_then(SharedSynthesis::listen) {
                inner.cache.joined();
                return Ok(listener);
            }
        }
        let provider = job.voice.provider;
        let attempt = self.breakers.admit_to(now, BreakerKind::Speech, job.voice.place(), false);
        let attempt = attempt.map_err(|NotNow { wait, busy }| SpeechError::not_now(provider, wait, busy))?;
        let synthesis = SharedSynthesis::new(provider, job.rate);
        let Some(listener) = synthesis.listen() else {
            return Err(SpeechError::new(provider, Severity::Retryable, "internal", "the sentence was given up", None));
        };
        if job.cache {
            inner.cache.missed();
            inner.running.insert(Arc::clone(&key), Arc::clone(&synthesis));
        }
        drop(inner);
        let making = Making {
            shared: Arc::clone(self),
            synthesis: Arc::clone(&synthesis),
            key,
            attempt: Some(attempt),
            cache: job.cache,
        };
        let order = Order {
            voice: job.voice.clone(),
            text: job.text.to_owned(),
            previous: job.previous.map(str::to_owned),
            rate: job.rate,
            timeout: job.timeout,
        };
        let task = Handle::current().spawn(async move {
            let how = making.make(&order).await;
            making.finish(how);
        });
        synthesis.set_task(task.abort_handle());
        Ok(listener)
    }
}

impl fmt::Debug for SpeechShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechShared").field("cache", &self.cache_stats()).finish_non_exhaustive()
    }
}

/// A job on its own.
struct Order {
    voice: Voice,
    text: String,
    previous: Option<String>,
    rate: SampleRate,
    timeout: Duration,
}

/// A synthesis in the hands of its task: however that ends, its listeners learn of it.
struct Making {
    shared: Arc<SpeechShared>,
    synthesis: Arc<SharedSynthesis>,
    key: Arc<str>,
    /// The outcome for the provider's breaker.
    attempt: Option<Attempt>,
    cache: bool,
}

impl Making {
    fn finish(mut self, how: Result<(), SpeechError>) {
        let now = Instant::now();
        if let Some(attempt) = self.attempt.take() {
            match &how {
                Ok(()) => {
                    attempt.succeeded(now);
                }
                Err(SpeechError { pause: Some(pause), .. }) => {
                    attempt.asked_to_wait(now, *pause);
                }
                Err(error) if error.severity == Severity::Retryable && !error.is_ours => {
                    attempt.failed(now);
                }
                // One account's key or one text says nothing of the server, but that it answers.
                Err(_) => drop(attempt),
            }
        }
        let spoken = self.synthesis.end(how);
        let mut inner = self.shared.inner.lock();
        if self.cache
            && let Some(spoken) = spoken
        {
            inner.cache.put(now, &self.key, Arc::new(spoken));
        }
    }

    async fn make(&self, order: &Order) -> Result<(), SpeechError> {
        let ask = Ask {
            voice: &order.voice,
            text: &order.text,
            previous: order.previous.as_deref(),
            rate: order.rate,
            timeout: order.timeout,
        };
        match order.voice.how {
            How::Http(request) | How::Stream(request) => {
                let model = ask.voice.model_at();
                let takes_previous = ask.voice.takes_previous && !self.shared.inner.lock().refusing.contains(&model);
                let ask = Ask { previous: ask.previous.filter(|_| takes_previous), ..ask };
                let refused = match self.over_http(&ask, request).await {
                    // The request is not in order. That may be because of the text before, which the sentence does not need.
                    Err(error) if ask.previous.is_some() && matches!(error.status, Some(400 | 422)) => error,
                    how => return how,
                };
                self.over_http(&Ask { previous: None, ..ask }, request).await.map_err(|_| refused)?;
                let mut inner = self.shared.inner.lock();
                if inner.refusing.len() >= MOST_REFUSING {
                    inner.refusing.clear();
                }
                inner.refusing.insert(model);
                Ok(())
            }
            How::Program => self.by_program(&ask).await,
        }
    }

    async fn over_http(
        &self,
        ask: &Ask<'_>,
        request: fn(&Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError>,
    ) -> Result<(), SpeechError> {
        let (request, expected) = request(ask)?;
        // One limit up to the first audio, then one for each piece.
        let until = tokio::time::Instant::now() + ask.timeout;
        let answer = timeout_at(until, self.shared.http.send(&request)).await.map_err(|_| late(ask, "no answer"))?;
        let response = answer.map_err(|error| failed(ask, &error))?;
        let request_id = response.request_id();
        self.synthesis.set_request(request_id.clone());
        let poured = self.pour(ask, expected, response, until).await;
        poured.map_err(|error| SpeechError { request_id, ..error })
    }

    /// The answer of a provider into the synthesis; its first audio has to come by `until`.
    async fn pour(
        &self,
        ask: &Ask<'_>,
        expected: Expected,
        mut response: HttpResponse,
        mut until: tokio::time::Instant,
    ) -> Result<(), SpeechError> {
        let (name, key) = (ask.voice.provider, ask.voice.api_key.as_ref());
        if !is_success(response.status) {
            let body = timeout_at(until, response.text(MOST_ERROR_BODY)).await.unwrap_or_default();
            let pause = Pause::read(response.status, &response.headers, SystemTime::now());
            return Err(SpeechError { pause, ..SpeechError::refused(name, response.status, &body, key) });
        }
        let form = response.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if let Some(form) = form.filter(|form| !is_audio(form)) {
            let message = format!("it answered with {} instead of audio", form.chars().take(60).collect::<String>());
            return Err(SpeechError::new(name, Severity::Fatal, "bad_audio", message, key));
        }
        let mut pour = Pour::new(&self.synthesis, name, expected);
        loop {
            let chunk = timeout_at(until, response.chunk()).await.map_err(|_| late(ask, "no audio"))?;
            let Some(chunk) = chunk.map_err(|error| failed(ask, &error))? else { return pour.finish() };
            if pour.push(&chunk)? {
                until = tokio::time::Instant::now() + ask.timeout;
            }
        }
    }

    async fn by_program(&self, ask: &Ask<'_>) -> Result<(), SpeechError> {
        let (argv, input) = ask.voice.command_line(ask.text, ask.rate);
        let rate = ask.voice.raw_rate.unwrap_or(ask.rate);
        let mut pour = Pour::new(&self.synthesis, ask.voice.provider, Expected { encoding: Encoding::S16Le, rate });
        let run = program::run(&self.shared.launcher, argv, input, ask.timeout, |bytes| pour.push(bytes).map(|_| ()));
        run.await?;
        pour.finish()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Nothing where it has ended; where its task was ended or has panicked, the listeners must not wait without end.
        let message = "the request was given up";
        self.synthesis.end(Err(SpeechError::new(
            self.synthesis.provider(),
            Severity::Retryable,
            "internal",
            message,
            None,
        )));
        if self.cache {
            let mut inner = self.shared.inner.lock();
            if inner.running.get(&self.key).is_some_and(|synthesis| Arc::ptr_eq(synthesis, &self.synthesis)) {
                inner.running.remove(&self.key);
            }
        }
    }
}

/// A provider has taken too long.
fn late(ask: &Ask<'_>, what: &str) -> SpeechError {
    let message = format!("{what} within {} ms", ask.timeout.as_millis());
    SpeechError::new(ask.voice.provider, Severity::Retryable, "timeout", message, None)
}

/// There is no answer, or no more of it.
fn failed(ask: &Ask<'_>, error: &HttpError) -> SpeechError {
    SpeechError::http(ask.voice.provider, error, ask.voice.api_key.as_ref())
}

/// Bytes into samples into a synthesis.
pub(super) struct Pour<'a> {
    synthesis: &'a SharedSynthesis,
    provider: &'static str,
    decoder: SpeechDecoder,
    samples: Vec<i16>,
}

impl<'a> Pour<'a> {
    pub(super) fn new(synthesis: &'a SharedSynthesis, provider: &'static str, expected: Expected) -> Self {
        Self { synthesis, provider, decoder: SpeechDecoder::new(expected), samples: Vec::new() }
    }

    /// Whether there was audio in it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, SpeechError> {
        let decoded = self.decoder.push(bytes, &mut self.samples);
        let any = self.pass()?;
        decoded.map_err(|error| SpeechError::audio(self.provider, &error))?;
        Ok(any)
    }

    /// All bytes have been pushed.
    pub(super) fn finish(&mut self) -> Result<(), SpeechError> {
        let finished = self.decoder.finish(&mut self.samples);
        self.pass()?;
        finished.map_err(|error| SpeechError::audio(self.provider, &error))
    }

    fn pass(&mut self) -> Result<bool, SpeechError> {
        let any = !self.samples.is_empty();
        if any {
            self.synthesis.push(&self.samples, self.decoder.rate())?;
            self.samples.clear();
        }
        Ok(any)
    }
}

/// Whether a content type may be the audio that was asked for; what it is in fact its bytes say.
fn is_audio(form: &str) -> bool {
    let form = form.split(';').next().unwrap_or(form).trim().to_ascii_lowercase();
    form.starts_with("audio/") || matches!(form.as_str(), "application/octet-stream" | "binary/octet-stream" | "")
}
