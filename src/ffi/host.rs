//! The functions of the FreeSWITCH this module is loaded into, looked up once.
//!
//! A missing one makes the load fail with its name, instead of the loader's bare refusal. The table lives as long as the
//! process: FreeSWITCH's symbols do not move, and the module's file stays mapped (`-z nodelete`).

use std::ffi::CStr;
use std::sync::OnceLock;

use libloading::os::unix::Library;

use super::bindings::Host;

static HOST: OnceLock<Host> = OnceLock::new();

/// Looks the functions up in the running process. An error names the first that is missing.
pub(crate) fn resolve() -> Result<&'static Host, String> {
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    // SAFETY: the process's own symbols are searched; the declared types are those of the headers the bindings were made
    // from, whose layouts tests/abi_layout.rs compares with each FreeSWITCH supported.
    let host =
        unsafe { Host::from_library(Library::this()) }.map_err(|error| match std::error::Error::source(&error) {
            // libloading says which function is missing in the cause only.
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        })?;
    Ok(HOST.get_or_init(|| host))
}

/// A C string of FreeSWITCH's as text, invalid UTF-8 replaced; `None` for NULL.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that stays unchanged during the call.
pub(crate) unsafe fn text_of(text: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: passed on to the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
