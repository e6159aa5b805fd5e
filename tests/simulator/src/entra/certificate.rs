//! An assertion that the app signed itself, with the key of a certificate that was registered (FACTS 5.5).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

use super::assertion::{Assertion, malformed};
use super::refusal::Refusal;
use crate::world::{App, Endpoints};

/// What an assertion may be signed with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::PS256];

/// A certificate as an app's registration holds it.
struct Registered {
    sha1: Vec<u8>,
    sha256: Vec<u8>,
    /// The RSA key, PKCS#1; nothing for a key of another kind.
    key: Option<Vec<u8>>,
    /// Unix seconds.
    from: i64,
    /// Unix seconds.
    until: i64,
}

/// The certificates in a PEM text; blocks of other kinds and what cannot be read are left out.
fn read(pem: &str) -> Vec<Registered> {
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(pem.as_bytes()).flatten() {
        if block.label != "CERTIFICATE" {
            continue;
        }
        let Ok(certificate) = block.parse_x509() else { continue };
        let info = certificate.public_key();
        let rsa = matches!(info.parsed(), Ok(PublicKey::RSA(_)));
        found.push(Registered {
            sha1: digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &block.contents)
                .as_ref()
                .to_vec(),
            sha256: digest::digest(&digest::SHA256, &block.contents).as_ref().to_vec(),
            key: rsa.then(|| info.subject_public_key.data.to_vec()),
            from: certificate.validity().not_before.timestamp(),
            until: certificate.validity().not_after.timestamp(),
        });
    }
    found
}

/// Whether there is a certificate in the text.
pub(crate) fn is_readable(pem: &str) -> bool {
    !read(pem).is_empty()
}

/// Whether the app signed the assertion, for this endpoint and for now. The order of the checks is ours (FACTS 5.4).
pub(super) fn check(
    endpoints: &Endpoints,
    tenant: &str,
    (client_id, app): (&str, &App),
    assertion: &Assertion,
    now: Timestamp,
) -> Result<(), Refusal> {
    let issuer = assertion.required("iss")?;
    if !issuer.eq_ignore_ascii_case(client_id) {
        let sentence = format!(
            "Client assertion application identifier doesn't match 'client_id' parameter. {}",
            review()
        );
        return Err(Refusal::client(700_021, sentence));
    }
    if assertion.claim("sub") != Some(issuer) {
        let sentence = "Subject must match the issuer claim in the client assertion.";
        return Err(Refusal::client(50_048, sentence));
    }
    let algorithm = assertion.algorithm(&ALGORITHMS)?;
    check_signature(client_id, app, assertion, algorithm, now)?;
    check_audience(endpoints, tenant, assertion)?;
    assertion.check_time(now)
}

fn check_signature(
    client_id: &str,
    app: &App,
    assertion: &Assertion,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<(), Refusal> {
    let sha256 = assertion.header("x5t#S256");
    let Some(thumbprint) = sha256.or_else(|| assertion.header("x5t")) else {
        let sentence = "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId \
                        specified in token header.";
        return Err(Refusal::client(5_002_723, sentence));
    };
    let named = URL_SAFE_NO_PAD
        .decode(thumbprint.trim_end_matches('='))
        .map_err(|_| malformed())?;
    let found = app.certificates.iter().flat_map(|pem| read(pem)).find(|certificate| {
        let own = if sha256.is_some() {
            &certificate.sha256
        } else {
            &certificate.sha1
        };
        *own == named
    });
    let refuse = |what: &str, reason: &str, certificate: Option<&Registered>| {
        let window = certificate.map(Registered::window).unwrap_or_default();
        let sentence = format!(
            "{what} [Reason - {reason}, Thumbprint of key used by client: '{}'{window}, Please visit the Azure Portal, \
             Graph Explorer or directly use MS Graph to see configured keys for app Id '{client_id}'. Review the \
             documentation at https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding \
             service endpoint and \
             https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http to build a query \
             request URL, such as 'https://graph.microsoft.com/beta/applications/{client_id}'].",
            hex(&named)
        );
        Err(Refusal::client(700_027, sentence))
    };
    let Some(certificate) = found else {
        let what =
            "The certificate with identifier used to sign the client assertion is not registered on application.";
        return refuse(what, "The key was not found.", None);
    };
    if !(certificate.from..=certificate.until).contains(&now.as_second()) {
        let what = "The certificate with identifier used to sign the client assertion is expired on application.";
        return refuse(what, "The key used is expired.", Some(&certificate));
    }
    let Some(key) = &certificate.key else {
        let sentence = "Invalid JWT token. Unsupported key for the signing algorithm.";
        return Err(Refusal::request(5_002_730, sentence));
    };
    if assertion.is_signed_by(&DecodingKey::from_rsa_der(key), algorithm) {
        return Ok(());
    }
    let what = "Client assertion contains an invalid signature.";
    let reason = "The provided signature value did not match the expected signature value.";
    refuse(what, reason, Some(&certificate))
}

/// One audience, the token endpoint; older editions of Microsoft's page had the issuer instead. A list is none.
fn check_audience(endpoints: &Endpoints, tenant: &str, assertion: &Assertion) -> Result<(), Refusal> {
    let audience = assertion.required("aud")?;
    let authority = &endpoints.public_authority;
    let accepted = [
        format!("{authority}/{tenant}/oauth2/v2.0/token"),
        format!("{authority}/{tenant}/v2.0"),
    ];
    if accepted.iter().any(|own| own == audience) {
        return Ok(());
    }
    let sentence = format!(
        "Client assertion audience claim does not match Realm issuer. {}",
        review()
    );
    Err(Refusal::client(700_023, sentence))
}

impl Registered {
    /// From when to when it is good, as Entra says it.
    fn window(&self) -> String {
        let day = |second: i64| {
            Timestamp::from_second(second)
                .unwrap_or(Timestamp::MAX)
                .strftime("%m/%d/%Y %H:%M:%S")
                .to_string()
        };
        format!(", Found key 'Start={}, End={}'", day(self.from), day(self.until))
    }
}

fn review() -> &'static str {
    "Review the documentation at \
     https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials ."
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .map(|digit| digit.to_ascii_uppercase())
        .collect()
}
