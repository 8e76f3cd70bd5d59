//! What the operator was started with.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Arguments of the program.
#[derive(Parser, Debug)]
#[command(
    name = "godb-operator",
    version,
    about = "Keeps GoDbInstances as their specs say: StatefulSets on persistent volumes, settings of running nodes, growing volumes.",
    after_help = "It needs the GoDbInstance kind in the cluster and the rights of the chart's role.\nSettings come from flags or from the variables beside them."
)]
pub struct Arguments {
    /// What to do; `run` if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of both.
    #[command(flatten)]
    pub options: Options,
}

/// What to do.
#[derive(Subcommand, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Run the operator (the default).
    Run,
    /// Make a small instance, write to it, read it, delete it: `helm test` runs this.
    Smoke,
}

/// Form of the log.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Settings.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Namespace whose instances are watched; all of them if empty.
    #[arg(long, env = "WATCH_NAMESPACE", default_value = "", global = true)]
    pub watch_namespace: String,
    /// Where /metrics, /livez and /readyz are served.
    #[arg(
        long,
        env = "METRICS_LISTEN",
        default_value = "0.0.0.0:8080",
        global = true
    )]
    pub metrics_listen: SocketAddr,
    /// Image of nodes without `spec.image`; `spec.version` becomes its tag, unless it has a digest.
    #[arg(
        long,
        env = "NODE_IMAGE",
        default_value = "ghcr.io/godb/godb",
        global = true
    )]
    pub node_image: String,
    /// Wait for a Lease before acting, so that several copies can run.
    #[arg(long, env = "LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set, global = true)]
    pub leader_elect: bool,
    /// Name of that Lease.
    #[arg(
        long,
        env = "LEASE_NAME",
        default_value = "godb-operator",
        global = true
    )]
    pub lease_name: String,
    /// Namespace that the operator runs in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", global = true)]
    pub pod_namespace: String,
    /// Name of this copy.
    #[arg(long, env = "POD_NAME", default_value = "godb-operator", global = true)]
    pub pod_name: String,
    /// NAMESPACE.NAME of the installation: children carry it, and another one keeps off them.
    #[arg(long, env = "RELEASE", default_value = "default.godb", global = true)]
    pub release: String,
    /// error, warn, info, debug or trace.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: tracing::Level,
    /// Form of the log.
    #[arg(long, env = "LOG_FORMAT", default_value = "json", global = true)]
    pub log_format: LogFormat,
}

impl Options {
    /// The namespace to watch, `None` for all.
    pub fn namespace(&self) -> Option<&str> {
        (!self.watch_namespace.is_empty()).then_some(&*self.watch_namespace)
    }
}
