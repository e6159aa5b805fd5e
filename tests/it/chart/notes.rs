//! What Helm tells of a release, and that it is true.

use anyhow::{Context as _, Result, ensure};
use harness::Helm;

use super::{NAMESPACE, RELEASE, chart};

const CONNECTIONS: &str = r#"connections=[{"namespace":"contoso","secretName":"graph"}]"#;

/// The notes of a release with these flags.
async fn notes(flags: &[&str]) -> Result<String> {
    let chart = chart();
    let install = ["install", RELEASE, &chart, "--namespace", NAMESPACE, "--dry-run=client"];
    let told = Helm::alone().await?.ok(&[&install[..], flags].concat()).await?;
    let (_, notes) = told.split_once("\nNOTES:\n").context("no notes")?;
    Ok(notes.to_owned())
}

#[tokio::test]
async fn a_release_without_roles_says_that_they_are_its_users_to_make() -> Result<()> {
    let without = notes(&["--set", "rbac.create=false"]).await?;
    for told in [
        "(rbac.create)",
        "deploy/rbac.yaml",
        "auth can-i list compliancemanagementpartners.intune.msgraph.dev --all-namespaces",
        "--as=system:serviceaccount:chart-operator:compliance-partner-operator",
    ] {
        ensure!(without.contains(told), "{told} is not in {without}");
    }
    ensure!(!without.contains("`connections`"), "{without}");
    let few = notes(&["--set", "rbac.create=false,watchNamespaces={contoso,fabrikam}"]).await?;
    ensure!(
        few.contains("--namespace contoso")
            && few.contains("--namespace fabrikam")
            && !few.contains("--all-namespaces"),
        "{few}"
    );

    let with = notes(&["--set-json", CONNECTIONS]).await?;
    ensure!(
        !with.contains("rbac.create") && with.contains("does that for\n     contoso/graph\n"),
        "{with}"
    );
    Ok(())
}
