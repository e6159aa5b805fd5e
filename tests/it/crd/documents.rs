//! Whole objects, with every field that there is: stored as they are written, and not with a value of another type.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind, PARTNER_ID, Way, ensure_contains, merge, object, refused};

const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// Every field of a spec, but for keys that exclude each other: those are in one spec each.
fn specs(kind: Kind) -> Vec<Value> {
    match kind {
        Kind::Partner | Kind::ReferencePartner => {
            let by_id = json!({
                "connectionRef": { "name": "contoso" },
                "partnerRef": { "id": PARTNER_ID },
                "managementPolicy": "Enforce",
                "deletionPolicy": "Retain",
                "suspend": false,
                "syncInterval": "10m",
                "displayName": "Jamf Device Compliance",
                "macOsOnboarded": true,
                "androidOnboarded": false,
                "iosOnboarded": true,
                "macOsEnrollmentAssignments": [
                    { "target": { "type": "Group", "groupId": GROUP } },
                    { "target": { "type": "ExclusionGroup", "groupId": GROUP } },
                    { "target": { "type": "ConfigurationManagerCollection", "collectionId": "SMS00001" } },
                    { "target": { "type": "AllLicensedUsers" } },
                    { "target": { "type": "AllDevices" } },
                ],
                "androidEnrollmentAssignments": [],
                "iosEnrollmentAssignments": [{ "target": { "type": "AllDevices" } }],
            });
            let mut by_name = by_id.clone();
            let name =
                json!({ "partnerRef": { "id": null, "displayName": "Jamf Device Compliance" }, "displayName": null });
            merge(&mut by_name, &name);
            vec![by_id, by_name]
        }
        Kind::Connection | Kind::ReferenceConnection => [
            json!({ "clientSecret": { "secretRef": { "name": "graph", "key": "client-secret" } } }),
            json!({ "clientCertificate": { "secretRef": { "name": "graph-cert" } } }),
            json!({ "workloadIdentity": { "serviceAccountRef": { "name": "graph" } } }),
            json!({ "operatorIdentity": {} }),
            json!({ "managedIdentity": {} }),
        ]
        .map(|auth| {
            json!({
                "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
                "clientId": "6731de76-14a6-49ae-97bc-6eba6914391e",
                "cloud": "Global",
                "access": "ReadWrite",
                "auth": auth,
            })
        })
        .to_vec(),
    }
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "What to do.",
        "lastTransitionTime": "2026-11-23T10:15:30Z", "observedGeneration": 3,
    })
}

/// Every field of a status.
fn status(kind: Kind) -> Value {
    match kind {
        Kind::Partner | Kind::ReferencePartner => json!({
            "observedGeneration": 3,
            "lastHandledReconcileAt": "2026-11-23T10:15:30Z",
            "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "cloud": "Global",
            "partnerId": PARTNER_ID,
            "displayName": "Jamf Device Compliance",
            "partnerState": "enabled",
            "lastHeartbeatDateTime": "2026-11-23T10:15:30Z",
            "platforms": ["macOS", "iOS"],
            "drift": [
                { "field": "iosOnboarded", "desired": "true", "observed": "false" },
                { "field": "macOsEnrollmentAssignments", "missing": 1, "extra": 2, "example": "Group 7c1b0f5e-…" },
            ],
            "lastUpdateTime": "2026-11-23T10:15:30Z",
            "conditions": [
                condition("Ready", "True", "DriftDetected"),
                condition("Synced", "False", "DriftDetected"),
                condition("PartnerEnabled", "True", "Enabled"),
                condition("HeartbeatFresh", "Unknown", "NeverReported"),
            ],
        }),
        Kind::Connection | Kind::ReferenceConnection => json!({
            "observedGeneration": 3,
            "lastHandledReconcileAt": "2026-11-23T10:15:30Z",
            "roles": ["DeviceManagementServiceConfig.ReadWrite.All"],
            "partners": [{ "id": PARTNER_ID, "displayName": "Jamf Device Compliance" }],
            "conditions": [condition("Ready", "True", "Connected")],
        }),
    }
}

#[tokio::test]
async fn an_object_with_every_field_is_stored_as_it_is_written() -> Result<()> {
    let desk = Desk::new("whole").await?;
    for kind in Kind::ALL {
        let by_kubectl = |name: &str| -> Vec<Value> {
            let specs = specs(kind);
            let named = specs.iter().enumerate();
            named
                .map(|(index, spec)| object(&kind.resource(), &format!("{name}-{index}"), spec))
                .collect()
        };
        assert_eq!(
            desk.kubectl_specs(&["create"], &by_kubectl("create")).await?,
            specs(kind)
        );
        assert_eq!(
            desk.kubectl_specs(&["replace"], &by_kubectl("create")).await?,
            specs(kind)
        );
        assert_eq!(desk.kubectl_specs(&["apply"], &by_kubectl("apply")).await?, specs(kind));
        let server_side = ["apply", "--server-side"];
        assert_eq!(
            desk.kubectl_specs(&server_side, &by_kubectl("server-side")).await?,
            specs(kind)
        );
        // Nothing is left to do, nor is there anything that a diff in git would show.
        for (how, name) in [(&["diff"][..], "apply"), (&["diff", "--server-side"], "server-side")] {
            let (differences, errors) = desk.kubectl_with(how, &by_kubectl(name)).await?;
            ensure!(differences.is_empty() && errors.is_empty(), "{differences}{errors}");
        }

        // One manager, as the operator is, and a merge patch.
        let status = status(kind);
        let resource = kind.resource();
        let applied = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": { "name": "apply-0" }, "status": status,
        });
        let manager = PatchParams::apply("compliance-partner-operator").force();
        let stored = desk
            .api(kind)
            .patch_status("apply-0", &manager, &Patch::Apply(applied))
            .await?;
        assert_eq!(stored.data["status"], status, "server-side apply");
        assert_eq!(stored.data["spec"], specs(kind)[0]);
        assert_eq!(stored.metadata.generation, Some(1));
        let patch = Patch::Merge(json!({ "status": status }));
        let stored = desk
            .api(kind)
            .patch_status("apply-1", &PatchParams::default(), &patch)
            .await?;
        assert_eq!(stored.data["status"], status, "merge patch");
    }
    Ok(())
}

/// All lists full of the longest entries: the rules must cost no more than the API server spends on an object, and what
/// kubectl apply remembers must fit into an annotation.
#[tokio::test]
async fn the_largest_spec_is_taken_by_every_way() -> Result<()> {
    let desk = Desk::new("largest").await?;
    let kind = Kind::Partner;
    let entry = |index: usize| {
        let id = format!("{index:x>64}");
        json!({ "target": { "type": "ConfigurationManagerCollection", "collectionId": id } })
    };
    let list: Vec<Value> = (0..500).map(entry).collect();
    let patch = json!({
        "displayName": "ü".repeat(256),
        "syncInterval": "00001h00000m00000s",
        "macOsEnrollmentAssignments": list,
        "androidEnrollmentAssignments": list,
        "iosEnrollmentAssignments": list,
    });
    let mut largest = kind.base();
    merge(&mut largest, &patch);
    for way in Way::ALL {
        let stored =
            super::desk::accepted(desk.try_spec(kind, way, &patch).await?).with_context(|| format!("{way:?}"))?;
        ensure!(stored["spec"] == largest, "{way:?}");
    }
    let mut edited = largest.clone();
    edited["suspend"] = json!(true);
    for how in [&["apply"][..], &["apply", "--server-side"]] {
        let name = if how.len() == 1 { "apply" } else { "server-side" };
        let objects = [&largest, &edited].map(|spec| object(&kind.resource(), name, spec));
        let stored = desk.kubectl_specs(how, &objects).await?;
        ensure!(stored == [largest.clone(), edited.clone()], "{how:?}");
    }
    Ok(())
}

/// Whoever begins copies from there. Both kinds are shown there with their fields, without the apiVersion.
#[tokio::test]
async fn the_documents_of_the_readme_are_taken() -> Result<()> {
    let desk = Desk::new("readme").await?;
    let readme = std::fs::read_to_string(harness::checkout().join("README.md"))?;
    let documents = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next());
    let documents: Vec<&str> = documents
        .flatten()
        .filter(|document| document.starts_with("kind: "))
        .collect();
    assert_eq!(documents.len(), Kind::ALL.len());
    let here = format!("namespace: {}", desk.namespace);
    let documents: Vec<String> = documents
        .iter()
        .map(|document| document.replace("namespace: contoso", &here))
        .map(|document| format!("apiVersion: intune.msgraph.dev/v1alpha1\n{document}"))
        .collect();
    let text = documents.join("---\n");
    for how in [&["apply"][..], &["apply", "--server-side", "--force-conflicts"]] {
        let (_, errors) = desk.kubectl_with_text(how, &text).await?;
        ensure!(errors.is_empty(), "{errors}");
    }
    // Nothing is left out there that a user can set, but for keys that exclude what is shown.
    let shown = desk.api(Kind::Partner).get("jamf").await?.data["spec"].clone();
    for (field, _) in specs(Kind::Partner)[0].as_object().into_iter().flatten() {
        let list = field.ends_with("EnrollmentAssignments");
        ensure!(shown.get(field).is_some() || list, "README.md does not show {field}");
    }
    Ok(())
}

/// What a client says of status in a write to the object itself counts for nothing, by whichever way it comes.
#[tokio::test]
async fn only_the_status_subresource_writes_status() -> Result<()> {
    let desk = Desk::new("subresource").await?;
    for kind in Kind::ALL {
        let resource = kind.resource();
        let mut with_status = object(&resource, "new", &kind.base());
        with_status["status"] = status(kind);
        let unseen = json!({ "observedGeneration": -1 });

        let created = desk.post(&desk.api(kind), with_status.clone()).await?;
        assert_eq!(super::desk::accepted(created)?["status"], unseen, "create");
        let patch = json!({ "status": status(kind) });
        let patched = desk.merge_patch(kind, BASE, &patch, false).await?;
        assert_eq!(super::desk::accepted(patched)?["status"], unseen, "merge patch");
        let mut applied = object(&resource, BASE, &kind.base());
        applied["status"] = status(kind);
        let (_, errors) = desk.kubectl_with(&["replace"], &[applied.clone()]).await?;
        ensure!(errors.is_empty(), "{errors}");
        let params = PatchParams::apply("git").force();
        desk.api(kind).patch(BASE, &params, &Patch::Apply(applied)).await?;
        let read = desk.api(kind).get(BASE).await?;
        assert_eq!(read.data["status"], unseen, "replace and server-side apply");
        assert_eq!(read.metadata.generation, Some(1));
    }
    Ok(())
}

/// An annotation, such as the one that asks for a sync, is no new generation, and no edit of spec is none.
#[tokio::test]
async fn a_request_for_a_sync_is_no_new_generation() -> Result<()> {
    let desk = Desk::new("generation").await?;
    for kind in Kind::ALL {
        let generation = async |patch: Value| -> Result<Value> {
            let object = super::desk::accepted(desk.merge_patch(kind, BASE, &patch, false).await?)?;
            Ok(object["metadata"]["generation"].clone())
        };
        let asked = json!({ "metadata": { "annotations": { "intune.msgraph.dev/reconcile-requested-at": "now" } } });
        assert_eq!(generation(asked).await?, 1);
        let edit = match kind {
            Kind::Partner | Kind::ReferencePartner => json!({ "suspend": true }),
            Kind::Connection | Kind::ReferenceConnection => json!({ "access": "ReadOnly" }),
        };
        assert_eq!(generation(json!({ "spec": edit })).await?, 2);
        assert_eq!(generation(json!({ "spec": edit })).await?, 2);
    }
    Ok(())
}

/// Text is no boolean, a number no id, one entry no list: no value is read leniently, of whatever type the field is.
#[tokio::test]
async fn a_value_of_another_type_is_refused_by_the_name_of_its_field() -> Result<()> {
    let desk = Desk::new("types").await?;
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let mut tried = 0;
        for (index, spec) in specs(kind).into_iter().enumerate() {
            let mut paths = Vec::new();
            pointers("", &spec, &mut paths);
            // What the others share with the first is tried once.
            paths.retain(|path| index == 0 || path.starts_with("/partnerRef") || path.starts_with("/auth"));
            for path in paths {
                for value in others(spec.pointer(&path).context("no value")?) {
                    let mut object = object(&kind.resource(), "new", &spec);
                    *object
                        .pointer_mut(&format!("/spec{path}"))
                        .context("no place for a value")? = value.clone();
                    tried += 1;
                    let params = PatchParams::apply("git").dry_run();
                    let applied = desk.api(kind).patch("new", &params, &Patch::Apply(&object)).await;
                    for verdict in [
                        desk.post(&desk.api(kind), object).await?,
                        super::desk::verdict(applied)?,
                    ] {
                        let named = refused(verdict).and_then(|message| ensure_contains(&message, &[&field(&path)]));
                        if let Err(error) = named {
                            wrong.push(format!("{path} as {value}: {error:#}"));
                        }
                    }
                }
            }
        }
        ensure!(tried > 60, "{kind:?}: {tried}");
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Paths of all values within a value.
fn pointers(path: &str, value: &Value, found: &mut Vec<String>) {
    if !path.is_empty() {
        found.push(path.to_owned());
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                pointers(&format!("{path}/{name}"), value, found);
            }
        }
        Value::Array(entries) => {
            for (index, value) in entries.iter().enumerate().take(1) {
                pointers(&format!("{path}/{index}"), value, found);
            }
        }
        _ => {}
    }
}

/// Values of every other type, in the spellings that people take for the right one.
fn others(value: &Value) -> Vec<Value> {
    let all = [
        json!("true"),
        json!("yes"),
        json!(1),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({ "a": "b" }),
    ];
    let kind = std::mem::discriminant(value);
    all.into_iter()
        .filter(|other| std::mem::discriminant(other) != kind)
        .collect()
}

/// The last name of a path: the two ways of refusing spell what is before it differently.
fn field(path: &str) -> String {
    let mut names = path.split('/').filter(|part| part.parse::<usize>().is_err());
    names.next_back().unwrap_or_default().to_owned()
}

/// A key of another version, of Graph's beta or of a typing error.
#[tokio::test]
async fn a_field_that_there_is_not_goes_or_is_refused_by_name() -> Result<()> {
    let desk = Desk::new("unknown").await?;
    let (mut objects, mut fields) = (Vec::new(), Vec::new());
    let all = json!([{ "target": { "type": "AllDevices" } }]);
    for (kind, patch, field) in [
        (Kind::Partner, json!({ "linuxOnboarded": true }), "spec.linuxOnboarded"),
        (
            Kind::Partner,
            json!({ "linuxEnrollmentAssignments": all }),
            "spec.linuxEnrollmentAssignments",
        ),
        (Kind::Partner, json!({ "iOSOnboarded": true }), "spec.iOSOnboarded"),
        (Kind::Partner, json!({ "partnerState": "enabled" }), "spec.partnerState"),
        (
            Kind::Partner,
            json!({ "lastHeartbeatDateTime": "2026-11-23T10:15:30Z" }),
            "spec.lastHeartbeatDateTime",
        ),
        (
            Kind::Partner,
            json!({ "partnerRef": { "tenantId": "a" } }),
            "spec.partnerRef.tenantId",
        ),
        (
            Kind::Connection,
            json!({ "graphEndpoint": "https://example.com" }),
            "spec.graphEndpoint",
        ),
        (
            Kind::Connection,
            json!({ "auth": { "clientSecret": { "value": "a" } } }),
            "spec.auth.clientSecret.value",
        ),
        (
            Kind::Connection,
            json!({ "auth": { "clientSecret": null, "managedIdentity": { "clientId": "a" } } }),
            "spec.auth.managedIdentity.clientId",
        ),
    ] {
        let name = field.rsplit('.').next().context("no name")?;
        for way in [Way::Create, Way::MergePatch, Way::Replace] {
            let stored = super::desk::accepted(desk.try_spec(kind, way, &patch).await?)?;
            ensure!(
                !stored["spec"].to_string().contains(&format!("\"{name}\":")) || name == "clientId",
                "{way:?} keeps {field}: {}",
                stored["spec"]
            );
            ensure!(stored["spec"]["auth"]["managedIdentity"]["clientId"].is_null());
        }
        for way in [Way::ServerSideApply, Way::ServerSideApplyAgain] {
            let verdict = desk.try_spec(kind, way, &patch).await?;
            // Of an object without any field it asks nothing.
            if field.contains(".managedIdentity.") {
                let stored = super::desk::accepted(verdict)?;
                assert_eq!(stored["spec"]["auth"], json!({ "managedIdentity": {} }));
            } else {
                ensure_contains(&refused(verdict)?, &[field, "not declared in schema"])?;
            }
        }
        let mut spec = kind.base();
        merge(&mut spec, &patch);
        objects.push(object(&kind.resource(), "new", &spec));
        fields.push(format!("unknown field \"{field}\""));
    }
    for verb in ["apply", "create"] {
        let (taken, errors) = desk.kubectl_with(&[verb, "--dry-run=server"], &objects).await?;
        ensure!(taken.is_empty(), "{taken}");
        ensure_contains(&errors, &fields.iter().map(|field| &**field).collect::<Vec<_>>())?;
    }
    Ok(())
}
