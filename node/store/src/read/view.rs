//! A view that may be held for long: it keeps old versions from being dropped, and no memory.

use std::sync::Arc;

use crate::error::Result;
use crate::lsn::Lsn;
use crate::read::version::ReadPoint;
use crate::txn::commit::Pipeline;
use crate::txn::readers::Registration;

/// Sees exactly the transactions at or below its LSN, for as long as its lease runs
/// ([`crate::LiveSettings::view_lease`]). Each [`View::read`] renews it, up to 144 times. It never
/// blocks writers, checkpoints or compaction; what it costs is the space of versions that would
/// else be dropped.
pub struct View {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) registration: Registration,
}

impl View {
    /// The LSN of the view.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.registration.lsn()
    }

    /// A point to read at, over the store's present memtables and tables. Take one for each
    /// stretch of reading and drop it in between, so that memory and files can go.
    ///
    /// # Errors
    /// [`crate::StoreError::ViewExpired`] once the lease has run out.
    pub fn read(&self) -> Result<ReadPoint> {
        let point = self.pipeline.versions.read_at(|| self.lsn());
        // Checked after the version was taken: so the view was registered whenever something was
        // dropped on the way to it.
        self.registration.renew()?;
        Ok(point)
    }
}
