//! How a filter is answered: by ids, by one index, or by looking at every document.

use bytes::Bytes;

use super::parse::{Condition, Filter};
use crate::catalog::Collection;
use crate::key::value::Precision;
use crate::key::{self, IndexNumber};
use crate::limits::MAX_ID_BYTES;

/// Values of one condition that an index is asked for; with more, a scan costs less than the merge.
const MAX_MERGED_VALUES: usize = 64;

/// Where candidates come from. Each kind yields them in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// These ids, ascending.
    Ids(Vec<Bytes>),
    /// The entries of an index that begin with these prefixes, merged.
    Index {
        prefixes: Vec<Bytes>,
        /// Every document with such an entry matches the whole filter, unseen.
        certain: bool,
    },
    /// Every document.
    Scan,
}

/// The plan for a filter over a collection as the reader's view sees it.
pub(crate) fn plan(filter: &Filter, collection: &Collection) -> Plan {
    let conditions = filter.conditions();
    if let Some(condition) = conditions.iter().find(|condition| condition.path == "_id") {
        return Plan::Ids(ids(condition));
    }
    // Without statistics, the condition with the fewest values is the best guess.
    let indexed = |condition: &Condition| {
        let index = collection.ready_index(&condition.path)?;
        let encodings = condition.encodings();
        (encodings.len() <= MAX_MERGED_VALUES).then_some((index.number, encodings))
    };
    let chosen = conditions
        .iter()
        .filter_map(indexed)
        .min_by_key(|(_, encodings)| encodings.len());
    let Some((number, encodings)) = chosen else {
        return Plan::Scan;
    };
    let exact = |(_, precision): &(Vec<u8>, Precision)| *precision == Precision::Exact;
    Plan::Index {
        certain: conditions.len() == 1 && encodings.iter().all(exact),
        prefixes: encodings
            .iter()
            .map(|(encoded, _)| prefix(number, encoded))
            .collect(),
    }
}

fn prefix(number: IndexNumber, encoded: &[u8]) -> Bytes {
    key::index_entry(number, encoded, b"")
}

fn ids(condition: &Condition) -> Vec<Bytes> {
    let mut ids: Vec<Bytes> = condition
        .any_of
        .iter()
        .map(|literal| literal.text())
        .filter(|text| (1..=MAX_ID_BYTES).contains(&text.len()))
        .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Index, IndexState};
    use crate::key::CollectionNumber;

    fn plan_of(query: &[(&str, &str)]) -> Plan {
        let index = |number, field: &str, state| Index {
            number: IndexNumber(number),
            state,
            field: field.to_owned(),
        };
        let collection = Collection {
            number: CollectionNumber(1),
            indexes: vec![
                index(1, "a", IndexState::Ready),
                index(2, "b", IndexState::Building),
                index(3, "c.d", IndexState::Ready),
            ],
        };
        plan(
            &Filter::from_pairs(query.iter().copied()).unwrap(),
            &collection,
        )
    }

    #[track_caller]
    fn check_index(query: &[(&str, &str)], number: u64, values: usize, is_certain: bool) {
        match plan_of(query) {
            Plan::Index { prefixes, certain } => {
                assert_eq!((prefixes.len(), certain), (values, is_certain), "{query:?}");
                let expected = key::index_prefix(IndexNumber(number));
                assert!(prefixes.iter().all(|prefix| prefix.starts_with(&expected)));
                assert!(prefixes.is_sorted());
            }
            other => panic!("{query:?}: {other:?}"),
        }
    }

    #[test]
    fn ids_come_first() {
        let ids = Plan::Ids(vec![Bytes::from_static(b"1"), Bytes::from_static(b"x")]);
        assert_eq!(
            plan_of(&[("a", "1"), ("_id", "x"), ("_id", "1"), ("_id", "x")]),
            ids
        );
        assert_eq!(plan_of(&[("_id", "")]), Plan::Ids(Vec::new()));
    }

    #[test]
    fn a_ready_index_with_the_fewest_values_is_used() {
        check_index(&[("a", "x")], 1, 1, true);
        check_index(&[("a", "30")], 1, 2, true);
        check_index(&[("a", "30"), ("a", "3e1")], 1, 3, true);
        check_index(&[("a", "30"), ("c.d", "x")], 3, 1, false);
        check_index(&[("a", &"x".repeat(300))], 1, 1, false);
        check_index(&[("b", "x"), ("a", "x")], 1, 1, false);
    }

    #[test]
    fn otherwise_every_document_is_looked_at() {
        assert_eq!(plan_of(&[]), Plan::Scan);
        assert_eq!(plan_of(&[("b", "x")]), Plan::Scan);
        assert_eq!(plan_of(&[("c", "x")]), Plan::Scan);
        let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
        let query: Vec<_> = many.iter().map(|n| ("a", n.as_str())).collect();
        assert_eq!(plan_of(&query), Plan::Scan);
    }
}
