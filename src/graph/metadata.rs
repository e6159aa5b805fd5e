//! The metadata service of an Azure node, which gives a managed identity its token: one GET, never by a proxy.
//!
//! Microsoft, "How to use managed identities for Azure resources on an Azure VM to acquire an access token". It is a
//! request of our own: Microsoft's library picks its source by the environment, and the source has to be this one.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::error::{TokenFailure, classify_metadata};
use super::http::{send_repeatable, without_url};
use super::json;
use super::token::{LARGEST_BODY, Token};
use crate::runtime::text;

/// Where every Azure node has it: a link-local address, the same in all clouds.
pub const ADDRESS: &str = "http://169.254.169.254";

const PATH: &str = "/metadata/identity/oauth2/token";
const API_VERSION: &str = "2018-02-01";

/// The metadata service of the node that the operator runs on.
#[derive(Clone, Debug)]
pub struct MetadataService {
    http: reqwest::Client,
    root: String,
}

impl MetadataService {
    /// The service at `root`, which is [`ADDRESS`] but for tests, asked by a client of
    /// [`metadata_client`](super::http::metadata_client), which knows no proxy.
    #[must_use]
    pub fn new(http: reqwest::Client, root: &str) -> Self {
        Self {
            http,
            root: root.trim_end_matches('/').to_owned(),
        }
    }

    /// A token for `resource`, of the user-assigned identity `client`, or of the system-assigned one.
    pub(super) async fn token(
        &self,
        resource: &str,
        client: Option<&str>,
        timeout: Duration,
    ) -> Result<Token, TokenFailure> {
        let address = format!("{}{PATH}", self.root);
        let mut query = vec![("api-version", API_VERSION), ("resource", resource)];
        // Named also where the node has one identity alone: with several, the service takes none by itself.
        query.extend(client.map(|client| ("client_id", client)));
        let address = reqwest::Url::parse_with_params(&address, &query).map_err(|_| unreachable())?;
        let request = self.http.get(address).header("Metadata", "true").timeout(timeout);
        let (response, body) = send_repeatable(request, timeout, LARGEST_BODY)
            .await
            .map_err(|error| no_answer(&error))?;
        let body = body.ok_or_else(unreadable)?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        read(status, headers, &body, client.is_some(), Timestamp::now())
    }
}

/// What an answer of the metadata service means (pure).
///
/// # Errors
/// Where it is no token.
pub fn read(status: u16, headers: &HeaderMap, body: &[u8], named: bool, now: Timestamp) -> Result<Token, TokenFailure> {
    if status != 200 {
        return Err(classify_metadata(status, headers, body, named, now));
    }
    let answer = json::parse(body).ok_or_else(unreadable)?;
    let token = answer.get("access_token").and_then(Json::as_str);
    let token = token.filter(|token| !token.is_empty()).ok_or_else(unreadable)?;
    let valid_for = valid_for(&answer, now).ok_or_else(unreadable)?;
    // A day is the longest that Microsoft gives; what is beyond any clock's range is no time.
    let valid_for = Duration::from_secs(valid_for.min(7 * 86_400));
    Ok(Token::new(Zeroizing::new(token.to_owned()), valid_for))
}

/// For how many seconds a token is valid. `expires_in` counts from the time of issue, and the service keeps its tokens:
/// `expires_on` is the true one, unless this node's clock is so far ahead that nothing would be left. Both are texts.
fn valid_for(answer: &Json, now: Timestamp) -> Option<u64> {
    let seconds = |name: &str| {
        let seconds = match answer.get(name)? {
            Json::String(text) => text.trim().parse::<i64>().ok(),
            number => number.as_i64(),
        };
        seconds.and_then(|seconds| u64::try_from(seconds).ok())
    };
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    let left = seconds("expires_on").map(|end| end.saturating_sub(now));
    match (left, seconds("expires_in")) {
        (Some(0), Some(whole)) => Some(whole),
        (Some(left), Some(whole)) => Some(left.min(whole)),
        (left, whole) => left.or(whole),
    }
}

fn unreadable() -> TokenFailure {
    TokenFailure::unavailable(
        "The metadata service answered without a token that can be read: look for a proxy or another cloud's service at \
         its address",
    )
}

fn unreachable() -> TokenFailure {
    TokenFailure::unavailable(
        "The metadata service cannot be reached: managedIdentity works on Azure's nodes alone, and \
         the network has to let the operator reach 169.254.169.254",
    )
}

fn no_answer(error: &reqwest::Error) -> TokenFailure {
    let error = text::clean(&without_url(error), 256);
    tracing::debug!(error, "no answer of the metadata service");
    unreachable()
}

#[cfg(test)]
mod tests;
