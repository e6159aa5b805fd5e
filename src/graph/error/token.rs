//! What Entra's refusals of a token request mean, in our own words: Entra's sentences hold ids and times, and say what
//! an administrator of Entra has to do, not what to change here.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::Value as Json;

use super::super::json;
use super::{CODE_CHARS, wait};
use crate::runtime::text;

/// Largest body that is looked at, in bytes.
const BODY_BYTES: usize = 256 * 1024;

/// `AADSTS50196`: the application asks for the same token in a loop.
const LOOP_DETECTED: u32 = 50_196;

/// `AADSTS700024`: the assertion is not within its valid time range.
const ASSERTION_OUTDATED: u32 = 700_024;

/// What a refusal of a token request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenFailureKind {
    /// The credential, the application or the tenant is refused: somebody has to change something.
    Rejected,
    /// Too many requests.
    Throttled,
    /// Nothing is wrong with the request: a server in trouble, or an answer that is none of Entra's.
    Unavailable,
}

/// A token request that failed, be it on the way or by Entra's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenFailure {
    /// What the failure means.
    pub kind: TokenFailureKind,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// OAuth's error word (RFC 6749 §5.2), at most 64 characters and fit to be shown; empty where there is none.
    pub error: String,
    /// The number of Entra's own error code, without `AADSTS`.
    pub aadsts: Option<u32>,
    /// What to do about it, for a condition: ours, never Entra's sentence, and the same for each such answer.
    pub message: String,
    /// Entra's id of the request, for the log only: at most 64 characters, fit to be shown.
    pub trace_id: Option<String>,
    /// How long Entra asks to be left alone. Never with [`TokenFailureKind::Rejected`].
    pub retry_after: Option<Duration>,
}

impl TokenFailure {
    /// Whether an assertion that is made or read anew may be taken where this one was not.
    #[must_use]
    pub fn is_assertion_outdated(&self) -> bool {
        self.aadsts == Some(ASSERTION_OUTDATED)
    }

    /// Trouble on the way, or an answer that cannot be read: `message` says which, and must be the same at each
    /// attempt. It is cleaned, and cut at 512 characters.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            kind: TokenFailureKind::Unavailable,
            status: None,
            error: String::new(),
            aadsts: None,
            message: text::clean(&message.into(), super::MESSAGE_CHARS),
            trace_id: None,
            retry_after: None,
        }
    }

    /// Whether Entra takes the requests for a loop. It counts each one that comes soon, so that the next one waits as
    /// after a refusal.
    #[must_use]
    pub fn is_loop(&self) -> bool {
        self.aadsts == Some(LOOP_DETECTED)
    }
}

/// What an answer of the token endpoint that is no token means. `now` is the time to which a `Retry-After` date is
/// compared where the answer does not tell its own (`Date`).
#[must_use]
pub fn classify_token(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> TokenFailure {
    let answer = read(body);
    let error = answer.get("error").and_then(Json::as_str).unwrap_or_default();
    let aadsts = aadsts(&answer);
    let kind = kind(status, error, aadsts);
    TokenFailure {
        kind,
        status: Some(status),
        error: text::clean(error, CODE_CHARS),
        aadsts,
        trace_id: answer.get("trace_id").and_then(Json::as_str).and_then(text::request_id),
        message: match kind {
            TokenFailureKind::Rejected => rejected(error, aadsts),
            TokenFailureKind::Throttled => "Entra throttles the token requests of this application".to_owned(),
            TokenFailureKind::Unavailable => unavailable(status, error),
        },
        retry_after: pause(kind, headers, now),
    }
}

/// What an answer of the metadata service that is no token means: 400 is that the identity is not assigned, 404, 410 and
/// 5xx that the service is being updated ("How to use managed identities", error handling). `named` tells whether an
/// identity was asked for by its client id, `now` the time to which a `Retry-After` date is compared.
#[must_use]
pub fn classify_metadata(status: u16, headers: &HeaderMap, body: &[u8], named: bool, now: Timestamp) -> TokenFailure {
    let answer = read(body);
    let error = answer.get("error").and_then(Json::as_str).unwrap_or_default();
    let aadsts = aadsts(&answer);
    let kind = match status {
        429 => TokenFailureKind::Throttled,
        400 if !error.is_empty() => TokenFailureKind::Rejected,
        _ => TokenFailureKind::Unavailable,
    };
    let message = match kind {
        TokenFailureKind::Rejected if error == "invalid_resource" => {
            "The metadata service has no token for this cloud's Graph: check spec.cloud".to_owned()
        }
        TokenFailureKind::Rejected if error != "invalid_request" || aadsts.is_some() => rejected(error, aadsts),
        TokenFailureKind::Rejected if named => {
            "The node has no managed identity with this client id: assign the identity to the node, or mend spec.clientId"
                .to_owned()
        }
        TokenFailureKind::Rejected => {
            "The node has no system-assigned managed identity: enable it, or name a user-assigned one in spec.clientId"
                .to_owned()
        }
        TokenFailureKind::Throttled => "The metadata service throttles the token requests of this node".to_owned(),
        TokenFailureKind::Unavailable => format!("The metadata service answered HTTP {status}"),
    };
    TokenFailure {
        kind,
        status: Some(status),
        error: text::clean(error, CODE_CHARS),
        aadsts,
        trace_id: None,
        message,
        retry_after: pause(kind, headers, now),
    }
}

/// What a body holds, as far as it is looked at; nothing where it is no JSON.
fn read(body: &[u8]) -> Json {
    let readable = (body.len() <= BODY_BYTES).then_some(body);
    readable.and_then(json::parse).unwrap_or_default()
}

/// How long a failure of this kind asks to be left alone.
fn pause(kind: TokenFailureKind, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    match kind {
        TokenFailureKind::Rejected => None,
        TokenFailureKind::Throttled | TokenFailureKind::Unavailable => wait::retry_after(headers, now),
    }
}

fn kind(status: u16, error: &str, aadsts: Option<u32>) -> TokenFailureKind {
    match status {
        429 => TokenFailureKind::Throttled,
        _ if aadsts == Some(LOOP_DETECTED) => TokenFailureKind::Throttled,
        // Something on the way answers these; Entra's own have a code.
        404 | 408 | 410 if aadsts.is_none() => TokenFailureKind::Unavailable,
        400..=499 => match error {
            // None is a proxy's page or some other server's error, nothing that Entra holds against the credential; the
            // other two pass by their definition.
            "" | "temporarily_unavailable" | "server_error" => TokenFailureKind::Unavailable,
            _ => TokenFailureKind::Rejected,
        },
        _ => TokenFailureKind::Unavailable,
    }
}

/// Entra's own code: of several the first that there is advice for, else the first. It stands in a list, and at the
/// head of the description.
fn aadsts(answer: &Json) -> Option<u32> {
    let number = |code: &Json| match code {
        Json::String(text) => text.trim_start_matches("AADSTS").parse().ok(),
        code => code.as_u64().and_then(|code| u32::try_from(code).ok()),
    };
    let codes = answer
        .get("error_codes")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(number);
    let description = answer
        .get("error_description")
        .and_then(Json::as_str)
        .and_then(|description| {
            let (_, after) = description.split_once("AADSTS")?;
            after
                .split(|character: char| !character.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
    let codes: Vec<u32> = codes.take(16).chain(description).collect();
    let known = codes
        .iter()
        .find(|code| **code == LOOP_DETECTED || advice(**code).is_some());
    known.or(codes.first()).copied()
}

fn rejected(error: &str, aadsts: Option<u32>) -> String {
    // The word is the server's: what is none of OAuth's words is not repeated.
    let is_word = error.len() <= CODE_CHARS && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let word = if is_word { error } else { "an error of another kind" };
    match (aadsts, aadsts.and_then(advice)) {
        (Some(code), Some(advice)) => format!("{advice} (AADSTS{code})"),
        (Some(code), None) => format!("Entra refuses the token request: {word}, AADSTS{code}"),
        (None, _) => format!("Entra refuses the token request: {word}"),
    }
}

fn unavailable(status: u16, error: &str) -> String {
    match (status, error) {
        (300..=399, _) => format!("Entra answered with a redirect, HTTP {status}, and redirects are not followed"),
        (400..=499, "") => format!(
            "The token endpoint answered HTTP {status} without a readable error: \
             look for a proxy or a firewall in between"
        ),
        _ => format!("The token endpoint answered HTTP {status}"),
    }
}

/// What to do about a code, as far as Microsoft's "Microsoft Entra authentication and authorization error codes" and
/// its documents on workload identities tell.
fn advice(code: u32) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "The client secret is not valid: the Secret must hold the secret's value, not its id",
        7_000_222 => "The client secret has expired: create a new one in Entra and put its value into the Secret",
        700_016 => {
            "The application is not known in the tenant: check clientId, tenantId and cloud, \
             and that an administrator of the tenant has consented to the application"
        }
        7_000_112 => "The application is disabled: an administrator of its tenant has to enable it",
        90_002 => {
            "The tenant is not known in this cloud: check spec.tenantId and spec.cloud \
             (a GCC tenant is in Global, GCC High in USGov, DoD in USGovDoD)"
        }
        900_023 => "The tenant id is not one that Entra takes: check spec.tenantId",
        900_382 | 900_432 => {
            "The application belongs to another cloud: check spec.cloud \
             (a GCC tenant is in Global, GCC High in USGov, DoD in USGovDoD)"
        }
        700_027 => {
            "The signature of the client's assertion is not accepted: \
             register the certificate in use, or the issuer's, with the application"
        }
        700_024 => {
            "The client's assertion was not valid at that time: check the clock, and that its token file is renewed"
        }
        70_021 => {
            "No federated credential of the application matches: \
             issuer, subject and audience must equal those of the token to the letter"
        }
        700_211 => {
            "No federated credential of the application has this token's issuer: \
             it must equal the cluster's service account issuer to the letter"
        }
        70_025 => "The application has no federated credential: add one with this token's issuer, subject and audience",
        700_212 => {
            "No federated credential of the application has this token's audience: \
             it must be the cloud's own, such as api://AzureADTokenExchange"
        }
        7_002_138 => {
            "The subject of the application's federated credential differs from the token's in the case of its letters: \
             it must be equal to the letter"
        }
        7_000_272 => "The token's key is not among those that its issuer publishes: publish the cluster's present keys",
        700_213 => {
            "No federated credential of the application has this token's subject: \
             it must be system:serviceaccount:<namespace>:<name>"
        }
        90_061 => "Entra cannot reach the issuer of the token: its discovery document and keys must be public",
        53_003 => {
            "A Conditional Access policy blocks the application: \
             an administrator has to exclude it, or let in its address"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
