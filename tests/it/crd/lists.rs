//! What becomes of a list that two managers apply: server-side apply goes by its type.

use anyhow::{Context as _, Result, ensure};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind};

/// Applies this much of the spec of [`BASE`]. Not by force: a conflict is an error.
async fn apply(desk: &Desk, manager: &str, spec: &Value) -> kube::Result<DynamicObject> {
    let kind = Kind::Partner;
    let object = super::desk::object(&kind.resource(), BASE, spec);
    let params = PatchParams::apply(manager);
    desk.api(kind).patch(BASE, &params, &Patch::Apply(object)).await
}

/// An assignment has no key by which two lists could be merged: the list has one owner.
#[tokio::test]
async fn a_list_of_assignments_is_replaced_whole_and_has_one_owner() -> Result<()> {
    let desk = Desk::new("atomic").await?;
    let all = |word: &str| json!([{ "target": { "type": word } }]);
    for list in [
        "macOsEnrollmentAssignments",
        "androidEnrollmentAssignments",
        "iosEnrollmentAssignments",
    ] {
        apply(&desk, list, &json!({ list: all("AllDevices") })).await?;
        let conflict = apply(&desk, "another", &json!({ list: all("AllLicensedUsers") }))
            .await
            .err()
            .context("a second manager took the list over without force")?;
        let conflict = conflict.to_string();
        ensure!(
            conflict.contains("conflict") && conflict.contains(&format!(".spec.{list}")),
            "{conflict}"
        );
        let stored = desk.api(Kind::Partner).get(BASE).await?;
        assert_eq!(stored.data["spec"][list], all("AllDevices"));

        // Who owns it replaces it, and the empty list is not the absent one.
        let replaced = apply(&desk, list, &json!({ list: all("AllLicensedUsers") })).await?;
        assert_eq!(replaced.data["spec"][list], all("AllLicensedUsers"));
        let emptied = apply(&desk, list, &json!({ list: [] })).await?;
        assert_eq!(emptied.data["spec"][list], json!([]));
        let absent = apply(&desk, list, &json!({})).await?;
        ensure!(absent.data["spec"].get(list).is_none(), "{}", absent.data["spec"]);
    }
    Ok(())
}

/// One team may keep the flags and another the lists.
#[tokio::test]
async fn fields_of_a_partner_may_have_owners_of_their_own() -> Result<()> {
    let desk = Desk::new("owners").await?;
    apply(&desk, "flags", &json!({ "iosOnboarded": true })).await?;
    let both = apply(&desk, "lists", &json!({ "iosEnrollmentAssignments": [] })).await?;
    assert_eq!(both.data["spec"]["iosOnboarded"], true);
    let without = apply(&desk, "flags", &json!({})).await?;
    let mut spec = Kind::Partner.base();
    spec["iosEnrollmentAssignments"] = json!([]);
    assert_eq!(without.data["spec"], spec);
    Ok(())
}

fn condition(kind: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": "A", "message": "",
        "lastTransitionTime": "2026-11-23T10:15:30Z",
    })
}

/// Another controller may add a condition of its own, which stays when the operator writes.
#[tokio::test]
async fn lists_in_status_are_merged_by_their_keys() -> Result<()> {
    let desk = Desk::new("merged").await?;
    for (kind, list, ours, theirs) in [
        (Kind::Partner, "conditions", condition("Ready"), condition("Theirs")),
        (Kind::Connection, "conditions", condition("Ready"), condition("Theirs")),
        (
            Kind::Partner,
            "drift",
            json!({ "field": "a", "desired": "true" }),
            json!({ "field": "b" }),
        ),
        (
            Kind::Connection,
            "partners",
            json!({ "id": "a", "displayName": "Jamf" }),
            json!({ "id": "b" }),
        ),
        (Kind::Partner, "platforms", json!("macOS"), json!("iOS")),
        (Kind::Connection, "roles", json!("a"), json!("b")),
    ] {
        let apply = async |manager: &str, entries: Value| -> Result<Value> {
            let resource = kind.resource();
            let object = json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": { "name": BASE }, "status": { list: entries },
            });
            let params = PatchParams::apply(manager);
            let stored = desk
                .api(kind)
                .patch_status(BASE, &params, &Patch::Apply(object))
                .await
                .with_context(|| format!("{kind:?} {list} by {manager}"))?;
            Ok(stored.data["status"][list].clone())
        };
        assert_eq!(
            apply("compliance-partner-operator", json!([ours])).await?,
            json!([ours])
        );
        assert_eq!(apply("theirs", json!([theirs])).await?, json!([ours, theirs]), "{list}");
        // The same again by the other is no second entry.
        assert_eq!(
            apply("theirs", json!([theirs, ours])).await?,
            json!([theirs, ours]),
            "{list}"
        );
        assert_eq!(
            apply("compliance-partner-operator", json!([])).await?,
            json!([theirs, ours])
        );
        // A list whose last entry goes may go with it.
        let emptied = apply("theirs", json!([])).await?;
        assert_eq!(emptied.as_array().map_or(0, Vec::len), 0, "{list}: {emptied}");
    }
    Ok(())
}
