//! `godb snapshot verify`: reads every byte of snapshots and every document in them.

use godb_store::Snapshots;

use super::source::Source;
use super::{Place, no_such, show};
use crate::exit::{Exit, Failure};
use crate::tools::progress::Steps;

/// Runs the subcommand.
///
/// # Errors
/// The first damage of each snapshot, or no snapshot at all.
pub fn run(name: Option<&str>, place: &Place) -> Result<Exit, Failure> {
    match Source::open(place)? {
        Source::Folder(snapshots) => in_folder(name, &snapshots),
        Source::Node(mut node) => {
            let names = match name {
                Some(name) => vec![name.to_owned()],
                None => node.list()?.into_iter().map(|each| each.name).collect(),
            };
            for name in names {
                crate::print(&show::verified(&node.verify(&name)?))?;
            }
            Ok(Exit::Ok)
        }
    }
}

fn in_folder(name: Option<&str>, snapshots: &Snapshots) -> Result<Exit, Failure> {
    let place = snapshots.dir().display().to_string();
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_owned()],
        None => {
            let list = snapshots.list().map_err(super::source::store)?;
            list.into_iter().map(|(name, _)| name).collect()
        }
    };
    if names.is_empty() {
        return Err(Failure::new(
            Exit::NoInput,
            format!("there is no snapshot in {place}"),
        ));
    }
    let mut damaged = Vec::new();
    for name in names {
        if !snapshots.contains(&name).map_err(super::source::store)? {
            return Err(no_such(&name, &place));
        }
        let mut steps = Steps::new("verifying");
        let verified = godb_engine::verify_snapshot(snapshots, &name, &mut |done, total| {
            steps.at(done, total);
        });
        drop(steps);
        match verified {
            Ok(snapshot) => {
                crate::print(&show::verified(&show::Listed::of(&snapshot)))?;
            }
            Err(error) => damaged.push((name, Failure::from(error))),
        }
    }
    let Some((_, first)) = damaged.first() else {
        return Ok(Exit::Ok);
    };
    let lines: Vec<String> = damaged
        .iter()
        .map(|(name, failure)| format!("{name}: {}", failure.message))
        .collect();
    Err(Failure::new(first.exit, lines.join("\n  ")))
}
