//! Opening stores on any disk, and short forms for what tests do with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use godb_store::disk::{Disk, SimDisk};
use godb_store::observer::NoObserver;
use godb_store::{
    Components, Durability, Io, Result, Settings, Store, StoreError, Transaction, WhoSyncs,
    block_on,
};

use crate::oracle::{Writes, value};

pub fn settings(dir: &str, level: Durability) -> Settings {
    let mut settings = Settings::new(dir);
    settings.live.durability = level;
    settings.live.max_memory_bytes = 16 << 20;
    // Every test here can be run with the strategy forced either way.
    settings.who_syncs = match std::env::var("GODB_WHO_SYNCS").as_deref() {
        Err(_) | Ok("adaptive") => WhoSyncs::Adaptive,
        Ok("log-thread") => WhoSyncs::LogThread,
        Ok("committer") => WhoSyncs::Committer,
        Ok(other) => panic!("GODB_WHO_SYNCS={other}: use adaptive, log-thread or committer"),
    };
    settings
}

pub fn open_with(disk: &Arc<dyn Disk>, settings: &Settings) -> Result<Store> {
    Store::open(
        settings,
        &Components {
            disk: Arc::clone(disk),
            observer: Arc::new(NoObserver),
        },
    )
}

pub fn key(n: u64) -> Bytes {
    Bytes::from(format!("key-{n:06}"))
}

pub fn put(store: &Store, key: &Bytes, value: &str) -> Result<godb_store::Lsn> {
    commit(store, |transaction| {
        transaction.put(key.clone(), Bytes::from(value.to_owned()));
    })
}

pub fn delete(store: &Store, key: &Bytes) -> Result<godb_store::Lsn> {
    commit(store, |transaction| transaction.delete(key.clone()))
}

/// Commits and waits for the level, after waiting while writers are held back.
fn commit(store: &Store, write: impl Fn(&mut Transaction)) -> Result<godb_store::Lsn> {
    loop {
        let mut transaction = store.begin();
        write(&mut transaction);
        match transaction.commit(None, None) {
            Err(StoreError::Busy { .. }) => block_on(store.writable())?,
            committed => return committed?.wait(),
        }
    }
}

pub fn get(store: &Store, key: &Bytes) -> Option<String> {
    let entry = store.snapshot_read().get(key, Io::Allow).unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

pub fn rounds() -> (u64, u64) {
    let number = |name, default| {
        std::env::var(name)
            .ok()
            .map_or(default, |text| text.parse::<u64>().unwrap())
    };
    (
        number("GODB_POWERCUT_ROUNDS", 1),
        number("GODB_POWERCUT_SEED", 20_261),
    )
}

pub fn on(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// Small segments and little memory, so that a few hundred writes cross everything.
pub fn small(level: Durability) -> Settings {
    let mut settings = settings("/volume/data", level);
    settings.wal_dir = "/volume/wal".into();
    settings.checkpoint_dir = "/volume/tables".into();
    settings.segment_bytes = 1 << 20;
    settings.live.max_wal_bytes = 2 << 20;
    settings
}

/// Numbers from a seed.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn short_key(n: u64) -> Bytes {
    Bytes::from(format!("k{n:04}"))
}

/// `n` writes of keys below `keys`, one in four a delete.
pub fn batch(draw: &mut Draw, id: usize, n: u64, keys: u64, length: usize) -> Writes {
    let mut writes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    for part in 0..n {
        let written = (draw.below(4) > 0).then(|| value(id, part as usize, length));
        writes.insert(short_key(draw.below(keys)), written);
    }
    writes.into_iter().collect()
}
