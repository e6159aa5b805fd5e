//! A `client_assertion`: taken apart, shown, and held against the clock (FACTS 5.5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::log::ViolationKind;

/// The one `client_assertion_type`.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Longest life of an assertion that is signed with a certificate, in seconds: "5-10 minutes after nbf at most".
const LONGEST: i64 = 600;

/// A JWT whose signature nobody has looked at yet.
pub(crate) struct Assertion {
    header: Value,
    claims: Value,
    message: String,
    signature: String,
}

impl Assertion {
    /// Takes it apart; nothing where it is no signed JWT of two JSON objects.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| -> Option<Value> {
            let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            message: message.to_owned(),
            signature: signature.to_owned(),
        })
    }

    /// Header and claims, for the log: neither is secret, the signature stays away.
    pub(crate) fn readable(&self) -> Value {
        json!({ "header": self.header, "claims": self.claims })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A claim that must be there (FACTS 5.5).
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        if self.claims.get(name).is_none() {
            let sentence = format!(
                "The required field '{name}' is missing from the credential. Ensure that you have all the necessary \
                 parameters for the login request."
            );
            return Err(Refusal::request(90_014, sentence));
        }
        self.claim(name).ok_or_else(malformed)
    }

    /// The audiences: one, or a list of them.
    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it claims to come from another issuer than the app: an issuer is a URL, an app is a GUID (FACTS 5.6).
    pub(super) fn is_federated(&self) -> bool {
        self.claim("iss").is_some_and(|issuer| issuer.contains("://"))
    }

    /// The signing algorithm, where it is one of these.
    pub(super) fn algorithm(&self, supported: &[Algorithm]) -> Result<Algorithm, Refusal> {
        let name = self.header("alg").unwrap_or_default();
        let known = name
            .parse::<Algorithm>()
            .ok()
            .filter(|algorithm| supported.contains(algorithm));
        known.ok_or_else(|| {
            let names: Vec<String> = supported.iter().map(|algorithm| format!("{algorithm:?}")).collect();
            let sentence = format!(
                "Invalid JWT token. '{name}' is not a supported signature algorithm. Supported signing algorithms are: \
                 '{}'",
                names.join(",")
            );
            Refusal::client(5_002_738, sentence)
        })
    }

    /// Whether the signature is this key's.
    pub(super) fn is_signed_by(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        jsonwebtoken::crypto::verify(&self.signature, self.message.as_bytes(), key, algorithm).unwrap_or(false)
    }

    /// Whether it is good now. What is missing counts as the beginning of time, so `exp` is required and `nbf` is not.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), Refusal> {
        let from = self.seconds("nbf").unwrap_or_default();
        let until = self.seconds("exp").unwrap_or_default();
        if (from..until).contains(&now.as_second()) {
            return Ok(());
        }
        let word = |second: i64| {
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
            ticks(time)
        };
        let sentence = format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry \
             time of assertion {}. Review the documentation at \
             https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
            ticks(now),
            word(from),
            word(until)
        );
        Err(Refusal::client(700_024, sentence))
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and no time is that far away"
    )]
    fn seconds(&self, name: &str) -> Option<i64> {
        let value = self.claims.get(name)?;
        value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }

    /// What Entra may let pass and its documents advise against (FACTS 5.5, 7), for an assertion of the app's own.
    pub(super) fn weaknesses(&self, now: Timestamp) -> Vec<(ViolationKind, String)> {
        let mut found = Vec::new();
        let algorithm = self.header("alg").unwrap_or("nothing");
        if algorithm != "PS256" || self.header("x5t#S256").is_none() {
            let thumbprint = if self.header("x5t#S256").is_some() {
                "with"
            } else {
                "without"
            };
            let detail = format!("an assertion signed with {algorithm}, {thumbprint} x5t#S256");
            found.push((ViolationKind::WeakAssertion, detail));
        }
        let from = self.seconds("nbf").or_else(|| self.seconds("iat"));
        let until = self.seconds("exp").unwrap_or_default();
        let life = until.saturating_sub(from.unwrap_or_else(|| now.as_second()));
        if life > LONGEST {
            let detail = format!("an assertion that is good for {life} seconds");
            found.push((ViolationKind::LongAssertion, detail));
        }
        if self.claim("jti").is_none_or(str::is_empty) {
            found.push((ViolationKind::MissingAssertionId, "an assertion without jti".to_owned()));
        }
        found
    }
}

/// A time as Entra writes it into its sentences: seven digits of a second.
fn ticks(time: Timestamp) -> String {
    let ticks = time.subsec_nanosecond().max(0) / 100;
    format!("{}.{ticks:07}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// No JWT that Entra can read (FACTS 5.5).
pub(super) fn malformed() -> Refusal {
    Refusal::request(50_027, "JWT token is invalid or malformed.")
}
