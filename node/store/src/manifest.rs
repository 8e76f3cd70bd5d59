//! The manifest: which tables are live, up to which LSN they hold everything, and where the log
//! begins. It is the root of the store: what it does not name does not exist.
//!
//! File `MANIFEST` in the data directory, written whole to `MANIFEST.tmp`, synced, renamed, and
//! the directory synced. So after a crash it is the old one or the new one. It is verified whole
//! whenever it is opened. All integers are little-endian.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic "GODBMAN\0"
//!       8     4  version, 1
//!      12     4  flags: 0x01 the store was closed cleanly
//!      16    16  store id, random, the same in every segment header
//!      32     8  generation, 1; a restore in place will raise it
//!      40     8  number of this manifest, raised by one each time
//!      48     1  durability level in force: 0 none, 1 memory, 2 os, 3 full; never weaker than
//!                what a transaction after this manifest may have been acknowledged at
//!      49     7  zero
//!      56     8  checkpoint LSN: everything up to it is in the tables
//!      64     8  durable LSN: everything up to it had been synced
//!      72     8  reservation: no LSN at or above it has been given out
//!      80     8  first log segment that is needed, 0 for none
//!      88     8  newest segment that a recovery made, 0 for none: the log must lead to it
//!      96     8  next table number
//!     104     8  next segment number, at least
//!     112     4  number of counters, each: id u64, value i64, as of the checkpoint LSN
//!       …     4  number of levels, each: number of tables u32, then the tables as `table` draws
//!                them (level 0 newest first, others by key)
//!       …     4  crc32 over everything before
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::codec::{self, Reader};
use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::settings::Durability;
use crate::table::TableMeta;

/// Name of the file.
pub(crate) const FILE_NAME: &str = "MANIFEST";
const STAGING_NAME: &str = "MANIFEST.tmp";
const MAGIC: [u8; 8] = *b"GODBMAN\0";
const VERSION: u32 = 1;
const FLAG_CLEAN: u32 = 1;
/// Largest manifest that is read: far more tables than a volume holds.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
const MIN_TABLE_BYTES: usize = 12;
/// Levels a manifest can have.
const MAX_LEVELS: usize = 16;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) clean: bool,
    pub(crate) store_id: u128,
    pub(crate) generation: u64,
    pub(crate) number: u64,
    pub(crate) level: Durability,
    pub(crate) checkpoint: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) reservation: Lsn,
    pub(crate) log_start: Option<u64>,
    pub(crate) log_through: Option<u64>,
    pub(crate) next_table: u64,
    pub(crate) next_segment: u64,
    pub(crate) counters: BTreeMap<u64, i64>,
    pub(crate) levels: Vec<Vec<TableMeta>>,
}

impl Manifest {
    /// The manifest of a store that holds nothing.
    pub(crate) fn empty(store_id: u128, level: Durability) -> Self {
        Self {
            clean: true,
            store_id,
            generation: 1,
            number: 0,
            level,
            checkpoint: Lsn::ZERO,
            durable: Lsn::ZERO,
            reservation: Lsn(1),
            log_start: None,
            log_through: None,
            next_table: 1,
            next_segment: 1,
            counters: BTreeMap::new(),
            levels: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&MAGIC);
        codec::put_u32(&mut out, VERSION);
        codec::put_u32(&mut out, if self.clean { FLAG_CLEAN } else { 0 });
        codec::put_u128(&mut out, self.store_id);
        codec::put_u64(&mut out, self.generation);
        codec::put_u64(&mut out, self.number);
        out.extend_from_slice(&[self.level as u8, 0, 0, 0, 0, 0, 0, 0]);
        for field in [
            self.checkpoint.0,
            self.durable.0,
            self.reservation.0,
            self.log_start.unwrap_or(0),
            self.log_through.unwrap_or(0),
            self.next_table,
            self.next_segment,
        ] {
            codec::put_u64(&mut out, field);
        }
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        codec::put_u32(&mut out, length(self.counters.len()));
        for (id, value) in &self.counters {
            codec::put_u64(&mut out, *id);
            codec::put_u64(&mut out, value.cast_unsigned());
        }
        codec::put_u32(&mut out, length(self.levels.len()));
        for level in &self.levels {
            codec::put_u32(&mut out, length(level.len()));
            for table in level {
                table.encode(&mut out);
            }
        }
        let crc = crc32fast::hash(&out);
        codec::put_u32(&mut out, crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let (body, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or_else(|| StoreError::corrupt(path, 0, "the manifest is too short"))?;
        if body.get(..8) != Some(&MAGIC) {
            return Err(StoreError::corrupt(path, 0, "this is not a manifest"));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(StoreError::corrupt(
                path,
                0,
                "the manifest does not match its checksum",
            ));
        }
        let mut reader = Reader::new(body);
        Self::read(&mut reader).map_err(|error| match error {
            ReadError::Newer(found) => StoreError::NewerFormat {
                path: path.to_path_buf(),
                found,
                supported: VERSION,
            },
            ReadError::Decode(error) => error.in_file(path, 0),
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        reader.take(MAGIC.len())?;
        let version = reader.u32()?;
        let flags = reader.u32()?;
        if version != VERSION || flags > FLAG_CLEAN {
            return Err(ReadError::Newer(version.max(VERSION + 1)));
        }
        let store_id = reader.u128()?;
        let generation = reader.u64()?;
        let number = reader.u64()?;
        let level = Durability::from_u8(reader.u8()?)
            .ok_or_else(|| ReadError::Decode(reader.error("durability level")))?;
        reader.take(7)?;
        let checkpoint = Lsn(reader.u64()?);
        let durable = Lsn(reader.u64()?);
        let reservation = Lsn(reader.u64()?);
        let named = |number: u64| (number != 0).then_some(number);
        let log_start = named(reader.u64()?);
        let log_through = named(reader.u64()?);
        let next_table = reader.u64()?;
        let next_segment = reader.u64()?;
        let count = count(reader, 16)?;
        let mut counters = BTreeMap::new();
        for _ in 0..count {
            let id = reader.u64()?;
            counters.insert(id, reader.u64()?.cast_signed());
        }
        let level_count = self::count(reader, 4)?;
        if level_count > MAX_LEVELS {
            return Err(ReadError::Decode(reader.error("number of levels")));
        }
        let mut levels = Vec::with_capacity(level_count);
        for _ in 0..level_count {
            let tables = self::count(reader, MIN_TABLE_BYTES)?;
            let mut level = Vec::with_capacity(tables);
            for _ in 0..tables {
                level.push(TableMeta::decode(reader)?);
            }
            levels.push(level);
        }
        reader.finish()?;
        Ok(Self {
            clean: flags & FLAG_CLEAN != 0,
            store_id,
            generation,
            number,
            level,
            checkpoint,
            durable,
            reservation,
            log_start,
            log_through,
            next_table,
            next_segment,
            counters,
            levels,
        })
    }

    /// Reads the manifest of `data_dir`; `None` if there is none.
    pub(crate) fn load(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Self>> {
        Self::load_file(disk, &data_dir.join(FILE_NAME))
    }

    /// Reads the manifest at `path`; `None` if there is none.
    pub(crate) fn load_file(disk: &dyn Disk, path: &Path) -> Result<Option<Self>> {
        let io = |op| move |error: std::io::Error| StoreError::io(op, path, &error);
        let file = match disk.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open")(error)),
        };
        let length = file.len().map_err(io("measure"))?;
        if length > MAX_BYTES {
            return Err(StoreError::corrupt(
                path,
                0,
                format!("{length} bytes are no manifest's size"),
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
        Self::decode(&bytes, path).map(Some)
    }

    /// Makes this the manifest. When it returns, it is durable.
    ///
    /// # Errors
    /// Before the rename nothing has changed, nor by one that left its source;
    /// [`StoreFailure::Unknown`] means that either one may be found after a crash, so nothing that
    /// only one of them names may be touched.
    pub(crate) fn store(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(), StoreFailure> {
        self.store_as(disk, data_dir, FILE_NAME, STAGING_NAME)
    }

    /// As [`Manifest::store`], under `name` in `dir`, by way of `staging`.
    pub(crate) fn store_as(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        staging: &str,
    ) -> Result<(), StoreFailure> {
        let path = dir.join(name);
        let staging = dir.join(staging);
        let io = |op| {
            let path: PathBuf = path.clone();
            move |error: std::io::Error| StoreError::io(op, &path, &error)
        };
        let staged = (|| {
            match disk.remove(&staging) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("replace")(error));
                }
                _ => {}
            }
            let file = disk
                .open(&staging, OpenMode::Create)
                .map_err(io("create"))?;
            file.write_all_at(&self.encode(), 0).map_err(io("write"))?;
            file.sync_data().map_err(io("sync"))
        })();
        staged.map_err(StoreFailure::Unchanged)?;
        if let Err(error) = disk.rename(&staging, &path) {
            let error = io("rename")(error);
            // A rename can fail and be done all the same, as on a network or a failing drive. It
            // was not while its source is there.
            return Err(match disk.open(&staging, OpenMode::Read) {
                Ok(_) => StoreFailure::Unchanged(error),
                Err(_) => StoreFailure::Unknown(error),
            });
        }
        disk.sync_dir(dir)
            .map_err(|error| StoreFailure::Unknown(io("sync the directory of")(error)))
    }
}

/// How storing a manifest failed.
pub(crate) enum StoreFailure {
    /// The old manifest is still the current one.
    Unchanged(StoreError),
    /// Old or new may be found after a crash: the store must stop.
    Unknown(StoreError),
}

enum ReadError {
    Newer(u32),
    Decode(codec::DecodeError),
}

impl From<codec::DecodeError> for ReadError {
    fn from(error: codec::DecodeError) -> Self {
        ReadError::Decode(error)
    }
}

/// A count that cannot be larger than what is left could hold.
fn count(reader: &mut Reader<'_>, least_item_bytes: usize) -> Result<usize, ReadError> {
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count > reader.remaining() / least_item_bytes {
        return Err(ReadError::Decode(reader.error("count")));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sample() -> Manifest {
        let table = |number| TableMeta {
            number,
            bytes: 4000,
            checksum: 0xABCD,
            entries: 12,
            tombstones: 2,
            keys: 10,
            smallest: Bytes::from_static(b"a"),
            largest: Bytes::from_static(b"q"),
            min_lsn: Lsn(3),
            max_lsn: Lsn(40),
        };
        Manifest {
            clean: true,
            number: 9,
            checkpoint: Lsn(40),
            durable: Lsn(44),
            reservation: Lsn(100),
            log_start: Some(3),
            log_through: Some(4),
            next_table: 8,
            next_segment: 6,
            counters: BTreeMap::from([(1, -5), (7, 12)]),
            levels: vec![vec![table(7), table(6)], vec![], vec![table(2)]],
            ..Manifest::empty(77, Durability::Full)
        }
    }

    #[test]
    fn it_comes_back_and_every_flipped_bit_and_cut_is_noticed() {
        let path = Path::new("MANIFEST");
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes, path).unwrap(), sample());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::decode(&damaged, path).unwrap_err();
            assert!(
                matches!(error, StoreError::Corrupt { .. }),
                "bit {bit}: {error}"
            );
        }
        for length in 0..bytes.len() {
            assert!(
                Manifest::decode(&bytes[..length], path).is_err(),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_named_not_called_damage() {
        let mut bytes = sample().encode();
        bytes[8] = 2;
        let body = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&crc);
        let error = Manifest::decode(&bytes, Path::new("MANIFEST")).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NewerFormat {
                    found: 2,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn the_bytes_are_those_of_version_1() {
        let expected = include_str!("../testdata/manifest-v1.hex");
        let actual: String = sample()
            .encode()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            actual,
            expected.trim(),
            "a changed format needs a new version"
        );
    }
}
