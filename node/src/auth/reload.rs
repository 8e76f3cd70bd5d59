//! Reads the tokens again when they change.
//!
//! What is compared is the text itself, not times or inodes: a mounted Secret is swapped by a link,
//! and a file may change twice within the resolution of its times.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Auth;
use super::table::Table;
use crate::files;
use crate::log::AUDIT;

/// How often the tokens are looked at.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// More than the most tokens with long comments.
const MAX_FILE_BYTES: u64 = 64 * 1024;
const MAX_FILES: usize = 64;

/// The text of a file, or of all files of a directory but hidden ones: a mounted Secret keeps its
/// older self in those.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let failed = |error| format!("{}: {error}", path.display());
    if !files::find(path).map_err(failed)?.is_dir {
        return files::read_text(path, MAX_FILE_BYTES).map_err(failed);
    }
    let names = files::list(path).map_err(failed)?;
    let visible: Vec<String> = names.into_iter().filter(|n| !n.starts_with('.')).collect();
    if visible.len() > MAX_FILES {
        return Err(format!("{}: more than {MAX_FILES} files", path.display()));
    }
    let mut all = String::new();
    for name in visible {
        let path = path.join(name);
        let text = files::read_text(&path, MAX_FILE_BYTES)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        all.push_str(&text);
        all.push('\n');
    }
    Ok(all)
}

impl Auth {
    /// Takes over the tokens as they are now. Tokens that cannot be read leave the old ones in
    /// force; `last` keeps the log to one line for each change.
    pub(super) fn reload(&self, last: &mut Option<Result<(), String>>) {
        let table = read(&self.path).and_then(|text| {
            Table::parse(&text).map_err(|fault| format!("{}: {fault}", self.path.display()))
        });
        let outcome = match table {
            Ok(table) if table == **self.table.load() => Ok(()),
            Ok(table) => {
                self.metrics.reloaded(table.len());
                tracing::info!(target: AUDIT, audit = true, tokens = table.len(), "the tokens changed");
                self.table.store(Arc::new(table));
                Ok(())
            }
            Err(fault) => Err(fault),
        };
        self.metrics.set_stale(outcome.is_err());
        if let Err(fault) = &outcome
            && last.as_ref() != Some(&outcome)
        {
            self.metrics.reload_failed();
            tracing::error!(%fault, "the new tokens cannot be used: the old ones stay in force");
        }
        *last = Some(outcome);
    }
}

/// Looks at the tokens for as long as it is polled.
pub async fn watch(auth: Arc<Auth>) {
    let mut last = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let auth = auth.clone();
        let looked = tokio::task::spawn_blocking(move || {
            auth.reload(&mut last);
            last
        });
        last = looked.await.unwrap_or_default();
    }
}
