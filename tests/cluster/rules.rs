//! The rules of the kind, asked of a real API server: each field added, changed, removed and added
//! again. No operator runs here: what is refused is refused before it.

use serde_json::{Value, json};

use crate::instance::manifest;
use crate::kube::{Namespace, request, word};
use crate::release::{beside_others, kinds};

/// A change of a spec, and the words with which it is refused, or `""`.
type Step = (Value, &'static str);

/// One object that goes through changes; what is refused leaves it as it is.
fn steps(namespace: &Namespace, name: &str, first: &Value, steps: &[Step]) {
    let answer = namespace.create("godbinstances", &manifest(name, first));
    assert_eq!(answer.status, 201, "{name} {first}: {}", answer.text());
    for (number, (change, refused)) in steps.iter().enumerate() {
        let answer = namespace.patch("godbinstances", name, &json!({"spec": change}));
        let message = word(&answer.json()["message"]).to_owned();
        if refused.is_empty() {
            assert_eq!(answer.status, 200, "{name} {number} {change}: {message}");
        } else {
            assert_eq!(answer.status, 422, "{name} {number} accepted: {change}");
            assert!(
                message.contains(refused),
                "{name} {number} {change}: {message}"
            );
        }
    }
    namespace.delete("godbinstances", name);
}

fn spec(namespace: &Namespace, name: &str) -> Value {
    namespace.get("godbinstances", name)["spec"].clone()
}

#[test]
fn what_lies_on_a_volume_stays_where_it_is() {
    let _turn = beside_others();
    let namespace = Namespace::new("rules-volumes");
    kinds();
    let class = |class: Value| json!({"storage": {"storageClassName": class}});
    steps(
        &namespace,
        "no-class",
        &json!({}),
        &[
            (class(json!("loop")), "added or removed"),
            (json!({"storage": null}), "storage"),
            (json!({"storage": {"size": "96Mi"}}), ""),
        ],
    );
    steps(
        &namespace,
        "class",
        &class(json!("loop")),
        &[
            (class(json!("loop-fixed")), "cannot be changed"),
            (class(json!(null)), "added or removed"),
            (class(json!("")), "storageClassName"),
            (class(json!("loop")), ""),
            (
                json!({"storage": {"storageClassName": null, "size": "96Mi"}}),
                "added or removed",
            ),
        ],
    );
    let wal = |wal: Value| json!({"storage": {"wal": wal}});
    steps(
        &namespace,
        "no-wal",
        &json!({}),
        &[
            (wal(json!({"size": "64Mi"})), "cannot be added or removed"),
            (wal(json!({})), "size"),
        ],
    );
    steps(
        &namespace,
        "wal",
        &wal(json!({"size": "64Mi"})),
        &[
            (wal(json!(null)), "cannot be added or removed"),
            (
                wal(json!({"storageClassName": "loop"})),
                "changed, added or removed",
            ),
            (wal(json!({"size": "32Mi"})), "cannot be lowered"),
            (wal(json!({"size": null})), "size"),
            (wal(json!({"size": "65536Ki"})), ""),
            (wal(json!({"size": "96Mi"})), ""),
            (wal(json!({"size": "64Mi"})), "cannot be lowered"),
        ],
    );
    steps(
        &namespace,
        "wal-class",
        &wal(json!({"size": "64Mi", "storageClassName": "loop"})),
        &[
            (
                wal(json!({"storageClassName": "loop-fixed"})),
                "changed, added or removed",
            ),
            (
                wal(json!({"storageClassName": null})),
                "changed, added or removed",
            ),
            (wal(json!({"size": "128Mi"})), ""),
        ],
    );
}

#[test]
fn a_size_goes_down_to_what_the_volume_has_and_no_further() {
    let _turn = beside_others();
    let namespace = Namespace::new("rules-size");
    kinds();
    let size = |size: &str| json!({"storage": {"size": size}});
    let change =
        |text: &str| namespace.patch("godbinstances", "people", &json!({"spec": size(text)}));
    namespace
        .create("godbinstances", &manifest("people", &size("64Mi")))
        .expect(201);
    // Nothing was made yet, so there is nothing to be smaller than.
    change("1Gi").expect(200);
    change("64Mi").expect(200);
    let path = format!(
        "/apis/godb.dev/v1alpha1/namespaces/{}/godbinstances/people/status",
        namespace.name
    );
    let status = json!({"status": {"storage": {"capacity": "64Mi"}}}).to_string();
    request("PATCH", &path, "application/merge-patch+json", &status).expect(200);
    change("128Mi").expect(200);
    change("96Mi").expect(200);
    change("65536Ki").expect(200);
    for less in ["63Mi", "65535Ki", "32Mi"] {
        let answer = change(less);
        assert_eq!(answer.status, 422, "{less}");
        assert!(answer.text().contains("volumes do not shrink"), "{less}");
    }
    // Another field can be changed beside a size that is not.
    let other = json!({"spec": {"engine": {"durability": "os"}}});
    namespace
        .patch("godbinstances", "people", &other)
        .expect(200);
}

#[test]
fn settings_are_refused_out_of_their_range_and_come_back_as_their_defaults() {
    let _turn = beside_others();
    let namespace = Namespace::new("rules-engine");
    kinds();
    let engine = |field: &str, value: Value| json!({"engine": {field: value}});
    let interval = |value: Value| engine("checkpointInterval", value);
    let wal = |value: Value| engine("maxWalSize", value);
    let memory = |value: Value| engine("maxMemory", value);
    let limit = |value: Value| json!({"resources": {"limits": {"memory": value}}});
    let said = "checkpointInterval must be";
    steps(
        &namespace,
        "interval",
        &json!({}),
        &[
            (interval(json!("5m")), ""),
            (interval(json!("1h30m500ms")), ""),
            (interval(json!("999ms")), said),
            (interval(json!("24h1ms")), said),
            (interval(json!("1.5h")), said),
            (interval(json!("5 m")), said),
            (interval(json!("1d")), said),
            (interval(json!("-5m")), said),
            (interval(json!(30)), "checkpointInterval"),
            (interval(json!(null)), ""),
            (interval(json!("25h")), said),
            (interval(json!("24h")), ""),
            (json!({"engine": null}), ""),
            (interval(json!("0s")), said),
        ],
    );
    let said = "maxWalSize must be";
    steps(
        &namespace,
        "wal-size",
        &json!({}),
        &[
            (wal(json!("64Mi")), ""),
            (wal(json!("2Mi")), ""),
            (wal(json!("2097151")), said),
            (wal(json!("16Gi")), ""),
            (wal(json!("17Gi")), said),
            (wal(json!("64MiB")), said),
            (wal(json!("1.5Gi")), said),
            (wal(json!("64m")), said),
            (wal(json!(null)), ""),
            (wal(json!("1Mi")), said),
        ],
    );
    let said = "maxMemory must be";
    let share = "at most 75 %";
    steps(
        &namespace,
        "memory",
        &limit(json!("256Mi")),
        &[
            (memory(json!("192Mi")), ""),
            (memory(json!("193Mi")), share),
            (limit(json!("255Mi")), share),
            (limit(json!("268435456")), ""),
            (limit(json!(268_435_455)), share),
            (limit(json!(268_435_456)), ""),
            (memory(json!(null)), ""),
            (limit(json!("255Mi")), ""),
            (memory(json!("192Mi")), share),
            (memory(json!("15Mi")), said),
            (memory(json!("many")), said),
            (limit(json!(null)), ""),
            (memory(json!("192Mi")), ""),
            (limit(json!("200Mi")), share),
            (json!({"resources": null}), ""),
            (memory(json!("2Ti")), said),
            (limit(json!("255Mi")), share),
            (
                json!({"engine": null, "resources": {"limits": {"memory": "64Mi"}}}),
                "",
            ),
        ],
    );
    namespace
        .create(
            "godbinstances",
            &manifest("defaults", &json!({"engine": null})),
        )
        .expect(201);
    let defaults = spec(&namespace, "defaults")["engine"].clone();
    assert_eq!(
        defaults,
        json!({"durability": "os", "checkpointInterval": "30s", "maxWalSize": "32Mi"})
    );
}

#[test]
fn names_that_are_the_operators_are_refused_however_they_come() {
    let _turn = beside_others();
    let namespace = Namespace::new("rules-names");
    kinds();
    let at =
        |outer: &str, inner: &str, key: &str, value: Value| json!({outer: {inner: {key: value}}});
    for (number, (outer, inner, ours)) in [
        ("storage", "labels", "godb.dev/x"),
        ("storage", "labels", "app.kubernetes.io/name"),
        ("pod", "labels", "godb.dev/x"),
        ("pod", "labels", "app.kubernetes.io/instance"),
        ("pod", "annotations", "godb.dev/config-hash"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = "those are the operator's";
        steps(
            &namespace,
            &format!("names{number}"),
            &json!({}),
            &[
                (at(outer, inner, ours, json!("x")), said),
                (at(outer, inner, "example.com/a", json!("x")), ""),
                (at(outer, inner, ours, json!("x")), said),
                (at(outer, inner, "example.com/a", json!("y")), ""),
                (at(outer, inner, "example.com/a", json!(null)), ""),
                (json!({outer: {inner: null}}), ""),
                (at(outer, inner, ours, json!("x")), said),
                (at(outer, inner, "example.com/a", json!("x")), ""),
            ],
        );
    }
    let variable = |name: &str| json!({"extraEnv": [{"name": name, "value": "x"}]});
    let said = "may not begin with GODB_";
    steps(
        &namespace,
        "variables",
        &json!({}),
        &[
            (variable("GODB_LISTEN"), said),
            (variable("1A"), said),
            (variable("A-B"), said),
            (variable(""), "extraEnv"),
            (variable("RUST_BACKTRACE"), ""),
            (variable("GODB_"), said),
            (json!({"extraEnv": null}), ""),
            (variable("GODB_LISTEN"), said),
            (variable("godb_listen"), ""),
        ],
    );
    let version = |version: Value| json!({ "version": version });
    let said = "version must be";
    steps(
        &namespace,
        "version",
        &json!({}),
        &[
            (version(json!("0.2.0-rc.1")), ""),
            (version(json!("latest")), said),
            (version(json!("1.0")), said),
            (version(json!("1.0.0 ")), said),
            (version(json!(null)), "version"),
            (version(json!("1.0.0")), ""),
        ],
    );
    steps(
        &namespace,
        "ranges",
        &json!({}),
        &[
            (
                json!({"terminationGracePeriodSeconds": 29}),
                "terminationGracePeriodSeconds",
            ),
            (json!({"terminationGracePeriodSeconds": 30}), ""),
            (json!({"terminationGracePeriodSeconds": null}), ""),
            (json!({"securityContext": {"runAsUser": 0}}), "runAsUser"),
            (json!({"securityContext": {}}), ""),
            (json!({"image": ""}), "image"),
            (json!({"deletionPolicy": "delete"}), "deletionPolicy"),
            (json!({"engine": {"durability": "Full"}}), "durability"),
        ],
    );
}
