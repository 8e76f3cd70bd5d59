//! Opening stores on any disk, and short forms for what tests do with them.

use std::sync::Arc;

use bytes::Bytes;
use godb_store::disk::Disk;
use godb_store::observer::NoObserver;
use godb_store::{
    Components, Durability, Io, Result, Settings, Store, StoreError, Transaction, WhoSyncs,
    block_on,
};

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
