//! Secret, connection and partner as charts of the user's own, which `helm install --wait` waits for.

use anyhow::{Result, ensure};
use harness::{tell, wait_for};
use serde_json::json;

use super::WAIT;
use crate::cluster::{OPERATOR_NAMESPACE, RELEASE, TENANT_NAMESPACE, tenant_chart};
use crate::stage::{CLIENT_ID, PARTNER_ID, PATIENCE, Stage, TENANT_ID};

/// The flags that every release of the tenant's chart takes.
fn settings() -> [String; 3] {
    [
        format!("--set=tenantId={TENANT_ID}"),
        format!("--set=clientId={CLIENT_ID}"),
        format!("--set=partnerId={PARTNER_ID}"),
    ]
}

/// Helm with the tenant's chart.
async fn tenant(stage: &Stage<'_>, verb: &str, release: &str, flags: &[&str]) -> Result<String> {
    let (chart, settings) = (tenant_chart(), settings());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let args = [&[&*chart][..], &settings, flags].concat();
    stage.cluster.helm(verb, release, TENANT_NAMESPACE, &args).await
}

async fn scale(stage: &Stage<'_>, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let args = ["-n", OPERATOR_NAMESPACE, "scale", "deployment", RELEASE, &replicas];
    stage.cluster.kubectl.ok(&args).await?;
    Ok(())
}

/// Nobody is there who could look at the resources, and Helm does not say that they are ready. Once somebody is, it does.
pub(super) async fn waits_for_the_operator(stage: &Stage<'_>) -> Result<()> {
    scale(stage, 0).await?;
    stage.cluster.until_no_operator().await?;
    let from = stage.graph().last_seq();
    let secret = format!("--values={}", stage.secret_file());
    let early = tenant(stage, "install", "tenant", &[&secret, "--wait", "--timeout=8s"]).await;
    let complaint = match early {
        Ok(told) => anyhow::bail!("helm install --wait ended well without an operator: {told}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(
        complaint.contains("ComplianceManagementPartner") || complaint.contains("context deadline exceeded"),
        "helm failed for another reason: {complaint}"
    );
    ensure!(
        stage.graph().last_seq() == from,
        "Graph or Entra was asked although no operator runs"
    );
    stage
        .story
        .step("With the operator scaled to 0, helm install --wait of Secret, connection and partner does not end well");

    scale(stage, 1).await?;
    tenant(stage, "upgrade", "tenant", &[&secret, "--wait", WAIT]).await?;
    in_sync(stage, from).await?;
    stage
        .story
        .step("With the operator back, --wait ends as both are Ready, and Graph has received one change");
    tell(
        &stage
            .cluster
            .kubectl
            .ok(&["-n", TENANT_NAMESPACE, "get", "gconn,cmp"])
            .await?,
    );
    // Helm deletes all three at once. With a Reset the partner would miss its connection.
    stage
        .cluster
        .helm("uninstall", "tenant", TENANT_NAMESPACE, &["--wait", WAIT])
        .await?;
    stage.row_has("macOsOnboarded", &json!(true))?;
    stage
        .story
        .step("helm uninstall --wait of all three ends at once and leaves Graph as it is: deletionPolicy is Retain");
    Ok(())
}

/// A partner without a connection, a connection without a Secret: each waits for the next, and all end well.
pub(super) async fn of_three_in_any_order(stage: &Stage<'_>) -> Result<()> {
    let change = json!({"macOsOnboarded": false});
    stage.graph().change_row(TENANT_ID, PARTNER_ID, change)?;
    let from = stage.graph().last_seq();
    let secret = format!("--values={}", stage.secret_file());
    let (partner, connection, neither) = (only("partner"), only("connection"), only("secret"));
    let first = async {
        let told = tenant(
            stage,
            "install",
            "partner",
            &[&*partner, "--set=deletionPolicy=Reset", "--wait", WAIT],
        )
        .await;
        stage
            .story
            .step("helm install --wait of the partner alone, begun before its connection was there, has ended well");
        told
    };
    let others = async {
        reason(stage, "cmp/jamf", "ConnectionNotFound").await?;
        let second = async {
            let told = tenant(stage, "install", "connection", &[&*connection, "--wait", WAIT]).await;
            stage
                .story
                .step("helm install --wait of the connection, begun before its Secret was there, has ended well");
            told
        };
        let third = async {
            reason(stage, "gconn/contoso", "SecretNotFound").await?;
            tenant(stage, "install", "secret", &[&*secret, &neither, "--wait", WAIT]).await
        };
        tokio::try_join!(second, third)
    };
    tokio::try_join!(first, others)?;
    in_sync(stage, from).await
}

/// The flag by which a release has this alone.
fn only(part: &str) -> String {
    format!(
        "--set=connection={},partner={}",
        part == "connection",
        part == "partner"
    )
}

/// Waits until the condition Ready of a resource has this reason.
async fn reason(stage: &Stage<'_>, resource: &str, reason: &str) -> Result<()> {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#;
    wait_for(&format!("{resource} to be {reason}"), PATIENCE, async || {
        let now = stage
            .cluster
            .kubectl
            .ok(&["-n", TENANT_NAMESPACE, "get", resource, "-o", path])
            .await?;
        ensure!(now == reason, "it is {now:?}");
        Ok(())
    })
    .await
}

/// Graph has what the partner asks for, by one change since this request.
async fn in_sync(stage: &Stage<'_>, from: u64) -> Result<()> {
    stage.ready("jamf").await?;
    stage.row_has("macOsOnboarded", &json!(true))?;
    let patches = stage.patches_since(from);
    ensure!(patches.len() == 1, "Graph was sent {} changes", patches.len());
    Ok(())
}

/// Takes the partner's release away, while connection and operator are there: its deletionPolicy is Reset.
pub(super) async fn without_the_partner(stage: &Stage<'_>) -> Result<()> {
    stage
        .cluster
        .helm("uninstall", "partner", TENANT_NAMESPACE, &["--wait", WAIT])
        .await?;
    stage.row_has("macOsOnboarded", &json!(false))?;
    stage
        .story
        .step("helm uninstall --wait of the partner ends when the Reset of its deletionPolicy is in Graph");
    Ok(())
}
