//! The media threads of the built module neither allocate, nor free, nor wait, nor wake anybody: counted in its callbacks,
//! whatever the call and the worker are doing.
//!
//! This program's own `malloc`, `syscall`, `nanosleep` and so on come before the C library's for everything that is loaded into the
//! process, the module included. The stand-in host says when a media thread enters and leaves a callback. A lock of Rust that has to
//! wait, or has somebody waiting, calls the kernel through `syscall`; one that need not is an exchange in memory and not seen: those
//! are what clippy denies.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
use std::fs;
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use libc::{clockid_t, nfds_t, pollfd, timespec};

use crate::calls::{LOUD, SERVER, Stream, api, call, pass, playing, switch};
use crate::host::{Call, CallKind, CallOptions, PATIENCE};
use crate::support::websocket_server::{Action, Play, Script};
use crate::support::{eventually, signal};

/// What is counted.
struct Counters {
    callbacks: AtomicU64,
    allocations: AtomicU64,
    system_calls: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self { callbacks: AtomicU64::new(0), allocations: AtomicU64::new(0), system_calls: AtomicU64::new(0) }
    }

    /// Allocations and frees, and system calls.
    fn read(&self) -> (u64, u64) {
        (self.allocations.load(Ordering::Relaxed), self.system_calls.load(Ordering::Relaxed))
    }
}

/// Of all callbacks since the process began.
static WATCHED: Counters = Counters::new();

thread_local! {
    /// Where this thread counts now. Constant and without a destructor, in the program's own part: reading it calls nothing.
    static COUNTING: Cell<Option<&'static Counters>> = const { Cell::new(None) };
}

fn allocation() {
    if let Some(counters) = COUNTING.get() {
        counters.allocations.fetch_add(1, Ordering::Relaxed);
    }
}

/// Blocks that the module's workers have asked for while [`WATCH_WORKERS`] is set.
pub static WORKERS: AtomicU64 = AtomicU64::new(0);
/// Set once all workers have their names.
pub static WATCH_WORKERS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is a worker, once somebody wanted to know.
    static IS_WORKER: Cell<Option<bool>> = const { Cell::new(None) };
}

/// A block is asked for, and not given back.
fn asked_for() {
    allocation();
    if WATCH_WORKERS.load(Ordering::Relaxed) {
        let worker = IS_WORKER.get().unwrap_or_else(|| {
            let mut name = [0_u8; 16];
            // SAFETY: the kernel writes at most 16 bytes.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            let worker = name.starts_with(b"mas-shard");
            IS_WORKER.set(Some(worker));
            worker
        });
        WORKERS.fetch_add(u64::from(worker), Ordering::Relaxed);
    }
}

extern "C" fn enter() {
    COUNTING.set(Some(&WATCHED));
    WATCHED.callbacks.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn leave() {
    COUNTING.set(None);
}

/// The C library's own, under the names it keeps for programs that put theirs in front.
mod original {
    use std::ffi::c_void;

    unsafe extern "C" {
        pub(super) fn __libc_malloc(size: usize) -> *mut c_void;
        pub(super) fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
        pub(super) fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
        pub(super) fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
        pub(super) fn __libc_free(block: *mut c_void);
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    asked_for();
    // SAFETY: passed on.
    unsafe { original::__libc_malloc(size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(number: usize, size: usize) -> *mut c_void {
    asked_for();
    // SAFETY: passed on.
    unsafe { original::__libc_calloc(number, size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    asked_for();
    // SAFETY: passed on.
    unsafe { original::__libc_realloc(block, size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    asked_for();
    // SAFETY: passed on; `place` is the caller's.
    let block = unsafe { original::__libc_memalign(alignment, size) };
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: as above.
    unsafe { *place = block };
    0
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    asked_for();
    // SAFETY: passed on.
    unsafe { original::__libc_memalign(alignment, size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        allocation();
    }
    // SAFETY: passed on.
    unsafe { original::__libc_free(block) };
}

fn system_call() {
    if let Some(counters) = COUNTING.get() {
        counters.system_calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// The C library's function of that name, looked up once: it has no second name.
fn original(found: &AtomicUsize, name: &CStr) -> usize {
    if found.load(Ordering::Relaxed) == 0 {
        // SAFETY: a look-up by name behind this program's own.
        found.store(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize, Ordering::Relaxed);
    }
    let found = found.load(Ordering::Relaxed);
    assert_ne!(found, 0, "the C library has {name:?}");
    found
}

/// Stands before functions of the C library that wait, or reach outside of the process.
macro_rules! stand_before {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)+) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            static FOUND: AtomicUsize = AtomicUsize::new(0);
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name"),
            };
            system_call();
            type Original = unsafe extern "C" fn($($type),*) -> $result;
            // SAFETY: the C library's function of that name has this type.
            let original = unsafe { std::mem::transmute::<usize, Original>(original(&FOUND, NAME)) };
            // SAFETY: passed on.
            unsafe { original($($argument),*) }
        }
    )+};
}

stand_before! {
    // As many arguments as the call has; the others are whatever was in their registers.
    syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long;
    nanosleep(time: *const timespec, left: *mut timespec) -> c_int;
    clock_nanosleep(clock: clockid_t, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int;
    usleep(time: c_uint) -> c_int;
    sched_yield() -> c_int;
    poll(descriptors: *mut pollfd, count: nfds_t, time: c_int) -> c_int;
    read(descriptor: c_int, bytes: *mut c_void, count: usize) -> isize;
    write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize;
}

/// A call whose callbacks are watched.
fn watched(options: CallOptions) -> Call<'static> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| switch().watch_callbacks(enter, leave));
    call(options)
}

/// Callbacks so far.
fn callbacks() -> u64 {
    WATCHED.callbacks.load(Ordering::Relaxed)
}

/// Tests share the counters, so each looks at the sum: none may have added to it.
#[track_caller]
fn nothing_was_counted(at_least: u64, before: u64) {
    let now = callbacks();
    assert!(now >= before + at_least, "{now} callbacks: the watch is on");
    assert_eq!(WATCHED.read(), (0, 0), "allocations and system calls in {now} callbacks");
}

#[test]
fn the_watch_sees_allocations_and_waits() {
    static TRIAL: Counters = Counters::new();
    let counted = |act: &dyn Fn()| {
        let before = TRIAL.read();
        COUNTING.set(Some(&TRIAL));
        act();
        COUNTING.set(None);
        let after = TRIAL.read();
        (after.0 - before.0, after.1 - before.1)
    };
    let of_c = || {
        // SAFETY: always allowed.
        let block = unsafe { libc::malloc(std::hint::black_box(100)) };
        // SAFETY: allocated above.
        unsafe { libc::free(block) };
    };
    assert_eq!(counted(&of_c), (2, 0));
    assert_eq!(counted(&|| drop(std::hint::black_box(Box::new([0_u8; 64])))), (2, 0));
    let lock = parking_lot::Mutex::new(());
    let held = lock.lock();
    // It spins before it waits, and on a busy machine that may be all there is time for.
    let waited = (0..20).any(|_| {
        let (_, system_calls) = counted(&|| assert!(lock.try_lock_for(Duration::from_millis(100)).is_none()));
        system_calls > 0
    });
    drop(held);
    assert!(waited);
    assert!(counted(&|| std::thread::sleep(Duration::from_millis(1))).1 > 0, "a sleep");
    assert!(counted(&std::thread::yield_now).1 > 0, "giving way");
    let trial = scratch("trial");
    let file = fs::File::create(&trial).unwrap();
    assert!(counted(&|| (&file).write_all(b"x").unwrap()).1 > 0, "a file");
    fs::remove_file(trial).unwrap();
}

/// A file of this process's own.
fn scratch(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("media-thread-{}-{name}", std::process::id()))
}

#[test]
fn capturing_and_playing_take_no_memory_and_no_lock() {
    let before = callbacks();
    for (rate, ptime_ms, channels, mix) in [
        (8_000, 20, 1, "mono"),
        (16_000, 20, 1, "stereo"),
        (48_000, 10, 1, "mixed"),
        (48_000, 20, 2, "stereo"),
        (8_000, 60, 1, "mono"),
    ] {
        for inject_mode in ["replace", "mix"] {
            let call = watched(CallOptions { rate, ptime_ms, channels, ..playing() });
            let stream = Stream::start(&call, &format!("{mix} 16k inject_mode={inject_mode}"));
            call.speak(&signal::tone(rate, 440.0, 1_000, LOUD));
            call.play(&signal::tone(rate, 700.0, 1_000, LOUD));
            stream.play(Play::mono(signal::tone(24_000, SERVER, 500, LOUD), 24_000));
            pass(&call, &[&stream], (800 / ptime_ms) as usize);
        }
    }
    nothing_was_counted(2 * 300, before);
}

#[test]
fn neither_do_clear_pause_codec_changes_and_the_end() {
    let before = callbacks();
    for end in 0..4 {
        let call = watched(playing());
        let stream = Stream::start(&call, "stereo 16k");
        for (rate, ptime_ms, channels) in [(8_000, 20, 1), (16_000, 20, 1), (48_000, 20, 2), (8_000, 30, 1)] {
            call.set_codec(rate, ptime_ms, channels);
            stream.play(Play::mono(signal::tone(8_000, SERVER, 500, LOUD), 8_000));
            pass(&call, &[&stream], 6);
            stream.ok("pause");
            pass(&call, &[&stream], 3);
            stream.ok("clear");
            stream.ok("resume");
            pass(&call, &[&stream], 6);
        }
        match end {
            0 => stream.ok("stop"),
            1 => stream.connection.order(Action::Reset),
            2 => stream.connection.order(Action::Close(1000, String::new())),
            _ => call.hangup(),
        }
        // The callbacks that take the bug off the call.
        call.wait_until("the stream has left the call", |call| {
            call.tick(1);
            call.bugs() == 0
        });
    }
    nothing_was_counted(4 * 4 * 15, before);
}

#[test]
fn neither_do_rings_that_are_full_and_empty() {
    let before = callbacks();
    let call = watched(playing());
    let deaf = Script { never_read: true, ..Script::default() };
    let stream = Stream::start_as(&call, "default", deaf, "stereo 48k max_queue_ms=1000");
    // Far more than the worker can take meanwhile.
    for _ in 0..20 {
        stream.play(Play::mono(signal::tone(8_000, SERVER, 200, LOUD), 8_000));
        call.tick(60);
    }
    let dropped = stream.health()["capture"]["dropped_frames"].as_u64().unwrap();
    assert!(dropped > 0, "the ring was full");
    nothing_was_counted(20 * 60, before);
}

#[test]
fn calls_by_the_clock_do_not_allocate_or_wait_either() {
    let before = callbacks();
    let kinds = [CallKind::Parked, CallKind::Playing, CallKind::Echo];
    let calls = kinds.map(|kind| watched(CallOptions { kind, ..CallOptions::default() }));
    let streams = calls.each_ref().map(|call| Stream::start(call, "mono 8k"));
    for (call, stream) in calls.iter().zip(&streams) {
        call.speak(&signal::tone(8_000, 440.0, 600, LOUD));
        stream.play(Play::mono(signal::tone(16_000, SERVER, 500, LOUD), 16_000));
    }
    for (call, stream) in calls.iter().zip(&streams) {
        call.wait_until("all is heard", |_| stream.health()["inject"]["played_ms"] == 500);
    }
    nothing_was_counted(3 * 25, before);
}

#[test]
fn recorder_004_a_recording_takes_no_memory_and_no_lock() {
    let before = callbacks();
    for (number, kind) in [CallKind::Playing, CallKind::Echo].into_iter().enumerate() {
        let call = watched(CallOptions { kind, ..playing() });
        let file = scratch(&format!("{number}.wav"));
        let record = |what: &str| api(&format!("{} record {what}", call.uuid()));
        assert_eq!(record(&format!("start {}", file.display())), "+OK Success");
        let stream = Stream::start(&call, "stereo 16k");
        for (rate, ptime_ms, channels) in [(8_000, 20, 1), (16_000, 20, 1), (48_000, 20, 2), (8_000, 60, 1)] {
            call.set_codec(rate, ptime_ms, channels);
            call.speak(&signal::tone(rate, 440.0, 300, LOUD));
            stream.play(Play::mono(signal::tone(8_000, SERVER, 300, LOUD), 8_000));
            pass(&call, &[&stream], 10);
        }
        // Faster than the writer takes: the rings are full.
        call.tick(400);
        assert_eq!(record("stop"), "+OK Success");
        pass(&call, &[&stream], 5);
        // One more, which the call's end completes.
        let last = scratch(&format!("{number}-last.wav"));
        assert_eq!(record(&format!("start {}", last.display())), "+OK Success");
        pass(&call, &[&stream], 10);
        call.hangup();
        for file in [file, last] {
            assert!(eventually(PATIENCE, || hound::WavReader::open(&file).is_ok_and(|wav| wav.duration() > 0)));
            fs::remove_file(file).unwrap();
        }
    }
    nothing_was_counted(2 * 400, before);
}
