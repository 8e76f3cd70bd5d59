use super::*;
use proptest::prelude::*;

fn varint_bytes(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, value);
    out
}

#[test]
fn varints_at_the_edges() {
    for (value, bytes) in [
        (0, vec![0]),
        (127, vec![0x7f]),
        (128, vec![0x80, 0x01]),
        (300, vec![0xac, 0x02]),
        (
            u64::MAX,
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ),
    ] {
        assert_eq!(varint_bytes(value), bytes);
        assert!(bytes.len() <= MAX_VARINT_BYTES);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.varint(), Ok(value));
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn varints_that_are_refused() {
    for bytes in [
        vec![],
        vec![0x80],
        vec![0x80, 0x00],
        vec![0xff; 9],
        [vec![0xff; 9], vec![0x02]].concat(),
        [vec![0x80; 10], vec![0x01]].concat(),
    ] {
        assert!(Reader::new(&bytes).varint().is_err(), "{bytes:x?}");
    }
}

#[test]
fn an_error_tells_where() {
    let mut reader = Reader::new(&[1, 0, 0, 0, 9]);
    assert_eq!(reader.u32(), Ok(1));
    assert_eq!(reader.u64().map_err(|error| error.offset), Err(4));
    assert_eq!(
        reader.length_prefixed(8).map_err(|error| error.offset),
        Err(4)
    );
    let mut reader = Reader::new(&[9, 1, 2]);
    assert_eq!(
        reader.length_prefixed(100).map_err(|error| error.offset),
        Err(1)
    );
    let StoreError::Corrupt { offset, .. } = reader.error("a thing").in_file(Path::new("f"), 1000)
    else {
        panic!("not reported as corruption")
    };
    assert_eq!(offset, 1001);
}

#[test]
fn a_count_is_bounded_by_what_is_there() {
    let bytes = [varint_bytes(3), vec![0; 12]].concat();
    assert_eq!(Reader::new(&bytes).count(4), Ok(3));
    assert!(Reader::new(&bytes).count(5).is_err());
    assert!(Reader::new(&varint_bytes(u64::MAX)).count(1).is_err());
}

#[test]
fn leftovers_are_an_error() {
    let mut reader = Reader::new(&[1, 2]);
    assert_eq!(reader.u8(), Ok(1));
    assert!(reader.finish().is_err());
    assert_eq!(reader.u8(), Ok(2));
    assert_eq!(reader.finish(), Ok(()));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        a: u8, c: u32, d: u64, e: u128, f: u64,
        g in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut out = Vec::new();
        out.push(a);
        put_u32(&mut out, c);
        put_u64(&mut out, d);
        put_u128(&mut out, e);
        put_varint(&mut out, f);
        put_length_prefixed(&mut out, &g);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.u8(), Ok(a));
        prop_assert_eq!(reader.u32(), Ok(c));
        prop_assert_eq!(reader.u64(), Ok(d));
        prop_assert_eq!(reader.u128(), Ok(e));
        prop_assert_eq!(reader.varint(), Ok(f));
        prop_assert_eq!(reader.length_prefixed(200), Ok(g.as_slice()));
        prop_assert_eq!(reader.finish(), Ok(()));
        for len in 0..out.len() {
            let mut reader = Reader::new(&out[..len]);
            let all = reader.u8().is_ok()
                && reader.u32().is_ok()
                && reader.u64().is_ok()
                && reader.u128().is_ok()
                && reader.varint().is_ok()
                && reader.length_prefixed(200).is_ok();
            prop_assert!(!all);
        }
    }

    #[test]
    fn any_bytes_read_as_a_varint_are_its_only_encoding(
        bytes in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut reader = Reader::new(&bytes);
        if let Ok(value) = reader.varint() {
            let only = varint_bytes(value);
            prop_assert_eq!(&bytes[..reader.offset()], only.as_slice());
        }
    }
}
