//! Secrets in files of their own: `file:/etc/freeswitch/openai.key` as the value of a key or password in `audio_stream.conf.xml`.
//!
//! Read when the configuration is, on the API thread, and again at `reloadxml`. Commands and channel variables cannot name a file: what
//! they name would be sent to a server. No error contains the secret.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::units::text::shown;

/// What a value begins with that names a file.
const PREFIX: &str = "file:";
/// Why a command or a channel variable is refused that names a file.
pub(super) const NOT_HERE: &str = "a file can be named in audio_stream.conf.xml only";
/// Longest secret, bytes.
const MOST: u64 = 4_096;

/// The secret, if `text` names a file and its option is a `secret`; in words why it cannot be had.
pub(super) fn read(secret: bool, text: &str) -> Result<Option<String>, String> {
    let Some(path) = text.strip_prefix(PREFIX).filter(|_| secret) else { return Ok(None) };
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", shown(path));
    if !Path::new(path).is_absolute() {
        return Err(failed(&"give the absolute path of the file"));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    let about = file.metadata().map_err(|error| failed(&error))?;
    if !about.is_file() {
        return Err(failed(&"it is not a file"));
    }
    let mut secret = String::new();
    file.take(MOST + 1).read_to_string(&mut secret).map_err(|error| failed(&error))?;
    if secret.len() as u64 > MOST {
        return Err(failed(&format!("it has more than {MOST} bytes")));
    }
    let secret = secret.trim();
    if secret.is_empty() { Err(failed(&"it is empty")) } else { Ok(Some(secret.to_owned())) }
}

/// Whether `text` names a file and its option is a `secret`: not in a command or a channel variable.
pub(super) fn is_named(secret: bool, text: &str) -> bool {
    secret && text.starts_with(PREFIX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_content_of_its_file() {
        let folder = std::env::temp_dir().join(format!("mod_audio_stream_secret_{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            format!("file:{}", folder.join(name).display())
        };
        assert_eq!(read(true, &file("key", " sk-1\n")), Ok(Some("sk-1".to_owned())));
        assert_eq!(read(true, "sk-1"), Ok(None));
        assert_eq!(read(false, "file:/etc/passwd"), Ok(None), "no secret");
        for (text, why) in [
            (file("empty", "\n"), "it is empty"),
            (file("long", &"x".repeat(5_000)), "more than 4096 bytes"),
            ("file:key".to_owned(), "absolute path"),
            (format!("file:{}", folder.display()), "it is not a file"),
            ("file:/nonexistent/key".to_owned(), "No such file"),
        ] {
            let error = read(true, &text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
