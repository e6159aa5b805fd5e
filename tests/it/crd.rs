//! The rules of the CRDs, on a real API server.

use anyhow::Result;
use harness::install_crds;

#[tokio::test]
async fn both_kinds_can_be_installed() -> Result<()> {
    let plane = install_crds().await?;
    let kinds = plane
        .kubectl_ok(&["api-resources", "--api-group=intune.msgraph.dev", "--output=name"])
        .await?;
    assert_eq!(kinds.lines().count(), 2, "{kinds}");
    Ok(())
}
