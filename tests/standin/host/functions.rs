//! The C host's control functions, looked up once. Signatures as in `c/host.h`.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Receives log lines: level, uuid or NULL, file, line, text, whether inside a media callback.
pub type LogSink = extern "C" fn(*mut c_void, c_int, *const c_char, *const c_char, c_int, *const c_char, c_int);
/// Receives events: subclass or NULL, names and values of the headers, their number, body or NULL, as above.
pub type EventSink =
    extern "C" fn(*mut c_void, *const c_char, *const *const c_char, *const *const c_char, usize, *const c_char, c_int);

/// Called on a media thread around a callback.
pub type Watcher = extern "C" fn();

/// `struct host_call_options`.
#[repr(C)]
pub struct RawCallOptions {
    pub uuid: *const c_char,
    pub rate: u32,
    pub ptime_ms: u32,
    pub channels: u32,
    pub kind: c_int,
    pub virtual_clock: c_int,
    pub comfort_noise: c_int,
    pub answered: c_int,
    pub refuses_media: c_int,
    pub codec_unsettled: c_int,
}

/// A call of the C host.
#[repr(C)]
pub struct RawCall {
    _private: [u8; 0],
}

macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, always valid: the library is never closed.
        pub struct Functions {
            $($name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Opens the library with its names visible to what is opened later, as those of FreeSWITCH are to modules.
            pub fn load(path: &Path) -> Self {
                // SAFETY: our own library, without initialisers.
                let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
                let library = library.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let functions = Self {
                    // SAFETY: the signatures are those of host.h.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes()).unwrap() },)*
                };
                std::mem::forget(library);
                functions
            }

            $(
                /// See `c/host.h`.
                pub fn $name(&self, $($argument: $type),*) $(-> $result)? {
                    // SAFETY: called with valid pointers only, by the safe wrappers of this folder.
                    unsafe { (self.$name)($($argument),*) }
                }
            )*
        }
    };
}

functions! {
    fn host_start(log: LogSink, event: EventSink, data: *mut c_void);
    fn host_free(memory: *mut c_void);
    fn host_flush_events();
    fn host_now_ns() -> i64;
    fn host_set_log_level(level: c_int);
    fn host_unwanted_lines() -> c_int;
    fn host_hold_config(held: c_int);
    fn host_reload_xml();
    fn host_fire_event(kind: c_int, subclass: *const c_char, names: *const *const c_char, values: *const *const c_char, count: usize);
    fn host_set_config(name: *const c_char, xml: *const c_char);
    fn host_set_global(name: *const c_char, value: *const c_char);
    fn host_completions() -> *mut c_char;
    fn host_subclasses() -> *mut c_char;
    fn host_module_load(path: *const c_char, name: *const c_char) -> *mut c_char;
    fn host_module_unload(name: *const c_char, force: c_int) -> *mut c_char;
    fn host_apis() -> *mut c_char;
    fn host_applications() -> *mut c_char;
    fn host_api(command: *const c_char, argument: *const c_char, user: *const c_char) -> *mut c_char;
    fn host_watch_callbacks(enter: Watcher, leave: Watcher);
    fn host_call_new(options: *const RawCallOptions) -> *mut RawCall;
    fn host_call_free(call: *mut RawCall);
    fn host_call_hangup(call: *mut RawCall);
    fn host_call_wait_ended(call: *mut RawCall, timeout_ms: u32) -> c_int;
    fn host_call_set_kind(call: *mut RawCall, kind: c_int);
    fn host_call_bridge(a: *mut RawCall, b: *mut RawCall);
    fn host_call_tick(call: *mut RawCall, frames: u32, timeout_ms: u32) -> c_int;
    fn host_call_answer(call: *mut RawCall, early: c_int);
    fn host_call_settle_codec(call: *mut RawCall);
    fn host_call_set_codec(call: *mut RawCall, rate: u32, ptime_ms: u32, channels: u32);
    fn host_call_set_packets(call: *mut RawCall, packet_ms: u32);
    fn host_call_set_flag(call: *mut RawCall, flag: c_int, value: c_int);
    fn host_call_test_flag(call: *mut RawCall, flag: c_int) -> c_int;
    fn host_call_lock_variables(call: *mut RawCall, locked: c_int);
    fn host_call_set_variable(call: *mut RawCall, name: *const c_char, value: *const c_char);
    fn host_call_get_variable(call: *mut RawCall, name: *const c_char) -> *mut c_char;
    fn host_call_speak(call: *mut RawCall, samples: *const i16, count: usize);
    fn host_call_play(call: *mut RawCall, samples: *const i16, count: usize);
    fn host_call_unspoken(call: *mut RawCall) -> usize;
    fn host_call_heard(call: *mut RawCall, from: usize, samples: *mut i16, capacity: usize) -> usize;
    fn host_call_heard_frames(call: *mut RawCall, times: *mut i64, sizes: *mut u32, capacity: usize) -> usize;
    fn host_call_press(call: *mut RawCall, digits: *const c_char, duration_ms: u32);
    fn host_call_press_by_signalling(call: *mut RawCall, digits: *const c_char, duration_ms: u32);
    fn host_call_digits(call: *mut RawCall) -> *mut c_char;
    fn host_call_frames_read(call: *mut RawCall) -> u64;
    fn host_call_latest_ns(call: *mut RawCall) -> i64;
    fn host_call_execute(call: *mut RawCall, application: *const c_char, data: *const c_char);
    fn host_call_executed(call: *mut RawCall) -> u32;
    fn host_call_bugs(call: *mut RawCall) -> u32;
    fn host_call_keep_nothing(call: *mut RawCall);
    fn host_call_record(call: *mut RawCall) -> c_int;
    fn host_call_recorded(call: *mut RawCall, samples: *mut i16, capacity: usize) -> usize;
}
