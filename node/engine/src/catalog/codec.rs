//! The records of the catalogue as bytes; drawn in [`super`].

use godb_store::StoreError;

use super::{Collection, Index, IndexState, Numbers};
use crate::error::{EngineError, Result};
use crate::key::{CollectionNumber, IndexNumber};

const VERSION: u8 = 1;
const BUILDING: u8 = 1;
const READY: u8 = 2;

pub(crate) fn encode_collection(collection: &Collection) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(collection.number.0.to_le_bytes());
    out.extend(count16(collection.indexes.len()).to_le_bytes());
    for index in &collection.indexes {
        out.extend(index.number.0.to_le_bytes());
        out.push(match index.state {
            IndexState::Building => BUILDING,
            IndexState::Ready => READY,
        });
        out.extend(count16(index.field.len()).to_le_bytes());
        out.extend(index.field.as_bytes());
    }
    out
}

pub(crate) fn decode_collection(name: &str, bytes: &[u8]) -> Result<Collection> {
    let mut fields = Fields(bytes);
    let decoded = fields.collection();
    decoded.ok_or_else(|| damaged(&format!("collection {name}"), bytes, fields.0))
}

pub(crate) fn encode_numbers(numbers: &Numbers) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(numbers.next_collection.to_le_bytes());
    out.extend(numbers.next_index.to_le_bytes());
    out.extend(count32(numbers.unfinished_collections.len()).to_le_bytes());
    for number in &numbers.unfinished_collections {
        out.extend(number.0.to_le_bytes());
    }
    out.extend(count32(numbers.unfinished_indexes.len()).to_le_bytes());
    for number in &numbers.unfinished_indexes {
        out.extend(number.0.to_le_bytes());
    }
    out
}

pub(crate) fn decode_numbers(bytes: &[u8]) -> Result<Numbers> {
    let mut fields = Fields(bytes);
    let decoded = fields.numbers();
    decoded.ok_or_else(|| damaged("numbers", bytes, fields.0))
}

/// Names and counts are checked against far smaller limits before they come here.
fn count16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn count32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn damaged(record: &str, bytes: &[u8], rest: &[u8]) -> EngineError {
    let offset = (bytes.len() - rest.len()) as u64;
    let file = format!("catalogue record of {record}");
    EngineError::Store(StoreError::corrupt(file, offset, "it does not decode"))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn version(&mut self) -> Option<()> {
        let [version] = self.array()?;
        (version == VERSION).then_some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn collection(&mut self) -> Option<Collection> {
        self.version()?;
        let mut collection = Collection::new(CollectionNumber(self.u32()?));
        for _ in 0..self.u16()? {
            let number = IndexNumber(self.u64()?);
            let state = match self.array()? {
                [BUILDING] => IndexState::Building,
                [READY] => IndexState::Ready,
                _ => return None,
            };
            let field = self.text()?;
            collection.indexes.push(Index {
                number,
                state,
                field,
            });
        }
        self.end()?;
        Some(collection)
    }

    fn numbers(&mut self) -> Option<Numbers> {
        self.version()?;
        let mut numbers = Numbers {
            next_collection: self.u32()?,
            next_index: self.u64()?,
            unfinished_collections: Vec::new(),
            unfinished_indexes: Vec::new(),
        };
        for _ in 0..self.u32()? {
            let number = CollectionNumber(self.u32()?);
            numbers.unfinished_collections.push(number);
        }
        for _ in 0..self.u32()? {
            numbers.unfinished_indexes.push(IndexNumber(self.u64()?));
        }
        self.end()?;
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> Collection {
        Collection {
            number: CollectionNumber(0x0102_0304),
            indexes: vec![
                Index {
                    number: IndexNumber(5),
                    state: IndexState::Building,
                    field: "a.b".to_owned(),
                },
                Index {
                    number: IndexNumber(6),
                    state: IndexState::Ready,
                    field: "ß".to_owned(),
                },
            ],
        }
    }

    fn numbers() -> Numbers {
        Numbers {
            next_collection: 9,
            next_index: 10,
            unfinished_collections: vec![CollectionNumber(7), CollectionNumber(8)],
            unfinished_indexes: vec![IndexNumber(5)],
        }
    }

    #[test]
    fn golden() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(&encode_collection(&collection())),
            concat!(
                "01",
                "04030201",
                "0200",
                "0500000000000000",
                "01",
                "0300",
                "612e62",
                "0600000000000000",
                "02",
                "0200",
                "c39f"
            )
        );
        assert_eq!(
            hex(&encode_numbers(&numbers())),
            concat!(
                "01",
                "09000000",
                "0a00000000000000",
                "02000000",
                "07000000",
                "08000000",
                "01000000",
                "0500000000000000"
            )
        );
    }

    #[test]
    fn comes_back_and_damage_is_noticed() {
        let bytes = encode_collection(&collection());
        assert_eq!(decode_collection("x", &bytes).unwrap(), collection());
        for end in 0..bytes.len() {
            assert!(
                decode_collection("x", &bytes[..end]).is_err(),
                "cut at {end}"
            );
        }
        assert!(decode_collection("x", &[bytes, vec![0]].concat()).is_err());
        let bytes = encode_numbers(&numbers());
        assert_eq!(decode_numbers(&bytes).unwrap(), numbers());
        for end in 0..bytes.len() {
            assert!(decode_numbers(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(decode_numbers(&[2]).is_err());
    }
}
