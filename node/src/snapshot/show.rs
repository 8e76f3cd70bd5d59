//! Snapshots in words and as JSON, which is the same for the admin port and for `--json`.

use std::time::{Duration, SystemTime};

use godb_engine::{Contents, Snapshot};
use godb_store::Snapshots;
use serde_json::{Map, Value, json};

use super::source::store;
use crate::exit::Failure;

/// A snapshot as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The last LSN in it.
    pub lsn: u64,
    /// Its tables.
    pub tables: u64,
    /// Their size.
    pub bytes: u64,
    /// Documents, where that was written down.
    pub documents: Option<u64>,
    /// When it was taken, milliseconds since 1970; 0 unknown.
    pub created_at_ms: u64,
    /// Whether it goes when nobody wants it any more.
    pub is_leased: bool,
    /// Why it cannot be read.
    pub fault: Option<String>,
}

impl Listed {
    /// What is shown of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            name: snapshot.info.name.clone(),
            lsn: snapshot.info.lsn.0,
            tables: snapshot.info.tables,
            bytes: snapshot.info.bytes,
            documents: snapshot.contents.as_ref().map(Contents::documents),
            created_at_ms: snapshot.contents.as_ref().map_or(0, |c| c.created_at_ms),
            is_leased: snapshot.is_leased,
            fault: None,
        }
    }

    /// What a node says of one.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            lsn: number("lsn").unwrap_or(0),
            tables: number("tables").unwrap_or(0),
            bytes: number("size_bytes").unwrap_or(0),
            documents: number("documents"),
            created_at_ms: number("created_at_ms").unwrap_or(0),
            is_leased: value.get("leased").and_then(Value::as_bool) == Some(true),
            fault: value
                .get("fault")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

/// The snapshots of a directory, by name.
pub fn list(snapshots: &Snapshots) -> Result<Vec<Listed>, Failure> {
    let found = snapshots.list().map_err(store)?;
    Ok(found
        .into_iter()
        .map(|(name, _)| match godb_engine::snapshot(snapshots, &name) {
            Ok(snapshot) => Listed::of(&snapshot),
            Err(error) => Listed {
                name,
                fault: Some(error.to_string()),
                ..Listed::default()
            },
        })
        .collect())
}

/// A snapshot as JSON, with all that is known of it.
pub fn to_json(snapshot: &Snapshot) -> Map<String, Value> {
    let info = &snapshot.info;
    let contents = snapshot.contents.as_ref();
    let collections = contents.map(|contents| {
        let each = |c: &godb_engine::CollectionContents| {
            json!({"name": c.name, "documents": c.documents, "size_bytes": c.bytes, "sha256": c.sha256_hex()})
        };
        contents.collections.iter().map(each).collect::<Vec<_>>()
    });
    Map::from_iter([
        ("name".to_owned(), json!(info.name)),
        ("lsn".to_owned(), json!(info.lsn.0)),
        (
            "store_id".to_owned(),
            json!(format!("{:032x}", info.store_id)),
        ),
        ("tables".to_owned(), json!(info.tables)),
        ("size_bytes".to_owned(), json!(info.bytes)),
        ("leased".to_owned(), json!(snapshot.is_leased)),
        (
            "created_at_ms".to_owned(),
            json!(contents.map(|c| c.created_at_ms)),
        ),
        ("took_ms".to_owned(), json!(contents.map(|c| c.took_ms))),
        (
            "documents".to_owned(),
            json!(contents.map(Contents::documents)),
        ),
        ("collections".to_owned(), json!(collections)),
    ])
}

/// A list as JSON, without the collections of each.
pub fn listed_json(listed: &Listed) -> Value {
    json!({
        "name": listed.name,
        "lsn": listed.lsn,
        "tables": listed.tables,
        "size_bytes": listed.bytes,
        "documents": listed.documents,
        "created_at_ms": listed.created_at_ms,
        "leased": listed.is_leased,
        "fault": listed.fault,
    })
}

/// A list for a person.
pub fn table(list: &[Listed], now: SystemTime) -> String {
    let width = list.iter().map(|each| each.name.len()).max().unwrap_or(0);
    let width = width.max("NAME".len());
    let mut text = format!(
        "{:width$}  {:>12}  {:>12}  {:>14}  {:>10}\n",
        "NAME", "LSN", "DOCUMENTS", "BYTES", "AGE"
    );
    for each in list {
        if let Some(fault) = &each.fault {
            text.push_str(&format!("{:width$}  cannot be read: {fault}\n", each.name));
            continue;
        }
        let documents = each.documents.map_or("?".to_owned(), |n| n.to_string());
        let leased = if each.is_leased { "  leased" } else { "" };
        text.push_str(&format!(
            "{:width$}  {:>12}  {documents:>12}  {:>14}  {:>10}{leased}\n",
            each.name,
            each.lsn,
            each.bytes,
            age(each.created_at_ms, now),
        ));
    }
    text
}

fn age(created_at_ms: u64, now: SystemTime) -> String {
    let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(created_at_ms));
    let Some(age) = created.and_then(|at| now.duration_since(at).ok()) else {
        return "?".to_owned();
    };
    match age.as_secs() {
        _ if created_at_ms == 0 => "?".to_owned(),
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// One line for a snapshot that is whole.
pub fn verified(snapshot: &Listed) -> String {
    format!(
        "{}: whole, {} tables ({} bytes), {} documents, LSN {}\n",
        snapshot.name,
        snapshot.tables,
        snapshot.bytes,
        snapshot.documents.unwrap_or(0),
        snapshot.lsn,
    )
}
