//! Filters: what they say, and whether a document matches.

use crate::error::{EngineError, Result};
use crate::json::{self, Kind, RawStr};
use crate::key::value::{self, Precision};
use crate::limits::MAX_FILTER_VALUES;

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// One field equals one of several literals.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) path: String,
    pub(crate) any_of: Vec<Literal>,
}

/// A literal of a query string. It matches the equal string, and, if it reads as one, the JSON
/// number, boolean or null.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    text: String,
    /// What else it reads as; not `String`.
    reads_as: Option<Kind>,
}

impl Filter {
    /// Matches every document.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// A filter of names and literals, as a query string has them.
    ///
    /// All names must match. A name that is repeated matches any of its values. A literal that
    /// reads as a number, `true`, `false` or `null` matches that JSON value and the equal string;
    /// any other matches the string only, so `007` finds `"007"` and never 7. A dotted name is the
    /// field literally called so and reaches into objects too; arrays are not looked into, and a
    /// field that is absent is not null.
    ///
    /// # Errors
    /// [`EngineError::InvalidQuery`] for more than 1024 values.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut conditions: Vec<Condition> = Vec::new();
        for (count, (path, literal)) in pairs.into_iter().enumerate() {
            if count >= MAX_FILTER_VALUES {
                return Err(EngineError::InvalidQuery {
                    reason: format!("a filter may have at most {MAX_FILTER_VALUES} values"),
                });
            }
            let literal = Literal::new(literal);
            match conditions.iter_mut().find(|known| known.path == path) {
                Some(condition) => condition.any_of.push(literal),
                None => conditions.push(Condition {
                    path: path.to_owned(),
                    any_of: vec![literal],
                }),
            }
        }
        Ok(Self { conditions })
    }

    /// Whether every document matches.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether a normalized document matches.
    #[must_use]
    pub fn matches(&self, document: &[u8]) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.matches(document))
    }

    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl Condition {
    fn matches(&self, document: &[u8]) -> bool {
        let mut matches = false;
        json::for_each_at(document, &self.path, &mut |raw| {
            matches = matches || self.any_of.iter().any(|literal| literal.equals(raw));
        });
        matches
    }

    /// The index encodings to look up, without repetition, in their order.
    pub(crate) fn encodings(&self) -> Vec<(Vec<u8>, Precision)> {
        let mut encodings = Vec::new();
        for literal in &self.any_of {
            let mut text = Vec::new();
            let precision = value::encode_text(literal.text.as_bytes(), &mut text);
            encodings.push((text, precision));
            if literal.reads_as.is_some() {
                let mut scalar = Vec::new();
                if let Some(precision) = value::encode(literal.text.as_bytes(), &mut scalar) {
                    encodings.push((scalar, precision));
                }
            }
        }
        encodings.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        encodings.dedup_by(|(a, _), (b, _)| a == b);
        encodings
    }
}

impl Literal {
    fn new(text: &str) -> Self {
        let reads_as = match text {
            "null" => Some(Kind::Null),
            "true" | "false" => Some(Kind::Bool),
            _ if json::is_number(text) => Some(Kind::Number),
            _ => None,
        };
        Self {
            text: text.to_owned(),
            reads_as,
        }
    }

    /// The string that it matches.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn equals(&self, raw: &[u8]) -> bool {
        match Kind::of(raw) {
            Some(Kind::String) => RawStr::of(raw).is_some_and(|string| string.is(&self.text)),
            Some(Kind::Number) => {
                self.reads_as == Some(Kind::Number) && json::same_number(raw, self.text.as_bytes())
            }
            Some(Kind::Null | Kind::Bool) => {
                matches!(self.reads_as, Some(Kind::Null | Kind::Bool))
                    && raw == self.text.as_bytes()
            }
            Some(Kind::Array | Kind::Object) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &[(&str, &str)], document: &str, expected: bool) {
        let filter = Filter::from_pairs(query.iter().copied()).unwrap();
        assert_eq!(
            filter.matches(document.as_bytes()),
            expected,
            "{query:?} against {document}"
        );
    }

    #[test]
    fn literals_match_the_value_and_the_equal_string() {
        check(&[("a", "30")], r#"{"a":30}"#, true);
        check(&[("a", "30")], r#"{"a":30.0}"#, true);
        check(&[("a", "30")], r#"{"a":3e1}"#, true);
        check(&[("a", "30")], r#"{"a":"30"}"#, true);
        check(&[("a", "30")], r#"{"a":"30.0"}"#, false);
        check(&[("a", "true")], r#"{"a":true}"#, true);
        check(&[("a", "true")], r#"{"a":"true"}"#, true);
        check(&[("a", "true")], r#"{"a":false}"#, false);
        check(&[("a", "null")], r#"{"a":null}"#, true);
        check(&[("a", "null")], r#"{"b":null}"#, false);
        check(&[("a", "True")], r#"{"a":true}"#, false);
    }

    #[test]
    fn a_literal_that_is_no_json_number_is_only_a_string() {
        check(&[("zip", "007")], r#"{"zip":"007"}"#, true);
        check(&[("zip", "007")], r#"{"zip":7}"#, false);
        check(&[("a", "+1")], r#"{"a":1}"#, false);
        check(&[("a", " 1")], r#"{"a":1}"#, false);
        check(&[("a", "0x10")], r#"{"a":16}"#, false);
    }

    #[test]
    fn numbers_are_exact() {
        check(
            &[("a", "9007199254740993")],
            r#"{"a":9007199254740993}"#,
            true,
        );
        check(
            &[("a", "9007199254740993")],
            r#"{"a":9007199254740992}"#,
            false,
        );
        check(&[("a", "1e999")], r#"{"a":10e998}"#, true);
        check(&[("a", "-0")], r#"{"a":0}"#, true);
    }

    #[test]
    fn all_names_and_any_of_repeated_ones() {
        check(&[("a", "1"), ("b", "2")], r#"{"a":1,"b":2}"#, true);
        check(&[("a", "1"), ("b", "2")], r#"{"a":1,"b":3}"#, false);
        check(&[("a", "1"), ("a", "2")], r#"{"a":2}"#, true);
        check(
            &[("a", "1"), ("b", "2"), ("a", "2")],
            r#"{"a":2,"b":2}"#,
            true,
        );
        check(&[], "{}", true);
    }

    #[test]
    fn dotted_names_reach_into_objects_but_not_arrays() {
        check(&[("a.b", "1")], r#"{"a":{"b":1}}"#, true);
        check(&[("a.b", "1")], r#"{"a.b":1}"#, true);
        check(&[("a.b", "1")], r#"{"a.b":2,"a":{"b":1}}"#, true);
        check(&[("a.b.c", "1")], r#"{"a":{"b.c":1}}"#, true);
        check(&[("a.b.c", "1")], r#"{"a.b":{"c":1}}"#, true);
        check(&[("a.b", "1")], r#"{"a":[{"b":1}]}"#, false);
        check(&[("a", "1")], r#"{"a":[1]}"#, false);
        check(&[("a.0", "1")], r#"{"a":[1]}"#, false);
    }

    #[test]
    fn strings_are_compared_after_unescaping() {
        check(&[("ä", "ö\n")], r#"{"\u00e4":"\u00f6\n"}"#, true);
        check(&[("a", "😀")], r#"{"a":"\ud83d\ude00"}"#, true);
        check(&[("a", "\\")], r#"{"a":"\\"}"#, true);
    }

    #[test]
    fn is_bounded() {
        let pairs = vec![("a", "1"); MAX_FILTER_VALUES + 1];
        assert!(Filter::from_pairs(pairs).is_err());
    }
}
