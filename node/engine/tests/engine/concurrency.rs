use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use godb_engine::{Durability, EngineError};

use super::*;

const THREADS: usize = 4;
const ROUNDS: usize = 100;

/// Every thread patches a field of its own in one document, and all of them one shared index.
#[test]
fn no_update_is_lost() {
    let engine = engine();
    engine.create_index("c", "shared").unwrap();
    insert(&engine, "c", r#"{"_id":"x"}"#);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let fields = format!(r#"{{"t{thread}":{round},"shared":"{thread}-{round}"}}"#);
                    let updated = engine
                        .update("c", "x", fields.as_bytes(), &write())
                        .unwrap()
                        .wait()
                        .unwrap();
                    let own = format!(r#""t{thread}":{round}"#);
                    assert!(text(&updated).contains(&own), "{}", text(&updated));
                }
            });
        }
    });
    let last = get(&engine, "c", "x").unwrap();
    for thread in 0..THREADS {
        let own = format!(r#""t{thread}":{}"#, ROUNDS - 1);
        assert!(last.contains(&own), "{last}");
    }
    check(&engine);
    assert_eq!(engine.check().unwrap().entries, 1);
}

/// All threads insert the same ids: each is made once, and one thread is told so.
#[test]
fn one_insert_of_an_id_wins() {
    let engine = engine();
    let wins = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, wins) = (&engine, &wins);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let document = format!(r#"{{"_id":"{round}","by":{thread}}}"#);
                    match engine
                        .insert("c", document.as_bytes(), &write())
                        .unwrap()
                        .wait()
                    {
                        Ok(made) => {
                            wins.fetch_add(1, Ordering::Relaxed);
                            assert_eq!(get(engine, "c", &round.to_string()).unwrap(), text(&made));
                        }
                        Err(EngineError::AlreadyExists { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), ROUNDS);
    assert_eq!(
        engine.collection("c").unwrap().unwrap().documents,
        ROUNDS as u64
    );
    check(&engine);
}

/// Transfers between two documents in batches keep their sum at every moment a reader sees.
#[test]
fn readers_see_batches_whole() {
    let engine = engine();
    for id in ["a", "b"] {
        insert(&engine, "c", &format!(r#"{{"_id":"{id}","n":0}}"#));
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..ROUNDS {
                let fields = format!(r#"{{"n":{n}}}"#);
                let operations = [("a", fields.as_bytes()), ("b", fields.as_bytes())];
                engine
                    .batch_update("c", &operations, &write())
                    .unwrap()
                    .wait()
                    .unwrap();
            }
        });
        while !writer.is_finished() {
            let page = find(&[], 10, PageStart::Offset(0));
            let page = engine.find("c", &page, Io::Allow).unwrap();
            let values: Vec<_> = page
                .documents
                .iter()
                .map(|d| text(d).split("\"n\":").nth(1).unwrap().to_owned())
                .collect();
            assert_eq!(values[0], values[1]);
        }
        writer.join().unwrap();
    });
}

/// What a page says of the whole is of the moment of its documents.
#[test]
fn a_page_and_its_total_are_of_one_moment() {
    let engine = engine();
    insert(&engine, "c", r#"{"_id":"stays"}"#);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..ROUNDS * 5 {
                insert(&engine, "c", r#"{"_id":"x"}"#);
                engine.delete("c", "x", &write()).unwrap().wait().unwrap();
            }
        });
        while !writer.is_finished() {
            let page = find(&[], 10, PageStart::Offset(0));
            let page = engine.find("c", &page, Io::Allow).unwrap();
            assert_eq!(page.total, Some(page.documents.len() as u64));
        }
        writer.join().unwrap();
    });
}

/// Collections that appear at the same time have numbers of their own.
#[test]
fn concurrent_first_writes() {
    let engine = engine();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..20 {
                    insert(engine, &format!("c{}", (thread + round) % 20), "{}");
                }
            });
        }
    });
    let collections = engine.collections().unwrap();
    assert_eq!(collections.len(), 20);
    assert!(collections.iter().all(|c| c.documents == THREADS as u64));
    let mut numbers: Vec<_> = collections.iter().map(|c| c.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
    check(&engine);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An answer can be awaited, with the waker registered by the write itself.
#[test]
fn answers_are_futures() {
    let engine = engine();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let how = Write {
        waker: Some(&waker),
        ack: Some(Durability::Full),
        ..Write::default()
    };
    let mut pending = pin!(engine.insert("c", br#"{"_id":"x"}"#, &how).unwrap());
    let mut context = Context::from_waker(&waker);
    let made = loop {
        match pending.as_mut().poll(&mut context) {
            Poll::Ready(made) => break made.unwrap(),
            Poll::Pending => {
                while count.0.swap(0, Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
            }
        }
    };
    assert!(engine.stats().durable_lsn >= made.lsn);
    let refused = engine.insert("c", br#"{"_id":"x"}"#, &how).unwrap().wait();
    assert!(matches!(refused, Err(EngineError::AlreadyExists { .. })));
    let mut writable = pin!(engine.writable());
    assert!(matches!(
        writable.as_mut().poll(&mut context),
        Poll::Ready(Ok(()))
    ));
    assert!(engine.flush().unwrap() >= made.lsn);
    engine.close().unwrap();
    let closed = engine.insert("c", b"{}", &write());
    assert!(matches!(
        closed,
        Err(EngineError::Store(godb_engine::StoreError::Closed))
    ));
}
