//! What Argo CD finds different between git and the cluster: nothing, before and after the operator has written.

use anyhow::{Context as _, ensure};
use graph_simulator::Request;
use harness::{AUDIENCE, CLIENT_SECRET, PATIENCE, World, argocd, crds_folder, merge};
use serde_json::{Value, json};

use super::{EXAMPLE_PARTNER, manifests, objects, seed_examples, word};

/// Every example of `deploy/`, but for the other connection of the same name.
const EXAMPLES: [&str; 4] = [
    "deploy/examples/consent.yaml",
    "deploy/examples/connection.yaml",
    "deploy/examples/partner.yaml",
    "deploy/examples/partner-by-name.yaml",
];

const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// How Argo CD applies: with and without ServerSideApply=true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ClientSide,
    ServerSide,
}

impl Way {
    /// Applies objects, and gives what the API server has then, or with `dry_run` would have.
    async fn apply(self, world: &World, git: &[Value], dry_run: bool) -> anyhow::Result<Vec<Value>> {
        let mut args = vec!["apply", "--output=json", "--filename=-"];
        if self == Self::ServerSide {
            args.extend([
                "--server-side",
                "--force-conflicts",
                "--field-manager=argocd-controller",
            ]);
        }
        if dry_run {
            args.push("--dry-run=server");
        }
        objects(&world.plane.kubectl_ok_with_input(&args, &lines(git)).await?)
    }
}

fn lines(objects: &[Value]) -> String {
    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    lines.join("\n")
}

async fn live(world: &World, git: &[Value]) -> anyhow::Result<Vec<Value>> {
    let args = ["get", "--output=json", "--show-managed-fields", "--filename=-"];
    objects(&world.plane.kubectl_ok_with_input(&args, &lines(git)).await?)
}

/// Whether each object is out of sync, by the comparisons that belong to a way of applying.
async fn compared(world: &World, git: &[Value], way: Way) -> anyhow::Result<Vec<Value>> {
    let live = live(world, git).await?;
    let mut questions: Vec<Value> = git
        .iter()
        .zip(&live)
        .map(|(git, live)| json!({ "git": git, "compare": live }))
        .collect();
    if way == Way::ServerSide {
        let predicted = way.apply(world, git, true).await?;
        for ((git, live), predicted) in git.iter().zip(&live).zip(&predicted) {
            questions.push(json!({ "git": git, "compare": live, "predicted": predicted.to_string() }));
        }
    }
    ensure!(live.len() == git.len(), "{} of {}", live.len(), git.len());
    let answers = argocd(&questions).await?;
    for answer in &answers {
        ensure!(answer.get("error").is_none(), "{answer}");
    }
    Ok(answers)
}

/// Nothing is out of sync, and spec is to the letter what git has.
async fn in_sync(world: &World, git: &[Value], way: Way, when: &str) -> anyhow::Result<()> {
    for answer in compared(world, git, way).await? {
        ensure!(answer["outOfSync"] == false, "{way:?}, {when}: {answer:#}");
    }
    for (git, live) in git.iter().zip(live(world, git).await?) {
        ensure!(git["spec"] == live["spec"], "{way:?}, {when}: {live:#}");
    }
    Ok(())
}

/// Git has something else than lives, and Argo CD says so: the comparison is not blind.
async fn out_of_sync(world: &World, git: &Value, change: Value, way: Way) -> anyhow::Result<()> {
    let mut changed = git.clone();
    merge(&mut changed, json!({ "spec": change }));
    let answers = compared(world, &[changed], way).await?;
    // Where the server applies, only its own comparison, the last, knows what git had before.
    let last = answers.last().context("no answer")?;
    ensure!(last["outOfSync"] == true, "{way:?}, {change}: {last:#}");
    Ok(())
}

/// What an Application would have in git: the examples, a partner whose every field is there, and one that is reset when
/// it is deleted; all with the mark by which Argo CD knows its own.
async fn repository(world: &World) -> anyhow::Result<Vec<Value>> {
    let mut git = Vec::new();
    for file in EXAMPLES {
        git.extend(manifests(world, file).await?);
    }
    let partner = |name: &str, id: &str, spec: Value| {
        let mut whole = json!({ "connectionRef": {"name": "contoso"}, "partnerRef": {"id": id} });
        merge(&mut whole, spec);
        json!({
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
            "metadata": {"name": name, "namespace": world.namespace}, "spec": whole,
        })
    };
    let whole = json!({
        "managementPolicy": "Enforce", "deletionPolicy": "Retain", "suspend": false, "syncInterval": "90s",
        "displayName": "Every field", "macOsOnboarded": true, "androidOnboarded": false, "iosOnboarded": true,
        "macOsEnrollmentAssignments": [
            {"target": {"type": "Group", "groupId": GROUP.to_uppercase()}},
            {"target": {"type": "ExclusionGroup", "groupId": GROUP}},
            {"target": {"type": "ConfigurationManagerCollection", "collectionId": "SMS00001"}},
            {"target": {"type": "AllLicensedUsers"}},
            {"target": {"type": "AllDevices"}},
        ],
        "androidEnrollmentAssignments": [],
        "iosEnrollmentAssignments": [{"target": {"type": "AllDevices"}}],
    });
    git.push(partner("whole", "whole", whole));
    let cleared = json!({ "androidEnrollmentAssignments": [], "deletionPolicy": "Reset" });
    git.push(partner("cleared", "cleared", cleared));
    for object in &mut git {
        let id = format!("example:{}:{}", word(object, "/kind"), word(object, "/metadata/name"));
        merge(
            object,
            json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": id } } }),
        );
    }
    Ok(git)
}

async fn stays_in_sync(way: Way) -> anyhow::Result<()> {
    let name = if way == Way::ClientSide {
        "argo-client"
    } else {
        "argo-server"
    };
    let mut world = World::new(name).await?;
    world.secret("graph", json!({ "client-secret": CLIENT_SECRET })).await?;
    seed_examples(&world)?;
    let entry = json!([{"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}]);
    for id in ["whole", "cleared"] {
        world.row(id, id)?;
        let change = json!({ "androidEnrollmentAssignments": entry });
        world.graph().change_row(&world.tenant, id, change)?;
    }
    let git = repository(&world).await?;
    way.apply(&world, &git, false).await?;
    in_sync(&world, &git, way, "before the operator").await?;

    world.start().await?;
    for name in ["jamf", "whole", "cleared"] {
        world.in_sync(name).await?;
    }
    world.partner_is("fleet", "Ready", "True", "DriftDetected").await?;
    in_sync(&world, &git, way, "after the operator").await?;
    // `[]` has cleared the list, once.
    let cleared = |request: &Request| request.is_patch() && request.path.ends_with("/cleared");
    let sent = world.graph().wait_for_requests(cleared, 1, PATIENCE).await?;
    assert_eq!(sent[0].properties(), ["androidEnrollmentAssignments"]);
    let finalizers = live(&world, &git).await?;
    let reset = finalizers
        .iter()
        .any(|object| object["metadata"]["finalizers"][0] == "intune.msgraph.dev/reset");
    ensure!(reset, "the finalizer is in the cluster and not in git");

    // Trouble is written to status, too.
    world.graph().delete_row(&world.tenant, EXAMPLE_PARTNER)?;
    world.ask("cmp/jamf", "now").await?;
    world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    in_sync(&world, &git, way, "after trouble").await?;
    // Applied once more, as each sync does, nothing changes.
    let before = live(&world, &git).await?;
    way.apply(&world, &git, false).await?;
    for (before, after) in before.iter().zip(live(&world, &git).await?) {
        assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
        assert_eq!(before["spec"], after["spec"]);
    }

    let whole = git.iter().find(|object| object["metadata"]["name"] == "whole");
    let whole = whole.context("no such partner")?;
    for change in [
        json!({ "iosOnboarded": false }),
        json!({ "androidEnrollmentAssignments": null }),
        json!({ "iosEnrollmentAssignments": [] }),
        json!({ "suspend": null }),
    ] {
        out_of_sync(&world, whole, change, way).await?;
    }
    federated(&mut world, way).await?;
    world.stop().await
}

/// The example that replaces the connection's secret by a ServiceAccount.
async fn federated(world: &mut World, way: Way) -> anyhow::Result<()> {
    world.trust("graph", AUDIENCE).await?;
    let git = manifests(world, "deploy/examples/workload-identity/connection.yaml").await?;
    way.apply(world, &git, false).await?;
    in_sync(world, &git, way, "federated, before the operator").await?;
    let position = git.iter().position(|object| object["kind"] == "GraphConnection");
    let generation = live(world, &git).await?[position.context("a connection")?]["metadata"]["generation"].take();
    harness::wait_for("the connection by its ServiceAccount", PATIENCE, async || {
        let connection = world.connection_is("contoso", "True", "Connected").await?;
        let seen = connection.status.and_then(|status| status.observed_generation);
        ensure!(json!(seen) == generation, "{seen:?} of {generation}");
        Ok(())
    })
    .await?;
    in_sync(world, &git, way, "federated, after the operator").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_by_the_client_stays_in_sync() -> anyhow::Result<()> {
    stays_in_sync(Way::ClientSide).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_by_the_server_stays_in_sync() -> anyhow::Result<()> {
    stays_in_sync(Way::ServerSide).await
}

/// The API server fills a CRD up when it takes it, and writes its status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crds_stay_in_sync() -> anyhow::Result<()> {
    let plane = harness::install_crds().await?;
    let folder = crds_folder().display().to_string();
    let kubectl = async |args: &[&str]| -> anyhow::Result<Vec<Value>> {
        let args = [args, &["--output=json", "--filename", &folder]].concat();
        objects(&plane.kubectl_ok(&args).await?)
    };
    let git = kubectl(&["create", "--dry-run=client"]).await?;
    let live = kubectl(&["get", "--show-managed-fields"]).await?;
    // As they were installed, by the server.
    let server = kubectl(&["apply", "--server-side", "--dry-run=server"]).await?;
    // As the client would, with a copy of what git has in an annotation, which is bounded.
    let client = kubectl(&["apply", "--dry-run=server"]).await?;
    let mut questions = Vec::new();
    for (((git, live), server), client) in git.iter().zip(&live).zip(&server).zip(&client) {
        questions.push(json!({ "git": git, "compare": live }));
        questions.push(json!({ "git": git, "compare": client }));
        questions.push(json!({ "git": git, "compare": live, "predicted": server.to_string() }));
        let mut changed = git.clone();
        changed["spec"]["names"]["shortNames"] = json!(["another"]);
        questions.push(json!({ "git": changed, "compare": live }));
    }
    let answers = argocd(&questions).await?;
    assert_eq!(answers.len(), 8);
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer["outOfSync"], place % 4 == 3, "{place}: {answer:#}");
    }
    Ok(())
}
