//! Every decoder on its corpus and on what becomes of it by chance, for a moment; `make fuzz` does
//! it for longer and with coverage.
//!
//! `GODB_FUZZ_MS` is the time for each, `GODB_FUZZ_SEED` the seed.

use std::time::{Duration, Instant};

use godb_engine::decoders;
use godb_store::disk::{Disk, OpenMode, RealDisk};

use super::path;

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize % bound.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let dir = path(&dir);
    let disk = RealDisk::new();
    let mut names = disk.list(dir).unwrap();
    names.sort();
    assert!(!names.is_empty(), "{} is empty", dir.display());
    let read = |name: &String| {
        let file = disk.open(&dir.join(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    names.iter().map(read).collect()
}

/// A few random changes of one input, sometimes with a piece of another.
fn mutated(corpus: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{'];
    let mut bytes = corpus[draw.below(corpus.len())].clone();
    for _ in 0..1 + draw.below(6) {
        let at = draw.below(bytes.len() + 1);
        match draw.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            1 if at < bytes.len() => bytes[at] = TELLING[draw.below(8)],
            2 => bytes.insert(at, TELLING[draw.below(8)]),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 if at < bytes.len() => {
                let end = at + draw.below((bytes.len() - at).min(64));
                let piece = bytes[at..end].to_vec();
                let to = draw.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let other = &corpus[draw.below(corpus.len())];
                let from = draw.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let (time, seed) = (
        number("GODB_FUZZ_MS", 2000),
        number("GODB_FUZZ_SEED", 20_265),
    );
    for (name, run) in decoders::all() {
        let corpus = corpus(name);
        for input in &corpus {
            run(input);
            for end in 0..input.len() {
                run(&input[..end]);
            }
        }
        let mut draw = Draw(seed);
        let (started, mut tried) = (Instant::now(), 0_u64);
        while started.elapsed() < Duration::from_millis(time) {
            let input = mutated(&corpus, &mut draw);
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(
                outcome.is_ok(),
                "{name}, GODB_FUZZ_SEED={seed}: \"{}\"",
                input.escape_ascii()
            );
            tried += 1;
        }
        eprintln!("{name}: {tried} inputs, seed {seed}");
    }
}
