//! Load and shutdown: what FreeSWITCH looks for in the file, and what it gets.
//!
//! The file stays mapped after an unload (`-z nodelete`), so the statics here outlive it: all of them can be filled and emptied
//! again.

use std::ffi::{CStr, c_char};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bindings::{
    Host, SAF_NONE, SMODF_NONE, SWITCH_API_VERSION, switch_api_interface_t, switch_application_interface_t,
    switch_core_session_t, switch_loadable_module_function_table_t, switch_loadable_module_interface_t,
    switch_memory_pool_t, switch_module_interface_name_t, switch_status_t,
};
use super::call::FreeSwitchCalls;
use super::clock::ChannelSilence;
use super::guard::{guard, report_panics};
use super::in_use::{ApplicationLock, InterfaceLock};
use super::loaded::{self, Applications, Loaded};
use super::program::HostPrograms;
use super::session::{HAND_OVER, Session};
use super::{api, app, event, host, listen, log, thread, transfer, xml};
use crate::call::ChannelSnapshot;
use crate::control::command;
use crate::event::{EVENTS, FsEvent, HoldCause};
use crate::runtime::host::{Call, Calls as _, SilenceWriter};
use crate::runtime::module::{BUILD, LIMIT, Module};
use crate::stream::action::{CallAction, Rest};
use crate::tts::Programs;
use crate::units::{CallId, StreamName};

/// What FreeSWITCH looks up in the file, by this name.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, unreachable_pub)]
pub static mod_audio_stream_module_interface: switch_loadable_module_function_table_t =
    switch_loadable_module_function_table_t {
        switch_api_version: SWITCH_API_VERSION as i32,
        load: Some(load),
        shutdown: Some(shutdown),
        runtime: None,
        flags: SMODF_NONE,
    };

/// FreeSWITCH as the runtime needs it.
struct FreeSwitch(FreeSwitchCalls);

impl crate::runtime::host::Host for FreeSwitch {
    fn locate(&self, id: &CallId) -> Option<Box<dyn Call + '_>> {
        self.0.locate(id)
    }

    fn thread_started(&self, name: &str) {
        thread::ordinary(name);
    }

    fn media_thread_started(&self, name: &str) {
        thread::named(name);
    }

    fn fire(&self, fired: &FsEvent, snapshot: Option<&dyn ChannelSnapshot>) {
        event::fire(self.0.host, fired, snapshot);
    }

    fn act(&self, call: &CallId, stream: &StreamName, action: &CallAction) -> Result<Option<Rest>, String> {
        let session = Session::locate(self.0.host, call.as_str()).ok_or("the call is gone")?;
        session.act(stream, action)
    }

    fn hold(&self, call: &CallId) -> Option<HoldCause> {
        Session::locate(self.0.host, call.as_str())?.hold()
    }

    fn programs(&self) -> Arc<dyn Programs> {
        Arc::new(HostPrograms::new(std::env::vars_os()))
    }

    fn silence_writer(&self) -> Box<dyn SilenceWriter> {
        Box::new(ChannelSilence::new(self.0.host))
    }
}

unsafe extern "C" fn load(
    module_interface: *mut *mut switch_loadable_module_interface_t,
    pool: *mut switch_memory_pool_t,
) -> switch_status_t {
    guard(switch_status_t::SWITCH_STATUS_GENERR, || {
        let table = match host::resolve() {
            Ok(table) => table,
            Err(missing) => {
                // Without the table there is no log to write to.
                #[allow(clippy::print_stderr)]
                {
                    eprintln!("mod_audio_stream: this FreeSWITCH lacks a function the module needs: {missing}");
                }
                return switch_status_t::SWITCH_STATUS_GENERR;
            }
        };
        crate::telemetry::log::set_sink(Some(Arc::new(log::FreeSwitchLog::new(table))));
        report_panics();
        // SAFETY: FreeSWITCH's pool for this module, and the place where it looks for the interface.
        match unsafe { set_up(table, module_interface, pool) } {
            Ok(()) => switch_status_t::SWITCH_STATUS_SUCCESS,
            Err(why) => {
                tracing::error!(target: "LIFECYCLE", op = "load", outcome = "failed", reason = %why);
                switch_status_t::SWITCH_STATUS_GENERR
            }
        }
    })
}

/// # Safety
/// `place` is where FreeSWITCH wants the interface, and `pool` the module's pool.
unsafe fn set_up(
    table: &'static Host,
    place: *mut *mut switch_loadable_module_interface_t,
    pool: *mut switch_memory_pool_t,
) -> Result<(), String> {
    let subclasses: Vec<_> = EVENTS.iter().map(|row| row.subclass).collect();
    event::reserve(table, &subclasses)?;
    // SAFETY: pool and name are valid; FreeSWITCH copies the name into the pool and aborts when that is impossible.
    let interface = unsafe { table.switch_loadable_module_create_module_interface(pool, c"mod_audio_stream".as_ptr()) };
    // SAFETY: FreeSWITCH keeps the interface until after `shutdown`, where `leave` is called.
    let lock = unsafe { InterfaceLock::new(table, interface) };
    let calls = FreeSwitchCalls { host: table, interface: lock.clone() };
    let module = Module::start(Arc::new(FreeSwitch(calls)), xml::configuration(table)).map_err(|error| {
        event::free(table, &subclasses);
        format!("a thread could not be started: {error}")
    })?;
    // SAFETY: `interface` was just made.
    let applications = unsafe { register(table, interface) };
    // SAFETY: `place` is where FreeSWITCH looks for the interface.
    unsafe { *place = interface };
    loaded::set(Loaded { host: table, module, interface: lock, applications });
    complete(table, &command::completions());
    listen::begin(table);
    tracing::info!(target: "LIFECYCLE", notice = true, op = "load", outcome = "ok", version = BUILD.version,
        commit = BUILD.build.commit, built = BUILD.build.date, profile = BUILD.build.profile, abi = BUILD.build.freeswitch_abi);
    Ok(())
}

/// Adds the API command and the applications.
///
/// # Safety
/// `interface` is the module's own, being set up.
unsafe fn register(table: &'static Host, interface: *mut switch_loadable_module_interface_t) -> Applications {
    let texts = texts();
    // SAFETY: FreeSWITCH makes an interface of the kind asked for, zeroed and linked into the module's.
    let api = unsafe {
        table.switch_loadable_module_create_interface(interface, switch_module_interface_name_t::SWITCH_API_INTERFACE)
    };
    // SAFETY: of that kind, and nobody uses it before `load` returns.
    if let Some(api) = unsafe { api.cast::<switch_api_interface_t>().as_mut() } {
        api.interface_name = texts.api.as_ptr();
        api.desc = c"stream a call's audio to and from a WebSocket server".as_ptr();
        api.syntax = texts.syntax.as_ptr();
        api.function = Some(api::function);
    }
    // SAFETY: passed on to the caller.
    let add = |application| unsafe { add_application(table, interface, application) };
    Applications {
        stream: add(Application {
            name: &texts.application,
            function: app::function,
            short: c"stream the call's audio to and from a WebSocket server",
            long: c"Attaches a stream to the call; with wait=true returns when the stream has ended, with wait=ready when the \
                server is ready. The result is in ${audio_stream_status} and ${audio_stream_error}.",
            syntax: &texts.application_syntax,
        }),
        conversation: add(Application {
            name: &texts.ai_application,
            function: app::ai_function,
            short: c"have an AI talk with the caller",
            long: c"Attaches a conversation with an AI to the call; with wait=true returns when it has ended. Its \
                state and the result are in ${audio_stream_status} and ${audio_stream_error}.",
            syntax: &texts.ai_application_syntax,
        }),
        hand_over: add(Application {
            name: HAND_OVER,
            function: transfer::function,
            short: c"call whom a conversation hands its caller over to",
            long: c"The module itself queues it for an announced transfer; without one it does nothing.",
            syntax: c"<name of the stream>",
        }),
    }
}

/// An application of the dialplan; its texts stay until the process ends.
struct Application {
    name: &'static CStr,
    function: unsafe extern "C" fn(*mut switch_core_session_t, *const c_char),
    short: &'static CStr,
    long: &'static CStr,
    syntax: &'static CStr,
}

/// # Safety
/// `interface` is the module's own, being set up.
unsafe fn add_application(
    table: &'static Host,
    interface: *mut switch_loadable_module_interface_t,
    application: Application,
) -> Option<ApplicationLock> {
    // SAFETY: FreeSWITCH makes an interface of the kind asked for, zeroed and linked into the module's.
    let app = unsafe {
        table.switch_loadable_module_create_interface(
            interface,
            switch_module_interface_name_t::SWITCH_APPLICATION_INTERFACE,
        )
    };
    // SAFETY: of that kind, and nobody uses it before `load` returns.
    let app = unsafe { app.cast::<switch_application_interface_t>().as_mut() }?;
    app.interface_name = application.name.as_ptr();
    app.application_function = Some(application.function);
    app.short_desc = application.short.as_ptr();
    app.long_desc = application.long.as_ptr();
    app.syntax = application.syntax.as_ptr();
    app.flags = SAF_NONE;
    // SAFETY: of this module.
    unsafe { ApplicationLock::of(table, app) }
}

/// Strings that FreeSWITCH points to while the module is loaded: made once, because the file stays mapped until the process
/// ends.
struct Texts {
    api: std::ffi::CString,
    syntax: std::ffi::CString,
    application: std::ffi::CString,
    application_syntax: std::ffi::CString,
    ai_application: std::ffi::CString,
    ai_application_syntax: std::ffi::CString,
}

fn texts() -> &'static Texts {
    static TEXTS: std::sync::OnceLock<Texts> = std::sync::OnceLock::new();
    TEXTS.get_or_init(|| Texts {
        api: log::c_string(command::API),
        syntax: log::c_string(&command::syntax()),
        application: log::c_string(command::APPLICATION),
        application_syntax: log::c_string(&command::application_syntax()),
        ai_application: log::c_string(command::AI_APPLICATION),
        ai_application_syntax: log::c_string(&command::ai_application_syntax()),
    })
}

/// Tells the console what can follow what.
fn complete(table: &'static Host, lines: &[String]) {
    for line in lines {
        let line = log::c_string(line);
        // SAFETY: FreeSWITCH copies the string.
        unsafe { table.switch_console_set_complete(line.as_ptr()) };
    }
}

/// How long `shutdown` waits for functions of the module that still run, of its whole time: those that were waiting for a stream
/// return within a frame of its end.
const RETURNING: Duration = Duration::from_secs(1);

unsafe extern "C" fn shutdown() -> switch_status_t {
    guard(switch_status_t::SWITCH_STATUS_NOUNLOAD, || {
        let Some(loaded) = loaded::take() else { return switch_status_t::SWITCH_STATUS_SUCCESS };
        let until = Instant::now() + LIMIT;
        listen::end(loaded.host);
        complete(loaded.host, &[command::completion_removal()]);
        loaded.module.shutdown();
        // Afterwards FreeSWITCH frees the interface, and with it the lock.
        let now = Instant::now();
        let nobody = loaded.interface.leave(until.min(now + RETURNING));
        let subclasses: Vec<_> = EVENTS.iter().map(|row| row.subclass).collect();
        event::free(loaded.host, &subclasses);
        if !nobody {
            tracing::warn!(target: "LIFECYCLE", op = "unload", outcome = "interface_kept",
                why = "an application or a media bug of the module is still on a call",
                advice = "nothing: the call goes on, and what it uses of FreeSWITCH's memory, some KB, stays until a restart");
        }
        tracing::info!(target: "LIFECYCLE", notice = true, op = "unload", outcome = "ok");
        crate::telemetry::log::set_sink(None);
        if nobody { switch_status_t::SWITCH_STATUS_SUCCESS } else { switch_status_t::SWITCH_STATUS_NOUNLOAD }
    })
}
