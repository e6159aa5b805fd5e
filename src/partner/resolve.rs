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

fn stop(finding: Finding) -> Resolved {
    Resolved::Stop(Box::new(finding))
}

/// Finds the session and the binding.
#[must_use]
pub fn resolve(ctx: &Context, pass: &Pass) -> Resolved {
    let object = &pass.object;
    if object.spec.suspend == Some(true) {
        let message = "Suspended by spec.suspend: Graph is neither read nor written.";
        return stop(Finding::new(Reason::Suspended, message));
    }
    let name = &object.spec.connection_ref.name;
    let (connection, enforce) = {
        let index = ctx.index.lock();
        let connection = index.connection_used_by(object).cloned();
        (connection, index.enforces(object))
    };
    let Some(connection) = connection else {
        let message = format!("GraphConnection {name} does not exist in this namespace: create it.");
        return stop(Finding::new(Reason::ConnectionNotFound, message));
    };
    let Some(verdict) = ctx.sessions.verdict_of(&connection) else {
        return Resolved::Wait;
    };
    let trouble = match verdict.reason {
        Reason::Connected => None,
        reason if reason.is_transient() => Some(verdict),
        _ => return stop(not_ready(name, &verdict)),
    };
    let Some(open) = ctx.sessions.get(&connection) else {
        return Resolved::Wait;
    };
    let status = &pass.status;
    if let Some(bound) = &status.partner_id {
        let (tenant, cloud) = (status.tenant_id.as_deref(), status.cloud.as_deref());
        if tenant != Some(open.tenant.as_str()) || cloud != Some(open.cloud.name()) {
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
    Resolved::Go(Target {
        session: open.session,
        cloud: open.cloud.name(),
        tenant: open.tenant,
        bound: status.partner_id.clone(),
        enforce,
        trouble,
    })
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
