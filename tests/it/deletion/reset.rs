//! The finalizer, what a Reset sends, and what lets a resource go without one.

use std::time::Duration;

use graph_simulator::{Answer, Script};
use harness::{PATIENCE, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_clears_exactly_the_managed_fields_before_the_resource_goes() -> anyhow::Result<()> {
    let mut world = synced("reset").await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"androidOnboarded": true}))?;
    assert!(has_finalizer(&world.in_sync("jamf").await?));
    delete(&world).await?;
    gone(&world).await?;
    let sent = resets(&world);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].properties(), ["iosOnboarded", "macOsEnrollmentAssignments"]);
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["iosOnboarded"], false);
    assert_eq!(row["macOsEnrollmentAssignments"], json!([]));
    assert_eq!(row["displayName"], "Example Partner");
    assert_eq!(row["androidOnboarded"], true, "what is not managed is not reset");
    let (kind, note) = world.event("jamf", "Reset").await?;
    assert_eq!(kind, "Normal");
    assert!(note.contains("iosOnboarded, macOsEnrollmentAssignments"), "{note}");
    assert!(
        world.graph().violations().is_empty(),
        "{:?}",
        world.graph().violations()
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_finalizer_is_there_before_anything_is_sent() -> anyhow::Result<()> {
    let mut world = world("before").await?;
    world.start().await?;
    let script = world
        .graph()
        .script(Script::graph().method("PATCH").answer(Answer::status(503)));
    world.partner("jamf", reset()).await?;
    wait_for("a change", PATIENCE, async || (world.patches() > 0).then_some(())).await?;
    let writes = world.operator_writes_since(0)?;
    let first = writes
        .iter()
        .find(|write| write["objectRef"]["resource"] == "compliancemanagementpartners")
        .expect("a write of the partner");
    assert!(first["objectRef"]["subresource"].is_null(), "{first:#}");
    assert!(has_finalizer(&world.partners().get("jamf").await?));
    world.graph().remove_script(script);
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_reset_there_is_no_finalizer_and_nothing_is_sent() -> anyhow::Result<()> {
    let mut world = world("retain").await?;
    world.start().await?;
    let mut spec = reset();
    spec["deletionPolicy"] = json!("Retain");
    world.partner("jamf", spec).await?;
    assert!(!has_finalizer(&world.in_sync("jamf").await?));
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);

    // Observe wins over every other policy.
    let mut spec = reset();
    spec["managementPolicy"] = json!("Observe");
    world.partner("jamf", spec).await?;
    assert!(!has_finalizer(
        &world.partner_is("jamf", "Ready", "True", "InSync").await?
    ));
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_comes_back_and_goes_as_the_policies_say() -> anyhow::Result<()> {
    let mut world = synced("finalizer").await?;
    let has = async |wanted: bool| {
        wait_for(&format!("the finalizer: {wanted}"), PATIENCE, async || {
            let partner = world.partners().get("jamf").await.ok()?;
            (has_finalizer(&partner) == wanted).then_some(())
        })
        .await
    };
    // As `kubectl replace` and Argo CD's Replace=true do. A label in between is no reason for a pass.
    let none = json!({"metadata": {"finalizers": null}});
    world
        .partners()
        .patch("jamf", &PatchParams::default(), &Patch::Merge(none))
        .await?;
    has(true).await?;
    for (without, with) in [
        (json!({"deletionPolicy": "Retain"}), json!({"deletionPolicy": "Reset"})),
        (
            json!({"managementPolicy": "Observe"}),
            json!({"managementPolicy": null}),
        ),
    ] {
        for (edit, wanted) in [(without, false), (with, true)] {
            let edit = Patch::Merge(json!({"spec": edit}));
            world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
            has(wanted).await?;
        }
    }
    // It stays through suspension.
    let edit = Patch::Merge(json!({"spec": {"suspend": true}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    assert!(has_finalizer(
        &world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?
    ));
    // A connection that only reads makes its partners observe.
    let edit = Patch::Merge(json!({"spec": {"suspend": false}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    world.in_sync("jamf").await?;
    world.connection("contoso", json!({"access": "ReadOnly"})).await?;
    has(false).await?;
    assert_eq!(resets(&world).len(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_being_deleted_never_gets_a_finalizer() -> anyhow::Result<()> {
    let mut world = world("dying").await?;
    world.start().await?;
    let mut spec = reset();
    spec["deletionPolicy"] = json!("Retain");
    world.partner("jamf", spec).await?;
    world.in_sync("jamf").await?;
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.org/hold"]}}));
    world.partners().patch("jamf", &PatchParams::default(), &hold).await?;
    delete(&world).await?;
    let edit = Patch::Merge(json!({"spec": {"deletionPolicy": "Reset"}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    // A later resource is through: the passes that the edit asked for are over.
    world.row("other", "Other")?;
    world
        .partner("other", json!({"partnerRef": {"id": "other"}, "iosOnboarded": true}))
        .await?;
    world.in_sync("other").await?;
    let partner = world.partners().get("jamf").await?;
    assert_eq!(partner.finalizers(), ["example.org/hold"]);
    let refused: Vec<_> = world
        .operator_writes_since(0)?
        .into_iter()
        .filter(|write| write["responseStatus"]["code"].as_u64() >= Some(400))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.partners().patch("jamf", &PatchParams::default(), &free).await?;
    gone(&world).await?;
    let of_jamf = |request: &Request| request.is_patch() && request.path.contains(P1);
    assert_eq!(world.graph().count(of_jamf), 1, "nothing but the first sync");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_finalizers_only_ours_is_taken_off() -> anyhow::Result<()> {
    let mut world = synced("several").await?;
    for finalizers in [
        json!(["example.org/a", FINALIZER, "example.org/b"]),
        json!([FINALIZER, "example.org/b"]),
    ] {
        let edit = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    }
    delete(&world).await?;
    wait_for("ours to be gone", PATIENCE, async || {
        let partner = world.partners().get("jamf").await.ok()?;
        (partner.finalizers() == ["example.org/b"]).then_some(())
    })
    .await?;
    assert_eq!(resets(&world).len(), 1);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.partners().patch("jamf", &PatchParams::default(), &free).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1, "once is enough");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_cannot_be_expressed_is_left_and_named() -> anyhow::Result<()> {
    let mut world = synced("unsupported-reset").await?;
    let strange = json!([{"target": {"@odata.type": "#microsoft.graph.deviceHeapAssignmentTarget", "heapId": "1"}}]);
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"macOsEnrollmentAssignments": strange}))?;
    delete(&world).await?;
    gone(&world).await?;
    let sent = resets(&world);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].properties(), ["iosOnboarded"]);
    let (kind, note) = world.event("jamf", "CleanupSkipped").await?;
    assert_eq!(kind, "Warning");
    assert!(note.contains("macOsEnrollmentAssignments"), "{note}");
    assert!(note.contains("deviceHeapAssignmentTarget"), "{note}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_gone_needs_no_reset() -> anyhow::Result<()> {
    let mut world = synced("gone-already").await?;
    world.graph().delete_row(&world.tenant, P1)?;
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);

    // It may also go between the read and the change.
    world.row(P1, "Example Partner")?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    let body = json!({"error": {"code": "ResourceNotFound", "message": "There is no such partner."}});
    world
        .graph()
        .script(Script::graph().method("PATCH").answer(Answer::json(404, body)));
    delete(&world).await?;
    gone(&world).await?;
    assert!(world.events("jamf", "Reset").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_bound_is_let_go_without_a_call() -> anyhow::Result<()> {
    let mut world = world("unbound").await?;
    // A finalizer from a backup, say: the operator puts none on what is not bound.
    let script = world.graph().script(Script::graph().answer(Answer::status(503)));
    world.partner("jamf", reset()).await?;
    let edit = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    delete(&world).await?;
    world.start().await?;
    gone(&world).await?;
    let rows = |request: &Request| request.is_get() || request.is_patch();
    assert_eq!(world.graph().count(rows), 0);
    world.graph().remove_script(script);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_connection_resets_nothing() -> anyhow::Result<()> {
    let mut world = synced("other-tenant").await?;
    world.stop().await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    let other = "eeeeeeee-5555-4555-8555-00000000000e";
    world.graph().add_tenant(other);
    world.graph().add_app(
        other,
        &world.client_id,
        graph_simulator::App::with_secret(harness::CLIENT_SECRET).roles([harness::WRITE_ROLE]),
    );
    world
        .graph()
        .seed_row(other, world.graph().base_row(P1, "Another tenant's"))?;
    world.connection("contoso", json!({"tenantId": other})).await?;
    delete(&world).await?;
    world.start().await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    assert_eq!(world.event("jamf", "CleanupSkipped").await?.0, "Warning");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turning_to_retain_while_deleting_lets_go_at_once() -> anyhow::Result<()> {
    let mut world = synced("turned").await?;
    world.graph().script(Script::graph().answer(Answer::status(503)));
    let mut config = world.config();
    // No other wait is what lets it go.
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    world.start_with(config).await?;
    delete(&world).await?;
    let told = cleaning(&world).await?;
    assert!(told.contains("503"), "{told}");
    assert_eq!(world.event("jamf", "Cleaning").await?.0, "Warning");
    let edit = Patch::Merge(json!({"spec": {"deletionPolicy": "Retain"}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_that_is_down_is_waited_for_also_through_a_restart() -> anyhow::Result<()> {
    let mut world = synced("down").await?;
    let script = world.graph().script(Script::graph().answer(Answer::status(503)));
    delete(&world).await?;
    cleaning(&world).await?;
    world.stop().await?;
    world.start().await?;
    cleaning(&world).await?;
    assert!(has_finalizer(&world.partners().get("jamf").await?));
    world.graph().remove_script(script);
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_reset_says_why_and_how_to_let_go() -> anyhow::Result<()> {
    let mut world = synced("refused").await?;
    let read = "DeviceManagementServiceConfig.Read.All";
    world.graph().set_roles(&world.tenant, &world.client_id, [read])?;
    world.graph().revoke_tokens(&world.tenant, None);
    delete(&world).await?;
    let told = cleaning(&world).await?;
    assert!(told.contains(harness::WRITE_ROLE), "{told}");
    world
        .graph()
        .set_roles(&world.tenant, &world.client_id, [harness::WRITE_ROLE])?;
    gone(&world).await?;
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);
    world.stop().await
}

/// Takes all finalizers of `jamf` away while its clean-up reads the object.
async fn let_go_by_hand_meanwhile(world: &World) -> anyhow::Result<()> {
    let read = Script::graph().method("GET").path(P1).times(1);
    let read = world.graph().script(read.delay(Duration::from_secs(2)).then_continue());
    delete(world).await?;
    wait_for("the read", PATIENCE, async || {
        (world.graph().script_hits(read) > 0).then_some(())
    })
    .await?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.partners().patch("jamf", &PatchParams::default(), &free).await?;
    gone(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reset_for_what_was_let_go_by_hand_meanwhile() -> anyhow::Result<()> {
    let mut world = synced("by-hand").await?;
    let_go_by_hand_meanwhile(&world).await?;
    // Passes that are under way end first.
    world.stop().await?;
    assert_eq!(resets(&world).len(), 0);

    world.start().await?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    let_go_by_hand_meanwhile(&world).await?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    assert_eq!(
        resets(&world).len(),
        0,
        "the one of that name that lives was not to be reset"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_left_out_meanwhile_is_not_reset() -> anyhow::Result<()> {
    let mut world = synced("left-out").await?;
    let read = Script::graph().method("GET").path(P1).times(1);
    let read = world.graph().script(read.delay(Duration::from_secs(2)).then_continue());
    delete(&world).await?;
    wait_for("the read", PATIENCE, async || {
        (world.graph().script_hits(read) > 0).then_some(())
    })
    .await?;
    let edit = Patch::Merge(json!({"spec": {"iosOnboarded": null}}));
    world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
    gone(&world).await?;
    let sent = resets(&world);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].properties(), ["macOsEnrollmentAssignments"]);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_2xx_ends_it_whatever_comes_between() -> anyhow::Result<()> {
    let mut world = synced("ended").await?;
    let change = Script::graph().method("PATCH").path(P1).times(1);
    let change = world
        .graph()
        .script(change.delay(Duration::from_secs(2)).then_continue());
    delete(&world).await?;
    wait_for("the change", PATIENCE, async || {
        (world.graph().script_hits(change) > 0).then_some(())
    })
    .await?;
    // The resource is another version by the time the change is through, and Graph is down from then on.
    let label = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    world.partners().patch("jamf", &PatchParams::default(), &label).await?;
    world
        .graph()
        .script(Script::graph().method("GET").answer(Answer::status(503)));
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_is_kept_whatever_else_keeps_the_resource_from_its_work() -> anyhow::Result<()> {
    let mut world = synced("kept").await?;
    let comes_back = async || {
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        world.partners().patch("jamf", &PatchParams::default(), &none).await?;
        wait_for("the finalizer to be back", PATIENCE, async || {
            let partner = world.partners().get("jamf").await.ok()?;
            has_finalizer(&partner).then_some(())
        })
        .await
    };
    let down = world.graph().script(Script::graph().answer(Answer::status(503)));
    comes_back().await?;
    let suspended = Patch::Merge(json!({"spec": {"suspend": true}}));
    world
        .partners()
        .patch("jamf", &PatchParams::default(), &suspended)
        .await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    comes_back().await?;

    // A Reset that is asked for by then is asked for.
    for policy in ["Retain", "Reset"] {
        let edit = Patch::Merge(json!({"spec": {"deletionPolicy": policy}}));
        world.partners().patch("jamf", &PatchParams::default(), &edit).await?;
        wait_for(policy, PATIENCE, async || {
            let partner = world.partners().get("jamf").await.ok()?;
            (has_finalizer(&partner) == (policy == "Reset")).then_some(())
        })
        .await?;
    }
    world.graph().remove_script(down);
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}
