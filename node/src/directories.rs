//! What the process needs from the system before it starts: directories and file descriptors.

use std::io::ErrorKind;
use std::path::Path;

use godb_engine::{Builder, StorageEngine};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::files;

/// File descriptors kept free for log, tables and the admin port: running out of them in the
/// middle of a checkpoint would be worse than a client that waits.
const RESERVED_DESCRIPTORS: u64 = 512;

/// The file that every database has.
pub const MANIFEST: &str = "MANIFEST";

/// What else may lie in a data directory before it has a manifest.
const OWN_NAMES: &[&str] = &[
    "lost+found",
    "LOCK",
    "RESTORING",
    "wal",
    "tables",
    "snapshots",
];
const OWN_PREFIXES: &[&str] = &["MANIFEST.", "STORE-ID", "wal-", "table-"];

/// A missing data directory is made, but only where its parent exists: a typo or a volume that is
/// not mounted must not look like an empty database. A new database is made only where nothing else
/// lies: it would mix with somebody's files, and be lost with them.
///
/// # Errors
/// A directory that is no directory, or whose parent is missing; foreign files.
pub fn check(config: &Config) -> Result<(), Failure> {
    let others = [&config.wal_dir, &config.checkpoint_dir];
    check_one(&config.data_dir)?;
    check_foreign(config)?;
    others.into_iter().flatten().try_for_each(|dir| {
        // They may lie below the data directory, which is made first.
        if dir.starts_with(&config.data_dir) {
            Ok(())
        } else {
            check_one(dir)
        }
    })
}

fn check_foreign(config: &Config) -> Result<(), Failure> {
    let dir = config.data_dir.as_path();
    // What is not there yet holds nothing; what cannot be listed is said by who opens it.
    let Ok(names) = files::list(dir) else {
        return Ok(());
    };
    if names.iter().any(|name| name == MANIFEST) {
        return Ok(());
    }
    match names.iter().find(|name| !is_ours(config, name)) {
        None => Ok(()),
        Some(name) => Err(Failure::new(
            Exit::Mismatch,
            format!(
                "{} holds no database, but other files, `{name}` for one: a new database is made only in an empty directory; name another one",
                dir.display()
            ),
        )),
    }
}

/// What godb or the file system may have put into a data directory that has no manifest (yet): the
/// store itself refuses to make a new database over content of an old one, and says more.
fn is_ours(config: &Config, name: &str) -> bool {
    let subdirectory = |dir: Option<&Path>| {
        dir.and_then(|dir| dir.strip_prefix(&config.data_dir).ok())
            .and_then(|below| below.components().next())
            .is_some_and(|first| first.as_os_str() == name)
    };
    OWN_NAMES.contains(&name)
        || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || subdirectory(config.wal_dir.as_deref())
        || subdirectory(config.checkpoint_dir.as_deref())
}

fn check_one(dir: &Path) -> Result<(), Failure> {
    match files::find(dir) {
        Ok(found) if found.is_dir => Ok(()),
        Ok(_) => Err(Failure::new(
            Exit::NoInput,
            format!("{} is not a directory", dir.display()),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !is_dir(parent) => Err(Failure::new(
                Exit::NoInput,
                format!(
                    "the directory {} is missing, so {} cannot be made: check the path, and that its volume is mounted",
                    parent.display(),
                    dir.display()
                ),
            )),
            _ => Ok(()),
        },
        Err(error) => Err(Failure::io("use", dir, &error)),
    }
}

/// Whether there is a directory of this name.
fn is_dir(path: &Path) -> bool {
    files::find(path).is_ok_and(|found| found.is_dir)
}

/// Refuses a directory without a database: opening it would make one.
///
/// # Errors
/// No directory, or nothing in it that looks like a database.
pub fn require_database(dir: &Path) -> Result<(), Failure> {
    let missing = |what: &str| {
        Failure::new(
            Exit::NoInput,
            format!("there is no {what} {}", dir.display()),
        )
    };
    if !is_dir(dir) {
        return Err(missing("directory"));
    }
    files::find(&dir.join(MANIFEST)).map_err(|_| missing("database in"))?;
    Ok(())
}

/// An engine with the configuration's directories and settings.
pub fn builder(config: &Config) -> Builder {
    let mut builder = StorageEngine::builder(&config.data_dir).live(config.live.clone());
    if let Some(dir) = &config.wal_dir {
        builder = builder.wal_dir(dir);
    }
    if let Some(dir) = &config.checkpoint_dir {
        builder = builder.checkpoint_dir(dir);
    }
    builder
}

/// Connections that can be had: as configured, or what the limit of file descriptors leaves after
/// it was raised as far as it goes.
pub fn connection_limit(configured: u64) -> usize {
    let limits = getrlimit(Resource::Nofile);
    if let (Some(current), Some(maximum)) = (limits.current, limits.maximum)
        && current < maximum
    {
        let raised = Rlimit {
            current: Some(maximum),
            maximum: Some(maximum),
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of file descriptors cannot be raised");
        }
    }
    let available = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
        .saturating_sub(RESERVED_DESCRIPTORS)
        .max(16);
    if available < configured {
        tracing::warn!(
            configured,
            available,
            "fewer connections than configured: raise the limit of file descriptors (ulimit -n)"
        );
    }
    usize::try_from(configured.min(available)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_only_where_its_parent_exists() {
        let root = tempfile::tempdir().unwrap();
        let check = |path: &str| {
            check(&Config {
                data_dir: root.path().join(path),
                ..Config::default()
            })
            .map_err(|failure| failure.exit)
        };
        assert_eq!(check(""), Ok(()));
        drop(files::create(&root.path().join("file")).unwrap());
        assert_eq!(check(""), Err(Exit::Mismatch));
        assert_eq!(check("new"), Ok(()));
        assert_eq!(check("missing/new"), Err(Exit::NoInput));
        assert_eq!(check("file"), Err(Exit::NoInput));
        assert_eq!(check_one(Path::new("relative-and-new")), Ok(()));
    }

    #[test]
    fn the_connection_limit_never_exceeds_what_is_configured() {
        assert_eq!(connection_limit(10), 10);
        assert!(connection_limit(u64::MAX) >= 16);
    }
}
