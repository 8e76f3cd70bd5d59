//! The settings, each in one row: name, default, meaning. Flags, variables, file keys, `--help`,
//! `config show` and the admin port all come from here.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use godb_store::LiveSettings;
use tracing::level_filters::LevelFilter;

use crate::http::extract::BodyTimes;
use crate::server::TimeLimits;

use super::units::{format_duration, format_quantity, parse_duration, parse_quantity};

/// Everything `godb serve` is told, already read into types.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the database lies.
    pub data_dir: PathBuf,
    /// The log, if it lies elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// The tables, if they lie elsewhere.
    pub checkpoint_dir: Option<PathBuf>,
    /// Address of the documents.
    pub listen: SocketAddr,
    /// Address of metrics, probes and administration.
    pub admin_listen: SocketAddr,
    /// What the store can change while it runs.
    pub live: LiveSettings,
    /// Lines below this level are dropped.
    pub log_level: LevelFilter,
    /// How log lines look.
    pub log_format: LogFormat,
    /// From "not ready" to "no new connections".
    pub shutdown_grace: Duration,
    /// Longest wait for requests in flight at shutdown.
    pub drain_timeout: Duration,
    /// Longest wait for the final checkpoint.
    pub shutdown_checkpoint_timeout: Duration,
    /// Connections served at once on the document port.
    pub max_connections: u64,
    /// From an answer or the connect to the first byte of the next request.
    pub idle_timeout: Duration,
    /// From there to the end of its head.
    pub header_timeout: Duration,
    /// Longest wait for the next piece of a request's body.
    pub receive_timeout: Duration,
    /// Longest time for a whole body.
    pub body_timeout: Duration,
    /// Longest time a response may wait for its reader.
    pub send_timeout: Duration,
    /// A leased snapshot that nobody wants for this long goes.
    pub snapshot_lease: Duration,
    /// Bytes a second that all readers of snapshots get together.
    pub snapshot_read_rate: u64,
    /// File or directory with the tokens that both ports ask for.
    pub auth_tokens_file: Option<PathBuf>,
    /// File with the token that `/admin/*` asks for.
    pub admin_token_file: Option<PathBuf>,
    /// File with the SHA-256 of that token, in hexadecimal.
    pub admin_token_sha256_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            wal_dir: None,
            checkpoint_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            live: LiveSettings::default(),
            log_level: LevelFilter::INFO,
            log_format: LogFormat::Text,
            shutdown_grace: Duration::ZERO,
            drain_timeout: Duration::from_secs(3),
            shutdown_checkpoint_timeout: Duration::from_secs(4),
            max_connections: 4096,
            idle_timeout: Duration::from_secs(75),
            header_timeout: Duration::from_secs(75),
            receive_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            send_timeout: Duration::from_secs(30),
            snapshot_lease: Duration::from_secs(15 * 60),
            snapshot_read_rate: 128 * 1024 * 1024,
            auth_tokens_file: None,
            admin_token_file: None,
            admin_token_sha256_file: None,
        }
    }
}

impl Config {
    /// How long a connection may take for what.
    pub fn connection_times(&self) -> TimeLimits {
        TimeLimits {
            idle: self.idle_timeout,
            header: self.header_timeout,
            send: self.send_timeout,
        }
    }

    /// How long the body of a request may take.
    pub fn body_times(&self) -> BodyTimes {
        BodyTimes {
            piece: self.receive_timeout,
            whole: self.body_timeout,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One setting.
pub struct Setting {
    /// Key in the file and at the admin port. The flag is the same with dashes, the variable the
    /// same in capitals behind `GODB_`.
    pub key: &'static str,
    /// Placeholder of the value in `--help`.
    pub value_name: &'static str,
    /// Meaning, for `--help`.
    pub help: &'static str,
    /// Whether the admin port can change it on a running node.
    pub live: bool,
    /// Reads a value.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// Writes the value so that `set` reads it back; empty when it is not set.
    pub get: fn(&Config) -> String,
}

impl Setting {
    /// `--data-dir`, without the dashes.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// `GODB_DATA_DIR`.
    pub fn variable(&self) -> String {
        format!("GODB_{}", self.key.to_ascii_uppercase())
    }
}

/// All settings, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        value_name: "DIR",
        help: "Where the database lies. Made if missing; the directory above it must exist",
        live: false,
        set: |c, v| path(v).map(|p| c.data_dir = p),
        get: |c| c.data_dir.display().to_string(),
    },
    Setting {
        key: "wal_dir",
        value_name: "DIR",
        help: "Where the write-ahead log lies, if on another volume [default: DATA_DIR/wal]",
        live: false,
        set: |c, v| path(v).map(|p| c.wal_dir = Some(p)),
        get: |c| optional_path(c.wal_dir.as_ref()),
    },
    Setting {
        key: "checkpoint_dir",
        value_name: "DIR",
        help: "Where checkpointed tables lie, if on another volume [default: DATA_DIR/tables]",
        live: false,
        set: |c, v| path(v).map(|p| c.checkpoint_dir = Some(p)),
        get: |c| optional_path(c.checkpoint_dir.as_ref()),
    },
    Setting {
        key: "listen",
        value_name: "ADDR",
        help: "Address of the documents; port 0 takes a free one",
        live: false,
        set: |c, v| address(v).map(|a| c.listen = a),
        get: |c| c.listen.to_string(),
    },
    Setting {
        key: "admin_listen",
        value_name: "ADDR",
        help: "Address of metrics, probes and administration. The default moves to a free port \
               when it is taken; an address given here is refused instead",
        live: false,
        set: |c, v| address(v).map(|a| c.admin_listen = a),
        get: |c| c.admin_listen.to_string(),
    },
    Setting {
        key: "durability",
        value_name: "LEVEL",
        help: "When a write is acknowledged. none: in memory, no log; memory: in the log's \
               buffer; os: handed to the system, survives a killed process; full: on disk, \
               survives a power cut",
        live: true,
        set: |c, v| parsed(v).map(|d| c.live.durability = d),
        get: |c| c.live.durability.to_string(),
    },
    Setting {
        key: "checkpoint_interval",
        value_name: "TIME",
        help: "Longest time between two checkpoints",
        live: true,
        set: |c, v| parse_duration(v).map(|d| c.live.checkpoint_interval = d),
        get: |c| format_duration(c.live.checkpoint_interval),
    },
    Setting {
        key: "max_wal_size",
        value_name: "SIZE",
        help: "Size of the log that starts a checkpoint",
        live: true,
        set: |c, v| parse_quantity(v).map(|b| c.live.max_wal_bytes = b),
        get: |c| format_quantity(c.live.max_wal_bytes),
    },
    Setting {
        key: "max_memory",
        value_name: "SIZE",
        help: "Budget for data kept in memory. As a flag, a bare number is megabytes",
        live: true,
        set: |c, v| parse_quantity(v).map(|b| c.live.max_memory_bytes = b),
        get: |c| format_quantity(c.live.max_memory_bytes),
    },
    Setting {
        key: "log_level",
        value_name: "LEVEL",
        help: "error, warn, info, debug (one line a request) or trace",
        live: true,
        set: |c, v| log_level(v).map(|l| c.log_level = l),
        get: |c| c.log_level.to_string(),
    },
    Setting {
        key: "log_format",
        value_name: "FORMAT",
        help: "text or json",
        live: false,
        set: |c, v| log_format(v).map(|f| c.log_format = f),
        get: |c| match c.log_format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
    },
    Setting {
        key: "shutdown_grace",
        value_name: "TIME",
        help: "After SIGTERM: how long to go on serving while not ready",
        live: false,
        set: |c, v| at_most(v, Duration::from_secs(3600)).map(|d| c.shutdown_grace = d),
        get: |c| format_duration(c.shutdown_grace),
    },
    Setting {
        key: "drain_timeout",
        value_name: "TIME",
        help: "After that: longest wait for requests in flight",
        live: false,
        set: |c, v| at_most(v, Duration::from_secs(3600)).map(|d| c.drain_timeout = d),
        get: |c| format_duration(c.drain_timeout),
    },
    Setting {
        key: "shutdown_checkpoint_timeout",
        value_name: "TIME",
        help: "After that: longest wait for the final checkpoint. Giving it up loses nothing, \
               the next start replays the log; at durability none it is never given up",
        live: false,
        set: |c, v| {
            at_most(v, Duration::from_secs(3600)).map(|d| c.shutdown_checkpoint_timeout = d)
        },
        get: |c| format_duration(c.shutdown_checkpoint_timeout),
    },
    Setting {
        key: "max_connections",
        value_name: "NUMBER",
        help: "Connections served at once on the document port; more wait in the backlog",
        live: false,
        set: |c, v| connections(v).map(|n| c.max_connections = n),
        get: |c| c.max_connections.to_string(),
    },
    Setting {
        key: "idle_timeout",
        value_name: "TIME",
        help: "A kept connection on which no request begins for this long is closed",
        live: false,
        set: |c, v| patience(v).map(|d| c.idle_timeout = d),
        get: |c| format_duration(c.idle_timeout),
    },
    Setting {
        key: "header_timeout",
        value_name: "TIME",
        help: "A request whose head is not whole this long after its first byte is refused with 408",
        live: false,
        set: |c, v| patience(v).map(|d| c.header_timeout = d),
        get: |c| format_duration(c.header_timeout),
    },
    Setting {
        key: "receive_timeout",
        value_name: "TIME",
        help: "A request of whose body nothing arrives for this long is refused with 408",
        live: false,
        set: |c, v| patience(v).map(|d| c.receive_timeout = d),
        get: |c| format_duration(c.receive_timeout),
    },
    Setting {
        key: "body_timeout",
        value_name: "TIME",
        help: "A request whose body is not whole after this long is refused with 408",
        live: false,
        set: |c, v| patience(v).map(|d| c.body_timeout = d),
        get: |c| format_duration(c.body_timeout),
    },
    Setting {
        key: "send_timeout",
        value_name: "TIME",
        help: "A connection whose client takes nothing for this long is closed",
        live: false,
        set: |c, v| patience(v).map(|d| c.send_timeout = d),
        get: |c| format_duration(c.send_timeout),
    },
    Setting {
        key: "view_timeout",
        value_name: "TIME",
        help: "A stream or export that reads nothing for this long is cut, so that it cannot keep \
               old versions for ever; one that goes on is cut after 144 times this",
        live: true,
        set: |c, v| parse_duration(v).map(|d| c.live.view_lease = d),
        get: |c| format_duration(c.live.view_lease),
    },
    Setting {
        key: "snapshot_lease",
        value_name: "TIME",
        help: "A snapshot that was taken to be carried away is removed when nobody has read it for \
               this long, so that it cannot hold space for ever",
        live: false,
        set: |c, v| snapshot_lease(v).map(|d| c.snapshot_lease = d),
        get: |c| format_duration(c.snapshot_lease),
    },
    Setting {
        key: "snapshot_read_rate",
        value_name: "SIZE",
        help: "Bytes a second that all who carry snapshots away get together",
        live: false,
        set: |c, v| snapshot_read_rate(v).map(|b| c.snapshot_read_rate = b),
        get: |c| format_quantity(c.snapshot_read_rate),
    },
    Setting {
        key: "auth_tokens_file",
        value_name: "PATH",
        help: "File, or directory of files, with the tokens that both ports ask for: a line `name \
               role sha256` each, as `godb token create` prints it. Read again when it changes",
        live: false,
        set: |c, v| path(v).map(|p| c.auth_tokens_file = Some(p)),
        get: |c| optional_path(c.auth_tokens_file.as_ref()),
    },
    Setting {
        key: "admin_token_file",
        value_name: "FILE",
        help: "File with the token for /admin/* (Authorization: Bearer). Needed when the admin \
               address is not loopback",
        live: false,
        set: |c, v| path(v).map(|p| c.admin_token_file = Some(p)),
        get: |c| optional_path(c.admin_token_file.as_ref()),
    },
    Setting {
        key: "admin_token_sha256_file",
        value_name: "FILE",
        help: "The same as a file with the token's SHA-256 in hexadecimal",
        live: false,
        set: |c, v| path(v).map(|p| c.admin_token_sha256_file = Some(p)),
        get: |c| optional_path(c.admin_token_sha256_file.as_ref()),
    },
];

/// The setting of this name.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn parsed<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("an empty path".to_owned());
    }
    if text.contains('\0') {
        return Err("a path with a NUL byte".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn optional_path(path: Option<&PathBuf>) -> String {
    path.map(|p| p.display().to_string()).unwrap_or_default()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let bad = |why: String| {
        format!("`{text}` is not an address{why}: write it like 127.0.0.1:8080 or [::]:8080")
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad(String::new()))?;
    let port: u16 = port.parse().map_err(|_| bad(String::new()))?;
    if host.is_empty() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    (host, port)
        .to_socket_addrs()
        .map_err(|error| bad(format!(" ({error})")))?
        .next()
        .ok_or_else(|| bad(" (the name has none)".to_owned()))
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => text
            .parse()
            .map_err(|_| format!("`{text}` is not a log level")),
        _ => Err(format!(
            "`{text}` is not a log level: use error, warn, info, debug or trace"
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not a log format: use text or json")),
    }
}

fn at_most(text: &str, most: Duration) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration > most {
        return Err(format!("`{text}` is longer than {}", format_duration(most)));
    }
    Ok(duration)
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration = at_most(text, Duration::from_secs(3600))?;
    if duration < Duration::from_secs(1) {
        return Err(format!("`{text}` is shorter than 1s"));
    }
    Ok(duration)
}

fn snapshot_lease(text: &str) -> Result<Duration, String> {
    let duration = at_most(text, Duration::from_secs(7 * 24 * 3600))?;
    if duration < Duration::from_secs(1) {
        return Err(format!("`{text}` is shorter than 1s"));
    }
    Ok(duration)
}

fn snapshot_read_rate(text: &str) -> Result<u64, String> {
    match parse_quantity(text)? {
        rate if rate < 64 * 1024 => Err(format!("`{text}` is less than 64Ki")),
        rate => Ok(rate),
    }
}

fn connections(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err(format!("`{text}` is not a number from 1 to 1000000")),
    }
}
