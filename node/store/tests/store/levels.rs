//! Levels that change, and what a crash finds after it.

use std::sync::Arc;

use godb_store::disk::{Disk, RealDisk};
use godb_store::{Durability, LiveSettings, Store};

use crate::harness::{get, key, open_with, put, settings};

fn set_level(store: &Store, durability: Durability) {
    let live = LiveSettings {
        durability,
        ..store.live_settings()
    };
    store.reconfigure(live).unwrap();
}

#[test]
fn a_level_raised_from_none_over_an_older_log_keeps_what_follows() {
    for closed in [false, true] {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path().to_str().unwrap(), Durability::Os);
        {
            let store = open_with(&disk, &settings).unwrap();
            put(&store, &key(1), "logged").unwrap();
            if closed {
                store.close().unwrap();
            }
        }
        settings.live.durability = Durability::None;
        {
            let store = open_with(&disk, &settings).unwrap();
            set_level(&store, Durability::Os);
            put(&store, &key(2), "after").unwrap();
        }
        let store = open_with(&disk, &settings).unwrap_or_else(|e| panic!("closed {closed}: {e}"));
        assert_eq!(get(&store, &key(1)).as_deref(), Some("logged"));
        assert_eq!(get(&store, &key(2)).as_deref(), Some("after"));
    }
}
