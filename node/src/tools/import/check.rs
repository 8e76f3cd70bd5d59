//! The first pass over the file: every document is checked, nothing is written, and the file's
//! fingerprint is taken.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::prepare::Prepared;
use super::{ImportOptions, open, split_failure};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::lifecycle::hex;
use crate::tools::progress::Progress;
use crate::tools::split::{Documents, RawDocument, SplitError};

/// Faults that are listed; a file that is wrong all over has too many.
const MAX_FAULTS: usize = 20;
/// Documents that a thread takes at once, or those that come to so many bytes.
const BATCH_DOCUMENTS: usize = 1000;
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches that wait for a thread.
const QUEUE: usize = 4;
/// Threads that check documents.
const MAX_THREADS: usize = 4;
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
    let mut faults = faults(documents).map_err(|error| split_failure(file, error))?;
    if faults.len() == MAX_FAULTS {
        faults.push("and perhaps more".to_owned());
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

/// The first faults, in the order of the file. This thread cuts the file up, and others check the
/// documents; whatever it has cut off before it stops is checked.
fn faults(documents: Documents<impl Read>) -> Result<Vec<String>, SplitError> {
    let found = Faults::default();
    let (sender, receiver) = mpsc::sync_channel::<Vec<RawDocument>>(QUEUE);
    let receiver = Mutex::new(receiver);
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_THREADS));
    let cut_up = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| found.check_all(&receiver));
        }
        let sender = sender;
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for raw in documents {
            match raw {
                Ok(raw) => {
                    batch_bytes += raw.bytes.len();
                    batch.push(raw);
                }
                Err(error @ SplitError::Io(_)) => return Err(error),
                Err(SplitError::Outline {
                    line,
                    column,
                    reason,
                }) => found.add(
                    u64::MAX,
                    format!("line {line}: {reason} at column {column}"),
                ),
            }
            if batch_bytes >= BATCH_BYTES || batch.len() == BATCH_DOCUMENTS {
                batch_bytes = 0;
                // They end only with this sender.
                let _ = sender.send(std::mem::take(&mut batch));
                if found.are_many() {
                    break;
                }
            }
        }
        let _ = sender.send(batch);
        Ok(())
    });
    cut_up?;
    Ok(found.first())
}

/// By the document's place in the file.
#[derive(Default)]
struct Faults(Mutex<BTreeMap<u64, String>>);

impl Faults {
    fn check_all(&self, batches: &Mutex<mpsc::Receiver<Vec<RawDocument>>>) {
        loop {
            let batch = batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(batch) = batch else {
                return;
            };
            for raw in batch {
                let position = raw.position;
                if let Err(fault) = Prepared::new(raw, "check") {
                    self.add(position, fault);
                }
            }
        }
    }

    fn add(&self, position: u64, fault: String) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.insert(position, fault);
        if faults.len() > MAX_FAULTS {
            faults.pop_last();
        }
    }

    fn are_many(&self) -> bool {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.len() == MAX_FAULTS
    }

    fn first(self) -> Vec<String> {
        let faults = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        faults.into_values().collect()
    }
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
