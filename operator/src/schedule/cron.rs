//! Times as cron has them: five fields, in UTC, where every day has its 1440 minutes (pure).
//!
//! ```text
//! minute 0-59   hour 0-23   day 1-31   month 1-12, jan-dec   weekday 0-7, sun-sat; 0 and 7 are sun
//! ```
//!
//! A field is `*` or a list of values and ranges, each with a step: `*/15`, `1,15`, `mon-fri`,
//! `10-50/20`. Where day and weekday are both restricted, either suffices.

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::{Date, DateTime};
use k8s_openapi::jiff::tz::TimeZone;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Days that are looked through: the 29th of February comes within eight years.
const MAX_DAYS: u32 = 8 * 366 + 1;

/// A set of times. Each field is a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    either_day: bool,
}

fn value(text: &str, names: &[&str], first: u32) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(at) => u32::try_from(at).ok().map(|at| at + first),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// The bits of a field whose values go from `first` to `last`.
fn field(text: &str, names: &[&str], first: u32, last: u32) -> Result<u64, String> {
    let fault = |part: &str| format!("`{part}` in `{text}` is not within {first} to {last}");
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step
            .parse()
            .ok()
            .filter(|step| *step > 0)
            .ok_or_else(|| fault(part))?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (first, last),
            Some((from, to)) => (
                value(from, names, first).ok_or_else(|| fault(part))?,
                value(to, names, first).ok_or_else(|| fault(part))?,
            ),
            None => {
                let from = value(range, names, first).ok_or_else(|| fault(part))?;
                // `5/10` is every ten from the fifth on.
                (from, if part.contains('/') { last } else { from })
            }
        };
        if from < first || to > last || from > to {
            return Err(fault(part));
        }
        bits |= (from..=to)
            .step_by(step)
            .fold(0, |bits, at| bits | 1_u64 << at);
    }
    Ok(bits)
}

fn has(bits: u64, at: i8) -> bool {
    u32::try_from(at).is_ok_and(|at| bits & 1_u64.checked_shl(at).unwrap_or(0) != 0)
}

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = *fields.as_slice() else {
            return Err(format!("{} fields in `{text}`, not five", fields.len()));
        };
        let weekday_bits = field(weekdays, &WEEKDAYS, 0, 7)?;
        let cron = Self {
            minutes: field(minutes, &[], 0, 59)?,
            hours: field(hours, &[], 0, 23)?,
            days: field(days, &[], 1, 31)?,
            months: field(months, &MONTHS, 1, 12)?,
            // Sunday has two numbers.
            weekdays: weekday_bits | weekday_bits >> 7,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        match cron.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(cron),
            None => Err(format!("no day is ever `{text}`")),
        }
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }

    /// Times of a day that has any, in order.
    fn times(&self, date: Date) -> impl DoubleEndedIterator<Item = DateTime> {
        let (hours, minutes) = (self.hours, self.minutes);
        (0..24_i8)
            .filter(move |hour| has(hours, *hour))
            .flat_map(move |hour| {
                (0..60_i8)
                    .filter(move |minute| has(minutes, *minute))
                    .map(move |minute| date.at(hour, minute, 0, 0))
            })
    }

    /// The first of them after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let after = TimeZone::UTC.to_datetime(time);
        let mut date = after.date();
        for _ in 0..MAX_DAYS {
            if self.has_day(date)
                && let Some(found) = self.times(date).find(|at| *at > after)
            {
                return TimeZone::UTC.to_timestamp(found).ok();
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The last of them that is not after `time`.
    pub fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let until = TimeZone::UTC.to_datetime(time);
        let mut date = until.date();
        for _ in 0..MAX_DAYS {
            if self.has_day(date)
                && let Some(found) = self.times(date).rev().find(|at| *at <= until)
            {
                return TimeZone::UTC.to_timestamp(found).ok();
            }
            date = date.yesterday().ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("{text}Z").parse().unwrap()
    }

    #[track_caller]
    fn check(cron: &str, from: &str, next: &str, last: &str) {
        let cron = Cron::parse(cron).unwrap();
        let from = time(from);
        assert_eq!(cron.next_after(from), Some(time(next)), "next");
        assert_eq!(cron.last_until(from), Some(time(last)), "last");
    }

    #[test]
    fn fields_are_read_as_cron_reads_them() {
        let noon = "2026-11-23T12:00:00"; // a Monday
        check("* * * * *", noon, "2026-11-23T12:01:00", noon);
        check(
            "0 3 * * *",
            noon,
            "2026-11-24T03:00:00",
            "2026-11-23T03:00:00",
        );
        check("*/15 * * * *", noon, "2026-11-23T12:15:00", noon);
        check(
            "5/20 * * * *",
            noon,
            "2026-11-23T12:05:00",
            "2026-11-23T11:45:00",
        );
        check(
            "10-50/20 * * * *",
            noon,
            "2026-11-23T12:10:00",
            "2026-11-23T11:50:00",
        );
        check(
            "0 0 1 * *",
            noon,
            "2026-12-01T00:00:00",
            "2026-11-01T00:00:00",
        );
        check(
            "0 0 * * SUN",
            noon,
            "2026-11-29T00:00:00",
            "2026-11-22T00:00:00",
        );
        check(
            "0 0 * * 7",
            noon,
            "2026-11-29T00:00:00",
            "2026-11-22T00:00:00",
        );
        check(
            "0 0 * * mon-fri",
            noon,
            "2026-11-24T00:00:00",
            "2026-11-23T00:00:00",
        );
        check(
            "0 0 1 jan *",
            noon,
            "2027-01-01T00:00:00",
            "2026-01-01T00:00:00",
        );
        // Either day suffices.
        check(
            "0 0 1 * wed",
            noon,
            "2026-11-25T00:00:00",
            "2026-11-18T00:00:00",
        );
        check(
            "0 0 29 2 *",
            noon,
            "2028-02-29T00:00:00",
            "2024-02-29T00:00:00",
        );
        check(
            "0 0 31 * *",
            noon,
            "2026-12-31T00:00:00",
            "2026-10-31T00:00:00",
        );
    }

    #[test]
    fn seconds_do_not_count() {
        check(
            "* * * * *",
            "2026-11-23T12:00:59.9",
            "2026-11-23T12:01:00",
            "2026-11-23T12:00:00",
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "-1 * * * *",
            "1,, * * * *",
            "+1 * * * *",
            "0 0 30 feb *",
            "0 0 31 4 *",
        ] {
            assert!(Cron::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn next_and_last_agree() {
        for text in ["*/7 3,4 * * *", "59 23 28-31 * 5", "0 0 29 feb *"] {
            let cron = Cron::parse(text).unwrap();
            let mut at = time("2026-01-01T00:00:00");
            for _ in 0..50 {
                let next = cron.next_after(at).unwrap();
                assert!(next > at);
                assert_eq!(cron.last_until(next), Some(next), "{text}");
                let before = next - k8s_openapi::jiff::SignedDuration::from_secs(1);
                assert!(
                    cron.last_until(before).is_none_or(|last| last <= at),
                    "{text}"
                );
                at = next;
            }
        }
    }
}
