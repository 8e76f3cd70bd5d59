//! `/openapi.json`: this API as OpenAPI 3.1. Paths, methods and bodies come from the route table;
//! what each operation means is said here once.

use serde_json::{Map, Value, json};

use super::extract::MAX_BODY_BYTES;
use super::route::{BodyUse, Operation, ROUTES, Route};
use crate::auth::Role;

/// The document, of a node that asks for tokens or not.
pub fn document(asks_for_tokens: bool) -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let item = paths
            .entry(route.template)
            .or_insert_with(|| path_item(route.template));
        if let Value::Object(item) = item {
            item.insert(
                route.method.to_ascii_lowercase(),
                operation(route, asks_for_tokens),
            );
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "godb",
            "summary": "A durable JSON document store",
            "description": "Every answer outside 2xx has the schema Error (or Problem, with Accept: \
                application/problem+json). A 4xx means that nothing was written.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas(), "headers": {
            "Lsn": {
                "description": "Log sequence number of the write",
                "schema": {"type": "integer", "minimum": 1},
            },
        }},
    });
    if asks_for_tokens && let Value::Object(document) = &mut document {
        document.insert("security".to_owned(), json!([{"token": []}]));
        if let Some(Value::Object(components)) = document.get_mut("components") {
            let scheme = json!({"type": "http", "scheme": "bearer"});
            components.insert("securitySchemes".to_owned(), json!({"token": scheme}));
        }
    }
    document
}

fn path_item(template: &str) -> Value {
    let mut parameters = Vec::new();
    for (name, description, schema) in [
        (
            "collection",
            "The collection; made by the first write",
            json!({
                "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$", "not": {"enum": [".", ".."]},
            }),
        ),
        (
            "id",
            "Any UTF-8 of 1 to 512 bytes, percent-encoded",
            json!({"type": "string", "minLength": 1}),
        ),
        (
            "field",
            "Name of a field, or a dotted path to one",
            json!({"type": "string", "minLength": 1}),
        ),
    ] {
        if template.contains(&format!("{{{name}}}")) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true,
                "description": description, "schema": schema,
            }));
        }
    }
    if parameters.is_empty() {
        json!({})
    } else {
        json!({"parameters": parameters})
    }
}

/// What one operation means: id, summary, success status, schemas of body and answer, refusals.
struct Meaning {
    id: &'static str,
    summary: &'static str,
    status: &'static str,
    takes: Option<&'static str>,
    gives: Option<&'static str>,
    refusals: &'static [&'static str],
}

const READ: &[&str] = &["400", "404", "500"];
const WRITE: &[&str] = &[
    "400", "404", "408", "409", "412", "413", "415", "429", "500", "503", "507",
];

const fn row(
    id: &'static str,
    summary: &'static str,
    status: &'static str,
    takes: Option<&'static str>,
    gives: Option<&'static str>,
    refusals: &'static [&'static str],
) -> Meaning {
    Meaning {
        id,
        summary,
        status,
        takes,
        gives,
        refusals,
    }
}

fn meaning(operation: Operation) -> Meaning {
    match operation {
        Operation::Health => row(
            "health",
            "Whether the node can serve",
            "200",
            None,
            Some("Health"),
            &["503"],
        ),
        Operation::OpenApi => row(
            "openapi",
            "This document",
            "200",
            None,
            Some("OpenApi"),
            &[],
        ),
        Operation::Insert => row(
            "insert",
            "Add a document; without `_id` it gets one",
            "201",
            Some("Document"),
            Some("StoredDocument"),
            WRITE,
        ),
        Operation::BatchInsert => row(
            "batchInsert",
            "Add 1 to 1000 documents, all or none",
            "201",
            Some("BatchInsert"),
            Some("BatchInserted"),
            WRITE,
        ),
        Operation::BatchUpdate => row(
            "batchUpdate",
            "Change 1 to 1000 documents in order, all or none",
            "200",
            Some("BatchUpdate"),
            Some("BatchUpdated"),
            WRITE,
        ),
        Operation::Get => row(
            "get",
            "Read a document",
            "200",
            None,
            Some("StoredDocument"),
            READ,
        ),
        Operation::Update => row(
            "update",
            "Set fields of a document (shallow merge; null is stored)",
            "200",
            Some("Document"),
            Some("StoredDocument"),
            WRITE,
        ),
        Operation::Replace => row(
            "replace",
            "Replace a document; with If-None-Match: * create it (201)",
            "200",
            Some("Document"),
            Some("StoredDocument"),
            WRITE,
        ),
        Operation::Delete => row("delete", "Remove a document", "204", None, None, WRITE),
        Operation::Find => row(
            "find",
            "A page of documents in the order of `_id`",
            "200",
            None,
            Some("Page"),
            READ,
        ),
        Operation::FindStream => row(
            "findWithStream",
            "All documents that match, one a line; a stream that cannot be finished is cut, never ended",
            "200",
            None,
            Some("Documents"),
            &["400", "429", "500"],
        ),
        Operation::Indexes => row(
            "indexes",
            "Names of the indexes; none for a missing collection",
            "200",
            None,
            Some("Indexes"),
            READ,
        ),
        Operation::CreateIndex => row(
            "createIndex",
            "Make an index, and answer when it is ready and durable; one that exists is left alone",
            "201",
            None,
            Some("IndexCreated"),
            &["400", "500", "503", "507"],
        ),
        Operation::Export => row(
            "export",
            "The whole database as of one moment: collections, indexes, documents (docs/export.md)",
            "200",
            None,
            Some("Export"),
            &["429", "500"],
        ),
    }
}

fn operation(route: &Route, asks_for_tokens: bool) -> Value {
    let meaning = meaning(route.operation);
    let is_write = meaning.refusals.contains(&"507") && route.operation != Operation::CreateIndex;
    let mut out = Map::new();
    out.insert("operationId".to_owned(), json!(meaning.id));
    out.insert("summary".to_owned(), json!(meaning.summary));
    out.insert(
        "responses".to_owned(),
        responses(route.operation, &meaning, is_write),
    );
    if asks_for_tokens {
        with_token(&mut out, route.needs);
    }
    if route.body == BodyUse::Json {
        let body = json!({
            "required": true,
            "content": content(meaning.takes.unwrap_or("Document")),
            "description": format!("Exactly one JSON object of at most {MAX_BODY_BYTES} bytes"),
        });
        out.insert("requestBody".to_owned(), body);
    }
    let parameters = parameters(route.operation, is_write);
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), Value::Array(parameters));
    }
    Value::Object(out)
}

/// What changes where tokens are asked for.
fn with_token(operation: &mut Map<String, Value>, needs: Option<Role>) {
    let Some(role) = needs else {
        operation.insert("security".to_owned(), json!([]));
        return;
    };
    let description = format!("Needs a token of role {}", role.as_str());
    operation.insert("description".to_owned(), description.into());
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for status in ["401", "403", "429"] {
            if !responses.contains_key(status) {
                responses.insert(status.to_owned(), refusal(status));
            }
        }
    }
}

fn refusal(status: &str) -> Value {
    json!({"description": refusal_text(status), "content": {
        "application/json": {"schema": reference("Error")},
        "application/problem+json": {"schema": reference("Problem")},
    }})
}

fn responses(operation: Operation, meaning: &Meaning, is_write: bool) -> Value {
    let mut success = Map::new();
    success.insert("description".to_owned(), json!("Success"));
    if let Some(schema) = meaning.gives {
        let mut content = content(schema);
        if operation == Operation::Export {
            content = json!({"application/x-ndjson": {"schema": reference(schema)}});
        }
        success.insert("content".to_owned(), content);
    }
    if is_write {
        let lsn = json!({"X-Godb-Lsn": {"$ref": "#/components/headers/Lsn"}});
        success.insert("headers".to_owned(), lsn);
    }
    let mut responses = Map::new();
    responses.insert(meaning.status.to_owned(), Value::Object(success.clone()));
    if operation == Operation::Replace {
        responses.insert("201".to_owned(), Value::Object(success));
    }
    for refusal in meaning.refusals {
        let content = if operation == Operation::Health {
            content("Health")
        } else {
            json!({
                "application/json": {"schema": reference("Error")},
                "application/problem+json": {"schema": reference("Problem")},
            })
        };
        responses.insert(
            (*refusal).to_owned(),
            json!({"description": refusal_text(refusal), "content": content}),
        );
    }
    Value::Object(responses)
}

fn refusal_text(status: &str) -> &'static str {
    match status {
        "400" => "The request is wrong",
        "401" => "A token is needed, or it is not known",
        "403" => "The role of the token is not enough",
        "404" => "There is no such document",
        "408" => "The body did not arrive in time",
        "409" => "The id is taken",
        "412" => "The precondition does not hold",
        "413" => "Document or request larger than its limit",
        "415" => "The body is not JSON",
        "429" => "Held back for too long; nothing was written",
        "503" => "Unable to serve; with reason outcome_unknown the write may have happened",
        "507" => "The disk is nearly full; nothing was written",
        _ => "Internal error",
    }
}

fn parameters(operation: Operation, is_write: bool) -> Vec<Value> {
    let query = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    let filter = || {
        json!({
            "name": "filter", "in": "query", "style": "form", "explode": true,
            "description": "Every other name is a field that must equal the value; repeated: any of the values",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        })
    };
    let mut out = match operation {
        Operation::Find => vec![
            query(
                "limit",
                "Most documents of the page",
                json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}),
            ),
            query(
                "offset",
                "Documents to skip",
                json!({"type": "integer", "minimum": 0, "default": 0}),
            ),
            query(
                "after",
                "The page that follows this cursor",
                json!({"type": "string"}),
            ),
            query(
                "before",
                "The page that ends just before this cursor",
                json!({"type": "string"}),
            ),
            filter(),
        ],
        Operation::FindStream => vec![filter()],
        Operation::Replace => vec![header(
            "If-None-Match",
            "Create only: 412 if the document exists",
            json!({"const": "*"}),
        )],
        _ => Vec::new(),
    };
    if is_write {
        out.push(header(
            "Durability",
            "A stronger level than the instance's, for this write",
            json!({"enum": ["none", "memory", "os", "full"]}),
        ));
    }
    out
}

fn content(schema: &str) -> Value {
    json!({"application/json": {"schema": reference(schema)}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn schemas() -> Value {
    let documents = || json!({"type": "array", "items": reference("StoredDocument")});
    let items =
        |schema: Value| json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": schema});
    let success = || json!({"const": true});
    json!({
        "Document": {"type": "object", "properties": {"_id": {"type": "string", "minLength": 1}}},
        "StoredDocument": object(&["_id"], json!({"_id": {"type": "string"}})),
        "Documents": documents(),
        "OpenApi": {"type": "object"},
        "Export": {"type": "string", "description": "One JSON value a line; the last one has counts and a checksum"},
        "Health": object(&["status", "message"], json!({
            "status": {"enum": ["healthy", "unhealthy"]}, "message": {"type": "string"},
        })),
        "BatchInsert": object(&["documents"], json!({"documents": items(reference("Document"))})),
        "BatchInserted": object(
            &["success", "message", "inserted_count", "collection", "documents"],
            json!({
                "success": success(), "message": {"const": "Batch insert completed successfully"},
                "inserted_count": {"type": "integer"}, "collection": {"type": "string"},
                "documents": documents(),
            }),
        ),
        "BatchUpdate": object(&["operations"], json!({"operations": items(object(
            &["id", "updates"],
            json!({"id": {"type": "string"}, "updates": {"type": "object"}}),
        ))})),
        "BatchUpdated": object(
            &["success", "message", "updated_count", "failed_count", "collection", "documents"],
            json!({
                "success": success(), "message": {"const": "Batch update completed successfully"},
                "updated_count": {"type": "integer"}, "failed_count": {"const": 0},
                "collection": {"type": "string"}, "documents": documents(),
            }),
        ),
        "Page": object(&["documents", "has_next", "has_prev"], json!({
            "documents": documents(), "has_next": {"type": "boolean"}, "has_prev": {"type": "boolean"},
            "next_cursor": {"type": "string"}, "prev_cursor": {"type": "string"},
            "total": {"type": "integer"},
        })),
        "Indexes": object(&["success", "collection", "indexes", "index_count"], json!({
            "success": success(), "collection": {"type": "string"},
            "indexes": {"type": "array", "items": {"type": "string"}},
            "index_count": {"type": "integer"},
        })),
        "IndexCreated": object(&["success", "message", "collection", "field"], json!({
            "success": success(), "message": {"const": "Index created successfully"},
            "collection": {"type": "string"}, "field": {"type": "string"},
        })),
        "Error": object(&["error", "message", "code"], json!({
            "error": {"type": "string"}, "message": {"type": "string"}, "code": {"type": "integer"},
            "reason": {"type": "string", "description": "With 503 only: outcome_unknown or unavailable"},
        })),
        "Problem": object(&["type", "title", "status", "detail"], json!({
            "type": {"type": "string"}, "title": {"type": "string"},
            "status": {"type": "integer"}, "detail": {"type": "string"},
            "error": {"type": "string"}, "message": {"type": "string"}, "code": {"type": "integer"},
            "reason": {"type": "string"},
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    #[test]
    fn it_has_exactly_the_routes() {
        let document = document(false);
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in METHODS {
                if item.get(method).is_some() {
                    described.insert((path.clone(), method.to_ascii_uppercase()));
                }
            }
        }
        let routes: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.template.to_owned(), route.method.to_owned()))
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document(false);
        let text = document.to_string();
        let mut used = BTreeSet::new();
        for part in text.split("#/components/schemas/").skip(1) {
            used.insert(part.split('"').next().unwrap().to_owned());
        }
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let defined: BTreeSet<_> = schemas.keys().cloned().collect();
        assert_eq!(used, defined);
    }

    #[test]
    fn path_parameters_and_ids_are_complete() {
        let document = document(false);
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let named = item["parameters"].as_array().map_or(0, Vec::len);
            assert_eq!(named, path.matches('{').count(), "{path}");
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                }
            }
        }
        assert_eq!(ids.len(), ROUTES.len());
    }
}
