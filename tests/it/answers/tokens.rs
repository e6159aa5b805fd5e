//! Entra's refusals, as connections tell of them.

use anyhow::ensure;
use graph_simulator::{Answer, Body, Options, Request, Script};
use harness::{NEVER, WRITE_ROLE, World};
use serde_json::{Value, json};

use super::{graph, tenant, told};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// An answer of Entra's, with the ids and the times that differ each time.
fn entra(error: &str, code: u32) -> Value {
    json!({
        "error": error,
        "error_description": format!(
            "AADSTS{code}: A sentence of Entra's. Trace ID: 0f0e0d0c-1111-4222-8333-444455556666 Correlation ID: \
             1f0e0d0c-1111-4222-8333-444455556666 Timestamp: 2026-11-25 10:00:00Z"
        ),
        "error_codes": [code], "timestamp": "2026-11-25 10:00:00Z", "trace_id": "0f0e0d0c-1111-4222-8333-444455556666",
        "correlation_id": "1f0e0d0c-1111-4222-8333-444455556666",
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    })
}

/// Status, OAuth's word, Entra's code, and words of the advice; where there is no advice, all of what is told.
#[rustfmt::skip]
const REFUSALS: [(u16, &str, u32, &str); 19] = [
    (401, "invalid_client", 7_000_215, "the secret's value, not its id"),
    (401, "invalid_client", 7_000_222, "has expired"),
    (400, "unauthorized_client", 700_016, "check clientId, tenantId and cloud"),
    (400, "unauthorized_client", 7_000_112, "is disabled"),
    (400, "invalid_request", 90_002, "a GCC tenant is in Global, GCC High in USGov, DoD in USGovDoD"),
    (400, "invalid_request", 900_023, "check spec.tenantId"),
    (400, "invalid_request", 900_382, "a GCC tenant is in Global, GCC High in USGov, DoD in USGovDoD"),
    (400, "invalid_request", 900_432, "check spec.cloud"),
    (401, "invalid_client", 700_027, "register the certificate"),
    (401, "invalid_client", 700_024, "check the clock"),
    (400, "invalid_request", 70_021, "issuer, subject and audience"),
    (400, "invalid_request", 700_211, "this token's issuer"),
    (400, "invalid_request", 700_213, "system:serviceaccount:<namespace>:<name>"),
    (400, "invalid_request", 90_061, "must be public"),
    (400, "access_denied", 53_003, "Conditional Access"),
    (400, "invalid_request", 700_212, "(AADSTS700212)"),
    (401, "invalid_client", 7_000_229, "Entra refuses the token request: invalid_client, AADSTS7000229"),
    (400, "invalid_grant", 123_456_789, "Entra refuses the token request: invalid_grant, AADSTS123456789"),
    (400, "interaction_required", 50_076, "Entra refuses the token request: interaction_required, AADSTS50076"),
];

/// The name of a connection, what Entra answers, the reason, and words of what is told.
type Case = (String, Answer, &'static str, Vec<String>);

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (status, error, code, advice) in REFUSALS {
        let words = vec![advice.to_owned(), format!("AADSTS{code}")];
        let answer = Answer::json(status, entra(error, code));
        cases.push((format!("code-{code}"), answer, "CredentialsRejected", words));
    }
    let bare = Answer::json(401, json!({"error": "invalid_client"}));
    let all = vec!["Entra refuses the token request: invalid_client".to_owned()];
    cases.push(("no-code".to_owned(), bare, "CredentialsRejected", all));
    let text = |status, body: &str| Answer::status(status).body(Body::Text(body.to_owned()));
    let passing = json!({"error": "temporarily_unavailable", "error_codes": [90_033]});
    for (name, answer) in [
        ("html-400", text(400, "<html>blocked</html>")),
        ("html-200", text(200, "<html>blocked</html>")),
        ("empty-401", Answer::status(401)),
        ("passing", Answer::json(400, passing)),
        ("away", Answer::status(503)),
        ("huge", text(400, &"x".repeat(9 << 20))),
        (
            "redirect",
            Answer::status(302).header("Location", "https://127.0.0.1:1/"),
        ),
    ] {
        cases.push((name.to_owned(), answer, "GraphUnavailable", Vec::new()));
    }
    let looping = Answer::json(400, entra("invalid_client", 50_196));
    for (name, answer) in [("throttled", Answer::status(429)), ("loop", looping)] {
        cases.push((name.to_owned(), answer, "Throttled", Vec::new()));
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_entra_is_told_with_its_advice_and_remembered() -> anyhow::Result<()> {
    let mut world = World::new("oauth").await?;
    world.connect().await?;
    let cases = cases();
    for (number, (name, answer, ..)) in cases.iter().enumerate() {
        let tenant = tenant(&world, number);
        world
            .graph()
            .script(Script::entra().tenant(&tenant).answer(answer.clone()));
        world.connection(name, json!({"tenantId": tenant})).await?;
    }
    let mut config = world.config();
    config.timing.credentials = NEVER;
    config.timing.credentials_cap = NEVER;
    world.start_with(config).await?;
    for (name, _, reason, words) in &cases {
        let connection = world.connection_is(name, "False", reason).await?;
        let conditions = connection.status.unwrap_or_default().conditions;
        let told = told(&conditions, reason)?;
        ensure!(words.iter().all(|word| told.contains(word)), "{name}: {told}");
        for word in ["A sentence", "0f0e0d0c", "1f0e0d0c", "2026", "html"] {
            ensure!(!told.contains(word), "{name}: {told}");
        }
        ensure!(
            conditions.iter().any(|condition| condition.r#type == "Reconciling"),
            "{name}"
        );
    }
    world.connection_is("contoso", "True", "Connected").await?;
    // A refusal is remembered, whatever looks at the Secret meanwhile.
    for (number, (name, _, reason, _)) in cases.iter().enumerate() {
        let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
        let asked = world
            .graph()
            .count(|request| request.is_token() && request.tenant.as_deref() == Some(&tenant));
        let remembered = *reason == "CredentialsRejected" || name == "loop";
        ensure!(asked == 1 || !remembered, "{name}: {asked} requests");
    }
    assert_eq!(world.graph().count(Request::is_graph), 1, "the healthy one lists");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_entra_says_that_we_loop_many_resources_ask_once_a_slow_retry() -> anyhow::Result<()> {
    let mut world = World::new("loops").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    for number in 0..40 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000008{number:02}");
        let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": true});
        world.partner(&format!("p{number}"), spec).await?;
    }
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let looping = world
        .graph()
        .script(Script::entra().answer(Answer::json(400, entra("invalid_client", 50_196))));
    let mut config = world.config();
    // All other waits are over at once.
    config.timing.credentials = NEVER;
    config.timing.credentials_cap = NEVER;
    config.timing.backoff = std::time::Duration::from_millis(20);
    config.timing.backoff_cap = std::time::Duration::from_millis(50);
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "Throttled").await?;
    for number in 0..40 {
        let name = format!("p{number}");
        world.partner_is(&name, "Reconciling", "True", "Throttled").await?;
    }
    assert_eq!(world.graph().count(Request::is_token), 1);
    // Somebody who asks for an attempt gets one.
    world.connection_asked("contoso", "once more").await?;
    assert_eq!(world.graph().count(Request::is_token), 2);
    world.graph().remove_script(looping);
    world.connection_asked("contoso", "well").await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.graph().count(Request::is_token), 3);
    world.stop().await
}

/// Graph refuses a token for what has changed since it was issued.
fn challenge() -> Answer {
    let sentence = "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: \
                    TokenCreatedWithOutdatedPolicies";
    let header = "Bearer realm=\"\", error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnt9fQ==\"";
    Answer::json(401, graph("InvalidAuthenticationToken", sentence)).header("WWW-Authenticate", header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claims_challenge_is_met_with_another_token_and_nobody_sees_it() -> anyhow::Result<()> {
    let options = Options {
        expires_in: 86_399,
        ..Options::default()
    };
    let mut world = World::with("claims-challenge", options).await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    let spec = |value: bool| json!({"partnerRef": {"id": P1}, "iosOnboarded": value});
    world.partner("jamf", spec(false)).await?;
    let mut config = world.config();
    config.timing.backoff = NEVER;
    config.timing.backoff_cap = NEVER;
    config.timing.slow = NEVER;
    let list = Script::graph().path_end("Partners").answer(challenge()).times(1);
    world.graph().script(list);
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    for (round, script) in [
        Script::graph().method("GET").path_end(P1),
        Script::graph().method("PATCH"),
    ]
    .into_iter()
    .enumerate()
    {
        world.graph().script(script.answer(challenge()).times(1));
        world.partner("jamf", spec(round % 2 == 0)).await?;
        world.in_sync("jamf").await?;
    }
    let refused = world.graph().requests_where(|request| request.status == Some(401));
    assert_eq!(refused.len(), 3, "{refused:#?}");
    for request in refused {
        let again = world.graph().requests_where(|other| {
            other.seq > request.seq && (&other.method, &other.path) == (&request.method, &request.path)
        });
        let next = again.first().map(|next| (next.status, &next.authorization));
        ensure!(next.is_some_and(|(status, _)| status == Some(200)), "{again:#?}");
        ensure!(
            next.is_some_and(|(_, token)| *token != request.authorization),
            "the token that was refused"
        );
    }
    assert_eq!(
        world.graph().count(Request::is_token),
        4,
        "the first one, and one for each that was refused"
    );
    for name in ["jamf", "contoso"] {
        for reason in ["PermissionDenied", "GraphUnavailable", "ConnectionNotReady"] {
            ensure!(world.events(name, reason).await?.is_empty(), "{reason} of {name}");
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_and_granted_again_heals_without_an_edit() -> anyhow::Result<()> {
    let mut world = World::new("role-revoked").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start_polling().await?;
    let before = world.in_sync("jamf").await?;
    // Entra issues tokens without it from now on, and takes the old ones back.
    world.graph().set_roles(&world.tenant, &world.client_id, [""; 0])?;
    world.graph().revoke_tokens(&world.tenant, None);
    let connection = world.connection_is("contoso", "False", "PermissionDenied").await?;
    let conditions = connection.status.unwrap_or_default().conditions;
    let told = told(&conditions, "PermissionDenied")?;
    let lacks = format!("The app lacks the application permission {WRITE_ROLE}");
    ensure!(told.starts_with(&lacks), "{told}");
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    let refused = world.graph().requests_where(|request| request.status == Some(403));
    world.graph().set_roles(&world.tenant, &world.client_id, [WRITE_ROLE])?;
    world.connection_is("contoso", "True", "Connected").await?;
    let after = world.in_sync("jamf").await?;
    assert_eq!(before.metadata.generation, after.metadata.generation);
    let row = world.graph().row(&world.tenant, P1).unwrap_or_default();
    assert_eq!(row["iosOnboarded"], true, "what drifted meanwhile is corrected");
    let taken = world.graph().requests_where(Request::is_patch);
    let last = taken.last().map(|request| request.token);
    ensure!(
        refused.iter().all(|request| Some(request.token) != last),
        "by a new token"
    );
    world.stop().await
}
