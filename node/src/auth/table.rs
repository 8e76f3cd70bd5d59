//! The tokens file: a line per token, `name role sha256`.
//!
//! ```text
//! # comment
//! app     write  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! backup  admin  …64 hexadecimal digits…
//! ```
//!
//! A plain SHA-256 is right here because tokens are 32 random bytes: nobody can try 2^256 of them,
//! so a slow hash would only make every request slow. It would be wrong for passwords.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::lifecycle::hex;

/// Tokens of one node. Each costs every request a comparison of 32 bytes.
pub const MAX_TOKENS: usize = 64;
const MAX_NAME_BYTES: usize = 64;
/// Random bytes of a token that we make.
const TOKEN_BYTES: usize = 32;

type Hash = [u8; 32];

/// What a token allows. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read documents.
    Read,
    /// Also write them and make indexes.
    Write,
    /// Also everything below `/admin/`.
    Admin,
}

impl Role {
    /// As the file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }

    pub(super) fn refusal(self) -> &'static str {
        match self {
            Role::Read => "this needs a token of role read",
            Role::Write => "this needs a token of role write",
            Role::Admin => "this needs a token of role admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Role::Read),
            "write" => Ok(Role::Write),
            "admin" => Ok(Role::Admin),
            _ => Err("a role is read, write or admin".to_owned()),
        }
    }
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) role: Role,
    hash: Hash,
}

/// All tokens of a node; never empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table(Vec<Token>);

impl Table {
    /// Reads all lines. A fault names its line and never repeats it: somebody may have put a token
    /// there in place of its hash.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens: Vec<Token> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = parse_line(line)
                .and_then(
                    |token| match tokens.iter().find(|other| clash(other, &token)) {
                        Some(other) => {
                            Err(format!("name or token is that of `{}` again", other.name))
                        }
                        None if tokens.len() == MAX_TOKENS => {
                            Err(format!("more than {MAX_TOKENS} tokens"))
                        }
                        None => Ok(token),
                    },
                )
                .map_err(|fault| format!("line {}: {fault}", number.saturating_add(1)))?;
            tokens.push(token);
        }
        if tokens.is_empty() {
            return Err("there is no token in it".to_owned());
        }
        Ok(Self(tokens))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The token with this text. Takes the same time whichever it is, and when there is none.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Token> {
        let given = Hash::from(Sha256::digest(given));
        let mut found = u64::MAX;
        for (place, token) in (0_u64..).zip(&self.0) {
            let same: Choice = token.hash.ct_eq(&given);
            found.conditional_assign(&place, same);
        }
        self.0.get(usize::try_from(found).ok()?)
    }
}

fn clash(a: &Token, b: &Token) -> bool {
    a.name == b.name || a.hash == b.hash
}

fn parse_line(line: &str) -> Result<Token, String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(role), Some(hash), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("write it as: name role sha256".to_owned());
    };
    check_name(name)?;
    let role = role.parse()?;
    let hash = parse_hash(hash).ok_or("the SHA-256 is not 64 hexadecimal digits")?;
    Ok(Token {
        name: name.to_owned(),
        role,
        hash,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        return Err(format!(
            "a name is 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(())
}

/// 64 hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0_u8; 32];
    if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// A new token, and the line that lets it in.
pub struct TokenLine {
    /// For its owner.
    pub token: String,
    line: String,
}

impl TokenLine {
    /// Makes one of 32 random bytes.
    ///
    /// # Errors
    /// A name that cannot be one, or no random bytes.
    pub fn create(name: &str, role: Role) -> Result<Self, String> {
        check_name(name)?;
        let mut random = [0_u8; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(|error| format!("no random bytes: {error}"))?;
        let token = format!("godb_{}", hex(&random));
        let hash = hex(&Sha256::digest(token.as_bytes()));
        Ok(Self {
            line: format!("{name} {} {hash}", role.as_str()),
            token,
        })
    }
}

impl fmt::Display for TokenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}
