//! The workloads whose every call is a place to cut.

use std::sync::atomic::{AtomicBool, Ordering};

use godb_engine::LiveSettings;
use godb_store::disk::CallKind;

use super::*;

const LOG: (CallKind, &str) = (CallKind::SyncData, ".wal");
const TABLE: (CallKind, &str) = (CallKind::Create, "/table-");
const MANIFEST: (CallKind, &str) = (CallKind::Rename, "MANIFEST");

#[test]
fn single_writes() {
    let workload = Workload {
        name: "single writes",
        level: Durability::Full,
        crossed: &[LOG],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        let mut writer = Writer::new(engine, oracle, "one", seed);
        (0..40).for_each(|_| writer.put());
    });
}

#[test]
fn batches() {
    let workload = Workload {
        name: "batches",
        level: Durability::Full,
        crossed: &[LOG],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        index(engine, oracle, "one", "a");
        let mut writer = Writer::new(engine, oracle, "one", seed);
        (0..25).for_each(|_| writer.batch());
    });
}

#[test]
fn updates_of_one_hot_document_by_all_writers() {
    for level in [Durability::Full, Durability::Os] {
        let workload = Workload {
            name: "hot document",
            level,
            crossed: &[LOG],
            again: 0,
        };
        prove(&workload, |engine, oracle, seed| {
            insert(engine, "hot", r#"{"_id":"doc"}"#);
            engine.flush().unwrap();
            index(engine, oracle, "hot", "w0");
            std::thread::scope(|scope| {
                for w in 0..4_u64 {
                    scope.spawn(move || {
                        let field = format!("w{w}");
                        let mut draw = Draw(seed + w);
                        for n in 1..=12 {
                            let set = |change: &dyn Fn(&mut Reached)| {
                                let mut promise = oracle.promise.lock().unwrap();
                                change(promise.hot.entry(field.clone()).or_default());
                            };
                            set(&|hot| hot.sent = n);
                            let full = level == Durability::Full || draw.below(3) == 0;
                            let how = Write {
                                ack: full.then_some(Durability::Full),
                                ..write()
                            };
                            let fields = format!(r#"{{"{field}":{n}}}"#);
                            engine
                                .update("hot", "doc", fields.as_bytes(), &how)
                                .unwrap()
                                .wait()
                                .unwrap();
                            set(&|hot| {
                                hot.kill = n;
                                hot.power = if full { n } else { hot.power };
                            });
                        }
                    });
                }
            });
        });
    }
}

#[test]
fn deletes() {
    let workload = Workload {
        name: "deletes",
        level: Durability::Full,
        crossed: &[LOG, TABLE],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        index(engine, oracle, "one", "a");
        let mut writer = Writer::new(engine, oracle, "one", seed);
        (0..10).for_each(|_| writer.put());
        for n in 0..30 {
            writer.delete();
            if n % 3 == 0 {
                writer.put();
            }
            if n == 15 {
                engine.checkpoint().unwrap();
            }
        }
    });
}

#[test]
fn an_index_build_beside_writers() {
    let workload = Workload {
        name: "index build",
        level: Durability::Full,
        crossed: &[LOG],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        let mut writer = Writer::new(engine, oracle, "one", seed);
        (0..40).for_each(|_| writer.batch());
        std::thread::scope(|scope| {
            scope.spawn(|| writer.mixed(25));
            for field in ["a", "n", "pad"] {
                index(engine, oracle, "one", field);
            }
        });
    });
}

#[test]
fn checkpoints_while_writing() {
    for level in [Durability::Full, Durability::None] {
        let crossed: &[_] = if level == Durability::None {
            &[TABLE, MANIFEST]
        } else {
            &[LOG, TABLE, MANIFEST]
        };
        let workload = Workload {
            name: "checkpoints",
            level,
            crossed,
            again: 0,
        };
        prove(&workload, |engine, oracle, seed| {
            index(engine, oracle, "one", "a");
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        engine.checkpoint().unwrap();
                    }
                });
                Writer::new(engine, oracle, "one", seed).mixed(30);
                done.store(true, Ordering::Relaxed);
            });
        });
    }
}

#[test]
fn compaction_while_writing() {
    let workload = Workload {
        name: "compaction",
        level: Durability::Full,
        crossed: &[TABLE, MANIFEST, (CallKind::Remove, "/table-")],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        index(engine, oracle, "one", "a");
        let mut writer = Writer::new(engine, oracle, "one", seed);
        for _ in 0..6 {
            writer.mixed(8);
            engine.checkpoint().unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| writer.mixed(15));
            engine.compact().unwrap();
        });
    });
}

#[test]
fn segments_that_are_used_again() {
    for level in [Durability::Full, Durability::Memory] {
        let workload = Workload {
            name: "recycling",
            level,
            crossed: &[LOG, MANIFEST, (CallKind::Rename, ".wal.tmp")],
            again: 0,
        };
        prove(&workload, |engine, oracle, seed| {
            let mut writer = Writer::new(engine, oracle, "one", seed);
            writer.pad = 60_000;
            for n in 0..90 {
                writer.put();
                if n % 20 == 19 {
                    engine.checkpoint().unwrap();
                }
            }
        });
    }
}

#[test]
fn live_settings_change_while_writing() {
    let workload = Workload {
        name: "live settings",
        level: Durability::Os,
        crossed: &[LOG, MANIFEST],
        again: 0,
    };
    prove(&workload, |engine, oracle, seed| {
        index(engine, oracle, "one", "a");
        let mut writer = Writer::new(engine, oracle, "one", seed);
        let mut level = Durability::Os;
        for next in [
            Durability::Full,
            Durability::Memory,
            Durability::None,
            Durability::Full,
            Durability::None,
            Durability::Os,
            Durability::Full,
        ] {
            // What is written meanwhile has the promise of the weaker level.
            writer.level = level.min(next);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let live = LiveSettings {
                        durability: next,
                        ..engine.live_settings()
                    };
                    engine.reconfigure(live).unwrap();
                });
                writer.mixed(4);
            });
            writer.level = next;
            writer.mixed(3);
            level = next;
        }
    });
}

#[test]
fn recovery_that_is_cut_off_again_and_again() {
    for level in [Durability::Full, Durability::Os, Durability::Memory] {
        let workload = Workload {
            name: "recovery",
            level,
            crossed: &[LOG],
            again: 3,
        };
        prove(&workload, |engine, oracle, seed| {
            index(engine, oracle, "one", "a");
            let mut writer = Writer::new(engine, oracle, "one", seed);
            writer.pad = 3000;
            writer.mixed(25);
            engine.checkpoint().unwrap();
            writer.mixed(25);
        });
    }
}
