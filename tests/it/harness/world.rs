//! One test's world: a namespace, a tenant of a simulator of its own, and the operator with the rights that `deploy/`
//! gives it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use compliance_partner_operator::api::reason::Timing;
use compliance_partner_operator::api::{ComplianceManagementPartner, GraphConnection};
use compliance_partner_operator::graph::cloud::Endpoints;
use compliance_partner_operator::partner::status::HeartbeatRules;
use compliance_partner_operator::runtime::context::{Config, Context};
use compliance_partner_operator::runtime::controller::Operator;
use graph_simulator::{App, Control, Simulator};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;

use crate::credentials::{Kind, auth as auth_by};
use crate::objects::{Creatable, merge, with_type};
use crate::{ControlPlane, install_crds};

/// The longest that a test waits for something that happens at once on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A wait that no test lives to see the end of. A thousand hours, since a backoff waits for any part of its step: of a
/// step of ten minutes, one in sixty is over within ten seconds.
pub const NEVER: Duration = Duration::from_secs(1_000 * 3_600);

/// The role that lets a tenant's app read and write partners.
pub const WRITE_ROLE: &str = "DeviceManagementServiceConfig.ReadWrite.All";

/// The client secret of every world.
pub const CLIENT_SECRET: &str = "a~b+c/d=e&f%20g h\"é";

/// The name of the operator's ServiceAccount in a test's namespace.
pub const OPERATOR: &str = "compliance-partner-operator";

/// The id of the row that most tests are about.
pub const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The root of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// See the module.
pub struct World {
    /// The control plane, most often shared with other tests.
    pub plane: Arc<ControlPlane>,
    /// A client with all rights, for the test itself.
    pub admin: Client,
    /// The namespace of this test.
    pub namespace: String,
    /// The namespace of the operator's account; most often the same.
    pub operator_namespace: String,
    /// Microsoft.
    pub simulator: Simulator,
    /// The tenant's id.
    pub tenant: String,
    /// The app's client id.
    pub client_id: String,
    running: Option<Running>,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    context: Arc<Context>,
}

impl World {
    /// A namespace, a simulator with one tenant and one app that may write, and the operator's account with its rights.
    /// No secret, no connection and no operator yet.
    pub async fn new(name: &str) -> anyhow::Result<Self> {
        Self::with(name, graph_simulator::Options::default()).await
    }

    /// The same, with options of the simulator.
    pub async fn with(name: &str, options: graph_simulator::Options) -> anyhow::Result<Self> {
        let plane = install_crds().await?;
        let world = Self::ungranted(name, Arc::clone(plane), options).await?;
        world.grant_operator().await?;
        Ok(world)
    }

    /// The same with one row, [`P1`], a connection `contoso`, and a partner `jamf` that differs from the row in
    /// `iosOnboarded`.
    pub async fn with_partner(name: &str, options: graph_simulator::Options) -> anyhow::Result<Self> {
        let world = Self::with(name, options).await?;
        world.row(P1, "Example Partner")?;
        world.connect().await?;
        let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true});
        world.partner("jamf", spec).await?;
        Ok(world)
    }

    /// The same on a control plane of the test's own that has the CRDs. The operator's account is in a namespace of its
    /// own and has its rights in the whole cluster, as `deploy/` gives them.
    pub async fn on(name: &str, plane: Arc<ControlPlane>) -> anyhow::Result<Self> {
        let world = Self::without_rights_on(name, plane).await?;
        let file = |name: &str| checkout().join("deploy").join(name).display().to_string();
        let args = ["apply", "-f", &file("namespace.yaml"), "-f", &file("rbac.yaml")];
        world.plane.kubectl_ok(&args).await?;
        Ok(world)
    }

    /// A namespace and a simulator on the control plane that all tests share, but no account for the operator: one named
    /// [`OPERATOR`] has to come to be in the namespace before it is started.
    pub async fn without_rights(name: &str) -> anyhow::Result<Self> {
        let plane = install_crds().await?;
        Self::ungranted(name, Arc::clone(plane), graph_simulator::Options::default()).await
    }

    /// The same on a control plane of the test's own that has the CRDs. The account is to be in a namespace of its own,
    /// [`OPERATOR`].
    pub async fn without_rights_on(name: &str, plane: Arc<ControlPlane>) -> anyhow::Result<Self> {
        let mut world = Self::ungranted(name, plane, graph_simulator::Options::default()).await?;
        OPERATOR.clone_into(&mut world.operator_namespace);
        Ok(world)
    }

    /// A simulator of this tenant and app for a control plane that has nothing yet. The namespaces are those that
    /// `deploy/` names: they have to come to be, and the operator's account with its rights, before it is started.
    pub async fn of_deploy(plane: Arc<ControlPlane>, tenant: &str, client_id: &str) -> anyhow::Result<Self> {
        let simulator = Simulator::start(graph_simulator::Options::default())?;
        simulator.control().add_tenant(tenant);
        let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
        simulator.control().add_app(tenant, client_id, app);
        Ok(Self {
            admin: plane.admin_client().await?,
            plane,
            namespace: "contoso".to_owned(),
            operator_namespace: OPERATOR.to_owned(),
            simulator,
            tenant: tenant.to_owned(),
            client_id: client_id.to_owned(),
            running: None,
        })
    }

    async fn ungranted(
        name: &str,
        plane: Arc<ControlPlane>,
        options: graph_simulator::Options,
    ) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("{name}-{number}");
        let admin = plane.admin_client().await?;
        let simulator = Simulator::start(options)?;
        let tenant = format!("bbbbbbbb-2222-4222-8222-{number:012x}");
        let client_id = format!("cccccccc-3333-4333-8333-{number:012x}");
        simulator.control().add_tenant(&tenant);
        simulator
            .control()
            .add_app(&tenant, &client_id, App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]));
        let world = Self {
            plane,
            admin,
            operator_namespace: namespace.clone(),
            namespace,
            simulator,
            tenant,
            client_id,
            running: None,
        };
        world
            .create::<Namespace>(None, json!({"metadata": {"name": world.namespace}}))
            .await?;
        Ok(world)
    }

    /// The simulator's other side.
    #[must_use]
    pub fn graph(&self) -> Control {
        self.simulator.control()
    }

    /// The operator's ServiceAccount, bound in this namespace to the `ClusterRole` that `deploy/` has.
    async fn grant_operator(&self) -> anyhow::Result<()> {
        static ROLE: OnceCell<String> = OnceCell::const_new();
        let role = ROLE.get_or_try_init(|| self.cluster_role()).await?;
        let here = Some(self.namespace.as_str());
        self.create::<ServiceAccount>(here, json!({"metadata": {"name": OPERATOR}}))
            .await?;
        self.bind_operator(&self.namespace, role).await
    }

    async fn bind_operator(&self, namespace: &str, role: &str) -> anyhow::Result<()> {
        self.create::<RoleBinding>(
            Some(namespace),
            json!({
                "metadata": {"name": OPERATOR},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": self.operator_namespace}],
            }),
        )
        .await
    }

    /// One more namespace, in which the same operator has the same rights. It has to be told to watch it.
    pub async fn second_namespace(&self) -> anyhow::Result<String> {
        let name = format!("{}-second", self.namespace);
        self.create::<Namespace>(None, json!({"metadata": {"name": name}}))
            .await?;
        self.bind_operator(&name, OPERATOR).await?;
        Ok(name)
    }

    /// Applies the operator's `ClusterRole` from `deploy/rbac.yaml`, and gives its name.
    async fn cluster_role(&self) -> anyhow::Result<String> {
        let path = checkout().join("deploy/rbac.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for document in text.split("\n---") {
            if document.contains("kind: ClusterRole\n") && document.contains(&format!("name: {OPERATOR}\n")) {
                self.plane
                    .kubectl_ok_with_input(&["apply", "--server-side", "-f", "-"], document)
                    .await?;
                let role: ClusterRole = Api::all(self.admin.clone()).get(OPERATOR).await?;
                return role.metadata.name.context("a role has a name");
            }
        }
        bail!("{} has no ClusterRole {OPERATOR}", path.display())
    }

    /// Creates an object, in this namespace or for the cluster.
    pub async fn create<K>(&self, namespace: Option<&str>, object: Value) -> anyhow::Result<()>
    where
        K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
        K: Creatable,
    {
        let api: Api<K> = K::api(self.admin.clone(), namespace);
        let object: K = serde_json::from_value(object)?;
        api.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Creates or changes a Secret with these texts.
    pub async fn secret(&self, name: &str, texts: Value) -> anyhow::Result<()> {
        let api: Api<Secret> = Api::namespaced(self.admin.clone(), &self.namespace);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts});
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(secret))
            .await?;
        Ok(())
    }

    /// Lets the operator read one Secret: the consent that a tenant gives.
    pub async fn consent(&self, secret: &str) -> anyhow::Result<()> {
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}]);
        self.grant(&format!("{secret}-reader"), rules).await
    }

    /// A Role of this name with these rules, bound to the operator.
    pub async fn grant(&self, name: &str, rules: Value) -> anyhow::Result<()> {
        let here = Some(self.namespace.as_str());
        self.create::<Role>(here, json!({"metadata": {"name": name}, "rules": rules}))
            .await?;
        self.create::<RoleBinding>(
            here,
            json!({
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": self.operator_namespace}],
            }),
        )
        .await
    }

    /// A Secret, the consent to read it, and a connection that uses it, all named well.
    pub async fn connect(&self) -> anyhow::Result<()> {
        self.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
        self.consent("graph").await?;
        self.connection("contoso", json!({})).await
    }

    /// A connection of this world's tenant by the Secret `graph`; `spec` is merged over it. An `auth` in it is the whole
    /// of it, since a connection has one kind.
    pub async fn connection(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let auth = spec.get("auth").cloned();
        let auth = auth.unwrap_or_else(|| auth_by(Kind::Secret, "graph"));
        let mut whole = json!({"tenantId": self.tenant, "clientId": self.client_id, "auth": auth});
        merge(&mut whole, spec);
        let object = json!({"metadata": {"name": name}, "spec": whole});
        let api: Api<GraphConnection> = Api::namespaced(self.admin.clone(), &self.namespace);
        let object = with_type::<GraphConnection>(object);
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// Applies a partner of the connection `contoso`; `spec` is merged over that.
    pub async fn partner(&self, name: &str, spec: Value) -> anyhow::Result<ComplianceManagementPartner> {
        let mut whole = json!({"connectionRef": {"name": "contoso"}});
        merge(&mut whole, spec);
        let object = with_type::<ComplianceManagementPartner>(json!({"metadata": {"name": name}, "spec": whole}));
        Ok(self
            .partners()
            .patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object))
            .await?)
    }

    /// The partners of this namespace.
    #[must_use]
    pub fn partners(&self) -> Api<ComplianceManagementPartner> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// The connections of this namespace.
    #[must_use]
    pub fn connections(&self) -> Api<GraphConnection> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Seeds a row with this id and display name, and nothing onboarded.
    pub fn row(&self, id: &str, display_name: &str) -> anyhow::Result<()> {
        let row = self.graph().base_row(id, display_name);
        self.graph().seed_row(&self.tenant, row)
    }

    /// What operators of tests are started with: waits are short, polls are rare.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            watch_namespaces: vec![self.namespace.clone()],
            timing: Timing {
                sync_interval: Duration::from_secs(600),
                slow: Duration::from_millis(1_500),
                very_slow: Duration::from_secs(3),
                grace: [
                    Duration::from_millis(100),
                    Duration::from_millis(200),
                    Duration::from_millis(300),
                ],
                backoff: Duration::from_millis(200),
                backoff_cap: Duration::from_millis(800),
                connection_cap: Duration::from_secs(1),
                secret: Duration::from_millis(300),
                credentials: Duration::from_millis(600),
                credentials_cap: Duration::from_secs(2),
                unknown_after: Duration::from_secs(900),
                pass: Duration::from_secs(30),
                request: Duration::from_secs(10),
            },
            heartbeat: HeartbeatRules {
                stale_after: Duration::from_secs(72 * 3_600),
                resolution: Duration::from_secs(900),
            },
            observe_only: false,
            endpoints: Endpoints {
                graph: Some(self.simulator.graph_endpoint().to_owned()),
                authority: Some(self.simulator.authority_host().to_owned()),
                metadata: None,
            },
            // A test that is about this names its own.
            operator_identity_namespaces: vec!["no-namespace".to_owned()],
            federated_token_file: None,
            abandon_cleanup_after: Some(Duration::from_secs(300)),
            extra_roots: Some(self.simulator.ca_pem().to_owned()),
            instance: "test".to_owned(),
        }
    }

    /// Starts the operator in this process, with a token of its ServiceAccount.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let config = self.config();
        self.start_with(config).await
    }

    /// Starts the operator with a configuration.
    pub async fn start_with(&mut self, config: Config) -> anyhow::Result<()> {
        self.stop().await?;
        // IT_LOG=1 shows the operators' lines; they are of many tests at once.
        if std::env::var_os("IT_LOG").is_some() {
            compliance_partner_operator::runtime::log::init(tracing_subscriber::filter::LevelFilter::DEBUG, false);
        }
        let client = self.operator_client().await?;
        self.start_by(client, config)
    }

    /// A client by a token of the operator's account.
    pub async fn operator_client(&self) -> anyhow::Result<Client> {
        self.plane
            .service_account_client(&self.operator_namespace, OPERATOR)
            .await
    }

    /// Starts the operator by a client of the test's own making. None may run.
    pub fn start_by(&mut self, client: Client, config: Config) -> anyhow::Result<()> {
        let operator = Operator::new(client, config)?;
        let context = Arc::clone(&operator.context);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(operator.run(stopping));
        self.running = Some(Running { stop, task, context });
        Ok(())
    }

    /// Starts the operator with a poll each second.
    pub async fn start_polling(&mut self) -> anyhow::Result<()> {
        let mut config = self.config();
        config.timing.sync_interval = Duration::from_secs(1);
        self.start_with(config).await
    }

    /// Stops the operator as a SIGTERM does, and waits until it has ended.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(running) = self.running.take() {
            running.stop.send_replace(true);
            tokio::time::timeout(PATIENCE, running.task)
                .await
                .context("the operator does not end")??;
        }
        Ok(())
    }

    /// The metrics of the running operator.
    pub fn metrics(&self) -> anyhow::Result<String> {
        let running = self.running.as_ref().context("no operator runs")?;
        Ok(running
            .context
            .metrics
            .encode(&running.context.index, &running.context.budgets)?)
    }
}
