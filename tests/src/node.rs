//! The node as a process: start, wait until it serves, stop it in every way there is, start again.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;

/// Longest time from start to ready, of the node's own processor time. Recovery of what the tests
/// write takes a fraction of it; on a busy machine the clock on the wall may run many times faster.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// So many times that on the wall: it hangs without working.
const READY_WITHIN_WALL: u32 = 10;

/// The binary under test: `GODB_BIN`, or built once.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("GODB_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(
                path.is_file(),
                "GODB_BIN names {}: no such file",
                path.display()
            );
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args([
            "build",
            "--package",
            "godb",
            "--bin",
            "godb",
            "--message-format",
            "json",
        ])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "godb does not build");
    let executable = String::from_utf8(output.stdout)
        .expect("cargo prints UTF-8")
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "godb")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the executable")
}

/// A free port on loopback. Below the range of ports that outgoing connections take, so that
/// nobody is given it between this look and its use.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below COUNT");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step) % COUNT);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on loopback");
}

/// How to start a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where the database lies.
    pub data_dir: PathBuf,
    /// The level.
    pub durability: &'static str,
    /// The program, if it is not [`binary`].
    pub binary: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment variables; nothing whose name starts with `GODB_` is inherited.
    pub env: Vec<(String, String)>,
}

impl NodeOptions {
    /// A node on this directory at the default level.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            durability: "os",
            binary: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// At this level.
    pub fn durability(mut self, level: &'static str) -> Self {
        self.durability = level;
        self
    }

    /// Another build of the program.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// With one more argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Node {
        let mut node = self.spawn();
        if let Err(why) = node.wait_ready(READY_WITHIN) {
            panic!("the node did not become ready: {why}\n{}", node.log());
        }
        node
    }

    /// Starts it and does not wait.
    pub fn spawn(&self) -> Node {
        let free = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.spawn_at(free(), free())
    }

    fn spawn_at(&self, address: SocketAddr, admin: SocketAddr) -> Node {
        let log = tempfile::NamedTempFile::new().expect("a file for the log");
        let mut command = without_settings(self.binary.as_deref().unwrap_or_else(|| binary()));
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--listen", &address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(["--durability", self.durability])
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.reopen().expect("the log opens"))
            .stderr(append(log.path()));
        let child = command.spawn().expect("godb starts");
        Node {
            child,
            address,
            admin,
            log,
            options: self.clone(),
        }
    }
}

fn append(path: &Path) -> File {
    File::options()
        .append(true)
        .open(path)
        .expect("the log opens")
}

/// The binary without any `GODB_` variable of the caller's.
pub fn godb_command() -> Command {
    without_settings(binary())
}

fn without_settings(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GODB_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a subcommand to its end.
pub fn run_godb(arguments: &[&str]) -> Output {
    godb_command()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("godb runs")
}

/// A running node. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Documents.
    pub address: SocketAddr,
    /// Metrics, probes, administration.
    pub admin: SocketAddr,
    log: tempfile::NamedTempFile,
    options: NodeOptions,
}

impl Node {
    /// A new connection to the documents.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A new connection to the admin port.
    pub fn admin_client(&self) -> Client {
        Client::new(self.admin)
    }

    /// The base of document URLs.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it was started.
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// All it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap_or_default()).into_owned()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for 200 from `/readyz`, until the node has used this much processor time in vain.
    ///
    /// # Errors
    /// What happened instead.
    pub fn wait_ready(&mut self, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within * READY_WITHIN_WALL;
        let mut last = String::from("no answer yet");
        while self.processor_time() < within && Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return Err(format!("it ended: {status}"));
            }
            match self.admin_client().try_request("GET", "/readyz", &[], b"") {
                Ok(response) if response.status == 200 => return Ok(()),
                Ok(response) => last = format!("{} {}", response.status, response.text()),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(last)
    }

    /// kill -9, and waits until it is gone.
    pub fn kill9(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("SIGTERM is sent");
    }

    /// SIGTERM, then its exit.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait(Duration::from_secs(30))
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        match self.try_wait(within) {
            Some(status) => status,
            None => panic!("still running after {within:?}\n{}", self.log()),
        }
    }

    /// The exit, if it ends in this time.
    pub fn try_wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.child.try_wait().expect("the child can be asked");
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// kill -9 and a new process with the same options on the same addresses.
    pub fn kill9_and_restart(&mut self) {
        self.kill9();
        *self = self.options.clone().spawn_at(self.address, self.admin);
        if let Err(why) = self.wait_ready(READY_WITHIN) {
            panic!("the node did not become ready again: {why}\n{}", self.log());
        }
    }

    /// Processor time used since its start; zero once it is gone.
    fn processor_time(&self) -> Duration {
        // proc(5): fields 14 and 15 of stat, in ticks of 10 ms; the name before may hold spaces.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("VmRSS in kB") * 1024
    }

    /// The value of a metric without labels, or the sum over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.admin_client().get("/metrics").text();
        let values: Vec<f64> = text
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let value = match rest.strip_prefix('{') {
                    Some(labels) => labels.rsplit_once('}')?.1,
                    None => rest.strip_prefix(' ')?,
                };
                value.trim().parse().ok()
            })
            .collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
    }
}
