//! A closed-loop load generator: one thread, one epoll, so many kept connections with one request
//! each in flight. It reads only what it needs of an answer, because it shares the processors with
//! what it measures.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::workload::{self, Operation};

/// What to send, where to, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Headers of each request beside the usual ones, each with its line end.
    pub headers: &'static str,
    /// Kind of request.
    pub operation: Operation,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measure: Duration,
    /// Documents that reads and updates choose from.
    pub documents: u64,
    /// Number of the first request; inserts make a document of each number.
    pub first: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Answered requests a second.
    pub per_second: f64,
    /// Time to answer of every counted request in microseconds, sorted.
    pub latencies_us: Vec<u32>,
    /// Requests sent in all, also before counting began.
    pub sent: u64,
}

impl Outcome {
    /// The latency that this share of the requests did not exceed, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies_us
            .get(at)
            .map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

struct Connection {
    stream: TcpStream,
    sent_at: Instant,
    received: Vec<u8>,
}

/// Runs it.
///
/// # Errors
/// When a connection fails, or an answer is not the expected success.
pub fn run(load: &Load) -> io::Result<Outcome> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(load.connections);
    for number in 0..load.connections {
        let stream = TcpStream::connect(load.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &poll,
            &stream,
            epoll::EventData::new_u64(number as u64),
            epoll::EventFlags::IN,
        )?;
        connections.push(Connection {
            stream,
            sent_at: Instant::now(),
            received: Vec::with_capacity(4096),
        });
    }
    let mut next = load.first;
    let mut request = Vec::with_capacity(1024);
    for connection in &mut connections {
        send(load, connection, &mut next, &mut request)?;
    }
    let started = Instant::now();
    let (begin, end) = (
        started + load.warm_up,
        started + load.warm_up + load.measure,
    );
    let mut latencies_us = Vec::with_capacity(1 << 20);
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        let now = Instant::now();
        for event in &events {
            let number = event.data.u64() as usize;
            let connection = connections.get_mut(number).ok_or(ErrorKind::NotFound)?;
            if !receive(load, connection, &mut buffer)? {
                continue;
            }
            if now >= begin {
                let took = now.duration_since(connection.sent_at).as_micros();
                latencies_us.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            send(load, connection, &mut next, &mut request)?;
        }
        if now >= end {
            break;
        }
    }
    let seconds = Instant::now().duration_since(begin).as_secs_f64();
    latencies_us.sort_unstable();
    Ok(Outcome {
        per_second: latencies_us.len() as f64 / seconds,
        latencies_us,
        sent: next - load.first,
    })
}

fn send(
    load: &Load,
    connection: &mut Connection,
    next: &mut u64,
    request: &mut Vec<u8>,
) -> io::Result<()> {
    workload::request(load.operation, *next, load.documents, load.headers, request);
    *next += 1;
    connection.sent_at = Instant::now();
    // Far smaller than a socket buffer that is empty here: each answer was read before.
    connection.stream.write_all(request)
}

/// Reads what is there; true when the answer is whole.
fn receive(load: &Load, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<bool> {
    let read = match connection.stream.read(buffer) {
        Ok(0) => {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server hung up",
            ));
        }
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    };
    let fresh = buffer.get(..read).unwrap_or_default();
    if connection.received.is_empty() && is_whole(load, fresh)? {
        return Ok(true);
    }
    connection.received.extend_from_slice(fresh);
    let whole = is_whole(load, &connection.received)?;
    if whole {
        connection.received.clear();
    }
    Ok(whole)
}

fn is_whole(load: &Load, answer: &[u8]) -> io::Result<bool> {
    let Some(head_end) = find(answer, b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = answer.get(..head_end).unwrap_or_default();
    let status = head
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    let length = content_length(head);
    let (Some(status), Some(length)) = (status, length) else {
        return Err(unexpected(answer));
    };
    if status != load.operation.status() {
        return Err(unexpected(answer));
    }
    Ok(answer.len() >= head_end + 4 + length)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\ncontent-length: ";
    let start = find(head, NAME)? + NAME.len();
    let digits = head.get(start..)?;
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn unexpected(answer: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(answer.get(..answer.len().min(500)).unwrap_or_default());
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            headers: "",
            operation: Operation::Get,
            connections: 1,
            warm_up: Duration::ZERO,
            measure: Duration::ZERO,
            documents: 1,
            first: 0,
        }
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\ndate: d\r\n\r\n{}";
        for end in 0..answer.len() {
            assert!(!is_whole(&load(), &answer[..end]).unwrap(), "{end}");
        }
        assert!(is_whole(&load(), answer).unwrap());
    }

    #[test]
    fn an_answer_that_is_no_success_ends_the_run() {
        for answer in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(is_whole(&load(), answer).is_err());
        }
    }
}
