//! Settings of the running node: what is in force, and changing what can be changed. Changes live
//! in memory; the next start reads its sources again.

use godb_engine::{EngineError, StorageEngine};
use godb_store::StoreError;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::State;
use crate::config::{Config, SETTINGS, Setting, settings};
use crate::http::body::Body;
use crate::http::error::{ApiError, Kind};

/// Where a value came from that a PUT brought.
const ADMIN_SOURCE: &str = "admin port";

/// What a PUT says of settings that it can neither apply nor keep.
const NOT_KEPT: &str = "what stands under restart_required is not applied and not kept: set it by flag, variable or file and restart";

/// The configuration in force, with the source of each row of [`SETTINGS`].
pub struct InForce {
    /// The values.
    pub config: Config,
    /// The sources.
    pub sources: Vec<String>,
}

/// GET /admin/config
pub async fn show(state: &State) -> Response<Body> {
    let in_force = state.in_force.lock().await;
    super::json(StatusCode::OK, shown(state, &in_force))
}

fn shown(state: &State, in_force: &InForce) -> Map<String, Value> {
    let values = |live: bool| -> Map<String, Value> {
        SETTINGS
            .iter()
            .filter(|setting| setting.live == live)
            .map(|setting| (setting.key.to_owned(), value(setting, &in_force.config)))
            .collect()
    };
    let sources: Map<String, Value> = SETTINGS
        .iter()
        .zip(&in_force.sources)
        .map(|(setting, source)| (setting.key.to_owned(), Value::String(source.clone())))
        .collect();
    Map::from_iter([
        ("bootId".to_owned(), json!(state.lifecycle.boot_id())),
        ("live".to_owned(), Value::Object(values(true))),
        ("restart".to_owned(), Value::Object(values(false))),
        ("sources".to_owned(), Value::Object(sources)),
    ])
}

fn value(setting: &Setting, config: &Config) -> Value {
    match (setting.get)(config) {
        text if text.is_empty() => Value::Null,
        text => Value::String(text),
    }
}

/// PUT /admin/config: some or all settings. A fault in one changes none. The answer says what took
/// effect, what was so already, and what needs a restart, which is not kept for that restart.
pub async fn change(state: &State, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let engine = state.engine()?;
    let wanted: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Kind::InvalidJson, format!("invalid JSON: {error}")))?;
    let mut in_force = state.in_force.lock().await;
    let change = Change::plan(&in_force.config, &wanted)?;
    if !change.applied.is_empty() {
        apply(state, engine, &in_force.config, &change.config).await?;
        for (setting, source) in SETTINGS.iter().zip(&mut in_force.sources) {
            if let Some(new) = change.applied.get(setting.key) {
                ADMIN_SOURCE.clone_into(source);
                tracing::info!(setting = setting.key, value = %new, "setting changed");
            }
        }
        in_force.config = change.config;
    }
    let mut answer = shown(state, &in_force);
    if !change.restart_required.is_empty() {
        answer.insert("message".to_owned(), json!(NOT_KEPT));
    }
    answer.extend([
        ("applied".to_owned(), Value::Object(change.applied)),
        ("unchanged".to_owned(), json!(change.unchanged)),
        (
            "restart_required".to_owned(),
            Value::Object(change.restart_required),
        ),
    ]);
    Ok(super::json(StatusCode::OK, answer))
}

/// What a PUT comes to.
#[derive(Debug)]
struct Change {
    config: Config,
    applied: Map<String, Value>,
    unchanged: Vec<&'static str>,
    restart_required: Map<String, Value>,
}

impl Change {
    fn plan(current: &Config, wanted: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut change = Change {
            config: current.clone(),
            applied: Map::new(),
            unchanged: Vec::new(),
            restart_required: Map::new(),
        };
        let mut faults = Vec::new();
        for (key, given) in wanted {
            if let Err(fault) = change.take(current, key, given) {
                faults.push(format!("{key}: {fault}"));
            }
        }
        if let Err(StoreError::InvalidSettings { faults: more }) = change.config.live.validate() {
            faults.extend(more);
        }
        if faults.is_empty() {
            Ok(change)
        } else {
            Err(ApiError::new(Kind::InvalidRequest, faults.join("; ")))
        }
    }

    fn take(&mut self, current: &Config, key: &str, given: &Value) -> Result<(), String> {
        let setting = settings::find(key).ok_or("there is no such setting")?;
        let text = match given {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null if (setting.get)(current).is_empty() => {
                self.unchanged.push(setting.key);
                return Ok(());
            }
            _ => return Err("must be a string or a number".to_owned()),
        };
        let mut candidate = self.config.clone();
        (setting.set)(&mut candidate, &text)?;
        let new = value(setting, &candidate);
        if new == value(setting, current) {
            self.unchanged.push(setting.key);
        } else if setting.live {
            self.applied.insert(key.to_owned(), new);
            self.config = candidate;
        } else {
            self.restart_required.insert(key.to_owned(), new);
        }
        Ok(())
    }
}

async fn apply(
    state: &State,
    engine: &StorageEngine,
    old: &Config,
    new: &Config,
) -> Result<(), ApiError> {
    if new.live != old.live {
        let engine = engine.clone();
        let live = new.live.clone();
        super::blocking(move || engine.reconfigure(live)).await?;
    }
    if new.log_level != old.log_level {
        state
            .log
            .set_level(new.log_level)
            .map_err(|error| ApiError::new(Kind::Internal, error))?;
    }
    Ok(())
}

/// An engine's refusal, for an administrator: with the cause.
pub fn refusal(error: &EngineError) -> ApiError {
    let mut refusal = ApiError::from(error.clone());
    refusal.message = error.to_string().into();
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(wanted: Value) -> Result<Change, ApiError> {
        Change::plan(&Config::default(), wanted.as_object().unwrap())
    }

    #[test]
    fn a_put_says_what_takes_effect_and_what_needs_a_restart() {
        let change = plan(json!({
            "durability": "full",
            "max_wal_size": 67108864,
            "log_level": "info",
            "listen": "127.0.0.1:9999",
            "drain_timeout": "3s",
            "wal_dir": null,
        }))
        .unwrap();
        assert_eq!(
            Value::Object(change.applied),
            json!({"durability": "full", "max_wal_size": "64MiB"})
        );
        assert_eq!(change.unchanged, ["drain_timeout", "log_level", "wal_dir"]);
        assert_eq!(
            Value::Object(change.restart_required),
            json!({"listen": "127.0.0.1:9999"})
        );
        assert_eq!(change.config.listen, Config::default().listen);
        assert_eq!(change.config.live.max_wal_bytes, 64 << 20);
    }

    #[test]
    fn every_fault_is_told_and_nothing_is_changed() {
        let error =
            plan(json!({"durability": "fuller", "nope": 1, "max_memory": "1", "log_level": []}))
                .unwrap_err();
        for part in [
            "durability: `fuller`",
            "nope: there is no",
            "max_memory of 1",
            "log_level: must",
        ] {
            assert!(error.message.contains(part), "{part} in {}", error.message);
        }
    }
}
