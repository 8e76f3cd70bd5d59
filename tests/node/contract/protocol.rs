//! HTTP itself: kept connections, pipelines, nonsense, clients that are slow or vanish.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use godb_tests::client::{JSON, read_response};

use crate::shared::Fixture;

#[test]
fn a_connection_is_kept_also_after_errors() {
    let mut f = Fixture::new();
    f.client.get("/health").expect(200);
    let port = f.client.socket().unwrap().get_ref().local_addr().unwrap();
    let path = f.path("");
    for body in ["{}", "nonsense", "[]", "{}"] {
        f.client.post(&path, body);
    }
    f.client.get("/nothing").expect(404);
    f.client
        .request("POST", &path, &[("Content-Type", "text/plain")], b"x")
        .expect(415);
    f.client.get("/health").expect(200);
    assert_eq!(
        f.client.socket().unwrap().get_ref().local_addr().unwrap(),
        port
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let f = Fixture::new();
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    let mut requests = Vec::new();
    for n in 0..20 {
        let body = format!("{{\"_id\":\"p{n}\"}}");
        requests.extend_from_slice(
            format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                f.path(""),
                body.len()
            )
            .as_bytes(),
        );
    }
    stream.write_all(&requests).unwrap();
    let mut reader = BufReader::new(stream);
    for n in 0..20 {
        let answer = read_response(&mut reader, false).unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json()["_id"], format!("p{n}"));
    }
}

#[test]
fn connection_close_is_honoured() {
    let mut f = Fixture::new();
    let answer = f
        .client
        .request("GET", "/health", &[("Connection", "close")], b"");
    assert_eq!(answer.status, 200);
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn http_1_0_is_answered() {
    let f = Fixture::new();
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.contains(" 200 ") && all.contains("healthy"), "{all}");
}

#[test]
fn expect_100_continue_works() {
    let mut f = Fixture::new();
    let path = f.path("");
    let headers = [JSON, ("Expect", "100-continue")];
    f.client
        .request("POST", &path, &headers, b"{\"_id\":\"x\"}")
        .expect(201);
}

#[test]
fn a_target_in_absolute_form_is_understood() {
    let f = Fixture::new();
    let head = format!(
        "GET http://{}/health HTTP/1.1\r\nHost: x\r\n\r\n",
        f.node().address
    );
    assert_eq!(f.node().client().raw(head.as_bytes()).unwrap().status, 200);
}

#[test]
fn nonsense_is_refused_and_hurts_nobody() {
    let mut f = Fixture::new();
    for bytes in [
        &b"\r\n\r\n\r\n\r\n"[..],
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health\x00 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /collections/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    ] {
        let mut stream = TcpStream::connect(f.node().address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains(" 200 ") && !text.contains(" 201 "), "{bytes:?}: {text}");
    }
    f.client.get("/health").expect(200);
}

#[test]
fn enormous_headers_are_refused() {
    let mut f = Fixture::new();
    let long = "x".repeat(2 * 1024 * 1024);
    for head in [
        format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5000)),
    ] {
        let answer = f.node().client().raw(head.as_bytes());
        if let Ok(answer) = answer {
            assert!(
                matches!(answer.status, 400 | 404 | 414 | 431),
                "{}",
                answer.status
            );
        }
    }
    f.client.get("/health").expect(200);
}

#[test]
fn clients_that_send_nothing_or_half_hold_up_nobody() {
    let mut f = Fixture::new();
    let idle: Vec<TcpStream> = (0..100)
        .map(|n| {
            let mut stream = TcpStream::connect(f.node().address).unwrap();
            let part: &[u8] = match n % 3 {
                0 => b"",
                1 => b"POST /collections/c HTTP/1.1\r\nHost: x\r\n",
                _ => b"POST /collections/c HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
            };
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    for n in 0..50 {
        f.add(&format!("{{\"n\":{n}}}"));
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    drop(idle);
}

#[test]
fn many_connections_at_once_are_all_answered() {
    let f = Fixture::new();
    let path = f.path("");
    std::thread::scope(|scope| {
        for writer in 0..64 {
            let (mut client, path) = (f.node().client(), &path);
            scope.spawn(move || {
                for n in 0..5 {
                    client
                        .post(path, &format!("{{\"_id\":\"{writer}-{n}\"}}"))
                        .expect(201);
                }
            });
        }
    });
    let mut f = f;
    assert_eq!(f.count(), 320);
}
