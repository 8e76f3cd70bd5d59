use super::*;
use proptest::prelude::*;

fn normal(text: &str) -> Result<String, JsonError> {
    normalize(text.as_bytes(), &Limits::default()).map(|json| String::from_utf8(json).unwrap())
}

#[track_caller]
fn check(input: &str, expected: &str) {
    assert_eq!(normal(input).unwrap(), expected, "{input}");
}

#[track_caller]
fn refused(input: impl AsRef<[u8]>, line: usize, column: usize) {
    let input = input.as_ref();
    let shown = String::from_utf8_lossy(input);
    match normalize(input, &Limits::default()) {
        Ok(json) => panic!("{shown} became {}", String::from_utf8_lossy(&json)),
        Err(error) => assert_eq!(
            (error.line, error.column),
            (line, column),
            "{shown}: {error}"
        ),
    }
}

#[test]
fn drops_whitespace_and_nothing_else() {
    check(
        " {\n \"a b\" : [ 1 , { } , [\t] ] ,\r\n\"c\":\" x \\n \"} \n",
        r#"{"a b":[1,{},[]],"c":" x \n "}"#,
    );
    check("{}", "{}");
    check(
        r#"{"n":[0,-0,1.10,1E+2,123456789012345678901234567890,1e999999999999]}"#,
        r#"{"n":[0,-0,1.10,1E+2,123456789012345678901234567890,1e999999999999]}"#,
    );
    check(
        r#"{"s":"\"\\\/\b\f\n\r\t\u0000\ud83d\ude00ä😀","t":[true,false,null]}"#,
        r#"{"s":"\"\\\/\b\f\n\r\t\u0000\ud83d\ude00ä😀","t":[true,false,null]}"#,
    );
}

#[test]
fn the_last_of_equal_keys_wins() {
    check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    check(r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#);
    check(
        r#"{"a":1,"\u0061":{"x":1,"x":2},"c":0}"#,
        r#"{"\u0061":{"x":2},"c":0}"#,
    );
    check(r#"{ "a" : 1 , "a" : [ 2 ] , "a" : 3 }"#, r#"{"a":3}"#);
    check(
        r#"{"o":{"a":1,"a":{"b":1,"b":2}},"o":5,"p":{"q":[{"r":1,"r":2}]}}"#,
        r#"{"o":5,"p":{"q":[{"r":2}]}}"#,
    );
    check(r#"{"":1,"":2}"#, r#"{"":2}"#);
    check(r#"{"\u0000":1,"":2}"#, r#"{"\u0000":1,"":2}"#);
    let many: Vec<_> = (0..100).map(|n| format!(r#""k{}":{n}"#, n % 50)).collect();
    let last: Vec<_> = (50..100).map(|n| format!(r#""k{}":{n}"#, n % 50)).collect();
    check(
        &format!("{{{}}}", many.join(",")),
        &format!("{{{}}}", last.join(",")),
    );
}

#[test]
fn tells_where_the_id_is() {
    for (text, expected) in [
        (r#"{"_id":"x"}"#, Some(r#""x""#)),
        (r#"{"a":1, "_id" : "x" , "b":2}"#, Some(r#""x""#)),
        (r#"{"_id":1,"_id":"y"}"#, Some(r#""y""#)),
        (r#"{"\u005fid":[1]}"#, Some("[1]")),
        (r#"{"a":1,"a":2,"_id":null}"#, Some("null")),
        (r#"{"a":{"_id":"x"}}"#, None),
        ("{}", None),
    ] {
        let document = normalize_document(text.as_bytes(), &Limits::default(), 0).unwrap();
        let id = document.id.map(|range| &document.json[range]);
        assert_eq!(id, expected.map(str::as_bytes), "{text}");
    }
}

#[test]
fn refuses_what_is_not_one_object_and_says_where() {
    refused("", 1, 1);
    refused("null", 1, 1);
    refused("[{}]", 1, 1);
    refused("{} x", 1, 4);
    refused("{}{}", 1, 3);
    refused("{\"a\":1,\n \"b\":}", 2, 6);
    refused("{\"ä\": ?}", 1, 7);
    refused("{a:1}", 1, 2);
    refused(r#"{"a":1,}"#, 1, 8);
    refused(r#"{"a":[1,]}"#, 1, 9);
    refused(r#"{"a" 1}"#, 1, 6);
    refused(r#"{"a":1 "b":2}"#, 1, 8);
    refused(r#"{"a":[1 2]}"#, 1, 9);
    refused(r#"{"a":1"#, 1, 7);
    refused(r#"{"a":"#, 1, 6);
    refused(r#"{"a"#, 1, 4);
    refused("{", 1, 2);
    refused("{'a':1}", 1, 2);
    refused("\u{feff}{}", 1, 1);
    refused(r#"{"a":tru}"#, 1, 6);
    refused(r#"{"a":NaN}"#, 1, 6);
}

#[test]
fn refuses_bad_numbers() {
    for bad in [
        "01", "-", "+1", ".5", "1.", "1.e1", "1e", "1e+", "-a", "1.2.3", "--1",
    ] {
        assert!(normal(&format!(r#"{{"a":{bad}}}"#)).is_err(), "{bad}");
        assert!(!is_number(bad), "{bad}");
    }
    for good in ["0", "-0", "0.0", "10", "1e1", "1E-07", "-12.50e+99999"] {
        assert!(normal(&format!(r#"{{"a":{good}}}"#)).is_ok(), "{good}");
        assert!(is_number(good), "{good}");
    }
    for bad in ["", " 1", "1 ", "1,2", "Infinity"] {
        assert!(!is_number(bad), "{bad}");
    }
}

#[test]
fn refuses_bad_strings() {
    refused(b"{\"a\":\"\xff\"}", 1, 7);
    refused(b"{\"a\":\"\xed\xa0\x80\"}", 1, 7);
    for bad in [
        r"\ud800",
        r"\udc00",
        r"\ud800\ud800",
        r"\ud800x",
        r"\ud800\n",
        r"\u12",
        r"\u12g4",
        r"\x",
        r"\",
        "\u{1}",
        "\n",
        "12345678\u{1f}",
    ] {
        assert!(normal(&format!(r#"{{"a":"{bad}"}}"#)).is_err(), "{bad:?}");
    }
    for length in 0..40 {
        let plain = "x".repeat(length);
        check(
            &format!(r#"{{"{plain}":"{plain}"}}"#),
            &format!(r#"{{"{plain}":"{plain}"}}"#),
        );
        refused(format!("{{\"{plain}\u{b}\":1}}"), 1, 3 + length);
        refused(format!("{{\"{plain}"), 1, 3 + length);
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    assert!(normal(&nested(128)).is_ok());
    let error = normal(&nested(129)).unwrap_err();
    assert_eq!(
        (error.reason, error.column),
        ("nested deeper than 128 levels", 133)
    );
    let objects = r#"{"a":"#.repeat(100_000);
    assert_eq!(
        normal(&objects).unwrap_err().reason,
        "nested deeper than 128 levels"
    );
}

#[test]
fn many_repeated_keys_cost_little() {
    let object = format!("{{{}\"k\":0}}", "\"k\":1,".repeat(200_000));
    check(&object, r#"{"k":0}"#);
}

#[test]
fn reads_fields_and_items() {
    let object = r#"{"a":1,"b\n":[1,"],}",{"x":"\"}"}],"c":{},"d":"x"}"#;
    let found: Vec<_> = fields(object.as_bytes())
        .map(|(key, value)| (key.into_owned(), String::from_utf8(value.to_vec()).unwrap()))
        .collect();
    let expected = [
        ("a", "1"),
        ("b\n", r#"[1,"],}",{"x":"\"}"}]"#),
        ("c", "{}"),
        ("d", r#""x""#),
    ];
    assert_eq!(
        found,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let array = br#" [ 1 , "],}" ,[[]], {"x":"\"}"}, null ] "#;
    let found: Vec<&[u8]> = items(array).collect();
    let expected: [&[u8]; 5] = [b"1", br#""],}""#, b"[[]]", br#"{"x":"\"}"}"#, b"null"];
    assert_eq!(found, expected);
    assert_eq!(items(b"[]").count(), 0);
    assert_eq!(fields(b" { } ").count(), 0);
    assert_eq!(
        items(b"{}").count() + fields(b"[1]").count() + fields(b"1").count(),
        0
    );
}

#[test]
fn kinds_and_strings() {
    for (text, kind) in [
        ("null", Kind::Null),
        (" true ", Kind::Bool),
        ("-1", Kind::Number),
        ("\"\"", Kind::String),
        ("[1]", Kind::Array),
        ("{\"a\":1,\"a\":2}", Kind::Object),
    ] {
        assert_eq!(validate(text.as_bytes(), &Limits::default()).unwrap(), kind);
    }
    assert!(validate(b"nul", &Limits::default()).is_err());
    assert!(validate(b"1 2", &Limits::default()).is_err());
    assert!(validate(b"", &Limits::default()).is_err());
    assert_eq!(as_str(br#""a\u00e4\ud83d\ude00\/""#).unwrap(), "aä😀/");
    assert_eq!(as_str(b"1"), None);
    let mut out = Vec::new();
    push_str(&mut out, "a\"\\\n\r\t\u{1}ä");
    assert_eq!(out, r#""a\"\\\n\r\t\u0001ä""#.as_bytes());
}

#[test]
fn numbers_are_equal_by_value() {
    let equal = [
        ("30", "30.0"),
        ("30", "3e1"),
        ("0", "-0"),
        ("0", "0.000e999"),
        ("0.05", "5e-2"),
        ("-1.50", "-15E-1"),
        ("100", "0.1e3"),
        ("1e999", "10e998"),
        ("1e0000000000000000000000000000000000000001", "10"),
        (
            "1e99999999999999999999999999999999999999",
            "10e99999999999999999999999999999999999998",
        ),
        (
            "1e100000000000000000000000000000",
            "100e99999999999999999999999999998",
        ),
        (
            "1e-100000000000000000000000000000",
            "0.01e-99999999999999999999999999998",
        ),
        (
            "1e1000000000000000000000000000000",
            "10e999999999999999999999999999999",
        ),
    ];
    for (a, b) in equal {
        assert!(same_number(a.as_bytes(), b.as_bytes()), "{a} {b}");
        assert!(same_number(b.as_bytes(), a.as_bytes()), "{a} {b}");
    }
    let different = [
        ("9007199254740993", "9007199254740992"),
        ("1", "-1"),
        ("1", "10"),
        ("0", "1e-999"),
        (
            "1e99999999999999999999999999999999999999",
            "1e99999999999999999999999999999999999998",
        ),
        (
            "1e99999999999999999999999999999999999999",
            "1e-99999999999999999999999999999999999999",
        ),
        ("1e99999999999999999999999999999999999999", "1"),
    ];
    for (a, b) in different {
        assert!(!same_number(a.as_bytes(), b.as_bytes()), "{a} {b}");
    }
}

/// JSON text, mostly valid: with whitespace, repeated keys and escapes.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        "\"([a-zä ]|\\\\n|\\\\u00[0-9a-f]{2}|\\\\\")*\"",
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = "[ab]|\\\\u0061";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|v| format!("[ {} ]", v.join(" ,"))),
            prop::collection::vec((key, inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(k, v)| format!("\n\"{k}\" :{v}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    /// serde_json keeps the last of equal keys too, so it is the oracle for what is kept.
    #[test]
    fn agrees_with_a_tree(value in json_text()) {
        let text = format!("{{\"v\":{value}}}");
        let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
        let once = normal(&text).unwrap();
        prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&once).unwrap(), &expected);
        prop_assert_eq!(&normal(&once).unwrap(), &once);
        prop_assert!(!once.contains('\n'));
        let fields = fields(once.as_bytes()).count();
        prop_assert_eq!(fields, 1);
    }

    /// No input may panic, whatever is read from it.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = normalize(&bytes, &Limits::default());
        let _ = fields(&bytes).count() + items(&bytes).count();
        let _ = as_str(&bytes);
        let _ = same_number(&bytes, b"1");
    }

    /// A valid text with one byte changed: accepted exactly if the tree parser accepts it, except
    /// for what only we check (depth is not reached here).
    #[test]
    fn damaged_text_is_judged_as_by_a_tree(value in json_text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = format!("{{\"v\":{value}}}").into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let ours = normalize(&text, &Limits::default());
        let theirs = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text);
        match theirs {
            Ok(tree) => {
                let ours = ours.map_err(|e| TestCaseError::fail(e.to_string()))?;
                let ours: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&ours).unwrap();
                prop_assert_eq!(ours, tree);
            }
            // A number beyond f64 is the one thing that a tree refuses and we do not.
            Err(error) => prop_assert!(ours.is_err() || error.to_string().contains("out of range")),
        }
    }
}
