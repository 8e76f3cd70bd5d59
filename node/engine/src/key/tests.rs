use super::value::{Precision, encode, encode_text, encoded_len};
use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

fn encoded(raw: &str) -> (Vec<u8>, Precision) {
    let mut out = Vec::new();
    let precision = encode(raw.as_bytes(), &mut out).unwrap();
    assert_eq!(encoded_len(&out), Some(out.len()), "{raw}");
    let mut longer = out.clone();
    longer.extend([0, 1, 2, 0xFF]);
    assert_eq!(encoded_len(&longer), Some(out.len()), "{raw}");
    (out, precision)
}

/// The keyspace is an on-disk format: these bytes may never change.
#[test]
fn golden() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(NUMBERS), "0101");
    assert_eq!(hex(collection("ab").as_ref()), "01026162");
    assert_eq!(
        hex(document(CollectionNumber(1), b"ab").as_ref()),
        "02000000016162"
    );
    for (raw, expected) in [
        ("null", "10"),
        ("false", "20"),
        ("true", "21"),
        ("0", "31"),
        ("1", "3281010c00"),
        ("-1", "307efef3ff"),
        ("30", "3281022000"),
        ("12.34", "3281020e2400"),
        ("0.05", "327ffe3400"),
        ("0.5", "32803400"),
        ("1e1000", "328203e90c00"),
        ("\"\"", "400001"),
        ("\"a\\u0000b\"", "406100ff620001"),
    ] {
        assert_eq!(hex(&encoded(raw).0), expected, "{raw}");
    }
    assert_eq!(
        hex(&index_entry(IndexNumber(2), &encoded("true").0, b"x")),
        "0300000000000000022178"
    );
}

#[test]
fn values_sort_by_type_and_value() {
    let huge = format!("1e{}", "9".repeat(40));
    let negative_huge = format!("-{huge}");
    let tiny = format!("1e-{}", "9".repeat(40));
    let ascending = [
        "null",
        "false",
        "true",
        &negative_huge,
        "-1e400",
        "-100",
        "-30",
        "-9.5",
        "-9",
        "-1",
        "-0.5",
        "-0.05",
        "-1e-400",
        "0",
        &tiny,
        "1e-400",
        "0.05",
        "0.5",
        "0.51",
        "1",
        "9",
        "9.5",
        "10",
        "29.999",
        "30",
        "30.0001",
        "100",
        "9007199254740992",
        "9007199254740993",
        "1e400",
        "1e40000",
        &huge,
        "\"\"",
        "\"\\u0000\"",
        "\"\\u0000a\"",
        "\"\\u0001\"",
        "\"a\"",
        "\"a\\u0000\"",
        "\"aa\"",
        "\"b\"",
        "\"ä\"",
        "\"😀\"",
    ];
    let keys: Vec<_> = ascending.iter().map(|raw| encoded(raw).0).collect();
    for (at, pair) in keys.windows(2).enumerate() {
        assert!(
            pair[0] < pair[1],
            "{} < {}",
            ascending[at],
            ascending[at + 1]
        );
    }
    for (at, a) in keys.iter().enumerate() {
        for b in keys.iter().skip(at + 1) {
            assert!(!b.starts_with(a), "{a:?} begins {b:?}");
        }
    }
}

#[test]
fn equal_numbers_have_equal_bytes() {
    for (a, b) in [
        ("30", "30.0"),
        ("30", "3e1"),
        ("-0", "0"),
        ("5", "0.5e1"),
        ("50", "5e1"),
    ] {
        assert_eq!(encoded(a), encoded(b), "{a} {b}");
    }
}

#[test]
fn long_values_are_cut_and_stay_in_order() {
    let text = |n: usize, end: &str| format!("\"{}{end}\"", "x".repeat(n));
    assert_eq!(encoded(&text(256, "")).1, Precision::Exact);
    assert_eq!(encoded(&text(256, "a")).1, Precision::Cut);
    assert_eq!(encoded(&text(256, "a")), encoded(&text(256, "b")));
    assert!(encoded(&text(256, "")).0 < encoded(&text(256, "a")).0);
    assert!(encoded(&text(256, "a")).0 < encoded(&text(255, "y")).0);
    assert!(encoded(&text(255, "")).0 < encoded(&text(256, "")).0);
    let digits = |n: usize, end: &str| format!("{}{end}", "1".repeat(n));
    assert_eq!(encoded(&digits(512, "")).1, Precision::Exact);
    assert_eq!(encoded(&digits(512, ".1")).1, Precision::Cut);
    assert_eq!(encoded(&digits(512, ".1")), encoded(&digits(512, ".2")));
    assert!(encoded(&digits(512, "")).0 < encoded(&digits(512, ".1")).0);
    assert!(encoded(&digits(512, ".1")).0 < encoded(&digits(511, "2")).0);
    let negative = |n: usize, end: &str| format!("-{}", digits(n, end));
    assert!(encoded(&negative(512, "")).0 > encoded(&negative(512, ".1")).0);
    let zeros = "\\u0000".repeat(300);
    let (key, precision) = encoded(&format!("\"{zeros}\""));
    assert_eq!((key.len(), precision), (1 + 512 + 2, Precision::Cut));
    let largest = index_entry(IndexNumber(1), &key, &[b'x'; 512]);
    assert!(largest.len() <= godb_store::limits::MAX_KEY_BYTES);
}

#[test]
fn keys_come_apart_again() {
    let prefix = documents_prefix(CollectionNumber(9));
    let key = document(CollectionNumber(9), b"id");
    assert_eq!(key.as_ref().strip_prefix(&prefix), Some(&b"id"[..]));
    let (value, _) = encoded("\"v\"");
    let key = index_entry(IndexNumber(9), &value, b"id");
    let rest = key.strip_prefix(&index_prefix(IndexNumber(9))).unwrap();
    assert_eq!(encoded_len(rest), Some(value.len()));
    assert_eq!(&rest[value.len()..], b"id");
    assert_eq!(collection_name(collection("x").as_ref()), Some("x"));
    assert_eq!(collection_name(NUMBERS), None);
    let longest = document(CollectionNumber(1), &[b'x'; 512]);
    assert_eq!(longest.as_ref().len(), 517);
}

#[test]
fn prefix_ends() {
    assert_eq!(
        prefix_end(&[1, 2]),
        Bound::Excluded(Bytes::from_static(&[1, 3]))
    );
    assert_eq!(
        prefix_end(&[1, 0xFF]),
        Bound::Excluded(Bytes::from_static(&[2]))
    );
    assert_eq!(prefix_end(&[0xFF]), Bound::Unbounded);
}

proptest! {
    #[test]
    fn integers_sort_as_numbers(a in any::<i64>(), b in any::<i64>(), scale in 0_usize..6) {
        let number = |n: i64| {
            let digits = format!("{:0width$}", n.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale > 0 { "." } else { "" };
            format!("{}{whole}{point}{fraction}", if n < 0 { "-" } else { "" })
        };
        let order = encoded(&number(a)).0.cmp(&encoded(&number(b)).0);
        prop_assert_eq!(order, a.cmp(&b));
    }

    #[test]
    fn floats_sort_as_numbers(a in -1e30..1e30_f64, b in -1e30..1e30_f64) {
        let order = encoded(&format!("{a:e}")).0.cmp(&encoded(&format!("{b:e}")).0);
        prop_assert_eq!(order, a.partial_cmp(&b).unwrap());
    }

    #[test]
    fn strings_sort_as_bytes(a in prop::collection::vec(0_u8..3, 0..6), b in prop::collection::vec(0_u8..3, 0..6)) {
        let key = |text: &[u8]| {
            let mut out = Vec::new();
            encode_text(text, &mut out);
            out.extend(b"id");
            out
        };
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
    }

    /// Cutting keeps the order, though not strictly.
    #[test]
    fn cut_strings_stay_in_order(a in "[ab]{254,260}", b in "[ab]{254,260}") {
        let order = encoded(&format!("\"{a}\"")).0.cmp(&encoded(&format!("\"{b}\"")).0);
        prop_assert!(order == Ordering::Equal || order == a.cmp(&b));
    }
}
