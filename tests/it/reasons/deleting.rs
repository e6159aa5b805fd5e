//! The row of a resource that is being deleted and cannot go yet. It comes before all others.

use graph_simulator::{Answer, Script};
use harness::{PATIENCE, World, wait_for};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::look::{PARTNERS, condition, object, shows};
use super::row;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// A resource with a Reset that was in sync, and after `edit` is deleted while Graph is down.
async fn waits_for_its_reset(name: &str, edit: serde_json::Value, cause: &str) -> anyhow::Result<()> {
    let mut world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.start().await?;
    let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "deletionPolicy": "Reset"});
    world.partner("jamf", spec).await?;
    world.in_sync("jamf").await?;
    let edit = Patch::Merge(json!({"spec": edit}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    world.partner_is("jamf", "Ready", "True", cause).await?;
    let before = object(&world, PARTNERS, "jamf").await?;

    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    let cleaning = shows(&world, PARTNERS, "jamf", &row("Cleaning", "")?).await?;
    assert_eq!(condition(&cleaning, "Synced"), condition(&before, "Synced"));
    assert_eq!(world.event("jamf", "Cleaning").await?.0, "Warning");

    // Tried again by itself, and told once.
    let tried = world.graph().script_hits(outage);
    wait_for("three more tries", PATIENCE, async || {
        (world.graph().script_hits(outage) >= tried + 3).then_some(())
    })
    .await?;
    assert_eq!(world.events("jamf", "Cleaning").await?.len(), 1);
    world.graph().remove_script(outage);
    wait_for("jamf to be gone", PATIENCE, async || {
        world.partners().get_opt("jamf").await.ok()?.is_none().then_some(())
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_waits_for_graph_is_told_as_cleaning() -> anyhow::Result<()> {
    waits_for_its_reset("cleaning", json!({"androidOnboarded": false}), "InSync").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleaning_comes_before_suspended() -> anyhow::Result<()> {
    waits_for_its_reset("cleaning-suspended", json!({"suspend": true}), "InSync").await
}
