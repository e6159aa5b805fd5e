//! The parts that others wrote: where they are, and how the programs in `tests/contracts` run with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::{Authority, PATIENCE, Process, Scratch, checkout, ensured, leashed, run_to_success, wait_for};
use serde_json::{Value, json};

/// How long a program of Microsoft's SDK may take: it loads hundreds of modules, for the first time uncompiled.
const PROGRAM_LIMIT: Duration = Duration::from_secs(180);

/// How long a server in Node may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The folder of the installed parts.
pub(crate) struct Parts(PathBuf);

impl Parts {
    /// Has them installed where they are not; the first to ask waits for it.
    pub(crate) async fn get() -> Result<Self> {
        Ok(Self(ensured("contracts").await?))
    }

    /// Microsoft's OpenAPI document, cut.
    pub(crate) fn document(&self) -> PathBuf {
        self.0.join("graph.json")
    }

    /// A file of an npm package.
    pub(crate) fn package(&self, path: &str) -> PathBuf {
        self.0.join("node_modules").join(path)
    }
}

/// A program in `tests/contracts`.
fn program(name: &str) -> PathBuf {
    checkout().join("tests/contracts").join(name)
}

/// Settings for a program, in a file that only this user can read: they may hold a secret.
fn write_settings(folder: &Path, settings: &Value) -> Result<PathBuf> {
    let path = folder.join("settings.json");
    fs::write(&path, settings.to_string()).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// `node`, which ends with this process, speaks directly to 127.0.0.1, and trusts the roots in the file as well.
pub(crate) fn node(roots: Option<&Path>) -> Result<Command> {
    let mut command = leashed("node")?;
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    if let Some(roots) = roots {
        command.env("NODE_EXTRA_CA_CERTS", roots);
    }
    Ok(command)
}

/// Runs a Python program in `tests/contracts` to its end, and gives the lines of JSON that it printed.
pub(crate) async fn python(name: &str, settings: &Value) -> Result<Vec<Value>> {
    let parts = Parts::get().await?;
    let folder = Scratch::new()?;
    let settings = write_settings(folder.path(), settings)?;
    let mut command = tokio::process::Command::from(leashed(parts.0.join("python/bin/python"))?);
    command
        .arg(program(name))
        .arg(settings)
        .env("NO_PROXY", "*")
        .env("no_proxy", "*");
    let text = run_to_success(&mut command, "", PROGRAM_LIMIT).await?;
    let line = |line| serde_json::from_str(line).with_context(|| format!("{name} printed no JSON: {line}"));
    text.lines().map(line).collect()
}

/// A server in `tests/contracts` that speaks TLS and tells what it sees.
pub(crate) struct Server {
    process: Process,
    _folder: Scratch,
    /// Where it listens: `https://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// The certificate to trust, PEM.
    pub(crate) root_pem: String,
}

impl Server {
    /// Starts it with these settings and waits until it listens.
    pub(crate) async fn start(name: &str, mut settings: Value) -> Result<Self> {
        let parts = Parts::get().await?;
        let folder = Scratch::new()?;
        let authority = Authority::new()?;
        let identity = authority.server(&[])?;
        harness::merge(
            &mut settings,
            json!({"parts": parts.0, "certificate": identity.certificate, "key": identity.key}),
        );
        let settings = write_settings(folder.path(), &settings)?;
        let mut command = node(None)?;
        command.arg(program(name)).arg(settings);
        let process = Process::spawn(name, command, &folder.path().join("log"))?;
        let origin = until_it_listens(&process, START_LIMIT, async || {
            let lines = lines(&process)?;
            let origin = lines.iter().find_map(|line| line.get("listens")?.as_str());
            origin.map(str::to_owned).context("it does not say so")
        })
        .await?;
        Ok(Self {
            process,
            _folder: folder,
            origin,
            root_pem: authority.pem(),
        })
    }

    /// What it has told of the requests for a token so far.
    pub(crate) fn told(&self) -> Result<Vec<Value>> {
        let mut lines = lines(&self.process)?;
        lines.retain(|line| line.get("granted").is_some());
        Ok(lines)
    }

    /// Waits until a request was granted, or was refused, and gives the last one told.
    pub(crate) async fn told_last(&self, granted: bool) -> Result<Value> {
        let what = if granted { "a granted token" } else { "a refusal" };
        let told = wait_for(what, PATIENCE, async || {
            let told = self.told()?.pop().context("no request was told")?;
            ensure!(told.get("granted") == Some(&json!(granted)), "{told:#}");
            Ok(told)
        });
        told.await
            .map_err(|error| anyhow!("{error:#}\n{}", self.process.log_tail(30)))
    }
}

/// Waits for a look that says that a server listens, but no longer than it lives.
pub(crate) async fn until_it_listens<T>(
    process: &Process,
    limit: Duration,
    look: impl AsyncFn() -> Result<T>,
) -> Result<T> {
    let outcome = wait_for("a server that listens", limit, async || match process.exited()? {
        Some(status) => Ok(Err(anyhow!("it ended: {status}"))),
        None => look().await.map(Ok),
    });
    let outcome = outcome.await.flatten();
    outcome.map_err(|error| anyhow!("{error:#}\n{}", process.log_tail(30)))
}

/// The lines of a log that are JSON objects; packages print warnings between them.
fn lines(process: &Process) -> Result<Vec<Value>> {
    let log = process.log()?;
    let objects = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(objects.filter(Value::is_object).collect())
}
