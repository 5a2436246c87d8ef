//! Every parser of what comes from outside, on mutated inputs. Nothing may panic, and what each target states must hold.
//!
//! | file | what comes in |
//! |---|---|
//! | `operators` | commands, options, the configuration file, secrets in files, URLs, headers |
//! | `protocols` | messages of servers, in every protocol, those of transcription services included |
//! | `conversations` | events of AI services, in whole conversations, for every engine; a cascade's answers over HTTP |
//! | `audio` | audio files of servers, speech and refusals of its providers, a model's text |
//! | `sockets` | a server's handshake and frames, requests to the module's pages: on real connections |
//! | `steps` | the form of an input that is more than one message |
//! | `engine`, `coverage` | the fuzzer |
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audio;
mod conversations;
mod coverage;
mod engine;
mod operators;
mod protocols;
mod sockets;
mod steps;
