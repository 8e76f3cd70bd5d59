//! Subcommands that are not the server.

pub mod client;
pub mod export;
pub mod import;
pub mod progress;
pub mod repair;
pub mod split;
pub mod verify;

use std::path::PathBuf;

/// Where documents go to or come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A running node.
    Url(String),
    /// A data directory that this process opens.
    DataDir(PathBuf),
}

/// How documents lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One document a line.
    Ndjson,
    /// One JSON array.
    Array,
    /// One JSON object; keys become ids.
    Map,
}

/// What `godb import` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The file, or `-`.
    pub file: PathBuf,
    /// The collection.
    pub collection: String,
    /// Where to.
    pub target: Target,
    /// How it is written; found out when not given.
    pub format: Option<Format>,
    /// Start of made ids, in place of the fingerprint.
    pub id_prefix: Option<String>,
}

/// What `godb export` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// Where to; standard output when not given.
    pub file: Option<PathBuf>,
    /// The collection.
    pub collection: String,
    /// Where from.
    pub target: Target,
    /// How to write it.
    pub format: Format,
}

/// What `godb verify` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The log, if it lies elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// The tables, if they lie elsewhere.
    pub checkpoint_dir: Option<PathBuf>,
}

/// What `godb repair` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The log, if it lies elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// The tables, if they lie elsewhere.
    pub checkpoint_dir: Option<PathBuf>,
    /// Where the files as they were go, in place of a folder beside the directory.
    pub originals: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
}
