//! Sizes and times that the Kubernetes kind lets in are ones that the node takes, with the same
//! meaning. The kind is narrower on purpose: one way of writing, and bounds that suit a cluster.

use std::path::Path;

use godb_tests::random::{Random, seed};
use godb_tests::run_godb;

const CASES: u64 = 120;
const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const SIZE_SUFFIXES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];
const TIME_UNITS: [(&str, u64); 4] = [
    ("ms", 1),
    ("s", SECOND_MS),
    ("m", 60 * SECOND_MS),
    ("h", HOUR_MS),
];
/// Lengths of the fields, in the kind.
const MAX_CHARACTERS: usize = 16;

/// The kind's rule for a size between these bounds: what is generated below is what it lets in.
fn size_rule(low: &str, high: &str) -> String {
    format!(
        "self.matches('^[1-9][0-9]{{0,14}}(k|M|G|T|Ki|Mi|Gi|Ti)?$') && quantity(self).compareTo(quantity('{low}')) >= 0 && quantity(self).compareTo(quantity('{high}')) <= 0"
    )
}

const TIME_RULE: &str = "self.matches('^([0-9]{1,5}(h|ms|m|s)){1,3}$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')";

/// A size that the kind lets in, and its bytes.
fn size(random: &mut Random, low: u64, high: u64) -> (String, u64) {
    loop {
        let (suffix, factor) = SIZE_SUFFIXES[random.index(SIZE_SUFFIXES.len())];
        let (least, most) = (low.div_ceil(factor), high / factor);
        if least > most {
            continue;
        }
        let number = match random.below(4) {
            0 => least,
            1 => most,
            2 => least + random.below(most - least + 1).min(100),
            _ => least + random.below(most - least + 1),
        };
        let text = format!("{number}{suffix}");
        if number > 0 && text.len() <= MAX_CHARACTERS {
            return (text, number * factor);
        }
    }
}

/// A time that the kind lets in, and its milliseconds.
fn time(random: &mut Random) -> (String, u64) {
    loop {
        let (mut text, mut total) = (String::new(), 0);
        for _ in 0..=random.below(3) {
            let (unit, factor) = TIME_UNITS[random.index(TIME_UNITS.len())];
            let bound = if random.chance(50) { 60 } else { 100_000 };
            let number = random.below(bound);
            let width = if random.chance(20) { 5 } else { 1 };
            text.push_str(&format!("{number:0width$}{unit}"));
            total += number * factor;
        }
        if (SECOND_MS..=24 * HOUR_MS).contains(&total) && text.len() <= MAX_CHARACTERS {
            return (text, total);
        }
    }
}

/// What the node makes of these, in its own words.
fn shown(wal: &str, memory: &str, interval: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("godb.yaml");
    let text = format!(
        "max_wal_size: \"{wal}\"\nmax_memory: \"{memory}\"\ncheckpoint_interval: \"{interval}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = run_godb(&["config", "show", "--config", file.to_str().unwrap()]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let keys = ["max_wal_size", "max_memory", "checkpoint_interval"];
    let ours = text
        .lines()
        .filter(|line| keys.iter().any(|key| line.starts_with(key)));
    // The value, and not the place that it came from.
    let values = ours.map(|line| line.split('#').next().unwrap_or_default().trim_end());
    Ok(values.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_the_kubernetes_kind_lets_in_the_node_takes_with_the_same_meaning() {
    let kind = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml/godbinstances.yaml");
    let kind = std::fs::read_to_string(kind).unwrap();
    for rule in [
        size_rule("2Mi", "16Gi"),
        size_rule("16Mi", "1Ti"),
        TIME_RULE.to_owned(),
    ] {
        assert!(
            kind.contains(&rule),
            "the kind has another rule than {rule}"
        );
    }
    let seed = seed();
    println!("GODB_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    for case in 0..CASES {
        let (wal, wal_bytes) = size(&mut random, 2 << 20, 16 << 30);
        let (memory, memory_bytes) = size(&mut random, 16 << 20, 1 << 40);
        let (interval, interval_ms) = time(&mut random);
        let given = shown(&wal, &memory, &interval);
        let plain = shown(
            &wal_bytes.to_string(),
            &memory_bytes.to_string(),
            &format!("{interval_ms}ms"),
        );
        assert!(
            given.is_ok() && given == plain,
            "case {case}: {wal} {memory} {interval}: {given:?} where {plain:?} was meant"
        );
    }
}
