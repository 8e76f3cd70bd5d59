use std::io::Write as _;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::*;
use crate::files;
use crate::lifecycle::hex;
use crate::metrics::Metrics;

fn line(name: &str, role: &str, token: &str) -> String {
    format!("{name} {role} {}\n", hex(&Sha256::digest(token)))
}

/// What a request carries, and the role it has by that.
pub(crate) const BEARERS: [(Option<&str>, Option<Role>); 5] = [
    (None, None),
    (Some("Bearer wrong"), None),
    (Some("Bearer reads"), Some(Role::Read)),
    (Some("Bearer writes"), Some(Role::Write)),
    (Some("Bearer admins"), Some(Role::Admin)),
];

pub(crate) fn three_tokens() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = [
        line("r", "read", "reads"),
        line("w", "write", "writes"),
        line("a", "admin", "admins"),
    ];
    write(file.path(), &lines.concat());
    file
}

fn write(path: &Path, text: &str) {
    files::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization.parse().unwrap());
    headers
}

fn ask(auth: &Auth, token: &str, role: Role) -> Result<(), Kind> {
    let peer: IpAddr = [192, 0, 2, 7].into();
    let headers = headers(&format!("Bearer {token}"));
    auth.admit(&headers, role, Port::Documents, Some(peer))
        .map_err(|error| error.kind)
}

#[test]
fn a_made_token_opens_with_its_line() {
    let made = TokenLine::create("app", Role::Write).unwrap();
    let other = TokenLine::create("app", Role::Write).unwrap();
    assert_ne!(made.token, other.token);
    let table = Table::parse(&format!("# ours\n\n{made}\n")).unwrap();
    assert_eq!(table.find(made.token.as_bytes()).unwrap().name, "app");
    assert_eq!(table.find(other.token.as_bytes()), None);
    assert_eq!(table.find(b""), None);
    assert!(TokenLine::create("a b", Role::Read).is_err());
}

#[test]
fn every_token_is_found_wherever_it_stands() {
    let text: String = (0..table::MAX_TOKENS)
        .map(|n| line(&format!("n{n}"), "read", &format!("token {n}")))
        .collect();
    let table = Table::parse(&text).unwrap();
    for n in 0..table::MAX_TOKENS {
        let found = table.find(format!("token {n}").as_bytes()).unwrap();
        assert_eq!(found.name, format!("n{n}"));
    }
    assert!(Table::parse(&(text + &line("more", "read", "one more"))).is_err());
}

#[test]
fn a_wrong_line_is_named_and_never_repeated() {
    let good = line("app", "read", "t");
    for (wrong, part) in [
        ("", "no token"),
        ("# only words\n", "no token"),
        ("app read secret-token\n", "line 1: the SHA-256 is not"),
        ("secret-token\n", "line 1: write it as"),
        (&line("app", "root", "t"), "line 1: a role is"),
        (&line("a/b", "read", "t"), "line 1: a name is"),
        (
            &format!("{good}{}", line("app", "read", "u")),
            "line 2: name or token",
        ),
        (
            &format!("{good}{}", line("b", "read", "t")),
            "line 2: name or token",
        ),
        (&format!("{} x\n", good.trim()), "line 1: write it as"),
    ] {
        let fault = Table::parse(wrong).unwrap_err();
        assert!(fault.contains(part), "{fault}");
        assert!(!fault.contains("secret-token"), "{fault}");
    }
}

#[test]
fn roles_include_the_lesser_ones() {
    let dir = tempfile::TempDir::new().unwrap();
    write(&dir.path().join("r"), &line("r", "read", "reads"));
    write(&dir.path().join("w"), &line("w", "write", "writes"));
    write(&dir.path().join("a"), &line("a", "admin", "admins"));
    write(&dir.path().join("..old"), "not a line of tokens");
    let auth = Auth::open(dir.path(), Metrics::new().unwrap().auth).unwrap();
    let roles = [Role::Read, Role::Write, Role::Admin];
    for (has, token) in ["reads", "writes", "admins"].into_iter().enumerate() {
        for (needs, role) in roles.into_iter().enumerate() {
            let expected = if needs <= has {
                Ok(())
            } else {
                Err(Kind::Forbidden)
            };
            assert_eq!(ask(&auth, token, role), expected, "{token} {role:?}");
        }
    }
    assert_eq!(ask(&auth, "Reads", Role::Read), Err(Kind::Unauthorized));
    for scheme in ["Basic reads", "Bearer", "reads"] {
        let refused = auth.admit(&headers(scheme), Role::Read, Port::Documents, None);
        assert_eq!(refused.unwrap_err().kind, Kind::Unauthorized, "{scheme}");
    }
}

#[test]
fn a_reload_takes_tokens_away_and_a_broken_file_does_not() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &line("old", "read", "old"));
    let auth = Auth::open(file.path(), Metrics::new().unwrap().auth).unwrap();
    let mut last = None;
    auth.reload(&mut last);
    assert_eq!(ask(&auth, "old", Role::Read), Ok(()));
    write(file.path(), "half a li");
    auth.reload(&mut last);
    assert!(last.as_ref().unwrap().is_err());
    assert_eq!(ask(&auth, "old", Role::Read), Ok(()));
    write(file.path(), &line("new", "read", "new"));
    auth.reload(&mut last);
    assert_eq!(last, Some(Ok(())));
    assert_eq!(ask(&auth, "old", Role::Read), Err(Kind::Unauthorized));
    assert_eq!(ask(&auth, "new", Role::Read), Ok(()));
}

#[test]
fn wrong_tokens_are_limited_and_right_ones_are_not() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &line("app", "read", "right"));
    let auth = Auth::open(file.path(), Metrics::new().unwrap().auth).unwrap();
    // Two windows at most, however slow this runs, unless it takes 10 s.
    let refused: Vec<Kind> = (0..=2 * limit::MAX_FAILURES)
        .map(|_| ask(&auth, "wrong", Role::Read).unwrap_err())
        .collect();
    assert_eq!(refused.first(), Some(&Kind::Unauthorized));
    assert_eq!(refused.last(), Some(&Kind::TooManyRequests));
    assert_eq!(ask(&auth, "right", Role::Read), Ok(()));
}

#[test]
fn failures_are_forgotten_with_their_window() {
    let limit = FailureLimit::new();
    let peer: IpAddr = "2001:db8::1".parse().unwrap();
    let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
    for _ in 0..limit::MAX_FAILURES {
        assert!(limit.allow_in(peer, 7));
    }
    assert!(!limit.allow_in(neighbour, 7), "one owner holds a network");
    assert!(limit.allow_in(peer, 8));
}
