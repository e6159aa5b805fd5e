//! Trouble of a session in a user's words (pure): which reason, and what to do. Goes by the kinds of failure alone.

use std::time::Duration;

use crate::api::reason::Reason;
use crate::graph::error::{Failure, FailureKind, READ_ROLES, TokenFailureKind, WRITE_ROLES};
use crate::graph::session::{CredentialFailure, Trouble};
use crate::graph::throttle::LONGEST_CLOSE;

/// What is told of some trouble.
pub struct Told {
    /// The reason.
    pub reason: Reason,
    /// What happened and what to do; stable.
    pub message: String,
    /// The pause that was asked for.
    pub retry_after: Option<Duration>,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write.
    Write,
    /// To read, over a connection that is also to write.
    Read,
    /// To read, over a connection with `access: ReadOnly`, which needs no role to write.
    ReadOnly,
}

/// Puts trouble of a session in a user's words. `roles` are the token's, `purpose` what the request was for.
#[must_use]
pub fn tell(trouble: &Trouble, roles: Option<&[String]>, purpose: Purpose) -> Told {
    // Beyond an hour, one request an hour looks.
    let told = |reason, message: String, retry_after: Option<Duration>| Told {
        reason,
        message,
        retry_after: retry_after.map(|wait| wait.min(LONGEST_CLOSE)),
    };
    match trouble {
        Trouble::Credential(CredentialFailure::NotFound(message) | CredentialFailure::KeyNotFound(message)) => {
            told(Reason::SecretNotFound, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::Invalid(message)) => told(Reason::SecretInvalid, message.clone(), None),
        Trouble::Credential(CredentialFailure::AccountNotFound(message)) => {
            told(Reason::ServiceAccountNotFound, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::AccountInvalid(message)) => {
            told(Reason::ServiceAccountInvalid, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::NotGranted(message)) => {
            told(Reason::AccessNotGranted, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::Unavailable(message)) => {
            told(Reason::GraphUnavailable, message.clone(), None)
        }
        Trouble::Token(failure) => {
            let reason = match failure.kind {
                TokenFailureKind::Rejected => Reason::CredentialsRejected,
                TokenFailureKind::Throttled => Reason::Throttled,
                TokenFailureKind::Unavailable => Reason::GraphUnavailable,
            };
            told(reason, failure.message.clone(), failure.retry_after)
        }
        Trouble::TenantMismatch => told(
            Reason::TenantMismatch,
            "Entra's token is for another tenant than spec.tenantId: create the connection anew with the right tenant."
                .to_owned(),
            None,
        ),
        Trouble::Superseded => {
            let message = "The resource changed while it was worked on; it is looked at again.".to_owned();
            told(Reason::GraphUnavailable, message, None)
        }
        Trouble::Graph(failure) => {
            let (reason, message) = tell_failure(failure, roles, purpose);
            told(reason, message, failure.retry_after)
        }
    }
}

fn tell_failure(failure: &Failure, roles: Option<&[String]>, purpose: Purpose) -> (Reason, String) {
    let scrubbed = &failure.message;
    match failure.kind {
        FailureKind::Unauthorized | FailureKind::Forbidden if failure.code == "InvalidAuthenticationToken" => (
            Reason::PermissionDenied,
            format!(
                "Graph does not take the token that Entra has just given: check spec.cloud, the clock of the operator's \
                 node and the tenant's Conditional Access. Graph says: {scrubbed}"
            ),
        ),
        FailureKind::Unauthorized | FailureKind::Forbidden => {
            (Reason::PermissionDenied, permission_denied(scrubbed, roles, purpose))
        }
        FailureKind::NotLicensed => (
            Reason::TenantNotLicensed,
            "The tenant has no active Intune licence, or no MDM authority is set: mend that in the Intune admin center."
                .to_owned(),
        ),
        FailureKind::PrincipalNotFound => (
            Reason::PrincipalNotFound,
            "Graph does not know the app's service principal yet. A new one takes some minutes; if it stays so, create \
             the enterprise application in this tenant."
                .to_owned(),
        ),
        FailureKind::Throttled => {
            (Reason::Throttled, "Microsoft asks for a pause; the operator goes on when it is over.".to_owned())
        }
        FailureKind::Unavailable | FailureKind::Lost | FailureKind::PreconditionFailed => {
            (Reason::GraphUnavailable, format!("{}. It is tried again.", scrubbed.trim_end_matches('.')))
        }
        FailureKind::NotFound | FailureKind::Rejected => {
            (Reason::RejectedByGraph, format!("Graph refuses the request: {scrubbed}"))
        }
    }
}

/// Goes by the token's own roles, not by Graph's sentence. Who may not even read is told what writing takes too, or the
/// first advice would lead to a second refusal.
fn permission_denied(scrubbed: &str, roles: Option<&[String]>, purpose: Purpose) -> String {
    let needed: &[&str] = match purpose {
        Purpose::Write => &WRITE_ROLES,
        Purpose::Read | Purpose::ReadOnly => &READ_ROLES,
    };
    let ([to_write, ..], [to_read, ..]) = (WRITE_ROLES, READ_ROLES);
    match roles {
        Some(roles) if roles.iter().any(|role| needed.contains(&role.as_str())) => format!(
            "Graph refuses app-only access here although the app has the role that is needed; nothing can be granted. \
             Graph says: {scrubbed}"
        ),
        // A token that does not decode does not tell.
        None if purpose == Purpose::ReadOnly => format!(
            "Graph refuses the app: check that it has the application permission {to_read}, with admin consent. Graph says: \
             {scrubbed}"
        ),
        None => format!(
            "Graph refuses the app: check that it has the application permission {to_write}, or {to_read} with access: \
             ReadOnly, with admin consent. Graph says: {scrubbed}"
        ),
        Some(_) if purpose == Purpose::ReadOnly => format!(
            "The app lacks the application permission {to_read}: add it to the app registration and grant admin consent. \
             A connection with access: ReadOnly needs no more."
        ),
        Some(_) => format!(
            "The app lacks the application permission {to_write}: add it to the app registration and grant admin consent. \
             For a connection that only reads, access: ReadOnly and {to_read} are enough."
        ),
    }
}
