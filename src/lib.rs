//! mod_audio_stream: a FreeSWITCH module that streams a call's audio to WebSocket servers and plays what they send back,
//! or has the caller talk with an AI in the same way.
//!
//! # The path of the audio
//!
//! ```text
//!            FreeSWITCH's media threads        │ a shard: one thread, many streams
//!                                              │
//! caller ──► READ ─► ffi::bug ─► media::capture ═══ring═══► stream::capture ─► dsp ─► peer.handle(Audio)
//!                                              │                                          │ peer.poll
//!                                              │                                          ▼
//!                                              │                   far end ◄═══ transport ◄─ outbox
//!                                              │                      │
//!                                              │                      └─► transport ─► peer.handle(Text, Binary)
//!                                              │                                          │ peer.poll: Play, Speak, Flush
//!                                              │                                          ▼
//! caller ◄── WRITE_REPLACE ◄─ media::playout ◄═══ring═══ dsp ◄─ inject (queue, pacing)
//!                                  ▲           │                    │
//!                                  └── flush mark (clear, barge-in, stop) ── any thread
//!
//! a conversation: the peer is conversation::Conversation, an engine and the agent; what the model writes ─► tts ─► inject
//! several streams of a call: media::call_mix, one turn after the other in the same WRITE_REPLACE
//! the caller's keys: DTMF hook ═ring═► READ ═ring═► stream; tones of the operator: stream ═ring═► media::playout
//! recorder's own bug: READ, WRITE_REPLACE ─► media::recording ═ring═► record ─► a WAV file
//!
//! fs_cli, ESL, dialplan ─► ffi ─► control (grammar, options) ─► runtime ─► the stream's mailbox
//! stream ─► event thread ─► control::events ─► ffi ─► CUSTOM events
//! ```
//!
//! A double line is where threads meet. There are few such places and no lock in any of them: the capture ring, the playout ring and
//! the flush mark beside it, the rings of keys and tones, the two rings of a recording, and gains, which are atomics. Everything else of a
//! stream belongs to one task on one thread.
//!
//! # Threads
//!
//! | thread | what it does here | what it must not |
//! |---|---|---|
//! | FreeSWITCH's media threads | READ: a frame into the capture ring. WRITE_REPLACE: a frame out of the playout ring. The two overlap; each is serial with itself | wait, allocate, free, log, panic, resample, parse, touch a socket |
//! | FreeSWITCH's API and dialplan threads | parse, validate, put the media bug on the call or take it off, leave an order in a mailbox | resolve names, connect, wait for a server |
//! | `mas-shard-N`, one for two processors, four at most, or as `workers` says | the tasks of their streams: sockets, protocols, resampling, pacing; sentences being spoken, each a task of its own | call FreeSWITCH, but for its log |
//! | `mas-blocking`, two for each shard at most, when needed | name look-ups, certificate files, reading and decoding of audio files, the start and the end of programs that speak | anything else |
//! | `mas-recorder` | writes the files of recordings: the only thread that waits for a disk | touch a call |
//! | `mas-events` | fires events: may wait for a session's lock | touch audio |
//! | `mas-calls` | does to calls what far ends may have done, takes bugs off them: may wait for a session's lock, and longer | touch audio |
//! | `mas-clock` | writes silence to channels that have playback waiting and nobody who writes | work for streams that do not need it |
//!
//! Their number does not depend on the number of streams. All of ours run at ordinary priority, whatever FreeSWITCH runs at, but
//! for the playout clock: it holds locks of calls that media threads wait for, and keeps their priority.
//!
//! # The modules, in the order of the path
//!
//! | module | job |
//! |---|---|
//! | [`ffi`] | all unsafe code: what FreeSWITCH calls and what calls FreeSWITCH; media bug, API, application, events, log |
//! | [`media`] | the media thread's half: the rings, the flush mark, gains, the mix of a call's streams, tones, concealed gaps, counters |
//! | [`dsp`] | resampling with exact counts, PCM bytes, G.711, layouts of legs and channels; gains and tones; the polish on synthesised speech, noise suppression and gain control of the caller's side, voice activity |
//! | [`protocol`] | what is said on a connection, as state machines without socket or clock |
//! | [`transport`] | the sockets: TCP, TLS, WebSocket with the bounded queue before it, HTTP; the breaker before servers that fail |
//! | [`inject`] | the long half of playback: audio files decoded, queue, prebuffer, pace, marks, overflow |
//! | [`peer`] | the other end of a stream, as its task sees it: a server with its protocol, or a conversation |
//! | [`conversation`] | conversations with a model: engines, the policy (turns, barge-in, tools, reconnects), both driven together |
//! | [`tts`] | speech synthesis: providers and their fallback chain, programs, the cache of what was spoken |
//! | [`stream`] | one task for each stream drives all of the above; the registry of streams |
//! | [`record`] | recordings of calls: both directions by the clock, into WAV files |
//! | [`control`] | what operators say and read: commands, options, configuration, events, health; each a table |
//! | [`runtime`] | load and shutdown, shards, playout clock, event thread |
//! | [`telemetry`] | log lines and their limits |
//! | [`units`] | rates, formats, names, secrets |
//!
//! Dependencies point one way: `ffi → runtime → control → record → stream → conversation → tts → {transport, inject} → telemetry →
//! peer → {protocol, media} → dsp → units`. Protocols use nothing but the units, peers nothing but protocols and units, engines and
//! the agent nothing but those. `tests/architecture.rs` holds this, and `clippy.toml` keeps what waits or allocates out of
//! [`media`] and clocks out of [`protocol`], [`peer`] and [`conversation`]. Everything above [`ffi`] reaches FreeSWITCH through the traits of
//! [`runtime::host`] and so is tested without it.
//!
//! # Where this is not what one would expect, and why
//!
//! - **Shards instead of one multi-threaded runtime.** A stream stays on one thread, whose runtime is a tokio `current_thread`.
//!   Waking a task from the media thread costs that thread 6 µs (p99 45 µs) and takes tokio's queue lock; a push into a ring
//!   costs 15 ns. So the media thread wakes nobody: each shard has one tick of 4 ms that looks at the atomics of all its
//!   streams and wakes those that have a whole message or room for playback. A thousand streams cost one timer a shard, and at most
//!   4 ms on the way to the socket.
//! - **Flush is a position, not a generation.** A request to drop queued audio stores how much had been written at that
//!   moment; the consumer discards up to there before it plays on. "Everything in the ring is stale" also drops what was
//!   written after the request: in a stress test of 10 811 flushes it lost about 300 000 samples, the position none.
//!   All interleavings are explored with loom.
//! - **The playout clock.** WRITE_REPLACE runs on frames that somebody writes, and nobody writes to a parked or sleeping
//!   channel. Where playback waits for 60 ms without a frame, the clock thread writes silence at the call's ptime, which passes
//!   through the media bug and comes out as our audio; it steps back as soon as somebody else writes.
//! - **A recording has a media bug of its own.** So it needs no stream, hears what all streams have made of a frame together, and ends
//!   when it is told to. FreeSWITCH's own aligning of both directions (`SMBF_STEREO`) drops a frame of one that runs ahead; ours
//!   goes by each frame's time, on the writer's thread, and joins what belongs together to the sample.
//! - **The frame is changed in place.** FreeSWITCH uses the frame after WRITE_REPLACE without a lock on the bug: a frame of
//!   ours could be freed under it.
//! - **Keys go by the session's memory.** FreeSWITCH's DTMF hook runs on any thread, possibly with the lock of the session's
//!   bugs held, and stays on the session until that ends, past an unload. So it knows no stream: it adds to a ring in the
//!   session's own memory, and each stream's READ takes from there what came since its last frame.
//! - **A table of symbols instead of linking.** FreeSWITCH opens modules with `RTLD_NOW`: one missing function and all that
//!   an operator reads is the loader's refusal. The functions in use are looked up once at load, and a missing one is named.
//!   It also lets every test program link without FreeSWITCH.
//! - **`freeswitch-sys` is `include/` and `build.rs`.** No such crate is published. bindgen reads the installed headers where
//!   there are any, and otherwise our own declarations of the part in use, which a test compares with the real ones.
//! - **`-z nodelete`.** Rust's standard library registers destructors for threads that ran its code; once the file is unmapped,
//!   FreeSWITCH crashes when such a thread ends, and a thousand reloads run out of TLS keys. So the file stays mapped, all
//!   state can be emptied and filled again, and an upgrade needs a restart of FreeSWITCH.
//! - **tokio-tungstenite over our own connect.** One limit over name look-up, TCP, TLS and upgrade together, each failure with
//!   its own code, buffers of 4 KB instead of 128 KB for each connection. The WebSocket library is 0.2 µs a message: the system
//!   call is the cost, so maturity decided.
//! - **rustls with ring.** aws-lc-rs would add 2 MB to the module and 37 s to its build.
//! - **rubato's FFT resampler with a window of 10 ms.** 1.1 µs for 20 ms of 8 to 16 kHz, over 100 dB of stop band and an exact
//!   count of samples; the sinc of comparable quality takes 8 to 29 µs, the polynomial one lets aliases through.
//! - **Voice activity by earshot, noise suppression and gain control by sonora**, filters and dynamics by ourselves. Both are Rust, run off
//!   the media thread, and bring nothing to download. earshot hears the telephone's band with every sample twice: as it should
//!   be resampled, it takes a telephone's noise for a voice.
//! - **base64 with its SIMD engine**, which decodes three to five times faster than the scalar one.
//! - **hyper's connection instead of reqwest.** Requests for speech go over our own connect: one TLS stack, one set of time limits and
//!   error codes, some 6 crates instead of 40. A request drives its connection itself, so that dropping it is the abort.
//! - **Our own cache of speech.** Crates with a weight, an age and a single flight each lack one of the three, or share a result only
//!   once it is whole; here whoever comes second listens to the sentence while it is made.
//! - **Programs by `posix_spawn`, without SIGCHLD.** A fork would make the media threads fault on every page they write, and
//!   FreeSWITCH's sockets are not close-on-exec. tokio's processes would take the signal's handling from the switch.
//! - **Statistics are not tracing spans.** The media thread counts in relaxed atomics on cache lines of its own; workers turn
//!   them into log lines and health.
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod control;
#[cfg(not(loom))]
pub mod conversation;
pub mod dsp;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
pub mod inject;
pub mod media;
#[cfg(not(loom))]
pub mod peer;
#[cfg(not(loom))]
pub mod protocol;
#[cfg(not(loom))]
pub mod record;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod stream;
#[cfg(not(loom))]
pub mod telemetry;
#[cfg(not(loom))]
pub mod transport;
#[cfg(not(loom))]
pub mod tts;
pub mod units;
