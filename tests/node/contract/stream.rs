//! `find_with_stream`: everything that matches, as one JSON array in chunks.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::shared::Fixture;

fn fill(f: &mut Fixture, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(1000) {
        let documents: Vec<Value> = chunk
            .iter()
            .map(|n| json!({"_id": format!("{n:06}"), "n": n, "odd": n % 2, "t": "x".repeat(100)}))
            .collect();
        f.batch(&Value::from(documents).to_string()).expect(201);
    }
}

#[test]
fn it_is_a_json_array_in_chunks_with_one_document_a_line() {
    let mut f = Fixture::new();
    fill(&mut f, 120);
    let path = f.path("/find_with_stream");
    let answer = f.client.get(&path).expect(200);
    assert!(answer.chunked);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let text = answer.text();
    let documents: Vec<Value> = text
        .lines()
        .map(|line| {
            line.trim_start_matches('[')
                .trim_end_matches(']')
                .trim_end_matches(',')
        })
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect("one document a line"))
        .collect();
    assert_eq!(documents.len(), 120);
    assert_eq!(answer.json().as_array().unwrap(), &documents);
    assert!(f.client.is_connected());
    f.client.get("/health").expect(200);
}

#[test]
fn nothing_is_an_empty_array() {
    let mut f = Fixture::new();
    let path = f.path("/find_with_stream");
    assert_eq!(f.client.get(&path).expect(200).json(), json!([]));
    f.add("{}");
    assert_eq!(
        f.client.get(&format!("{path}?no=1")).expect(200).json(),
        json!([])
    );
}

#[test]
fn paging_parameters_are_ignored() {
    let mut f = Fixture::new();
    fill(&mut f, 60);
    for query in [
        "limit=1",
        "limit=nonsense",
        "offset=50",
        "offset=-1",
        "after=x",
        "before=x",
        "limit=1&odd=1",
    ] {
        let path = f.path(&format!("/find_with_stream?{query}"));
        let count = f
            .client
            .get(&path)
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len();
        assert_eq!(
            count,
            if query.contains("odd") { 30 } else { 60 },
            "{query}"
        );
    }
}

#[test]
fn a_large_collection_streams_whole() {
    let mut f = Fixture::new();
    fill(&mut f, 20_000);
    let path = f.path("/find_with_stream");
    let documents = f.client.get(&path).expect(200).json();
    let documents = documents.as_array().unwrap();
    assert_eq!(documents.len(), 20_000);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!(document["n"], n);
    }
}

#[test]
fn documents_come_back_byte_for_byte() {
    let mut f = Fixture::new();
    let stored = r#"{"z":1.10,"_id":"x","a":[9007199254740993,{"b":null}]}"#;
    f.add(stored);
    let path = f.path("/find_with_stream");
    assert!(f.client.get(&path).text().contains(stored));
}

#[test]
fn a_stream_sees_one_moment() {
    let mut f = Fixture::new();
    fill(&mut f, 5000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut writer, target) = (f.node().client(), f.path("/batch"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                let update = |id: &str| json!({"id": id, "updates": {"round": round}});
                let operations = json!({"operations": [update("000000"), update("004999")]});
                writer.patch(&target, &operations.to_string()).expect(200);
            }
        });
        for _ in 0..10 {
            let path = f.path("/find_with_stream");
            let documents = f.client.get(&path).expect(200).json();
            assert_eq!(documents[0]["round"], documents[4999]["round"]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_reader_that_goes_slowly_holds_up_nobody_and_misses_nothing() {
    let mut f = Fixture::new();
    fill(&mut f, 20_000);
    let mut slow = f.node().client();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f.path("/find_with_stream")
    );
    let socket: &mut BufReader<_> = slow.socket().unwrap();
    socket.get_mut().write_all(request.as_bytes()).unwrap();
    let mut start = [0_u8; 1000];
    socket.read_exact(&mut start).unwrap();
    for n in 0..50 {
        f.add(&format!("{{\"_id\":\"late{n}\"}}"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains("\"019999\""), "the last document is there");
    assert!(!text.contains("late"), "written after the stream began");
    assert!(text.ends_with("0\r\n\r\n"), "ended as a whole");
}

#[test]
fn a_reader_that_hangs_up_is_forgotten() {
    let mut f = Fixture::new();
    fill(&mut f, 20_000);
    for _ in 0..20 {
        let mut client = f.node().client();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\n\r\n",
            f.path("/find_with_stream")
        );
        let socket = client.socket().unwrap();
        socket.get_mut().write_all(request.as_bytes()).unwrap();
        let mut start = [0_u8; 100];
        socket.read_exact(&mut start).unwrap();
    }
    f.client.get("/health").expect(200);
    f.add(r#"{"_id":"after"}"#);
}

#[test]
fn a_stream_that_is_read_is_renewed_and_one_that_stands_still_is_cut() {
    let dir = tempfile::TempDir::new().unwrap();
    let node = godb_tests::NodeOptions::new(dir.path().join("data"))
        .arg("--view-timeout")
        .arg("3s")
        .start();
    let mut client = node.client();
    // Far more than the sockets of one connection hold.
    let pad = "x".repeat(1000);
    for batch in 0..30 {
        let document = |n| json!({"_id": format!("{:06}", batch * 1000 + n), "pad": pad});
        let documents: Vec<_> = (0..1000).map(document).collect();
        let body = json!({ "documents": documents }).to_string();
        client.post("/collections/c/batch", &body).expect(201);
    }
    let begin = || {
        let mut client = node.client();
        let socket = client.socket().unwrap();
        socket
            .get_mut()
            .write_all(b"GET /collections/c/find_with_stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        socket.read_exact(&mut [0; 1000]).unwrap();
        client
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut steady = begin();
            let mut all = Vec::new();
            // Twice as long as the lease, and never for long without a read.
            while steady
                .socket()
                .unwrap()
                .take(100_000)
                .read_to_end(&mut all)
                .unwrap()
                > 0
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let text = String::from_utf8_lossy(&all);
            assert!(text.contains("\"029999\"") && text.ends_with("0\r\n\r\n"));
        });
        scope.spawn(|| {
            let mut stalled = begin();
            std::thread::sleep(Duration::from_secs(5));
            let mut rest = Vec::new();
            // A reset is a way to say it too.
            let _ = stalled.socket().unwrap().read_to_end(&mut rest);
            assert!(!rest.ends_with(b"0\r\n\r\n"), "cut, and seen to be cut");
            assert!(
                node.log().contains("a stream was cut before its end"),
                "{}",
                node.log()
            );
        });
    });
}
