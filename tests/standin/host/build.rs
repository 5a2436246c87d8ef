//! Compiles the C parts into cargo's directory for test files: once per content, however many test programs start at once.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::module::scratch_folder;

/// The stand-in `libfreeswitch.so`.
pub fn compile_host() -> PathBuf {
    compile("libfreeswitch", &files_of(&directory().join("c")))
}

/// A module of one C file of `tests/standin/host/selftest`, by its name without extension.
pub fn compile_module(name: &str) -> PathBuf {
    compile(name, &[directory().join("selftest").join(format!("{name}.c"))])
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/host")
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn compile(name: &str, files: &[PathBuf]) -> PathBuf {
    // Sanitizers, for example.
    let options = env::var("HOST_CFLAGS").unwrap_or_default();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut hasher = DefaultHasher::new();
    options.hash(&mut hasher);
    let headers = [files_of(&include.join("freeswitch_abi")), files_of(&directory().join("c"))].concat();
    for file in files.iter().chain(&headers) {
        fs::read(file).unwrap().hash(&mut hasher);
    }
    let folder = scratch_folder();
    fs::create_dir_all(&folder).unwrap();
    let output = folder.join(format!("{name}-{:016x}.so", hasher.finish()));
    if output.exists() {
        return output;
    }
    let unfinished = output.with_extension(format!("{}.tmp", std::process::id()));
    let sources = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "c"));
    let compiled = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-fPIC", "-shared", "-pthread"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .args(options.split_whitespace())
        .arg("-I")
        .arg(&include)
        .args(sources)
        .arg("-o")
        .arg(&unfinished)
        .arg("-ldl")
        .output()
        .expect("a C compiler is installed");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // The second to come replaces the file by an equal one.
    fs::rename(&unfinished, &output).unwrap();
    output
}
