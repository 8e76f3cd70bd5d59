//! values.yaml, with its comments, as a JSON schema.
//!
//! A comment directly above a key belongs to it: `# @schema` and `# -- description`. What `@schema`
//! holds are fields of the schema, `field:value; field:value`, each value as YAML. The type follows
//! from the default. No object takes a key that is not in values.yaml, unless its comment says so:
//! a misspelt value must not be one that is silently not set.

use serde_json::{Map, Value, json};

/// The schema as it is in the file.
pub(crate) fn of_values(text: &str) -> String {
    let defaults: Value = serde_yaml::from_str(text).unwrap();
    let comments = comments(text);
    let mut root = object(&defaults, "", &comments);
    // Helm hands it to every chart that is a dependency of another.
    let global = json!({"type": "object", "description": "Values shared between charts; this one uses none."});
    root["properties"]["global"] = global;
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let mut schema = serde_json::to_string_pretty(&root).unwrap();
    schema.push('\n');
    schema
}

/// What is said about one value.
struct Comment {
    path: String,
    description: String,
    schema: Map<String, Value>,
}

fn comments(text: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(comment) = content.strip_prefix('#') {
            above.push(comment.trim());
            continue;
        }
        if let Some((key, _)) = content.split_once(':') {
            let indent = line.len() - content.len();
            parents.retain(|(outer, _)| *outer < indent);
            parents.push((indent, key));
            let keys: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
            found.push(comment(keys.join("."), &above));
        }
        above.clear();
    }
    found
}

fn comment(path: String, lines: &[&str]) -> Comment {
    let mut description = Vec::new();
    let mut schema = Map::new();
    for line in lines {
        if let Some(fields) = line.strip_prefix("@schema ") {
            for field in fields.split("; ") {
                let (name, value) = field.split_once(':').unwrap();
                schema.insert(name.to_owned(), serde_yaml::from_str(value).unwrap());
            }
        } else if let Some(first) = line.strip_prefix("-- ") {
            description.push(first);
        } else if !description.is_empty() && !line.starts_with("@default ") {
            description.push(line);
        }
    }
    Comment {
        path,
        description: description.join(" "),
        schema,
    }
}

fn object(defaults: &Value, path: &str, comments: &[Comment]) -> Value {
    let mut properties = Map::new();
    for (key, default) in defaults.as_object().unwrap() {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        properties.insert(key.clone(), property(default, &path, comments));
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn property(default: &Value, path: &str, comments: &[Comment]) -> Value {
    let comment = comments.iter().find(|comment| comment.path == path);
    let comment = comment.unwrap_or_else(|| panic!("{path} is not a line of its own"));
    let open = comment.schema.contains_key("additionalProperties");
    if default.is_object() && !open {
        return object(default, path, comments);
    }
    assert!(!comment.description.is_empty(), "{path} has no description");
    let kind = match default {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => panic!("{path} has no default, and so no type"),
    };
    let mut schema = json!({"type": kind, "default": default, "description": comment.description});
    for (field, value) in &comment.schema {
        schema[field] = value.clone();
    }
    schema
}

#[test]
fn comments_and_defaults_make_the_schema() {
    let schema: Value = serde_json::from_str(&of_values(
        "a:\n  # Not about b.\n\n  # @schema enum:[x, y]; minLength:1\n  # -- First\n  # second.\n  # @default -- x\n  b: x\n# @schema additionalProperties:true\n# -- Free.\nc:\n  any: 1\n# -- Count.\nd: 1\n",
    ))
    .unwrap();
    let a = &schema["properties"]["a"];
    assert_eq!(a["additionalProperties"], false);
    assert_eq!(
        a["properties"]["b"],
        json!({"type": "string", "default": "x", "description": "First second.", "enum": ["x", "y"], "minLength": 1})
    );
    let c = json!({"type": "object", "default": {"any": 1}, "description": "Free.", "additionalProperties": true});
    assert_eq!(schema["properties"]["c"], c);
    assert_eq!(schema["properties"]["d"]["type"], "integer");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
#[should_panic(expected = "a has no description")]
fn a_value_without_a_description_is_refused() {
    of_values("a: 1\n");
}
