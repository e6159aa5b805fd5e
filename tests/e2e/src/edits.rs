//! Somebody who edits a partner over and over, while its operator is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// See the module. Each edit is the opposite of the one before.
pub(crate) struct Edits {
    stop: Arc<AtomicBool>,
    editor: JoinHandle<Result<Edited>>,
    /// The last request to Graph before the first edit.
    from: u64,
}

/// What was done.
struct Edited {
    count: u32,
    last: bool,
}

impl Edits {
    /// They begin now.
    pub(crate) fn of_jamf(stage: &Stage<'_>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (from, partners) = (stage.graph().last_seq(), stage.cluster.partners());
        Self {
            editor: tokio::spawn(edit(partners, Arc::clone(&stop))),
            stop,
            from,
        }
    }

    /// No more of them. All that were made have come to Graph: it has the last one, each change was one, and was sent once.
    ///
    /// # Errors
    /// If an edit was lost or sent twice.
    pub(crate) async fn arrive(self, stage: &Stage<'_>) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let Edited { count, last } = self.editor.await??;
        stage.ready("jamf").await?;
        wait_for("the last edit in Graph", PATIENCE, async || {
            stage.row_has("iosOnboarded", last)
        })
        .await?;
        let patches = stage.patches_since(self.from);
        let mut before = None;
        for patch in &patches {
            // A process that was killed has not waited for its answer.
            let unheard = patch.aborted && patch.status.is_none();
            ensure!(
                patch.status == Some(200) || unheard,
                "a change was answered {:?}",
                patch.status
            );
            ensure!(
                patch.properties() == ["iosOnboarded"],
                "a change of {:?}",
                patch.properties()
            );
            let value = patch.body.as_ref().and_then(|body| body.get("iosOnboarded")).cloned();
            ensure!(value != before, "iosOnboarded was set to {value:?} twice in a row");
            before = value;
        }
        ensure!(!patches.is_empty(), "Graph was sent no change for {count} edits");
        Ok(format!(
            "{count} edits came meanwhile: {} PATCHes, none twice, and the last edit is in Graph",
            patches.len()
        ))
    }
}

async fn edit(partners: Api<ComplianceManagementPartner>, stop: Arc<AtomicBool>) -> Result<Edited> {
    let mut pace = interval(PACE);
    let mut edited = Edited { count: 0, last: false };
    let now = partners.get("jamf").await?;
    edited.last = now.spec.ios_onboarded.unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let next = !edited.last;
        let change = json!({"spec": {"iosOnboarded": next}});
        partners
            .patch("jamf", &PatchParams::default(), &Patch::Merge(change))
            .await
            .context("an edit")?;
        edited = Edited {
            count: edited.count + 1,
            last: next,
        };
    }
    Ok(edited)
}
