//! The command line: what was asked for, read into types. Values of settings stay text here and
//! are judged together with file and environment by [`crate::config`].

mod snapshot;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command as Clap, value_parser};

use crate::auth::Role;
use crate::config::{Config, FlagValue, Inputs, SETTINGS, legacy};
use crate::exit;
use crate::snapshot::SnapshotCommand;
use crate::tools::{
    Directories, Existing, ExportAllOptions, ExportOptions, Format, ImportAllOptions,
    ImportOptions, NodeAddress, RepairOptions, Target,
};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Run the node.
    Serve(Inputs),
    /// Print the configuration in force.
    ConfigShow(Inputs),
    /// Print every fault of the configuration.
    ConfigCheck(Inputs),
    /// Make a token.
    TokenCreate {
        /// Whose it is.
        name: String,
        /// What it allows.
        role: Role,
    },
    /// Read every byte of a data directory.
    Verify(Directories),
    /// Make a damaged data directory usable again.
    Repair(RepairOptions),
    /// Take, list, carry, restore or remove snapshots.
    Snapshot(SnapshotCommand),
    /// Documents from a file into a collection.
    Import(ImportOptions),
    /// A whole database from a file.
    ImportAll(ImportAllOptions),
    /// A whole database into a file.
    ExportAll(ExportAllOptions),
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
  godb snapshot pull --to /backup/db
      a backup of a running node; `godb snapshot --help` has the rest
  godb export --all backup.godb --url http://127.0.0.1:8080
      every collection with its indexes as of one moment; godb import --all backup.godb reads it
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
        Some(("token", sub)) => match sub.subcommand() {
            Some((_, sub)) => Command::TokenCreate {
                name: text(sub, "name").unwrap_or_default(),
                role: sub.get_one("role").copied().unwrap_or(Role::Read),
            },
            None => return Err(root().error(ErrorKind::MissingSubcommand, "token create?")),
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
        Some(("import", sub)) if sub.get_flag("all") => Command::ImportAll(ImportAllOptions {
            file: path(sub, "file").unwrap_or_default(),
            target: target(sub),
            existing: match (sub.get_flag("merge"), sub.get_flag("replace")) {
                (true, _) => Existing::Merge,
                (_, true) => Existing::Replace,
                _ => Existing::Refuse,
            },
        }),
        Some(("export", sub)) if sub.get_flag("all") => Command::ExportAll(ExportAllOptions {
            file: path(sub, "file"),
            target: target(sub),
        }),
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
        None => Target::Node(NodeAddress {
            url: text(matches, "url").unwrap_or_default(),
            token_file: path(matches, "token_file"),
        }),
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
        .subcommand(token())
        .subcommand(verify())
        .subcommand(repair())
        .subcommand(snapshot::definition())
        .subcommand(import())
        .subcommand(export());
    with_settings(command)
}

fn token() -> Clap {
    Clap::new("token")
        .about("Make a token that a node can ask for")
        .subcommand_required(true)
        .subcommand(
            Clap::new("create")
                .about("Print a new token, and the line of --auth-tokens-file that lets it in")
                .arg(
                    Arg::new("name")
                        .value_name("NAME")
                        .required(true)
                        .help("Whose it is; the audit log shows it"),
                )
                .arg(
                    Arg::new("role")
                        .long("role")
                        .value_name("ROLE")
                        .default_value("read")
                        .value_parser(|text: &str| text.parse::<Role>())
                        .help("read; write: read and write; admin: both, and /admin/*"),
                ),
        )
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
        .about("Bring documents from a file into a collection, or a whole database with --all")
        .after_help(
            "The file is read twice: first every document is checked, and nothing is written if \
             one is wrong; then they are written in batches, each all or nothing. A document \
             without `_id` gets one made of the file's fingerprint and its position, and a \
             document whose `_id` exists is left as it is. So the same command can be run again \
             after any interruption: it goes on, and never makes a document twice. A node that \
             does not answer, is busy or has no space left (507) is asked again for up to 60 s, \
             and standard error says so; then the exit code is 69, or 74 for a 507. With \
             --data-dir, a directory or database that is missing is made once the file was \
             checked.\n\n\
             With --all, the file is one that `godb export --all` wrote: every collection with its \
             indexes. Where a collection of the file has documents that the file has not, or has \
             otherwise, nothing is written (exit code 73), unless --merge or --replace says what to \
             do. What an interrupted import wrote is the file's own: run the same command again, and \
             it goes on.",
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
        .arg(token_arg())
        .args(directory_args())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["ndjson", "array", "map"])
                .help(
                    "ndjson: one document a line; array: a JSON array; map: one JSON object whose \
                     values are documents and whose keys become their _id [default: array if the \
                     file starts with [, otherwise ndjson]",
                )
                .conflicts_with("all"),
        )
        .arg(all_arg("Import a whole database from FILE"))
        .arg(
            Arg::new("merge")
                .long("merge")
                .action(ArgAction::SetTrue)
                .requires("all")
                .conflicts_with_all(["replace", "collection"])
                .help("With --all: documents that exist stay as they are, missing ones are added"),
        )
        .arg(
            Arg::new("replace")
                .long("replace")
                .action(ArgAction::SetTrue)
                .requires("all")
                .conflicts_with("collection")
                .help(
                    "With --all: documents that differ are replaced, and documents of the file's \
                     collections that it has not are REMOVED; other collections stay",
                ),
        )
        .arg(
            Arg::new("id_prefix")
                .long("id-prefix")
                .value_name("TEXT")
                .conflicts_with("all")
                .help("Start of made ids, in place of the file's fingerprint"),
        )
}

fn export() -> Clap {
    Clap::new("export")
        .about(
            "Write the documents of a collection, or a whole database with --all, to a file or \
             standard output",
        )
        .after_help(
            "With --all, the file holds every collection with its indexes and documents as of one \
             moment, as text, one JSON value a line, with counts and a checksum at its end \
             (docs/export.md). A file gets its name only when it is complete and on disk.",
        )
        .arg(path_arg(
            "file",
            "FILE",
            "Where to [default: standard output]",
        ))
        .arg(collection_arg())
        .arg(all_arg("Export the whole database"))
        .arg(url_arg())
        .arg(token_arg())
        .args(directory_args())
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["ndjson", "array"])
                .default_value("ndjson")
                .conflicts_with("all")
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
        .required_unless_present("all")
        .conflicts_with("all")
        .help("The collection")
}

fn all_arg(help: &'static str) -> Arg {
    Arg::new("all")
        .long("all")
        .action(ArgAction::SetTrue)
        .help(help)
}

fn url_arg() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .default_value("http://127.0.0.1:8080")
        .conflicts_with("data_dir")
        .help("A running node")
}

fn token_arg() -> Arg {
    path_arg(
        "token_file",
        "FILE",
        "File with a token for that node [default: the token in GODB_TOKEN]",
    )
    .long("token-file")
    .conflicts_with("data_dir")
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
mod tests;
