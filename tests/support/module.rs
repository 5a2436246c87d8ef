//! Finds the module that cargo built beside the running test.

use std::path::PathBuf;

/// The built module: `MOD_AUDIO_STREAM_SO` when set, else the newest `libmod_audio_stream.so` beside the running program,
/// in its parent directory, or in that one's `deps`, where cargo leaves what it builds for an example.
///
/// # Panics
/// When there is none: the library target has not been built.
pub fn built_module() -> PathBuf {
    if let Some(path) = std::env::var_os("MOD_AUDIO_STREAM_SO") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "MOD_AUDIO_STREAM_SO names {}, which is not there", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("the running test has a path");
    test.ancestors()
        .skip(1)
        .take(2)
        .flat_map(|folder| [folder.to_owned(), folder.join("deps")])
        .map(|folder| folder.join("libmod_audio_stream.so"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .unwrap_or_else(|| panic!("no libmod_audio_stream.so near {}; build it with `cargo build`", test.display()))
}

/// Cargo's folder for files of tests. Cargo passes it to tests and benches; an example is two folders below its parent.
pub fn scratch_folder() -> PathBuf {
    match option_env!("CARGO_TARGET_TMPDIR") {
        Some(folder) => folder.into(),
        None => {
            let program = std::env::current_exe().expect("the running program has a path");
            program.ancestors().nth(3).expect("examples lie in <target>/<profile>/examples").join("tmp")
        }
    }
}
