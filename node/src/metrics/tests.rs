use super::*;
use hyper::StatusCode;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

fn rendered(metrics: &Metrics) -> String {
    let lifecycle = Lifecycle::start().unwrap();
    String::from_utf8(metrics.render(&lifecycle, |_| {}).unwrap()).unwrap()
}

#[test]
fn every_series_is_there_from_the_start() {
    let text = rendered(&Metrics::new().unwrap());
    for series in [
        r#"godb_http_requests_total{method="POST",route="/collections/{collection}",status="201"} 0"#,
        r#"godb_http_requests_total{method="other",route="unmatched",status="404"} 0"#,
        r#"godb_http_requests_rejected_total{reason="disk_full"} 0"#,
        r#"godb_http_connections{listener="admin"} 0"#,
        r#"godb_checkpoints_total{outcome="failed"} 0"#,
        r#"godb_wal_fsync_duration_seconds_bucket{le="0.0001"} 0"#,
        r#"godb_phase{phase="recovering"} 1"#,
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
}

#[test]
fn requests_are_counted_by_template_and_status() {
    let metrics = Metrics::new().unwrap();
    let begun = metrics.http.begin();
    assert!(rendered(&metrics).contains("godb_http_requests_in_flight 1"));
    begun.end(
        Some(crate::http::route::Operation::Find),
        StatusCode::TOO_MANY_REQUESTS,
        Duration::from_millis(3),
    );
    drop(metrics.http.begin());
    let text = rendered(&metrics);
    for series in [
        r#"godb_http_requests_total{method="GET",route="/collections/{collection}/find",status="429"} 1"#,
        r#"godb_http_request_duration_seconds_count{method="GET",route="/collections/{collection}/find"} 1"#,
        r#"godb_http_requests_rejected_total{reason="busy"} 1"#,
        "godb_http_requests_in_flight 0",
        "godb_http_requests_cancelled_total 1",
    ] {
        assert!(text.contains(series), "{series}");
    }
}

/// Names and types by the conventions, as far as they can be told from the text; where promtool
/// is installed it judges too.
#[test]
fn names_follow_the_conventions() {
    let text = rendered(&Metrics::new().unwrap());
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        assert!(
            name.starts_with("godb_") || name.starts_with("process_"),
            "{line}"
        );
        assert!(text.contains(&format!("# HELP {name} ")), "{line}");
        assert!(!name.contains("_ms") && !name.contains("_kb"), "{line}");
    }
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    if let Ok(mut child) = promtool {
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
