//! The module while it is loaded: its threads, its streams, the commands it obeys.
//!
//! | thread | number | what it does |
//! |---|---|---|
//! | `mas-shard-N` | as configured; by default one per two processors, at most four | the streams' tasks and their sockets |
//! | `mas-clock` | one more than cores; 16 at most while calls block | writes frames for playback on channels that nobody writes to |
//! | `mas-watch` | 1 | looks at every stream once a second |
//! | `mas-starts` | 1 | attaches what waits for its call's media |
//! | `mas-recorder` | 1; 2 with recordings, up to 16 while disks hang | writes the files of recordings |
//! | `mas-events` | 1 | fires events, which may wait for FreeSWITCH's locks |
//! | `mas-calls` | 4 | carries out servers' actions on calls, takes bugs off them: work that may wait for longer |
//! | `mas-http` | 1, where `http_listen` is set | the pages for browsers and Prometheus, and their sockets |
//! | `mas-blocking` | while needed; each kind of work has its bound | look-ups of names, files, decoding, starts and ends of programs |

mod audit;
pub mod clock;
mod correlate;
mod drain;
mod draining;
mod ending;
pub mod events;
pub mod execute;
mod fair;
pub mod host;
mod http;
mod lane;
pub mod members;
mod memory;
mod metrics;
pub mod module;
mod page;
pub mod record;
pub mod recorder;
mod ring_sizes;
pub mod shard;
mod start_lines;
pub mod starts;
pub mod waiting;
mod watch;
mod watching;
mod web;
