//! What the process says when it ends: one code per thing a person or a supervisor does next.

use godb_engine::EngineError;
use godb_store::StoreError;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Exit codes, after sysexits(3) where one fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well; after SIGTERM: everything acknowledged is on disk.
    Ok = 0,
    /// A flag, variable, configuration file or argument is wrong.
    Usage = 64,
    /// Bytes on disk (or in an imported file) are not what they should be.
    Corrupt = 65,
    /// A file or directory that must exist does not.
    NoInput = 66,
    /// A listener's address is taken, or the server that a tool talks to does not answer.
    Unavailable = 69,
    /// A defect of the program.
    Internal = 70,
    /// What is to be written would collide with what is there.
    Exists = 73,
    /// An I/O error, also a log that could no longer be written.
    Io = 74,
    /// The data directory is in use by another process.
    InUse = 75,
    /// The data was written by a newer version.
    NewerFormat = 76,
    /// No right to read or write a file or directory, or to use an address.
    NoPermission = 77,
    /// Directories that do not belong together.
    Mismatch = 78,
    /// `godb repair` did its work, and not everything could be kept.
    RepairedWithLoss = 79,
}

/// For `--help`.
pub const TABLE: &str = "\
Exit codes:
   0  stopped as asked; everything acknowledged is kept
  64  wrong flag, variable, configuration file or argument
  65  corrupt or damaged data: nothing was changed
  66  a directory or file that must exist is missing
  69  an address is taken, or the server does not answer
  70  internal error
  73  the database holds other documents than the file to be imported
  74  I/O error, or a disk that stays full; the log could not be written, restart to recover
  75  the data directory is in use by another process
  76  the data was written by a newer version of godb
  77  permission denied, or a read-only file system
  78  directories that do not belong together
  79  repaired, and something is lost: the output lists it";

/// An error that ends the process: the code and one line for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One line: what is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with this code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// An I/O error on a file or directory that the user named.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            of_io_kind(error.kind()),
            format!("cannot {doing} {}: {error}", path.display()),
        )
    }

    /// An address that cannot be had, asked for by this flag.
    pub fn address(flag: &str, address: SocketAddr, error: &std::io::Error) -> Self {
        let message = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "the address {address} is taken by another process: stop it, or choose another with --{flag}"
            ),
            _ => format!("cannot listen on {address} (--{flag}): {error}"),
        };
        Self::new(of_io_kind(error.kind()), message)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let exit = match &error {
            EngineError::Store(store) => of_store(store),
            _ => Exit::Internal,
        };
        let message = match exit {
            Exit::Corrupt => {
                format!(
                    "the data is corrupt or damaged; nothing was changed: {error}. Keep a copy of the directory; `godb verify` lists all damage; then restore a backup, or see what `godb repair --dry-run` can keep"
                )
            }
            Exit::NoPermission => format!(
                "permission denied, or read-only: {error}. A database is opened for writing, also to export from it: copy the directory to where it can be written; `godb verify` reads it where it lies"
            ),
            _ => error.to_string(),
        };
        Failure { exit, message }
    }
}

fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Corrupt { .. } => Exit::Corrupt,
        StoreError::Locked { .. } => Exit::InUse,
        StoreError::NewerFormat { .. } => Exit::NewerFormat,
        StoreError::Mismatch { .. } => Exit::Mismatch,
        StoreError::InvalidSettings { .. } | StoreError::InvalidName { .. } => Exit::Usage,
        StoreError::Io { kind, .. } => of_io_kind(*kind),
        StoreError::DiskFull { .. } | StoreError::Poisoned { .. } => Exit::Io,
        _ => Exit::Internal,
    }
}

/// The code for an I/O error of this kind.
fn of_io_kind(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Exit::NoInput,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::NoPermission,
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::ConnectionRefused => {
            Exit::Unavailable
        }
        _ => Exit::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_open_names_its_cause_by_code_and_word() {
        let corrupt = Failure::from(EngineError::Store(StoreError::corrupt(
            "wal-1.wal",
            40,
            "bad crc",
        )));
        assert_eq!(corrupt.exit, Exit::Corrupt);
        assert!(corrupt.message.contains("corrupt or damaged"));
        assert!(corrupt.message.contains("wal-1.wal at byte 40"));
        let locked = EngineError::Store(StoreError::Locked {
            path: "d/LOCK".into(),
        });
        assert_eq!(Failure::from(locked).exit, Exit::InUse);
    }

    #[test]
    fn every_code_is_in_the_help_table() {
        for exit in [
            Exit::Ok,
            Exit::Usage,
            Exit::Corrupt,
            Exit::NoInput,
            Exit::Unavailable,
            Exit::Internal,
            Exit::Exists,
            Exit::Io,
            Exit::InUse,
            Exit::NewerFormat,
            Exit::NoPermission,
            Exit::Mismatch,
            Exit::RepairedWithLoss,
        ] {
            let code = format!("{:>4}  ", exit as u8);
            assert!(TABLE.contains(&code), "{exit:?}");
        }
    }
}
