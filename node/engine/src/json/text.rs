//! Strings as they stand in JSON: with escapes, between quotes.

use std::borrow::Cow;
use std::cmp::Ordering;

/// What stands between the quotes of a validated string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawStr<'a>(&'a [u8]);

impl<'a> RawStr<'a> {
    pub(crate) fn new(inside: &'a [u8]) -> Self {
        Self(inside)
    }

    /// The string of a raw value, which is one if it begins with a quote.
    pub(crate) fn of(raw: &'a [u8]) -> Option<Self> {
        match raw {
            [b'"', inside @ .., b'"'] => Some(Self(inside)),
            _ => None,
        }
    }

    /// The bytes as they stand there.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Whether it has no escapes.
    pub(crate) fn is_plain(self) -> bool {
        memchr::memchr(b'\\', self.0).is_none()
    }

    /// The text, when it has no escapes.
    fn plain(self) -> Option<&'a [u8]> {
        self.is_plain().then_some(self.0)
    }

    /// The text itself.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        match self.plain() {
            Some(plain) => String::from_utf8_lossy(plain),
            None => Cow::Owned(unescape(self.0)),
        }
    }

    /// Whether this is the text `other`.
    pub(crate) fn is(self, other: &str) -> bool {
        self.0 == other.as_bytes()
            || (self.0.len() > other.len() && self.plain().is_none() && self.decode() == other)
    }

    /// Order of the texts by their UTF-8 bytes.
    pub(crate) fn cmp_decoded(self, other: Self) -> Ordering {
        match (self.plain(), other.plain()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => self.decode().as_bytes().cmp(other.decode().as_bytes()),
        }
    }
}

/// The text of a validated value, if it is a string.
#[must_use]
pub fn as_str(raw: &[u8]) -> Option<Cow<'_, str>> {
    RawStr::of(raw).map(RawStr::decode)
}

/// Appends `text` as a JSON string, quotes included.
pub fn push_str(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..0x20 => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend(b"\\u00");
                out.extend([digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn unescape(raw: &[u8]) -> String {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(backslash);
        text.extend_from_slice(plain);
        let (character, used) = match escape.get(1) {
            Some(b'u') => unicode_escape(escape),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(other) => (char::from(*other), 2),
            None => (char::REPLACEMENT_CHARACTER, 1),
        };
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(used..).unwrap_or_default();
    }
    text.extend_from_slice(rest);
    // Validated bytes are UTF-8, so this replaces nothing and copies nothing.
    match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// The character of the `\uXXXX`, or pair of them, that `escape` begins with, and its length.
fn unicode_escape(escape: &[u8]) -> (char, usize) {
    let unit = |from: usize| {
        let digits = escape.get(from..from + 4)?;
        digits.iter().try_fold(0, |unit: u32, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    };
    let Some(first) = unit(2) else {
        return (char::REPLACEMENT_CHARACTER, escape.len());
    };
    if let 0xD800..=0xDBFF = first {
        let second = unit(8).unwrap_or_default();
        let code = 0x1_0000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        6,
    )
}
