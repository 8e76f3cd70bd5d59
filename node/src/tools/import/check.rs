//! The first pass over the file: every document is checked, nothing is written, and the file's
//! fingerprint is taken.

use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::prepare::Prepared;
use super::{ImportOptions, open, split_failure};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::lifecycle::hex;
use crate::tools::progress::Progress;
use crate::tools::split::{Documents, SplitError};

/// Faults that are listed; a file that is wrong all over has too many.
const MAX_FAULTS: usize = 20;
/// Goes into the fingerprint: files that are cut into batches by other rules get other ids.
const RULES: &[u8] = b"godb import 1\0";
/// Digits of the fingerprint in ids: 64 bits.
const FINGERPRINT_DIGITS: usize = 16;

/// What the first pass found out.
#[derive(Debug)]
pub struct Plan {
    /// Start of made ids.
    pub prefix: String,
    /// Size of the file.
    pub bytes: Option<u64>,
    changed: Option<SystemTime>,
}

impl Plan {
    /// Standard input cannot be read twice.
    pub fn for_stdin(options: &ImportOptions) -> Result<Self, Failure> {
        let prefix = options.id_prefix.clone().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "standard input has no fingerprint: give --id-prefix, the same in every run",
            )
        })?;
        Ok(Self {
            prefix,
            bytes: None,
            changed: None,
        })
    }

    /// What was written must be what was checked.
    pub fn require_unchanged(&self, file: &Path) -> Result<(), Failure> {
        if self.bytes.is_none() {
            return Ok(());
        }
        let now = files::find(file).map_err(|error| Failure::io("read", file, &error))?;
        if Some(now.bytes) == self.bytes && now.changed == self.changed {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Corrupt,
            format!("{} was changed during the import", file.display()),
        ))
    }
}

/// Reads the whole file.
pub fn check(options: &ImportOptions) -> Result<Plan, Failure> {
    let file = options.file.as_path();
    let found = files::find(file).map_err(|error| Failure::io("open", file, &error))?;
    let mut reader = Fingerprint {
        inner: open(file)?,
        hash: Sha256::new_with_prefix(RULES),
        progress: Progress::bytes("checking", Some(found.bytes)),
    };
    let documents = Documents::new(&mut reader, options.format)
        .map_err(|error| Failure::io("read", file, &error))?;
    let mut faults = Vec::new();
    for raw in documents {
        let outcome = match raw {
            Ok(raw) => Prepared::new(raw, "check").map(|_| ()),
            Err(error @ SplitError::Io(_)) => return Err(split_failure(file, error)),
            Err(SplitError::Outline {
                line,
                column,
                reason,
            }) => Err(format!("line {line}: {reason} at column {column}")),
        };
        if let Err(fault) = outcome {
            faults.push(fault);
            if faults.len() == MAX_FAULTS {
                faults.push("and perhaps more".to_owned());
                break;
            }
        }
    }
    if !faults.is_empty() {
        return Err(Failure::new(
            Exit::Corrupt,
            format!(
                "{} cannot be imported; nothing was written:\n  {}",
                file.display(),
                faults.join("\n  ")
            ),
        ));
    }
    reader.progress.finish();
    let mut fingerprint = hex(&reader.hash.finalize());
    fingerprint.truncate(FINGERPRINT_DIGITS);
    Ok(Plan {
        prefix: options.id_prefix.clone().unwrap_or(fingerprint),
        bytes: Some(found.bytes),
        changed: found.changed,
    })
}

/// Hashes what is read.
struct Fingerprint<R> {
    inner: R,
    hash: Sha256,
    progress: Progress,
}

impl<R: Read> Read for Fingerprint<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.hash.update(buf.get(..read).unwrap_or_default());
        self.progress.advance(u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}
