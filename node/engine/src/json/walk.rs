//! Reading validated bytes: members, items, and the values at a dotted path.

use std::borrow::Cow;

use super::text::RawStr;

/// The fields of a validated object in their order: key, and raw value.
///
/// Of equal keys in bytes that were only validated, all are yielded.
#[must_use]
pub fn fields(object: &[u8]) -> Fields<'_> {
    Fields(members(object))
}

/// The raw items of a validated array.
#[must_use]
pub fn items(array: &[u8]) -> Items<'_> {
    Items(Walker::inside(array, b'['))
}

/// Calls `visit` with every raw value that the dotted `path` names in a validated object.
///
/// A name with dots is the field literally called so and, too, reaches into objects, at every
/// level and by every way to split it: `a.b.c` is `{"a.b.c":…}`, `{"a":{"b.c":…}}`,
/// `{"a.b":{"c":…}}` and `{"a":{"b":{"c":…}}}`. It does not look into arrays.
pub fn for_each_at<'a>(object: &'a [u8], path: &str, visit: &mut dyn FnMut(&'a [u8])) {
    // Each object is reached by one chain of keys, so this looks at every byte at most once.
    for (key, value) in members(object) {
        if key.is(path) {
            visit(value);
        } else if value.first() == Some(&b'{')
            && let Some(rest) = strip_segment(path, key)
        {
            for_each_at(value, rest, visit);
        }
    }
}

/// What follows `key` and a dot in `path`.
fn strip_segment<'p>(path: &'p str, key: RawStr<'_>) -> Option<&'p str> {
    let has_dot = |(at, _): &(usize, &str)| key.is(path.get(..*at).unwrap_or_default());
    let (at, dot) = path.match_indices('.').find(has_dot)?;
    path.get(at + dot.len()..)
}

/// Iterator of [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a>(Members<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = (Cow<'a, str>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.0.next()?;
        Some((key.decode(), value))
    }
}

/// Iterator of [`items`].
#[derive(Clone, Debug)]
pub struct Items<'a>(Walker<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.separator()?;
        self.0.value()
    }
}

/// As [`fields`], with the keys as they stand there.
pub(crate) fn members(object: &[u8]) -> Members<'_> {
    Members(Walker::inside(object, b'{'))
}

/// Iterator of [`members`].
#[derive(Clone, Debug)]
pub(crate) struct Members<'a>(Walker<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (RawStr<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.separator()?;
        let key = RawStr::of(self.0.value()?)?;
        self.0.expect(b':')?;
        Some((key, self.0.value()?))
    }
}

/// A position in validated bytes. Skips whitespace, so that it also reads bytes which were
/// validated but not normalized.
#[derive(Clone, Debug)]
struct Walker<'a> {
    rest: &'a [u8],
    /// Nothing was read since the opening bracket.
    first: bool,
}

impl<'a> Walker<'a> {
    /// Behind the opening bracket; at the end if it is another one.
    fn inside(value: &'a [u8], open: u8) -> Self {
        let mut walker = Walker {
            rest: value,
            first: true,
        };
        if walker.expect(open).is_none() {
            walker.rest = &[];
        }
        walker
    }

    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.skip_whitespace();
        let (first, rest) = self.rest.split_first()?;
        (*first == wanted).then(|| self.rest = rest)
    }

    /// Steps over the comma before the next element; `None` at the closing bracket.
    fn separator(&mut self) -> Option<()> {
        if !std::mem::take(&mut self.first) {
            return self.expect(b',');
        }
        self.skip_whitespace();
        (!matches!(self.rest.first()?, b']' | b'}')).then_some(())
    }

    /// The value at this place, stepping over it.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.skip_whitespace();
        let len = match self.rest.first()? {
            b'"' => string_len(self.rest)?,
            b'{' | b'[' => container_len(self.rest)?,
            _ => self
                .rest
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
                .unwrap_or(self.rest.len()),
        };
        let (value, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(value)
    }
}

/// Length of the string that `bytes` begin with, quotes included.
fn string_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at + found) == Some(&b'"') {
            return Some(at + found + 1);
        }
        at += found + 2;
    }
}

/// Length of the array or object that `bytes` begin with.
fn container_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string_len(bytes.get(at..)?)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}
