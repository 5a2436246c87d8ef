//! Where a recording's file may be, and its making.
//!
//! On the API or dialplan thread, so that a refusal is the command's reply; of a recording that waits for its call's media, the file is
//! made by the pool for calls. A name is relative to the operator's folder, or absolute;
//! it never climbs out of the folder, neither by `..` nor by symbolic links in it, and a file that is there is never touched.
//! Recordings are readable for FreeSWITCH's user and group alone.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::wav;
use crate::units::SampleRate;

/// Longest path, bytes: the kernel's own bound.
const MAX_PATH: usize = 4_095;

/// Permissions of a recording: conversations are nobody else's business.
const MODE: u32 = 0o640;

/// Why a recording cannot be where it was asked to be. The text completes `-ERR `.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Not a name that is taken.
    #[error("'{0}' cannot be the name of a recording: {1}")]
    Name(String, &'static str),
    /// A relative name and nothing it is relative to.
    #[error("there is no folder for recordings: set record_dir in audio_stream.conf.xml, or give an absolute path")]
    NoFolder,
    /// It is there.
    #[error("{} already exists; recordings are never overwritten, choose another name", .0.display())]
    Exists(PathBuf),
    /// The folder is not there.
    #[error("there is no folder {}; create it, or choose another", .0.display())]
    NoSuchFolder(PathBuf),
    /// Somebody put a link into the folder, which would lead out of it.
    #[error("{} is a symbolic link; recordings do not follow links below the folder for recordings", .0.display())]
    Link(PathBuf),
    /// Any other refusal of the file system's.
    #[error("{file} cannot be written: {1}", file = .0.display())]
    Refused(PathBuf, io::Error),
}

/// Where the file `name` goes: as it is when absolute, else below `folder`.
pub fn resolve(name: &str, folder: Option<&Path>) -> Result<PathBuf, PlaceError> {
    let refused = |why| Err(PlaceError::Name(name.chars().filter(|c| !c.is_control()).take(200).collect(), why));
    let path = Path::new(name);
    if name.chars().any(char::is_control) {
        return refused("it has a control character");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return refused("it must not have '..' in it");
    }
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav")) {
        return refused("recordings are WAV files, whose names end in .wav");
    }
    let path = if path.is_absolute() { path.to_owned() } else { below(folder.ok_or(PlaceError::NoFolder)?, path)? };
    if path.as_os_str().len() > MAX_PATH {
        return refused("it is too long");
    }
    Ok(path)
}

/// `relative` below `folder`, if no folder on the way is a link. The file itself cannot be one: a file that exists is refused.
fn below(folder: &Path, relative: &Path) -> Result<PathBuf, PlaceError> {
    let mut at = folder.to_owned();
    for part in relative.parent().unwrap_or(relative).components() {
        at.push(part);
        if at.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(PlaceError::Link(at));
        }
    }
    Ok(folder.join(relative))
}

/// Whether a file could be made at `path` now, as far as that shows without making it.
pub fn check(path: &Path) -> Result<(), PlaceError> {
    if path.symlink_metadata().is_ok() {
        return Err(PlaceError::Exists(path.to_owned()));
    }
    match path.parent() {
        Some(folder) if !folder.is_dir() => Err(PlaceError::NoSuchFolder(folder.to_owned())),
        _ => Ok(()),
    }
}

/// A new file that nothing has been recorded into. Dropping it takes it back.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    rate: SampleRate,
    file: Option<File>,
}

impl NewFile {
    /// Makes the file at `path`. May wait for the disk. An error leaves nothing behind.
    pub fn create(path: PathBuf, rate: SampleRate) -> Result<Self, PlaceError> {
        let file = Some(create(&path, rate)?);
        Ok(Self { path, rate, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Samples a second of what is recorded into it.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The file, to be recorded into.
    pub fn keep(mut self) -> Option<File> {
        self.file.take()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            discard(&self.path);
        }
    }
}

/// Makes the file at `path`, a valid WAV file without a sample. An error leaves nothing behind.
fn create(path: &Path, rate: SampleRate) -> Result<File, PlaceError> {
    let refused = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => PlaceError::Exists(path.to_owned()),
        ErrorKind::NotFound => PlaceError::NoSuchFolder(path.parent().unwrap_or(path).to_owned()),
        _ => PlaceError::Refused(path.to_owned(), error),
    };
    let file = File::options().write(true).create_new(true).mode(MODE).open(path).map_err(refused)?;
    if let Err(error) = std::os::unix::fs::FileExt::write_all_at(&file, &wav::header(rate, 0), 0) {
        discard(path);
        return Err(refused(error));
    }
    Ok(file)
}

/// Takes back a file of [`create`]'s that nothing was recorded into.
fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(target: "LIFECYCLE", op = "record", outcome = "file_left", file = %path.display(), error = %error);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_relative_name_is_put_below_the_folder() {
        let folder = Some(Path::new("/var/rec"));
        assert_eq!(resolve("a b/é.wav", folder).unwrap(), Path::new("/var/rec/a b/é.wav"));
        assert_eq!(resolve("./x.WAV", folder).unwrap(), Path::new("/var/rec/./x.WAV"));
        assert_eq!(resolve("/tmp/x.wav", folder).unwrap(), Path::new("/tmp/x.wav"));
        assert_eq!(resolve("/tmp/x.wav", None).unwrap(), Path::new("/tmp/x.wav"));
    }

    #[test]
    fn names_that_climb_or_are_none_are_refused_with_the_reason() {
        let folder = Some(Path::new("/var/rec"));
        for (name, why) in [
            ("../x.wav", "'../x.wav' cannot be the name of a recording: it must not have '..' in it"),
            ("a/../../x.wav", "'a/../../x.wav' cannot be the name of a recording: it must not have '..' in it"),
            ("/var/rec/../x.wav", "'/var/rec/../x.wav' cannot be the name of a recording: it must not have '..' in it"),
            ("x.mp3", "'x.mp3' cannot be the name of a recording: recordings are WAV files, whose names end in .wav"),
            (".wav", "'.wav' cannot be the name of a recording: recordings are WAV files, whose names end in .wav"),
            ("x\u{7}.wav", "'x.wav' cannot be the name of a recording: it has a control character"),
        ] {
            assert_eq!(resolve(name, folder).unwrap_err().to_string(), why);
        }
        assert!(matches!(resolve(&format!("{}.wav", "x".repeat(5_000)), folder), Err(PlaceError::Name(..))));
        assert!(matches!(resolve("x.wav", None), Err(PlaceError::NoFolder)));
    }

    #[test]
    fn recordings_are_private_and_follow_no_link() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let base = std::env::temp_dir().join(format!("mas-links-{}", std::process::id()));
        let (folder, outside) = (base.join("rec"), base.join("outside"));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, folder.join("out")).unwrap();
        symlink(outside.join("new.wav"), folder.join("new.wav")).unwrap();
        let to = |name| resolve(name, Some(&folder));
        for name in ["out/x.wav", "./out/x.wav", "out/deeper/x.wav"] {
            let refused = to(name).unwrap_err().to_string();
            assert!(refused.contains("/out is a symbolic link; "), "{refused}");
        }
        // A link in the file's place, even one that leads nowhere, is a file that exists.
        assert!(matches!(create(&to("new.wav").unwrap(), SampleRate::HZ_8000), Err(PlaceError::Exists(_))));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        let path = to("sub/x.wav").unwrap();
        let file = create(&path, SampleRate::HZ_8000).unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !MODE, 0, "{mode:o}");
        assert_eq!(mode & 0o600, 0o600, "{mode:o}");
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_file_that_exists_or_cannot_be_made_is_refused_untouched() {
        let folder = std::env::temp_dir().join(format!("mas-place-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("x.wav");
        drop(create(&path, SampleRate::HZ_8000).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(create(&path, SampleRate::HZ_8000), Err(PlaceError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let missing = create(&folder.join("no/x.wav"), SampleRate::HZ_8000).unwrap_err().to_string();
        assert_eq!(missing, format!("there is no folder {}/no; create it, or choose another", folder.display()));
        let below_a_file = create(&path.join("y.wav"), SampleRate::HZ_8000).unwrap_err();
        assert!(matches!(below_a_file, PlaceError::Refused(..)), "{below_a_file}");
        discard(&path);
        assert!(!path.exists());
        drop(NewFile::create(path.clone(), SampleRate::HZ_8000).unwrap());
        assert!(!path.exists(), "it is taken back");
        drop(NewFile::create(path.clone(), SampleRate::HZ_8000).unwrap().keep());
        assert!(path.exists(), "it is kept");
        discard(&path);
        std::fs::remove_dir(&folder).unwrap();
    }
}
