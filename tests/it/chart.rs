//! The chart in `deploy/chart`, by Helm itself.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

mod blanks;
mod bounds;
mod crds;
mod notes;
mod parent;
mod readme;
mod refusals;
mod release;
mod rendering;
mod resources;
mod rights;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use harness::{Helm, PATIENCE, checkout, run_to_success, yaml_documents};
use serde_json::Value;
use tokio::process::Command;

/// The release that most tests render. Since the chart's name is in it, all objects are named like it.
const RELEASE: &str = "compliance-partner-operator";

/// The namespace that they render it for, which no other test has.
const NAMESPACE: &str = "chart-operator";

/// Where the chart is.
fn chart() -> String {
    checkout().join("deploy/chart").display().to_string()
}

/// Copies the chart into a folder that does not exist yet.
async fn copy_chart(to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("-R").arg(chart()).arg(to);
    run_to_success(&mut command, "", PATIENCE).await.map(drop)
}

/// What Helm makes of the chart with these flags.
async fn rendered(helm: &Helm, flags: &[&str]) -> Result<Vec<Value>> {
    let chart = chart();
    let args = ["template", RELEASE, &chart, "--namespace", NAMESPACE];
    let text = helm.ok(&[&args[..], flags].concat()).await?;
    yaml_documents(&text).with_context(|| format!("{flags:?}"))
}

/// The one object of this kind, and of this name where one is given as in `Role/name` or `Role/namespace/name`.
fn object<'a>(objects: &'a [Value], which: &str) -> Option<&'a Value> {
    let parts: Vec<&str> = which.split('/').collect();
    let (kind, namespace, name) = match parts[..] {
        [kind, namespace, name] => (kind, Some(namespace), Some(name)),
        [kind, name] => (kind, None, Some(name)),
        _ => (which, None, None),
    };
    let fits = |object: &&Value| {
        let metadata = &object["metadata"];
        object["kind"] == kind
            && name.is_none_or(|name| metadata["name"] == name)
            && namespace.is_none_or(|namespace| metadata["namespace"] == namespace)
    };
    objects.iter().find(fits)
}

/// How the operator is started.
fn args(objects: &[Value]) -> Result<Vec<String>> {
    let deployment = object(objects, "Deployment").context("no Deployment")?;
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    Ok(serde_json::from_value(args)?)
}

/// Every place in the values that is set by itself: `image.tag`, and `podLabels` as a whole.
fn leaves(values: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in values.as_object().into_iter().flatten() {
        // Whose keys are the user's, and what belongs to Kubernetes.
        let whole = ["resources", "podSecurityContext", "securityContext"].contains(&key.as_str());
        match value.as_object() {
            Some(inner) if !inner.is_empty() && !whole => {
                let inner = leaves(value).into_iter();
                found.extend(inner.map(|(path, value)| (format!("{key}.{path}"), value)));
            }
            _ => found.push((key.clone(), value.clone())),
        }
    }
    found
}

/// `values.yaml`.
fn values() -> Result<Value> {
    let text = std::fs::read_to_string(checkout().join("deploy/chart/values.yaml"))?;
    yaml_documents(&text)?.pop().context("values.yaml is empty")
}
