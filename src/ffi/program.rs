//! Starts programs in a process that must not be disturbed by it: one with real-time threads, thousands of open sockets without
//! close-on-exec, ignored signals and keys in its environment.
//!
//! - `posix_spawn`, which does not copy the page tables as `fork` does: a fork of a large FreeSWITCH would make its media threads
//!   fault on every page they write.
//! - The child has our three pipes and nothing else open: FreeSWITCH's RTP sockets are not marked close-on-exec, and a program
//!   that outlives its call would keep their ports. Descriptors opened by another thread in the instant between the look and the
//!   start slip through.
//! - A process group of its own, so that it is killed with all it has started; ordinary priority; default signals, none blocked.
//! - The environment holds what programs need ([`KEPT`]) and no keys.
//!
//! On the blocking pool's threads. FreeSWITCH waits for its own children by their ids and leaves SIGCHLD as it is, so ours are for
//! us to reap; if somebody else does it anyway, only the exit status is lost.

use std::ffi::{CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::ptr;

use libc::{c_char, pid_t};

use crate::tts::{Exit, Process, Programs, Started};

/// Variables of the environment that programs get.
const KEPT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "XDG_RUNTIME_DIR",
    "ESPEAK_DATA_PATH",
];

/// Starts programs of this machine, and ends them with all they started.
#[derive(Clone, Debug)]
pub struct HostPrograms {
    environment: Vec<CString>,
}

impl HostPrograms {
    /// Takes what programs get of the environment from `variables`, once: the switch may change its own at any time.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let kept = variables.filter(|(name, _)| KEPT.iter().any(|kept| name == kept));
        let entry = |(name, value): (OsString, OsString)| {
            CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).ok()
        };
        Self { environment: kept.filter_map(entry).collect() }
    }
}

impl Programs for HostPrograms {
    fn start(&self, argv: &[String]) -> io::Result<Started> {
        let argv = argv.iter().map(|argument| CString::new(argument.as_str())).collect::<Result<Vec<_>, _>>()?;
        if argv.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (child_in, stdin) = std::io::pipe()?;
        let (stdout, child_out) = std::io::pipe()?;
        let (stderr, child_err) = std::io::pipe()?;
        let ends =
            [above_standard(child_in.into())?, above_standard(child_out.into())?, above_standard(child_err.into())?];
        let pid = spawn(&argv, &self.environment, &ends)?;
        Ok(Started {
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
            process: Box::new(Child { pid, gone: false }),
        })
    }
}

/// A switch that was started without standard descriptors gives their numbers to the next it opens, which the child's own
/// would overwrite.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO { Ok(fd) } else { fd.try_clone() }
}

/// Destroys the arguments of posix_spawn.
struct SpawnArguments {
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
}

impl Drop for SpawnArguments {
    fn drop(&mut self) {
        // SAFETY: both were initialised before this value was made.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.actions) };
        // SAFETY: as above.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.attributes) };
    }
}

fn spawn(argv: &[CString], environment: &[CString], ends: &[OwnedFd; 3]) -> io::Result<pid_t> {
    let mut prepared = prepare(ends)?;
    let pointers = |list: &[CString]| -> Vec<*mut c_char> {
        list.iter().map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    };
    let (arguments, variables) = (pointers(argv), pointers(environment));
    let mut pid = 0;
    // SAFETY: both lists end with a null pointer and hold NUL-terminated strings that outlive the call, which only reads them;
    // actions and attributes are initialised.
    check(unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            argv[0].as_ptr(),
            &raw mut prepared.actions,
            &raw mut prepared.attributes,
            arguments.as_ptr(),
            variables.as_ptr(),
        )
    })?;
    Ok(pid)
}

fn prepare(ends: &[OwnedFd; 3]) -> io::Result<SpawnArguments> {
    let (mut actions, mut attributes) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: initialises what the pointer is to.
    check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
    // SAFETY: as above.
    check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
    // SAFETY: the call above has initialised it.
    let actions = unsafe { actions.assume_init() };
    // SAFETY: the call above has initialised it.
    let attributes = unsafe { attributes.assume_init() };
    let mut prepared = SpawnArguments { actions, attributes };
    for (number, end) in ends.iter().enumerate() {
        // SAFETY: the actions are initialised; the numbers are checked when the child is started.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut prepared.actions, end.as_raw_fd(), number as i32)
        })?;
    }
    for number in open_descriptors().filter(|&number| number > libc::STDERR_FILENO) {
        // One that cannot be named is beyond the limit of descriptors, and so none.
        // SAFETY: the actions are initialised; closing what is closed by then does nothing.
        unsafe { libc::posix_spawn_file_actions_addclose(&raw mut prepared.actions, number) };
    }
    let mut signals = MaybeUninit::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
    // SAFETY: attributes and set are initialised.
    check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut prepared.attributes, signals.as_ptr()) })?;
    // SAFETY: initialises the set.
    unsafe { libc::sigfillset(signals.as_mut_ptr()) };
    // SAFETY: attributes and set are initialised.
    check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut prepared.attributes, signals.as_ptr()) })?;
    // SAFETY: the attributes are initialised; 0 is a new group named for the child.
    check(unsafe { libc::posix_spawnattr_setpgroup(&raw mut prepared.attributes, 0) })?;
    // SAFETY: the attributes are initialised.
    check(unsafe { libc::posix_spawnattr_setschedpolicy(&raw mut prepared.attributes, libc::SCHED_OTHER) })?;
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: attributes and parameters are initialised, and the latter are only read.
    check(unsafe { libc::posix_spawnattr_setschedparam(&raw mut prepared.attributes, &raw const priority) })?;
    let flags = libc::POSIX_SPAWN_SETPGROUP
        | libc::POSIX_SPAWN_SETSIGMASK
        | libc::POSIX_SPAWN_SETSIGDEF
        | libc::POSIX_SPAWN_SETSCHEDULER;
    // SAFETY: the attributes are initialised.
    check(unsafe { libc::posix_spawnattr_setflags(&raw mut prepared.attributes, flags as libc::c_short) })?;
    Ok(prepared)
}

/// Numbers of the descriptors that are open; that of the look itself is among them and closed again.
fn open_descriptors() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.into_iter()
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// A child of ours, not reaped before it is dropped: until then its number names nobody else.
struct Child {
    pid: pid_t,
    /// Reaped by somebody else.
    gone: bool,
}

impl Process for Child {
    fn exit(&mut self) -> Option<Exit> {
        if self.gone {
            return Some(Exit::Unknown);
        }
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: writes to the struct, which is live.
        let failed = unsafe { libc::waitid(libc::P_PID, self.pid.cast_unsigned(), info.as_mut_ptr(), options) } != 0;
        if failed {
            self.gone = io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
            return self.gone.then_some(Exit::Unknown);
        }
        // SAFETY: zeroed before the call, which is a valid value, and perhaps filled in by it.
        let info = unsafe { info.assume_init() };
        // SAFETY: waitid fills in the fields of a child, or leaves them zero.
        if unsafe { info.si_pid() } == 0 {
            return None;
        }
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        Some(if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Sees whether somebody else has reaped it; then its number may belong to another process.
        let _ = self.exit();
        if self.gone {
            return;
        }
        // SAFETY: sends a signal; the group's number is our child's, who is not reaped.
        unsafe { libc::kill(-self.pid, libc::SIGKILL) };
        loop {
            // SAFETY: reaps our child; no status is wanted.
            let reaped = unsafe { libc::waitpid(self.pid, ptr::null_mut(), 0) };
            if reaped >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::FromRawFd as _;
    use std::time::{Duration, Instant};

    use super::*;

    fn start(script: &str) -> Started {
        let variables = [("PATH", "/usr/bin:/bin"), ("OPENAI_API_KEY", "sk-geheim"), ("HOME", "/tmp")];
        let programs = HostPrograms::new(variables.map(|(name, value)| (name.into(), value.into())).into_iter());
        programs.start(&["sh".into(), "-c".into(), script.into()]).unwrap()
    }

    fn output(started: Started) -> (String, Exit) {
        let Started { stdin, stdout, stderr, mut process } = started;
        drop((stdin, stderr));
        let mut text = String::new();
        File::from(stdout).read_to_string(&mut text).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match process.exit() {
                Some(exit) => return (text, exit),
                None => assert!(Instant::now() < end, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_running(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn a_program_reads_writes_and_tells_how_it_ended() {
        let mut started = start("cat; echo done; exit 3");
        let mut stdin = File::from(started.stdin.try_clone().unwrap());
        stdin.write_all(b"hello ").unwrap();
        drop(stdin);
        started.stdin = File::open("/dev/null").unwrap().into();
        assert_eq!(output(started), ("hello done\n".into(), Exit::Code(3)));
        assert_eq!(output(start("kill -9 $$")).1, Exit::Signal(9));
    }

    #[test]
    fn nothing_of_ours_is_open_in_it_and_no_key_in_its_environment() {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: duplicates a descriptor that is open; unlike the standard library's it is inherited.
        let inherited = unsafe { libc::dup(file.as_raw_fd()) };
        // SAFETY: just made, and nobody else's.
        let _inherited = unsafe { OwnedFd::from_raw_fd(inherited) };
        let (text, _) = output(start("ls /proc/$$/fd; env"));
        let numbers: Vec<_> = text.lines().map_while(|line| line.parse::<i32>().ok()).collect();
        assert!(numbers.starts_with(&[0, 1, 2]) && !numbers.contains(&inherited), "{text}");
        assert!(text.contains("HOME=/tmp") && !text.contains("geheim"), "{text}");
    }

    #[test]
    fn signals_are_as_a_program_expects_them() {
        let (text, _) = output(start("exec grep -E 'Sig(Blk|Ign)' /proc/self/status"));
        let masks = text.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
        // Without those above 31, of which the C library keeps two for itself. The tests ignore SIGPIPE, as FreeSWITCH does.
        assert_eq!(masks.map(|mask| mask & 0x7fff_ffff).collect::<Vec<_>>(), [0, 0], "{text}");
    }

    #[test]
    fn dropping_it_kills_it_with_all_it_started() {
        let started = start("sleep 1000 & echo $$ $!; wait");
        let mut stdout = File::from(started.stdout.try_clone().unwrap());
        let mut bytes = [0; 64];
        let count = stdout.read(&mut bytes).unwrap();
        let pids: Vec<i32> =
            String::from_utf8_lossy(&bytes[..count]).split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert!(pids.len() == 2 && pids.iter().all(|&pid| is_running(pid)));
        drop(started);
        assert!(!is_running(pids[0]));
        let end = Instant::now() + Duration::from_secs(5);
        while is_running(pids[1]) {
            assert!(Instant::now() < end, "what it started is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_not_there_is_not_started() {
        let programs = HostPrograms::new(std::env::vars_os());
        let error = programs.start(&["no-such-program-here".into()]).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(programs.start(&["a\0b".into()]).is_err());
        assert!(programs.start(&[]).is_err());
    }

    #[test]
    fn a_child_reaped_by_somebody_else_ends_with_unknown_status() {
        let ends = [(); 3].map(|()| OwnedFd::from(File::open("/dev/null").unwrap()));
        let pid = spawn(&[c"true".into()], &[], &ends).unwrap();
        let mut child = Child { pid, gone: false };
        // SAFETY: reaps a child of this process.
        assert_eq!(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }, pid);
        assert_eq!(child.exit(), Some(Exit::Unknown));
        drop(child);
    }
}
