//! `godb snapshot …` on the command line.

use clap::{Arg, ArgAction, ArgMatches, Command as Clap, value_parser};

use super::{directory_args, path, path_arg, text};
use crate::snapshot::{Place, PullOptions, RestoreOptions, SnapshotCommand};
use crate::tools::{Directories, NodeAddress};

const EXAMPLES: &str = "\
Examples:
  godb snapshot create before-upgrade
      of the node whose admin port is 127.0.0.1:8081; writers and readers go on
  godb snapshot pull --to /backup/db
      take one, bring it to a directory, and let it go at the node: what a cron job does;
      only tables that are not there yet are sent
  godb snapshot pull before-upgrade --to /backup/db --url http://db:8081 --token-file token
  godb snapshot prune --keep 7 --dir /backup/db
  godb snapshot verify --dir /backup/db
      read every byte and every document, and hold them against what was written down
  godb snapshot restore --from /backup/db --data-dir data
      the newest one, as a database that `godb --data-dir data` serves

A restore brings back the state of the snapshot. What was written after it is not in it.";

/// The subcommand.
pub(super) fn definition() -> Clap {
    Clap::new("snapshot")
        .about("Take, list, verify, carry, restore or remove snapshots")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Clap::new("create")
                .about("Take a snapshot; one of that name that is there already is fine")
                .arg(name_arg("Its name [default: the time in UTC]"))
                .args(node_args())
                .args(directory_args()),
        )
        .subcommand(
            Clap::new("list")
                .about("List snapshots, by name")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As a JSON array"),
                )
                .args(place_args()),
        )
        .subcommand(
            Clap::new("verify")
                .about("Read every byte and every document of one snapshot, or of all")
                .arg(name_arg("Which one [default: all]"))
                .args(place_args()),
        )
        .subcommand(
            Clap::new("delete")
                .about("Remove a snapshot, and what only it needed")
                .arg(name_arg("Which one").required(true))
                .arg(
                    Arg::new("force")
                        .long("force")
                        .action(ArgAction::SetTrue)
                        .help("Also while it is being pulled; that pull then fails"),
                )
                .arg(
                    Arg::new("if_exists")
                        .long("if-exists")
                        .action(ArgAction::SetTrue)
                        .help("No failure if it, or the whole directory, is not there"),
                )
                .args(place_args()),
        )
        .subcommand(
            Clap::new("prune")
                .about("Remove all snapshots but the newest")
                .arg(
                    Arg::new("keep")
                        .long("keep")
                        .value_name("N")
                        .value_parser(value_parser!(u32).range(1..))
                        .required(true)
                        .help("How many stay"),
                )
                .args(place_args()),
        )
        .subcommand(
            Clap::new("pull")
                .about("Bring a snapshot to a directory")
                .after_help(
                    "Tables that are there already are not sent again; each one is read back and \
                     verified as it lands, and the manifest is written last. So a pull that was \
                     interrupted leaves no snapshot; the same command goes on with what is there.",
                )
                .arg(name_arg(
                    "Which one [default: a new one, removed at its source afterwards]",
                ))
                .arg(
                    path_arg(
                        "to",
                        "DIR",
                        "Where to; a directory or s3://BUCKET/PREFIX for each database",
                    )
                    .long("to")
                    .required(true),
                )
                .args(place_args()),
        )
        .subcommand(
            Clap::new("restore")
                .about("Make a database of a snapshot")
                .after_help(
                    "Every byte of the copy is verified before it becomes a database. With \
                     --replace it is made beside the one that is there, which needs space for \
                     both; then the two change places in one step, and the old one is kept as \
                     DIR.before-restore-1 (or the next free number). LSNs go on above all that \
                     were given out when the snapshot was taken. Interrupted at any moment, it \
                     leaves the old database, or the new one.",
                )
                .arg(name_arg("Which one [default: the newest]"))
                .arg(
                    path_arg(
                        "from",
                        "DIR",
                        "Directory of snapshots, s3://BUCKET/PREFIX, or a data directory",
                    )
                    .long("from")
                    .required(true),
                )
                .args(directory_args().map(|arg| {
                    let is_target = arg.get_id() == "data_dir";
                    let arg = arg.required(is_target);
                    if is_target {
                        arg.help("Where the database shall be")
                    } else {
                        arg
                    }
                }))
                .arg(
                    Arg::new("replace")
                        .long("replace")
                        .action(ArgAction::SetTrue)
                        .help("In place of the database that is there, which is kept beside it"),
                ),
        )
}

/// What was asked for.
pub(super) fn command(matches: &ArgMatches) -> Option<SnapshotCommand> {
    let name = |sub: &ArgMatches| text(sub, "name");
    let (asked, sub) = matches.subcommand()?;
    Some(match asked {
        "create" => SnapshotCommand::Create {
            name: name(sub),
            place: place(sub),
        },
        "verify" => SnapshotCommand::Verify {
            name: name(sub),
            place: place(sub),
        },
        "delete" => SnapshotCommand::Delete {
            name: name(sub).unwrap_or_default(),
            place: place(sub),
            force: sub.get_flag("force"),
            if_exists: sub.get_flag("if_exists"),
        },
        "prune" => {
            let keep = sub.get_one::<u32>("keep").copied().unwrap_or(u32::MAX);
            SnapshotCommand::Prune {
                keep: usize::try_from(keep).unwrap_or(usize::MAX),
                place: place(sub),
            }
        }
        "pull" => SnapshotCommand::Pull(PullOptions {
            name: name(sub),
            place: place(sub),
            to: path(sub, "to").unwrap_or_default(),
        }),
        "restore" => SnapshotCommand::Restore(RestoreOptions {
            name: name(sub),
            from: path(sub, "from").unwrap_or_default(),
            directories: directories(sub).unwrap_or_default(),
            replace: sub.get_flag("replace"),
        }),
        _ => SnapshotCommand::List {
            place: place(sub),
            json: sub.get_flag("json"),
        },
    })
}

fn place(matches: &ArgMatches) -> Place {
    if let Some(dir) = path(matches, "dir") {
        return Place::Folder(dir);
    }
    match directories(matches) {
        Some(directories) => Place::Database(directories),
        None => Place::Node(NodeAddress {
            url: text(matches, "url").unwrap_or_default(),
            token_file: path(matches, "token_file"),
        }),
    }
}

fn directories(matches: &ArgMatches) -> Option<Directories> {
    path(matches, "data_dir").map(|data_dir| Directories {
        data_dir,
        wal_dir: path(matches, "wal_dir"),
        checkpoint_dir: path(matches, "checkpoint_dir"),
    })
}

fn name_arg(help: &'static str) -> Arg {
    Arg::new("name").value_name("NAME").help(help)
}

fn node_args() -> [Arg; 2] {
    [
        Arg::new("url")
            .long("url")
            .value_name("URL")
            .default_value("http://127.0.0.1:8081")
            .conflicts_with("data_dir")
            .help("The admin port of a running node"),
        path_arg(
            "token_file",
            "FILE",
            "File with a token of role admin [default: the token in GODB_TOKEN] [env: GODB_ADMIN_TOKEN_FILE]",
        )
        .long("token-file")
        .env("GODB_ADMIN_TOKEN_FILE")
        .hide_env(true),
    ]
}

/// A node, a database that none is using, or a directory of snapshots.
fn place_args() -> Vec<Arg> {
    let dir = path_arg(
        "dir",
        "DIR",
        "A directory of snapshots or s3://BUCKET/PREFIX, in place of --url",
    )
    .long("dir")
    .conflicts_with_all(["url", "data_dir"]);
    let mut arguments = Vec::from(node_args());
    arguments.extend(directory_args());
    arguments.push(dir);
    arguments
}
