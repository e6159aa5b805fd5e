//! Deletion never touches what the resource does not hold.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::*;

fn second() -> Value {
    json!({"partnerRef": {"id": P1}, "androidOnboarded": true, "deletionPolicy": "Reset"})
}

async fn edit(world: &World, name: &str, spec: Value) -> anyhow::Result<()> {
    let edit = Patch::Merge(json!({"spec": spec}));
    world.partners().patch(name, &PatchParams::default(), &edit).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_another_resource_waits_nothing_is_reset_and_it_takes_over() -> anyhow::Result<()> {
    let mut world = synced("heir").await?;
    world.partner("second", second()).await?;
    // Made in the same second, the uid decides: whoever holds is the one that goes.
    let holder = wait_for("a conflict", PATIENCE, async || {
        for (name, other) in [("second", "jamf"), ("jamf", "second")] {
            let partner = world.partners().get(name).await.ok()?;
            let status = partner.status.unwrap_or_default();
            if condition(&status.conditions, "Ready").is_some_and(|ready| ready.reason == "PartnerConflict") {
                return Some(other);
            }
        }
        None
    })
    .await?;
    let other = if holder == "jamf" { "second" } else { "jamf" };
    assert!(!has_finalizer(&world.partners().get("second").await?) || holder == "second");
    world.partners().delete(holder, &DeleteParams::default()).await?;
    let heir = world.in_sync(other).await?;
    assert!(has_finalizer(&heir), "the new holder has it from now on");
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["iosOnboarded"], true, "nothing of it was reset");
    assert!(world.events(holder, "Reset").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_conflict_a_resource_is_let_go_without_a_call() -> anyhow::Result<()> {
    let mut world = world("loser").await?;
    world.start().await?;
    world.partner("second", second()).await?;
    world.in_sync("second").await?;
    let holder = world.partners().get("second").await?;
    wait_for("the next second", PATIENCE, async || {
        let created = holder.metadata.creation_timestamp.as_ref()?.0.as_second();
        (k8s_openapi::jiff::Timestamp::now().as_second() > created).then_some(())
    })
    .await?;
    // By an app of its own, so that its requests are told from the holder's.
    let own = "cccccccc-3333-4333-8333-0000000000ff";
    let app = graph_simulator::App::with_secret(harness::CLIENT_SECRET).roles([harness::WRITE_ROLE]);
    world.graph().add_app(&world.tenant, own, app);
    world.connection("own", json!({"clientId": own})).await?;
    let mut spec = reset();
    spec["connectionRef"] = json!({"name": "own"});
    world.partner("jamf", spec).await?;
    world.partner_is("jamf", "Ready", "False", "PartnerConflict").await?;
    // Even with a finalizer, which it may have from the time when it was the holder.
    let finalizer = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
    world
        .partners()
        .patch("jamf", &PatchParams::default(), &finalizer)
        .await?;
    let before = world.graph().last_seq();
    delete(&world).await?;
    gone(&world).await?;
    let of_its_own = |request: &Request| {
        let rows = request.is_get() || request.is_patch();
        request.seq > before && rows && request.client_id.as_deref() == Some(own)
    };
    assert_eq!(world.graph().count(of_its_own), 0);
    world.in_sync("second").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_it_resets_unless_somebody_else_holds_by_then() -> anyhow::Result<()> {
    let mut world = synced("suspended-reset").await?;
    edit(&world, "jamf", json!({"suspend": true})).await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);

    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    edit(&world, "jamf", json!({"suspend": true})).await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    world.partner("second", second()).await?;
    world.in_sync("second").await?;
    let before = world.patches();
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(world.patches(), before);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_an_object_deleted_at_once_resets_it_once() -> anyhow::Result<()> {
    let mut world = synced("all").await?;
    world.partner("second", second()).await?;
    wait_for("a conflict", PATIENCE, async || {
        let reasons = ["jamf", "second"].map(async |name| {
            let status = world.partners().get(name).await.ok()?.status?;
            Some(condition(&status.conditions, "Ready")?.reason.clone())
        });
        let mut all = Vec::new();
        for reason in reasons {
            all.push(reason.await);
        }
        all.contains(&Some("PartnerConflict".to_owned())).then_some(())
    })
    .await?;
    world.stop().await?;
    for name in ["jamf", "second"] {
        world.partners().delete(name, &DeleteParams::default()).await?;
    }
    world.start().await?;
    wait_for("both to be gone", PATIENCE, async || {
        let left = world.partners().list(&kube::api::ListParams::default()).await.ok()?;
        left.items.is_empty().then_some(())
    })
    .await?;
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert!(
        row["iosOnboarded"] == false || row["androidOnboarded"] == false,
        "{row:#}"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_deleted_together_leave_nothing_to_each_other() -> anyhow::Result<()> {
    let mut world = synced("together").await?;
    let mut config = world.config();
    config.timing.backoff = std::time::Duration::from_secs(1);
    world.start_with(config).await?;
    world.partner("second", second()).await?;
    wait_for("a conflict", PATIENCE, async || {
        for name in ["jamf", "second"] {
            let status = world.partners().get(name).await.ok()?.status?;
            if condition(&status.conditions, "Ready").is_some_and(|ready| ready.reason == "PartnerConflict") {
                return Some(());
            }
        }
        None
    })
    .await?;
    let all = kube::api::ListParams::default();
    world
        .partners()
        .delete_collection(&DeleteParams::default(), &all)
        .await?;
    wait_for("both to be gone", PATIENCE, async || {
        world.partners().list(&all).await.ok()?.items.is_empty().then_some(())
    })
    .await?;
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert!(
        row["iosOnboarded"] == false || row["androidOnboarded"] == false,
        "{row:#}"
    );
    world.stop().await
}
