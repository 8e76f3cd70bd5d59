use super::*;

fn asked(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(RANGE, HeaderValue::from_static(value))])
}

#[test]
fn a_part_of_a_file_is_what_was_asked_for() {
    assert_eq!(range(&HeaderMap::new(), 10).unwrap(), None);
    assert_eq!(range(&asked("bytes=0-"), 10).unwrap(), Some((0, 10)));
    assert_eq!(range(&asked("bytes=4-"), 10).unwrap(), Some((4, 10)));
    assert_eq!(range(&asked("bytes=4-4"), 10).unwrap(), Some((4, 5)));
    assert_eq!(range(&asked("bytes=4-99"), 10).unwrap(), Some((4, 10)));
    for all in [
        "bytes=5-4",
        "bytes=-3",
        "lines=1-2",
        "bytes=0-1,3-4",
        "bytes=x-",
    ] {
        assert_eq!(range(&asked(all), 10).unwrap(), None, "{all}");
    }
    for beyond in ["bytes=10-", "bytes=99-100"] {
        let refused = range(&asked(beyond), 10).unwrap_err();
        assert_eq!(refused.kind, Kind::RangeNotSatisfiable);
    }
}
