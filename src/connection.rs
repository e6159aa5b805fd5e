//! The reconcile of a `GraphConnection`: it gets the token, lists the tenant's partners, and sets the pace of the polls.

pub mod sessions;
pub mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::api::GraphConnection;
use crate::api::connection::{Access, GraphConnectionStatus, ListedPartner};
use crate::api::partner::parse_sync_interval;
use crate::api::reason::{Applied, Pair, Reason, Retry, Timing};
use crate::graph::listing::Listing;
use crate::graph::session::{Session, Trouble};
use crate::graph::throttle::Priority;
use crate::partner::status::{self, Judgement};
use crate::runtime::context::{Context, Report};
use crate::runtime::index::{ConnectionEntry, Index, Trigger};
use crate::runtime::object::{Connection, Key, ObjectKey, Partner};
use crate::runtime::queue::Lane;
use crate::runtime::text;
use crate::runtime::write::{self, NotWritten};
pub use sessions::{ConnectionVerdict, Open, Sessions};
use sessions::{State, open, until_decidable};
pub use trouble::{Purpose, Told, tell};

/// The most partners that status lists.
const MOST_LISTED: usize = 100;

/// One pass of a connection.
pub async fn reconcile(ctx: &Context, key: &ObjectKey, lane: Lane) -> Report {
    let Some(object) = ctx.index.lock().connection(key).map(|entry| Arc::clone(&entry.object)) else {
        ctx.sessions.close(key);
        return Report::gone(Key::Connection(key.clone()));
    };
    let before = ctx.sessions.verdict_of(&object);
    let began = Instant::now();
    until_decidable(ctx, &object).await;
    let (verdict, retry_after, listing) = match open(ctx, &object) {
        Err(verdict) => (verdict, None, None),
        Ok(session) => match visit(ctx, &object, &session, lane, before.is_none(), began).await {
            Ok(listing) => (connected(), None, Some(listing)),
            Err(trouble) => {
                let roles = session.roles().await;
                let purpose = match object.spec.access {
                    Some(Access::ReadOnly) => Purpose::ReadOnly,
                    Some(Access::ReadWrite) | None => Purpose::Read,
                };
                let Told {
                    reason,
                    message,
                    retry_after,
                } = tell(&trouble, roles.as_deref(), purpose);
                // A refusal of the list is no word on this connection's spec, which no edit is sure to change.
                let reason = match reason {
                    Reason::RejectedByGraph => Reason::GraphUnavailable,
                    reason => reason,
                };
                (ConnectionVerdict { reason, message }, retry_after, None)
            }
        },
    };
    let written = write_status(ctx, &object, &verdict, listing.as_deref()).await;
    let shortest = shortest_interval(&ctx.index.lock(), key, &ctx.config.timing);
    let timing = &ctx.config.timing;
    let waits = ctx.sessions.with(key, |state| {
        if state.uid != object.uid {
            return (None, None);
        }
        let moment = (Instant::now(), fastrand::f64());
        (
            settle(timing, state, &verdict, retry_after, shortest, moment),
            write_again(timing, state, written.as_ref().err(), fastrand::f64()),
        )
    });
    let (next, rewrite) = waits.unwrap_or_default();
    let changed = lane == Lane::Edit || before.as_ref() != Some(&verdict);
    wake_partners(ctx, key, changed, listing.as_deref(), shortest);
    if let Some(wait) = next {
        // A pause is over so long after it was told; looked at a moment before that, it would be waited for once more.
        let from = if retry_after.is_some() { Instant::now() } else { began };
        ctx.queue
            .schedule(Key::Connection(key.clone()), Lane::Bulk, from + wait);
    }
    if let Some(wait) = rewrite {
        ctx.queue
            .schedule(Key::Connection(key.clone()), Lane::Bulk, Instant::now() + wait);
    }
    Report {
        key: Key::Connection(key.clone()),
        outcome: verdict.reason.as_str(),
        message: verdict.message.clone(),
        changed: written.unwrap_or(true),
        elapsed: began.elapsed(),
    }
}

fn connected() -> ConnectionVerdict {
    ConnectionVerdict {
        reason: Reason::Connected,
        message: "A token was got and the tenant's compliance management partners were listed.".to_owned(),
    }
}

/// Gets a token and lists. An edit, a request and a connection that is not ready look at the credential first.
async fn visit(
    ctx: &Context,
    object: &Connection,
    session: &Session,
    lane: Lane,
    first: bool,
    began: Instant,
) -> Result<Arc<Listing>, Trouble> {
    let asked = ctx
        .sessions
        .with(&object.key, |state| {
            let asked = object.request.is_some() && state.request != object.request;
            state.request.clone_from(&object.request);
            if asked {
                state.backoff.reset();
            }
            asked
        })
        .unwrap_or_default();
    if asked {
        session.forget_refusal().await;
        session.renew_forbidden().await;
    }
    // A session that is new reads it for its first token anyway.
    if (asked || lane == Lane::Edit) && !first {
        session.recheck_credential().await?;
    }
    let priority = if lane == Lane::Edit {
        Priority::Edit
    } else {
        Priority::Poll
    };
    session.list(began, priority).await
}

/// Remembers the verdict, and tells when the next pass is due (pure). `shortest` is what [`shortest_interval`] gives;
/// the last argument is the time, and chance from 0 to below 1.
pub(crate) fn settle(
    timing: &Timing,
    state: &mut State,
    verdict: &ConnectionVerdict,
    retry_after: Option<Duration>,
    shortest: Duration,
    (now, random): (Instant, f64),
) -> Option<Duration> {
    state.verdict = Some(verdict.clone());
    let transient = verdict.reason.is_transient() || verdict.reason == Reason::PrincipalNotFound;
    if transient {
        state.trouble_since.get_or_insert(now);
    } else {
        state.trouble_since = None;
        state.backoff.reset();
    }
    match verdict.reason.row(Applied::NotYet).retry {
        Retry::OnChange => None,
        Retry::Poll | Retry::Grace => Some(shortest.mul_f64(state.jitter)),
        Retry::Slow => Some(timing.slow),
        Retry::VerySlow => Some(timing.very_slow),
        Retry::Secret => Some(timing.secret),
        Retry::Backoff | Retry::OnChangeOrSoon => {
            let wait = state
                .backoff
                .next(timing.backoff, timing.backoff_cap, retry_after, random);
            // A verdict that is kept through trouble becomes Unknown at its time, not at the next try.
            let trouble = state.trouble_since.map(|since| now.saturating_duration_since(since));
            let left = timing.unknown_after.saturating_sub(trouble.unwrap_or_default());
            Some(if left.is_zero() { wait } else { wait.min(left) })
        }
    }
}

/// How long until a status that could not be written is written again (pure).
fn write_again(timing: &Timing, state: &mut State, failed: Option<&NotWritten>, random: f64) -> Option<Duration> {
    if failed.is_none() {
        state.write_backoff.reset();
        return None;
    }
    let backoff = &mut state.write_backoff;
    Some(backoff.next(timing.backoff, timing.backoff_cap, None, random))
}

/// The shortest syncInterval of the partners that are polled over this connection (pure).
pub(crate) fn shortest_interval(index: &Index, key: &ObjectKey, timing: &Timing) -> Duration {
    let partners = index.partners_of(key);
    let intervals = partners.iter().filter_map(|partner| {
        let object = &index.partner(partner)?.object;
        (object.spec.suspend != Some(true)).then(|| sync_interval(timing, object.spec.sync_interval.as_deref()))
    });
    intervals.min().unwrap_or(timing.sync_interval)
}

/// Brings the next listing forward where this partner wants one sooner than was planned.
pub fn pace(ctx: &Context, partner: &Partner) {
    let Some(connection) = ctx.index.lock().connection_used_by(partner).cloned() else {
        return;
    };
    let verdict = ctx.sessions.verdict_of(&connection);
    let listing = ctx.sessions.get(&connection).and_then(|open| open.session.listing());
    if let (Some(Reason::Connected), Some(listing)) = (verdict.map(|verdict| verdict.reason), listing)
        && partner.spec.suspend != Some(true)
    {
        let jitter = ctx.sessions.with(&connection.key, |state| state.jitter).unwrap_or(1.0);
        let due =
            listing.began + sync_interval(&ctx.config.timing, partner.spec.sync_interval.as_deref()).mul_f64(jitter);
        ctx.queue
            .schedule(Key::Connection(connection.key.clone()), Lane::Bulk, due);
    }
}

/// A resource's own interval, or the operator's.
#[must_use]
pub fn sync_interval(timing: &Timing, own: Option<&str>) -> Duration {
    own.and_then(parse_sync_interval).unwrap_or(timing.sync_interval)
}

/// Queues the partners whose turn it is: all where the connection or its verdict has changed, else those whose poll is
/// due.
fn wake_partners(ctx: &Context, key: &ObjectKey, changed: bool, listing: Option<&Listing>, shortest: Duration) {
    if changed {
        let triggers = ctx.index.lock().around_connection(key);
        ctx.queue.push_all(&triggers);
        return;
    }
    let Some(listing) = listing else { return };
    let jitter = ctx.sessions.with(key, |state| state.jitter).unwrap_or(1.0);
    let triggers = due_polls(
        &ctx.index.lock(),
        key,
        listing.began,
        jitter,
        shortest,
        &ctx.config.timing,
    );
    ctx.queue.push_all(&triggers);
}

/// The polls that a listing from this time answers (pure).
pub(crate) fn due_polls(
    index: &Index,
    key: &ObjectKey,
    began: Instant,
    jitter: f64,
    shortest: Duration,
    timing: &Timing,
) -> Vec<Trigger> {
    let tolerance = shortest.mul_f64(0.2);
    let due = |partner: &ObjectKey| {
        let Some(entry) = index.partner(partner) else {
            return false;
        };
        // It is not polled: it reads nothing.
        if entry.object.spec.suspend == Some(true) {
            return false;
        }
        let interval = sync_interval(timing, entry.object.spec.sync_interval.as_deref()).mul_f64(jitter);
        let read = entry.memory.read_at;
        read.is_none_or(|read| began.saturating_duration_since(read) + tolerance >= interval)
    };
    let poll = |partner| Trigger {
        key: Key::Partner(partner),
        lane: Lane::Bulk,
    };
    index.partners_of(key).into_iter().filter(due).map(poll).collect()
}

/// Writes the connection's status where it differs. `Ok(true)` where it did.
async fn write_status(
    ctx: &Context,
    object: &Connection,
    verdict: &ConnectionVerdict,
    listing: Option<&Listing>,
) -> Result<bool, NotWritten> {
    let previous = previous_status(ctx, object);
    let roles = match ctx.sessions.get(object) {
        Some(open) => open.session.roles().await,
        None => None,
    };
    let trouble = ctx.sessions.with(&object.key, |state| state.trouble_since).flatten();
    let trouble = trouble.map(|since| since.elapsed()).unwrap_or_default();
    let judgement = Judgement {
        generation: object.generation,
        reason: verdict.reason,
        message: verdict.message.clone(),
        applied: status::applied(&previous.conditions, object.generation, trouble, &ctx.config.timing),
        connection_pair: Pair::Neither,
    };
    let next = next_status(&previous, object, &judgement, roles, listing, Timestamp::now());
    if !ctx.writer.would_change::<GraphConnection, _>(&previous, &next) {
        return Ok(false);
    }
    let written = write::status::<GraphConnection, _, _>(&ctx.writer, object, &next).await?;
    let Some(written) = written else {
        return Ok(false);
    };
    let mut index = ctx.index.lock();
    let entry = index.connection_mut(&object.key);
    if let Some(entry) = entry.filter(|entry| entry.object.uid == object.uid) {
        entry.written = Some(written);
        // The watch may have brought the write already.
        entry.object.catch_up(&mut entry.written);
    }
    drop(index);
    if let Some(notice) = crate::partner::report::ready_turned_false(&previous.conditions, &next.conditions) {
        ctx.events.publish::<GraphConnection, _, _>(object, notice);
    }
    Ok(true)
}

fn previous_status(ctx: &Context, object: &Connection) -> GraphConnectionStatus {
    let index = ctx.index.lock();
    let entry = index
        .connection(&object.key)
        .filter(|entry| entry.object.uid == object.uid);
    entry.map_or(&object.status, ConnectionEntry::status).clone()
}

pub(crate) fn next_status(
    previous: &GraphConnectionStatus,
    object: &Connection,
    judgement: &Judgement,
    roles: Option<Vec<String>>,
    listing: Option<&Listing>,
    now: Timestamp,
) -> GraphConnectionStatus {
    let mut next = previous.clone();
    next.observed_generation = Some(object.generation);
    let echo = object.request.as_ref().map(|request| request.echo.clone());
    next.last_handled_reconcile_at = echo.or(next.last_handled_reconcile_at);
    next.conditions = status::judge(&previous.conditions, judgement, false, now);
    if judgement.reason.is_transient() {
        return next;
    }
    next.roles = roles;
    if let Some(listing) = listing {
        let listed = listing.rows().filter_map(|row| {
            let (id, name) = match row {
                Ok(partner) => (partner.id.as_str(), partner.display_name.as_deref()),
                Err(row) => (row.id.as_deref()?, row.display_name.as_deref()),
            };
            let display_name = name.map(|name| text::clean(name, text::DISPLAY_NAME_CHARS));
            Some(ListedPartner {
                id: text::clean(id, text::ID_CHARS),
                display_name,
            })
        });
        // Cleaning and cutting may make two ids one; the API server refuses a status with a duplicate key.
        let mut seen = std::collections::BTreeSet::new();
        let unique = listed.filter(|partner| seen.insert(partner.id.clone()));
        next.partners = Some(unique.take(MOST_LISTED).collect());
    }
    next
}

#[cfg(test)]
mod tests;
