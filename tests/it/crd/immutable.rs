//! What may never change, nor be taken away and set anew.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{
    BASE, Desk, Kind, PARTNER_ID, Verdict, Way, accepted, ensure_contains, merge, object, refused, verdict,
};

/// Changes of a partner's identity as merge patches to spec, and what each refusal names.
fn changes() -> [(Value, &'static [&'static str]); 8] {
    [
        (
            json!({ "partnerRef": { "id": "another" } }),
            &["spec.partnerRef", "partnerRef is immutable"],
        ),
        (
            json!({ "partnerRef": { "id": PARTNER_ID.to_uppercase() } }),
            &["spec.partnerRef", "partnerRef is immutable"],
        ),
        (
            json!({ "partnerRef": { "id": null, "displayName": "X" } }),
            &["spec.partnerRef", "partnerRef is immutable"],
        ),
        (
            json!({ "partnerRef": { "displayName": "X" } }),
            &["spec.partnerRef", "partnerRef takes exactly one of id and displayName"],
        ),
        // The first of two steps: what is gone could be set anew.
        (
            json!({ "partnerRef": { "id": null } }),
            &["spec.partnerRef", "partnerRef takes exactly one of id and displayName"],
        ),
        (json!({ "partnerRef": null }), &["spec.partnerRef", "Required value"]),
        (
            json!({ "connectionRef": { "name": "another" } }),
            &["spec.connectionRef", "connectionRef is immutable"],
        ),
        (
            json!({ "connectionRef": null }),
            &["spec.connectionRef", "Required value"],
        ),
    ]
}

#[tokio::test]
async fn what_a_partner_is_cannot_change_in_one_step_or_two() -> Result<()> {
    let desk = Desk::new("immutable").await?;
    let kind = Kind::Partner;
    for (patch, needles) in changes() {
        for way in [Way::MergePatch, Way::Replace] {
            let message =
                refused(desk.try_spec(kind, way, &patch).await?).with_context(|| format!("{way:?} {patch}"))?;
            ensure_contains(&message, needles)?;
        }
    }
    for path in [
        "/spec",
        "/spec/partnerRef",
        "/spec/partnerRef/id",
        "/spec/connectionRef",
        "/spec/connectionRef/name",
    ] {
        let message = refused(remove(&desk, kind, BASE, path).await?)?;
        ensure_contains(&message, &[&path.replace('/', ".")[1..path.len().min(16)]])?;
    }

    // The same values again, or anything else, may be written.
    for way in [Way::MergePatch, Way::Replace] {
        accepted(
            desk.try_spec(kind, way, &json!({ "partnerRef": { "id": PARTNER_ID } }))
                .await?,
        )?;
        let other = json!({ "suspend": true, "displayName": "X", "deletionPolicy": "Reset" });
        accepted(desk.try_spec(kind, way, &other).await?)?;
    }
    Ok(())
}

/// By a JSON patch.
async fn remove(desk: &Desk, kind: Kind, name: &str, field: &str) -> Result<Verdict> {
    let patch = serde_json::from_value(json!([{ "op": "remove", "path": field }]))?;
    let patch: Patch<Value> = Patch::Json(patch);
    verdict(desk.api(kind).patch(name, &PatchParams::default(), &patch).await)
}

/// Whoever applied a field takes it away by leaving it out.
#[tokio::test]
async fn server_side_apply_cannot_take_away_what_a_partner_is() -> Result<()> {
    let desk = Desk::new("immutable-ssa").await?;
    let kind = Kind::Partner;
    let apply = async |manager: &str, spec: Value| -> Result<Verdict> {
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(object(&kind.resource(), "applied", &spec));
        verdict(desk.api(kind).patch("applied", &params, &patch).await)
    };
    accepted(apply("git", kind.base()).await?)?;
    for (patch, needles) in changes() {
        let mut spec = kind.base();
        merge(&mut spec, &patch);
        let message = refused(apply("git", spec).await?).with_context(|| patch.to_string())?;
        // Server-side apply makes null of an object whose last field it takes away; then the type is what is wrong.
        let taken_away = patch == json!({ "partnerRef": { "id": null } });
        ensure_contains(&message, if taken_away { &["spec.partnerRef"] } else { needles })?;
    }
    // Nor do two managers get there together: the second adds a name, after which the first could drop the id.
    let message = refused(apply("another", json!({ "partnerRef": { "displayName": "X" } })).await?)?;
    ensure_contains(&message, &["partnerRef takes exactly one of id and displayName"])?;
    Ok(())
}

#[tokio::test]
async fn kubectl_apply_cannot_change_what_a_partner_is() -> Result<()> {
    let desk = Desk::new("immutable-kubectl").await?;
    let kind = Kind::Partner;
    let base = object(&kind.resource(), "applied", &kind.base());
    let (taken, errors) = desk.kubectl_with(&["apply"], &[base]).await?;
    ensure!(errors.is_empty() && taken.contains("created"), "{taken}{errors}");
    let with = |patch: &Value| {
        let mut spec = kind.base();
        merge(&mut spec, patch);
        object(&kind.resource(), "applied", &spec)
    };
    let changes = changes();
    let objects: Vec<_> = changes.iter().map(|(patch, _)| with(patch)).collect();
    let (taken, errors) = desk.kubectl_with(&["apply"], &objects).await?;
    ensure!(taken.is_empty(), "taken: {taken}");
    for (_, needles) in changes {
        ensure_contains(&errors, needles)?;
    }
    ensure!(errors.matches("is invalid").count() == objects.len(), "{errors}");
    Ok(())
}

#[tokio::test]
async fn a_write_to_status_changes_no_spec() -> Result<()> {
    let desk = Desk::new("immutable-status").await?;
    let patch = json!({ "spec": { "partnerRef": { "id": "another" } }, "status": { "partnerState": "enabled" } });
    let params = PatchParams::default();
    let answer = desk
        .api(Kind::Partner)
        .patch_status(BASE, &params, &Patch::Merge(&patch))
        .await?;
    assert_eq!(answer.metadata.generation, Some(1));
    assert_eq!(answer.data["spec"], Kind::Partner.base());
    assert_eq!(answer.data["status"]["partnerState"], "enabled");
    Ok(())
}

#[tokio::test]
async fn a_tenant_cannot_change() -> Result<()> {
    let desk = Desk::new("tenant").await?;
    let other = json!({ "tenantId": "bbbbbbbb-2222-4222-8222-000000000001" });
    for way in [Way::MergePatch, Way::Replace] {
        let message = refused(desk.try_spec(Kind::Connection, way, &other).await?)?;
        ensure_contains(&message, &["spec.tenantId", "tenantId is immutable"])?;
        let message = refused(
            desk.try_spec(Kind::Connection, way, &json!({ "tenantId": null }))
                .await?,
        )?;
        ensure_contains(&message, &["spec.tenantId", "Required value"])?;
        // A rotation changes all that proves who the operator is.
        let rotation = json!({
            "clientId": "bbbbbbbb-2222-4222-8222-000000000002",
            "access": "ReadOnly",
            "auth": { "clientSecret": null, "clientCertificate": { "secretRef": { "name": "graph-cert" } } },
        });
        accepted(desk.try_spec(Kind::Connection, way, &rotation).await?)?;
    }
    Ok(())
}

/// Also to and from the keys without fields, which some ways of writing take for nothing.
#[tokio::test]
async fn the_way_of_proof_can_change_by_every_way_of_writing() -> Result<()> {
    let desk = Desk::new("auth").await?;
    let kind = Kind::Connection;
    let ways = [
        json!({ "clientSecret": { "secretRef": { "name": "graph" } } }),
        json!({ "managedIdentity": {} }),
        json!({ "operatorIdentity": {} }),
        json!({ "workloadIdentity": { "serviceAccountRef": { "name": "graph" } } }),
        json!({ "managedIdentity": {} }),
        json!({ "clientCertificate": { "secretRef": { "name": "graph" } } }),
        json!({ "clientCertificate": { "secretRef": { "name": "graph" } } }),
    ];
    let with = |name: &str, auth: &Value| {
        let mut spec = kind.base();
        spec["auth"] = auth.clone();
        object(&kind.resource(), name, &spec)
    };
    for auth in &ways {
        let applied = Patch::Apply(with("applied", auth));
        let applied = desk
            .api(kind)
            .patch("applied", &PatchParams::apply("git"), &applied)
            .await?;
        assert_eq!(applied.data["spec"]["auth"], *auth, "server-side apply");
        let mut spec = kind.base();
        spec["auth"] = auth.clone();
        let replaced = accepted(desk.replace(kind, BASE, spec, false).await?)?;
        assert_eq!(replaced["spec"]["auth"], *auth, "replace");
    }
    let objects: Vec<_> = ways.iter().map(|auth| with("by-kubectl", auth)).collect();
    for (spec, auth) in desk.kubectl_specs(&["apply"], &objects).await?.iter().zip(&ways) {
        assert_eq!(spec["auth"], *auth, "kubectl apply");
    }
    Ok(())
}

#[tokio::test]
async fn a_cloud_that_is_left_out_is_global() -> Result<()> {
    let desk = Desk::new("cloud").await?;
    let kind = Kind::Connection;
    let clouds = [None, Some("Global"), Some("USGov"), Some("USGovDoD"), Some("China")];
    for (index, had) in clouds.into_iter().enumerate() {
        let name = format!("cloud-{index}");
        let with = |cloud: Option<&str>| {
            let mut spec = kind.base();
            merge(&mut spec, &json!({ "cloud": cloud }));
            spec
        };
        let apply = async |cloud, dry_run| -> Result<Verdict> {
            let params = PatchParams {
                dry_run,
                ..PatchParams::apply("git")
            };
            let patch = Patch::Apply(object(&kind.resource(), &name, &with(cloud)));
            verdict(desk.api(kind).patch(&name, &params, &patch).await)
        };
        accepted(apply(had, false).await?)?;
        for wanted in clouds {
            let patch = json!({ "spec": { "cloud": wanted } });
            let verdicts = [
                desk.merge_patch(kind, &name, &patch, true).await?,
                desk.replace(kind, &name, with(wanted), true).await?,
                apply(wanted, true).await?,
            ];
            for verdict in verdicts {
                if had.unwrap_or("Global") == wanted.unwrap_or("Global") {
                    accepted(verdict).with_context(|| format!("{had:?} to {wanted:?}"))?;
                } else {
                    let message = refused(verdict).with_context(|| format!("{had:?} to {wanted:?}"))?;
                    ensure_contains(&message, &["spec", "cloud is immutable (absent equals Global)"])?;
                }
            }
        }
    }

    // Left out, written out and left out again, it is still what it was.
    for cloud in [Some("Global"), None] {
        accepted(
            desk.merge_patch(kind, BASE, &json!({ "spec": { "cloud": cloud } }), false)
                .await?,
        )?;
        let message = refused(
            desk.merge_patch(kind, BASE, &json!({ "spec": { "cloud": "USGov" } }), false)
                .await?,
        )?;
        ensure_contains(&message, &["cloud is immutable"])?;
    }
    Ok(())
}

/// The other key of `partnerRef` is as fast: no other name, no id in its place, and no key taken away to be set anew.
#[tokio::test]
async fn a_partner_that_is_named_keeps_its_name() -> Result<()> {
    let desk = Desk::new("named").await?;
    let kind = Kind::Partner;
    let named = json!({ "connectionRef": { "name": "contoso" }, "partnerRef": { "displayName": "Jamf" } });
    let apply = async |spec: &Value| -> Result<Verdict> {
        let patch = Patch::Apply(object(&kind.resource(), "applied", spec));
        verdict(
            desk.api(kind)
                .patch("applied", &PatchParams::apply("git"), &patch)
                .await,
        )
    };
    accepted(apply(&named).await?)?;
    let by_kubectl = |spec: &Value| object(&kind.resource(), "by-kubectl", spec);
    desk.kubectl_specs(&["apply"], &[by_kubectl(&named)]).await?;

    let immutable = "partnerRef is immutable";
    let one_key = "partnerRef takes exactly one of id and displayName";
    let mut objects = Vec::new();
    for (patch, rule) in [
        (json!({ "displayName": "Fleet" }), immutable),
        // Not even the name's spelling.
        (json!({ "displayName": "jamf" }), immutable),
        (json!({ "displayName": null, "id": PARTNER_ID }), immutable),
        (json!({ "id": PARTNER_ID }), one_key),
        (json!({ "displayName": null }), one_key),
    ] {
        let mut spec = named.clone();
        merge(&mut spec["partnerRef"], &patch);
        let patch = json!({ "spec": { "partnerRef": patch } });
        for verdict in [
            desk.merge_patch(kind, "applied", &patch, false).await?,
            desk.replace(kind, "applied", spec.clone(), false).await?,
        ] {
            ensure_contains(&refused(verdict)?, &["spec.partnerRef", rule])?;
        }
        let message = refused(apply(&spec).await?)?;
        let needles = ["spec.partnerRef", rule];
        // Server-side apply makes null of an object whose last field it takes away; then the type is what is wrong.
        let told = if spec["partnerRef"] == json!({}) { 1 } else { 2 };
        ensure_contains(&message, &needles[..told])?;
        objects.push(by_kubectl(&spec));
    }
    let (taken, errors) = desk.kubectl_with(&["apply"], &objects).await?;
    ensure!(taken.is_empty(), "{taken}");
    ensure!(
        errors.matches("spec.partnerRef: Invalid value").count() >= objects.len(),
        "{errors}"
    );
    for name in ["applied", "by-kubectl"] {
        assert_eq!(desk.api(kind).get(name).await?.data["spec"], named, "{name}");
    }
    Ok(())
}

/// By the ways that the tests before have not gone.
#[tokio::test]
async fn neither_apply_can_change_a_tenant_or_a_cloud() -> Result<()> {
    let desk = Desk::new("connection-ssa").await?;
    let kind = Kind::Connection;
    let mut government = kind.base();
    government["cloud"] = json!("USGov");
    let apply = async |spec: &Value| -> Result<Verdict> {
        let patch = Patch::Apply(object(&kind.resource(), "applied", spec));
        verdict(
            desk.api(kind)
                .patch("applied", &PatchParams::apply("git").force(), &patch)
                .await,
        )
    };
    accepted(apply(&government).await?)?;
    let by_kubectl = |spec: &Value| object(&kind.resource(), "by-kubectl", spec);
    desk.kubectl_specs(&["apply"], &[by_kubectl(&government)]).await?;
    let mut objects = Vec::new();
    let cloud = "cloud is immutable (absent equals Global)";
    let changes = [
        (
            json!({ "tenantId": "bbbbbbbb-2222-4222-8222-000000000001" }),
            "tenantId is immutable",
        ),
        (json!({ "tenantId": null }), "Required value"),
        (json!({ "cloud": null }), cloud),
        (json!({ "cloud": "Global" }), cloud),
        (json!({ "cloud": "USGovDoD" }), cloud),
    ];
    for (patch, rule) in &changes {
        let mut spec = government.clone();
        merge(&mut spec, patch);
        ensure_contains(
            &refused(apply(&spec).await?).with_context(|| patch.to_string())?,
            &[rule],
        )?;
        objects.push(by_kubectl(&spec));
    }
    let (taken, errors) = desk.kubectl_with(&["apply"], &objects).await?;
    ensure!(taken.is_empty(), "{taken}");
    ensure!(errors.matches("is invalid").count() == objects.len(), "{errors}");
    ensure_contains(&errors, &changes.map(|(_, rule)| rule))?;
    for path in ["/spec/tenantId", "/spec/cloud"] {
        refused(remove(&desk, kind, "applied", path).await?).context(path)?;
    }
    Ok(())
}

/// What the messages advise: to be another partner, a resource is made anew.
#[tokio::test]
async fn a_resource_that_is_made_anew_may_be_another() -> Result<()> {
    let desk = Desk::new("anew").await?;
    let mut partner = Kind::Partner.base();
    partner["partnerRef"] = json!({ "displayName": "Fleet" });
    partner["connectionRef"]["name"] = json!("fabrikam");
    let mut connection = Kind::Connection.base();
    connection["tenantId"] = json!("bbbbbbbb-2222-4222-8222-000000000001");
    connection["cloud"] = json!("China");
    for (kind, spec) in [(Kind::Partner, partner), (Kind::Connection, connection)] {
        refused(desk.replace(kind, BASE, spec.clone(), false).await?)?;
        let anew = object(&kind.resource(), BASE, &spec);
        let (_, errors) = desk.kubectl_with(&["replace", "--force"], &[anew]).await?;
        ensure!(errors.is_empty(), "{errors}");
        assert_eq!(desk.api(kind).get(BASE).await?.data["spec"], spec);
    }
    Ok(())
}
