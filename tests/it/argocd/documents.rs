//! The files in `deploy/argocd`.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use harness::{World, argocd, argocd_customizations, checkout};
use serde_json::{Value, json};

use super::{judge, manifests, word};

/// Set to rewrite `argocd-cm.yaml`.
const UPDATE: &str = "UPDATE_ARGOCD";

/// The kinds, and their actions.
const KINDS: [(&str, &[&str]); 2] = [
    ("ComplianceManagementPartner", &["reconcile", "suspend", "resume"]),
    ("GraphConnection", &["reconcile"]),
];

const HEAD: &str = "\
# What Argo CD knows of the two kinds: their health, by the reason of their conditions, and actions on them. To add it to
# the settings of an Argo CD:
#   kubectl -n argocd patch configmap argocd-cm --type=merge --patch-file=deploy/argocd/argocd-cm.yaml
# Written from the scripts beside it by `make argocd`.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
";

/// A block of text under a key of YAML.
fn block(yaml: &mut String, key: &str, indent: usize, text: &str) -> anyhow::Result<()> {
    writeln!(yaml, "{:indent$}{key}: |", "")?;
    for line in text.lines() {
        let indent = if line.is_empty() { 0 } else { indent + 2 };
        writeln!(yaml, "{:indent$}{line}", "")?;
    }
    Ok(())
}

fn customizations() -> anyhow::Result<String> {
    let mut yaml = HEAD.to_owned();
    for (kind, actions) in KINDS {
        let folder = checkout().join("deploy/argocd/intune.msgraph.dev").join(kind);
        let script = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| format!("{kind}/{name}"));
        let key = |of: &str| format!("resource.customizations.{of}.intune.msgraph.dev_{kind}");
        block(&mut yaml, &key("health"), 2, &script("health.lua")?)?;
        writeln!(yaml, "  {}: |", key("actions"))?;
        block(&mut yaml, "discovery.lua", 4, &script("actions/discovery.lua")?)?;
        writeln!(yaml, "    definitions:")?;
        for action in actions {
            writeln!(yaml, "      - name: {action}")?;
            block(
                &mut yaml,
                "action.lua",
                8,
                &script(&format!("actions/{action}/action.lua"))?,
            )?;
        }
    }
    Ok(yaml)
}

#[test]
fn what_users_paste_is_written_from_the_scripts() -> anyhow::Result<()> {
    let wanted = customizations()?;
    let path = argocd_customizations();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &wanted)?;
    }
    let found = std::fs::read_to_string(&path)?;
    ensure!(found == wanted, "{} is not what `make argocd` writes", path.display());
    Ok(())
}

/// Argo CD finds both kinds' scripts where it looks for them, and has none of its own for a kind of that name elsewhere.
#[tokio::test]
async fn argo_cd_finds_the_scripts() -> anyhow::Result<()> {
    let object = |group: &str, kind: &str| {
        let version = format!("{group}/v1alpha1");
        judge(&json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "a" }, "spec": {} }))
    };
    let ours = "intune.msgraph.dev";
    let asked = [
        object(ours, KINDS[0].0),
        object(ours, KINDS[1].0),
        object("example.com", KINDS[0].0),
    ];
    let answers = argocd(&asked).await?;
    for (answer, (_, actions)) in answers.iter().zip(KINDS) {
        assert_eq!(word(answer, "/health/status"), "Progressing", "{answer}");
        let offered = answer["actions"].as_object().context("no actions")?;
        assert_eq!(offered.len(), actions.len(), "{answer}");
        assert!(actions.iter().all(|action| offered.contains_key(*action)), "{answer}");
    }
    assert_eq!(answers[2]["health"], Value::Null, "{}", answers[2]);
    Ok(())
}

#[tokio::test]
async fn the_application_is_one_that_argo_cd_reads() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(checkout().join("deploy/argocd/application.yaml"))?;
    let misspelled = text.replace("syncOptions:", "syncOption:");
    let answers = argocd(&[json!({ "application": text }), json!({ "application": misspelled })]).await?;
    let application = &answers[0];
    ensure!(application.get("error").is_none(), "{application}");
    assert_eq!(application["spec"]["sources"][0]["path"], "deploy/chart");
    let options = &application["spec"]["syncPolicy"]["syncOptions"];
    assert_eq!(options, &json!(["CreateNamespace=true", "ServerSideApply=true"]));
    ensure!(word(&answers[1], "/error").contains("syncOption"), "{}", answers[1]);
    Ok(())
}

/// The resources of the Application are the examples, with Argo CD's annotations and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_resources_are_the_examples() -> anyhow::Result<()> {
    let world = World::new("argo-documents").await?;
    for (name, wave) in [("connection", "1"), ("partner", "2")] {
        let example = manifests(&world, &format!("deploy/examples/{name}.yaml")).await?;
        let mut resource = manifests(&world, &format!("deploy/argocd/resources/{name}.yaml")).await?;
        let metadata = resource[0]["metadata"].as_object_mut().context("no metadata")?;
        let annotations = metadata.remove("annotations").context("no annotations")?;
        let wanted = json!({
            "argocd.argoproj.io/sync-wave": wave,
            "argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true",
        });
        assert_eq!(annotations, wanted, "{name}");
        assert_eq!(resource, example, "{name}");
    }
    Ok(())
}
