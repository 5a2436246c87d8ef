//! Starts a FreeSWITCH of its own for the tests and ends it with them.
//!
//! Everything it reads and writes lies in one folder below cargo's folder for tests. It listens on 127.0.0.1 only, on
//! ports that were free. A shell between us and it ends it when the test process is gone, however that went.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::config::{self, Ports};
use super::esl::Esl;
use super::installation::Installation;
use crate::support::{eventually, module};

/// How a FreeSWITCH is started.
#[derive(Clone, Copy, Default)]
pub struct Launch {
    /// With the real-time priority of the stock service (`-rp`); needs the right to it.
    pub realtime: bool,
    /// Without the tested module in its folder of modules.
    pub without_module: bool,
    /// The tested module is loaded at the start, before all others.
    pub loads_module: bool,
    /// With one arena of the C library's for all threads. Resident memory then shows what is in use at most, and not which threads
    /// have once used an arena of their own.
    pub one_arena: bool,
    /// At these ports, in place of free ones.
    pub ports: Option<Ports>,
}

/// A running FreeSWITCH; dropped, it is killed and its folder removed, unless the test failed.
pub struct FreeSwitch {
    /// What runs.
    pub installation: Installation,
    /// Where it listens.
    pub ports: Ports,
    /// Its folder.
    pub folder: PathBuf,
    pid: u32,
    shell: Child,
    leash: Option<ChildStdin>,
    esl: Esl,
    log_mark: u64,
    calls: AtomicU32,
}

/// Ends FreeSWITCH, or what else its arguments start, when our end of standard input is closed, and then removes its folder unless there is a
/// file `keep` in it; exits as FreeSWITCH did.
pub(super) const LEASH: &str = r#"exec 3<&0
"$@" </dev/null >"$FOLDER/log/output" 2>&1 &
pid=$!
( read -r _ <&3; kill -${END:-KILL} "$pid" ) &
watch=$!
wait "$pid"
code=$?
kill "$watch" || [ -e "$FOLDER/keep" ] || rm -rf "$FOLDER"
exit "$code""#;

impl FreeSwitch {
    /// Starts `installation` and waits until its event socket answers.
    ///
    /// # Panics
    /// With FreeSWITCH's own words when it does not come up.
    #[track_caller]
    pub fn start(installation: &Installation, launch: Launch) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("freeswitch-{}-{}-{number}", installation.version, std::process::id());
        let folder = module::scratch_folder().join(name);
        for part in ["conf", "log", "db", "run", "mod", "temp", "recordings", "empty"] {
            fs::create_dir_all(folder.join(part)).expect("cargo's folder for tests is ours");
        }
        let ports = launch.ports.unwrap_or_else(free_ports);
        let log = folder.join("log/freeswitch.log");
        fs::write(folder.join("conf/freeswitch.xml"), config::freeswitch_xml(ports, &log, launch.loads_module))
            .expect("our folder");
        link_modules(installation, &folder.join("mod"), launch);

        let at = |part: &str| folder.join(part).into_os_string();
        let mut command = Command::new("sh");
        command.arg("-c").arg(LEASH).arg("leash").arg(&installation.binary);
        command.args(["-nf", "-nc", "-nonat", "-nonatmap", if launch.realtime { "-rp" } else { "-np" }]);
        for folder in ["conf", "log", "db", "run", "mod", "temp", "recordings"] {
            command.arg(format!("-{folder}")).arg(at(folder));
        }
        for folder in ["htdocs", "scripts", "grammar", "certs", "storage", "cache", "sounds"] {
            command.arg(format!("-{folder}")).arg(at("empty"));
        }
        if launch.one_arena {
            command.env("MALLOC_ARENA_MAX", "1");
        }
        // FreeSWITCH prints into a file; what the shell itself says is only that it killed it.
        command.env("FOLDER", &folder).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let leash = shell.stdin.take();

        let end = Instant::now() + Duration::from_secs(60);
        let esl = loop {
            match Esl::connect(ports.esl, config::PASSWORD) {
                Ok(esl) if esl.api("status").contains("is ready") => break esl,
                _ if Instant::now() < end && matches!(shell.try_wait(), Ok(None)) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => {
                    let words = ["log/output", "log/freeswitch.log"].map(|file| tail(&folder.join(file), 0, 100));
                    panic!("{} did not come up:\n{}", installation.binary.display(), words.concat());
                }
            }
        };
        let pid = fs::read_to_string(folder.join("run/freeswitch.pid")).expect("it has written its pid");
        let pid = pid.trim().parse().expect("a number");
        let installation = installation.clone();
        let calls = AtomicU32::new(0);
        Self { installation, ports, folder, pid, shell, leash, esl, log_mark: 0, calls }
    }

    /// Runs an API command and gives what it answered.
    #[track_caller]
    pub fn api(&self, command: &str) -> String {
        self.esl.api(command)
    }

    /// Runs an API command that has to answer `+OK`, and gives the rest of that line.
    #[track_caller]
    pub fn ok(&self, command: &str) -> String {
        let answer = self.api(command);
        let Some(rest) = answer.strip_prefix("+OK") else { panic!("'{command}' answered: {answer}") };
        rest.trim().to_owned()
    }

    /// Sends commands of the event socket in one write, does `meanwhile`, and gives the replies.
    #[track_caller]
    pub fn pipeline(&self, commands: &[String], meanwhile: impl FnOnce()) -> Vec<String> {
        self.esl.pipeline(commands, meanwhile)
    }

    /// Runs an API command in FreeSWITCH's background.
    pub fn bgapi(&self, command: &str) {
        self.esl.bgapi(command);
    }

    /// Another connection to the event socket, subscribed to `what`.
    #[track_caller]
    pub fn subscribe(&self, what: &str) -> Esl {
        let esl = Esl::connect(self.ports.esl, config::PASSWORD).expect("FreeSWITCH answers");
        esl.subscribe(what);
        esl
    }

    /// Places a call from inside, `endpoint` as in `null/x` or `loopback/park/tests`, to an application such as
    /// `park()`; gives its uuid. `variables` in the form `a=b,c=d`.
    #[track_caller]
    pub fn originate(&self, endpoint: &str, application: &str, variables: &str) -> String {
        let uuid = self.new_uuid();
        let comma = if variables.is_empty() { "" } else { "," };
        let endpoint = format!("{{origination_uuid={uuid},ignore_early_media=true{comma}{variables}}}{endpoint}");
        self.ok(&format!("originate {endpoint} &{application}"));
        uuid
    }

    /// A uuid no other call has.
    pub fn new_uuid(&self) -> String {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        format!("00000000-0000-4000-8000-{:04x}{call:08x}", self.pid & 0xffff)
    }

    /// A variable of a call.
    #[track_caller]
    pub fn variable(&self, uuid: &str, name: &str) -> Option<String> {
        let value = self.api(&format!("uuid_getvar {uuid} {name}"));
        (!value.starts_with("-ERR No such channel") && value.trim() != "_undef_").then(|| value.trim().to_owned())
    }

    /// Whether a call is there.
    pub fn exists(&self, uuid: &str) -> bool {
        self.api(&format!("uuid_exists {uuid}")).trim() == "true"
    }

    /// Loads the tested module.
    #[track_caller]
    pub fn load(&self) {
        let answer = self.api("load mod_audio_stream");
        assert!(answer.contains("+OK"), "load answered: {answer}\n{}", self.log());
    }

    /// Puts these settings in place of the module's whole configuration, and has FreeSWITCH read it.
    #[track_caller]
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let file = self.folder.join("conf/freeswitch.xml");
        let text = fs::read_to_string(&file).expect("our folder");
        let own = "<configuration name=\"audio_stream.conf\">";
        let params: Vec<_> =
            settings.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect();
        let ours = |line: &&str| line.contains("audio_stream.conf.xml") || line.contains(own);
        let before = text.lines().find(ours).expect("a line with the configuration");
        let after = format!("{own}<settings>{}</settings></configuration>", params.concat());
        fs::write(&file, text.replace(before, &after)).expect("our folder");
        self.reload();
    }

    /// `reloadxml`, and the module, if it is loaded, has read its configuration.
    #[track_caller]
    pub fn reload(&self) {
        let reloads = || self.log().matches("LIFECYCLE reloadxml ok").count();
        let (before, loaded) = (reloads(), self.loaded());
        self.ok("reloadxml");
        assert!(!loaded || eventually(Duration::from_secs(10), || reloads() > before), "the configuration is not read");
    }

    /// Whether the tested module is loaded.
    pub fn loaded(&self) -> bool {
        self.api("module_exists mod_audio_stream").trim() == "true"
    }

    /// Ends all calls and waits until none is left.
    #[track_caller]
    pub fn hang_up_all(&self) {
        self.api("hupall");
        let gone = eventually(Duration::from_secs(10), || self.channels() == 0);
        assert!(gone, "calls remain after hupall: {}", self.api("show channels"));
    }

    /// How many channels there are.
    pub fn channels(&self) -> usize {
        let status = self.api("status");
        let line = status.lines().find(|line| {
            line.contains("session(s) - peak")
                || line.contains("session(s) ")
                    && !line.contains("since")
                    && !line.contains("max")
                    && !line.contains("per Sec")
        });
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(usize::MAX)
    }

    /// FreeSWITCH's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    /// Asks FreeSWITCH to shut down and gives its exit code: 0 when all was well, 128 + signal after a crash.
    #[track_caller]
    pub fn shutdown(mut self) -> i32 {
        let _ = self.esl.command("api fsctl shutdown now");
        let mut code = None;
        let ended = eventually(Duration::from_secs(60), || {
            code = self.shell.try_wait().ok().flatten();
            code.is_some()
        });
        assert!(ended, "FreeSWITCH does not end:\n{}", self.log());
        let code = code.and_then(|code| code.code()).unwrap_or(-1);
        if code != 0 {
            self.keep();
        }
        code
    }

    /// Has the folder stay, and says where it is.
    fn keep(&self) {
        let _ = fs::write(self.folder.join("keep"), "");
        let _ = writeln!(std::io::stderr(), "FreeSWITCH's files are kept in {}", self.folder.display());
    }

    /// From here on `log` begins.
    pub fn mark_log(&mut self) {
        self.log_mark = fs::metadata(self.log_file()).map_or(0, |file| file.len());
    }

    /// The log since the mark.
    pub fn log(&self) -> String {
        tail(&self.log_file(), self.log_mark, usize::MAX)
    }

    /// The last lines of the log since the mark without FreeSWITCH's own debugging, and what it printed. The whole log
    /// stays in the folder when a test fails.
    pub fn last_words(&self) -> String {
        let output = tail(&self.folder.join("log/output"), 0, 30);
        let log = self.log();
        let told = |line: &&str| {
            let chatter = ["[DEBUG] switch_", "[DEBUG] sofia", "[DEBUG] mod_sofia", "Dialplan: ", "EXECUTE ["];
            line.contains(" [") && !chatter.iter().any(|chatter| line.contains(chatter))
        };
        let lines: Vec<_> = log.lines().filter(told).collect();
        format!("{output}{}", lines[lines.len().saturating_sub(100)..].join("\n"))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log/freeswitch.log")
    }
}

impl Drop for FreeSwitch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        drop(self.leash.take());
        let _ = self.shell.wait();
        if !self.folder.join("keep").exists() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn link_modules(installation: &Installation, to: &Path, launch: Launch) {
    for module in config::MODULES {
        let file = installation.modules.join(format!("{module}.so"));
        assert!(file.exists(), "the tests need {module}, which {} lacks", installation.modules.display());
        std::os::unix::fs::symlink(&file, to.join(format!("{module}.so"))).expect("our folder");
    }
    if !launch.without_module {
        fs::copy(module::built_module(), to.join("mod_audio_stream.so")).expect("our folder");
    }
}

/// The last `lines` lines of a file from byte `from` on.
fn tail(file: &Path, from: u64, lines: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(from as usize..).unwrap_or_default()).into_owned();
    let skip = text.lines().count().saturating_sub(lines);
    text.lines().skip(skip).flat_map(|line| [line, "\n"]).collect()
}

/// The last `lines` lines of a file.
pub(super) fn last_lines(file: &Path, lines: usize) -> String {
    tail(file, 0, lines)
}

fn free_ports() -> Ports {
    // RTP ranges by turns from our process id on, so that those of a second installation or another run do not overlap.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let turn = (std::process::id() as u16 % 8 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20;
    let esl = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let sip = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = |address: std::io::Result<std::net::SocketAddr>| address.expect("it is bound").port();
    Ports { esl: port(esl.local_addr()), sip: port(sip.local_addr()), rtp: 10_000 + turn * config::RTP_PORTS }
}
