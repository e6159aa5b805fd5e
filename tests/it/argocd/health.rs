//! The health of each row of the reason table: objects that the operator wrote, and some that it never writes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::reason::Reason;
use graph_simulator::Script;
use harness::{NEVER, argocd};
use serde_json::{Value, json};

use super::{judge, word};
use crate::reasons::gallery::{Gallery, refusal};
use crate::reasons::look::{CONNECTIONS, PARTNERS, object, shows};
use crate::reasons::{Row, connections, row, shown};

/// The contract's column for a partner.
const OF_PARTNERS: [(&str, &str); 18] = [
    ("Cleaning", "Progressing"),
    ("Suspended", "Suspended"),
    ("ConnectionNotFound", "Progressing"),
    ("ConnectionNotReady", "as the connection"),
    ("Throttled", "Progressing"),
    ("GraphUnavailable", "Progressing"),
    ("PartnerConflict", "Degraded"),
    ("TenantChanged", "Degraded"),
    ("PartnerNotFound", "Degraded"),
    ("PartnerAmbiguous", "Degraded"),
    ("PermissionDenied", "Degraded"),
    ("TenantNotLicensed", "Degraded"),
    ("RejectedByGraph", "Degraded"),
    ("Verifying", "Progressing"),
    ("UpdateIneffective", "Degraded"),
    ("UnsupportedTarget", "Degraded"),
    ("DriftDetected", "Healthy"),
    ("InSync", "Healthy"),
];

/// The same for a connection.
const OF_CONNECTIONS: [(&str, &str); 14] = [
    ("Connected", "Healthy"),
    ("SecretNotFound", "Progressing"),
    ("SecretInvalid", "Degraded"),
    ("ServiceAccountNotFound", "Progressing"),
    ("ServiceAccountInvalid", "Degraded"),
    ("AccessNotGranted", "Progressing"),
    ("CredentialsRejected", "Degraded"),
    ("PrincipalNotFound", "Progressing"),
    ("PermissionDenied", "Degraded"),
    ("TenantNotLicensed", "Degraded"),
    ("TenantMismatch", "Degraded"),
    ("IdentityNotAllowed", "Degraded"),
    ("Throttled", "Progressing"),
    ("GraphUnavailable", "Progressing"),
];

/// An object, and what Argo CD is to say of it.
struct Fixture {
    what: String,
    object: Value,
    health: &'static str,
    /// A part of the message that is shown.
    says: String,
}

impl Fixture {
    /// An object that shows a row, with the message of the row.
    fn of(row: &Row, object: Value, health: &'static str) -> Self {
        let says = if health == "Healthy" { "" } else { row.reason };
        Self::new(&format!("{} by {}", row.reason, row.shown_by), object, health, says)
    }

    fn new(what: &str, object: Value, health: &'static str, says: &str) -> Self {
        Self {
            what: what.to_owned(),
            object,
            health,
            says: says.to_owned(),
        }
    }
}

/// What the contract says of a row.
fn column(table: &'static [(&str, &str)], reason: &str) -> anyhow::Result<&'static str> {
    let found = table.iter().find(|(of, _)| *of == reason);
    Ok(found.with_context(|| format!("no row {reason}"))?.1)
}

async fn judged(fixtures: &[Fixture]) -> anyhow::Result<()> {
    let questions: Vec<Value> = fixtures.iter().map(|fixture| judge(&fixture.object)).collect();
    for (fixture, answer) in fixtures.iter().zip(argocd(&questions).await?) {
        let what = || format!("{}: {answer}\n{:#}", fixture.what, fixture.object);
        ensure!(answer.get("error").is_none(), "{}", what());
        ensure!(word(&answer, "/script/status") == fixture.health, "{}", what());
        ensure!(word(&answer, "/script/message").contains(&fixture.says), "{}", what());
        // Argo CD has an answer of its own for what is being deleted.
        if fixture.object.pointer("/metadata/deletionTimestamp").is_some() {
            ensure!(word(&answer, "/health/status") == "Progressing", "{}", what());
        } else {
            ensure!(answer["health"] == answer["script"], "{}", what());
        }
    }
    Ok(())
}

/// The paths of all keys and entries of an object but those by which its kind is known.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(keys) => keys
            .iter()
            .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .map(|(place, value)| (place.to_string(), value))
            .collect(),
        _ => return,
    };
    for (key, value) in inner {
        let path = format!("{path}/{key}");
        if ["/apiVersion", "/kind"].contains(&path.as_str()) {
            continue;
        }
        paths(value, &path, found);
        found.push(path);
    }
}

/// The object without what is at a path.
fn without(object: &Value, path: &str) -> Option<Value> {
    let (parent, key) = path.rsplit_once('/')?;
    let mut object = object.clone();
    match object.pointer_mut(parent)? {
        Value::Object(keys) => {
            let key = key.replace("~1", "/").replace("~0", "~");
            keys.remove(&key)?;
        }
        Value::Array(entries) => {
            entries.remove(key.parse().ok()?);
        }
        _ => return None,
    }
    Some(object)
}

/// Whatever key is missing: no script fails over it, and none turns green for it.
async fn nothing_hangs_on_a_key(fixtures: &[Fixture]) -> anyhow::Result<()> {
    let mut questions = Vec::new();
    let mut about = Vec::new();
    for fixture in fixtures {
        let whole = without(&fixture.object, "/metadata/managedFields").context("written by nobody")?;
        let mut found = Vec::new();
        paths(&whole, "", &mut found);
        for path in found {
            let object = without(&whole, &path).with_context(|| path.clone())?;
            questions.push(judge(&object));
            about.push((fixture, path));
        }
    }
    ensure!(questions.len() > 20 * fixtures.len(), "{} questions", questions.len());
    for ((fixture, path), answer) in about.iter().zip(argocd(&questions).await?) {
        let status = word(&answer, "/script/status");
        let known = ["Healthy", "Progressing", "Degraded", "Suspended"].contains(&status);
        ensure!(
            answer.get("error").is_none() && known,
            "{} without {path}: {answer}",
            fixture.what
        );
        ensure!(
            status != "Healthy" || fixture.health == "Healthy",
            "{} without {path}: {answer}",
            fixture.what
        );
    }
    Ok(())
}

#[test]
fn every_reason_has_a_health() {
    let rows = |table: &[(&'static str, &str)]| -> Vec<&str> { table.iter().map(|(reason, _)| *reason).collect() };
    let (partners, connections) = (rows(&OF_PARTNERS), rows(&OF_CONNECTIONS));
    for reason in Reason::ALL {
        let table = if reason.is_of_connection() {
            &connections
        } else {
            &partners
        };
        assert!(table.contains(&reason.as_str()), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_of_a_partner_has_its_health() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("argo-gallery", false).await?;
    let mut fixtures = Vec::new();
    // Edited, and not looked at since: that they are Ready is of another generation.
    for name in gallery.partners.iter().filter(|name| **name != "driftdetected") {
        let edited = object(&gallery.world, PARTNERS, name).await?;
        ensure!(edited.pointer("/metadata/generation") != Some(&json!(1)), "{edited:#}");
        let what = format!("{name}, edited");
        fixtures.push(Fixture::new(&what, edited, "Progressing", "not looked at"));
    }
    let mut config = gallery.world.config();
    config.timing.grace = [NEVER; 3];
    gallery.world.start_with(config.clone()).await?;
    let (late, rows): (Vec<Row>, Vec<Row>) = shown()?.into_iter().partition(|row| row.reason == "UpdateIneffective");
    for row in &rows {
        let object = shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
        let health = match column(&OF_PARTNERS, row.reason)? {
            // SecretNotFound, and TenantMismatch.
            "as the connection" if row.shown_by == "connectionnotready" => "Progressing",
            "as the connection" => "Degraded",
            health => health,
        };
        fixtures.push(Fixture::of(row, object, health));
    }
    gallery.world.start().await?;
    for row in &late {
        let object = shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
        fixtures.push(Fixture::of(row, object, column(&OF_PARTNERS, row.reason)?));
    }
    judged(&fixtures).await?;
    nothing_hangs_on_a_key(&fixtures).await?;
    through_an_outage(&mut gallery).await?;
    gallery.world.stop().await
}

/// What was applied stays green for a while, and then is no longer known.
async fn through_an_outage(gallery: &mut Gallery) -> anyhow::Result<()> {
    let mut fixtures = Vec::new();
    for (status, code, reason) in [
        (503, "ServiceUnavailable", "GraphUnavailable"),
        (429, "TooManyRequests", "Throttled"),
    ] {
        gallery.world.start().await?;
        gallery.world.in_sync("insync").await?;
        let answer = refusal(status, code, "Later.");
        let outage = gallery.world.graph().script(Script::graph().answer(answer));
        for (name, shown) in [("insync", "InSync"), ("driftdetected", "DriftDetected")] {
            gallery.world.asked(name, reason).await?;
            let kept = shows(&gallery.world, PARTNERS, name, &row(shown, "")?).await?;
            let what = format!("{name}, {reason} for a moment");
            fixtures.push(Fixture::new(&what, kept, "Healthy", shown));
        }
        let mut config = gallery.world.config();
        config.timing.unknown_after = Duration::from_millis(1);
        gallery.world.start_with(config).await?;
        for name in ["insync", "driftdetected"] {
            let unknown = row(reason, "Unknown")?;
            let turned = shows(&gallery.world, PARTNERS, name, &unknown).await?;
            fixtures.push(Fixture::of(&unknown, turned, "Progressing"));
        }
        gallery.world.graph().remove_script(outage);
    }
    judged(&fixtures).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_of_a_connection_has_its_health_and_so_has_its_partner() -> anyhow::Result<()> {
    let mut gallery = connections::Gallery::stage("argo-connections").await?;
    gallery.world.start().await?;
    let mut fixtures = Vec::new();
    for row in &gallery.rows {
        let health = column(&OF_CONNECTIONS, row.reason)?;
        let connection = shows(&gallery.world, CONNECTIONS, row.shown_by, row).await?;
        fixtures.push(Fixture::of(row, connection, health));
        let row = connections::Gallery::of_partner(row);
        let partner = shows(&gallery.world, PARTNERS, row.shown_by, &row).await?;
        fixtures.push(Fixture::of(&row, partner, health));
    }
    judged(&fixtures).await?;
    nothing_hangs_on_a_key(&fixtures).await?;
    gallery.world.stop().await
}

/// An object of generation 3, with this status.
fn made(kind: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": "jamf", "namespace": "contoso", "generation": 3 },
        "spec": { "connectionRef": { "name": "contoso" }, "partnerRef": { "displayName": "Jamf" } },
        "status": status,
    })
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": "What to do.", "observedGeneration": 3 })
}

/// The status of an object of generation 3 that the operator has seen.
fn seen(conditions: &[Value]) -> Value {
    json!({ "observedGeneration": 3, "conditions": conditions })
}

/// Statuses that say too little, or what was so for another generation.
fn half_there(good: &str) -> Vec<(&'static str, Value, &'static str)> {
    let ready = condition("Ready", "True", good);
    let without_generation = json!({ "type": "Ready", "status": "True", "reason": good });
    let mut of_old = ready.clone();
    of_old["observedGeneration"] = json!(2);
    let foreign = condition("Theirs", "False", "Broken");
    let nothing = json!({ "observedGeneration": 3, "conditions": null });
    let old = json!({ "observedGeneration": 2, "conditions": [ready] });
    let unknown = condition("Ready", "Unknown", good);
    vec![
        ("a status of null", Value::Null, "Progressing"),
        ("an empty status", json!({}), "Progressing"),
        ("the default", json!({ "observedGeneration": -1 }), "Progressing"),
        ("no conditions", seen(&[]), "Progressing"),
        ("conditions of null", nothing, "Progressing"),
        ("an empty condition", seen(&[json!({})]), "Progressing"),
        ("an old generation", old, "Progressing"),
        ("no generation", json!({ "conditions": [ready] }), "Progressing"),
        ("a condition of an old generation", seen(&[of_old]), "Progressing"),
        ("a good reason that is not True", seen(&[unknown]), "Progressing"),
        ("a condition of no generation", seen(&[without_generation]), "Healthy"),
        (
            "a condition of somebody else",
            seen(&[foreign, ready.clone()]),
            "Healthy",
        ),
        ("seen", seen(&[ready]), "Healthy"),
    ]
}

/// Statuses with a reason that a later version of the operator may bring: the pair tells what it is.
fn unheard_of() -> Vec<(&'static str, Value, &'static str)> {
    let of_tomorrow = |kind: &str, status: &str| condition(kind, status, "OfTomorrow");
    let ready = |status: &str| of_tomorrow("Ready", status);
    let [reconciling, stalled] = ["Reconciling", "Stalled"].map(|kind| of_tomorrow(kind, "True"));
    let waits = seen(&[ready("False"), reconciling.clone()]);
    let stuck = seen(&[ready("False"), stalled.clone()]);
    let both = seen(&[ready("False"), reconciling.clone(), stalled.clone()]);
    let both_turned = seen(&[ready("False"), stalled, reconciling]);
    vec![
        ("unheard of, True", seen(&[ready("True")]), "Healthy"),
        ("unheard of, False", seen(&[ready("False")]), "Progressing"),
        ("unheard of, Unknown", seen(&[ready("Unknown")]), "Progressing"),
        ("unheard of, Reconciling", waits, "Progressing"),
        ("unheard of, Stalled", stuck, "Degraded"),
        ("both", both, "Degraded"),
        ("both, the other way round", both_turned, "Degraded"),
    ]
}

#[tokio::test]
async fn what_is_half_there_or_unheard_of_is_no_reason_to_be_green() -> anyhow::Result<()> {
    let mut fixtures = Vec::new();
    for (kind, good) in [
        ("ComplianceManagementPartner", "InSync"),
        ("GraphConnection", "Connected"),
    ] {
        for (what, status, health) in [half_there(good), unheard_of()].concat() {
            fixtures.push(Fixture::new(
                &format!("{kind}: {what}"),
                made(kind, &status),
                health,
                "",
            ));
        }
        let fresh = without(&made(kind, &Value::Null), "/status").context("an object")?;
        let mut going = fresh.clone();
        going["metadata"]["deletionTimestamp"] = json!("2026-11-23T10:15:30Z");
        let (what, going_what) = (format!("{kind}: no status"), format!("{kind}: being deleted"));
        fixtures.push(Fixture::new(&what, fresh, "Progressing", ""));
        fixtures.push(Fixture::new(&going_what, going, "Progressing", ""));
    }
    judged(&fixtures).await
}

/// The reason of a connection is told from the beginning of its partner's message, and from nothing else in there.
#[tokio::test]
async fn nothing_is_mistaken_for_a_reason() -> anyhow::Result<()> {
    let waits = |message: &str| {
        let mut ready = condition("Ready", "False", "ConnectionNotReady");
        ready["message"] = json!(message);
        let status = json!({ "observedGeneration": 3, "conditions": [ready] });
        made("ComplianceManagementPartner", &status)
    };
    let mut fixtures = Vec::new();
    for (message, health) in [
        (
            "GraphConnection contoso is not ready (SecretInvalid): store it anew",
            "Degraded",
        ),
        ("GraphConnection contoso is not ready (SecretInvalid)", "Degraded"),
        (
            "GraphConnection contoso is not ready (SecretInvalidated): of tomorrow",
            "Progressing",
        ),
        (
            "GraphConnection contoso is not ready (SecretNotFound): Secret (SecretInvalid) does not exist",
            "Progressing",
        ),
        (
            "GraphConnection contoso is not ready (SecretNotFound): \u{FFFD}\u{10FFFF}",
            "Progressing",
        ),
        (
            "GraphConnection contoso2 is not ready (SecretInvalid): another",
            "Progressing",
        ),
        ("", "Progressing"),
    ] {
        fixtures.push(Fixture::new(message, waits(message), health, message));
    }
    judged(&fixtures).await
}
