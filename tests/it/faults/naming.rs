//! Which object is meant.

use graph_simulator::{App, Request};
use harness::{CLIENT_SECRET, WRITE_ROLE};
use kube::api::DeleteParams;
use serde_json::json;

use super::{P1, P2, of, pair, told, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_not_there_or_goes_away_is_told() -> anyhow::Result<()> {
    let mut world = world("no-id").await?;
    world.graph().delete_row(&world.tenant, P1)?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    assert!(told(&partner).contains("status.partners"), "{}", told(&partner));
    assert_eq!(pair(&partner), (false, true));
    assert!(partner.status.unwrap().partner_id.is_none());
    world.row(P1, "Example Partner")?;
    world.ask("cmp/jamf", "it is there now").await?;
    world.in_sync("jamf").await?;

    world.graph().delete_row(&world.tenant, P1)?;
    world.ask("cmp/jamf", "it is gone again").await?;
    let partner = world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    assert!(of(&partner, "PartnerEnabled").is_none() && of(&partner, "HeartbeatFresh").is_none());
    let status = partner.status.unwrap();
    assert!(status.partner_state.is_none() && status.platforms.is_none() && status.drift.is_none());
    assert!(status.last_heartbeat_date_time.is_none());
    assert_eq!(status.partner_id.as_deref(), Some(P1), "it stays bound");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_or_more_than_one_has_binds_to_nothing() -> anyhow::Result<()> {
    let mut world = world("names").await?;
    world.row("twin-1", "Twin")?;
    world.row("twin-2", "Twin")?;
    world
        .partner(
            "nobody",
            json!({"partnerRef": {"displayName": "example partner"}, "iosOnboarded": true}),
        )
        .await?;
    world
        .partner(
            "twin",
            json!({"partnerRef": {"displayName": "Twin"}, "iosOnboarded": true}),
        )
        .await?;
    world.start().await?;
    let partner = world.partner_is("nobody", "Ready", "False", "PartnerNotFound").await?;
    assert_eq!(pair(&partner), (false, true));
    let partner = world.partner_is("twin", "Ready", "False", "PartnerAmbiguous").await?;
    assert!(told(&partner).contains("partnerRef.id"), "{}", told(&partner));
    assert_eq!(pair(&partner), (false, true));
    assert_eq!(world.patches(), 0);
    world.graph().delete_row(&world.tenant, "twin-2")?;
    world.ask("cmp/twin", "one is gone").await?;
    let partner = world.in_sync("twin").await?;
    assert_eq!(partner.status.unwrap().partner_id.as_deref(), Some("twin-1"));
    // Once bound, a namesake does not matter any more.
    world.row("twin-2", "Twin")?;
    world.asked("twin", "a namesake").await?;
    world.in_sync("twin").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_bound_again_where_its_object_was_made_anew() -> anyhow::Result<()> {
    let mut world = world("rebound").await?;
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"displayName": "Example Partner"}, "iosOnboarded": true}),
        )
        .await?;
    world.partner("by-id", json!({"partnerRef": {"id": P2}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.in_sync("by-id").await?;
    for id in [P1, P2] {
        world.graph().delete_row(&world.tenant, id)?;
    }
    world.row("the-new-one", "Example Partner")?;
    world.row("not-asked-for", "Other Partner")?;
    world.ask("cmp/jamf", "now").await?;
    let (kind, note) = world.event("jamf", "PartnerRebound").await?;
    assert_eq!(kind, "Warning");
    assert!(note.contains(P1) && note.contains("the-new-one"), "{note}");
    let partner = world.in_sync("jamf").await?;
    assert_eq!(partner.status.unwrap().partner_id.as_deref(), Some("the-new-one"));
    assert_eq!(
        world.graph().row(&world.tenant, "the-new-one").unwrap()["iosOnboarded"],
        true
    );
    // An id is an id: nothing else is looked for.
    world.ask("cmp/by-id", "now").await?;
    world.partner_is("by-id", "Ready", "False", "PartnerNotFound").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_bound_in_one_tenant_is_never_looked_for_in_another() -> anyhow::Result<()> {
    let mut world = world("moved").await?;
    let other = world.tenant.replace("bbbbbbbb", "dddddddd");
    world.graph().add_app(
        &other,
        &world.client_id,
        App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]),
    );
    let row = world.graph().base_row(P1, "Example Partner");
    world.graph().seed_row(&other, row)?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.partner_is("jamf", "Ready", "False", "ConnectionNotFound").await?;
    world.connection("contoso", json!({"tenantId": other})).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "TenantChanged").await?;
    assert_eq!(pair(&partner), (false, true));
    assert!(of(&partner, "PartnerEnabled").is_none() && of(&partner, "HeartbeatFresh").is_none());
    let status = partner.status.unwrap();
    assert!(status.partner_state.is_none() && status.platforms.is_none());
    assert_eq!(status.tenant_id.as_deref(), Some(world.tenant.as_str()));
    world.asked("jamf", "now").await?;
    let tenant = other.clone();
    let theirs = world.graph().requests_where(|request| {
        request.is_graph() && !request.is_list() && request.tenant.as_deref() == Some(tenant.as_str())
    });
    assert!(theirs.is_empty(), "{theirs:#?}");
    assert_eq!(world.graph().row(&other, P1).unwrap()["iosOnboarded"], false);
    assert_eq!(world.graph().count(Request::is_patch), 1);

    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.connection("contoso", json!({})).await?;
    world.in_sync("jamf").await?;
    world.stop().await
}
