//! What every resource says once all is quiet, told from the state of the world alone.

use std::time::Duration;

use super::claims::{binding, would_write};
use super::graph::Row;
use super::operator::{Secret, World};
use crate::api::condition;
use crate::api::connection::Access;
use crate::api::partner::ManagementPolicy;
use crate::api::reason::Reason;
use crate::graph::model::Platform;
use crate::partner::claim::ObjectId;
use crate::partner::plan::plan;
use crate::partner::plan::tests::make;
use crate::partner::status::whole_seconds;
use crate::runtime::index::connection_of;
use crate::runtime::object::{ObjectKey, Partner};

/// Holds every resource against what it should say.
pub(super) fn check(world: &World) {
    for partner in world.kubernetes.partners.values() {
        let expected = expected(world, partner);
        let status = &partner.status;
        let place = if expected.contains(&Reason::Suspended) {
            "Synced"
        } else {
            "Ready"
        };
        let said = condition(&status.conditions, place);
        let reason = said.and_then(|said| Reason::parse(&said.reason));
        assert!(
            reason.is_some_and(|reason| expected.contains(&reason)),
            "{} should say {expected:?}: {said:?}",
            partner.key
        );
        assert_eq!(said.unwrap().observed_generation, Some(partner.generation));
        assert_eq!(status.observed_generation, Some(partner.generation));
        assert_eq!(
            status.last_handled_reconcile_at,
            partner.request.as_ref().map(|request| request.echo.clone())
        );
        if let Some(row) = row_that_was_read(world, partner, reason) {
            shows(world, partner, row);
        }
    }
    for connection in world.kubernetes.connections.values() {
        let expected = match secret(world, &connection.key) {
            Secret::Good => Reason::Connected,
            Secret::Missing => Reason::SecretNotFound,
            Secret::Refused => Reason::CredentialsRejected,
        };
        let ready = condition(&connection.status.conditions, "Ready").unwrap();
        assert_eq!(ready.reason, expected.as_str(), "{}", connection.key);
        assert_eq!(connection.status.observed_generation, Some(connection.generation));
    }
}

/// Whoever holds an object knows it at once, as soon as its connection has been looked at: no poll has to come first.
pub(super) fn check_holders(world: &World) {
    for key in world.claims.holders().difference(&world.behind) {
        let partner = &world.kubernetes.partners[key];
        if !world.is_looked_at(partner) {
            continue;
        }
        let ready = condition(&partner.status.conditions, "Ready");
        let conflict = ready.is_some_and(|ready| ready.reason == Reason::PartnerConflict.as_str());
        assert!(!conflict, "{key} holds its object and has not been told");
    }
}

fn secret(world: &World, connection: &ObjectKey) -> Secret {
    world.secrets.get(connection).copied().unwrap_or_default()
}

/// The reasons that are right; several where it depends on what the process has sent before.
fn expected(world: &World, partner: &Partner) -> Vec<Reason> {
    if partner.spec.suspend == Some(true) {
        return vec![Reason::Suspended];
    }
    let Some(connection) = world.kubernetes.connections.get(&connection_of(partner)) else {
        return vec![Reason::ConnectionNotFound];
    };
    if secret(world, &connection.key) != Secret::Good {
        return vec![Reason::ConnectionNotReady];
    }
    let tenant = &connection.spec.tenant_id;
    if partner.status.tenant_id.as_ref().is_some_and(|bound| bound != tenant) {
        return vec![Reason::TenantChanged];
    }
    let observes = partner.spec.management_policy == Some(ManagementPolicy::Observe)
        || connection.spec.access == Some(Access::ReadOnly);
    if !observes && binding(partner).is_some_and(|bound| !holds(world, partner, &bound)) {
        return vec![Reason::PartnerConflict];
    }
    let rows = &world.tenants[tenant].rows;
    let named = |name: &String| {
        let has_it = |row: &&Row| row.partner.display_name.as_ref() == Some(name);
        rows.values().filter(has_it).count()
    };
    let reference = &partner.spec.partner_ref;
    let id = partner.status.partner_id.as_ref().or(reference.id.as_ref());
    let Some(row) = id.and_then(|id| rows.get(&id.to_ascii_lowercase())) else {
        return match reference.display_name.as_ref().map(named) {
            None | Some(0) => vec![Reason::PartnerNotFound],
            Some(1) => panic!("{} is not bound to the only object of its name", partner.key),
            Some(_) => vec![Reason::PartnerAmbiguous],
        };
    };
    assert!(binding(partner).is_some(), "what was read is bound");
    let planned = plan(&partner.spec, &row.partner);
    let equal = make::equal(&partner.spec, &row.partner);
    assert_eq!(equal, planned.is_empty() && planned.unsupported.is_empty());
    if observes {
        return vec![if equal { Reason::InSync } else { Reason::DriftDetected }];
    }
    if planned.is_empty() {
        return vec![if equal {
            Reason::InSync
        } else {
            Reason::UnsupportedTarget
        }];
    }
    // Something could not be changed.
    let mut reasons = Vec::new();
    let unseen = planned
        .changes
        .iter()
        .map(|change| world.claims.is_unseen(partner, change));
    let unseen: Vec<_> = unseen.collect();
    if unseen.iter().all(|(may_wait, _)| *may_wait) {
        reasons.push(Reason::UpdateIneffective);
    }
    let sent = planned
        .changes
        .iter()
        .zip(&unseen)
        .filter(|(_, (_, must_wait))| !must_wait);
    let sent: Vec<_> = sent.map(|(change, _)| change.property).collect();
    if world.tenants[tenant].read_only {
        reasons.extend((!sent.is_empty()).then_some(Reason::PermissionDenied));
    } else if sent.iter().any(|property| row.refuses.contains(property)) {
        reasons.push(Reason::RejectedByGraph);
    }
    reasons
}

/// Whether a resource is the oldest of those that would write to an object.
fn holds(world: &World, partner: &Partner, object: &ObjectId) -> bool {
    let rivals = world.kubernetes.partners.values().filter(|other| {
        let connection = world.kubernetes.connections.get(&connection_of(other));
        binding(other).as_ref() == Some(object) && would_write(other, connection, object)
    });
    let holder = rivals.min_by_key(|rival| (rival.created, &rival.uid));
    holder.is_some_and(|holder| holder.uid == partner.uid)
}

fn row_that_was_read<'a>(world: &'a World, partner: &Partner, reason: Option<Reason>) -> Option<&'a Row> {
    let read = matches!(
        reason?,
        Reason::InSync
            | Reason::DriftDetected
            | Reason::PartnerConflict
            | Reason::UnsupportedTarget
            | Reason::UpdateIneffective
            | Reason::RejectedByGraph
            | Reason::PermissionDenied
    );
    let bound = binding(partner).filter(|_| read)?;
    world.tenants[&bound.tenant].rows.get(&bound.id)
}

/// Status shows the row.
fn shows(world: &World, partner: &Partner, row: &Row) {
    let (status, row) = (&partner.status, &row.partner);
    assert_eq!(status.display_name, row.display_name);
    assert_eq!(status.partner_state.as_ref(), Some(&row.partner_state));
    let platforms: Vec<_> = Platform::ALL
        .into_iter()
        .filter(|platform| *row.onboarded.get(*platform))
        .map(|platform| platform.name().to_owned())
        .collect();
    if !world.kubernetes.older_crd {
        assert_eq!(status.platforms.clone().unwrap_or_default(), platforms);
    }
    assert_eq!(
        status.drift.clone().unwrap_or_default(),
        plan(&partner.spec, row).drift(),
        "{}",
        partner.key
    );
    let fresh = condition(&status.conditions, "HeartbeatFresh").map(|fresh| fresh.reason.as_str());
    let Some(heartbeat) = row.last_heartbeat else {
        assert_eq!(
            (fresh, &status.last_heartbeat_date_time),
            (Some("NeverReported"), &None)
        );
        return;
    };
    let stale = world.now().duration_since(heartbeat) > jiff::SignedDuration::from_hours(72);
    assert_eq!(fresh, Some(if stale { "Stale" } else { "Fresh" }));
    let shown = status.last_heartbeat_date_time.clone().unwrap();
    let shown: jiff::Timestamp = shown.parse().unwrap();
    let off = shown.duration_since(heartbeat).unsigned_abs();
    assert!(
        off < Duration::from_secs(900),
        "{shown} for {}",
        whole_seconds(heartbeat)
    );
}
