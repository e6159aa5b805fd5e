//! The operator's own kinds, as a user installs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::client::Body;
use tokio::sync::OnceCell;

use crate::control_plane::ControlPlane;
use crate::wait::wait_for;

/// Half a second on two idle cores.
const ESTABLISHED_LIMIT: Duration = Duration::from_secs(30);

/// The names of the CRDs in [`crds_folder`].
pub const CRD_NAMES: [&str; 2] = [
    "compliancemanagementpartners.intune.msgraph.dev",
    "graphconnections.intune.msgraph.dev",
];

/// The folder of the CRDs that users install, a file for each of [`CRD_NAMES`].
#[must_use]
pub fn crds_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds")
}

/// The shared control plane with both CRDs; the first to ask in this process installs them.
///
/// # Errors
/// If it could not be started or refuses a CRD, the same to everyone who asks.
pub async fn install_crds() -> Result<&'static Arc<ControlPlane>> {
    static INSTALLED: OnceCell<Result<(), String>> = OnceCell::const_new();

    let plane = ControlPlane::shared().await?;
    let installed = INSTALLED.get_or_init(async || plane.apply_crds().await.map_err(|error| format!("{error:#}")));
    installed.await.as_ref().map_err(|error| anyhow!("the CRDs: {error}"))?;
    Ok(plane)
}

impl ControlPlane {
    /// Installs both CRDs as the README says, by kubectl's server-side apply, and waits until they are served. For a
    /// control plane of the test's own; on the shared one, use [`install_crds`].
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn apply_crds(&self) -> Result<()> {
        let folder = crds_folder().display().to_string();
        self.kubectl_ok(&["apply", "--server-side", "--filename", &folder])
            .await?;
        self.until_established(&CRD_NAMES).await
    }

    /// Waits until CRDs that exist are served, and can be watched: for a moment after that the API server refuses it.
    ///
    /// # Errors
    /// If one is not within half a minute, with what its conditions say.
    pub async fn until_established(&self, names: &[&str]) -> Result<()> {
        let client = self.admin_client().await?;
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for name in names {
            wait_for(&format!("the CRD {name}"), ESTABLISHED_LIMIT, async || -> Result<()> {
                let crd = crds.get(name).await?;
                let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
                let established = conditions
                    .iter()
                    .any(|condition| condition.type_ == "Established" && condition.status == "True");
                ensure!(established, "{conditions:?}");
                let served = crd.spec.versions.iter().find(|version| version.served);
                let version = &served.context("no version is served")?.name;
                let (group, plural) = (crd.spec.group, crd.spec.names.plural);
                let watch = format!("/apis/{group}/{version}/{plural}?watch=true&resourceVersion=0");
                let answer = client.send(http::Request::get(watch).body(Body::empty())?).await?;
                ensure!(answer.status().is_success(), "a watch is answered {}", answer.status());
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}
