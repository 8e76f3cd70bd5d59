//! What is rendered, beyond what the chart's own unit tests look at: both Helms, restricted pods,
//! definitions that arrive unchanged, values that are refused, notes that can be pasted.

use std::fs;
use std::path::Path;

use serde_yaml::Value;

use crate::helm::{HELMS, NAMESPACE, chart, kind, name, objects, run, template};

#[test]
fn both_helms_find_nothing_to_complain_about() {
    for helm in HELMS {
        let chart = chart();
        let arguments = ["lint", "--strict", "--kube-version", "1.37.2"];
        let ran = run(helm, &[&arguments[..], &[chart.to_str().unwrap()]].concat());
        assert!(ran.success, "{helm}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn the_unit_tests_of_the_chart_pass() {
    // The tool writes a snapshot that is missing, and calls it passed.
    let snapshot = chart().join("tests/__snapshot__/default_test.yaml.snap");
    assert!(snapshot.exists(), "{}", snapshot.display());
    let ran = run("helm-unittest", &["--strict", "charts/godb"]);
    println!("{}", ran.stdout);
    assert!(ran.success, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("Tests:"), "it ran");
}

#[test]
fn both_helms_render_the_same() {
    for values in [
        &[][..],
        &["watch.namespace=shop", "replicas=2"],
        &["crds.install=false", "metrics.service.create=false"],
    ] {
        assert_eq!(objects("helm3", values), objects("helm", values));
    }
}

#[test]
fn pods_are_fit_for_restricted_namespaces_and_quotas() {
    for object in objects("helm", &[]) {
        let pod = match kind(&object) {
            "Deployment" => &object["spec"]["template"]["spec"],
            "Pod" => &object["spec"],
            _ => continue,
        };
        let of_pod = &pod["securityContext"];
        assert_eq!(of_pod["runAsNonRoot"], true);
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
        assert!(of_pod.get("runAsUser").is_none(), "OpenShift gives its own");
        let containers = pod["containers"].as_sequence().unwrap();
        assert_eq!(containers.len(), 1);
        assert!(pod.get("initContainers").is_none());
        let of_container = &containers[0]["securityContext"];
        assert_eq!(of_container["allowPrivilegeEscalation"], false);
        assert_eq!(of_container["readOnlyRootFilesystem"], true);
        let dropped: Vec<Value> = vec!["ALL".into()];
        assert_eq!(of_container["capabilities"]["drop"], Value::from(dropped));
        for amount in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                let quantity = &containers[0]["resources"][amount][resource];
                assert!(quantity.is_string(), "{amount}.{resource}");
            }
        }
    }
}

#[test]
fn no_object_is_of_a_kind_that_blocks_or_surprises() {
    for values in [&[][..], &["watch.namespace=shop", "replicas=2"]] {
        let all = objects("helm", values);
        for object in &all {
            let api = object["apiVersion"].as_str().unwrap();
            assert!(!api.starts_with("godb.dev/"), "an instance in the chart");
            assert_ne!(kind(object), "PodDisruptionBudget");
            assert_ne!(kind(object), "Secret");
            let scope = object["metadata"]["namespace"].as_str();
            let cluster = [
                "CustomResourceDefinition",
                "ClusterRole",
                "ClusterRoleBinding",
            ];
            assert_eq!(
                scope.is_none(),
                cluster.contains(&kind(object)),
                "{object:?}"
            );
        }
        let deployment = all.iter().find(|o| kind(o) == "Deployment").unwrap();
        assert_eq!(deployment["metadata"]["namespace"], NAMESPACE);
    }
}

fn definitions() -> Vec<Value> {
    let files = fs::read_dir(chart().join("files/crds")).unwrap();
    let parsed = files.map(|file| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        serde_yaml::from_str(&text).unwrap()
    });
    parsed.collect()
}

#[test]
fn definitions_arrive_unchanged_and_stay() {
    for helm in HELMS {
        let rendered = objects(helm, &[]);
        let written = definitions();
        let of_kind = rendered
            .iter()
            .filter(|o| kind(o) == "CustomResourceDefinition");
        assert_eq!(of_kind.count(), written.len());
        for definition in written {
            let there = rendered.iter().find(|o| name(o) == name(&definition));
            let there = there.unwrap();
            assert_eq!(there["spec"], definition["spec"]);
            assert_eq!(there["apiVersion"], definition["apiVersion"]);
            let annotations = &there["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        }
        let without = objects(helm, &["crds.install=false"]);
        assert!(
            !without
                .iter()
                .any(|o| kind(o) == "CustomResourceDefinition")
        );
    }
}

#[test]
fn wrong_values_are_refused_with_their_name() {
    for (value, says) in [
        ("replica=2", "replica"),
        ("replicas=3", "replicas"),
        ("crds.instal=false", "instal"),
        ("log.level=loud", "level"),
        ("watch.namespace=Shop", "namespace"),
        ("image.digest=abc", "digest"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ] {
        for helm in HELMS {
            let ran = template(helm, &[value]);
            assert!(!ran.success, "{helm} takes {value}");
            assert!(ran.stderr.contains(says), "{helm} {value}: {}", ran.stderr);
        }
    }
}

/// A parent chart hands `global` to all that it depends on.
#[test]
fn it_can_be_a_dependency() {
    for helm in HELMS {
        let parent = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(parent.path().join(path), text).unwrap();
        write(
            "Chart.yaml",
            "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n  - name: godb\n    version: '*'\n",
        );
        write(
            "values.yaml",
            "global:\n  stage: test\ngodb:\n  replicas: 2\n",
        );
        fs::create_dir(parent.path().join("charts")).unwrap();
        let package = ["package", "charts/godb", "--destination"];
        let charts = parent.path().join("charts");
        let ran = run(helm, &[&package[..], &[charts.to_str().unwrap()]].concat());
        assert!(ran.success, "{}", ran.stderr);
        let folder = parent.path().to_str().unwrap();
        let ran = run(helm, &["template", "x", folder, "--kube-version", "1.37.2"]);
        assert!(ran.success, "{helm}: {}", ran.stderr);
        assert!(ran.stdout.contains("replicas: 2"));
    }
}

/// The archive has what is rendered and nothing that only makes or tests it.
#[test]
fn the_archive_is_complete_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let ran = run("helm", &["package", "charts/godb", "--destination", to]);
    assert!(ran.success, "{}", ran.stderr);
    let archive = format!("{to}/godb-{}.tgz", env!("CARGO_PKG_VERSION"));
    assert!(Path::new(&archive).metadata().unwrap().len() < 200_000);
    let listed = run("tar", &["-tzf", &archive]).stdout;
    for file in [
        "values.schema.json",
        "README.md",
        "templates/tests/smoke-pod.yaml",
    ] {
        assert!(listed.contains(&format!("godb/{file}\n")), "{listed}");
    }
    for file in ["godb/tests/", "gotmpl"] {
        assert!(!listed.contains(file), "{listed}");
    }
}
