//! Tokens of Entra, by Microsoft's own library, and of the metadata service. No cache here: the session keeps the one
//! token of its connection, so that "one fresh token" is one that nobody has seen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, Body, ClientMethodOptions, ClientOptions, HttpClient, Request, RetryOptions, Transport,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use base64::Engine;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::error::{TokenFailure, TokenFailureKind, classify_token};
use super::http::{send_repeatable, without_url};
use super::json;
use super::metadata::MetadataService;
use crate::runtime::metrics::Metrics;
use crate::runtime::text;

/// The most that is read of an answer of Entra: 1 MiB.
pub(super) const LARGEST_BODY: usize = 1024 * 1024;

/// Longest tenant id that is kept, in characters: a GUID has 36, and a longer one equals none that is asked for.
const TENANT_CHARS: usize = 64;

/// The longest time that a token may be said to be valid, in seconds: ten years. Microsoft gives a day at most.
const LONGEST_VALID: i64 = 10 * 365 * 86_400;

/// What a token is got by. Neither shown nor stored.
pub enum Credential {
    /// An app registration, which has to be proved to Entra.
    App(Proof),
    /// The identity of the node, which needs no proof: the metadata service knows who asks.
    ManagedIdentity,
}

/// How the operator proves that it is an app. Zeroed when it goes.
pub enum Proof {
    /// A client secret of the app registration.
    ClientSecret(Zeroizing<String>),
    /// A certificate of the app registration: it signs an assertion for each exchange.
    ClientCertificate(Certificate),
    /// A token of Kubernetes that the app registration trusts, made or read for this exchange.
    FederatedToken(Zeroizing<String>),
}

impl Credential {
    /// Whether it holds for some minutes only: taken anew, it is another one.
    #[must_use]
    pub const fn is_short_lived(&self) -> bool {
        matches!(self, Self::App(Proof::FederatedToken(_)))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(proof) => proof.fmt(formatter),
            Self::ManagedIdentity => formatter.write_str("ManagedIdentity"),
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ClientSecret(_) => "ClientSecret(…)",
            Self::ClientCertificate(_) => "ClientCertificate(…)",
            Self::FederatedToken(_) => "FederatedToken(…)",
        })
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
    /// The tenant that it is for, in lower case, at most 64 characters and fit to be shown; `None` where the token does
    /// not tell.
    pub tenant: Option<String>,
}

impl Token {
    /// The token itself, for the Authorization header alone.
    #[must_use]
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// A token that is valid for so long from now. Its claims are read where it decodes.
    #[must_use]
    pub fn new(secret: Zeroizing<String>, valid_for: Duration) -> Self {
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
            tenant: text_of("tid").map(|tenant| text::clean(&tenant.to_ascii_lowercase(), TENANT_CHARS)),
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
    json::parse(&bytes).filter(serde_json::Value::is_object)
}

/// Who asks for a token, where, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The authority's root, without the tenant.
    pub authority: String,
    /// The tenant's id.
    pub tenant: String,
    /// The app's client id, or that of a managed identity. `None`: the node's system-assigned one.
    pub client: Option<String>,
    /// What the token is for: Graph's root.
    pub resource: String,
}

impl TokenRequest {
    /// The scope: all that an administrator has consented to for this resource.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("{}/.default", self.resource)
    }

    /// The token endpoint, as an assertion names it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant)
    }
}

/// Asks Entra for tokens, or the metadata service.
#[derive(Clone, Debug)]
pub struct TokenClient {
    http: reqwest::Client,
    metadata: MetadataService,
    timeout: Duration,
    metrics: Metrics,
}

impl TokenClient {
    /// `timeout` bounds one request.
    #[must_use]
    pub fn new(http: reqwest::Client, metadata: MetadataService, timeout: Duration, metrics: Metrics) -> Self {
        Self {
            http,
            metadata,
            timeout,
            metrics,
        }
    }

    /// Exchanges a credential for a token: one request, no retry, no cache.
    pub async fn exchange(&self, request: &TokenRequest, credential: &Credential) -> Result<Token, TokenFailure> {
        let (service, result) = match credential {
            Credential::ManagedIdentity => {
                let client = request.client.as_deref();
                let asked = self.metadata.token(&request.resource, client, self.timeout);
                ("The metadata service", asked.await)
            }
            Credential::App(proof) => ("Entra", self.ask_entra(request, proof).await),
        };
        let outcome = match &result {
            Ok(_) => "success",
            Err(failure) => match failure.kind {
                TokenFailureKind::Rejected => "rejected",
                TokenFailureKind::Throttled => "throttled",
                TokenFailureKind::Unavailable => "unavailable",
            },
        };
        self.metrics.token_request(outcome);
        let tenant = text::clean(&request.tenant, 64);
        let client = request.client.as_deref().map(|client| text::clean(client, 64));
        match &result {
            Ok(_) => tracing::debug!(service, tenant, client, outcome, "token request"),
            Err(failure) => {
                // What no condition holds, and Microsoft's support asks for.
                let (status, aadsts, trace_id) = (failure.status, failure.aadsts, failure.trace_id.as_deref());
                tracing::info!(
                    tenant,
                    client,
                    outcome,
                    status,
                    aadsts,
                    trace_id,
                    "{service} gave no token"
                );
            }
        }
        result
    }

    async fn ask_entra(&self, request: &TokenRequest, proof: &Proof) -> Result<Token, TokenFailure> {
        let transport = Arc::new(Capture {
            http: self.http.clone(),
            timeout: self.timeout,
            last: Mutex::default(),
        });
        // The API's schema holds that an app has one.
        let client = request.client.as_deref().unwrap_or_default();
        let shown = match proof {
            Proof::ClientSecret(secret) => Shown::Secret(secret.clone()),
            Proof::ClientCertificate(certificate) => {
                let assertion = certificate.assertion(&request.endpoint(), client, Timestamp::now());
                Shown::Assertion(assertion.map_err(|error| TokenFailure::unavailable(error.to_string()))?)
            }
            Proof::FederatedToken(token) => Shown::Assertion(token.clone()),
        };
        let result = acquire(request, client, shown, Arc::clone(&transport)).await;
        result.map_err(|error| transport.failure(&error))
    }
}

/// What Entra is shown as proof.
enum Shown {
    Secret(Zeroizing<String>),
    Assertion(Zeroizing<String>),
}

async fn acquire(
    request: &TokenRequest,
    client: &str,
    shown: Shown,
    transport: Arc<Capture>,
) -> azure_core::Result<Token> {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host.clone_from(&request.authority);
    let client_options = ClientOptions {
        // The reasons' waits decide when a request is repeated, not the library's.
        retry: RetryOptions::none(),
        transport: Some(Transport::new(transport)),
        // Always set: the library would otherwise read the authority from the environment.
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..ClientOptions::default()
    };
    let (tenant, client) = (request.tenant.clone(), client.to_owned());
    let credential: Arc<dyn TokenCredential> = match shown {
        Shown::Secret(secret) => {
            let secret = Secret::new(secret.as_str().to_owned());
            let options = ClientSecretCredentialOptions { client_options };
            ClientSecretCredential::new(&tenant, client, secret, Some(options))?
        }
        Shown::Assertion(assertion) => {
            let options = ClientAssertionCredentialOptions { client_options };
            ClientAssertionCredential::new(tenant, client, Assertion(assertion), Some(options))?
        }
    };
    let token = credential.get_token(&[&request.scope()], None).await?;
    let valid_for = token.expires_on - azure_core::time::OffsetDateTime::now_utc();
    let valid_for = Duration::try_from(valid_for).unwrap_or(Duration::ZERO);
    Ok(Token::new(Zeroizing::new(token.token.secret().to_owned()), valid_for))
}

/// An assertion that was taken for one exchange.
struct Assertion(Zeroizing<String>);

impl fmt::Debug for Assertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Assertion(…)")
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.as_str().to_owned())
    }
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
        let failed = |what: String| azure_core::Error::with_message(ErrorKind::Io, what);
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
            let larger = "Entra's answer is larger than 1 MiB: look for a proxy in between";
            self.keep(Answered::Refused(TokenFailure::unavailable(larger)));
            return Err(failed(larger.to_owned()));
        };
        let status = response.status().as_u16();
        if response.status().is_success() {
            self.keep(Answered::Success);
            if !is_within_the_calendar(&body) {
                return Err(failed("Entra's answer is no token".to_owned()));
            }
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

/// Whether the library may have this answer. It adds `expires_in` to the clock unchecked: a sum beyond the calendar would
/// end the process. It also reads a list in the place of an object.
fn is_within_the_calendar(answer: &[u8]) -> bool {
    let mut is_within = true;
    let is_object = json::members(&json::text(answer), |name, value| {
        if name == "expires_in" {
            is_within &= value
                .parse()
                .is_ok_and(|seconds| (0..=LONGEST_VALID).contains(&seconds));
        }
    });
    is_object.is_some() && is_within
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
    fn a_tenant_without_end_is_kept_no_longer_than_it_can_be_one() {
        let tenant = token(&format!(r#"{{"tid":"{}"}}"#, "a".repeat(100_000))).tenant;
        assert_eq!(tenant.map(|tenant| tenant.len()), Some(TENANT_CHARS));
    }

    #[test]
    fn the_library_gets_no_time_that_is_beyond_the_calendar() {
        let answer = |expires_in: &str| {
            let answer = r#"{"token_type":"Bearer","expires_in":@,"ext_expires_in":3599,"access_token":"x"}"#;
            is_within_the_calendar(answer.replace('@', expires_in).as_bytes())
        };
        for fit in ["0", "3599", "86400", "315360000"] {
            assert!(answer(fit), "{fit}");
        }
        for unfit in [
            "-1",
            "315360001",
            "9223372036854775807",
            "99999999999999999999",
            "1e3",
            "null",
            r#""3599""#,
        ] {
            assert!(!answer(unfit), "{unfit}");
        }
        assert!(!is_within_the_calendar(br#"["Bearer",9223372036854775807,0,"x"]"#));
        assert!(!is_within_the_calendar(
            br#"{"expires_in":1,"\u0065xpires_in":9223372036854775807}"#
        ));
    }

    #[test]
    fn neither_token_nor_credential_shows_itself() {
        let token = Token::new(Zeroizing::new("canary".to_owned()), Duration::from_secs(60));
        let secret = || Zeroizing::new("canary".to_owned());
        let proofs = [Proof::ClientSecret(secret()), Proof::FederatedToken(secret())];
        let credentials = proofs.map(Credential::App);
        let assertion = Assertion(secret());
        let shown = format!("{token:?} {credentials:?} {assertion:?}");
        assert!(
            !shown.contains("canary") && shown.contains("ClientSecret(…)"),
            "{shown}"
        );
    }
}
