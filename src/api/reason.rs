//! Every reason that a condition can carry: what it means for each condition, and when the pass is tried again.
//!
//! One table, read by the status, the queue, the events and the metrics. The order of [`Reason`] is the order of
//! precedence: where several rows apply, the first one wins.

use std::time::Duration;

/// Why `Ready` has its status. The first row that applies wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    // ComplianceManagementPartner
    Cleaning,
    Suspended,
    ConnectionNotFound,
    ConnectionNotReady,
    Throttled,
    GraphUnavailable,
    PartnerConflict,
    TenantChanged,
    PartnerNotFound,
    PartnerAmbiguous,
    PermissionDenied,
    TenantNotLicensed,
    RejectedByGraph,
    Verifying,
    UpdateIneffective,
    UnsupportedTarget,
    DriftDetected,
    InSync,
    // GraphConnection
    Connected,
    SecretNotFound,
    SecretInvalid,
    ServiceAccountNotFound,
    ServiceAccountInvalid,
    AccessNotGranted,
    CredentialsRejected,
    PrincipalNotFound,
    TenantMismatch,
    IdentityNotAllowed,
}

/// What a row does to one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The condition becomes True.
    True,
    /// The condition becomes False.
    False,
    /// The condition becomes Unknown.
    Unknown,
    /// The whole condition stays, its observedGeneration too.
    AsItWas,
    /// The condition stays if it is True, else it is removed.
    TrueOrRemoved,
}

/// What a row does to kstatus' abnormal-true pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Neither is present.
    Neither,
    /// It may heal without an edit of the resource.
    Reconciling,
    /// Only an edit of the resource's own spec is sure to help.
    Stalled,
    /// As the GraphConnection has it.
    AsConnection,
}

/// When a pass that ended with a reason is tried again. A change of the resource always leads to a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only on a change of the resource or of what it refers to.
    OnChange,
    /// On a change; a backoff up to [`Timing::connection_cap`] covers a change that was missed.
    OnChangeOrSoon,
    /// After the resource's syncInterval.
    Poll,
    /// After [`Timing::slow`].
    Slow,
    /// After [`Timing::very_slow`].
    VerySlow,
    /// After the backoff, never under Retry-After.
    Backoff,
    /// After the next of [`Timing::grace`].
    Grace,
    /// After [`Timing::secret`]: what is missing may come without an event, a Secret or a ServiceAccount.
    Secret,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What becomes of `Ready`.
    pub ready: Effect,
    /// What becomes of `Synced`.
    pub synced: Effect,
    /// What becomes of `Reconciling` and `Stalled`.
    pub pair: Pair,
    /// When it is tried again.
    pub retry: Retry,
}

/// Whether this generation had been applied before trouble began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It had not.
    NotYet,
    /// It had, and the trouble is younger than [`Timing::unknown_after`].
    Recently,
    /// It had, and the trouble has lasted longer.
    LongAgo,
}

impl Reason {
    /// All reasons, in the table's order.
    pub const ALL: [Self; 28] = [
        Self::Cleaning,
        Self::Suspended,
        Self::ConnectionNotFound,
        Self::ConnectionNotReady,
        Self::Throttled,
        Self::GraphUnavailable,
        Self::PartnerConflict,
        Self::TenantChanged,
        Self::PartnerNotFound,
        Self::PartnerAmbiguous,
        Self::PermissionDenied,
        Self::TenantNotLicensed,
        Self::RejectedByGraph,
        Self::Verifying,
        Self::UpdateIneffective,
        Self::UnsupportedTarget,
        Self::DriftDetected,
        Self::InSync,
        Self::Connected,
        Self::SecretNotFound,
        Self::SecretInvalid,
        Self::ServiceAccountNotFound,
        Self::ServiceAccountInvalid,
        Self::AccessNotGranted,
        Self::CredentialsRejected,
        Self::PrincipalNotFound,
        Self::TenantMismatch,
        Self::IdentityNotAllowed,
    ];

    /// The word that stands in conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleaning => "Cleaning",
            Self::Suspended => "Suspended",
            Self::ConnectionNotFound => "ConnectionNotFound",
            Self::ConnectionNotReady => "ConnectionNotReady",
            Self::Throttled => "Throttled",
            Self::GraphUnavailable => "GraphUnavailable",
            Self::PartnerConflict => "PartnerConflict",
            Self::TenantChanged => "TenantChanged",
            Self::PartnerNotFound => "PartnerNotFound",
            Self::PartnerAmbiguous => "PartnerAmbiguous",
            Self::PermissionDenied => "PermissionDenied",
            Self::TenantNotLicensed => "TenantNotLicensed",
            Self::RejectedByGraph => "RejectedByGraph",
            Self::Verifying => "Verifying",
            Self::UpdateIneffective => "UpdateIneffective",
            Self::UnsupportedTarget => "UnsupportedTarget",
            Self::DriftDetected => "DriftDetected",
            Self::InSync => "InSync",
            Self::Connected => "Connected",
            Self::SecretNotFound => "SecretNotFound",
            Self::SecretInvalid => "SecretInvalid",
            Self::ServiceAccountNotFound => "ServiceAccountNotFound",
            Self::ServiceAccountInvalid => "ServiceAccountInvalid",
            Self::AccessNotGranted => "AccessNotGranted",
            Self::CredentialsRejected => "CredentialsRejected",
            Self::PrincipalNotFound => "PrincipalNotFound",
            Self::TenantMismatch => "TenantMismatch",
            Self::IdentityNotAllowed => "IdentityNotAllowed",
        }
    }

    /// The row of this reason. `applied` counts for trouble that passes by itself only: see [`Reason::is_transient`].
    #[must_use]
    pub const fn row(self, applied: Applied) -> Row {
        use Effect::{AsItWas, False, True, TrueOrRemoved, Unknown};
        let (ready, synced, pair, retry) = match self {
            Self::Cleaning => (False, AsItWas, Pair::Reconciling, Retry::Backoff),
            Self::Suspended => (TrueOrRemoved, Unknown, Pair::Neither, Retry::OnChange),
            Self::ConnectionNotFound => (False, Unknown, Pair::Reconciling, Retry::OnChangeOrSoon),
            Self::ConnectionNotReady => (False, Unknown, Pair::AsConnection, Retry::OnChange),
            Self::Throttled | Self::GraphUnavailable => match applied {
                Applied::NotYet => (False, Unknown, Pair::Reconciling, Retry::Backoff),
                Applied::Recently => (AsItWas, AsItWas, Pair::Neither, Retry::Backoff),
                Applied::LongAgo => (Unknown, Unknown, Pair::Reconciling, Retry::Backoff),
            },
            Self::PartnerConflict => (False, Unknown, Pair::Reconciling, Retry::Poll),
            Self::TenantChanged | Self::PartnerNotFound | Self::PartnerAmbiguous => {
                (False, Unknown, Pair::Stalled, Retry::Poll)
            }
            Self::PermissionDenied => (False, Unknown, Pair::Reconciling, Retry::Slow),
            Self::TenantNotLicensed => (False, Unknown, Pair::Reconciling, Retry::VerySlow),
            Self::RejectedByGraph | Self::UpdateIneffective => (False, False, Pair::Stalled, Retry::Slow),
            Self::Verifying => (False, False, Pair::Reconciling, Retry::Grace),
            Self::UnsupportedTarget => (False, False, Pair::Stalled, Retry::Poll),
            Self::DriftDetected => (True, False, Pair::Neither, Retry::Poll),
            Self::InSync | Self::Connected => (True, True, Pair::Neither, Retry::Poll),
            // A refused credential is sent no more often than its backoff allows, which the session keeps; its Secret is
            // looked at meanwhile.
            Self::SecretNotFound
            | Self::SecretInvalid
            | Self::ServiceAccountNotFound
            | Self::ServiceAccountInvalid
            | Self::AccessNotGranted
            | Self::CredentialsRejected => (False, Unknown, Pair::Reconciling, Retry::Secret),
            Self::PrincipalNotFound => (False, Unknown, Pair::Reconciling, Retry::Backoff),
            Self::TenantMismatch => (False, Unknown, Pair::Stalled, Retry::Slow),
            // The namespaces are given at start.
            Self::IdentityNotAllowed => (False, Unknown, Pair::Stalled, Retry::OnChange),
        };
        Row {
            ready,
            synced,
            pair,
            retry,
        }
    }

    /// Whether the trouble is expected to pass by itself, so that a verdict from before it is kept for a while.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::GraphUnavailable)
    }

    /// Whether a `GraphConnection` alone can have it.
    #[must_use]
    pub fn is_of_connection(self) -> bool {
        self >= Self::Connected
    }

    /// Reads a reason back from a condition.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Every wait of the operator. The binary sets the sync interval alone; tests of the library shrink the others.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The syncInterval of resources that have none, and how often a connection without partners lists: 1 s to 24 h.
    pub sync_interval: Duration,
    /// See [`Retry::Slow`].
    pub slow: Duration,
    /// See [`Retry::VerySlow`].
    pub very_slow: Duration,
    /// The reads after a change that Graph has taken but does not show yet.
    pub grace: [Duration; 3],
    /// The first step of the backoff; it doubles from there.
    pub backoff: Duration,
    /// The last step of the backoff.
    pub backoff_cap: Duration,
    /// The last step of the backoff while a GraphConnection is missing.
    pub connection_cap: Duration,
    /// How often what `auth` names, a Secret or a ServiceAccount, is looked at while a connection waits for it; and how long a
    /// namespace is waited for that the operator may not list.
    pub secret: Duration,
    /// The first step of the backoff for refused credentials.
    pub credentials: Duration,
    /// The last step of the backoff for refused credentials.
    pub credentials_cap: Duration,
    /// How long a verdict is kept through transient trouble before it becomes Unknown.
    pub unknown_after: Duration,
    /// The bound on one pass, its waits for Graph and the API server included.
    pub pass: Duration,
    /// The bound on one request to Graph or Entra.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Self {
            sync_interval: minutes(10),
            slow: minutes(15),
            very_slow: minutes(60),
            grace: [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)],
            backoff: Duration::from_secs(2),
            backoff_cap: minutes(5),
            connection_cap: minutes(1),
            secret: Duration::from_secs(15),
            credentials: minutes(1),
            credentials_cap: minutes(30),
            unknown_after: minutes(15),
            pass: minutes(3),
            request: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_and_fits_the_condition_schema() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert!(reason.as_str().chars().all(|letter| letter.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn no_row_that_is_ready_is_reconciling_or_stalled() {
        for reason in Reason::ALL {
            for applied in [Applied::NotYet, Applied::Recently, Applied::LongAgo] {
                let row = reason.row(applied);
                if row.ready == Effect::True {
                    assert_eq!(row.pair, Pair::Neither, "{reason:?}");
                }
                if row.ready == Effect::False {
                    assert_ne!(row.pair, Pair::Neither, "{reason:?} leaves kstatus without a verdict");
                }
            }
        }
    }
}
