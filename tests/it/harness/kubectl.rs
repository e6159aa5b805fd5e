//! kubectl, as users run it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

/// kubectl waits for ever on a paused API server.
const LIMIT: Duration = Duration::from_secs(120);

/// kubectl for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// The kubectl of this folder, by a kubeconfig. What it remembers of servers goes into a folder of its own, for it goes
    /// by their addresses, and ports come again.
    #[must_use]
    pub fn new(binaries: &Path, kubeconfig: &Path, cache: &Path) -> Self {
        Self {
            program: binaries.join("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
            cache: cache.to_owned(),
        }
    }

    /// Runs it, with `input` as its standard input, for `-f -`. That it fails is no error.
    ///
    /// # Errors
    /// If it cannot be run, or does not end within two minutes.
    pub async fn run(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("kubectl cannot be started")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        let feed = async move {
            // kubectl may refuse its arguments and end before it reads; its answer says more than a broken pipe.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = timeout(LIMIT, both)
            .await
            .with_context(|| format!("kubectl {} did not end within {LIMIT:?}", args.join(" ")))?;
        output.context("kubectl cannot be waited for")
    }

    /// Runs it and gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with what it wrote to standard error.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        self.ok_with_input(args, "").await
    }

    /// Runs it with `input` as its standard input and gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails; with what it wrote to standard error.
    pub async fn ok_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.run(args, input).await?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}: {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}
