//! What is measured once and not in a loop: import, index build, find by index, stream, restart.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use godb_tests::node::run_godb;
use godb_tests::{Node, NodeOptions};
use serde_json::{Value, json};

use crate::target::Running;
use crate::workload::{self, Operation};
use crate::{Arguments, load, process, report};

/// Runs them over so many documents and prints a line each.
///
/// # Errors
/// When a server or a request fails.
pub fn run(arguments: &Arguments, documents: u64) -> Result<Value, Box<dyn Error>> {
    println!("\n{documents} documents, at os");
    let directory = tempfile::tempdir_in(&arguments.dir)?;
    let file = directory.path().join("documents.ndjson");
    let lines: Vec<u8> = (0..documents)
        .flat_map(|n| {
            let mut line = workload::grouped(n, documents);
            line.push(b'\n');
            line
        })
        .collect();
    std::fs::write(&file, lines)?;
    let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
    let node = NodeOptions::new(directory.path().join("data")).start();

    let started = Instant::now();
    let path = file.display().to_string();
    let imported = run_godb(&["import", "-c", "bench", "--url", &node.url(), &path]);
    if !imported.status.success() {
        return Err(String::from_utf8_lossy(&imported.stderr).into());
    }
    let import = megabytes / started.elapsed().as_secs_f64();
    println!("import                {import:>8.0} MB/s of NDJSON, checked first, over HTTP");

    let started = Instant::now();
    let mut client = node.client();
    for field in workload::INDEXED {
        client
            .post(&format!("/collections/bench/indexes/{field}"), "")
            .expect(201);
    }
    let index_seconds = started.elapsed().as_secs_f64() / workload::INDEXED.len() as f64;
    println!("index build           {index_seconds:>8.1} s");

    let (find, find_of_null) = find(arguments, &node, Operation::Find, documents)?;
    println!(
        "find, 50 of 200, by 8 {find:>8.0} /s, {find_of_null:.2} of the null server with the same bytes"
    );
    let (spread, spread_of_null) = self::find(arguments, &node, Operation::FindSpread, documents)?;
    println!(
        "documents far apart   {spread:>8.0} /s, {spread_of_null:.2} of the null server with the same bytes"
    );

    let before = process::status_kib(node.pid(), "VmRSS:");
    let started = Instant::now();
    let streamed = stream(node.address)?;
    let stream_rate = documents as f64 / started.elapsed().as_secs_f64();
    let added = (process::status_kib(node.pid(), "VmRSS:") - before) / 1024.0;
    println!(
        "stream                {stream_rate:>8.0} documents/s, {added:.1} MiB of memory added, {streamed} bytes"
    );
    drop(node);

    let restart_seconds = restart(arguments)?;
    println!("restart after a kill  {restart_seconds:>8.2} s with 100 MB of log");
    Ok(json!({
        "documents": documents, "import_mb_per_second": import, "index_build_seconds": index_seconds,
        "find_per_second": find, "find_of_null": find_of_null,
        "find_spread_per_second": spread, "find_spread_of_null": spread_of_null,
        "stream_documents_per_second": stream_rate, "stream_added_mib": added,
        "restart_seconds_100_mb_log": restart_seconds,
    }))
}

/// Finds a second over 8 connections, and their share of a null server that sends the same bytes.
fn find(
    arguments: &Arguments,
    node: &Node,
    operation: Operation,
    documents: u64,
) -> Result<(f64, f64), Box<dyn Error>> {
    let page = node
        .client()
        .get(&workload::find_path(operation, 7, documents))
        .expect(200);
    if page.json().get("total").and_then(Value::as_u64) != Some(workload::GROUP) {
        return Err("a find by index does not find what was imported".into());
    }
    let answer = tempfile::NamedTempFile::new_in(&arguments.dir)?;
    std::fs::write(answer.path(), &page.body)?;
    let null = Running::null(Some(answer.path()))?;
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..arguments.rounds {
        let find = |address| {
            load::run(&load::Load {
                address,
                headers: "",
                operation,
                connections: 8,
                warm_up: Duration::from_millis(200),
                measure: Duration::from_secs_f64(arguments.seconds),
                documents,
                first: 0,
            })
        };
        let (of_null, of_node) = (find(null.address())?, find(node.address)?);
        ratios.push(of_node.per_second / of_null.per_second);
        rates.push(of_node.per_second);
    }
    Ok((report::median(rates), report::median(ratios)))
}

fn stream(address: std::net::SocketAddr) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(
        b"GET /collections/bench/find_with_stream HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    )?;
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read,
        }
    }
}

/// Seconds from the start of a process to ready, with 100 MB of log to replay.
fn restart(arguments: &Arguments) -> Result<f64, Box<dyn Error>> {
    let directory = tempfile::tempdir_in(&arguments.dir)?;
    let mut node = NodeOptions::new(directory.path().join("data"))
        .arg("--max-wal-size=1GiB")
        .arg("--max-memory=4GiB")
        .arg("--checkpoint-interval=1h")
        .start();
    let mut client = node.client();
    let mut first = 0;
    while node.metric("godb_wal_appended_bytes_total") < 100e6 {
        let batch = workload::batch(first, 1000, workload::document);
        client
            .request("POST", "/collections/bench/batch", &[], &batch)
            .expect(201);
        first += 1000;
    }
    node.kill9();
    let started = Instant::now();
    let node = node.options().start();
    let seconds = started.elapsed().as_secs_f64();
    drop(node);
    Ok(seconds)
}
