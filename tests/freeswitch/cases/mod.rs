//! The cases, by what they are about.

mod before_media;
mod bypass;
mod capture;
mod changes;
mod comfort_noise;
mod commands;
mod conversation;
mod conversation_turns;
mod dialplan;
mod ending;
mod events;
mod flushing;
mod harness;
mod instruments;
mod keys;
mod loading;
mod long_answers;
mod mixing;
mod packet_times;
mod playback;
mod protocols;
mod races;
mod recorded_by_switch;
mod recording;
mod scale;
mod two_channels;
