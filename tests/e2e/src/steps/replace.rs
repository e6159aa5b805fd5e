//! The operator's pod is replaced while its partner is edited: nothing is lost, and nothing is sent twice.

use anyhow::{Result, ensure};
use graph_simulator::{Violation, ViolationKind};
use harness::{tell, wait_for};
use serde_json::json;

use super::{WAIT, operator_release};
use crate::cluster::{OPERATOR_NAMESPACE, RELEASE, TENANT_NAMESPACE};
use crate::edits::Edits;
use crate::stage::{CLIENT_ID, PATIENCE, Stage, TENANT_ID, uid};

/// The pod is another one than before, and it is the only one.
async fn replaced(stage: &Stage<'_>, before: &str) -> Result<()> {
    let pod = stage.cluster.operator_pod().await?;
    ensure!(uid(&pod)? != before, "the pod was not replaced");
    Ok(())
}

/// `helm upgrade --wait`.
pub(super) async fn by_an_upgrade(stage: &Stage<'_>) -> Result<()> {
    let pod = stage.cluster.operator_pod().await?;
    let edits = Edits::of_jamf(stage);
    operator_release(stage, "upgrade", &["--set=logLevel=debug"]).await?;
    replaced(stage, uid(&pod)?).await?;
    // An empty list is a wish too, and stays one.
    let path = "jsonpath={.spec.iosEnrollmentAssignments}";
    let empty = stage
        .cluster
        .kubectl
        .ok(&["-n", TENANT_NAMESPACE, "get", "cmp/jamf", "-o", path])
        .await?;
    ensure!(empty == "[]", "the empty list has become {empty:?}");
    let told = edits.arrive(stage).await?;
    stage.story.step("helm upgrade --wait replaces the pod");
    tell(&told);
    Ok(())
}

/// An operator that reaches no Graph is ready all the same: its connection says why it is not. `helm rollback` mends it.
pub(super) async fn by_one_that_reaches_no_graph(stage: &Stage<'_>) -> Result<()> {
    // Nobody listens at the port 1. The API server is never asked through a proxy.
    let nowhere = format!("http://{}:1", stage.address);
    let proxy = json!({"name": "HTTPS_PROXY", "value": nowhere});
    operator_release(stage, "upgrade", &[&format!("--set-json=extraEnv[1]={proxy}")]).await?;
    // One that was connected is taken for unknown after a while; a new one tells at once.
    let connection = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
        "metadata": {"name": "fresh", "namespace": TENANT_NAMESPACE},
        "spec": {
            "tenantId": TENANT_ID, "clientId": CLIENT_ID, "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
        },
    });
    stage.cluster.apply(&connection.to_string()).await?;
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")]}"#;
    let told = wait_for("the connection to tell", PATIENCE, async || {
        let args = ["-n", TENANT_NAMESPACE, "get", "gconn/fresh", "-o", path];
        let condition = stage.cluster.kubectl.ok(&args).await?;
        ensure!(condition.contains("GraphUnavailable"), "{condition}");
        Ok(condition)
    });
    let told = told.await?;
    let pod = stage.cluster.operator_pod().await?;
    stage
        .story
        .step("An operator that reaches no Graph is ready all the same, and the connection tells why it is not");
    tell(&told);

    let edits = Edits::of_jamf(stage);
    stage
        .cluster
        .helm("rollback", RELEASE, OPERATOR_NAMESPACE, &["--wait", WAIT])
        .await?;
    replaced(stage, uid(&pod)?).await?;
    let told = edits.arrive(stage).await?;
    let args = [
        "-n",
        TENANT_NAMESPACE,
        "wait",
        "--for=condition=Ready",
        "gconn/fresh",
        "--timeout=90s",
    ];
    stage.cluster.kubectl.ok(&args).await?;
    stage
        .cluster
        .kubectl
        .ok(&["-n", TENANT_NAMESPACE, "delete", "gconn/fresh"])
        .await?;
    stage.story.step("helm rollback --wait brings the one before back");
    tell(&told);
    Ok(())
}

/// `kubectl rollout restart`.
pub(super) async fn by_a_restart(stage: &Stage<'_>) -> Result<()> {
    let pod = stage.cluster.operator_pod().await?;
    let edits = Edits::of_jamf(stage);
    let deployment = format!("deployment/{RELEASE}");
    let kubectl = &stage.cluster.kubectl;
    kubectl
        .ok(&["-n", OPERATOR_NAMESPACE, "rollout", "restart", &deployment])
        .await?;
    kubectl
        .ok(&["-n", OPERATOR_NAMESPACE, "rollout", "status", &deployment, WAIT])
        .await?;
    replaced(stage, uid(&pod)?).await?;
    let told = edits.arrive(stage).await?;
    stage.story.step("kubectl rollout restart replaces the pod");
    tell(&told);
    Ok(())
}

/// `kubectl delete pod`, as by a drain: the new pod may start before the old one has ended.
pub(super) async fn by_a_deletion(stage: &Stage<'_>) -> Result<()> {
    let pod = stage.cluster.operator_pod().await?;
    stage.ensure_lawful()?;
    let edits = Edits::of_jamf(stage);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let args = ["-n", OPERATOR_NAMESPACE, "delete", "pod", name, "--timeout=90s"];
    stage.cluster.kubectl.ok(&args).await?;
    wait_for("a new pod", PATIENCE, async || replaced(stage, uid(&pod)?).await).await?;
    let told = edits.arrive_in_order(stage).await?;
    // What both have sent was no change for Graph the second time. A right client never sends more than that.
    let twice = |violation: &Violation| violation.kind == ViolationKind::UnchangedProperty;
    let (repeated, others): (Vec<_>, Vec<_>) = stage.graph().violations().into_iter().partition(twice);
    ensure!(others.is_empty(), "{others:?}");
    ensure!(repeated.len() <= told.repeated, "{repeated:?}");
    stage.graph().clear_violations();
    stage.story.step("kubectl delete pod replaces the pod");
    tell(&format!("{told}; {} sent by both pods", told.repeated));
    Ok(())
}

/// The process gets no time to end: its container starts anew in the same pod.
pub(super) async fn by_a_kill(stage: &Stage<'_>) -> Result<()> {
    let Some(operator) = stage.operator_process().await? else {
        stage
            .story
            .step("Left out, for the node's processes are out of reach: SIGKILL");
        return Ok(());
    };
    let before = uid(&stage.cluster.operator_pod().await?)?.to_owned();
    let edits = Edits::of_jamf(stage);
    // In the middle of them.
    let from = stage.graph().last_seq();
    wait_for("a change on its way", PATIENCE, async || {
        (stage.patches_since(from).len() > 1).then_some(())
    })
    .await?;
    operator.kill()?;
    wait_for("a restarted container", PATIENCE, async || {
        let pod = stage.cluster.operator_pod().await?;
        ensure!(uid(&pod)? == before, "the pod was replaced");
        let containers = pod
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        let restarts: i32 = containers.iter().map(|container| container.restart_count).sum();
        ensure!(restarts == 1, "{restarts} restarts");
        Ok(())
    })
    .await?;
    let told = edits.arrive(stage).await?;
    stage.story.step("SIGKILL: the container starts anew");
    tell(&told);
    Ok(())
}
