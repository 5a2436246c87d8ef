//! Keeps FreeSWITCH from unloading the module while streams live, and from freeing what it still uses of a module that was unloaded.
//!
//! The module's interface has a read-write lock; while it is held for reading, `unload` answers "Module in use", as for
//! other modules. FreeSWITCH holds it, too, around each API function and application of the module. `unload -f` does not ask: it frees
//! the interface as soon as `shutdown` returns. So `shutdown` looks who is inside ([`InterfaceLock::leave`]), and where somebody is
//! answers NOUNLOAD: then FreeSWITCH forgets the module as after any unload, and the interface's memory stays until FreeSWITCH ends.
//!
//! Before `shutdown`, `unload -f` waits up to 10 s for each application that runs, and holds a lock meanwhile that every command and
//! every application of every call needs. An application that lasts as long as people talk gives the lock of its own interface back
//! meanwhile ([`ApplicationLock::without`]), and so is not waited for.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bindings::{
    Host, switch_application_interface_t, switch_loadable_module_interface_t, switch_status_t, switch_thread_rwlock_t,
};

/// Between two looks at who is inside.
const LOOK: Duration = Duration::from_millis(2);

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
    /// `interface` is the module's, and stays until [`leave`](Self::leave) has returned.
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

    /// The module is shut down: from now on nothing of the module touches the lock. Waits until `until` for those who are inside;
    /// whether nobody is any more. If somebody is, the interface must stay.
    pub(super) fn leave(&self, until: Instant) -> bool {
        loop {
            let mut held = self.lock.lock();
            let Some(lock) = *held else { return true };
            // SAFETY: the interface exists until this function has returned.
            let empty = unsafe { self.is_empty(lock) };
            if empty || Instant::now() >= until {
                *held = None;
                return empty;
            }
            drop(held);
            std::thread::sleep(LOOK);
        }
    }

    /// # Safety
    /// The lock exists.
    unsafe fn is_empty(&self, lock: NonNull<switch_thread_rwlock_t>) -> bool {
        let success = |status| status == switch_status_t::SWITCH_STATUS_SUCCESS;
        // SAFETY: it exists by the caller's word.
        if !success(unsafe { self.host.switch_thread_rwlock_tryrdlock(lock.as_ptr()) }) {
            // An `unload` that asks holds it for writing, so it has found nobody.
            return true;
        }
        // SAFETY: locked for reading just now.
        unsafe { self.host.switch_thread_rwlock_unlock(lock.as_ptr()) };
        // SAFETY: as above.
        let empty = success(unsafe { self.host.switch_thread_rwlock_trywrlock(lock.as_ptr()) });
        if empty {
            // SAFETY: locked for writing just now.
            unsafe { self.host.switch_thread_rwlock_unlock(lock.as_ptr()) };
        }
        empty
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

/// The lock of one application's interface, which FreeSWITCH holds for reading while the application runs.
#[derive(Clone, Copy)]
pub(super) struct ApplicationLock {
    host: &'static Host,
    lock: NonNull<switch_thread_rwlock_t>,
}

// SAFETY: the pointer is only handed to FreeSWITCH's lock functions, which any thread may call.
unsafe impl Send for ApplicationLock {}
// SAFETY: as above.
unsafe impl Sync for ApplicationLock {}

impl ApplicationLock {
    /// The lock of `application`; `None` where there is none.
    ///
    /// # Safety
    /// `application` is one of the module's interfaces.
    pub(super) unsafe fn of(host: &'static Host, application: &switch_application_interface_t) -> Option<Self> {
        Some(Self { host, lock: NonNull::new(application.rwlock)? })
    }

    /// Runs `body` while a forced unload does not wait for this application.
    ///
    /// # Safety
    /// The caller runs inside of this application, once, on its call's thread: so FreeSWITCH holds this lock and the module's for
    /// reading. By the module's lock [`InterfaceLock::leave`] sees that the application runs, and the interface stays.
    pub(super) unsafe fn without<R>(self, body: impl FnOnce() -> R) -> R {
        // SAFETY: this thread holds it for reading, by the caller's word.
        unsafe { self.host.switch_thread_rwlock_unlock(self.lock.as_ptr()) };
        let _again = Again(self);
        body()
    }
}

/// Takes the lock again, as FreeSWITCH expects it, in whatever way the body ends.
struct Again(ApplicationLock);

impl Drop for Again {
    fn drop(&mut self) {
        let ApplicationLock { host, lock } = self.0;
        // SAFETY: the interface stays, by the word of the caller of `without`. FreeSWITCH writes this lock for a moment only.
        unsafe { host.switch_thread_rwlock_rdlock(lock.as_ptr()) };
    }
}
