//! Our declarations of FreeSWITCH's interface (`include/`) against the real ones: sizes, offsets and constants as the C
//! compiler sees them, the types of all functions, and that the library exports each of them.
//!
//! Needs an installed FreeSWITCH with headers: `FREESWITCH_PREFIX=/usr/local/fs-1.10:/usr/local/fs-1.11`, else what `pkg-config` finds. Without
//! one the tests say SKIPPED and pass, unless `REQUIRE_FREESWITCH=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Structures and the fields whose place matters; each is compared in size and alignment too.
const STRUCTS: &[(&str, &[&str])] = &[
    (
        "switch_frame_t",
        &[
            "codec",
            "source",
            "packet",
            "packetlen",
            "extra_data",
            "data",
            "datalen",
            "buflen",
            "samples",
            "rate",
            "channels",
            "payload",
            "timestamp",
            "seq",
            "ssrc",
            "m",
            "flags",
            "user_data",
            "pmap",
            "img",
            "geometry",
        ],
    ),
    (
        "switch_codec_implementation_t",
        &[
            "codec_type",
            "ianacode",
            "iananame",
            "fmtp",
            "samples_per_second",
            "actual_samples_per_second",
            "bits_per_second",
            "microseconds_per_packet",
            "samples_per_packet",
            "decoded_bytes_per_packet",
            "encoded_bytes_per_packet",
            "number_of_channels",
            "codec_frames_per_packet",
            "init",
            "codec_control",
            "destroy",
            "codec_id",
            "impl_id",
            "modname",
            "next",
        ],
    ),
    (
        "switch_codec_t",
        &[
            "codec_interface",
            "implementation",
            "fmtp_in",
            "fmtp_out",
            "flags",
            "memory_pool",
            "private_info",
            "agreed_pt",
            "mutex",
            "next",
            "session",
            "cur_frame",
        ],
    ),
    ("switch_loadable_module_function_table_t", &["switch_api_version", "load", "shutdown", "runtime", "flags"]),
    (
        "switch_loadable_module_interface_t",
        &[
            "module_name",
            "codec_interface",
            "application_interface",
            "api_interface",
            "database_interface",
            "rwlock",
            "refs",
            "pool",
        ],
    ),
    (
        "switch_stream_handle_t",
        &[
            "read_function",
            "write_function",
            "raw_write_function",
            "data",
            "end",
            "data_size",
            "data_len",
            "alloc_len",
            "alloc_chunk",
            "param_event",
        ],
    ),
    (
        "switch_api_interface_t",
        &["interface_name", "desc", "function", "syntax", "rwlock", "refs", "reflock", "parent", "next"],
    ),
    (
        "switch_application_interface_t",
        &[
            "interface_name",
            "application_function",
            "long_desc",
            "short_desc",
            "syntax",
            "flags",
            "rwlock",
            "refs",
            "reflock",
            "parent",
            "next",
        ],
    ),
    (
        "switch_endpoint_interface_t",
        &["interface_name", "io_routines", "state_handler", "rwlock", "refs", "reflock", "parent", "next"],
    ),
    ("switch_io_routines_t", &["outgoing_channel", "send_dtmf", "receive_message", "get_jb", "padding"]),
    (
        "switch_core_media_params_t",
        &[
            "dtmf_delay",
            "stun_ip",
            "jb_msec",
            "remote_port",
            "te",
            "recv_te",
            "dtmf_type",
            "cng_pt",
            "video_write_thread",
        ],
    ),
    ("switch_dtmf_t", &["digit", "duration", "flags", "source"]),
    ("struct switch_xml", &["name", "attr", "txt", "next", "sibling", "ordered", "child", "parent", "flags"]),
];

/// Types without fields of interest, and scalars: size, alignment and signedness.
const SCALARS: &[&str] = &[
    "switch_abc_type_t",
    "switch_bool_t",
    "switch_channel_cap_t",
    "switch_channel_flag_t",
    "switch_channel_state_t",
    "switch_core_media_dtmf_t",
    "switch_dtmf_direction_t",
    "switch_dtmf_source_t",
    "switch_event_types_t",
    "switch_frame_flag_t",
    "switch_io_flag_t",
    "switch_log_level_t",
    "switch_media_bug_flag_t",
    "switch_module_flag_t",
    "switch_module_interface_name_t",
    "switch_payload_t",
    "switch_size_t",
    "switch_stack_t",
    "switch_status_t",
    "switch_text_channel_t",
];

#[test]
fn structures_and_constants_match_the_installed_freeswitch() {
    let expected = report("ours", &ours(), "#include \"freeswitch_abi.h\"\n");
    assert!(expected.lines().count() > 150, "the program reports every field and constant:\n{expected}");
    for freeswitch in installed() {
        let real = report(&freeswitch.tag(), &freeswitch.include, "#include <switch.h>\n");
        let differences: Vec<_> =
            expected.lines().zip(real.lines()).filter(|(our_line, real_line)| our_line != real_line).collect();
        assert!(
            differences.is_empty() && expected.lines().count() == real.lines().count(),
            "include/ differs from {} in (ours, theirs): {differences:#?}",
            freeswitch.include.display()
        );
    }
}

#[test]
fn functions_have_the_types_of_the_installed_freeswitch() {
    let functions = declared_functions();
    for freeswitch in installed() {
        let mut program = "#include <switch.h>\n".to_owned();
        for function in &functions {
            let Function { name, result, arguments } = function;
            writeln!(
                program,
                "_Static_assert(__builtin_types_compatible_p(__typeof__({name}), {result}({arguments})), \"{name}\");"
            )
            .unwrap();
        }
        let tag = format!("functions-{}", freeswitch.tag());
        compile(&tag, &freeswitch.include, &program, &["-fsyntax-only"]);
    }
}

#[test]
fn functions_are_exported_by_the_installed_freeswitch() {
    let functions = declared_functions();
    for freeswitch in installed() {
        let Some(library) = freeswitch.library() else {
            eprintln!("SKIPPED: no libfreeswitch.so beside {}", freeswitch.include.display());
            continue;
        };
        let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().expect("nm runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let exported: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
        let missing: Vec<_> =
            functions.iter().map(|function| function.name.as_str()).filter(|name| !exported.contains(name)).collect();
        assert!(missing.is_empty(), "{} does not export {missing:?}", library.display());
    }
}

#[test]
fn bindings_ask_for_the_declared_functions_and_no_others() {
    let build_script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs")).unwrap();
    let list = build_script.split_once("const FUNCTIONS").unwrap().1.split_once("];").unwrap().0;
    let mut wanted: Vec<_> = list.split('"').filter(|word| word.starts_with("switch_")).collect();
    let functions = declared_functions();
    let mut declared: Vec<_> = functions.iter().map(|function| function.name.as_str()).collect();
    wanted.sort_unstable();
    declared.sort_unstable();
    assert_eq!(declared, wanted);
}

/// An installed FreeSWITCH with headers.
struct Installed {
    include: PathBuf,
}

impl Installed {
    fn tag(&self) -> String {
        self.include.display().to_string().replace(['/', '.'], "_")
    }

    fn library(&self) -> Option<PathBuf> {
        let prefixes = self.include.ancestors().skip(1).take(2);
        let mut candidates = prefixes.flat_map(|prefix| {
            ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"]
                .map(|directory| prefix.join(directory).join("libfreeswitch.so"))
        });
        candidates.find(|path| path.exists())
    }
}

/// Every FreeSWITCH to compare with; says so when there is none.
fn installed() -> Vec<Installed> {
    let mut found = Vec::new();
    if let Some(prefixes) = env::var_os("FREESWITCH_PREFIX").filter(|value| !value.is_empty()) {
        for prefix in env::split_paths(&prefixes) {
            let include = ["include/freeswitch", "include"].map(|directory| prefix.join(directory));
            let include = include.into_iter().find(|directory| directory.join("switch.h").is_file());
            let include =
                include.unwrap_or_else(|| panic!("no switch.h below {} (FREESWITCH_PREFIX)", prefix.display()));
            found.push(Installed { include });
        }
    } else if let Ok(output) = Command::new("pkg-config").args(["--variable=includedir", "freeswitch"]).output() {
        let include = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if include.join("switch.h").is_file() {
            found.push(Installed { include });
        }
    }
    if found.is_empty() {
        assert!(env::var_os("REQUIRE_FREESWITCH").is_none_or(|value| value != "1"), "no FreeSWITCH headers found");
        eprintln!("SKIPPED: no FreeSWITCH headers (set FREESWITCH_PREFIX, or install libfreeswitch-dev)");
    }
    found
}

/// A function as declared in `include/`.
struct Function {
    name: String,
    result: String,
    arguments: String,
}

fn declared_functions() -> Vec<Function> {
    let mut functions = Vec::new();
    for (_, text) in our_headers() {
        for statement in top_level_statements(&text) {
            let statement = statement.split("__attribute__").next().unwrap().trim();
            let Some((head, arguments)) = statement.split_once('(') else { continue };
            if head.starts_with("typedef") || head.starts_with("_Static_assert") {
                continue;
            }
            let name_at = head.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |index| index + 1);
            let (result, name) = head.split_at(name_at);
            assert!(name.starts_with("switch_"), "not a function declaration: {statement}");
            functions.push(Function {
                name: name.to_owned(),
                result: result.trim().to_owned(),
                arguments: arguments.trim_end_matches(')').to_owned(),
            });
        }
    }
    functions
}

/// Names of all enumerators and numeric macros in `include/`.
fn declared_constants() -> Vec<String> {
    let mut constants = Vec::new();
    for (path, text) in our_headers() {
        for line in fs::read_to_string(path).unwrap().lines() {
            let mut words = line.split_whitespace();
            if let (Some("#define"), Some(name), Some(_value)) = (words.next(), words.next(), words.next()) {
                constants.push(name.to_owned());
            }
        }
        for statement in top_level_statements(&text) {
            let Some(body) = statement.trim().strip_prefix("typedef enum") else { continue };
            let body = body.trim().strip_prefix('{').unwrap().split('}').next().unwrap();
            constants.extend(body.split(',').map(|entry| entry.split('=').next().unwrap().trim().to_owned()));
        }
    }
    constants
}

fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// Path and text, without comments and preprocessor lines, of our headers.
fn our_headers() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<_> =
        fs::read_dir(ours().join("freeswitch_abi")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let strip = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let mut pieces = text.split("/*");
        let mut code = pieces.next().unwrap().to_owned();
        for piece in pieces {
            code.push_str(piece.split_once("*/").expect("comments are closed").1);
        }
        let lines: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        (path, lines.join("\n"))
    };
    paths.into_iter().map(strip).collect()
}

/// Splits at the semicolons outside braces.
fn top_level_statements(code: &str) -> Vec<&str> {
    let (mut depth, mut start, mut statements) = (0, 0, Vec::new());
    for (index, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                statements.push(&code[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    statements
}

/// Runs a program that prints one line for each size, offset and constant.
fn report(tag: &str, include: &Path, include_line: &str) -> String {
    let mut program = format!("#include <stdio.h>\n#include <stddef.h>\n{include_line}int main(void) {{\n");
    for (name, fields) in STRUCTS {
        writeln!(program, "printf(\"{name} %zu %zu\\n\", sizeof({name}), _Alignof({name}));").unwrap();
        for field in *fields {
            writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )
            .unwrap();
        }
    }
    for name in SCALARS {
        writeln!(program, "printf(\"{name} %zu %d\\n\", sizeof({name}), ({name})-1 < ({name})0);").unwrap();
    }
    for name in declared_constants() {
        writeln!(program, "printf(\"{name} %lld\\n\", (long long)({name}));").unwrap();
    }
    program.push_str("return 0; }\n");
    let executable = compile(tag, include, &program, &[]);
    let output = Command::new(executable).output().expect("the compiled program runs");
    assert!(output.status.success(), "the layout program of {tag} fails");
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles a C program in the test's own directory; the path of the executable.
fn compile(tag: &str, include: &Path, program: &str, options: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi_layout");
    fs::create_dir_all(&directory).unwrap();
    let source = directory.join(format!("{tag}.c"));
    let executable = directory.join(tag);
    fs::write(&source, program).unwrap();
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=gnu11", "-Wno-type-limits"]).args(options);
    let output = command
        .arg("-I")
        .arg(include)
        .arg(&source)
        .arg("-o")
        .arg(&executable)
        .output()
        .expect("a C compiler is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    executable
}
