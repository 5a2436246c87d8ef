//! Keeps FreeSWITCH from unloading the module while streams live.
//!
//! The module's interface has a read-write lock; while it is held for reading, `unload` answers "Module in use", as for
//! other modules. `unload -f` does not ask: then the lock is gone with the interface, and what still holds it lets it be.

use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bindings::{Host, switch_loadable_module_interface_t, switch_status_t, switch_thread_rwlock_t};

/// The interface's lock, until the module is shut down.
pub(super) struct InterfaceLock {
    host: &'static Host,
    lock: Mutex<Option<NonNull<switch_thread_rwlock_t>>>,
}

// SAFETY: the pointer is only handed to FreeSWITCH's lock functions, which any thread may call, and only while the mutex
// says that the lock exists.
unsafe impl Send for InterfaceLock {}
// SAFETY: as above.
unsafe impl Sync for InterfaceLock {}

impl InterfaceLock {
    /// The lock of `interface`.
    ///
    /// # Safety
    /// `interface` is the module's, and stays until [`gone`](Self::gone) is called.
    pub(super) unsafe fn new(host: &'static Host, interface: *mut switch_loadable_module_interface_t) -> Arc<Self> {
        // SAFETY: valid by the caller's word.
        let lock = NonNull::new(interface).and_then(|interface| NonNull::new(unsafe { interface.as_ref() }.rwlock));
        Arc::new(Self { host, lock: Mutex::new(lock) })
    }

    /// Holds the module in use; `None` while it is being unloaded.
    pub(super) fn enter(self: &Arc<Self>) -> Option<InUse> {
        let held = self.lock.lock();
        let lock = (*held)?;
        // SAFETY: the interface exists while the mutex holds its lock. Trying, since `unload` keeps it for writing.
        let status = unsafe { self.host.switch_thread_rwlock_tryrdlock(lock.as_ptr()) };
        (status == switch_status_t::SWITCH_STATUS_SUCCESS).then(|| InUse(self.clone()))
    }

    /// The interface is about to go: from now on nothing touches its lock.
    pub(super) fn gone(&self) {
        *self.lock.lock() = None;
    }
}

/// While it lives the module is in use.
pub(super) struct InUse(Arc<InterfaceLock>);

impl Drop for InUse {
    fn drop(&mut self) {
        let held = self.0.lock.lock();
        if let Some(lock) = *held {
            // SAFETY: locked for reading by `enter`; the interface exists while the mutex holds its lock.
            unsafe { self.0.host.switch_thread_rwlock_unlock(lock.as_ptr()) };
        }
    }
}
