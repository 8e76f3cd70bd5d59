#![allow(
    clippy::disallowed_methods,
    reason = "golden files are files of the repository"
)]

use super::*;
use crate::instance::fixture;
use std::path::Path;

fn made(claim: Option<&str>) -> Job {
    let mut restore = godb_crds::examples::restore("undo", "orders", "monday");
    restore.metadata.namespace = Some("ns".to_owned());
    restore.metadata.uid = Some("uid-1".to_owned());
    let location = SnapshotLocation {
        name: "monday.uid-7".to_owned(),
        instance: claim.is_none().then(|| "orders".to_owned()),
        claim: claim.map(str::to_owned),
        s3: None,
        path: claim.map(|_| "ns/uid-9".to_owned()),
    };
    let instance = fixture::instance("orders");
    let runner = Runner::of(Some(&instance), None, "ghcr.io/godb/godb", "ns.godb");
    job(&restore, &instance, &location, &runner, 21600)
}

#[test]
fn jobs_are_rendered_as_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/restore-jobs.yaml");
    let actual = [Some("backups"), None]
        .map(|claim| serde_yaml::to_string(&made(claim)).unwrap())
        .join("---\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    assert!(
        actual == std::fs::read_to_string(&path).unwrap_or_default(),
        "look at the difference with UPDATE_GOLDEN=1 and git diff"
    );
}

#[test]
fn the_source_is_only_read() {
    let pod = made(Some("backups")).spec.unwrap().template.spec.unwrap();
    let mounts = pod.containers[0].volume_mounts.clone().unwrap();
    let source = mounts
        .iter()
        .find(|mount| mount.name == "snapshots")
        .unwrap();
    assert_eq!(source.read_only, Some(true));
}
