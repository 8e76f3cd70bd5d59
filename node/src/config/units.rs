//! Quantities (`64MiB`, `512M`, `1Gi`) and durations (`30s`, `500ms`, `1h30m`) as people write them.

use std::time::Duration;

/// Suffixes of quantities. A bare number is bytes. Lower-case `m` is left out on purpose: in
/// Kubernetes it means thousandths.
const QUANTITY_SUFFIXES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("k", 1_000),
    ("K", 1_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("M", 1_000_000),
    ("MB", 1_000_000),
    ("G", 1_000_000_000),
    ("GB", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("KiB", 1 << 10),
    ("Mi", 1 << 20),
    ("MiB", 1 << 20),
    ("Gi", 1 << 30),
    ("GiB", 1 << 30),
    ("Ti", 1 << 40),
    ("TiB", 1 << 40),
];

/// Units of durations in nanoseconds.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a quantity of bytes.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: write it like 64MiB, 512M or 1Gi");
    let (number, rest) = split_number(text).ok_or_else(bad)?;
    let (_, factor) = QUANTITY_SUFFIXES
        .iter()
        .find(|(suffix, _)| *suffix == rest)
        .ok_or_else(bad)?;
    number
        .times(*factor)
        .ok_or_else(|| format!("`{text}` is not a whole number of bytes, or is too large"))
}

/// Writes a quantity so that [`parse_quantity`] gives it back exactly, as short as it can be.
pub fn format_quantity(bytes: u64) -> String {
    for (suffix, factor) in [
        ("TiB", 1_u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
    ] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{suffix}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// Reads a duration: one or more numbers with units, largest first by custom but not by rule.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration: write it like 30s, 500ms or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u64;
    while {
        let (number, tail) = split_number(rest).ok_or_else(bad)?;
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let (_, factor) = DURATION_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(bad)?;
        nanos = number
            .times(*factor)
            .and_then(|part| nanos.checked_add(part))
            .ok_or_else(|| format!("`{text}` is too long or too fine"))?;
        rest = tail;
        !rest.is_empty()
    } {}
    Ok(Duration::from_nanos(nanos))
}

/// Writes a duration so that [`parse_duration`] gives it back exactly.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (unit, factor) in [
        ("h", 3_600_000_000_000_u128),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ] {
        if nanos.is_multiple_of(factor) {
            return format!("{}{unit}", nanos / factor);
        }
    }
    format!("{nanos}ns")
}

/// A decimal number: `digits / 10^scale`.
struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// The product, if it is whole and fits.
    fn times(&self, factor: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(factor))?;
        let divisor = 10_u128.checked_pow(self.scale)?;
        if !product.is_multiple_of(divisor) {
            return None;
        }
        u64::try_from(product / divisor).ok()
    }
}

/// The number at the start of `text` and what follows it. None without a digit, with a sign, or
/// with more digits than any real value has.
fn split_number(text: &str) -> Option<(Decimal, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse().ok()?;
    let scale = u32::try_from(fraction.len()).ok()?;
    Some((Decimal { digits, scale }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("512M", 512_000_000),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("2kB", 2_000),
            ("16TiB", 16 << 40),
        ] {
            assert_eq!(parse_quantity(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "-1Gi",
            "512m",
            "1 Gi",
            "Gi",
            "1.",
            ".5Gi",
            "1.0000000001Gi",
            "0.3",
            "1e3",
            "1GiBB",
            "18446744073709551616",
            "99999999999TiB",
            "١Gi",
        ] {
            assert!(parse_quantity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_written() {
        for (text, ms) in [
            ("0", 0),
            ("30s", 30_000),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("1h30m", 5_400_000),
            ("2m3s4ms", 123_004),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "-5s",
            "s",
            "1d",
            "1 s",
            "5s5",
            "0.1ns",
            "99999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for shift in 0..63 {
            for bytes in [
                1_u64 << shift,
                (1 << shift) + 1,
                (1_u64 << shift).saturating_mul(1000),
            ] {
                assert_eq!(parse_quantity(&format_quantity(bytes)), Ok(bytes));
                let duration = Duration::from_nanos(bytes);
                assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            }
        }
    }
}
