//! Who is at the other end of a stream: a server with its protocol, or a conversation. Driven in the same way.
//!
//! What the two have in common goes by the inputs of protocols; a conversation wants more, which the stream's task asks for
//! by [`Talk::conversation`]. Owned by the stream's task.

use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::link::{AiLink, Effect};
use crate::protocol::{CaptureFormat, Input, MarkId, Output, Protocol};
use crate::tts::SpeechEvent;

/// The other end.
pub enum Talk {
    /// A server.
    Server(Box<dyn Protocol>),
    /// A conversation, and the form it wants captured audio in.
    Conversation(Box<AiLink>, CaptureFormat),
}

impl Talk {
    /// The conversation, where it is one.
    pub fn conversation(&mut self) -> Option<&mut AiLink> {
        match self {
            Self::Server(_) => None,
            Self::Conversation(link, _) => Some(link),
        }
    }

    /// Whether it is one.
    pub const fn is_conversation(&self) -> bool {
        matches!(self, Self::Conversation(..))
    }

    /// As [`Protocol::handle`]; for a conversation drain [`AiLink::poll`], too.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let link = match self {
            Self::Server(protocol) => return protocol.handle(now, input),
            Self::Conversation(link, _) => link,
        };
        match input {
            Input::Opened => {
                // A clock set to before 1970 is as wrong as one set to 1970.
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                link.opened(now, since_epoch.as_secs());
            }
            Input::Audio(audio) => link.audio(now, audio),
            Input::Text(text) => link.text(now, text),
            Input::Binary(_) => link.binary(now),
            Input::Dtmf { digit, .. } => link.dtmf(now, digit),
            Input::SendText(text) => link.user_text(now, text.to_owned()),
            Input::Stop { text, .. } => {
                if let Some(text) = text {
                    link.user_text(now, text.to_owned());
                }
                link.stop(now);
            }
            Input::Timeout => link.timeout(now),
            // Nobody sets marks.
            Input::MarkHeard(_) | Input::MarkCleared(_) => {}
        }
    }

    /// As [`Protocol::poll`]; a conversation's outputs are its effects.
    pub fn poll(&mut self) -> Option<Output> {
        match self {
            Self::Server(protocol) => protocol.poll(),
            Self::Conversation(..) => None,
        }
    }

    /// As [`Protocol::mark_name`].
    pub fn mark_name(&self, id: MarkId) -> Option<&str> {
        match self {
            Self::Server(protocol) => protocol.mark_name(id),
            Self::Conversation(..) => None,
        }
    }

    /// What a conversation wants; nothing for a server.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.conversation().and_then(AiLink::poll)
    }

    /// Ready when something has come of a conversation's sentences. On a worker.
    pub fn poll_speech(&mut self, cx: &mut Context<'_>) -> Poll<SpeechEvent> {
        match self {
            Self::Server(_) => Poll::Pending,
            Self::Conversation(link, _) => link.poll_speech(cx),
        }
    }

    /// As [`Protocol::deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Server(protocol) => protocol.deadline(),
            Self::Conversation(link, _) => link.deadline(),
        }
    }

    /// As [`Protocol::capture`].
    pub fn capture(&self) -> CaptureFormat {
        match self {
            Self::Server(protocol) => protocol.capture(),
            Self::Conversation(_, format) => *format,
        }
    }

    /// The caller's audio that waits for the socket: should the next input be the connection's end, that much is sent again
    /// with the next one. Nothing to a server.
    pub fn set_unsent(&mut self, unsent: Duration) {
        if let Some(link) = self.conversation() {
            link.set_unsent(unsent);
        }
    }
}
