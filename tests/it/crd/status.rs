//! What the schema takes of the operator itself: one bad entry would refuse the whole status.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind, Verdict, accepted, ensure_contains, refused, verdict};

/// What a refusal names: the field and the rule. Nothing, where it is accepted.
type Needles = &'static [&'static str];

const TWICE: &str = "Duplicate value";

/// Statuses on both sides of every rule.
pub(crate) fn samples() -> Vec<(Kind, Value, Needles)> {
    let partner = conditions().into_iter().chain(partners());
    let partner = partner.map(|(status, needles)| (Kind::Partner, status, needles));
    let connection = connections().into_iter();
    let connection = connection.map(|(status, needles)| (Kind::Connection, status, needles));
    partner.chain(connection).collect()
}

fn conditions() -> Vec<(Value, Needles)> {
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "InSync", "message": "",
        "lastTransitionTime": "2026-11-23T10:15:30Z", "observedGeneration": 3,
    });
    let fields: [(&str, Value, Needles); 13] = [
        ("message", json!("ü".repeat(32_768)), &[]),
        (
            "message",
            json!("x".repeat(32_769)),
            &["conditions[0].message", "32768"],
        ),
        ("message", Value::Null, &["conditions[0].message", "Required value"]),
        ("reason", json!(""), &["conditions[0].reason"]),
        ("reason", json!("no word"), &["conditions[0].reason", "should match"]),
        ("reason", json!("x".repeat(1025)), &["conditions[0].reason", "1024"]),
        ("type", json!("no type"), &["conditions[0].type", "should match"]),
        ("status", json!("true"), &["conditions[0].status", "supported values"]),
        ("observedGeneration", json!(0), &[]),
        ("observedGeneration", json!(-1), &["conditions[0].observedGeneration"]),
        ("lastTransitionTime", json!("2026-11-23T10:15:30.25+01:00"), &[]),
        (
            "lastTransitionTime",
            json!("2026-11-23T10:15:60Z"),
            &["conditions[0].lastTransitionTime"],
        ),
        (
            "lastTransitionTime",
            json!("yesterday"),
            &["conditions[0].lastTransitionTime"],
        ),
    ];
    let mut samples: Vec<(Value, Needles)> = Vec::new();
    for (field, value, needles) in fields {
        let mut condition = condition.clone();
        condition[field] = value;
        samples.push((json!({ "conditions": [condition] }), needles));
    }
    samples.push((
        json!({ "conditions": [condition, condition] }),
        &["status.conditions[1]", TWICE],
    ));
    samples
}

fn partners() -> Vec<(Value, Needles)> {
    let long = "x".repeat(257);
    let drift = json!({ "field": "iosOnboarded", "desired": "true", "observed": "false" });
    let list = json!({ "field": "macOsEnrollmentAssignments", "missing": 1, "extra": 2, "example": "Group" });
    vec![
        (json!({ "observedGeneration": i64::MAX }), &[]),
        (
            json!({ "lastHandledReconcileAt": long }),
            &["status.lastHandledReconcileAt", "256"],
        ),
        (
            json!({ "partnerState": "x".repeat(65) }),
            &["status.partnerState", "64"],
        ),
        (json!({ "partnerId": "x".repeat(129) }), &["status.partnerId", "128"]),
        (json!({ "displayName": long }), &["status.displayName", "256"]),
        (json!({ "lastHeartbeatDateTime": "2026-11-23T10:15:30Z" }), &[]),
        (
            json!({ "lastHeartbeatDateTime": "2026-11-23T24:00:00Z" }),
            &["status.lastHeartbeatDateTime"],
        ),
        (
            json!({ "lastUpdateTime": "2026-02-30T10:15:30Z" }),
            &["status.lastUpdateTime"],
        ),
        (json!({ "platforms": ["macOS", "iOS"] }), &[]),
        (
            json!({ "platforms": ["macOS", "macOS"] }),
            &["status.platforms[1]", TWICE],
        ),
        (json!({ "drift": [drift, list] }), &[]),
        (json!({ "drift": [drift, drift] }), &["status.drift[1]", TWICE]),
        (
            json!({ "drift": [{ "field": "a", "desired": long }] }),
            &["drift[0].desired", "256"],
        ),
    ]
}

fn connections() -> Vec<(Value, Needles)> {
    let listed = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|index| json!({ "id": format!("id-{index}"), "displayName": "Jamf" }))
            .collect()
    };
    let twice = [listed(1), listed(1)].concat();
    vec![
        (json!({ "partners": listed(100) }), &[]),
        (
            json!({ "partners": listed(101) }),
            &["status.partners", "must have at most 100 items"],
        ),
        (json!({ "partners": twice }), &["status.partners[1]", TWICE]),
        (
            json!({ "partners": [{ "displayName": "Jamf" }] }),
            &["status.partners[0].id", "Required value"],
        ),
        (json!({ "roles": ["a", "b"] }), &[]),
        (json!({ "roles": ["a", "a"] }), &["status.roles[1]", TWICE]),
    ]
}

pub(crate) async fn try_status(desk: &Desk, kind: Kind, status: &Value) -> Result<Verdict> {
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "status": status }));
    verdict(desk.api(kind).patch_status(BASE, &params, &patch).await)
}

#[tokio::test]
async fn a_status_is_taken_or_refused_whole() -> Result<()> {
    let desk = Desk::new("status").await?;
    for (kind, status, needles) in samples() {
        let told = || super::rules::shortened(&status);
        let verdict = try_status(&desk, kind, &status).await?;
        if needles.is_empty() {
            let stored = accepted(verdict).with_context(told)?;
            for (field, value) in status.as_object().into_iter().flatten() {
                ensure!(
                    stored["status"][field] == *value,
                    "{} became {}",
                    told(),
                    stored["status"][field]
                );
            }
        } else {
            ensure_contains(&refused(verdict).with_context(told)?, needles)?;
        }
    }
    Ok(())
}
