//! What a measure stands on: a control plane with the operator installed as `deploy/` says, and a simulator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use graph_simulator::{Control, Simulator};
use harness::{ControlPlane, Options, Scratch, checkout};
use kube::Client;
use serde_json::json;

use crate::settings::Settings;

/// The operator's namespace, and the name of its ServiceAccount.
const OPERATOR: &str = "compliance-partner-operator";

/// The operator, to the API server.
pub(crate) const OPERATOR_USER: &str = "system:serviceaccount:compliance-partner-operator:compliance-partner-operator";

/// How long every answer of Graph takes.
pub(crate) const GRAPH_DELAY: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Bed {
    /// The control plane.
    pub(crate) plane: ControlPlane,
    /// A client with all rights.
    pub(crate) admin: Client,
    /// Microsoft.
    pub(crate) simulator: Simulator,
    /// The operator's binary.
    pub(crate) operator: PathBuf,
    folder: Scratch,
    logs: AtomicUsize,
}

impl Bed {
    /// Starts all of it.
    ///
    /// # Errors
    /// If the control plane or the simulator does not start.
    pub(crate) async fn new(settings: &Settings) -> Result<Self> {
        Self::with(settings, graph_simulator::Options::default()).await
    }

    /// The same, with options of the simulator. How long its answers take is the same in all measures.
    ///
    /// # Errors
    /// If the control plane or the simulator does not start.
    pub(crate) async fn with(settings: &Settings, options: graph_simulator::Options) -> Result<Self> {
        let plane = ControlPlane::start(Options::default()).await?;
        plane.apply_crds().await?;
        for file in ["deploy/namespace.yaml", "deploy/rbac.yaml"] {
            let file = checkout().join(file).display().to_string();
            plane
                .kubectl_ok(&["apply", "--server-side", "--filename", &file])
                .await?;
        }
        let options = graph_simulator::Options {
            graph_delay: GRAPH_DELAY,
            ..options
        };
        let simulator = Simulator::start(options)?;
        let folder = Scratch::new()?;
        std::fs::write(folder.path().join("ca.pem"), simulator.ca_pem())?;
        let admin = plane.admin_client().await?;
        Ok(Self {
            plane,
            admin,
            simulator,
            operator: settings.operator.clone(),
            folder,
            logs: AtomicUsize::new(0),
        })
    }

    /// The simulator's other side.
    pub(crate) fn graph(&self) -> Control {
        self.simulator.control()
    }

    /// The simulator's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A file that no process has written to yet.
    pub(crate) fn fresh_log(&self) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("operator-{number}.log"))
    }

    /// A kubeconfig with a fresh token of the operator's account.
    ///
    /// # Errors
    /// If the API server refuses the token.
    pub(crate) async fn operator_kubeconfig(&self) -> Result<PathBuf> {
        self.plane.service_account_kubeconfig(OPERATOR, OPERATOR).await
    }

    /// A client as the operator's own.
    ///
    /// # Errors
    /// If the API server refuses the token.
    pub(crate) async fn operator_client(&self) -> Result<Client> {
        self.plane.service_account_client(OPERATOR, OPERATOR).await
    }

    /// Makes a namespace with the Secret `graph`, which the operator may read.
    ///
    /// # Errors
    /// If the API server refuses anything.
    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let reader = |kind: &str, more: serde_json::Value| {
            let mut object = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": "graph-reader", "namespace": name},
            });
            harness::merge(&mut object, more);
            object
        };
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "graph", "namespace": name},
                "stringData": {"client-secret": harness::CLIENT_SECRET},
            },
            reader("Role", json!({
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["graph"], "verbs": ["get"]}],
            })),
            reader("RoleBinding", json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "graph-reader"},
                "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": OPERATOR}],
            })),
        ]});
        let apply = ["apply", "--server-side", "--filename", "-"];
        let applied = self.plane.kubectl_ok_with_input(&apply, &objects.to_string()).await;
        applied.map(drop).with_context(|| format!("namespace {name}"))
    }
}
