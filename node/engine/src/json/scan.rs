//! The one pass over bytes that come in: check, drop whitespace, remove earlier duplicates.
//!
//! The output is made of runs of input between dropped whitespace, so that a compact document is
//! one copy. Keys are compared by a fingerprint first; only equal fingerprints cost more.

mod repeated;
mod token;

use std::cell::RefCell;
use std::ops::Range;

use super::text::RawStr;
use super::walk::members;
use super::{JsonError, Kind, Limits};
use repeated::fingerprint;

/// A member list that grew beyond this is not kept for the next document.
const KEPT_MEMBERS: usize = 4096;

/// A document in normalized form.
#[derive(Debug)]
pub(crate) struct NormalizedDocument {
    /// The document.
    pub(crate) json: Vec<u8>,
    /// Where in it the value of its `_id` stands, quotes included.
    pub(crate) id: Option<Range<usize>>,
}

/// As [`super::normalize`], with room for `extra_bytes` more in the output, and telling where
/// `_id` is.
pub(crate) fn normalize_document(
    bytes: &[u8],
    limits: &Limits,
    extra_bytes: usize,
) -> Result<NormalizedDocument, JsonError> {
    check_utf8(bytes)?;
    let mut scanner = Scanner::new(bytes, limits, true);
    scanner.out.reserve_exact(bytes.len() + extra_bytes);
    let result = scanner.document();
    let scanned = match result {
        Ok(id) => Ok(NormalizedDocument {
            id,
            json: std::mem::take(&mut scanner.out),
        }),
        Err(fault) => Err(fault.locate(bytes)),
    };
    scanner.give_back();
    scanned
}

/// As [`super::validate`].
pub(super) fn validate(bytes: &[u8], limits: &Limits) -> Result<Kind, JsonError> {
    check_utf8(bytes)?;
    let mut scanner = Scanner::new(bytes, limits, false);
    let result = scanner.any();
    scanner.give_back();
    result.map_err(|fault| fault.locate(bytes))
}

/// Whether all of `text` is one number.
pub(super) fn is_number(text: &[u8]) -> bool {
    let mut scanner = Scanner {
        input: text,
        at: 0,
        copied: 0,
        out: Vec::new(),
        members: Vec::new(),
        max_depth: 0,
        keep: false,
    };
    matches!(scanner.peek(), Some(b'-' | b'0'..=b'9'))
        && scanner.number().is_ok()
        && scanner.at == text.len()
}

fn check_utf8(bytes: &[u8]) -> Result<(), JsonError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault {
            at: error.valid_up_to(),
            reason: "invalid UTF-8",
        }
        .locate(bytes)),
    }
}

/// Something unacceptable at a byte of the input.
struct Fault {
    at: usize,
    reason: &'static str,
}

impl Fault {
    /// Line and column are counted only now, because hardly any document needs them.
    fn locate(&self, input: &[u8]) -> JsonError {
        let before = input.get(..self.at).unwrap_or(input);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let is_char_start = |byte: &&u8| **byte & 0xC0 != 0x80;
        JsonError {
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            column: 1 + before.iter().skip(line_start).filter(is_char_start).count(),
            reason: self.reason,
        }
    }
}

/// One member of an object that is being read; positions are in the output.
#[derive(Clone, Copy)]
struct Member {
    /// The opening quote of the key.
    start: usize,
    /// The closing quote of the key; the value begins two bytes further on.
    key_end: usize,
    /// Equal for equal keys.
    fingerprint: u64,
}

thread_local! {
    /// The member list of the last document, so that the next one need not allocate.
    static MEMBERS: RefCell<Vec<Member>> = const { RefCell::new(Vec::new()) };
}

struct Scanner<'a> {
    input: &'a [u8],
    /// The next byte to look at.
    at: usize,
    /// Input before this is in `out` or was dropped.
    copied: usize,
    out: Vec<u8>,
    /// Members of the objects that are open, outermost first.
    members: Vec<Member>,
    max_depth: usize,
    /// Whether there is to be any output.
    keep: bool,
}

impl<'a> Scanner<'a> {
    fn new(input: &'a [u8], limits: &Limits, keep: bool) -> Self {
        Self {
            input,
            at: 0,
            copied: 0,
            out: Vec::new(),
            members: MEMBERS.with(RefCell::take),
            max_depth: limits.max_depth,
            keep,
        }
    }

    /// Keeps the member list for the next document of this thread.
    fn give_back(mut self) {
        if self.members.capacity() <= KEPT_MEMBERS {
            self.members.clear();
            MEMBERS.with(|members| members.replace(self.members));
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn fault<T>(&self, reason: &'static str) -> Result<T, Fault> {
        Err(Fault {
            at: self.at,
            reason,
        })
    }

    /// Where the next byte of input will stand in the output.
    fn out_at(&self) -> usize {
        self.out.len() + (self.at - self.copied)
    }

    /// Moves what was read since the last dropped byte to the output.
    fn flush(&mut self) {
        if self.keep
            && let Some(run) = self.input.get(self.copied..self.at)
        {
            self.out.extend_from_slice(run);
        }
        self.copied = self.at;
    }

    fn skip_whitespace(&mut self) {
        if !matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            return;
        }
        self.flush();
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.copied = self.at;
    }

    /// One object and nothing behind it; where its `_id` is.
    fn document(&mut self) -> Result<Option<Range<usize>>, Fault> {
        self.skip_whitespace();
        if self.peek() != Some(b'{') {
            return self.fault("expected a JSON object");
        }
        let compacted = self.object(1)?;
        self.flush();
        let id = if compacted {
            id_value(&self.out)
        } else {
            self.id_member()
        };
        self.end()?;
        Ok(id)
    }

    /// One value and nothing behind it.
    fn any(&mut self) -> Result<Kind, Fault> {
        self.skip_whitespace();
        let kind = self.input.get(self.at..).and_then(Kind::of);
        self.value(1)?;
        self.end()?;
        kind.map_or_else(|| self.fault("expected a JSON value"), Ok)
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.at < self.input.len() {
            return self.fault("unexpected text behind the JSON value");
        }
        Ok(())
    }

    /// The value of `_id` among the members of the outermost object, which end with `}`.
    fn id_member(&self) -> Option<Range<usize>> {
        let wanted = fingerprint(b"_id");
        let (position, member) = self.members.iter().enumerate().find(|(_, member)| {
            member.fingerprint == wanted
                && self
                    .out
                    .get(member.start + 1..member.key_end)
                    .is_some_and(|key| RawStr::new(key).is("_id"))
        })?;
        let behind = match self.members.get(position + 1) {
            Some(next) => next.start,
            None => self.out.len(),
        };
        Some(member.key_end + 2..behind - 1)
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => {
                let base = self.members.len();
                self.object(depth)?;
                self.members.truncate(base);
                Ok(())
            }
            Some(b'[') => self.array(depth),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => self.fault("expected a JSON value"),
            None => self.fault("unexpected end"),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        let found = self.input.get(self.at..).unwrap_or_default();
        if !found.starts_with(word) {
            return self.fault("expected a JSON value");
        }
        self.at += word.len();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > self.max_depth {
            return self.fault("nested deeper than 128 levels");
        }
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_whitespace();
            self.value(depth + 1)?;
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return self.fault("expected `,` or `]`"),
                None => return self.fault("unexpected end"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Leaves its members on the list; tells whether any was removed, in which case their
    /// positions no longer hold.
    fn object(&mut self, depth: usize) -> Result<bool, Fault> {
        if depth > self.max_depth {
            return self.fault("nested deeper than 128 levels");
        }
        let base = self.members.len();
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(false);
        }
        loop {
            self.skip_whitespace();
            self.member(depth)?;
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) => return self.fault("expected `,` or `}`"),
                None => return self.fault("unexpected end"),
            }
        }
        let compacted = self.keep && self.may_repeat(base) && self.remove_repeated(base);
        self.at += 1;
        Ok(compacted)
    }

    fn member(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return self.fault("expected a key in quotes"),
            None => return self.fault("unexpected end"),
        }
        let (start, key_from) = (self.out_at(), self.at + 1);
        let escaped = self.string()?;
        let key_end = self.out_at() - 1;
        let key = self.input.get(key_from..self.at - 1).unwrap_or_default();
        let fingerprint = if escaped {
            fingerprint(RawStr::new(key).decode().as_bytes())
        } else {
            fingerprint(key)
        };
        self.members.push(Member {
            start,
            key_end,
            fingerprint,
        });
        self.skip_whitespace();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return self.fault("expected `:`"),
            None => return self.fault("unexpected end"),
        }
        self.skip_whitespace();
        self.value(depth + 1)
    }
}

/// Where the value of `_id` stands in a normalized object.
fn id_value(object: &[u8]) -> Option<Range<usize>> {
    let mut at = 1;
    for (key, value) in members(object) {
        let from = at + key.raw().len() + 3;
        let to = from + value.len();
        if key.is("_id") {
            return Some(from..to);
        }
        at = to + 1;
    }
    None
}
