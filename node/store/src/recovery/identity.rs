//! Which store a log or checkpoint directory belongs to.
//!
//! File `STORE-ID` in each of the two, made when the store is, never changed. Without it the
//! directory of another store would look like one full of leftovers, which are removed.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic "GODBDIR\0"
//!       8     4  version, 1, little-endian as all
//!      12    16  store id
//!      28     4  crc32 over everything before
//! ```
//!
//! The manifest comes first, then the identities, then the manifest that the first open commits.
//! So only beside the very first manifest may they be missing, and without a manifest there is
//! none.

use std::path::Path;

use crate::codec::{self, Reader};
use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::manifest::Manifest;
use crate::settings::Settings;

/// Name of the file.
pub(crate) const FILE_NAME: &str = "STORE-ID";
const STAGING_NAME: &str = "STORE-ID.tmp";
const MAGIC: [u8; 8] = *b"GODBDIR\0";
const VERSION: u32 = 1;
const BYTES: usize = 32;
/// Number of the manifest that makes a store.
const FIRST_MANIFEST: u64 = 1;

/// What a directory is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Log,
    Table,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Log => "log",
            Role::Table => "table",
        })
    }
}

/// The directories beside the manifest's.
pub(crate) fn directories(settings: &Settings) -> [(Role, &Path); 2] {
    [
        (Role::Log, &settings.wal_dir),
        (Role::Table, &settings.checkpoint_dir),
    ]
}

fn encode(store_id: u128) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES);
    out.extend_from_slice(&MAGIC);
    codec::put_u32(&mut out, VERSION);
    codec::put_u128(&mut out, store_id);
    let crc = crc32fast::hash(&out);
    codec::put_u32(&mut out, crc);
    out
}

fn decode(bytes: &[u8], path: &Path) -> Result<u128> {
    let damaged = || StoreError::corrupt(path, 0, "this does not tell which store it belongs to");
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if bytes.len() != BYTES
        || body.get(..8) != Some(&MAGIC)
        || crc32fast::hash(body) != u32::from_le_bytes(*crc)
    {
        return Err(damaged());
    }
    let mut reader = Reader::new(body);
    let mut read = || {
        reader.take(MAGIC.len())?;
        Ok((reader.u32()?, reader.u128()?))
    };
    let (version, store_id) = read().map_err(|error: codec::DecodeError| error.in_file(path, 0))?;
    if version != VERSION {
        return Err(StoreError::NewerFormat {
            path: path.to_path_buf(),
            found: version,
            supported: VERSION,
        });
    }
    Ok(store_id)
}

/// The store that `dir` belongs to, if it says so.
fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<u128>> {
    let path = dir.join(FILE_NAME);
    let file = match disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", &path, &error)),
    };
    let length = file
        .len()
        .map_err(|error| StoreError::io("measure", &path, &error))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(BYTES + 1)];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| StoreError::io("read", &path, &error))?;
    decode(&bytes, &path).map(Some)
}

/// Lets `dir` say that it belongs to the store `store_id`, durably.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, store_id: u128) -> Result<()> {
    let (path, staging) = (dir.join(FILE_NAME), dir.join(STAGING_NAME));
    let io = |op| {
        let path = path.clone();
        move |error: std::io::Error| StoreError::io(op, &path, &error)
    };
    match disk.remove(&staging) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("replace")(error));
        }
        _ => {}
    }
    let file = disk
        .open(&staging, OpenMode::Create)
        .map_err(io("create"))?;
    file.write_all_at(&encode(store_id), 0)
        .map_err(io("write"))?;
    file.sync_data().map_err(io("sync"))?;
    disk.rename(&staging, &path).map_err(io("rename"))?;
    disk.sync_dir(dir).map_err(io("sync the directory of"))
}

/// Refuses a directory that is not the store's. Beside its first manifest it may not say so yet.
///
/// # Errors
/// [`StoreError::Mismatch`], damage of the file, I/O errors.
pub(crate) fn check(disk: &dyn Disk, role: Role, dir: &Path, manifest: &Manifest) -> Result<()> {
    let is_there = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(StoreError::io("list", dir, &error)),
        Ok(_) => true,
    };
    let detail = match read(disk, dir)? {
        Some(found) if found == manifest.store_id => return Ok(()),
        Some(_) => "this directory belongs to another store; check the directories in the settings"
            .to_owned(),
        None if manifest.number <= FIRST_MANIFEST => return Ok(()),
        None if !is_there => {
            format!("the {role} directory is missing: is its volume mounted, and the path right?")
        }
        None => format!(
            "the {role} directory has no {FILE_NAME}, the file that says which store it belongs to: is its volume mounted, and the path right? If its content is lost, restore a backup of the whole database"
        ),
    };
    Err(StoreError::Mismatch {
        path: dir.to_path_buf(),
        detail,
    })
}

/// As [`check`]; beside the first manifest, lets the directory say whose it is, durably.
pub(crate) fn confirm(disk: &dyn Disk, role: Role, dir: &Path, manifest: &Manifest) -> Result<()> {
    check(disk, role, dir, manifest)?;
    if manifest.number <= FIRST_MANIFEST {
        write(disk, dir, manifest.store_id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_and_cut_is_noticed() {
        let path = Path::new(FILE_NAME);
        let bytes = encode(77);
        assert_eq!(decode(&bytes, path).unwrap(), 77);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, path).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], path).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_version_1() {
        let actual: String = encode(0x0102).iter().map(|b| format!("{b:02x}")).collect();
        let expected = include_str!("../../testdata/store-id-v1.hex");
        assert_eq!(
            actual,
            expected.trim(),
            "a changed format needs a new version"
        );
    }
}
