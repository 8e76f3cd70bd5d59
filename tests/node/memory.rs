//! Data several times larger than the memory it may use.

use godb_tests::NodeOptions;
use godb_tests::random::Random;
use serde_json::{Value, json};
use tempfile::TempDir;

const BUDGET_MIB: u64 = 16;
const DOCUMENTS: u64 = 72_000;

fn document(n: u64) -> Value {
    let mut random = Random::new(n);
    let noise: Vec<u64> = (0..48).map(|_| random.next_u64()).collect();
    json!({"_id": format!("d{n:06}"), "n": n, "g": n % 500, "noise": noise})
}

#[test]
fn data_four_times_larger_than_max_memory_is_served_correctly() {
    let dir = TempDir::new().unwrap();
    let options = NodeOptions::new(dir.path().join("data"))
        .arg("--max-memory")
        .arg(format!("{BUDGET_MIB}MiB"));
    let mut node = options.start();
    let mut client = node.client();
    client.post("/collections/c/indexes/g", "").expect(201);
    let mut sent_bytes = 0;
    let mut highest = 0;
    for first in (0..DOCUMENTS).step_by(1000) {
        let documents: Vec<Value> = (first..first + 1000).map(document).collect();
        let body = json!({ "documents": documents }).to_string();
        sent_bytes += body.len();
        client.post("/collections/c/batch", &body).expect(201);
        highest = highest.max(node.resident_bytes());
    }
    assert!(
        sent_bytes as u64 >= 4 * (BUDGET_MIB << 20),
        "{sent_bytes} bytes of data"
    );
    for restart in [false, true] {
        if restart {
            node.kill9_and_restart();
            client = node.client();
        }
        let mut random = Random::new(1);
        for _ in 0..2000 {
            let n = random.below(DOCUMENTS);
            let answer = client
                .get(&format!("/collections/c/documents/d{n:06}"))
                .expect(200);
            assert_eq!(answer.json(), document(n));
        }
        for g in [0, 250, 499] {
            let page = client
                .get(&format!("/collections/c/find?g={g}&limit=1000"))
                .expect(200)
                .json();
            assert_eq!(page["total"], DOCUMENTS / 500);
            assert!(
                page["documents"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|document| document["g"] == g)
            );
        }
        let all = client
            .get("/collections/c/find_with_stream")
            .expect(200)
            .json();
        let all = all.as_array().unwrap();
        assert_eq!(all.len() as u64, DOCUMENTS);
        for (n, found) in (0..).zip(all) {
            assert_eq!(*found, document(n));
        }
        highest = highest.max(node.resident_bytes());
    }
    println!(
        "{} MB of documents, max_memory {BUDGET_MIB} MiB, resident at most {} MB, now {} MB",
        sent_bytes / 1_000_000,
        highest / 1_000_000,
        node.resident_bytes() / 1_000_000
    );
    assert!(
        highest < (BUDGET_MIB << 20) * 12 / 10 + (128 << 20),
        "resident {highest}"
    );
}
