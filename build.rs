//! Makes the Rust declarations of FreeSWITCH's C interface, sets the linker flag the module needs, and collects what
//! `uuid_audio_stream version` tells about the build.
//!
//! The declarations come from FreeSWITCH's own headers where they are installed (`FREESWITCH_INCLUDE_DIR`, else what
//! `pkg-config` says of `freeswitch`), which sets `cfg(freeswitch_headers)`, and from `include/` otherwise. Both give the
//! same Rust types.

// A build script has no caller to return an error to: cargo prints the message of its panic.
#![allow(clippy::panic)]

use std::env;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Functions looked up in the running FreeSWITCH when the module is loaded. Each must be exported by it.
const FUNCTIONS: &[&str] = &[
    "switch_channel_check_signal",
    "switch_channel_event_set_data",
    "switch_channel_get_name",
    "switch_channel_get_private",
    "switch_channel_get_session",
    "switch_channel_get_state",
    "switch_channel_get_uuid",
    "switch_channel_get_variable_dup",
    "switch_channel_perform_answer",
    "switch_channel_perform_hangup",
    "switch_channel_perform_pre_answer",
    "switch_channel_set_private",
    "switch_channel_set_variable_var_check",
    "switch_channel_test_cap",
    "switch_channel_test_flag",
    "switch_channel_test_ready",
    "switch_console_set_complete",
    "switch_core_codec_destroy",
    "switch_core_codec_init_with_bitrate",
    "switch_core_event_hook_add_read_frame",
    "switch_core_event_hook_add_recv_dtmf",
    "switch_core_get_variable_dup",
    "switch_core_media_bug_add",
    "switch_core_media_bug_flush",
    "switch_core_media_bug_get_session",
    "switch_core_media_bug_get_user_data",
    "switch_core_media_bug_get_write_replace_frame",
    "switch_core_media_bug_inuse",
    "switch_core_media_bug_read",
    "switch_core_media_bug_remove",
    "switch_core_media_bug_set_write_replace_frame",
    "switch_core_media_check_dtmf_type",
    "switch_core_media_get_mparams",
    "switch_core_perform_session_alloc",
    "switch_core_session_ctl",
    "switch_core_session_execute_application_async",
    "switch_core_session_execute_application_get_flags",
    "switch_core_session_get_channel",
    "switch_core_session_get_media_handle",
    "switch_core_session_get_pool",
    "switch_core_session_get_read_codec",
    "switch_core_session_get_read_impl",
    "switch_core_session_get_real_read_impl",
    "switch_core_session_get_uuid",
    "switch_core_session_get_write_codec",
    "switch_core_session_get_write_impl",
    "switch_core_session_perform_locate",
    "switch_core_session_read_frame",
    "switch_core_session_read_lock",
    "switch_core_session_rwunlock",
    "switch_core_session_send_dtmf_string",
    "switch_core_session_write_frame",
    "switch_event_add_body",
    "switch_event_add_header_string",
    "switch_event_bind_removable",
    "switch_event_create_subclass_detailed",
    "switch_event_del_header_val",
    "switch_event_destroy",
    "switch_event_dup",
    "switch_event_fire_detailed",
    "switch_event_free_subclass_detailed",
    "switch_event_get_header_idx",
    "switch_event_merge",
    "switch_event_reserve_subclass_detailed",
    "switch_event_set_body",
    "switch_event_unbind",
    "switch_ivr_parse_all_events",
    "switch_ivr_session_transfer",
    "switch_loadable_module_create_interface",
    "switch_loadable_module_create_module_interface",
    "switch_loadable_module_get_endpoint_interface",
    "switch_log_printf",
    "switch_mutex_lock",
    "switch_mutex_unlock",
    "switch_thread_rwlock_rdlock",
    "switch_thread_rwlock_tryrdlock",
    "switch_thread_rwlock_trywrlock",
    "switch_thread_rwlock_unlock",
    "switch_version_full",
    "switch_xml_attr",
    "switch_xml_attr_soft",
    "switch_xml_child",
    "switch_xml_error",
    "switch_xml_free",
    "switch_xml_open_cfg",
    "switch_xml_parse_file",
];

/// Types that no function above brings in by itself, besides those.
const TYPES: &[&str] = &[
    "switch_abc_type_t",
    "switch_api_function_t",
    "switch_api_interface_t",
    "switch_application_function_t",
    "switch_application_interface_t",
    "switch_codec_implementation_t",
    "switch_codec_t",
    "switch_frame_t",
    "switch_loadable_module_function_table_t",
    "switch_loadable_module_interface_t",
    "switch_media_bug_callback_t",
    "switch_module_load_t",
    "switch_module_runtime_t",
    "switch_module_shutdown_t",
    "switch_payload_t",
    "switch_stream_handle_t",
];

/// Enumerations whose values are bits of an integer: plain constants of the name they have in C.
const FLAGS: &[&str] = &[
    "switch_application_flag_enum_t",
    "switch_codec_flag_enum_t",
    "switch_frame_flag_enum_t",
    "switch_io_flag_enum_t",
    "switch_media_bug_flag_enum_t",
    "switch_module_flag_enum_t",
];

/// Macros that expand to a number.
const CONSTANTS: &[&str] = &["SWITCH_API_VERSION", "SWITCH_RECOMMENDED_BUFFER_SIZE"];

/// Structures of FreeSWITCH that are only pointed at, however much of them the headers show.
const OPAQUE: &[&str] = &[
    "fspr_.*",
    "payload_map_s",
    "switch_(timer|dialplan|codec|chat_application|json_api|file|speech|directory|chat|say|asr|management|limit|database)_interface",
    "switch_codec_settings",
    "switch_event",
    "switch_event_node",
    "switch_image",
    "vpx_image",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // FreeSWITCH closes the module's file on unload while threads that have run Rust code live on; their exit would then
    // call destructors of the standard library that are no longer mapped.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

    let source = HeaderSource::find();
    generate_bindings(&source);
    describe_build(&source);
}

/// Where the C declarations are read from.
enum HeaderSource {
    /// `include/` of this project.
    Ours(PathBuf),
    /// The directory of an installed FreeSWITCH's `switch.h`.
    Installed(PathBuf),
}

impl HeaderSource {
    fn find() -> Self {
        println!("cargo::rerun-if-env-changed=FREESWITCH_INCLUDE_DIR");
        println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
        println!("cargo::rerun-if-changed=include");
        if let Some(dir) = env::var_os("FREESWITCH_INCLUDE_DIR").filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            assert!(
                dir.join("switch.h").is_file(),
                "FREESWITCH_INCLUDE_DIR is {}, where there is no switch.h: name the directory that holds it, or unset the variable",
                dir.display()
            );
            return Self::Installed(dir);
        }
        match output("pkg-config", &["--variable=includedir", "freeswitch"]).map(PathBuf::from) {
            Some(dir) if dir.join("switch.h").is_file() => Self::Installed(dir),
            _ => Self::Ours(manifest_dir().join("include")),
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Ours(dir) | Self::Installed(dir) => dir,
        }
    }

    fn header(&self) -> &'static str {
        match self {
            Self::Ours(_) => "freeswitch_abi.h",
            Self::Installed(_) => "switch.h",
        }
    }
}

fn generate_bindings(source: &HeaderSource) {
    let builder = bindgen::Builder::default()
        .header_contents("wrapper.h", &format!("#include <{}>\n", source.header()))
        .clang_arg(format!("-I{}", source.dir().display()))
        .clang_arg("-std=gnu11")
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::Prettyplease)
        // One struct with a field for each function, filled at load: test programs then link without FreeSWITCH, and a
        // function that the running FreeSWITCH lacks is named.
        .dynamic_library_name("Host")
        .dynamic_link_require_all(true)
        // A Rust enum must never hold a value it does not list; C makes no such promise.
        .default_enum_style(bindgen::EnumVariation::NewType { is_bitfield: false, is_global: false })
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        // Compared with the real headers by tests/abi_layout.rs.
        .layout_tests(false);
    let builder = FUNCTIONS.iter().fold(builder, |builder, name| builder.allowlist_function(name));
    let builder = TYPES.iter().chain(FLAGS).fold(builder, |builder, name| builder.allowlist_type(name));
    let builder = FLAGS.iter().fold(builder, |builder, name| builder.constified_enum(name));
    let builder = CONSTANTS.iter().fold(builder, |builder, name| builder.allowlist_var(name));
    let builder = OPAQUE.iter().fold(builder, |builder, name| builder.opaque_type(name));
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");

    if matches!(source, HeaderSource::Installed(_)) {
        println!("cargo::rustc-cfg=freeswitch_headers");
    }
    // bindgen loads libclang when it first needs it, and panics where there is none.
    let bindings = match panic::catch_unwind(panic::AssertUnwindSafe(|| builder.generate())) {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => panic!("the declarations in {} could not be read: {error}", source.dir().display()),
        Err(_) => panic!(
            "bindgen could not use libclang (its own message is above). Install it, on Debian and Ubuntu with \
             `apt-get install libclang-dev` (libclang-14-dev or newer), or set LIBCLANG_PATH to the directory of libclang.so"
        ),
    };
    let path = PathBuf::from(required_env("OUT_DIR")).join("freeswitch.rs");
    bindings.write_to_file(&path).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Sets the `MOD_AUDIO_STREAM_*` variables that the crate reads with `env!`; a value that cannot be found out is `unknown`.
fn describe_build(source: &HeaderSource) {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    for file in ["HEAD", "index", "packed-refs"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    if let Some(branch) = git(&["symbolic-ref", "-q", "HEAD"])
        && let Some(path) = git(&["rev-parse", "--git-path", &branch]).filter(|path| Path::new(path).exists())
    {
        println!("cargo::rerun-if-changed={path}");
    }

    let date = match env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.trim().parse::<i64>().ok()) {
        Some(seconds) => Some(utc_date(seconds)),
        None => git(&["log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d"]),
    };
    let rustc = output(&required_env("RUSTC"), &["--version"]);
    let interface = match source {
        HeaderSource::Ours(_) => format!("{} (module's own declarations)", api_version(source)),
        HeaderSource::Installed(_) => format!("{} (installed headers)", api_version(source)),
    };
    for (name, value) in [
        ("COMMIT", git(&["describe", "--always", "--dirty", "--tags"])),
        ("DATE", date),
        ("PROFILE", env::var("PROFILE").ok()),
        ("RUSTC", rustc),
        ("ABI", Some(interface)),
    ] {
        println!("cargo::rustc-env=MOD_AUDIO_STREAM_{name}={}", value.as_deref().unwrap_or("unknown"));
    }
}

/// The version of the module interface in the headers, as `api 5`.
fn api_version(source: &HeaderSource) -> String {
    let file = match source {
        HeaderSource::Ours(dir) => dir.join("freeswitch_abi/module.h"),
        HeaderSource::Installed(dir) => dir.join("switch_types.h"),
    };
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    let version = text.lines().find_map(|line| line.trim().strip_prefix("#define SWITCH_API_VERSION")).map(str::trim);
    format!("api {}", version.unwrap_or("unknown"))
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(required_env("CARGO_MANIFEST_DIR"))
}

fn required_env(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

/// Output of git in the project's directory; `None` outside a checkout or without git.
fn git(arguments: &[&str]) -> Option<String> {
    let directory = manifest_dir();
    // A package unpacked inside some other project's checkout is not a checkout of this one.
    if !directory.join(".git").exists() {
        return None;
    }
    let directory = directory.to_str()?;
    output("git", &[&["-C", directory], arguments].concat())
}

/// First line of a program's output; `None` when it cannot be run, fails or says nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let result = Command::new(program).args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(result.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (result.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// `YYYY-MM-DD` of seconds since the epoch, by counting in 400-year cycles that begin on 1 March.
fn utc_date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
