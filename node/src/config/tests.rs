use super::*;
use std::io::Write as _;
use std::time::Duration;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn flag(key: &'static str, value: &str) -> FlagValue {
    FlagValue {
        key,
        flag: format!("--{}", key.replace('_', "-")),
        value: value.to_owned(),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = file(
        "durability: none\nmax_wal_size: 48MiB\ncheckpoint_interval: 5s\nmax_memory: 67108864\n",
    );
    let resolved = resolve(&Inputs {
        config_file: Some(file.path().into()),
        environment: environment(&[
            ("GODB_DURABILITY", "memory"),
            ("GODB_MAX_WAL_SIZE", "64MiB"),
        ]),
        flags: vec![flag("durability", "full")],
    })
    .unwrap();
    let live = &resolved.config.live;
    assert_eq!(live.durability, godb_store::Durability::Full);
    assert_eq!(live.max_wal_bytes, 64 << 20);
    assert_eq!(live.checkpoint_interval, Duration::from_secs(5));
    assert_eq!(live.max_memory_bytes, 64 << 20);
    assert_eq!(
        *resolved.source("durability"),
        Source::Flag("--durability".into())
    );
    assert_eq!(
        *resolved.source("max_wal_size"),
        Source::Environment("GODB_MAX_WAL_SIZE".into())
    );
    assert_eq!(
        *resolved.source("checkpoint_interval"),
        Source::File(file.path().into())
    );
    assert_eq!(*resolved.source("listen"), Source::Default);
}

#[test]
fn every_fault_is_reported_at_once_with_its_source() {
    let file = file("durabilty: full\nmax_wal_size: 1\nlisten: [1, 2]\n");
    let Faults(faults) = resolve(&Inputs {
        config_file: Some(file.path().into()),
        environment: environment(&[("GODB_CHECKPOINT_INTERVAL", "soon")]),
        flags: vec![flag("log_level", "loud"), flag("max_connections", "0")],
    })
    .unwrap_err();
    let all = faults.join("\n");
    assert_eq!(faults.len(), 6, "{all}");
    assert!(
        all.contains("there is no setting `durabilty`, did you mean `durability`?"),
        "{all}"
    );
    assert!(all.contains("listen: must be a single value"), "{all}");
    assert!(
        all.contains("environment GODB_CHECKPOINT_INTERVAL: `soon`"),
        "{all}"
    );
    assert!(all.contains("flag --log-level: `loud`"), "{all}");
    assert!(all.contains("flag --max-connections: `0`"), "{all}");
    assert!(
        all.contains(&format!(
            "file {}: max_wal_size of 1 bytes",
            file.path().display()
        )),
        "{all}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    for text in ["a: b: c", "- 1\n", "word\n", "a: [\n"] {
        let file = file(text);
        let inputs = Inputs {
            config_file: Some(file.path().into()),
            ..Inputs::default()
        };
        assert_eq!(resolve(&inputs).unwrap_err().0.len(), 1, "{text}");
    }
    let inputs = Inputs {
        environment: environment(&[(CONFIG_VARIABLE, "/nowhere/godb.yaml")]),
        ..Inputs::default()
    };
    assert!(
        resolve(&inputs)
            .unwrap_err()
            .0
            .concat()
            .contains("/nowhere/godb.yaml")
    );
}

#[test]
fn a_key_that_is_given_again_is_a_fault_with_its_line_beside_the_others() {
    let file = file("durability: os\nlisten: nowhere\n\n\"durability\": full\nfrobs: 1\n");
    let Faults(faults) = resolve(&Inputs {
        config_file: Some(file.path().into()),
        ..Inputs::default()
    })
    .unwrap_err();
    let all = faults.join("\n");
    assert_eq!(faults.len(), 3, "{all}");
    assert!(
        all.contains(" line 4: `durability` is given again"),
        "{all}"
    );
    assert!(all.contains("listen: "), "{all}");
    assert!(all.contains("no setting `frobs`"), "{all}");
}

#[test]
fn a_byte_order_mark_and_an_empty_file_are_fine() {
    for (text, level) in [
        ("\u{feff}durability: full\n", "full"),
        ("\u{feff}", "os"),
        ("# nothing\n", "os"),
    ] {
        let file = file(text);
        let resolved = resolve(&Inputs {
            config_file: Some(file.path().into()),
            ..Inputs::default()
        });
        let found = resolved.unwrap().config.live.durability.to_string();
        assert_eq!(found, level, "{text:?}");
    }
}

#[test]
fn an_unknown_variable_is_a_fault_unless_kubernetes_or_our_tools_made_it() {
    let Faults(faults) = resolve(&Inputs {
        environment: environment(&[
            ("GODB_PORT", "tcp://10.0.0.1:8080"),
            ("GODB_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("GODB_SERVICE_HOST", "10.0.0.1"),
            ("GODB_ORDERS_PORT", "tcp://10.0.0.2:8080"),
            ("GODB_ORDERS_PORT_8080_TCP_ADDR", "10.0.0.2"),
            ("GODB_ORDERS_SERVICE_PORT", "8080"),
            ("GODB_BIN", "/bin/godb"),
            ("GODB_TEST_ROUNDS", "3"),
            ("GODB_DURABILTY", "full"),
            ("HOME", "/root"),
        ]),
        ..Inputs::default()
    })
    .unwrap_err();
    assert_eq!(
        faults,
        ["environment GODB_DURABILTY: there is no such setting, did you mean `GODB_DURABILITY`?"]
    );
}

#[test]
fn what_is_shown_is_a_file_that_gives_the_same_configuration() {
    let inputs = Inputs {
        flags: vec![
            flag("data_dir", "/data: \"x\" # é"),
            flag("listen", "[::1]:0"),
            flag("max_memory", "1.5Gi"),
            flag("admin_token_file", "t"),
        ],
        ..Inputs::default()
    };
    let first = resolve(&inputs).unwrap();
    let shown = first.show();
    assert!(shown.contains("# flag --listen"), "{shown}");
    let file = file(&shown);
    let second = resolve(&Inputs {
        config_file: Some(file.path().into()),
        ..Inputs::default()
    })
    .unwrap();
    assert_eq!(first.config, second.config);
}

#[test]
fn two_listeners_need_an_address_each() {
    let inputs = Inputs {
        flags: vec![
            flag("listen", "127.0.0.1:9"),
            flag("admin_listen", "127.0.0.1:9"),
        ],
        ..Inputs::default()
    };
    assert!(
        resolve(&inputs)
            .unwrap_err()
            .0
            .concat()
            .contains("an address each")
    );
}

#[test]
fn addresses_are_read_as_people_write_them() {
    for (text, address) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        (":8080", "0.0.0.0:8080"),
        ("[::]:80", "[::]:80"),
    ] {
        let inputs = Inputs {
            flags: vec![flag("listen", text)],
            ..Inputs::default()
        };
        assert_eq!(resolve(&inputs).unwrap().config.listen.to_string(), address);
    }
    for text in ["8080", "localhost", "1.2.3.4:99999", ""] {
        let inputs = Inputs {
            flags: vec![flag("listen", text)],
            ..Inputs::default()
        };
        assert!(resolve(&inputs).is_err(), "{text}");
    }
}
