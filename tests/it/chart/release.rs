//! A release from its installation to its end, on a control plane that makes pods but has no node: the test says what a
//! kubelet would say of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{ControlPlane, Helm, OPERATOR, Options, PATIENCE, checkout, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{RELEASE, chart};

const OPERATOR_PODS: &str = "app.kubernetes.io/name=compliance-partner-operator";
/// Longer than Helm waits.
const LONGEST_WAIT: Duration = Duration::from_secs(90);
const TEST_PODS: &str = "app.kubernetes.io/name=compliance-partner-operator-test";

/// A cluster with namespaces that take none but restricted pods, and one for a tenant.
async fn cluster() -> Result<ControlPlane> {
    let plane = ControlPlane::start(Options {
        controller_manager: true,
        ..Options::default()
    })
    .await?;
    for name in ["ops", "elsewhere", "contoso"] {
        let metadata = json!({"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        plane
            .kubectl_ok_with_input(&["create", "--filename=-"], &namespace.to_string())
            .await?;
    }
    Ok(plane)
}

/// A pod with this label that nobody has said anything of yet.
async fn new_pod(pods: &Api<Pod>, label: &str) -> Result<String> {
    wait_for(&format!("a new pod with {label}"), LONGEST_WAIT, async || {
        let list = pods.list(&ListParams::default().labels(label)).await?;
        let fresh = list.items.into_iter().find(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Pending") && pod.metadata.deletion_timestamp.is_none()
        });
        fresh.and_then(|pod| pod.metadata.name).context("none")
    })
    .await
}

/// What a kubelet says of a pod.
async fn says(pods: &Api<Pod>, name: &str, phase: &str) -> Result<()> {
    let ready = if phase == "Running" { "True" } else { "False" };
    let status = json!({"status": {"phase": phase, "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// A partner and its connection, as somebody has them whose operator is about to be moved.
async fn resources(plane: &ControlPlane) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
            "metadata": {"name": "contoso", "namespace": "contoso"},
            "spec": {
                "tenantId": "aaaabbbb-0000-cccc-1111-dddd2222eeee", "clientId": "00001111-aaaa-2222-bbbb-3333cccc4444",
                "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
            },
        },
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
            "metadata": {"name": "jamf", "namespace": "contoso"},
            "spec": {
                "connectionRef": {"name": "contoso"}, "partnerRef": {"displayName": "Jamf"}, "deletionPolicy": "Retain",
            },
        },
    ]});
    plane
        .kubectl_ok_with_input(&["apply", "--filename=-"], &list.to_string())
        .await?;
    Ok(())
}

/// The names of all objects that a release has in the cluster, but for what Helm keeps of it.
async fn left(plane: &ControlPlane) -> Result<Vec<String>> {
    let kinds = "deployments,pods,replicasets,serviceaccounts,services,networkpolicies,roles,rolebindings,clusterroles,\
                 clusterrolebindings,crds";
    let args = [
        "get",
        kinds,
        "--all-namespaces",
        "-l",
        "app.kubernetes.io/instance",
        "-o",
        "name",
    ];
    Ok(plane.kubectl_ok(&args).await?.lines().map(str::to_owned).collect())
}

const CRDS: [&str; 2] = [
    "customresourcedefinition.apiextensions.k8s.io/compliancemanagementpartners.intune.msgraph.dev",
    "customresourcedefinition.apiextensions.k8s.io/graphconnections.intune.msgraph.dev",
];

/// Installs or upgrades with `--wait`, while a kubelet says of each pod of the operator that it is ready. One that is about
/// to be collected may be among them.
async fn waited_for(helm: &Helm, pods: &Api<Pod>, args: &[&str]) -> Result<String> {
    let kubelet = async {
        loop {
            let pod = new_pod(pods, OPERATOR_PODS).await?;
            match says(pods, &pod, "Running").await {
                Err(error) if pods.get_opt(&pod).await?.is_some() => return Err(error),
                _ => {}
            }
        }
    };
    tokio::select! {
        told = helm.ok(args) => told,
        stuck = kubelet => stuck,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_waits_for_its_pod_is_tested_moved_and_goes() -> Result<()> {
    let plane = cluster().await?;
    let in_vain = format!("resource Deployment/ops/{RELEASE} not ready");
    from_start_to_end(&plane, &Helm::on(&plane).await?, &in_vain).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_helm_3_does_the_same() -> Result<()> {
    let plane = cluster().await?;
    let helm = Helm::on(&plane).await?.in_version_3();
    from_start_to_end(&plane, &helm, "context deadline exceeded").await
}

/// `in_vain`: what Helm tells when it has waited for a pod that nobody says is ready.
async fn from_start_to_end(plane: &ControlPlane, helm: &Helm, in_vain: &str) -> Result<()> {
    let chart = chart();
    let connections = r#"connections=[{"namespace":"contoso","secretName":"graph"}]"#;
    let pods: Api<Pod> = Api::namespaced(plane.admin_client().await?, "ops");
    let install = |namespace: &'static str| {
        let args = [
            "install",
            RELEASE,
            &chart,
            "--namespace",
            namespace,
            "--set-json",
            connections,
        ];
        args.map(str::to_owned).to_vec()
    };
    let install_in_ops = install("ops");
    let in_ops: Vec<&str> = install_in_ops.iter().map(String::as_str).collect();

    // No kubelet says that the pod is ready: `--wait` does not take its being there for that.
    let refused = helm
        .refused(&[&in_ops[..], &["--wait", "--timeout=6s"]].concat())
        .await?;
    ensure!(refused.contains(in_vain), "{refused}");
    new_pod(&pods, OPERATOR_PODS).await?;
    helm.ok(&["uninstall", RELEASE, "--namespace", "ops", "--wait", "--timeout=60s"])
        .await?;

    // A kept CRD is taken over without a word, by the release that had it.
    let told = waited_for(helm, &pods, &[&in_ops[..], &["--wait", "--timeout=60s"]].concat()).await?;
    ensure!(
        told.contains("contoso/graph") && told.contains("rollout status"),
        "{told}"
    );
    resources(plane).await?;

    tested(helm, &pods).await?;

    let upgrade = [
        "upgrade",
        RELEASE,
        &chart,
        "--namespace",
        "ops",
        "--reuse-values",
        "--set",
        "syncInterval=5m",
    ];
    waited_for(helm, &pods, &[&upgrade[..], &["--wait", "--timeout=60s"]].concat()).await?;
    let list = pods.list(&ListParams::default().labels(OPERATOR_PODS)).await?;
    let flags: Vec<String> = list.items.iter().map(|pod| format!("{:?}", pod.spec)).collect();
    ensure!(flags.len() == 1 && flags[0].contains("--sync-interval=5m"), "{flags:?}");

    moved(plane, helm, install("elsewhere")).await
}

/// `helm test` takes its pod's word.
async fn tested(helm: &Helm, pods: &Api<Pod>) -> Result<()> {
    for (phase, passes) in [("Failed", false), ("Succeeded", true)] {
        let test = ["test", RELEASE, "--namespace", "ops", "--timeout=60s"];
        let kubelet = async {
            let pod = new_pod(pods, TEST_PODS).await?;
            let spec = pods.get(&pod).await?.spec.context("a spec")?;
            ensure!(spec.containers[0].args == Some(vec!["crd".to_owned()]), "{spec:?}");
            says(pods, &pod, phase).await
        };
        let (output, said) = tokio::join!(helm.run(&test), kubelet);
        said?;
        let output = output?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() == passes, "{phase}: {told}");
    }
    Ok(())
}

/// The release goes with all that it has in the cluster, but for the CRDs.
async fn keeps_the_crds(plane: &ControlPlane, helm: &Helm, namespace: &str) -> Result<()> {
    helm.ok(&[
        "uninstall",
        RELEASE,
        "--namespace",
        namespace,
        "--wait",
        "--timeout=60s",
    ])
    .await?;
    wait_for("nothing but the CRDs", PATIENCE, async || {
        let left = left(plane).await?;
        ensure!(left == CRDS, "{left:?}");
        Ok(())
    })
    .await
}

/// From one namespace to another, and away: no resource hangs, and none is lost before its CRD goes.
async fn moved(plane: &ControlPlane, helm: &Helm, install: Vec<String>) -> Result<()> {
    let there = ["get", "gconn/contoso", "cmp/jamf", "-n", "contoso", "-o", "name"];
    keeps_the_crds(plane, helm, "ops").await?;
    assert_eq!(plane.kubectl_ok(&there).await?.lines().count(), 2);

    let install: Vec<&str> = install.iter().map(String::as_str).collect();
    let refused = helm.refused(&install).await?;
    ensure!(
        refused.contains("release-namespace") && refused.contains("elsewhere"),
        "{refused}"
    );
    helm.ok(&[&install[..], &["--take-ownership", "--set", "crds.keep=false"]].concat())
        .await?;
    assert_eq!(plane.kubectl_ok(&there).await?.lines().count(), 2);
    let binding = plane
        .kubectl_ok(&["get", "rolebinding", "-n", "contoso", "-o", "json"])
        .await?;
    let binding: Value = serde_json::from_str(&binding)?;
    assert_eq!(binding["items"][0]["subjects"][0]["namespace"], "elsewhere");

    helm.ok(&[
        "uninstall",
        RELEASE,
        "--namespace",
        "elsewhere",
        "--wait",
        "--timeout=60s",
    ])
    .await?;
    wait_for("nothing at all", Duration::from_secs(60), async || {
        let left = left(plane).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// Whoever began with the plain manifests goes on with the chart: the same Deployment, by the chart's values from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_manifests_are_taken_over() -> Result<()> {
    let plane = cluster().await?;
    let file = |name: &str| checkout().join(name).display().to_string();
    let files = [
        "crds",
        "deploy/namespace.yaml",
        "deploy/rbac.yaml",
        "deploy/deployment.yaml",
    ]
    .map(file);
    let files: Vec<&str> = files.iter().flat_map(|file| ["--filename", file]).collect();
    let seen = async || {
        let path = "jsonpath={range .items[*]}{.metadata.uid}{\"\\n\"}{.spec.template.spec.containers[*].args}{end}";
        plane
            .kubectl_ok(&["-n", OPERATOR, "get", "deployments", "-o", path])
            .await
    };
    let chart = chart();
    for (helm, flags) in [
        (Helm::on(&plane).await?, &["--take-ownership", "--force-conflicts"][..]),
        (Helm::on(&plane).await?.in_version_3(), &["--take-ownership"]),
    ] {
        plane.kubectl_ok(&[&["apply"][..], &files].concat()).await?;
        let before = seen().await?;
        let install = [
            "install",
            OPERATOR,
            &chart,
            "--namespace",
            OPERATOR,
            "--set",
            "syncInterval=7m",
        ];
        helm.ok(&[&install[..], flags].concat()).await?;
        let after = seen().await?;
        assert_eq!(after.lines().next(), before.lines().next(), "another Deployment");
        assert_eq!(after.lines().count(), 2, "one Deployment: {after}");
        ensure!(after.contains("--sync-interval=7m"), "{after}");
        keeps_the_crds(&plane, &helm, OPERATOR).await?;
    }
    Ok(())
}
