//! What Graph tells of the partner's own health.

use std::time::Duration;

use graph_simulator::Request;
use harness::{PATIENCE, World};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{P1, P2, of, world};

fn ago(seconds: i64) -> String {
    let then = Timestamp::now().as_second() - seconds;
    Timestamp::from_second(then).unwrap_or_default().to_string()
}

fn heartbeat(world: &World, time: &str) -> anyhow::Result<()> {
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"lastHeartbeatDateTime": time}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_year_one_means_that_there_never_was_a_heartbeat() -> anyhow::Result<()> {
    let mut world = world("year-one").await?;
    heartbeat(&world, "0001-01-01T00:00:00Z")?;
    let spelled = json!({"lastHeartbeatDateTime": "0001-01-01T00:00:00.0000000+00:00"});
    world.graph().change_row(&world.tenant, P2, spelled)?;
    for (name, id) in [("one", P1), ("two", P2)] {
        world.partner(name, json!({"partnerRef": {"id": id}})).await?;
    }
    world.start().await?;
    for name in ["one", "two"] {
        world.in_sync(name).await?;
        let partner = world
            .partner_is(name, "HeartbeatFresh", "Unknown", "NeverReported")
            .await?;
        assert!(partner.status.unwrap().last_heartbeat_date_time.is_none());
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_heartbeat_is_stale_and_told_once() -> anyhow::Result<()> {
    let mut world = world("stale").await?;
    heartbeat(&world, &ago(73 * 3_600))?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "HeartbeatFresh", "False", "Stale").await?;
    assert_eq!(
        of(&partner, "Ready").unwrap().reason,
        "InSync",
        "the partner's health is not the resource's"
    );
    assert_eq!(world.event("jamf", "HeartbeatStale").await?.0, "Warning");
    world.asked("jamf", "now").await?;
    heartbeat(&world, &ago(60))?;
    world.asked("jamf", "it reports again").await?;
    world.partner_is("jamf", "HeartbeatFresh", "True", "Fresh").await?;
    assert_eq!(world.events("jamf", "HeartbeatStale").await?.len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_turns_stale_at_its_time_and_not_at_the_next_poll() -> anyhow::Result<()> {
    let mut world = world("turns-stale").await?;
    let mut config = world.config();
    config.heartbeat.stale_after = Duration::from_secs(4);
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    heartbeat(&world, &ago(0))?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.partner_is("jamf", "HeartbeatFresh", "True", "Fresh").await?;
    world.partner_is("jamf", "HeartbeatFresh", "False", "Stale").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_moves_a_little_writes_no_status() -> anyhow::Result<()> {
    let mut world = world("moving").await?;
    heartbeat(&world, &ago(1_800))?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start_polling().await?;
    let position = world.settled(&["jamf"], false).await?;
    let before = world.in_sync("jamf").await?;
    for minute in 1..4 {
        heartbeat(&world, &ago(1_800 - 60 * minute))?;
        world.graph().clear_log();
        let listed = |request: &Request| request.is_list() && request.status.is_some();
        world.graph().wait_for_requests(listed, 2, PATIENCE).await?;
    }
    let writes = world.operator_writes_since(position)?;
    assert!(writes.is_empty(), "{writes:#?}");
    let after = world.partners().get("jamf").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);

    // A quarter of an hour later it is worth a write.
    heartbeat(&world, &ago(600))?;
    let known = before.status.unwrap().last_heartbeat_date_time;
    harness::wait_for("the heartbeat that has moved far", PATIENCE, async || {
        let status = world.partners().get("jamf").await?.status.unwrap_or_default();
        anyhow::ensure!(status.last_heartbeat_date_time != known, "{status:#?}");
        Ok(())
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_and_properties_of_tomorrow_pass_through() -> anyhow::Result<()> {
    let mut world = world("tomorrow").await?;
    let changes = json!({"partnerState": "pendingActivation", "linuxOnboarded": true, "somethingNew": {"a": [1]}});
    world.graph().change_row(&world.tenant, P1, changes)?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(
        partner.status.clone().unwrap().partner_state.as_deref(),
        Some("pendingActivation")
    );
    let enabled = of(&partner, "PartnerEnabled").unwrap();
    assert_eq!(
        (format!("{:?}", enabled.status), enabled.reason),
        ("Unknown".to_owned(), "PendingActivation".to_owned())
    );

    world
        .graph()
        .change_row(&world.tenant, P1, json!({"partnerState": "unresponsive"}))?;
    world.asked("jamf", "now").await?;
    world
        .partner_is("jamf", "PartnerEnabled", "False", "Unresponsive")
        .await?;
    world.in_sync("jamf").await?;
    let (kind, note) = world.event("jamf", "PartnerStateChanged").await?;
    assert_eq!(kind, "Warning");
    assert!(
        note.contains("pendingActivation") && note.contains("unresponsive"),
        "{note}"
    );
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"partnerState": "2 \u{202e}fast"}))?;
    world.asked("jamf", "once more").await?;
    let partner = world
        .partner_is("jamf", "PartnerEnabled", "Unknown", "UnrecognizedState")
        .await?;
    assert_eq!(partner.status.unwrap().partner_state.as_deref(), Some("2 \u{fffd}fast"));
    world.stop().await
}
