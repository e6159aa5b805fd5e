//! Helm, as users run it: the program that `tests/helm` builds, with a home of its own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::control_plane::ControlPlane;
use crate::program::{ensured, run_to_end, run_to_success};
use crate::scratch::Scratch;

/// Longer than any `--timeout` that a test gives.
const LIMIT: Duration = Duration::from_secs(180);

/// Helm for one cluster, or for none.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: Scratch,
    kubeconfig: PathBuf,
}

impl Helm {
    /// Helm without a cluster: to lint and to render.
    ///
    /// # Errors
    /// If the program is not here and cannot be built.
    pub async fn alone() -> Result<Self> {
        Self::by(Path::new("/dev/null")).await
    }

    /// Both versions that the chart works with, without a cluster.
    ///
    /// # Errors
    /// If the programs are not here and cannot be built.
    pub async fn both() -> Result<[Self; 2]> {
        Ok([Self::alone().await?, Self::alone().await?.in_version_3()])
    }

    /// Helm as the administrator of a control plane.
    ///
    /// # Errors
    /// If the program is not here and cannot be built.
    pub async fn on(plane: &ControlPlane) -> Result<Self> {
        Self::by(&plane.admin_kubeconfig()).await
    }

    /// Helm by a kubeconfig.
    ///
    /// # Errors
    /// If the program is not here and cannot be built.
    pub async fn by(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            program: ensured("helm").await?.join("helm"),
            home: Scratch::new()?,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    /// The same with Helm 3, which the chart works with too. As it comes Helm is Helm 4.
    #[must_use]
    pub fn in_version_3(mut self) -> Self {
        self.program.set_file_name("helm3");
        self
    }

    /// Runs Helm. That it fails is no error.
    ///
    /// # Errors
    /// If it cannot be run, or does not end within three minutes.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        run_to_end(&mut self.command(args), "", LIMIT).await
    }

    /// Runs Helm and gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with what it wrote to standard error.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        run_to_success(&mut self.command(args), "", LIMIT).await
    }

    /// Runs Helm, which has to fail, and gives what it wrote to standard error.
    ///
    /// # Errors
    /// If it succeeds.
    pub async fn refused(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        ensure!(!output.status.success(), "helm {} succeeded", args.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing of the user's own plugins, repositories and HELM_ variables.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HELM_") {
                command.env_remove(name);
            }
        }
        for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(place, self.home.path().join(place));
        }
        command.args(args).env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

/// The objects of a text with YAML documents, as of `helm template`.
///
/// # Errors
/// If one cannot be read.
pub fn yaml_documents(text: &str) -> Result<Vec<Value>> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.starts_with('#');
    let text = format!("\n{text}");
    let documents = text
        .split("\n---")
        .filter(|document| !document.lines().all(says_nothing));
    documents
        .map(|document| serde_saphyr::from_str(document).with_context(|| document.to_owned()))
        .collect()
}
