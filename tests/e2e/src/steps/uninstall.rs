//! All goes, in the order of the README, and nothing hangs.

use anyhow::{Result, ensure};
use harness::{CRD_NAMES, Kubectl, tell};
use serde_json::json;

use super::WAIT;
use super::release::without_the_partner;
use crate::cluster::{Cluster, OPERATOR_NAMESPACE, RELEASE, TENANT_NAMESPACE};
use crate::stage::{PARTNER_ID, Stage};

/// What is to be reset goes first. A partner that is to be retained holds nothing up, though nobody looks after it.
pub(super) async fn in_the_documented_order(stage: &Stage<'_>) -> Result<()> {
    let (cluster, kubectl) = (stage.cluster, &stage.cluster.kubectl);
    without_the_partner(stage).await?;
    let retained = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
        "metadata": {"name": "retained", "namespace": TENANT_NAMESPACE},
        "spec": {"connectionRef": {"name": "contoso"}, "partnerRef": {"id": PARTNER_ID}, "iosOnboarded": true},
    });
    cluster.apply(&retained.to_string()).await?;
    stage.ready("retained").await?;

    cluster
        .helm("uninstall", RELEASE, OPERATOR_NAMESPACE, &["--wait", WAIT])
        .await?;
    // Helm waits for the Deployment, whose pods go after it.
    cluster.until_no_operator().await?;
    let kept = kubectl
        .ok(&["-n", TENANT_NAMESPACE, "get", "gconn,cmp", "-o", "name"])
        .await?;
    ensure!(kept.lines().count() == 2, "helm uninstall has left {kept}");
    stage
        .story
        .step("helm uninstall --wait of the operator keeps the kinds and their resources");
    tell(&kept);

    let from = stage.graph().last_seq();
    kubectl
        .ok(&[
            "delete",
            "namespace",
            TENANT_NAMESPACE,
            OPERATOR_NAMESPACE,
            "--timeout=90s",
        ])
        .await?;
    kubectl.ok(&[&["delete", "crd"][..], &CRD_NAMES].concat()).await?;
    ensure!(
        stage.graph().last_seq() == from,
        "Graph or Entra was asked although no operator runs"
    );
    let left = left(kubectl).await?;
    ensure!(left.is_empty(), "{} are left", left.join(", "));
    stage
        .story
        .step("The namespaces go, with a partner that is retained, and then the kinds; nothing is left");
    Ok(())
}

/// What the cluster still has of all that was made.
async fn left(kubectl: &Kubectl) -> Result<Vec<String>> {
    let kinds = "crds,clusterroles,clusterrolebindings,namespaces";
    let all = kubectl.ok(&["get", kinds, "-o", "name"]).await?;
    let tenant = format!("namespace/{TENANT_NAMESPACE}");
    let ours = all
        .lines()
        .filter(|name| name.contains("compliance-partner") || name.contains("intune.msgraph.dev") || *name == tenant);
    Ok(ours.map(str::to_owned).collect())
}

/// After a failure, on a cluster of the user's own: all that was made, as far as it goes. What stays is told.
pub(crate) async fn take_all_away(cluster: &Cluster) {
    let kubectl = &cluster.kubectl;
    let delete = ["-n", TENANT_NAMESPACE, "delete", "cmp,gconn", "--all", "--timeout=30s"];
    let _ = kubectl.ok(&delete).await;
    // The simulator may be gone, and a Reset with it.
    let list = ["-n", TENANT_NAMESPACE, "get", "cmp", "-o", "name"];
    let partners = kubectl.ok(&list).await.unwrap_or_default();
    for partner in partners.lines() {
        let patch = r#"--patch={"metadata":{"finalizers":null}}"#;
        let args = ["-n", TENANT_NAMESPACE, "patch", partner, "--type=merge", patch];
        let _ = kubectl.ok(&args).await;
    }
    let _ = cluster
        .helm("uninstall", RELEASE, OPERATOR_NAMESPACE, &["--wait", WAIT])
        .await;
    let crds = [&["delete", "crd"][..], &CRD_NAMES, &["--timeout=60s"]].concat();
    let _ = kubectl.ok(&crds).await;
    let both = [
        "delete",
        "namespace",
        TENANT_NAMESPACE,
        OPERATOR_NAMESPACE,
        "--timeout=60s",
    ];
    let _ = kubectl.ok(&both).await;
    match left(kubectl).await {
        Ok(left) if left.is_empty() => {}
        Ok(left) => eprintln!("e2e: the cluster still has {}: delete them", left.join(", ")),
        Err(error) => eprintln!("e2e: what the cluster still has cannot be told: {error:#}"),
    }
}
