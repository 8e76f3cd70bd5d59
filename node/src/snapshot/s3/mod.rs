//! Snapshots in a bucket of an S3-compatible object storage, named `s3://BUCKET/PREFIX`.
//!
//! ```text
//! push.rs ──┐
//!           ├─► bucket.rs ─► http.rs     requests, with limits on time, retries and concurrency
//! disk.rs ──┘
//! ```
//! Below the prefix lie the files of a directory of snapshots under their own names. Objects appear
//! whole or not at all, and the manifest is put last and only where none of its name is, so an
//! upload that was cut off is no snapshot.
//!
//! There are no locks in a bucket. In their place two kinds of short-lived objects keep those who
//! remove tables from those who count on them:
//!
//! ```text
//! NAME-0123456789abcdef.pushing   names of the tables that this push will refer to, one a line
//! sweep-0123456789abcdef.lock     somebody is looking for tables that nobody needs
//! ```
//! A push puts its object first, and then looks for sweeps. A sweep puts its object first, and then
//! looks for pushes, whose tables it leaves. So of two that meet, at least one sees the other: a
//! push waits until the sweep is over before it looks what is there. A sweep that was killed says
//! nothing new for [`push::SWEEP_IS_DEAD`] and is passed over; it removes nothing after
//! [`disk::SWEEP_WINDOW`] without having looked again. A push that was killed is passed over after
//! a day.

mod bucket;
mod disk;
mod http;
mod push;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use godb_store::Snapshots;

pub use push::Push;

use self::bucket::Bucket;
use self::disk::BucketDisk;
use crate::exit::{Exit, Failure};
use crate::files;

const SCHEME: &str = "s3://";
/// What push objects end with.
const PUSHING: &str = ".pushing";
/// What sweep objects begin and end with.
const SWEEP: (&str, &str) = ("sweep-", ".lock");
/// More than any credential.
const MAX_CREDENTIAL_BYTES: u64 = 16 * 1024;

/// Where a bucket is and who asks.
#[derive(Clone, PartialEq, Eq)]
struct Address {
    bucket: String,
    /// Without slashes at its ends; may be empty.
    prefix: String,
    /// `None`: Amazon's, by the region.
    endpoint: Option<String>,
    region: String,
    path_style: bool,
    ca_file: Option<PathBuf>,
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

/// Whether this is the address of a bucket and no directory.
pub fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

/// The snapshots at an address.
pub fn snapshots(address: &Path) -> Result<Snapshots, Failure> {
    let bucket = Bucket::open(&Address::of(address, &environment)?)?;
    Ok(on(&Arc::new(bucket), address))
}

fn on(bucket: &Arc<Bucket>, address: &Path) -> Snapshots {
    let disk = BucketDisk::new(Arc::clone(bucket), address);
    Snapshots::new(Arc::new(disk), address)
}

/// Sixteen digits that nobody else has.
fn unique() -> Result<String, Failure> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Exit::Internal, format!("no random bytes: {error}")))?;
    Ok(crate::lifecycle::hex(&random))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Address {
    fn of(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::new(
                Exit::Usage,
                format!("`{}` is no address: {why}", path.display()),
            )
        };
        let rest = path
            .to_str()
            .and_then(|text| text.strip_prefix(SCHEME))
            .ok_or_else(|| wrong("s3://BUCKET/PREFIX is"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(fine) {
            return Err(wrong(
                "the bucket's name is letters, digits, `.`, `-` and `_`",
            ));
        }
        let prefix = prefix.trim_matches('/');
        let is_part =
            |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(fine);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(wrong(
                "parts of the prefix are letters, digits, `.`, `-` and `_`",
            ));
        }
        let first = |names: [&str; 2]| names.iter().find_map(|name| variable(name));
        let endpoint = first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        if let Some(endpoint) = &endpoint
            && !["http://", "https://"]
                .iter()
                .any(|s| endpoint.starts_with(s))
        {
            return Err(Failure::new(
                Exit::Usage,
                format!("the endpoint `{endpoint}` begins with neither http:// nor https://"),
            ));
        }
        let path_style = match variable("AWS_S3_ADDRESSING_STYLE").as_deref() {
            Some("path") => true,
            Some("virtual") => false,
            None => endpoint.is_some(),
            Some(other) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("AWS_S3_ADDRESSING_STYLE is path or virtual, not `{other}`"),
                ));
            }
        };
        let needed = |name: &str| {
            credential(name, variable)?.ok_or_else(|| {
                Failure::new(
                    Exit::NoPermission,
                    format!(
                        "no credentials for {}: set {name}, or {name}_FILE",
                        path.display()
                    ),
                )
            })
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: first(["AWS_REGION", "AWS_DEFAULT_REGION"])
                .unwrap_or_else(|| "us-east-1".to_owned()),
            path_style,
            ca_file: variable("AWS_CA_BUNDLE").map(PathBuf::from),
            access_key: needed("AWS_ACCESS_KEY_ID")?,
            secret_key: needed("AWS_SECRET_ACCESS_KEY")?,
            session_token: credential("AWS_SESSION_TOKEN", variable)?,
            endpoint,
        })
    }
}

/// A variable, or the content of the file that `NAME_FILE` names.
fn credential(
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Failure> {
    if let Some(value) = variable(name) {
        return Ok(Some(value));
    }
    let Some(path) = variable(&format!("{name}_FILE")) else {
        return Ok(None);
    };
    let text = files::read_text(Path::new(&path), MAX_CREDENTIAL_BYTES)
        .map_err(|error| Failure::io("read", Path::new(&path), &error))?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, variables: &[(&str, &str)]) -> Result<Address, Failure> {
        let variable = |name: &str| {
            variables
                .iter()
                .chain(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")])
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Address::of(Path::new(text), &variable)
    }

    #[test]
    fn addresses_are_read_with_their_settings() {
        let plain = address("s3://backup", &[]).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((&*plain.bucket, &*plain.prefix), ("backup", ""));
        assert!(!plain.path_style && plain.region == "us-east-1");
        let own = [
            ("AWS_ENDPOINT_URL", "http://store:9000"),
            ("AWS_REGION", "eu"),
        ];
        let own = address("s3://b/ns/uid/", &own).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!((&*own.prefix, &*own.region), ("ns/uid", "eu"));
        assert!(own.path_style);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["s3://", "s3:///p", "s3://b/../c", "s3://b/a//c", "s3://b c"] {
            assert!(
                address(wrong, &[]).is_err_and(|f| f.exit == Exit::Usage),
                "{wrong}"
            );
        }
        for (name, value) in [
            ("AWS_ENDPOINT_URL", "store:9000"),
            ("AWS_S3_ADDRESSING_STYLE", "both"),
        ] {
            assert!(
                address("s3://b", &[(name, value)]).is_err_and(|f| f.exit == Exit::Usage),
                "{name}"
            );
        }
        let none = Address::of(Path::new("s3://b"), &|_| None);
        assert!(none.is_err_and(|f| f.exit == Exit::NoPermission));
    }
}
