//! What is written into status (pure): the last status, the verdict of a pass and the time in, the next status out.
//!
//! A status that would differ in nothing but a heartbeat which has moved a little is the last status again, so that a
//! poll which finds nothing new writes nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::partner::{ComplianceManagementPartnerStatus as Status, Drift};
use crate::api::reason::{Applied, Effect, Pair, Reason, Timing};
use crate::api::{Condition, ConditionStatus, condition};
use crate::graph::model::{Partner, Platform};
use crate::runtime::text;

/// The object that a resource is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name of the cloud.
    pub cloud: String,
    /// The tenant's id.
    pub tenant: String,
    /// The object's id, as Graph spells it.
    pub id: String,
}

/// What a pass knows of the object in Graph.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// Nothing new: what status says of it stays.
    Nothing,
    /// This row was read.
    Row(&'a Partner),
    /// The object is not there, or is another one: what status says of it goes.
    Gone,
}

/// How heartbeats are judged and told.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatRules {
    /// A heartbeat older than this is stale.
    pub stale_after: Duration,
    /// A heartbeat that has moved by less than this is not written by itself.
    pub resolution: Duration,
}

/// What a pass says of a clean-up that cannot go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Blocked {
    /// Nothing blocks it, or there is none.
    #[default]
    No,
    /// What it goes by is gone.
    Yes {
        /// What is gone.
        reason: Reason,
        /// What to do.
        message: String,
    },
    /// Whether it is gone could not be asked.
    AsItWas,
}

/// The type of the condition that tells of a blocked clean-up.
pub const CLEANUP_BLOCKED: &str = "CleanupBlocked";

/// What is said of a stale heartbeat, in the condition and in the event.
pub const STALE: &str = "The partner's last heartbeat is too old: check its service and the connection in its console.";

impl HeartbeatRules {
    /// Whether a heartbeat is stale at a time. One in the future is not.
    #[must_use]
    pub fn is_stale(self, heartbeat: Timestamp, at: Timestamp) -> bool {
        at.duration_since(heartbeat) > SignedDuration::try_from(self.stale_after).unwrap_or(SignedDuration::MAX)
    }
}

/// What `Ready`, `Synced` and the pair are judged by.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The generation that the pass has seen.
    pub generation: i64,
    /// Why the resource is as it is.
    pub reason: Reason,
    /// What happened and what to do.
    pub message: String,
    /// Whether this generation had been applied before trouble began: see [`applied`].
    pub applied: Applied,
    /// What the connection's pair is, for [`Pair::AsConnection`].
    pub connection_pair: Pair,
}

/// What a pass has come to.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// What the conditions are judged by.
    pub judgement: Judgement,
    /// The value of the annotation that this pass has acted on.
    pub request: Option<&'a str>,
    /// What is known of the object.
    pub seen: Seen<'a>,
    /// The object that the resource is bound to from now on.
    pub binding: Option<Binding>,
    /// The fields that differ; `None` where they were not compared.
    pub drift: Option<Vec<Drift>>,
    /// Whether a change was sent that took effect.
    pub updated: bool,
    /// What blocks the clean-up of a resource that is being deleted.
    pub blocked: Blocked,
}

/// Whether `generation` had been applied before trouble began, and for how long the trouble has lasted.
#[must_use]
pub fn applied(previous: &[Condition], generation: i64, trouble: Duration, timing: &Timing) -> Applied {
    let was = condition(previous, "Ready").is_some_and(|ready| {
        ready.observed_generation == Some(generation)
            && match ready.status {
                ConditionStatus::True => true,
                ConditionStatus::Unknown => Reason::parse(&ready.reason).is_some_and(Reason::is_transient),
                ConditionStatus::False => false,
            }
    });
    let unknown = condition(previous, "Ready").is_some_and(|ready| ready.status == ConditionStatus::Unknown);
    match (was, unknown || trouble >= timing.unknown_after) {
        (false, _) => Applied::NotYet,
        (true, false) => Applied::Recently,
        (true, true) => Applied::LongAgo,
    }
}

/// The next status. Equal to `previous` where nothing is to be written.
#[must_use]
pub fn next(previous: &Status, verdict: &Verdict<'_>, rules: HeartbeatRules, now: Timestamp) -> Status {
    let mut next = previous.clone();
    next.observed_generation = Some(verdict.judgement.generation);
    if let Some(request) = verdict.request {
        next.last_handled_reconcile_at = Some(text::clean(request, text::REQUEST_CHARS));
    }
    if let Some(Binding { cloud, tenant, id }) = &verdict.binding {
        next.cloud = Some(cloud.clone());
        next.tenant_id = Some(tenant.clone());
        next.partner_id = Some(text::clean(id, text::ID_CHARS));
    }
    if verdict.updated {
        next.last_update_time = Some(whole_seconds(now));
    }
    if let Some(drift) = &verdict.drift {
        next.drift = (!drift.is_empty()).then(|| drift.clone());
    }
    next.conditions = judge(&previous.conditions, &verdict.judgement, true, now);
    next.conditions.extend(blocked(previous, verdict, now));
    match verdict.seen {
        Seen::Nothing => {}
        Seen::Row(partner) => tell(&mut next, partner, verdict.judgement.generation, rules, now),
        Seen::Gone => {
            next.partner_state = None;
            next.last_heartbeat_date_time = None;
            next.platforms = None;
            next.display_name = None;
            next.drift = None;
            next.conditions
                .retain(|condition| !matches!(condition.r#type.as_str(), "PartnerEnabled" | "HeartbeatFresh"));
        }
    }
    keep_small_heartbeat_moves(previous, next, rules)
}

/// The condition of a blocked clean-up; it is there only while it is True.
fn blocked(previous: &Status, verdict: &Verdict<'_>, now: Timestamp) -> Option<Condition> {
    let was = condition(&previous.conditions, CLEANUP_BLOCKED);
    match &verdict.blocked {
        Blocked::No => None,
        Blocked::AsItWas => was.cloned(),
        Blocked::Yes { reason, message } => Some(moved(
            was,
            CLEANUP_BLOCKED,
            ConditionStatus::True,
            verdict.judgement.generation,
            reason.as_str(),
            message,
            now,
        )),
    }
}

/// When the row turns stale, where that is still to come.
#[must_use]
pub fn turns_stale_at(partner: &Partner, rules: HeartbeatRules, now: Timestamp) -> Option<Timestamp> {
    let stale = partner
        .last_heartbeat?
        .checked_add(SignedDuration::try_from(rules.stale_after).ok()?)
        .ok()?;
    (stale >= now).then_some(stale)
}

/// The conditions that the reason table sets: `Ready`, `Synced` where `synced` says so, and the pair. Others stay.
#[must_use]
pub fn judge(previous: &[Condition], judgement: &Judgement, synced: bool, now: Timestamp) -> Vec<Condition> {
    let Judgement {
        generation,
        reason,
        message,
        applied,
        connection_pair,
    } = judgement;
    let (generation, word) = (*generation, reason.as_str());
    let row = reason.row(*applied);
    // A verdict that only an edit is sure to change is not taken back because Graph is away for a while.
    let stalled = condition(previous, "Stalled").is_some_and(|stalled| stalled.observed_generation == Some(generation));
    if reason.is_transient() && stalled {
        return previous.to_vec();
    }
    let mut next: Vec<Condition> = Vec::with_capacity(6);
    let synced = synced.then_some(("Synced", row.synced));
    for (kind, effect) in [("Ready", row.ready)].into_iter().chain(synced) {
        let was = condition(previous, kind);
        let status = match effect {
            Effect::True => ConditionStatus::True,
            Effect::False => ConditionStatus::False,
            Effect::Unknown => ConditionStatus::Unknown,
            Effect::AsItWas => {
                next.extend(was.cloned());
                continue;
            }
            Effect::TrueOrRemoved => {
                next.extend(was.filter(|was| was.status == ConditionStatus::True).cloned());
                continue;
            }
        };
        next.push(moved(was, kind, status, generation, word, message, now));
    }
    let pair = if row.pair == Pair::AsConnection {
        *connection_pair
    } else {
        row.pair
    };
    let kind = match pair {
        Pair::Reconciling => Some("Reconciling"),
        Pair::Stalled => Some("Stalled"),
        Pair::Neither | Pair::AsConnection => None,
    };
    if let Some(kind) = kind {
        let was = condition(previous, kind);
        next.push(moved(was, kind, ConditionStatus::True, generation, word, message, now));
    }
    for kind in ["PartnerEnabled", "HeartbeatFresh"] {
        next.extend(condition(previous, kind).cloned());
    }
    next
}

/// A condition whose `lastTransitionTime` moves only with its status.
#[must_use]
pub fn moved(
    was: Option<&Condition>,
    kind: &str,
    status: ConditionStatus,
    generation: i64,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Condition {
    let since = was
        .filter(|was| was.status == status)
        .map(|was| was.last_transition_time.clone());
    Condition {
        r#type: kind.to_owned(),
        status,
        observed_generation: Some(generation),
        last_transition_time: since.unwrap_or_else(|| whole_seconds(now)),
        reason: reason.to_owned(),
        message: text::clean(message, text::CONDITION_MESSAGE_CHARS),
    }
}

fn tell(next: &mut Status, partner: &Partner, generation: i64, rules: HeartbeatRules, now: Timestamp) {
    next.display_name = partner
        .display_name
        .as_deref()
        .map(|name| text::clean(name, text::DISPLAY_NAME_CHARS));
    next.partner_state = Some(text::clean(&partner.partner_state, text::STATE_WORD_CHARS));
    let platforms = Platform::ALL
        .into_iter()
        .filter(|platform| *partner.onboarded.get(*platform));
    let platforms: Vec<String> = platforms.map(|platform| platform.name().to_owned()).collect();
    next.platforms = (!platforms.is_empty()).then_some(platforms);
    // Kubernetes has no date-time before the year 0, and would refuse the whole status.
    let told = |time: &Timestamp| time.to_zoned(jiff::tz::TimeZone::UTC).year() >= 0;
    next.last_heartbeat_date_time = partner.last_heartbeat.filter(told).map(whole_seconds);

    let (enabled, reason, message) = enabled(&partner.partner_state);
    replace(
        &mut next.conditions,
        "PartnerEnabled",
        enabled,
        generation,
        &reason,
        &message,
        now,
    );
    let (fresh, reason, message) = fresh(partner.last_heartbeat, rules, now);
    replace(
        &mut next.conditions,
        "HeartbeatFresh",
        fresh,
        generation,
        reason,
        message,
        now,
    );
}

fn replace(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: ConditionStatus,
    generation: i64,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let next = moved(
        condition(conditions, kind),
        kind,
        status,
        generation,
        reason,
        message,
        now,
    );
    match conditions.iter_mut().find(|condition| condition.r#type == kind) {
        Some(place) => *place = next,
        None => conditions.push(next),
    }
}

/// `PartnerEnabled` from Graph's word. A word that this version does not know is passed through as the reason.
fn enabled(state: &str) -> (ConditionStatus, String, String) {
    let (status, message) = match state {
        "enabled" => (ConditionStatus::True, "The partner is enabled."),
        "terminated" => (
            ConditionStatus::False,
            "The partner's connection is terminated: renew it in the partner's console.",
        ),
        "rejected" => (
            ConditionStatus::False,
            "Intune rejects the partner's messages: check the connection in the partner's console.",
        ),
        "unresponsive" => (
            ConditionStatus::False,
            "Intune no longer hears from the partner: check its service and the connection in its console.",
        ),
        "unavailable" => (
            ConditionStatus::False,
            "The partner is not available: finish or renew the activation in the partner's console.",
        ),
        "unknown" => (
            ConditionStatus::Unknown,
            "Intune does not know the partner's state yet: activation happens in the partner's console and may take days.",
        ),
        _ => (
            ConditionStatus::Unknown,
            "Graph gives a state that this version of the operator does not know: see status.partnerState.",
        ),
    };
    let reason = text::reason_word(state).unwrap_or_else(|| "UnrecognizedState".to_owned());
    (status, reason, message.to_owned())
}

fn fresh(
    heartbeat: Option<Timestamp>,
    rules: HeartbeatRules,
    now: Timestamp,
) -> (ConditionStatus, &'static str, &'static str) {
    let Some(heartbeat) = heartbeat else {
        return (
            ConditionStatus::Unknown,
            "NeverReported",
            "Graph has never had a heartbeat of the partner.",
        );
    };
    if rules.is_stale(heartbeat, now) {
        return (ConditionStatus::False, "Stale", STALE);
    }
    (ConditionStatus::True, "Fresh", "The partner reports to Intune.")
}

fn keep_small_heartbeat_moves(previous: &Status, mut next: Status, rules: HeartbeatRules) -> Status {
    let (Some(was), Some(is)) = (&previous.last_heartbeat_date_time, &next.last_heartbeat_date_time) else {
        return next;
    };
    let (Ok(was_at), Ok(is_at)) = (was.parse::<Timestamp>(), is.parse::<Timestamp>()) else {
        return next;
    };
    let moved = is_at.duration_since(was_at).unsigned_abs();
    if moved >= rules.resolution {
        return next;
    }
    let fresh = next.last_heartbeat_date_time.replace(was.clone());
    if next != *previous {
        next.last_heartbeat_date_time = fresh;
    }
    next
}

/// A time as status has it: UTC, whole seconds.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests;
