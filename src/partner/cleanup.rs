//! When we let go (client required): the finalizer, and the Reset that it stands for. Nothing is reset that this resource
//! does not hold, and nothing hangs without a word.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::claim::ObjectId;
use super::plan;
use super::report::{self, Ending};
use super::resolve::session_is_current;
use super::status::{Blocked, CLEANUP_BLOCKED};
use super::{Finding, Pass, audit, keep};
use crate::api::partner::DeletionPolicy;
use crate::api::reason::Reason;
use crate::api::{ComplianceManagementPartner, FINALIZER, condition};
use crate::connection::{Purpose, Told, tell};
use crate::graph::error::FailureKind;
use crate::graph::session::{CredentialFailure, Session, Trouble};
use crate::graph::throttle::Priority;
use crate::runtime::context::Context;
use crate::runtime::index::{Index, connection_of};
use crate::runtime::look;
use crate::runtime::object::{Connection, Key, Partner};
use crate::runtime::queue::Lane;
use crate::runtime::write::{self, NotWritten};

/// What every message of a clean-up that waits begins with, so that no cut takes it away.
const WAY_OUT: &str = "The resource goes once its Reset in Graph is done. To let it go at once and leave the object as it is, set \
                       deletionPolicy: Retain.";

/// Timestamps in status are whole seconds, cut off: one more makes sure that a time has passed.
const ROUNDING: Duration = Duration::from_secs(1);

/// So many writes of finalizers may fail before it is told: a conflict or two are everyday.
const SILENT_FAILURES: u32 = 2;

/// What a clean-up has come to.
pub enum Ended {
    /// Our finalizer is gone.
    Released,
    /// It waits, for what the finding says.
    Waits(Box<Finding>),
    /// The world has moved on; whatever moved has queued the next pass.
    Superseded,
}

/// Whether a resource has the finalizer while it lives: a Reset is asked for and would be done.
#[must_use]
pub fn wants_finalizer(index: &Index, partner: &Partner) -> bool {
    partner.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Reset && !index.observes(partner)
}

/// Puts the finalizer on the holder, before anything is sent that a Reset would have to take back.
pub async fn put_finalizer(ctx: &Context, pass: &mut Pass) -> Result<(), NotWritten> {
    let object = {
        let index = ctx.index.lock();
        if pass.object.has_finalizer() || !wants_finalizer(&index, &pass.object) {
            return Ok(());
        }
        newest(&index, &pass.object)
    };
    // Not twice in one pass.
    pass.finalizers?;
    if object.deleting {
        return Err(NotWritten);
    }
    let mut finalizers = object.finalizers.clone();
    if !object.has_finalizer() {
        finalizers.push(FINALIZER.to_owned());
        let put = write::finalizers::<ComplianceManagementPartner, _, _>(&ctx.writer, &object, &finalizers).await?;
        // Nothing is sent for a resource that is gone already.
        if !put {
            return Err(NotWritten);
        }
    }
    Arc::make_mut(&mut pass.object).finalizers = finalizers;
    Ok(())
}

/// Makes the finalizer as it should be, whatever the pass comes to: taken off where a deletion asks for nothing any more,
/// and put back on what a deletion would reset, also where Graph is down or the resource suspended.
pub async fn keep_finalizer(ctx: &Context, pass: &mut Pass) -> Result<(), NotWritten> {
    drop_unwanted_finalizer(ctx, pass).await?;
    let would_reset = would_reset(&ctx.index.lock(), pass);
    if would_reset {
        put_finalizer(ctx, pass).await
    } else {
        Ok(())
    }
}

/// Whether the resource holds its object, or is suspended and nobody else does (pure).
fn would_reset(index: &Index, pass: &Pass) -> bool {
    let (object, status) = (&pass.object, &pass.status);
    let (Some(cloud), Some(tenant), Some(id)) = (&status.cloud, &status.tenant_id, &status.partner_id) else {
        return false;
    };
    match index.holder(&ObjectId::new(cloud, tenant, id)) {
        Some(holder) => holder.uid == object.uid,
        None => object.spec.suspend == Some(true) && index.enforces(object),
    }
}

/// Takes the finalizer off a resource whose deletion asks for nothing any more.
async fn drop_unwanted_finalizer(ctx: &Context, pass: &Pass) -> Result<(), NotWritten> {
    let unwanted = {
        let index = ctx.index.lock();
        let object = newest(&index, &pass.object);
        object.has_finalizer() && !wants_finalizer(&index, &object)
    };
    if unwanted {
        remove_finalizer(ctx, &pass.object).await?;
    }
    Ok(())
}

/// The resource as the watch has it by now: whatever was written to it since the pass began makes a write of its list of
/// finalizers a conflict.
fn newest(index: &Index, object: &Arc<Partner>) -> Arc<Partner> {
    let entry = index
        .partner(&object.key)
        .filter(|entry| entry.object.uid == object.uid);
    Arc::clone(entry.map_or(object, |entry| &entry.object))
}

/// Ours alone, whatever the order of the list. `false` where the resource is gone.
async fn remove_finalizer(ctx: &Context, object: &Arc<Partner>) -> Result<bool, NotWritten> {
    let object = &newest(&ctx.index.lock(), object);
    let others: Vec<String> = object
        .finalizers
        .iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .cloned()
        .collect();
    write::finalizers::<ComplianceManagementPartner, _, _>(&ctx.writer, object, &others).await
}

/// What becomes of a pass that could not put the finalizer on: it is repeated, and when that goes on it is told.
pub fn unguarded(ctx: &Context, pass: &mut Pass) -> Option<Finding> {
    if pass.memory.write_backoff.failures() < SILENT_FAILURES {
        try_later(ctx, pass);
        return None;
    }
    pass.finalizers = Err(NotWritten);
    Some(Finding::new(
        Reason::GraphUnavailable,
        "The API server does not take the finalizer that deletionPolicy: Reset needs, and nothing is sent before it is \
         there: see the operator's log, and check its ClusterRole.",
    ))
}

/// Has the pass repeated where the finalizers could not be written, by what the watch brings until then.
fn try_later(ctx: &Context, pass: &mut Pass) {
    let timing = &ctx.config.timing;
    let backoff = &mut pass.memory.write_backoff;
    let wait = backoff.next(timing.backoff, timing.backoff_cap, None, fastrand::f64());
    keep(&mut ctx.index.lock(), pass);
    let key = Key::Partner(pass.object.key.clone());
    ctx.queue.schedule(key, Lane::Edit, Instant::now() + wait);
}

/// What a deletion asks for.
enum Duty {
    /// Nothing is sent. The reason is for the log.
    Nothing(&'static str),
    /// Nothing is sent, if the resource that waits for the object is there to stay.
    HandOver,
    /// The managed fields of this object are reset.
    Reset(ObjectId),
}

/// What the deletion asks for by what the index has now (pure).
fn duty(index: &Index, pass: &Pass) -> Duty {
    let partner = index
        .partner(&pass.object.key)
        .map_or(&pass.object, |entry| &entry.object);
    if partner.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Retain {
        return Duty::Nothing("deletionPolicy is Retain");
    }
    if index.observes(partner) {
        return Duty::Nothing("the resource only observes");
    }
    let status = &pass.status;
    let (Some(cloud), Some(tenant), Some(id)) = (&status.cloud, &status.tenant_id, &status.partner_id) else {
        return Duty::Nothing("the resource was never bound");
    };
    let object = ObjectId::new(cloud, tenant, id);
    let holder = index.holder(&object);
    if holder.is_some_and(|holder| holder.uid != partner.uid) {
        return Duty::Nothing("another resource manages the object");
    }
    if index.has_heir(&object, &partner.uid) {
        return Duty::HandOver;
    }
    Duty::Reset(object)
}

/// One pass of a resource that is being deleted and has our finalizer.
pub async fn clean_up(ctx: &Context, pass: &mut Pass) -> Ended {
    let duty = duty(&ctx.index.lock(), pass);
    let object = match duty {
        Duty::Nothing(why) => {
            let name = &pass.object.key;
            tracing::debug!(%name, why, "let go without a Reset");
            return release(ctx, pass, Vec::new()).await;
        }
        Duty::HandOver => return hand_over(ctx, pass).await,
        Duty::Reset(object) => object,
    };
    pass.memory.heir_since = None;
    // Graph has had its say: nothing is asked of it for a second time.
    if let Some(endings) = pass.memory.ended.clone() {
        return release(ctx, pass, endings).await;
    }
    let connection = ctx.index.lock().connection_used_by(&pass.object).cloned();
    let Some(connection) = connection else {
        return without_connection(ctx, pass).await;
    };
    let spec = &connection.spec;
    if spec.tenant_id != object.tenant || spec.cloud.unwrap_or_default().name() != object.cloud {
        return release(ctx, pass, vec![Ending::OtherTenant]).await;
    }
    let Some(open) = ctx.sessions.get(&connection) else {
        return without_session(ctx, &connection);
    };
    let lock = ctx.writers.of(&object);
    let Ok(_writing) = lock.try_lock() else {
        let _ = lock.lock().await;
        ctx.queue.push(Key::Partner(pass.object.key.clone()), Lane::Edit);
        return Ended::Superseded;
    };
    match reset(ctx, pass, &open.session).await {
        Ok(endings) => {
            pass.memory.ended = Some(endings.clone());
            release(ctx, pass, endings).await
        }
        Err(Trouble::Superseded) => Ended::Superseded,
        Err(trouble) => in_trouble(ctx, pass, &open.session, &trouble).await,
    }
}

/// Lets go for the resource that waits. Of those that are deleted all at once one comes first: it looks a second time
/// whether the others stay, or nothing would be reset by any of them.
async fn hand_over(ctx: &Context, pass: &mut Pass) -> Ended {
    let since = *pass.memory.heir_since.get_or_insert_with(Instant::now);
    let again = since + ctx.config.timing.backoff;
    if Instant::now() < again {
        keep(&mut ctx.index.lock(), pass);
        ctx.queue
            .schedule(Key::Partner(pass.object.key.clone()), Lane::Edit, again);
        return Ended::Superseded;
    }
    let name = &pass.object.key;
    tracing::debug!(%name, "let go without a Reset: another resource manages the object from now on");
    release(ctx, pass, Vec::new()).await
}

/// Reads the object anew and sends what a Reset changes. A 2xx ends it, and so does a 404. Where the connection breaks before
/// the answer, a look tells whether it was done; where it was not, it is sent once more.
async fn reset(ctx: &Context, pass: &mut Pass, session: &Session) -> Result<Vec<Ending>, Trouble> {
    // As Graph spells it; the claim's spelling is in lower case.
    let id = pass.status.partner_id.clone().unwrap_or_default();
    let mut lost: Option<plan::Plan> = None;
    loop {
        let row = match session.get(&id, Priority::Edit).await {
            Ok(row) => row,
            Err(Trouble::Graph(failure)) if failure.kind == FailureKind::NotFound => return Ok(Vec::new()),
            Err(trouble) => return Err(trouble),
        };
        let planned = plan::reset(&pass.object.spec, &row);
        let mut endings = Vec::new();
        if !planned.unsupported.is_empty() {
            endings.push(Ending::Unsupported(planned.unsupported_lists()));
        }
        if planned.is_empty() {
            if let Some(sent) = lost {
                told(ctx, pass, Ending::Reset(sent.fields()));
            }
            return Ok(endings);
        }
        let may = || still_asked_for(ctx, pass);
        let trouble = match session.patch(&id, &planned.patch(), Priority::Edit, &may).await {
            Ok(taken) => {
                audit::taken(pass, &id, &planned, &taken);
                told(ctx, pass, Ending::Reset(planned.fields()));
                return Ok(endings);
            }
            Err(Trouble::Superseded) => return Err(Trouble::Superseded),
            Err(trouble) => trouble,
        };
        audit::untaken(pass, &id, &planned, &trouble);
        match &trouble {
            Trouble::Graph(failure) if failure.kind == FailureKind::NotFound => return Ok(Vec::new()),
            Trouble::Graph(failure) if failure.kind == FailureKind::Lost && lost.is_none() => lost = Some(planned),
            _ => return Err(trouble),
        }
    }
}

/// Asked at the last moment, when the request's turn has come: the wait for it may have been long.
fn still_asked_for(ctx: &Context, pass: &Pass) -> bool {
    let stopping = ctx.stopping.load(Ordering::Relaxed);
    let asked = {
        let index = ctx.index.lock();
        is_as_it_was(&index, pass) && matches!(duty(&index, pass), Duty::Reset(_))
    };
    !stopping && asked && session_is_current(ctx, pass)
}

/// Whether this very resource still waits for its clean-up, with the spec that the pass goes by (pure). Somebody may have
/// taken our finalizer away, and the resource that has its name now may be another one.
fn is_as_it_was(index: &Index, pass: &Pass) -> bool {
    index.partner(&pass.object.key).is_some_and(|entry| {
        let object = &entry.object;
        object.uid == pass.object.uid
            && object.generation == pass.object.generation
            && object.deleting
            && object.has_finalizer()
    })
}

/// A session never outlives its connection: where that is gone by a live read, nothing can be reset.
async fn without_connection(ctx: &Context, pass: &mut Pass) -> Ended {
    let key = connection_of(&pass.object);
    match look::connection_exists(&ctx.client, &key).await {
        // The watch is about to bring it.
        Ok(true) => {
            let message = format!("GraphConnection {} has just been made; it is looked at.", key.name);
            waits(waiting(&message, Blocked::No))
        }
        Ok(false) => {
            let message = format!("GraphConnection {} is gone: create it again.", key.name);
            blocked(ctx, pass, Reason::ConnectionNotFound, message).await
        }
        Err(look::Unanswered) => waits(waiting(
            "The API server did not say whether the GraphConnection exists.",
            Blocked::AsItWas,
        )),
    }
}

fn without_session(ctx: &Context, connection: &Connection) -> Ended {
    match ctx.sessions.verdict_of(connection) {
        // Its pass is yet to come, and wakes this one.
        None => Ended::Superseded,
        Some(verdict) => {
            let message = format!(
                "GraphConnection {} is not ready ({}): {}",
                connection.key.name,
                verdict.reason.as_str(),
                verdict.message
            );
            waits(waiting(&message, Blocked::No))
        }
    }
}

async fn in_trouble(ctx: &Context, pass: &mut Pass, session: &Session, trouble: &Trouble) -> Ended {
    match trouble {
        Trouble::Credential(CredentialFailure::NotFound(message)) => {
            return blocked(ctx, pass, Reason::SecretNotFound, message.clone()).await;
        }
        Trouble::Credential(CredentialFailure::AccountNotFound(message)) => {
            return blocked(ctx, pass, Reason::ServiceAccountNotFound, message.clone()).await;
        }
        // Whether it is gone could not be asked: a block that stands goes on.
        Trouble::Credential(CredentialFailure::Unavailable(message)) => {
            return waits(waiting(message, Blocked::AsItWas));
        }
        // What consents to the read goes with the namespace, in any order.
        Trouble::Credential(CredentialFailure::NotGranted(message)) => {
            match look::namespace_is_terminating(&ctx.client, &pass.object.key.namespace).await {
                Ok(true) => return blocked(ctx, pass, Reason::AccessNotGranted, message.clone()).await,
                Ok(false) => return waits(waiting(message, Blocked::No)),
                Err(look::Unanswered) => return waits(waiting(message, Blocked::AsItWas)),
            }
        }
        _ => {}
    }
    let roles = session.roles().await;
    let Told {
        reason,
        message,
        retry_after,
    } = tell(trouble, roles.as_deref(), Purpose::Write);
    if reason.is_of_connection() {
        ctx.queue.push(Key::Connection(connection_of(&pass.object)), Lane::Bulk);
    }
    waits(Finding {
        retry_after,
        ..waiting(&message, Blocked::No)
    })
}

/// What the clean-up goes by is gone. It is waited for, and given up when the condition has stood for so long.
async fn blocked(ctx: &Context, pass: &mut Pass, reason: Reason, message: String) -> Ended {
    let patience = ctx.config.abandon_cleanup_after;
    let left = patience.map(|patience| left_of(patience, pass, Timestamp::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return release(ctx, pass, vec![Ending::Abandoned(message)]).await;
    }
    let what_then = match patience {
        Some(_) => "When this has stood for --abandon-cleanup-after, the operator lets go without a Reset.",
        None => "The operator waits without end.",
    };
    let told = format!("{WAY_OUT} {what_then} {message}");
    let blocked = Blocked::Yes { reason, message: told };
    waits(Finding {
        no_later_than: left,
        ..waiting(&message, blocked)
    })
}

/// How much of the patience is left, by the time for which status has told of the block: a restart begins nothing anew.
fn left_of(patience: Duration, pass: &Pass, now: Timestamp) -> Duration {
    let since = condition(&pass.status.conditions, CLEANUP_BLOCKED)
        .and_then(|blocked| blocked.last_transition_time.parse::<Timestamp>().ok());
    let stood = since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
    (patience + ROUNDING).saturating_sub(stood.unwrap_or_default())
}

fn waiting(message: &str, blocked: Blocked) -> Finding {
    let message = format!("{WAY_OUT} {message}");
    Finding {
        blocked,
        ..Finding::new(Reason::Cleaning, message)
    }
}

fn waits(finding: Finding) -> Ended {
    Ended::Waits(Box::new(finding))
}

/// Takes our finalizer off, and tells how it ended.
async fn release(ctx: &Context, pass: &mut Pass, endings: Vec<Ending>) -> Ended {
    let Ok(removed) = remove_finalizer(ctx, &pass.object).await else {
        if pass.memory.write_backoff.failures() >= SILENT_FAILURES {
            let message =
                "The API server does not take the finalizer off: see the operator's log, and check its ClusterRole.";
            return waits(waiting(message, Blocked::AsItWas));
        }
        try_later(ctx, pass);
        return Ended::Superseded;
    };
    // Gone by another hand: this operator has given nothing up.
    let endings = if removed { endings } else { Vec::new() };
    for ending in endings {
        if let Ending::Abandoned(_) = ending {
            ctx.metrics.cleanup_abandoned();
        }
        told(ctx, pass, ending);
    }
    match left_to_others(ctx, pass) {
        Some(finding) if removed => waits(finding),
        _ => Ended::Released,
    }
}

/// What is still to be said of a resource that others keep from going, where status says that a Reset is waited for.
fn left_to_others(ctx: &Context, pass: &Pass) -> Option<Finding> {
    let object = newest(&ctx.index.lock(), &pass.object);
    let kept = object.finalizers.iter().any(|finalizer| finalizer != FINALIZER);
    let ready = condition(&pass.status.conditions, "Ready")?;
    let told = ready.reason == Reason::Cleaning.as_str();
    (kept && told).then(|| {
        let message = "The operator has let the resource go; it waits for the finalizers of others.";
        Finding::new(Reason::Cleaning, message)
    })
}

/// By event and by log line: a namespace that is being deleted takes no event.
fn told(ctx: &Context, pass: &Pass, ending: Ending) {
    let notice = report::ending(ending);
    let (name, reason) = (&pass.object.key, notice.reason.as_str());
    let note = crate::runtime::text::clean(&notice.note, crate::runtime::text::CONDITION_MESSAGE_CHARS);
    if notice.warning {
        tracing::warn!(%name, reason, note, "clean-up");
    } else {
        tracing::info!(%name, reason, note, "clean-up");
    }
    ctx.events
        .publish::<ComplianceManagementPartner, _, _>(&pass.object, notice);
}
