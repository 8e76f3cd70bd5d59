use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<(Vec<u8>, Reverse<Lsn>), Option<Vec<u8>>>;

fn build(model: &Model) -> Block {
    let mut builder = BlockBuilder::default();
    for ((key, Reverse(lsn)), value) in model {
        builder.add(key, *lsn, value.as_deref());
    }
    let len = builder.len();
    let bytes = builder.finish(Bytes::copy_from_slice);
    assert_eq!(bytes.len(), len);
    assert!(builder.is_empty());
    Block::new(bytes).unwrap()
}

fn entries(block: &Block) -> Decoded<Vec<VersionedEntry>> {
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for interval in 0..block.intervals() {
        block.decode_interval(interval, &mut some)?;
        all.append(&mut some);
    }
    Ok(all)
}

fn models() -> impl Strategy<Value = Model> {
    // Few letters: many shared prefixes, many versions of one key.
    let key = proptest::collection::vec(b'a'..b'd', 0..5);
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
    proptest::collection::btree_map(
        (key, (1u64..30).prop_map(|n| Reverse(Lsn(n)))),
        value,
        1..120,
    )
}

proptest! {
    #[test]
    fn a_block_answers_like_a_map(model in models()) {
        let block = build(&model);
        let expected: Vec<_> = model
            .iter()
            .map(|((key, Reverse(lsn)), value)| VersionedEntry {
                key: Bytes::copy_from_slice(key),
                lsn: *lsn,
                value: value.as_deref().map(Bytes::copy_from_slice),
            })
            .collect();
        prop_assert_eq!(entries(&block).unwrap(), expected);
        let mut keys: Vec<Vec<u8>> = model.keys().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        for key in keys.clone() {
            keys.push([key.as_slice(), b"a"].concat());
            keys.push([key.as_slice(), b"z"].concat());
        }
        keys.push(Vec::new());
        for key in keys {
            for lsn in [0, 1, 5, 15, 29, u64::MAX].map(Lsn) {
                let at = (key.clone(), Reverse(lsn));
                let expected = match model.range(at..).next() {
                    None => Lookup::PastEnd,
                    Some(((found, Reverse(lsn)), value)) if *found == key => {
                        Lookup::Found(*lsn, value.as_deref().map(Bytes::copy_from_slice))
                    }
                    Some(_) => Lookup::Absent,
                };
                prop_assert_eq!(block.get(&key, lsn).unwrap(), expected);
            }
        }
    }

    #[test]
    fn intervals_are_found_by_key(model in models(), key in proptest::collection::vec(b'a'..b'e', 0..5)) {
        let block = build(&model);
        let all: Vec<_> = model.keys().map(|(key, _)| key).collect();
        let first_at_or_after = all.iter().position(|have| **have >= key);
        let interval = block.interval_before(&key).unwrap();
        if let Some(position) = first_at_or_after {
            let place = position / INTERVAL_ENTRIES;
            prop_assert!(place == interval || position == (interval + 1) * INTERVAL_ENTRIES);
        }
        if let Some(position) = all.iter().rposition(|have| **have <= key) {
            prop_assert_eq!(position / INTERVAL_ENTRIES, block.interval_up_to(&key).unwrap());
        }
    }

    /// Checksums keep such bytes away; still nothing may panic or take memory for them.
    #[test]
    fn any_bytes_are_an_error_or_a_block(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        intervals in 0u32..4,
        key in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        for count in [None, Some(intervals)] {
            if let Some(count) = count {
                bytes.extend_from_slice(&[0; 4]);
                bytes.extend_from_slice(&count.to_le_bytes());
            }
            if let Ok(block) = Block::new(Bytes::copy_from_slice(&bytes)) {
                let _ = entries(&block);
                let _ = block.get(&key, Lsn::MAX);
                let _ = block.interval_before(&key);
            }
        }
    }

    #[test]
    fn a_changed_byte_never_panics(model in models(), at: prop::sample::Index, byte: u8) {
        let mut bytes = build(&model).data.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(block) = Block::new(Bytes::from(bytes)) {
            let _ = entries(&block);
            for (key, _) in model.keys() {
                let _ = block.get(key, Lsn(15));
                let _ = block.interval_before(key);
                let _ = block.interval_up_to(key);
            }
        }
    }
}

#[test]
fn unordered_entries_are_noticed() {
    for (first, second) in [
        (("b", 1), ("a", 1)),
        (("a", 1), ("a", 2)),
        (("ab", 1), ("a", 1)),
    ] {
        let mut builder = BlockBuilder::default();
        for (key, lsn) in [first, second] {
            builder.add(key.as_bytes(), Lsn(lsn), None);
        }
        let block = Block::new(builder.finish(Bytes::copy_from_slice)).unwrap();
        assert!(entries(&block).is_err(), "{first:?} {second:?}");
    }
}

#[test]
fn versions_of_a_key_and_keys_of_an_interval_share_memory() {
    let mut builder = BlockBuilder::default();
    for lsn in (1..=10).rev() {
        builder.add(b"one key", Lsn(lsn), Some(b"v"));
    }
    let block = Block::new(builder.finish(Bytes::copy_from_slice)).unwrap();
    let all = entries(&block).unwrap();
    assert!(
        all.iter()
            .all(|entry| entry.key.as_ptr() == all[0].key.as_ptr())
    );
    let inside = block.data.as_ptr_range();
    assert!(
        all.iter()
            .all(|e| inside.contains(&e.value.as_ref().unwrap().as_ptr()))
    );
}
