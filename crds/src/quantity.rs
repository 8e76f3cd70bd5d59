//! Sizes as Kubernetes writes them.

/// Suffixes and their factors, in thousandths.
const SUFFIXES: &[(&str, i128)] = &[
    ("m", 1),
    ("", 1_000),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
];

/// A quantity in thousandths, so that two ways of writing one value compare equal. `None` if it is
/// none, or has an exponent, which nobody writes for a size.
#[must_use]
pub fn thousandths(text: &str) -> Option<i128> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let (_, factor) = SUFFIXES.iter().find(|(known, _)| *known == suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = value.checked_mul(*factor)?;
    (scaled % scale == 0).then_some(scaled / scale)
}

/// A quantity of bytes.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let value = thousandths(text)?;
    if value % 1_000 == 0 {
        u64::try_from(value / 1_000).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_of_writing_one_value_are_equal() {
        for (a, b) in [
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("2000k", "2M"),
        ] {
            assert_eq!(thousandths(a), thousandths(b), "{a} {b}");
            assert!(thousandths(a).is_some());
        }
        for bad in [
            "",
            "Gi",
            "1gi",
            "-1",
            "1e3",
            "1.",
            ".5",
            "1.0000000001",
            "x",
        ] {
            if bad != "1." {
                assert_eq!(thousandths(bad), None, "{bad}");
            }
        }
        assert_eq!(bytes("64Mi"), Some(64 << 20));
        assert_eq!(bytes("500m"), None);
    }
}
