//! Tokens of `ServiceAccounts` in the place of secrets: one that the operator asks for, and its pod's own, as the kubelet
//! projects it.

use anyhow::{Context as _, Result, ensure};
use graph_simulator::{App, FederatedCredential};
use harness::{AUDIENCE, WRITE_ROLE, tell};
use serde_json::{Value, json};

use crate::cluster::{OPERATOR_NAMESPACE, RELEASE, TENANT_NAMESPACE};
use crate::stage::{Stage, TENANT_ID};

/// A ServiceAccount of the tenant's namespace, for whose tokens the chart's `connections` are the consent.
pub(super) async fn of_an_account(stage: &Stage<'_>) -> Result<()> {
    let client_id = "00002222-aaaa-2222-bbbb-3333cccc4444";
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {
            "name": "intune", "namespace": TENANT_NAMESPACE, "annotations": {"azure.workload.identity/client-id": client_id},
        },
    });
    stage.cluster.apply(&account.to_string()).await?;
    let subject = format!("system:serviceaccount:{TENANT_NAMESPACE}:intune");
    let auth = json!({"workloadIdentity": {"serviceAccountRef": {"name": "intune"}}});
    signs_in(stage, "account", client_id, &subject, &auth).await?;
    stage
        .story
        .step("A connection by workload identity is Ready: Entra took a token of its ServiceAccount");
    tell(&format!("subject {subject}"));
    Ok(())
}

/// The operator's own account: the token is a file in its pod.
pub(super) async fn of_the_operator(stage: &Stage<'_>) -> Result<()> {
    let client_id = "00003333-aaaa-2222-bbbb-3333cccc4444";
    let subject = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}");
    signs_in(stage, "operator", client_id, &subject, &json!({"operatorIdentity": {}})).await?;
    stage
        .story
        .step("A connection by the operator's identity is Ready: Entra took the token that the kubelet projects");
    tell(&format!("subject {subject}"));
    Ok(())
}

/// A connection of an app that trusts this subject alone becomes Ready, by a token with this subject.
async fn signs_in(stage: &Stage<'_>, name: &str, client_id: &str, subject: &str, auth: &Value) -> Result<()> {
    let graph = stage.graph();
    let kubectl = &stage.cluster.kubectl;
    let read =
        async |path: &str| -> Result<Value> { Ok(serde_json::from_str(&kubectl.ok(&["get", "--raw", path]).await?)?) };
    let discovered = read("/.well-known/openid-configuration").await?;
    let issuer = text(&discovered, "/issuer")?;
    graph.set_issuer(issuer, read("/openid/v1/jwks").await?)?;
    graph.add_app(TENANT_ID, client_id, App::without_secret().roles([WRITE_ROLE]));
    let credential = FederatedCredential {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    graph.add_federated(TENANT_ID, client_id, credential)?;
    let connection = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
        "metadata": {"name": name, "namespace": TENANT_NAMESPACE},
        "spec": {"tenantId": TENANT_ID, "clientId": client_id, "auth": auth},
    });
    stage.cluster.apply(&connection.to_string()).await?;
    let which = format!("gconn/{name}");
    kubectl
        .ok(&[
            "-n",
            TENANT_NAMESPACE,
            "wait",
            "--for=condition=Ready",
            &which,
            "--timeout=90s",
        ])
        .await?;
    let asked = graph.requests_where(|request| request.is_token() && request.client_id.as_deref() == Some(client_id));
    let assertion = asked.last().and_then(graph_simulator::Request::assertion);
    let claims = assertion.context("Entra was shown no assertion")?;
    ensure!(claims.to_string().contains(subject), "Entra was shown {claims}");
    kubectl.ok(&["-n", TENANT_NAMESPACE, "delete", &which]).await?;
    Ok(())
}

/// A text in an object.
fn text<'a>(object: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("no {pointer}"))
}
