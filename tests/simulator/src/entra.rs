//! Entra's token endpoint (FACTS 5).

mod assertion;
mod certificate;
mod federated;
mod refusal;

use serde_json::{Map, Value, json};

use self::assertion::Assertion;
pub(crate) use self::certificate::is_readable;
pub(crate) use self::refusal::Refusal;
use crate::incoming::{Incoming, form_pairs};
use crate::log::{Digests, ViolationKind};
use crate::model::is_guid;
use crate::reply::Reply;
use crate::token::{self, random_word};
use crate::world::{App, Endpoints, World};

/// Form fields that never enter the log as they are.
const SECRET_FIELDS: [&str; 3] = ["client_secret", "client_assertion", "password"];

/// Whether a field of this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    SECRET_FIELDS.contains(&name)
}

/// The tenant in `/{tenant}/oauth2/v2.0/token`.
pub(crate) fn tenant_of(path: &str) -> Option<&str> {
    let tenant = path.strip_prefix('/')?.strip_suffix("/oauth2/v2.0/token")?;
    (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
}

/// A form as an object for the log, its secrets as digests.
pub(crate) fn logged_form(body: &[u8], digests: &Digests) -> Value {
    let mut form = Map::new();
    for (name, value) in form_pairs(body) {
        let value = if is_secret(&name) {
            digests.of(value.as_bytes())
        } else {
            value
        };
        form.insert(name, Value::String(value));
    }
    Value::Object(form)
}

/// Header and claims of the form's assertion, if it has one that can be read.
pub(crate) fn readable_assertion(body: &[u8]) -> Option<Value> {
    let form = form_pairs(body);
    let (_, assertion) = form.iter().find(|(name, _)| name == "client_assertion")?;
    Assertion::parse(assertion).map(|assertion| assertion.readable())
}

/// Notes what a right client never does, before any rule can take the request.
pub(crate) fn inspect(world: &mut World, seq: u64, request: &Incoming) {
    if tenant_of(&request.path).is_none() {
        world.violation(seq, ViolationKind::UnexpectedPath, request.path.clone());
    } else if request.method != "POST" {
        world.violation(
            seq,
            ViolationKind::UnexpectedMethod,
            format!("{} {}", request.method, request.path),
        );
    } else if !is_form(request) {
        let detail = "Content-Type is not application/x-www-form-urlencoded";
        world.violation(seq, ViolationKind::UnexpectedBody, detail);
    }
    for (kind, detail) in weaknesses(world, request) {
        world.violation(seq, kind, detail);
    }
    if request.header("authorization").is_some() {
        world.violation(
            seq,
            ViolationKind::MisplacedCredential,
            "a token request with an Authorization header",
        );
    }
    if request.query_pairs().iter().any(|(name, _)| is_secret(name)) {
        world.violation(seq, ViolationKind::MisplacedCredential, "a secret in the address");
    }
}

/// What is weak about an assertion that an app signed itself. One of another issuer is none of the client's making.
fn weaknesses(world: &World, request: &Incoming) -> Vec<(ViolationKind, String)> {
    let form = form_pairs(&request.body);
    let assertion = form.iter().find(|(name, _)| name == "client_assertion");
    match assertion.and_then(|(_, assertion)| Assertion::parse(assertion)) {
        Some(assertion) if !assertion.is_federated() => assertion.weaknesses(world.now()),
        _ => Vec::new(),
    }
}

fn is_form(request: &Incoming) -> bool {
    let media_type = request
        .header("content-type")
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// How a client proves who it is.
enum Proof {
    Secret(String),
    Assertion(Assertion),
}

/// Answers a request; says the number of the token that it issued.
pub(crate) fn answer(world: &mut World, endpoints: &Endpoints, request: &Incoming) -> (Reply, Option<u64>) {
    let Some(tenant) = tenant_of(&request.path) else {
        return (
            Reply {
                status: 404,
                headers: Vec::new(),
                body: Vec::new(),
            },
            None,
        );
    };
    if request.method != "POST" {
        let sentence = "Endpoint only accepts POST requests. Received a GET request.".replace("GET", &request.method);
        let refusal = Refusal::request(900_561, sentence);
        return (refusal.reply(endpoints, world.now(), request), None);
    }
    match issue(world, endpoints, tenant, request) {
        Ok((number, body)) => (
            Reply::json(200, &body).header("Cache-Control", "no-store, no-cache"),
            Some(number),
        ),
        Err(refusal) => (refusal.reply(endpoints, world.now(), request), None),
    }
}

fn issue(world: &mut World, endpoints: &Endpoints, tenant: &str, request: &Incoming) -> Result<(u64, Value), Refusal> {
    let form = if is_form(request) {
        form_pairs(&request.body)
    } else {
        Vec::new()
    };
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let grant_type = field("grant_type").ok_or_else(|| Refusal::missing("grant_type"))?;
    let client_id = field("client_id").ok_or_else(|| Refusal::missing("client_id"))?;
    if grant_type != "client_credentials" {
        let sentence = format!("The app requested an unsupported grant type '{grant_type}'.");
        return Err(Refusal::new(400, "unsupported_grant_type", 70_003, sentence));
    }
    if world.tenant(tenant).is_none() {
        return Err(unknown_tenant(tenant));
    }
    let proof = proof(field)?;
    let client_id = client_id.to_ascii_lowercase();
    let app = find_app(world, tenant, &client_id)?;
    check_proof(world, endpoints, tenant, (&client_id, app), &proof)?;
    let roles = app.roles.clone();
    check_scope(field("scope"), endpoints, tenant)?;
    let expires_in = world.settings.expires_in;
    let (number, token) = issue_for(world, endpoints, (tenant, &client_id), roles, None);
    let body = json!({
        "token_type": "Bearer",
        "expires_in": expires_in,
        "ext_expires_in": expires_in,
        "access_token": token,
    });
    Ok((number, body))
}

fn unknown_tenant(tenant: &str) -> Refusal {
    let dns = tenant.contains('.')
        && tenant
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if is_guid(tenant) || dns {
        let sentence = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant."
        );
        return Refusal::new(400, "invalid_request", 90_002, sentence);
    }
    let sentence = format!(
        "Specified tenant identifier '{}' is neither a valid DNS name, nor a valid external domain.",
        tenant.to_lowercase()
    );
    Refusal::new(400, "invalid_request", 900_023, sentence)
}

fn proof<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<Proof, Refusal> {
    match (field("client_secret"), field("client_assertion")) {
        (Some(secret), _) => Ok(Proof::Secret(secret.to_owned())),
        (None, Some(assertion)) => {
            let kind = field("client_assertion_type").ok_or_else(|| Refusal::missing("client_assertion_type"))?;
            if kind != assertion::TYPE {
                return Err(Refusal::request(90_011, "Unexpected client assertion type."));
            }
            Assertion::parse(assertion)
                .map(Proof::Assertion)
                .ok_or_else(assertion::malformed)
        }
        (None, None) => {
            let sentence =
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            Err(Refusal::client(7_000_218, sentence))
        }
    }
}

fn find_app<'a>(world: &'a World, tenant: &str, client_id: &str) -> Result<&'a App, Refusal> {
    let app = world.tenant(tenant).and_then(|tenant| tenant.apps.get(client_id));
    app.ok_or_else(|| {
        let sentence = format!(
            "Application with identifier '{client_id}' was not found in the directory '{tenant}'. This can happen if \
             the application has not been installed by the administrator of the tenant or consented to by any user \
             in the tenant. You may have sent your authentication request to the wrong tenant."
        );
        Refusal::new(400, "unauthorized_client", 700_016, sentence)
    })
}

fn check_proof(
    world: &World,
    endpoints: &Endpoints,
    tenant: &str,
    (client_id, app): (&str, &App),
    proof: &Proof,
) -> Result<(), Refusal> {
    match proof {
        Proof::Secret(secret) if app.secrets.contains(secret) => Ok(()),
        Proof::Secret(_) => {
            let sentence = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
                 value, not the client secret ID, for a secret added to app '{client_id}'."
            );
            Err(Refusal::client(7_000_215, sentence))
        }
        Proof::Assertion(assertion) if assertion.is_federated() => {
            federated::check(world, (client_id, app), assertion, world.now())
        }
        Proof::Assertion(assertion) => certificate::check(endpoints, tenant, (client_id, app), assertion, world.now()),
    }
}

fn check_scope(scope: Option<&str>, endpoints: &Endpoints, tenant: &str) -> Result<(), Refusal> {
    let scope = scope.ok_or_else(|| Refusal::missing("scope"))?;
    let Some(resource) = scope
        .strip_suffix("/.default")
        .filter(|resource| !resource.contains(' '))
    else {
        let sentence = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        );
        return Err(Refusal::new(400, "invalid_scope", 1_002_012, sentence));
    };
    check_resource(resource, endpoints, tenant)
}

/// Whether the resource is this simulator's Graph, to the letter.
pub(crate) fn check_resource(resource: &str, endpoints: &Endpoints, tenant: &str) -> Result<(), Refusal> {
    if resource == endpoints.public_graph {
        return Ok(());
    }
    let sentence = format!(
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the \
         application has not been installed by the administrator of the tenant or consented to by any user in the \
         tenant. You might have sent your authentication request to the wrong tenant."
    );
    Err(Refusal::new(400, "invalid_resource", 500_011, sentence))
}

/// Issues a token for an app of a tenant; says its number.
pub(crate) fn issue_for(
    world: &mut World,
    endpoints: &Endpoints,
    (tenant, client_id): (&str, &str),
    roles: Vec<String>,
    audience: Option<&str>,
) -> (u64, String) {
    let tenant = tenant.to_ascii_lowercase();
    let now = world.now();
    world.tokens.issue(token::Request {
        tenant: &tenant,
        client_id,
        roles,
        audience: audience.unwrap_or(&endpoints.public_graph),
        issuer: format!("{}/{tenant}/", endpoints.public_authority),
        now,
        expires_in: world.settings.expires_in,
        style: world.settings.token_style,
    })
}

/// Issues a token without asking: for tests of what Graph does with it.
pub(crate) fn issue_unasked(
    world: &mut World,
    endpoints: &Endpoints,
    tenant: &str,
    client_id: &str,
    audience: Option<&str>,
) -> String {
    let client_id = client_id.to_ascii_lowercase();
    let roles = world
        .tenant(tenant)
        .and_then(|tenant| tenant.apps.get(&client_id))
        .map(|app| app.roles.clone())
        .unwrap_or_default();
    issue_for(world, endpoints, (tenant, &client_id), roles, audience).1
}

/// A new secret with the characters that Entra's have, and those that a form changes.
#[must_use]
pub fn new_secret() -> String {
    let word = random_word();
    let (start, end) = word.split_at_checked(8).unwrap_or((&word, ""));
    format!("{start}~b+c/d=e&f%20g h\"é.{end}")
}
