//! What the program waits for.

use std::time::Duration;

use graph_simulator::{App, Simulator};
use harness::{CLIENT_SECRET, ControlPlane, OPERATOR, Options, PATIENCE, WRITE_ROLE, checkout};

use super::Running;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_kubeconfig_it_waits_and_says_so() -> anyhow::Result<()> {
    let simulator = Simulator::start(graph_simulator::Options::default())?;
    let operator = Running::start(&simulator, None, &[])?;
    operator.answers("/livez", 200, PATIENCE).await?;
    operator.says("set KUBECONFIG").await?;
    operator.answers("/readyz", 503, PATIENCE).await?;
    assert!(operator.process.exited()?.is_none());
    operator.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_crds_it_waits_and_goes_on_when_they_come() -> anyhow::Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let file = |name: &str| checkout().join("deploy").join(name).display().to_string();
    let simulator = Simulator::start(graph_simulator::Options::default())?;
    let (tenant, client) = (
        "aaaabbbb-0000-cccc-1111-dddd2222eeee",
        "00001111-aaaa-2222-bbbb-3333cccc4444",
    );
    let graph = simulator.control();
    graph.add_app(tenant, client, App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]));
    graph.seed_row(tenant, graph.base_row("d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6", "Jamf"))?;
    plane
        .kubectl_ok(&["apply", "-f", &file("namespace.yaml"), "-f", &file("rbac.yaml")])
        .await?;
    let kubeconfig = plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;

    let operator = Running::start(&simulator, Some(&kubeconfig), &[])?;
    operator.says("CustomResourceDefinition is not installed").await?;
    operator.answers("/readyz", 503, PATIENCE).await?;
    operator.answers("/livez", 200, PATIENCE).await?;
    assert!(operator.process.exited()?.is_none());

    plane.apply_crds().await?;
    operator.answers("/readyz", 200, Duration::from_secs(15)).await?;
    plane.kubectl_ok(&["create", "namespace", "contoso"]).await?;
    let literal = format!("--from-literal=client-secret={CLIENT_SECRET}");
    plane
        .kubectl_ok(&["create", "secret", "generic", "graph", "-n", "contoso", &literal])
        .await?;
    for example in ["consent", "connection", "partner"] {
        plane
            .kubectl_ok(&["apply", "-f", &file(&format!("examples/{example}.yaml"))])
            .await?;
    }
    let wait = [
        "wait",
        "cmp/jamf",
        "-n",
        "contoso",
        "--for=condition=Ready",
        "--timeout=15s",
    ];
    plane.kubectl_ok(&wait).await?;
    operator.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_it_waits_and_goes_on_when_they_come() -> anyhow::Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    plane.apply_crds().await?;
    let file = |name: &str| checkout().join("deploy").join(name).display().to_string();
    plane.kubectl_ok(&["apply", "-f", &file("namespace.yaml")]).await?;
    plane
        .kubectl_ok(&["create", "serviceaccount", OPERATOR, "-n", OPERATOR])
        .await?;
    let kubeconfig = plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;
    let simulator = Simulator::start(graph_simulator::Options::default())?;

    let operator = Running::start(&simulator, Some(&kubeconfig), &[])?;
    operator
        .says("may not list or watch: check its ClusterRole and binding")
        .await?;
    operator.answers("/readyz", 503, PATIENCE).await?;
    operator.answers("/livez", 200, PATIENCE).await?;
    assert!(operator.process.exited()?.is_none());

    plane.kubectl_ok(&["apply", "-f", &file("rbac.yaml")]).await?;
    operator.answers("/readyz", 200, Duration::from_secs(15)).await?;
    operator.stop().await
}
