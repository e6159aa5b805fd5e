//! What becomes in Graph of manifests as people and templates write them.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

use anyhow::ensure;
use graph_simulator::Request;
use harness::{CLIENT_SECRET, PATIENCE, World, wait_for};
use serde_json::{Value, json};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// A world whose row has an entry in the list for Android, and is onboarded for iOS.
async fn world(name: &str) -> anyhow::Result<World> {
    let mut world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    let entry = json!([{"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": G1}}]);
    world.graph().change_row(
        &world.tenant,
        P1,
        json!({"androidEnrollmentAssignments": entry, "iosOnboarded": true}),
    )?;
    world.connect().await?;
    world.start().await?;
    Ok(world)
}

async fn apply(world: &World, manifest: &Value) -> anyhow::Result<()> {
    let args = ["apply", "--namespace", &world.namespace, "--filename=-"];
    let output = world.plane.kubectl_ok_with_input(&args, &manifest.to_string()).await?;
    ensure!(output.contains("jamf"), "{output}");
    Ok(())
}

/// How many entries the row has in the list for Android.
fn entries(world: &World) -> usize {
    let row = world.graph().row(&world.tenant, P1).unwrap_or_default();
    row["androidEnrollmentAssignments"].as_array().map_or(0, Vec::len)
}

/// A key that a template left empty must not switch a platform off or clear a list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_null_leaves_graph_alone_and_an_empty_list_clears() -> anyhow::Result<()> {
    let mut world = world("null").await?;
    let mut manifest = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": "ComplianceManagementPartner",
        "metadata": {"name": "jamf"},
        "spec": {
            "connectionRef": {"name": "contoso"},
            "partnerRef": {"id": P1, "displayName": null},
            "macOsOnboarded": false,
            "iosOnboarded": null,
            "androidEnrollmentAssignments": null,
            "suspend": null,
            "deletionPolicy": null,
            "syncInterval": null,
        },
    });
    apply(&world, &manifest).await?;
    let partner = world.in_sync("jamf").await?;
    assert!(partner.status.unwrap().drift.is_none());
    assert_eq!(world.patches(), 0);

    // A value that becomes null is not managed any more, and stays in Graph as it is.
    manifest["spec"]["androidEnrollmentAssignments"] = json!([{"target": {"type": "AllDevices"}}]);
    apply(&world, &manifest).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    manifest["spec"]["androidEnrollmentAssignments"] = Value::Null;
    apply(&world, &manifest).await?;
    world.in_sync("jamf").await?;
    assert_eq!((world.patches(), entries(&world)), (1, 1));
    let patch = json!({"spec": {"androidEnrollmentAssignments": null, "iosOnboarded": null}}).to_string();
    let args = [
        "patch",
        "cmp",
        "jamf",
        "-n",
        &world.namespace,
        "--type=merge",
        "--patch",
        &patch,
    ];
    world.plane.kubectl_ok(&args).await?;
    world.asked("jamf", "now").await?;
    assert_eq!((world.patches(), entries(&world)), (1, 1));

    manifest["spec"]["androidEnrollmentAssignments"] = json!([]);
    apply(&world, &manifest).await?;
    world.in_sync("jamf").await?;
    assert_eq!((world.patches(), entries(&world)), (2, 0));
    world.stop().await
}

/// Whoever names a namespace beside a Secret gets the Secret of their own: the operator looks nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_to_another_namespace_is_read_in_ones_own() -> anyhow::Result<()> {
    let mut world = World::new("elsewhere").await?;
    world.row(P1, "Example Partner")?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.consent("graph").await?;
    let other = world.second_namespace().await?;
    let position = world.plane.audit_position()?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "graph", "namespace": other},
            "stringData": {"client-secret": "of-somebody-else"},
        },
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
            "metadata": {"name": "contoso", "namespace": world.namespace},
            "spec": {
                "tenantId": world.tenant, "clientId": world.client_id,
                "auth": {"clientSecret": {"secretRef": {"name": "graph", "namespace": other}}},
            },
        },
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
            "metadata": {"name": "jamf", "namespace": world.namespace},
            "spec": {"connectionRef": {"name": "contoso", "namespace": other}, "partnerRef": {"id": P1}},
        },
    ]});
    // With kubectl's usual strictness it would be refused.
    world
        .plane
        .kubectl_ok_with_input(&["apply", "--validate=ignore", "--filename=-"], &list.to_string())
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let of_operator = |event: &Value| {
        let account = format!(":{}:", world.namespace);
        let user = event["user"]["username"].as_str().unwrap_or_default();
        user.starts_with("system:serviceaccount:") && user.contains(&account)
    };
    wait_for("the read of the Secret in the audit log", PATIENCE, async || {
        let events = world.plane.audit_events_since(position)?;
        let reads = events
            .iter()
            .filter(|event| of_operator(event) && event["objectRef"]["resource"] == "secrets");
        let read: Vec<&str> = reads
            .filter_map(|event| event["objectRef"]["namespace"].as_str())
            .collect();
        ensure!(!read.is_empty(), "none");
        ensure!(read.iter().all(|namespace| *namespace == world.namespace), "{read:?}");
        Ok(())
    })
    .await?;
    assert_eq!(world.graph().count(Request::is_token), 1);
    world.stop().await
}
