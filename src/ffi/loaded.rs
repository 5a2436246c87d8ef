//! The module while it is loaded, for everything that FreeSWITCH calls.

use std::sync::Arc;

use parking_lot::Mutex;

use super::bindings::Host;
use super::call::FreeSwitchCalls;
use super::in_use::{ApplicationLock, InterfaceLock};
use crate::runtime::module::Module;

/// The module as loaded now.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) host: &'static Host,
    pub(super) module: Arc<Module>,
    pub(super) interface: Arc<InterfaceLock>,
    pub(super) applications: Applications,
}

/// The locks of the module's applications; `None` where FreeSWITCH has none.
#[derive(Clone, Copy)]
pub(super) struct Applications {
    pub(super) stream: Option<ApplicationLock>,
    pub(super) conversation: Option<ApplicationLock>,
    pub(super) hand_over: Option<ApplicationLock>,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// The module, while it is loaded.
pub(super) fn current() -> Option<Loaded> {
    LOADED.lock().clone()
}

/// Called once by each load.
pub(super) fn set(loaded: Loaded) {
    *LOADED.lock() = Some(loaded);
}

/// Called by shutdown: from now on the module is not loaded.
pub(super) fn take() -> Option<Loaded> {
    LOADED.lock().take()
}

impl Loaded {
    pub(super) fn calls(&self) -> FreeSwitchCalls {
        FreeSwitchCalls { host: self.host, interface: self.interface.clone() }
    }
}
