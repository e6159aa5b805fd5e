//! What kstatus says of an object, by the code that Helm 4 and Flux wait with: a small Go program in `tests/kstatus`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::program::{ensured, run_to_success};

/// It only reads, thinks and writes.
const LIMIT: Duration = Duration::from_secs(60);

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
    let program = ensured("kstatus").await?.join("kstatus");
    let answer = run_to_success(&mut Command::new(program), &object.to_string(), LIMIT).await?;
    serde_json::from_str(&answer).context("kstatus answered no status")
}
