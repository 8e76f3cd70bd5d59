//! The fail-stop latch: set once by a failed write or sync of the log, never cleared.
//!
//! After a failed fsync Linux may report success for pages it has dropped, so neither a retry nor
//! the page cache proves anything (Rebello et al., "Can Applications Recover from fsync
//! Failures?", USENIX ATC 2020). Only a new process that reads the disk knows what is there.

use std::sync::OnceLock;

use crate::error::StoreError;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PoisonLatch(OnceLock<String>);

impl PoisonLatch {
    /// Sets the latch; the first cause stays. Returns whether this call set it.
    pub(crate) fn set(&self, cause: String) -> bool {
        self.0.set(cause).is_ok()
    }

    /// Why the store stopped taking writes, if it did.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// An error once the latch is set.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.cause() {
            None => Ok(()),
            Some(cause) => Err(StoreError::Poisoned {
                cause: cause.to_owned(),
            }),
        }
    }
}
