//! What can go wrong in a reconcile, what a person is told, and when it is tried again.

use std::time::Duration;

use godb_crds::conditions::reason;

/// Result of a step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of the API server.
    #[error("{what}: {}", says(source))]
    Api {
        /// Verb and object, as "apply StatefulSet people".
        what: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// A Secret that was there already lacks what it must have.
    #[error(
        "the Secret {name} lacks the key {key}: delete it to have it made again, or add the key"
    )]
    SecretLacks {
        /// The Secret.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// An object that cannot be written as JSON.
    #[error("{what} has no JSON form: {source}")]
    Json {
        /// The object.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// An object of the watched kind that cannot be read.
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
}

/// Shortest form of what the API server or the network said.
fn says(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Somebody else was faster or the API server is not there: again, later and later.
    Backoff,
    /// A person must act: only look.
    Look(Duration),
}

/// One look for a person's action.
pub const LOOK: Duration = Duration::from_secs(30);

impl Error {
    /// Wraps an error of the API client.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        let what = what.into();
        move |source| Error::Api {
            what,
            source: Box::new(source),
        }
    }

    /// Reason of the condition that speaks of it, and when it is tried again.
    pub fn classify(&self) -> (&'static str, Retry) {
        match self {
            Error::SecretLacks { .. } => (reason::SECRET_INVALID, Retry::Look(LOOK)),
            Error::Json { .. } | Error::Unreadable(_) => (reason::APPLY_REFUSED, Retry::Look(LOOK)),
            Error::Random(_) => (reason::API_UNAVAILABLE, Retry::Backoff),
            Error::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => match status.code {
                    // Forbidden, Invalid: nothing changes until somebody changes something.
                    400 | 401 | 403 | 405 | 422 => (reason::APPLY_REFUSED, Retry::Look(LOOK)),
                    _ => (reason::API_UNAVAILABLE, Retry::Backoff),
                },
                _ => (reason::API_UNAVAILABLE, Retry::Backoff),
            },
        }
    }

    /// Whether the API server answered with this HTTP status.
    pub fn is_status(&self, code: u16) -> bool {
        matches!(self, Error::Api { source, .. } if status_is(source, code))
    }
}

/// Whether an error of the client is an answer with this HTTP status.
pub fn status_is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answered(code: u16) -> Error {
        let status = Status {
            code,
            message: "because".to_owned(),
            ..Status::default()
        };
        Error::api("apply Service a")(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_in_a_hot_loop() {
        for code in [400, 403, 422] {
            assert_eq!(answered(code).classify().1, Retry::Look(LOOK), "{code}");
        }
        for code in [409, 429, 500, 503] {
            assert_eq!(answered(code).classify().1, Retry::Backoff, "{code}");
        }
        assert_eq!(answered(403).to_string(), "apply Service a: because");
        assert!(answered(409).is_status(409));
    }
}
