//! What people read, and what it may look like.

use anyhow::{Context as _, Result, ensure};
use harness::World;
use serde_json::Value;

use super::texts::{FORGED, unfit};
use super::{names, strings};

/// The longest line that the log may have, in bytes.
const LINE: usize = 16 * 1_024;

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Each line is a record of the operator's own, and may be shown.
pub(crate) fn log(log: &str, form: Form) -> Result<()> {
    ensure!(log.ends_with('\n'), "the last line has no end");
    for line in log.split_terminator('\n') {
        shown(line, "the log")?;
        ensure!(
            line.len() <= LINE,
            "{} bytes: {}",
            line.len(),
            line.chars().take(400).collect::<String>()
        );
        if form == Form::Json {
            let record: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(record["level"].is_string() && record["timestamp"].is_string(), "{line}");
            ensure!(record.get(FORGED).is_none(), "{line}");
            for text in strings(&record) {
                shown(text, "a field of the log")?;
            }
            audit(
                record["target"] == "audit",
                record["message"].as_str().unwrap_or_default(),
            )?;
        } else {
            // 2026-11-26T07:40:00.123456Z  INFO target: message
            let (time, rest) = line.split_once(' ').with_context(|| format!("no record: {line}"))?;
            ensure!(
                time.len() == 27 && time.starts_with("20") && time.ends_with('Z'),
                "{line}"
            );
            let level = rest.split_whitespace().next().unwrap_or_default();
            ensure!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
            let message = rest.split_once(" audit: ");
            audit(message.is_some(), message.map_or("", |(_, message)| message))?;
        }
    }
    Ok(())
}

/// A line on a change of Graph stays JSON with the fields that it always has.
fn audit(is_audit: bool, line: &str) -> Result<()> {
    if is_audit {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        let fields: Vec<&str> = line
            .as_object()
            .map(|line| line.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let known = [
            "fields",
            "generation",
            "outcome",
            "partnerId",
            "requestId",
            "resource",
            "uid",
        ];
        ensure!(fields == known, "{line}");
        for text in strings(&line) {
            shown(text, "the audit line")?;
        }
    }
    Ok(())
}

/// A text that may be shown as it is.
pub(crate) fn shown(text: &str, place: &str) -> Result<()> {
    let found = unfit(text);
    ensure!(found.is_none(), "{place} shows {found:?} in {text:?}");
    Ok(())
}

/// Lines that may be shown as they are.
pub(crate) fn lines(text: &str, place: &str) -> Result<()> {
    text.lines().try_for_each(|line| shown(line, place))
}

/// Reads all that kubectl shows of this world: what the operator wrote has its bounds, and nothing of it acts on a
/// terminal or on the lines around it. Gives all of it.
pub(crate) async fn kubectl(world: &World) -> Result<String> {
    let namespace = world.namespace.as_str();
    let get = async |what: &'static str, form: &'static str| {
        world
            .plane
            .kubectl_ok(&["get", what, "-n", namespace, "-o", form])
            .await
    };
    let mut all = String::new();
    let mut described = Vec::new();
    for kind in ["cmp", "gconn", "events.events.k8s.io"] {
        let json = get(kind, "json").await?;
        let list: Value = serde_json::from_str(&json)?;
        ensure!(!names(&list).is_empty(), "no {kind}");
        for item in list["items"].as_array().context("items")? {
            bounds(item)?;
        }
        let table = get(kind, "wide").await?;
        lines(&table, kind)?;
        ensure!(
            !table
                .lines()
                .any(|line| line.starts_with("1999") || line.starts_with(FORGED)),
            "{table}"
        );
        if kind != "events.events.k8s.io" {
            ensure!(table.lines().count() == names(&list).len() + 1, "{table}");
            described.push(kind);
        }
        all.push_str(&json);
        all.push_str(&table);
    }
    let events = get("events", "wide").await?;
    lines(&events, "kubectl get events")?;
    all.push_str(&events);
    for kind in described {
        // kubectl cuts a long annotation in the middle of a character.
        let output = world.plane.kubectl(&["describe", kind, "-n", namespace]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        // What stands before the status is the user's own: kubectl shows it, not the operator.
        let mut of_operator = false;
        for line in text.lines() {
            of_operator = line.starts_with("Status:") || (of_operator && !line.starts_with("Name:"));
            if of_operator {
                shown(line, "kubectl describe")?;
                ensure!(!line.starts_with("1999") && !line.starts_with(FORGED), "{line}");
            }
        }
        all.push_str(&text);
    }
    Ok(all)
}

/// The bounds of what the operator writes into one object.
fn bounds(item: &Value) -> Result<()> {
    let status = &item["status"];
    for text in strings(status) {
        shown(text, "status")?;
    }
    let within = |value: &Value, most: usize| {
        let length = value.as_str().map_or(0, |text| text.chars().count());
        ensure!(
            length <= most,
            "{length} characters where {most} are the bound: {value}"
        );
        Ok(())
    };
    for condition in status["conditions"].as_array().into_iter().flatten() {
        within(&condition["message"], 1_024)?;
        within(&condition["reason"], 64)?;
    }
    within(&status["displayName"], 256)?;
    within(&status["partnerState"], 64)?;
    within(&status["partnerId"], 128)?;
    within(&status["lastHandledReconcileAt"], 256)?;
    for drift in status["drift"].as_array().into_iter().flatten() {
        for field in ["desired", "observed", "example"] {
            within(&drift[field], 256)?;
        }
    }
    for partner in status["partners"].as_array().into_iter().flatten() {
        within(&partner["id"], 128)?;
        within(&partner["displayName"], 256)?;
    }
    if let Some(note) = item["note"].as_str() {
        shown(note, "an event")?;
        shown(item["reason"].as_str().unwrap_or_default(), "an event's reason")?;
        ensure!(note.len() <= 1_000, "{} bytes: {note}", note.len());
    }
    Ok(())
}
