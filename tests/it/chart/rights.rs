//! What the chart lets the operator do: as much as `deploy/rbac.yaml`, and no more where it watches a few namespaces.
//! What a real API server makes of these roles is in `roles::can_i`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::runtime::context::Config;
use harness::{CLIENT_SECRET, ControlPlane, Helm, OPERATOR, Options, World, checkout, yaml_documents};
use serde_json::{Value, json};

use super::{RELEASE, chart, object, rendered};

const JAMF: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The objects of RBAC by kind and name, each with all that decides who may do what.
fn rights(objects: &[Value]) -> BTreeMap<String, Value> {
    let decides = objects.iter().filter(|object| {
        let group = object["apiVersion"].as_str().unwrap_or_default();
        group.starts_with("rbac.")
    });
    decides
        .map(|object| {
            let name = format!("{}/{}", object["kind"], object["metadata"]["name"]);
            let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
            let aggregated: Vec<&String> = labels
                .map(|(label, _)| label)
                .filter(|label| label.contains("aggregate-to"))
                .collect();
            (
                name,
                json!([aggregated, object["rules"], object["roleRef"], object["subjects"]]),
            )
        })
        .collect()
}

/// Rule by rule, so that whatever is held of the plain manifest holds of the chart.
#[tokio::test]
async fn the_charts_roles_are_those_of_the_plain_manifest() -> Result<()> {
    let helm = Helm::alone().await?;
    let by_chart = rendered(&helm, &["--namespace", OPERATOR]).await?;
    let plain = yaml_documents(&std::fs::read_to_string(checkout().join("deploy/rbac.yaml"))?)?;
    assert_eq!(rights(&by_chart), rights(&plain));
    assert_eq!(rights(&plain).len(), 5);

    for (connection, example) in [
        (r#"{"namespace":"contoso","secretName":"graph"}"#, "consent.yaml"),
        (
            r#"{"namespace":"contoso","serviceAccountName":"graph"}"#,
            "workload-identity/connection.yaml",
        ),
    ] {
        let connections = format!("connections=[{connection}]");
        let by_chart = rendered(&helm, &["--namespace", OPERATOR, "--set-json", &connections]).await?;
        let example = std::fs::read_to_string(checkout().join("deploy/examples").join(example))?;
        let example = yaml_documents(&example)?;
        let role = object(&by_chart, "Role").context("no Role")?;
        let of_example = object(&example, "Role").context("no Role in the example")?;
        assert_eq!(role["rules"], of_example["rules"]);
        assert_eq!(role["metadata"]["namespace"], of_example["metadata"]["namespace"]);
        let bound = |objects: &[Value]| object(objects, "RoleBinding").map(|binding| binding["subjects"].clone());
        assert_eq!(bound(&by_chart), bound(&example));
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_of_a_few_namespaces_has_the_same_rules_there_and_no_cluster_role() -> Result<()> {
    let helm = Helm::alone().await?;
    let wide = rendered(&helm, &[]).await?;
    let rules = &object(&wide, "ClusterRole/compliance-partner-operator").context("no ClusterRole")?["rules"];
    let few = rendered(&helm, &["--set", "watchNamespaces={contoso,fabrikam}"]).await?;
    for namespace in ["contoso", "fabrikam"] {
        let which = format!("Role/{namespace}/{RELEASE}");
        assert_eq!(&object(&few, &which).context(which)?["rules"], rules);
        let which = format!("RoleBinding/{namespace}/{RELEASE}");
        let binding = object(&few, &which).context(which)?;
        assert_eq!(binding["roleRef"]["kind"], "Role");
    }
    let wide_kinds = few.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind.starts_with("ClusterRole")
    });
    assert_eq!(wide_kinds.count(), 0);
    Ok(())
}

/// Installs the chart for the operator of a world without rights, and gives what Helm tells.
async fn installed(world: &World, flags: &[&str]) -> Result<String> {
    let helm = Helm::on(&world.plane).await?;
    let install = [
        "install",
        OPERATOR,
        &chart(),
        "--namespace",
        &world.operator_namespace,
        "--create-namespace",
        "--set",
        "crds.enabled=false",
    ];
    helm.ok(&[&install[..], flags].concat()).await
}

/// The operator by the account and the roles of a release, and by no other right: from the first sync to the finalizer,
/// which goes after its Reset.
async fn synced_and_reset(mut world: World, config: Config) -> Result<()> {
    world.row(JAMF, "Example Partner")?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection("contoso", json!({})).await?;
    let spec = json!({"partnerRef": {"id": JAMF}, "iosOnboarded": true, "deletionPolicy": "Reset"});
    world.partner("jamf", spec).await?;
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    let delete = ["delete", "cmp", "jamf", "-n", &world.namespace, "--timeout=30s"];
    world.plane.kubectl_ok(&delete).await?;
    assert_eq!(
        world.graph().row(&world.tenant, JAMF).context("the row")?["iosOnboarded"],
        false
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_charts_roles_alone_a_partner_is_synced() -> Result<()> {
    let world = World::without_rights("chart-roles").await?;
    let namespace = &world.namespace;
    let connections = json!([{"namespace": namespace, "secretName": "graph"}]);
    let watched = format!("watchNamespaces={{{namespace}}}");
    let connections = format!("connections={connections}");
    let told = installed(&world, &["--set", &watched, "--set-json", &connections]).await?;
    ensure!(
        told.contains(&format!("{namespace}/graph")),
        "the notes name the consent: {told}"
    );
    let config = world.config();
    synced_and_reset(world, config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_secrets_of_some_namespaces_are_granted_no_consent_is_needed() -> Result<()> {
    let world = World::without_rights("chart-secrets").await?;
    let watched = format!("watchNamespaces={{{}}}", world.namespace);
    installed(&world, &["--set", &watched, "--set", "rbac.clusterWideSecrets=true"]).await?;
    let config = world.config();
    synced_and_reset(world, config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_secrets_of_the_cluster_are_granted_no_consent_is_needed() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    plane.apply_crds().await?;
    let world = World::without_rights_on("chart-wide", Arc::new(plane)).await?;
    installed(&world, &["--set", "rbac.clusterWideSecrets=true"]).await?;
    let mut config = world.config();
    config.watch_namespaces.clear();
    synced_and_reset(world, config).await
}
