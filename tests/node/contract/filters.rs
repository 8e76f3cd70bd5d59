//! Which documents a filter finds: the same with and without an index on the field.

use crate::shared::{Fixture, ids};

const DOCUMENTS: &str = r#"[
    {"_id":"a","n":30,"s":"x","zip":"007","b":true,"z":null,"o":{"k":1,"deep":{"x":"y"}},"arr":[1,2]},
    {"_id":"b","n":30.0,"s":"30","zip":7,"b":"true","z":"null","o.k":1,"arr":["x"]},
    {"_id":"c","n":"30","zip":"7","b":false,"o":{"k":"1"}},
    {"_id":"d","n":9007199254740993},
    {"_id":"e","n":9007199254740992},
    {"_id":"f","n":3e1,"arr":1,"s":""},
    {"_id":"g","n":0,"s":"a b","o":{"deep":{}}},
    {"_id":"h","n":-0.0,"s":"a+b"},
    {"_id":"i","n":0.1,"s":"ä=&ö","deep.x":1},
    {"_id":"j","n":0.1000000000000000055511151231257827,"s":"TRUE"},
    {"_id":"k","n":[30],"b":[true],"z":{},"s":["x"]},
    {"_id":"l","n":{"v":30},"a.b":{"c.d":5}},
    {"_id":"m","n":-5e-3,"a":{"b":{"c":{"d":5}}}},
    {"_id":"n","n":123456789012345678901234567890},
    {"_id":"o","n":1.23456789012345678901234567890e29},
    {"_id":"p","s":"0x1e","zip":"1e","b":"false"}
]"#;

/// Query, the ids it finds.
const CASES: &[(&str, &str)] = &[
    ("n=30", "a b c f"),
    ("n=30.0", "a b f"),
    ("n=3e1", "a b f"),
    ("n=3E%2B1", "a b f"),
    ("n=300e-1", "a b f"),
    ("n=31", ""),
    ("n=9007199254740993", "d"),
    ("n=9007199254740992", "e"),
    ("n=9007199254740992.5", ""),
    ("n=0", "g h"),
    ("n=-0", "g h"),
    ("n=0.0", "g h"),
    ("n=0.1", "i"),
    ("n=1e-1", "i"),
    ("n=0.1000000000000000055511151231257827", "j"),
    ("n=-0.005", "m"),
    ("n=123456789012345678901234567890", "n o"),
    ("n=123456789012345678901234567891", ""),
    ("n=v", ""),
    ("n.v=30", "l"),
    ("zip=007", "a"),
    ("zip=7", "b c"),
    ("zip=7.0", "b"),
    ("zip=1e", "p"),
    ("zip=%207", ""),
    ("b=true", "a b"),
    ("b=false", "c p"),
    ("b=TRUE", ""),
    ("s=TRUE", "j"),
    ("s=0x1e", "p"),
    ("z=null", "a b"),
    ("absent=null", ""),
    ("o=null", ""),
    ("o.k=1", "a b c"),
    ("o.k=2", ""),
    ("o.deep.x=y", "a"),
    ("o.deep.x=null", ""),
    ("deep.x=1", "i"),
    ("a.b.c.d=5", "l m"),
    ("s=x", "a"),
    ("s=", "f"),
    ("s=a%20b", "g"),
    ("s=a+b", "g"),
    ("s=a%2Bb", "h"),
    ("s=%C3%A4%3D%26%C3%B6", "i"),
    ("arr=1", "f"),
    ("arr=2", ""),
    ("arr.0=1", ""),
    ("o=1", ""),
    ("_id=a", "a"),
    ("_id=z", ""),
    ("s=x&s=30", "a b"),
    ("n=0&n=30", "a b c f g h"),
    ("s=x&n=30", "a"),
    ("n=30&b=false", "c"),
    ("n=30&b=true&b=false", "a b c"),
    ("n=30&s=nothing", ""),
    ("_id=a&_id=c&n=30", "a c"),
    ("N=30", ""),
];

fn check_all(f: &mut Fixture, when: &str) {
    for (query, expected) in CASES {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let page = f.find(query).expect(200).json();
        assert_eq!(ids(&page), expected, "{when}: {query}");
        assert_eq!(page["total"], expected.len(), "{when}: {query}");
        let path = f.path(&format!("/find_with_stream?{query}"));
        let streamed = f.client.get(&path).expect(200).json();
        let streamed: Vec<&str> = streamed
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["_id"].as_str().unwrap())
            .collect();
        let mut sorted = streamed.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{when}: stream of {query}");
    }
}

#[test]
fn filters_find_what_they_should_by_scan_and_by_index() {
    let mut f = Fixture::new();
    f.batch(DOCUMENTS).expect(201);
    check_all(&mut f, "scan");
    for field in [
        "n", "zip", "b", "s", "z", "o.k", "o.deep.x", "arr", "a.b.c.d", "deep.x", "n.v",
    ] {
        f.index(field).expect(201);
        check_all(&mut f, &format!("index on {field}"));
    }
}

#[test]
fn an_index_made_first_finds_the_same() {
    let mut f = Fixture::new();
    for field in ["n", "zip", "b", "s", "z", "o.k", "o.deep.x", "arr"] {
        f.index(field).expect(201);
    }
    f.batch(DOCUMENTS).expect(201);
    check_all(&mut f, "index first");
}

#[test]
fn an_index_follows_updates_and_deletes() {
    let mut f = Fixture::new();
    f.index("n").expect(201);
    f.batch(r#"[{"_id":"a","n":1},{"_id":"b","n":1},{"_id":"c","n":2}]"#)
        .expect(201);
    let (a, b) = (f.document("a"), f.document("b"));
    f.client.patch(&a, r#"{"n":2}"#).expect(200);
    assert_eq!(f.found("n=1"), ["b"]);
    assert_eq!(f.found("n=2"), ["a", "c"]);
    f.client.put(&b, r#"{"m":1}"#).expect(200);
    assert!(f.found("n=1").is_empty());
    f.client.delete(&a).expect(204);
    assert_eq!(f.found("n=2"), ["c"]);
    f.batch_update(r#"[{"id":"c","updates":{"n":5}},{"id":"c","updates":{"n":6}}]"#)
        .expect(200);
    assert!(f.found("n=5").is_empty());
    assert_eq!(f.found("n=6"), ["c"]);
}

#[test]
fn long_values_are_told_apart_beyond_what_an_index_key_holds() {
    let mut f = Fixture::new();
    f.index("s").expect(201);
    let long = "x".repeat(5000);
    f.add(&format!(r#"{{"_id":"a","s":"{long}1"}}"#));
    f.add(&format!(r#"{{"_id":"b","s":"{long}2"}}"#));
    assert_eq!(f.found(&format!("s={long}1")), ["a"]);
    assert_eq!(f.found(&format!("s={long}2")), ["b"]);
    assert!(f.found(&format!("s={long}")).is_empty());
}

#[test]
fn long_numbers_are_told_apart_too() {
    let mut f = Fixture::new();
    f.index("n").expect(201);
    let digits = "7".repeat(700);
    // serde_json cannot read such numbers, so the answers are compared as text.
    for (id, last) in [("a", 1), ("b", 2)] {
        f.insert(&format!(r#"{{"_id":"{id}","n":{digits}{last}}}"#))
            .expect(201);
    }
    for (id, other, last) in [("a", "b", 1), ("b", "a", 2)] {
        let text = f.find(&format!("n={digits}{last}")).expect(200).text();
        assert!(text.contains(&format!("\"_id\":\"{id}\"")));
        assert!(!text.contains(&format!("\"_id\":\"{other}\"")));
    }
}

#[test]
fn an_unknown_query_parameter_is_a_filter_and_never_an_error() {
    let mut f = Fixture::new();
    f.add(r#"{"_id":"a","sort":"n","fields":"x","pretty":"","filter":1}"#);
    for query in ["sort=n", "fields=x", "pretty", "pretty=", "filter=1"] {
        assert_eq!(f.found(query), ["a"], "{query}");
    }
    for query in ["sort=m", "page=2", "cursor=x", "%24gt=1"] {
        assert!(f.found(query).is_empty(), "{query}");
    }
}
