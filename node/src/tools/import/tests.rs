use super::*;
use crate::bridge::Bridge;
use crate::config::Config;
use crate::files;
use crate::http::router;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metrics::Metrics;
use crate::server::{self, Connections};
use crate::tools::{Directories, NodeAddress};
use godb_engine::{Io, StorageEngine};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::watch;

const DOCUMENTS: u64 = 2500;

struct Scene {
    _root: tempfile::TempDir,
    options: ImportOptions,
}

/// A file of [`DOCUMENTS`] documents without ids, to go into a data directory.
fn scene() -> Scene {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("documents.ndjson");
    let text: String = (0..DOCUMENTS)
        .map(|n| format!("{{\"n\": {}}}\n", n / 2))
        .collect();
    files::create(&file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    Scene {
        options: ImportOptions {
            file,
            collection: "c".to_owned(),
            target: Target::Directories(Directories {
                data_dir: root.path().join("data"),
                ..Directories::default()
            }),
            format: None,
            id_prefix: None,
        },
        _root: root,
    }
}

fn data_dir(options: &ImportOptions) -> PathBuf {
    match &options.target {
        Target::Directories(database) => database.data_dir.clone(),
        Target::Node(address) => panic!("{address:?}"),
    }
}

/// The batches that the import makes of the file.
fn batches(options: &ImportOptions) -> Vec<Vec<Prepared>> {
    let plan = check::check(options).unwrap();
    let mut batcher = Batcher::default();
    let mut batches = Vec::new();
    for raw in Documents::new(open(&options.file).unwrap(), None).unwrap() {
        batches.extend(batcher.add(Prepared::new(raw.unwrap(), &plan.prefix).unwrap()));
    }
    batches.extend(batcher.rest());
    batches
}

fn tally(options: &ImportOptions) -> (u64, u64) {
    let (tally, _) = import(options).unwrap();
    (tally.created, tally.existing)
}

fn count(options: &ImportOptions) -> u64 {
    let engine = StorageEngine::builder(data_dir(options)).open().unwrap();
    let count = engine
        .collection("c")
        .unwrap()
        .map_or(0, |info| info.documents);
    engine.close().unwrap();
    count
}

#[test]
fn the_same_command_again_changes_nothing() {
    let scene = scene();
    assert_eq!(tally(&scene.options), (DOCUMENTS, 0));
    assert_eq!(tally(&scene.options), (0, DOCUMENTS));
    assert_eq!(count(&scene.options), DOCUMENTS);
}

#[test]
fn it_goes_on_from_wherever_it_was_cut() {
    let scene = scene();
    let options = &scene.options;
    let batches = batches(options);
    assert_eq!(
        batches.iter().map(Vec::len).collect::<Vec<_>>(),
        [1000, 1000, 500]
    );
    let engine = StorageEngine::builder(data_dir(options)).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The second batch came through, of the third a part, one by one; the first did not.
    let mut sink = Sink::Engine(engine.clone());
    runtime.block_on(async {
        sink.create("c", &batches[1], &Notice::default())
            .await
            .unwrap();
        for document in &batches[2][..10] {
            sink.create("c", std::slice::from_ref(document), &Notice::default())
                .await
                .unwrap();
        }
    });
    engine.close().unwrap();
    drop((sink, engine));
    assert_eq!(tally(options), (1490, 1010));
    assert_eq!(count(options), DOCUMENTS);
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let mut scene = scene();
    let text = "{\"_id\":\"a\",\"v\":1}\n{\"_id\":\"b\",\"v\":1}\n{\"v\":2}\n";
    files::create(&scene.options.file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let engine = StorageEngine::builder(data_dir(&scene.options))
        .open()
        .unwrap();
    let how = godb_engine::Write::default();
    engine
        .insert("c", b"{\"_id\":\"b\",\"mine\":true}", &how)
        .unwrap()
        .wait()
        .unwrap();
    engine.close().unwrap();
    drop(engine);
    scene.options.id_prefix = Some("mine".to_owned());
    let (tally, _) = import(&scene.options).unwrap();
    assert_eq!((tally.created, tally.existing), (2, 1));
    assert_eq!(tally.first_existing.as_deref(), Some("b"));
    let engine = StorageEngine::builder(data_dir(&scene.options))
        .open()
        .unwrap();
    let text = |id: &str| engine.get("c", id, Io::Allow).unwrap().unwrap().json;
    assert_eq!(text("b"), "{\"_id\":\"b\",\"mine\":true}");
    assert_eq!(
        text("mine-0000000002"),
        "{\"_id\":\"mine-0000000002\",\"v\":2}"
    );
}

#[test]
fn a_file_with_a_fault_writes_nothing_and_names_every_fault() {
    let scene = scene();
    let text = "{\"a\":1}\n{\"a\":}\n{\"_id\":5}\n";
    files::create(&scene.options.file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let failure = import(&scene.options).unwrap_err();
    assert_eq!(failure.exit, Exit::Corrupt);
    assert!(failure.message.contains("line 2: "), "{}", failure.message);
    assert!(
        failure.message.contains("line 3: `_id` must be a string"),
        "{}",
        failure.message
    );
    assert!(files::find(&data_dir(&scene.options)).is_err());

    let text = "[{\"a\":1},\n 5, {\"a\":},\n {\"_id\":5}\n";
    files::create(&scene.options.file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let failure = import(&scene.options).unwrap_err();
    for part in [
        "element 2, line 2: ",
        "element 3, line 2: ",
        " at column 10",
        "element 4, line 3: `_id` must be a string",
        "line 4: the array is not closed",
    ] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert!(files::find(&data_dir(&scene.options)).is_err());
}

#[test]
fn standard_input_needs_a_prefix() {
    let mut scene = scene();
    scene.options.file = PathBuf::from("-");
    assert_eq!(import(&scene.options).unwrap_err().exit, Exit::Usage);
}

fn at(url: String) -> Target {
    Target::Node(NodeAddress {
        url,
        token_file: None,
    })
}

/// A node on a free port, for as long as the runtime lives.
fn node(runtime: &tokio::runtime::Runtime, engine: StorageEngine) -> String {
    let lifecycle = Arc::new(Lifecycle::start().unwrap());
    lifecycle.advance(Phase::Ready);
    let metrics = Metrics::new().unwrap();
    let config = Config::default();
    let router = router(
        Bridge::new(engine),
        lifecycle,
        metrics.http.clone(),
        config.body_times(),
    );
    let connections = Connections::new(config.connection_times(), metrics.connections("documents"));
    let _context = runtime.enter();
    let socket = server::reserve(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = server::listen(socket).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(async move {
        server::accept(listener, router, connections, 16, stopped).await;
        drop(stop);
    });
    format!("http://{address}")
}

#[test]
fn over_http_it_is_the_same() {
    let mut scene = scene();
    let batches = batches(&scene.options);
    let engine = StorageEngine::builder(data_dir(&scene.options))
        .open()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    scene.options.target = at(node(&runtime, engine.clone()));
    let mut sink = Sink::Engine(engine.clone());
    runtime.block_on(async {
        sink.create("c", &batches[0], &Notice::default())
            .await
            .unwrap();
        for document in &batches[2][..5] {
            sink.create("c", std::slice::from_ref(document), &Notice::default())
                .await
                .unwrap();
        }
    });
    assert_eq!(tally(&scene.options), (1495, 1005));
    assert_eq!(tally(&scene.options), (0, DOCUMENTS));
    assert_eq!(
        engine.collection("c").unwrap().unwrap().documents,
        DOCUMENTS
    );
    scene.options.target = at("http://127.0.0.1:1".to_owned());
    assert_eq!(import(&scene.options).unwrap_err().exit, Exit::Unavailable);
}
