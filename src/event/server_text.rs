//! A text message of a server, as the events that pass it on have it: cut where it enters the event, so that an event that
//! waits in a queue has a bounded size.

use serde::Serialize;

use super::{Headers, MAX_BODY, Text};

/// A text message of a server, cut to the length of a body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServerText {
    text: Text<MAX_BODY>,
    /// Bytes it had.
    length: usize,
}

impl<T: Into<String>> From<T> for ServerText {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { length: text.len(), text: text.into() }
    }
}

impl ServerText {
    /// Bytes that are left of it.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Adds the headers of an event whose body it is.
    pub(super) fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Message", &self.text);
        if self.length > self.text.len() {
            headers.add("Audio-Stream-Truncated", true).add("Audio-Stream-Length", self.length);
        }
    }

    /// The body: a NUL would end it in C.
    pub(super) fn body(&self) -> String {
        self.text.replace('\0', "\u{fffd}")
    }
}
