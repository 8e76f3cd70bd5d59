//! The flags of go-db, with one or two dashes, as its users type them.

use super::FlagValue;
use super::settings;

/// go-db's flags that carry a value, and what they are called here.
const VALUES: &[(&str, &str)] = &[
    ("port", "port"),
    ("data-dir", "data-dir"),
    ("durability", "durability"),
    ("max-memory", "max-memory"),
    ("wal-dir", "wal-dir"),
    ("checkpoint-dir", "checkpoint-dir"),
];

/// go-db's switches, and what to tell who uses them.
pub const SWITCHES: &[(&str, &str)] = &[
    (
        "v2",
        "-v2 is accepted and changes nothing: the write-ahead-log engine is the only one here",
    ),
    (
        "no-saves",
        "-no-saves is accepted and changes nothing: checkpoints keep the log short and are always \
         on; for data that may be lost use --durability none",
    ),
];

/// Gives go-db's flags their second dash and takes values off its switches (`-v2=true`), so that
/// the ordinary parser reads them. Arguments after `--` are left alone.
pub fn rewrite(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut passthrough = false;
    arguments
        .into_iter()
        .map(|argument| {
            passthrough |= argument == "--";
            if passthrough {
                argument
            } else {
                rewrite_one(&argument).unwrap_or(argument)
            }
        })
        .collect()
}

fn rewrite_one(argument: &str) -> Option<String> {
    let name = argument
        .strip_prefix("--")
        .or_else(|| argument.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    if let Some((switch, _)) = SWITCHES.iter().find(|(switch, _)| *switch == name) {
        return Some(format!("--{switch}"));
    }
    let (_, target) = VALUES.iter().find(|(old, _)| *old == name)?;
    Some(match value {
        Some(value) => format!("--{target}={value}"),
        None => format!("--{target}"),
    })
}

/// `-port N`: only the port of the address; the host stays loopback, as everything that listens
/// to the world has to be asked for by `--listen`.
pub fn port(value: &str) -> FlagValue {
    FlagValue {
        key: "listen",
        flag: "-port".to_owned(),
        value: format!("127.0.0.1:{value}"),
    }
}

/// As a flag, `max-memory` counts megabytes when it has no unit.
pub fn flag_value(key: &'static str, value: String) -> String {
    let bare =
        key == "max_memory" && !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    debug_assert!(settings::find(key).is_some());
    if bare { format!("{value}MiB") } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        rewrite(line.split_whitespace().map(str::to_owned)).join(" ")
    }

    #[test]
    fn one_dash_and_two_dashes_are_the_same() {
        assert_eq!(
            rewritten("-port 9 -data-dir=d -durability full -max-memory=256 -v2 -no-saves=true"),
            "--port 9 --data-dir=d --durability full --max-memory=256 --v2 --no-saves"
        );
        assert_eq!(rewritten("--port=9 --v2=false"), "--port=9 --v2");
    }

    #[test]
    fn other_arguments_are_left_alone() {
        for line in [
            "serve -h",
            "import -",
            "-x",
            "--listen :1",
            "verify -- -port",
            "-",
        ] {
            assert_eq!(rewritten(line), line);
        }
    }

    #[test]
    fn a_bare_memory_flag_is_megabytes() {
        assert_eq!(flag_value("max_memory", "512".into()), "512MiB");
        assert_eq!(flag_value("max_memory", "1Gi".into()), "1Gi");
        assert_eq!(flag_value("max_connections", "512".into()), "512");
    }
}
