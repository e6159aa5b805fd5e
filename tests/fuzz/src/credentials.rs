//! Access tokens, what the metadata service answers with, and client certificates.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compliance_partner_operator::graph::certificate::Certificate;
use compliance_partner_operator::graph::error::READ_ROLES;
use compliance_partner_operator::graph::metadata;
use compliance_partner_operator::graph::token::Token;
use zeroize::Zeroizing;

use crate::errors::{Answer, NOW, look_at_refusal};
use crate::input::cut;
use crate::is_fit;

/// The input as a token, and as the payload of one.
pub(crate) fn token(input: &[u8]) {
    let hour = Duration::from_secs(3600);
    if let Ok(token) = std::str::from_utf8(input) {
        look_at(&Token::new(Zeroizing::new(token.to_owned()), hour));
    }
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(input));
    look_at(&Token::new(Zeroizing::new(token), hour));
}

fn look_at(token: &Token) {
    assert!(token.renew_at <= token.ends_at);
    assert_eq!(format!("{token:?}"), "Token(…)");
    let roles = token.roles.as_deref().unwrap_or_default();
    assert!(roles.is_sorted() && roles.len() <= READ_ROLES.len(), "{roles:?}");
    assert!(roles.windows(2).all(|two| two.first() != two.last()), "{roles:?}");
    assert!(
        roles.iter().all(|role| READ_ROLES.contains(&role.as_str())),
        "{roles:?}"
    );
    let tenant = token.tenant.as_deref().unwrap_or_default();
    assert!(is_fit(tenant, 64), "{tenant:?}");
    assert!(
        !tenant.contains(|letter: char| letter.is_ascii_uppercase()),
        "{tenant:?}"
    );
}

/// An answer of the metadata service.
pub(crate) fn metadata(input: &[u8]) {
    let answer = Answer::read(input);
    for named in [true, false] {
        match metadata::read(answer.status, &answer.headers, &answer.body, named, NOW) {
            Ok(token) => {
                assert_eq!(answer.status, 200);
                look_at(&token);
            }
            Err(failure) => look_at_refusal(&failure),
        }
    }
}

/// Certificates and a key, divided by a line of one `~`; without such a line both are in all of it.
pub(crate) fn certificate(input: &[u8]) {
    let (certificates, key) = cut(input, b"\n~\n").unwrap_or((input, input));
    match Certificate::from_pem(certificates, key) {
        Ok(certificate) => {
            let thumbprint = certificate.thumbprint();
            // SHA-256 in base64url.
            assert_eq!(URL_SAFE_NO_PAD.decode(thumbprint).map(|digest| digest.len()), Ok(32));
            assert_eq!(format!("{certificate:?}"), format!("Certificate({thumbprint}, …)"));
            signs(&certificate);
        }
        Err(why) => assert!(is_fit(&why.to_string(), 512)),
    }
}

/// A certificate that was taken signs what Entra takes: three parts, each in base64url.
fn signs(certificate: &Certificate) {
    let assertion = certificate.assertion("https://example/token", "client", NOW);
    let assertion = assertion.as_ref().map(|assertion| assertion.as_str());
    assert!(assertion.is_ok(), "a key that was taken does not sign");
    let parts: Vec<_> = assertion
        .unwrap_or_default()
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part))
        .collect();
    assert!(parts.len() == 3 && parts.iter().all(Result::is_ok));
}
