//! The list of a tenant, as its connection tells of it.

use std::time::Duration;

use graph_simulator::{Action, Answer, Body, Script};
use harness::World;
use serde_json::json;

use super::{NOT_LICENSED, Says, Wrap, graph, intune, tenant, told};

/// A name, status, code, Graph's sentence and how it is wrapped, the reason, and what is told.
type Row = (&'static str, u16, &'static str, &'static str, Wrap, &'static str, Says);

const NO_PRINCIPAL: &str = "Graph does not know the app's service principal yet. A new one takes some minutes; if it stays \
                            so, create the enterprise application in this tenant.";
const PAUSE: &str = "Microsoft asks for a pause; the operator goes on when it is over.";

/// Each status and code that is known, in Graph's envelope.
#[rustfmt::skip]
const ROWS: [Row; 21] = [
    ("licence", 400, "BadRequest", "Request not applicable to target tenant", Wrap::Intune, "TenantNotLicensed", Says::Whole(NOT_LICENSED)),
    ("licence-401", 401, "UnknownError", "Request not applicable to target tenant", Wrap::Twice, "TenantNotLicensed", Says::Whole(NOT_LICENSED)),
    ("licence-403", 403, "Forbidden", "The tenant is not licensed for Intune.", Wrap::Plain, "TenantNotLicensed", Says::Whole(NOT_LICENSED)),
    ("token", 401, "InvalidAuthenticationToken", "Access token validation failure.", Wrap::Plain, "PermissionDenied", Says::Whole("Graph does not take the token that Entra has just given: check spec.cloud, the clock of the operator's node and the tenant's Conditional Access. Graph says: Access token validation failure.")),
    ("nested", 401, "UnknownError", "Operation is restricted.", Wrap::Twice, "PermissionDenied", Says::AppOnly("Operation is restricted.")),
    ("role", 403, "Forbidden", "Application is not authorized to perform this operation.", Wrap::Plain, "PermissionDenied", Says::AppOnly("Application is not authorized to perform this operation.")),
    ("principal", 401, "Authorization_IdentityNotFound", "No such identity", Wrap::Plain, "PrincipalNotFound", Says::Whole(NO_PRINCIPAL)),
    ("throttled", 429, "TooManyRequests", "Retry after 7 seconds.", Wrap::Plain, "Throttled", Says::Whole(PAUSE)),
    // A refusal of the list is no word on spec: it is waited for.
    ("route", 400, "No method match route template", "No OData route exists.", Wrap::Plain, "GraphUnavailable", Says::Whole("Graph refuses the request: No OData route exists.")),
    ("missing", 404, "ResourceNotFound", "Resource not found.", Wrap::Plain, "GraphUnavailable", Says::Whole("Graph refuses the request: Resource not found.")),
    ("slow", 408, "RequestTimeout", "Too slow.", Wrap::Plain, "GraphUnavailable", Says::Again("Too slow")),
    ("conflict", 409, "Conflict", "Conflict.", Wrap::Plain, "GraphUnavailable", Says::Again("Conflict")),
    ("condition", 412, "ConditionNotMet", "ETag mismatch.", Wrap::Plain, "GraphUnavailable", Says::Again("ETag mismatch")),
    ("locked", 423, "Locked", "Locked.", Wrap::Plain, "GraphUnavailable", Says::Again("Locked")),
    ("internal", 500, "InternalServerError", "An error has occurred", Wrap::Intune, "GraphUnavailable", Says::Again("An error has occurred")),
    ("unknown", 500, "UnknownError", "", Wrap::Plain, "GraphUnavailable", Says::Again("Graph answered HTTP 500 with the code UnknownError and without a readable error")),
    ("bad-gateway", 502, "BadGateway", "Upstream.", Wrap::Plain, "GraphUnavailable", Says::Again("Upstream")),
    ("busy", 503, "ServiceUnavailable", "Busy.", Wrap::Plain, "GraphUnavailable", Says::Again("Busy")),
    ("late", 504, "GatewayTimeout", "Late.", Wrap::Plain, "GraphUnavailable", Says::Again("Late")),
    ("quota", 507, "InsufficientStorage", "Quota.", Wrap::Plain, "GraphUnavailable", Says::Again("Quota")),
    ("bandwidth", 509, "BandwidthLimitExceeded", "Bandwidth.", Wrap::Plain, "GraphUnavailable", Says::Again("Bandwidth")),
];

/// A name, what happens, the reason, and what is told.
type Odd = (&'static str, Action, &'static str, Says);

/// What has no envelope, or an odd one.
fn odd() -> Vec<Odd> {
    let text = |status, body: &str| Action::Answer(Answer::status(status).body(Body::Text(body.to_owned())));
    let html = "<html><b>Bad Gateway</b></html>";
    let unreadable = |name, action| {
        let says = Says::Again("Graph's answer cannot be read: the answer should be JSON");
        (name, action, "GraphUnavailable", says)
    };
    let huge = format!("{{\"value\":[],\"x\":\"{}\"}}", "x".repeat(9 << 20));
    let too_large = Says::Again("Graph's answer is larger than 8 MiB");
    let lower = json!({"error": {"code": "InternalServerError", "message": "", "innererror": {
        "message": "Deep trouble", "innererror": {"code": "Deeper", "message": "Deepest"}}}});
    let silent_403 = Says::AppOnly("Graph answered HTTP 403 without a readable error");
    let gateway = Says::Again("Graph answered HTTP 502 without a readable error");
    let redirect = Says::Again("Graph answered with a redirect, HTTP 302, and redirects are not followed");
    let broken = Says::Again("The connection to Graph broke before the answer was whole");
    vec![
        ("html-429", text(429, html), "Throttled", Says::Whole(PAUSE)),
        ("html-502", text(502, html), "GraphUnavailable", gateway),
        ("empty-502", text(502, ""), "GraphUnavailable", gateway),
        ("empty-403", text(403, ""), "PermissionDenied", silent_403),
        unreadable("html-200", text(200, html)),
        unreadable("empty-200", text(200, "")),
        unreadable("half-200", text(200, "{\"value\":[{\"id\":")),
        ("redirect", text(302, ""), "GraphUnavailable", redirect),
        ("huge-200", text(200, &huge), "GraphUnavailable", too_large),
        ("huge-400", text(400, &huge), "GraphUnavailable", too_large),
        (
            "inner",
            Action::Answer(Answer::json(500, lower)),
            "GraphUnavailable",
            Says::Again("Deep trouble"),
        ),
        ("cut", Action::Truncate(9), "GraphUnavailable", broken),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_to_the_list_is_told_by_its_connection_and_heals() -> anyhow::Result<()> {
    let mut world = World::new("lists").await?;
    world.connect().await?;
    let in_envelope = ROWS.map(|(name, status, code, sentence, wrap, reason, says)| {
        let answer = Answer::json(status, graph(code, &wrap.of(sentence)));
        (name, Action::Answer(answer), reason, says)
    });
    let rows: Vec<Odd> = in_envelope.into_iter().chain(odd()).collect();
    for (number, (name, action, ..)) in rows.iter().enumerate() {
        let tenant = tenant(&world, number);
        world
            .graph()
            .script(Script::graph().tenant(&tenant).action(action.clone()));
        world.connection(name, json!({"tenantId": tenant})).await?;
    }
    let mut config = world.config();
    config.timing.backoff = Duration::from_secs(1);
    config.timing.backoff_cap = Duration::from_secs(2);
    world.start_with(config).await?;
    for (name, _, reason, says) in &rows {
        let connection = world.connection_is(name, "False", "").await?;
        let conditions = connection.status.unwrap_or_default().conditions;
        assert_eq!(told(&conditions, reason)?, says.text(), "{name}");
        assert!(conditions.iter().any(|condition| condition.r#type == "Reconciling"));
    }
    // Whatever it was, it may be over without an edit.
    world.graph().clear_scripts();
    for (name, ..) in &rows {
        world.connection_is(name, "True", "Connected").await?;
    }
    world.stop().await
}

#[test]
fn the_wrappings_differ_as_intunes_do() {
    let (once, twice) = (Wrap::Intune.of("x"), Wrap::Twice.of("x"));
    assert_eq!(once, intune("x"));
    assert!(Wrap::Plain.of("x") == "x" && twice.len() > once.len() && twice.contains("Activity"));
}
