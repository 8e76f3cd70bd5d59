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
    let parsed =
        |line: &str| parse(line.split_whitespace().map(OsString::from)).map(|found| found.command);
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
