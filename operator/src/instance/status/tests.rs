use super::*;
use crate::instance::fixture;
use crate::node_client::InForce;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "a-0"}, "status": status})).unwrap()
}

fn with_container(container: &Value) -> Pod {
    let mut status = json!({
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "godb", "image": "x", "imageID": "", "ready": false, "restartCount": 0}],
    });
    let place = status["containerStatuses"][0].as_object_mut().unwrap();
    place.extend(container.as_object().unwrap().clone());
    pod(status)
}

fn ready_pod() -> Pod {
    pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}))
}

fn settled() -> Observed {
    let mut set = fixture::stateful_set(&fixture::instance("a"), "x");
    set.metadata.generation = Some(3);
    set.status = Some(
        serde_json::from_value(json!({
            "replicas": 1, "observedGeneration": 3, "currentRevision": "r1", "updateRevision": "r1",
        }))
        .unwrap(),
    );
    Observed {
        stateful_set: Some(set),
        pod: Some(ready_pod()),
        ..Observed::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn said_of(instance: &GoDbInstance, observed: &Observed, second: i64) -> GoDbInstanceStatus {
    let valid = fixture::valid(instance, "x");
    let progress = Progress::Done {
        applied: &Applied::default(),
        settings: &Outcome::NoPod,
    };
    status(instance, Some(&valid), observed, &progress, at(second))
}

fn condition<'a>(status: &'a GoDbInstanceStatus, kind: &str) -> &'a Condition {
    let found = status.conditions.iter().find(|found| found.type_ == kind);
    found.unwrap_or_else(|| panic!("no condition {kind}"))
}

#[track_caller]
fn check_trouble(observed: Observed, why: &str, says: &str, degraded: &str) {
    let status = said_of(&fixture::instance("a"), &observed, 1);
    let ready = condition(&status, kind::READY);
    assert_eq!((&*ready.status, &*ready.reason), ("False", why));
    assert!(ready.message.contains(says), "{}", ready.message);
    assert_eq!(condition(&status, kind::DEGRADED).status, degraded);
}

fn without_pod(warning: Option<&str>) -> Observed {
    Observed {
        pod: None,
        warning: warning.map(str::to_owned),
        ..settled()
    }
}

fn with_pod(pod: Pod) -> Observed {
    Observed {
        pod: Some(pod),
        ..settled()
    }
}

#[test]
fn every_trouble_is_quoted_from_whoever_knows() {
    let quota = "pods \"a-0\" is forbidden: exceeded quota: small";
    check_trouble(
        without_pod(Some(quota)),
        reason::POD_NOT_CREATED,
        "exceeded quota",
        "True",
    );
    check_trouble(without_pod(None), reason::STARTING, "being made", "False");
    let unschedulable = pod(json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"},
    ]}));
    check_trouble(
        with_pod(unschedulable),
        reason::UNSCHEDULABLE,
        "Insufficient memory",
        "True",
    );
    let pull =
        json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "x: not found"}}});
    check_trouble(
        with_pod(with_container(&pull)),
        reason::CONTAINER_WAITING,
        "ImagePullBackOff: x: not found",
        "True",
    );
    let crash = json!({
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 65, "reason": "Error", "message": "corrupt: table at byte 7"}},
    });
    check_trouble(
        with_pod(with_container(&crash)),
        reason::NODE_FAILED,
        "exit code 65 (Error): corrupt: table at byte 7",
        "True",
    );
    let starting = json!({"state": {"running": {}}});
    check_trouble(
        with_pod(with_container(&starting)),
        reason::NOT_READY,
        "recovers",
        "False",
    );
}

#[test]
fn ready_is_only_said_of_the_present_pod() {
    let instance = fixture::instance("a");
    let ready = |observed: &Observed| {
        let status = said_of(&instance, observed, 1);
        (
            condition(&status, kind::READY).status.clone(),
            status.phase.unwrap(),
        )
    };
    assert_eq!(ready(&settled()), ("True".to_owned(), "Ready".to_owned()));
    let mut updating = settled();
    let set = updating.stateful_set.as_mut().unwrap();
    set.status.as_mut().unwrap().update_revision = Some("r2".to_owned());
    assert_eq!(ready(&updating).0, "False");
    let mut unseen = settled();
    unseen.stateful_set.as_mut().unwrap().metadata.generation = Some(4);
    assert_eq!(ready(&unseen).0, "False");
}

#[test]
fn nothing_in_it_moves_by_itself() {
    let mut instance = fixture::instance("a");
    let first = said_of(&instance, &settled(), 1);
    instance.status = Some(first.clone());
    assert_eq!(said_of(&instance, &settled(), 1000), first);
    let second = said_of(&instance, &without_pod(None), 1000);
    assert_eq!(
        condition(&second, kind::READY).last_transition_time.0,
        at(1000)
    );
    assert_eq!(
        condition(&second, kind::SPEC_VALID).last_transition_time.0,
        at(1)
    );
}

#[test]
fn stopped_and_paused_are_said() {
    let mut instance = fixture::instance("a");
    instance.spec.stopped = true;
    let status = said_of(&instance, &without_pod(None), 1);
    assert_eq!(condition(&status, kind::READY).reason, reason::STOPPED);
    assert_eq!(status.phase.as_deref(), Some("Stopped"));
    instance.spec.paused = true;
    let status = said_of(&instance, &without_pod(None), 1);
    assert_eq!(
        condition(&status, kind::RECONCILIATION_PAUSED).status,
        "True"
    );
}

#[test]
fn what_the_writes_came_to_is_said() {
    let instance = fixture::instance("a");
    let valid = fixture::valid(&instance, "x");
    let applied = Applied {
        pending: Some("pod.spec.containers[godb].image".to_owned()),
        resize_refused: Some("the class cannot expand".to_owned()),
        again: false,
    };
    let in_force = InForce {
        boot_id: "b1".to_owned(),
        live: BTreeMap::from([("durability".to_owned(), "full".to_owned())]),
    };
    let outcome = Outcome::Applied {
        in_force,
        changed: Vec::new(),
    };
    let progress = Progress::Done {
        applied: &applied,
        settings: &outcome,
    };
    let status = status(&instance, Some(&valid), &settled(), &progress, at(1));
    assert!(
        condition(&status, kind::UPDATE_PENDING)
            .message
            .contains("image")
    );
    let resizing = condition(&status, kind::STORAGE_RESIZING);
    assert_eq!(resizing.reason, reason::RESIZE_REFUSED);
    assert_eq!(condition(&status, kind::DEGRADED).status, "True");
    let config = condition(&status, kind::CONFIG_APPLIED);
    assert!(config.status == "True" && config.message.contains("b1"));
    assert_eq!(status.engine.unwrap().durability, "full");
}

#[test]
fn a_failed_step_and_an_invalid_spec_are_said() {
    let instance = fixture::instance("a");
    let failed = Progress::Failed(reason::SECRET_INVALID, "it lacks a key".to_owned());
    let status_failed = status(&instance, None, &settled(), &failed, at(1));
    assert_eq!(
        condition(&status_failed, kind::READY).reason,
        reason::SECRET_INVALID
    );
    let faults = ["size: no".to_owned(), "memory: no".to_owned()];
    let invalid = status(
        &instance,
        None,
        &settled(),
        &Progress::Invalid(&faults),
        at(1),
    );
    let said = condition(&invalid, kind::SPEC_VALID);
    assert_eq!(
        (&*said.status, &*said.message),
        ("False", "size: no; memory: no")
    );
}

#[test]
fn what_goes_wrong_is_told_once() {
    let instance = fixture::instance("a");
    let waiting = |reason: &str, message: &str| Observed {
        pod: Some(with_container(
            &json!({"state": {"waiting": {"reason": reason, "message": message}}}),
        )),
        ..settled()
    };
    let good = said_of(&instance, &settled(), 1);
    assert_eq!(got_worse(None, &good), None);
    let bad = said_of(&instance, &waiting("ErrImagePull", "no such tag"), 2);
    let told = got_worse(Some(&good), &bad).expect("an event");
    assert_eq!(told.reason, reason::CONTAINER_WAITING);
    assert!(told.message.contains("no such tag"), "{}", told.message);
    let still = said_of(&instance, &waiting("ImagePullBackOff", "in 20 s"), 3);
    assert_eq!(got_worse(Some(&bad), &still), None);
    let mut next = instance.clone();
    next.metadata.generation = next.metadata.generation.map(|last| last + 1).or(Some(9));
    let again = said_of(&next, &waiting("ErrImagePull", "no such tag"), 4);
    assert!(got_worse(Some(&bad), &again).is_some());
    assert_eq!(got_worse(Some(&bad), &good), None);
}
