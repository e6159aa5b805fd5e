//! Sends what differs, and makes sure that it took (client required). Never without the claim, never from an old read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::audit;
use super::claim::ObjectId;
use super::cleanup;
use super::observe::{self, Observed};
use super::plan::{Change, Plan, plan};
use super::resolve::{self, Target};
use super::{Finding, Pass, was_in_sync};
use crate::api::reason::Reason;
use crate::connection::Purpose;
use crate::graph::error::FailureKind;
use crate::graph::session::Trouble;
use crate::partner::memory::Unverified;
use crate::runtime::context::Context;
use crate::runtime::index::Index;
use crate::runtime::object::Key;
use crate::runtime::queue::Lane;

/// Corrections of one field within this time count together.
const CONTEST_WINDOW: Duration = Duration::from_secs(3_600);
/// So many of them are a contest.
const CONTEST: usize = 3;

/// Compares, and changes Graph where this resource may.
///
/// `None` where the world has moved on since the pass began: spec was edited, the resource suspended, its connection
/// changed. Nothing is sent then; whatever moved has queued the next pass.
pub async fn apply(
    ctx: &Context,
    pass: &mut Pass,
    target: &Target,
    mut seen: Observed,
    bound: &ObjectId,
) -> Option<Finding> {
    let holds = target.enforce && matches!(claim(&ctx.index.lock(), pass, bound), Claim::Held);
    if holds && cleanup::put_finalizer(ctx, pass).await.is_err() {
        // Nothing is sent that the deletion could not take back.
        return cleanup::unguarded(ctx, pass).map(|finding| with(finding, &seen, None));
    }
    let grace = ctx.config.timing.grace.len();
    let mut lost: Option<Plan> = None;
    loop {
        let claim = |pass: &Pass| claim(&ctx.index.lock(), pass, bound);
        match decide(pass, target.enforce, &seen, claim, grace) {
            Step::End(finding) => return Some(*finding),
            Step::Outdated => return None,
            Step::Send(todo) => match send(ctx, pass, target, &seen, &todo, bound).await {
                Sent::Ended(finding) => return finding.map(|finding| *finding),
                Sent::Lost(finding) if lost.is_some() => return Some(*finding),
                // A connection of the pool that was closed just then is nobody's trouble, once.
                Sent::Lost(_) => lost = Some(todo),
            },
            Step::ReadAnew => {}
        }
        pass.memory.read_at = Some(Instant::now());
        seen = match target.session.get(&seen.binding.id, observe::priority(pass)).await {
            Ok(row) => Observed {
                row,
                fresh: true,
                ..seen
            },
            Err(trouble) => {
                return Some(with(
                    *observe::finding(ctx, pass, &trouble, target, Purpose::Read).await,
                    &seen,
                    None,
                ));
            }
        };
        let now = Instant::now();
        let done = lost.as_ref().and_then(|sent| found(pass, &seen, sent, now, grace));
        if done.is_some() {
            return done;
        }
    }
}

/// What is to be done about a row.
pub(super) enum Step {
    /// Nothing: the pass ends.
    End(Box<Finding>),
    /// Nothing, and nothing is told: the world has moved on since the pass began.
    Outdated,
    /// Whatever will be written is read anew first: the listing may be as old as the interval.
    ReadAnew,
    /// Send this. What else differs was sent before and is waited for.
    Send(Plan),
}

/// What is to be done about the row that was read (pure). `grace` is the number of grace reads.
pub(super) fn decide(
    pass: &mut Pass,
    enforce: bool,
    seen: &Observed,
    claim: impl FnOnce(&Pass) -> Claim,
    grace: usize,
) -> Step {
    let end = |finding| Step::End(Box::new(finding));
    let planned = plan(&pass.object.spec, &seen.row);
    // What was sent and still shows the value that it had before is waited for. Once it has shown another one, the old
    // one is drift, also where it comes back unseen by the holder.
    let generation = pass.object.generation;
    let last = pass.memory.unverified.take();
    let last = last.filter(|last| last.generation == generation);
    let waited = last.is_some();
    pass.memory.unverified = last.and_then(|mut last| {
        last.sent.retain(|change| planned.changes.contains(change));
        (!last.sent.is_empty()).then_some(last)
    });
    if !enforce {
        return end(observed_only(&planned, seen));
    }
    match claim(pass) {
        Claim::Held => {}
        Claim::Lost(finding) => return end(with(*finding, seen, Some(planned))),
        Claim::Outdated => return Step::Outdated,
    }
    if !planned.is_empty() && !seen.fresh {
        return Step::ReadAnew;
    }
    if planned.is_empty() {
        return end(settled(&planned, seen, waited));
    }
    let Some(last) = &mut pass.memory.unverified else {
        return Step::Send(planned);
    };
    let sent = |change: &&Change| last.sent.contains(*change);
    if planned.changes.iter().all(|change| sent(&change)) {
        last.reads = (last.reads + 1).min(grace);
        let finding = unconfirmed(last, grace);
        return end(with(finding, seen, Some(planned)));
    }
    Step::Send(Plan {
        changes: planned.changes.iter().filter(|change| !sent(change)).cloned().collect(),
        unsupported: planned.unsupported,
    })
}

/// Whether this resource may write, by what the index has now.
pub(super) enum Claim {
    Held,
    /// Somebody else holds the object: this resource sends nothing.
    Lost(Box<Finding>),
    /// The resource is not what it was when the pass began.
    Outdated,
}

pub(super) fn claim(index: &Index, pass: &Pass, bound: &ObjectId) -> Claim {
    let current = index.partner(&pass.object.key).is_some_and(|entry| {
        let object = &entry.object;
        object.uid == pass.object.uid && object.generation == pass.object.generation && !object.deleting
    });
    if !current {
        return Claim::Outdated;
    }
    let Some(holder) = index.holder(bound) else {
        return Claim::Outdated;
    };
    if holder.uid == pass.object.uid {
        return Claim::Held;
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
    Claim::Lost(Box::new(Finding::new(Reason::PartnerConflict, message)))
}

/// What was found of an object that could not be read, or of a conflict: that comes before all that the object itself
/// is, and after trouble that passes by itself (pure). `bound` is what the resource is bound to.
pub(super) fn unless_lost(
    pass: &Pass,
    enforce: bool,
    bound: Option<&ObjectId>,
    found: Finding,
    claim: impl FnOnce(&Pass, &ObjectId) -> Claim,
) -> Finding {
    let may_be_lost = enforce && found.reason > Reason::PartnerConflict;
    let Some(bound) = bound.filter(|_| may_be_lost) else {
        return found;
    };
    match claim(pass, bound) {
        Claim::Lost(conflict) => Finding {
            gone: found.gone,
            ..*conflict
        },
        Claim::Held | Claim::Outdated => found,
    }
}

/// Asked at the last moment, when the request's turn has come: the wait for it may have been long.
fn may_send(ctx: &Context, pass: &Pass, bound: &ObjectId) -> bool {
    let stopping = ctx.stopping.load(Ordering::Relaxed);
    !stopping && resolve::session_is_current(ctx, pass) && matches!(claim(&ctx.index.lock(), pass, bound), Claim::Held)
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
             destroy. Remove them in the Intune admin center, or leave the list out of spec: {}.",
            planned.unsupported_lists()
        );
        Finding::new(Reason::UnsupportedTarget, message)
    };
    Finding {
        updated,
        ..with(finding, seen, Some(planned.clone()))
    }
}

fn verifying(left: &Plan) -> Finding {
    let fields = left.fields();
    let message = format!("Graph took the change but does not show it yet: {fields}. It is read again.");
    Finding::new(Reason::Verifying, message)
}

fn unconfirmed(unverified: &Unverified, grace: usize) -> Finding {
    let left = Plan {
        changes: unverified.sent.clone(),
        unsupported: Vec::new(),
    };
    if unverified.reads < grace {
        return verifying(&left);
    }
    let fields = left.fields();
    let message = format!(
        "Graph took the change but keeps the old value of: {fields}. It is not sent again before spec or the value in \
         Graph changes, or a sync is asked for. Change it in the Intune admin center, or leave the field out of spec."
    );
    Finding::new(Reason::UpdateIneffective, message)
}

/// What has become of a change.
pub(super) enum Sent {
    /// The pass ends; `None` where the world has moved on.
    Ended(Option<Box<Finding>>),
    /// The connection broke before there was an answer: whether it was done, a read has to tell. With what is told where
    /// nobody looks.
    Lost(Box<Finding>),
}

impl Sent {
    /// What came of a change that was not taken (pure); `finding` tells of the trouble.
    pub(super) fn failed(pass: &Pass, before: &Observed, trouble: &Trouble, finding: Finding) -> Self {
        let planned = plan(&pass.object.spec, &before.row);
        let finding = Box::new(with(finding, before, Some(planned)));
        match trouble {
            Trouble::Graph(failure) if failure.kind == FailureKind::Lost => Self::Lost(finding),
            _ => Self::Ended(Some(finding)),
        }
    }
}

/// Sends what is to be sent and reads the object again.
async fn send(
    ctx: &Context,
    pass: &mut Pass,
    target: &Target,
    before: &Observed,
    todo: &Plan,
    bound: &ObjectId,
) -> Sent {
    let ended = |finding| Sent::Ended(Some(Box::new(finding)));
    let lock = ctx.writers.of(bound);
    let Ok(_writing) = lock.try_lock() else {
        // Another resource writes to this object: what was read may be outdated when it is done.
        let _ = lock.lock().await;
        ctx.queue.push(Key::Partner(pass.object.key.clone()), Lane::Edit);
        return Sent::Ended(None);
    };
    let id = &before.binding.id;
    let priority = observe::priority(pass);
    let may = || may_send(ctx, pass, bound);
    let taken = match target.session.patch(id, &todo.patch(), priority, &may).await {
        Ok(taken) => taken,
        Err(Trouble::Superseded) => return Sent::Ended(None),
        Err(trouble) => {
            audit::untaken(pass, id, todo, &trouble);
            let finding = observe::finding(ctx, pass, &trouble, target, Purpose::Write).await;
            return Sent::failed(pass, before, &trouble, *finding);
        }
    };
    audit::taken(pass, id, todo, &taken);
    let waiting = was_taken(pass, todo, Instant::now());
    match target.session.get(id, priority).await {
        Ok(row) => {
            let after = Observed {
                row,
                binding: before.binding.clone(),
                fresh: true,
            };
            ended(check(pass, &after, waiting, todo, ctx.config.timing.grace.len()))
        }
        Err(trouble) => {
            let finding = observe::finding(ctx, pass, &trouble, target, Purpose::Read).await;
            ended(with(*finding, before, None))
        }
    }
}

/// What came of a change whose answer was lost, by the row that was read after it (pure); `None` where it was not done.
pub(super) fn found(pass: &mut Pass, seen: &Observed, sent: &Plan, now: Instant, grace: usize) -> Option<Finding> {
    let left = plan(&pass.object.spec, &seen.row);
    let still = |change: &Change| left.changes.iter().any(|left| left.property == change.property);
    if sent.changes.iter().all(still) {
        return None;
    }
    let waiting = was_taken(pass, sent, now);
    Some(check(pass, seen, waiting, sent, grace))
}

/// Remembers a change that Graph has answered with success (pure).
///
/// Gives what was sent before that and does not show.
pub(super) fn was_taken(pass: &mut Pass, todo: &Plan, now: Instant) -> Option<Unverified> {
    let drift = was_in_sync(pass);
    pass.deeds.updated = Some((todo.fields(), drift));
    if drift {
        pass.deeds.contested = contested(pass, todo, now);
    }
    pass.memory.read_at = Some(now);
    // Where the read after it fails, the next pass knows that this was sent.
    let waiting = pass.memory.unverified.take();
    let mut sent = waiting.as_ref().map(|waiting| waiting.sent.clone()).unwrap_or_default();
    sent.extend(todo.changes.iter().cloned());
    pass.memory.unverified = Some(Unverified {
        generation: pass.object.generation,
        reads: 0,
        sent,
    });
    waiting
}

/// Whether the row shows what was sent before it was read (pure): `todo` just now, what is `waiting` before that.
pub(super) fn check(
    pass: &mut Pass,
    after: &Observed,
    waiting: Option<Unverified>,
    todo: &Plan,
    grace: usize,
) -> Finding {
    let left = plan(&pass.object.spec, &after.row);
    if left.is_empty() {
        pass.memory.unverified = None;
        return settled(&left, after, true);
    }
    let mut unverified = pass.memory.unverified.take().unwrap_or_else(|| Unverified {
        generation: pass.object.generation,
        reads: 0,
        sent: Vec::new(),
    });
    let took = todo.changes.iter().any(|change| !left.changes.contains(change));
    let finding = Finding {
        updated: took,
        ..left_over(grace, waiting, &mut unverified, &left)
    };
    pass.memory.unverified = Some(unverified);
    with(finding, after, Some(left))
}

/// The verdict on what is left after a change. What was `waiting` before it has had reads of its own.
fn left_over(grace: usize, waiting: Option<Unverified>, unverified: &mut Unverified, left: &Plan) -> Finding {
    // What differs otherwise has changed meanwhile: it is not waited for, but sent with the next read.
    unverified.sent.retain(|change| left.changes.contains(change));
    let before = waiting.filter(|waiting| left.changes.iter().all(|change| waiting.sent.contains(change)));
    let Some(before) = before else {
        return verifying(left);
    };
    // All that was sent now shows: the verdict on the rest stands.
    unverified.reads = before.reads;
    unconfirmed(unverified, grace)
}

pub(super) fn with(finding: Finding, seen: &Observed, planned: Option<Plan>) -> Finding {
    Finding {
        row: Some(seen.row.clone()),
        binding: Some(seen.binding.clone()),
        plan: planned,
        ..finding
    }
}

/// Records corrections of drift; names the fields that have been corrected too often.
fn contested(pass: &mut Pass, planned: &Plan, now: Instant) -> Option<String> {
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
