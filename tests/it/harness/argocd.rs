//! What Argo CD makes of objects, by Argo CD's own code: a Go program in `tests/argocd`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::control_plane::{ControlPlane, ensured};
use crate::world::checkout;

/// Longer than a sync takes before it gives up by itself.
const LIMIT: Duration = Duration::from_secs(120);

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
    let answers = run(&[], None, requests).await?;
    ensure!(
        answers.len() == requests.len(),
        "{} answers to {} requests",
        answers.len(),
        requests.len()
    );
    Ok(answers)
}

/// Applies objects to a cluster as one sync of Argo CD's engine, and gives its outcome: its `phase` at the end with the
/// `message`, and in `results` a line for each object that was reached.
///
/// # Errors
/// If the program is not here and cannot be built, or does not end.
pub async fn argocd_sync(plane: &ControlPlane, objects: &[Value]) -> Result<Value> {
    let outcome = run(&["sync"], Some(plane), objects).await?;
    outcome.into_iter().next().context("no outcome")
}

async fn run(args: &[&str], plane: Option<&ControlPlane>, input: &[Value]) -> Result<Vec<Value>> {
    static PROGRAM: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();

    let program = PROGRAM.get_or_init(async || {
        let folder = ensured("argocd").await.map_err(|error| format!("{error:#}"))?;
        Ok(folder.join("argocd"))
    });
    let program = program.await.as_ref().map_err(|error| anyhow!("argocd: {error}"))?;
    let mut command = tokio::process::Command::new(program);
    if let Some(plane) = plane {
        command.env("KUBECONFIG", plane.admin_kubeconfig());
    }
    let mut child = command
        .arg(argocd_customizations())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("argocd cannot be started")?;
    let mut stdin = child.stdin.take().context("argocd has no standard input")?;
    let lines: Vec<String> = input.iter().map(Value::to_string).collect();
    let lines = lines.join("\n");
    let feed = async move {
        // It answers while it is asked; where it ends before that, what it says of it tells more than a broken pipe.
        let _ = stdin.write_all(lines.as_bytes()).await;
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = timeout(LIMIT, both).await.context("argocd does not end")??;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    answers
        .collect::<Result<_, _>>()
        .context("argocd answered something else")
}
