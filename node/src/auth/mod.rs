//! Bearer tokens with a role each, from a file that may change while the node runs.
//!
//! A request costs one SHA-256 of its token and a comparison with every known hash: no lock, no
//! allocation, and nothing is remembered per connection, so a token that was taken out of the file
//! opens nothing from the reload on.

mod limit;
pub mod reload;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::{AUTHORIZATION, HeaderMap};

use self::limit::FailureLimit;
pub use self::table::{Role, TokenLine, parse_hash};
use self::table::{Table, Token};
use crate::http::error::{ApiError, Kind};
use crate::metrics::auth::{AuthMetrics, Port, Refusal};

/// Who may do what.
pub struct Auth {
    path: PathBuf,
    table: ArcSwap<Table>,
    failures: FailureLimit,
    metrics: Arc<AuthMetrics>,
}

impl Auth {
    /// Reads the tokens of a file, or of every file in a directory.
    ///
    /// # Errors
    /// What is wrong with them, for a person.
    pub fn open(path: &Path, metrics: Arc<AuthMetrics>) -> Result<Self, String> {
        let table = Table::parse(&reload::read(path)?)
            .map_err(|fault| format!("{}: {fault}", path.display()))?;
        metrics.set_tokens(table.len());
        Ok(Self {
            path: path.to_path_buf(),
            table: ArcSwap::from_pointee(table),
            failures: FailureLimit::new(),
            metrics,
        })
    }

    /// Lets a request through whose token has at least this role.
    ///
    /// # Errors
    /// The refusal, counted already.
    pub fn admit(
        &self,
        headers: &HeaderMap,
        needed: Role,
        port: Port,
        peer: Option<IpAddr>,
    ) -> Result<(), ApiError> {
        let table = self.table.load();
        self.decide(&table, headers, needed, port, peer).map(|_| ())
    }

    /// The same, and tells the token's name.
    ///
    /// # Errors
    /// As `admit`.
    pub fn admit_by_name(
        &self,
        headers: &HeaderMap,
        needed: Role,
        port: Port,
        peer: Option<IpAddr>,
    ) -> Result<String, ApiError> {
        let table = self.table.load();
        self.decide(&table, headers, needed, port, peer)
            .map(|token| token.name.clone())
    }

    fn decide<'t>(
        &self,
        table: &'t Table,
        headers: &HeaderMap,
        needed: Role,
        port: Port,
        peer: Option<IpAddr>,
    ) -> Result<&'t Token, ApiError> {
        let Some(given) = bearer(headers) else {
            self.metrics.refused(port, Refusal::Missing);
            return Err(ApiError::new(
                Kind::Unauthorized,
                "send a token: Authorization: Bearer …",
            ));
        };
        // The right token is looked for first: wrong ones from the same address never lock it out.
        let Some(token) = table.find(given) else {
            self.metrics.refused(port, Refusal::Wrong);
            if peer.is_some_and(|peer| !self.failures.allow(peer)) {
                self.metrics.refused(port, Refusal::TooMany);
                return Err(ApiError::new(
                    Kind::TooManyRequests,
                    "too many wrong tokens from this address",
                )
                .closing());
            }
            return Err(ApiError::new(Kind::Unauthorized, "the token is not known"));
        };
        if token.role < needed {
            self.metrics.refused(port, Refusal::Role);
            return Err(ApiError::new(Kind::Forbidden, needed.refusal()));
        }
        Ok(token)
    }
}

/// The token that a request carries.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_first_chunk::<7>())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, token)| token.trim_ascii())
}
