//! Durable commits of other embedded stores: `godb-peers ENGINE THREADS SECONDS DIRECTORY`.
//!
//! Each thread waits for its own commit, which is one document under one key, synced to disk before
//! it counts: redb with `Durability::Immediate`, fjall with a persist by fdatasync after each insert,
//! SQLite with `journal_mode=WAL` and `synchronous=FULL` over one connection, as its writers exclude
//! each other anyway. Prints one line of JSON; what it cost besides is in `/proc`.

use std::error::Error;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

trait Store: Sync {
    fn put(&self, key: &[u8], document: &[u8]) -> Outcome<()>;
}

struct Redb(redb::Database);
const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("documents");

impl Store for Redb {
    fn put(&self, key: &[u8], document: &[u8]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        transaction.open_table(TABLE)?.insert(key, document)?;
        transaction.commit()?;
        Ok(())
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Store for Fjall {
    fn put(&self, key: &[u8], document: &[u8]) -> Outcome<()> {
        self.1.insert(key, document)?;
        self.0.persist(fjall::PersistMode::SyncData)?;
        Ok(())
    }
}

struct Sqlite(Mutex<rusqlite::Connection>);

impl Store for Sqlite {
    fn put(&self, key: &[u8], document: &[u8]) -> Outcome<()> {
        let connection = self.0.lock().map_err(|_| "a writer panicked")?;
        connection
            .prepare_cached("INSERT INTO documents VALUES (?1, ?2)")?
            .execute((key, document))?;
        Ok(())
    }
}

fn open(engine: &str, directory: &Path) -> Outcome<Box<dyn Store>> {
    Ok(match engine {
        "redb" => Box::new(Redb(redb::Database::create(directory.join("redb"))?)),
        "fjall" => {
            let database = fjall::Database::builder(directory.join("fjall")).open()?;
            let keyspace = database.keyspace("documents", fjall::KeyspaceCreateOptions::default)?;
            Box::new(Fjall(database, keyspace))
        }
        "sqlite" => {
            let connection = rusqlite::Connection::open(directory.join("sqlite"))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute(
                "CREATE TABLE documents (id BLOB PRIMARY KEY, document BLOB) WITHOUT ROWID",
                (),
            )?;
            Box::new(Sqlite(Mutex::new(connection)))
        }
        other => return Err(format!("{other} is not one of redb, fjall, sqlite").into()),
    })
}

/// 170 to 340 bytes, as the documents of the other runs.
fn document(n: u64) -> Vec<u8> {
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n >> 7);
    let tags = "\"durable\",".repeat(2 + (random >> 20) as usize % 9);
    format!(
        "{{\"_id\":\"d{n:08}\",\"name\":\"user {random:016x}\",\"age\":{},\"score\":{}.25,\"active\":true,\
         \"address\":{{\"city\":\"Lisboa\",\"zip\":\"{:05}\"}},\"tags\":[{tags}\"end\"],\"n\":{n}}}",
        random % 90,
        random % 1000,
        random % 100_000,
    )
    .into_bytes()
}

fn write(store: &dyn Store, stop: &AtomicBool, first: u64) -> Outcome<(u64, u64)> {
    let (mut commits, mut bytes) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let document = document(first + commits);
        store.put(format!("d{:012}", first + commits).as_bytes(), &document)?;
        commits += 1;
        bytes += document.len() as u64;
    }
    Ok((commits, bytes))
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, engine, threads, seconds, directory] = arguments.as_slice() else {
        return Err("usage: godb-peers ENGINE THREADS SECONDS DIRECTORY".into());
    };
    let store = open(engine, Path::new(directory))?;
    let written_before = std::fs::read_to_string("/proc/self/io")?
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok())
        .unwrap_or(0);
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let (commits, bytes) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads.parse::<u64>()?)
            .map(|writer| {
                let (store, stop) = (&*store, &stop);
                scope.spawn(move || write(store, stop, writer << 36))
            })
            .collect();
        std::thread::sleep(Duration::from_secs_f64(seconds.parse()?));
        stop.store(true, Ordering::Relaxed);
        let mut sums = (0, 0);
        for writer in writers {
            let (commits, bytes) = writer.join().map_err(|_| "a writer panicked")??;
            sums = (sums.0 + commits, sums.1 + bytes);
        }
        Outcome::Ok(sums)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"commits\":{commits},\"bytes\":{bytes},\"seconds\":{seconds},\"written_before\":{written_before}}}"
    );
    // Only now, so that what is measured from outside holds no shutdown.
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}
