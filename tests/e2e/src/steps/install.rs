//! The operator in its namespace, which takes none but restricted pods.

use anyhow::{Result, ensure};
use harness::{tell, wait_for};

use super::operator_release;
use crate::cluster::{OPERATOR_NAMESPACE, RELEASE};
use crate::process::Operator;
use crate::stage::{PATIENCE, Stage};

/// `helm install --wait`, what runs then, and `helm test`.
pub(super) async fn the_operator(stage: &Stage<'_>) -> Result<()> {
    let cluster = stage.cluster;
    operator_release(stage, "install", &[]).await?;
    cluster.operator_pod().await?;
    stage
        .story
        .step("helm install --wait: the operator is ready in a namespace that takes none but restricted pods");
    tell(
        &cluster
            .kubectl
            .ok(&["-n", OPERATOR_NAMESPACE, "get", "pods", "-o", "wide"])
            .await?,
    );

    if let Some(operator) = stage.operator_process().await? {
        stage.story.step("The node's kernel says of its process");
        tell(&confined(&operator)?);
        tell(&format!("memory, idle, without resources: {}", operator.usage()?));
    }

    let tested = cluster.helm("test", RELEASE, OPERATOR_NAMESPACE, &[]).await?;
    ensure!(tested.contains("Succeeded"), "helm test: {tested}");
    stage.story.step("helm test: the image starts once more");
    // The pod of the test stays until the next one; that of the operator is still the only one.
    wait_for("one pod of the operator", PATIENCE, async || {
        cluster.operator_pod().await
    })
    .await?;
    Ok(())
}

/// What a process may that has nothing but what it needs.
fn confined(operator: &Operator) -> Result<String> {
    let user = operator.status("Uid")?;
    let users: Vec<&str> = user.split_whitespace().collect();
    ensure!(users.iter().all(|user| *user == "65532"), "its user is {user}");
    let group = operator.status("Gid")?;
    ensure!(
        group.split_whitespace().all(|group| group == "65532"),
        "its group is {group}"
    );
    let capabilities = [operator.status("CapEff")?, operator.status("CapBnd")?];
    ensure!(
        capabilities.iter().all(|set| set.chars().all(|digit| digit == '0')),
        "it has capabilities: {capabilities:?}"
    );
    ensure!(operator.status("NoNewPrivs")? == "1", "it may gain privileges");
    ensure!(operator.status("Seccomp")? == "2", "no system call is filtered");
    ensure!(operator.root_is_read_only()?, "its root can be written to");
    Ok("user and group 65532, no capabilities, no new privileges, system calls filtered, root read-only".to_owned())
}
