//! What a collection and an indexed field may be called.

use crate::error::{EngineError, Result};
use crate::limits::{MAX_COLLECTION_NAME_BYTES, MAX_FIELD_PATH_BYTES};

/// Checks a collection name: 1 to 128 of `A-Z a-z 0-9 _ . -`, but not `.` or `..`, which file
/// systems and URLs give a meaning of their own.
///
/// # Errors
/// [`EngineError::InvalidName`] with the rule that is broken.
pub fn check_collection(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_COLLECTION_NAME_BYTES {
        "it is longer than 128 bytes"
    } else if !name.bytes().all(allowed) {
        "only letters, digits, `_`, `.` and `-` are allowed"
    } else if name == "." || name == ".." {
        "`.` and `..` are reserved"
    } else {
        return Ok(());
    };
    Err(EngineError::InvalidName {
        what: "collection name",
        name: name.to_owned(),
        reason,
    })
}

/// Checks the path of a field to be indexed: 1 to 256 bytes of text without control characters,
/// no empty part between dots, and not `_id`, which every collection is ordered by anyway.
///
/// # Errors
/// [`EngineError::InvalidName`] with the rule that is broken.
pub fn check_field_path(path: &str) -> Result<()> {
    let reason = if path.is_empty() {
        "it is empty"
    } else if path.len() > MAX_FIELD_PATH_BYTES {
        "it is longer than 256 bytes"
    } else if path.chars().any(char::is_control) {
        "control characters are not allowed"
    } else if path.split('.').any(str::is_empty) {
        "it has an empty part"
    } else if path == "_id" {
        "`_id` always has an index"
    } else {
        return Ok(());
    };
    Err(EngineError::InvalidName {
        what: "field",
        name: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_names() {
        for good in ["a", "users-2.x_Y", "...", ".a", &"n".repeat(128)] {
            assert!(check_collection(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"n".repeat(129)] {
            assert!(check_collection(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_paths() {
        for good in [
            "a",
            "a.b.c",
            "größe",
            "first name",
            "_id.x",
            &"n".repeat(256),
        ] {
            assert!(check_field_path(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", ".a", "a.", "a\n", "_id", &"n".repeat(257)] {
            assert!(check_field_path(bad).is_err(), "{bad}");
        }
    }
}
