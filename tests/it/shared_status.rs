//! What other controllers write to the same objects.

use compliance_partner_operator::api::Condition;
use graph_simulator::Request;
use harness::{PATIENCE, World};
use kube::api::{Patch, PatchParams};
use serde_json::json;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The types of an object's conditions.
fn types(conditions: &[Condition]) -> Vec<&str> {
    conditions.iter().map(|condition| condition.r#type.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_of_another_controller_stays_and_costs_no_write() -> anyhow::Result<()> {
    let mut world = World::new("foreign").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start_polling().await?;
    let position = world.settled(&["jamf"], true).await?;
    let theirs = |kind: &str, name: &str| {
        Patch::Apply(json!({
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
            "status": {"conditions": [{
                "type": "Approved", "status": "True", "reason": "Ticket", "message": "",
                "lastTransitionTime": "2026-11-23T10:15:30Z",
            }]},
        }))
    };
    let manager = PatchParams::apply("approver");
    let patch = theirs("ComplianceManagementPartner", "jamf");
    world.partners().patch_status("jamf", &manager, &patch).await?;
    let patch = theirs("GraphConnection", "contoso");
    world.connections().patch_status("contoso", &manager, &patch).await?;
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 5, PATIENCE).await?;

    // Nor does an operator find anything to do that has written none of it.
    world.stop().await?;
    world.graph().clear_log();
    world.start_polling().await?;
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    let mut writes = world.operator_writes_since(position)?;
    // Who am I? An operator asks that when it starts.
    writes.retain(|write| write["objectRef"]["resource"] != "selfsubjectreviews");
    assert!(writes.is_empty(), "{} writes: {writes:#?}", writes.len());

    // What the operator has to write leaves it alone.
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    let partner = world.in_sync("jamf").await?;
    let of_partner = partner.status.unwrap_or_default().conditions;
    assert!(types(&of_partner).contains(&"Approved"), "{of_partner:?}");
    let connection = world.connections().get("contoso").await?;
    let of_connection = connection.status.unwrap_or_default().conditions;
    assert_eq!(types(&of_connection), ["Ready", "Approved"]);
    world.stop().await
}
