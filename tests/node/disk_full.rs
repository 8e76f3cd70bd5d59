//! A disk that fills up: writes are refused with 507 and nothing is lost, reads and deletes go on,
//! writes come back with the space.

use std::fs;
use std::time::{Duration, Instant};

use godb_tests::random::Random;
use godb_tests::{Client, NodeOptions};

use crate::mount::Small;

/// Text that compression does not make smaller.
fn noise(n: u64, bytes: usize) -> String {
    let mut random = Random::new(n);
    let digits = |_| char::from(b'0' + u8::try_from(random.below(74)).unwrap());
    (0..bytes).map(digits).filter(|c| *c != '\\').collect()
}

/// Inserts until one is refused; how many were acknowledged.
fn fill(client: &mut Client, first: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut n = first;
    loop {
        let body = format!("{{\"_id\":\"d{n:05}\",\"t\":\"{}\"}}", noise(n, 60_000));
        let answer = client.post("/collections/c", &body);
        match answer.status {
            201 => n += 1,
            // Writers may be held back while compaction works.
            429 => assert!(Instant::now() < deadline, "{}", answer.text()),
            507 => {
                crate::shared::check_error(&answer, 507, "disk");
                return n;
            }
            status => panic!("{status} at {n}: {}", answer.text()),
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let disk = Small::of_mib(96);
    let data = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    for level in ["os", "full"] {
        let options = NodeOptions::new(data.join(""))
            .durability(level)
            .arg("--max-wal-size")
            .arg("16MiB");
        let mut node = options.start();
        let mut client = node.client();
        let before = client.get("/collections/c/find?limit=1").json()["total"]
            .as_u64()
            .unwrap();
        let acknowledged = fill(&mut client, before);
        println!("{level}: refused after {acknowledged} documents");

        // Reads go on, deletes may use the reserve.
        for n in [0, acknowledged / 2, acknowledged - 1] {
            client
                .get(&format!("/collections/c/documents/d{n:05}"))
                .expect(200);
        }
        client.get("/health").expect(200);
        assert_eq!(
            client.get("/collections/c/find?limit=1").json()["total"],
            acknowledged
        );
        client
            .patch("/collections/c/documents/d00000", r#"{"t":"more"}"#)
            .expect(507);
        client.get("/collections/c/documents/d00000").expect(200);
        let ready = node.admin_client().get("/readyz?verbose").expect(200);
        assert_eq!(ready.json()["refusing_writes"], true);
        client
            .delete(&format!(
                "/collections/c/documents/d{:05}",
                acknowledged - 1
            ))
            .expect(204);

        // A crash on the full disk.
        node.kill9_and_restart();
        let mut client = node.client();
        assert_eq!(
            client.get("/collections/c/find?limit=1").json()["total"],
            acknowledged - 1
        );
        let refused = format!("/collections/c/documents/d{:05}", acknowledged - 1);
        client.get(&refused).expect(404);

        // Space comes from the documents that go.
        for n in 1..acknowledged - 1 {
            client
                .delete(&format!("/collections/c/documents/d{n:05}"))
                .expect(204);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = node.admin_client().post("/admin/checkpoint", "");
            // A compaction may hold the last of the space for a moment.
            if answer.status != 507 || Instant::now() > deadline {
                answer.expect(200);
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        while client
            .patch("/collections/c/documents/d00000", r#"{"t":"back"}"#)
            .status
            != 200
        {
            assert!(
                Instant::now() < deadline,
                "writes did not come back\n{}",
                node.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(client.get("/collections/c/find?limit=1").json()["total"], 1);
        client.delete("/collections/c/documents/d00000").expect(204);
        assert!(node.stop().success(), "{}", node.log());
    }

    // Another program takes the space and gives it back.
    let node = NodeOptions::new(&data).durability("full").start();
    let mut client = node.client();
    client
        .post("/collections/b", r#"{"_id":"first"}"#)
        .expect(201);
    let free = node.metric("godb_disk_free_bytes");
    fill_file(&ballast);
    println!(
        "{free} bytes free, now {}",
        node.metric("godb_disk_free_bytes")
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    let large = format!("{{\"t\":\"{}\"}}", noise(0, 100_000));
    while client.post("/collections/b", &large).status != 507 {
        assert!(
            Instant::now() < deadline,
            "writes go on though the disk is full"
        );
    }
    client.get("/collections/b/documents/first").expect(200);
    fs::remove_file(&ballast).unwrap();
    while client.post("/collections/b", &large).status != 201 {
        assert!(
            Instant::now() < deadline,
            "writes did not come back\n{}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn fill_file(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let block = vec![1_u8; 1 << 16];
    while file.write_all(&block).is_ok() {}
}
