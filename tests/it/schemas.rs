//! CRDs of other versions than the operator's, each on a control plane of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use graph_simulator::Request;
use harness::{ControlPlane, OPERATOR, Options, PATIENCE, World, crds_folder, wait_for};
use kube::Api;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::binary::Running;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";

/// Installs the CRDs with a change to the partners' version.
async fn installed(plane: &ControlPlane, change: impl Fn(&mut Value)) -> anyhow::Result<()> {
    let folder = crds_folder();
    for file in std::fs::read_dir(folder)? {
        let file = file?.path();
        let args = [
            "create",
            "--dry-run=client",
            "-o",
            "json",
            "-f",
            &file.display().to_string(),
        ];
        let mut crd: Value = serde_json::from_str(&plane.kubectl_ok(&args).await?)?;
        if crd.pointer("/spec/names/singular") == Some(&json!("compliancemanagementpartner")) {
            change(crd.pointer_mut("/spec/versions/0").context("no version")?);
        }
        plane
            .kubectl_ok_with_input(
                &["apply", "--server-side", "--force-conflicts", "-f", "-"],
                &crd.to_string(),
            )
            .await?;
    }
    plane.until_established(&harness::CRD_NAMES).await?;
    // A new kind is served before its schema is published; a CRD that is older than the operator is not new.
    wait_for("the published schemas", PATIENCE, async || {
        let args = ["get", "--raw", "/openapi/v3/apis/intune.msgraph.dev/v1alpha1"];
        let published = plane.kubectl_ok(&args).await.ok()?;
        published.contains("v1alpha1.GraphConnection\"").then_some(())
    })
    .await
}

fn without(fields: &mut Value, names: &[&str]) {
    for name in names {
        let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
        let removed = properties.and_then(|properties| properties.remove(*name));
        assert!(removed.is_some(), "there is no {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_crd_is_told_and_causes_no_write_loop() -> anyhow::Result<()> {
    let plane = Arc::new(ControlPlane::start(Options::default()).await?);
    installed(&plane, |version| {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        without(&mut schema["properties"]["status"], &["platforms", "drift"]);
        without(&mut schema["properties"]["spec"], &["suspend"]);
    })
    .await?;
    let world = World::on("older", Arc::clone(&plane)).await?;
    world.row(P1, "Example Partner")?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"macOsOnboarded": true}))?;
    world.connect().await?;
    // What Graph has is shown in status.platforms and in status.drift, which the API server drops.
    let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "managementPolicy": "Observe"});
    world.partner("jamf", spec).await?;
    let kubeconfig = plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;
    let operator = Running::start(&world.simulator, Some(&kubeconfig), &["--sync-interval", "1s"])?;
    let looked = world.partner_is("jamf", "Synced", "False", "DriftDetected").await;
    looked.map_err(|error| anyhow::anyhow!("{error:#}\n{}", operator.process.log_tail(20)))?;
    operator.says("status.drift, status.platforms").await?;
    operator.says("spec.suspend").await?;
    let gauge =
        |count: u32| format!("compliance_partner_crd_fields_missing{{kind=\"ComplianceManagementPartner\"}} {count}");
    let metrics = operator.answers("/metrics", 200, PATIENCE).await?;
    assert!(metrics.contains(&gauge(3)), "{metrics}");
    // What the API server drops is counted all the same.
    let drifted = format!(
        "compliance_partner_drifted_fields{{namespace=\"{}\",name=\"jamf\"}} 1",
        world.namespace
    );
    wait_for("the field that differs", PATIENCE, async || {
        let metrics = operator.answers("/metrics", 200, PATIENCE).await?;
        anyhow::ensure!(metrics.contains(&drifted), "{metrics}");
        Ok(())
    })
    .await?;

    let listed = world.graph().count(Request::is_list);
    wait_for("five more polls", PATIENCE, async || {
        (world.graph().count(Request::is_list) >= listed + 5).then_some(())
    })
    .await?;
    let writes = world.operator_writes_since(0)?;
    let of_jamf = writes.iter().filter(|write| write["objectRef"]["name"] == "jamf");
    assert!(of_jamf.clone().count() <= 2, "{:#?}", of_jamf.collect::<Vec<_>>());
    operator.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_from_a_laxer_crd_does_not_stop_the_others() -> anyhow::Result<()> {
    let plane = Arc::new(ControlPlane::start(Options::default()).await?);
    installed(&plane, |version| {
        version.as_object_mut().unwrap().remove("selectableFields");
        let schema = &mut version["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    })
    .await?;
    let mut world = World::on("lax", Arc::clone(&plane)).await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Another Partner")?;
    world.connect().await?;
    let resource = ApiResource::erase::<compliance_partner_operator::api::ComplianceManagementPartner>(&());
    let lax: Api<DynamicObject> = Api::namespaced_with(world.admin.clone(), &world.namespace, &resource);
    for (name, spec) in [
        (
            "quoted",
            json!({"connectionRef": {"name": "contoso"}, "partnerRef": {"id": P1}, "iosOnboarded": "true"}),
        ),
        (
            "norway",
            json!({"connectionRef": {"name": "contoso"}, "partnerRef": {"id": P1}, "iosOnboarded": "no"}),
        ),
        ("shapeless", json!({"partnerRef": "jamf"})),
    ] {
        let mut object = DynamicObject::new(name, &resource);
        object.data = json!({"spec": spec});
        lax.create(&kube::api::PostParams::default(), &object).await?;
    }
    installed(&plane, |_| {}).await?;

    // Both at the first list and later, by the watch.
    world
        .partner("before", json!({"partnerRef": {"id": P2}, "iosOnboarded": true}))
        .await?;
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    world.start_with(config).await?;
    world.in_sync("before").await?;
    let label = json!({"metadata": {"labels": {"touched": "yes"}}});
    lax.patch(
        "norway",
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(label),
    )
    .await
    .ok();
    world.row("p3", "Third Partner")?;
    world
        .partner("after", json!({"partnerRef": {"id": "p3"}, "androidOnboarded": true}))
        .await?;
    world.in_sync("after").await?;
    let of_p1 = |request: &Request| request.path.contains(P1);
    assert_eq!(
        world.graph().count(of_p1),
        0,
        "nothing was guessed from what cannot be read"
    );
    let metrics = world.metrics()?;
    let errors = metrics
        .lines()
        .find_map(|line| line.strip_prefix("compliance_partner_watch_errors_total "));
    assert!(
        errors.is_some_and(|count| count.parse::<u32>().unwrap_or(0) >= 3),
        "{metrics}"
    );

    // Whoever mends the object is heard.
    let spec = json!({"spec": {"iosOnboarded": true}});
    lax.patch(
        "quoted",
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(spec),
    )
    .await?;
    world.in_sync("quoted").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_crd_drops_is_not_written_again_after_others_have_written() -> anyhow::Result<()> {
    let plane = Arc::new(ControlPlane::start(Options::default()).await?);
    installed(&plane, |version| {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        without(&mut schema["properties"]["status"], &["platforms", "drift"]);
    })
    .await?;
    let mut world = World::on("labelled", Arc::clone(&plane)).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "managementPolicy": "Observe"});
    world.partner("jamf", spec).await?;
    world.start_polling().await?;
    world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    let polls = async |more: usize| {
        let listed = world.graph().count(Request::is_list);
        wait_for("polls", PATIENCE, async || {
            (world.graph().count(Request::is_list) >= listed + more).then_some(())
        })
        .await
    };
    let written = || -> anyhow::Result<usize> {
        let writes = world.operator_writes_since(0)?;
        let of_jamf = writes.iter().filter(|write| write["objectRef"]["name"] == "jamf");
        Ok(of_jamf.count())
    };
    polls(3).await?;
    let before = written()?;
    for label in ["a", "b"] {
        let label = kube::api::Patch::Merge(json!({"metadata": {"labels": {"touched": label}}}));
        world
            .partners()
            .patch("jamf", &kube::api::PatchParams::default(), &label)
            .await?;
        polls(3).await?;
    }
    assert_eq!(written()?, before);
    world.stop().await
}
