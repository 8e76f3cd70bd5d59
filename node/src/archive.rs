//! A whole database as text: what `GET /export` answers and `godb export --all` writes.
//!
//! ```text
//! line 1     ["godb-export",1,{"lsn":L}]                      format version; LSN of the state
//! then, for each collection in the order of the names' bytes
//!            ["collection","NAME",{"indexes":["FIELD",…]}]    fields of its indexes
//!            {"_id":…}                                        its documents in the order of the ids' bytes
//! last line  ["end",{"collections":C,"documents":D,"sha256":"…"}]
//! ```
//! UTF-8, every line closed by one newline, the last one too. A line that begins with `{` is a
//! document, with its numbers and the order of its keys as they were stored; one that begins with
//! `[` is the file's own. All of it is the state at one LSN. The checksum is that of all bytes
//! before the last line, in hexadecimal: `head -n -1 FILE | sha256sum` prints it. A file without
//! its last line was cut off and is refused, and so is one whose counts or checksum do not hold.
//! Members of the objects that a reader does not know are skipped; a higher version is refused.

use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use godb_engine::limits::{MAX_DOCUMENT_BYTES, MAX_INDEXES};
use godb_engine::{DatabaseItem, EngineError, Lsn, id, json, name};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::exit::{Exit, Failure};
use crate::lifecycle::hex;

/// The version that is written, and the highest that is read.
pub const VERSION: u64 = 1;
const MAGIC: &str = "godb-export";
/// Longest line: a document's, with what a line of ours may need for escapes.
const MAX_LINE_BYTES: usize = MAX_DOCUMENT_BYTES + 64 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// The lines of an export, each with its newline. Its last item is the last line or an error.
pub struct Lines<I> {
    items: I,
    next: Next,
    hash: Sha256,
    collections: u64,
    documents: u64,
}

#[derive(Clone, Copy)]
enum Next {
    Header(Lsn),
    Item,
    Nothing,
}

impl<I: Iterator<Item = Result<DatabaseItem, EngineError>>> Lines<I> {
    /// Of the items of a database as of this LSN.
    pub fn new(lsn: Lsn, items: I) -> Self {
        Self {
            items,
            next: Next::Header(lsn),
            hash: Sha256::new(),
            collections: 0,
            documents: 0,
        }
    }

    /// Collections so far.
    pub fn collections(&self) -> u64 {
        self.collections
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    fn item(&mut self, item: DatabaseItem) -> Vec<u8> {
        match item {
            DatabaseItem::Document(document) => {
                self.documents += 1;
                let mut line = Vec::with_capacity(document.json.len() + 1);
                line.extend_from_slice(&document.json);
                line
            }
            DatabaseItem::Collection { name, indexes } => {
                self.collections += 1;
                let mut line = b"[\"collection\",".to_vec();
                json::push_str(&mut line, &name);
                line.extend_from_slice(b",{\"indexes\":[");
                for (place, field) in indexes.iter().enumerate() {
                    if place > 0 {
                        line.push(b',');
                    }
                    json::push_str(&mut line, field);
                }
                line.extend_from_slice(b"]}]");
                line
            }
        }
    }

    fn end(&mut self) -> Vec<u8> {
        let checksum = hex(&self.hash.finalize_reset());
        format!(
            "[\"end\",{{\"collections\":{},\"documents\":{},\"sha256\":\"{checksum}\"}}]",
            self.collections, self.documents
        )
        .into_bytes()
    }
}

impl<I: Iterator<Item = Result<DatabaseItem, EngineError>>> Iterator for Lines<I> {
    type Item = Result<Bytes, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = match self.next {
            Next::Nothing => return None,
            Next::Header(lsn) => {
                self.next = Next::Item;
                format!("[\"{MAGIC}\",{VERSION},{{\"lsn\":{}}}]", lsn.0).into_bytes()
            }
            Next::Item => match self.items.next() {
                Some(Ok(item)) => self.item(item),
                Some(Err(error)) => {
                    self.next = Next::Nothing;
                    return Some(Err(error));
                }
                None => {
                    self.next = Next::Nothing;
                    self.end()
                }
            },
        };
        line.push(b'\n');
        self.hash.update(&line);
        Some(Ok(line.into()))
    }
}

/// A collection of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its name.
    pub name: String,
    /// Fields of its indexes.
    pub indexes: Vec<String>,
}

/// What a line of an export holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// The first line.
    Header,
    /// A collection begins.
    Collection(Outline),
    /// A document of it.
    Document {
        /// Its id.
        id: String,
        /// Normalized.
        json: Vec<u8>,
    },
    /// The last line: counts and checksum hold, and nothing follows.
    End,
}

/// Reads an export line by line, and checks what can be checked so far.
pub struct Reader<R> {
    input: BufReader<R>,
    /// For messages.
    name: String,
    line: Vec<u8>,
    number: u64,
    hash: Sha256,
    lsn: u64,
    collections: u64,
    documents: u64,
    last_collection: Option<String>,
    last_id: Option<String>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Of `input`, which messages call `name`.
    pub fn new(input: R, name: impl Into<String>) -> Self {
        Self {
            input: BufReader::with_capacity(READ_BYTES, input),
            name: name.into(),
            line: Vec::new(),
            number: 0,
            hash: Sha256::new(),
            lsn: 0,
            collections: 0,
            documents: 0,
            last_collection: None,
            last_id: None,
            ended: false,
        }
    }

    /// The line that was read last, with its newline.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// LSN of the state.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// Collections so far.
    pub fn collections(&self) -> u64 {
        self.collections
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// The next line; `None` behind the last one.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn read(&mut self) -> Result<Option<Content>, Failure> {
        if !self.read_line()? {
            return if self.ended {
                Ok(None)
            } else {
                Err(self.fault("it ends too early: it was cut off"))
            };
        }
        if self.ended {
            return Err(self.fault("something follows the end"));
        }
        let content = match self.line.first() {
            _ if self.number == 1 => self.header()?,
            Some(b'{') => self.document()?,
            Some(b'[') => self.own_line()?,
            _ => return Err(self.fault("this is no line of an export")),
        };
        self.hash.update(&self.line);
        Ok(Some(content))
    }

    fn read_line(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| {
                Failure::new(Exit::Io, format!("cannot read {}: {error}", self.name))
            })?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            Ok(true)
        } else if read >= MAX_LINE_BYTES {
            Err(self.fault("the line is longer than any document may be"))
        } else {
            Err(self.fault("it ends in the middle of this line: it was cut off"))
        }
    }

    fn fault(&self, reason: &str) -> Failure {
        let (name, number) = (&self.name, self.number.max(1));
        Failure::new(Exit::Corrupt, format!("{name}: line {number}: {reason}"))
    }

    fn header(&mut self) -> Result<Content, Failure> {
        let none = "it is no export of a whole database (godb export --all writes one)";
        let parts = self.parts().map_err(|_| self.fault(none))?;
        if parts.first().and_then(Value::as_str) != Some(MAGIC) {
            return Err(self.fault(none));
        }
        let version = parts.get(1).and_then(Value::as_u64);
        match version {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(Failure::new(
                    Exit::NewerFormat,
                    format!(
                        "{}: its format version is {found}, and this program reads up to {VERSION}: use the newer godb",
                        self.name
                    ),
                ));
            }
            _ => return Err(self.fault("the format version is none")),
        }
        let lsn = parts.get(2).and_then(|about| about.get("lsn"));
        self.lsn = lsn
            .and_then(Value::as_u64)
            .ok_or_else(|| self.fault("the LSN is missing"))?;
        Ok(Content::Header)
    }

    fn parts(&self) -> Result<Vec<Value>, Failure> {
        serde_json::from_slice(&self.line).map_err(|error| self.fault(&error.to_string()))
    }

    fn own_line(&mut self) -> Result<Content, Failure> {
        let parts = self.parts()?;
        match (parts.first().and_then(Value::as_str), parts.get(1..)) {
            (Some("collection"), Some([Value::String(name), about, ..])) => {
                self.collection(name, about)
            }
            (Some("end"), Some([about, ..])) => self.end(about),
            _ => Err(self.fault("this is no line of an export")),
        }
    }

    fn collection(&mut self, name: &str, about: &Value) -> Result<Content, Failure> {
        name::check_collection(name).map_err(|error| self.fault(&error.to_string()))?;
        if self
            .last_collection
            .as_deref()
            .is_some_and(|last| last >= name)
        {
            return Err(self.fault("collections are out of order"));
        }
        let fields = about
            .get("indexes")
            .and_then(Value::as_array)
            .filter(|fields| fields.len() <= MAX_INDEXES)
            .ok_or_else(|| self.fault("the list of indexes is wrong"))?;
        let mut indexes: Vec<String> = Vec::with_capacity(fields.len());
        for field in fields {
            let field = field
                .as_str()
                .filter(|field| name::check_field_path(field).is_ok())
                .filter(|field| indexes.iter().all(|other| other != field))
                .ok_or_else(|| self.fault("the list of indexes is wrong"))?;
            indexes.push(field.to_owned());
        }
        self.collections += 1;
        self.last_collection = Some(name.to_owned());
        self.last_id = None;
        Ok(Content::Collection(Outline {
            name: name.to_owned(),
            indexes,
        }))
    }

    fn document(&mut self) -> Result<Content, Failure> {
        if self.last_collection.is_none() {
            return Err(self.fault("a document without a collection"));
        }
        let normal = json::normalize(&self.line, &json::Limits::default())
            .map_err(|error| self.fault(&format!("{} at column {}", error.reason, error.column)))?;
        let id = json::fields(&normal)
            .find(|(key, _)| key == "_id")
            .and_then(|(_, value)| json::as_str(value))
            .filter(|id| id::check(id).is_ok())
            .ok_or_else(|| self.fault("a document without a valid `_id`"))?
            .into_owned();
        if normal.len() > MAX_DOCUMENT_BYTES {
            return Err(self.fault("the document is larger than the limit"));
        }
        // This also finds one that is there twice.
        if self.last_id.as_ref().is_some_and(|last| *last >= id) {
            return Err(self.fault("documents are out of order"));
        }
        self.documents += 1;
        self.last_id = Some(id.clone());
        Ok(Content::Document { id, json: normal })
    }

    fn end(&mut self, about: &Value) -> Result<Content, Failure> {
        let count = |name: &str| about.get(name).and_then(Value::as_u64);
        if (count("collections"), count("documents"))
            != (Some(self.collections), Some(self.documents))
        {
            return Err(self.fault("the file does not hold what its end says"));
        }
        let checksum = hex(&self.hash.clone().finalize());
        if about.get("sha256").and_then(Value::as_str) != Some(checksum.as_str()) {
            return Err(self.fault("the checksum of the file is wrong: it is damaged"));
        }
        self.ended = true;
        Ok(Content::End)
    }
}

#[cfg(test)]
mod tests;
