//! The command line: what was asked for, read into types. Values of settings stay text here and
//! are judged together with file and environment by [`crate::config`].

mod snapshot;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command as Clap, value_parser};

use crate::config::{Config, FlagValue, Inputs, SETTINGS, legacy};
use crate::exit;
use crate::snapshot::SnapshotCommand;
use crate::tools::{Directories, ExportOptions, Format, ImportOptions, RepairOptions, Target};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Run the node.
    Serve(Inputs),
    /// Print the configuration in force.
    ConfigShow(Inputs),
    /// Print every fault of the configuration.
    ConfigCheck(Inputs),
    /// Read every byte of a data directory.
    Verify(Directories),
    /// Make a damaged data directory usable again.
    Repair(RepairOptions),
    /// Take, list, carry, restore or remove snapshots.
    Snapshot(SnapshotCommand),
    /// Documents from a file into a collection.
    Import(ImportOptions),
    /// Documents of a collection into a file.
    Export(ExportOptions),
}

/// The command line, read.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// What to say about flags that mean nothing here.
    pub warnings: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  godb --data-dir data
      a node on 127.0.0.1:8080, metrics and probes on 127.0.0.1:8081
  godb --data-dir data --durability full --listen 0.0.0.0:8080
      every acknowledged write survives a power cut; reachable from other machines
  curl -X POST localhost:8080/collections/people -H 'content-type: application/json' \\
       -d '{\"name\":\"Ada\",\"born\":1815}'
  curl 'localhost:8080/collections/people/find?name=Ada'
  godb config show --config godb.yaml
      what is in force, and where each value came from
  godb import people.ndjson --collection people --url http://127.0.0.1:8080
  godb export --collection people --data-dir data > people.ndjson
  godb verify data
  godb repair data --dry-run
      what of a damaged database can be kept; without --dry-run keeps it, and the files as they were

Settings come from flags, GODB_… variables (--max-wal-size is GODB_MAX_WAL_SIZE) and the YAML file
of --config or GODB_CONFIG (max_wal_size: 64MiB); a flag wins over a variable, a variable over the
file. Sizes: 64MiB, 512M, 1Gi. Times: 30s, 500ms, 1h30m. The flags of go-db (-port -data-dir
-durability -max-memory -wal-dir -checkpoint-dir -v2 -no-saves) work with one or two dashes.";

/// Reads arguments, the program's name first.
///
/// # Errors
/// What to print and how to end: also for `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| {
            argument
                .into_string()
                .map_err(|text| not_utf8("the argument", &text))
        })
        .collect::<Result<_, _>>()?;
    let matches = root().try_get_matches_from(legacy::rewrite(arguments))?;
    let environment = environment()?;
    let mut warnings = Vec::new();
    let command = match matches.subcommand() {
        None => Command::Serve(inputs(&matches, environment, &mut warnings)),
        Some(("serve", sub)) => Command::Serve(inputs(sub, environment, &mut warnings)),
        Some(("config", sub)) => match sub.subcommand() {
            Some(("show", sub)) => Command::ConfigShow(inputs(sub, environment, &mut warnings)),
            Some((_, sub)) => Command::ConfigCheck(inputs(sub, environment, &mut warnings)),
            None => {
                return Err(root().error(ErrorKind::MissingSubcommand, "config show, or check?"));
            }
        },
        Some(("verify", sub)) => Command::Verify(Directories {
            data_dir: path(sub, "dir").unwrap_or_default(),
            wal_dir: path(sub, "wal_dir"),
            checkpoint_dir: path(sub, "checkpoint_dir"),
        }),
        Some(("repair", sub)) => Command::Repair(RepairOptions {
            directories: Directories {
                data_dir: path(sub, "dir").unwrap_or_default(),
                wal_dir: path(sub, "wal_dir"),
                checkpoint_dir: path(sub, "checkpoint_dir"),
            },
            originals: path(sub, "originals"),
            dry_run: sub.get_flag("dry_run"),
        }),
        Some(("snapshot", sub)) => Command::Snapshot(snapshot::command(sub).ok_or_else(|| {
            root().error(ErrorKind::MissingSubcommand, "snapshot create, list, …?")
        })?),
        Some(("import", sub)) => Command::Import(ImportOptions {
            file: path(sub, "file").unwrap_or_default(),
            collection: text(sub, "collection").unwrap_or_default(),
            target: target(sub),
            format: match text(sub, "format").as_deref() {
                Some("ndjson") => Some(Format::Ndjson),
                Some("array") => Some(Format::Array),
                Some("map") => Some(Format::Map),
                _ => None,
            },
            id_prefix: text(sub, "id_prefix"),
        }),
        Some((_, sub)) => Command::Export(ExportOptions {
            file: path(sub, "file"),
            collection: text(sub, "collection").unwrap_or_default(),
            target: target(sub),
            format: match text(sub, "format").as_deref() {
                Some("array") => Format::Array,
                _ => Format::Ndjson,
            },
        }),
    };
    Ok(Invocation { command, warnings })
}

/// The variables that concern us.
fn environment() -> Result<Vec<(String, String)>, clap::Error> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("GODB_"))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(text) => Err(not_utf8(&name, &text)),
        })
        .collect()
}

/// A path that was changed to fit would be another path.
fn not_utf8(what: &str, text: &OsStr) -> clap::Error {
    let message = format!("{what} is not UTF-8: {}\n", text.display());
    root().error(ErrorKind::InvalidUtf8, message)
}

fn inputs(
    matches: &ArgMatches,
    environment: Vec<(String, String)>,
    warnings: &mut Vec<String>,
) -> Inputs {
    for (switch, note) in legacy::SWITCHES {
        if matches.get_flag(switch) {
            warnings.push((*note).to_owned());
        }
    }
    let mut flags = Vec::new();
    if let Some(port) = text(matches, "port") {
        flags.push(legacy::port(&port));
    }
    for setting in SETTINGS {
        if let Some(value) = text(matches, setting.key) {
            flags.push(FlagValue {
                key: setting.key,
                flag: format!("--{}", setting.flag()),
                value: legacy::flag_value(setting.key, value),
            });
        }
    }
    Inputs {
        config_file: path(matches, "config"),
        environment,
        flags,
    }
}

fn target(matches: &ArgMatches) -> Target {
    match path(matches, "data_dir") {
        Some(data_dir) => Target::Directories(Directories {
            data_dir,
            wal_dir: path(matches, "wal_dir"),
            checkpoint_dir: path(matches, "checkpoint_dir"),
        }),
        None => Target::Url(text(matches, "url").unwrap_or_default()),
    }
}

fn text(matches: &ArgMatches, id: &str) -> Option<String> {
    matches.get_one::<String>(id).cloned()
}

fn path(matches: &ArgMatches, id: &str) -> Option<PathBuf> {
    matches.try_get_one::<PathBuf>(id).ok().flatten().cloned()
}

fn root() -> Clap {
    let command = Clap::new("godb")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A durable JSON document store. Without a subcommand it serves.")
        .after_help(format!("{EXAMPLES}\n\n{}", exit::TABLE))
        .args_conflicts_with_subcommands(true)
        // As go-db does it: the last one counts.
        .args_override_self(true)
        .subcommand(with_settings(
            Clap::new("serve").about("Run the node (the default)"),
        ))
        .subcommand(
            Clap::new("config")
                .about("Show or check the configuration")
                .subcommand_required(true)
                .subcommand(with_settings(Clap::new("show").about(
                    "Print the configuration in force, and where each value came from",
                )))
                .subcommand(with_settings(
                    Clap::new("check").about("Print every fault; exit 64 if there is one"),
                )),
        )
        .subcommand(verify())
        .subcommand(repair())
        .subcommand(snapshot::definition())
        .subcommand(import())
        .subcommand(export());
    with_settings(command)
}

fn verify() -> Clap {
    Clap::new("verify")
        .about("Read every byte of a data directory that no node is using; change nothing")
        .arg(path_arg("dir", "DIR", "The data directory").required(true))
        .arg(path_arg("wal_dir", "DIR", "The log, if it lies elsewhere").long("wal-dir"))
        .arg(
            path_arg("checkpoint_dir", "DIR", "The tables, if they lie elsewhere")
                .long("checkpoint-dir"),
        )
}

fn repair() -> Clap {
    Clap::new("repair")
        .about("Make a damaged data directory that no node is using open again")
        .after_help(
            "Nothing that is provably whole is given up: tables block by block, the log frame by \
             frame. It prints what is lost (file, offset, LSNs, documents) and what is kept, \
             puts the files as they were into DIR.before-repair-1 (or the next free number), and \
             builds indexes and counts anew. Killed at any moment, it leaves the damaged database \
             or the repaired one. It needs room for a second copy of the data. Exit codes: 0 \
             nothing was damaged, or all of it could be kept; 79 repaired, with losses; 65 damage \
             found in a dry run. Restore a backup instead where you have one.",
        )
        .arg(path_arg("dir", "DIR", "The data directory").required(true))
        .arg(path_arg("wal_dir", "DIR", "The log, if it lies elsewhere").long("wal-dir"))
        .arg(
            path_arg("checkpoint_dir", "DIR", "The tables, if they lie elsewhere")
                .long("checkpoint-dir"),
        )
        .arg(
            path_arg(
                "originals",
                "DIR",
                "Where the files as they were go [default: beside the directory]",
            )
            .long("originals"),
        )
        .arg(
            Arg::new("dry_run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only print what would be done"),
        )
}

fn import() -> Clap {
    Clap::new("import")
        .about("Bring documents from a file into a collection")
        .after_help(
            "The file is read twice: first every document is checked, and nothing is written if \
             one is wrong; then they are written in batches, each all or nothing. A document \
             without `_id` gets one made of the file's fingerprint and its position, and a \
             document whose `_id` exists is left as it is. So the same command can be run again \
             after any interruption: it goes on, and never makes a document twice. A node that \
             does not answer, is busy or has no space left (507) is asked again for up to 60 s, \
             and standard error says so; then the exit code is 69, or 74 for a 507. With \
             --data-dir, a directory or database that is missing is made once the file was \
             checked.",
        )
        .arg(
            path_arg(
                "file",
                "FILE",
                "The file; - reads standard input (needs --id-prefix)",
            )
            .required(true),
        )
        .arg(collection_arg())
        .arg(url_arg())
        .args(directory_args())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["ndjson", "array", "map"])
                .help(
                    "ndjson: one document a line; array: a JSON array; map: one JSON object whose \
                     values are documents and whose keys become their _id [default: array if the \
                     file starts with [, otherwise ndjson]",
                ),
        )
        .arg(
            Arg::new("id_prefix")
                .long("id-prefix")
                .value_name("TEXT")
                .help("Start of made ids, in place of the file's fingerprint"),
        )
}

fn export() -> Clap {
    Clap::new("export")
        .about("Write the documents of a collection to a file or standard output")
        .arg(path_arg(
            "file",
            "FILE",
            "Where to [default: standard output]",
        ))
        .arg(collection_arg())
        .arg(url_arg())
        .args(directory_args())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["ndjson", "array"])
                .default_value("ndjson")
                .help("ndjson: one document a line; array: a JSON array"),
        )
}

fn path_arg(id: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name(value_name)
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn collection_arg() -> Arg {
    Arg::new("collection")
        .long("collection")
        .short('c')
        .value_name("NAME")
        .required(true)
        .help("The collection")
}

fn url_arg() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .default_value("http://127.0.0.1:8080")
        .conflicts_with("data_dir")
        .help("A running node")
}

fn directory_args() -> [Arg; 3] {
    let data = path_arg(
        "data_dir",
        "DIR",
        "A data directory that no node is using, in place of --url",
    )
    .long("data-dir");
    let elsewhere = |id: &'static str, flag: &'static str, help: &'static str| {
        path_arg(id, "DIR", help).long(flag).requires("data_dir")
    };
    [
        data,
        elsewhere("wal_dir", "wal-dir", "Its log, if it lies elsewhere"),
        elsewhere(
            "checkpoint_dir",
            "checkpoint-dir",
            "Its tables, if they lie elsewhere",
        ),
    ]
}

fn with_settings(command: Clap) -> Clap {
    let defaults = Config::default();
    let mut command = command.arg(
        path_arg(
            "config",
            "FILE",
            "YAML file with settings [env: GODB_CONFIG]",
        )
        .long("config"),
    );
    for setting in SETTINGS {
        let default = (setting.get)(&defaults);
        let mut help = setting.help.to_owned();
        if !default.is_empty() {
            help.push_str(&format!(" [default: {default}]"));
        }
        help.push_str(&format!(" [env: {}]", setting.variable()));
        command = command.arg(
            Arg::new(setting.key)
                .long(setting.flag())
                .value_name(setting.value_name)
                .allow_hyphen_values(true)
                .help(help),
        );
    }
    command = command.arg(
        // go-db's; two addresses in one command are one too many.
        Arg::new("port")
            .long("port")
            .hide(true)
            .conflicts_with("listen"),
    );
    for (switch, _) in legacy::SWITCHES {
        command = command.arg(
            Arg::new(*switch)
                .long(*switch)
                .action(ArgAction::SetTrue)
                .hide(true),
        );
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(line: &str) -> (Inputs, Vec<String>) {
        let arguments = std::iter::once("godb").chain(line.split_whitespace());
        let invocation = parse(arguments.map(OsString::from)).unwrap();
        match invocation.command {
            Command::Serve(inputs) => (inputs, invocation.warnings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        root().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        for line in [
            "--data-dir D --durability full",
            "serve --data-dir D --durability full",
        ] {
            let (inputs, _) = serve(line);
            let flags: Vec<_> = inputs
                .flags
                .iter()
                .map(|f| (f.key, f.value.as_str()))
                .collect();
            assert_eq!(flags, [("data_dir", "D"), ("durability", "full")]);
        }
    }

    #[test]
    fn import_and_export_know_where_log_and_tables_lie() {
        let parsed = |line: &str| {
            parse(line.split_whitespace().map(OsString::from)).map(|found| found.command)
        };
        let tail = "--data-dir D --wal-dir W --checkpoint-dir C";
        let expected = Target::Directories(Directories {
            data_dir: "D".into(),
            wal_dir: Some("W".into()),
            checkpoint_dir: Some("C".into()),
        });
        match parsed(&format!("godb export --collection c {tail}")).unwrap() {
            Command::Export(options) => assert_eq!(options.target, expected),
            other => panic!("{other:?}"),
        }
        match parsed(&format!("godb import f --collection c {tail}")).unwrap() {
            Command::Import(options) => assert_eq!(options.target, expected),
            other => panic!("{other:?}"),
        }
        assert!(parsed("godb export --collection c --wal-dir W").is_err());
    }

    #[test]
    fn an_argument_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let arguments = [
            "godb".into(),
            "--data-dir".into(),
            OsString::from_vec(vec![0xff]),
        ];
        assert_eq!(parse(arguments).unwrap_err().kind(), ErrorKind::InvalidUtf8);
    }

    #[test]
    fn the_flags_of_go_db_work() {
        let (inputs, warnings) = serve(
            "-port 9090 -data-dir D -durability=os -max-memory 256 -wal-dir W -checkpoint-dir C -v2 -no-saves",
        );
        let values: Vec<_> = inputs
            .flags
            .iter()
            .map(|f| (f.key, f.value.as_str()))
            .collect();
        assert_eq!(
            values,
            [
                ("listen", "127.0.0.1:9090"),
                ("data_dir", "D"),
                ("wal_dir", "W"),
                ("checkpoint_dir", "C"),
                ("durability", "os"),
                ("max_memory", "256MiB"),
            ]
        );
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn help_teaches() {
        let help = root().render_help().to_string();
        for part in [
            "Examples:",
            "Exit codes:",
            "GODB_DURABILITY",
            "[default: 127.0.0.1:8080]",
            "import",
            "verify",
            "--shutdown-grace",
        ] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn unknown_flags_and_subcommands_are_refused() {
        for line in [
            "--no-such-flag",
            "frobnicate",
            "verify",
            "import f",
            "config",
            "serve extra",
            "-port 1 --listen 127.0.0.1:2",
            "serve --listen 127.0.0.1:2 -port 1",
            "import f -c c --url http://h --data-dir D",
            "export -c c --data-dir D --url http://h",
        ] {
            let arguments = std::iter::once("godb").chain(line.split_whitespace());
            let error = parse(arguments.map(OsString::from)).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{line}");
        }
    }
}
