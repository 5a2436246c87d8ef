//! The Debian packages: made of the built module, installed below a folder of the test's, loaded from there, upgraded, removed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::host::Host;
use crate::support::module::{built_module, scratch_folder};

const PACKAGE: &str = "freeswitch-mod-audio-stream";
const MODULE: &str = "usr/lib/freeswitch/mod/mod_audio_stream.so";
const CONFIGURATION: &str = "etc/freeswitch/autoload_configs/audio_stream.conf.xml";

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?} failed:\n{words}");
    output
}

/// A system of its own, as far as dpkg knows.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        let root = scratch_folder().join(format!("package-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "packages"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn dpkg(&self, arguments: &[&str]) {
        let root = format!("--root={}", self.0.display());
        // What the packages depend on is the real system's; there is no shell below the folder to change the root to.
        let forced = ["--force-depends", "--force-script-chrootless", "--force-not-root", "--force-bad-path"];
        let mut command = Command::new("dpkg");
        command.arg(root).args(forced).arg("--log=/dev/null").args(arguments);
        run(&mut command);
    }

    /// The packages' files: the module's, the symbols'.
    fn make(&self) -> [PathBuf; 2] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/deb");
        // A module that was built for tests is larger than one that ships.
        let environment = [("MAX_BYTES", "1000000000"), ("COMPRESSION", "none")];
        let mut command = Command::new(script);
        command.arg(built_module()).arg(self.at("packages")).envs(environment);
        let printed = String::from_utf8(run(&mut command).stdout).unwrap();
        let files: Vec<PathBuf> = printed.lines().map(PathBuf::from).collect();
        files.try_into().unwrap_or_else(|files| panic!("two packages, not {files:?}"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn field(package: &Path, name: &str) -> String {
    let output = run(Command::new("dpkg-deb").arg("-f").arg(package).arg(name));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_package_installs_loads_upgrades_and_goes() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        let why = "dpkg is not installed";
        let test = "the_package_installs_loads_upgrades_and_goes";
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}; '{test}' has tested nothing. ***");
        return;
    }
    let root = Root::new();
    let [package, symbols] = root.make();
    assert_eq!(field(&package, "Package"), PACKAGE);
    assert_eq!(field(&package, "Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field(&package, "Conflicts"), "mod-audio-stream", "the C++ module has a file of the same name");
    let package = package.to_str().unwrap();
    root.dpkg(&["--install", package, symbols.to_str().unwrap()]);

    // The symbols are where a debugger looks for those of this very file.
    let notes = run(Command::new("readelf").arg("-n").arg(root.at(MODULE)));
    let notes = String::from_utf8(notes.stdout).unwrap();
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build id");
    let debug = root.at(&format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]));
    assert!(debug.is_file(), "{}", debug.display());
    let sections =
        |file: &Path| String::from_utf8(run(Command::new("readelf").args(["-S", "-W"]).arg(file)).stdout).unwrap();
    assert!(!sections(&root.at(MODULE)).contains(".debug_line") && sections(&debug).contains(".debug_line"));

    let installed = fs::read_to_string(root.at(CONFIGURATION)).unwrap();
    let host = Host::start(&installed);
    host.load_module_at(&root.at(MODULE), "mod_audio_stream").unwrap();
    assert!(host.api("uuid_audio_stream version").contains(env!("CARGO_PKG_VERSION")));
    host.unload_module(false).unwrap();

    // What an operator has written stays through an upgrade and a removal; only a purge takes it away.
    let theirs = installed + "<!-- theirs -->";
    fs::write(root.at(CONFIGURATION), &theirs).unwrap();
    root.dpkg(&["--install", package]);
    assert_eq!(fs::read_to_string(root.at(CONFIGURATION)).unwrap(), theirs);
    root.dpkg(&["--remove", "freeswitch-mod-audio-stream-dbgsym", PACKAGE]);
    assert!(!root.at(MODULE).exists() && !debug.exists());
    assert_eq!(fs::read_to_string(root.at(CONFIGURATION)).unwrap(), theirs);
    root.dpkg(&["--purge", PACKAGE]);
    assert!(!root.at(CONFIGURATION).exists());
}
