//! The audit line: one for each write to Graph, for whoever has to answer who changed what.

use super::Pass;
use super::plan::Plan;
use crate::graph::client::Taken;
use crate::graph::error::FailureKind;
use crate::graph::session::Trouble;
use crate::runtime::text;

/// Graph has answered the change with success.
pub fn taken(pass: &Pass, id: &str, planned: &Plan, taken: &Taken) {
    line(pass, id, planned, "taken", taken.request_id.as_deref());
}

/// Graph has not. Without an answer nobody knows how it ended.
pub fn untaken(pass: &Pass, id: &str, planned: &Plan, trouble: &Trouble) {
    let (outcome, request_id) = match trouble {
        Trouble::Graph(failure) if failure.status.is_some() => ("refused", failure.request_id.as_deref()),
        Trouble::Graph(failure) if failure.kind != FailureKind::Throttled => ("unknown", failure.request_id.as_deref()),
        _ => ("not sent", None),
    };
    line(pass, id, planned, outcome, request_id);
}

fn line(pass: &Pass, id: &str, planned: &Plan, outcome: &str, request_id: Option<&str>) {
    let fields: serde_json::Map<String, serde_json::Value> = planned
        .drift()
        .into_iter()
        .map(|drift| (drift.field.clone(), serde_json::json!(drift)))
        .collect();
    let line = serde_json::json!({
        "resource": pass.object.key.to_string(),
        "uid": pass.object.uid,
        "generation": pass.object.generation,
        "partnerId": text::clean(id, text::ID_CHARS),
        "fields": fields,
        "outcome": outcome,
        "requestId": request_id,
    });
    tracing::info!(target: "audit", "{line}");
}
