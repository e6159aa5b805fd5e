//! Graph does not answer, or not as Graph does.

use std::time::Duration;

use graph_simulator::{Answer, Body, Request, Script};
use harness::{PATIENCE, World, wait_for};
use serde_json::json;

use super::{P1, P2, of, pair, told, world};

const HTML: &str = "<html><body>The proxy has a <b>bad</b> day</body></html>";

fn html(status: u16) -> Script {
    let answer = Answer::status(status)
        .header("Content-Type", "text/html")
        .body(Body::Text(HTML.to_owned()));
    Script::graph().answer(answer)
}

/// From the first moment on Graph is as the script has it; then it is well.
async fn never_applied(name: &str, script: Script) -> anyhow::Result<String> {
    let mut world = world(name).await?;
    let script = world.graph().script(script);
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let mut config = world.config();
    config.timing.request = Duration::from_millis(300);
    world.start_with(config).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    assert_eq!(pair(&partner), (true, false));
    assert_eq!(
        of(&partner, "Synced").map(|synced| synced.reason).as_deref(),
        Some("GraphUnavailable")
    );
    world.connection_is("contoso", "False", "GraphUnavailable").await?;
    assert_eq!(world.patches(), 0);
    assert!(!told(&partner).contains('<'), "{}", told(&partner));
    world.graph().remove_script(script);
    world.in_sync("jamf").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await?;
    Ok(told(&partner))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_trouble_is_waited_for() -> anyhow::Result<()> {
    let told = never_applied("busy", Script::graph().answer(Answer::status(503))).await?;
    assert!(told.contains("503"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_made_again() -> anyhow::Result<()> {
    never_applied("broken", Script::graph().reset()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_that_hangs_is_not_waited_for_forever() -> anyhow::Result<()> {
    let told = never_applied("hangs", Script::graph().hang()).await?;
    assert!(told.contains("in time"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_the_place_of_an_answer_is_no_answer() -> anyhow::Result<()> {
    never_applied("page", html(200)).await?;
    never_applied("error-page", html(502)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entra_that_is_away_is_no_refusal() -> anyhow::Result<()> {
    never_applied(
        "entra",
        Script::entra().answer(Answer::status(502).body(Body::Text(HTML.to_owned()))),
    )
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_leaves_what_was_applied_as_it_was_and_writes_nothing() -> anyhow::Result<()> {
    let mut world = world("applied").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start_polling().await?;
    let position = world.settled(&["jamf"], true).await?;
    let before = world.in_sync("jamf").await?;
    // The outage comes first: a poll between the two would correct the drift.
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.graph().clear_log();
    let failed = |request: &Request| request.status == Some(503);
    world.graph().wait_for_requests(failed, 6, PATIENCE).await?;
    let after = world.partners().get("jamf").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    let writes = world.operator_writes_since(position)?;
    assert!(writes.is_empty(), "{writes:#?}");
    world.graph().remove_script(outage);
    world
        .graph()
        .wait_for_row(&world.tenant, P1, |row| row["iosOnboarded"] == true, PATIENCE)
        .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_lasts_makes_the_verdict_unknown() -> anyhow::Result<()> {
    let mut world = world("lasting").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    config.timing.unknown_after = Duration::from_millis(800);
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    let partner = world.partner_is("jamf", "Ready", "Unknown", "GraphUnavailable").await?;
    assert_eq!(pair(&partner), (true, false));
    assert_eq!(
        of(&partner, "PartnerEnabled").unwrap().reason,
        "Enabled",
        "it keeps its last value"
    );
    world.graph().remove_script(outage);
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_during_an_outage_is_not_called_ready() -> anyhow::Result<()> {
    let mut world = world("edited").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    let partner = world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    assert_eq!(pair(&partner), (true, false));
    world.graph().remove_script(outage);
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 2);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_microsoft_asks_for_is_kept_by_all() -> anyhow::Result<()> {
    let mut world = world("throttled").await?;
    for (name, id) in [("one", P1), ("two", P2)] {
        world
            .partner(name, json!({"partnerRef": {"id": id}, "iosOnboarded": true}))
            .await?;
    }
    let answer = Answer::json(
        429,
        json!({"error": {"code": "TooManyRequests", "message": "Retry after 3 seconds."}}),
    );
    world
        .graph()
        .script(Script::graph().answer(answer.header("Retry-After", "3")).times(1));
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "Throttled").await?;
    let ready = connection
        .status
        .unwrap()
        .conditions
        .into_iter()
        .find(|condition| condition.r#type == "Ready");
    let told = ready.unwrap().message;
    assert!(!told.contains(|letter: char| letter.is_ascii_digit()), "{told}");
    world.partner_is("one", "Reconciling", "True", "Throttled").await?;
    world.in_sync("one").await?;
    world.in_sync("two").await?;
    let requests = world
        .graph()
        .requests_where(|request| request.is_graph() && request.status.is_some());
    assert_eq!(requests[0].status, Some(429));
    let pause = requests[1].at_millis - requests[0].at_millis;
    assert!(pause >= 2_990, "{pause} ms");
    let metrics = world.metrics()?;
    assert!(
        metrics.contains("compliance_partner_throttled_seconds_total"),
        "{metrics}"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_costs_nobody_but_itself() -> anyhow::Result<()> {
    let mut world = world("bad-row").await?;
    world.graph().remove_property(&world.tenant, P1, "macOsOnboarded")?;
    world
        .graph()
        .seed_row_as(&world.tenant, "worse", json!("no row at all"));
    for (name, id) in [("bad", P1), ("good", P2)] {
        world
            .partner(name, json!({"partnerRef": {"id": id}, "iosOnboarded": true}))
            .await?;
    }
    world.start().await?;
    world.in_sync("good").await?;
    let partner = world.partner_is("bad", "Ready", "False", "GraphUnavailable").await?;
    assert!(told(&partner).contains("macOsOnboarded"), "{}", told(&partner));
    world.connection_is("contoso", "True", "Connected").await?;
    assert_eq!(world.patches(), 1);
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"macOsOnboarded": false}))?;
    world.in_sync("bad").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_without_rows_to_tell_of_is_no_proof_that_there_are_none() -> anyhow::Result<()> {
    let mut world = world("no-value").await?;
    let answer = Answer::json(200, json!({"@odata.context": "whatever"}));
    let list = Script::graph()
        .method("GET")
        .path_end("/complianceManagementPartners")
        .answer(answer);
    let script = world.graph().script(list);
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"displayName": "Example Partner"}, "iosOnboarded": true}),
        )
        .await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    assert_eq!(pair(&partner), (true, false));
    world.graph().remove_script(script);
    world.in_sync("jamf").await?;
    assert!(world.events("jamf", "PartnerNotFound").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_is_replaced_once_and_nobody_sees_it() -> anyhow::Result<()> {
    let mut world: World = world("revoked").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    let before = world.in_sync("jamf").await?;
    world.graph().revoke_tokens(&world.tenant, None);
    world.graph().clear_log();
    let after = world.asked("jamf", "now").await?;
    assert_eq!(before.status.unwrap().conditions, after.status.unwrap().conditions);
    assert_eq!(world.graph().count(Request::is_token), 1);
    assert_eq!(world.graph().count(|request| request.status == Some(401)), 1);
    wait_for("a connection that has seen nothing", PATIENCE, async || {
        world.connection_is("contoso", "True", "Connected").await
    })
    .await?;
    world.stop().await
}
