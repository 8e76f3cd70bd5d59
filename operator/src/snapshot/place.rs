//! Where snapshots lie apart from an instance's volume, as the pod of a Job sees it (pure).

use godb_crds::snapshot::{S3Target, SnapshotLocation};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretKeySelector,
    SecretVolumeSource, Volume, VolumeMount,
};

use crate::instance::build::{SECRET_MODE, mount};

const CLAIM_MOUNT: &str = "/snapshots";
const CA_MOUNT: &str = "/etc/godb/store";
const CA_KEY: &str = "ca.crt";
const SECRET_KEYS: [(&str, bool); 3] = [
    ("AWS_ACCESS_KEY_ID", false),
    ("AWS_SECRET_ACCESS_KEY", false),
    ("AWS_SESSION_TOKEN", true),
];

/// What a container needs to read and write there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// As `godb snapshot` takes it: a directory, or `s3://BUCKET/PREFIX`.
    pub directory: String,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Mounts.
    pub mounts: Vec<VolumeMount>,
    /// Volumes of the pod.
    pub volumes: Vec<Volume>,
}

impl Place {
    /// Of a location; none for one on an instance's own volume.
    pub fn of(location: &SnapshotLocation, read_only: bool) -> Option<Self> {
        let path = location.path.as_deref()?;
        if let Some(s3) = &location.s3 {
            return Some(bucket(s3, path));
        }
        let claim = location.claim.as_deref()?;
        Some(Self {
            directory: format!("{CLAIM_MOUNT}/{path}"),
            env: Vec::new(),
            mounts: vec![mount("snapshots", CLAIM_MOUNT, read_only)],
            volumes: vec![Volume {
                name: "snapshots".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.to_owned(),
                    read_only: None,
                }),
                ..Volume::default()
            }],
        })
    }
}

fn bucket(s3: &S3Target, path: &str) -> Place {
    let set = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    };
    let mut place = Place {
        directory: format!("s3://{}/{path}", s3.bucket),
        ..Place::default()
    };
    for (key, optional) in SECRET_KEYS {
        place.env.push(EnvVar {
            name: key.to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: s3.credentials_secret.clone(),
                    key: key.to_owned(),
                    optional: optional.then_some(true),
                }),
                ..EnvVarSource::default()
            }),
        });
    }
    if let Some(endpoint) = &s3.endpoint {
        place.env.push(set("AWS_ENDPOINT_URL", endpoint.clone()));
    }
    if let Some(region) = &s3.region {
        place.env.push(set("AWS_REGION", region.clone()));
    }
    if let Some(path_style) = s3.path_style {
        let style = if path_style { "path" } else { "virtual" };
        place
            .env
            .push(set("AWS_S3_ADDRESSING_STYLE", style.to_owned()));
    }
    if let Some(secret) = &s3.ca_secret {
        place
            .env
            .push(set("AWS_CA_BUNDLE", format!("{CA_MOUNT}/{CA_KEY}")));
        place.mounts.push(mount("store-ca", CA_MOUNT, true));
        place.volumes.push(Volume {
            name: "store-ca".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.clone()),
                default_mode: Some(SECRET_MODE),
                items: Some(vec![KeyToPath {
                    key: CA_KEY.to_owned(),
                    path: CA_KEY.to_owned(),
                    ..KeyToPath::default()
                }]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    place
}
