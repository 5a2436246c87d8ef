//! A disk that hangs: a file system whose server never answers, so that whatever touches it waits until the disk is gone.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::installation::skip;
use crate::support::module;

/// Opens the kernel's end of a file system and never reads from it. Closing standard input takes the disk away: what waits for it fails.
const HANGING: &str = r#"exec 9<>/dev/fuse && mount -i -t fuse hanging "$1" -o "fd=9,rootmode=40000,user_id=$(id -u),group_id=$(id -g)" || exit
echo mounted
cat
exec 9>&-
umount -l "$1""#;

/// See the [module](self). Dropping it takes it away.
pub struct HangingDisk {
    folder: PathBuf,
    shell: Child,
    leash: Option<ChildStdin>,
}

impl HangingDisk {
    /// `None`, which is said, where this user may not mount one.
    pub fn mount() -> Option<Self> {
        let folder = module::scratch_folder().join(format!("hanging-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cargo's folder for tests is ours");
        let mut command = Command::new("sh");
        command.args(["-c", HANGING, "hanging-disk"]).arg(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().expect("there is a shell");
        let leash = shell.stdin.take();
        let mut said = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut said).expect("text");
        }
        let disk = Self { folder, shell, leash };
        if said.trim() == "mounted" {
            return Some(disk);
        }
        skip("no file system can be mounted here, as root can through /dev/fuse");
        None
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
        let _ = std::fs::remove_dir(&self.folder);
    }
}
