//! Locks, in one place so that a model checker can replace them.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::{Condvar, Mutex};

/// Locks, also after another thread panicked while it held the lock: every section behind these
/// locks leaves its data whole before it can panic, and the store's own poison latch, not the
/// lock, is what stops writes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
