//! A namespace that is deleted with everything in it, a CRD that is, and an operator that watches the whole cluster: on
//! control planes of their own.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use harness::{AUDIENCE, CRD_NAMES, ControlPlane, Kind, OPERATOR, Options, auth};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use super::*;

async fn plane(controller_manager: bool) -> anyhow::Result<Arc<ControlPlane>> {
    let options = Options {
        controller_manager,
        ..Options::default()
    };
    let plane = ControlPlane::start(options).await?;
    plane.apply_crds().await?;
    Ok(Arc::new(plane))
}

async fn synced_on(name: &str, plane: &Arc<ControlPlane>) -> anyhow::Result<World> {
    let mut world = World::on(name, Arc::clone(plane)).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.start().await?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_everything_in_it() -> anyhow::Result<()> {
    let plane = plane(true).await?;
    let mut world = synced_on("contoso", &plane).await?;
    let mut config = world.config();
    config.abandon_cleanup_after = Some(Duration::from_secs(2));
    world.start_with(config.clone()).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let namespaces: Api<Namespace> = Api::all(world.admin.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await?;
    // Secret, consent and connection go in any order; what of them is needed may be there in time or not.
    let restart = wait_for("a block, or the end", PATIENCE, async || {
        match world.partners().get_opt("jamf").await {
            Ok(None) => Some(false),
            Ok(Some(partner)) => {
                let status = partner.status?;
                condition(&status.conditions, "CleanupBlocked").map(|_| true)
            }
            Err(_) => None,
        }
    })
    .await?;
    if restart {
        world.start_with(config).await?;
    }
    wait_for(
        "the namespace to be gone",
        Duration::from_secs(60),
        async || match namespaces.get_opt(&world.namespace).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:#?}")),
        },
    )
    .await?;
    if restart {
        // No event can be written any more: the counter tells.
        let metrics = world.metrics()?;
        assert!(
            metrics.contains("compliance_partner_cleanups_abandoned_total 1"),
            "{metrics}"
        );
    } else {
        assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crd_that_is_deleted_cleans_up_and_may_come_back() -> anyhow::Result<()> {
    let plane = plane(false).await?;
    let mut world = synced_on("crd", &plane).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
    let [partners, _] = CRD_NAMES;
    crds.delete(partners, &DeleteParams::default()).await?;
    wait_for("the CRD to be gone", Duration::from_secs(60), async || {
        match crds.get_opt(partners).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await?;
    assert_eq!(resets(&world).len(), 1);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);

    plane.apply_crds().await?;
    world.partner("jamf", reset()).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    world.stop().await
}

/// With the rights that `deploy/` gives it there, and no other: from the first list, by pages and streamed, to the live
/// reads that decide whether a clean-up is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_of_the_whole_cluster_waits_and_lets_go_as_one_of_a_namespace() -> anyhow::Result<()> {
    let mut world = World::on("wide", plane(false).await?).await?;
    world.row(P1, "Example Partner")?;
    world.account("graph", &world.client_id).await?;
    world.consent_to_account("graph").await?;
    world.trust("graph", AUDIENCE).await?;
    let by_account = json!({"auth": auth(Kind::Account, "graph")});
    world.connection("contoso", by_account).await?;
    let mut config = world.config();
    config.watch_namespaces.clear();
    config.abandon_cleanup_after = Some(Duration::ZERO);
    let client = crate::watch::without_streaming(world.operator_client().await?, Arc::new(AtomicU32::new(0)));
    world.start_by(client, config.clone())?;
    world.partner("jamf", reset()).await?;
    assert!(has_finalizer(&world.in_sync("jamf").await?));
    world.start_with(config).await?;
    world.asked("jamf", "streamed").await?;

    // The namespace is there to stay, so that consent may come again: nothing is given up. That it stays is asked live.
    let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
    bindings.delete("graph-token", &DeleteParams::default()).await?;
    world.graph().revoke_tokens(&world.tenant, None);
    delete(&world).await?;
    let told = cleaning(&world).await?;
    assert!(told.contains("create rolebinding"), "{told}");
    wait_for("the live read of the namespace", PATIENCE, async || {
        let events = world.plane.audit_events().ok()?;
        let asked = |event: &Value| event["verb"] == "get" && event["objectRef"]["resource"] == "namespaces";
        let operators = |event: &Value| {
            event["user"]["username"]
                .as_str()
                .is_some_and(|user| user.ends_with(OPERATOR))
        };
        events
            .iter()
            .any(|event| asked(event) && operators(event))
            .then_some(())
    })
    .await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    let (kind, note) = world.event("jamf", "CleanupAbandoned").await?;
    assert!(
        kind == "Warning" && note.contains("GraphConnection contoso"),
        "{kind}: {note}"
    );
    world.stop().await
}
