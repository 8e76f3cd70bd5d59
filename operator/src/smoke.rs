//! `helm test`: makes a small instance, writes a document, reads it, deletes the instance. Its
//! volume stays, as the smoke test may not delete claims; deletionPolicy Delete takes it along.
#![expect(
    clippy::print_stdout,
    reason = "its output is what `helm test --logs` shows"
)]

use std::time::{Duration, Instant};

use godb_crds::{DeletionPolicy, GoDbInstance, conditions};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::net::TcpStream;

use crate::names::Names;
use crate::options::Options;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const NAME: &str = "godb-smoke";
const DEADLINE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(1);

/// Runs it. The instance is deleted whatever happens.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let namespace = options.namespace().unwrap_or(&options.pod_namespace);
    let api = Api::<GoDbInstance>::namespaced(crate::api_client::connect().await?, namespace);
    delete(&api).await?;
    let began = Instant::now();
    api.create(&PostParams::default(), &instance()).await?;
    println!("made the instance {namespace}/{NAME}");
    let tried = exercise(&api, namespace, began).await;
    let deleted = delete(&api).await;
    tried?;
    deleted?;
    println!("deleted it; smoke test passed in {:.1?}", began.elapsed());
    Ok(())
}

fn instance() -> GoDbInstance {
    let mut instance = godb_crds::examples::small(NAME, "64Mi");
    instance.spec.deletion_policy = DeletionPolicy::Delete;
    let amount = |values: [(&str, &str); 2]| {
        Some(
            values
                .map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())))
                .into(),
        )
    };
    instance.spec.resources = Some(ResourceRequirements {
        requests: amount([("cpu", "20m"), ("memory", "64Mi")]),
        limits: amount([("cpu", "1"), ("memory", "128Mi")]),
        claims: None,
    });
    instance
}

async fn exercise(api: &Api<GoDbInstance>, namespace: &str, began: Instant) -> Result<(), Failure> {
    loop {
        let found = api.get(NAME).await?;
        let ready = found.status.iter().flat_map(|status| &status.conditions);
        let ready: Vec<_> = ready.filter(|c| c.type_ == conditions::READY).collect();
        if ready.iter().any(|condition| condition.status == "True") {
            break;
        }
        if began.elapsed() > DEADLINE {
            let why = ready
                .first()
                .map_or("no operator looks after it", |c| &*c.message);
            return Err(format!("not Ready after {DEADLINE:?}: {why}").into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    println!("Ready after {:.1?}", began.elapsed());
    let names = Names {
        namespace: namespace.to_owned(),
        instance: NAME.to_owned(),
    };
    let sent = "{\"_id\":\"smoke\",\"n\":1.10}";
    let host = names.url().replace("http://", "");
    let (status, _) = eventually(&host, Method::POST, "/collections/smoke", sent).await?;
    if status != StatusCode::CREATED && status != StatusCode::CONFLICT {
        return Err(format!("the write was answered {status}").into());
    }
    let path = "/collections/smoke/documents/smoke";
    let (status, read) = eventually(&host, Method::GET, path, "").await?;
    if status != StatusCode::OK || read.trim() != sent {
        return Err(format!("read {status} {read}, wrote {sent}").into());
    }
    println!("wrote a document and read it back");
    Ok(())
}

/// The Service may take a moment to learn of the pod.
async fn eventually(
    host: &str,
    method: Method,
    path: &str,
    body: &'static str,
) -> Result<(StatusCode, String), Failure> {
    let began = Instant::now();
    loop {
        match request(host, method.clone(), path, body).await {
            Err(error) if began.elapsed() < Duration::from_secs(30) => {
                println!("{host} does not answer yet: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn request(
    host: &str,
    method: Method,
    path: &str,
    body: &'static str,
) -> Result<(StatusCode, String), Failure> {
    let stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(host)).await??;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

async fn delete(api: &Api<GoDbInstance>) -> Result<(), Failure> {
    match api.delete(NAME, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(error) if crate::error::status_is(&error, 404) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let began = Instant::now();
    while api.get_opt(NAME).await?.is_some() {
        if began.elapsed() > DEADLINE {
            return Err("the instance is not gone".into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
