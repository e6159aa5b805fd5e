//! Secrets and tokens stay where they are.

use anyhow::ensure;
use graph_simulator::{Answer, Request, Script};
use harness::{PATIENCE, World};
use serde_json::json;

use super::Running;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const RIGHT: &str = "canary+right/secret&é";
const WRONG: &str = "canary+wrong/secret&é";

/// The secrets as they stand, in a form, in a Secret, and what all tokens of Entra and of Kubernetes begin with.
const NOWHERE: [&str; 6] = [
    "canary+",
    "canary%2B",
    "Y2FuYXJ5K3JpZ2h0L3NlY3JldCb",
    "Y2FuYXJ5K3dyb25nL3NlY3JldCb",
    "right/secret",
    "eyJ",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_token_is_told_anywhere_at_the_most_talkative_level() -> anyhow::Result<()> {
    let world = World::new("canaries").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.graph().set_secret(&world.tenant, &world.client_id, RIGHT)?;
    world.secret("graph", json!({"client-secret": WRONG})).await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let operator = Running::of(&world, &["--log-level", "trace"]).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;

    // Refused, then right, then a Graph that repeats the token in its own sentence, then a token that was revoked.
    let token = world.graph().issue_token(&world.tenant, &world.client_id, None);
    let sentence = format!("The header Authorization: Bearer {token} is not acceptable.");
    let answer = Answer::json(400, json!({"error": {"code": "BadRequest", "message": sentence}}));
    let refusal = world.graph().script(Script::graph().method("PATCH").answer(answer));
    world.secret("graph", json!({"client-secret": RIGHT})).await?;
    world.ask("gconn/contoso", "right").await?;
    world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    world.event("jamf", "RejectedByGraph").await?;
    world.graph().remove_script(refusal);
    world.graph().revoke_tokens(&world.tenant, None);
    world.ask("cmp/jamf", "now").await?;
    world.in_sync("jamf").await?;
    world.event("jamf", "Updated").await?;
    world
        .graph()
        .wait_for_requests(|request| request.is_token() && request.status == Some(200), 2, PATIENCE)
        .await?;
    assert!(world.graph().count(Request::is_patch) >= 2);

    let metrics = operator.answers("/metrics", 200, PATIENCE).await?;
    operator.stop().await?;
    let log = operator.process.log()?;
    // The libraries stay silent at any level: what they would tell at their lowest holds headers and bodies.
    ensure!(log.contains("DEBUG"), "the level is not a talkative one");
    let all = [
        "get",
        "cmp,gconn,events.events.k8s.io",
        "-n",
        &world.namespace,
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let objects = world.plane.kubectl_ok(&all).await?;
    for (place, text) in [("the log", &log), ("the objects", &objects), ("the metrics", &metrics)] {
        for word in NOWHERE.into_iter().chain(token.split('.')) {
            if let Some(at) = text.find(word) {
                let around: String = text[..at].chars().rev().take(300).collect();
                let around: String = around.chars().rev().collect();
                anyhow::bail!("{place} tells {word:?} after: {around}");
            }
        }
    }
    Ok(())
}
