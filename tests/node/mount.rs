//! Small file systems for one test: needs the right to mount, and says so where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {} (this test needs the right to mount: run it as root)",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A directory mounted over itself for reading only.
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    pub fn over(path: &Path) -> Self {
        let text = path.to_str().unwrap();
        run("mount", &["--bind", text, text]);
        let mounted = Self(path.to_path_buf());
        run("mount", &["-o", "remount,ro,bind", text]);
        mounted
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

/// An ext4 file system of its own in a file, on a loop device.
pub struct Small {
    directory: TempDir,
}

impl Small {
    pub fn of_mib(size: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let small = Self { directory };
        let image = small.image();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(size << 20)
            .unwrap();
        let image = image.to_str().unwrap();
        std::fs::create_dir(small.path()).unwrap();
        run("mkfs.ext4", &["-q", "-m", "0", image]);
        run(
            "mount",
            &["-o", "loop", image, small.path().to_str().unwrap()],
        );
        small
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The node that used it is gone by now; a failure shows in the next mount.
        let path = self.path();
        let _ = Command::new("umount").arg(&path).status();
    }
}
