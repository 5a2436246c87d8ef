//! A program that speaks: fed the text, read until its output ends, killed with all it started when nobody listens any more.
//!
//! Its pipes are read on the worker; starting it and waiting for its end are done where that may block, since either takes
//! milliseconds, or hangs with the disk that the program is on. How a process is started safely inside of FreeSWITCH is [`Programs`]' business. Nothing asks for or touches
//! SIGCHLD, whose handling is the switch's: if another thread reaps our child first, only its exit status is lost.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use super::error::{Severity, SpeechError};
use crate::blocking::{Blocking, Kind};

/// Bytes of its complaints that are kept.
const MOST_COMPLAINT: usize = 1_024;
/// How long it may take to end once its output has.
const GRACE: Duration = Duration::from_secs(1);
const NAME: &str = "command";

/// Starts programs. Implemented by `ffi`.
pub trait Programs: Send + Sync {
    /// Starts `argv` (never empty), looked for in PATH, in a process group of its own, with nothing of ours open in it but the
    /// three pipes, default signals, ordinary priority and an environment without keys. May take milliseconds.
    fn start(&self, argv: &[String]) -> io::Result<Started>;
}

/// A running program.
pub struct Started {
    /// The writing end of its input.
    pub stdin: OwnedFd,
    /// The reading end of its output.
    pub stdout: OwnedFd,
    /// The reading end of its complaints.
    pub stderr: OwnedFd,
    /// The process. Dropping it kills the whole group and waits for the end, which may take milliseconds.
    pub process: Box<dyn Process>,
}

/// A process, whether it still runs or not.
pub trait Process: Send {
    /// How it ended, without waiting; `None` while it runs.
    fn exit(&mut self) -> Option<Exit>;
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Somebody else has reaped it.
    Unknown,
}

/// Starts programs, and ends them, where that may block.
#[derive(Clone)]
pub struct Launcher {
    programs: Arc<dyn Programs>,
    blocking: Blocking,
}

impl Launcher {
    /// Starts `programs`.
    pub fn new(programs: Arc<dyn Programs>, blocking: Blocking) -> Self {
        Self { programs, blocking }
    }

    /// A program and its pipes, or why there is none; `None`: its start takes longer than `patience`. It is killed as soon as it
    /// has started after all.
    async fn start(&self, argv: Vec<String>, patience: Duration) -> Option<io::Result<(Pipes, Guard)>> {
        let (launcher, program) = (self.clone(), argv.first().cloned().unwrap_or_default());
        let start = self.blocking.run_for(Kind::Programs, &program, move || {
            let Started { stdin, stdout, stderr, process } = launcher.programs.start(&argv)?;
            // In the guard from the first moment: the task that asked may be gone.
            Ok((Pipes { stdin, stdout, stderr }, Guard { process: Some(process), blocking: launcher.blocking }))
        });
        let started = tokio::time::timeout(patience, start).await.ok()?;
        Some(started.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

/// Our ends.
struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Kills the process when dropped, elsewhere: the worker does not wait for it.
struct Guard {
    process: Option<Box<dyn Process>>,
    blocking: Blocking,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let blocking = self.blocking.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { blocking.run(Kind::Ends, move || drop(process)).await });
        }
    }
}

/// Runs `argv` with `input` and hands every piece of its output to `output`, until that ends or `output` refuses.
///
/// `silence` is the longest its start may take, and the longest it may write nothing. Dropping the future kills the program.
pub(super) async fn run(
    launcher: &Launcher,
    argv: Vec<String>,
    input: Option<String>,
    silence: Duration,
    mut output: impl FnMut(&[u8]) -> Result<(), SpeechError>,
) -> Result<(), SpeechError> {
    let name = argv.first().cloned().unwrap_or_default();
    let failed = |severity, code: &str, message: String| SpeechError::new(NAME, severity, code, message, None);
    let broken = |error: io::Error| failed(Severity::Retryable, "command_failed", format!("{name}: {error}"));
    let late = |what: &str| failed(Severity::Retryable, "timeout", format!("{name} {what} {} ms", silence.as_millis()));
    let started = launcher.start(argv, silence).await.ok_or_else(|| late("could not be started within"))?;
    let (Pipes { stdin, stdout, stderr }, mut guard) = started.map_err(|error| {
        let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        let severity = if gone { Severity::Fatal } else { Severity::Retryable };
        failed(severity, "command_failed", format!("cannot start {name}: {error}"))
    })?;
    let mut stdin = Some(pipe::Sender::from_owned_fd(stdin).map_err(broken)?);
    let mut stdout = pipe::Receiver::from_owned_fd(stdout).map_err(broken)?;
    let mut stderr = Some(pipe::Receiver::from_owned_fd(stderr).map_err(broken)?);
    let text = input.unwrap_or_default().into_bytes();
    let (mut written, mut complaint) = (0, Vec::new());
    let (mut buffer, mut noise) = ([0; 8 * 1024], [0; 512]);
    let mut quiet = Box::pin(tokio::time::sleep(silence));
    loop {
        if written == text.len() {
            stdin = None;
        }
        tokio::select! {
            read = stdout.read(&mut buffer) => match read.map_err(broken)? {
                0 => break,
                count => {
                    output(&buffer[..count])?;
                    quiet.as_mut().reset(tokio::time::Instant::now() + silence);
                }
            },
            // It may well end without having read everything.
            wrote = write(stdin.as_mut(), &text[written..]), if stdin.is_some() => match wrote {
                Ok(count) => written += count,
                Err(_) => stdin = None,
            },
            read = read(stderr.as_mut(), &mut noise), if stderr.is_some() => match read {
                Ok(count @ 1..) => {
                    let room = MOST_COMPLAINT - complaint.len().min(MOST_COMPLAINT);
                    complaint.extend_from_slice(&noise[..count.min(room)]);
                }
                _ => stderr = None,
            },
            () = &mut quiet => return Err(late("wrote nothing for")),
        }
    }
    drop(stdin);
    let exit = exit(&mut guard).await;
    // Its last output has arrived by now.
    while let Some(pipe) = &mut stderr
        && let Ok(count @ 1..) = pipe.try_read(&mut noise)
        && complaint.len() < MOST_COMPLAINT
    {
        complaint.extend_from_slice(&noise[..count]);
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    let words = if complaint.is_empty() { String::new() } else { format!(": {complaint}") };
    match exit {
        Some(Exit::Code(0) | Exit::Unknown) => Ok(()),
        Some(Exit::Code(code)) => {
            Err(failed(Severity::Retryable, "command_failed", format!("{name} ended with status {code}{words}")))
        }
        Some(Exit::Signal(signal)) => {
            Err(failed(Severity::Retryable, "command_failed", format!("{name} was killed by signal {signal}{words}")))
        }
        // All its output came; it is killed now.
        None => Ok(()),
    }
}

async fn write(pipe: Option<&mut pipe::Sender>, bytes: &[u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => match pipe.write(bytes).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        },
        None => std::future::pending().await,
    }
}

async fn read(pipe: Option<&mut pipe::Receiver>, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// How it ended, if it does so within [`GRACE`].
async fn exit(guard: &mut Guard) -> Option<Exit> {
    let process = guard.process.as_mut()?;
    let (mut wait, mut waited) = (Duration::from_millis(1), Duration::ZERO);
    loop {
        if let Some(exit) = process.exit() {
            return Some(exit);
        }
        if waited >= GRACE {
            return None;
        }
        tokio::time::sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(Duration::from_millis(100));
    }
}
