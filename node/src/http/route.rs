//! The routes of the document port, each in one row. Matching, `Allow`, metric labels, the role
//! that a token needs and the OpenAPI document all come from this table.

use crate::auth::Role;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether the node can serve.
    Health,
    /// This API as OpenAPI 3.1.
    OpenApi,
    /// Add one document.
    Insert,
    /// Add many, all or none.
    BatchInsert,
    /// Change many, all or none.
    BatchUpdate,
    /// Read one document.
    Get,
    /// Change fields of one document.
    Update,
    /// Replace one document.
    Replace,
    /// Remove one document.
    Delete,
    /// A page of documents.
    Find,
    /// All matching documents, streamed.
    FindStream,
    /// Names of indexes.
    Indexes,
    /// Make an index.
    CreateIndex,
    /// The whole database, streamed.
    Export,
}

/// How a request body is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyUse {
    /// Read and thrown away.
    Ignored,
    /// Exactly one JSON object.
    Json,
}

/// One row.
#[derive(Debug)]
pub struct Route {
    /// What it does.
    pub operation: Operation,
    /// The method.
    pub method: &'static str,
    /// The path with parameters in braces; also the metric label.
    pub template: &'static str,
    /// What happens to a request body.
    pub body: BodyUse,
    /// The least role it needs where tokens are asked for; none: it is open to all.
    pub needs: Option<Role>,
}

const fn row(
    operation: Operation,
    method: &'static str,
    template: &'static str,
    body: BodyUse,
    needs: Option<Role>,
) -> Route {
    Route {
        operation,
        method,
        template,
        body,
        needs,
    }
}

const COLLECTION: &str = "/collections/{collection}";
const BATCH: &str = "/collections/{collection}/batch";
const DOCUMENT: &str = "/collections/{collection}/documents/{id}";

const OPEN: Option<Role> = None;
const READ: Option<Role> = Some(Role::Read);
const WRITE: Option<Role> = Some(Role::Write);

/// All routes. A row's place is the operation's number.
pub const ROUTES: [Route; 14] = [
    row(Operation::Health, "GET", "/health", BodyUse::Ignored, OPEN),
    row(
        Operation::OpenApi,
        "GET",
        "/openapi.json",
        BodyUse::Ignored,
        READ,
    ),
    row(Operation::Insert, "POST", COLLECTION, BodyUse::Json, WRITE),
    row(Operation::BatchInsert, "POST", BATCH, BodyUse::Json, WRITE),
    row(Operation::BatchUpdate, "PATCH", BATCH, BodyUse::Json, WRITE),
    row(Operation::Get, "GET", DOCUMENT, BodyUse::Ignored, READ),
    row(Operation::Update, "PATCH", DOCUMENT, BodyUse::Json, WRITE),
    row(Operation::Replace, "PUT", DOCUMENT, BodyUse::Json, WRITE),
    row(
        Operation::Delete,
        "DELETE",
        DOCUMENT,
        BodyUse::Ignored,
        WRITE,
    ),
    row(
        Operation::Find,
        "GET",
        "/collections/{collection}/find",
        BodyUse::Ignored,
        READ,
    ),
    row(
        Operation::FindStream,
        "GET",
        "/collections/{collection}/find_with_stream",
        BodyUse::Ignored,
        READ,
    ),
    row(
        Operation::Indexes,
        "GET",
        "/collections/{collection}/indexes",
        BodyUse::Ignored,
        READ,
    ),
    row(
        Operation::CreateIndex,
        "POST",
        "/collections/{collection}/indexes/{field}",
        BodyUse::Ignored,
        WRITE,
    ),
    row(Operation::Export, "GET", "/export", BodyUse::Ignored, READ),
];

/// A path that some route has, with its parameters still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMatch<'a> {
    /// The template it fits.
    pub template: &'static str,
    /// The collection, or empty.
    pub collection: &'a str,
    /// The id or field, or empty.
    pub last: &'a str,
}

/// Finds the template of a path. Parameters are never empty.
pub fn match_path(path: &str) -> Option<PathMatch<'_>> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let found = |template, collection, last| {
        Some(PathMatch {
            template,
            collection,
            last,
        })
    };
    let first = segments.next()?;
    let rest = (segments.next(), segments.next(), segments.next());
    if segments.next().is_some() {
        return None;
    }
    match (first, rest) {
        ("health", (None, ..)) => found("/health", "", ""),
        ("openapi.json", (None, ..)) => found("/openapi.json", "", ""),
        ("export", (None, ..)) => found("/export", "", ""),
        ("collections", (Some(c), rest, last)) if !c.is_empty() => match (rest, last) {
            (None, _) => found(COLLECTION, c, ""),
            (Some("batch"), None) => found(BATCH, c, ""),
            (Some("documents"), Some(id)) if !id.is_empty() => found(DOCUMENT, c, id),
            (Some("find"), None) => found("/collections/{collection}/find", c, ""),
            (Some("find_with_stream"), None) => {
                found("/collections/{collection}/find_with_stream", c, "")
            }
            (Some("indexes"), None) => found("/collections/{collection}/indexes", c, ""),
            (Some("indexes"), Some(field)) if !field.is_empty() => {
                found("/collections/{collection}/indexes/{field}", c, field)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The row for a method on a template. HEAD is GET without its body.
pub fn find(template: &str, method: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES
        .iter()
        .find(|route| route.method == method && route.template == template)
}

/// The value of `Allow` for a template.
pub fn allowed(template: &str) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(|route| route.template == template) {
        methods.push(route.method);
        if route.method == "GET" {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

/// Template and method as metric labels, with one more pair for what is no route.
pub fn label(operation: Option<Operation>) -> (&'static str, &'static str) {
    operation
        .and_then(|operation| ROUTES.get(operation as usize))
        .map_or(("unmatched", "other"), |route| {
            (route.template, route.method)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_place_is_its_operations_number() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert_eq!(route.operation as usize, place);
        }
    }

    #[test]
    fn every_template_matches_itself() {
        for route in &ROUTES {
            let matched = match_path(route.template).unwrap();
            assert_eq!(matched.template, route.template);
            assert!(find(matched.template, route.method).is_some());
        }
    }

    #[test]
    fn parameters_are_taken_as_they_stand() {
        let matched = match_path("/collections/a.b/documents/x%2Fy").unwrap();
        assert_eq!((matched.collection, matched.last), ("a.b", "x%2Fy"));
        assert_eq!(
            match_path("/collections/batch/batch").unwrap().collection,
            "batch"
        );
    }

    #[test]
    fn what_is_not_a_route_is_not_found() {
        for path in [
            "",
            "/",
            "/healthz",
            "/health/",
            "/collections",
            "/collections/",
            "/collections//find",
            "/collections/c/",
            "/collections/c/documents",
            "/collections/c/documents/",
            "/collections/c/documents/a/b",
            "/collections/c/find/x",
            "/collections/c/indexes/",
            "/collections/c/other",
            "/collections/c/batch/",
        ] {
            assert_eq!(match_path(path), None, "{path}");
        }
    }

    #[test]
    fn allow_lists_the_methods_of_a_path() {
        assert_eq!(allowed(DOCUMENT), "GET, HEAD, PATCH, PUT, DELETE");
        assert_eq!(allowed(COLLECTION), "POST");
        assert!(find(COLLECTION, "GET").is_none());
        assert!(find(DOCUMENT, "HEAD").is_some());
    }
}
