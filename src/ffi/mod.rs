//! The C boundary: everything FreeSWITCH calls and everything that calls FreeSWITCH. All unsafe code of the module is here.
#![allow(unsafe_code)]

mod api;
mod app;
pub(crate) mod bindings;
mod call;
mod clock;
mod dtmf;
mod event;
mod fillers;
mod frames;
mod giver;
mod guard;
mod host;
mod in_use;
mod listen;
mod loaded;
mod log;
mod mask;
mod media_bug;
mod module;
mod program;
mod recorder;
mod sent_dtmf;
mod session;
mod stream;
mod thread;
mod transfer;
mod xml;

pub use program::HostPrograms;
