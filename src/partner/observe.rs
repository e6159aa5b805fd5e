//! What Graph has (client required): polls are answered from the session's listing, edits and requests read anew by id.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::resolve::Target;
use super::status::{Binding, HeartbeatRules};
use super::{Finding, Pass};
use crate::api::reason::Reason;
use crate::connection::{Purpose, Told, tell};
use crate::graph::client::undecodable;
use crate::graph::error::FailureKind;
use crate::graph::listing::Listing;
use crate::graph::model::Partner;
use crate::graph::session::Trouble;
use crate::graph::throttle::Priority;
use crate::runtime::context::Context;
use crate::runtime::index::connection_of;
use crate::runtime::object::Key;
use crate::runtime::queue::Lane;

/// A row, and how new it is.
pub struct Observed {
    /// The row.
    pub row: Partner,
    /// The object that the resource is bound to.
    pub binding: Binding,
    /// Whether it was read anew by id in this pass.
    pub fresh: bool,
}

/// Reads the object.
pub async fn observe(ctx: &Context, pass: &mut Pass, target: &Target) -> Result<Observed, Box<Finding>> {
    let began = Instant::now();
    let id = match (&target.bound, &pass.object.spec.partner_ref.id) {
        (Some(bound), _) => bound.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => {
            let not_before = if pass.edit { began } else { pass.seen_at };
            look_up(ctx, pass, target, not_before, None).await?
        }
    };
    if !pass.edit {
        let listing = target.session.listing().filter(|_| target.trouble.is_none());
        let now = (Timestamp::now(), Instant::now());
        if let Some(row) = from_listing(pass, listing.as_deref(), &id, ctx.config.heartbeat, now)? {
            return Ok(observed(target, row, false));
        }
        if let Some(trouble) = &target.trouble {
            return Err(boxed(trouble.reason, trouble.message.clone()));
        }
    }
    pass.memory.read_at = Some(began);
    match target.session.get(&id, priority(pass)).await {
        Ok(row) => Ok(observed(target, as_named(pass, &id, row)?, true)),
        Err(Trouble::Graph(failure)) if failure.kind == FailureKind::NotFound => {
            not_found(ctx, pass, target, &id, began).await
        }
        Err(trouble) => Err(finding(ctx, pass, &trouble, target, Purpose::Read).await),
    }
}

/// Whether an object with this id is looked up by the name in spec: until it is bound, its name is what counts.
fn is_by_name(pass: &Pass, id: &str) -> bool {
    pass.object.spec.partner_ref.display_name.is_some() && pass.status.partner_id.as_deref() != Some(id)
}

/// The row with this id, read anew; where it was found by its name, it has that name still (pure).
pub(super) fn as_named(pass: &Pass, id: &str, row: Partner) -> Result<Partner, Box<Finding>> {
    if !is_by_name(pass, id) || row.display_name == pass.object.spec.partner_ref.display_name {
        return Ok(row);
    }
    Err(boxed(
        Reason::GraphUnavailable,
        "The object was renamed while it was looked up; it is looked for again.".to_owned(),
    ))
}

/// Edits go before polls at the budget's door.
#[must_use]
pub fn priority(pass: &Pass) -> Priority {
    if pass.edit { Priority::Edit } else { Priority::Poll }
}

/// Puts trouble of the session in a finding.
pub async fn finding(ctx: &Context, pass: &Pass, trouble: &Trouble, target: &Target, purpose: Purpose) -> Box<Finding> {
    let roles = target.session.roles().await;
    let (finding, of_connection) = told(trouble, roles.as_deref(), purpose);
    if of_connection && target.trouble.is_none() {
        ctx.queue.push(Key::Connection(connection_of(&pass.object)), Lane::Bulk);
    }
    Box::new(finding)
}

/// Trouble of the session as a finding, and whether it is the connection's to look into (pure).
pub(super) fn told(trouble: &Trouble, roles: Option<&[String]>, purpose: Purpose) -> (Finding, bool) {
    let Told {
        reason,
        message,
        retry_after,
    } = tell(trouble, roles, purpose);
    let gone = matches!(trouble, Trouble::Graph(failure) if failure.kind == FailureKind::NotFound);
    let of_connection = !gone && reason.is_of_connection();
    let (reason, message) = if gone {
        let message = "The object vanished while it was worked on; it is looked for again.".to_owned();
        (Reason::GraphUnavailable, message)
    } else if of_connection {
        // What is wrong with credential or tenant is the connection's to say, and heals with it.
        (Reason::GraphUnavailable, message)
    } else {
        (reason, message)
    };
    let finding = Finding {
        retry_after,
        ..Finding::new(reason, message)
    };
    (finding, of_connection)
}

fn observed(target: &Target, row: Partner, fresh: bool) -> Observed {
    let binding = Binding {
        cloud: target.cloud.to_owned(),
        tenant: target.tenant.clone(),
        id: row.id.clone(),
    };
    Observed { row, binding, fresh }
}

/// The row as last listed, where the listing is new enough for this pass (pure).
pub(super) fn from_listing(
    pass: &mut Pass,
    listing: Option<&Listing>,
    id: &str,
    rules: HeartbeatRules,
    now: (Timestamp, Instant),
) -> Result<Option<Partner>, Box<Finding>> {
    let Some(listing) = listing else {
        return Ok(None);
    };
    // A listing from before the resource was there, or one that has answered this resource before, says nothing new.
    let new = pass
        .memory
        .read_at
        .map_or(listing.began >= pass.seen_at, |read| listing.began > read);
    // Nor may a name be bound on its word: the object may have been renamed since.
    if !new || is_by_name(pass, id) {
        return Ok(None);
    }
    match listing.row(id) {
        // Not there: a read by id makes sure of it.
        None => Ok(None),
        Some(Err(row)) => {
            pass.memory.read_at = Some(listing.began);
            Err(boxed(
                Reason::GraphUnavailable,
                format!("{}. It is tried again.", undecodable(row)),
            ))
        }
        Some(Ok(row)) if turns_stale(row, listing.began, rules, now) => Ok(None),
        Some(Ok(row)) => {
            pass.memory.read_at = Some(listing.began);
            Ok(Some(row.clone()))
        }
    }
}

/// Whether the row was fresh when it was listed and would be stale now: a newer heartbeat may have come meanwhile.
fn turns_stale(row: &Partner, listed: Instant, rules: HeartbeatRules, now: (Timestamp, Instant)) -> bool {
    let Some(heartbeat) = row.last_heartbeat else {
        return false;
    };
    let (now, instant) = now;
    let then = SignedDuration::try_from(instant.saturating_duration_since(listed))
        .ok()
        .and_then(|ago| now.checked_sub(ago).ok());
    rules.is_stale(heartbeat, now) && then.is_some_and(|then| !rules.is_stale(heartbeat, then))
}

/// Finds the one object with the display name that spec names, in a listing that began at `not_before` or later. `gone_id`
/// is the id of an object that is not there any more.
async fn look_up(
    ctx: &Context,
    pass: &Pass,
    target: &Target,
    not_before: Instant,
    gone_id: Option<&str>,
) -> Result<String, Box<Finding>> {
    let name = pass.object.spec.partner_ref.display_name.clone().unwrap_or_default();
    let listing = match target.session.list(not_before, priority(pass)).await {
        Ok(listing) => listing,
        Err(trouble) => return Err(finding(ctx, pass, &trouble, target, Purpose::Read).await),
    };
    let mut ids = listing.named(&name);
    ids.retain(|id| gone_id.is_none_or(|gone| !id.eq_ignore_ascii_case(gone)));
    only(ids)
}

/// The one id of a display name (pure).
pub(super) fn only(mut ids: Vec<String>) -> Result<String, Box<Finding>> {
    match (ids.pop(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(_), false) => Err(gone(
            Reason::PartnerAmbiguous,
            "Several partners of the tenant have this display name: name one by partnerRef.id, from the \
             GraphConnection's status.partners.",
        )),
        (None, _) => Err(gone(
            Reason::PartnerNotFound,
            "No partner of the tenant has exactly this display name: see the GraphConnection's status.partners, or add \
             the partner in the Intune admin center.",
        )),
    }
}

/// The object is not in Graph. A resource that names it by display name is bound again, where one other has the name.
async fn not_found(
    ctx: &Context,
    pass: &mut Pass,
    target: &Target,
    id: &str,
    began: Instant,
) -> Result<Observed, Box<Finding>> {
    let listing = target.session.listing();
    let listed = listing.as_ref().and_then(|listing| listing.row(id));
    let by_name = pass.object.spec.partner_ref.display_name.is_some();
    let other = match (&target.bound, listed) {
        (Some(_), _) if by_name => {
            // A listing that still has the object is from before it went, and may lack the one that came in its place.
            let not_before = if pass.edit || listed.is_some() {
                began
            } else {
                pass.seen_at
            };
            Some(look_up(ctx, pass, target, not_before, Some(id)).await?)
        }
        // Spec may spell the id otherwise than Graph, and no page says that Graph finds it in any case.
        (None, Some(Ok(row))) if row.id != id => Some(row.id.clone()),
        _ => None,
    };
    if let Some(other) = other {
        return match target.session.get(&other, priority(pass)).await {
            Ok(row) => {
                let row = as_named(pass, &other, row)?;
                pass.deeds.rebound_from = target.bound.is_some().then(|| id.to_owned());
                Ok(observed(target, row, true))
            }
            Err(trouble) => Err(finding(ctx, pass, &trouble, target, Purpose::Read).await),
        };
    }
    Err(no_such(id))
}

/// No object has this id.
pub(super) fn no_such(id: &str) -> Box<Finding> {
    let message = format!(
        "The tenant has no partner {id}: see the GraphConnection's status.partners, or add the partner in the Intune \
         admin center."
    );
    gone(Reason::PartnerNotFound, message)
}

fn boxed(reason: Reason, message: String) -> Box<Finding> {
    Box::new(Finding::new(reason, message))
}

fn gone(reason: Reason, message: impl Into<String>) -> Box<Finding> {
    Box::new(Finding::gone(reason, message))
}
