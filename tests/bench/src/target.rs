//! What is measured: the null server, or a node at a level, each a process of its own on a fresh
//! directory.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use godb_tests::node::free_port;
use godb_tests::{Client, Node, NodeOptions};
use tempfile::TempDir;

use crate::workload::Operation;
use crate::{process, workload};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Checks JSON and answers.
    Null,
    /// A node at this level.
    Node(&'static str),
    /// The same, and it asks for a token.
    Guarded(&'static str),
    /// The same of another build, `--base`.
    Base(&'static str),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Null => f.pad("null server"),
            Target::Node(level) => f.pad(level),
            Target::Guarded(level) => f.pad(&format!("{level}+token")),
            Target::Base(level) => f.pad(&format!("base {level}")),
        }
    }
}

/// A running one. Killed and its data removed when dropped.
pub struct Running {
    process: Process,
    address: SocketAddr,
    // Dropped last.
    _data: Option<TempDir>,
}

enum Process {
    Null(Child),
    Node(Box<Node>),
}

/// What a guarded node is asked with.
const AUTHORIZATION: &str =
    "Authorization: Bearer godb_00000000000000000000000000000000000000000000000000000000bench\r\n";
/// The line that lets it in.
const TOKEN_LINE: &str =
    "bench write a5a111d9dfbcb2cc4b083b6772dc1d9fc43e7fc6ad8d73416cd38d3252c66a35\n";

impl Target {
    /// Headers that its requests need.
    pub fn headers(self) -> &'static str {
        match self {
            Target::Guarded(_) => AUTHORIZATION,
            Target::Null | Target::Node(_) | Target::Base(_) => "",
        }
    }

    /// Starts it, with so many documents in it if it keeps any.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        self,
        below: &Path,
        base: Option<&Path>,
        operation: Operation,
        documents: u64,
    ) -> std::io::Result<Running> {
        let is_find = matches!(operation, Operation::Find | Operation::FindSpread);
        match self {
            Target::Null if is_find => {
                let answer = tempfile::NamedTempFile::new_in(below)?;
                std::fs::write(answer.path(), workload::page(operation, documents))?;
                Running::null(Some(answer.path()))
            }
            Target::Null => Running::null(None),
            Target::Node(level) | Target::Guarded(level) | Target::Base(level) => {
                let data = tempfile::tempdir_in(below)?;
                let mut options = NodeOptions::new(data.path().join("data")).durability(level);
                if let (Target::Base(_), Some(base)) = (self, base) {
                    options = options.binary(base);
                }
                let mut headers = Vec::new();
                if let Target::Guarded(_) = self {
                    let tokens = data.path().join("tokens");
                    std::fs::write(&tokens, TOKEN_LINE)?;
                    options = options
                        .arg("--auth-tokens-file")
                        .arg(tokens.to_string_lossy());
                    headers.extend(AUTHORIZATION.trim().split_once(": "));
                }
                let node = options.start();
                let mut client = node.client();
                let mut first = 0;
                while first < documents {
                    let count = (documents - first).min(1000);
                    client
                        .request(
                            "POST",
                            "/collections/bench/batch",
                            &headers,
                            &workload::batch(first, count, |n| match is_find {
                                true => workload::grouped(n, documents),
                                false => workload::document(n),
                            }),
                        )
                        .expect(201);
                    first += count;
                }
                for field in workload::INDEXED.iter().filter(|_| is_find) {
                    let path = format!("/collections/bench/indexes/{field}");
                    client.request("POST", &path, &headers, b"").expect(201);
                }
                Ok(Running {
                    address: node.address,
                    process: Process::Node(Box::new(node)),
                    _data: Some(data),
                })
            }
        }
    }
}

impl Running {
    /// The null server; `answer` is a file with what it answers to a find.
    ///
    /// # Errors
    /// When it does not start.
    pub fn null(answer: Option<&Path>) -> std::io::Result<Running> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new(std::env::current_exe()?)
            .args(["null", "--listen", &address.to_string()])
            .args(answer.map(|path| format!("--answer={}", path.display())))
            .stdin(Stdio::null())
            .spawn()?;
        let running = Running {
            process: Process::Null(child),
            address,
            _data: None,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Client::new(address)
            .try_request("GET", "/health", &[], b"")
            .is_err()
        {
            if Instant::now() > deadline {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    /// Where documents are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time used so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let pid = match &self.process {
            Process::Null(child) => child.id(),
            Process::Node(node) => node.pid(),
        };
        process::cpu_seconds(pid)
    }

    /// fdatasync calls of the log so far.
    pub fn syncs(&self) -> f64 {
        match &self.process {
            Process::Null(_) => 0.0,
            Process::Node(node) => node.metric("godb_wal_fsync_duration_seconds_count"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Process::Null(child) = &mut self.process {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
