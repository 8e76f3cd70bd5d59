//! Whether a live object is as we want it (pure). Apply is skipped when it is: in the steady state
//! nothing is written.
//!
//! Two things make a difference: a field that we want and that has another value, and a field that
//! our manager owns and that we no longer want (<https://kep.k8s.io/555>). What others added is not ours to
//! compare.

use godb_crds::quantity;
use serde_json::{Map, Value};

use crate::names::MANAGER;

/// Keys by which elements of a list are told apart, the most specific first.
const KEYS: [&str; 5] = ["mountPath", "containerPort", "port", "name", "uid"];

/// Maps that are one value: what is in them and not wanted is a difference too.
const WHOLE: [&str; 2] = [".spec.selector", ".spec.template.spec.nodeSelector"];

/// The path of the first difference, `None` if there is none.
pub fn first(live: &Value, desired: &Value) -> Option<String> {
    wanted("", live, desired).or_else(|| unwanted(live, desired))
}

/// The first wanted field that is not so.
pub fn wanted(path: &str, live: &Value, desired: &Value) -> Option<String> {
    match (live, desired) {
        (_, Value::Null) => None,
        (Value::Object(found), Value::Object(whole))
            if WHOLE.contains(&path) && found.len() != whole.len() =>
        {
            Some(path.to_owned())
        }
        (Value::Object(live), Value::Object(desired)) => desired.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match live.get(key) {
                Some(found) => wanted(&path, found, value),
                // An empty list or object is what is not there.
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(live), Value::Array(desired)) => lists(path, live, desired),
        (live, desired) => (!same(live, desired)).then(|| path.to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn lists(path: &str, live: &[Value], desired: &[Value]) -> Option<String> {
    let key = KEYS
        .into_iter()
        .find(|key| !desired.is_empty() && desired.iter().all(|item| item.get(key).is_some()));
    let Some(key) = key else {
        if live.len() != desired.len() {
            return Some(path.to_owned());
        }
        return live
            .iter()
            .zip(desired)
            .enumerate()
            .find_map(|(at, (live, desired))| wanted(&format!("{path}[{at}]"), live, desired));
    };
    desired.iter().find_map(|item| {
        let name = item.get(key)?;
        let path = format!(
            "{path}[{}]",
            name.as_str().map_or(name.to_string(), str::to_owned)
        );
        match live.iter().find(|found| found.get(key) == Some(name)) {
            Some(found) => wanted(&path, found, item),
            None => Some(path),
        }
    })
}

/// Equal, or two ways of writing one quantity.
fn same(live: &Value, desired: &Value) -> bool {
    if live == desired {
        return true;
    }
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::thousandths(text),
        Value::Number(number) => quantity::thousandths(&number.to_string()),
        _ => None,
    };
    amount(live).is_some_and(|live| Some(live) == amount(desired))
}

/// The first field that our manager owns and that is not wanted any more.
fn unwanted(live: &Value, desired: &Value) -> Option<String> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let ours = |entry: &&Value| {
        entry.get("manager").and_then(Value::as_str) == Some(MANAGER)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").is_none()
    };
    entries
        .iter()
        .filter(ours)
        .filter_map(|entry| entry.get("fieldsV1")?.as_object())
        .find_map(|fields| left_over("", fields, desired))
}

fn left_over(path: &str, fields: &Map<String, Value>, desired: &Value) -> Option<String> {
    fields.iter().find_map(|(name, below)| {
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        let (path, found) = match kind {
            "f" => (format!("{path}.{rest}"), desired.get(rest)),
            "k" => {
                let key: Map<String, Value> = serde_json::from_str(rest).ok()?;
                let has = |item: &&Value| {
                    // A key field that we leave out has its default.
                    key.iter()
                        .all(|(name, value)| item.get(name).is_none_or(|found| found == value))
                };
                let found = desired.as_array().and_then(|list| list.iter().find(has));
                (format!("{path}[{rest}]"), found)
            }
            "v" => {
                let value: Value = serde_json::from_str(rest).ok()?;
                let found = desired
                    .as_array()
                    .and_then(|l| l.iter().find(|v| **v == value));
                (format!("{path}[{rest}]"), found)
            }
            _ => return None,
        };
        match (found, below) {
            (None | Some(Value::Null), _) => Some(path),
            (Some(found), Value::Object(below)) => left_over(&path, below, found),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(live: &Value, desired: &Value, expected: Option<&str>) {
        assert_eq!(first(live, desired).as_deref(), expected);
    }

    #[test]
    fn what_others_added_is_no_difference() {
        check(
            &json!({"a": 1, "b": 2, "list": [{"name": "x", "v": 1, "default": true}, {"name": "theirs"}]}),
            &json!({"a": 1, "list": [{"name": "x", "v": 1}]}),
            None,
        );
        check(
            &json!({"a": 1}),
            &json!({"a": 1, "empty": {}, "none": null, "l": []}),
            None,
        );
    }

    #[test]
    fn every_changed_field_is_one() {
        check(
            &json!({"a": {"b": 1}}),
            &json!({"a": {"b": 2}}),
            Some(".a.b"),
        );
        check(&json!({}), &json!({"a": 1}), Some(".a"));
        check(&json!({"l": ["a", "b"]}), &json!({"l": ["a"]}), Some(".l"));
        check(
            &json!({"l": [{"name": "x", "v": 1}]}),
            &json!({"l": [{"name": "x", "v": 2}]}),
            Some(".l[x].v"),
        );
        check(
            &json!({"l": []}),
            &json!({"l": [{"name": "x"}]}),
            Some(".l[x]"),
        );
    }

    #[test]
    fn a_selector_is_one_value() {
        let live = json!({"spec": {"selector": {"app": "a", "stray": "b"}}});
        check(
            &live,
            &json!({"spec": {"selector": {"app": "a"}}}),
            Some(".spec.selector"),
        );
    }

    #[test]
    fn quantities_are_compared_by_value() {
        check(
            &json!({"memory": "1Gi", "cpu": "500m"}),
            &json!({"memory": "1024Mi", "cpu": "0.5"}),
            None,
        );
        check(
            &json!({"memory": "1Gi"}),
            &json!({"memory": "1025Mi"}),
            Some(".memory"),
        );
    }

    #[test]
    fn a_field_that_we_own_and_no_longer_want_is_one() {
        let live = |fields: Value| {
            json!({
                "metadata": {"managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:theirs": {}}}},
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields},
                ]},
                "spec": {"a": 1, "theirs": 2, "ports": [{"port": 1, "protocol": "TCP"}]},
            })
        };
        let desired = json!({"spec": {"a": 1, "ports": [{"port": 1}]}});
        let owned = json!({"f:spec": {"f:a": {}, "f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        check(&live(owned), &desired, None);
        check(
            &live(json!({"f:spec": {"f:gone": {}}})),
            &desired,
            Some(".spec.gone"),
        );
        check(
            &live(json!({"f:spec": {"f:ports": {"k:{\"port\":2}": {}}}})),
            &desired,
            Some(".spec.ports[{\"port\":2}]"),
        );
    }
}
