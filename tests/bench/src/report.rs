//! Rounds into a table and into JSON.

use serde_json::{Value, json};

use crate::load::Outcome;
use crate::target::Target;
use crate::workload::Operation;

/// One run of one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which round.
    pub round: usize,
    /// What was asked.
    pub operation: Operation,
    /// Over how many connections.
    pub connections: usize,
    /// Whom.
    pub target: Target,
    /// Requests a second.
    pub per_second: f64,
    /// Half of the answers came within this time.
    pub p50_ms: f64,
    /// 99 of 100 did.
    pub p99_ms: f64,
    /// Processor time of the server for each request.
    pub cpu_us: f64,
    /// fdatasync calls of the log for each request.
    pub syncs: f64,
}

impl Sample {
    /// From what came of a run.
    pub fn new(
        (round, operation, connections, target): (usize, Operation, usize, Target),
        outcome: &Outcome,
        cpu_seconds: f64,
        syncs: f64,
    ) -> Self {
        let sent = outcome.sent.max(1) as f64;
        Self {
            round,
            operation,
            connections,
            target,
            per_second: outcome.per_second,
            p50_ms: outcome.percentile_ms(0.50),
            p99_ms: outcome.percentile_ms(0.99),
            cpu_us: cpu_seconds * 1e6 / sent,
            syncs: syncs / sent,
        }
    }
}

/// One line of the table.
struct Line<'a> {
    samples: Vec<&'a Sample>,
    ratios: Vec<f64>,
}

/// The middle of some numbers; 0 of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match (numbers.get(half), numbers.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 1) => *upper,
        (Some(upper), _) => (numbers.get(half - 1).unwrap_or(upper) + upper) / 2.0,
    }
}

fn lines(samples: &[Sample]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for sample in samples {
        let null = samples.iter().find(|other| {
            other.target == Target::Null
                && (other.round, other.operation, other.connections)
                    == (sample.round, sample.operation, sample.connections)
        });
        let ratio = null.map_or(0.0, |null| sample.per_second / null.per_second);
        let key = |s: &Sample| (s.operation.name(), s.connections, s.target.to_string());
        match lines
            .iter_mut()
            .find(|line| line.samples.iter().any(|s| key(s) == key(sample)))
        {
            Some(line) => {
                line.samples.push(sample);
                line.ratios.push(ratio);
            }
            None => lines.push(Line {
                samples: vec![sample],
                ratios: vec![ratio],
            }),
        }
    }
    lines
}

impl Line<'_> {
    fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(|sample| value(sample)).collect())
    }

    fn spread(&self) -> (f64, f64) {
        let rates = self.samples.iter().map(|sample| sample.per_second);
        (
            rates.clone().fold(f64::INFINITY, f64::min),
            rates.fold(0.0, f64::max),
        )
    }
}

/// The table for people.
pub fn table(samples: &[Sample]) -> String {
    let mut out = String::from(
        "operation    conns  server       requests/s  (spread)           of null   p50 ms   p99 ms  cpu us/req  syncs/req\n",
    );
    for line in lines(samples) {
        let Some(first) = line.samples.first() else {
            continue;
        };
        let (low, high) = line.spread();
        out.push_str(&format!(
            "{:<11} {:>6}  {:<11} {:>11.0}  {:<18} {:>7.2} {:>8.3} {:>8.3} {:>11.1} {:>10.3}\n",
            first.operation.name(),
            first.connections,
            first.target,
            line.median(|s| s.per_second),
            format!("({low:.0} - {high:.0})"),
            median(line.ratios.clone()),
            line.median(|s| s.p50_ms),
            line.median(|s| s.p99_ms),
            line.median(|s| s.cpu_us),
            line.median(|s| s.syncs),
        ));
    }
    out
}

/// Every sample, for programs.
pub fn json(samples: &[Sample]) -> Value {
    let one = |line: &Line<'_>| {
        let rounds: Vec<Value> = line
            .samples
            .iter()
            .map(|s| {
                json!({"round": s.round, "per_second": s.per_second, "p50_ms": s.p50_ms, "p99_ms": s.p99_ms,
                       "cpu_us": s.cpu_us, "syncs_per_request": s.syncs})
            })
            .collect();
        let first = line
            .samples
            .first()
            .map(|s| (s.operation.name(), s.connections, s.target.to_string()));
        let (operation, connections, server) = first.unwrap_or_default();
        json!({"operation": operation, "connections": connections, "server": server,
               "per_second": line.median(|s| s.per_second), "of_null": median(line.ratios.clone()),
               "rounds": rounds})
    };
    lines(samples).iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        let sample = |round, target, per_second| Sample {
            round,
            operation: Operation::Insert,
            connections: 1,
            target,
            per_second,
            p50_ms: 0.0,
            p99_ms: 0.0,
            cpu_us: 0.0,
            syncs: 0.0,
        };
        let samples = [
            sample(0, Target::Null, 100.0),
            sample(0, Target::Node("os"), 50.0),
            sample(1, Target::Null, 10.0),
            sample(1, Target::Node("os"), 9.0),
            sample(2, Target::Null, 10.0),
            sample(2, Target::Node("os"), 8.0),
        ];
        let json = json(&samples);
        assert_eq!(json[1]["of_null"], 0.8);
        assert!(table(&samples).contains("0.80"));
    }
}
