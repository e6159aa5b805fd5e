//! What users' scripts wait for: `kubectl wait`, and kstatus before anybody has looked.

use anyhow::ensure;
use harness::{PATIENCE, World, kstatus, wait_for};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::look::{CONNECTIONS, PARTNERS, condition, generations, object, word};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// Whether a wait for a condition ends well within a time.
async fn waited(world: &World, what: &str, condition: &str, seconds: u32) -> anyhow::Result<bool> {
    let (condition, timeout) = (format!("--for=condition={condition}"), format!("--timeout={seconds}s"));
    let output = world
        .plane
        .kubectl(&["wait", what, "-n", &world.namespace, &condition, &timeout])
        .await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() || told.contains("timed out"), "{told}");
    Ok(output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_looked_at_is_in_progress() -> anyhow::Result<()> {
    let mut world = World::new("untouched").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    for (plural, name) in [(PARTNERS, "jamf"), (CONNECTIONS, "contoso")] {
        let untouched = object(&world, plural, name).await?;
        assert_eq!(generations(&untouched), (1, Some(-1)), "{untouched:#}");
        assert_eq!(kstatus(&untouched).await?.status, "InProgress");
        ensure!(
            !waited(&world, &format!("{plural}/{name}"), "Ready", 1).await?,
            "{plural}"
        );
    }
    world.start().await?;
    for (plural, name) in [(PARTNERS, "jamf"), (CONNECTIONS, "contoso")] {
        ensure!(
            waited(&world, &format!("{plural}/{name}"), "Ready", 30).await?,
            "{plural}"
        );
        let looked_at = object(&world, plural, name).await?;
        assert_eq!(kstatus(&looked_at).await?.status, "Current");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_waits_for_the_generation_that_was_edited() -> anyhow::Result<()> {
    let mut world = World::new("edited-wait").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.stop().await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    for condition in ["Ready", "Synced"] {
        ensure!(
            !waited(&world, "cmp/jamf", condition, 1).await?,
            "{condition} of the generation before"
        );
    }
    world.start().await?;
    for condition in ["Ready", "Synced"] {
        ensure!(waited(&world, "cmp/jamf", condition, 30).await?, "{condition}");
    }
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    let synced = object(&world, PARTNERS, "jamf").await?;
    for kind in ["Ready", "Synced", "PartnerEnabled", "HeartbeatFresh"] {
        let found = condition(&synced, kind).unwrap();
        assert_eq!(found["observedGeneration"], 2, "{kind}: {synced:#}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_waits_for_trouble_sees_it() -> anyhow::Result<()> {
    let mut world = World::new("stalled-wait").await?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    ensure!(waited(&world, "cmp/jamf", "Stalled", 30).await?, "Stalled");
    ensure!(waited(&world, "cmp/jamf", "Ready=False", 30).await?, "Ready=False");
    let found = object(&world, PARTNERS, "jamf").await?;
    assert_eq!(word(condition(&found, "Stalled").unwrap(), "reason"), "PartnerNotFound");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_condition_turned_is_told_apart_from_when_it_was_judged() -> anyhow::Result<()> {
    let mut world = World::new("since").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let before = object(&world, PARTNERS, "jamf").await?;
    super::gallery::next_second().await?;
    // Judged anew, and as it was.
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.in_sync("jamf").await?;
    let after = object(&world, PARTNERS, "jamf").await?;
    let since = |object, kind| word(condition(object, kind).unwrap(), "lastTransitionTime").to_owned();
    for kind in ["Ready", "Synced", "PartnerEnabled", "HeartbeatFresh"] {
        assert_eq!(since(&before, kind), since(&after, kind), "{kind}: {after:#}");
    }
    // Turned: Synced is False from now on, and Ready is not.
    let observed = json!({"partnerRef": {"id": P1}, "iosOnboarded": false, "managementPolicy": "Observe"});
    world.partner("jamf", observed).await?;
    world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    let turned = object(&world, PARTNERS, "jamf").await?;
    assert_eq!(since(&after, "Ready"), since(&turned, "Ready"));
    assert_ne!(since(&after, "Synced"), since(&turned, "Synced"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_elses_finalizer_holds_is_terminating() -> anyhow::Result<()> {
    let mut world = World::new("held").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let finalizers = |finalizers: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let (partners, connections) = (world.partners(), world.connections());
    let (none, held) = (finalizers(&[]), finalizers(&["example.com/mine"]));
    partners.patch("jamf", &PatchParams::default(), &held).await?;
    connections.patch("contoso", &PatchParams::default(), &held).await?;
    partners.delete("jamf", &DeleteParams::default()).await?;
    connections.delete("contoso", &DeleteParams::default()).await?;
    for (plural, name) in [(PARTNERS, "jamf"), (CONNECTIONS, "contoso")] {
        let deleting = object(&world, plural, name).await?;
        assert_eq!(kstatus(&deleting).await?.status, "Terminating");
    }
    partners.patch("jamf", &PatchParams::default(), &none).await?;
    connections.patch("contoso", &PatchParams::default(), &none).await?;
    wait_for("both gone", PATIENCE, async || {
        let gone = partners.get_opt("jamf").await?.is_none() && connections.get_opt("contoso").await?.is_none();
        ensure!(gone, "not yet");
        Ok(())
    })
    .await?;
    world.stop().await
}
