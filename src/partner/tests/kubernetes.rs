//! The API server as far as the operator sees it: objects, writes of status, and what the watches bring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::api::connection::GraphConnectionStatus;
use crate::api::partner::ComplianceManagementPartnerStatus as Status;
use crate::api::{Condition, ConditionStatus, condition};
use crate::partner::plan::tests::schema;
use crate::runtime::object::{Connection, Key, ObjectKey, Partner, Written};
use crate::runtime::write::NotWritten;

/// What a watch brings.
#[derive(Clone, Debug)]
pub(super) enum Event<O> {
    Put(O),
    Gone(ObjectKey),
}

/// The objects, with what the watches have yet to bring of them.
#[derive(Debug, Default)]
pub(super) struct Kubernetes {
    pub(super) partners: BTreeMap<ObjectKey, Partner>,
    pub(super) connections: BTreeMap<ObjectKey, Connection>,
    pub(super) partner_events: VecDeque<Event<Partner>>,
    pub(super) connection_events: VecDeque<Event<Connection>>,
    /// Whether the installed CRD is from before `status.platforms`.
    pub(super) older_crd: bool,
    /// So many writes of status are refused.
    pub(super) refuses: u8,
    /// The answers to so many writes of status are lost.
    pub(super) loses: u8,
    /// Writes of status that were taken.
    pub(super) writes: usize,
    /// Whose last write has no answer yet, or none that came through: it may be made again.
    pub(super) unanswered: BTreeSet<Key>,
    version: u64,
    uids: u32,
}

impl Kubernetes {
    pub(super) fn next_uid(&mut self) -> u32 {
        self.uids += 1;
        self.uids
    }

    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// Stores a partner, as a user would.
    pub(super) fn put_partner(&mut self, mut partner: Partner) {
        partner.resource_version = self.next_version();
        self.partner_events.push_back(Event::Put(partner.clone()));
        self.partners.insert(partner.key.clone(), partner);
    }

    /// Stores a connection, as a user would.
    pub(super) fn put_connection(&mut self, mut connection: Connection) {
        connection.resource_version = self.next_version();
        self.connection_events.push_back(Event::Put(connection.clone()));
        self.connections.insert(connection.key.clone(), connection);
    }

    pub(super) fn delete_partner(&mut self, key: &ObjectKey) {
        if self.partners.remove(key).is_some() {
            self.partner_events.push_back(Event::Gone(key.clone()));
        }
    }

    pub(super) fn delete_connection(&mut self, key: &ObjectKey) {
        if self.connections.remove(key).is_some() {
            self.connection_events.push_back(Event::Gone(key.clone()));
        }
    }

    /// Takes the status of a partner.
    pub(super) fn write_partner(
        &mut self,
        writer: &Partner,
        status: &Status,
    ) -> Result<Option<Written<Status>>, NotWritten> {
        let Some(mut stored) = self.partners.get(&writer.key).cloned() else {
            return Ok(None);
        };
        if stored.uid != writer.uid || take_one(&mut self.refuses) {
            return Err(NotWritten);
        }
        assert_eq!(schema::wrong(status), Vec::<String>::new());
        assert!(status.observed_generation <= Some(stored.generation));
        assert!(
            status.observed_generation >= stored.status.observed_generation,
            "observedGeneration goes backwards: {:?} to {:?}",
            stored.status.observed_generation,
            status.observed_generation
        );
        let again = !self.unanswered.insert(Key::Partner(writer.key.clone()));
        conditions_move_on(&stored.status.conditions, &status.conditions, again);
        has_one_verdict(&status.conditions);

        let mut kept = status.clone();
        if self.older_crd {
            kept.platforms = None;
        }
        let written = |version: String| Written {
            resource_version: version,
            status: status.clone(),
        };
        if kept == stored.status {
            assert!(again || self.older_crd, "a status was written that is there already");
            self.writes += 1;
            return self.answer(written(stored.resource_version));
        }
        self.writes += 1;
        stored.status = kept;
        stored.resource_version = self.next_version();
        let written = written(stored.resource_version.clone());
        self.partner_events.push_back(Event::Put(stored.clone()));
        self.partners.insert(stored.key.clone(), stored);
        self.answer(written)
    }

    /// Takes the status of a connection.
    pub(super) fn write_connection(
        &mut self,
        writer: &Connection,
        status: &GraphConnectionStatus,
    ) -> Result<Option<Written<GraphConnectionStatus>>, NotWritten> {
        let Some(mut stored) = self.connections.get(&writer.key).cloned() else {
            return Ok(None);
        };
        if stored.uid != writer.uid || take_one(&mut self.refuses) {
            return Err(NotWritten);
        }
        assert!(status.observed_generation >= stored.status.observed_generation);
        let again = !self.unanswered.insert(Key::Connection(writer.key.clone()));
        conditions_move_on(&stored.status.conditions, &status.conditions, again);
        has_one_verdict(&status.conditions);
        assert!(
            again || *status != stored.status,
            "a status was written that is there already"
        );
        self.writes += 1;
        if *status != stored.status {
            stored.status = status.clone();
            stored.resource_version = self.next_version();
            self.connection_events.push_back(Event::Put(stored.clone()));
            self.connections.insert(stored.key.clone(), stored.clone());
        }
        self.answer(Written {
            resource_version: stored.resource_version,
            status: status.clone(),
        })
    }

    fn answer<S>(&mut self, written: Written<S>) -> Result<Option<Written<S>>, NotWritten> {
        if take_one(&mut self.loses) {
            return Err(NotWritten);
        }
        Ok(Some(written))
    }
}

fn take_one(left: &mut u8) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// No condition is judged for an older generation than before, and a transition is a change of status; but for a writer
/// that may not know what it has written, `again`.
fn conditions_move_on(before: &[Condition], after: &[Condition], again: bool) {
    for is in after {
        let Some(was) = condition(before, &is.r#type) else {
            continue;
        };
        let moved = is.last_transition_time != was.last_transition_time && is.status == was.status;
        let older = is.observed_generation < was.observed_generation;
        assert!(again || !(moved || older), "{was:?} became {is:?}");
    }
}

/// What kstatus reads: Ready says no more and no less than the pair.
fn has_one_verdict(conditions: &[Condition]) {
    let there = |kind| condition(conditions, kind).is_some();
    assert!(
        !(there("Reconciling") && there("Stalled")),
        "Reconciling and Stalled at once"
    );
    let one = there("Reconciling") || there("Stalled");
    let ready = condition(conditions, "Ready").map(|ready| ready.status);
    assert_eq!(
        one,
        matches!(ready, Some(ConditionStatus::False | ConditionStatus::Unknown)),
        "Ready {ready:?} beside {conditions:?}"
    );
}
