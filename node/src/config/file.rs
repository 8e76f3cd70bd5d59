//! The configuration file: a YAML mapping, read so that a fault names its line.

use std::fmt;

use serde_yaml::Value;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Keys and values in the order of the file, a key that is given again included.
///
/// # Errors
/// What is wrong with the YAML, for a person.
pub fn entries(text: &str) -> Result<Vec<(Value, Value)>, String> {
    // Editors of some systems put a byte order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::from_str(text)
        .map(|Entries(entries)| entries)
        .map_err(|error| error.to_string())
}

/// The line, from 1, on which the top-level `key` stands for the `times + 1`st time, if it is
/// written as people write it.
pub fn line_of(text: &str, key: &str, times: usize) -> Option<usize> {
    let is_it = |line: &str| {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        line.split_once(':')
            .is_some_and(|(name, _)| name.trim_end().trim_matches(['"', '\'']) == key)
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| is_it(line))
        .nth(times)
        .map(|(place, _)| place + 1)
}

struct Entries(Vec<(Value, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of settings, `key: value` a line")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_none<E>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_any(Reading)
    }
}
