//! What an access token tells of itself. Tokens are opaque by Microsoft's contract ("Microsoft identity platform access
//! tokens"): what is read here serves advice and checks, and nothing relies on its being there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::{error, json};
use crate::runtime::text;

/// Longest tenant id that is kept, in characters: a GUID has 36, and a longer one equals none that is asked for.
const TENANT_CHARS: usize = 64;

/// The claims of a token that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The app roles that reading or writing partners can take, sorted and unique; empty where the token has none.
    pub roles: Vec<String>,
    /// The tenant that the token is for, in lower case; `None` where it does not tell. Fit to be shown.
    pub tenant: Option<String>,
}

impl Claims {
    /// Reads the payload of a JWT; nothing is verified, that is for whom the token is meant. `None` where the token is
    /// none.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let Json::Object(claims) = json::parse(&payload)? else {
            return None;
        };
        let roles = claims.get("roles").and_then(Json::as_array);
        let tenant = claims.get("tid").and_then(Json::as_str);
        Some(Self {
            roles: relevant(roles.map(Vec::as_slice).unwrap_or_default()),
            tenant: tenant.map(|tenant| text::clean(&tenant.to_ascii_lowercase(), TENANT_CHARS)),
        })
    }
}

fn relevant(roles: &[Json]) -> Vec<String> {
    let mut found: Vec<String> = roles
        .iter()
        .filter_map(Json::as_str)
        .filter(|role| error::READ_ROLES.contains(role))
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(payload: &str) -> Option<Claims> {
        Claims::read(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn roles_and_tenant_are_read() {
        let roles = r#"["Other","DeviceManagementServiceConfig.ReadWrite.All",7,"DeviceManagementServiceConfig.Read.All",
            "DeviceManagementServiceConfig.ReadWrite.All"]"#;
        let claims = claims(&format!(r#"{{"tid":"ABC","roles":{roles}}}"#)).unwrap();
        assert_eq!(
            claims.roles,
            [
                "DeviceManagementServiceConfig.Read.All",
                "DeviceManagementServiceConfig.ReadWrite.All"
            ]
        );
        assert_eq!(claims.tenant.as_deref(), Some("abc"));
    }

    #[test]
    fn a_token_without_them_has_none_and_an_opaque_one_does_not_tell() {
        let none = Claims {
            roles: Vec::new(),
            tenant: None,
        };
        assert_eq!(claims("{}"), Some(none.clone()));
        assert_eq!(claims(r#"{"tid":7,"roles":"Other"}"#), Some(none));
        for token in ["opaque", "", "a.b", "..", "e30.e30=", "e30.W10.c2ln"] {
            let told = Claims::read(token);
            assert_eq!(told.is_some(), token == "e30.e30=", "{token}");
        }
    }

    #[test]
    fn a_tenant_without_end_is_kept_no_longer_than_it_can_be_one() {
        let tenant = claims(&format!(r#"{{"tid":"{}"}}"#, "a".repeat(100_000))).unwrap().tenant;
        assert_eq!(tenant.map(|tenant| tenant.len()), Some(TENANT_CHARS));
    }
}
