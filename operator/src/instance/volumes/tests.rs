use super::*;
use crate::instance::fixture;
use godb_crds::GoDbInstance;

fn claim(requested: &str, capacity: Option<&str>) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": "data-a-0", "namespace": "ns"},
        "spec": {"resources": {"requests": {"storage": requested}}},
        "status": {"capacity": capacity.map(|size| json!({"storage": size}))},
    }))
    .unwrap()
}

fn wants(size: &str) -> GoDbInstance {
    let mut instance = fixture::instance("a");
    instance.spec.storage.size = size.to_owned();
    instance
}

fn asked(size: &str, requested: &str, capacity: Option<&str>) -> Option<String> {
    let valid = fixture::valid(&wants(size), "x");
    let patch = patch(&valid, "data", &claim(requested, capacity), true)?;
    let path = "/spec/resources/requests/storage";
    Some(patch.pointer(path)?.as_str()?.to_owned())
}

#[test]
fn a_claim_grows_and_never_shrinks_below_what_it_has() {
    assert_eq!(asked("2Gi", "1Gi", Some("1Gi")).unwrap(), "2Gi");
    // A typo that was not carried out is taken back.
    assert_eq!(asked("1Gi", "10Ti", Some("1Gi")).unwrap(), "1Gi");
    // A kept volume that is larger stays.
    assert_eq!(asked("1Gi", "5Gi", Some("5Gi")).unwrap(), "5Gi");
}

#[test]
fn what_was_refused_is_not_asked_for_and_the_rest_is() {
    let valid = fixture::valid(&wants("2Gi"), "x");
    let patch = patch(&valid, "data", &claim("1Gi", Some("1Gi")), false).unwrap();
    let path = "/spec/resources/requests/storage";
    assert_eq!(patch.pointer(path).unwrap(), "1Gi");
    assert!(patch.pointer("/metadata/labels").is_some());
}

#[test]
fn a_claim_that_is_as_wanted_is_left_alone() {
    let valid = fixture::valid(&wants("1Gi"), "x");
    let mut found = claim("1024Mi", Some("1Gi"));
    found.metadata.labels = Some(names::labels("a", &valid.release));
    assert_eq!(patch(&valid, "data", &found, true), None);
}

#[test]
fn the_policy_is_an_owner_of_the_claim() {
    let mut instance = wants("1Gi");
    instance.spec.deletion_policy = DeletionPolicy::Delete;
    let valid = fixture::valid(&instance, "x");
    let found = claim("1Gi", Some("1Gi"));
    let desired = patch(&valid, "data", &found, true).unwrap();
    let owner = &desired["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], "uid-1");
    let observed = |claim: PersistentVolumeClaim| Observed {
        claims: vec![("data", claim)],
        ..Observed::default()
    };
    assert_eq!(
        policy_in_force(&valid, &observed(found.clone())),
        DeletionPolicy::Retain
    );
    let mut owned = found;
    owned.metadata.owner_references = Some(vec![serde_json::from_value(owner.clone()).unwrap()]);
    assert_eq!(
        policy_in_force(&valid, &observed(owned)),
        DeletionPolicy::Delete
    );
}

#[test]
fn the_set_is_made_again_only_when_every_claim_has_asked() {
    let valid = fixture::valid(&wants("2Gi"), "x");
    let old = fixture::stateful_set(&wants("1Gi"), "x");
    let new = fixture::stateful_set(&wants("2048Mi"), "x");
    let with = |requested: &str| Observed {
        stateful_set: Some(old.clone()),
        claims: vec![("data", claim(requested, Some("1Gi")))],
        ..Observed::default()
    };
    assert!(!must_recreate(&valid, &with("1Gi"), &new));
    assert!(must_recreate(&valid, &with("2Gi"), &new));
    let same = Observed {
        stateful_set: Some(fixture::stateful_set(&wants("2Gi"), "x")),
        ..with("2Gi")
    };
    assert!(!must_recreate(&valid, &same, &new), "written otherwise");
}

#[test]
fn resizing_says_where_it_stands() {
    let valid = fixture::valid(&wants("2Gi"), "x");
    let with = |claim: PersistentVolumeClaim| Observed {
        claims: vec![("data", claim)],
        ..Observed::default()
    };
    let look = |claim| resizing(&valid, &with(claim));
    assert_eq!(look(claim("2Gi", Some("2Gi"))), Resizing::Done);
    assert!(matches!(
        look(claim("2Gi", Some("1Gi"))),
        Resizing::Growing(_)
    ));
    assert!(matches!(
        look(claim("3Gi", Some("3Gi"))),
        Resizing::Larger(_)
    ));
    let mut waits = claim("2Gi", Some("1Gi"));
    waits.status.as_mut().unwrap().conditions = Some(vec![
        serde_json::from_value(json!({"type": "FileSystemResizePending", "status": "True"}))
            .unwrap(),
    ]);
    assert!(matches!(look(waits), Resizing::WaitsForMount(_)));
}
