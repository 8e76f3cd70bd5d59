//! Where the process stands: recovering, ready, draining or failed. Written by `serve` and the
//! store's observer, read by probes, metrics and the request path.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use godb_store::Lsn;
use tokio::sync::watch;

/// A recovery that has not moved for this long cannot help itself.
pub const RECOVERY_STUCK_AFTER: Duration = Duration::from_secs(600);

/// What the process is doing, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Manifest, tables and log are being read.
    Recovering = 0,
    /// Documents are served.
    Ready = 1,
    /// On the way out: requests in flight are finished.
    Draining = 2,
    /// The log could not be written: reads only, for a moment, then the process ends.
    Failed = 3,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 4] = [Self::Recovering, Self::Ready, Self::Draining, Self::Failed];

    /// The name in probes, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Recovering => "recovering",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Failed => "failed",
        }
    }

    const fn from_u8(number: u8) -> Self {
        match number {
            0 => Phase::Recovering,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Failed,
        }
    }
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// The last LSN that was replayed.
    pub lsn: u64,
    /// Bytes of log that were read.
    pub bytes_done: u64,
    /// Bytes of log in all.
    pub bytes_total: u64,
}

/// The one place that knows the phase.
pub struct Lifecycle {
    boot_id: String,
    started: Instant,
    started_at: SystemTime,
    phase: AtomicU8,
    changed: watch::Sender<Phase>,
    recovery_lsn: AtomicU64,
    recovery_bytes_done: AtomicU64,
    recovery_bytes_total: AtomicU64,
    recovery_moved_ms: AtomicU64,
    startup_ms: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Lifecycle {
    /// A process that has just started, with a boot id of its own.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn start() -> Result<Self, getrandom::Error> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random)?;
        Ok(Self {
            boot_id: hex(&random),
            started: Instant::now(),
            started_at: SystemTime::now(),
            phase: AtomicU8::new(Phase::Recovering as u8),
            changed: watch::Sender::new(Phase::Recovering),
            recovery_lsn: AtomicU64::new(0),
            recovery_bytes_done: AtomicU64::new(0),
            recovery_bytes_total: AtomicU64::new(0),
            recovery_moved_ms: AtomicU64::new(0),
            startup_ms: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// 128 random bits of this process, in hexadecimal.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// When the process started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The phase now. One relaxed load: it is asked for on every request.
    pub fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Relaxed))
    }

    /// A receiver of phase changes.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.changed.subscribe()
    }

    /// Moves on. A phase never goes back, so a failure during a drain stays a failure.
    pub fn advance(&self, phase: Phase) {
        let before = self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        if before >= phase as u8 {
            return;
        }
        if phase == Phase::Ready {
            self.startup_ms
                .store(self.elapsed_ms().max(1), Ordering::Relaxed);
            // What recovery had no need to read is done too.
            let total = self.recovery_bytes_total.load(Ordering::Relaxed);
            self.recovery_bytes_done.store(total, Ordering::Relaxed);
        }
        self.changed.send_replace(self.phase());
    }

    /// From start to ready; None before that.
    pub fn startup(&self) -> Option<Duration> {
        match self.startup_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        }
    }

    /// The log cannot be written any more. The first cause is kept.
    pub fn fail(&self, cause: &str) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| cause.to_owned());
        drop(failure);
        self.advance(Phase::Failed);
    }

    /// Why the log cannot be written, if so.
    pub fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Recovery is here now.
    pub fn recovery_at(&self, lsn: Lsn, bytes_done: u64, bytes_total: u64) {
        let before_lsn = self.recovery_lsn.swap(lsn.0, Ordering::Relaxed);
        let before_bytes = self.recovery_bytes_done.swap(bytes_done, Ordering::Relaxed);
        self.recovery_bytes_total
            .store(bytes_total, Ordering::Relaxed);
        if before_lsn != lsn.0 || before_bytes != bytes_done {
            self.recovery_moved_ms
                .store(self.elapsed_ms(), Ordering::Relaxed);
        }
    }

    /// How far recovery is.
    pub fn recovery(&self) -> RecoveryProgress {
        RecoveryProgress {
            lsn: self.recovery_lsn.load(Ordering::Relaxed),
            bytes_done: self.recovery_bytes_done.load(Ordering::Relaxed),
            bytes_total: self.recovery_bytes_total.load(Ordering::Relaxed),
        }
    }

    /// Whether the process can help itself. A long recovery is alive as long as it moves, and a
    /// slow disk never makes a process dead.
    pub fn is_live(&self) -> bool {
        let still = self
            .elapsed_ms()
            .saturating_sub(self.recovery_moved_ms.load(Ordering::Relaxed));
        self.phase() != Phase::Recovering || u128::from(still) < RECOVERY_STUCK_AFTER.as_millis()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Bytes in hexadecimal, lower case.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let lifecycle = Lifecycle::start().unwrap();
        let watcher = lifecycle.subscribe();
        assert_eq!(lifecycle.phase(), Phase::Recovering);
        assert_eq!(lifecycle.startup(), None);
        lifecycle.advance(Phase::Ready);
        assert!(lifecycle.startup().is_some());
        lifecycle.fail("sync: broken");
        lifecycle.fail("a later cause");
        lifecycle.advance(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Failed);
        assert_eq!(*watcher.borrow(), Phase::Failed);
        assert_eq!(lifecycle.failure().as_deref(), Some("sync: broken"));
    }

    #[test]
    fn each_process_has_a_boot_id_of_its_own() {
        let (a, b) = (Lifecycle::start().unwrap(), Lifecycle::start().unwrap());
        assert_eq!(a.boot_id().len(), 32);
        assert_ne!(a.boot_id(), b.boot_id());
    }

    #[test]
    fn recovery_progress_is_kept() {
        let lifecycle = Lifecycle::start().unwrap();
        lifecycle.recovery_at(Lsn(7), 10, 20);
        let progress = RecoveryProgress {
            lsn: 7,
            bytes_done: 10,
            bytes_total: 20,
        };
        assert_eq!(lifecycle.recovery(), progress);
        assert!(lifecycle.is_live());
        lifecycle.advance(Phase::Ready);
        assert_eq!(lifecycle.recovery().bytes_done, 20);
    }
}
