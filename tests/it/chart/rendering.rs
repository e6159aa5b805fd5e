//! What the chart renders, and what the API server says of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser as _};
use compliance_partner_operator::options::{Command, CommandLine, LogFormat};
use harness::{ControlPlane, Helm, checkout, install_crds, yaml_documents};
use serde_json::{Value, json};

use super::table::variants;
use super::{NAMESPACE, RELEASE, args, chart, leaves, object, rendered, values};

#[tokio::test]
async fn helm_lints_the_chart_strictly() -> Result<()> {
    for helm in Helm::both().await? {
        let told = helm.ok(&["lint", "--strict", &chart()]).await?;
        ensure!(
            told.contains("0 chart(s) failed") && !told.contains("WARNING"),
            "{told}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn helm_3_renders_every_variant_as_helm_4_does() -> Result<()> {
    let helm = Helm::alone().await?.in_version_3();
    let version = helm.ok(&["version", "--short"]).await?;
    ensure!(version.starts_with("v3."), "{version}");
    for (row, by_4) in variants().await? {
        let by_3 = rendered(&helm, &row.flags()).await?;
        ensure!(by_3 == *by_4, "{:?}: {by_3:#?}", row.flags());
    }
    Ok(())
}

/// Whoever renders it, wherever and whenever, gets the same: what runs is what was reviewed.
#[test]
fn what_is_rendered_depends_on_the_values_alone() -> Result<()> {
    let folder = checkout().join("deploy/chart/templates");
    let (mut folders, mut read) = (vec![folder], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            let code = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            for word in code.flat_map(|code| code.split(|letter: char| !letter.is_ascii_alphanumeric())) {
                let changes = [
                    "lookup",
                    "now",
                    "uuidv4",
                    "htpasswd",
                    "derivePassword",
                    "Capabilities",
                    "getHostByName",
                ];
                let made_up = word.starts_with("rand") || word.starts_with("gen") || changes.contains(&word);
                ensure!(!made_up, "{}: {word}", path.display());
            }
            read += 1;
            // The pod of `helm test` alone.
            let hooks = text.matches("helm.sh/hook:").count();
            ensure!(
                hooks == usize::from(path.ends_with("tests/image.yaml")),
                "{}",
                path.display()
            );
        }
    }
    ensure!(read > 10, "{read} files");
    Ok(())
}

/// And says something that the defaults do not say.
#[tokio::test]
async fn every_value_is_seen_where_it_belongs() -> Result<()> {
    let helm = Helm::alone().await?;
    let defaults = rendered(&helm, &[]).await?;
    let mut set: BTreeSet<&str> = BTreeSet::new();
    for (row, objects) in variants().await? {
        let flags = row.flags();
        let missing = row.missing(objects)?;
        ensure!(missing.is_empty() && row.looks() > 0, "{flags:?}: {missing:#?}");
        ensure!(
            !row.missing(&defaults)?.is_empty(),
            "{flags:?} changes nothing that is looked at"
        );
        set.extend(row.paths());
    }
    // It has one value, and refuses all others.
    set.insert("replicaCount");
    for (path, _) in leaves(&values()?) {
        let covered = set.iter().any(|set| {
            let rest = set.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        ensure!(covered, "no row sets {path}: {set:?}");
    }
    Ok(())
}

/// So that what the flags' own documentation says holds for the chart too, but for the form of the log.
#[tokio::test]
async fn the_defaults_are_those_of_the_flags_and_of_the_plain_manifest() -> Result<()> {
    let helm = Helm::alone().await?;
    let parsed = |args: Vec<String>| -> Result<String> {
        let line = CommandLine::try_parse_from([vec![RELEASE.to_owned()], args].concat())?;
        let Command::Run(mut options) = line.command else {
            anyhow::bail!("not run");
        };
        ensure!(
            options.log_format == LogFormat::Json,
            "in a cluster, logs are collected"
        );
        options.log_format = LogFormat::Text;
        Ok(format!("{options:?}"))
    };
    let defaults = rendered(&helm, &[]).await?;
    let plain = deployed("deployment.yaml")?;
    let bare = parsed(vec!["run".to_owned(), "--log-format=json".to_owned()])?;
    assert_eq!(parsed(args(&defaults)?)?, bare);
    assert_eq!(parsed(args(&plain)?)?, bare);

    let spec = |objects: &[Value]| -> Result<Value> {
        let mut spec = object(objects, "Deployment").context("no Deployment")?["spec"].clone();
        spec["selector"].take();
        spec["template"]["metadata"].take();
        let container = &mut spec["template"]["spec"]["containers"][0];
        container["args"].take();
        if container["imagePullPolicy"].is_null() {
            // What Kubernetes takes for an image with a tag.
            container["imagePullPolicy"] = json!("IfNotPresent");
        }
        Ok(spec)
    };
    assert_eq!(spec(&defaults)?, spec(&plain)?);
    Ok(())
}

#[tokio::test]
async fn every_flag_of_the_operator_has_a_value() -> Result<()> {
    let mut rendered_flags = BTreeSet::new();
    for (_, objects) in variants().await? {
        for argument in args(objects)?.iter().skip(1) {
            let flag = argument.split('=').next().unwrap_or_default();
            rendered_flags.insert(flag.trim_start_matches("--").to_owned());
        }
    }
    let command = CommandLine::command();
    let run = command.find_subcommand("run").context("no subcommand")?;
    let flags: BTreeSet<String> = run
        .get_arguments()
        .filter_map(|flag| flag.get_long())
        .map(str::to_owned)
        .collect();
    assert_eq!(rendered_flags, flags);
    Ok(())
}

/// An image that is newer than its chart, or older, would be nobody's intention.
#[tokio::test]
async fn the_chart_has_the_version_of_the_operator() -> Result<()> {
    let text = std::fs::read_to_string(checkout().join("deploy/chart/Chart.yaml"))?;
    let metadata = yaml_documents(&text)?.pop().context("Chart.yaml is empty")?;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (&metadata["version"], &metadata["appVersion"]),
        (&json!(version), &json!(version))
    );
    Ok(())
}

/// The kinds of the Prometheus operator, with the fields that the chart writes, as its API reference has them.
async fn monitoring_kinds(plane: &ControlPlane) -> Result<()> {
    let text = json!({"type": "string"});
    let relabelings = json!({"type": "array", "items": {"type": "object", "properties": {
        "action": text, "regex": text, "targetLabel": text, "replacement": text, "separator": text,
        "modulus": {"type": "integer"}, "sourceLabels": {"type": "array", "items": text},
    }}});
    let endpoints = json!({"type": "array", "items": {"type": "object", "properties": {
        "port": text, "path": text, "interval": text, "scrapeTimeout": text, "honorLabels": {"type": "boolean"},
        "relabelings": relabelings, "metricRelabelings": relabelings,
    }}});
    for (kind, plural, field) in [
        ("ServiceMonitor", "servicemonitors", "endpoints"),
        ("PodMonitor", "podmonitors", "podMetricsEndpoints"),
    ] {
        let name = format!("{plural}.monitoring.coreos.com");
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "properties": {"spec": {
                        "type": "object", "required": ["selector", field], "properties": {
                            field: endpoints,
                            "selector": {"type": "object", "properties": {
                                "matchLabels": {"type": "object", "additionalProperties": text},
                            }},
                        },
                    }},
                }}}],
            },
        });
        plane
            .kubectl_ok_with_input(&["apply", "--filename=-"], &crd.to_string())
            .await?;
        plane.until_established(&[&name]).await?;
    }
    Ok(())
}

/// The pod that an object is or, whatever its kind, has a template of.
fn pod_of(object: &Value) -> Option<Value> {
    if object["kind"] == "Pod" {
        return Some(object.clone());
    }
    let template = object
        .pointer("/spec/template")
        .filter(|template| template["spec"]["containers"].is_array())?;
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = json!("operator");
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    Some(pod)
}

/// The objects of a file of `deploy/`.
fn deployed(file: &str) -> Result<Vec<Value>> {
    yaml_documents(&std::fs::read_to_string(checkout().join("deploy").join(file))?)
}

/// All objects of all rows by kubectl, as `kubectl apply --dry-run=server` of each rendered variant does, and all pods by
/// the admission of a namespace that takes none but restricted ones, as `deploy/namespace.yaml` makes the operator's. The
/// plain manifest's is among them.
#[tokio::test]
async fn the_api_server_takes_every_variant_and_a_restricted_namespace_every_pod() -> Result<()> {
    let plane = install_crds().await?;
    monitoring_kinds(plane).await?;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    assert_eq!(deployed("namespace.yaml")?[0]["metadata"]["labels"], restricted);
    for name in [NAMESPACE, "chart-contoso", "chart-fabrikam"] {
        let metadata = json!({"name": name, "labels": restricted});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        plane
            .kubectl_ok_with_input(&["create", "--filename=-"], &namespace.to_string())
            .await?;
    }

    let helm = Helm::alone().await?;
    let (mut objects, mut pods) = (BTreeMap::new(), BTreeMap::new());
    let defaults = rendered(&helm, &[]).await?;
    let plain = pod_of(&deployed("deployment.yaml")?[0]).context("no pod in deployment.yaml")?;
    pods.insert(plain["spec"].to_string(), plain);
    let variants = variants().await?.iter().map(|(_, objects)| objects);
    for variant in variants.chain([&defaults]) {
        // The operator's own, and that of `helm test`.
        let of_variant: Vec<Value> = variant.iter().filter_map(pod_of).collect();
        assert_eq!(of_variant.len(), 2, "{of_variant:#?}");
        pods.extend(of_variant.into_iter().map(|pod| (pod["spec"].to_string(), pod)));
        for object in variant {
            // Nothing comes to stay, so that whatever is equal in two variants needs to be asked but once.
            objects.insert(object.to_string(), object.clone());
        }
    }
    let list = |items: Vec<&Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    ensure!(
        objects.len() > 60 && pods.len() > 20,
        "{} objects, {} pods",
        objects.len(),
        pods.len()
    );
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--filename=-",
    ];
    let told = plane
        .kubectl_ok_with_input(&apply, &list(objects.values().collect()))
        .await?;
    assert_eq!(told.lines().count(), objects.len(), "{told}");
    let create = ["create", "--dry-run=server", "--filename=-"];
    let told = plane
        .kubectl_ok_with_input(&create, &list(pods.values().collect()))
        .await?;
    assert_eq!(told.lines().count(), pods.len(), "{told}");

    // What the namespace refuses, it refuses by name: the admission is there.
    let mut lax = pods.into_values().next().context("a pod")?;
    lax["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = plane.kubectl_with_input(&create, &lax.to_string()).await?;
    let told = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && told.contains("allowPrivilegeEscalation"),
        "{told}"
    );
    Ok(())
}
