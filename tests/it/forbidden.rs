//! A namespace whose rights are not there, or are half of what they should be: whoever rules it may take them away.

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::{GraphConnection, condition};
use graph_simulator::Options;
use harness::{OPERATOR, PATIENCE, World, wait_for};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::history::{History, of};

/// A connection in a namespace that the operator looks after as ever: it says that it may not read its Secret.
async fn is_served(world: &World, namespace: &str) -> Result<()> {
    let connections: Api<GraphConnection> = Api::namespaced(world.admin.clone(), namespace);
    wait_for("a connection elsewhere to be looked at", PATIENCE, async || {
        let connection = connections.get("contoso").await?;
        let status = connection.status.context("no status")?;
        let ready = condition(&status.conditions, "Ready").context("no condition")?;
        ensure!(ready.reason == "AccessNotGranted", "{ready:?}");
        Ok(())
    })
    .await
}

/// The operator has only these rights in its namespace, and all in a second one. It serves the second, says nothing wrong of
/// the first, and serves that too as soon as it may.
async fn the_others_are_served(name: &str, rights: Option<Value>) -> Result<()> {
    let mut world = World::with_partner(name, Options::default()).await?;
    let history = History::of(&world).await?;
    let second = world.second_namespace().await?;
    let connection = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
        "metadata": {"name": "contoso", "namespace": second},
        "spec": {
            "tenantId": world.tenant, "clientId": world.client_id,
            "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
        },
    });
    world
        .plane
        .kubectl_ok_with_input(&["create", "--filename=-"], &connection.to_string())
        .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
    let mut binding = bindings.get(OPERATOR).await?;
    bindings.delete(OPERATOR, &DeleteParams::default()).await?;
    if let Some(rules) = rights {
        world.grant("half", rules).await?;
    }

    let mut config = world.config();
    config.watch_namespaces.push(second.clone());
    world.start_with(config).await?;
    is_served(&world, &second).await?;
    let partner = world.partners().get("jamf").await?;
    ensure!(of(&partner, "Ready").is_none(), "{:?}", partner.status);

    binding.metadata.resource_version = None;
    world
        .create::<RoleBinding>(Some(&world.namespace), serde_json::to_value(binding)?)
        .await?;
    let synced = world.in_sync("jamf").await?;
    for version in history.until(&synced).await? {
        let ready = of(&version, "Ready");
        ensure!(
            ready.as_ref().is_none_or(|ready| ready.reason != "ConnectionNotFound"),
            "{ready:?}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_without_rights_holds_up_no_other() -> Result<()> {
    the_others_are_served("without-rights", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_where_connections_are_hidden() -> Result<()> {
    let partners = json!([{
        "apiGroups": ["intune.msgraph.dev"],
        "resources": ["compliancemanagementpartners", "compliancemanagementpartners/status"],
        "verbs": ["list", "watch", "patch"],
    }]);
    the_others_are_served("half-rights", Some(partners)).await
}
