//! What passes remember of a partner between one and the next. Lost with the process, and never needed to be right: it
//! spares requests and writes.

use std::collections::HashMap;
use std::time::Instant;

use super::report::Ending;
use crate::api::partner::ComplianceManagementPartnerStatus;
use crate::partner::report::Deeds;
use crate::runtime::backoff::Backoff;
use crate::runtime::object::{Request, Written};

/// What passes remember of a partner. It goes with the object.
#[derive(Clone, Debug, Default)]
pub struct PartnerMemory {
    /// The last write of status, until the watch has caught up with it.
    pub written: Option<Written<ComplianceManagementPartnerStatus>>,
    /// The waits after failures.
    pub backoff: Backoff,
    /// Since when Graph cannot be read.
    pub trouble_since: Option<Instant>,
    /// The start of the listing that the last poll was answered from, or of the last read by id.
    pub read_at: Option<Instant>,
    /// A change that Graph has taken but does not show.
    pub unverified: Option<Unverified>,
    /// When the last pass ended Ready, in Unix time.
    pub last_success: Option<f64>,
    /// When drift was corrected within the last hour, oldest first, by field: at most three each.
    pub corrections: HashMap<&'static str, Vec<Instant>>,
    /// The generation and the request that the last pass acted on, also where its status could not be written.
    pub handled: Option<(i64, Option<Request>)>,
    /// The waits after writes of status that failed.
    pub write_backoff: Backoff,
    /// The generation that was last found in sync by this process.
    pub applied: Option<i64>,
    /// Since when another resource waits for the object of this one, which is being deleted.
    pub heir_since: Option<Instant>,
    /// How the clean-up ended, where our finalizer is all that is left of it.
    pub ended: Option<Vec<Ending>>,
    /// Polls before this time are passed over: the last verdict asks for a longer wait.
    pub hold_until: Option<Instant>,
    /// What was done and is not told yet, because status could not be written.
    pub untold: Untold,
}

/// What passes did whose status could not be written.
#[derive(Clone, Debug, Default)]
pub struct Untold {
    /// What is to be told as events.
    pub deeds: Deeds,
    /// Whether a change took effect.
    pub updated: bool,
}

/// What Graph answered with success, and whose old value is still read.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The generation that it was sent for.
    pub generation: i64,
    /// How many of the grace reads have been made.
    pub reads: usize,
    /// What was sent, with the values that were read before: one that has moved since is no longer waited for.
    pub sent: Vec<super::plan::Change>,
}
