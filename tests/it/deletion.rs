//! What becomes of the object in Graph when its resource is deleted, and that nothing hangs without a word.

mod blocked;
mod claims;
mod cluster;
mod refused;
mod reset;

use anyhow::Context as _;
use compliance_partner_operator::api::{ComplianceManagementPartner, Condition, FINALIZER, condition};
use graph_simulator::Request;
use harness::{PATIENCE, World, wait_for};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// A spec that asks for a Reset and manages a flag, a list and the display name.
fn reset() -> Value {
    json!({
        "partnerRef": {"id": P1}, "deletionPolicy": "Reset", "displayName": "Example Partner", "iosOnboarded": true,
        "macOsEnrollmentAssignments": [{"target": {"type": "Group", "groupId": G1}}],
    })
}

/// A world with the row P1 and a connection; no operator yet.
async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    Ok(world)
}

/// The same with an operator that runs, and the resource `jamf` in sync as [`reset`] has it.
async fn synced(name: &str) -> anyhow::Result<World> {
    let mut world = world(name).await?;
    world.start().await?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    Ok(world)
}

fn has_finalizer(partner: &ComplianceManagementPartner) -> bool {
    partner.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Asks for the deletion of `jamf`.
async fn delete(world: &World) -> anyhow::Result<()> {
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until `jamf` is gone.
async fn gone(world: &World) -> anyhow::Result<()> {
    wait_for("jamf to be gone", PATIENCE, async || {
        match world.partners().get_opt("jamf").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await
}

/// Waits until a condition of `jamf`, whatever its generation, is as `like` says.
async fn until(
    world: &World,
    kind: &str,
    like: impl Fn(Option<&Condition>) -> bool,
) -> anyhow::Result<ComplianceManagementPartner> {
    wait_for(&format!("{kind} of jamf"), PATIENCE, async || {
        let partner = world.partners().get("jamf").await.map_err(|error| error.to_string())?;
        let status = partner.status.clone().unwrap_or_default();
        if like(condition(&status.conditions, kind)) {
            Ok(partner)
        } else {
            Err(format!("{:#?}", status.conditions))
        }
    })
    .await
}

/// Waits until the clean-up waits, and gives what Ready says of it.
async fn cleaning(world: &World) -> anyhow::Result<String> {
    let partner = until(world, "Ready", |ready| {
        ready.is_some_and(|ready| ready.reason == "Cleaning")
    })
    .await?;
    let status = partner.status.context("no status")?;
    let reconciling = condition(&status.conditions, "Reconciling").context("not Reconciling")?;
    assert_eq!(reconciling.reason, "Cleaning");
    assert!(condition(&status.conditions, "Stalled").is_none());
    assert_eq!(status.observed_generation, partner.metadata.generation);
    let told = condition(&status.conditions, "Ready")
        .context("no Ready")?
        .message
        .clone();
    assert!(told.contains("deletionPolicy: Retain"), "no way out in: {told}");
    Ok(told)
}

/// The changes that Graph was sent after `jamf` had been in sync: all but the first.
fn resets(world: &World) -> Vec<Request> {
    world
        .graph()
        .requests_where(Request::is_patch)
        .into_iter()
        .skip(1)
        .collect()
}
