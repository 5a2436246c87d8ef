//! The shape of the crate: who may use whom, where unsafe code is, what the built module exports and needs.
//!
//! The first half reads the source as text (comments, strings and tests taken out), the second the built `.so` through
//! binutils, which come with the linker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/declared.rs"]
#[allow(dead_code, unreachable_pub)]
mod declared;
#[path = "support/imports.rs"]
#[allow(dead_code, unreachable_pub)]
mod imports;
#[path = "support/module.rs"]
#[allow(dead_code, unreachable_pub)]
mod module;
#[path = "support/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use source::{Source, root, sources};

/// The layers, lowest first. A module may use the modules of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["units"],
    &["options"],
    &["dsp"],
    &["protocol", "media"],
    &["peer"],
    &["telemetry", "blocking"],
    &["transport", "inject"],
    &["tts"],
    &["conversation"],
    &["event"],
    &["call"],
    &["record", "stream"],
    &["control"],
    &["runtime"],
    &["ffi"],
];

/// Modules that may use less than their layer would allow: state machines that need nothing but the units.
const NARROW: &[(&str, &[&str])] = &[
    ("protocol", &["units"]),
    ("peer", &["protocol", "units"]),
    ("conversation", &["dsp", "options", "peer", "protocol", "tts", "units"]),
];

/// The parts of `conversation` that are state machines without socket, clock or task.
const ENGINES_AND_AGENT: &[&str] =
    &["conversation/agent/", "conversation/openai/", "conversation/driver", "conversation/engine"];

/// What may not be named in a module: `(modules, path, why)`.
const FOREIGN: &[(&[&str], &[&str], &str)] = &[
    (
        &["units", "dsp", "media", "protocol", "peer", "conversation", "event"],
        &["tokio", "tokio_tungstenite", "rustls", "std::net", "std::fs", "std::process", "libc"],
        "no socket, file, task or system call below transport",
    ),
    (
        &["units", "dsp", "media", "protocol", "peer", "conversation", "event"],
        &["tracing"],
        "what happened is returned, not logged",
    ),
    (
        &["units", "dsp", "media", "protocol", "peer", "conversation", "event"],
        &["parking_lot", "std::thread"],
        "no lock and no thread",
    ),
    (
        &["control", "record", "stream", "call", "inject", "runtime", "telemetry"],
        &["std::net", "tokio::net"],
        "the sockets are transport's",
    ),
    (
        &["tts"],
        &["std::net", "tokio::net::TcpStream", "tokio::net::TcpSocket", "hyper", "rustls"],
        "the sockets are transport's; a program's pipes are its own",
    ),
    (&["tts"], &["std::process", "libc"], "the processes are ffi's"),
    (
        &["control", "record", "stream", "call", "inject", "transport", "tts", "telemetry"],
        &["std::thread::spawn", "std::thread::Builder"],
        "the threads are runtime's",
    ),
];

/// Public items that only their own file names, and why they are public anyway: `(file, name, why)`.
const UNUSED: &[(&str, &str, &str)] =
    &[("ffi/module.rs", "mod_audio_stream_module_interface", "FreeSWITCH looks it up in the built file")];

/// Circles of files that still exist; the list must be exact.
const CIRCLES: &[&[&str]] = &[];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("src/{module} has no place in LAYERS of tests/architecture.rs"))
}

fn may_use(user: &str, used: &str) -> bool {
    match NARROW.iter().find(|(module, _)| *module == user) {
        _ if user == used => true,
        Some((_, allowed)) => allowed.contains(&used),
        None => layer(used) < layer(user),
    }
}

/// The top-level modules of the crate that there are.
fn modules() -> BTreeSet<String> {
    sources().iter().filter_map(|source| source.module().map(str::to_owned)).collect()
}

/// Every crate-internal use: user, used, and where.
fn uses() -> Vec<(String, String, String)> {
    let modules = modules();
    let mut found = Vec::new();
    for source in sources() {
        let Some(user) = source.module() else { continue };
        for (used, line) in source.crate_paths() {
            if modules.contains(&used) {
                found.push((user.to_owned(), used, format!("src/{}:{line}", source.path)));
            }
        }
    }
    found
}

#[test]
fn modules_use_only_those_below_them() {
    let uses = uses();
    let wrong: Vec<_> = uses
        .iter()
        .filter(|(user, used, _)| !may_use(user, used))
        .map(|(user, used, place)| format!("{place}: {user} uses {used}"))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    // The reader sees what is there: a stream cannot be without these.
    for (user, used) in [
        ("ffi", "runtime"),
        ("runtime", "control"),
        ("control", "stream"),
        ("stream", "transport"),
        ("record", "media"),
        ("record", "call"),
    ] {
        assert!(uses.iter().any(|(u, d, _)| u == user && d == used), "{user} → {used} is not seen");
    }
}

#[test]
fn files_use_each_other_in_no_circle() {
    let circles = imports::circles(&imports::uses(&sources()));
    assert_eq!(circles, CIRCLES, "files that use each other are one thing, or lack a third that both can use");
}

#[test]
fn circles_are_found_through_groups_and_names_passed_on() {
    let sources = [
        Source::new("a/mod.rs", "mod b; mod c; mod d; mod e; pub use b::{B, F as G};"),
        Source::new("a/b.rs", "use super::{c::C as X, d}; pub struct B; fn f() { d::go(); }"),
        Source::new("a/c.rs", "use crate::a::B; pub struct C;"),
        Source::new("a/d.rs", "pub fn go() {} fn f() -> super::E { todo() } // use super::b;"),
        Source::new("a/e.rs", "use super::super::a::{self, d::go}; fn f() { a::G }"),
    ];
    let uses = imports::uses(&sources);
    let of = |file: &str| uses[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a/b.rs"), ["a/c.rs", "a/d.rs"]);
    assert_eq!(of("a/c.rs"), ["a/b.rs"]);
    assert_eq!(of("a/d.rs"), ["a/mod.rs"], "which declares no E, but nobody else does");
    assert_eq!(of("a/e.rs"), ["a/b.rs", "a/d.rs"]);
    assert_eq!(of("a/mod.rs"), Vec::<&str>::new(), "a module may pass on what its files declare");
    assert_eq!(imports::circles(&uses), [["a/b.rs", "a/c.rs"]]);
}

#[test]
fn what_is_public_is_used_elsewhere() {
    let read = |path| source::without_text(&std::fs::read_to_string(path).unwrap());
    let others: Vec<_> =
        ["tests", "benches"].iter().flat_map(|folder| source::files(folder, ".rs")).map(read).collect();
    let unused = declared::unused(&sources(), &others);
    let kept =
        |item: &declared::Declared| UNUSED.iter().any(|(file, name, _)| (item.file == *file) && (item.name == *name));
    let found: Vec<_> = unused
        .iter()
        .filter(|item| !kept(item))
        .map(|item| format!("src/{}:{}: {}", item.file, item.line, item.name))
        .collect();
    assert_eq!(found, Vec::<String>::new(), "make it private, and the compiler says whether it is used at all");
    for (file, name, why) in UNUSED {
        let is_found = unused.iter().any(|item| item.file == *file && item.name == *name);
        assert!(is_found && !why.is_empty(), "{file}: {name} is used by now");
    }
}

#[test]
fn unused_public_items_are_found_by_their_names() {
    let sources = [
        Source::new(
            "a.rs",
            "pub use b::Passed;\npub struct Part;\npub struct Whole(pub Part);\npub struct Alone;\nimpl Alone {}\n\
             pub const fn used() {}\npub const LIMIT: u32 = 1;\npub enum Word {\n    Made,\n    Matched(u32),\n    Never,\n}\n\
             fn f() { LIMIT; Word::Made; match w { Word::Matched(_) => {} Word::Made => {} } }\n\
             #[cfg(test)]\nmod tests { fn g() { Alone; } }",
        ),
        Source::new("b.rs", "pub struct Passed;\nfn f(w: Whole) { a::used(); } // LIMIT Never \n"),
    ];
    let found: Vec<_> = declared::unused(&sources, &[]).into_iter().map(|item| item.name).collect();
    assert_eq!(found, ["Alone", "LIMIT", "Word::Matched", "Word::Never", "Passed"]);
    let others = ["fn t() { Alone; LIMIT; Passed; use a::Word as W; W::Never; W::Matched(1) }".to_owned()];
    assert!(declared::unused(&sources, &others).is_empty());
}

#[test]
fn engines_and_the_agent_use_peers_protocols_and_units_alone() {
    let wrong: Vec<_> = uses()
        .into_iter()
        .filter(|(_, used, place)| {
            let own = ENGINES_AND_AGENT.iter().any(|part| place.starts_with(&format!("src/{part}")));
            own && !["conversation", "peer", "protocol", "units"].contains(&used.as_str())
        })
        .collect();
    assert_eq!(wrong, []);
}

#[test]
fn nothing_uses_ffi() {
    let users: Vec<_> = uses().into_iter().filter(|(user, used, _)| used == "ffi" && user != "ffi").collect();
    assert_eq!(users, []);
}

#[test]
fn layers_name_what_they_may_and_no_more() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        for (modules, paths, why) in FOREIGN {
            for path in paths.iter().filter(|_| modules.contains(&module)) {
                for line in source.lines_naming(path) {
                    wrong.push(format!("src/{}:{line}: {path}: {why}", source.path));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn unsafe_code_is_in_ffi_alone() {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        let lines = source.lines_naming("unsafe").len() + source.lines_naming("allow(unsafe_code)").len();
        if lines > 0 {
            *places.entry(source.module().unwrap_or("lib").to_owned()).or_default() += lines;
        }
    }
    assert_eq!(places.keys().collect::<Vec<_>>(), ["ffi"]);
    assert!(places["ffi"] > 20, "the reader of the sources is blind");
}

/// Otherwise what hangs in one kind of work would take the threads of another.
#[test]
fn work_that_blocks_has_a_place_of_its_kind() {
    let mut places = Vec::new();
    for source in sources() {
        for name in ["spawn_blocking", "block_in_place"] {
            let lines = source.lines_naming(name);
            if !lines.is_empty() {
                places.push(format!("src/{}", source.path));
            }
        }
    }
    assert_eq!(places, ["src/blocking.rs"]);
}

/// What the media threads run: there clippy denies what waits or allocates.
const ON_MEDIA_THREADS: &[&str] =
    &["media/mod.rs", "ffi/fillers.rs", "ffi/frames.rs", "ffi/media_bug.rs", "ffi/recorder.rs", "ffi/stream.rs"];

#[test]
fn recorder_004_the_ban_on_waiting_covers_every_callback() {
    let ban = "deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)";
    let sources = sources();
    let of = |path: &str| sources.iter().find(|source| source.path == path).unwrap_or_else(|| panic!("src/{path}"));
    for path in ON_MEDIA_THREADS {
        assert!(of(path).text.contains(ban), "src/{path} may wait or allocate");
    }
    // A half of a media bug is a callback, and so is a hook on reading.
    let callbacks = |source: &&Source| {
        !source.lines_naming("impl Half for").is_empty() || source.text.contains("hook_add_read_frame(")
    };
    let missed: Vec<_> = sources
        .iter()
        .filter(callbacks)
        .map(|source| source.path.as_str())
        .filter(|path| !path.contains("bindings") && !ON_MEDIA_THREADS.contains(path))
        .collect();
    assert_eq!(missed, [] as [&str; 0]);
}

/// The reviewed mixer changed the environment while other threads read it.
#[test]
fn mixer_010_nothing_changes_the_environment() {
    const CHANGES: &[&str] = &["set_var", "remove_var", "setenv", "putenv", "unsetenv", "clearenv"];
    let mut places = Vec::new();
    for source in sources() {
        let words = source.code().split(|c: char| !c.is_alphanumeric() && c != '_');
        places.extend(words.filter(|word| CHANGES.contains(word)).map(|word| format!("src/{}: {word}", source.path)));
    }
    assert_eq!(places, Vec::<String>::new());
    // Nor does anything that is linked into the module.
    let undefined = binutils("nm", &["-D", "--undefined-only"]);
    let names = undefined.lines().filter_map(|line| line.split_whitespace().last());
    let names: Vec<_> = names.map(|name| name.split('@').next().unwrap_or(name)).collect();
    assert!(names.contains(&"getenv"), "the reader of the module is blind: {names:?}");
    assert_eq!(names.iter().filter(|name| CHANGES.contains(name)).count(), 0, "{names:?}");
}

#[test]
fn every_file_says_what_it_is() {
    // The crate's own description is a page of the documentation.
    let opens =
        |text: &str| text.starts_with("//!") || text.starts_with("#![doc = include_str!(\"../docs/architecture.md\")]");
    let silent: Vec<_> = sources().iter().filter(|source| !opens(&source.text)).map(|s| s.path.clone()).collect();
    // Test modules are introduced by the module they test.
    let silent: Vec<_> = silent.into_iter().filter(|path| !path.ends_with("tests.rs")).collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn names_of_tests_have_at_most_60_characters() {
    let code = ["src", "tests", "benches"].iter().flat_map(|folder| source::files(folder, ".rs"));
    let mut long = Vec::new();
    let mut names = 0;
    for path in code {
        // Every name counts, because macros make tests of the names in a list.
        let code = source::without_text(&std::fs::read_to_string(&path).unwrap());
        for name in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
            names += 1;
            if name.len() > 60 {
                long.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new(), "say the behaviour in fewer words");
    assert!(names > 10_000, "the reader of the sources is blind");
}

#[test]
fn the_reader_of_the_sources_sees_every_form_of_a_use() {
    let text = r##"
        use crate::{media::{self, link}, units::Mix};
        use crate::stream as s; // crate::ffi
        fn f() { crate::inject::go("crate::control::x", r#"crate::ffi"#, 'c', '"'); /* crate::ffi */ }
        pub(crate) fn g<'a>(x: &'a str) -> super::super::telemetry::X { todo() }
        #[cfg(test)]
        mod tests { use crate::ffi; }
        fn h() { let _ = crate :: runtime::x; }
    "##;
    let source = Source::new("dsp/deep.rs", text);
    let found: Vec<_> = source.crate_paths().into_iter().map(|(used, _)| used).collect();
    assert_eq!(found, ["media", "units", "stream", "inject", "telemetry", "runtime"]);
    assert_eq!(Source::new("dsp.rs", "//! a\nuse std::{fs::File, net};\n").lines_naming("std::net"), [2]);
    assert_eq!(Source::new("dsp.rs", "use std::fs;\n").lines_naming("std::net"), []);
    assert_eq!(Source::new("dsp.rs", "use tokio_tungstenite::X;").lines_naming("tokio"), []);
}

/// What a tool of binutils says about the built module.
fn binutils(tool: &str, arguments: &[&str]) -> String {
    let built = module::built_module();
    let output =
        Command::new(tool).args(arguments).arg(&built).env("LC_ALL", "C").output().unwrap_or_else(|error| {
            panic!("{tool} is not here ({error}): install binutils, which the linker needs too")
        });
    assert!(output.status.success(), "{tool} {}: {}", built.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_module_exports_its_interface_and_nothing_else() {
    let exported = binutils("nm", &["-D", "--defined-only"]);
    let names: Vec<_> = exported.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["mod_audio_stream_module_interface"]);
}

#[test]
fn the_module_stays_mapped_after_an_unload() {
    let dynamic = binutils("readelf", &["-d", "-W"]);
    assert!(
        dynamic.contains("NODELETE"),
        "without -z nodelete threads that ran module code crash when they end:\n{dynamic}"
    );
}

#[test]
fn functions_of_freeswitch_are_looked_up_and_not_linked() {
    let undefined = binutils("nm", &["-D", "--undefined-only"]);
    assert!(undefined.lines().count() > 20, "nm shows no undefined symbols at all:\n{undefined}");
    let linked: Vec<_> = undefined.lines().filter(|line| line.contains("switch_")).collect();
    assert_eq!(linked, Vec::<&str>::new());
}

#[test]
fn the_module_needs_no_library_that_a_bare_system_lacks() {
    let dynamic = binutils("readelf", &["-d", "-W"]);
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let names: Vec<_> =
        needed.filter_map(|line| line.split_once('[')?.1.split_once(']')).map(|(name, _)| name).collect();
    let of_the_system = |name: &&str| {
        ["libc.so", "libm.so", "libgcc_s.so", "libdl.so", "libpthread.so", "librt.so", "ld-linux"]
            .iter()
            .any(|own| name.starts_with(own))
    };
    assert!(!names.is_empty());
    assert_eq!(names.into_iter().filter(|name| !of_the_system(name)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_dependency_has_its_reason_beside_it() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lines: Vec<_> = manifest.lines().collect();
    let mut section = "";
    let mut seen = 0;
    for (number, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && !line.starts_with('#') && line.contains('=') {
            seen += 1;
            let reason = number.checked_sub(1).map_or("", |before| lines[before]);
            assert!(reason.starts_with("# "), "Cargo.toml:{}: no reason above `{line}`", number + 1);
        }
    }
    assert!(seen > 20, "the reader of Cargo.toml is blind");
}
