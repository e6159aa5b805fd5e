//! The program itself, as a process.

mod lifecycle;
mod proxy;
mod secrets;
mod synced;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use graph_simulator::Simulator;
use harness::{OPERATOR, PATIENCE, Process, Scratch, World, ask_admin_port, free_port, leashed, wait_for};

/// The operator as users run it.
pub(crate) struct Running {
    pub(crate) process: Process,
    port: u16,
    _folder: Scratch,
}

/// Where cargo has put the program: beside the tests' folder. `cargo test -p integration` alone does not build it anew;
/// `cargo build --workspace --bins` does, and so does `make test`.
fn program() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let mut folders = this.ancestors().skip(1).take(2);
    let found = folders.find_map(|folder| Some(folder.join(OPERATOR)).filter(|path| path.is_file()));
    found.context("the operator's program is not built: `cargo build --bin compliance-partner-operator` makes it")
}

impl Running {
    /// Starts `run` with these flags, for the simulator's endpoints, which it trusts by `SSL_CERT_FILE`.
    pub(crate) fn start(simulator: &Simulator, kubeconfig: Option<&Path>, flags: &[&str]) -> Result<Self> {
        Self::start_in(simulator, kubeconfig, flags, &[])
    }

    /// The same with more in its environment.
    fn start_in(
        simulator: &Simulator,
        kubeconfig: Option<&Path>,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let (graph, authority) = (simulator.graph_endpoint(), simulator.authority_host());
        let endpoints = ["--graph-endpoint", graph, "--authority-host", authority];
        Self::start_as(
            simulator.ca_pem(),
            kubeconfig,
            &[&endpoints, flags].concat(),
            environment,
        )
    }

    /// Starts `run` with these flags and no others but the admin port's. It trusts this certificate.
    pub(crate) fn start_as(
        ca_pem: &str,
        kubeconfig: Option<&Path>,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = Scratch::new()?;
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, ca_pem)?;
        let port = free_port()?;
        let mut command = leashed(program()?)?;
        command
            .arg("run")
            .args(["--admin-address", &format!("127.0.0.1:{port}")])
            .args(flags)
            .env("SSL_CERT_FILE", &roots)
            .env("HOME", folder.path())
            .envs(environment.iter().copied());
        command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let process = Process::spawn(OPERATOR, command, &folder.path().join("log"))?;
        Ok(Self {
            process,
            port,
            _folder: folder,
        })
    }

    /// The same for a world's namespace, by the account that the world has made.
    async fn of(world: &World, flags: &[&str]) -> Result<Self> {
        Self::of_in(world, flags, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn of_in(world: &World, flags: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let kubeconfig = world
            .plane
            .service_account_kubeconfig(&world.namespace, OPERATOR)
            .await?;
        let scope = ["--watch-namespaces", &world.namespace];
        Self::start_in(
            &world.simulator,
            Some(&kubeconfig),
            &[&scope, flags].concat(),
            environment,
        )
    }

    /// What the admin port answers: the status and the body.
    async fn get(&self, path: &str) -> Result<(u16, String)> {
        ask_admin_port(("127.0.0.1", self.port), path).await
    }

    /// Waits until the admin port answers with this status.
    pub(crate) async fn answers(&self, path: &str, status: u16, limit: Duration) -> Result<String> {
        let what = format!("{path} to answer {status}");
        let waited = wait_for(&what, limit, async || {
            let (got, body) = self.get(path).await?;
            ensure!(got == status, "{got}: {body}");
            Ok(body)
        });
        waited
            .await
            .map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.process.log_tail(20)))
    }

    /// Waits until a line of the log has these words.
    pub(crate) async fn says(&self, words: &str) -> Result<()> {
        let what = format!("a line with {words:?}");
        let waited = wait_for(&what, PATIENCE, async || {
            self.process.log().ok()?.contains(words).then_some(())
        });
        waited
            .await
            .map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.process.log_tail(20)))
    }

    /// Asks it to end; it has to end well.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.process.terminate()?;
        let status = self.process.wait(PATIENCE).await?;
        ensure!(status.code() == Some(0), "{status}\n{}", self.process.log_tail(20));
        Ok(())
    }
}
