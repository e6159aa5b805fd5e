//! The reconcile of a `ComplianceManagementPartner`, one file a step.

pub mod apply;
pub mod audit;
pub mod claim;
pub mod cleanup;
pub mod memory;
pub mod observe;
pub mod plan;
pub mod report;
pub mod resolve;
pub mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::api::partner::ComplianceManagementPartnerStatus as Status;
use crate::api::reason::{Applied, Effect, Pair, Reason, Retry, Timing};
use crate::api::{ComplianceManagementPartner, condition};
use crate::graph::model;
use crate::partner::memory::{PartnerMemory, Untold};
use crate::runtime::context::{Config, Context, Report};
use crate::runtime::index::Index;
use crate::runtime::object::{Key, ObjectKey, Partner, Request};
use crate::runtime::queue::Lane;
use crate::runtime::write::{self, NotWritten};
use report::Deeds;
use status::{Binding, Blocked, HeartbeatRules, Judgement, Seen, Verdict};

/// One pass: the resource as it was when the pass began, and what is remembered of it.
pub struct Pass {
    /// The resource.
    pub object: Arc<Partner>,
    /// What passes remember; written back at the end.
    pub memory: PartnerMemory,
    /// The newest status that is known.
    pub status: Status,
    /// When this process first saw the resource.
    pub seen_at: Instant,
    /// How often what the resource depends on had changed when the pass began.
    pub wakes: u64,
    /// Whether somebody waits for this pass: spec was edited, or a pass was asked for.
    pub edit: bool,
    /// The echo of the annotation's value, where that is a new one.
    pub request: Option<String>,
    /// What was done so far.
    pub deeds: Deeds,
    /// Whether the finalizers are as they should be.
    pub finalizers: Result<(), NotWritten>,
}

/// What a step has come to, where it ends the pass.
#[derive(Debug)]
pub struct Finding {
    /// Why the resource is as it is.
    pub reason: Reason,
    /// What happened and what to do.
    pub message: String,
    /// The row, where one was read.
    pub row: Option<model::Partner>,
    /// Whether the object is not there, or is another one.
    pub gone: bool,
    /// The object that the resource is bound to.
    pub binding: Option<Binding>,
    /// The plan, where one was made.
    pub plan: Option<plan::Plan>,
    /// Whether a change was sent that took effect.
    pub updated: bool,
    /// The pause that was asked for.
    pub retry_after: Option<Duration>,
    /// What the connection's pair is.
    pub connection_pair: Pair,
    /// What blocks the clean-up.
    pub blocked: Blocked,
    /// The longest that may pass until the next look.
    pub no_later_than: Option<Duration>,
}

impl Finding {
    /// A finding that knows nothing of the object.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            row: None,
            gone: false,
            binding: None,
            plan: None,
            updated: false,
            retry_after: None,
            connection_pair: Pair::Neither,
            blocked: Blocked::No,
            no_later_than: None,
        }
    }

    /// A finding of an object that is not there, or is another one.
    #[must_use]
    pub fn gone(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            gone: true,
            ..Self::new(reason, message)
        }
    }
}

/// One pass of a partner.
pub async fn reconcile(ctx: &Context, key: &ObjectKey, lane: Lane) -> Report {
    let began = Instant::now();
    let pass = begin(&ctx.index.lock(), key);
    let Some(mut pass) = pass else {
        return Report::gone(Key::Partner(key.clone()));
    };
    if let Some(until) = held(&pass, lane, began) {
        ctx.queue.schedule(Key::Partner(key.clone()), lane, until);
        return Report::unchanged(Key::Partner(key.clone()), began);
    }
    if pass.object.deleting {
        return match cleanup::clean_up(ctx, &mut pass).await {
            cleanup::Ended::Waits(finding) => finish(ctx, pass, *finding, began).await,
            cleanup::Ended::Released => Report::released(Key::Partner(key.clone()), began),
            cleanup::Ended::Superseded => Report::unchanged(Key::Partner(key.clone()), began),
        };
    }
    pass.finalizers = cleanup::keep_finalizer(ctx, &mut pass).await;
    match run(ctx, &mut pass).await {
        Some(finding) => finish(ctx, pass, finding, began).await,
        // The connection has not been looked at yet, or the world has moved on: whatever comes next queues this again.
        None => Report::unchanged(Key::Partner(key.clone()), began),
    }
}

/// The steps. Each one either hands on to the next, or ends the pass with a finding.
async fn run(ctx: &Context, pass: &mut Pass) -> Option<Finding> {
    let target = match resolve::resolve(ctx, pass) {
        resolve::Resolved::Go(target) => target,
        resolve::Resolved::Stop(finding) => return Some(*finding),
        resolve::Resolved::Wait => return None,
    };
    if pass.request.is_some() {
        target.session.renew_forbidden().await;
    }
    let seen = match observe::observe(ctx, pass, &target).await {
        Ok(seen) => seen,
        Err(finding) => {
            let bound = target.bound.as_ref();
            let bound = bound.map(|id| claim::ObjectId::new(target.cloud, &target.tenant, id));
            let claim = |pass: &Pass, bound: &claim::ObjectId| apply::claim(&ctx.index.lock(), pass, bound);
            return Some(apply::unless_lost(
                pass,
                target.enforce,
                bound.as_ref(),
                *finding,
                claim,
            ));
        }
    };
    let bound = claim::ObjectId::new(&seen.binding.cloud, &seen.binding.tenant, &seen.binding.id);
    let triggers = ctx.index.lock().bind(&pass.object.key, &pass.object.uid, &bound);
    ctx.queue.push_all(&triggers);
    apply::apply(ctx, pass, &target, seen, &bound).await
}

/// Takes what is known of the resource out of the index (pure).
fn begin(index: &Index, key: &ObjectKey) -> Option<Pass> {
    let entry = index.partner(key)?;
    let object = Arc::clone(&entry.object);
    // A resource without our finalizer that is being deleted asks for nothing any more.
    if object.deleting && !object.has_finalizer() {
        return None;
    }
    let mut memory = entry.memory.clone();
    let status = entry.status().clone();
    let last = memory.handled.as_ref().and_then(|(_, request)| request.as_ref());
    // The echo may be the same for two values; a process that has just begun knows no more than the echo.
    let is_new = |request: &&Request| {
        Some(&request.echo) != status.last_handled_reconcile_at.as_ref() || last.is_some_and(|last| last != *request)
    };
    let request = object
        .request
        .as_ref()
        .filter(is_new)
        .map(|request| request.echo.clone());
    let new_generation = status.observed_generation != Some(object.generation);
    let known = status.observed_generation.is_some_and(|generation| generation >= 0);
    // A status that could not be written does not make an edit of every later pass.
    let handled = memory.handled.as_ref() == Some(&(object.generation, object.request.clone()));
    let edit = !handled && (request.is_some() || (new_generation && known));
    if !handled && (new_generation || request.is_some()) {
        memory.unverified = None;
        memory.hold_until = None;
        memory.backoff.reset();
    }
    Some(Pass {
        object,
        memory,
        status,
        seen_at: entry.seen_at,
        wakes: entry.wakes,
        edit,
        request,
        deeds: Deeds::default(),
        finalizers: Ok(()),
    })
}

/// Until when the pass is put off (pure): nobody waits for it, and the last verdict asks for a longer wait.
fn held(pass: &Pass, lane: Lane, began: Instant) -> Option<Instant> {
    let until = pass.memory.hold_until?;
    (lane == Lane::Bulk && !pass.edit && began < until).then_some(until)
}

/// Judges, writes what differs, tells what has changed, and sets the next wait.
async fn finish(ctx: &Context, mut pass: Pass, mut finding: Finding, began: Instant) -> Report {
    let now = Timestamp::now();
    let untold = std::mem::take(&mut pass.memory.untold);
    finding.updated |= untold.updated;
    let deeds = std::mem::take(&mut pass.deeds).after(untold.deeds);
    let generation = pass.object.generation;
    let trouble = remember(&mut pass, &finding, began);
    let applied = status::applied(&pass.status.conditions, generation, trouble, &ctx.config.timing);
    if finding.reason.row(applied).ready == Effect::True {
        pass.memory.last_success = Some(now.as_duration().as_secs_f64());
    }
    let next = judge(ctx.config.heartbeat, &pass, &finding, applied, now);
    let changed = ctx
        .writer
        .would_change::<ComplianceManagementPartner, _>(&pass.status, &next);
    let written = if changed {
        write_status(ctx, &mut pass, &next).await
    } else {
        Ok(())
    };
    if written.is_ok() {
        for notice in report::notices(&pass.status, &next, &deeds) {
            ctx.events
                .publish::<ComplianceManagementPartner, _, _>(&pass.object, notice);
        }
    } else {
        let updated = finding.updated;
        pass.memory.untold = Untold { deeds, updated };
    }
    let written = written.and(pass.finalizers);
    let moment = Moment {
        now,
        instant: Instant::now(),
        random: fastrand::f64(),
    };
    let due = due(&ctx.config, &mut pass, &finding, (applied, trouble), written, moment);
    let key = pass.object.key.clone();
    let lane = if pass.edit { Lane::Edit } else { Lane::Bulk };
    let object = Arc::clone(&pass.object);
    let new_generation = pass.status.observed_generation != Some(generation);
    keep(&mut ctx.index.lock(), &mut pass);
    if let Some(due) = due {
        ctx.queue
            .schedule(Key::Partner(key.clone()), lane, moment.instant + due);
    }
    if new_generation {
        crate::connection::pace(ctx, &object);
    }
    Report {
        key: Key::Partner(key),
        outcome: finding.reason.as_str(),
        message: finding.message,
        changed,
        elapsed: began.elapsed(),
    }
}

/// What the end of a pass goes by: when it is, and chance.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    instant: Instant,
    /// From 0 to below 1.
    random: f64,
}

/// The next status (pure).
fn judge(rules: HeartbeatRules, pass: &Pass, finding: &Finding, applied: Applied, now: Timestamp) -> Status {
    let seen = match &finding.row {
        Some(row) => Seen::Row(row),
        None if finding.gone => Seen::Gone,
        None => Seen::Nothing,
    };
    let verdict = Verdict {
        judgement: Judgement {
            generation: pass.object.generation,
            reason: finding.reason,
            message: finding.message.clone(),
            applied,
            connection_pair: finding.connection_pair,
        },
        request: pass.request.as_deref(),
        seen,
        binding: finding.binding.clone(),
        drift: finding.plan.as_ref().map(plan::Plan::drift),
        updated: finding.updated,
        blocked: finding.blocked.clone(),
    };
    status::next(&pass.status, &verdict, rules, now)
}

/// How long until the next pass of its own accord (pure). Sets until when polls are passed over.
fn due(
    config: &Config,
    pass: &mut Pass,
    finding: &Finding,
    (applied, trouble): (Applied, Duration),
    written: Result<(), NotWritten>,
    moment: Moment,
) -> Option<Duration> {
    let Moment { now, instant, random } = moment;
    let timing = &config.timing;
    let wait = next_wait(timing, pass, finding, (applied, trouble), random);
    let row = finding.row.as_ref();
    let stale = row.and_then(|row| status::turns_stale_at(row, config.heartbeat, now));
    let until_stale = stale.and_then(|stale| Duration::try_from(stale.duration_since(now)).ok());
    let until_stale = until_stale.map(|wait| wait + Duration::from_secs(1));
    // A missing connection holds nothing up: polls before the next step are welcome. Nor is the moment put off at which
    // a heartbeat turns stale, or the repetition of a write that failed.
    let hold = wait.filter(|_| finding.reason != Reason::ConnectionNotFound && written.is_ok());
    let hold = hold.map(|wait| until_stale.map_or(wait, |stale| wait.min(stale)));
    pass.memory.hold_until = hold.map(|wait| instant + wait);
    let backoff = &mut pass.memory.write_backoff;
    let retry = written.is_err();
    let retry = retry.then(|| backoff.next(timing.backoff, timing.backoff_cap, None, random));
    [wait, until_stale, retry].into_iter().flatten().min()
}

/// Puts what is remembered back into the index, where the resource is still there (pure).
fn keep(index: &mut Index, pass: &mut Pass) {
    let entry = index.partner_mut(&pass.object.key);
    let Some(entry) = entry.filter(|entry| entry.object.uid == pass.object.uid) else {
        return;
    };
    entry.memory = std::mem::take(&mut pass.memory);
    // The watch may have caught up with the write while the pass went on, and what the pause was for may be over.
    entry.object.catch_up(&mut entry.memory.written);
    if entry.wakes != pass.wakes {
        entry.memory.hold_until = None;
    }
}

/// Takes the finding into memory (pure); returns for how long Graph has not been read.
fn remember(pass: &mut Pass, finding: &Finding, began: Instant) -> Duration {
    let memory = &mut pass.memory;
    memory.handled = Some((pass.object.generation, pass.object.request.clone()));
    if matches!(
        finding.reason,
        Reason::InSync | Reason::UnsupportedTarget | Reason::DriftDetected
    ) {
        memory.applied = Some(pass.object.generation);
    }
    if finding.reason.is_transient() {
        let since = *memory.trouble_since.get_or_insert(began);
        return began.saturating_duration_since(since);
    }
    memory.trouble_since = None;
    // What is missing is looked for in ever longer steps; every other verdict ends the steps.
    if !matches!(finding.reason, Reason::ConnectionNotFound | Reason::Cleaning) {
        memory.backoff.reset();
    }
    Duration::ZERO
}

/// How long until the pass is tried again of its own accord (pure); `None` where a listing or a change leads to the next
/// one.
fn next_wait(
    timing: &Timing,
    pass: &mut Pass,
    finding: &Finding,
    (applied, trouble): (Applied, Duration),
    random: f64,
) -> Option<Duration> {
    match finding.reason.row(applied).retry {
        // The listings of the session pace the polls.
        Retry::Poll | Retry::OnChange => None,
        Retry::OnChangeOrSoon => Some(
            pass.memory
                .backoff
                .next(timing.backoff, timing.connection_cap, None, random),
        ),
        Retry::Slow => Some(timing.slow),
        Retry::VerySlow => Some(timing.very_slow),
        Retry::Grace => {
            let reads = pass.memory.unverified.as_ref().map_or(0, |unverified| unverified.reads);
            timing.grace.get(reads).copied()
        }
        Retry::Secret => Some(timing.secret),
        Retry::Backoff => {
            let wait = pass
                .memory
                .backoff
                .next(timing.backoff, timing.backoff_cap, finding.retry_after, random);
            // A verdict that is kept through trouble becomes Unknown at its time, not at the next try.
            let left = timing.unknown_after.saturating_sub(trouble);
            let kept = applied == Applied::Recently;
            let wait = if kept && !left.is_zero() { wait.min(left) } else { wait };
            Some(finding.no_later_than.map_or(wait, |latest| wait.min(latest)))
        }
    }
}

async fn write_status(ctx: &Context, pass: &mut Pass, next: &Status) -> Result<(), NotWritten> {
    let object = &pass.object;
    // First passes and polls yield to edits: the API server's watch delivers the edit sooner where it has less to do.
    let _slot = if pass.edit {
        None
    } else {
        ctx.status_slots.acquire().await.ok()
    };
    let written = write::status::<ComplianceManagementPartner, _, _>(&ctx.writer, object, next).await?;
    if written.is_some() {
        pass.memory.write_backoff.reset();
        pass.memory.written = written;
    }
    Ok(())
}

/// Whether the generation of the resource has been in sync before, so that a difference now is drift.
#[must_use]
pub fn was_in_sync(pass: &Pass) -> bool {
    if pass.memory.applied == Some(pass.object.generation) {
        return true;
    }
    condition(&pass.status.conditions, "Synced").is_some_and(|synced| {
        synced.observed_generation == Some(pass.object.generation)
            && matches!(
                Reason::parse(&synced.reason),
                Some(Reason::InSync | Reason::DriftDetected)
            )
    })
}

#[cfg(test)]
mod tests;
