//! The node's metadata service, as far as it hands out tokens of managed identities (FACTS 6).

use serde_json::{Value, json};

use crate::entra;
use crate::incoming::Incoming;
use crate::log::ViolationKind;
use crate::reply::Reply;
use crate::token::after;
use crate::world::{Endpoints, World};

/// The path of the token endpoint.
const PATH: &str = "/metadata/identity/oauth2/token";
/// The one version of the protocol that is spoken.
const VERSION: &str = "2018-02-01";

/// An app of a tenant that is assigned to the node.
#[derive(Clone, Debug)]
pub(crate) struct NodeIdentity {
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) system_assigned: bool,
}

/// Whom the request asks for: by `client_id`, else the system's own, else the only one there is (FACTS 6.4).
pub(crate) fn identity<'a>(world: &'a World, request: &Incoming) -> Result<&'a NodeIdentity, &'static str> {
    const NONE: &str = "Identity not found";
    if let Some(wanted) = parameter(request, "client_id") {
        let found = world
            .identities
            .iter()
            .find(|own| own.client_id.eq_ignore_ascii_case(&wanted));
        return found.ok_or(NONE);
    }
    if let Some(own) = world.identities.iter().find(|own| own.system_assigned) {
        return Ok(own);
    }
    match world.identities.as_slice() {
        [] => Err(NONE),
        [only] => Ok(only),
        _ => Err(
            "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the \
             token request",
        ),
    }
}

fn parameter(request: &Incoming, name: &str) -> Option<String> {
    let pairs = request.query_pairs();
    pairs.into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

fn has_header(request: &Incoming) -> bool {
    request.header("metadata") == Some("true")
}

/// Notes what a right client never does, before any rule can take the request.
pub(crate) fn inspect(world: &mut World, seq: u64, request: &Incoming) {
    if request.path != PATH {
        world.violation(seq, ViolationKind::UnexpectedPath, request.path.clone());
    } else if request.method != "GET" {
        let detail = format!("{} {}", request.method, request.path);
        world.violation(seq, ViolationKind::UnexpectedMethod, detail);
    }
    if !has_header(request) {
        let detail = "no header Metadata: true";
        world.violation(seq, ViolationKind::MissingMetadataHeader, detail);
    }
    for name in ["x-forwarded-for", "forwarded", "via"] {
        if request.header(name).is_some() {
            let detail = format!("the header {name}");
            world.violation(seq, ViolationKind::ForwardedMetadata, detail);
        }
    }
    if request.header("authorization").is_some() {
        let detail = "a metadata request with an Authorization header";
        world.violation(seq, ViolationKind::MisplacedCredential, detail);
    }
    for (name, _) in request.query_pairs() {
        if !["api-version", "resource", "client_id"].contains(&name.as_str()) {
            let detail = format!("query parameter {name}");
            world.violation(seq, ViolationKind::UnexpectedQuery, detail);
        }
    }
}

/// Answers a request; says the number of the token that it issued.
pub(crate) fn answer(world: &mut World, endpoints: &Endpoints, request: &Incoming) -> (Reply, Option<u64>) {
    match issue(world, endpoints, request) {
        Ok((number, body)) => (Reply::json(200, &body), Some(number)),
        Err((status, body)) => (Reply::json(status, &body), None),
    }
}

fn refused(error: &str, description: &str) -> (u16, Value) {
    (400, json!({ "error": error, "error_description": description }))
}

fn issue(world: &mut World, endpoints: &Endpoints, request: &Incoming) -> Result<(u64, Value), (u16, Value)> {
    if request.path != PATH {
        return Err((404, json!({ "error": "Not Found" })));
    }
    if !has_header(request) {
        return Err(refused("bad_request_102", "Required metadata header not specified"));
    }
    if request.header("x-forwarded-for").is_some() {
        return Err(refused("invalid_request", "X-Forwarded-For header is not allowed"));
    }
    if request.method != "GET" {
        return Err((405, json!({ "error": "Method Not Allowed" })));
    }
    if parameter(request, "api-version").as_deref() != Some(VERSION) {
        let sentence = "Bad request. api-version was not specified in the request. For more information refer to \
                        aka.ms/azureimds";
        return Err((400, json!({ "error": sentence, "newest-versions": [VERSION] })));
    }
    let strange = request.query_pairs().into_iter().map(|(name, _)| name);
    let strange = strange.into_iter().find(|name| is_selector(name));
    if let Some(name) = strange {
        let sentence = format!("The parameter '{name}' is not supported by the simulator.");
        return Err(refused("invalid_request", &sentence));
    }
    let Some(resource) = parameter(request, "resource") else {
        let sentence = "The request is missing a required parameter: resource";
        return Err(refused("invalid_request", sentence));
    };
    let own = identity(world, request).map_err(|sentence| refused("invalid_request", sentence))?;
    let (tenant, client_id) = (own.tenant.clone(), own.client_id.clone());
    let app = world.tenant(&tenant).and_then(|tenant| tenant.apps.get(&client_id));
    let roles = match app {
        Some(app) => app.roles.clone(),
        None => return Err(refused("invalid_request", "Identity not found")),
    };
    entra::check_resource(&resource, endpoints, &tenant)
        .map_err(|refusal| refused(refusal.word(), &refusal.described()))?;
    let (number, token) = entra::issue_for(world, endpoints, (&tenant, &client_id), roles, None);
    let (now, expires_in) = (world.now(), world.settings.expires_in);
    let body = json!({
        "access_token": token,
        "client_id": client_id,
        "expires_in": expires_in.to_string(),
        "expires_on": after(now, expires_in).as_second().to_string(),
        "ext_expires_in": expires_in.to_string(),
        "not_before": now.as_second().to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    Ok((number, body))
}

/// Names an identity in a way that only Azure could resolve.
fn is_selector(name: &str) -> bool {
    ["object_id", "principal_id", "msi_res_id", "mi_res_id"].contains(&name)
}
