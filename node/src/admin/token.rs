//! The token that `/admin/*` asks for. Its file is read on each request, so that a rotated secret
//! counts at once; administration is rare.

use std::path::{Path, PathBuf};

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::parse_hash;
use crate::config::Config;
use crate::files;
use crate::http::error::{ApiError, Kind};

/// Shorter tokens can be guessed.
const MIN_TOKEN_BYTES: usize = 16;
/// More than any token; a wrong path may name anything.
const MAX_FILE_BYTES: u64 = 4096;

type Hash = [u8; 32];

/// Who may use `/admin/*`.
#[derive(Clone, Debug)]
pub enum Guard {
    /// Everybody on this machine: the listener is on loopback and no token is set.
    Open,
    /// Nobody: the listener is not on loopback and no token is set.
    Shut,
    /// Who has the token of this file.
    Token(PathBuf),
    /// Who has the token whose hash is in this file.
    TokenHash(PathBuf),
}

impl Guard {
    /// What the configuration asks for.
    pub fn new(config: &Config, is_loopback: bool) -> Self {
        match (&config.admin_token_file, &config.admin_token_sha256_file) {
            (Some(path), _) => Guard::Token(path.clone()),
            (None, Some(path)) => Guard::TokenHash(path.clone()),
            (None, None) if is_loopback => Guard::Open,
            (None, None) => Guard::Shut,
        }
    }

    /// Whether the file can be used, in words for a person if not.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Guard::Open | Guard::Shut => Ok(()),
            Guard::Token(_) | Guard::TokenHash(_) => self.expected().map(|_| ()),
        }
    }

    /// Lets a request through or not.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Guard::Open => return Ok(()),
            Guard::Shut => {
                return Err(ApiError::new(
                    Kind::Forbidden,
                    "this listener is not on loopback, so /admin needs a token: start the node \
                     with --admin-token-file or --admin-token-sha256-file",
                ));
            }
            Guard::Token(_) | Guard::TokenHash(_) => {}
        }
        let expected = self.expected().map_err(|fault| {
            tracing::error!(%fault, "the admin token cannot be read, so nobody is let in");
            ApiError::new(Kind::Unauthorized, "the node cannot read its admin token")
        })?;
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_first_chunk::<7>())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .map(|(_, token)| Hash::from(Sha256::digest(token.trim_ascii())));
        match given {
            Some(given) if bool::from(given.ct_eq(&expected)) => Ok(()),
            Some(_) => Err(ApiError::new(
                Kind::Unauthorized,
                "the token is not the admin token",
            )),
            None => Err(ApiError::new(
                Kind::Unauthorized,
                "send the admin token: Authorization: Bearer …",
            )),
        }
    }

    fn expected(&self) -> Result<Hash, String> {
        match self {
            Guard::Open | Guard::Shut => Err("no token is set".to_owned()),
            Guard::Token(path) => {
                let token = read(path)?;
                if token.len() < MIN_TOKEN_BYTES {
                    return Err(format!(
                        "{}: a token needs at least {MIN_TOKEN_BYTES} bytes",
                        path.display()
                    ));
                }
                Ok(Hash::from(Sha256::digest(token.as_bytes())))
            }
            Guard::TokenHash(path) => parse_hash(&read(path)?)
                .ok_or_else(|| format!("{}: not 64 hexadecimal digits", path.display())),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    match files::read_text(path, MAX_FILE_BYTES) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn rewrite(file: &tempfile::NamedTempFile, text: &str) {
        files::create(file.path())
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn status(guard: &Guard, authorization: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        guard
            .admit(&headers)
            .map_or_else(|error| error.render(&headers).status().as_u16(), |()| 200)
    }

    #[test]
    fn a_listener_that_others_reach_is_shut_without_a_token() {
        let config = Config::default();
        assert_eq!(status(&Guard::new(&config, true), None), 200);
        assert_eq!(status(&Guard::new(&config, false), None), 403);
        assert_eq!(status(&Guard::new(&config, false), Some("Bearer x")), 403);
    }

    #[test]
    fn only_the_token_opens() {
        let token = file("a-token-of-some-length\n");
        let hash = crate::lifecycle::hex(&Sha256::digest(b"a-token-of-some-length"));
        let hash = file(&hash);
        for guard in [
            Guard::Token(token.path().into()),
            Guard::TokenHash(hash.path().into()),
        ] {
            assert_eq!(guard.check(), Ok(()));
            assert_eq!(status(&guard, Some("Bearer a-token-of-some-length")), 200);
            assert_eq!(status(&guard, Some("bearer a-token-of-some-length")), 200);
            for wrong in [
                None,
                Some("Bearer a-token-of-some-lengtH"),
                Some("Bearer "),
                Some("Basic a-token-of-some-length"),
            ] {
                assert_eq!(status(&guard, wrong), 401, "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_rotated_token_counts_at_once() {
        let token = file("the-first-token-of-all");
        let guard = Guard::Token(token.path().into());
        rewrite(&token, "the-second-token-of-all");
        assert_eq!(status(&guard, Some("Bearer the-first-token-of-all")), 401);
        assert_eq!(status(&guard, Some("Bearer the-second-token-of-all")), 200);
        rewrite(&token, "");
        assert_eq!(status(&guard, Some("Bearer ")), 401);
        assert!(guard.check().is_err());
    }

    #[test]
    fn files_that_cannot_be_right_are_refused() {
        assert!(Guard::Token("/nowhere/token".into()).check().is_err());
        assert!(Guard::Token(file("short").path().into()).check().is_err());
        assert!(
            Guard::TokenHash(file(&"g".repeat(64)).path().into())
                .check()
                .is_err()
        );
    }
}
