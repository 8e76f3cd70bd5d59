//! From nothing to a first document, and to nothing again without a loss.

use serde_json::{Value, json};

use crate::instance::{Instance, manifest};
use crate::kube::{Namespace, wait, word};
use crate::release::{Release, SOON, alone, beside_others, kinds};

/// `kubectl run` of the node's image under restricted security: the image has no shell, but it
/// imports and exports.
fn client_pod(namespace: &Namespace, name: &str, arguments: &[&str], input: &str) -> String {
    let overrides = json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": name, "image": "localhost/godb:dev", "args": arguments,
            "stdin": true, "stdinOnce": true, "tty": false,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    }});
    let overrides = overrides.to_string();
    namespace.kubectl_with(
        &[
            "run",
            name,
            "--rm",
            "--stdin",
            "--quiet",
            "--restart=Never",
            "--image=localhost/godb:dev",
            "--image-pull-policy=IfNotPresent",
            "--overrides",
            &overrides,
            "--pod-running-timeout=180s",
        ],
        input,
    )
}

#[test]
fn the_first_document_comes_from_another_pod_and_outlives_the_operator() {
    let _turn = beside_others();
    let namespace = Namespace::new("lifecycle");
    let release = Release::install(&namespace);
    let people = Instance::create(&namespace, "people", &json!({}));
    // Ready is what the pod says; the Service learns of it within a second.
    drop(people.client());
    client_pod(
        &namespace,
        "writer",
        &[
            "import",
            "-",
            "--id-prefix",
            "people",
            "--collection",
            "people",
            "--url",
            "http://people:8080",
        ],
        "{\"_id\":\"ada\",\"born\":1815}\n{\"_id\":\"grace\",\"born\":1906}\n",
    );
    let read = client_pod(
        &namespace,
        "reader",
        &[
            "export",
            "--collection",
            "people",
            "--url",
            "http://people:8080",
        ],
        "",
    );
    assert!(read.contains("{\"_id\":\"ada\",\"born\":1815}"), "{read}");

    let before = people.life();
    release.uninstall();
    assert_eq!(people.life(), before, "the node does not notice");
    people
        .client()
        .get("/collections/people/documents/grace")
        .expect(200);

    // The same operator under another name says that it is not its instance, until it is told so.
    let other = Release::install_as(&namespace, "second", &[]);
    let (event, _) = wait("an event about the conflict", SOON, || {
        namespace
            .events_of("people")
            .into_iter()
            .find(|event| event.starts_with("OperatorConflict"))
    });
    println!("{event}");
    let adopt = format!("godb.dev/adopt={}.second", namespace.name);
    namespace.kubectl(&["annotate", "godbinstance", "people", &adopt]);
    people.patch(&json!({"engine": {"checkpointInterval": "20s"}}));
    people.wait_condition("ConfigApplied", "True");
    assert_eq!(people.life(), before);
    drop(other);
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let _turn = beside_others();
    let namespace = Namespace::new("refused");
    kinds();
    for (name, spec, said) in [
        ("people", json!({"storage": {"size": "-1Gi"}}), "size"),
        ("people", json!({"storage": {"size": "lots"}}), "size"),
        (
            "people",
            json!({"engine": {"checkpointInterval": "-5s"}}),
            "checkpointInterval",
        ),
        (
            "people",
            json!({"engine": {"checkpointInterval": "soon"}}),
            "checkpointInterval",
        ),
        (
            "people",
            json!({"engine": {"durability": "most"}}),
            "durability",
        ),
        (
            "people",
            json!({"engine": {"maxMemory": "512m"}}),
            "maxMemory",
        ),
        (
            "people",
            json!({"engine": {"maxMemory": "1Gi"}}),
            "maxMemory",
        ),
        (
            "people",
            json!({"extraEnv": [{"name": "GODB_LISTEN", "value": "x"}]}),
            "GODB_",
        ),
        (
            "people",
            json!({"deletionPolicy": "Forget"}),
            "deletionPolicy",
        ),
        ("1people", json!({}), "name"),
        (
            "people-with-a-name-that-is-longer-than-forty",
            json!({}),
            "name",
        ),
    ] {
        let answer = namespace.create("godbinstances", &manifest(name, &spec));
        let message = word(&answer.json()["message"]).to_owned();
        assert_eq!(answer.status, 422, "accepted: {name} {spec}: {message}");
        assert!(message.contains(said), "{spec}: {message}");
    }
    // A field that does not exist is refused by kubectl apply, which asks for strict reading.
    let unknown = manifest("people", &json!({"enigne": {}}));
    let output = crate::kube::run(
        "kubectl",
        &["apply", "--namespace", &namespace.name, "-f", "-"],
        &unknown.to_string(),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("enigne"),
        "{said}"
    );
}

/// By a release for the whole cluster, which is the chart's default.
#[test]
fn one_operator_serves_all_namespaces() {
    let _turn = alone();
    let home = Namespace::new("wide");
    let away = Namespace::new("away");
    let release = Release::install_as(&home, "wide", &["watch.namespace="]);
    let people = Instance::create(&away, "people", &json!({}));
    people
        .client()
        .post("/collections/people", "{\"_id\":\"ada\"}")
        .expect(201);
    people.delete();
    let claims: Vec<Value> = away.list("persistentvolumeclaims");
    assert_eq!(claims.len(), 1, "the volume is kept");
    release.uninstall();
}

#[test]
fn helm_test_that_fails_says_why_and_leaves_nothing() {
    let _turn = beside_others();
    let namespace = Namespace::new("helm-test");
    let _release = Release::install_as(
        &namespace,
        "godb",
        &["node.image.repository=localhost/nowhere"],
    );
    let output = crate::kube::run(
        "helm",
        &[
            "test",
            "godb",
            "--namespace",
            &namespace.name,
            "--logs",
            "--timeout",
            "600s",
        ],
        "",
    );
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
    assert!(!output.status.success());
    assert!(said.contains("not Ready after"), "{said}");
    assert!(said.contains("localhost/nowhere:"), "{said}");
    assert_eq!(namespace.list("godbinstances"), Vec::<Value>::new());
}
