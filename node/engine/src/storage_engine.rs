//! The library face: every operation, and what it guarantees.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use godb_store::disk::Disk;
use godb_store::{
    CheckpointReport, Components, Io, LiveSettings, Lsn, RecoveryReport, Settings, Store,
    StoreStats,
};

use crate::builder::Builder;
use crate::catalog::{Catalog, Collection, IndexState};
use crate::check::{self, CheckReport};
use crate::document::Document;
use crate::error::{EngineError, Result};
use crate::index::build::{self, Builds};
use crate::pending::Pending;
use crate::query::exec::{self, Find, Page};
use crate::query::parse::Filter;
use crate::query::stream::DocumentStream;
use crate::sweep::Sweeper;
use crate::transfer::stream::DatabaseStream;
use crate::transfer::{self, TransferReport};
use crate::write::{Replace, Write, Writer};
use crate::{id, key, name};

/// A database of JSON documents. Clones share it.
///
/// Writes are atomic and isolated from each other as if they were made one after the other. Their
/// answers are [`Pending`]: they may be given once the durability level holds. Reads see what is
/// visible, which is never anything that the level could take back.
#[derive(Clone)]
pub struct StorageEngine {
    shared: Arc<Shared>,
}

struct Shared {
    // Stopped before the store goes.
    sweeper: Sweeper,
    store: Store,
    catalog: Arc<Catalog>,
    builds: Builds,
    disk: Arc<dyn Disk>,
}

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Its number, which no other collection ever had or will have.
    pub number: u32,
    /// Its documents.
    pub documents: u64,
    /// Its secondary indexes.
    pub indexes: Vec<IndexInfo>,
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// Dotted path of the field.
    pub field: String,
    /// Whether queries use it; until then it is being built.
    pub ready: bool,
}

/// Where the memory is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Writes that are not in tables yet.
    pub memtable_bytes: u64,
    /// Blocks of tables.
    pub cache_bytes: u64,
    /// Indexes and filters of tables.
    pub tables_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
    /// The budget.
    pub max_memory_bytes: u64,
}

impl StorageEngine {
    /// Options for a database in `data_dir`.
    pub fn builder(data_dir: impl Into<PathBuf>) -> Builder {
        Builder::new(data_dir.into())
    }

    pub(crate) fn open(settings: &Settings, components: &Components) -> Result<Self> {
        let store = Store::open(settings, components)?;
        let catalog = Arc::new(Catalog::default());
        // Every request needs the catalogue: damage in it is found here, by file and offset, and
        // not by the first who asks.
        check::collections(&store.snapshot_read(), &catalog)?;
        let sweeper = Sweeper::start(&store, &catalog, &components.observer)?;
        Ok(Self {
            shared: Arc::new(Shared {
                sweeper,
                store,
                catalog,
                builds: Builds::default(),
                disk: Arc::clone(&components.disk),
            }),
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    fn writer<'a>(&'a self, how: &Write<'a>) -> Writer<'a> {
        Writer {
            store: self.store(),
            catalog: self.catalog(),
            how: *how,
        }
    }

    /// Stores a new document; without an `_id` it gets one. The collection is made if it is
    /// missing.
    ///
    /// # Errors
    /// At once: [`EngineError::InvalidJson`], [`EngineError::InvalidName`],
    /// [`EngineError::InvalidId`], [`EngineError::InvalidDocument`], [`EngineError::TooLarge`], and
    /// those of the store. From the answer: [`EngineError::AlreadyExists`],
    /// [`EngineError::OutcomeUnknown`].
    pub fn insert(
        &self,
        collection: &str,
        document: &[u8],
        how: &Write<'_>,
    ) -> Result<Pending<Document>> {
        self.writer(how).insert(collection, document)
    }

    /// Stores 1 to 1000 new documents, all or none.
    ///
    /// # Errors
    /// As for [`StorageEngine::insert`], and [`EngineError::TooMany`] and
    /// [`EngineError::DuplicateInBatch`] at once. What is wrong with an item is
    /// [`EngineError::InvalidDocument`] and tells its position.
    pub fn batch_insert(
        &self,
        collection: &str,
        documents: &[&[u8]],
        how: &Write<'_>,
    ) -> Result<Pending<Vec<Document>>> {
        self.writer(how).batch_insert(collection, documents)
    }

    /// Sets fields of a document and answers the whole document: a shallow merge, in which a null
    /// is a value. Concurrent updates of one document all take effect.
    ///
    /// # Errors
    /// At once as for [`StorageEngine::insert`]; an `_id` other than `id` is
    /// [`EngineError::InvalidDocument`]. From the answer: [`EngineError::NotFound`], and
    /// [`EngineError::TooLarge`] if the result would be.
    pub fn update(
        &self,
        collection: &str,
        id: &str,
        fields: &[u8],
        how: &Write<'_>,
    ) -> Result<Pending<Document>> {
        self.writer(how).update(collection, id, fields)
    }

    /// Stores a document under `id` in place of the one that is there, or not, as `mode` says.
    ///
    /// # Errors
    /// As for [`StorageEngine::update`]; by `mode` also [`EngineError::PreconditionFailed`].
    pub fn replace(
        &self,
        collection: &str,
        id: &str,
        document: &[u8],
        mode: Replace,
        how: &Write<'_>,
    ) -> Result<Pending<Document>> {
        self.writer(how).replace(collection, id, document, mode)
    }

    /// Makes 1 to 1000 updates in their order, all or none. The answer has the document after each
    /// of them.
    ///
    /// # Errors
    /// As for [`StorageEngine::update`] and [`StorageEngine::batch_insert`]. One missing document
    /// is [`EngineError::NotFound`] for all of them.
    pub fn batch_update(
        &self,
        collection: &str,
        operations: &[(&str, &[u8])],
        how: &Write<'_>,
    ) -> Result<Pending<Vec<Document>>> {
        self.writer(how).batch_update(collection, operations)
    }

    /// Removes a document. It works on a full disk too.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] from the answer.
    pub fn delete(&self, collection: &str, id: &str, how: &Write<'_>) -> Result<Pending<()>> {
        self.writer(how).delete(collection, id)
    }

    /// Makes a collection; one that is there already is fine.
    ///
    /// # Errors
    /// [`EngineError::InvalidName`].
    pub fn create_collection(&self, collection: &str, how: &Write<'_>) -> Result<Pending<()>> {
        self.writer(how).create_collection(collection)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`EngineError::InvalidName`], [`EngineError::InvalidId`], [`EngineError::WouldBlock`] by
    /// `io`.
    pub fn get(&self, collection: &str, id: &str, io: Io) -> Result<Option<Document>> {
        id::check(id)?;
        let point = self.store().snapshot_read();
        let number = match self.catalog().known_number(collection) {
            Some(number) => number,
            None => {
                name::check_collection(collection)?;
                match self.catalog().at(&point, collection, io)? {
                    Some(collection) => collection.number,
                    None => return Ok(None),
                }
            }
        };
        let found = point.get(key::document(number, id.as_bytes()).as_ref(), io)?;
        Ok(found.map(|entry| Document {
            id: Bytes::copy_from_slice(id.as_bytes()),
            lsn: entry.lsn,
            json: entry.value,
        }))
    }

    /// Finds one page of the documents that match, in the order of their ids. A missing collection
    /// is an empty one.
    ///
    /// # Errors
    /// [`EngineError::InvalidQuery`], [`EngineError::InvalidCursor`]; [`EngineError::TooLarge`] for
    /// a page of more than 64 MiB; [`EngineError::WouldBlock`] by `io`, which also bounds the work.
    pub fn find(&self, collection: &str, query: &Find, io: Io) -> Result<Page> {
        name::check_collection(collection)?;
        exec::find(self.store(), self.catalog(), collection, query, io)
    }

    /// Every document that matches, one after the other, as of now. Memory is bounded by a chunk.
    ///
    /// # Errors
    /// [`EngineError::InvalidName`], and those of the disk.
    pub fn find_stream(&self, collection: &str, filter: &Filter) -> Result<DocumentStream> {
        name::check_collection(collection)?;
        DocumentStream::new(self.store(), self.catalog(), collection, filter)
    }

    /// What is known of a collection.
    ///
    /// # Errors
    /// [`EngineError::InvalidName`], and those of the disk.
    pub fn collection(&self, name: &str) -> Result<Option<CollectionInfo>> {
        name::check_collection(name)?;
        let found = self
            .catalog()
            .at(&self.store().snapshot_read(), name, Io::Allow)?;
        Ok(found.map(|found| self.info(name.to_owned(), &found)))
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let found = check::collections(&self.store().snapshot_read(), self.catalog())?;
        let info = |(name, collection): (String, Arc<Collection>)| self.info(name, &collection);
        Ok(found.into_iter().map(info).collect())
    }

    fn info(&self, name: String, collection: &Collection) -> CollectionInfo {
        let counted = self.store().counter(collection.counter());
        let indexes = collection.indexes.iter().map(|index| IndexInfo {
            field: index.field.clone(),
            ready: index.state == IndexState::Ready,
        });
        CollectionInfo {
            name,
            number: collection.number.0,
            documents: u64::try_from(counted).unwrap_or(0),
            indexes: indexes.collect(),
        }
    }

    /// The fields that queries over a collection can use an index of: `_id`, and those of its
    /// ready indexes. A missing collection has none.
    ///
    /// # Errors
    /// As for [`StorageEngine::collection`].
    pub fn indexes(&self, collection: &str) -> Result<Vec<String>> {
        let Some(info) = self.collection(collection)? else {
            return Ok(Vec::new());
        };
        let ready = info.indexes.into_iter().filter(|index| index.ready);
        Ok(std::iter::once("_id".to_owned())
            .chain(ready.map(|index| index.field))
            .collect())
    }

    /// Makes an index on a field while the collection is in use; the collection is made if it is
    /// missing. Blocks until the index is complete and durable; a crash before that leaves none.
    /// False if it was there already, or another call was making it.
    ///
    /// # Errors
    /// [`EngineError::InvalidName`] for the collection or the field, [`EngineError::TooMany`]
    /// beyond 64 indexes, and those of writes; then there is no index.
    pub fn create_index(&self, collection: &str, field: &str) -> Result<bool> {
        name::check_collection(collection)?;
        name::check_field_path(field)?;
        self.shared.builds.run(collection, field, || {
            build::create(self.store(), self.catalog(), collection, field)
        })
    }

    /// Where the memory is.
    #[must_use]
    pub fn memory_stats(&self) -> MemoryStats {
        let stats = self.stats();
        MemoryStats {
            memtable_bytes: stats.memtable_bytes,
            cache_bytes: stats.cache_bytes,
            tables_bytes: stats.tables_memory_bytes,
            total_bytes: stats.memtable_bytes + stats.cache_bytes + stats.tables_memory_bytes,
            max_memory_bytes: stats.max_memory_bytes,
        }
    }

    /// Figures of the store at this moment.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.store().stats()
    }

    /// What opening found and did.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.store().recovery_report()
    }

    /// Blocks until everything written before the call is durable, whatever the level; returns the
    /// LSN that this covers.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn flush(&self) -> Result<Lsn> {
        Ok(self.store().flush()?)
    }

    /// Blocks until everything written before the call is in tables.
    ///
    /// # Errors
    /// Those of the disk; nothing is lost.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        Ok(self.store().checkpoint()?)
    }

    /// Blocks until tables are merged as far as the rules for levels ask.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn compact(&self) -> Result<()> {
        Ok(self.store().compact()?)
    }

    /// The settings in force that can be changed.
    #[must_use]
    pub fn live_settings(&self) -> LiveSettings {
        self.store().live_settings()
    }

    /// Changes them; blocks until they are in force.
    ///
    /// # Errors
    /// Those of [`Store::reconfigure`].
    pub fn reconfigure(&self, live: LiveSettings) -> Result<()> {
        Ok(self.store().reconfigure(live)?)
    }

    /// How long to wait before the next write: zero while checkpoints and compactions keep up, at
    /// most a second. Who does not wait runs into [`EngineError::Busy`] sooner.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.store().delay()
    }

    /// Ready when writes are no longer refused as [`EngineError::Busy`].
    pub fn writable(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let writable = self.store().writable();
        async move { Ok(writable.await?) }
    }

    /// Every collection with its indexes and documents, as of now. Blocks on the disk.
    ///
    /// # Errors
    /// Those of the disk, and [`EngineError::ViewExpired`].
    pub fn database_stream(&self) -> Result<DatabaseStream> {
        DatabaseStream::new(self.store(), self.catalog())
    }

    /// Writes the whole database, as it is now, to a new file. `progress` is told the bytes.
    ///
    /// # Errors
    /// Those of the disk, also if the file exists; [`EngineError::ViewExpired`] if it takes longer
    /// than the view lease. The file then does not exist.
    pub fn save(&self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<TransferReport> {
        let disk = self.shared.disk.as_ref();
        transfer::save(self.store(), self.catalog(), disk, path, progress)
    }

    /// Loads a file that [`StorageEngine::save`] wrote into this database, which must be empty:
    /// all of it or nothing. `progress` is told the bytes.
    ///
    /// # Errors
    /// [`EngineError::NotEmpty`]; [`EngineError::InvalidFile`], before anything is written; those
    /// of writes. The database is then as it was.
    pub fn load(&self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<TransferReport> {
        let disk = self.shared.disk.as_ref();
        transfer::load(self.store(), self.catalog(), disk, path, progress)
    }

    /// Holds the indexes against the documents, both ways, as of now. Reads everything.
    ///
    /// # Errors
    /// Those of the disk, and [`EngineError::ViewExpired`].
    pub fn check(&self) -> Result<CheckReport> {
        check::check(self.store(), self.catalog())
    }

    /// Takes no more writes, makes everything durable, and ends the background work. A second call
    /// does nothing.
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub fn close(&self) -> Result<()> {
        self.shared.sweeper.stop();
        self.store().close().map_err(EngineError::from)
    }
}
