//! What Graph's and Entra's refusals mean. The only code that looks at the wording of a message: everybody else goes by
//! [`FailureKind`] and [`TokenFailureKind`].

mod envelope;
mod scrub;
mod token;
mod wait;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use crate::runtime::text;
use envelope::Envelope;

pub use token::{TokenFailure, TokenFailureKind, classify_metadata, classify_token};
pub use wait::retry_after;

/// The app roles of which one lets an application read compliance management partners, least privileged first
/// (Graph's reference, "List complianceManagementPartners").
pub const READ_ROLES: [&str; 4] = [
    "DeviceManagementServiceConfig.Read.All",
    "DeviceManagementServiceConfig.ReadWrite.All",
    "DeviceManagementConfiguration.Read.All",
    "DeviceManagementConfiguration.ReadWrite.All",
];

/// The app roles of which one lets an application change compliance management partners, least privileged first
/// (Graph's reference, "Update complianceManagementPartner").
pub const WRITE_ROLES: [&str; 2] = [
    "DeviceManagementServiceConfig.ReadWrite.All",
    "DeviceManagementConfiguration.ReadWrite.All",
];

/// Longest message of a failure, in characters.
const MESSAGE_CHARS: usize = 512;

/// Longest error code and request id that are kept, in characters.
const CODE_CHARS: usize = 64;

/// Longest word of a code, in bytes. `Authorization_IdentityNotFound` is among the longest that Graph has.
const WORD_BYTES: usize = 48;

/// What a refusal of Graph's means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// 401: the token was refused. Intune also says so where it means [`FailureKind::Forbidden`], so one fresh token
    /// tells which it is.
    Unauthorized,
    /// The application's service principal is not, or not yet everywhere, known.
    PrincipalNotFound,
    /// 403: the application may not do this.
    Forbidden,
    /// The tenant has no active Intune licence.
    NotLicensed,
    /// 404: no such object.
    NotFound,
    /// 412: the object has changed in the meantime.
    PreconditionFailed,
    /// Any other 4xx: this very request will never do.
    Rejected,
    /// 429: too many requests.
    Throttled,
    /// Nothing is wrong with the request: a conflict, a lock, a server in trouble, or an answer that is none.
    Unavailable,
    /// The connection broke before the answer was whole: whether the request was done, nobody knows.
    Lost,
}

/// A request to Graph that failed, be it on the way or by Graph's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the failure means.
    pub kind: FailureKind,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// Graph's error code, at most 64 characters and fit to be shown; empty where there is none. Of an error within
    /// an error it is the outer one, unless that only says `UnknownError`.
    pub code: String,
    /// One sentence for a condition: at most 512 characters, fit to be shown, and the same for every answer that
    /// differs only in ids, addresses, dates, durations or the build of the service.
    pub message: String,
    /// Microsoft's id of the request, for the log only: at most 64 characters, fit to be shown.
    pub request_id: Option<String>,
    /// How long Graph asks to be left alone. Only with [`FailureKind::Throttled`] and [`FailureKind::Unavailable`].
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Trouble on the way, or an answer that cannot be read: `message` says which, and must be the same at each
    /// attempt. It is cleaned, and cut at 512 characters.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Unavailable,
            status: None,
            code: String::new(),
            message: text::clean(&message.into(), MESSAGE_CHARS),
            request_id: None,
            retry_after: None,
        }
    }

    /// A connection that broke before the answer was whole; `message` as for [`Failure::unavailable`].
    #[must_use]
    pub fn lost(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Lost,
            ..Self::unavailable(message)
        }
    }
}

/// What an answer of Graph's that is no success means. `now` is the time to which a `Retry-After` date is compared where
/// the answer does not tell its own (`Date`).
#[must_use]
pub fn classify(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Failure {
    let envelope = Envelope::read(body);
    // Graph puts an id on each of its answers; what has neither id nor envelope is of something on the way.
    let foreign = envelope.is_silent() && !headers.contains_key("request-id");
    let kind = kind(status, &envelope, foreign);
    let retry_after = match kind {
        FailureKind::Throttled | FailureKind::Unavailable => retry_after(headers, now)
            .or_else(|| wait::parse(envelope.retry_after.as_deref()?, wait::sent_at(headers, now))),
        _ => None,
    };
    let request_id = headers
        .get("request-id")
        .and_then(|id| id.to_str().ok())
        .or(envelope.request_id.as_deref());
    let code = code(envelope.code());
    Failure {
        kind,
        status: Some(status),
        message: message(status, &code, envelope.message.as_deref()),
        code,
        request_id: request_id.and_then(text::request_id),
        retry_after,
    }
}

/// The code as it is told. Graph's are a word or a few; what has a longer word is none, and might be what Graph was told in
/// confidence.
fn code(foreign: &str) -> String {
    if foreign.split_whitespace().any(|word| word.len() > WORD_BYTES) {
        return String::new();
    }
    text::clean(foreign, CODE_CHARS)
}

fn kind(status: u16, envelope: &Envelope, foreign: bool) -> FailureKind {
    match status {
        // Intune answers with any of the three where the tenant has no licence.
        400 | 401 | 403 if envelope.says("request not applicable to target tenant") => FailureKind::NotLicensed,
        401 | 403 if envelope.has_code("Authorization_IdentityNotFound") => FailureKind::PrincipalNotFound,
        403 if mentions_a_licence(envelope) => FailureKind::NotLicensed,
        401 => FailureKind::Unauthorized,
        // A page of a gateway's or proxy's is not Graph's word on anything.
        400..=499 if foreign && !matches!(status, 401 | 412 | 429) => FailureKind::Unavailable,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        412 => FailureKind::PreconditionFailed,
        429 => FailureKind::Throttled,
        // A timeout, a conflict and a lock pass; all else that is not Graph's 4xx was not caused by the request.
        408 | 409 | 423 => FailureKind::Unavailable,
        400..=499 => FailureKind::Rejected,
        _ => FailureKind::Unavailable,
    }
}

/// Whether a refusal is about a licence. Names of scopes, such as `LicenseAssignment.Read.All`, do not count: Graph
/// lists them where a role is missing.
fn mentions_a_licence(envelope: &Envelope) -> bool {
    let message = envelope.message.as_deref().unwrap_or_default();
    message.split_whitespace().chain([envelope.code()]).any(|word| {
        let word = word
            .trim_matches(|character: char| !character.is_alphanumeric())
            .to_ascii_lowercase();
        !word.contains('.') && (word.contains("licens") || word.contains("licenc"))
    })
}

fn message(status: u16, code: &str, sentence: Option<&str>) -> String {
    match status {
        // Graph's own sentence would count requests and seconds.
        429 => return "Graph throttles this application: it answered HTTP 429".to_owned(),
        300..=399 => return format!("Graph answered with a redirect, HTTP {status}, and redirects are not followed"),
        _ => {}
    }
    let sentence = sentence.map(scrub::sentence).unwrap_or_default();
    if !sentence.is_empty() {
        return text::clean(&sentence, MESSAGE_CHARS);
    }
    let code_is_a_word = !code.is_empty() && code.chars().all(|character| character.is_ascii_alphabetic());
    if code_is_a_word {
        return format!("Graph answered HTTP {status} with the code {code} and without a readable error");
    }
    format!("Graph answered HTTP {status} without a readable error")
}

#[cfg(test)]
mod tests;
