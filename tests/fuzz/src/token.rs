//! Access tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compliance_partner_operator::graph::claims::Claims;
use compliance_partner_operator::graph::error::READ_ROLES;

use crate::is_fit;

/// The input as a token, and as the payload of one.
pub(crate) fn token(input: &[u8]) {
    if let Ok(token) = std::str::from_utf8(input) {
        look_at(token);
    }
    look_at(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(input)));
}

fn look_at(token: &str) {
    let Some(claims) = Claims::read(token) else { return };
    assert!(claims.roles.is_sorted() && claims.roles.len() <= READ_ROLES.len(), "{claims:?}");
    assert!(claims.roles.windows(2).all(|two| two.first() != two.last()), "{claims:?}");
    assert!(claims.roles.iter().all(|role| READ_ROLES.contains(&role.as_str())), "{claims:?}");
    let tenant = claims.tenant.unwrap_or_default();
    assert!(is_fit(&tenant, 64) && !tenant.contains(|letter: char| letter.is_ascii_uppercase()), "{tenant:?}");
}
