//! Files that are not part of the database: configuration, tokens, what is imported and exported.
//! The only place of this package that names the file system; the database has its own way to it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "none of these files is the database's, so no power cut is simulated for them"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// A directory, or what a link to one leads to.
    pub is_dir: bool,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was changed last, if the system tells.
    pub changed: Option<SystemTime>,
}

/// Looks a name up.
pub fn find(path: &Path) -> io::Result<Found> {
    let metadata = fs::metadata(path)?;
    Ok(Found {
        is_dir: metadata.is_dir(),
        bytes: metadata.len(),
        changed: metadata.modified().ok(),
    })
}

/// The names in a directory, in order.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

/// A text file of at most `limit_bytes`.
pub fn read_text(path: &Path, limit_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(limit_bytes.saturating_add(1))
        .read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit_bytes} bytes"),
        ));
    }
    Ok(text)
}

/// A file to read.
pub fn open(path: &Path) -> io::Result<impl Read + Send + use<>> {
    File::open(path)
}

/// A file to write, emptied if it is there.
pub fn create(path: &Path) -> io::Result<impl Write + use<>> {
    File::create(path)
}

/// Makes what was written to `from` durable and gives it the name `to`, which then is durable too.
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Takes a file away.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Makes a directory.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)
}

/// Gives a file or directory another name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Two names change what they stand for, in one step.
pub fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Takes a directory away with all that is in it.
pub fn remove_all(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir)
}
