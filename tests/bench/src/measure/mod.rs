//! What is measured, one file each.

mod cold;
mod edits;
mod idle;
mod memory;
mod start;
mod storm;

use anyhow::Result;

use crate::settings::Settings;
use crate::table::Row;

/// A measure: some rows of the table that are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// From exec to the end of the first pass.
    Start,
    /// Resident memory.
    Memory,
    /// From a cold start to all Ready, and from a restart to all looked at.
    Cold,
    /// From an edit to the PATCH, while resources in sync are polled.
    EditsResync,
    /// From an edit to the PATCH, while other resources get their first status.
    EditsFirst,
    /// What polls cost that find nothing new.
    Idle,
    /// How fast a storm of edits is written under Microsoft's limits.
    Throttle,
}

impl Measure {
    /// All measures, in the order of the table.
    pub(crate) const ALL: [Self; 7] = [
        Self::Start,
        Self::Memory,
        Self::Cold,
        Self::EditsResync,
        Self::EditsFirst,
        Self::Idle,
        Self::Throttle,
    ];

    /// For `BENCH_ONLY`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Memory => "memory",
            Self::Cold => "cold",
            Self::EditsResync => "edits-resync",
            Self::EditsFirst => "edits-first",
            Self::Idle => "idle",
            Self::Throttle => "throttle",
        }
    }

    /// Whether it is taken where none is named. What is not takes its minutes, whatever the operator is like.
    pub(crate) fn is_usual(self) -> bool {
        self != Self::Throttle
    }

    /// Takes it.
    ///
    /// # Errors
    /// If there is no figure.
    pub(crate) async fn take(self, settings: &Settings) -> Result<Vec<Row>> {
        match self {
            Self::Start => start::take(settings).await,
            Self::Memory => memory::take(settings).await,
            Self::Cold => cold::take(settings).await,
            Self::EditsResync => edits::while_resyncing(settings).await,
            Self::EditsFirst => edits::while_written_first(settings).await,
            Self::Idle => idle::take(settings).await,
            Self::Throttle => storm::take(settings).await,
        }
    }
}
