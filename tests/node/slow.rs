//! Clients that are slow, silent, greedy or many, beside one that only wants its answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use godb_tests::{Node, NodeOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

/// Longer than any time limit that the nodes here are started with.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a node may hold above what it held before the crowd came.
const CROWD_BYTES: u64 = 256 << 20;

fn start(dir: &TempDir) -> Node {
    NodeOptions::new(dir.path().join("data"))
        .arg("--header-timeout=1s")
        .arg("--receive-timeout=1s")
        .arg("--body-timeout=2s")
        .arg("--send-timeout=2s")
        .start()
}

/// Writes and reads without a pause until it is dropped; every request must be answered.
struct Bystander {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<(u64, Duration)>,
}

impl Bystander {
    fn start(node: &Node) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut client) = (stop.clone(), node.client());
        let worker = std::thread::spawn(move || {
            let (mut answered, mut slowest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let id = format!("{{\"_id\":\"b{answered}\"}}");
                client.post("/collections/bystander", &id).expect(201);
                client
                    .get(&format!("/collections/bystander/documents/b{answered}"))
                    .expect(200);
                slowest = slowest.max(asked.elapsed());
                answered += 1;
            }
            (answered, slowest)
        });
        Self { stop, worker }
    }

    fn end(self, beside: &str, node: &Node, before_bytes: u64) {
        self.stop.store(true, Ordering::Relaxed);
        let (answered, slowest) = self.worker.join().unwrap();
        let now = node.resident_bytes();
        println!(
            "{beside}: {answered} pairs of requests beside it, slowest {slowest:?}, resident {} MB before, {} MB after",
            before_bytes / 1_000_000,
            now / 1_000_000
        );
        assert!(answered > 0, "{beside}: nobody was served");
        assert!(slowest < PATIENCE, "{beside}: {slowest:?}");
        assert!(now < before_bytes + CROWD_BYTES, "{beside}: resident {now}");
    }
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `head`, then a byte every 50 ms, until the node has had enough; what it says then.
fn drip(node: &Node, head: &str) -> String {
    let mut stream = connect(node);
    stream.write_all(head.as_bytes()).unwrap();
    let mut dripping = stream.try_clone().unwrap();
    let dripper = std::thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && dripping.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    drop(stream);
    dripper.join().unwrap();
    text
}

#[test]
fn heads_and_bodies_that_drip_are_refused_with_408() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir);
    let before = node.resident_bytes();
    let bystander = Bystander::start(&node);
    std::thread::scope(|scope| {
        for head in [
            "GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ",
            "POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        ] {
            for _ in 0..50 {
                let node = &node;
                scope.spawn(move || {
                    let text = drip(node, head);
                    assert!(text.starts_with("HTTP/1.1 408 "), "{head}: {text}");
                    assert!(text.contains("\"code\":408"), "{head}: {text}");
                    assert!(text.contains("connection: close"), "{head}: {text}");
                });
            }
        }
    });
    bystander.end("100 slow clients", &node, before);
    assert!(node.metric("godb_http_connections_timed_out_total") >= 50.0);
}

#[test]
fn bodies_that_are_too_large_take_no_memory() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir);
    let before = node.resident_bytes();
    let bystander = Bystander::start(&node);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut stream = connect(&node);
                let head =
                    "POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let piece = vec![b' '; 1 << 20];
                for _ in 0..40 {
                    stream.write_all(&piece).unwrap();
                }
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, *b"HTTP/1.1 413");
            });
        }
    });
    bystander.end("16 bodies of 40 MiB", &node, before);
}

#[test]
fn readers_that_never_read_are_cut_and_the_log_says_so() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir);
    let mut client = node.client();
    let pad = "x".repeat(1 << 20);
    for n in 0..32 {
        let document = format!("{{\"_id\":\"{n}\",\"pad\":\"{pad}\"}}");
        client.post("/collections/c", &document).expect(201);
    }
    let before = node.resident_bytes();
    let bystander = Bystander::start(&node);
    let mut readers: Vec<TcpStream> = (0..32).map(|_| connect(&node)).collect();
    for reader in &mut readers {
        reader
            .write_all(b"GET /collections/c/find_with_stream HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
    }
    let until = Instant::now() + PATIENCE;
    while node.metric("godb_http_connections_timed_out_total") < 32.0 {
        assert!(Instant::now() < until, "{}", node.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(node.log().contains("an answer was cut"), "{}", node.log());
    bystander.end("32 readers that never read", &node, before);
}

#[test]
fn five_thousand_idle_connections_leave_others_their_answers() {
    const CROWD: usize = 5000;
    let limits = getrlimit(Resource::Nofile);
    let maximum = limits.maximum.unwrap_or(u64::MAX);
    // Ours, and with them those that the node inherits.
    assert!(
        maximum >= CROWD as u64 + 1000,
        "the hard limit of file descriptors is {maximum}: this test needs `ulimit -Hn 6000`"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limits.maximum,
            maximum: limits.maximum,
        },
    )
    .unwrap();
    let dir = TempDir::new().unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--max-connections=5100")
        .start();
    let before = node.resident_bytes();
    let bystander = Bystander::start(&node);
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(&node)).collect();
    let until = Instant::now() + PATIENCE;
    while node.metric("godb_http_connections") < CROWD as f64 {
        assert!(Instant::now() < until, "not all were accepted");
        std::thread::sleep(Duration::from_millis(50));
    }
    bystander.end("5000 idle connections", &node, before);
    node.client().get("/health").expect(200);
    drop(crowd);
}
