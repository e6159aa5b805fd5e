//! The rules of the CRDs, on a real API server.
//!
//! Requests go by the client, most as a dry run; kubectl runs only where its own way of writing or reading matters.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

mod coverage;
mod desk;
mod documents;
mod explain;
mod immutable;
mod intervals;
mod lists;
mod reading;
mod reference;
mod rules;
mod samples;
mod status;
mod typed;
mod writing;

use anyhow::{Result, ensure};
use harness::{CRD_NAMES, crds_folder, install_crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

/// The harness has installed them by server-side apply.
#[tokio::test]
async fn both_crds_can_be_installed_by_either_apply() -> Result<()> {
    let plane = install_crds().await?;
    let crds: Api<CustomResourceDefinition> = Api::all(plane.admin_client().await?);
    let folder = format!("--filename={}", crds_folder().display());
    let served = async || -> Result<Vec<_>> {
        let mut served = Vec::new();
        for name in CRD_NAMES {
            let crd = crds.get(name).await?;
            served.push((crd.metadata.generation, crd.spec));
        }
        Ok(served)
    };
    let before = served().await?;

    plane.kubectl_ok(&["apply", &folder]).await?;
    ensure!(
        served().await? == before,
        "kubectl apply changed a CRD that server-side apply had installed"
    );
    plane.until_established(&CRD_NAMES).await?;

    // Anything that the API server does not know, such as a format, is a warning.
    let again = plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", &folder])
        .await?;
    let warnings = String::from_utf8(again.stderr)?;
    ensure!(again.status.success() && warnings.is_empty(), "{warnings}");
    ensure!(
        served().await? == before,
        "server-side apply changed a CRD that was there"
    );
    Ok(())
}
