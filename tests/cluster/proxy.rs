//! A proxy between one operator and the API server: it counts writes, ends the operator after the one
//! that a test chose, before the answer is heard, drops watches, and falls silent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest head of a request, and largest body: an operator sends neither near to it.
const MAX_REQUEST_BYTES: u64 = 1 << 20;

/// What to do at a write that was carried out and is not answered yet.
pub type AtWrite = Box<dyn Fn(usize, &str) -> Answer + Send + Sync>;

/// Whether the operator hears of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Pass,
    /// Its connection ends.
    Lose,
}

/// See the module. It ends with the test's process.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    silent: AtomicBool,
    /// Connections from before a silence do not outlive it.
    silences: AtomicUsize,
    /// Every write so far, as `PATCH /apis/...`.
    writes: Mutex<Vec<String>>,
    /// Reads, watches among them.
    reads: Mutex<Vec<String>>,
    watches: Mutex<Vec<TcpStream>>,
    at_write: AtWrite,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Before an API server that answers without TLS.
    pub fn start(upstream: SocketAddr, at_write: AtWrite) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream,
            silent: AtomicBool::new(false),
            silences: AtomicUsize::new(0),
            writes: Mutex::default(),
            reads: Mutex::default(),
            watches: Mutex::default(),
            at_write,
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                // A connection that fails is the operator's to try again.
                std::thread::spawn(move || drop(shared.serve(connection)));
            }
        });
        Self { address, shared }
    }

    /// Where the operator finds it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every write so far.
    pub fn writes(&self) -> Vec<String> {
        held(&self.shared.writes).clone()
    }

    /// How many reads there were, watches included.
    pub fn reads(&self) -> usize {
        held(&self.shared.reads).len()
    }

    /// Ends every watch: how many.
    pub fn drop_watches(&self) -> usize {
        let mut watches = held(&self.shared.watches);
        let open = watches
            .drain(..)
            .filter(|watch| watch.shutdown(Shutdown::Both).is_ok());
        open.count()
    }

    /// From now on nothing passes in either direction, and no connection ends: as when a machine
    /// between them is gone.
    pub fn fall_silent(&self) {
        self.shared.silences.fetch_add(1, Ordering::SeqCst);
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// New connections are served again. Those that met the silence stay dead.
    pub fn speak(&self) {
        self.shared.silent.store(false, Ordering::SeqCst);
    }
}

/// One request, ready to be sent on.
struct Request {
    method: String,
    target: String,
    bytes: Vec<u8>,
}

/// Reads a request and asks for a connection that ends after its answer. `None` at an end.
fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = from.take(MAX_REQUEST_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other(line));
    };
    let mut bytes = line.into_bytes();
    let mut body_bytes = 0_u64;
    loop {
        let mut header = String::new();
        if head.read_line(&mut header)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let name = header.split(':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other(
                "a body in chunks, which an operator does not send",
            ));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = header.split(':').nth(1).unwrap_or_default().trim();
            body_bytes = value.parse().map_err(io::Error::other)?;
        }
        if header.trim().is_empty() {
            break;
        }
        if !name.eq_ignore_ascii_case("connection") {
            bytes.extend_from_slice(header.as_bytes());
        }
    }
    bytes.extend_from_slice(b"Connection: close\r\n\r\n");
    if body_bytes > MAX_REQUEST_BYTES {
        return Err(io::Error::other(format!("a body of {body_bytes} bytes")));
    }
    from.take(body_bytes).read_to_end(&mut bytes)?;
    Ok(Some(Request {
        method,
        target,
        bytes,
    }))
}

impl Shared {
    fn serve(&self, downstream: TcpStream) -> io::Result<()> {
        let silences = self.silences.load(Ordering::SeqCst);
        let silent = self.silent.load(Ordering::SeqCst);
        let mut reader = BufReader::new(downstream.try_clone()?);
        let Some(request) = read_request(&mut reader)? else {
            return Ok(());
        };
        if silent || self.is_dead(silences) {
            never_close(downstream);
            return Ok(());
        }
        let mut upstream = TcpStream::connect(self.upstream)?;
        upstream.write_all(&request.bytes)?;
        let call = format!("{} {}", request.method, request.target);
        if request.method == "GET" {
            held(&self.reads).push(call);
            if request.target.contains("watch=") {
                held(&self.watches).push(downstream.try_clone()?);
            }
            return self.copy(upstream, downstream, silences);
        }
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        let number = {
            let mut writes = held(&self.writes);
            writes.push(call.clone());
            writes.len()
        };
        match (self.at_write)(number, &call) {
            Answer::Pass => (&downstream).write_all(&answer),
            Answer::Lose => Ok(()),
        }
    }

    /// Whether a silence began since.
    fn is_dead(&self, silences: usize) -> bool {
        self.silences.load(Ordering::SeqCst) != silences
    }

    /// An answer as it comes, until a silence.
    fn copy(
        &self,
        mut upstream: TcpStream,
        mut downstream: TcpStream,
        silences: usize,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = upstream.read(&mut buffer)?;
            if self.is_dead(silences) {
                never_close(downstream);
                return Ok(());
            }
            if read == 0 {
                return downstream.shutdown(Shutdown::Both);
            }
            downstream.write_all(&buffer[..read])?;
        }
    }
}

/// The operator hears neither an answer nor an end.
fn never_close(connection: TcpStream) {
    std::mem::forget(connection);
}
