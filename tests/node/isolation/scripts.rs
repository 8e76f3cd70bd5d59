//! The scripts of isolation against the node. Those that need a disk of their own run on the engine.

use std::io::{BufRead, Write};

use godb_tests::client::{Client, JSON, Response, read_response};
use godb_tests::{Node, NodeOptions};
use tempfile::TempDir;

use crate::script::{self, Answer, Session, Target};

struct Http {
    node: Node,
    // Removed after the node is gone.
    _data: TempDir,
}

impl Http {
    fn new(level: &'static str) -> Self {
        let data = TempDir::new().unwrap();
        let options = NodeOptions::new(data.path().join("data"))
            .durability(level)
            // Only where a script says so.
            .arg("--checkpoint-interval")
            .arg("1h");
        Self {
            node: options.start(),
            _data: data,
        }
    }
}

impl Target for Http {
    const NAME: &'static str = "http";

    fn session(&mut self) -> Session {
        let mut client = self.node.client();
        let mut cursor = String::new();
        Box::new(move |verb, rest| answer(&mut client, &mut cursor, verb, rest))
    }

    fn event(&mut self, event: &str) {
        match event {
            "checkpoint" => {
                let mut admin = self.node.admin_client();
                admin.post("/admin/checkpoint", "").expect(200);
            }
            "kill" => self.node.kill9_and_restart(),
            "restart" => {
                assert!(self.node.stop().success());
                self.node = self.node.options().start();
            }
            other => panic!("no event {other}"),
        }
    }
}

const PATH: &str = "/collections/c";

fn answer(client: &mut Client, cursor: &mut String, verb: &str, rest: &str) -> Answer {
    let (id, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let document = format!("{PATH}/documents/{id}");
    let batch = format!("{PATH}/batch");
    let only_new = [JSON, ("If-None-Match", "*")];
    match verb {
        "insert" => one(&client.post(PATH, rest)),
        "insert-all" => many(&client.post(&batch, &format!("{{\"documents\":{rest}}}"))),
        "put" => one(&client.put(&document, body)),
        "put-new" => one(&client.request("PUT", &document, &only_new, body.as_bytes())),
        "patch" => one(&client.patch(&document, body)),
        "patch-all" => many(&client.patch(&batch, &format!("{{\"operations\":{rest}}}"))),
        "delete" => one(&client.delete(&document)),
        "get" => one(&client.get(&document)),
        "find" | "next" => {
            let after = match verb {
                "next" => format!("&after={cursor}"),
                _ => String::new(),
            };
            let found = client.get(&format!("{PATH}/find?{}{after}", rest.trim()));
            let page = found.json();
            *cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
            many(&found)
        }
        "stream" => {
            let host = client.address();
            let socket = client.socket().unwrap();
            let head = format!("GET {PATH}/find_with_stream HTTP/1.1\r\nHost: {host}\r\n\r\n");
            socket.get_mut().write_all(head.as_bytes()).unwrap();
            // From the first byte of the answer on, the view is there.
            assert!(socket.fill_buf().unwrap().starts_with(b"HTTP/1.1 200"));
            Answer {
                status: 200,
                body: String::new(),
            }
        }
        "rest" => {
            let answer = read_response(client.socket().unwrap(), false).unwrap();
            Answer {
                status: answer.status,
                body: answer.text().replace('\n', ""),
            }
        }
        other => panic!("no request {other}"),
    }
}

fn one(answer: &Response) -> Answer {
    let is_document = matches!(answer.status, 200 | 201);
    Answer {
        status: answer.status,
        body: if is_document {
            answer.text()
        } else {
            String::new()
        },
    }
}

/// The list in the answer as it was sent: the documents of the scripts hold no brackets.
fn many(answer: &Response) -> Answer {
    let text = answer.text();
    let list = text.split_once("\"documents\":").and_then(|(_, rest)| {
        let end = rest.find(']')?;
        rest.get(..=end)
    });
    Answer {
        status: answer.status,
        body: list.unwrap_or_default().to_owned(),
    }
}

#[test]
fn every_script_at_every_level() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/engine/tests/scripts");
    let mut ran = 0;
    for (name, text) in script::all(folder) {
        for level in ["none", "memory", "os", "full"] {
            if script::applies(&text, Http::NAME, level) {
                script::run(&name, &text, level, &mut Http::new(level));
                ran += 1;
            }
        }
    }
    assert!(ran > 40, "{ran} runs");
}
