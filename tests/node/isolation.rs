//! Concurrent requests over HTTP are strictly serializable, at every level, over kills, checkpoints
//! and changes of the level. What is claimed is in docs/isolation.md.

mod scripts;
mod sessions;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use godb_tests::checker::{self, Change, Operation, Outcome, Seen, Stats};
use godb_tests::random::seed;
use godb_tests::{Node, NodeOptions};
use tempfile::TempDir;

use sessions::{Run, Session};

const SESSIONS: usize = 8;
/// Requests before the kill, and again after the restart.
const REQUESTS: u64 = 2500;
/// The same where documents are large.
const LARGE_REQUESTS: u64 = 500;
/// Times that what happens beside the sessions is done, however fast or slow they are.
const LEAST_TICKS: u64 = 4;
/// Of the readers between kills.
const OBSERVER: usize = SESSIONS;
/// Long before that, the sessions hang.
const LONGEST: Duration = Duration::from_secs(120);

fn rounds() -> u64 {
    std::env::var("GODB_ISOLATION_ROUNDS").map_or(1, |text| {
        text.parse().expect("GODB_ISOLATION_ROUNDS is a number")
    })
}

/// How the load ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Kill,
    Quiet,
}

/// All sessions at once, with `meanwhile` beside them, until enough was answered.
fn load(
    node: &mut Node,
    run: &Run,
    sessions: &mut [Session],
    end: End,
    mut meanwhile: impl FnMut(&Node, u64) + Send,
) {
    let target = run.answered.load(Ordering::Relaxed) + run.requests;
    let deadline = Instant::now() + LONGEST;
    run.stop.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for session in &mut *sessions {
            let client = node.client();
            scope.spawn(move || session.run(run, client));
        }
        for tick in 0.. {
            if tick >= LEAST_TICKS && run.answered.load(Ordering::Relaxed) >= target {
                break;
            }
            assert!(Instant::now() < deadline, "no progress\n{}", node.log());
            meanwhile(node, tick);
            std::thread::sleep(Duration::from_millis(20));
        }
        if end == End::Kill {
            node.kill9();
        }
        run.stop.store(true, Ordering::Relaxed);
    });
    for session in sessions {
        session.killed(run.now());
    }
}

/// The history of all sessions.
fn history(sessions: &[Session]) -> Vec<Operation> {
    let operations = sessions.iter().flat_map(|session| &session.operations);
    operations.cloned().collect()
}

/// Fails with what is wrong, if anything is.
fn verify(history: &[Operation], about: &str) -> Stats {
    let (anomalies, stats) = checker::check(history);
    let shown: Vec<String> = anomalies.iter().take(5).map(ToString::to_string).collect();
    assert!(
        anomalies.is_empty(),
        "{about}: {} anomalies, the first of them:\n{}",
        anomalies.len(),
        shown.join("\n")
    );
    stats
}

/// Sessions, a kill, the same sessions on the next process, round after round.
fn histories(level: &'static str) {
    let (seed, started) = (seed(), Instant::now());
    println!("isolation at {level}: SEED={seed} ROUNDS={}", rounds());
    let dir = TempDir::new().unwrap();
    let options = NodeOptions::new(dir.path().join("data"))
        .durability(level)
        .arg("--checkpoint-interval")
        .arg("1s");
    let mut node = options.start();
    let (mut total, mut least) = (Stats::default(), 0);
    for round in 0..rounds() {
        let about = format!("SEED={seed} round {round} at {level}");
        // Some with large documents, and fewer requests for them.
        let (requests, padding_bytes) = match seed.wrapping_add(round) % 4 {
            0 => (LARGE_REQUESTS, 12_000),
            _ => (REQUESTS, 0),
        };
        least += requests;
        let run = Run::new(
            format!("r{round}"),
            requests,
            // At `none` there is no log that could keep a single write.
            level != "none",
            padding_bytes,
        );
        let session = |number| Session::new(number, seed.wrapping_add(round * 65_537));
        let mut sessions: Vec<Session> = (0..SESSIONS).map(session).collect();
        let index = run.collection.clone();
        load(&mut node, &run, &mut sessions, End::Kill, |node, tick| {
            // An index appears under the finds, and what is in memory goes to tables.
            if tick == 3 {
                let path = format!("/collections/{index}/indexes/g");
                node.client().post(&path, "").expect(201);
            }
            if tick % 8 == 5 {
                let _ = node
                    .admin_client()
                    .try_request("POST", "/admin/checkpoint", &[], b"");
            }
        });
        node = options.start();
        let found = run.read_all(&mut node.client(), OBSERVER);
        if matches!(level, "none" | "memory") {
            // Up to the kill everything was as anywhere else. What it took is the newest.
            total += verify(&history(&sessions), &about);
            only_the_newest_is_lost(&history(&sessions), &found, &about);
            continue;
        }
        load(&mut node, &run, &mut sessions, End::Quiet, |_, _| {});
        let last = run.read_all(&mut node.client(), OBSERVER);
        let mut history = history(&sessions);
        history.extend([found, last]);
        total += verify(&history, &about);
    }
    println!(
        "isolation at {level}: {total}; {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let least = usize::try_from(least).unwrap();
    assert!(total.operations >= least, "the load was a load");
    assert!(
        total.write_write > least / 10
            && total.write_read > least / 2
            && total.read_write > least / 4,
        "there was something to compare"
    );
}

/// After a kill at a level that may lose acknowledged writes: there is an LSN up to which all is
/// there and above which nothing is.
fn only_the_newest_is_lost(history: &[Operation], found: &Operation, about: &str) {
    let writes = history
        .iter()
        .filter(|operation| !operation.changes.is_empty() && operation.outcome != Outcome::Refused);
    let mut writes: Vec<&Operation> = writes.collect();
    writes.sort_by_key(|operation| lsn(operation));
    let shows = |operation: &Operation| {
        operation.changes.iter().any(|(key, change)| {
            let element = match change {
                Change::Insert(element) | Change::Replace(element) => Some(element),
                Change::Append(elements) => elements.last(),
                Change::Delete => None,
            };
            let in_list = |(k, seen): &(String, Seen)| match (seen, element) {
                (Seen::List(list), Some(element)) => k == key && list.contains(element),
                _ => false,
            };
            found.reads.iter().any(in_list)
        })
    };
    // Deletions leave no trace, so the border may lie a little above the newest write that shows.
    let least = writes.iter().rposition(|operation| shows(operation));
    let mut faults = String::new();
    let first = least.map_or(0, |place| place + 1);
    for kept in first..=writes.len().min(first + 200) {
        let mut survivors: Vec<Operation> = writes[..kept].iter().copied().cloned().collect();
        survivors.push(found.clone());
        let (anomalies, _) = checker::check(&survivors);
        let Some(anomaly) = anomalies.first() else {
            let acknowledged = writes.iter().filter(|write| lsn(write).is_some()).count();
            println!(
                "{about}: {} of {acknowledged} writes lost",
                writes.len() - kept
            );
            return;
        };
        faults = anomaly.to_string();
    }
    panic!("{about}: not a beginning of what was written: {faults}");
}

fn lsn(operation: &Operation) -> Option<u64> {
    match operation.outcome {
        Outcome::Done(lsn) => lsn,
        _ => None,
    }
}

#[test]
fn histories_at_none() {
    histories("none");
}

#[test]
fn histories_at_memory() {
    histories("memory");
}

#[test]
fn histories_at_os() {
    histories("os");
}

#[test]
fn histories_at_full() {
    histories("full");
}

/// The level changes again and again under the sessions.
#[test]
fn histories_while_the_level_changes() {
    let seed = seed();
    println!("isolation while the level changes: SEED={seed}");
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    let run = Run::new("c".to_owned(), REQUESTS, false, 0);
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|n| Session::new(n, seed)).collect();
    let mut changes = 0;
    load(&mut node, &run, &mut sessions, End::Quiet, |node, tick| {
        let levels = ["full", "none", "os", "memory", "none", "full", "os"];
        let level = levels[usize::try_from(tick).unwrap() % levels.len()];
        let body = format!("{{\"durability\":\"{level}\"}}");
        node.admin_client().put("/admin/config", &body).expect(200);
        changes += 1;
    });
    let mut history = history(&sessions);
    history.push(run.read_all(&mut node.client(), OBSERVER));
    let stats = verify(
        &history,
        &format!("SEED={seed}, {changes} changes of the level"),
    );
    println!("isolation while the level changes, {changes} times: {stats}");
    assert!(changes > 3, "it changed");
}

/// A recorded history with one answer changed must be refused: so what is recorded is enough.
#[test]
fn planted_faults_are_found() {
    const OF_A_KIND: usize = 3;
    let seed = seed();
    println!("planted faults: SEED={seed}");
    let dir = TempDir::new().unwrap();
    let mut node = NodeOptions::new(dir.path().join("data")).start();
    let run = Run::new("c".to_owned(), 400, true, 0);
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|n| Session::new(n, seed)).collect();
    load(&mut node, &run, &mut sessions, End::Quiet, |_, _| {});
    let mut history = history(&sessions);
    history.sort_by_key(|operation| operation.start);
    let about = format!("SEED={seed}");
    verify(&history, &about);
    let finds = |place: usize, change: &dyn Fn(&mut Operation)| {
        let mut changed = history.clone();
        change(&mut changed[place]);
        let (anomalies, _) = checker::check(&changed);
        assert!(!anomalies.is_empty(), "{about}: {}", changed[place]);
    };
    let ended = |element, before: u64| {
        let wrote = |operation: &&Operation| {
            let mut changes = operation.changes.iter();
            changes.any(
                |(_, change)| matches!(change, Change::Append(list) if list.ends_with(&[element])),
            )
        };
        let writer = history.iter().find(wrote);
        writer.is_some_and(|writer| writer.end < before)
    };
    let (mut stale, mut twice, mut aborted, mut early) = (0, 0, 0, 0);
    for (place, operation) in history.iter().enumerate() {
        let read = operation.reads.first();
        if let Some((_, Seen::List(list))) = read
            && operation.changes.is_empty()
            && list.len() > 1
            && ended(list[list.len() - 1], operation.start)
        {
            // Without the newest write, which was acknowledged before; or with one twice.
            if stale < OF_A_KIND {
                stale += 1;
                finds(place, &|operation| {
                    if let Some((_, Seen::List(list))) = operation.reads.first_mut() {
                        list.pop();
                    }
                });
            }
            if twice < OF_A_KIND {
                twice += 1;
                finds(place, &|operation| {
                    if let Some((_, Seen::List(list))) = operation.reads.first_mut() {
                        list.push(list[1]);
                    }
                });
            }
        }
        if let Some(lsn) = lsn(operation) {
            if aborted < OF_A_KIND && matches!(operation.changes[0].1, Change::Append(_)) {
                aborted += 1;
                finds(place, &|operation| operation.outcome = Outcome::Refused);
            }
            if early < OF_A_KIND && lsn > 1 && place > 100 {
                early += 1;
                finds(place, &|operation| {
                    operation.outcome = Outcome::Done(Some(1))
                });
            }
        }
    }
    assert_eq!([stale, twice, aborted, early], [OF_A_KIND; 4], "{about}");
}
