//! Who wants which snapshot: readers at work, and holders that said for how long. Kept in memory: a
//! restart forgets them, and everybody sees by the boot id that it happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Holders of one snapshot at once.
const MAX_HOLDERS: usize = 64;

/// The register.
pub struct Leases {
    /// A leased snapshot that nobody wanted for this long goes.
    idle: Duration,
    held: Mutex<HashMap<String, Held>>,
}

struct Held {
    used_at: Instant,
    readers: u32,
    /// Until when each wants it.
    holders: BTreeMap<String, Instant>,
    is_going: bool,
}

/// Why a lease or a removal is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The snapshot is being removed.
    Going,
    /// Somebody wants it; in words.
    InUse(String),
    /// So many want it already.
    TooMany(usize),
}

/// A reader at work, until it is dropped.
pub struct Reading {
    leases: Arc<Leases>,
    name: String,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(held) = self.leases.lock().get_mut(&self.name) {
            held.readers = held.readers.saturating_sub(1);
            held.used_at = Instant::now();
        }
    }
}

impl Leases {
    /// Nobody wants anything yet.
    pub fn new(idle: Duration) -> Self {
        Self {
            idle,
            held: Mutex::default(),
        }
    }

    /// How long a leased snapshot stays that nobody wants.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody asked for it.
    pub fn touch(&self, name: &str) {
        entry(&mut self.lock(), name).used_at = Instant::now();
    }

    /// `holder` wants it for this long from now.
    pub fn renew(&self, name: &str, holder: &str, time: Duration) -> Result<(), Refused> {
        let mut held = self.lock();
        let held = entry(&mut held, name);
        if held.is_going {
            return Err(Refused::Going);
        }
        let now = Instant::now();
        held.holders.retain(|_, until| *until > now);
        if held.holders.len() >= MAX_HOLDERS && !held.holders.contains_key(holder) {
            return Err(Refused::TooMany(MAX_HOLDERS));
        }
        held.used_at = now;
        held.holders.insert(holder.to_owned(), now + time);
        Ok(())
    }

    /// `holder` wants it no more. Returns whether it did.
    pub fn release(&self, name: &str, holder: &str) -> bool {
        let mut held = self.lock();
        held.get_mut(name)
            .is_some_and(|held| held.holders.remove(holder).is_some())
    }

    /// A reader begins.
    pub fn read(self: &Arc<Self>, name: &str) -> Result<Reading, Refused> {
        let mut held = self.lock();
        let held = entry(&mut held, name);
        if held.is_going {
            return Err(Refused::Going);
        }
        held.readers += 1;
        Ok(Reading {
            leases: Arc::clone(self),
            name: name.to_owned(),
        })
    }

    /// From here on nobody gets it any more; [`Leases::gone`] or [`Leases::stays`] follows.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Refused> {
        let mut held = self.lock();
        let held = entry(&mut held, name);
        if held.is_going {
            return Err(Refused::Going);
        }
        if !force {
            held.free(Instant::now()).map_err(Refused::InUse)?;
        }
        held.is_going = true;
        Ok(())
    }

    /// It was removed.
    pub fn gone(&self, name: &str) {
        self.lock().remove(name);
    }

    /// It could not be removed.
    pub fn stays(&self, name: &str) {
        entry(&mut self.lock(), name).is_going = false;
    }

    /// Whether a leased snapshot has been left alone for too long. One that was never asked for is
    /// counted from the first time that this is called.
    pub fn is_abandoned(&self, name: &str) -> bool {
        let now = Instant::now();
        let mut held = self.lock();
        let held = entry(&mut held, name);
        held.free(now).is_ok() && now.duration_since(held.used_at) > self.idle
    }

    /// Forgets snapshots that are not there any more.
    pub fn keep_only(&self, names: &[String]) {
        self.lock()
            .retain(|name, held| held.readers > 0 || held.is_going || names.contains(name));
    }
}

fn entry<'h>(held: &'h mut HashMap<String, Held>, name: &str) -> &'h mut Held {
    held.entry(name.to_owned()).or_insert_with(|| Held {
        used_at: Instant::now(),
        readers: 0,
        holders: BTreeMap::new(),
        is_going: false,
    })
}

impl Held {
    /// Who wants it, in words.
    fn free(&self, now: Instant) -> Result<(), String> {
        let holder = self.holders.iter().find(|(_, until)| **until > now);
        match holder {
            Some((holder, until)) => Err(format!(
                "`{holder}` reads it, and wants it for {} more seconds",
                until.duration_since(now).as_secs() + 1
            )),
            None if self.readers > 0 => Err(format!("{} files of it are being read", self.readers)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_somebody_wants_is_not_removed_unless_by_force() {
        let leases = Arc::new(Leases::new(Duration::ZERO));
        leases.renew("s", "a", LONG).unwrap();
        assert!(matches!(leases.remove("s", false), Err(Refused::InUse(by)) if by.contains("`a`")));
        assert!(!leases.is_abandoned("s"));
        assert!(leases.release("s", "a"));
        assert!(!leases.release("s", "a"));
        let reading = leases.read("s").unwrap();
        assert!(matches!(leases.remove("s", false), Err(Refused::InUse(_))));
        drop(reading);
        leases.remove("s", false).unwrap();
        assert!(matches!(leases.read("s"), Err(Refused::Going)));
        assert_eq!(leases.renew("s", "b", LONG), Err(Refused::Going));
        leases.stays("s");
        leases.renew("s", "b", LONG).unwrap();
        leases.remove("s", true).unwrap();
        leases.gone("s");
        leases.renew("s", "another of the name", LONG).unwrap();
    }

    #[test]
    fn a_lease_that_ended_holds_nothing() {
        let leases = Leases::new(Duration::ZERO);
        leases.renew("s", "a", Duration::ZERO).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(leases.is_abandoned("s"));
        assert!(!Leases::new(LONG).is_abandoned("s"));
        leases.remove("s", false).unwrap();
    }

    #[test]
    fn there_is_room_for_so_many_holders() {
        let leases = Leases::new(LONG);
        for holder in 0..MAX_HOLDERS {
            leases.renew("s", &holder.to_string(), LONG).unwrap();
        }
        leases.renew("s", "0", LONG).unwrap();
        assert_eq!(
            leases.renew("s", "x", LONG),
            Err(Refused::TooMany(MAX_HOLDERS))
        );
    }
}
