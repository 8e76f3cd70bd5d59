//! Subcommands that are not the server.

pub mod client;
pub mod export;
pub mod import;
pub mod progress;
pub mod repair;
pub mod split;
pub mod verify;

use std::path::PathBuf;

use crate::config::Config;

/// Where documents go to or come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A running node.
    Node(NodeAddress),
    /// A database that this process opens.
    Directories(Directories),
}

/// One port of a running node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// `http://host:port`.
    pub url: String,
    /// File with a token.
    pub token_file: Option<PathBuf>,
}

/// Where a database lies that no node is using.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The log, if it lies elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// The tables, if they lie elsewhere.
    pub checkpoint_dir: Option<PathBuf>,
}

impl Directories {
    /// The engine's settings for it.
    pub fn config(&self) -> Config {
        Config {
            data_dir: self.data_dir.clone(),
            wal_dir: self.wal_dir.clone(),
            checkpoint_dir: self.checkpoint_dir.clone(),
            ..Config::default()
        }
    }
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

/// What an import of a whole database does where its collections have documents already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing at all, unless they are the file's.
    Refuse,
    /// They stay; what is missing is added.
    Merge,
    /// The collections of the file become what the file says.
    Replace,
}

/// What `godb import --all` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportAllOptions {
    /// The file.
    pub file: PathBuf,
    /// Where to.
    pub target: Target,
    /// What to do about documents that are there.
    pub existing: Existing,
}

/// What `godb export --all` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportAllOptions {
    /// Where to; standard output when not given.
    pub file: Option<PathBuf>,
    /// Where from.
    pub target: Target,
}

/// What `godb repair` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairOptions {
    /// The database.
    pub directories: Directories,
    /// Where the files as they were go, in place of a folder beside the directory.
    pub originals: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
}
