//! Sends what differs, and makes sure that it took (client required). Never without the claim, never from an old read.

use std::time::{Duration, Instant};

use super::claim::ObjectId;
use super::observe::{self, Observed};
use super::plan::{Plan, plan};
use super::resolve::Target;
use super::{Finding, Pass, was_in_sync};
use crate::api::reason::Reason;
use crate::graph::error::FailureKind;
use crate::graph::session::Trouble;
use crate::runtime::context::Context;
use crate::runtime::index::Unverified;

/// Corrections of one field within this time count together.
const CONTEST_WINDOW: Duration = Duration::from_secs(3_600);
/// So many of them are a contest.
const CONTEST: usize = 3;

/// Compares, and changes Graph where this resource may.
pub async fn apply(ctx: &Context, pass: &mut Pass, target: &Target, mut seen: Observed, bound: &ObjectId) -> Finding {
    if target.enforce
        && let Some(finding) = conflict(ctx, pass, bound)
    {
        return with(finding, &seen, None);
    }
    let mut planned = plan(&pass.object.spec, &seen.row);
    if !target.enforce {
        return observed_only(&planned, &seen);
    }
    if !planned.is_empty() && !seen.fresh {
        // Whatever will be written is read anew first: the listing may be as old as the interval.
        pass.memory.read_at = Some(Instant::now());
        seen = match target.session.get(&seen.binding.id, observe::priority(pass)).await {
            Ok(row) => Observed {
                row,
                fresh: true,
                ..seen
            },
            Err(trouble) => return with(*observe::finding(&trouble, target, false).await, &seen, None),
        };
        planned = plan(&pass.object.spec, &seen.row);
    }
    let generation = pass.object.generation;
    if let Some(mut unverified) = pass
        .memory
        .unverified
        .take()
        .filter(|last| last.generation == generation)
    {
        if planned.is_empty() {
            return settled(&planned, &seen, true);
        }
        if planned == unverified.plan {
            unverified.reads = (unverified.reads + 1).min(ctx.config.timing.grace.len());
            let finding = unconfirmed(ctx, &unverified);
            pass.memory.unverified = Some(unverified);
            return with(finding, &seen, Some(planned));
        }
    }
    if planned.is_empty() {
        return settled(&planned, &seen, false);
    }
    send(ctx, pass, target, seen, planned, bound).await
}

/// Somebody else holds the object: this resource sends nothing.
fn conflict(ctx: &Context, pass: &Pass, bound: &ObjectId) -> Option<Finding> {
    let holder = ctx.index.lock().holder(bound)?;
    if holder.uid == pass.object.uid {
        return None;
    }
    // Names of other namespaces are not this namespace's to read.
    let who = if holder.key.namespace == pass.object.key.namespace {
        format!("ComplianceManagementPartner {}", holder.key.name)
    } else {
        "a resource of another namespace".to_owned()
    };
    let message = format!(
        "This object of the tenant is managed by {who}, which is older; nothing is sent. Delete one of the two, or set \
         managementPolicy: Observe on one."
    );
    Some(Finding::new(Reason::PartnerConflict, message))
}

fn observed_only(planned: &Plan, seen: &Observed) -> Finding {
    if planned.is_empty() && planned.unsupported.is_empty() {
        return settled(planned, seen, false);
    }
    let differs = match planned.fields() {
        fields if fields.is_empty() => String::new(),
        fields => format!(" Graph differs from spec in: {fields}."),
    };
    let unsupported = match planned.unsupported_lists() {
        lists if lists.is_empty() => String::new(),
        lists => format!(" Cannot be expressed: {lists}."),
    };
    let message = format!("Observed only, nothing is sent.{differs}{unsupported}");
    with(
        Finding::new(Reason::DriftDetected, message),
        seen,
        Some(planned.clone()),
    )
}

/// Nothing is left to send.
fn settled(planned: &Plan, seen: &Observed, updated: bool) -> Finding {
    let finding = if planned.unsupported.is_empty() {
        Finding::new(Reason::InSync, "Graph equals the managed fields of spec.")
    } else {
        let message = format!(
            "Left alone, because Graph holds entries there that this API version cannot express and that a change would \
             destroy: {}. Remove them in the Intune admin center, or leave the list out of spec.",
            planned.unsupported_lists()
        );
        Finding::new(Reason::UnsupportedTarget, message)
    };
    Finding {
        updated,
        ..with(finding, seen, Some(planned.clone()))
    }
}

fn unconfirmed(ctx: &Context, unverified: &Unverified) -> Finding {
    let fields = unverified.plan.fields();
    if unverified.reads < ctx.config.timing.grace.len() {
        let message = format!("Graph took the change but still shows the old value of: {fields}. It is read again.");
        return Finding::new(Reason::Verifying, message);
    }
    let message = format!(
        "Graph took the change but keeps the old value of: {fields}. It is not sent again before spec or the value in \
         Graph changes. Change it in the Intune admin center, or leave the field out of spec."
    );
    Finding::new(Reason::UpdateIneffective, message)
}

/// Sends the plan and reads the object again.
async fn send(
    ctx: &Context,
    pass: &mut Pass,
    target: &Target,
    before: Observed,
    planned: Plan,
    bound: &ObjectId,
) -> Finding {
    let lock = ctx.writers.of(bound);
    let _writing = lock.lock().await;
    // The claim may have moved while this pass waited for its turn.
    if let Some(finding) = conflict(ctx, pass, bound) {
        return with(finding, &before, None);
    }
    let id = before.binding.id.clone();
    let taken = match target
        .session
        .patch(&id, &planned.patch(), observe::priority(pass))
        .await
    {
        Ok(taken) => taken,
        Err(trouble) => {
            let (outcome, request_id) = untaken(&trouble);
            audit(pass, &id, &planned, outcome, request_id);
            let finding = observe::finding(&trouble, target, true).await;
            return with(*finding, &before, Some(planned));
        }
    };
    audit(pass, &id, &planned, "taken", taken.request_id.as_deref());
    let drift = was_in_sync(pass);
    pass.deeds.updated = Some((planned.fields(), drift));
    if drift {
        pass.deeds.contested = contested(pass, &planned);
    }
    pass.memory.read_at = Some(Instant::now());
    // Where the read after it fails, the next pass knows that this was sent.
    let generation = pass.object.generation;
    let sent = |plan: Plan| Unverified {
        generation,
        reads: 0,
        plan,
    };
    pass.memory.unverified = Some(sent(planned));
    let row = match target.session.get(&id, observe::priority(pass)).await {
        Ok(row) => row,
        Err(trouble) => return with(*observe::finding(&trouble, target, false).await, &before, None),
    };
    let after = Observed {
        row,
        fresh: true,
        ..before
    };
    let left = plan(&pass.object.spec, &after.row);
    if left.is_empty() {
        pass.memory.unverified = None;
        return settled(&left, &after, true);
    }
    let unverified = sent(left.clone());
    let finding = unconfirmed(ctx, &unverified);
    pass.memory.unverified = Some(unverified);
    with(finding, &after, Some(left))
}

fn with(finding: Finding, seen: &Observed, planned: Option<Plan>) -> Finding {
    Finding {
        row: Some(seen.row.clone()),
        binding: Some(seen.binding.clone()),
        plan: planned,
        ..finding
    }
}

/// Records corrections of drift; names the fields that have been corrected too often.
fn contested(pass: &mut Pass, planned: &Plan) -> Option<String> {
    let now = Instant::now();
    let mut fields = Vec::new();
    for change in &planned.changes {
        let times = pass.memory.corrections.entry(change.property.name()).or_default();
        times.retain(|time| now.duration_since(*time) < CONTEST_WINDOW);
        times.push(now);
        if times.len() >= CONTEST {
            fields.push(change.property.name());
            times.clear();
        }
    }
    (!fields.is_empty()).then(|| fields.join(", "))
}

/// How a change ended that Graph did not answer with success. Without an answer nobody knows.
fn untaken(trouble: &Trouble) -> (&'static str, Option<&str>) {
    match trouble {
        Trouble::Graph(failure) if failure.status.is_some() => ("refused", failure.request_id.as_deref()),
        Trouble::Graph(failure) if failure.kind != FailureKind::Throttled => ("unknown", None),
        _ => ("not sent", None),
    }
}

/// One line for each write, for whoever has to answer who changed what.
fn audit(pass: &Pass, id: &str, planned: &Plan, outcome: &str, request_id: Option<&str>) {
    let fields: serde_json::Map<String, serde_json::Value> = planned
        .drift()
        .into_iter()
        .map(|drift| (drift.field.clone(), serde_json::json!(drift)))
        .collect();
    let line = serde_json::json!({
        "resource": pass.object.key.to_string(),
        "uid": pass.object.uid,
        "generation": pass.object.generation,
        "partnerId": crate::runtime::text::clean(id, 128),
        "fields": fields,
        "outcome": outcome,
        "requestId": request_id,
    });
    tracing::info!(target: "audit", "{line}");
}
