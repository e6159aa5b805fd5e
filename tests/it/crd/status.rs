//! What the schema takes of the operator itself: one bad entry would refuse the whole status.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind, Verdict, accepted, ensure_contains, refused, verdict};

/// What a refusal names: the field and the rule. Nothing, where it is accepted.
type Needles = &'static [&'static str];

const TWICE: &str = "Duplicate value";
const REQUIRED: &str = "Required value";
const TIME: &str = "must be of type date-time";

/// Statuses on both sides of every rule.
pub(crate) fn samples() -> Vec<(Kind, Value, Needles)> {
    let partner = conditions().into_iter().chain(partners());
    let partner = partner.map(|(status, needles)| (Kind::Partner, status, needles));
    let connection = connections().into_iter();
    let connection = connection.map(|(status, needles)| (Kind::Connection, status, needles));
    partner.chain(connection).collect()
}

fn conditions() -> Vec<(Value, Needles)> {
    let condition = |field: &str, value: Value| {
        let mut condition = json!({
            "type": "Ready", "status": "True", "reason": "InSync", "message": "",
            "lastTransitionTime": "2026-11-23T10:15:30Z", "observedGeneration": 3,
        });
        condition[field] = value;
        condition
    };
    let fields: [(&str, Value, Needles); 27] = [
        ("message", json!("ü".repeat(32_768)), &[]),
        ("message", json!("x".repeat(32_769)), &["message", "32768"]),
        ("message", Value::Null, &["message", REQUIRED]),
        ("reason", json!("x"), &[]),
        ("reason", json!("x".repeat(1024)), &[]),
        ("reason", json!(""), &["reason", "at least 1"]),
        ("reason", json!("no word"), &["reason", "should match"]),
        ("reason", json!("x".repeat(1025)), &["reason", "1024"]),
        ("reason", Value::Null, &["reason", REQUIRED]),
        ("type", json!("x".repeat(316)), &[]),
        ("type", json!("x".repeat(317)), &["type", "316"]),
        ("type", json!("no type"), &["type", "should match"]),
        ("type", Value::Null, &["type", REQUIRED]),
        ("status", json!("False"), &[]),
        ("status", json!("Unknown"), &[]),
        ("status", json!("true"), &["status", "supported values"]),
        ("status", Value::Null, &["status", REQUIRED]),
        ("observedGeneration", json!(0), &[]),
        ("observedGeneration", json!(-1), &["observedGeneration"]),
        ("observedGeneration", json!("3"), &["observedGeneration", "integer"]),
        ("lastTransitionTime", json!("2026-11-23T10:15:30.25+01:00"), &[]),
        ("lastTransitionTime", json!(digits(64)), &[]),
        ("lastTransitionTime", json!(digits(65)), &["lastTransitionTime", "64"]),
        (
            "lastTransitionTime",
            json!("2026-11-23T10:15:60Z"),
            &["lastTransitionTime", TIME],
        ),
        ("lastTransitionTime", json!("yesterday"), &["lastTransitionTime", TIME]),
        ("lastTransitionTime", json!(1), &["lastTransitionTime", TIME]),
        ("lastTransitionTime", Value::Null, &["lastTransitionTime", REQUIRED]),
    ];
    let mut samples: Vec<(Value, Needles)> = fields
        .into_iter()
        .map(|(field, value, needles)| (json!({ "conditions": [condition(field, value)] }), needles))
        .collect();
    let ready = condition("type", json!("Ready"));
    samples.push((
        json!({ "conditions": [ready, ready] }),
        &["status.conditions[1]", TWICE],
    ));
    let typed = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|index| condition("type", json!(format!("Type{index}"))))
            .collect()
    };
    samples.push((json!({ "conditions": typed(16) }), &[]));
    samples.push((
        json!({ "conditions": typed(17) }),
        &["status.conditions", "at most 16 items"],
    ));
    samples
}

/// A time of this many characters.
fn digits(length: usize) -> String {
    let time = "2026-11-23T10:15:30.";
    format!("{time}{}Z", "0".repeat(length - time.len() - 1))
}

fn partners() -> Vec<(Value, Needles)> {
    let mut samples: Vec<(Value, Needles)> = vec![
        (json!({ "observedGeneration": i64::MAX }), &[]),
        (
            json!({ "observedGeneration": "3" }),
            &["status.observedGeneration", "integer"],
        ),
        (json!({ "lastHeartbeatDateTime": "2026-11-23T10:15:30Z" }), &[]),
        (
            json!({ "lastHeartbeatDateTime": "2026-11-23T24:00:00Z" }),
            &["status.lastHeartbeatDateTime", TIME],
        ),
        (
            json!({ "lastUpdateTime": "2026-02-30T10:15:30Z" }),
            &["status.lastUpdateTime", TIME],
        ),
        (json!({ "platforms": ["macOS", "iOS"] }), &[]),
        (
            json!({ "platforms": ["macOS", "macOS"] }),
            &["status.platforms[1]", TWICE],
        ),
        (json!({ "platforms": words(8, 16) }), &[]),
        (
            json!({ "platforms": words(9, 16) }),
            &["status.platforms", "at most 8 items"],
        ),
        (json!({ "platforms": words(1, 17) }), &["status.platforms[0]", "16"]),
    ];
    for time in ["lastHeartbeatDateTime", "lastUpdateTime"] {
        samples.push((json!({ time: digits(64) }), &[]));
        samples.push((json!({ time: digits(65) }), &["Time", "64"]));
        samples.push((json!({ time: "2026-11-23T10:15:60Z" }), &["Time", TIME]));
    }
    let texts: [(&str, usize, Needles); 6] = [
        ("lastHandledReconcileAt", 256, &["status.lastHandledReconcileAt", "256"]),
        ("tenantId", 36, &["status.tenantId", "36"]),
        ("cloud", 16, &["status.cloud", "16"]),
        ("partnerId", 128, &["status.partnerId", "128"]),
        ("displayName", 256, &["status.displayName", "256"]),
        ("partnerState", 64, &["status.partnerState", "64"]),
    ];
    for (field, most, needles) in texts {
        samples.push((json!({ field: "ü".repeat(most) }), &[]));
        samples.push((json!({ field: "x".repeat(most + 1) }), needles));
    }
    samples.extend(drift());
    samples
}

fn drift() -> Vec<(Value, Needles)> {
    let flag = json!({ "field": "iosOnboarded", "desired": "true", "observed": "false" });
    let list = json!({ "field": "macOsEnrollmentAssignments", "missing": 1, "extra": 2, "example": "Group" });
    let listed =
        |count: usize| -> Vec<Value> { words(count, 64).iter().map(|word| json!({ "field": word })).collect() };
    let mut samples: Vec<(Value, Needles)> = vec![
        (json!({ "drift": [flag, list] }), &[]),
        (json!({ "drift": [flag, flag] }), &["status.drift[1]", TWICE]),
        (json!({ "drift": listed(16) }), &[]),
        (json!({ "drift": listed(17) }), &["status.drift", "at most 16 items"]),
        (
            json!({ "drift": [{ "field": "x".repeat(65) }] }),
            &["drift[0].field", "64"],
        ),
        (json!({ "drift": [{ "desired": "a" }] }), &["drift[0].field", REQUIRED]),
        (
            json!({ "drift": [{ "field": "a", "missing": "1" }] }),
            &["drift[0].missing", "integer"],
        ),
        (
            json!({ "drift": [{ "field": "a", "missing": i32::MAX, "extra": 0 }] }),
            &[],
        ),
        (
            json!({ "drift": [{ "field": "a", "missing": i64::from(i32::MAX) + 1 }] }),
            &["drift[0].missing", "int32"],
        ),
    ];
    for (field, needles) in [
        ("desired", &["drift[0].desired", "256"]),
        ("observed", &["drift[0].observed", "256"]),
        ("example", &["drift[0].example", "256"]),
    ] {
        samples.push((json!({ "drift": [{ "field": "a", field: "ü".repeat(256) }] }), &[]));
        samples.push((json!({ "drift": [{ "field": "a", field: "x".repeat(257) }] }), needles));
    }
    samples
}

/// Words that differ, each of this many characters.
fn words(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index:x>length$}")).collect()
}

fn connections() -> Vec<(Value, Needles)> {
    let listed = |count: usize, length: usize| -> Vec<Value> {
        words(count, length)
            .iter()
            .map(|id| json!({ "id": id, "displayName": "ü".repeat(256) }))
            .collect()
    };
    let twice = [listed(1, 9), listed(1, 9)].concat();
    vec![
        (json!({ "lastHandledReconcileAt": "ü".repeat(256) }), &[]),
        (
            json!({ "lastHandledReconcileAt": "x".repeat(257) }),
            &["status.lastHandledReconcileAt", "256"],
        ),
        (json!({ "partners": listed(100, 128) }), &[]),
        (
            json!({ "partners": listed(101, 128) }),
            &["status.partners", "must have at most 100 items"],
        ),
        (json!({ "partners": twice }), &["status.partners[1]", TWICE]),
        (
            json!({ "partners": listed(1, 129) }),
            &["status.partners[0].id", "may not be more than 128"],
        ),
        (
            json!({ "partners": [{ "id": "a", "displayName": "x".repeat(257) }] }),
            &["status.partners[0].displayName", "may not be more than 256"],
        ),
        (
            json!({ "partners": [{ "displayName": "Jamf" }] }),
            &["status.partners[0].id", REQUIRED],
        ),
        (json!({ "roles": ["a", "b"] }), &[]),
        (json!({ "roles": ["a", "a"] }), &["status.roles[1]", TWICE]),
        (json!({ "roles": words(16, 128) }), &[]),
        (
            json!({ "roles": words(17, 128) }),
            &["status.roles", "at most 16 items"],
        ),
        (json!({ "roles": words(1, 129) }), &["status.roles[0]", "128"]),
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
