//! Configuration: defaults < file < environment < flags. Nothing is guessed or repaired: every
//! fault of every source is reported at once, each with where it came from.

mod file;
pub mod legacy;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod units;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use godb_store::StoreError;

pub use settings::{Config, LogFormat, SETTINGS, Setting};

use crate::exit::{Exit, Failure};
use crate::files;

/// More than any configuration; a wrong path may name anything.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "GODB_CONFIG";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said otherwise.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// A flag, as it was written.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// What the outside says, before it is read.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The file of `--config`.
    pub config_file: Option<PathBuf>,
    /// All environment variables.
    pub environment: Vec<(String, String)>,
    /// Flags in the order given.
    pub flags: Vec<FlagValue>,
}

/// One flag with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The setting's key.
    pub key: &'static str,
    /// As the user wrote it.
    pub flag: String,
    /// Its value.
    pub value: String,
}

/// The configuration in force, and where each part came from.
#[derive(Debug)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// One source for each row of [`SETTINGS`].
    pub sources: Vec<Source>,
    /// What a person should know but need not change.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// Where the setting of this name came from.
    pub fn source(&self, key: &str) -> &Source {
        SETTINGS
            .iter()
            .zip(&self.sources)
            .find(|(setting, _)| setting.key == key)
            .map_or(&Source::Default, |(_, source)| source)
    }

    /// The effective configuration as a YAML file with the source of each value as a comment.
    pub fn show(&self) -> String {
        let rows: Vec<(String, &Source)> = SETTINGS
            .iter()
            .zip(&self.sources)
            .map(|(setting, source)| (line(setting, &self.config), source))
            .collect();
        let width = rows.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (text, source) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{text:width$}  # {source}");
        }
        out
    }
}

fn line(setting: &Setting, config: &Config) -> String {
    let value = (setting.get)(config);
    if value.is_empty() {
        return format!("# {}:", setting.key);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if value.chars().all(plain) {
        format!("{}: {value}", setting.key)
    } else {
        // A JSON string is a YAML string.
        format!("{}: {}", setting.key, serde_json::Value::String(value))
    }
}

/// Every fault that was found; never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl From<Faults> for Failure {
    fn from(Faults(faults): Faults) -> Self {
        let message = match faults.as_slice() {
            [one] => format!("the configuration is wrong: {one}"),
            many => format!(
                "the configuration is wrong in {} places:\n  {}",
                many.len(),
                many.join("\n  ")
            ),
        };
        Failure::new(Exit::Usage, message)
    }
}

/// Reads all sources into one configuration.
///
/// # Errors
/// All faults of all sources.
pub fn resolve(inputs: &Inputs) -> Result<Resolved, Faults> {
    let mut reading = Reading {
        config: Config::default(),
        sources: vec![Source::Default; SETTINGS.len()],
        warnings: Vec::new(),
        faults: Vec::new(),
    };
    let from_environment = inputs
        .environment
        .iter()
        .find(|(name, _)| name == CONFIG_VARIABLE)
        .map(|(_, value)| PathBuf::from(value));
    if let Some(path) = inputs.config_file.clone().or(from_environment) {
        reading.file(&path);
    }
    reading.environment(&inputs.environment);
    for flag in &inputs.flags {
        reading.flag(flag);
    }
    reading.relations();
    if reading.faults.is_empty() {
        Ok(Resolved {
            config: reading.config,
            sources: reading.sources,
            warnings: reading.warnings,
        })
    } else {
        Err(Faults(reading.faults))
    }
}

struct Reading {
    config: Config,
    sources: Vec<Source>,
    warnings: Vec<String>,
    faults: Vec<String>,
}

impl Reading {
    fn apply(&mut self, key: &str, value: &str, source: &Source) {
        let row = SETTINGS
            .iter()
            .zip(&mut self.sources)
            .find(|(setting, _)| setting.key == key);
        match row {
            None => self.faults.push(format!(
                "{source}: there is no setting `{key}`{}",
                did_you_mean(nearest(key).map(|setting| setting.key.to_owned()))
            )),
            Some((setting, from)) => match (setting.set)(&mut self.config, value) {
                Ok(()) => *from = source.clone(),
                Err(fault) => self.faults.push(match source {
                    Source::File(_) => format!("{source}: {key}: {fault}"),
                    _ => format!("{source}: {fault}"),
                }),
            },
        }
    }

    fn file(&mut self, path: &Path) {
        let source = Source::File(path.to_path_buf());
        let text = match files::read_text(path, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(error) => return self.faults.push(format!("{source}: {error}")),
        };
        let entries = match file::entries(&text) {
            Ok(entries) => entries,
            Err(error) => return self.faults.push(format!("{source}: {error}")),
        };
        let mut seen: Vec<String> = Vec::new();
        for (key, value) in entries {
            let serde_yaml::Value::String(key) = key else {
                self.faults
                    .push(format!("{source}: a key is not a plain word: {key:?}"));
                continue;
            };
            let times = seen.iter().filter(|before| **before == key).count();
            if times > 0 {
                let place = file::line_of(&text, &key, times)
                    .map(|line| format!(" line {line}"))
                    .unwrap_or_default();
                self.faults
                    .push(format!("{source}{place}: `{key}` is given again"));
            }
            seen.push(key.clone());
            match scalar(&value) {
                Some(text) => self.apply(&key, &text, &source),
                None => self
                    .faults
                    .push(format!("{source}: {key}: must be a single value")),
            }
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("GODB_") else {
                continue;
            };
            if name == CONFIG_VARIABLE || is_service_link(rest) || is_of_tools(rest) {
                continue;
            }
            let key = rest.to_ascii_lowercase();
            if settings::find(&key).is_some() && *name == name.to_ascii_uppercase() {
                self.apply(&key, value, &Source::Environment(name.clone()));
            } else {
                let hint = nearest(&key).map(Setting::variable);
                self.faults.push(format!(
                    "environment {name}: there is no such setting{}",
                    did_you_mean(hint)
                ));
            }
        }
    }

    fn flag(&mut self, flag: &FlagValue) {
        let source = Source::Flag(flag.flag.clone());
        self.apply(flag.key, &flag.value, &source);
    }

    /// What no setting can say alone.
    fn relations(&mut self) {
        if let Err(error) = self.config.live.validate() {
            match error {
                StoreError::InvalidSettings { faults } => {
                    for fault in faults {
                        let origin = SETTINGS
                            .iter()
                            .zip(&self.sources)
                            .find(|(setting, _)| fault.starts_with(setting.key))
                            .map(|(_, source)| format!("{source}: "))
                            .unwrap_or_default();
                        self.faults.push(format!("{origin}{fault}"));
                    }
                }
                other => self.faults.push(other.to_string()),
            }
        }
        let (documents, admin) = (self.config.listen, self.config.admin_listen);
        let admin_was_asked_for = SETTINGS
            .iter()
            .zip(&self.sources)
            .any(|(setting, source)| setting.key == "admin_listen" && *source != Source::Default);
        if admin_was_asked_for && documents == admin && documents.port() != 0 {
            self.faults.push(format!(
                "listen and admin_listen are both {documents}: they need an address each"
            ));
        }
        if self.config.admin_token_file.is_some() && self.config.admin_token_sha256_file.is_some() {
            self.faults.push(
                "admin_token_file and admin_token_sha256_file are both given: use one".to_owned(),
            );
        }
    }
}

/// The text of a YAML scalar. An unset value (`key:`) is not one.
fn scalar(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        serde_yaml::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Kubernetes puts `<SERVICE>_PORT`, `<SERVICE>_SERVICE_HOST` and the like into every pod; with a
/// Service called `godb` or `godb-…` they carry our prefix. No setting has such a name.
fn is_service_link(rest: &str) -> bool {
    let rest = format!("_{rest}_");
    rest.contains("_PORT_") || rest.contains("_SERVICE_")
}

/// What clients, and the scripts and tests of godb's sources, are told by people who also start
/// nodes there.
fn is_of_tools(rest: &str) -> bool {
    ["BIN", "IMAGES", "CLUSTER_CACHE", "TOKEN", "WHO_SYNCS"].contains(&rest)
        || rest.starts_with("TEST_")
        || rest.starts_with("POWERCUT_")
}

fn did_you_mean(name: Option<String>) -> String {
    name.map(|name| format!(", did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The setting whose key is close to this one.
fn nearest(key: &str) -> Option<&'static Setting> {
    let normalized = key.replace('-', "_").to_ascii_lowercase();
    let candidate = SETTINGS
        .iter()
        .map(|setting| (distance(&normalized, setting.key), setting))
        .min_by_key(|(edits, _)| *edits);
    match candidate {
        Some((0..=2, setting)) => Some(setting),
        _ => None,
    }
}

/// Edits that lead from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            let value = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            left = value;
            *cell = value;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}
