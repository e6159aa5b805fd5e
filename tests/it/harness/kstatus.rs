//! What kstatus says of an object, by the code that Helm 4 and Flux wait with: a small Go program in `tests/kstatus`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

use crate::control_plane::ensured;

/// What kstatus makes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kstatus {
    /// `InProgress`, `Current`, `Failed` or `Terminating`.
    pub status: String,
    /// What Helm prints when it has waited in vain.
    pub message: String,
}

/// Asks kstatus about an object, whole as the API server gives it.
///
/// # Errors
/// If the program is not here and cannot be built, or does not know what to make of the object.
pub async fn kstatus(object: &Value) -> Result<Kstatus> {
    static PROGRAM: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();

    let program = PROGRAM.get_or_init(async || {
        let folder = ensured("kstatus").await.map_err(|error| format!("{error:#}"))?;
        Ok(folder.join("kstatus"))
    });
    let program = program.await.as_ref().map_err(|error| anyhow!("kstatus: {error}"))?;
    let mut child = tokio::process::Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kstatus cannot be started")?;
    let mut input = child.stdin.take().context("kstatus has no standard input")?;
    // An object fits in the pipe or is read while it is written: the program answers only when it has all of it.
    input.write_all(object.to_string().as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "kstatus: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    serde_json::from_slice(&output.stdout).context("kstatus answered no verdict")
}
