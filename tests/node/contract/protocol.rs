//! HTTP itself: kept connections, pipelines, nonsense, clients that are slow or vanish.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use godb_tests::client::{JSON, read_response};

use crate::shared::Fixture;

/// Shorter than any time limit that could be behind an answer.
const SOON: Duration = Duration::from_secs(8);

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

/// Sends these bytes and nothing more; the answer must have the form of every error and be the
/// last of its connection, read to its end without a reset.
#[track_caller]
fn refused(f: &Fixture, bytes: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(bytes.get(..100).unwrap_or(bytes)).into_owned();
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reader = BufReader::new(stream);
    let answer = read_response(&mut reader, false)
        .unwrap_or_else(|error| panic!("{shown}: no answer: {error}"));
    assert_eq!(answer.status, status, "{shown}: {}", answer.text());
    assert_eq!(answer.header("connection"), Some("close"), "{shown}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["code"], status, "{shown}");
    assert!(body["error"].is_string() && body["message"].is_string());
    assert_eq!(body.as_object().unwrap().len(), 3, "{shown}: {body}");
    let rest = reader.read_to_end(&mut Vec::new());
    assert_eq!(rest.unwrap_or_else(|error| panic!("{shown}: {error}")), 0);
}

#[test]
fn what_is_no_http_is_refused_in_the_form_of_every_error() {
    let mut f = Fixture::new();
    let post = "POST /collections/c HTTP/1.1\r\nHost: x\r\n";
    for (bytes, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET /health\0 HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(), 400),
        (format!("{post}Content-Length: x\r\n\r\n"), 400),
        (format!("{post}Content-Length: -1\r\n\r\n"), 400),
        (
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{{}}   "),
            400,
        ),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n"), 400),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            400,
        ),
        (format!("{post}no colon\r\n\r\n"), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(65_535)), 414),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 << 20)),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5000)),
            431,
        ),
    ] {
        refused(&f, bytes.as_bytes(), status);
        f.client.get("/health").expect(200);
    }
}

#[test]
fn a_refusal_stands_behind_the_answers_before_it() {
    let f = Fixture::new();
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(read_response(&mut reader, false).unwrap().status, 200);
    let refusal = read_response(&mut reader, false).unwrap();
    assert_eq!(
        (refusal.status, &refusal.json()["code"]),
        (400, &400.into())
    );
}

#[test]
fn two_lengths_for_one_body_end_the_connection_with_its_answer() {
    // Chunks win, as RFC 9112 has it, and nothing behind them is taken for a request.
    let mut f = Fixture::new();
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n", f.path(""));
    let body = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let mut stream = TcpStream::connect(f.node().address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(format!("{head}{body}{head}Content-Length: 2\r\n\r\n{{}}").as_bytes())
        .unwrap();
    let mut reader = BufReader::new(stream);
    let answer = read_response(&mut reader, false).unwrap();
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(f.count(), 1);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_at_once() {
    let f = Fixture::new();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        f.path(""),
        64 << 20
    );
    // One that sends no more than its head, and one that sends it all before it listens.
    refused(&f, head.as_bytes(), 413);
    refused(&f, &[head.into_bytes(), vec![b' '; 40 << 20]].concat(), 413);
}

#[test]
fn a_body_that_grows_too_large_is_refused_and_the_answer_can_be_read() {
    let f = Fixture::new();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        f.path("")
    );
    let chunk = [
        b"100000\r\n".to_vec(),
        vec![b' '; 1 << 20],
        b"\r\n".to_vec(),
    ]
    .concat();
    refused(&f, &[head.into_bytes(), chunk.repeat(40)].concat(), 413);
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
