//! Probes. Alive, started and ready are three questions: a long recovery is alive, and a node that
//! drains is started but not ready.

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::State;
use crate::http::body::Body;
use crate::lifecycle::Phase;

/// GET /livez: 503 only when the process cannot help itself.
pub fn live(state: &State) -> Response<Body> {
    answer(state, "live", state.lifecycle.is_live(), false)
}

/// GET /startupz: whether recovery is done.
pub fn started(state: &State) -> Response<Body> {
    answer(state, "started", state.lifecycle.startup().is_some(), false)
}

/// GET /readyz: whether requests should be sent here. With `?verbose` also why not.
pub fn ready(state: &State, verbose: bool) -> Response<Body> {
    answer(state, "ready", state.lifecycle.phase() == Phase::Ready, verbose)
}

fn answer(state: &State, question: &str, yes: bool, verbose: bool) -> Response<Body> {
    let mut body = json!({
        question: yes,
        "phase": state.lifecycle.phase().as_str(),
        "bootId": state.lifecycle.boot_id(),
    });
    if verbose || !yes {
        let recovery = state.lifecycle.recovery();
        body["recovery"] = json!({
            "lsn": recovery.lsn,
            "bytes_done": recovery.bytes_done,
            "bytes_total": recovery.bytes_total,
        });
        body["failure"] = state.lifecycle.failure().map_or(Value::Null, Value::String);
    }
    let status = if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    super::json(status, &body)
}
