//! The files of a snapshot, for those who carry it elsewhere, and what lies beside it.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{
    CONTENTS_SUFFIX, LEASED_SUFFIX, STAGING_SUFFIX, SUFFIX, SnapshotFile, Snapshots, check_name,
};
use crate::disk::{File, OpenMode};
use crate::error::{Result, StoreError};

/// Largest description.
const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

/// A file of a snapshot that is open: it can be read to its end whatever is deleted meanwhile.
pub struct SnapshotReader {
    path: std::path::PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
}

impl SnapshotReader {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from `offset`, which both lie within its size.
    ///
    /// # Errors
    /// I/O errors.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| StoreError::io("read", &self.path, &error))
    }
}

impl Snapshots {
    /// All files that make the snapshot `name`, in the order in which a copy writes them: the
    /// tables, its description if there is one, and last the manifest.
    ///
    /// # Errors
    /// As [`Snapshots::info`].
    pub fn carried_files(&self, name: &str) -> Result<Vec<SnapshotFile>> {
        let mut files = self.files(name)?;
        for suffix in [CONTENTS_SUFFIX, SUFFIX] {
            match self.open_named(&format!("{name}{suffix}")) {
                Ok(reader) => files.push(SnapshotFile {
                    name: format!("{name}{suffix}"),
                    bytes: reader.bytes,
                }),
                Err(StoreError::Io {
                    kind: ErrorKind::NotFound,
                    ..
                }) if suffix == CONTENTS_SUFFIX => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Opens a file of [`Snapshots::carried_files`]; `None` if the snapshot has no such file.
    ///
    /// # Errors
    /// As [`Snapshots::info`].
    pub fn open_file(&self, name: &str, file: &str) -> Result<Option<SnapshotReader>> {
        if !self.carried_files(name)?.iter().any(|own| own.name == file) {
            return Ok(None);
        }
        self.open_named(file).map(Some)
    }

    /// Name of the file that is the manifest of the snapshot `name`.
    #[must_use]
    pub fn manifest_name(name: &str) -> String {
        format!("{name}{SUFFIX}")
    }

    /// Name of the file that describes the snapshot `name`.
    #[must_use]
    pub fn description_name(name: &str) -> String {
        format!("{name}{CONTENTS_SUFFIX}")
    }

    fn open_named(&self, file: &str) -> Result<SnapshotReader> {
        let path = self.dir.join(file);
        let io = |op| {
            let path = path.clone();
            move |error: std::io::Error| StoreError::io(op, path, &error)
        };
        let opened = self.disk.open(&path, OpenMode::Read).map_err(io("open"))?;
        let bytes = opened.len().map_err(io("measure"))?;
        Ok(SnapshotReader {
            file: opened,
            bytes,
            path: path.clone(),
        })
    }

    /// Puts a description beside the snapshot `name`, in place of the one that is there. It is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], I/O errors.
    pub fn describe(&self, name: &str, description: &[u8]) -> Result<()> {
        let bytes = u64::try_from(description.len()).unwrap_or(u64::MAX);
        if bytes > MAX_DESCRIPTION_BYTES {
            return Err(StoreError::TooLarge {
                what: "description of a snapshot",
                bytes,
                limit_bytes: MAX_DESCRIPTION_BYTES,
            });
        }
        self.put_beside(name, CONTENTS_SUFFIX, description)
    }

    /// The description of the snapshot `name`; `None` if there is none.
    ///
    /// # Errors
    /// Damage that shows in its size, I/O errors.
    pub fn description(&self, name: &str) -> Result<Option<Vec<u8>>> {
        check_name(name)?;
        let reader = match self.open_named(&format!("{name}{CONTENTS_SUFFIX}")) {
            Err(StoreError::Io {
                kind: ErrorKind::NotFound,
                ..
            }) => return Ok(None),
            opened => opened?,
        };
        if reader.bytes > MAX_DESCRIPTION_BYTES {
            let detail = format!("{} bytes are no description's size", reader.bytes);
            return Err(StoreError::corrupt(&reader.path, 0, detail));
        }
        let mut description = vec![0; usize::try_from(reader.bytes).unwrap_or(0)];
        reader.read_at(&mut description, 0)?;
        Ok(Some(description))
    }

    /// Whether the snapshot `name` was made to go when nobody wants it any more.
    ///
    /// # Errors
    /// I/O errors.
    pub fn is_leased(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        Ok(self.names()?.contains(&format!("{name}{LEASED_SUFFIX}")))
    }

    /// From before the snapshot `name` exists: it goes when nobody wants it any more.
    pub(super) fn mark_leased(&self, name: &str) -> Result<()> {
        self.put_beside(name, LEASED_SUFFIX, &[])
    }

    fn put_beside(&self, name: &str, suffix: &str, content: &[u8]) -> Result<()> {
        check_name(name)?;
        let path = self.dir.join(format!("{name}{suffix}"));
        let staging = self.dir.join(format!("{name}{suffix}{STAGING_SUFFIX}"));
        let io = |op| {
            let path = path.clone();
            move |error: std::io::Error| StoreError::io(op, path, &error)
        };
        self.remove(&staging)?;
        let file = self
            .disk
            .open(&staging, OpenMode::Create)
            .map_err(io("create"))?;
        file.write_all_at(content, 0).map_err(io("write"))?;
        file.sync_data().map_err(io("sync"))?;
        self.disk.rename(&staging, &path).map_err(io("rename"))?;
        self.sync()
    }
}
