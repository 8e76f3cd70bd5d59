use super::*;
use crate::http::error::{ApiError, Kind};
use crate::metrics::Metrics;
use hyper::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers `/big` with more than a socket holds, `/slow` after a moment, anything else at once.
#[derive(Clone)]
struct Echo;

impl Service for Echo {
    async fn call(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        Ok(match request.uri().path() {
            "/big" => Response::new(Body::full(vec![b'x'; 64 << 20])),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Response::new(Body::full("slow"))
            }
            _ => ApiError::new(Kind::RouteNotFound, "no").render(&HeaderMap::new()),
        })
    }
}

struct Running {
    address: SocketAddr,
    connections: Arc<Connections>,
    stop: watch::Sender<bool>,
}

const PATIENT: TimeLimits = TimeLimits {
    idle: Duration::from_secs(75),
    header: Duration::from_secs(75),
    send: Duration::from_secs(5),
};

async fn start(limits: TimeLimits, max_connections: usize) -> Running {
    let metrics = Metrics::new().unwrap();
    let connections = Connections::new(limits, metrics.connections("documents"));
    let listener = listen(reserve(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(accept(
        listener,
        Echo,
        connections.clone(),
        max_connections,
        stopped,
    ));
    let sweeping = connections.clone();
    tokio::spawn(async move { sweeping.sweep().await });
    Running {
        address,
        connections,
        stop,
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped() {
    let running = start(
        TimeLimits {
            send: Duration::from_secs(1),
            ..PATIENT
        },
        4,
    )
    .await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    ask(&mut client, "/big").await;
    while running.connections.open() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dropped = tokio::time::timeout(Duration::from_secs(10), running.connections.drained());
    assert!(dropped.await.is_ok());
}

#[tokio::test]
async fn idle_connections_close_and_busy_ones_finish() {
    let running = start(PATIENT, 4).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    ask(&mut busy, "/slow").await;
    while running.connections.open() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.stop.send_replace(true);
    running.connections.close_idle();
    let mut text = String::new();
    idle.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "");
    busy.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("connection: close"), "{text}");
    assert!(text.ends_with("slow"), "{text}");
    running.connections.drained().await;
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn after_a_drain_no_connection_is_left_that_could_acknowledge() {
    let running = start(PATIENT, 4).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    ask(&mut busy, "/slow").await;
    while running.connections.open() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut signals = crate::serve::Signals::new().unwrap();
    crate::shutdown::drain(Duration::ZERO, &running.connections, false, &mut signals).await;
    assert_eq!(running.connections.open(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let running = start(PATIENT, 1).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    ask(&mut first, "/slow").await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    ask(&mut second, "/").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.connections.open(), 1);
    drop(first);
    let mut byte = [0];
    second.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, *b"H");
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused() {
    let running = start(PATIENT, 1).await;
    let error = reserve(running.address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

const HASTY: TimeLimits = TimeLimits {
    idle: Duration::from_secs(3),
    header: Duration::from_secs(1),
    send: Duration::from_secs(5),
};

#[tokio::test]
async fn a_head_that_takes_too_long_is_refused_in_the_form_of_every_error() {
    let running = start(HASTY, 4).await;
    // Alone; behind an answered request; and in one piece with the request before it.
    for (asked, begun) in [("", ""), ("/", ""), ("/", "GET /n"), ("/slow", "GET /n")] {
        let mut client = TcpStream::connect(running.address).await.unwrap();
        let mut text = String::new();
        if !asked.is_empty() {
            let request = format!("GET {asked} HTTP/1.1\r\nhost: x\r\n\r\n{begun}");
            client.write_all(request.as_bytes()).await.unwrap();
        }
        if begun.is_empty() {
            for byte in b"GET / HTTP/1.1\r\nho" {
                client.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        client.read_to_string(&mut text).await.unwrap();
        let (_, last) = text.split_once("HTTP/1.1 408 ").expect(&text);
        let (head, body) = last.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("connection: close"), "{text}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], 408);
        assert!(body["message"].as_str().unwrap().contains("head"));
    }
    running.connections.drained().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_without_an_answer() {
    let running = start(HASTY, 4).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    let mut text = String::new();
    let closing = client.read_to_string(&mut text);
    let closed = tokio::time::timeout(Duration::from_secs(10), closing).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}
