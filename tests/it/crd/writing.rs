//! What becomes of nulls, of empty lists and of fields that there are not, by every way of writing.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind, Way, accepted, ensure_contains, merge, object, refused, verdict};

/// Every optional field of spec with a value, as a merge patch to the base.
fn optional(kind: Kind) -> Value {
    let list = json!([{ "target": { "type": "AllDevices" } }]);
    match kind {
        Kind::Partner | Kind::ReferencePartner => json!({
            "managementPolicy": "Observe",
            "deletionPolicy": "Reset",
            "suspend": true,
            "syncInterval": "5m",
            "displayName": "Jamf",
            "macOsOnboarded": true,
            "androidOnboarded": false,
            "iosOnboarded": true,
            "macOsEnrollmentAssignments": list,
            "androidEnrollmentAssignments": list,
            "iosEnrollmentAssignments": list,
        }),
        Kind::Connection | Kind::ReferenceConnection => json!({
            "cloud": "Global",
            "access": "ReadOnly",
            "auth": { "clientSecret": { "secretRef": { "key": "secret" } } },
        }),
    }
}

/// The same fields, each null.
fn nulls(kind: Kind) -> Value {
    fn nulled(value: &Value) -> Value {
        match value.as_object() {
            Some(fields) => fields.iter().map(|(key, value)| (key.clone(), nulled(value))).collect(),
            None => Value::Null,
        }
    }
    nulled(&optional(kind))
}

/// Puts keys of a patch in place, the null ones too.
fn overlay(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().into_iter().flatten() {
        if value.is_object() {
            overlay(&mut target[key], value);
        } else {
            target[key] = value.clone();
        }
    }
}

#[tokio::test]
async fn a_null_is_absent() -> Result<()> {
    let desk = Desk::new("nulls").await?;
    for kind in Kind::ALL {
        let mut with_nulls = kind.base();
        overlay(&mut with_nulls, &nulls(kind));
        let mut full = kind.base();
        merge(&mut full, &optional(kind));

        let new = object(&kind.resource(), "new", &with_nulls);
        let created = desk.post(&desk.api(kind), new).await?;
        assert_eq!(accepted(created)?["spec"], kind.base(), "create");
        desk.store(kind, "full", full.clone()).await?;
        let replaced = desk.replace(kind, "full", with_nulls.clone(), true).await?;
        assert_eq!(accepted(replaced)?["spec"], kind.base(), "replace");
        let patched = desk
            .merge_patch(kind, "full", &json!({ "spec": with_nulls }), true)
            .await?;
        assert_eq!(accepted(patched)?["spec"], kind.base(), "merge patch");

        // A chart that rendered a value first and an empty key later.
        let objects = [&with_nulls, &full, &with_nulls].map(|spec| object(&kind.resource(), "by-kubectl", spec));
        let stored = desk.kubectl_specs(&["apply"], &objects).await?;
        assert_eq!(stored, [kind.base(), full, kind.base()], "kubectl apply");
    }
    Ok(())
}

#[tokio::test]
async fn server_side_apply_refuses_each_null_by_name() -> Result<()> {
    let desk = Desk::new("nulls-ssa").await?;
    for kind in Kind::ALL {
        let nulls = nulls(kind);
        let mut objects = Vec::new();
        for (field, value) in nulls.as_object().into_iter().flatten() {
            let mut spec = kind.base();
            overlay(&mut spec, &json!({ field: value }));
            let object = object(&kind.resource(), &field.to_lowercase(), &spec);
            let params = PatchParams::apply("git").dry_run();
            let answer = desk
                .api(kind)
                .patch(&field.to_lowercase(), &params, &Patch::Apply(&object))
                .await;
            let message = refused(verdict(answer)?).with_context(|| field.clone())?;
            ensure_contains(&message, &[&format!("spec.{field}")])?;
            objects.push(object);
        }
        let (taken, errors) = desk.kubectl_with(&["apply", "--server-side"], &objects).await?;
        ensure!(taken.is_empty(), "{taken}");
        for field in nulls.as_object().into_iter().flatten().map(|(field, _)| field) {
            ensure_contains(&errors, &[&format!("spec.{field}")])?;
        }
    }
    Ok(())
}

/// `[]` clears a list in Graph and an absent list is not managed: what one writes must not become the other.
#[tokio::test]
async fn an_empty_list_stays_one() -> Result<()> {
    let desk = Desk::new("empty").await?;
    let kind = Kind::Partner;
    let lists = [
        "macOsEnrollmentAssignments",
        "androidEnrollmentAssignments",
        "iosEnrollmentAssignments",
    ];
    let mut empty = kind.base();
    let mut full = kind.base();
    for list in lists {
        empty[list] = json!([]);
        full[list] = json!([{ "target": { "type": "AllDevices" } }]);
    }
    for way in Way::ALL {
        let mut patch = empty.clone();
        // Nothing but the lists: they are all that a merge patch may change.
        patch
            .as_object_mut()
            .context("no object")?
            .retain(|key, _| lists.contains(&&**key));
        assert_eq!(
            accepted(desk.try_spec(kind, way, &patch).await?)?["spec"],
            empty,
            "{way:?}"
        );
    }
    let specs = [empty.clone(), full, empty.clone(), kind.base(), empty];
    for (name, args) in [
        ("apply", &["apply"][..]),
        ("server-side", &["apply", "--server-side"]),
        ("replace", &["replace"]),
    ] {
        if name == "replace" {
            desk.store(kind, name, kind.base()).await?;
        }
        let objects: Vec<_> = specs.iter().map(|spec| object(&kind.resource(), name, spec)).collect();
        assert_eq!(desk.kubectl_specs(args, &objects).await?, specs, "{name}");
    }
    Ok(())
}

/// References never leave the namespace: a field that asks for another one is refused or goes, and the local name is meant.
#[tokio::test]
async fn a_reference_takes_no_namespace() -> Result<()> {
    let desk = Desk::new("references").await?;
    let (mut objects, mut fields) = (Vec::new(), Vec::new());
    for (kind, patch, field) in [
        (
            Kind::Partner,
            json!({ "connectionRef": { "namespace": "other" } }),
            "spec.connectionRef.namespace",
        ),
        (
            Kind::Connection,
            json!({ "auth": { "clientSecret": { "secretRef": { "namespace": "kube-system" } } } }),
            "spec.auth.clientSecret.secretRef.namespace",
        ),
        (
            Kind::Connection,
            json!({ "auth": { "clientSecret": null, "clientCertificate": { "secretRef": { "name": "a", "namespace": "b" } } } }),
            "spec.auth.clientCertificate.secretRef.namespace",
        ),
        (
            Kind::Connection,
            json!({ "auth": { "clientSecret": null, "workloadIdentity": { "serviceAccountRef": { "name": "a", "namespace": "b" } } } }),
            "spec.auth.workloadIdentity.serviceAccountRef.namespace",
        ),
    ] {
        for way in [Way::Create, Way::MergePatch, Way::Replace] {
            let stored = accepted(desk.try_spec(kind, way, &patch).await?)?;
            ensure!(
                !stored["spec"].to_string().contains("namespace"),
                "{way:?}: {}",
                stored["spec"]
            );
        }
        for way in [Way::ServerSideApply, Way::ServerSideApplyAgain] {
            let message = refused(desk.try_spec(kind, way, &patch).await?)?;
            ensure_contains(&message, &[field, "not declared in schema"])?;
        }

        let mut spec = kind.base();
        merge(&mut spec, &patch);
        objects.push(object(&kind.resource(), "new", &spec));
        fields.push(format!("unknown field \"{field}\""));
    }
    let (taken, errors) = desk.kubectl_with(&["apply"], &objects).await?;
    ensure!(taken.is_empty(), "{taken}");
    ensure_contains(&errors, &fields.iter().map(|field| &**field).collect::<Vec<_>>())
}

/// Unquoted, `yes` is a boolean to kubectl, which reads YAML 1.1; quoted, it is text to everybody.
#[tokio::test]
async fn a_boolean_is_never_read_from_text() -> Result<()> {
    let desk = Desk::new("booleans").await?;
    let manifest = |name: &str, value: &str| {
        format!(
            "---\napiVersion: intune.msgraph.dev/v1alpha1\nkind: ComplianceManagementPartner\nmetadata: {{ name: {name} }}\n\
             spec:\n  connectionRef: {{ name: contoso }}\n  partnerRef: {{ id: a }}\n  iosOnboarded: {value}\n"
        )
    };
    let refused = ["\"true\"", "'yes'", "\"no\"", "1", "enabled"];
    let (taken, errors) = desk
        .kubectl_with_text(&["apply"], &refused.map(|value| manifest("refused", value)).concat())
        .await?;
    ensure!(taken.is_empty(), "{taken}");
    ensure!(
        errors
            .matches("spec.iosOnboarded in body must be of type boolean")
            .count()
            == refused.len(),
        "{errors}"
    );

    let taken = [
        ("yes", true),
        ("no", false),
        ("on", true),
        ("off", false),
        ("true", true),
    ];
    let manifests = taken
        .map(|(word, _)| manifest(&format!("unquoted-{word}"), word))
        .concat();
    let (_, errors) = desk.kubectl_with_text(&["apply"], &manifests).await?;
    ensure!(errors.is_empty(), "{errors}");
    for (word, read) in taken {
        let stored = desk.api(Kind::Partner).get(&format!("unquoted-{word}")).await?;
        assert_eq!(stored.data["spec"]["iosOnboarded"], read, "{word}");
    }
    Ok(())
}

/// A template that renders both keys of a choice, one of them empty, and a null within a list.
#[tokio::test]
async fn a_null_deeper_within_is_absent_too() -> Result<()> {
    let desk = Desk::new("nulls-within").await?;
    let null = Value::Null;
    let group = json!({ "type": "AllDevices", "groupId": null, "collectionId": null });
    let auth = json!({
        "clientSecret": { "secretRef": { "name": "graph", "key": null } },
        "clientCertificate": null, "workloadIdentity": null, "operatorIdentity": null, "managedIdentity": null,
    });
    for (kind, path, value, stored, named) in [
        (
            Kind::Partner,
            "/partnerRef",
            json!({ "id": "a", "displayName": null }),
            json!({ "id": "a" }),
            "displayName",
        ),
        (
            Kind::Partner,
            "/partnerRef",
            json!({ "id": null, "displayName": "Jamf" }),
            json!({ "displayName": "Jamf" }),
            "id",
        ),
        (
            Kind::Partner,
            "/iosEnrollmentAssignments",
            json!([{ "target": group }]),
            json!([{ "target": { "type": "AllDevices" } }]),
            "groupId",
        ),
        (
            Kind::Connection,
            "/auth",
            auth,
            Kind::Connection.base()["auth"].clone(),
            "key",
        ),
    ] {
        let mut with_nulls = kind.base();
        let mut without = kind.base();
        with_nulls[&path[1..]] = value;
        without[&path[1..]] = stored;
        let name = "deeper";
        let object = |spec: &Value| object(&kind.resource(), name, spec);
        let created = desk.post(&desk.api(kind), object(&with_nulls)).await?;
        assert_eq!(accepted(created)?["spec"], without, "create");
        desk.store(kind, name, without.clone()).await?;
        let replaced = desk.replace(kind, name, with_nulls.clone(), true).await?;
        assert_eq!(accepted(replaced)?["spec"], without, "replace");
        let patched = desk
            .merge_patch(kind, name, &json!({ "spec": with_nulls }), true)
            .await?;
        assert_eq!(accepted(patched)?["spec"], without, "merge patch");
        desk.api(kind).delete(name, &kube::api::DeleteParams::default()).await?;
        let applied = desk
            .kubectl_specs(&["apply"], &[object(&with_nulls), object(&with_nulls)])
            .await?;
        assert_eq!(applied, [without.clone(), without], "kubectl apply");
        desk.api(kind).delete(name, &kube::api::DeleteParams::default()).await?;

        let patch = Patch::Apply(object(&with_nulls));
        let applied = desk.api(kind).patch(name, &PatchParams::apply("git"), &patch).await;
        ensure_contains(&refused(verdict(applied)?)?, &[named])?;
    }
    // A null for an entry is none.
    for way in [Way::Create, Way::ServerSideApply, Way::Replace] {
        let message = refused(
            desk.try_spec(Kind::Partner, way, &json!({ "iosEnrollmentAssignments": [null] }))
                .await?,
        )?;
        ensure_contains(&message, &["iosEnrollmentAssignments"])?;
    }
    // What must be there cannot be null.
    for (kind, field) in [
        (Kind::Partner, "connectionRef"),
        (Kind::Partner, "partnerRef"),
        (Kind::Connection, "tenantId"),
        (Kind::Connection, "auth"),
    ] {
        let mut spec = kind.base();
        spec[field] = null.clone();
        let created = desk
            .post(&desk.api(kind), object(&kind.resource(), "new", &spec))
            .await?;
        ensure_contains(&refused(created)?, &[&format!("spec.{field}"), "Required value"])?;
        let patch = Patch::Apply(object(&kind.resource(), "new", &spec));
        let applied = desk.api(kind).patch("new", &PatchParams::apply("git"), &patch).await;
        ensure_contains(&refused(verdict(applied)?)?, &[&format!("spec.{field}")])?;
    }
    // What is there is not touched by an update that says nothing of it.
    let patched = desk
        .merge_patch(Kind::Partner, BASE, &json!({ "spec": {} }), true)
        .await?;
    assert_eq!(accepted(patched)?["spec"], Kind::Partner.base());
    Ok(())
}
