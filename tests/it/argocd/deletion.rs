//! What goes, and what stays, when something leaves the Application of `deploy/argocd`, or it goes itself.

use anyhow::{Context as _, Result, anyhow, ensure};
use graph_simulator::Request;
use harness::{CRD_NAMES, OPERATOR, PATIENCE, wait_for};
use serde_json::{Value, json};

use super::site::{NAME, Site};
use super::{EXAMPLE_PARTNER, word};

const CRD: &str = "CustomResourceDefinition";

/// The kinds of the resources that an Application lists.
fn kinds(application: &Value) -> Vec<&str> {
    let resources = application["status"]["resources"].as_array();
    let resources = resources.map(Vec::as_slice).unwrap_or_default();
    resources.iter().map(|resource| word(resource, "/kind")).collect()
}

/// The CRDs leave the chart, and Argo CD prunes from now on.
async fn without_crds(site: &Site) -> Result<()> {
    let mut sources = site.argocd.application(NAME).await?["spec"]["sources"].take();
    sources[0]["helm"]["valuesObject"]["crds"] = json!({ "enabled": false });
    let patch = json!({ "spec": { "sources": sources, "syncPolicy": { "automated": { "prune": true } } } });
    site.argocd.change(NAME, &patch).await
}

async fn pruned(site: &Site) -> Result<Value> {
    let synced = site.synced(NAME, 1, json!({ "prune": true })).await?;
    let state = &synced["status"]["operationState"];
    assert_eq!(word(state, "/phase"), "Succeeded", "{state:#}");
    Ok(synced)
}

async fn uid(site: &Site) -> Result<Option<String>> {
    Ok(site.world.partners().get("jamf").await?.metadata.uid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kinds_outlive_what_argo_cd_prunes_and_deletes() -> Result<()> {
    let mut site = Site::new().await?;
    site.installed().await?;
    let before = uid(&site).await?;
    without_crds(&site).await?;
    site.until("a chart without CRDs", |application| {
        let kinds = kinds(application);
        ensure!(!kinds.contains(&CRD) && kinds.contains(&"Deployment"), "{kinds:?}");
        Ok(())
    })
    .await?;
    pruned(&site).await?;
    site.world.plane.until_established(&CRD_NAMES).await?;
    assert_eq!(uid(&site).await?, before);
    deleted(&mut site).await
}

/// There Argo CD takes the chart's label for its own, and would prune what leaves the chart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_argo_cd_tracks_by_label_an_annotation_of_the_chart_keeps_the_kinds() -> Result<()> {
    let mut site = Site::new().await?;
    site.installed().await?;
    let before = uid(&site).await?;
    let plane = &site.world.plane;
    let option = "argocd.argoproj.io/sync-options";
    let label = json!({ "data": { "application.resourceTrackingMethod": "label" } }).to_string();
    let args = [
        "-n",
        "argocd",
        "patch",
        "configmap",
        "argocd-cm",
        "--type=merge",
        "--patch",
        &label,
    ];
    plane.kubectl_ok(&args).await?;
    without_crds(&site).await?;
    // Argo CD does not compare for a change of its settings.
    wait_for("CRDs to be pruned", PATIENCE, async || {
        let application = site.refreshed().await?;
        let resources = application["status"]["resources"].as_array().context("no resources")?;
        let crds = resources.iter().filter(|resource| resource["kind"] == CRD);
        let pruned = crds.filter(|resource| resource["requiresPruning"] == true);
        ensure!(pruned.count() == 2, "{resources:#?}");
        anyhow::Ok(())
    })
    .await
    .map_err(|error| anyhow!("{error:#}\n{}", site.argocd.log_tail()))?;
    let synced = pruned(&site).await?;
    let results = synced["status"]["operationState"]["syncResult"]["resources"].as_array();
    let crds = results
        .context("no results")?
        .iter()
        .filter(|result| result["kind"] == CRD);
    let told: Vec<&str> = crds.map(|result| word(result, "/message")).collect();
    assert_eq!(told, ["ignored (no prune)"; 2]);
    plane.until_established(&CRD_NAMES).await?;
    assert_eq!(uid(&site).await?, before);

    let away = format!("{option}-");
    plane
        .kubectl_ok(&["annotate", "crd", CRD_NAMES[0], CRD_NAMES[1], &away])
        .await?;
    site.synced(NAME, 2, json!({ "prune": true })).await?;
    wait_for("the end of the CRDs", PATIENCE, async || {
        let left = plane.kubectl_ok(&["get", "crd", "-o", "name"]).await?;
        ensure!(!left.contains("intune.msgraph.dev"), "{left}");
        Ok(())
    })
    .await?;
    site.world.stop().await
}

/// The Application goes, and what it made with it: a Reset finds connection and operator at work.
async fn deleted(site: &mut Site) -> Result<()> {
    let file = site.resources.path().join("partner.yaml");
    let text = std::fs::read_to_string(&file)?;
    let reset = text.replace("\nspec:\n", "\nspec:\n  deletionPolicy: Reset\n");
    std::fs::write(&file, reset)?;
    site.refreshed().await?;
    let plane = &site.world.plane;
    wait_for("the finalizer", PATIENCE, async || {
        let partner = site.world.partners().get("jamf").await?;
        let finalizers = partner.metadata.finalizers.unwrap_or_default();
        ensure!(finalizers == ["intune.msgraph.dev/reset"], "{finalizers:?}");
        Ok(())
    })
    .await?;
    site.settled().await?;

    let args = ["-n", "argocd", "delete", "application", NAME, "--timeout=90s"];
    plane.kubectl_ok(&args).await.with_context(|| site.argocd.log_tail())?;
    let of_partner = |request: &Request| request.is_patch() && request.path.ends_with(EXAMPLE_PARTNER);
    let sent = site.world.graph().requests_where(of_partner);
    let last = sent
        .last()
        .and_then(|request| request.body.clone())
        .context("no PATCH")?;
    assert_eq!(last["iosOnboarded"], false, "{last}");
    assert_eq!(last["iosEnrollmentAssignments"], json!([]), "{last}");
    let kinds = "deployments,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,gconn,cmp";
    let label = "--selector=app.kubernetes.io/instance";
    let left = plane.kubectl_ok(&["get", kinds, "-A", label, "-o", "name"]).await?;
    ensure!(left.is_empty(), "{left}");
    ensure!(site.world.connections().get_opt("contoso").await?.is_none());
    ensure!(site.world.partners().get_opt("jamf").await?.is_none());

    // What is not git's, or may not go with a slip of the hand.
    site.world.plane.until_established(&CRD_NAMES).await?;
    plane.kubectl_ok(&["get", "namespace", "contoso", OPERATOR]).await?;
    plane.kubectl_ok(&["-n", "contoso", "get", "secret", "graph"]).await?;
    site.world.stop().await
}
