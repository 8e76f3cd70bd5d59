//! Secrets, which are made once and never applied again.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest, Sha256};

use super::secret;
use crate::instance::validate::Valid;
use crate::names::HTTP_PORT;

/// The token itself: for the operator and administrators.
pub const TOKEN_KEY: &str = "token";
/// Its SHA-256 in hexadecimal: the only key that the node's pod mounts.
pub const HASH_KEY: &str = "token.sha256";

/// The Secret of the admin port, with 32 random bytes as the token.
pub fn admin(valid: &Valid, random: [u8; 32]) -> Secret {
    let token = hexadecimal(&random);
    let hash = hexadecimal(&Sha256::digest(token.as_bytes()));
    let data = BTreeMap::from([(TOKEN_KEY.to_owned(), token), (HASH_KEY.to_owned(), hash)]);
    secret(valid, valid.names.admin_secret(), data)
}

/// What an application needs to reach the instance.
pub fn app(valid: &Valid) -> Secret {
    let names = &valid.names;
    let data = BTreeMap::from([
        ("url".to_owned(), names.url()),
        (
            "host".to_owned(),
            format!("{}.{}.svc", names.instance, names.namespace),
        ),
        ("port".to_owned(), HTTP_PORT.to_string()),
    ]);
    secret(valid, names.app_secret(), data)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
