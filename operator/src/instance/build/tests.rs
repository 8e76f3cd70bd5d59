#![allow(
    clippy::disallowed_methods,
    reason = "golden files are files of the repository"
)]

use super::*;
use crate::instance::fixture;
use godb_crds::instance::{EnvironmentVariable, SecurityContextSpec, WalStorageSpec};
use godb_crds::{Durability, GoDbInstance};
use std::path::Path;

/// Every child as YAML, in the order in which they are applied.
fn rendered(instance: &GoDbInstance) -> String {
    let valid = fixture::valid(instance, "ghcr.io/godb/godb");
    let built = build(&valid);
    let mut documents = vec![
        serde_yaml::to_string(&built.service_account).unwrap(),
        serde_yaml::to_string(&built.config).unwrap(),
        serde_yaml::to_string(&built.service).unwrap(),
        serde_yaml::to_string(&built.headless).unwrap(),
        serde_yaml::to_string(&built.stateful_set).unwrap(),
    ];
    documents.push(serde_yaml::to_string(&app_secret(&valid)).unwrap());
    documents.join("---\n")
}

/// Compares with the file, or writes it when `UPDATE_GOLDEN` is set. What a change does to pods
/// that run is seen in the review of these files.
#[track_caller]
fn golden(name: &str, instance: &GoDbInstance) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/{name}.yaml"));
    let actual = rendered(instance);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{name} is rendered otherwise than {}: look at the difference with UPDATE_GOLDEN=1 and git diff",
        path.display()
    );
}

fn everything() -> GoDbInstance {
    let mut instance = fixture::instance("orders");
    fixture::limit_memory(&mut instance, "8Gi");
    let spec = &mut instance.spec;
    let text = |text: &str| text.to_owned();
    spec.engine.durability = Durability::Full;
    spec.engine.max_memory = Some(text("4Gi"));
    spec.storage.storage_class_name = Some(text("fast"));
    spec.storage.wal = Some(WalStorageSpec {
        size: text("4Gi"),
        storage_class_name: None,
    });
    spec.security_context = Some(SecurityContextSpec::default());
    spec.service.annotations = [(text("example.com/lb"), text("internal"))].into();
    spec.scheduling.node_selector = [(text("disk"), text("ssd"))].into();
    spec.scheduling.priority_class_name = Some(text("important"));
    spec.pod.labels = [(text("team"), text("orders"))].into();
    spec.pod.annotations = [(text("example.com/a"), text("b"))].into();
    spec.extra_env = vec![EnvironmentVariable {
        name: text("TZ"),
        value: text("UTC"),
    }];
    spec.termination_grace_period_seconds = 60;
    instance.metadata.annotations = Some([(text(names::RESTART_AT), text("noon"))].into());
    instance
}

#[test]
fn a_small_instance_is_rendered_as_reviewed() {
    golden("small", &fixture::instance("people"));
}

#[test]
fn an_instance_with_everything_is_rendered_as_reviewed() {
    golden("everything", &everything());
}

#[test]
fn no_secret_is_in_what_is_applied() {
    let text = rendered(&everything());
    let valid = fixture::valid(&everything(), "x");
    let admin = admin_secret(&valid, [7; 32]);
    let token = &admin.string_data.unwrap()[TOKEN_KEY];
    assert!(!text.contains(token.as_str()));
    // The pod mounts the hash alone.
    assert!(text.contains("key: token.sha256") && !text.contains("key: token\n"));
}

#[test]
fn settings_that_change_live_are_in_no_pod_template() {
    let before = fixture::stateful_set(&fixture::instance("a"), "x");
    let mut changed = fixture::instance("a");
    changed.spec.engine.durability = Durability::Full;
    changed.spec.engine.checkpoint_interval = "1m".to_owned();
    changed.spec.engine.max_wal_size = "64Mi".to_owned();
    changed.spec.engine.max_memory = Some("1Gi".to_owned());
    changed.spec.logging.level = godb_crds::LogLevel::Debug;
    assert_eq!(fixture::stateful_set(&changed, "x"), before);
    changed.spec.storage.size = "2Gi".to_owned();
    let grown = fixture::stateful_set(&changed, "x");
    assert_eq!(
        grown.spec.unwrap().template,
        before.spec.unwrap().template,
        "a volume that grows restarts nothing"
    );
}

#[test]
fn a_restore_holds_it_at_no_pod_and_changes_no_template() {
    let mut held = fixture::instance("a");
    let before = fixture::stateful_set(&held, "x").spec.unwrap();
    held.status = Some(godb_crds::GoDbInstanceStatus {
        operation: Some(godb_crds::instance::Operation::default()),
        ..godb_crds::GoDbInstanceStatus::default()
    });
    let during = fixture::stateful_set(&held, "x").spec.unwrap();
    assert_eq!((before.replicas, during.replicas), (Some(1), Some(0)));
    assert_eq!(before.template, during.template);
}

#[test]
fn the_node_ends_within_the_grace_period() {
    for grace in [30, 300, 3600] {
        let mut instance = fixture::instance("a");
        instance.spec.termination_grace_period_seconds = grace;
        let settings = config::restart_settings(&fixture::valid(&instance, "x"));
        let seconds = |key: &str| {
            let text = settings[key].strip_suffix('s').unwrap();
            text.parse::<i64>().unwrap()
        };
        let total = seconds("shutdown_grace")
            + seconds("drain_timeout")
            + seconds("shutdown_checkpoint_timeout");
        assert!(total + 5 <= grace, "{total} of {grace}");
    }
}
