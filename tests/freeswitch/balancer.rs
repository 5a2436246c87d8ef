//! A Kamailio of its own in front of several FreeSWITCHes, with its dispatcher: as an operator has it, on 127.0.0.1.
//!
//! The configuration is `conf/kamailio/kamailio.cfg`, with the ports and the servers of the test in place of the example's.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::server::{FreeSwitch, LEASH, last_lines};
use crate::support::{eventually, module};

/// A running Kamailio; dropped, it is ended and its folder removed, unless the test failed.
pub struct Balancer {
    /// Where it takes calls: SIP over UDP.
    pub sip: u16,
    control: u16,
    folder: PathBuf,
    shell: Child,
    leash: Option<ChildStdin>,
}

/// Where Kamailio and its tool are, if both are installed.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]).collect();
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    find("kamailio").zip(find("kamcmd"))
}

impl Balancer {
    /// Whether there is a Kamailio here.
    pub fn is_installed() -> bool {
        programs().is_some()
    }

    /// Starts one in front of these servers, and waits until it sends calls to all of them.
    #[track_caller]
    pub fn start(servers: &[&FreeSwitch]) -> Self {
        let (kamailio, _) = programs().expect("Kamailio is installed");
        let folder = module::scratch_folder().join(format!("kamailio-{}", std::process::id()));
        fs::create_dir_all(folder.join("log")).expect("cargo's folder for tests is ours");
        let sip = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let control =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let list: String = servers.iter().map(|server| format!("1 {}\n", address(server))).collect();
        fs::write(folder.join("dispatcher.list"), list).expect("our folder");
        let config = folder.join("kamailio.cfg");
        fs::write(&config, configuration(&folder, sip, control)).expect("our folder");
        let mut command = Command::new("sh");
        command.arg("-c").arg(LEASH).arg("leash").arg(kamailio);
        // In the foreground, its log on standard error; 16 MB of memory for all, 4 for each process.
        command.args(["-DD", "-E", "-m", "16", "-M", "4", "-f"]).arg(&config).arg("-w").arg(&folder);
        command.env("FOLDER", &folder).env("END", "TERM").stdin(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let leash = shell.stdin.take();
        let balancer = Self { sip, control, folder, shell, leash };
        for server in servers {
            balancer.wait_state(server, 'A');
        }
        balancer
    }

    /// Runs a command of `kamcmd`; gives what it answers.
    pub fn control(&self, arguments: &[&str]) -> String {
        let (_, kamcmd) = programs().expect("Kamailio is installed");
        let mut command = Command::new(kamcmd);
        command.arg("-s").arg(format!("tcp:127.0.0.1:{}", self.control)).args(arguments);
        let output = command.output().expect("kamcmd runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// The state of a server, as the dispatcher has it: `A` takes calls, `I` failed its last check, `D` is disabled.
    pub fn state(&self, server: &FreeSwitch) -> Option<char> {
        let list = self.control(&["dispatcher.list"]);
        let mut lines = list.lines().skip_while(|line| !line.contains(&address(server)));
        lines.find_map(|line| line.trim().strip_prefix("FLAGS:")?.trim().chars().next())
    }

    /// Waits until a server has this state.
    #[track_caller]
    pub fn wait_state(&self, server: &FreeSwitch, state: char) {
        let reached = eventually(Duration::from_secs(20), || self.state(server) == Some(state));
        let list = || self.control(&["dispatcher.list"]);
        assert!(reached, "{} is not {state}: {}\n{}", address(server), list(), self.last_words());
    }

    /// Sets the state of a server, as an operator does.
    #[track_caller]
    pub fn set_state(&self, state: &str, server: &FreeSwitch) {
        let answer = self.control(&["dispatcher.set_state", state, "1", &address(server)]);
        assert!(!answer.contains("error"), "{answer}");
    }

    /// What Kamailio has printed last.
    pub fn last_words(&self) -> String {
        last_lines(&self.folder.join("log/output"), 50)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = fs::write(self.folder.join("keep"), "");
        }
        drop(self.leash.take());
        let _ = self.shell.wait();
        if !self.folder.join("keep").exists() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// How the dispatcher names a server.
fn address(server: &FreeSwitch) -> String {
    format!("sip:127.0.0.1:{}", server.ports.sip)
}

/// The example with the test's places in it.
fn configuration(folder: &Path, sip: u16, control: u16) -> String {
    let example = include_str!("../../conf/kamailio/kamailio.cfg");
    let mut text = example.to_owned();
    for (theirs, ours) in [
        ("udp:0.0.0.0:5060", format!("udp:127.0.0.1:{sip}")),
        ("/etc/kamailio/dispatcher.list", folder.join("dispatcher.list").display().to_string()),
        ("unix:/run/kamailio/kamailio_ctl", format!("tcp:127.0.0.1:{control}")),
    ] {
        assert!(text.contains(theirs), "the example has no {theirs}");
        text = text.replace(theirs, &ours);
    }
    text
}
