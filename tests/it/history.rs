//! All that somebody sees who watches the partners of a namespace, and what holds of it whatever happens.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, Condition, condition};
use futures::{StreamExt as _, pin_mut};
use harness::{PATIENCE, World, wait_for};
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A condition of a partner.
pub fn of(partner: &ComplianceManagementPartner, kind: &str) -> Option<Condition> {
    condition(&partner.status.as_ref()?.conditions, kind).cloned()
}

/// A part of an object, as `kubectl get -o json` shows it.
pub fn at<K: serde::Serialize>(object: &K, path: &str) -> Value {
    let object = serde_json::to_value(object).unwrap_or_default();
    object.pointer(path).cloned().unwrap_or_default()
}

/// The versions of all partners of a world's namespace, in their order, from when it was made.
pub struct History {
    seen: Arc<Mutex<Vec<ComplianceManagementPartner>>>,
    watching: JoinHandle<()>,
}

impl History {
    /// Begins to watch.
    pub async fn of(world: &World) -> anyhow::Result<Self> {
        let api = world.partners();
        // A kind that was installed a moment ago is served, and not listed yet.
        let from = wait_for("a list to begin from", PATIENCE, async || {
            api.list(&ListParams::default())
                .await?
                .metadata
                .resource_version
                .context("no version")
        })
        .await?;
        let seen: Arc<Mutex<Vec<ComplianceManagementPartner>>> = Arc::default();
        let versions = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            let Ok(events) = api.watch(&WatchParams::default().timeout(290), &from).await else {
                return;
            };
            pin_mut!(events);
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(partner) | WatchEvent::Modified(partner) = event {
                    versions.lock().unwrap_or_else(PoisonError::into_inner).push(partner);
                }
            }
        });
        Ok(Self { seen, watching })
    }

    /// The versions of one partner, once this one is among them.
    pub async fn until(&self, last: &ComplianceManagementPartner) -> anyhow::Result<Vec<ComplianceManagementPartner>> {
        let (name, version) = (&last.metadata.name, &last.metadata.resource_version);
        wait_for("the version in the watch", PATIENCE, async || {
            ensure!(!self.watching.is_finished(), "the watch has ended");
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let of_it = seen.iter().filter(|partner| partner.metadata.name == *name);
            let versions: Vec<_> = of_it.cloned().collect();
            ensure!(
                versions
                    .iter()
                    .any(|partner| partner.metadata.resource_version == *version),
                "{} other versions",
                versions.len()
            );
            Ok(versions)
        })
        .await
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Checks what holds of all versions of a partner, and of whoever had its name before, however they fare.
pub fn check(versions: &[ComplianceManagementPartner]) -> anyhow::Result<()> {
    let generation = |partner: &ComplianceManagementPartner| partner.metadata.generation.unwrap_or_default();
    let observed = |partner: &ComplianceManagementPartner| {
        let status = partner.status.as_ref();
        status.and_then(|status| status.observed_generation).unwrap_or(-1)
    };
    for partner in versions {
        let conditions = partner.status.as_ref().map(|status| status.conditions.as_slice());
        ensure!(
            observed(partner) <= generation(partner),
            "of a generation to come: {partner:#?}"
        );
        for condition in conditions.unwrap_or_default() {
            let judged = condition.observed_generation;
            ensure!(
                judged.is_some_and(|judged| (1..=observed(partner)).contains(&judged)),
                "{}: {judged:?} in a status of {}",
                condition.r#type,
                observed(partner)
            );
        }
        ensure!(
            of(partner, "Reconciling").is_none() || of(partner, "Stalled").is_none(),
            "on its way and stuck: {partner:#?}"
        );
    }
    for (before, after) in versions.iter().zip(versions.iter().skip(1)) {
        if before.metadata.uid != after.metadata.uid {
            continue;
        }
        ensure!(
            observed(before) <= observed(after),
            "{} after {}",
            observed(after),
            observed(before)
        );
        for condition in after.status.iter().flat_map(|status| &status.conditions) {
            let Some(was) = of(before, &condition.r#type) else {
                continue;
            };
            let moved = was.last_transition_time != condition.last_transition_time;
            ensure!(
                !moved || was.status != condition.status,
                "the transition time of {} moved without its status",
                condition.r#type
            );
            let told = was.observed_generation == condition.observed_generation;
            ensure!(
                told || condition.observed_generation == Some(observed(after)),
                "{} was judged for a generation that no pass has seen",
                condition.r#type
            );
        }
    }
    Ok(())
}
