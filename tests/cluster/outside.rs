//! The operator as a process outside of the cluster, with the rights of its chart and a proxy before
//! the API server: killed after any write, before it hears of it; without its watches; in a silence.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::instance::Instance;
use crate::kube::{Namespace, proxy_address, wait, word};
use crate::proxy::{Answer, Proxy};
use crate::release::{Release, SOON, beside_others};

/// How to start it.
#[derive(Clone, Debug)]
struct Start {
    variables: Vec<(String, String)>,
    /// Named by the address of its proxy, where its log goes too.
    folder: PathBuf,
}

impl Start {
    /// As the Deployment of the release starts it, which has no pod from now on.
    fn as_released(namespace: &Namespace, release: &Release<'_>) -> Self {
        let account = release.account();
        let deployment = namespace.list("deployments").remove(0);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut variables: Vec<(String, String)> = container["env"]
            .as_array()
            .expect("variables")
            .iter()
            .map(|one| {
                (
                    word(&one["name"]).to_owned(),
                    word(&one["value"]).to_owned(),
                )
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let name = word(&deployment["metadata"]["name"]);
        namespace.kubectl(&["scale", "deployment", name, "--replicas=0"]);
        wait("the operator's pod is gone", SOON, || {
            release.pods().is_empty().then_some(())
        });
        let token = namespace.kubectl(&["create", "token", &account, "--duration=4h"]);
        for (name, value) in [
            ("TOKEN", token.trim()),
            ("POD_NAMESPACE", &namespace.name),
            ("POD_NAME", "outside"),
            // One that is killed does not give it back, and the next would wait for its end.
            ("LEADER_ELECT", "false"),
            ("METRICS_LISTEN", "127.0.0.1:0"),
            ("LOG_FORMAT", "text"),
        ] {
            variables.retain(|(known, _)| known != name);
            variables.push((name.to_owned(), value.to_owned()));
        }
        let folder = std::env::temp_dir().join(&namespace.name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self { variables, folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("operator.log")
    }

    fn spawn(&self) -> Child {
        let images = std::env::var("GODB_IMAGES").expect("the folder of the images");
        let log = File::options().create(true).append(true).open(self.log());
        Command::new(PathBuf::from(images).join("../static/godb-operator"))
            .envs(self.variables.iter().cloned())
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .stdout(log.expect("a log"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("make image made the operator")
    }

    fn kubeconfig(&self, server: &str) {
        let token = &self.variables.iter().find(|(name, _)| name == "TOKEN");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {"token": token.expect("a token").1}}],
        });
        let file = self.folder.join("kubeconfig");
        std::fs::write(file, config.to_string()).expect("written");
    }
}

/// The operator and its proxy. It ends with this.
struct Outside {
    start: Start,
    proxy: Proxy,
    running: Arc<Mutex<Option<Child>>>,
}

impl Outside {
    /// Killed after each write that `deadly` names by its number, from 1, and started again at once.
    fn run(start: &Start, deadly: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        // The first needs its kubeconfig, and that the proxy's port.
        let running: Arc<Mutex<Option<Child>>> = Arc::default();
        let (again, victim) = (start.clone(), Arc::clone(&running));
        let proxy = Proxy::start(
            proxy_address(),
            Box::new(move |number, _| {
                if !deadly(number) {
                    return Answer::Pass;
                }
                let mut victim = victim.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(child) = victim.as_mut() {
                    end(child);
                    *victim = Some(again.spawn());
                }
                Answer::Lose
            }),
        );
        start.kubeconfig(&format!("http://{}", proxy.address()));
        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(start.spawn());
        Self {
            start: start.clone(),
            proxy,
            running,
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(mut child) = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            end(&mut child);
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.start.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("-- the operator's log, its last lines:");
            for line in &lines[lines.len().saturating_sub(60)..] {
                println!("{line}");
            }
            let writes = self.proxy.writes();
            println!("-- {} writes, the last of them:", writes.len());
            for write in &writes[writes.len().saturating_sub(40)..] {
                println!("{write}");
            }
        }
    }
}

/// How often a pod was made for the instance.
fn pods_made(people: &Instance<'_>) -> u64 {
    let mut events = people.namespace.list("events");
    events.retain(|event| {
        event["involvedObject"]["kind"] == "StatefulSet"
            && event["involvedObject"]["name"] == people.name.as_str()
            && event["reason"] == "SuccessfulCreate"
            && word(&event["message"]).contains("Create Pod ")
    });
    events
        .iter()
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum()
}

/// Made, Ready, tuned, grown, deleted: with one pod from beginning to end.
fn live(namespace: &Namespace, name: &str) {
    let people = Instance::create(namespace, name, &json!({}));
    let before = people.life();
    people.patch(&json!({"engine": {"checkpointInterval": "7s"}}));
    people.wait_condition("ConfigApplied", "True");
    let config = people.admin("GET", "/admin/config", "");
    assert_eq!(config["live"]["checkpoint_interval"], "7s", "{config}");
    people.patch(&json!({"storage": {"size": "80Mi"}}));
    wait("claim and template have the new size", SOON, || {
        let claim = people.claim()?;
        let set = namespace.find("statefulsets", name)?;
        let template =
            &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        (claim["status"]["capacity"]["storage"] == "80Mi" && template == "80Mi").then_some(())
    });
    people.wait_condition("StorageResizing", "False");
    people.wait_ready();
    assert_eq!(people.life(), before, "nothing restarted");
    assert_eq!(pods_made(&people), 1, "one pod from beginning to end");
    people.delete();
    for kind in ["statefulsets", "services", "configmaps"] {
        wait(&format!("no {kind} are left"), SOON, || {
            let left = namespace.list(kind);
            let mut ours = left
                .iter()
                .filter(|one| one["metadata"]["labels"]["app.kubernetes.io/instance"] == name);
            ours.next().is_none().then_some(())
        });
    }
    assert!(people.claim().is_some(), "the volume is kept");
}

/// A life in which the operator dies after the writes that `deadly` names: how many it made.
fn life_with(
    namespace: &Namespace,
    start: &Start,
    name: &str,
    deadly: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> usize {
    let operator = Outside::run(start, deadly);
    let began = Instant::now();
    live(namespace, name);
    let writes = operator.proxy.writes();
    println!(
        "{name}: {} writes and {} reads in {:.1?}",
        writes.len(),
        operator.proxy.reads(),
        began.elapsed()
    );
    writes.len()
}

/// With `KILL_EACH`, also one life for each write, in which the operator dies after that one only.
#[test]
fn killed_after_any_write_before_it_hears_of_it_the_operator_gets_there() {
    let _turn = beside_others();
    let namespace = Namespace::new("each-write");
    let release = Release::install(&namespace);
    let start = Start::as_released(&namespace, &release);
    let undisturbed = life_with(&namespace, &start, "undisturbed", |_| false);
    // What a life in one process reaches by one write, this one reaches by one process for each.
    let killed = life_with(&namespace, &start, "killed", |_| true);
    println!("{undisturbed} writes undisturbed; {killed} when killed after each");
    assert!(
        killed <= undisturbed * 2,
        "{killed} writes where {undisturbed} do"
    );
    if std::env::var_os("KILL_EACH").is_some() {
        for number in 1.. {
            let writes = life_with(&namespace, &start, &format!("k{number}"), move |write| {
                write == number
            });
            assert!(writes <= undisturbed * 2, "{writes} writes");
            if writes < number {
                println!("lives with a kill after write 1 to {}", number - 1);
                break;
            }
        }
    }
}

#[test]
fn without_its_watches_and_after_a_silence_the_operator_sees_what_changed() {
    let _turn = beside_others();
    let namespace = Namespace::new("silence");
    let release = Release::install(&namespace);
    let start = Start::as_released(&namespace, &release);
    let operator = Outside::run(&start, |_| false);
    let people = Instance::create(&namespace, "people", &json!({}));
    let before = people.life();

    let dropped = operator.proxy.drop_watches();
    assert!(dropped > 0, "there were watches");
    people.patch(&json!({"engine": {"checkpointInterval": "7s"}}));
    let (_, took) = people.wait_condition("ConfigApplied", "True");
    println!("{dropped} watches dropped: the next change was applied after {took:.1?}");

    operator.proxy.fall_silent();
    people.patch(&json!({"engine": {"checkpointInterval": "8s"}}));
    let writes = operator.proxy.writes().len();
    let books = Instance::apply(&namespace, "books", &json!({}));
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(operator.proxy.writes().len(), writes, "it was silent");
    operator.proxy.speak();
    let (_, took) = people.wait_condition("ConfigApplied", "True");
    println!("silence of 5 s: the change was applied {took:.1?} after it");
    println!(
        "an instance from within it: Ready {:.1?} later",
        books.wait_ready()
    );
    assert_eq!(people.life(), before, "nothing restarted");
}
