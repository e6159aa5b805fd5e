//! A cluster as its users have it: by kubectl and Helm.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use harness::{CRD_NAMES, Helm, Kubectl, checkout, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::node::Node;
use crate::stage::PATIENCE;

/// The namespace of the operator.
pub(crate) const OPERATOR_NAMESPACE: &str = "compliance-partner-operator";

/// The namespace of the connection and the partner.
pub(crate) const TENANT_NAMESPACE: &str = "contoso";

/// The operator's release, and all that it has in the cluster.
pub(crate) const RELEASE: &str = "compliance-partner-operator";

/// How the chart names the operator's pods.
const POD_SELECTOR: &str = "app.kubernetes.io/name=compliance-partner-operator";

/// See the module.
pub(crate) struct Cluster {
    pub(crate) kubectl: Kubectl,
    pub(crate) helm: Helm,
    client: Client,
}

/// An image by its name.
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) tag: String,
}

impl Image {
    /// # Errors
    /// If it has no tag: the chart takes both.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let (repository, tag) = name
            .rsplit_once(':')
            .filter(|(name, tag)| !tag.contains('/') && !name.contains('@'))
            .with_context(|| format!("E2E_IMAGE takes NAME:TAG, not {name}"))?;
        Ok(Self {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

impl Cluster {
    /// # Errors
    /// If Helm is not here and cannot be built, or the kubeconfig cannot be read.
    pub(crate) async fn new(kubectl: Kubectl, kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            kubectl,
            helm: Helm::by(kubeconfig).await?,
            client: harness::client(kubeconfig).await?,
        })
    }

    /// # Errors
    /// If it has the kinds or a namespace that the steps would make.
    pub(crate) async fn ensure_free(&self) -> Result<()> {
        let found = self.kubectl.ok(&["get", "crds,namespaces", "-o", "name"]).await?;
        let taken = |name: &&str| {
            let name = name.rsplit('/').next().unwrap_or_default();
            CRD_NAMES.contains(&name) || [OPERATOR_NAMESPACE, TENANT_NAMESPACE].contains(&name)
        };
        let taken: Vec<&str> = found.lines().filter(taken).collect();
        ensure!(
            taken.is_empty(),
            "the cluster has {} already: take one that has none of these",
            taken.join(", ")
        );
        Ok(())
    }

    /// The partners of the tenant's namespace.
    pub(crate) fn partners(&self) -> Api<ComplianceManagementPartner> {
        Api::namespaced(self.client.clone(), TENANT_NAMESPACE)
    }

    /// The operator's pods, also those on their way out: such a pod works on until the kubelet tells it to end.
    async fn operator_pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        Ok(pods.list(&ListParams::default().labels(POD_SELECTOR)).await?.items)
    }

    /// Waits until no operator can be at work any more.
    pub(crate) async fn until_no_operator(&self) -> Result<()> {
        wait_for("no pod of the operator", PATIENCE, async || {
            let pods = self.operator_pods().await?;
            ensure!(pods.is_empty(), "{} pods", pods.len());
            Ok(())
        })
        .await
    }

    /// The one pod of the operator that is to stay, which is ready.
    pub(crate) async fn operator_pod(&self) -> Result<Pod> {
        let mut pods = self.operator_pods().await?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let count = pods.len();
        let pod = pods.pop().filter(|_| count == 1);
        let pod = pod.with_context(|| format!("{count} pods of the operator"))?;
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
        ready.next().context("the operator's pod is not ready")?;
        Ok(pod)
    }

    /// Kubernetes' objects in YAML, as somebody applies them.
    pub(crate) async fn apply(&self, objects: &str) -> Result<String> {
        self.kubectl.ok_with_input(&["apply", "-f", "-"], objects).await
    }

    /// Runs Helm on a release in its namespace.
    pub(crate) async fn helm(&self, verb: &str, release: &str, namespace: &str, args: &[&str]) -> Result<String> {
        self.helm
            .ok(&[&[verb, release][..], args, &["--namespace", namespace]].concat())
            .await
    }

    /// What one would look at after a failure.
    pub(crate) async fn state(&self, node: Option<&Node>) -> String {
        let mut state = Vec::new();
        for args in [
            &["get", "pods,cmp,gconn", "-A", "-o", "wide"][..],
            &["-n", OPERATOR_NAMESPACE, "describe", "pods"],
            &["-n", OPERATOR_NAMESPACE, "logs", "-l", POD_SELECTOR, "--tail=40"],
            &["-n", TENANT_NAMESPACE, "describe", "gconn,cmp"],
        ] {
            let seen = self
                .kubectl
                .ok(args)
                .await
                .unwrap_or_else(|error| format!("{error:#}\n"));
            state.push(format!("--- kubectl {}\n{seen}", args.join(" ")));
        }
        state.extend(node.map(Node::log_tails));
        state.join("")
    }
}

/// The chart that users install.
pub(crate) fn chart() -> String {
    checkout().join("deploy/chart").display().to_string()
}

/// A chart such as users have of their own resources.
pub(crate) fn tenant_chart() -> String {
    checkout().join("tests/e2e/tenant").display().to_string()
}
