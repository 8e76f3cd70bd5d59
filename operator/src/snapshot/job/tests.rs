#![allow(
    clippy::disallowed_methods,
    reason = "golden files are files of the repository"
)]

use super::*;
use crate::instance::fixture;
use std::path::Path;

fn snapshot() -> GoDbSnapshot {
    let mut snapshot = godb_crds::examples::snapshot("monday", "orders", Some("backups"));
    snapshot.metadata.namespace = Some("ns".to_owned());
    snapshot.metadata.uid = Some("uid-1".to_owned());
    snapshot
}

fn runner() -> Runner {
    let mut instance = fixture::instance("orders");
    instance.spec.scheduling.node_selector = [("disk".to_owned(), "ssd".to_owned())].into();
    instance.spec.image_pull_secrets = vec![LocalObjectReference {
        name: "registry".to_owned(),
    }];
    Runner::of(Some(&instance), None, "ghcr.io/godb/godb", "ns.godb")
}

fn on_claim() -> SnapshotLocation {
    SnapshotLocation {
        claim: Some("backups".to_owned()),
        path: Some("ns/uid-9".to_owned()),
        ..SnapshotLocation::default()
    }
}

fn in_bucket() -> SnapshotLocation {
    SnapshotLocation {
        s3: Some(godb_crds::examples::s3()),
        path: Some("production/ns/uid-9".to_owned()),
        ..SnapshotLocation::default()
    }
}

fn made(work: Work) -> Job {
    job(&snapshot(), work, &on_claim(), &runner(), 21600).unwrap()
}

#[test]
fn jobs_are_rendered_as_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshot-jobs.yaml");
    let bucket = job(&snapshot(), Work::Carry, &in_bucket(), &runner(), 21600);
    let claim = [Work::Carry, Work::Verify, Work::Remove].map(made);
    let actual: Vec<String> = claim
        .into_iter()
        .chain(bucket)
        .map(|job| serde_yaml::to_string(&job).unwrap())
        .collect();
    let actual = actual.join("---\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    assert!(
        actual == std::fs::read_to_string(&path).unwrap_or_default(),
        "look at the difference with UPDATE_GOLDEN=1 and git diff"
    );
}

#[test]
fn no_pod_of_a_job_mounts_what_an_instance_runs_on_or_is_found_by_its_service() {
    let names = Names {
        namespace: "ns".to_owned(),
        instance: "orders".to_owned(),
    };
    for work in [Work::Carry, Work::Verify, Work::Remove] {
        let template = made(work).spec.unwrap().template;
        let volumes = template.spec.as_ref().unwrap().volumes.clone().unwrap();
        let claims: Vec<String> = volumes
            .into_iter()
            .filter_map(|volume| volume.persistent_volume_claim)
            .map(|claim| claim.claim_name)
            .collect();
        assert_eq!(claims, ["backups"]);
        assert!(!claims.contains(&names.claim("data")));
        let labels = template.metadata.unwrap().labels.unwrap();
        let selector = names::selector("orders");
        assert!(
            selector
                .iter()
                .any(|(key, value)| labels.get(key) != Some(value))
        );
    }
}

#[test]
fn only_the_job_that_copies_has_the_token() {
    for (work, has) in [
        (Work::Carry, true),
        (Work::Verify, false),
        (Work::Remove, false),
    ] {
        let text = serde_yaml::to_string(&made(work)).unwrap();
        assert_eq!(text.contains("secretName"), has, "{work:?}");
        assert!(!text.contains("token.sha256"));
    }
}

#[test]
fn the_keys_of_a_bucket_are_in_no_argument() {
    let job = job(&snapshot(), Work::Verify, &in_bucket(), &runner(), 21600).unwrap();
    let pod = job.spec.unwrap().template.spec.unwrap();
    let container = &pod.containers[0];
    let arguments = container.args.clone().unwrap().join(" ");
    assert_eq!(
        arguments,
        format!(
            "snapshot verify {} --dir s3://backups/production/ns/uid-9",
            cut_name(&snapshot())
        )
    );
    for variable in container.env.as_ref().unwrap() {
        let is_key = variable.name.contains("_KEY") || variable.name.contains("TOKEN");
        assert_eq!(variable.value.is_none(), is_key, "{}", variable.name);
    }
}

#[test]
fn names_of_jobs_fit_into_labels() {
    let longest = "a".repeat(53);
    let snapshot = godb_crds::examples::snapshot(&longest, "orders", Some("backups"));
    for work in [Work::Carry, Work::Verify, Work::Remove] {
        assert!(name(&snapshot, work).len() <= 63);
    }
}

#[test]
fn without_its_instance_a_snapshot_can_still_be_removed() {
    let runner = Runner::of(None, Some("0.0.9"), "ghcr.io/godb/godb", "ns.godb");
    assert_eq!(runner.image, "ghcr.io/godb/godb:0.0.9");
    assert_eq!(runner.account, None);
}
