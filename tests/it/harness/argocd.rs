//! Argo CD's own code: a Go program in `tests/argocd`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::control_plane::ControlPlane;
use crate::objects::merge;
use crate::process::{Process, leashed};
use crate::program::{ensured, run_to_success};
use crate::world::checkout;

/// Longer than all answers take.
const LIMIT: Duration = Duration::from_secs(120);

/// The namespace that Argo CD and its Applications are in.
const NAMESPACE: &str = "argocd";

/// Argo CD's application controller, at work on the cluster that it is installed in. Its settings are those of a fresh
/// installation, with the customizations of `deploy/` as README.md adds them.
pub struct ArgoCd {
    process: Process,
    plane: Arc<ControlPlane>,
    admin: kube::Client,
}

impl ArgoCd {
    /// Installs it, and has folders stand for the repositories of these addresses.
    ///
    /// # Errors
    /// If the program, or Helm, is not here and cannot be built, or the API server refuses what it needs.
    pub async fn start(plane: &Arc<ControlPlane>, repositories: &[(&str, &Path)]) -> Result<Self> {
        let program = program().await?;
        let kinds = program.with_file_name("crds").display().to_string();
        plane
            .kubectl_ok(&["apply", "--server-side", "--filename", &kinds])
            .await?;
        plane
            .until_established(&["applications.argoproj.io", "appprojects.argoproj.io"])
            .await?;
        plane
            .kubectl_ok_with_input(&["create", "--filename=-"], &installation().to_string())
            .await?;
        let file = format!("--patch-file={}", argocd_customizations().display());
        let args = [
            "-n",
            NAMESPACE,
            "patch",
            "configmap",
            "argocd-cm",
            "--type=merge",
            &file,
        ];
        plane.kubectl_ok(&args).await?;

        let helm = ensured("helm").await?;
        let path = std::env::var("PATH").context("no PATH")?;
        let mut command = leashed(program)?;
        command
            .arg("control")
            .args(
                repositories
                    .iter()
                    .map(|(address, folder)| format!("{address}={}", folder.display())),
            )
            .env("KUBECONFIG", plane.admin_kubeconfig())
            .env("PATH", format!("{}:{path}", helm.display()));
        Ok(Self {
            process: Process::spawn("argocd", command, &plane.setup.file("argocd.log"))?,
            plane: Arc::clone(plane),
            admin: plane.admin_client().await?,
        })
    }

    /// An Application as it is now.
    ///
    /// # Errors
    /// If there is none.
    pub async fn application(&self, name: &str) -> Result<Value> {
        let path = format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications/{name}");
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.admin.request(request).await?)
    }

    /// Changes an Application by a merge patch.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn change(&self, name: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let args = [
            "-n",
            NAMESPACE,
            "patch",
            "application",
            name,
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.plane.kubectl_ok(&args).await.map(drop)
    }

    /// What its log says of each resource that failed an attempt at a sync.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn failures(&self) -> Result<Vec<String>> {
        let log = self.process.log()?;
        let results = log.lines().filter(|line| line.contains(" resource result, "));
        Ok(results
            .filter(|line| line.contains("'Failed'"))
            .map(str::to_owned)
            .collect())
    }

    /// The last lines of its log: for messages of failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail(30)
    }
}

/// What an installation has beside its kinds and its programs.
fn installation() -> Value {
    let labels = json!({ "app.kubernetes.io/part-of": "argocd" });
    let object = |kind: &str, name: &str| {
        json!({
            "apiVersion": "v1", "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
        })
    };
    // Written by Argo CD's server when it starts; without it the controller takes no change of its settings in.
    let mut secret = object("Secret", "argocd-secret");
    merge(
        &mut secret,
        json!({ "stringData": { "server.secretkey": "signs nothing here" } }),
    );
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } },
        object("ConfigMap", "argocd-cm"),
        secret,
        {
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
            "metadata": { "name": "default", "namespace": NAMESPACE },
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{ "server": "*", "namespace": "*" }],
                "clusterResourceWhitelist": [{ "group": "*", "kind": "*" }],
            },
        },
    ]})
}

/// Where the program is.
async fn program() -> Result<PathBuf> {
    Ok(ensured("argocd").await?.join("argocd"))
}

/// The file that users paste from, in the checkout.
#[must_use]
pub fn argocd_customizations() -> PathBuf {
    checkout().join("deploy/argocd/argocd-cm.yaml")
}

/// Asks Argo CD's code, with the customizations of `deploy/`, one question after the other. What may be asked stands in
/// `tests/argocd/main.go`; an answer with the key `error` says that Argo CD failed over it.
///
/// # Errors
/// If the program is not here and cannot be built, or does not answer all.
pub async fn argocd(requests: &[Value]) -> Result<Vec<Value>> {
    let mut command = Command::new(program().await?);
    command.arg("ask").arg(argocd_customizations());
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    let output = run_to_success(&mut command, &lines.join("\n"), LIMIT).await?;
    let answers = serde_json::Deserializer::from_str(&output).into_iter::<Value>();
    let answers: Vec<Value> = answers
        .collect::<Result<_, _>>()
        .context("argocd answered something else")?;
    ensure!(
        answers.len() == requests.len(),
        "{} answers to {} requests",
        answers.len(),
        requests.len()
    );
    Ok(answers)
}
