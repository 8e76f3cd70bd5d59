//! JSON as bytes, without a tree.
//!
//! A document is checked once, when it comes in ([`normalize`]), and from then on kept and read as
//! bytes: a `Value` per document would cost five times the memory and most of the time. What
//! comes in may be anything; what [`normalize`] returned is *validated*, and the readers
//! ([`fields`], [`items`], [`for_each_at`]) rely on that. On other bytes they end early, but never
//! panic.
//!
//! The normalized form: one object on one line, no insignificant whitespace, of equal keys
//! (compared after unescaping) only the last, the order of keys kept, and the text of numbers and
//! strings exactly as it was sent.

mod number;
mod scan;
mod text;
mod walk;

pub use number::same_number;
pub use text::{as_str, push_str};
pub use walk::{Fields, Items, fields, for_each_at, items};

pub(crate) use number::{Decimal, Exponent};
pub(crate) use scan::normalize_document;
pub(crate) use text::RawStr;
pub(crate) use walk::members;

/// Deepest nesting of a document; the document itself is level 1.
pub const MAX_DEPTH: usize = 128;

/// What [`normalize`] and [`validate`] accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting; the outermost value is level 1.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_depth: MAX_DEPTH,
        }
    }
}

/// Why bytes are not acceptable JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct JsonError {
    /// Line of the offending byte, from 1.
    pub line: usize,
    /// Column of the offending byte in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number of any size.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The type of a validated value, from its first byte.
    #[must_use]
    pub fn of(raw: &[u8]) -> Option<Kind> {
        Some(match raw.first()? {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            b'-' | b'0'..=b'9' => Kind::Number,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => return None,
        })
    }
}

/// Checks that `bytes` are exactly one JSON object in UTF-8 and returns its normalized form.
///
/// # Errors
/// [`JsonError`] for anything that RFC 8259 does not allow, for unpaired surrogates, for a value
/// that is not an object, for anything behind it, and for nesting beyond the limit.
pub fn normalize(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, JsonError> {
    normalize_document(bytes, limits, 0).map(|document| document.json)
}

/// Checks that `bytes` are exactly one JSON value in UTF-8, and tells its type.
///
/// # Errors
/// As for [`normalize`], except that any value will do.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<Kind, JsonError> {
    scan::validate(bytes, limits)
}

/// Whether `text` is a number by the grammar of RFC 8259.
#[must_use]
pub fn is_number(text: &str) -> bool {
    scan::is_number(text.as_bytes())
}

#[cfg(test)]
mod tests;
