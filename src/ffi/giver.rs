//! Who gave an API command: what its session, its parameters and the stack of its thread tell.
//!
//! FreeSWITCH names no giver to an API function. But each way of giving a command calls the function on a thread of its own: the
//! event socket on that of the connection, the scheduler on its own. So the modules on the stack are those
//! that the command came through. API threads; some 50 µs where the log wants it.

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use super::bindings::{Host, switch_core_session_t, switch_stream_handle_t};
use super::event::header;
use super::host::text_of;
use super::session::Session;
use crate::control::Giver;
use crate::units::CallId;

/// Frames of a stack that are looked at: FreeSWITCH's own and a script's are a dozen.
const DEPTH: usize = 64;
/// FreeSWITCH runs what is typed at its console through this, as far as no module's code is on the stack.
const CONSOLE: &CStr = c"switch_console_execute";

/// Who runs the API function.
///
/// # Safety
/// `session` is NULL or a session that lives through the call, `stream` NULL or the command's stream handle, both as FreeSWITCH
/// gave them to the API function that is running.
pub(super) unsafe fn of(
    host: &'static Host,
    session: *mut switch_core_session_t,
    stream: *mut switch_stream_handle_t,
) -> Giver {
    // SAFETY: NULL or valid, by the caller's word.
    let parameters = unsafe { stream.as_ref() }.map_or(ptr::null_mut(), |stream| stream.param_event);
    // SAFETY: NULL, or an event of the command's, which its thread alone uses.
    let parameter = |name| unsafe { header(host, parameters, name) }.filter(|value| !value.is_empty());
    // SAFETY: NULL or valid, by the caller's word.
    let session = unsafe { Session::current(host, session) };
    // Hooks of a channel give its data in place of its session.
    let call = session.map(|session| session.uuid()).or_else(|| parameter(c"Unique-ID"));
    let user = parameter(c"HTTP-USER").or_else(|| parameter(c"FreeSWITCH-User"));
    let Stack { modules, console } = Stack::of_this_thread();
    Giver::of_api(&modules, console, user, call.map(|uuid| CallId::new(&uuid)))
}

/// What is on the stack of a thread.
#[derive(Default)]
struct Stack {
    /// FreeSWITCH's modules, the outermost first; not this one.
    modules: Vec<String>,
    /// FreeSWITCH's function for the console.
    console: bool,
}

impl Stack {
    #[cfg(target_env = "gnu")]
    fn of_this_thread() -> Self {
        let mut frames = [ptr::null_mut::<c_void>(); DEPTH];
        // SAFETY: the C library writes at most that many addresses into the array, which is ours.
        let count = unsafe { libc::backtrace(frames.as_mut_ptr(), DEPTH as i32) };
        let mut stack = Self::default();
        let ours = Place::of((Self::of_this_thread as fn() -> Self as *const ()).cast()).map(|place| place.base);
        for place in frames[..usize::try_from(count).unwrap_or_default()].iter().filter_map(|frame| Place::of(*frame)) {
            stack.console |= place.is_console;
            let file = place.file.rsplit('/').next().unwrap_or_default();
            let module = file.split(".so").next().filter(|name| name.starts_with("mod_"));
            if let Some(module) =
                module.filter(|name| Some(place.base) != ours && !stack.modules.iter().any(|m| m == name))
            {
                stack.modules.insert(0, module.to_owned());
            }
        }
        stack
    }

    #[cfg(not(target_env = "gnu"))]
    fn of_this_thread() -> Self {
        Self::default()
    }
}

/// Bytes behind an exported function in which parts of it are looked for that the compiler has put there.
const PARTS_WITHIN: usize = 2_048;
/// Functions begin at multiples of this.
const ALIGNMENT: usize = 16;

/// Where an address of code is.
struct Place {
    /// The loaded file.
    file: String,
    /// Where that begins.
    base: *mut c_void,
    is_console: bool,
}

impl Place {
    fn of(address: *const c_void) -> Option<Self> {
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the C library compares the address with the loaded files and reads nothing there; it writes to a live struct.
        if unsafe { libc::dladdr(address, found.as_mut_ptr()) } == 0 {
            return None;
        }
        // SAFETY: filled in, since the address was found; zeros are valid as well.
        let found = unsafe { found.assume_init() };
        // SAFETY: strings of the loader's, which stay while the file is loaded: its code is on this stack.
        let file = unsafe { text_of(found.dli_fname) }?;
        let is_console = Self::function_at(address).as_deref() == CONSOLE.to_str().ok();
        Some(Self { file, base: found.dli_fbase, is_console })
    }

    /// The exported function at `address`, or the last one before it: parts of a function may lie behind it without a name.
    fn function_at(address: *const c_void) -> Option<String> {
        (0..PARTS_WITHIN).step_by(ALIGNMENT).find_map(|back| {
            let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
            // SAFETY: as in `of`: the address is compared, and nothing is read there.
            if unsafe { libc::dladdr(address.wrapping_byte_sub(back), found.as_mut_ptr()) } == 0 {
                return None;
            }
            // SAFETY: filled in; zeros are valid as well.
            let found = unsafe { found.assume_init() };
            // SAFETY: a string of the loader's, as in `of`; NULL where the address is in no exported function.
            unsafe { text_of(found.dli_sname) }
        })
    }
}
