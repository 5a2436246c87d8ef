//! What the host has logged and fired, kept for the test. Filled on the host's threads, unbounded until cleared.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Levels of log lines, as FreeSWITCH numbers them.
pub mod level {
    pub const ERROR: i32 = 3;
    pub const WARNING: i32 = 4;
    pub const NOTICE: i32 = 5;
    pub const INFO: i32 = 6;
    pub const DEBUG: i32 = 7;
}

/// A delivered event.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was delivered.
    pub at: Instant,
    pub subclass: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// It was fired from inside a media callback, which must not happen.
    pub in_media_callback: bool,
}

impl Event {
    /// The first header of the name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body.as_deref().unwrap_or("")).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A log line.
#[derive(Clone, Debug)]
pub struct Log {
    pub level: i32,
    pub uuid: Option<String>,
    pub file: String,
    pub line: i32,
    pub text: String,
    /// It was logged from inside a media callback, which must not happen.
    pub in_media_callback: bool,
}

#[derive(Default)]
struct Contents {
    events: Vec<Event>,
    logs: Vec<Log>,
    /// Where the events of a call are, by its `Audio-Stream-UUID`: hundreds of calls share these records.
    calls: HashMap<String, Vec<usize>>,
}

impl Contents {
    fn add(&mut self, event: Event) {
        if let Some(uuid) = event.header("Audio-Stream-UUID") {
            self.calls.entry(uuid.to_owned()).or_default().push(self.events.len());
        }
        self.events.push(event);
    }
}

/// All events and log lines of this process since the last [`Records::clear`].
#[derive(Default)]
pub struct Records {
    contents: Mutex<Contents>,
    changed: Condvar,
}

impl Records {
    pub fn get() -> &'static Self {
        static RECORDS: LazyLock<Records> = LazyLock::new(Records::default);
        &RECORDS
    }

    pub fn clear(&self) {
        *self.lock() = Contents::default();
    }

    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    pub fn logs(&self) -> Vec<Log> {
        self.lock().logs.clone()
    }

    pub fn look<T>(&self, look: impl FnOnce(&[Event], &[Log]) -> T) -> T {
        let contents = self.lock();
        look(&contents.events, &contents.logs)
    }

    pub fn look_at_call<T>(&self, uuid: &str, look: impl FnOnce(&[&Event]) -> T) -> T {
        let contents = self.lock();
        let indices = contents.calls.get(uuid).map_or(&[][..], Vec::as_slice);
        look(&indices.iter().map(|index| &contents.events[*index]).collect::<Vec<_>>())
    }

    /// Looks again at each change until there is an answer.
    pub fn wait<T>(&self, patience: Duration, mut look: impl FnMut(&[Event], &[Log]) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        let mut contents = self.lock();
        loop {
            if let Some(answer) = look(&contents.events, &contents.logs) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (events, logs) = (contents.events.clone(), contents.logs.clone());
                drop(contents);
                panic!("the wait was too long; events: {events:#?}\nlog: {logs:#?}");
            }
            contents = self.changed.wait_timeout(contents, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Called by the C host for each log line, on the thread that logs.
pub extern "C" fn on_log(
    _data: *mut c_void,
    level: c_int,
    uuid: *const c_char,
    file: *const c_char,
    line: c_int,
    text: *const c_char,
    in_media_callback: c_int,
) {
    let log = Log {
        level,
        uuid: text_of(uuid),
        file: text_of(file).unwrap_or_default(),
        line,
        text: text_of(text).unwrap_or_default().trim_end().to_owned(),
        in_media_callback: in_media_callback != 0,
    };
    let records = Records::get();
    records.lock().logs.push(log);
    records.changed.notify_all();
}

/// Called by the C host for each event, on its delivering thread.
pub extern "C" fn on_event(
    _data: *mut c_void,
    subclass: *const c_char,
    names: *const *const c_char,
    values: *const *const c_char,
    headers: usize,
    body: *const c_char,
    in_media_callback: c_int,
) {
    // SAFETY: arrays of that many texts, for the length of this call.
    let names = unsafe { std::slice::from_raw_parts(names, headers) };
    // SAFETY: as above.
    let values = unsafe { std::slice::from_raw_parts(values, headers) };
    let event = Event {
        at: Instant::now(),
        subclass: text_of(subclass).unwrap_or_default(),
        headers: names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some((text_of(*name)?, text_of(*value)?)))
            .collect(),
        body: text_of(body),
        in_media_callback: in_media_callback != 0,
    };
    let records = Records::get();
    records.lock().add(event);
    records.changed.notify_all();
}

fn text_of(text: *const c_char) -> Option<String> {
    // SAFETY: the host passes NULL or a NUL-terminated text that lives for the length of the call.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
