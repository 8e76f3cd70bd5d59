//! The routes of the admin port, each in one row. Matching, `Allow` and the need of a token all come
//! from this table.

use crate::auth::Role;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Metrics,
    Live,
    Ready,
    Started,
    ShowConfig,
    ChangeConfig,
    Stats,
    Checkpoint,
    Compact,
    ListSnapshots,
    CreateSnapshot,
    Snapshot,
    DeleteSnapshot,
    VerifySnapshot,
    SnapshotFiles,
    SnapshotFile,
    RenewLease,
    ReleaseLease,
}

/// Method, path with parameters in braces, operation, and the role that a token needs.
pub(super) type Row = (&'static str, &'static str, Operation, Option<Role>);

const OPEN: Option<Role> = None;
const ADMIN: Option<Role> = Some(Role::Admin);

/// All routes.
pub(super) const ROUTES: [Row; 18] = [
    ("GET", "/metrics", Operation::Metrics, OPEN),
    ("GET", "/livez", Operation::Live, OPEN),
    ("GET", "/readyz", Operation::Ready, OPEN),
    ("GET", "/startupz", Operation::Started, OPEN),
    ("GET", "/admin/config", Operation::ShowConfig, ADMIN),
    ("PUT", "/admin/config", Operation::ChangeConfig, ADMIN),
    ("GET", "/admin/stats", Operation::Stats, ADMIN),
    ("POST", "/admin/checkpoint", Operation::Checkpoint, ADMIN),
    ("POST", "/admin/compact", Operation::Compact, ADMIN),
    ("GET", "/admin/snapshots", Operation::ListSnapshots, ADMIN),
    ("POST", "/admin/snapshots", Operation::CreateSnapshot, ADMIN),
    ("GET", "/admin/snapshots/{name}", Operation::Snapshot, ADMIN),
    (
        "DELETE",
        "/admin/snapshots/{name}",
        Operation::DeleteSnapshot,
        ADMIN,
    ),
    (
        "POST",
        "/admin/snapshots/{name}/verify",
        Operation::VerifySnapshot,
        ADMIN,
    ),
    (
        "GET",
        "/admin/snapshots/{name}/files",
        Operation::SnapshotFiles,
        ADMIN,
    ),
    (
        "GET",
        "/admin/snapshots/{name}/files/{file}",
        Operation::SnapshotFile,
        ADMIN,
    ),
    (
        "PUT",
        "/admin/snapshots/{name}/leases/{holder}",
        Operation::RenewLease,
        ADMIN,
    ),
    (
        "DELETE",
        "/admin/snapshots/{name}/leases/{holder}",
        Operation::ReleaseLease,
        ADMIN,
    ),
];

/// A path that some route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matched<'p> {
    template: &'static str,
    /// The role that a token needs; none: it is open to all.
    pub(super) needs: Option<Role>,
    /// The first parameter, still percent-encoded, or empty.
    pub(super) first: &'p str,
    /// The second one.
    pub(super) second: &'p str,
}

/// Finds the template of a path. Parameters are never empty.
pub(super) fn find(path: &str) -> Option<Matched<'_>> {
    ROUTES
        .iter()
        .find_map(|(_, template, _, needs)| fit(template, *needs, path))
}

fn fit<'p>(template: &'static str, needs: Option<Role>, path: &'p str) -> Option<Matched<'p>> {
    let mut matched = Matched {
        template,
        needs,
        first: "",
        second: "",
    };
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(matched),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                if matched.first.is_empty() {
                    matched.first = given;
                } else {
                    matched.second = given;
                }
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

impl Matched<'_> {
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let template = self.template;
        ROUTES.iter().filter(move |row| row.1 == template)
    }

    /// What a method asks for here. HEAD is GET without its body.
    pub(super) fn operation(&self, method: &str) -> Option<Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        self.rows()
            .find(|(of_row, ..)| *of_row == method)
            .map(|(_, _, operation, _)| *operation)
    }

    /// The value of `Allow`.
    pub(super) fn allowed(&self) -> String {
        let methods: Vec<&str> = self
            .rows()
            .flat_map(|(method, ..)| match *method {
                "GET" => ["GET", "HEAD"].iter(),
                _ => std::slice::from_ref(method).iter(),
            })
            .copied()
            .collect();
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_template() {
        for (method, template, operation, needs) in &ROUTES {
            let matched = find(template).unwrap();
            assert_eq!(
                matched.operation(method),
                Some(*operation),
                "{method} {template}"
            );
            // All methods of a path need the same, as the role is asked for before the method is known.
            assert_eq!(matched.needs, *needs);
            assert_eq!(needs.is_some(), template.contains("/admin"));
        }
    }

    #[test]
    fn parameters_are_taken_as_they_stand_and_never_empty() {
        let matched = find("/admin/snapshots/a%20b/files/x.sst").unwrap();
        assert_eq!((matched.first, matched.second), ("a%20b", "x.sst"));
        assert_eq!(matched.allowed(), "GET, HEAD");
        assert_eq!(
            find("/admin/snapshots/s").unwrap().allowed(),
            "GET, HEAD, DELETE"
        );
        for path in [
            "",
            "/",
            "/admin",
            "/admin/",
            "/admin/snapshots/",
            "/admin/snapshots//files",
            "/admin/snapshots/s/files/",
            "/admin/snapshots/s/leases",
            "/metrics/x",
            "/admin/snapshots/s/files/a/b",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
