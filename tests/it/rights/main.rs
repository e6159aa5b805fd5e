//! Holds the operator's rights against all that operators asked of API servers while every other test ran: `make test`
//! keeps the audit logs and runs this last.
//!
//! | what | where |
//! |---|---|
//! | the rules that `deploy/` has | `granted` |
//! | the requests of operators, and why the API server's authorizer let them pass | `asked` |
//! | what is of no use, and what is missing | `judged` |
//! | that each of these would be told | `proofs` |

mod asked;
mod granted;
mod judged;
mod proofs;

use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};

use asked::Asked;
use granted::Granted;
use judged::Scope;

/// All that operators asked, read once.
fn asked() -> Result<&'static [Asked]> {
    static ASKED: OnceLock<Result<Vec<Asked>, String>> = OnceLock::new();

    let asked = ASKED.get_or_init(|| asked::of_all_logs().map_err(|error| format!("{error:#}")));
    asked.as_deref().map_err(|error| anyhow!("{error}"))
}

async fn every_right_is_used(scope: Scope) -> Result<()> {
    let asked = asked()?;
    let unused = judged::unused(&Granted::by_deploy().await?, asked, scope);
    ensure!(unused.is_empty(), "granted and never used:\n{}", unused.join("\n"));
    Ok(())
}

#[tokio::test]
async fn an_operator_of_the_whole_cluster_uses_all_that_it_is_granted() -> Result<()> {
    every_right_is_used(Scope::Cluster).await
}

#[tokio::test]
async fn an_operator_of_some_namespaces_uses_all_that_it_is_granted() -> Result<()> {
    every_right_is_used(Scope::Namespaces).await
}

#[tokio::test]
async fn operators_ask_for_nothing_that_they_are_not_granted() -> Result<()> {
    let asked = asked()?;
    let missing = judged::missing(&Granted::by_deploy().await?, asked);
    ensure!(missing.is_empty(), "used and not granted:\n{}", missing.join("\n"));
    Ok(())
}
