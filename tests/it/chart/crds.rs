//! CRDs that kubectl has applied, of the same version and of an older one, and the release that takes them over.

use anyhow::{Context as _, Result, ensure};
use harness::{CRD_NAMES, ControlPlane, Helm, Options, Scratch, crds_folder};
use serde_json::{Value, json};

use super::{RELEASE, chart, copy_chart};

const PARTNERS: &str = "compliancemanagementpartners.intune.msgraph.dev";

/// A CRD's spec and the labels that a release gives it.
async fn crd(plane: &ControlPlane) -> Result<(Value, Value)> {
    let text = plane.kubectl_ok(&["get", "crd", PARTNERS, "-o", "json"]).await?;
    let crd: Value = serde_json::from_str(&text)?;
    Ok((crd["spec"].clone(), crd["metadata"]["labels"].clone()))
}

/// The CRDs as an older version had them.
fn older() -> Result<String> {
    let mut older = String::new();
    for entry in std::fs::read_dir(crds_folder())? {
        let text = std::fs::read_to_string(entry?.path())?;
        let changed = text.replace("description: Whether", "description: Tells whether");
        older.push_str("---\n");
        older.push_str(&changed);
    }
    ensure!(older.contains("description: Tells whether"), "nothing is older");
    Ok(older)
}

/// Upgrades to a chart whose CRDs tell something else: kubectl still holds what it has applied, until it is overruled.
async fn upgraded(helm: &Helm) -> Result<()> {
    let folder = Scratch::new()?;
    let copy = folder.path().join("chart");
    copy_chart(&copy).await?;
    let template = copy.join("templates/crds.yaml");
    let text = std::fs::read_to_string(&template)?;
    let copy = copy.display().to_string();
    let upgrade = ["upgrade", RELEASE, &copy];
    std::fs::write(
        &template,
        text.replace("description: Whether", "description: Says whether"),
    )?;
    let refused = helm.refused(&upgrade).await?;
    ensure!(refused.contains("conflict") && refused.contains("kubectl"), "{refused}");
    helm.ok(&[&upgrade[..], &["--force-conflicts"]].concat()).await?;
    std::fs::write(&template, text.replace("description: Whether", "description: If"))?;
    helm.ok(&upgrade).await.context("the second upgrade")?;
    Ok(())
}

/// Creates a resource.
async fn partner(plane: &ControlPlane) -> Result<()> {
    let partner = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner", "metadata": {"name": "jamf"},
        "spec": {"connectionRef": {"name": "contoso"}, "partnerRef": {"displayName": "Jamf"}},
    });
    plane
        .kubectl_ok_with_input(&["create", "--filename=-"], &partner.to_string())
        .await?;
    Ok(())
}

/// It as it is now.
async fn resource(plane: &ControlPlane) -> Result<String> {
    let args = [
        "get",
        "cmp",
        "jamf",
        "-o",
        "jsonpath={.metadata.uid} {.metadata.generation} {.spec}",
    ];
    plane.kubectl_ok(&args).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crds_that_kubectl_applied_are_taken_over_with_all_resources() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let helm = Helm::on(&plane).await?;
    let chart = chart();
    let folder = format!("--filename={}", crds_folder().display());
    let install = ["install", RELEASE, &chart];
    plane.apply_crds().await?;
    let (today, _) = crd(&plane).await?;
    partner(&plane).await?;
    let before = resource(&plane).await?;

    for (way, old) in [
        (&["apply", "--server-side", "--force-conflicts"][..], false),
        (&["apply"], false),
        (&["apply"], true),
    ] {
        let told = format!("{way:?}, older: {old}");
        if old {
            plane
                .kubectl_ok_with_input(&[way, &["--filename=-"]].concat(), &older()?)
                .await?;
            ensure!(crd(&plane).await?.0 != today, "nothing is older");
        } else {
            plane.kubectl_ok(&[way, &[folder.as_str()]].concat()).await?;
        }
        let refused = helm.refused(&install).await?;
        ensure!(
            refused.contains(PARTNERS) && refused.contains("ownership"),
            "{told}: {refused}"
        );
        let take = [&install[..], &["--take-ownership"]].concat();
        if old {
            let refused = helm.refused(&take).await?;
            ensure!(
                refused.contains("conflict") && refused.contains("kubectl"),
                "{told}: {refused}"
            );
            helm.ok(&["uninstall", RELEASE]).await.context("what was begun")?;
        }
        let take = if old {
            [&take[..], &["--force-conflicts"]].concat()
        } else {
            take
        };
        helm.ok(&take).await?;
        let (spec, labels) = crd(&plane).await?;
        ensure!(spec == today, "{told}: {spec:#}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{told}");
        assert_eq!(resource(&plane).await?, before, "{told}");

        if !old {
            upgraded(&helm).await.context(told)?;
        }
        helm.ok(&["uninstall", RELEASE]).await?;
        // Kept, and somebody else's again.
        let marks = ["meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-"];
        plane
            .kubectl_ok(&[&["annotate", "crd", "--all"][..], &marks].concat())
            .await?;
        plane
            .kubectl_ok(&["label", "crd", "--all", "app.kubernetes.io/managed-by-"])
            .await?;
        assert_eq!(resource(&plane).await?, before);
    }
    Ok(())
}

/// Helm 3 applies as a client does, and has no conflicts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_3_takes_crds_over_with_all_resources() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let helm = Helm::on(&plane).await?.in_version_3();
    let chart = chart();
    let install = ["install", RELEASE, &chart];
    plane
        .kubectl_ok_with_input(&["apply", "--filename=-"], &older()?)
        .await?;
    plane.until_established(&CRD_NAMES).await?;
    partner(&plane).await?;
    let before = resource(&plane).await?;

    let refused = helm.refused(&install).await?;
    ensure!(refused.contains(PARTNERS) && refused.contains("ownership"), "{refused}");
    helm.ok(&[&install[..], &["--take-ownership"]].concat()).await?;
    let (spec, labels) = crd(&plane).await?;
    ensure!(!spec.to_string().contains("Tells whether"), "it is still the older one");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
    helm.ok(&["upgrade", RELEASE, &chart, "--set", "syncInterval=5m"])
        .await?;
    helm.ok(&["rollback", RELEASE]).await?;
    helm.ok(&["uninstall", RELEASE]).await?;
    assert_eq!(resource(&plane).await?, before);
    Ok(())
}
