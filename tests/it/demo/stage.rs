//! What the demo plays on: the simulator with what `deploy/examples` name, and the operator as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use graph_simulator::{App, Control, Request, Simulator};
use harness::{
    ControlPlane, OPERATOR, PATIENCE, Process, Scratch, Story, WRITE_ROLE, ask_admin_port, free_port, leashed, tell,
    wait_for,
};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{NAMESPACE, PARTNER, kubectl};

/// What the examples in `deploy/` name, so that the simulator has the same.
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) partner: String,
    pub(crate) secret: String,
}

impl Tenant {
    pub(crate) async fn of_examples(plane: &ControlPlane) -> Result<Self> {
        let read = async |file: &str, pointer: &str| -> Result<String> {
            let json = plane
                .kubectl_ok(&["create", "--dry-run=client", "-o", "json", "-f", file])
                .await?;
            let object: Value = serde_json::from_str(&json)?;
            let found = object.pointer(pointer).and_then(Value::as_str);
            Ok(found.with_context(|| format!("{file} has no {pointer}"))?.to_owned())
        };
        let connection = "deploy/examples/connection.yaml";
        Ok(Self {
            id: read(connection, "/spec/tenantId").await?,
            client_id: read(connection, "/spec/clientId").await?,
            partner: read("deploy/examples/partner.yaml", "/spec/partnerRef/id").await?,
            secret: graph_simulator::new_secret(),
        })
    }
}

/// All that runs. Dropped in this order: nobody outlives what it talks to.
pub(crate) struct Stage<'a> {
    pub(crate) story: &'a Story,
    pub(crate) tenant: Tenant,
    pub(crate) operator: Process,
    admin_port: u16,
    simulator: Simulator,
    pub(crate) plane: ControlPlane,
    folder: Scratch,
}

impl<'a> Stage<'a> {
    /// Starts the simulator with what the examples name, and the operator.
    pub(crate) async fn set(story: &'a Story, plane: ControlPlane, tenant: Tenant) -> Result<Self> {
        let simulator =
            Simulator::start(graph_simulator::Options::default()).context("the simulator does not start")?;
        let graph = simulator.control();
        let app = App::with_secret(&tenant.secret).roles([WRITE_ROLE]);
        graph.add_app(&tenant.id, &tenant.client_id, app);
        let fleet = "a1e2c3d4-0000-4000-8000-0123456789ab";
        for (id, name) in [(tenant.partner.as_str(), "Jamf Device Compliance"), (fleet, "Fleet")] {
            graph.seed_row(&tenant.id, graph.base_row(id, name))?;
            graph.change_row(&tenant.id, id, json!({"lastHeartbeatDateTime": ago(1)?}))?;
        }
        story.step("A simulator of Graph and Entra listens (TLS), with a tenant, an app and two partners");

        let folder = Scratch::new()?;
        let admin_port = free_port()?;
        let command = operator(&plane, &simulator, folder.path(), admin_port).await?;
        let operator = Process::spawn("the operator", command, &folder.path().join("operator.log"))?;
        let stage = Self {
            story,
            tenant,
            operator,
            admin_port,
            simulator,
            plane,
            folder,
        };
        stage.until_operator_is_ready().await?;
        story.step("The operator runs, with the rights of deploy/rbac.yaml, and its /readyz answers 200");
        Ok(stage)
    }

    async fn until_operator_is_ready(&self) -> Result<()> {
        let ready = wait_for("the operator's /readyz", PATIENCE, async || {
            let (status, body) = ask_admin_port(("127.0.0.1", self.admin_port), "/readyz").await?;
            ensure!(status == 200, "{status}: {body}");
            Ok(())
        });
        tokio::select! {
            outcome = ready => outcome.map_err(|error| anyhow!("{error:#}\n{}", self.operator.log_tail(25))),
            failure = self.operator_ends() => Err(failure),
        }
    }

    /// Comes back when the operator has ended, which it never should by itself.
    pub(crate) async fn operator_ends(&self) -> anyhow::Error {
        const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);
        let ended = wait_for("its end", FOR_EVER, async || self.operator.exited()?.context("it runs")).await;
        let how = ended.map_or_else(|error| format!("{error:#}"), |status| status.to_string());
        anyhow!(
            "the operator has ended by itself ({how})\n{}",
            self.operator.log_tail(25)
        )
    }

    /// The simulator's other side.
    pub(crate) fn graph(&self) -> Control {
        self.simulator.control()
    }

    /// Waits for change number `count` that Graph was sent and has answered, and gives it as it was on the wire.
    pub(crate) async fn patch(&self, count: usize) -> Result<String> {
        let answered = |request: &Request| request.is_patch() && request.status.is_some();
        let patches = self.graph().wait_for_requests(answered, count, PATIENCE).await?;
        ensure!(
            patches.len() == count,
            "Graph was sent {} changes, not {count}",
            patches.len()
        );
        let patch = patches.last().context("no change")?;
        let body = serde_json::to_string_pretty(&patch.body)?;
        let status = patch.status.unwrap_or_default();
        Ok(format!("PATCH {} -> {status}\n{body}", patch.path))
    }

    /// Waits for an event about the partner: its reason, and a word of its note.
    pub(crate) async fn event(&self, reason: &str, word: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.plane.admin_client().await?, NAMESPACE);
        wait_for(&format!("the event {reason} ({word})"), PATIENCE, async || {
            let seen = events.list(&ListParams::default()).await?.items;
            let mut notes = seen.iter().filter(|event| event.reason.as_deref() == Some(reason));
            let found = notes.any(|event| event.note.as_deref().unwrap_or_default().contains(word));
            found
                .then_some(())
                .with_context(|| format!("{} other events", seen.len()))
        })
        .await
    }

    /// What `kubectl describe` says of the partner's events.
    pub(crate) async fn events(&self) -> Result<String> {
        let described = kubectl(&self.plane, &["-n", NAMESPACE, "describe", "cmp", PARTNER]).await?;
        let (command, _) = described.split_once('\n').unwrap_or_default();
        let at = described
            .find("\nEvents:")
            .context("kubectl describe shows no events")?;
        let events = described.get(at..).unwrap_or_default();
        Ok(format!("{command} | sed -n '/^Events:/,$p'{events}"))
    }

    /// What to try while all is kept up.
    pub(crate) fn invite(&self) {
        let (story, tenant) = (self.story, &self.tenant);
        story.step("All is kept up until ctrl-c; in another terminal, in this folder:");
        let control = format!("http://{}", self.simulator.control_address());
        let row = format!("{control}/tenants/{}/rows/{}", tenant.id, tenant.partner);
        let kubeconfig = self.plane.admin_kubeconfig();
        let (kubeconfig, log) = (kubeconfig.display(), self.operator.log_path().display());
        let (graph, entra) = (self.simulator.graph_endpoint(), self.simulator.authority_host());
        let admin = self.admin_port;
        tell(&format!(
            r#"export KUBECONFIG={kubeconfig}
export PATH="$PATH:$(make -s control-plane)"                    # if you have no kubectl
kubectl -n contoso get cmp,gconn -o wide
kubectl explain cmp.spec
kubectl -n contoso edit cmp jamf                                # then: kubectl -n contoso describe cmp jamf
kubectl apply -f deploy/examples/partner-by-name.yaml           # one that is only watched
tail -f {log}
curl http://127.0.0.1:{admin}/metrics
# In the portal, and what Graph has received:
curl -X PATCH {row} -d '{{"partnerState": "enabled", "iosOnboarded": false}}'
curl {row}
curl '{control}/requests?method=PATCH'
# Graph {graph}, Entra {entra}; their certificate: {control}/ca.pem
"#
        ));
    }

    /// Ends the operator as a cluster does, and all else.
    pub(crate) async fn close(self) -> Result<()> {
        self.operator.terminate()?;
        let status = self.operator.wait(PATIENCE).await?;
        ensure!(
            status.success(),
            "the operator ended badly ({status})\n{}",
            self.operator.log_tail(25)
        );
        let Self {
            story,
            operator,
            simulator,
            plane,
            folder,
            ..
        } = self;
        drop(operator);
        simulator.shutdown().await;
        drop(plane);
        drop(folder);
        story.step("Done: the operator has ended with status 0, and nothing is left running");
        Ok(())
    }
}

/// The command line of the operator, as a process of its own that knows no more than a pod would.
async fn operator(
    plane: &ControlPlane,
    simulator: &Simulator,
    folder: &Path,
    admin_port: u16,
) -> Result<std::process::Command> {
    let this = std::env::current_exe()?;
    let program = this.with_file_name("compliance-partner-operator");
    ensure!(program.is_file(), "the operator is not built; `make demo` does that");
    let authority = folder.join("microsoft.pem");
    std::fs::write(&authority, simulator.ca_pem())?;
    let mut command = leashed(program)?;
    command
        .arg("run")
        .arg("--sync-interval=1s")
        .arg(format!("--graph-endpoint={}", simulator.graph_endpoint()))
        .arg(format!("--authority-host={}", simulator.authority_host()))
        .arg(format!("--admin-address={}", SocketAddr::from(([127, 0, 0, 1], admin_port))))
        .env("KUBECONFIG", kubeconfig(plane, folder).await?)
        .env("SSL_CERT_FILE", authority)
        // The simulator is on this machine, behind no proxy.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .env("NO_COLOR", "1");
    Ok(command)
}

/// A kubeconfig of the operator's ServiceAccount, with a token that outlives a long HOLD.
async fn kubeconfig(plane: &ControlPlane, folder: &Path) -> Result<PathBuf> {
    let token = plane
        .kubectl_ok(&["-n", OPERATOR, "create", "token", OPERATOR, "--duration=24h"])
        .await?;
    let authority = folder.join("kubernetes.pem");
    std::fs::write(&authority, plane.ca_pem())?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "demo", "cluster": {"server": plane.url(), "certificate-authority": authority}}],
        "users": [{"name": "operator", "user": {"token": token.trim()}}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "operator"}}],
        "current-context": "demo",
    });
    let path = folder.join("operator.kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

/// The moment so many hours ago, as Graph writes it.
pub(crate) fn ago(hours: i64) -> Result<String> {
    Ok(Timestamp::now()
        .checked_sub(SignedDuration::from_hours(hours))?
        .to_string())
}
