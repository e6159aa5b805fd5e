//! kubectl, as users run it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::Result;
use tokio::process::Command;

use crate::program::{run_to_end, run_to_success};

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
        run_to_end(&mut self.command(args), input, LIMIT).await
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
        run_to_success(&mut self.command(args), input, LIMIT).await
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache);
        command
    }
}
