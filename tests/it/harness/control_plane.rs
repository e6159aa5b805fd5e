//! etcd, kube-apiserver and, where asked for, kube-controller-manager.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::audit;
use crate::certificates::{self, Authority};
use crate::process::{Process, free_port, leashed};
use crate::program::ensured;
use crate::scratch::Scratch;
use crate::wait::wait_for;

/// Three seconds on two idle cores; the rest is for a machine that compiles at the same time.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How often a start is tried where somebody else took a port that was free a moment ago.
const START_TRIES: usize = 3;

/// What kube-apiserver says then, in its log.
const PORT_TAKEN: &str = "address already in use";

/// What a control plane is started with. The default is etcd and kube-apiserver alone.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Starts kube-controller-manager too: garbage collection, the deletion of namespaces, Deployments, and the
    /// ServiceAccount `default` of every namespace.
    pub controller_manager: bool,
    /// More flags for kube-apiserver, after the usual ones.
    pub api_server_flags: Vec<String>,
    /// Makes it one for nodes with pods: it listens at this address of the machine, which pods reach, and only there, and
    /// does all that a cluster's API server does by default. Absent: see [`ControlPlane`].
    pub node_address: Option<Ipv4Addr>,
}

/// A control plane of the test's own, on free ports of 127.0.0.1. It is killed, and its folder removed, on drop.
///
/// Users are told apart by RBAC as in any cluster. Unless it is one for nodes, `ServiceAccount` admission is off: a pod
/// needs no account, and no namespace gets one unless `kube-controller-manager` runs.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: nobody outlives what it talks to, and the folder goes last.
    controller_manager: Option<Process>,
    api_server: Mutex<Process>,
    etcd: Process,
    pub(crate) setup: Setup,
}

/// All that is settled before the first process starts.
#[derive(Debug)]
pub(crate) struct Setup {
    options: Options,
    pub(crate) binaries: PathBuf,
    pub(crate) folder: Scratch,
    pub(crate) audit_log: PathBuf,
    port: u16,
    pub(crate) url: String,
    etcd_url: String,
    ca_pem: String,
    authority: Authority,
}

impl ControlPlane {
    /// Starts a control plane and waits until it serves.
    ///
    /// # Errors
    /// If the programs are not here and cannot be built, or if they do not come up; with the tails of their logs.
    pub async fn start(options: Options) -> Result<Self> {
        crate::install_tls_provider();
        let binaries = ensured("control-plane").await?;
        for _ in 1..START_TRIES {
            match Self::launch(Setup::new(options.clone(), binaries.clone())?).await {
                Err(error) if format!("{error:#}").contains(PORT_TAKEN) => {}
                outcome => return outcome,
            }
        }
        Self::launch(Setup::new(options, binaries)?).await
    }

    /// The control plane that all tests of this process share, with the default options; the first to ask starts it.
    ///
    /// Tests keep out of each other's way by a namespace and names of their own. One that pauses or restarts the API
    /// server starts its own control plane. A client is bound to the runtime of the test that made it, so none is shared.
    ///
    /// # Errors
    /// If it could not be started, the same to everyone who asks.
    pub async fn shared() -> Result<&'static Arc<Self>> {
        static SHARED: OnceCell<Result<Arc<ControlPlane>, String>> = OnceCell::const_new();

        let shared = SHARED.get_or_init(async || {
            Self::start(Options::default())
                .await
                .map(Arc::new)
                .map_err(|error| format!("{error:#}"))
        });
        shared
            .await
            .as_ref()
            .map_err(|error| anyhow!("the shared control plane: {error}"))
    }

    async fn launch(setup: Setup) -> Result<Self> {
        let etcd = setup.spawn_etcd()?;
        let api_server = Mutex::new(setup.spawn_api_server()?);
        let mut this = Self {
            controller_manager: None,
            api_server,
            etcd,
            setup,
        };
        this.until_ready().await?;
        if this.setup.options.controller_manager {
            this.controller_manager = Some(this.setup.spawn_controller_manager()?);
            this.until_controllers_work().await?;
        }
        Ok(this)
    }

    /// Where the API server listens: `https://ADDRESS:PORT`. The issuer of its ServiceAccount tokens is this and a slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.setup.url
    }

    /// The root that signed the API server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.setup.ca_pem
    }

    /// A kubeconfig for a member of `system:masters`.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.setup.file("admin.kubeconfig")
    }

    /// A kubeconfig for a user whose certificate names this group; each user's is in a file of this name.
    ///
    /// # Errors
    /// If no certificate can be made or written.
    pub fn user_kubeconfig(&self, file: &str, user: &str, group: &str) -> Result<PathBuf> {
        self.setup.certify(file, user, group)
    }

    /// Stops the API server where it stands: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause_api_server(&self) -> Result<()> {
        self.api_server().pause()
    }

    /// Lets a paused API server go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume_api_server(&self) -> Result<()> {
        self.api_server().resume()
    }

    /// Kills the API server and starts it anew with the same port, certificates and data; waits until it serves.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn restart_api_server(&self) -> Result<()> {
        {
            let mut api_server = self.api_server();
            api_server.kill();
            *api_server = self.setup.spawn_api_server()?;
        }
        self.until_ready().await
    }

    /// Waits for `/readyz`, and for the namespace in which most tests work: the API server makes it after it is ready.
    async fn until_ready(&self) -> Result<()> {
        let client = self.admin_client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        self.until("a ready API server", async || {
            client
                .request_text(http::Request::get("/readyz").body(Vec::new())?)
                .await?;
            namespaces.get("default").await?;
            Ok(())
        })
        .await
    }

    /// Waits for the first thing that kube-controller-manager does for every namespace.
    async fn until_controllers_work(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin_client().await?, "default");
        self.until("the ServiceAccount `default`, by kube-controller-manager", async || {
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    /// Waits for a condition, but no longer than all processes live; says on failure what they logged.
    async fn until(&self, what: &str, look: impl AsyncFn() -> Result<()>) -> Result<()> {
        let outcome = wait_for(what, START_LIMIT, async || {
            if let Some(name) = self.dead()? {
                return Ok(Err(anyhow!("{name} ended while it was waited for {what}")));
            }
            look().await.map(Ok)
        });
        outcome
            .await
            .flatten()
            .map_err(|error| anyhow!("{error:#}\n{}", self.log_tails()))
    }

    /// The name of a process that has ended.
    fn dead(&self) -> Result<Option<&'static str>> {
        if self.etcd.exited()?.is_some() {
            return Ok(Some("etcd"));
        }
        if self.api_server().exited()?.is_some() {
            return Ok(Some("kube-apiserver"));
        }
        match &self.controller_manager {
            Some(process) if process.exited()?.is_some() => Ok(Some("kube-controller-manager")),
            _ => Ok(None),
        }
    }

    /// The last lines that each process has logged: for messages of failure.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let mut tails = vec![self.etcd.log_tail(10), self.api_server().log_tail(30)];
        tails.extend(self.controller_manager.as_ref().map(|process| process.log_tail(30)));
        tails.join("\n")
    }

    fn api_server(&self) -> MutexGuard<'_, Process> {
        // A panic elsewhere leaves the process as it was.
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of the administrator, for the runtime that runs now.
    ///
    /// # Errors
    /// If its kubeconfig cannot be read.
    pub async fn admin_client(&self) -> Result<Client> {
        crate::access::client(&self.admin_kubeconfig()).await
    }
}

impl Setup {
    fn new(options: Options, binaries: PathBuf) -> Result<Self> {
        let authority = Authority::new()?;
        let (port, address) = (free_port()?, options.node_address.unwrap_or(Ipv4Addr::LOCALHOST));
        let server = authority.server(&[IpAddr::V4(address)])?;
        let folder = Scratch::new()?;
        let this = Self {
            options,
            binaries,
            audit_log: audit::log_for(&folder),
            folder,
            port,
            url: format!("https://{address}:{port}"),
            etcd_url: format!("http://127.0.0.1:{}", free_port()?),
            ca_pem: authority.pem(),
            authority,
        };
        let accounts = certificates::key()?;
        for (name, content) in [
            ("ca.pem", &this.ca_pem),
            ("server.pem", &server.certificate),
            ("server.key", &server.key),
            ("accounts.key", &accounts.serialize_pem()),
            ("accounts.pub", &accounts.public_key_pem()),
            ("audit.json", &audit::policy().to_string()),
        ] {
            fs::write(this.file(name), content).with_context(|| format!("{name} cannot be written"))?;
        }
        this.certify("admin", "admin", "system:masters")?;
        Ok(this)
    }

    /// Writes FILE.pem, FILE.key and FILE.kubeconfig, for a user by a certificate.
    fn certify(&self, file: &str, user: &str, group: &str) -> Result<PathBuf> {
        let identity = self.authority.client(user, group)?;
        let (certificate, key) = (self.file(&format!("{file}.pem")), self.file(&format!("{file}.key")));
        fs::write(&certificate, identity.certificate).and_then(|()| fs::write(&key, identity.key))?;
        let user = json!({"client-certificate": certificate, "client-key": key});
        self.write_kubeconfig(&format!("{file}.kubeconfig"), &user, "default")
    }

    /// A file in the control plane's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a kubeconfig for `user`, in JSON, which is YAML too.
    pub(crate) fn write_kubeconfig(&self, name: &str, user: &Value, namespace: &str) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": { "server": self.url, "certificate-authority": self.file("ca.pem") },
            }],
            "users": [{ "name": "user", "user": user }],
            "contexts": [{
                "name": "test",
                "context": { "cluster": "test", "user": "user", "namespace": namespace },
            }],
            "current-context": "test",
        });
        let path = self.file(name);
        fs::write(&path, config.to_string()).with_context(|| format!("{name} cannot be written"))?;
        Ok(path)
    }

    fn spawn_etcd(&self) -> Result<Process> {
        let url = &self.etcd_url;
        let flags = [
            format!("--data-dir={}", self.file("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()?),
            // The data need not outlive the machine.
            "--unsafe-no-fsync=true".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        self.spawn("etcd", &flags)
    }

    fn spawn_api_server(&self) -> Result<Process> {
        let file = |name| self.file(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd_url),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("api-server")),
            format!("--tls-cert-file={}", file("server.pem")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.pem")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--service-account-issuer={}/", self.url),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--allow-privileged=true".to_owned(),
        ];
        flags.extend(audit::flags(&self.file("audit.json"), &self.audit_log));
        flags.extend(self.reach());
        flags.extend_from_slice(&self.options.api_server_flags);
        self.spawn("kube-apiserver", &flags)
    }

    /// The flags that depend on whether there are nodes.
    fn reach(&self) -> Vec<String> {
        let Some(address) = self.options.node_address else {
            return vec![
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
            ];
        };
        vec![
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--kubelet-client-certificate={}", self.file("admin.pem").display()),
            format!("--kubelet-client-key={}", self.file("admin.key").display()),
            // A node's name is in no DNS.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
    }

    fn spawn_controller_manager(&self) -> Result<Process> {
        let program = "kube-controller-manager";
        ensure!(
            self.binaries.join(program).is_file(),
            "{program} is asked for, but {} lacks it",
            self.binaries.display()
        );
        let file = |name| self.file(name).display().to_string();
        let flags = [
            format!("--kubeconfig={}", file("admin.kubeconfig")),
            format!("--service-account-private-key-file={}", file("accounts.key")),
            format!("--root-ca-file={}", file("ca.pem")),
            format!("--cert-dir={}", file("controller-manager")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_port()?),
            "--leader-elect=false".to_owned(),
        ];
        self.spawn(program, &flags)
    }

    fn spawn(&self, program: &str, flags: &[String]) -> Result<Process> {
        let mut command = leashed(self.binaries.join(program))?;
        command.args(flags).current_dir(self.folder.path());
        Process::spawn(program, command, &self.file(&format!("{program}.log")))
    }
}
