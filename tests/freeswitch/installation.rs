//! Finds the FreeSWITCH installations to test with.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An installed FreeSWITCH.
#[derive(Clone, Debug)]
pub struct Installation {
    /// `freeswitch` itself.
    pub binary: PathBuf,
    /// Where its modules are.
    pub modules: PathBuf,
    /// What it calls itself, e.g. `1.11.2`; for messages and folder names.
    pub version: String,
}

/// The installations named in `FREESWITCH_PREFIX` (several separated by colons), else the one of pkg-config, else the
/// one in PATH. None where there is none.
///
/// # Panics
/// When `FREESWITCH_PREFIX` names a folder without FreeSWITCH, or `REQUIRE_FREESWITCH=1` and there is none.
pub fn installations() -> Vec<Installation> {
    let found: Vec<_> = match std::env::var("FREESWITCH_PREFIX") {
        Ok(prefixes) if !prefixes.is_empty() => prefixes
            .split(':')
            .filter(|prefix| !prefix.is_empty())
            .map(|prefix| {
                below(Path::new(prefix)).unwrap_or_else(|| {
                    panic!("FREESWITCH_PREFIX names {prefix}, where there is no bin/freeswitch with its modules")
                })
            })
            .collect(),
        _ => by_pkg_config().or_else(in_path).into_iter().collect(),
    };
    assert!(
        !(found.is_empty() && required()),
        "REQUIRE_FREESWITCH=1, but there is no FreeSWITCH: set FREESWITCH_PREFIX to where it is installed"
    );
    found
}

/// Whether a test that lacks what it needs is to fail rather than be skipped.
pub fn required() -> bool {
    std::env::var("REQUIRE_FREESWITCH").is_ok_and(|value| value == "1")
}

/// Says that a test is skipped and why, past the capture of test output; fails under `REQUIRE_FREESWITCH=1`.
pub fn skip(why: &str) {
    assert!(!required(), "REQUIRE_FREESWITCH=1, but {why}");
    say_skipped(why);
}

/// Says that a test is skipped and why, past the capture of test output.
pub fn say_skipped(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Straight to the descriptor: `eprintln!` of a passing test is swallowed.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}; '{test}' has tested nothing. ***");
}

/// Prints a figure of a test, past the capture of test output.
pub fn say(figure: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test}: {figure}");
}

fn below(prefix: &Path) -> Option<Installation> {
    let binary = prefix.join("bin/freeswitch");
    let modules = ["lib/freeswitch/mod", "lib64/freeswitch/mod", "mod"].map(|folder| prefix.join(folder));
    installation(binary, modules.into_iter().find(|folder| folder.join("mod_commands.so").exists())?)
}

fn by_pkg_config() -> Option<Installation> {
    let ask = |variable: &str| {
        let output =
            Command::new("pkg-config").arg(format!("--variable={variable}")).arg("freeswitch").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then(|| PathBuf::from(text))
    };
    let prefix = ask("prefix")?;
    match ask("modulesdir") {
        Some(modules) => installation(prefix.join("bin/freeswitch"), modules),
        None => below(&prefix),
    }
}

fn in_path() -> Option<Installation> {
    let path = std::env::var_os("PATH")?;
    let binary = std::env::split_paths(&path).map(|folder| folder.join("freeswitch")).find(|file| file.is_file())?;
    below(binary.canonicalize().ok()?.parent()?.parent()?)
}

fn installation(binary: PathBuf, modules: PathBuf) -> Option<Installation> {
    if !binary.is_file() || !modules.join("mod_commands.so").exists() {
        return None;
    }
    let output = Command::new(&binary).arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |word: &str| word.split(['-', '+', '~']).next().unwrap_or_default().to_owned();
    let version = text.split_whitespace().map(number).find(|word| word.split('.').count() == 3);
    Some(Installation { binary, modules, version: version.unwrap_or_else(|| "unknown".to_owned()) })
}
