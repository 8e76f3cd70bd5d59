//! The client of the API server: no call and no watch outlives a connection that died without a word.

use std::time::Duration;

use kube::{Client, Config};

/// How long the API server may say nothing to a call, or to a watch that it did not end yet.
const SILENCE: Duration = Duration::from_secs(45);
/// Seconds after which the API server ends a watch, which then goes on where it was. Below
/// [`SILENCE`]: a watch without news is no dead one.
pub const WATCH_SECONDS: u32 = 35;

const _: () = assert!(Duration::from_secs(WATCH_SECONDS as u64).as_secs() < SILENCE.as_secs());

/// From the pod's service account, or `KUBECONFIG`.
///
/// # Errors
/// Neither is there, or cannot be used.
pub async fn connect() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    // It counts from the request, and not from when a pooled connection fell silent.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}
