//! Who wrote what, from the API server's audit log.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use serde_json::Value;

const LOG: &str = "/var/lib/godb-cluster/log/audit.log";

/// A place in the log: what is written from then on.
#[derive(Debug)]
pub struct Audit {
    from: u64,
}

/// One write that the API server answered, refused ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// `statefulsets`, `godbinstances/status`.
    pub resource: String,
    /// The object.
    pub name: String,
    /// The answer's status code.
    pub code: u64,
}

impl Audit {
    /// From now on.
    pub fn begin() -> Self {
        let from = std::fs::metadata(LOG)
            .expect("the cluster keeps an audit log")
            .len();
        Self { from }
    }

    /// What a service account wrote since.
    pub fn writes_of(&self, namespace: &str, account: &str) -> Vec<Write> {
        // An answer may come before its line.
        std::thread::sleep(Duration::from_millis(300));
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let mut file = File::open(LOG).expect("the audit log");
        file.seek(SeekFrom::Start(self.from))
            .expect("a place in it");
        let lines = BufReader::new(file).lines();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut writes = Vec::new();
        for line in lines {
            let event: Value = match serde_json::from_str(&line.expect("text")) {
                Ok(event) => event,
                // The last line may be half written: of something after the question.
                Err(_) => break,
            };
            if event["user"]["username"] != user.as_str() {
                continue;
            }
            let object = &event["objectRef"];
            let resource = match object["subresource"].as_str() {
                Some(sub) => format!("{}/{sub}", text(&object["resource"])),
                None => text(&object["resource"]),
            };
            writes.push(Write {
                verb: text(&event["verb"]),
                resource,
                name: text(&object["name"]),
                code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            });
        }
        writes
    }
}
