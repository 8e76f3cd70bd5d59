//! A whole database as one file, and back.
//!
//! ```text
//! file      header, blocks
//! header    "godbsave", version:u32 = 1, LSN of the state:u64, crc32:u32 of all before
//! block     length:u32, crc32:u32 of block number:u64, length and payload; payload
//! payload   records, none of them cut by the end of a block
//! record    1, length:u16, name, indexes:u16, then length:u16, field of each   a collection
//!           2, length:u16, id, length:u32, JSON                     a document of the last one
//!           3, collections:u64, documents:u64                       the end; nothing follows
//! ```
//! Numbers are little-endian. A file that was cut off lacks its end; exchanged blocks fail their
//! checksum. It is written under another name and renamed when it is complete and synced.
//!
//! Loading reads the file twice: first all of it is verified, then it is loaded. What is loaded
//! stays under unfinished numbers, which do not count, until one transaction makes all collections
//! visible; a crash before that leaves an empty database, and what was written is swept.

mod file;
pub(crate) mod stream;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use godb_store::disk::Disk;
use godb_store::{Durability, Io, Lsn, Store, Transaction, block_on};

use crate::catalog::{self, Catalog, Collection, Index, IndexState};
use crate::check;
use crate::error::{EngineError, Result};
use crate::index::entries;
use crate::key;
use crate::sweep;
use crate::write::{Staged, Write, Writer};
use file::{FileReader, FileWriter, Record};

/// Bytes and documents of one transaction of a load.
const LOADED_BYTES: usize = 1024 * 1024;
const LOADED_DOCUMENTS: usize = 1000;

/// What a save or load moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferReport {
    /// Collections.
    pub collections: u64,
    /// Documents of all of them.
    pub documents: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The LSN of the state that was saved.
    pub lsn: Lsn,
}

/// Writes the visible state of this moment to a new file. `progress` is told the bytes written.
pub(crate) fn save(
    store: &Store,
    catalog: &Catalog,
    disk: &dyn Disk,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<TransferReport> {
    let view = store.view();
    let mut report = TransferReport {
        lsn: view.lsn(),
        ..TransferReport::default()
    };
    let mut file = FileWriter::create(disk, path, view.lsn())?;
    for (name, collection) in check::collections(&view.read()?, catalog)? {
        report.collections += 1;
        let ready = |index: &&Index| index.state == IndexState::Ready;
        let indexes = collection.indexes.iter().filter(ready);
        let fields: Vec<&str> = indexes.map(|index| index.field.as_str()).collect();
        file.put(&Record::Collection {
            name: &name,
            fields,
        })?;
        let prefix = key::documents_prefix(collection.number);
        check::for_each(&view, &prefix, &mut |_, id, json| {
            report.documents += 1;
            file.put(&Record::Document {
                id: &id,
                json: &json,
            })?;
            progress(file.written_bytes());
            Ok(ControlFlow::Continue(()))
        })?;
    }
    file.put(&Record::End {
        collections: report.collections,
        documents: report.documents,
    })?;
    report.bytes = file.finish()?;
    progress(report.bytes);
    Ok(report)
}

/// Loads a file into an empty database: all of it or nothing. `progress` is told the bytes loaded.
pub(crate) fn load(
    store: &Store,
    catalog: &Catalog,
    disk: &dyn Disk,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<TransferReport> {
    let present = check::collections(&store.snapshot_read(), catalog)?.len();
    if present > 0 {
        return Err(not_empty(present));
    }
    let (report, outline) = verify(disk, path)?;
    let logs = store.live_settings().durability > Durability::None;
    let loader = Loader {
        writer: Writer {
            store,
            catalog,
            how: Write {
                ack: logs.then_some(Durability::Full),
                ..Write::default()
            },
        },
        outline: &outline,
    };
    let numbered = loader.reserve()?;
    let loaded = loader
        .documents(disk, path, &numbered, progress)
        .and_then(|()| loader.publish(&numbered));
    if let Err(error) = loaded {
        // If even this fails, opening the database again does it.
        let _ = loader.abandon(&numbered);
        return Err(error);
    }
    progress(report.bytes);
    Ok(report)
}

fn not_empty(collections: usize) -> EngineError {
    EngineError::NotEmpty { collections }
}

/// A collection of a file: its name and the fields of its indexes.
struct Outline {
    name: String,
    fields: Vec<String>,
}

/// Reads all of a file and everything in it, and checks that this program could have saved it.
fn verify(disk: &dyn Disk, path: &Path) -> Result<(TransferReport, Vec<Outline>)> {
    let mut reader = FileReader::open(disk, path)?;
    let mut report = TransferReport {
        lsn: reader.lsn(),
        bytes: reader.file_bytes(),
        ..TransferReport::default()
    };
    let mut outline: Vec<Outline> = Vec::new();
    let mut names: HashSet<String> = HashSet::new();
    let mut last_id: Option<Vec<u8>> = None;
    let mut ended = false;
    while let Some(block) = reader.next_block()? {
        for record in block.records() {
            if ended {
                return Err(block.fault("something follows the end"));
            }
            match record? {
                Record::Collection { name, fields } => {
                    let fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
                    let distinct: HashSet<&String> = fields.iter().collect();
                    if !names.insert(name.to_owned()) || distinct.len() < fields.len() {
                        return Err(block.fault("a collection or index is there twice"));
                    }
                    outline.push(Outline {
                        name: name.to_owned(),
                        fields,
                    });
                    report.collections += 1;
                    last_id = None;
                }
                Record::Document { id, json } => {
                    if outline.is_empty() {
                        return Err(block.fault("a document without a collection"));
                    }
                    // They are in order, so this also finds one that is there twice.
                    if last_id.as_deref().is_some_and(|last| last >= id) {
                        return Err(block.fault("documents are out of order"));
                    }
                    last_id = Some(id.to_vec());
                    block.check_document(id, json)?;
                    report.documents += 1;
                }
                Record::End {
                    collections,
                    documents,
                } => {
                    if (collections, documents) != (report.collections, report.documents) {
                        return Err(block.fault("it does not hold what its end says"));
                    }
                    ended = true;
                }
            }
        }
    }
    if ended {
        Ok((report, outline))
    } else {
        Err(reader.cut_off())
    }
}

struct Loader<'a> {
    writer: Writer<'a>,
    outline: &'a [Outline],
}

impl Loader<'_> {
    /// Numbers for everything in the file, marked as unfinished.
    fn reserve(&self) -> Result<Vec<Collection>> {
        let numbered = std::cell::RefCell::new(Vec::new());
        let stage = |transaction: &mut Transaction| -> Staged<()> {
            let mut numbers = catalog::numbers_within(transaction, Io::Allow)?;
            let mut collections = Vec::with_capacity(self.outline.len());
            for outline in self.outline {
                let mut collection = Collection::new(numbers.take_collection()?);
                numbers.unfinished_collections.push(collection.number);
                for field in &outline.fields {
                    let number = numbers.take_index();
                    numbers.unfinished_indexes.push(number);
                    collection.indexes.push(Index {
                        number,
                        state: IndexState::Ready,
                        field: field.clone(),
                    });
                }
                collections.push(collection);
            }
            catalog::put_numbers(transaction, &numbers);
            numbered.replace(collections);
            Ok(Ok(()))
        };
        sweep::when_writable(self.writer.store, || self.writer.transact(stage))?.wait()?;
        Ok(numbered.into_inner())
    }

    /// Writes all documents and entries under the numbers.
    fn documents(
        &self,
        disk: &dyn Disk,
        path: &Path,
        numbered: &[Collection],
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut reader = FileReader::open(disk, path)?;
        let mut collections = numbered.iter();
        let mut current = None;
        let mut chunk = Chunk::default();
        while let Some(block) = reader.next_block()? {
            for record in block.records() {
                match record? {
                    Record::Collection { .. } => {
                        self.write(current, &mut chunk)?;
                        current = collections.next();
                    }
                    Record::Document { id, json } => {
                        let id = Bytes::copy_from_slice(id);
                        chunk.bytes += json.len();
                        chunk.documents.push((id, Bytes::copy_from_slice(json)));
                        if chunk.is_full() {
                            self.write(current, &mut chunk)?;
                        }
                    }
                    Record::End { .. } => self.write(current, &mut chunk)?,
                }
            }
            progress(reader.read_bytes());
        }
        Ok(())
    }

    /// Nobody else writes under these numbers, so nothing is read and nothing can conflict.
    fn write(&self, collection: Option<&Collection>, chunk: &mut Chunk) -> Result<()> {
        let Chunk { documents, .. } = std::mem::take(chunk);
        let (Some(collection), false) = (collection, documents.is_empty()) else {
            return Ok(());
        };
        let store = self.writer.store;
        loop {
            let mut transaction = store.begin();
            for (id, json) in &documents {
                for index in &collection.indexes {
                    for key in entries::keys(index.number, &index.field, id, json) {
                        transaction.put(key, Bytes::new());
                    }
                }
                let key = key::document(collection.number, id);
                transaction.put(Bytes::copy_from_slice(key.as_ref()), json.clone());
            }
            let count = i64::try_from(documents.len()).unwrap_or(i64::MAX);
            transaction.count(collection.counter(), count);
            std::thread::sleep(store.delay());
            match transaction.commit(None, None).map_err(EngineError::from) {
                Ok(_) => return Ok(()),
                Err(EngineError::Busy { .. }) => block_on(store.writable())?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes everything visible at once, if the database is still empty.
    fn publish(&self, numbered: &[Collection]) -> Result<()> {
        let stage = |transaction: &mut Transaction| -> Staged<()> {
            let mut numbers = catalog::numbers_within(transaction, Io::Allow)?;
            let mut scan = transaction.scan(
                key::collections(),
                godb_store::Direction::Ascending,
                Io::Allow,
            );
            // A collection that is made now takes a number, which this transaction depends on.
            if scan.next().transpose()?.is_some() {
                return Ok(Err(not_empty(1)));
            }
            let finished: HashSet<_> = numbered.iter().map(|one| one.number).collect();
            let indexes = numbered.iter().flat_map(|one| &one.indexes);
            let finished_indexes: HashSet<_> = indexes.map(|index| index.number).collect();
            numbers
                .unfinished_collections
                .retain(|number| !finished.contains(number));
            numbers
                .unfinished_indexes
                .retain(|number| !finished_indexes.contains(number));
            catalog::put_numbers(transaction, &numbers);
            for (outline, collection) in self.outline.iter().zip(numbered) {
                catalog::put_collection(transaction, &outline.name, collection);
            }
            Ok(Ok(()))
        };
        sweep::when_writable(self.writer.store, || self.writer.transact(stage))?.wait()
    }

    fn abandon(&self, numbered: &[Collection]) -> Result<()> {
        for collection in numbered {
            for index in &collection.indexes {
                sweep::index(&self.writer, index.number, &sweep::KEEP_ON)?;
            }
            sweep::collection(&self.writer, collection.number, &sweep::KEEP_ON)?;
        }
        Ok(())
    }
}

/// Documents that go into one transaction.
#[derive(Default)]
struct Chunk {
    documents: Vec<(Bytes, Bytes)>,
    bytes: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.bytes >= LOADED_BYTES || self.documents.len() >= LOADED_DOCUMENTS
    }
}
