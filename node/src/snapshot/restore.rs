//! `godb snapshot restore`: a database made of a snapshot.
//!
//! In place of one that is there (`--replace`) the new one is made and verified beside it, and then
//! the two change their names in one step. The old one is kept.

use std::path::{Path, PathBuf};

use godb_store::Snapshots;

use super::source::store;
use super::{RestoreOptions, disk, folder, manage, no_such, of_database, settings};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::tools::Directories;
use crate::tools::progress::Steps;

/// What a database is called while it is made beside the one that it replaces.
const BESIDE: &str = "restoring";
/// In the new database until the old one has its final name, so that the two are never mixed up.
const MARKER: &str = "REPLACING";
/// What follows the name of a database that was replaced, before a number.
const REPLACED: &str = "before-restore";
/// Databases that were replaced and are still there, at most.
const MAX_REPLACED: u32 = 1000;

/// Runs the subcommand.
///
/// # Errors
/// No such snapshot, damage of it, a database that is in the way or in use, I/O errors. The
/// database that was there is as it was then.
pub fn run(options: &RestoreOptions) -> Result<Exit, Failure> {
    let snapshots = manage::folder_or_database(&options.from);
    let name = match &options.name {
        Some(name) => name.clone(),
        None => manage::newest(&snapshots)?,
    };
    if !snapshots.contains(&name).map_err(store)? {
        return Err(no_such(&name, &snapshots.dir().display().to_string()));
    }
    let target = &options.directories;
    if files::find(&target.data_dir.join(directories::MANIFEST)).is_err() {
        directories::check(&target.config())?;
        make(&snapshots, &name, target)?;
        return done(&name, &target.data_dir, None);
    }
    if !options.replace {
        return Err(Failure::new(
            Exit::Mismatch,
            format!(
                "{} holds a database: restore elsewhere, or in its place with --replace, which keeps the old one beside it",
                target.data_dir.display()
            ),
        ));
    }
    let replaced = replace(&snapshots, &name, target)?;
    done(&name, &target.data_dir, Some(&replaced))
}

fn done(name: &str, dir: &Path, replaced: Option<&Path>) -> Result<Exit, Failure> {
    let kept = replaced.map_or_else(String::new, |dir| {
        format!("; the database that was there is kept in {}", dir.display())
    });
    crate::print(&format!("{name}: restored to {}{kept}\n", dir.display()))
}

/// Makes the database where none is, of a snapshot that holds what it should.
fn make(snapshots: &Snapshots, name: &str, target: &Directories) -> Result<(), Failure> {
    let mut checking = Steps::new("checking");
    godb_engine::verify_contents(snapshots, name, &mut |done, total| checking.at(done, total))?;
    drop(checking);
    let mut restoring = Steps::new("restoring");
    snapshots
        .restore(name, &settings(target), &mut |done, total| {
            restoring.at(done, total)
        })
        .map_err(store)?;
    Ok(())
}

/// Puts a new database in the place of the old one; returns where that is now.
fn replace(snapshots: &Snapshots, name: &str, target: &Directories) -> Result<PathBuf, Failure> {
    let dir = &target.data_dir;
    if [&target.wal_dir, &target.checkpoint_dir]
        .iter()
        .any(|other| other.is_some())
    {
        return Err(Failure::new(
            Exit::Usage,
            "--replace cannot change several directories in one step: move the old ones away, then restore without it",
        ));
    }
    for part in ["wal", "tables"] {
        if files::find(&dir.join(part)).is_err() {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} has no `{part}`, so its log or its tables lie elsewhere, and --replace cannot change several directories in one step: move the old ones away, then restore without it",
                    dir.display()
                ),
            ));
        }
    }
    let _in_use = folder(dir).lock().map_err(store)?;
    let beside = sibling(dir, BESIDE)?;
    let new = Directories {
        data_dir: beside.clone(),
        ..Directories::default()
    };
    unmark(dir)?;
    tidy(&beside, dir)?;
    let replaced = free_name(dir)?;
    mark(&beside)?;
    make(snapshots, name, &new)?;
    let parent = parent(dir);
    let sync = || {
        disk()
            .sync_dir(&parent)
            .map_err(|error| Failure::io("sync", &parent, &error))
    };
    sync()?;
    files::exchange(&beside, dir).map_err(|error| {
        let hint = "; a data directory that is a mount point cannot be replaced: keep it in a directory below";
        Failure::new(Exit::Io, format!("cannot put {} in place: {error}{hint}", dir.display()))
    })?;
    sync()?;
    files::rename(&beside, &replaced).map_err(|error| Failure::io("rename", &beside, &error))?;
    sync()?;
    unmark(dir)?;
    keep_snapshots(&replaced, dir);
    Ok(replaced)
}

/// What an interrupted call left beside the database is a new one, which is made again, or, if the
/// two had changed their names already, the one that was replaced.
fn tidy(beside: &Path, dir: &Path) -> Result<(), Failure> {
    if files::find(beside).is_err() {
        return Ok(());
    }
    let has = |name: &str| files::find(&beside.join(name)).is_ok();
    if has(MARKER) || !has(directories::MANIFEST) {
        // Without its manifest it is no database, however far the removal comes.
        if has(directories::MANIFEST) {
            files::remove(&beside.join(directories::MANIFEST))
                .and_then(|()| disk().sync_dir(beside))
                .map_err(|error| Failure::io("remove", beside, &error))?;
        }
        return files::remove_all(beside).map_err(|error| Failure::io("remove", beside, &error));
    }
    let replaced = free_name(dir)?;
    files::rename(beside, &replaced).map_err(|error| Failure::io("rename", beside, &error))?;
    keep_snapshots(&replaced, dir);
    eprintln!(
        "{} is the database of an earlier restore",
        replaced.display()
    );
    Ok(())
}

/// The database in `dir` is no new one any more. Done before another one is made beside it too: a
/// call that was killed at its end may have left the marker.
fn unmark(dir: &Path) -> Result<(), Failure> {
    let marker = dir.join(MARKER);
    if files::find(&marker).is_err() {
        return Ok(());
    }
    files::remove(&marker)
        .and_then(|()| disk().sync_dir(dir))
        .map_err(|error| Failure::io("remove", &marker, &error))
}

/// Makes the directory of the new database, which is known as that from its first moment on.
fn mark(beside: &Path) -> Result<(), Failure> {
    let marker = beside.join(MARKER);
    files::create_dir(beside)
        .and_then(|()| files::create(&marker).map(|_| ()))
        .and_then(|()| disk().sync_dir(beside))
        .map_err(|error| Failure::io("make", &marker, &error))
}

/// Snapshots go on belonging to the database. Where that fails they are still with the old one.
fn keep_snapshots(old: &Path, new: &Path) {
    let of = |dir: &Path| {
        of_database(&Directories {
            data_dir: dir.to_path_buf(),
            ..Directories::default()
        })
    };
    let (from, to) = (of(old), of(new));
    if files::find(from.dir()).is_err() {
        return;
    }
    let moved = files::rename(from.dir(), to.dir())
        .and_then(|()| disk().sync_dir(new))
        .and_then(|()| disk().sync_dir(old));
    if let Err(error) = moved {
        eprintln!("the snapshots stay in {}: {error}", from.dir().display());
    }
}

fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn sibling(dir: &Path, suffix: &str) -> Result<PathBuf, Failure> {
    let name = dir.file_name().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("{} has no name of its own", dir.display()),
        )
    })?;
    let mut name = name.to_owned();
    name.push(format!(".{suffix}"));
    Ok(parent(dir).join(name))
}

fn free_name(dir: &Path) -> Result<PathBuf, Failure> {
    for number in 1..=MAX_REPLACED {
        let name = sibling(dir, &format!("{REPLACED}-{number}"))?;
        if files::find(&name).is_err() {
            return Ok(name);
        }
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "there are {MAX_REPLACED} replaced databases beside {}",
            dir.display()
        ),
    ))
}
