//! From async to the engine, whose calls are synchronous: what memory can answer is answered on
//! the spot, what needs the disk goes to a bounded number of blocking threads, and a write waits
//! for its durability level as a future that the commit pipeline wakes by itself.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use godb_engine::{Durability, EngineError, Io, Lsn, Pending, StorageEngine, Write};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Calls that may sit on the disk at once.
const BLOCKING_CALLS: usize = 64;
/// Index builds at once; each keeps a core busy.
const INDEX_BUILDS: usize = 2;
/// Longest time that a write is held back before it is refused with 429.
pub const MAX_DELAY: Duration = Duration::from_secs(10);

/// The engine, for async callers.
#[derive(Clone)]
pub struct Bridge {
    engine: StorageEngine,
    blocking: Arc<Semaphore>,
    index_builds: Arc<Semaphore>,
}

impl Bridge {
    /// Over an open engine.
    pub fn new(engine: StorageEngine) -> Self {
        Self {
            engine,
            blocking: Arc::new(Semaphore::new(BLOCKING_CALLS)),
            index_builds: Arc::new(Semaphore::new(INDEX_BUILDS)),
        }
    }

    /// Writes, and returns answer and LSN once the answer may be given. The operation can be tried
    /// several times; only a try that succeeds writes.
    pub async fn write<T, F>(
        &self,
        ack: Option<Durability>,
        operation: F,
    ) -> Result<(T, Lsn), EngineError>
    where
        T: Send + 'static,
        F: Fn(&StorageEngine, &Write<'_>) -> Result<Pending<T>, EngineError>
            + Send
            + Sync
            + 'static,
    {
        let mut operation = operation;
        let mut deadline = None;
        loop {
            let delay = self.engine.delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut begun = poll_fn(|cx| {
                let how = Write {
                    io: Io::MemoryOnly,
                    ack,
                    waker: Some(cx.waker()),
                };
                Poll::Ready(operation(&self.engine, &how))
            })
            .await;
            if matches!(begun, Err(EngineError::WouldBlock)) {
                let blocking = move |engine: &StorageEngine| {
                    let how = Write {
                        io: Io::Allow,
                        ack,
                        waker: None,
                    };
                    let begun = operation(engine, &how);
                    Ok((operation, begun))
                };
                (operation, begun) = self.on_disk(&self.blocking, blocking).await?;
            }
            match begun {
                Err(EngineError::Busy { reason }) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + MAX_DELAY);
                    self.until_writable(deadline, reason).await?;
                }
                begun => {
                    let pending = begun?;
                    let lsn = pending.lsn();
                    return Ok((pending.await?, lsn));
                }
            }
        }
    }

    async fn until_writable(
        &self,
        deadline: Instant,
        reason: &'static str,
    ) -> Result<(), EngineError> {
        match tokio::time::timeout_at(deadline, self.engine.writable()).await {
            // Past the deadline although writers may go on: others were always faster.
            Ok(Ok(())) if Instant::now() < deadline => Ok(()),
            Ok(Err(error)) => Err(error),
            _ => Err(EngineError::Busy { reason }),
        }
    }

    /// Reads: from memory at once, otherwise on a blocking thread.
    pub async fn read<T, F>(&self, operation: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Fn(&StorageEngine, Io) -> Result<T, EngineError> + Send + 'static,
    {
        match operation(&self.engine, Io::MemoryOnly) {
            Err(EngineError::WouldBlock) => {
                self.on_disk(&self.blocking, move |engine| operation(engine, Io::Allow))
                    .await
            }
            answer => answer,
        }
    }

    /// A call that always may block.
    pub async fn blocking<T, F>(&self, operation: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&StorageEngine) -> Result<T, EngineError> + Send + 'static,
    {
        self.on_disk(&self.blocking, operation).await
    }

    /// An index build: few at once, and none of them in the way of reads.
    pub async fn index_build<T, F>(&self, operation: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&StorageEngine) -> Result<T, EngineError> + Send + 'static,
    {
        self.on_disk(&self.index_builds, operation).await
    }

    async fn on_disk<T, F>(&self, permits: &Arc<Semaphore>, operation: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&StorageEngine) -> Result<T, EngineError> + Send + 'static,
    {
        let permit = permits.clone().acquire_owned().await;
        let engine = self.engine.clone();
        let call = tokio::task::spawn_blocking(move || {
            let outcome = operation(&engine);
            drop(permit);
            outcome
        });
        match call.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down and never ran the call.
            Err(_) => Err(EngineError::Store(godb_store::StoreError::Closed)),
        }
    }
}
