//! The node's settings as a file.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use super::stateful_set::{ADMIN_DIR, DATA_DIR, WAL_DIR};
use crate::instance::validate::Valid;
use crate::names::{ADMIN_PORT, HTTP_PORT};

/// The key of the file.
pub const FILE_NAME: &str = "godb.yaml";
/// After SIGTERM the node serves on for so long while Services forget it.
const SHUTDOWN_GRACE_SECONDS: i64 = 5;
/// Longest wait for requests in flight.
const DRAIN_SECONDS: i64 = 10;
/// Left of the grace period when the node should be gone.
const MARGIN_SECONDS: i64 = 10;

/// Settings that only the next start reads.
pub fn restart_settings(valid: &Valid) -> BTreeMap<&'static str, String> {
    let grace = valid.spec.termination_grace_period_seconds;
    let checkpoint = grace - SHUTDOWN_GRACE_SECONDS - DRAIN_SECONDS - MARGIN_SECONDS;
    let mut settings = BTreeMap::from([
        ("data_dir", DATA_DIR.to_owned()),
        ("listen", format!("0.0.0.0:{HTTP_PORT}")),
        ("admin_listen", format!("0.0.0.0:{ADMIN_PORT}")),
        (
            "admin_token_sha256_file",
            format!("{ADMIN_DIR}/{}", super::secrets::HASH_KEY),
        ),
        ("log_format", valid.spec.logging.format.as_str().to_owned()),
        ("shutdown_grace", format!("{SHUTDOWN_GRACE_SECONDS}s")),
        ("drain_timeout", format!("{DRAIN_SECONDS}s")),
        (
            "shutdown_checkpoint_timeout",
            format!("{}s", checkpoint.max(1)),
        ),
    ]);
    if valid.spec.storage.wal.is_some() {
        settings.insert("wal_dir", format!("{WAL_DIR}/log"));
    }
    settings
}

pub(super) fn config_map(valid: &Valid) -> ConfigMap {
    let mut text = String::new();
    let live = valid.live.iter().map(|(key, value)| (*key, value.clone()));
    for (key, value) in restart_settings(valid).into_iter().chain(live) {
        // A String takes everything.
        let _ = writeln!(text, "{key}: \"{value}\"");
    }
    ConfigMap {
        metadata: metadata(valid, valid.names.config(), BTreeMap::new()),
        data: Some(BTreeMap::from([(FILE_NAME.to_owned(), text)])),
        ..ConfigMap::default()
    }
}
