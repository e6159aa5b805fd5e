//! Secret, connection and partner as a chart of a user's own: what Helm waits for, and what it makes of an empty list.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::{CLIENT_SECRET, Helm, Scratch, World};
use serde_json::{Value, json};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// Writes a chart with all three; in templates that Helm reads from the last to the first that is needed.
fn write_chart(folder: &Path, world: &World, spec: &Value) -> Result<()> {
    let templates = folder.join("templates");
    std::fs::create_dir_all(&templates)?;
    let metadata = json!({"apiVersion": "v2", "name": "intune", "version": "1.0.0"});
    std::fs::write(folder.join("Chart.yaml"), metadata.to_string())?;
    let group = "intune.msgraph.dev/v1alpha1";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "graph"}, "stringData": {"client-secret": CLIENT_SECRET},
    });
    let connection = json!({
        "apiVersion": group, "kind": "GraphConnection", "metadata": {"name": "contoso"},
        "spec": {
            "tenantId": world.tenant, "clientId": world.client_id,
            "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
        },
    });
    let mut partner = json!({
        "apiVersion": group, "kind": "ComplianceManagementPartner", "metadata": {"name": "jamf"},
        "spec": {"connectionRef": {"name": "contoso"}, "partnerRef": {"id": P1}},
    });
    harness::merge(&mut partner["spec"], spec.clone());
    for (name, object) in [
        ("a-partner", partner),
        ("b-connection", connection),
        ("c-secret", secret),
    ] {
        std::fs::write(templates.join(format!("{name}.yaml")), object.to_string())?;
    }
    Ok(())
}

/// A world whose row has what the tests need; the Secret is granted but is not there.
async fn world(name: &str, row: Value) -> Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.graph().change_row(&world.tenant, P1, row)?;
    world.consent("graph").await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_waits_until_all_are_ready_and_for_ever_where_no_operator_is() -> Result<()> {
    let mut world = world("helm-wait", json!({})).await?;
    let (helm, folder) = (Helm::on(&world.plane).await?, Scratch::new()?);
    let (chart, namespace) = (folder.path().display().to_string(), world.namespace.clone());
    let release = ["intune", &chart, "--namespace", &namespace, "--wait"];
    write_chart(folder.path(), &world, &json!({"iosOnboarded": true}))?;

    let refused = helm
        .refused(&[&["install"], &release[..], &["--timeout=5s"]].concat())
        .await?;
    ensure!(refused.contains("jamf") && refused.contains("contoso"), "{refused}");
    assert_eq!(world.patches(), 0);

    world.start().await?;
    helm.ok(&[&["upgrade"], &release[..], &["--timeout=60s"]].concat())
        .await?;
    // Whatever Helm has waited for needs no waiting any more.
    assert_eq!(
        world.graph().row(&world.tenant, P1).unwrap_or_default()["iosOnboarded"],
        true
    );
    let conditions = ["get", "cmp/jamf", "gconn/contoso", "-n", &namespace, "-o"];
    let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}"#;
    let told = world.plane.kubectl_ok(&[&conditions[..], &[ready]].concat()).await?;
    assert_eq!(told.trim_end(), "True True");

    // A new generation is waited for anew.
    write_chart(folder.path(), &world, &json!({"iosOnboarded": false}))?;
    helm.ok(&[&["upgrade"], &release[..], &["--timeout=60s"]].concat())
        .await?;
    assert_eq!(
        world.graph().row(&world.tenant, P1).unwrap_or_default()["iosOnboarded"],
        false
    );

    // Nor is what the operator said of the old one taken for its word on the new one.
    world.stop().await?;
    write_chart(folder.path(), &world, &json!({"macOsOnboarded": true}))?;
    let refused = helm
        .refused(&[&["upgrade"], &release[..], &["--timeout=5s"]].concat())
        .await?;
    ensure!(refused.contains("jamf"), "{refused}");
    // Retain hangs nothing, without an operator too.
    helm.ok(&[
        "uninstall",
        "intune",
        "--namespace",
        &namespace,
        "--wait",
        "--timeout=60s",
    ])
    .await?;
    assert_eq!(
        world.graph().row(&world.tenant, P1).unwrap_or_default()["macOsOnboarded"],
        false,
        "nothing was reset or set"
    );
    Ok(())
}

/// A partner that nobody has activated yet, and one that differs and is only watched: neither holds a release up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_does_not_wait_for_what_cannot_be_soon() -> Result<()> {
    let row = json!({"partnerState": "unknown", "lastHeartbeatDateTime": "0001-01-01T00:00:00Z"});
    let mut world = world("helm-soon", row).await?;
    let (helm, folder) = (Helm::on(&world.plane).await?, Scratch::new()?);
    let (chart, namespace) = (folder.path().display().to_string(), world.namespace.clone());
    world.start().await?;
    write_chart(
        folder.path(),
        &world,
        &json!({"iosOnboarded": true, "managementPolicy": "Observe"}),
    )?;
    let release = ["intune", &chart, "--namespace", &namespace, "--wait", "--timeout=60s"];
    helm.ok(&[&["install"], &release[..]].concat()).await?;
    world.partner_is("jamf", "Ready", "True", "DriftDetected").await?;
    assert_eq!(world.patches(), 0);
    write_chart(folder.path(), &world, &json!({"iosOnboarded": true}))?;
    helm.ok(&[&["upgrade"], &release[..]].concat()).await?;
    world.partner_is("jamf", "PartnerEnabled", "Unknown", "Unknown").await?;
    assert_eq!(world.patches(), 1);
    world.stop().await
}

/// Of an empty list, which clears, and a null, which a template makes of a value that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_list_stays_and_clears_and_a_null_is_refused_by_name() -> Result<()> {
    let entry = json!([{"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": G1}}]);
    let mut world = world("helm-empty", json!({"androidEnrollmentAssignments": entry})).await?;
    let (helm, folder) = (Helm::on(&world.plane).await?, Scratch::new()?);
    let (chart, namespace) = (folder.path().display().to_string(), world.namespace.clone());
    world.start().await?;
    write_chart(folder.path(), &world, &json!({"androidEnrollmentAssignments": []}))?;
    let release = ["intune", &chart, "--namespace", &namespace, "--wait", "--timeout=60s"];
    helm.ok(&[&["install"], &release[..]].concat()).await?;
    let path = "jsonpath={.spec.androidEnrollmentAssignments}";
    let list = ["get", "cmp", "jamf", "-n", &namespace, "-o", path];
    assert_eq!(world.plane.kubectl_ok(&list).await?, "[]");
    let cleared = world.graph().row(&world.tenant, P1).unwrap_or_default();
    assert_eq!(cleared["androidEnrollmentAssignments"], json!([]));
    helm.ok(&[&["upgrade"], &release[..]].concat()).await?;
    assert_eq!(world.plane.kubectl_ok(&list).await?, "[]");
    assert_eq!(world.patches(), 1);

    let template = folder.path().join("templates/a-partner.yaml");
    let text = std::fs::read_to_string(&template)?;
    std::fs::write(
        &template,
        text.replace("\"androidEnrollmentAssignments\":[]", "\"iosOnboarded\":null"),
    )?;
    let refused = helm.refused(&[&["upgrade"], &release[..]].concat()).await?;
    ensure!(refused.contains("iosOnboarded"), "{refused}");
    world.stop().await
}
