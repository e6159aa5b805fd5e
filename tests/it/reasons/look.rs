//! Looks at resources whole, as the API server gives them, and holds them against a row.

use anyhow::{Context as _, ensure};
use harness::{Kstatus, PATIENCE, World, kstatus, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Row;

/// The plural of a ComplianceManagementPartner.
pub const PARTNERS: &str = "compliancemanagementpartners";
/// The plural of a GraphConnection.
pub const CONNECTIONS: &str = "graphconnections";

/// An object as the API server gives it.
pub async fn object(world: &World, plural: &str, name: &str) -> anyhow::Result<Value> {
    let path = format!(
        "/apis/intune.msgraph.dev/v1alpha1/namespaces/{}/{plural}/{name}",
        world.namespace
    );
    let request = http::Request::get(path).body(Vec::new())?;
    world
        .admin
        .request(request)
        .await
        .with_context(|| format!("{plural}/{name}"))
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| word(condition, "type") == kind)
}

/// A text of an object, or nothing.
pub fn word<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The generation that an object has, and the one that its status was written for.
pub fn generations(object: &Value) -> (i64, Option<i64>) {
    let number = |path| object.pointer(path).and_then(Value::as_i64);
    let generation = number("/metadata/generation").unwrap_or_default();
    (generation, number("/status/observedGeneration"))
}

/// The conditions that the reason table is about.
pub fn judged(object: &Value) -> Vec<Option<&Value>> {
    let kinds = ["Ready", "Synced", "Reconciling", "Stalled"];
    kinds.iter().map(|kind| condition(object, kind)).collect()
}

/// What a cell of the table asks of a condition; `None` where it must not be there.
fn wanted<'a>(cell: &'a str, object: &'a Value, kind: &str) -> Option<&'a str> {
    match cell {
        "–" => None,
        "as it was" => condition(object, kind).map(|condition| word(condition, "status")),
        "stays if True, else removed" => condition(object, kind)
            .map(|condition| word(condition, "status"))
            .filter(|status| *status == "True"),
        status => Some(status),
    }
}

/// Whether a cell leaves a condition as it was, its reason too.
fn stays(cell: &str) -> bool {
    cell.starts_with("stays") || cell == "as it was"
}

/// Waits until a resource shows a row; then all that the row says of it must be so: each condition's status, reason,
/// generation and message, and what kstatus makes of the whole.
pub async fn shows(world: &World, plural: &str, name: &str, row: &Row) -> anyhow::Result<Value> {
    let what = format!("{plural}/{name} as {} has it, Ready {}", row.reason, row.ready);
    let found = wait_for(&what, PATIENCE, async || {
        let object = object(world, plural, name).await?;
        let (generation, observed) = generations(&object);
        ensure!(
            observed == Some(generation),
            "generation {generation}, seen {observed:?}"
        );
        let cells = [
            ("Ready", row.ready),
            ("Synced", row.synced),
            ("Reconciling", row.reconciling),
            ("Stalled", row.stalled),
        ];
        let reached = cells.iter().all(|(kind, cell)| {
            let (found, wanted) = (condition(&object, kind), wanted(cell, &object, kind));
            let by_reason = |found| stays(cell) || word(found, "reason") == row.reason;
            found.map(|found| word(found, "status")) == wanted && found.is_none_or(by_reason)
        });
        ensure!(reached, "{:#}", object.get("status").unwrap_or(&Value::Null));
        Ok(object)
    })
    .await?;
    holds(&found, row).with_context(|| format!("{what}: {:#}", found.get("status").unwrap_or(&Value::Null)))?;
    let Kstatus { status, message } = kstatus(&found).await?;
    ensure!(status == row.kstatus, "{what}: kstatus says {status}: {message}");
    // On a timeout Helm prints this.
    ensure!(
        ["Current", "Terminating"].contains(&status.as_str()) || message.contains(row.says),
        "{what}: kstatus tells {message}"
    );
    Ok(found)
}

fn holds(object: &Value, row: &Row) -> anyhow::Result<()> {
    let (generation, _) = generations(object);
    let cells = [
        ("Ready", row.ready),
        ("Synced", row.synced),
        ("Reconciling", row.reconciling),
        ("Stalled", row.stalled),
    ];
    for (kind, cell) in cells {
        let found = condition(object, kind);
        let wanted = wanted(cell, object, kind);
        ensure!(found.is_some() == wanted.is_some(), "{kind} should be {cell}");
        let (Some(found), Some(status)) = (found, wanted) else {
            continue;
        };
        ensure!(word(found, "status") == status, "{kind} should be {status}");
        if stays(cell) {
            continue;
        }
        ensure!(
            word(found, "reason") == row.reason,
            "{kind} should have the reason {}",
            row.reason
        );
        let observed = found.get("observedGeneration").and_then(Value::as_i64);
        ensure!(observed == Some(generation), "{kind} is of generation {observed:?}");
        ensure!(
            word(found, "message").contains(row.says),
            "{kind} should say: {}",
            row.says
        );
    }
    Ok(())
}

/// How many passes of a kind have ended with an outcome since the operator's start.
pub fn passes(world: &World, kind: &str, outcome: &str) -> anyhow::Result<u64> {
    let (kind, outcome) = (format!("kind=\"{kind}\""), format!("outcome=\"{outcome}\""));
    let metrics = world.metrics()?;
    let line = metrics.lines().find(|line| {
        line.starts_with("compliance_partner_reconciles_total{") && line.contains(&kind) && line.contains(&outcome)
    });
    let Some(line) = line else { return Ok(0) };
    let count = line.rsplit(' ').next().context("a number ends the line")?;
    Ok(count.parse()?)
}

/// The event that goes with a row: a Warning where Ready is False, and none of this name where it is not.
pub async fn told(world: &World, name: &str, row: &Row) -> anyhow::Result<()> {
    if row.ready == "False" {
        let (kind, note) = world.event(name, row.reason).await?;
        ensure!(kind == "Warning", "{name}: the event {} is {kind}", row.reason);
        ensure!(note.contains(row.says), "{name}: the event {} says {note}", row.reason);
    } else {
        let events = world.events(name, row.reason).await?;
        ensure!(events.is_empty(), "{name}: {events:#?}");
    }
    Ok(())
}

/// Waits until Ready of a partner has a reason at its generation.
pub async fn is(world: &World, name: &str, reason: &str) -> anyhow::Result<Value> {
    let status = if reason == "DriftDetected" || reason == "InSync" {
        "True"
    } else {
        "False"
    };
    world.partner_is(name, "Ready", status, reason).await?;
    object(world, PARTNERS, name).await
}

/// Changes something in a partner's spec.
pub async fn edit(world: &World, name: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": spec}));
    world.partners().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}
