//! Tests that have the stand-in FreeSWITCH for themselves, one after another: they load, unload and configure modules, and
//! count the threads, files and memory of the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod browser;
#[path = "../standin/calls.rs"]
mod calls;
mod configuration;
mod failing;
#[path = "../standin/host/mod.rs"]
mod host;
mod http;
mod limits;
mod loading;
mod log_level;
mod memory;
mod metrics;
mod monitoring;
mod neighbours;
mod package;
mod process;
#[path = "../support/openai/mod.rs"]
mod realtime;
mod selftest;
#[path = "../support/mod.rs"]
mod support;
