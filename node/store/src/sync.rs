//! Locks and the atomics that threads hand over by, in one place so that a model checker can
//! replace them: with the feature `shuttle`, a scheduler decides at each of them who goes on.

use std::sync::PoisonError;

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::thread::yield_now;

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::thread::yield_now;

/// Locks, also after another thread panicked while it held the lock: every section behind these
/// locks leaves its data whole before it can panic, and the store's own poison latch, not the
/// lock, is what stops writes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
