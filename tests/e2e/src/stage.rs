//! All that the steps are about: the cluster, Microsoft with one tenant, and the values that the operator is installed with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, ConditionStatus, condition};
use graph_simulator::{App, Control, Request, Simulator};
use harness::{Scratch, Story, WRITE_ROLE, wait_for};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Image, OPERATOR_NAMESPACE, TENANT_NAMESPACE};
use crate::node::Node;
use crate::process::Operator;

/// The longest that anything takes which a node with two busy cores does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The tenant, its app, and the partner that the steps are about.
pub(crate) const TENANT_ID: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
pub(crate) const CLIENT_ID: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
pub(crate) const PARTNER_ID: &str = "d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6";

/// See the module.
pub(crate) struct Stage<'a> {
    pub(crate) story: &'a Story,
    pub(crate) cluster: &'a Cluster,
    /// The node, where it was made here: its kernel can be asked.
    pub(crate) node: Option<&'a Node>,
    /// Of this machine, as the pods reach it.
    pub(crate) address: Ipv4Addr,
    values: Scratch,
    simulator: Simulator,
}

impl<'a> Stage<'a> {
    /// Starts the simulator, and prepares the operator's namespace and the tenant's.
    pub(crate) async fn set(
        story: &'a Story,
        cluster: &'a Cluster,
        address: Ipv4Addr,
        image: &Image,
        node: Option<&'a Node>,
    ) -> Result<Self> {
        let simulator = Simulator::start(graph_simulator::Options {
            address: IpAddr::V4(address),
            ..graph_simulator::Options::default()
        })?;
        let secret = graph_simulator::new_secret();
        let graph = simulator.control();
        graph.add_app(TENANT_ID, CLIENT_ID, App::with_secret(&secret).roles([WRITE_ROLE]));
        graph.seed_row(TENANT_ID, graph.base_row(PARTNER_ID, "Jamf Device Compliance"))?;
        let stage = Self {
            story,
            cluster,
            node,
            address,
            values: Scratch::new()?,
            simulator,
        };
        std::fs::write(stage.values_file(), stage.values(image).to_string())?;
        std::fs::write(stage.secret_file(), json!({ "secret": secret }).to_string())?;
        stage.namespaces().await?;
        Ok(stage)
    }

    /// Both take none but restricted pods. The operator's has what makes it trust the simulator.
    async fn namespaces(&self) -> Result<()> {
        let namespace = |name: &str| {
            let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        };
        let authority = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "microsoft", "namespace": OPERATOR_NAMESPACE},
            "data": {"ca.pem": self.simulator.ca_pem()},
        });
        for object in [namespace(OPERATOR_NAMESPACE), namespace(TENANT_NAMESPACE), authority] {
            // Created, not applied: what somebody else has is left alone.
            let object = object.to_string();
            self.cluster
                .kubectl
                .ok_with_input(&["create", "-f", "-"], &object)
                .await?;
        }
        Ok(())
    }

    /// The chart's defaults, but for what a test of this kind needs.
    fn values(&self, image: &Image) -> Value {
        json!({
            "image": {"repository": image.repository, "tag": image.tag},
            "connections": [
                {"namespace": TENANT_NAMESPACE, "secretName": "graph"},
                {"namespace": TENANT_NAMESPACE, "serviceAccountName": "intune"},
            ],
            "federatedToken": {"enabled": true},
            "operatorIdentityNamespaces": [TENANT_NAMESPACE],
            "graphEndpoint": self.simulator.graph_endpoint(),
            "authorityHost": self.simulator.authority_host(),
            "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/microsoft/ca.pem"}],
            "extraVolumes": [{"name": "microsoft", "configMap": {"name": "microsoft"}}],
            "extraVolumeMounts": [{"name": "microsoft", "mountPath": "/etc/microsoft", "readOnly": true}],
        })
    }

    /// The values' file, for Helm.
    pub(crate) fn values_file(&self) -> String {
        self.values.path().join("values.json").display().to_string()
    }

    /// The value of the tenant's chart that is shown to nobody.
    pub(crate) fn secret_file(&self) -> String {
        self.values.path().join("secret.json").display().to_string()
    }

    /// The simulator's other side.
    pub(crate) fn graph(&self) -> Control {
        self.simulator.control()
    }

    /// # Errors
    /// If Graph has a property of the partner otherwise.
    pub(crate) fn row_has(&self, property: &str, value: &Value) -> Result<()> {
        let row = self
            .graph()
            .row(TENANT_ID, PARTNER_ID)
            .context("Graph has no such partner")?;
        ensure!(row.get(property) == Some(value), "{property} is not {value}: {row}");
        Ok(())
    }

    /// The changes that Graph was sent after a request.
    pub(crate) fn patches_since(&self, seq: u64) -> Vec<Request> {
        self.graph()
            .requests_where(|request| request.seq > seq && request.is_patch())
    }

    /// The process of the operator's pod, where the node's kernel can be asked.
    pub(crate) async fn operator_process(&self) -> Result<Option<Operator>> {
        if self.node.is_none() {
            return Ok(None);
        }
        let pod = self.cluster.operator_pod().await?;
        Operator::of_pod(uid(&pod)?).map(Some)
    }

    /// Waits until a partner of the tenant's namespace is Ready as it is written, and gives it.
    pub(crate) async fn ready(&self, name: &str) -> Result<ComplianceManagementPartner> {
        let partners = self.cluster.partners();
        wait_for(&format!("{name} to be Ready"), PATIENCE, async || {
            let partner = partners.get(name).await?;
            let status = partner.status.clone().context("no status")?;
            ensure!(
                status.observed_generation == partner.metadata.generation,
                "it is of an older generation"
            );
            let ready = condition(&status.conditions, "Ready").context("no condition Ready")?;
            if ready.status == ConditionStatus::True {
                Ok(partner)
            } else {
                Err(anyhow!("{}: {}", ready.reason, ready.message))
            }
        })
        .await
    }

    /// # Errors
    /// If the operator has sent what a right client never does.
    pub(crate) fn ensure_lawful(&self) -> Result<()> {
        let violations = self.graph().violations();
        ensure!(violations.is_empty(), "{violations:?}");
        Ok(())
    }
}

/// The uid of a pod.
pub(crate) fn uid(pod: &Pod) -> Result<&str> {
    pod.metadata.uid.as_deref().context("a pod has a uid")
}
