//! All goes, in the order of the README, and nothing hangs.

use anyhow::{Result, ensure};
use harness::tell;
use serde_json::json;

use super::WAIT;
use super::release::without_the_partner;
use crate::cluster::{Cluster, OPERATORS, RELEASE, TENANT};
use crate::stage::{PARTNER_ID, Stage};

const CRDS: [&str; 2] = [
    "compliancemanagementpartners.intune.msgraph.dev",
    "graphconnections.intune.msgraph.dev",
];

/// What is to be reset goes first. A partner that is to be retained holds nothing up, though nobody looks after it.
pub(super) async fn in_the_documented_order(stage: &Stage<'_>) -> Result<()> {
    let (cluster, kubectl) = (stage.cluster, &stage.cluster.kubectl);
    without_the_partner(stage).await?;
    let retained = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
        "metadata": {"name": "retained", "namespace": TENANT},
        "spec": {"connectionRef": {"name": "contoso"}, "partnerRef": {"id": PARTNER_ID}, "iosOnboarded": true},
    });
    cluster.apply(&retained.to_string()).await?;
    stage.ready("retained").await?;

    cluster.helm("uninstall", RELEASE, OPERATORS, &["--wait", WAIT]).await?;
    ensure!(cluster.operators().await?.is_empty(), "the operator still runs");
    let kept = kubectl.ok(&["-n", TENANT, "get", "gconn,cmp", "-o", "name"]).await?;
    ensure!(kept.lines().count() == 2, "helm uninstall has left {kept}");
    stage
        .story
        .step("helm uninstall --wait of the operator keeps the kinds and their resources");
    tell(&kept);

    let from = stage.graph().last_seq();
    kubectl
        .ok(&["delete", "namespace", TENANT, OPERATORS, "--timeout=90s"])
        .await?;
    kubectl.ok(&[&["delete", "crd"][..], &CRDS].concat()).await?;
    ensure!(
        stage.graph().last_seq() == from,
        "Microsoft was asked by nobody's order"
    );
    let left = kubectl
        .ok(&["get", "crds,clusterroles,clusterrolebindings,namespaces", "-o", "name"])
        .await?;
    let ours = left
        .lines()
        .find(|name| name.contains("compliance-partner") || name.contains("intune.msgraph.dev"));
    ensure!(ours.is_none(), "{} is left", ours.unwrap_or_default());
    stage
        .story
        .step("The namespaces go, with a partner that is retained, and then the kinds; nothing is left");
    Ok(())
}

/// After a failure, on a cluster of the user's own: all that was made, as far as it goes.
pub(super) async fn whatever_is_there(cluster: &Cluster) {
    let args = ["-n", TENANT, "delete", "cmp,gconn", "--all", "--timeout=30s"];
    let _ = cluster.kubectl.ok(&args).await;
    let no_finalizers = r#"{"metadata":{"finalizers":null}}"#;
    let _ = cluster
        .kubectl
        .ok(&[
            "-n",
            TENANT,
            "patch",
            "cmp",
            "jamf",
            "--type=merge",
            "--patch",
            no_finalizers,
        ])
        .await;
    let _ = cluster.helm("uninstall", RELEASE, OPERATORS, &["--wait", WAIT]).await;
    let _ = cluster.kubectl.ok(&[&["delete", "crd"][..], &CRDS].concat()).await;
    let _ = cluster
        .kubectl
        .ok(&["delete", "namespace", TENANT, OPERATORS, "--timeout=60s"])
        .await;
}
