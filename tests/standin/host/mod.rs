//! The stand-in FreeSWITCH: loads the built module as FreeSWITCH does, places calls with a clock, and shows what the caller
//! heard, what was logged and which events were fired. For integration tests, through `mod host;`.
//!
//! The host itself is C (`c/`), compiled when first needed and opened once per process. A [`Host`] is exclusive: tests of one
//! program that hold one run one after another. Dropping it unloads the module; [`Call`]s, which borrow the
//! host, hang up when they are dropped.
//!
//! Threads: the C host has one thread per call (240 KiB of stack, as FreeSWITCH's), one that delivers events, and runs each API
//! command, load and unload on a thread of its own, which ends with it. Times are wall-clock unless a call has a virtual clock.
// Each test program uses a part of it.
#![allow(dead_code, unused_imports)]
#![allow(unsafe_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod build;
mod call;
mod functions;
mod record;

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use build::compile_module;
pub use call::{Call, CallKind, CallOptions, HeardFrame, flag};
use functions::Functions;
pub use record::{Event, Log, level};
use record::{Records, on_event, on_log};

use crate::support::module::built_module;

/// How long a wait may take before it counts as a failure; no test passes or fails by how fast it is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The module under test, as FreeSWITCH names it.
pub const MODULE: &str = "mod_audio_stream";

/// The running stand-in, held exclusively.
pub struct Host {
    functions: &'static Functions,
    loaded: Mutex<Vec<String>>,
    _exclusive: MutexGuard<'static, ()>,
}

impl Host {
    /// Starts the host, or waits for the test that has it, with `configuration` as the text of `audio_stream.conf.xml`
    /// (empty: there is no such file).
    pub fn start(configuration: &str) -> Self {
        static EXCLUSIVE: Mutex<()> = Mutex::new(());
        static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
        let exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let functions = FUNCTIONS.get_or_init(|| {
            let functions = Functions::load(&build::compile_host());
            functions.host_start(on_log, on_event, std::ptr::null_mut());
            functions
        });
        functions.host_flush_events();
        Records::get().clear();
        let host = Self { functions, loaded: Mutex::default(), _exclusive: exclusive };
        host.set_config("audio_stream.conf", (!configuration.is_empty()).then_some(configuration));
        host
    }

    /// What the clock of [`HeardFrame::at`] shows now.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.functions.host_now_ns().unsigned_abs())
    }

    /// Sets, replaces or removes a configuration file; its text holds `<configuration name="…">` somewhere.
    pub fn set_config(&self, name: &str, xml: Option<&str>) {
        let (name, xml) = (c_string(name), xml.map(c_string));
        self.functions.host_set_config(name.as_ptr(), xml.as_ref().map_or(std::ptr::null(), |xml| xml.as_ptr()));
    }

    /// Sets a global variable, as vars.xml does.
    pub fn set_global(&self, name: &str, value: &str) {
        self.functions.host_set_global(c_string(name).as_ptr(), c_string(value).as_ptr());
    }

    /// `load mod_audio_stream`: [`built_module`]. The error is FreeSWITCH's.
    pub fn load_module(&self) -> Result<(), String> {
        self.load_module_at(&built_module(), MODULE)
    }

    /// Loads any module.
    pub fn load_module_at(&self, path: &Path, name: &str) -> Result<(), String> {
        let path = c_string(path.to_str().expect("paths here are UTF-8"));
        self.result(self.functions.host_module_load(path.as_ptr(), c_string(name).as_ptr()))?;
        self.loaded.lock().unwrap().push(name.to_owned());
        Ok(())
    }

    /// `unload [-f] mod_audio_stream`.
    pub fn unload_module(&self, force: bool) -> Result<(), String> {
        self.unload_module_named(MODULE, force)
    }

    /// Unloads any module.
    pub fn unload_module_named(&self, name: &str, force: bool) -> Result<(), String> {
        self.result(self.functions.host_module_unload(c_string(name).as_ptr(), i32::from(force)))?;
        self.loaded.lock().unwrap().retain(|loaded| loaded != name);
        Ok(())
    }

    /// Runs an API command, as fs_cli does, and returns what it answered.
    pub fn api(&self, line: &str) -> String {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let (command, argument) = (c_string(command), c_string(argument));
        self.text(self.functions.host_api(command.as_ptr(), argument.as_ptr(), std::ptr::null()))
            .expect("commands always answer")
    }

    /// The same from a user over HTTP.
    pub fn api_over_http(&self, user: &str, line: &str) -> String {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let [command, argument, user] = [command, argument, user].map(c_string);
        self.text(self.functions.host_api(command.as_ptr(), argument.as_ptr(), user.as_ptr()))
            .expect("commands always answer")
    }

    /// The same with an argument of any bytes.
    ///
    /// # Panics
    /// When there is a NUL in it.
    pub fn api_bytes(&self, command: &str, argument: &[u8]) -> String {
        let argument = CString::new(argument).expect("C texts have no NUL inside");
        self.text(self.functions.host_api(c_string(command).as_ptr(), argument.as_ptr(), std::ptr::null()))
            .expect("commands always answer")
    }

    /// Has these called on the media thread around each media callback of every bug but that of FreeSWITCH's own recorder, and around
    /// each hook on the reading of a call.
    pub fn watch_callbacks(&self, enter: extern "C" fn(), leave: extern "C" fn()) {
        self.functions.host_watch_callbacks(enter, leave);
    }

    /// Fires a CUSTOM event of another module's, with these headers, to its listeners, and returns when they know.
    pub fn fire(&self, subclass: &str, headers: &[(&str, &str)]) {
        let texts: Vec<_> = headers.iter().map(|(name, value)| (c_string(name), c_string(value))).collect();
        let names: Vec<_> = texts.iter().map(|(name, _)| name.as_ptr()).collect();
        let values: Vec<_> = texts.iter().map(|(_, value)| value.as_ptr()).collect();
        let subclass = c_string(subclass);
        self.functions.host_fire_event(0, subclass.as_ptr(), names.as_ptr(), values.as_ptr(), texts.len());
        self.functions.host_flush_events();
    }

    /// `reloadxml`: the module has read the configuration again when this returns.
    pub fn reload_xml(&self) {
        let reloads = |logs: &[Log]| logs.iter().filter(|log| log.text.contains("reloadxml")).count();
        let before = self.look(|_, logs| reloads(logs));
        self.begin_to_reload_xml();
        Records::get().wait(PATIENCE, |_, logs| (reloads(logs) > before).then_some(()));
    }

    /// The same without waiting for the module.
    pub fn begin_to_reload_xml(&self) {
        self.functions.host_reload_xml();
    }

    /// Has who reads a configuration file wait from here on, or no longer.
    pub fn hold_config(&self, held: bool) {
        self.functions.host_hold_config(held.into());
    }

    /// `fsctl loglevel`: lines above it are thrown away.
    pub fn set_log_level(&self, level: i32) {
        self.functions.host_set_log_level(level);
    }

    /// How many lines have been thrown away since the level was set.
    pub fn unwanted_lines(&self) -> i32 {
        self.functions.host_unwanted_lines()
    }

    /// Places a call and starts its thread.
    pub fn call(&self, options: CallOptions) -> Call<'_> {
        Call::new(self, options)
    }

    /// Events delivered so far, oldest first, after waiting for those already fired.
    pub fn events(&self) -> Vec<Event> {
        self.functions.host_flush_events();
        Records::get().events()
    }

    /// Looks at the events delivered and the lines logged so far without copying them; no more come meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&[Event], &[Log]) -> T) -> T {
        self.functions.host_flush_events();
        Records::get().look(look)
    }

    /// The same with the events about one call alone.
    pub fn look_at_call<T>(&self, uuid: &str, look: impl FnOnce(&[&Event]) -> T) -> T {
        self.functions.host_flush_events();
        Records::get().look_at_call(uuid, look)
    }

    /// Waits for an event, which may have been fired before, and returns the first that fits.
    ///
    /// # Panics
    /// With all events and log lines when there is none for [`PATIENCE`].
    pub fn wait_event(&self, fits: impl Fn(&Event) -> bool) -> Event {
        let mut seen = 0;
        Records::get().wait(PATIENCE, |events, _| {
            let new = std::mem::replace(&mut seen, events.len());
            events[new..].iter().find(|event| fits(event)).cloned()
        })
    }

    /// Waits for an event of the module's, by the last part of its subclass (`connect` for `mod_audio_stream::connect`).
    pub fn wait_module_event(&self, name: &str) -> Event {
        self.wait_event(|event| event.subclass.strip_prefix("mod_audio_stream::") == Some(name))
    }

    /// Log lines so far, oldest first.
    pub fn logs(&self) -> Vec<Log> {
        Records::get().logs()
    }

    /// Waits for a log line, as [`Host::wait_event`].
    pub fn wait_log(&self, fits: impl Fn(&Log) -> bool) -> Log {
        let mut seen = 0;
        Records::get().wait(PATIENCE, |_, logs| {
            let new = std::mem::replace(&mut seen, logs.len());
            logs[new..].iter().find(|log| fits(log)).cloned()
        })
    }

    /// Forgets the events and log lines so far.
    pub fn forget_records(&self) {
        self.functions.host_flush_events();
        Records::get().clear();
    }

    /// Console completions in force, one each.
    pub fn completions(&self) -> Vec<String> {
        self.lines(self.functions.host_completions())
    }

    /// Reserved event subclasses with their owners.
    pub fn subclasses(&self) -> Vec<(String, String)> {
        let split = |line: String| line.split_once(' ').map(|(name, owner)| (name.to_owned(), owner.to_owned()));
        self.lines(self.functions.host_subclasses()).into_iter().filter_map(split).collect()
    }

    /// Registered API commands with their syntax.
    pub fn apis(&self) -> Vec<(String, String)> {
        self.lines(self.functions.host_apis()).into_iter().filter_map(split_tab).collect()
    }

    /// Registered dialplan applications with their syntax.
    pub fn applications(&self) -> Vec<(String, String)> {
        self.lines(self.functions.host_applications()).into_iter().filter_map(split_tab).collect()
    }

    fn lines(&self, text: *mut c_char) -> Vec<String> {
        self.text(text).expect("a list is a text").lines().map(str::to_owned).collect()
    }

    /// Copies and frees a text of the host's.
    fn text(&self, text: *mut c_char) -> Option<String> {
        if text.is_null() {
            return None;
        }
        // SAFETY: the host's texts are NUL-terminated and ours until host_free.
        let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        self.functions.host_free(text.cast());
        Some(copy)
    }

    fn result(&self, error: *mut c_char) -> Result<(), String> {
        self.text(error).map_or(Ok(()), Err)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let loaded = std::mem::take(&mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner));
        for name in loaded {
            if let Err(error) = self.unload_module_named(&name, true) {
                eprintln!("{name} does not unload: {error}");
            }
        }
    }
}

fn split_tab(line: String) -> Option<(String, String)> {
    line.split_once('\t').map(|(name, syntax)| (name.to_owned(), syntax.to_owned()))
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("C texts have no NUL inside")
}
