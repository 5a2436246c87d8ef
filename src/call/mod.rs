//! What every attachment to a call shares. An attachment is something that hears or changes a call's audio through a media bug of
//! its own: today a stream or a recording.
//!
//! ```text
//! reserve a name ─► put the media bug on the call ─► enter it in the registry ─► … ─► take the bug off ─► CLOSE ─► finish
//! ```
//!
//! A new kind of attachment is a struct that contains an [`Attachment`] and implements [`Attached`] and [`Kind`]. The registry, the
//! event threads and the host's media bug then work with it as they do with the others.
//!
//! | file | job |
//! |---|---|
//! | `attachment` | one attachment: its number, its name, its media bug, its end |
//! | `limits` | how many there may be |
//! | `registry` | all attachments of a kind, by call and name |

pub mod attachment;
pub mod limits;
pub mod registry;

pub use attachment::{Attached, Attachment, AttachmentId, ChannelSnapshot, Kind, MediaBug, Sink};
pub use limits::{LimitReached, Limits};
pub use registry::{RegisterError, Registry, Reservation};
