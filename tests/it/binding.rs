//! Which object of the tenant a resource is bound to, for how long, and what unbinds it.

use std::time::Duration;

use compliance_partner_operator::api::ComplianceManagementPartner;
use graph_simulator::{App, Options, Request};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::history::{at, of};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const NEW: &str = "aaaaaaaa-1111-4111-8111-000000000009";

fn by_name() -> Value {
    json!({"partnerRef": {"displayName": "Example Partner"}, "iosOnboarded": true})
}

async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up_only_until_it_is_found() -> anyhow::Result<()> {
    let mut world = world("renamed").await?;
    world.partner("jamf", by_name()).await?;
    world.start().await?;
    world.in_sync("jamf").await?;

    // The object has another name by now, and another object has its name.
    world.graph().change_row(
        &world.tenant,
        P1,
        json!({"displayName": "Renamed", "iosOnboarded": false}),
    )?;
    world.row(NEW, "Example Partner")?;
    world.asked("jamf", "renamed").await?;
    let status = world.in_sync("jamf").await?.status.unwrap();
    assert_eq!(status.partner_id.as_deref(), Some(P1));
    assert_eq!(status.display_name.as_deref(), Some("Renamed"));

    // An operator that has forgotten all about it goes by status.
    world.stop().await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.start().await?;
    let back = |row: &Value| row["iosOnboarded"] == true;
    world.graph().wait_for_row(&world.tenant, P1, back, PATIENCE).await?;
    let mut spec = by_name();
    spec["macOsOnboarded"] = json!(true);
    world.partner("jamf", spec).await?;
    world.in_sync("jamf").await?;
    let other = world.graph().count(|request| request.path.ends_with(NEW));
    assert_eq!(other, 0, "the namesake is nobody's business");
    assert!(world.events("jamf", "PartnerRebound").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_bound_object_that_is_gone_the_one_other_of_its_name_is_taken() -> anyhow::Result<()> {
    let mut world = world("namesakes").await?;
    world.partner("jamf", by_name()).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.graph().delete_row(&world.tenant, P1)?;
    world.asked("jamf", "it is gone").await?;
    let partner = world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    let status = partner.status.unwrap();
    assert_eq!(status.partner_id.as_deref(), Some(P1), "it stays bound");
    assert_eq!(status.tenant_id.as_deref(), Some(world.tenant.as_str()));
    assert_eq!(status.cloud.as_deref(), Some("Global"));

    // Near misses are none; and of two nobody knows which one is meant.
    world.row("other-case", "example partner")?;
    world.row("other-end", "Example Partner ")?;
    world.asked("jamf", "near misses").await?;
    world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    world.row("twin-1", "Example Partner")?;
    world.row("twin-2", "Example Partner")?;
    world.asked("jamf", "twins").await?;
    let partner = world.partner_is("jamf", "Ready", "False", "PartnerAmbiguous").await?;
    assert!(of(&partner, "Stalled").is_some());
    assert_eq!(partner.status.unwrap().partner_id.as_deref(), Some(P1));
    assert_eq!(world.patches(), 1, "what was sent while it was there");

    world.graph().delete_row(&world.tenant, "twin-2")?;
    world.asked("jamf", "one of them").await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(partner.status.unwrap().partner_id.as_deref(), Some("twin-1"));
    let (kind, note) = world.event("jamf", "PartnerRebound").await?;
    assert_eq!(kind, "Warning");
    assert!(note.contains(P1) && note.contains("twin-1"), "{note}");
    for id in ["other-case", "other-end"] {
        assert_eq!(world.graph().row(&world.tenant, id).unwrap()["iosOnboarded"], false);
    }
    world.stop().await
}

/// Bound by name, with rare polls; the next pass is the one at which the heartbeat turns stale.
async fn until_stale(name: &str, meanwhile: impl AsyncFnOnce(&World) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut world = world(name).await?;
    let mut config = world.config();
    config.heartbeat.stale_after = Duration::from_secs(6);
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.graph().change_row(
        &world.tenant,
        P1,
        json!({"lastHeartbeatDateTime": Timestamp::now().to_string()}),
    )?;
    world.partner("jamf", by_name()).await?;
    world.in_sync("jamf").await?;
    world.partner_is("jamf", "HeartbeatFresh", "True", "Fresh").await?;
    meanwhile(&world).await?;
    world.event("jamf", "PartnerRebound").await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status/partnerId"), NEW);
    assert!(world.events("jamf", "PartnerNotFound").await?.is_empty());
    assert!(world.events("jamf", "PartnerAmbiguous").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_from_before_the_object_went_does_not_hide_the_new_one() -> anyhow::Result<()> {
    until_stale("hidden", async |world| {
        world.graph().delete_row(&world.tenant, P1)?;
        world.row(NEW, "Example Partner")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_still_has_the_object_does_not_make_two_of_one() -> anyhow::Result<()> {
    until_stale("two-of-one", async |world| {
        world.row(NEW, "Example Partner")?;
        let seen = world.graph().last_seq();
        world.ask("gconn/contoso", "list now").await?;
        let listed = move |request: &Request| request.is_list() && request.seq > seen && request.status.is_some();
        world.graph().wait_for_requests(listed, 1, PATIENCE).await?;
        world.graph().delete_row(&world.tenant, P1)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_the_same_in_any_case() -> anyhow::Result<()> {
    // A Graph that finds the object by its own spelling alone, and one that finds it by any.
    for strict in [true, false] {
        let options = Options {
            ids_ignore_case: !strict,
            ..Options::default()
        };
        let mut world = World::with("id-case", options).await?;
        world.row(P1, "Example Partner")?;
        world.connect().await?;
        world.start().await?;
        world.connection_is("contoso", "True", "Connected").await?;
        let mut spec = json!({"partnerRef": {"id": P1.to_uppercase()}, "iosOnboarded": true});
        world.partner("jamf", spec.clone()).await?;
        let partner = world.in_sync("jamf").await?;
        assert_eq!(
            partner.status.unwrap().partner_id.as_deref(),
            Some(P1),
            "as Graph spells it"
        );
        spec["macOsOnboarded"] = json!(true);
        world.partner("jamf", spec).await?;
        world.in_sync("jamf").await?;
        world.asked("jamf", "now").await?;
        world.in_sync("jamf").await?;
        assert_eq!(world.patches(), 2, "strict: {strict}");
        assert!(world.events("jamf", "PartnerRebound").await?.is_empty());
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_another_cloud_or_tenant_all_that_status_knew_goes_and_comes_back() -> anyhow::Result<()> {
    let mut world = world("another").await?;
    let other = world.tenant.replace("bbbbbbbb", "dddddddd");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&other, &world.client_id, app);
    // The other tenant has an object of the same id and name, so nothing but the binding keeps it safe.
    let row = world.graph().base_row(P1, "Example Partner");
    world.graph().seed_row(&other, row)?;
    let known = json!({"androidOnboarded": true, "lastHeartbeatDateTime": "2026-11-20T10:00:00Z"});
    world.graph().change_row(&world.tenant, P1, known)?;
    let mut observed = by_name();
    observed["managementPolicy"] = json!("Observe");
    world.partner("observed", observed).await?;
    world.partner("jamf", by_name()).await?;
    world.start().await?;
    // Whoever binds has the others looked at: only then nobody is about to correct what is changed now.
    world.in_sync("jamf").await?;
    world.partner_is("observed", "Ready", "True", "").await?;
    world.asked("jamf", "before the drift").await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.asked("observed", "drift").await?;
    let before = world
        .partner_is("observed", "Synced", "False", "DriftDetected")
        .await?
        .status
        .unwrap();
    assert!(before.drift.is_some() && before.platforms.is_some() && before.last_heartbeat_date_time.is_some());

    for change in [json!({"cloud": "USGov"}), json!({"tenantId": other})] {
        world.connections().delete("contoso", &DeleteParams::default()).await?;
        for name in ["jamf", "observed"] {
            world.partner_is(name, "Ready", "False", "ConnectionNotFound").await?;
        }
        world.graph().clear_log();
        world.connection("contoso", change.clone()).await?;
        for name in ["jamf", "observed"] {
            let partner = world.partner_is(name, "Ready", "False", "TenantChanged").await?;
            let [enabled, fresh] = ["PartnerEnabled", "HeartbeatFresh"].map(|kind| of(&partner, kind));
            assert!(enabled.is_none() && fresh.is_none(), "{change}");
            let status = at(&partner, "/status");
            for field in ["partnerState", "lastHeartbeatDateTime", "platforms", "drift"] {
                assert_eq!(status.get(field), None, "{change}: {field}");
            }
            assert_eq!(status["partnerId"], P1, "{change}");
            assert_eq!(status["cloud"], "Global");
            assert_eq!(status["tenantId"], world.tenant);
        }
        // Neither a request nor an edit gets anything sent: the collection is the connection's own.
        world.asked("observed", &change.to_string()).await?;
        let suspend = |suspend: bool| Patch::Merge(json!({"spec": {"suspend": suspend}}));
        for on in [true, false] {
            let partners = world.partners();
            partners.patch("jamf", &PatchParams::default(), &suspend(on)).await?;
        }
        world.partner_is("jamf", "Ready", "False", "TenantChanged").await?;
        let sent = world
            .graph()
            .requests_where(|request| request.is_graph() && !request.is_list());
        assert!(sent.is_empty(), "{change}: {sent:#?}");
        world.connections().delete("contoso", &DeleteParams::default()).await?;
        world.connection("contoso", json!({})).await?;
        world.in_sync("jamf").await?;
    }
    let after = world.asked("observed", "the way back").await?.status.unwrap();
    assert_eq!(after.platforms.unwrap(), ["Android", "iOS"]);
    assert_eq!(after.partner_state, before.partner_state);
    assert_eq!(world.graph().row(&other, P1).unwrap()["iosOnboarded"], false);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_another_namespace_is_none() -> anyhow::Result<()> {
    let mut world = world("elsewhere").await?;
    let other = world.second_namespace().await?;
    let mut config = world.config();
    config.watch_namespaces.push(other.clone());
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let mut spec = by_name();
    spec["connectionRef"] = json!({"name": "contoso", "namespace": world.namespace});
    let object = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
        "metadata": {"name": "jamf", "namespace": other}, "spec": spec,
    });
    let apply = ["apply", "--validate=ignore", "-f", "-"];
    world.plane.kubectl_ok_with_input(&apply, &object.to_string()).await?;
    world.graph().clear_log();
    let theirs: Api<ComplianceManagementPartner> = Api::namespaced(world.admin.clone(), &other);
    wait_for("a connection that is not found", PATIENCE, async || {
        let partner = theirs.get("jamf").await?;
        let reason = of(&partner, "Ready").map(|ready| ready.reason);
        anyhow::ensure!(reason.as_deref() == Some("ConnectionNotFound"), "{reason:?}");
        assert!(at(&partner, "/spec/connectionRef").get("namespace").is_none());
        Ok(())
    })
    .await?;
    assert_eq!(world.graph().count(Request::is_get), 0);
    world.stop().await
}
