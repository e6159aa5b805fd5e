//! Which session, and which object of which tenant. Asks nobody: all comes from the index and the sessions.

use std::sync::Arc;

use super::{Finding, Pass};
use crate::api::reason::{Applied, Reason};
use crate::connection::ConnectionVerdict;
use crate::graph::session::Session;
use crate::runtime::context::Context;

/// Where the pass goes on.
pub struct Target {
    /// The connection's session.
    pub session: Arc<Session>,
    /// The name of the cloud.
    pub cloud: &'static str,
    /// The tenant's id.
    pub tenant: String,
    /// The id that the resource is bound to.
    pub bound: Option<String>,
    /// Whether Graph may be written to: Enforce is in effect.
    pub enforce: bool,
    /// Trouble of the connection's last pass that passes by itself.
    pub trouble: Option<ConnectionVerdict>,
}

/// What the step has come to.
pub enum Resolved {
    /// The pass goes on.
    Go(Target),
    /// The pass ends.
    Stop(Box<Finding>),
    /// The connection has not been looked at yet.
    Wait,
}

/// What is known of the connection that a resource names.
pub(super) struct Known {
    /// Whether it is there.
    pub(super) exists: bool,
    /// What its last pass has come to; `None` before the first one.
    pub(super) verdict: Option<ConnectionVerdict>,
    /// The cloud and the tenant that its session is for, where it has one.
    pub(super) leads_to: Option<(&'static str, String)>,
}

/// What the step comes to, but for the session.
pub(super) enum Way {
    /// The pass goes on, with trouble of the connection's last pass that passes by itself.
    Go(Option<ConnectionVerdict>),
    /// The pass ends.
    Stop(Box<Finding>),
    /// The connection has not been looked at yet.
    Wait,
}

fn stop(finding: Finding) -> Way {
    Way::Stop(Box::new(finding))
}

/// Finds the session and the binding.
#[must_use]
pub fn resolve(ctx: &Context, pass: &Pass) -> Resolved {
    let (connection, enforce) = {
        let index = ctx.index.lock();
        let connection = index.connection_used_by(&pass.object).cloned();
        (connection, index.enforces(&pass.object))
    };
    let connection = connection.as_ref();
    let open = connection.and_then(|connection| ctx.sessions.get(connection));
    let known = Known {
        exists: connection.is_some(),
        verdict: connection.and_then(|connection| ctx.sessions.verdict_of(connection)),
        leads_to: open.as_ref().map(|open| (open.cloud.name(), open.tenant.clone())),
    };
    match (way(pass, known), open) {
        (Way::Go(trouble), Some(open)) => Resolved::Go(Target {
            session: open.session,
            cloud: open.cloud.name(),
            tenant: open.tenant,
            bound: pass.status.partner_id.clone(),
            enforce,
            trouble,
        }),
        (Way::Stop(finding), _) => Resolved::Stop(finding),
        (Way::Go(_) | Way::Wait, _) => Resolved::Wait,
    }
}

/// Whether the pass goes on (pure).
pub(super) fn way(pass: &Pass, known: Known) -> Way {
    let object = &pass.object;
    if object.spec.suspend == Some(true) {
        let message = "Suspended by spec.suspend: Graph is neither read nor written.";
        return stop(Finding::new(Reason::Suspended, message));
    }
    let name = &object.spec.connection_ref.name;
    if !known.exists {
        let message = format!("GraphConnection {name} does not exist in this namespace: create it.");
        return stop(Finding::new(Reason::ConnectionNotFound, message));
    }
    let Some(verdict) = known.verdict else {
        return Way::Wait;
    };
    let trouble = match verdict.reason {
        Reason::Connected => None,
        reason if reason.is_transient() => Some(verdict),
        _ => return stop(not_ready(name, &verdict)),
    };
    let Some((leads_to_cloud, leads_to_tenant)) = known.leads_to else {
        return Way::Wait;
    };
    let status = &pass.status;
    if let Some(bound) = &status.partner_id {
        let (tenant, cloud) = (status.tenant_id.as_deref(), status.cloud.as_deref());
        if tenant != Some(leads_to_tenant.as_str()) || cloud != Some(leads_to_cloud) {
            // Trouble that passes by itself comes first, here as everywhere.
            if let Some(ConnectionVerdict { reason, message }) = trouble {
                return stop(Finding::new(reason, message));
            }
            let message = format!(
                "The resource is bound to {bound} of tenant {} ({}), but GraphConnection {name} is now for another tenant. \
                 Put the connection back, or create this resource anew.",
                tenant.unwrap_or("unknown"),
                cloud.unwrap_or("unknown")
            );
            return stop(Finding::gone(Reason::TenantChanged, message));
        }
    }
    Way::Go(trouble)
}

fn not_ready(connection: &str, verdict: &ConnectionVerdict) -> Finding {
    let message = format!(
        "GraphConnection {connection} is not ready ({}): {}",
        verdict.reason.as_str(),
        verdict.message
    );
    let pair = verdict.reason.row(Applied::NotYet).pair;
    Finding {
        connection_pair: pair,
        ..Finding::new(Reason::ConnectionNotReady, message)
    }
}

/// Whether the session that a pass goes by is still that of its connection as it is now.
#[must_use]
pub fn session_is_current(ctx: &Context, pass: &Pass) -> bool {
    let connection = ctx.index.lock().connection_used_by(&pass.object).cloned();
    connection.is_some_and(|connection| ctx.sessions.get(&connection).is_some())
}
