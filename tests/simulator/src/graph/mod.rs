//! Graph v1.0: the collection of compliance management partners, as far as an operator needs it.

pub(crate) mod error;
mod list;
pub(crate) mod validate;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::graph::error::Failure;
use crate::incoming::Incoming;
use crate::log::ViolationKind;
use crate::model::{READ_ROLES, WRITE_ROLES, is_guid};
use crate::options::Throttling;
use crate::reply::Reply;
use crate::throttle::Standing;
use crate::world::{Endpoints, World};

/// From which share of a limit on Graph tells it, in hundredths (FACTS 4.3).
const TOLD_FROM: usize = 80;
/// The greatest share that Graph tells, in hundredths.
const TOLD_UP_TO: usize = 180;

/// The path of the collection.
pub const COLLECTION: &str = "/v1.0/deviceManagement/complianceManagementPartners";
/// The same path as Intune's sentences name it.
const ODATA_COLLECTION: &str = "deviceManagement/complianceManagementPartners";

/// Who asks, once the token is known.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: String,
    pub(crate) roles: Vec<String>,
}

/// Notes what a right client never does (FACTS 2.6, 7), before any rule can take the request.
pub(crate) fn inspect(world: &mut World, seq: u64, request: &Incoming) {
    if request.header("user-agent").is_none_or(|agent| agent.trim().is_empty()) {
        world.violation(seq, ViolationKind::MissingUserAgent, "no User-Agent");
    }
    match request.header("client-request-id") {
        Some(id) if is_guid(id) => {
            if !world.first_sight(id) {
                world.violation(
                    seq,
                    ViolationKind::RepeatedClientRequestId,
                    format!("{id} was sent before"),
                );
            }
        }
        other => {
            let detail = format!("client-request-id is {}", other.unwrap_or("missing"));
            world.violation(seq, ViolationKind::MissingClientRequestId, detail);
        }
    }
    match (route(&request.path), request.method.as_str()) {
        (Route::Collection | Route::Row(_), "GET") => {
            if !request.body.is_empty() {
                world.violation(seq, ViolationKind::UnexpectedBody, "a GET with a body");
            }
        }
        (Route::Row(id), "PATCH") => {
            let verdict = verdict(world, request, &id);
            for (kind, detail) in verdict.violations {
                world.violation(seq, kind, detail);
            }
        }
        (Route::Collection | Route::Row(_), method) => {
            world.violation(
                seq,
                ViolationKind::UnexpectedMethod,
                format!("{method} {}", request.path),
            );
        }
        (Route::None(_), _) => {
            world.violation(seq, ViolationKind::UnexpectedPath, request.path.clone());
        }
    }
}

/// Counts the request against the published limits; says where it stands among those.
pub(crate) fn count(world: &mut World, request: &Incoming) -> Standing {
    let grant = request.bearer().and_then(|token| world.tokens.find(token));
    let Some((tenant, client_id)) = grant.map(|grant| (grant.tenant.clone(), grant.client_id.clone())) else {
        return Standing::default();
    };
    let write = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
    world.throttle.record(&tenant, &client_id, write, Instant::now())
}

/// Answers a request, unless it is over a limit that is enforced (FACTS 4).
pub(crate) fn answer_within(
    world: &mut World,
    endpoints: &Endpoints,
    seq: u64,
    request: &Incoming,
    standing: &Standing,
) -> Reply {
    let enforced = world.settings.throttling == Throttling::Enforce;
    let exceeded = standing.exceeded.as_ref().filter(|_| enforced);
    let mut reply = match exceeded {
        Some(exceeded) => throttled(request, exceeded.wait),
        None => answer(world, endpoints, seq, request),
    };
    if !world.settings.throttle_headers {
        return reply;
    }
    if standing.hundredths >= TOLD_FROM {
        let share = standing.hundredths.min(TOLD_UP_TO);
        let share = format!("{}.{:02}", share / 100, share % 100);
        reply = reply.header("x-ms-throttle-limit-percentage", share);
    }
    match exceeded {
        Some(exceeded) => reply.header("x-ms-throttle-scope", exceeded.scope.clone()),
        None => reply,
    }
}

/// Answers a request as Graph does.
fn answer(world: &mut World, endpoints: &Endpoints, seq: u64, request: &Incoming) -> Reply {
    let reply = match respond(world, endpoints, seq, request) {
        Ok(reply) => reply,
        Err(failure) => failure.reply(&request.request_id, &request.client_request_id()),
    };
    dress(reply, request)
}

/// The headers that every answer of Graph carries.
pub(crate) fn dress(reply: Reply, request: &Incoming) -> Reply {
    reply
        .header("request-id", request.request_id.clone())
        .header("client-request-id", request.client_request_id())
        .header(
            "x-ms-ags-diagnostic",
            r#"{"ServerInfo":{"DataCenter":"Simulator","Slice":"E","Ring":"0"}}"#,
        )
}

/// What a request over an enforced limit gets: whole seconds, rounded up.
fn throttled(request: &Incoming, wait: Duration) -> Reply {
    let mut failure = Failure::plain(429, "TooManyRequests", "Too many requests.");
    let begun = u64::from(wait.subsec_nanos() > 0);
    failure.retry_after = Some((wait.as_secs() + begun).max(1));
    dress(
        failure.reply(&request.request_id, &request.client_request_id()),
        request,
    )
}

enum Route {
    Collection,
    Row(String),
    None(Failure),
}

fn route(path: &str) -> Route {
    if path == COLLECTION {
        return Route::Collection;
    }
    let row = path.strip_prefix(COLLECTION).and_then(|rest| rest.strip_prefix('/'));
    if let Some(id) = row.filter(|segment| !segment.is_empty() && !segment.contains('/'))
        && let Some(id) = decode(id)
    {
        return Route::Row(id);
    }
    // FACTS 3.7, 3.8
    let Some(rest) = path.strip_prefix("/v1.0/") else {
        let version = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let sentence = format!("Invalid version: {}", version.to_lowercase());
        return Route::None(Failure::plain(404, "ResourceNotFound", sentence));
    };
    if rest.starts_with(ODATA_COLLECTION) {
        return Route::None(Failure::no_route("GET", "~/singleton/navigation/key/unresolved", rest));
    }
    let segment = rest
        .split('/')
        .find(|segment| *segment != "deviceManagement")
        .unwrap_or_default();
    let sentence = format!("Resource not found for the segment '{segment}'.");
    Route::None(Failure::plain(400, "BadRequest", sentence))
}

fn decode(segment: &str) -> Option<String> {
    crate::incoming::percent_decode(segment).filter(|id| !id.chars().any(char::is_control))
}

fn odata_row(id: &str) -> String {
    format!("{ODATA_COLLECTION}('{id}')")
}

fn verdict(world: &World, request: &Incoming, id: &str) -> validate::Verdict {
    let content_type = request.header("content-type");
    validate::check(
        &request.body,
        content_type,
        &odata_row(id),
        world.settings.service_owned,
    )
}

fn respond(world: &mut World, endpoints: &Endpoints, seq: u64, request: &Incoming) -> Result<Reply, Failure> {
    let route = route(&request.path);
    let caller = authenticate(world, endpoints, request)?;
    let method = request.method.as_str();
    match route {
        Route::None(failure) => Err(failure),
        Route::Collection if method == "GET" => {
            authorize(&caller, &READ_ROLES, ODATA_COLLECTION)?;
            list::list(world, endpoints, seq, &caller, request)
        }
        Route::Collection => Err(Failure::no_route(method, "~/singleton/navigation", ODATA_COLLECTION)),
        Route::Row(id) if method == "GET" => {
            authorize(&caller, &READ_ROLES, &odata_row(&id))?;
            list::get(world, endpoints, seq, &caller, request, &id)
        }
        Route::Row(id) if method == "PATCH" => {
            authorize(&caller, &WRITE_ROLES, &odata_row(&id))?;
            patch(world, endpoints, seq, &caller, request, &id)
        }
        Route::Row(id) => Err(Failure::no_route(method, "~/singleton/navigation/key", &odata_row(&id))),
    }
}

/// Whose token it is (FACTS 3.9).
fn authenticate(world: &World, endpoints: &Endpoints, request: &Incoming) -> Result<Caller, Failure> {
    let Some(header) = request.header("authorization") else {
        return Err(Failure::token("Access token is empty."));
    };
    let Some(token) = crate::incoming::bearer(header) else {
        return Err(Failure::token("Access token is empty."));
    };
    let Some(grant) = world.tokens.find(token) else {
        let dots = if token.contains('.') {
            "Signature is invalid."
        } else {
            "there are no dots (.)."
        };
        return Err(Failure::token(&format!("IDX14100: JWT is not well formed, {dots}")));
    };
    if grant.audience != endpoints.public_graph {
        return Err(Failure::token("Access token validation failure. Invalid audience."));
    }
    if grant.expires <= Timestamp::now() {
        return Err(Failure::token("Lifetime validation failed, the token is expired."));
    }
    if grant.revoked {
        let sentence = "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: \
                        TokenCreatedWithOutdatedPolicies";
        return Err(Failure::token(sentence));
    }
    Ok(Caller {
        tenant: grant.tenant.clone(),
        roles: grant.roles.clone(),
    })
}

/// Whether the token's roles suffice (FACTS 2.2, 3.3).
fn authorize(caller: &Caller, accepted: &[&str], path: &str) -> Result<(), Failure> {
    if caller.roles.iter().any(|role| accepted.contains(&role.as_str())) {
        return Ok(());
    }
    let sentence = format!(
        "Application is not authorized to perform this operation. Application must have one of the following scopes: {}",
        accepted.join(", ")
    );
    Err(Failure::intune(403, "Forbidden", sentence, path))
}

/// No such row (FACTS 3.4).
fn not_found(id: &str) -> Failure {
    Failure::intune(404, "ResourceNotFound", "An error has occurred", &odata_row(id))
}

/// Sets what the body names, lists whole (FACTS 2.7), and answers the object (FACTS 2.1).
fn patch(
    world: &mut World,
    endpoints: &Endpoints,
    seq: u64,
    caller: &Caller,
    request: &Incoming,
    id: &str,
) -> Result<Reply, Failure> {
    let position = list::position(world, &caller.tenant, id).ok_or_else(|| not_found(id))?;
    let mut changes = verdict(world, request, id).changes?;
    if world.settings.reorder_assignments {
        changes.values_mut().for_each(reorder);
    }
    let row = world
        .tenant_mut(&caller.tenant)
        .and_then(|tenant| tenant.rows.get_mut(position));
    let Some(row) = row else { return Err(not_found(id)) };
    let unchanged: Vec<String> = changes
        .iter()
        .filter(|(name, value)| same(row.value.get(name.as_str()), value))
        .map(|(name, _)| name.clone())
        .collect();
    let shown = row.patch(changes);
    for name in unchanged {
        world.violation(
            seq,
            ViolationKind::UnchangedProperty,
            format!("{name} has this value already"),
        );
    }
    Ok(Reply::json(200, &list::entity(endpoints, shown, None)))
}

/// Another order and other letters: Graph promises neither (FACTS 2.11).
fn reorder(value: &mut Value) {
    let Value::Array(assignments) = value else { return };
    assignments.reverse();
    for assignment in assignments {
        if let Some(Value::String(id)) = assignment.pointer_mut("/target/groupId") {
            id.make_ascii_lowercase();
        }
    }
}

/// Whether a property has this value, lists as sets.
fn same(stored: Option<&Value>, written: &Value) -> bool {
    match (stored, written) {
        (Some(Value::Array(stored)), Value::Array(written)) => list::as_set(stored) == list::as_set(written),
        (Some(stored), written) => stored == written,
        (None, Value::Array(written)) => written.is_empty(),
        (None, _) => false,
    }
}

/// An id for an answer.
pub(crate) fn new_request_id() -> String {
    Uuid::new_v4().to_string()
}

/// An object's properties, or none.
fn properties(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
