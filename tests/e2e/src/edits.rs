//! Somebody who edits a partner over and over, while its operator is replaced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use harness::wait_for;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Duration, interval};

use crate::stage::{PATIENCE, Stage};

/// Between two edits.
const PACE: Duration = Duration::from_millis(150);

/// See the module. Each edit gives the partner the next number for a display name.
pub(crate) struct Edits {
    stop: Arc<AtomicBool>,
    editor: JoinHandle<Result<u64>>,
    /// The number before the first edit's.
    first: u64,
    /// The last request to Graph before the first edit.
    from: u64,
}

impl Edits {
    /// They begin now.
    pub(crate) fn of_jamf(stage: &Stage<'_>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let stop = Arc::new(AtomicBool::new(false));
        let (from, partners) = (stage.graph().last_seq(), stage.cluster.partners());
        // Those before had less than a thousand.
        let first = NEXT.fetch_add(1_000, Ordering::Relaxed);
        Self {
            editor: tokio::spawn(edit(partners, first, Arc::clone(&stop))),
            stop,
            first,
            from,
        }
    }

    /// No more of them. All that were made have come to Graph: it has the last one, each change was one, and was sent once.
    ///
    /// # Errors
    /// If an edit was lost or sent twice.
    pub(crate) async fn arrive(self, stage: &Stage<'_>) -> Result<String> {
        let told = self.arrive_in_order(stage).await?;
        ensure!(told.repeated == 0, "{} edits were sent twice", told.repeated);
        Ok(format!("{told}, none twice"))
    }

    /// The same where two operators may be at work for a moment: an edit may be sent by both, but none after a later one.
    ///
    /// # Errors
    /// If an edit was lost, or undone.
    pub(crate) async fn arrive_in_order(self, stage: &Stage<'_>) -> Result<Arrived> {
        self.stop.store(true, Ordering::Relaxed);
        let first = self.first;
        let last = self.editor.await??;
        stage.ready("jamf").await?;
        wait_for("the last edit in Graph", PATIENCE, async || {
            stage.row_has("displayName", &json!(name(last)))
        })
        .await?;
        let patches = stage.patches_since(self.from);
        let (mut heard, mut latest, mut repeated) = (first, first, 0);
        for patch in &patches {
            // A process that was killed has not waited for its answer, and nobody knows what became of the change.
            let unheard = patch.aborted && patch.status.is_none();
            ensure!(
                patch.status == Some(200) || unheard,
                "a change was answered {:?}",
                patch.status
            );
            ensure!(
                patch.properties() == ["displayName"],
                "a change of {:?}",
                patch.properties()
            );
            let value = patch.body.as_ref().and_then(|body| body.get("displayName"));
            let number = value.and_then(|value| value.as_str()?.strip_prefix(PREFIX)?.parse().ok());
            let number: u64 = number.with_context(|| format!("displayName was set to {value:?}"))?;
            ensure!(number >= heard, "edit {number} was sent after edit {heard}");
            repeated += usize::from(number == heard);
            heard = if unheard { heard } else { number };
            latest = number;
        }
        ensure!(latest == last, "the last PATCH was of edit {latest}, not {last}");
        Ok(Arrived {
            edits: last - first,
            patches: patches.len(),
            repeated,
        })
    }
}

/// What became of the edits.
pub(crate) struct Arrived {
    edits: u64,
    patches: usize,
    /// How many changes were of the same edit as the one before.
    pub(crate) repeated: usize,
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { edits, patches, .. } = self;
        write!(
            f,
            "{edits} edits came meanwhile: {patches} PATCHes in their order, the last of the last edit"
        )
    }
}

/// How the names begin that edits give.
const PREFIX: &str = "Edit ";

fn name(number: u64) -> String {
    format!("{PREFIX}{number}")
}

/// Gives the number of the last edit.
async fn edit(partners: Api<ComplianceManagementPartner>, mut number: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut pace = interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        number += 1;
        let change = json!({"spec": {"displayName": name(number)}});
        let change = Patch::Merge(change);
        partners
            .patch("jamf", &PatchParams::default(), &change)
            .await
            .context("an edit")?;
    }
    Ok(number)
}
