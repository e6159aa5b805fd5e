//! The actions: what they change, applied as Argo CD's server does, and what the operator does then.

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::RECONCILE_ANNOTATION;
use harness::{PATIENCE, World, argocd, wait_for};
use serde_json::{Value, json};

use super::{judge, word};
use crate::reasons::look::{CONNECTIONS, PARTNERS, object};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// Asks for the actions that are offered for an object.
async fn offered(world: &World, plural: &str, name: &str) -> anyhow::Result<Value> {
    let answers = argocd(&[judge(&object(world, plural, name).await?)]).await?;
    let answer = answers.into_iter().next().context("no answer")?;
    ensure!(answer.get("error").is_none(), "{answer}");
    Ok(answer)
}

/// Runs an action on an object as it is, and gives the patch.
async fn run(world: &World, plural: &str, name: &str, action: &str) -> anyhow::Result<Value> {
    let asked = json!({ "run": object(world, plural, name).await?, "action": action });
    let patch = argocd(&[asked]).await?.into_iter().next().context("no answer")?;
    ensure!(patch.get("error").is_none(), "{action}: {patch}");
    Ok(patch)
}

/// Sends what an action changes.
async fn send(world: &World, object: &str, patch: &Value) -> anyhow::Result<()> {
    let (namespace, patch) = (&world.namespace, patch.to_string());
    let args = ["patch", object, "-n", namespace, "--type=merge", "--patch", &patch];
    world.plane.kubectl_ok(&args).await.map(drop)
}

/// Runs `reconcile`, sends it, and waits for its echo.
async fn reconcile(world: &World, plural: &str, name: &str) -> anyhow::Result<String> {
    let patch = run(world, plural, name, "reconcile").await?;
    let annotation = format!("/metadata/annotations/{}", RECONCILE_ANNOTATION.replace('/', "~1"));
    let value = word(&patch, &annotation).to_owned();
    // Nothing else of the object is touched, be it an empty list or an empty object.
    let wanted = json!({ "metadata": { "annotations": { RECONCILE_ANNOTATION: value } } });
    ensure!(!value.is_empty() && patch == wanted, "{patch}");
    send(world, &format!("{plural}/{name}"), &patch).await?;
    wait_for(&format!("the echo of {value} by {name}"), PATIENCE, async || {
        let object = object(world, plural, name).await?;
        let echo = word(&object, "/status/lastHandledReconcileAt");
        ensure!(echo == value, "{echo}");
        Ok(value.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_is_reconciled_suspended_and_resumed() -> anyhow::Result<()> {
    let mut world = World::new("argo-actions").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let spec = json!({
        "partnerRef": {"id": P1}, "iosOnboarded": true, "androidEnrollmentAssignments": [],
        "macOsEnrollmentAssignments": [{"target": {"type": "AllDevices"}}], "deletionPolicy": "Reset",
    });
    world.partner("jamf", spec).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let before = object(&world, PARTNERS, "jamf").await?;
    let at_work = json!({"reconcile": true, "suspend": true, "resume": false});
    assert_eq!(offered(&world, PARTNERS, "jamf").await?["actions"], at_work);

    // Three within a second, most likely, and each is another value.
    let mut last = String::new();
    for _ in 0..3 {
        let value = reconcile(&world, PARTNERS, "jamf").await?;
        ensure!(value != last, "{value} twice");
        last = value;
    }

    let patch = run(&world, PARTNERS, "jamf", "suspend").await?;
    assert_eq!(patch, json!({"spec": {"suspend": true}}));
    send(&world, "cmp/jamf", &patch).await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    let suspended = offered(&world, PARTNERS, "jamf").await?;
    assert_eq!(word(&suspended, "/health/status"), "Suspended");
    let resting = json!({"reconcile": false, "suspend": false, "resume": true});
    assert_eq!(suspended["actions"], resting);

    // Somebody's edit in the portal is left alone until then.
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    let patches = world.patches();
    let patch = run(&world, PARTNERS, "jamf", "resume").await?;
    assert_eq!(patch, json!({"spec": {"suspend": false}}));
    send(&world, "cmp/jamf", &patch).await?;
    world.partner_is("jamf", "Synced", "True", "InSync").await?;
    assert_eq!(world.patches(), patches + 1);
    let after = offered(&world, PARTNERS, "jamf").await?;
    assert_eq!(word(&after, "/health/status"), "Healthy");
    assert_eq!(after["actions"], at_work);

    let mut spec = object(&world, PARTNERS, "jamf").await?["spec"].take();
    assert_eq!(spec["suspend"].take(), false);
    spec.as_object_mut().context("a spec")?.remove("suspend");
    assert_eq!(spec, before["spec"], "nothing else has changed");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_reconciled_whatever_its_auth() -> anyhow::Result<()> {
    let mut world = World::new("argo-gconn").await?;
    world.connect().await?;
    // An empty object, which Lua takes for an empty list.
    let auth = json!({"auth": {"clientSecret": null, "operatorIdentity": {}}});
    world.connection("own", auth).await?;
    world.start().await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.connection_is("own", "False", "IdentityNotAllowed").await?;
    for name in ["contoso", "own"] {
        let spec = object(&world, CONNECTIONS, name).await?["spec"].take();
        let actions = offered(&world, CONNECTIONS, name).await?["actions"].take();
        assert_eq!(actions, json!({"reconcile": true}));
        reconcile(&world, CONNECTIONS, name).await?;
        assert_eq!(object(&world, CONNECTIONS, name).await?["spec"], spec);
    }
    world.stop().await
}
