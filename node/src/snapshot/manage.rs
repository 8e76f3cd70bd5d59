//! `godb snapshot create`, `list`, `delete` and `prune`.

use std::time::SystemTime;

use godb_engine::SnapshotOptions;
use godb_store::Snapshots;

use super::source::{Source, store};
use super::{Place, disk, folder, no_such, of_database, s3, show};
use crate::directories;
use crate::exit::{Exit, Failure};
use crate::tools::Directories;

/// Takes a snapshot.
///
/// # Errors
/// No database or node there, or those of the snapshot.
pub fn create(name: Option<&str>, place: &Place) -> Result<Exit, Failure> {
    let name = name.map_or_else(|| made_name(SystemTime::now()), str::to_owned);
    let (listed, is_new) = match Source::open(place)? {
        Source::Node(mut node) => node.create(&name, false)?,
        Source::Folder(_) => match place {
            Place::Database(database) => create_offline(database, &name)?,
            _ => {
                return Err(Failure::new(
                    Exit::Usage,
                    "a snapshot is taken of a node (--url) or a database (--data-dir)",
                ));
            }
        },
    };
    crate::print(&format!(
        "{name}: {} {} tables ({} bytes), {} documents, LSN {}\n",
        if is_new { "taken," } else { "was there," },
        listed.tables,
        listed.bytes,
        listed.documents.unwrap_or(0),
        listed.lsn,
    ))
}

fn create_offline(database: &Directories, name: &str) -> Result<(show::Listed, bool), Failure> {
    directories::require_database(&database.data_dir)?;
    let engine = directories::builder(&database.config()).open()?;
    let (snapshot, is_new) = engine.create_snapshot(name, SnapshotOptions::default())?;
    engine.close()?;
    Ok((show::Listed::of(&snapshot), is_new))
}

/// A name that sorts by time.
pub fn made_name(now: SystemTime) -> String {
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, seconds) = (
        since_epoch.as_secs() / 86_400,
        since_epoch.as_secs() % 86_400,
    );
    let (year, month, day) = date(days);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since_epoch.subsec_millis()
    )
}

/// Year, month and day, so many days after 1 January 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Lists snapshots.
///
/// # Errors
/// A place that cannot be read.
pub fn list(place: &Place, json: bool) -> Result<Exit, Failure> {
    let list = Source::open(place)?.list()?;
    if json {
        let listed: Vec<_> = list.iter().map(show::listed_json).collect();
        return crate::print(&format!("{}\n", serde_json::Value::Array(listed)));
    }
    crate::print(&show::table(&list, SystemTime::now()))
}

/// Removes a snapshot.
///
/// # Errors
/// There is none, unless that is as good (`if_exists`); somebody reads it, or the disk's.
pub fn delete(name: &str, place: &Place, force: bool, if_exists: bool) -> Result<Exit, Failure> {
    let absent = || crate::print(&format!("{name}: not there\n"));
    match Source::open(place)? {
        Source::Node(mut node) => match node.delete(name, force) {
            Err(failure) if if_exists && failure.exit == Exit::NoInput => return absent(),
            outcome => outcome?,
        },
        Source::Folder(snapshots) => {
            if if_exists && is_missing(place, &snapshots) {
                return absent();
            }
            let _lock = lock(place, &snapshots)?;
            if !snapshots.delete(name).map_err(store)? {
                if if_exists {
                    return absent();
                }
                return Err(no_such(name, &snapshots.dir().display().to_string()));
            }
        }
    }
    crate::print(&format!("{name}: removed\n"))
}

/// Whether there is not even the directory of snapshots. A bucket, or a database, has to be there.
fn is_missing(place: &Place, snapshots: &Snapshots) -> bool {
    matches!(place, Place::Folder(_))
        && !s3::is_address(snapshots.dir())
        && disk()
            .list(snapshots.dir())
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Removes all but the newest.
///
/// # Errors
/// As [`delete`]; what cannot be read is left, and said.
pub fn prune(keep: usize, place: &Place) -> Result<Exit, Failure> {
    let mut source = Source::open(place)?;
    let lock = match &source {
        Source::Folder(snapshots) => Some(lock(place, snapshots)?),
        Source::Node(_) => None,
    };
    let mut list = source.list()?;
    list.retain(|each| match &each.fault {
        Some(fault) => {
            eprintln!("{}: left alone, it cannot be read: {fault}", each.name);
            false
        }
        None => !each.is_leased,
    });
    // LSNs only grow, clocks do not.
    list.sort_by(|a, b| (b.lsn, b.created_at_ms, &b.name).cmp(&(a.lsn, a.created_at_ms, &a.name)));
    for each in list.iter().skip(keep) {
        match &mut source {
            Source::Folder(snapshots) => {
                snapshots.delete(&each.name).map_err(store)?;
            }
            Source::Node(node) => node.delete(&each.name, false)?,
        }
        crate::print(&format!("{}: removed\n", each.name))?;
    }
    drop(lock);
    Ok(Exit::Ok)
}

/// Keeps a node, or another command, from changing these snapshots at the same time.
fn lock(place: &Place, snapshots: &Snapshots) -> Result<Box<dyn godb_store::disk::Lock>, Failure> {
    let Place::Database(database) = place else {
        if !s3::is_address(snapshots.dir()) && disk().list(snapshots.dir()).is_err() {
            return Err(Failure::new(
                Exit::NoInput,
                format!("there is no directory {}", snapshots.dir().display()),
            ));
        }
        return snapshots.lock().map_err(store);
    };
    directories::require_database(&database.data_dir)?;
    folder(&database.data_dir).lock().map_err(store)
}

/// Takes a snapshot that is there only to be carried.
pub fn cut_for_carry(source: &mut Source, place: &Place) -> Result<String, Failure> {
    let name = made_name(SystemTime::now());
    match (source, place) {
        (Source::Node(node), _) => {
            node.create(&name, true)?;
        }
        (Source::Folder(_), Place::Database(database)) => {
            create_offline(database, &name)?;
        }
        (Source::Folder(_), _) => {
            return Err(Failure::new(
                Exit::Usage,
                "name the snapshot; only a node (--url) or a database (--data-dir) can take a new one",
            ));
        }
    }
    Ok(name)
}

/// Removes it again. What cannot be removed now goes with its lease, or with the next `delete`.
pub fn drop_after_carry(source: &mut Source, name: &str) {
    let removed = match source {
        Source::Node(node) => node.delete(name, false),
        Source::Folder(snapshots) => snapshots.delete(name).map(|_| ()).map_err(store),
    };
    if let Err(failure) = removed {
        eprintln!(
            "{name}: carried, but not removed at its source: {}",
            failure.message
        );
    }
}

/// The newest snapshot of a directory.
///
/// # Errors
/// There is none that can be read.
pub fn newest(snapshots: &Snapshots) -> Result<String, Failure> {
    let list = snapshots.list().map_err(store)?;
    let newest = list
        .into_iter()
        .filter_map(|(name, found)| Some((found.ok()?.lsn, name)))
        .max();
    newest.map(|(_, name)| name).ok_or_else(|| {
        Failure::new(
            Exit::NoInput,
            format!("there is no snapshot in {}", snapshots.dir().display()),
        )
    })
}

/// The snapshots of a directory that holds them, or of a data directory.
pub fn folder_or_database(dir: &std::path::Path) -> Result<Snapshots, Failure> {
    if s3::is_address(dir) {
        return s3::snapshots(dir);
    }
    let below = of_database(&Directories {
        data_dir: dir.to_path_buf(),
        ..Directories::default()
    });
    if disk().list(below.dir()).is_ok() {
        Ok(below)
    } else {
        Ok(folder(dir))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn made_names_are_the_time_in_utc() {
        let name = |seconds| made_name(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(name(0), "19700101-000000.000");
        assert_eq!(name(951_782_399), "20000228-235959.000");
        assert_eq!(name(951_782_400), "20000229-000000.000");
        assert_eq!(name(951_868_800), "20000301-000000.000");
        assert_eq!(name(1_735_689_599), "20241231-235959.000");
    }
}
