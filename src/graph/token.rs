//! Tokens of Entra, by Microsoft's own library. No cache here: the session keeps the one token of its connection, so
//! that "one fresh token" is one that nobody has seen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use base64::Engine;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::error::{TokenFailure, TokenFailureKind, classify_token};
use super::http::{send_repeatable, without_url};
use crate::runtime::metrics::Metrics;
use crate::runtime::text;

/// The most that is read of an answer of Entra: 1 MiB.
const LARGEST_BODY: usize = 1024 * 1024;

/// How the operator proves that it is an app. Zeroed when it goes; neither shown nor stored.
pub enum Credential {
    /// A client secret of the app registration.
    ClientSecret(Zeroizing<String>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSecret(_) => formatter.write_str("ClientSecret(…)"),
        }
    }
}

/// An access token. Microsoft's, opaque by contract: its roles and tenant are known only where it happens to decode.
pub struct Token {
    secret: Zeroizing<String>,
    /// When it should be replaced.
    pub renew_at: Instant,
    /// When it ends.
    pub ends_at: Instant,
    /// The app roles that matter here; `None` where the token does not tell.
    pub roles: Option<Vec<String>>,
    /// The tenant that it is for, in lower case; `None` where the token does not tell.
    pub tenant: Option<String>,
}

impl Token {
    /// The token itself, for the Authorization header alone.
    #[must_use]
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    fn new(secret: Zeroizing<String>, valid_for: Duration) -> Self {
        // Five minutes before the end, or halfway for a token that lives shorter than ten.
        let early = Duration::from_secs(300).min(valid_for / 2);
        let claims = claims(&secret);
        let text_of = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)?.as_str());
        let roles = claims.as_ref().and_then(|claims| claims.get("roles")?.as_array());
        Self {
            renew_at: Instant::now() + valid_for.saturating_sub(early),
            ends_at: Instant::now() + valid_for,
            roles: claims
                .as_ref()
                .map(|_| relevant(roles.map(Vec::as_slice).unwrap_or_default())),
            tenant: text_of("tid").map(str::to_ascii_lowercase),
            secret,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// The roles that reading or writing partners can take, sorted and unique.
fn relevant(roles: &[serde_json::Value]) -> Vec<String> {
    let known = super::error::READ_ROLES;
    let mut found: Vec<String> = roles
        .iter()
        .filter_map(serde_json::Value::as_str)
        .filter(|role| known.contains(role))
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .filter(serde_json::Value::is_object)
}

/// Who asks for a token, where, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The authority's root, without the tenant.
    pub authority: String,
    /// The tenant's id.
    pub tenant: String,
    /// The app's client id.
    pub client: String,
    /// The scope: Graph's root and `/.default`.
    pub scope: String,
}

/// Asks Entra for tokens.
#[derive(Clone, Debug)]
pub struct TokenClient {
    http: reqwest::Client,
    timeout: Duration,
    metrics: Metrics,
}

impl TokenClient {
    /// `timeout` bounds one request.
    #[must_use]
    pub fn new(http: reqwest::Client, timeout: Duration, metrics: Metrics) -> Self {
        Self { http, timeout, metrics }
    }

    /// Exchanges a credential for a token: one request, no retry, no cache.
    pub async fn exchange(&self, request: &TokenRequest, credential: &Credential) -> Result<Token, TokenFailure> {
        let transport = Arc::new(Capture {
            http: self.http.clone(),
            timeout: self.timeout,
            last: Mutex::default(),
        });
        let result = acquire(request, credential, Arc::clone(&transport)).await;
        let result = result.map_err(|error| transport.failure(&error));
        let outcome = match &result {
            Ok(_) => "success",
            Err(failure) => match failure.kind {
                TokenFailureKind::Rejected => "rejected",
                TokenFailureKind::Throttled => "throttled",
                TokenFailureKind::Unavailable => "unavailable",
            },
        };
        self.metrics.token_request(outcome);
        let (tenant, client) = (text::clean(&request.tenant, 64), text::clean(&request.client, 64));
        match &result {
            Ok(_) => tracing::debug!(tenant, client, outcome, "token request"),
            Err(failure) => {
                // What no condition holds, and Microsoft's support asks for.
                let (status, aadsts, trace_id) = (failure.status, failure.aadsts, failure.trace_id.as_deref());
                tracing::info!(tenant, client, outcome, status, aadsts, trace_id, "Entra gave no token");
            }
        }
        result
    }
}

async fn acquire(
    request: &TokenRequest,
    credential: &Credential,
    transport: Arc<Capture>,
) -> azure_core::Result<Token> {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host.clone_from(&request.authority);
    let options = ClientSecretCredentialOptions {
        client_options: ClientOptions {
            // The reasons' waits decide when a request is repeated, not the library's.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(transport)),
            // Always set: the library would otherwise read the authority from the environment.
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        },
    };
    let Credential::ClientSecret(secret) = credential;
    let secret = Secret::new(secret.as_str().to_owned());
    let credential = ClientSecretCredential::new(&request.tenant, request.client.clone(), secret, Some(options))?;
    let token = credential.get_token(&[&request.scope], None).await?;
    let valid_for = token.expires_on - azure_core::time::OffsetDateTime::now_utc();
    let valid_for = Duration::try_from(valid_for).unwrap_or(Duration::ZERO);
    Ok(Token::new(Zeroizing::new(token.token.secret().to_owned()), valid_for))
}

/// The library's transport: the operator's own client. It keeps Entra's last refusal, for the library gives no more of
/// it than a sentence, and fails on answers that are not JSON.
#[derive(Debug)]
struct Capture {
    http: reqwest::Client,
    timeout: Duration,
    last: Mutex<Option<Answered>>,
}

#[derive(Debug)]
enum Answered {
    /// Entra refused, or something on the way to it.
    Refused(TokenFailure),
    /// A success: where the library fails all the same, the body was no token.
    Success,
}

impl Capture {
    fn failure(&self, error: &azure_core::Error) -> TokenFailure {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        match last {
            Some(Answered::Refused(failure)) => failure,
            Some(Answered::Success) => TokenFailure::unavailable("Entra answered without a token that can be read"),
            None => {
                // The library's sentence is not shown: what is in it is not ours to vouch for.
                let kind = text::clean(&format!("{:?}", error.kind()), 64);
                tracing::debug!(kind, "no answer of Entra");
                TokenFailure::unavailable(
                    "Entra cannot be reached: check the network, the proxy and the CA certificates of the operator",
                )
            }
        }
    }

    fn keep(&self, answer: Answered) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

#[async_trait]
impl HttpClient for Capture {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let failed = |what: String| azure_core::Error::with_message(azure_core::error::ErrorKind::Io, what);
        let Body::Bytes(body) = request.body() else {
            return Err(failed("a token request has a body of a known size".to_owned()));
        };
        let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes())
            .map_err(|_| failed("a token request has a known method".to_owned()))?;
        let mut outgoing = self
            .http
            .request(method, request.url().clone())
            .timeout(self.timeout)
            .body(body.clone());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let (response, body) = send_repeatable(outgoing, self.timeout, LARGEST_BODY)
            .await
            .map_err(|error| failed(without_url(&error)))?;
        let Some(body) = body else {
            return Err(failed("Entra's answer is larger than 1 MiB".to_owned()));
        };
        let status = response.status().as_u16();
        if response.status().is_success() {
            self.keep(Answered::Success);
        } else {
            self.keep(Answered::Refused(classify_token(
                status,
                response.headers(),
                &body,
                Timestamp::now(),
            )));
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), Headers::new(), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Token {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
        Token::new(Zeroizing::new(format!("e30.{payload}.c2ln")), Duration::from_secs(3600))
    }

    #[test]
    fn roles_and_tenant_are_read_from_a_token_that_decodes() {
        let token = token(r#"{"tid":"ABC","roles":["Other","DeviceManagementServiceConfig.ReadWrite.All"]}"#);
        assert_eq!(
            token.roles.as_deref(),
            Some(&["DeviceManagementServiceConfig.ReadWrite.All".to_owned()][..])
        );
        assert_eq!(token.tenant.as_deref(), Some("abc"));
    }

    #[test]
    fn a_token_without_roles_has_none_and_an_opaque_one_does_not_tell() {
        assert_eq!(token("{}").roles.as_deref(), Some(&[][..]));
        let opaque = Token::new(Zeroizing::new("opaque".to_owned()), Duration::from_secs(60));
        assert!(opaque.roles.is_none() && opaque.tenant.is_none());
    }

    #[test]
    fn neither_token_nor_credential_shows_itself() {
        let token = Token::new(Zeroizing::new("canary".to_owned()), Duration::from_secs(60));
        let credential = Credential::ClientSecret(Zeroizing::new("canary".to_owned()));
        assert!(!format!("{token:?} {credential:?}").contains("canary"));
    }
}
