//! The kinds, the rights and resources in one sync of Argo CD's engine, on a cluster that has none of them.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use graph_simulator::Request;
use harness::{CLIENT_SECRET, ControlPlane, Options, PATIENCE, World, argocd_sync, crds_folder, merge, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{EXAMPLE_PARTNER, manifests, objects, seed_examples, word};
use crate::reasons::look::{CONNECTIONS, PARTNERS, condition, object};

/// What the chart brings but for the Deployment, which needs a node: the operator of this test is in its own process.
async fn repository(world: &World) -> anyhow::Result<Vec<Value>> {
    let folder = crds_folder().display().to_string();
    let args = ["create", "--dry-run=client", "--output=json", "--filename", &folder];
    let mut git = objects(&harness::install_crds().await?.kubectl_ok(&args).await?)?;
    for file in [
        "deploy/rbac.yaml",
        "deploy/examples/consent.yaml",
        "deploy/argocd/resources/connection.yaml",
        "deploy/argocd/resources/partner.yaml",
    ] {
        git.extend(manifests(world, file).await?);
    }
    // Git knows no order.
    git.reverse();
    Ok(git)
}

fn line<'a>(outcome: &'a Value, of: &str) -> anyhow::Result<&'a str> {
    let lines = outcome["results"].as_array().context("no results")?;
    let mut found = lines.iter().filter_map(Value::as_str).filter(|line| line.contains(of));
    found.next().with_context(|| format!("no {of}: {outcome:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_brings_kinds_and_resources_to_an_empty_cluster() -> anyhow::Result<()> {
    let plane = Arc::new(ControlPlane::start(Options::default()).await?);
    let mut world = World::on("argo-sync", plane).await?;
    seed_examples(&world)?;
    world.secret("graph", json!({ "client-secret": "a wrong one" })).await?;
    let git = repository(&world).await?;
    world.start().await?;

    // A refused credential fails the sync where it belongs: no partner is applied on top of it.
    let failed = argocd_sync(&world.plane, &git).await?;
    assert_eq!(word(&failed, "/phase"), "Failed", "{failed:#}");
    let connection = line(&failed, "/GraphConnection/")?;
    ensure!(connection.contains("CredentialsRejected"), "{failed:#}");
    ensure!(world.partners().get_opt("jamf").await?.is_none(), "{failed:#}");

    world.secret("graph", json!({ "client-secret": CLIENT_SECRET })).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let outcome = argocd_sync(&world.plane, &git).await?;
    assert_eq!(word(&outcome, "/phase"), "Succeeded", "{outcome:#}");
    assert_eq!(
        outcome["results"].as_array().map(Vec::len),
        Some(git.len()),
        "{outcome:#}"
    );
    world.in_sync("jamf").await?;
    let connection = object(&world, CONNECTIONS, "contoso").await?;
    let partner = object(&world, PARTNERS, "jamf").await?;
    assert_eq!(word(&partner, "/status/partnerId"), EXAMPLE_PARTNER);
    let ready = condition(&connection, "Ready").context("no Ready")?;
    let turned = word(ready, "/lastTransitionTime");
    let created = word(&partner, "/metadata/creationTimestamp");
    ensure!(turned <= created, "Ready since {turned}, the partner since {created}");
    a_hook_is_reset_at_each_sync(&world, &git).await?;
    world.stop().await
}

/// What README.md warns of: the hook's delete policy deletes the resource at the next sync, and its Reset is sent.
async fn a_hook_is_reset_at_each_sync(world: &World, git: &[Value]) -> anyhow::Result<()> {
    world.row("hooked", "Hooked")?;
    let partner = git
        .iter()
        .find(|object| object["kind"] == "ComplianceManagementPartner");
    let mut hook = partner.context("no partner")?.clone();
    hook["metadata"]["name"] = json!("hooked");
    hook["metadata"]["annotations"] = json!({
        "argocd.argoproj.io/hook": "PreSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    });
    let spec = json!({ "partnerRef": { "id": "hooked" }, "deletionPolicy": "Reset" });
    merge(&mut hook["spec"], spec);
    let hook = [hook];
    let first = argocd_sync(&world.plane, &hook).await?;
    assert_eq!(word(&first, "/phase"), "Succeeded", "{first:#}");
    world.in_sync("hooked").await?;
    let (second, deleted) = tokio::join!(argocd_sync(&world.plane, &hook), deleted(world));
    deleted?;
    assert_eq!(word(&second?, "/phase"), "Succeeded");
    world.in_sync("hooked").await?;
    let switched: Vec<Value> = world
        .graph()
        .requests_where(of_hook)
        .into_iter()
        .filter_map(|request| Some(request.body?["iosOnboarded"].take()))
        .collect();
    assert_eq!(
        switched,
        [true, false, true],
        "on; and at the next sync off, and on again"
    );
    Ok(())
}

fn of_hook(request: &Request) -> bool {
    request.is_patch() && request.path.ends_with("/hooked")
}

/// Waits for the Reset, and does what is left to the garbage collector, which this cluster has not.
async fn deleted(world: &World) -> anyhow::Result<()> {
    world.graph().wait_for_requests(of_hook, 2, PATIENCE).await?;
    let left = json!(["foregroundDeletion"]);
    wait_for("the end of the Reset", PATIENCE, async || {
        let finalizers = object(world, PARTNERS, "hooked").await?["metadata"]["finalizers"].take();
        ensure!(finalizers == left, "{finalizers}");
        Ok(())
    })
    .await?;
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    world.partners().patch("hooked", &PatchParams::default(), &none).await?;
    Ok(())
}
