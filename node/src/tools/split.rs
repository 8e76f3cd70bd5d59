//! Documents out of a file, one at a time, whatever its size: NDJSON, a JSON array, or a JSON
//! object whose values are documents. Only the outline is read here; each document is checked by
//! the engine's parser.

use std::io::{self, Read};

use godb_engine::json;

use super::Format;

/// Read from the file at once.
const READ_BYTES: usize = 256 * 1024;
/// Most bytes of one document as it stands in the file, with all its whitespace.
const MAX_RAW_BYTES: usize = 64 * 1024 * 1024;

/// One document as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDocument {
    /// Its place, from 0.
    pub position: u64,
    /// The line it starts on, from 1.
    pub line: u64,
    /// The column it starts at, in characters, from 1.
    pub column: u64,
    /// Whether it is a member of an array or an object, so that its number says where it is.
    pub is_member: bool,
    /// Its key, in a [`Format::Map`].
    pub key: Option<String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a file cannot be read on.
#[derive(Debug)]
pub enum SplitError {
    /// The file system's or the network's fault.
    Io(io::Error),
    /// The outline is wrong.
    Outline {
        /// The line, from 1.
        line: u64,
        /// The column, in characters, from 1.
        column: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl RawDocument {
    /// Where this is in the file, for a person.
    pub fn place(&self, line: u64) -> String {
        if self.is_member {
            format!("element {}, line {line}", self.position + 1)
        } else {
            format!("line {line}")
        }
    }
}

/// The documents of a reader. Ends after the first error.
pub struct Documents<R> {
    source: Source<R>,
    format: Format,
    position: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Between,
    Done,
}

impl<R: Read> Documents<R> {
    /// The documents of `reader`. Without a format it is found out by the first byte.
    pub fn new(reader: R, format: Option<Format>) -> io::Result<Self> {
        let mut source = Source {
            reader,
            buffer: Vec::new(),
            at: 0,
            line: 1,
            column: 1,
            is_at_end: false,
        };
        source.skip_byte_order_mark()?;
        let format = match format {
            Some(format) => format,
            None => match source.peek_token()? {
                Some(b'[') => Format::Array,
                _ => Format::Ndjson,
            },
        };
        Ok(Self {
            source,
            format,
            position: 0,
            state: State::Start,
        })
    }

    fn read(&mut self) -> Result<Option<RawDocument>, SplitError> {
        match self.format {
            Format::Ndjson => self.line(),
            Format::Array => self.member(b'[', b']'),
            Format::Map => self.member(b'{', b'}'),
        }
    }

    fn document(
        &mut self,
        (line, column): (u64, u64),
        key: Option<String>,
        bytes: Vec<u8>,
    ) -> RawDocument {
        let position = self.position;
        self.position += 1;
        RawDocument {
            position,
            line,
            column,
            is_member: self.format != Format::Ndjson,
            key,
            bytes,
        }
    }

    fn line(&mut self) -> Result<Option<RawDocument>, SplitError> {
        // Blank lines are nothing.
        if self.source.peek_token()?.is_none() {
            return Ok(None);
        }
        let start = self.source.place();
        let mut bytes = self.source.take_line()?;
        bytes.truncate(bytes.trim_ascii_end().len());
        Ok(Some(self.document(start, None, bytes)))
    }

    fn member(&mut self, open: u8, close: u8) -> Result<Option<RawDocument>, SplitError> {
        let first = self.state == State::Start;
        if first {
            self.source.expect(open)?;
            self.state = State::Between;
        }
        match self.source.peek_token()? {
            Some(byte) if byte == close => {
                self.source.expect(close)?;
                return match self.source.peek_token()? {
                    None => Ok(None),
                    Some(_) => Err(self.source.outline("there is something behind the end")),
                };
            }
            None => {
                let (what, close) = match close {
                    b']' => ("array", ']'),
                    _ => ("object", '}'),
                };
                return Err(self.source.outline(&format!(
                    "the {what} is not closed: the file ends without its `{close}`, so it may be cut off"
                )));
            }
            Some(_) if first => {}
            Some(_) => self.source.expect(b',')?,
        }
        let key = if open == b'{' {
            Some(self.key()?)
        } else {
            None
        };
        // What is no object is a fault of this member alone, for whoever parses it.
        let is_open = matches!(self.source.peek_token()?, Some(b'{' | b'[' | b'"'));
        let start = self.source.place();
        let bytes = if is_open {
            self.source.take_scanned(Scan::default())?
        } else {
            self.source.take_word()?
        };
        if bytes.is_empty() {
            return Err(self
                .source
                .outline("expected a document, that is a JSON object"));
        }
        Ok(Some(self.document(start, key, bytes)))
    }

    fn key(&mut self) -> Result<String, SplitError> {
        if self.source.peek_token()? != Some(b'"') {
            return Err(self.source.outline("expected a key in quotes"));
        }
        let raw = self.source.take_string()?;
        let key = json::validate(&raw, &json::Limits::default())
            .ok()
            .and_then(|_| json::as_str(&raw).map(std::borrow::Cow::into_owned))
            .ok_or_else(|| self.source.outline("a key is not a valid string"))?;
        self.source.expect(b':')?;
        Ok(key)
    }
}

impl<R: Read> Iterator for Documents<R> {
    type Item = Result<RawDocument, SplitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let next = self.read().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Done;
        }
        next
    }
}

impl From<io::Error> for SplitError {
    fn from(error: io::Error) -> Self {
        SplitError::Io(error)
    }
}

/// Bytes of a reader, with a place in them.
struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    line: u64,
    /// In characters, from 1.
    column: u64,
    is_at_end: bool,
}

impl<R: Read> Source<R> {
    fn place(&self) -> (u64, u64) {
        (self.line, self.column)
    }

    fn outline(&self, reason: &str) -> SplitError {
        SplitError::Outline {
            line: self.line,
            column: self.column,
            reason: reason.to_owned(),
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Reads more behind what is there; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.is_at_end {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        let chunk = u64::try_from(READ_BYTES).unwrap_or(u64::MAX);
        (&mut self.reader)
            .take(chunk)
            .read_to_end(&mut self.buffer)?;
        self.is_at_end = self.buffer.len() == before;
        Ok(!self.is_at_end)
    }

    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        while self.rest().len() < 3 && self.fill()? {}
        if self.rest().starts_with(b"\xef\xbb\xbf") {
            self.at += 3;
        }
        Ok(())
    }

    /// The next byte that is not whitespace, which is skipped.
    fn peek_token(&mut self) -> io::Result<Option<u8>> {
        loop {
            while let Some(&byte) = self.buffer.get(self.at) {
                if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                    return Ok(Some(byte));
                }
                self.pass(byte);
                self.at += 1;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), SplitError> {
        match self.peek_token()? {
            Some(found) if found == byte => {
                self.pass(found);
                self.at += 1;
                Ok(())
            }
            Some(found) => Err(self.outline(&format!(
                "expected `{}`, found `{}`",
                char::from(byte),
                char::from(found).escape_default()
            ))),
            None => Err(self.outline("the file ends too early: it is cut off")),
        }
    }

    /// Moves the place behind this byte.
    fn pass(&mut self, byte: u8) {
        if byte == b'\n' {
            self.line += 1;
            self.column = 1;
        } else if byte & 0xc0 != 0x80 {
            // Only the first byte of a character counts.
            self.column += 1;
        }
    }

    /// [`Source::pass`] for many bytes, most of which are no line breaks.
    fn pass_all(&mut self, bytes: &[u8]) {
        let is_first_of_character = |byte: &&u8| **byte & 0xc0 != 0x80;
        let mut last_line = bytes;
        while let Some((_, rest)) = split_line(last_line) {
            self.line += 1;
            self.column = 1;
            last_line = rest;
        }
        // A sum in small parts is one that the compiler makes of whole vectors.
        for part in last_line.chunks(128) {
            let characters = part.iter().filter(is_first_of_character).count();
            self.column += u64::try_from(characters).unwrap_or(0);
        }
    }

    /// Up to what ends a number or a literal.
    fn take_word(&mut self) -> Result<Vec<u8>, SplitError> {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",]}[{:\"".contains(byte);
        let mut searched = 0;
        loop {
            let unsearched = self.rest().get(searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(is_end) {
                return Ok(self.take(searched + end));
            }
            searched = self.rest().len();
            if searched > MAX_RAW_BYTES {
                return Err(self.too_long());
            }
            if !self.fill()? {
                return Ok(self.take(searched));
            }
        }
    }

    fn take_line(&mut self) -> Result<Vec<u8>, SplitError> {
        let mut searched = 0;
        loop {
            let unsearched = self.rest().get(searched..).unwrap_or_default();
            if let Some((line, _)) = split_line(unsearched) {
                let end = line.len();
                return Ok(self.take(searched + end));
            }
            searched = self.rest().len();
            if searched > MAX_RAW_BYTES {
                return Err(self.too_long());
            }
            if !self.fill()? {
                return Ok(self.take(searched));
            }
        }
    }

    fn take_string(&mut self) -> Result<Vec<u8>, SplitError> {
        self.take_scanned(Scan::default())
    }

    fn take_scanned(&mut self, mut scan: Scan) -> Result<Vec<u8>, SplitError> {
        let mut searched = 0;
        loop {
            let unsearched = self.rest().get(searched..).unwrap_or_default();
            if let Some(end) = scan.end(unsearched) {
                return Ok(self.take(searched + end));
            }
            searched = self.rest().len();
            if searched > MAX_RAW_BYTES {
                return Err(self.too_long());
            }
            if !self.fill()? {
                return Err(
                    self.outline("the file ends in the middle of this document: it is cut off")
                );
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let taken = self.rest().get(..length).unwrap_or_default().to_vec();
        self.at += taken.len();
        self.pass_all(&taken);
        taken
    }

    fn too_long(&self) -> SplitError {
        self.outline(&format!("a document of more than {MAX_RAW_BYTES} bytes"))
    }
}

/// The line and what is behind its break, if there is a break.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Where the scan for the end of a value stands: strings and brackets are all it knows.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// The length up to the end of the value, if the end is in these bytes.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (place, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                if self.in_string || self.depth > 0 {
                    continue;
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if self.in_string || self.depth > 0 {
                    continue;
                }
            }
            return Some(place + 1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(buf.len());
            let (now, later) = self.0.split_at(size);
            buf[..size].copy_from_slice(now);
            self.0 = later;
            Ok(size)
        }
    }

    fn split(text: &str, format: Option<Format>) -> Result<Vec<RawDocument>, SplitError> {
        Documents::new(text.as_bytes(), format)?.collect()
    }

    fn texts(documents: &[RawDocument]) -> Vec<&str> {
        documents
            .iter()
            .map(|document| std::str::from_utf8(&document.bytes).unwrap())
            .collect()
    }

    #[test]
    fn the_three_formats_give_the_same_documents() {
        let expected = [r#"{"a":"}\"]","b":[{}]}"#, "{}", "{\"c\": {\n\"d\": 1}}"];
        let array = format!(
            "\u{feff} [ {} ,\n{},{}\n]\n",
            expected[0], expected[1], expected[2]
        );
        let found = split(&array, None).unwrap();
        assert_eq!(texts(&found), expected);
        assert_eq!(found.iter().map(|d| d.line).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(
            found.iter().map(|d| d.position).collect::<Vec<_>>(),
            [0, 1, 2]
        );

        let map = format!(
            "{{\"x\":{},\"y\\u0021\":{} , \"\":{}}}",
            expected[0], expected[1], expected[2]
        );
        let found = split(&map, Some(Format::Map)).unwrap();
        assert_eq!(texts(&found), expected);
        let keys: Vec<_> = found.iter().map(|d| d.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["x", "y!", ""]);

        let ndjson = format!("\n{}\r\n\n  {}\n{{\"last\":1}}", expected[0], expected[1]);
        let found = split(&ndjson, None).unwrap();
        assert_eq!(texts(&found), [expected[0], expected[1], "{\"last\":1}"]);
        assert_eq!(found.iter().map(|d| d.line).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn pieces_of_any_size_make_no_difference() {
        let text = "[{\"a\":\"é\\\\\\\"}\"},\n {\"b\":[1,{\"c\":{}}]} ]";
        let whole = split(text, None).unwrap();
        for size in 1..text.len() {
            // A short read is not the end.
            let mut source = Source {
                reader: Pieces(text.as_bytes(), size),
                buffer: Vec::new(),
                at: 0,
                line: 1,
                column: 1,
                is_at_end: false,
            };
            source.expect(b'[').unwrap();
            source.peek_token().unwrap();
            assert_eq!(
                source.take_scanned(Scan::default()).unwrap(),
                whole[0].bytes,
                "{size}"
            );
            source.expect(b',').unwrap();
            source.peek_token().unwrap();
            assert_eq!(
                source.take_scanned(Scan::default()).unwrap(),
                whole[1].bytes,
                "{size}"
            );
        }
    }

    #[test]
    fn what_is_no_object_is_a_member_of_its_own() {
        let found = split("[1,{\"a\":\"é\"}, \"x,]\",\n [2,{}] , true]", None).unwrap();
        assert_eq!(
            texts(&found),
            ["1", "{\"a\":\"é\"}", "\"x,]\"", "[2,{}]", "true"]
        );
        let places: Vec<_> = found.iter().map(|d| (d.line, d.column)).collect();
        assert_eq!(places, [(1, 2), (1, 4), (1, 15), (2, 2), (2, 11)]);
        assert_eq!(found[3].place(2), "element 4, line 2");
    }

    #[test]
    fn a_wrong_outline_is_an_error_with_its_line() {
        for (text, line) in [
            ("[{},\n{}", 2),
            ("[{}\n{}]", 2),
            ("[{}] x", 1),
            ("[1 2]", 1),
            ("[{},]", 1),
            ("[\n\n{\"a\": \"x]", 3),
            ("[", 1),
        ] {
            match split(text, None) {
                Err(SplitError::Outline { line: found, .. }) => assert_eq!(found, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        let outline = |text| match split(text, None) {
            Err(SplitError::Outline { column, reason, .. }) => (column, reason),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(outline("[{},\n  é]x").0, 5);
        let (column, reason) = outline("[{}, {}\n");
        assert_eq!(column, 1);
        assert!(reason.contains("the array is not closed"), "{reason}");
        assert!(split("", Some(Format::Array)).is_err());
        assert_eq!(split("", None).unwrap(), []);
    }
}
