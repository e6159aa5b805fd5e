//! The Application of `deploy/argocd`, synced by Argo CD's own controller on a cluster that has nothing: what Helm renders
//! with its values, and the resources beside it. Only the node is missing: the test says what a kubelet would, and the
//! operator runs in this process with the account and the rights of the release.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use graph_simulator::Request;
use harness::{CLIENT_SECRET, CRD_NAMES, Helm, OPERATOR, PATIENCE, Scratch, checkout, merge, wait_for, yaml_documents};
use serde_json::{Value, json};

use super::site::{MORE, NAME, Site, in_git};
use super::{EXAMPLE_PARTNER, word};
use crate::reasons::look::{CONNECTIONS, PARTNERS, condition, object};

/// What an object is known by.
fn known(object: &Value) -> (String, String) {
    let text = |path| word(object, path).to_owned();
    (text("/kind"), text("/metadata/name"))
}

/// The resources in git beside the chart.
fn resources(site: &Site) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(site.resources.path())? {
        objects.extend(yaml_documents(&std::fs::read_to_string(entry?.path())?)?);
    }
    Ok(objects)
}

/// Two more partners: one whose every field is there, and one that clears a list and has a finalizer of the operator's.
fn more_partners(site: &Site) -> Result<()> {
    let group = "7C1B0F5E-3F5A-4D0A-9F61-0D6F5A2B9B11";
    let whole = json!({
        "managementPolicy": "Enforce", "deletionPolicy": "Retain", "suspend": false, "syncInterval": "90s",
        "displayName": "Every field", "macOsOnboarded": true, "androidOnboarded": false, "iosOnboarded": true,
        "macOsEnrollmentAssignments": [
            {"target": {"type": "Group", "groupId": group}},
            {"target": {"type": "ConfigurationManagerCollection", "collectionId": "SMS00001"}},
            {"target": {"type": "AllLicensedUsers"}},
        ],
        "androidEnrollmentAssignments": [],
        "iosEnrollmentAssignments": [{"target": {"type": "AllDevices"}}],
    });
    let cleared = json!({ "androidEnrollmentAssignments": [], "deletionPolicy": "Reset" });
    for (name, mut spec) in [("whole", whole), ("cleared", cleared)] {
        site.world.row(name, name)?;
        merge(
            &mut spec,
            json!({ "connectionRef": { "name": "contoso" }, "partnerRef": { "id": name } }),
        );
        let annotations = json!({
            "argocd.argoproj.io/sync-wave": "2",
            "argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true",
        });
        let partner = json!({
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner", "spec": spec,
            "metadata": { "name": name, "namespace": site.world.namespace, "annotations": annotations },
        });
        std::fs::write(site.resources.path().join(format!("{name}.json")), partner.to_string())?;
    }
    Ok(())
}

/// What lives has to the letter the spec that git has: `[]` is kept, and nothing is added.
async fn specs_are_gits(site: &Site) -> Result<()> {
    let live = site.live().await?;
    for git in resources(site)? {
        if git["spec"].is_null() {
            continue;
        }
        let found = live.iter().find(|object| known(object) == known(&git));
        let found = found.with_context(|| format!("{:?} is not there", known(&git)))?;
        assert_eq!(found["spec"], git["spec"]);
    }
    Ok(())
}

/// What the chart renders with the values of the Application, and the resources beside it.
async fn wanted(site: &Site) -> Result<BTreeSet<(String, String)>> {
    let application = in_git()?;
    let source = &application["spec"]["sources"][0];
    let folder = Scratch::new()?;
    let values = folder.path().join("values.json");
    std::fs::write(&values, source["helm"]["valuesObject"].to_string())?;
    let chart = checkout().join(word(source, "/path")).display().to_string();
    let values = values.display().to_string();
    let args = [
        "template",
        word(source, "/helm/releaseName"),
        &chart,
        "--namespace",
        word(&application, "/spec/destination/namespace"),
        "--values",
        &values,
    ];
    let mut objects = yaml_documents(&Helm::alone().await?.ok(&args).await?)?;
    // The pod of `helm test` is no part of a release.
    objects.retain(|object| object["metadata"]["annotations"].get("helm.sh/hook").is_none());
    objects.extend(resources(site)?);
    Ok(objects.iter().map(known).collect())
}

/// What README.md says of the first attempt: nothing fails it but a kind that the API server is about to establish, which
/// Argo CD takes for Degraded where it looks in that moment. Then the one retry does.
fn retried_for_kinds_alone(site: &Site, state: &Value) -> Result<()> {
    let failures = site.argocd.failures()?;
    let of_kind = |line: &String| line.contains("'CRD is not established'");
    ensure!(failures.iter().all(of_kind), "{failures:#?}");
    let retries = if failures.is_empty() { Value::Null } else { json!(1) };
    assert_eq!(state["retryCount"], retries, "{failures:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_brings_the_chart_and_the_resources_to_an_empty_cluster() -> Result<()> {
    let mut site = Site::new().await?;
    more_partners(&site)?;
    site.apply().await?;

    // Wave 0 is not over before the operator's pod is ready: there is no connection yet.
    site.pod().await?;
    site.waits_for("apps/Deployment/compliance-partner-operator").await?;
    site.world.plane.until_established(&CRD_NAMES).await?;
    ensure!(site.world.connections().get_opt("contoso").await?.is_none());

    // Nor is wave 1 before the Secret is there: there is no partner yet.
    site.run().await?;
    site.lacks_secret().await?;
    ensure!(site.world.partners().get_opt("jamf").await?.is_none());
    site.world
        .secret("graph", json!({ "client-secret": CLIENT_SECRET }))
        .await?;

    let application = site.settled().await?;
    for name in ["jamf", "whole", "cleared"] {
        site.world.in_sync(name).await?;
    }
    let cleared = object(&site.world, PARTNERS, "cleared").await?;
    assert_eq!(cleared["metadata"]["finalizers"], json!(["intune.msgraph.dev/reset"]));
    let partner = object(&site.world, PARTNERS, "jamf").await?;
    assert_eq!(word(&partner, "/status/partnerId"), EXAMPLE_PARTNER);
    let connection = object(&site.world, CONNECTIONS, "contoso").await?;
    let ready = condition(&connection, "Ready").context("no Ready")?;
    let turned = word(ready, "/lastTransitionTime");
    let created = word(&partner, "/metadata/creationTimestamp");
    ensure!(turned <= created, "Ready since {turned}, the partner since {created}");

    let status = &application["status"];
    assert_eq!(status["history"].as_array().map(Vec::len), Some(1), "{status:#}");
    retried_for_kinds_alone(&site, &status["operationState"])?;
    ensure!(status["conditions"].as_array().is_none_or(Vec::is_empty), "{status:#}");
    let synced: BTreeSet<(String, String)> = site.live().await?.iter().map(known).collect();
    assert_eq!(synced, wanted(&site).await?);
    let namespace = ["get", "namespace", OPERATOR, "--output=json"];
    let namespace: Value = serde_json::from_str(&site.world.plane.kubectl_ok(&namespace).await?)?;
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");

    stays_in_sync(&site).await?;
    a_hook_is_reset_at_each_sync(&site).await?;
    site.world.stop().await
}

/// How Argo CD compares.
#[derive(Clone, Copy, Debug)]
enum Comparison {
    /// By the fields that it owns: its way where the Application has ServerSideApply=true.
    Structured,
    /// By a dry run of the API server.
    ServerSide,
    /// By what was applied last: its way without ServerSideApply=true.
    ThreeWay,
}

impl Comparison {
    fn sync_options(self) -> Value {
        match self {
            Self::Structured | Self::ServerSide => json!(["CreateNamespace=true", "ServerSideApply=true"]),
            Self::ThreeWay => json!(["CreateNamespace=true"]),
        }
    }

    async fn choose(self, site: &Site) -> Result<()> {
        let compare = match self {
            Self::ServerSide => json!("ServerSideDiff=true"),
            Self::Structured | Self::ThreeWay => Value::Null,
        };
        let patch = json!({
            "metadata": { "annotations": { "argocd.argoproj.io/compare-options": compare } },
            "spec": { "syncPolicy": { "syncOptions": self.sync_options() } },
        });
        site.argocd.change(NAME, &patch).await
    }
}

/// Neither what the operator writes, nor what the API server fills in, nor one more sync makes anything differ from git.
async fn stays_in_sync(site: &Site) -> Result<()> {
    for (number, comparison) in [
        (1, Comparison::Structured),
        (2, Comparison::ServerSide),
        (3, Comparison::ThreeWay),
    ] {
        comparison.choose(site).await?;
        site.in_sync(&format!("{comparison:?}, after the operator")).await?;

        let options = json!({ "syncOptions": comparison.sync_options() });
        if matches!(comparison, Comparison::ThreeWay) {
            // The first such sync notes in an annotation what it applies, and a Deployment's generation counts that.
            site.synced(NAME, 0, options.clone()).await?;
        }
        let before = site.live().await?;
        let again = site.synced(NAME, number, options).await?;
        assert_eq!(word(&again, "/status/operationState/phase"), "Succeeded", "{again:#}");
        site.in_sync(&format!("{comparison:?}, after one more sync")).await?;
        specs_are_gits(site).await?;
        let after = site.live().await?;
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(
                before["metadata"]["generation"], after["metadata"]["generation"],
                "{after:#}"
            );
            assert_eq!(before["spec"], after["spec"], "{after:#}");
        }

        // Trouble is written to status, too.
        let asked = format!("{comparison:?}");
        let row = site
            .world
            .graph()
            .row(&site.world.tenant, EXAMPLE_PARTNER)
            .context("a row")?;
        site.world.graph().delete_row(&site.world.tenant, EXAMPLE_PARTNER)?;
        site.world.ask("cmp/jamf", &asked).await?;
        site.world
            .partner_is("jamf", "Ready", "False", "PartnerNotFound")
            .await?;
        site.in_sync(&format!("{comparison:?}, after trouble")).await?;
        site.world.graph().seed_row(&site.world.tenant, row)?;
        site.world.ask("cmp/jamf", &format!("{asked} again")).await?;
        site.world.in_sync("jamf").await?;

        healed(site, comparison).await?;
    }
    Comparison::Structured.choose(site).await
}

/// The comparison is not blind: what somebody changes by hand is found, and put right.
async fn healed(site: &Site, comparison: Comparison) -> Result<()> {
    let plane = &site.world.plane;
    plane
        .kubectl_ok(&["-n", OPERATOR, "scale", "deployment", OPERATOR, "--replicas=2"])
        .await?;
    let names = json!({ "spec": { "names": { "shortNames": ["another"] } } }).to_string();
    plane
        .kubectl_ok(&["patch", "crd", CRD_NAMES[0], "--type=merge", "--patch", &names])
        .await?;
    wait_for(&format!("{comparison:?}: what git has"), PATIENCE, async || {
        let live = site.live().await?;
        let find = |kind: &str, name: &str| {
            let found = live
                .iter()
                .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
            found.with_context(|| format!("no {kind} {name}"))
        };
        let replicas = &find("Deployment", OPERATOR)?["spec"]["replicas"];
        let names = &find("CustomResourceDefinition", CRD_NAMES[0])?["spec"]["names"]["shortNames"];
        ensure!(replicas == 1 && *names == json!(["cmp"]), "{replicas}, {names}");
        Ok(())
    })
    .await?;
    site.settled().await.map(drop)
}

/// What README.md warns of: the hook's delete policy deletes the resource at the next sync, and its Reset is sent.
async fn a_hook_is_reset_at_each_sync(site: &Site) -> Result<()> {
    site.world.row("hooked", "Hooked")?;
    let hook = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": "ComplianceManagementPartner",
        "metadata": { "name": "hooked", "namespace": site.world.namespace, "annotations": {
            "argocd.argoproj.io/hook": "PreSync",
            "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        }},
        "spec": {
            "connectionRef": { "name": "contoso" },
            "partnerRef": { "id": "hooked" },
            "iosOnboarded": true,
            "deletionPolicy": "Reset",
        },
    });
    std::fs::write(site.more.path().join("hook.json"), hook.to_string())?;
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": { "name": "hooked", "namespace": "argocd" },
        "spec": {
            "project": "default",
            "destination": { "server": "https://kubernetes.default.svc", "namespace": site.world.namespace },
            "source": { "repoURL": MORE, "path": "." },
        },
    });
    let args = ["create", "--filename=-"];
    site.world
        .plane
        .kubectl_ok_with_input(&args, &application.to_string())
        .await?;
    for number in [1, 2] {
        let synced = site.synced("hooked", number, json!({})).await?;
        assert_eq!(word(&synced, "/status/operationState/phase"), "Succeeded", "{synced:#}");
        site.world.in_sync("hooked").await?;
    }
    let of_hook = |request: &Request| request.is_patch() && request.path.ends_with("/hooked");
    let switched: Vec<Value> = site
        .world
        .graph()
        .requests_where(of_hook)
        .into_iter()
        .filter_map(|request| Some(request.body?["iosOnboarded"].take()))
        .collect();
    assert_eq!(
        switched,
        [true, false, true],
        "on; and at the next sync off, and on again"
    );
    Ok(())
}

/// A refused credential fails the sync where it belongs: no partner is applied on top of it. One of the retries that the
/// Application has goes on once it is put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_fails_the_sync_and_a_retry_goes_on() -> Result<()> {
    let mut site = Site::new().await?;
    let namespace = ["create", "namespace", &site.world.namespace];
    site.world.plane.kubectl_ok(&namespace).await?;
    site.world
        .secret("graph", json!({ "client-secret": "a wrong one" }))
        .await?;
    site.apply().await?;
    site.run().await?;
    site.until("a sync that failed and will be tried again", |application| {
        let state = &application["status"]["operationState"];
        ensure!(word(state, "/message").contains("Retrying attempt #"), "{state:#}");
        let resources = state["syncResult"]["resources"].as_array().context("no results")?;
        let connection = resources.iter().find(|resource| resource["kind"] == "GraphConnection");
        let told = word(connection.context("no connection")?, "/message").to_owned();
        ensure!(told.contains("CredentialsRejected"), "{state:#}");
        Ok(())
    })
    .await?;
    ensure!(site.world.partners().get_opt("jamf").await?.is_none());

    site.world
        .secret("graph", json!({ "client-secret": CLIENT_SECRET }))
        .await?;
    let application = site.settled().await?;
    let state = &application["status"]["operationState"];
    ensure!(state["retryCount"].as_u64().is_some_and(|count| count > 0), "{state:#}");
    site.world.in_sync("jamf").await?;
    site.world.stop().await
}
