//! The cases, by what they are about.

mod capture;
mod changes;
mod commands;
mod conversation;
mod dialplan;
mod ending;
mod events;
mod harness;
mod instruments;
mod keys;
mod loading;
mod mixing;
mod playback;
mod protocols;
mod recording;
mod scale;
