//! Ways into a control plane: clients, kubeconfigs, tokens and kubectl.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::kubectl::Kubectl;

/// A client by a kubeconfig, for the runtime that runs now.
///
/// # Errors
/// If the kubeconfig cannot be read.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // kube takes HTTPS_PROXY from the environment; 127.0.0.1 is never behind one.
    config.proxy_url = None;
    // A test decides itself what is tried again.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

impl ControlPlane {
    /// A token of a ServiceAccount that exists, good for an hour.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin_client().await?, namespace);
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &TokenRequest::default())
            .await
            .with_context(|| format!("no token for the ServiceAccount {namespace}/{name}"))?;
        let token = answer.status.and_then(|status| status.token);
        token.context("a TokenRequest was answered without a token")
    }

    /// A kubeconfig for a ServiceAccount that exists, with a fresh token; also for `kubectl --kubeconfig`.
    ///
    /// # Errors
    /// If the API server refuses the token.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);

        let token = self.service_account_token(namespace, name).await?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = format!("{namespace}-{name}-{count}.kubeconfig");
        self.setup
            .write_kubeconfig(&file, &json!({ "token": token }), namespace)
    }

    /// A client of a ServiceAccount that exists, for the runtime that runs now.
    ///
    /// # Errors
    /// If the API server refuses the token.
    pub async fn service_account_client(&self, namespace: &str, name: &str) -> Result<Client> {
        client(&self.service_account_kubeconfig(namespace, name).await?).await
    }

    /// kubectl as the administrator.
    #[must_use]
    pub fn as_admin(&self) -> Kubectl {
        Kubectl::new(
            &self.setup.binaries,
            &self.admin_kubeconfig(),
            &self.setup.file("kubectl-cache"),
        )
    }

    /// Runs kubectl, as the administrator unless `args` name another kubeconfig. That it fails is no error.
    ///
    /// # Errors
    /// If it cannot be run, or does not end within two minutes.
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_with_input(args, "").await
    }

    /// Runs kubectl as [`Self::kubectl`] does, with `input` as its standard input, for `-f -`.
    ///
    /// # Errors
    /// If it cannot be run, or does not end within two minutes.
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<Output> {
        self.as_admin().run(args, input).await
    }

    /// Runs kubectl and gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with what it wrote to standard error.
    pub async fn kubectl_ok(&self, args: &[&str]) -> Result<String> {
        self.kubectl_ok_with_input(args, "").await
    }

    /// Runs kubectl with `input` as its standard input and gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with what it wrote to standard error.
    pub async fn kubectl_ok_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        self.as_admin().ok_with_input(args, input).await
    }

    /// Runs the commands that a message ends with, `kubectl … && kubectl …`, as they stand there, and gives the
    /// arguments of each.
    ///
    /// # Errors
    /// If there is none, or one fails.
    pub async fn run_told(&self, message: &str) -> Result<Vec<String>> {
        let (_, commands) = message
            .split_once("kubectl ")
            .with_context(|| format!("no command in: {message}"))?;
        let commands: Vec<String> = commands.split(" && kubectl ").map(str::to_owned).collect();
        for command in &commands {
            let args: Vec<&str> = command.split_whitespace().collect();
            self.kubectl_ok(&args).await?;
        }
        Ok(commands)
    }
}
