//! What is told as events (pure): the status before and after, and what the pass did.

use super::status::STALE;
use crate::api::partner::ComplianceManagementPartnerStatus as Status;
use crate::api::{Condition, ConditionStatus, condition};
use crate::runtime::events::Notice;

/// What a pass did that status does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// The fields that were changed in Graph, and whether drift was the cause (else an edit).
    pub updated: Option<(String, bool)>,
    /// The id that the resource was bound to before.
    pub rebound_from: Option<String>,
    /// The fields that were corrected for the third time within an hour.
    pub contested: Option<String>,
}

impl Deeds {
    /// These, and of the earlier ones whatever these do not replace.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        Self {
            updated: self.updated.or(earlier.updated),
            rebound_from: self.rebound_from.or(earlier.rebound_from),
            contested: self.contested.or(earlier.contested),
        }
    }
}

/// All notices of a pass.
#[must_use]
pub fn notices(previous: &Status, next: &Status, deeds: &Deeds) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some((fields, drift)) = &deeds.updated {
        let cause = if *drift {
            "Graph had drifted from spec"
        } else {
            "spec was edited"
        };
        notices.push(Notice {
            warning: false,
            reason: "Updated".to_owned(),
            action: "Update",
            note: format!("Changed in Graph: {fields}. Cause: {cause}."),
        });
    }
    if let Some(fields) = &deeds.contested {
        notices.push(Notice {
            warning: true,
            reason: "Contested".to_owned(),
            action: "Update",
            note: format!(
                "Corrected three times within an hour: {fields}. Somebody else changes the same object: another \
                 cluster, a tool or a person. Let one of them observe only."
            ),
        });
    }
    if let (Some(from), Some(to)) = (&deeds.rebound_from, &next.partner_id) {
        notices.push(Notice {
            warning: true,
            reason: "PartnerRebound".to_owned(),
            action: "Bind",
            note: format!("The object {from} is gone from the tenant; {to} has the same display name and is used now."),
        });
    }
    if let (Some(from), Some(to)) = (&previous.partner_state, &next.partner_state)
        && from != to
    {
        notices.push(Notice {
            warning: to != "enabled",
            reason: "PartnerStateChanged".to_owned(),
            action: "Observe",
            note: format!("The partner's state was {from} and is {to}."),
        });
    }
    let stale = |status: &Status| {
        condition(&status.conditions, "HeartbeatFresh").is_some_and(|fresh| fresh.status == ConditionStatus::False)
    };
    if stale(next) && !stale(previous) {
        notices.push(Notice {
            warning: true,
            reason: "HeartbeatStale".to_owned(),
            action: "Observe",
            note: STALE.to_owned(),
        });
    }
    notices.extend(ready_turned_false(&previous.conditions, &next.conditions));
    notices
}

/// How a clean-up ended, as far as it is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// These fields were reset.
    Reset(String),
    /// These lists were left alone.
    Unsupported(String),
    /// The connection leads to another tenant than that of the object: nothing was sent.
    OtherTenant,
    /// What the clean-up went by was gone for too long.
    Abandoned(String),
}

/// What is told of the end of a clean-up.
#[must_use]
pub fn ending(ending: Ending) -> Notice {
    let (warning, reason, note) = match ending {
        Ending::Reset(fields) => (false, "Reset", format!("Reset in Graph before deletion: {fields}.")),
        Ending::Unsupported(lists) => (
            true,
            "CleanupSkipped",
            format!(
                "Left as they are in Graph, for they hold what this API version cannot express: {lists}. Clear them in \
                 the Intune admin center if they are not wanted."
            ),
        ),
        Ending::OtherTenant => (
            true,
            "CleanupSkipped",
            "Nothing was reset: the GraphConnection is for another tenant than the object that this resource was bound \
             to. Reset it in the Intune admin center of its tenant if that is wanted."
                .to_owned(),
        ),
        Ending::Abandoned(why) => (
            true,
            "CleanupAbandoned",
            format!(
                "Let go without a Reset: {why} The object in Graph is as it was; reset it in the Intune admin center if \
                 that is wanted."
            ),
        ),
    };
    Notice {
        warning,
        reason: reason.to_owned(),
        action: "Delete",
        note,
    }
}

/// The notice that `Ready` has turned False, or has stayed so for another reason.
#[must_use]
pub fn ready_turned_false(previous: &[Condition], next: &[Condition]) -> Option<Notice> {
    let ready = condition(next, "Ready").filter(|ready| ready.status == ConditionStatus::False)?;
    let was = condition(previous, "Ready");
    if was.is_some_and(|was| was.status == ConditionStatus::False && was.reason == ready.reason) {
        return None;
    }
    Some(Notice {
        warning: true,
        reason: ready.reason.clone(),
        action: "Reconcile",
        note: ready.message.clone(),
    })
}

#[cfg(test)]
mod tests;
