//! Tokens over real sockets: made by the binary, asked for on both ports, changed while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use godb_tests::node::godb_command;
use godb_tests::{Client, Node, NodeOptions, run_godb};
use tempfile::TempDir;

/// A new token and its line.
fn create(name: &str, role: &str) -> (String, String) {
    let output = run_godb(&["token", "create", name, "--role", role]);
    let text = String::from_utf8(output.stdout).unwrap();
    let part = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
    };
    (part("token:"), part("line:"))
}

fn status(client: &mut Client, method: &str, path: &str, token: &str, body: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    client
        .request(method, path, &headers, body.as_bytes())
        .status
}

fn node(dir: &TempDir, tokens: &Path) -> Node {
    NodeOptions::new(dir.path().join("data"))
        .arg("--auth-tokens-file")
        .arg(tokens.to_str().unwrap())
        .arg("--log-level")
        .arg("error")
        .start()
}

#[test]
fn tokens_open_what_their_role_says_and_go_with_their_line() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tokens");
    let (writer, writer_line) = create("app", "write");
    let (admin, admin_line) = create("ops", "admin");
    std::fs::write(&file, format!("{writer_line}\n{admin_line}\n")).unwrap();
    let node = node(&dir, &file);
    let (mut documents, mut port) = (node.client(), node.admin_client());
    let insert =
        |client: &mut Client, token: &str| status(client, "POST", "/collections/c", token, "{}");
    documents.get("/health").expect(200);
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        port.get(path).expect(200);
    }
    let refusal = documents.post("/collections/c", "{}").expect(401);
    assert_eq!(refusal.header("www-authenticate"), Some("Bearer"));
    assert_eq!(refusal.json()["error"], "Unauthorized");
    assert_eq!(insert(&mut documents, &writer), 201);
    assert_eq!(
        status(&mut port, "POST", "/admin/checkpoint", &writer, ""),
        403
    );
    assert_eq!(
        status(&mut port, "POST", "/admin/checkpoint", &admin, ""),
        200
    );
    let log = node.log();
    assert!(log.contains("who=\"ops\""), "{log}");
    assert!(!log.contains(&admin) && !log.contains(&writer), "{log}");
    let refused = |reason: &str| {
        let series =
            format!("godb_auth_refused_total{{listener=\"documents\",reason=\"{reason}\"}}");
        node.metric(&series)
    };
    assert_eq!((refused("missing"), refused("wrong")), (1.0, 0.0));

    // A broken file changes nothing but what is said of it.
    std::fs::write(&file, "half a li").unwrap();
    wait("the file to be found broken", || {
        node.metric("godb_auth_tokens_stale") == 1.0
    });
    assert_eq!(insert(&mut documents, &writer), 201);
    // A line that goes takes its token along, on a connection that is open already.
    let (next, next_line) = create("app-2", "write");
    std::fs::write(&file, format!("{next_line}\n{admin_line}\n")).unwrap();
    wait("the new tokens", || {
        node.metric("godb_auth_tokens_stale") == 0.0
    });
    assert_eq!(insert(&mut documents, &writer), 401);
    assert_eq!(insert(&mut documents, &next), 201);
}

#[test]
fn who_fails_at_the_admin_token_is_counted_and_written_down() {
    let dir = TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "a-token-of-some-length").unwrap();
    let node = NodeOptions::new(dir.path().join("data"))
        .arg("--admin-token-file")
        .arg(token.to_str().unwrap())
        .start();
    let mut port = node.admin_client();
    port.get("/admin/stats").expect(401);
    assert_eq!(status(&mut port, "GET", "/admin/stats", "wrong", ""), 401);
    for reason in ["missing", "wrong"] {
        let series = format!("godb_auth_refused_total{{listener=\"admin\",reason=\"{reason}\"}}");
        assert_eq!(node.metric(&series), 1.0, "{reason}");
    }
    assert!(node.log().contains("audit=true"), "{}", node.log());
}

#[test]
fn wrong_tokens_are_slowed_and_lock_nobody_out() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tokens");
    let (reader, line) = create("app", "read");
    std::fs::write(&file, line).unwrap();
    let node = node(&dir, &file);
    let find = |token: &str| status(&mut node.client(), "GET", "/collections/c/find", token, "");
    let wrong: Vec<u16> = (0..50).map(|_| find("wrong")).collect();
    assert_eq!(wrong[0], 401);
    assert!(wrong.contains(&429), "{wrong:?}");
    assert_eq!(find(&reader), 200);
}

#[test]
fn a_node_does_not_start_with_tokens_that_cannot_be_read() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "app write not-a-hash\n").unwrap();
    let output = run_godb(&[
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--auth-tokens-file",
        tokens.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("line 1") && !error.contains("not-a-hash"),
        "{error}"
    );
}

#[test]
fn the_commands_send_a_token() {
    let dir = TempDir::new().unwrap();
    let tokens = dir.path().join("tokens");
    let (writer, line) = create("loader", "write");
    std::fs::write(&tokens, line).unwrap();
    let node = node(&dir, &tokens);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("documents"), "{\"_id\":\"x\"}\n").unwrap();
    std::fs::write(path("token"), format!("{writer}\n")).unwrap();
    let (documents, token, url) = (path("documents"), path("token"), node.url());
    let import = ["import", &documents, "-c", "c", "--url", &url];
    let refused = run_godb(&import);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("401"),
        "{error}"
    );
    let with_file = [&import[..], &["--token-file", &token]].concat();
    assert!(run_godb(&with_file).status.success());
    let exported = godb_command()
        .args(["export", "-c", "c", "--url", &url])
        .env("GODB_TOKEN", &writer)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&exported.stdout),
        "{\"_id\":\"x\"}\n"
    );
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
