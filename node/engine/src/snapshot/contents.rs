//! What a snapshot holds, written down when it was taken: `NAME.contents`.
//!
//! All integers are little-endian.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic "GODBSNC\0"
//!       8     4  version, 1
//!      12     8  when it was taken, milliseconds since 1970; 0 unknown
//!      20     8  how long that took, milliseconds
//!      28     4  number of collections, each by name:
//!                length u16, name; documents u64; bytes of their JSON u64; SHA-256 (32 bytes)
//!                over the documents in the order of their ids: length of the id u64, id, length
//!                of the JSON u64, JSON
//!       …     4  crc32 over everything before
//! ```

use std::fmt::Write as _;
use std::path::Path;

use godb_store::StoreError;

use crate::error::{EngineError, Result};

const MAGIC: &[u8; 8] = b"GODBSNC\0";
const VERSION: u32 = 1;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// When it was taken, in milliseconds since 1970; 0 if that is not known.
    pub created_at_ms: u64,
    /// How long writing it took, in milliseconds, without reading it again.
    pub took_ms: u64,
    /// Its collections by name.
    pub collections: Vec<CollectionContents>,
}

/// What a collection of a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionContents {
    /// Its name.
    pub name: String,
    /// Its documents.
    pub documents: u64,
    /// Size of their JSON.
    pub bytes: u64,
    /// SHA-256 over ids and documents, in the order of the ids.
    pub sha256: [u8; 32],
}

impl CollectionContents {
    /// The digest in hexadecimal.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Contents {
    /// Documents in all.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|each| each.documents).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.created_at_ms.to_le_bytes());
        out.extend(self.took_ms.to_le_bytes());
        let count = u32::try_from(self.collections.len()).unwrap_or(u32::MAX);
        out.extend(count.to_le_bytes());
        for collection in &self.collections {
            // Names have at most 128 bytes.
            let length = u16::try_from(collection.name.len()).unwrap_or(u16::MAX);
            out.extend(length.to_le_bytes());
            out.extend(collection.name.as_bytes());
            out.extend(collection.documents.to_le_bytes());
            out.extend(collection.bytes.to_le_bytes());
            out.extend(collection.sha256);
        }
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let corrupt =
            |detail: &str| EngineError::Store(StoreError::corrupt(path, 0, detail.to_owned()));
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(corrupt("the file is too short"));
        };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(corrupt("the file does not match its checksum"));
        }
        let mut fields = Fields(body);
        if fields.array() != Some(*MAGIC) {
            return Err(corrupt("this does not say what a snapshot holds"));
        }
        match fields.array().map(u32::from_le_bytes) {
            Some(VERSION) => {}
            Some(found) => {
                return Err(EngineError::Store(StoreError::NewerFormat {
                    path: path.to_path_buf(),
                    found,
                    supported: VERSION,
                }));
            }
            None => return Err(corrupt("the file is too short")),
        }
        fields
            .contents()
            .ok_or_else(|| corrupt("it does not decode"))
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn contents(&mut self) -> Option<Contents> {
        let mut contents = Contents {
            created_at_ms: u64::from_le_bytes(self.array()?),
            took_ms: u64::from_le_bytes(self.array()?),
            collections: Vec::new(),
        };
        for _ in 0..u32::from_le_bytes(self.array()?) {
            let length = usize::from(u16::from_le_bytes(self.array()?));
            let (name, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            contents.collections.push(CollectionContents {
                name: std::str::from_utf8(name).ok()?.to_owned(),
                documents: u64::from_le_bytes(self.array()?),
                bytes: u64::from_le_bytes(self.array()?),
                sha256: self.array()?,
            });
        }
        self.0.is_empty().then_some(contents)
    }
}
