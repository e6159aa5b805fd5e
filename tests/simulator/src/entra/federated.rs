//! An assertion of another issuer that the app trusts: workload identity federation (FACTS 5.6).

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::assertion::Assertion;
use super::refusal::Refusal;
use crate::world::{App, FederatedCredential, World};

/// What an issuer may sign with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// Whether a federated credential of the app names this assertion, and its issuer signed it, for now. Issuer, subject and
/// audience are compared to the letter. The order of the checks is ours (FACTS 5.4).
pub(super) fn check(
    world: &World,
    (client_id, app): (&str, &App),
    assertion: &Assertion,
    now: Timestamp,
) -> Result<(), Refusal> {
    if app.federated.is_empty() {
        let sentence = format!("The client '{client_id}'(simulated) has no configured federated identity credentials.");
        return Err(Refusal::client(70_025, sentence));
    }
    let issuer = assertion.required("iss")?;
    let of_issuer: Vec<&FederatedCredential> = app.federated.iter().filter(|own| own.issuer == issuer).collect();
    if of_issuer.is_empty() {
        return Err(no_match(700_211, "issuer", issuer));
    }
    let subject = assertion.required("sub")?;
    let of_subject: Vec<&FederatedCredential> =
        of_issuer.iter().copied().filter(|own| own.subject == subject).collect();
    if of_subject.is_empty() {
        return Err(wrong_subject(&of_issuer, subject));
    }
    let audiences = assertion.audiences();
    if !of_subject.iter().any(|own| audiences.contains(&own.audience.as_str())) {
        return Err(no_match(700_212, "audience", &audiences.join(",")));
    }
    let Some(keys) = world.issuers.get(issuer) else {
        let sentence = "Request to External OIDC endpoint failed.";
        return Err(Refusal::request(90_061, sentence));
    };
    check_signature(keys, issuer, assertion)?;
    assertion.check_time(now)
}

fn check_signature(keys: &JwkSet, issuer: &str, assertion: &Assertion) -> Result<(), Refusal> {
    let algorithm = assertion.algorithm(&ALGORITHMS)?;
    let named = assertion.header("kid");
    let candidates: Vec<&Jwk> = keys
        .keys
        .iter()
        .filter(|key| named.is_none_or(|named| key.common.key_id.as_deref() == Some(named)))
        .collect();
    if candidates.is_empty() {
        let sentence = format!(
            "The certificate with identifier {} used to sign the federated credential could not be found in the \
             metadata of identity provider {issuer}. Please validate that your Identity Provider's metadata exposes the \
             key used to sign the incoming token.",
            named.unwrap_or_default()
        );
        return Err(Refusal::client(7_000_272, sentence));
    }
    let signed = candidates
        .iter()
        .filter_map(|key| DecodingKey::from_jwk(key).ok())
        .any(|key| assertion.is_signed_by(&key, algorithm));
    if signed {
        return Ok(());
    }
    let sentence = "Client assertion contains an invalid signature. [Reason - The provided signature value did not \
                    match the expected signature value.].";
    Err(Refusal::client(700_027, sentence))
}

fn wrong_subject(credentials: &[&FederatedCredential], subject: &str) -> Refusal {
    if !credentials.iter().any(|own| own.subject.eq_ignore_ascii_case(subject)) {
        return no_match(700_213, "subject", subject);
    }
    let sentence = format!(
        "No matching federated identity record found for presented assertion subject '{subject}'. The subject matches \
         with case-insensitive comparison, but not with case-sensitive comparison. Check your federated identity \
         credential Subject, Audience and Issuer against the presented assertion. See documentation at: \
         https://learn.microsoft.com/entra/workload-id/workload-identity-federation."
    );
    Refusal::client(7_002_138, sentence)
}

fn no_match(code: u64, what: &str, presented: &str) -> Refusal {
    let sentence = format!(
        "No matching federated identity record found for presented assertion {what} '{presented}'. Check your federated \
         identity credential Subject, Audience and Issuer against the presented assertion. \
         https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
    );
    Refusal::client(code, sentence)
}
