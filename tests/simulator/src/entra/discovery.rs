//! What Entra says of itself: clients of Microsoft's libraries ask before they ask for a token (FACTS 5.7).

use serde_json::{Value, json};

use crate::world::Endpoints;

/// The tenant in `/{tenant}/v2.0/.well-known/openid-configuration`.
pub(super) fn tenant_of(path: &str) -> Option<&str> {
    let tenant = path
        .strip_prefix('/')?
        .strip_suffix("/v2.0/.well-known/openid-configuration")?;
    (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
}

/// The document, as far as a client that has its own credential needs it.
pub(super) fn document(endpoints: &Endpoints, tenant: &str) -> Value {
    let root = format!("{}/{tenant}", endpoints.public_authority);
    let host = |address: &str| address.trim_start_matches("https://").to_owned();
    json!({
        "issuer": format!("{root}/v2.0"),
        "token_endpoint": format!("{root}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "authorization_endpoint": format!("{root}/oauth2/v2.0/authorize"),
        "jwks_uri": format!("{root}/discovery/v2.0/keys"),
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "msgraph_host": host(&endpoints.public_graph),
    })
}
