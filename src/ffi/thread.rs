//! What a thread of the module asks of the kernel when it starts, and which thread this is.

/// Gives the calling thread ordinary scheduling and its name.
///
/// FreeSWITCH's stock service runs at a real-time priority which new threads inherit: network work at that priority would
/// compete with the media threads it serves. Failing changes nothing but the priority, so it is only reported.
pub(crate) fn ordinary(name: &str) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: thread 0 is the calling thread; the parameters are a live struct that is only read.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        tracing::warn!(target: "LIFECYCLE", op = "thread_start", outcome = "priority_kept", thread = name, error = %error);
    }
    named(name);
}

/// Gives the calling thread its name, and leaves its priority as it was inherited.
pub(crate) fn named(name: &str) {
    let name = super::log::c_string(name);
    // SAFETY: PR_SET_NAME reads a NUL-terminated string and keeps its first 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// What tells the calling thread from all others that live; never 0. Real-time safe: reads a register.
pub(super) fn this() -> u64 {
    // SAFETY: always allowed; the C library reads it out of a register.
    unsafe { libc::pthread_self() }
}
