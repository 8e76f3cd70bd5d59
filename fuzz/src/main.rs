//! One binary for all decoders; `GODB_FUZZ_TARGET` names the one that runs.
#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let wanted = std::env::var("GODB_FUZZ_TARGET").unwrap_or_default();
    let found = godb_engine::decoders::all().find(|(name, _)| *name == wanted);
    match found {
        Some((_, run)) => run,
        None => {
            let names: Vec<_> = godb_engine::decoders::all().map(|(name, _)| name).collect();
            eprintln!("GODB_FUZZ_TARGET must be one of: {}", names.join(" "));
            std::process::exit(64);
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));
