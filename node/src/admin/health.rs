//! Probes. Alive, started and ready are three questions: a long recovery is alive, and a node that
//! drains is started but not ready.

use hyper::{Response, StatusCode};
use serde_json::{Map, json};

use super::State;
use crate::http::body::Body;
use crate::lifecycle::{Phase, RecoveryProgress};

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
    answer(
        state,
        "ready",
        state.lifecycle.phase() == Phase::Ready,
        verbose,
    )
}

fn answer(state: &State, question: &str, yes: bool, verbose: bool) -> Response<Body> {
    let mut body = Map::from_iter([
        (question.to_owned(), json!(yes)),
        ("phase".to_owned(), json!(state.lifecycle.phase().as_str())),
        ("bootId".to_owned(), json!(state.lifecycle.boot_id())),
    ]);
    if verbose || !yes {
        let RecoveryProgress {
            lsn,
            bytes_done,
            bytes_total,
        } = state.lifecycle.recovery();
        let recovery = json!({"lsn": lsn, "bytes_done": bytes_done, "bytes_total": bytes_total});
        body.insert("recovery".to_owned(), recovery);
        body.insert("failure".to_owned(), json!(state.lifecycle.failure()));
        // Reads go on, so a full disk is no reason to send requests elsewhere.
        let is_refusing = state
            .engine()
            .is_ok_and(|engine| engine.stats().refusing_writes);
        body.insert("refusing_writes".to_owned(), json!(is_refusing));
    }
    let status = if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    super::json(status, body)
}
