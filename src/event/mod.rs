//! Events for operators: FreeSWITCH events of type `CUSTOM` with a subclass, headers and a JSON body.
//!
//! ```text
//! list.rs: one type per event ─► Event ─► queue of the event thread ─► Event::render ─► FsEvent ─► ffi
//!                          └───► EVENTS ─► subclasses reserved at load, the table of the documentation
//! ```
//! An [`Event`] is plain data, made on a worker or on the recorder's thread. The event thread renders it. Texts of a server are data:
//! headers hold them on one line, bodies as JSON strings, and FreeSWITCH never expands or formats them. Everything here is pure.
//!
//! | file | job |
//! |---|---|
//! | `list` | the list of all events, and the events of streams |
//! | `connection` | the events of connections that fail |
//! | `conversation` | the events of conversations |
//! | `from_agent` | what an agent reports, as an event |
//! | `recording` | the event of recordings, and the state of a recording |
//! | `text` | texts of limited length |
//! | `transcript` | the event of transcription services |
//! | `watch` | the events of the watch over streams, and the words of `health` |
//! | `server_text` | texts of servers, as the events that pass them on have them |

mod connection;
mod conversation;
mod figures;
mod from_agent;
mod list;
mod recording;
mod server_text;
mod service_ids;
mod text;
mod transcript;
mod watch;

use std::fmt::Display;

use serde::Serialize;

pub use connection::{Breaker, Ready, Reconnecting};
pub use conversation::{
    AiAction, AiBargeIn, AiFalseInterruption, AiIdle, AiRaw, AiResponse, AiState, AiTranscript, Speech,
};
pub use figures::{AiSummary, AiTurn};
pub use list::{
    AiFailure, Connect, Disconnect, Dtmf, EVENTS, Error, Event, Hold, HoldCause, Json, Mask, Overflow, Play, Playback,
    Queue, Severity, Underrun,
};
pub use recording::{ChannelLevel, Record, RecordStatus};
pub use service_ids::ServiceIds;
pub use text::Text;
pub use transcript::Transcript;
pub use watch::{Health, HealthChanged, Part, Stalled, Trouble};

use crate::units::{CallId, StreamName};
use text::one_line;

/// Longest body, bytes. A longer text of a server is cut, and the event has the header `Audio-Stream-Truncated`.
pub const MAX_BODY: usize = 262_144;
/// Longest value of a header, bytes. A longer text is in the body only.
const MAX_HEADER_TEXT: usize = 8_192;
/// Longest reason or message, bytes.
pub const MAX_REASON: usize = 1_024;

/// One kind of event: everything that FreeSWITCH, subscribers and the documentation need to know about it.
///
/// The derived [`Serialize`] gives the fields of the body, in the order in which they are declared.
pub trait OperatorEvent: Serialize + Into<Event> {
    /// Full name of the subclass; no two types share one.
    const SUBCLASS: &'static str;
    /// When the event is fired and what its fields mean, for the table of the documentation.
    const DOC: &'static str;
    /// Whether the body has the fields in an object `message` beside `status`, as the older modules have them.
    const FIELDS_IN_MESSAGE: bool = false;

    /// The event that the documentation shows.
    fn example() -> Self;

    /// First field of the body and first header. Empty: the event has no status.
    fn status(&self) -> &'static str {
        ""
    }

    /// Adds the fields by which subscribers filter or which they read without parsing the body.
    fn headers(&self, headers: &mut Headers);

    /// The body.
    fn body(&self) -> Option<String> {
        let fields = Some(self);
        let body = match Self::FIELDS_IN_MESSAGE {
            true => Body { status: self.status(), fields: None, message: fields },
            false => Body { status: self.status(), fields, message: None },
        };
        // Structs of texts and numbers can always be written as JSON. If one cannot, the event is fired without a body.
        serde_json::to_string(&body).ok()
    }

    /// Channel variables that are set before the event is fired, for the dialplan.
    fn variables(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Whether the event ends a stream or recording, or says why it ends. Such an event is never dropped, even when its queue is
    /// full or the call is gone.
    fn is_final(&self) -> bool {
        false
    }

    /// Whether the event reports trouble that the stream's other events may be part of: it is fired before those that wait.
    fn is_alarm(&self) -> bool {
        false
    }

    /// Bytes of the texts in it, if a server or service decides how long they are.
    fn bytes(&self) -> usize {
        0
    }
}

#[derive(Serialize)]
struct Body<'a, E> {
    #[serde(skip_serializing_if = "str::is_empty")]
    status: &'static str,
    #[serde(flatten)]
    fields: Option<&'a E>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a E>,
}

/// Names and values of an event's headers.
pub struct Headers(Vec<(&'static str, String)>);

impl Headers {
    /// Adds a header on one line. FreeSWITCH deletes headers without a value, so an empty value adds nothing, and so does a
    /// value longer than [`MAX_HEADER_TEXT`].
    pub fn add(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        let value = value.to_string();
        if (1..=MAX_HEADER_TEXT).contains(&value.len()) {
            self.0.push((name, one_line(&value)));
        }
        self
    }
}

/// An event ready to be fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FsEvent {
    /// The call it is about, if it is about one.
    pub call: Option<CallId>,
    /// Full name of the subclass.
    pub subclass: &'static str,
    /// Names and values. Each value is one line and not empty.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<String>,
    /// Channel variables to set before the event is fired.
    pub variables: Vec<(&'static str, String)>,
}

/// A subclass: reserved at load, freed at unload, documented.
pub struct EventRow {
    /// Full name.
    pub subclass: &'static str,
    /// When it is fired.
    pub doc: &'static str,
    /// One such event.
    pub example: fn() -> Event,
}

impl EventRow {
    const fn of<E: OperatorEvent>() -> Self {
        Self { subclass: E::SUBCLASS, doc: E::DOC, example: || E::example().into() }
    }
}

/// `event` of the stream or recording of that name on that call, or of neither, as FreeSWITCH fires it.
fn render(event: &impl OperatorEvent, of: Option<(&CallId, &StreamName)>) -> FsEvent {
    fn subclass<E: OperatorEvent>(_: &E) -> &'static str {
        E::SUBCLASS
    }
    let mut headers = Headers(Vec::new());
    if let Some((call, name)) = of {
        headers.add("Audio-Stream-UUID", call).add("Audio-Stream-Name", name);
    }
    headers.add("Audio-Stream-Status", event.status());
    event.headers(&mut headers);
    FsEvent {
        call: of.map(|(call, _)| call.clone()),
        subclass: subclass(event),
        headers: headers.0,
        body: event.body(),
        variables: event.variables(),
    }
}

/// Makes [`Event`] and [`EVENTS`] from the types of the events.
macro_rules! events {
    ($($event:ident),+ $(,)?) => {
        /// Something that happened to a stream or recording.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Event {
            $(#[allow(missing_docs)] $event($event)),+
        }

        /// Every subclass.
        pub static EVENTS: &[EventRow] = &[$(EventRow::of::<$event>()),+];

        impl Event {
            /// The event of the stream or recording `name` on `call`, as FreeSWITCH fires it.
            pub fn render(&self, call: &CallId, name: &StreamName) -> FsEvent {
                match self {
                    $(Self::$event(event) => render(event, Some((call, name)))),+
                }
            }

            /// The event that is about no call, as FreeSWITCH fires it.
            pub fn render_alone(&self) -> FsEvent {
                match self {
                    $(Self::$event(event) => render(event, None)),+
                }
            }

            /// See [`OperatorEvent::is_final`].
            pub fn is_final(&self) -> bool {
                match self {
                    $(Self::$event(event) => event.is_final()),+
                }
            }

            /// See [`OperatorEvent::is_alarm`].
            pub fn is_alarm(&self) -> bool {
                match self {
                    $(Self::$event(event) => event.is_alarm()),+
                }
            }

            /// See [`OperatorEvent::bytes`].
            pub fn bytes(&self) -> usize {
                match self {
                    $(Self::$event(event) => event.bytes()),+
                }
            }
        }

        $(impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$event(event)
            }
        })+
    };
}
use events;

#[cfg(test)]
mod tests;
