//! What the operator may send, told anew in the plainest way from what it has been told and has read itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use crate::api::connection::{Access, Cloud};
use crate::api::partner::ManagementPolicy;
use crate::graph::listing::Listing;
use crate::graph::model;
use crate::graph::model::Property;
use crate::partner::claim::ObjectId;
use crate::partner::plan::{Change, Plan};
use crate::runtime::index::connection_of;
use crate::runtime::object::{Connection, ObjectKey, Partner, Request};

/// What this process was told and has done.
#[derive(Default)]
pub(super) struct Claims {
    partners: BTreeMap<ObjectKey, Partner>,
    connections: BTreeMap<ObjectKey, Connection>,
    /// By uid: the object that the resource's own credential has read.
    bound: BTreeMap<String, ObjectId>,
    /// By uid: the changes that Graph has answered with success and whose old value has been read ever since.
    unseen: BTreeMap<String, Unseen>,
    /// By uid: what the last pass read was read no earlier than this.
    read: BTreeMap<String, Instant>,
    under_way: Rc<RefCell<BTreeSet<ObjectId>>>,
}

#[derive(Default)]
struct Unseen {
    asked: (i64, Option<Request>),
    /// Beside each change, whether the process can still know of it.
    changes: Vec<(Change, bool)>,
}

/// A change that is under way, for as long as this lives.
pub(super) struct UnderWay {
    object: ObjectId,
    all: Rc<RefCell<BTreeSet<ObjectId>>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(&self.object);
    }
}

/// Whether a resource would write to an object, by what spec and its connection say.
pub(super) fn would_write(partner: &Partner, connection: Option<&Connection>, object: &ObjectId) -> bool {
    let leads_there = |connection: &Connection| {
        connection.spec.access != Some(Access::ReadOnly)
            && connection.spec.tenant_id == object.tenant
            && object.cloud == Cloud::Global.name()
    };
    partner.spec.management_policy != Some(ManagementPolicy::Observe)
        && partner.spec.suspend != Some(true)
        && connection.is_some_and(leads_there)
}

/// What status says that a resource is bound to.
pub(super) fn binding(partner: &Partner) -> Option<ObjectId> {
    let status = &partner.status;
    let (cloud, tenant) = (status.cloud.as_ref()?, status.tenant_id.as_ref()?);
    Some(ObjectId::new(cloud, tenant, status.partner_id.as_ref()?))
}

impl Claims {
    pub(super) fn partner_seen(&mut self, partner: &Partner) {
        let known = self.partners.insert(partner.key.clone(), partner.clone());
        let known = known.filter(|known| known.uid == partner.uid);
        if let (None, Some(bound)) = (known, binding(partner)) {
            self.bound.insert(partner.uid.clone(), bound);
        }
    }

    pub(super) fn partner_gone(&mut self, key: &ObjectKey) {
        self.partners.remove(key);
    }

    pub(super) fn connection_seen(&mut self, connection: &Connection) {
        self.connections.insert(connection.key.clone(), connection.clone());
    }

    pub(super) fn connection_gone(&mut self, key: &ObjectKey) {
        self.connections.remove(key);
    }

    pub(super) fn bound(&mut self, partner: &Partner, object: &ObjectId) {
        self.bound.insert(partner.uid.clone(), object.clone());
    }

    /// A pass goes by this listing: it says something newer than the last one.
    pub(super) fn goes_by(&self, partner: &Partner, listing: &Listing) {
        let last = self.read.get(&partner.uid);
        assert!(
            last.is_none_or(|last| listing.began > *last),
            "a listing from before the last read"
        );
    }

    /// A pass has ended.
    pub(super) fn pass_ended(&mut self, partner: &Partner, read: Option<Instant>) {
        let last = self.read.entry(partner.uid.clone());
        if let Some(read) = read {
            last.and_modify(|last| *last = read.max(*last)).or_insert(read);
        }
    }

    /// Whoever holds what it is bound to.
    pub(super) fn holders(&self) -> BTreeSet<ObjectKey> {
        let objects: BTreeSet<_> = self.bound.values().collect();
        let holders = objects.into_iter().filter_map(|object| self.holder(object));
        holders.map(|holder| holder.key.clone()).collect()
    }

    /// The oldest of those that would write to what they are bound to.
    fn holder(&self, object: &ObjectId) -> Option<&Partner> {
        let waiting = self.partners.values().filter(|partner| {
            let connection = self.connections.get(&connection_of(partner));
            self.bound.get(&partner.uid) == Some(object) && would_write(partner, connection, object)
        });
        waiting.min_by_key(|partner| (partner.created, &partner.uid))
    }

    /// An edit or a request makes all that was sent before it irrelevant.
    pub(super) fn pass_began(&mut self, partner: &Partner) {
        let asked = (partner.generation, partner.request.clone());
        let unseen = self.unseen.entry(partner.uid.clone()).or_default();
        if unseen.asked != asked {
            *unseen = Unseen {
                asked,
                ..Unseen::default()
            };
        }
    }

    /// A row was read for this resource: what shows another value than before the change is not waited for any more.
    pub(super) fn row_seen(&mut self, partner: &Partner, row: &model::Partner) {
        let unseen = self.unseen.entry(partner.uid.clone()).or_default();
        unseen.changes.retain(|(change, _)| {
            let hidden = match change.property {
                Property::EnrollmentAssignments(platform) => !row.assignments.get(platform).unsupported.is_empty(),
                _ => false,
            };
            !hidden && row.value(change.property) == change.observed
        });
    }

    /// A change goes out: may it?
    pub(super) fn sent(&mut self, writer: &Partner, object: &ObjectId, plan: &Plan) -> UnderWay {
        let known = self.partners.get(&writer.key).filter(|known| known.uid == writer.uid);
        let known = known.expect("a resource that is gone writes");
        assert_eq!(
            known.generation, writer.generation,
            "an edit is known that the change is not by"
        );
        let holder = self.holder(object).map(|holder| &holder.key);
        assert_eq!(holder, Some(&writer.key), "written by another one than the holder");
        assert!(
            self.under_way.borrow_mut().insert(object.clone()),
            "two changes of one object at once"
        );
        let spec = serde_json::to_value(&known.spec).unwrap();
        assert!(!plan.changes.is_empty(), "an empty change");
        for property in plan.patch().properties() {
            assert!(spec.get(property.name()).is_some(), "{property:?} is not managed");
        }
        let unseen = self.unseen.get(&writer.uid);
        for (change, certain) in unseen.iter().flat_map(|unseen| &unseen.changes) {
            assert!(
                !certain || !plan.changes.contains(change),
                "sent again without need: {change:?}"
            );
        }
        UnderWay {
            object: object.clone(),
            all: Rc::clone(&self.under_way),
        }
    }

    /// Graph has answered a change with success.
    pub(super) fn answered(&mut self, writer: &Partner, plan: &Plan) {
        let unseen = self.unseen.entry(writer.uid.clone()).or_default();
        let sent = |property| plan.changes.iter().any(|change| change.property == property);
        unseen.changes.retain(|(change, _)| !sent(change.property));
        unseen
            .changes
            .extend(plan.changes.iter().map(|change| (change.clone(), true)));
    }

    /// A pass of this resource was given up: it may or may not remember what it sent.
    pub(super) fn memory_lost(&mut self, key: &ObjectKey) {
        let Some(partner) = self.partners.get(key) else { return };
        if let Some(unseen) = self.unseen.get_mut(&partner.uid) {
            unseen.changes.iter_mut().for_each(|(_, certain)| *certain = false);
        }
    }

    /// Whether a change was sent before and may be waited for; and whether it must not be sent again.
    pub(super) fn is_unseen(&self, partner: &Partner, change: &Change) -> (bool, bool) {
        let unseen = self.unseen.get(&partner.uid);
        let mut found = unseen.iter().flat_map(|unseen| &unseen.changes);
        found
            .find(|(sent, _)| sent == change)
            .map_or((false, false), |(_, certain)| (true, *certain))
    }
}
