//! What the chart refuses, before anything reaches a cluster, and how it says so.

use anyhow::{Context as _, Result, ensure};
use harness::{Helm, checkout};
use serde_json::Value;

use super::{RELEASE, chart, values};

fn schema() -> Result<Value> {
    let path = checkout().join("deploy/chart/values.schema.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// Every object below that takes any key at all.
fn open(path: &str, schema: &Value, found: &mut Vec<String>) {
    let rest = &schema["additionalProperties"];
    if schema["type"] == "object" && !(*rest == false || rest.is_object()) {
        found.push(path.to_owned());
    }
    match schema {
        Value::Object(inner) => inner
            .iter()
            .for_each(|(key, inner)| open(&format!("{path}/{key}"), inner, found)),
        Value::Array(inner) => inner.iter().for_each(|inner| open(path, inner, found)),
        _ => {}
    }
}

#[test]
fn no_object_of_the_values_takes_an_unknown_key() -> Result<()> {
    let mut found = Vec::new();
    open("", &schema()?, &mut found);
    found.sort();
    // A parent chart's own values; and sources of volumes, which the API server judges.
    assert_eq!(found, ["/definitions/otherVolume", "/properties/global"]);
    Ok(())
}

/// Each map of the values whose keys are the chart's own: `""` is the whole.
fn maps(path: &str, values: &Value, found: &mut Vec<String>) {
    let inner = values.as_object().into_iter().flatten();
    let free = ["requests.", "limits."].iter().any(|free| path.ends_with(free));
    if values.as_object().is_some_and(|map| !map.is_empty()) && !free {
        found.push(path.to_owned());
        inner.for_each(|(key, value)| maps(&format!("{path}{key}."), value, found));
    }
}

/// What Helm says of these assignments in JSON, all at once.
async fn refused(helm: &Helm, assignments: impl IntoIterator<Item = String>) -> Result<String> {
    let mut args = ["template", RELEASE, &chart()].map(str::to_owned).to_vec();
    for assignment in assignments {
        args.extend(["--set-json".to_owned(), assignment]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    helm.refused(&args).await
}

#[tokio::test]
async fn a_misspelled_value_is_refused_by_its_name() -> Result<()> {
    for helm in Helm::both().await? {
        let mut places = Vec::new();
        maps("", &values()?, &mut places);
        ensure!(places.len() > 15, "{places:?}");
        let told = refused(&helm, places.iter().map(|place| format!("{place}misspelt=1"))).await?;
        for place in &places {
            let path = format!("/{}", place.trim_end_matches('.').replace('.', "/"));
            let line = format!(
                "at '{}': additional properties 'misspelt' not allowed",
                path.trim_end_matches('/')
            );
            ensure!(told.contains(&line), "{line} is not in {told}");
        }
        // Inside of what is empty by default.
        let inside = [
            (r#"affinity={"nodeAfinity":{}}"#, "nodeAfinity"),
            (r#"connections=[{"namespace":"contoso","secret":"graph"}]"#, "secret"),
            (r#"extraEnv=[{"name":"A","vlaue":"b"}]"#, "vlaue"),
            (r#"extraVolumes=[{"name":"a","confgMap":{"name":"a"}}]"#, "confgMap"),
            (r#"extraVolumeMounts=[{"name":"a","mountpath":"/a"}]"#, "mountpath"),
            (r#"imagePullSecrets=[{"nam":"a"}]"#, "nam"),
            (r#"networkPolicy.extraEgress=[{"too":[]}]"#, "too"),
            (r#"networkPolicy.metricsFrom=[{"podSelektor":{}}]"#, "podSelektor"),
            (r#"serviceMonitor.relabelings=[{"sourceLabel":["a"]}]"#, "sourceLabel"),
            (r#"tolerations=[{"kee":"a"}]"#, "kee"),
            (r#"topologySpreadConstraints=[{"maxSkw":1}]"#, "maxSkw"),
        ];
        let told = refused(&helm, inside.map(|(assignment, _)| assignment.to_owned())).await?;
        for (_, name) in inside {
            let line = format!("additional properties '{name}' not allowed");
            ensure!(told.contains(&line), "{line} is not in {told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_refused_by_its_name() -> Result<()> {
    for helm in Helm::both().await? {
        let wrong = [
            ("replicaCount=2", "/replicaCount"),
            (r#"syncInterval="10""#, "/syncInterval"),
            ("heartbeatStaleAfter=72", "/heartbeatStaleAfter"),
            (r#"abandonCleanupAfter="soon""#, "/abandonCleanupAfter"),
            (r#"adminAddress="8080""#, "/adminAddress"),
            (r#"logLevel="loud""#, "/logLevel"),
            (r#"graphEndpoint="http://graph.example""#, "/graphEndpoint"),
            (r#"watchNamespaces=["Contoso"]"#, "/watchNamespaces/0"),
            (r#"operatorIdentityNamespaces="contoso""#, "/operatorIdentityNamespaces"),
            (r#"image.digest="sha256:0""#, "/image/digest"),
            (r#"observeOnly="yes""#, "/observeOnly"),
            (
                r#"podLabels={"app.kubernetes.io/name":"mine"}"#,
                "/podLabels/app.kubernetes.io~1name",
            ),
            (r#"extraEnv=[{"name":"A","value":true}]"#, "/extraEnv/0/value"),
            (
                r#"connections=[{"namespace":"a"},{"namespace":"a","secretName":"b","serviceAccountName":"c"}]"#,
                "/connections/0",
            ),
        ];
        let told = refused(&helm, wrong.map(|(assignment, _)| assignment.to_owned())).await?;
        for place in wrong.map(|(_, place)| place).into_iter().chain(["/connections/1"]) {
            ensure!(told.contains(&format!("at '{place}': ")), "{place} is not in {told}");
        }
        for (assignments, expected) in [
            (&["replicaCount=0"][..], "/replicaCount"),
            (
                &[r#"syncInterval="48h""#],
                "syncInterval is 48h: it has to be from 1s to 24h",
            ),
            (
                &[r#"syncInterval="999ms""#],
                "syncInterval is 999ms: it has to be from 1s to 24h",
            ),
            (
                &[
                    r#"connections=[{"namespace":"contoso","secretName":"graph"}]"#,
                    r#"watchNamespaces=["fabrikam"]"#,
                ],
                r#"the namespace "contoso", which watchNamespaces lacks"#,
            ),
            (
                &[
                    r#"operatorIdentityNamespaces=["contoso"]"#,
                    r#"watchNamespaces=["fabrikam"]"#,
                ],
                r#"operatorIdentityNamespaces names the namespace "contoso", which watchNamespaces lacks"#,
            ),
            (
                &["serviceAccount.create=false"],
                "serviceAccount.create=false takes serviceAccount.name",
            ),
            (
                &[r#"fullnameOverride="cluster-admin""#],
                "cluster-admin, which is the name of a ClusterRole of Kubernetes' own",
            ),
        ] {
            let told = refused(&helm, assignments.iter().map(|&assignment| assignment.to_owned())).await?;
            ensure!(told.contains(expected), "{assignments:?}: {told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_too_old_is_told_so() -> Result<()> {
    for helm in Helm::both().await? {
        let chart = chart();
        let template = ["template", RELEASE, &chart, "--kube-version"];
        let refused = helm.refused(&[&template[..], &["1.32.9"]].concat()).await?;
        ensure!(
            refused.contains(">=1.33.0-0") && refused.contains("1.32.9"),
            "{refused}"
        );
        for version in ["1.33.0", "1.33.4-gke.1245000", "1.37.2"] {
            helm.ok(&[&template[..], &[version]].concat()).await.context(version)?;
        }
    }
    Ok(())
}

/// What no role would be made for is no consent.
#[tokio::test]
async fn rights_that_a_release_without_roles_cannot_give_are_refused() -> Result<()> {
    let (helm, chart) = (Helm::alone().await?, chart());
    let connections = r#"connections=[{"namespace":"contoso","secretName":"graph"}]"#;
    let template = ["template", RELEASE, &chart, "--set", "rbac.create=false"];
    for (flags, name) in [
        (["--set-json", connections], "connections"),
        (["--set", "rbac.clusterWideSecrets=true"], "rbac.clusterWideSecrets"),
    ] {
        let told = helm.refused(&[&template[..], &flags].concat()).await?;
        let sentence = format!("{name} is set, but with rbac.create=false no role is made for it");
        ensure!(told.contains(&sentence), "{told}");
    }
    Ok(())
}
