//! What people read back: columns, selections and explanations.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::desk::{BASE, Desk, Kind};

/// kstatus, by which Helm and Flux wait, must not call ready what no pass has seen.
#[tokio::test]
async fn a_resource_that_nobody_has_looked_at_says_so() -> Result<()> {
    let desk = Desk::new("default").await?;
    let unseen = json!({ "observedGeneration": -1 });
    for kind in Kind::ALL {
        // What a client says of status counts for nothing.
        let mut object = super::desk::object(&kind.resource(), "applied", &kind.base());
        object["status"] = json!({ "observedGeneration": 1 });
        let params = PatchParams::apply("git");
        desk.api(kind).patch("applied", &params, &Patch::Apply(object)).await?;
        for name in [BASE, "applied"] {
            let read = desk.api(kind).get(name).await?;
            assert_eq!(read.data["status"], unseen, "{kind:?} {name}");
        }
        for listed in desk.api(kind).list(&ListParams::default()).await? {
            assert_eq!(listed.data["status"], unseen, "{kind:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn partners_can_be_selected_by_connection_and_by_id() -> Result<()> {
    let desk = Desk::new("select").await?;
    let kind = Kind::Partner;
    for (name, connection, reference) in [
        ("jamf", "contoso", json!({ "id": "jamf" })),
        ("kandji", "fabrikam", json!({ "id": "kandji" })),
        ("named", "fabrikam", json!({ "displayName": "Jamf" })),
    ] {
        let spec = json!({ "connectionRef": { "name": connection }, "partnerRef": reference });
        desk.store(kind, name, spec).await?;
    }
    for (selector, expected) in [
        ("spec.connectionRef.name=fabrikam", "kandji named"),
        ("spec.connectionRef.name!=fabrikam", "base jamf"),
        ("spec.partnerRef.id=jamf", "jamf"),
        ("spec.connectionRef.name=fabrikam,spec.partnerRef.id=kandji", "kandji"),
        ("spec.partnerRef.id=", "named"),
    ] {
        let mut names: Vec<_> = desk
            .api(kind)
            .list(&ListParams::default().fields(selector))
            .await?
            .into_iter()
            .filter_map(|partner| partner.metadata.name)
            .collect();
        names.sort();
        assert_eq!(names.join(" "), expected, "{selector}");
    }
    let listed = desk
        .kubectl_ok(&[
            "get",
            "cmp",
            "--field-selector=spec.connectionRef.name=fabrikam",
            "--output=name",
        ])
        .await?;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let other = ListParams::default().fields("spec.suspend=true");
    let error = desk
        .api(kind)
        .list(&other)
        .await
        .expect_err("selected by suspend")
        .to_string();
    assert!(error.contains("spec.suspend"), "{error}");
    Ok(())
}

#[tokio::test]
async fn kubectl_get_shows_both_kinds_with_their_columns() -> Result<()> {
    let desk = Desk::new("columns").await?;
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-11-23T10:15:30Z", "observedGeneration": 1,
        })
    };
    let partner = json!({
        "partnerId": "graph-id",
        "partnerState": "enabled",
        "lastHeartbeatDateTime": "2020-01-01T00:00:00Z",
        "conditions": [condition("Ready", "True", "InSync"), condition("Synced", "False", "DriftDetected")],
    });
    let connection = json!({ "conditions": [condition("Ready", "False", "SecretNotFound")] });
    for (kind, status) in [(Kind::Partner, partner), (Kind::Connection, connection)] {
        let patch = Patch::Merge(json!({ "status": status }));
        desk.api(kind)
            .patch_status(BASE, &PatchParams::default(), &patch)
            .await?;
    }

    let narrow = desk.kubectl_ok(&["get", "cmp,gconn"]).await?;
    let tables: Vec<Vec<&str>> = narrow.lines().map(|line| line.split_whitespace().collect()).collect();
    let [partner_head, partner_row, _, connection_head, connection_row] = &tables[..] else {
        anyhow::bail!("not two tables of one row: {narrow}");
    };
    assert_eq!(partner_head.join(" "), "NAME READY STATE HEARTBEAT SYNCED AGE");
    let heartbeat = partner_row.get(3).context("no heartbeat")?;
    ensure!(heartbeat.contains('y'), "{heartbeat} is no span of years");
    assert_eq!(partner_row[1..3], ["True", "enabled"]);
    assert_eq!(partner_row[4], "False");
    assert_eq!(connection_head.join(" "), "NAME READY REASON TENANT AGE");
    assert_eq!(
        connection_row[1..4],
        ["False", "SecretNotFound", "72f988bf-86f1-41af-91ab-2d7cd011db47"]
    );

    let wide = desk.kubectl_ok(&["get", "intune", "--output=wide"]).await?;
    for (head, row) in [
        (
            "NAME READY STATE HEARTBEAT SYNCED AGE CONNECTION REASON ID",
            "contoso DriftDetected graph-id",
        ),
        // The cloud is absent.
        (
            "NAME READY REASON TENANT AGE CLOUD CLIENT",
            "6731de76-14a6-49ae-97bc-6eba6914391e",
        ),
    ] {
        let mut lines = wide
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines
            .find(|line| line == head)
            .with_context(|| format!("no {head:?} in: {wide}"))?;
        let line = lines.next().unwrap_or_default();
        ensure!(line.ends_with(row), "no {row:?} in: {line}");
    }
    Ok(())
}

/// Names, by which people and tools find both kinds.
#[tokio::test]
async fn both_kinds_are_found_by_every_name() -> Result<()> {
    let desk = Desk::new("names").await?;
    let group = "--api-group=intune.msgraph.dev";
    let listed = desk
        .kubectl_ok(&[
            "api-resources",
            group,
            "--output=wide",
            "--no-headers",
            "--sort-by=name",
        ])
        .await?;
    let listed: Vec<String> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let verbs = "create,delete,deletecollection,get,list,patch,update,watch intune,msgraph";
    let of_group = "intune.msgraph.dev/v1alpha1 true";
    let both = [
        format!("compliancemanagementpartners cmp {of_group} ComplianceManagementPartner {verbs}"),
        format!("graphconnections gconn {of_group} GraphConnection {verbs}"),
    ];
    for (line, expected) in listed.iter().zip(&both) {
        // The verbs come in an order of kubectl's own.
        let sorted = |line: &str| {
            let mut words: Vec<String> = line.split([' ', ',']).map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(line), sorted(expected));
    }
    assert_eq!(listed.len(), both.len(), "{listed:?}");

    for (names, found) in [
        (
            &[
                "cmp",
                "compliancemanagementpartner",
                "compliancemanagementpartners",
                "ComplianceManagementPartner",
            ][..],
            "compliancemanagementpartner.intune.msgraph.dev/base\n",
        ),
        (
            &["gconn", "graphconnection", "graphconnections", "GraphConnection"],
            "graphconnection.intune.msgraph.dev/base\n",
        ),
        (
            &["intune", "msgraph"],
            "compliancemanagementpartner.intune.msgraph.dev/base\ngraphconnection.intune.msgraph.dev/base\n",
        ),
    ] {
        for name in names {
            assert_eq!(desk.kubectl_ok(&["get", name, "--output=name"]).await?, found, "{name}");
        }
    }
    // One version, which is served and stored, and no webhook that would have to be up.
    let crds: Api<CustomResourceDefinition> = Api::all(desk.client.clone());
    for kind in Kind::ALL {
        let resource = kind.resource();
        let crd = crds.get(&format!("{}.{}", resource.plural, resource.group)).await?;
        let crd = serde_json::to_value(crd)?;
        assert_eq!(crd["spec"]["conversion"], json!({ "strategy": "None" }));
        assert_eq!(crd["spec"]["versions"].as_array().map(Vec::len), Some(1));
        assert_eq!(crd["status"]["storedVersions"], json!(["v1alpha1"]));
    }
    Ok(())
}
