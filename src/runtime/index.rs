//! What the operator knows of the resources, and what refers to what: filled by the watches, asked by the passes. Its
//! decisions are pure; only the lock around it is not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::object::{Connection, Key, ObjectKey, Partner, Written};
use super::queue::Lane;
use crate::api::connection::{Access, GraphConnectionSpec, GraphConnectionStatus};
use crate::api::partner::{ComplianceManagementPartnerStatus, ManagementPolicy};
use crate::partner::claim::{Claimant, ObjectId, holder};
use crate::partner::memory::PartnerMemory;

/// A partner in the index.
#[derive(Debug)]
pub struct PartnerEntry {
    /// The resource.
    pub object: Arc<Partner>,
    /// What passes remember.
    pub memory: PartnerMemory,
    /// The object in Graph that it is bound to.
    pub binding: Option<ObjectId>,
    /// When this process first saw it.
    pub seen_at: Instant,
    /// Counts changes of what it depends on: a pause that was asked for before the last one is over.
    pub wakes: u64,
}

impl PartnerEntry {
    /// The newest status that is known, also where the installed CRD keeps only a part of it.
    #[must_use]
    pub fn status(&self) -> &ComplianceManagementPartnerStatus {
        self.object.newest_status(self.memory.written.as_ref())
    }

    /// Its heartbeat in Unix time, as status has it.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn heartbeat(&self) -> Option<f64> {
        let time: Timestamp = self.status().last_heartbeat_date_time.as_ref()?.parse().ok()?;
        Some(time.as_second() as f64)
    }
}

/// A connection in the index.
#[derive(Debug)]
pub struct ConnectionEntry {
    /// The resource.
    pub object: Arc<Connection>,
    /// The last write of status, until the watch has caught up with it.
    pub written: Option<Written<GraphConnectionStatus>>,
}

impl ConnectionEntry {
    /// The newest status that is known.
    #[must_use]
    pub fn status(&self) -> &GraphConnectionStatus {
        self.object.newest_status(self.written.as_ref())
    }
}

/// A pass that a change asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Of which resource.
    pub key: Key,
    /// In which lane.
    pub lane: Lane,
}

/// All resources, and what refers to what.
#[derive(Debug, Default)]
pub struct Index {
    /// In boxes: a hash table keeps up to twice the room that it needs.
    partners: HashMap<ObjectKey, Box<PartnerEntry>>,
    connections: HashMap<ObjectKey, ConnectionEntry>,
    by_connection: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    by_object: HashMap<ObjectId, BTreeSet<ObjectKey>>,
    observe_only: bool,
}

/// The index, shared. Its lock is held for look-ups alone, never across a wait.
#[derive(Clone, Debug)]
pub struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    /// An empty index. `observe_only`: no resource of this installation writes.
    #[must_use]
    pub fn new(observe_only: bool) -> Self {
        Self(Arc::new(Mutex::new(Index {
            observe_only,
            ..Index::default()
        })))
    }

    /// Locks it.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// All partners.
    pub fn partners(&self) -> impl Iterator<Item = (&ObjectKey, &PartnerEntry)> {
        self.partners.iter().map(|(key, entry)| (key, &**entry))
    }

    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = (&ObjectKey, &ConnectionEntry)> {
        self.connections.iter()
    }

    /// One partner.
    #[must_use]
    pub fn partner(&self, key: &ObjectKey) -> Option<&PartnerEntry> {
        self.partners.get(key).map(|entry| &**entry)
    }

    /// One partner, to change what is remembered of it.
    pub fn partner_mut(&mut self, key: &ObjectKey) -> Option<&mut PartnerEntry> {
        self.partners.get_mut(key).map(|entry| &mut **entry)
    }

    /// One connection.
    #[must_use]
    pub fn connection(&self, key: &ObjectKey) -> Option<&ConnectionEntry> {
        self.connections.get(key)
    }

    /// One connection, to change what is remembered of it.
    pub fn connection_mut(&mut self, key: &ObjectKey) -> Option<&mut ConnectionEntry> {
        self.connections.get_mut(key)
    }

    /// The connection that a partner names, where it is there.
    #[must_use]
    pub fn connection_used_by(&self, partner: &Partner) -> Option<&Arc<Connection>> {
        self.connections.get(&connection_of(partner)).map(|entry| &entry.object)
    }

    /// The connections that use the identity of the operator or of its node.
    #[must_use]
    pub fn by_operators_identity(&self) -> Vec<Trigger> {
        let uses = |object: &Connection| {
            let auth = &object.spec.auth;
            auth.operator_identity.is_some() || auth.managed_identity.is_some()
        };
        let found = self.connections.iter().filter(|(_, entry)| uses(&entry.object));
        let trigger = |(key, _): (&ObjectKey, _)| Trigger {
            key: Key::Connection(key.clone()),
            lane: Lane::Edit,
        };
        found.map(trigger).collect()
    }

    /// The partners that use a connection.
    #[must_use]
    pub fn partners_of(&self, connection: &ObjectKey) -> Vec<ObjectKey> {
        self.by_connection
            .get(connection)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether a partner is observed only: by the installation, its own policy, or its connection.
    #[must_use]
    pub fn observes(&self, partner: &Partner) -> bool {
        let read_only = |connection: &Arc<Connection>| connection.spec.access.unwrap_or_default() == Access::ReadOnly;
        self.observe_only
            || partner.spec.management_policy.unwrap_or_default() == ManagementPolicy::Observe
            || self.connection_used_by(partner).is_some_and(read_only)
    }

    /// Whether Enforce is in effect for a partner, whatever its health: nothing makes it observe, and its connection is
    /// there.
    #[must_use]
    pub fn enforces(&self, partner: &Partner) -> bool {
        !self.observes(partner) && self.connection_used_by(partner).is_some()
    }

    /// Who may write to an object.
    #[must_use]
    pub fn holder(&self, object: &ObjectId) -> Option<Claimant<ObjectKey>> {
        holder(self.bound_to(object).map(|partner| self.claimant(partner, object)))
    }

    /// Whether another resource than that with this uid takes an object over when it is let go of: it would write to it,
    /// and is there to stay.
    #[must_use]
    pub fn has_heir(&self, object: &ObjectId, uid: &str) -> bool {
        self.bound_to(object)
            .any(|partner| partner.uid != uid && !partner.deleting && self.claimant(partner, object).eligible)
    }

    fn bound_to<'a>(&'a self, object: &ObjectId) -> impl Iterator<Item = &'a Arc<Partner>> + use<'a> {
        let keys = self.by_object.get(object).into_iter().flatten();
        keys.filter_map(|key| Some(&self.partners.get(key)?.object))
    }

    fn claimant(&self, partner: &Partner, object: &ObjectId) -> Claimant<ObjectKey> {
        Claimant {
            key: partner.key.clone(),
            uid: partner.uid.clone(),
            created: partner.created,
            eligible: self.enforces(partner) && partner.spec.suspend != Some(true) && self.reaches(partner, object),
            leaving: partner.deleting && !partner.has_finalizer(),
        }
    }

    /// Whether the partner's connection leads to the tenant that the object is in.
    fn reaches(&self, partner: &Partner, object: &ObjectId) -> bool {
        self.connection_used_by(partner).is_some_and(|connection| {
            let spec = &connection.spec;
            spec.tenant_id == object.tenant && spec.cloud.unwrap_or_default().name() == object.cloud
        })
    }

    /// Records that the partner's own credential has read the object, and tells who else is bound to it.
    pub fn bind(&mut self, key: &ObjectKey, uid: &str, object: &ObjectId) -> Vec<Trigger> {
        let Some(entry) = self.partners.get_mut(key).filter(|entry| entry.object.uid == uid) else {
            return Vec::new();
        };
        if entry.binding.as_ref() == Some(object) {
            return Vec::new();
        }
        let before = entry.binding.replace(object.clone());
        let mut triggers = before.map(|before| self.unbind(key, &before)).unwrap_or_default();
        self.by_object.entry(object.clone()).or_default().insert(key.clone());
        triggers.extend(self.others(key, object));
        triggers
    }

    /// Takes in a partner as the watch has it.
    pub fn put_partner(&mut self, partner: Partner, now: Instant, first_list: bool) -> Vec<Trigger> {
        let key = partner.key.clone();
        let mut triggers = Vec::new();
        let object = Arc::new(partner);
        match self.partners.get_mut(&key) {
            Some(entry) if entry.object.uid == object.uid => {
                let asks = entry.object.asks_for_a_pass(&object);
                object.catch_up(&mut entry.memory.written);
                let before = connection_of(&entry.object);
                entry.object = Arc::clone(&object);
                if asks {
                    triggers.push(Trigger {
                        key: Key::Partner(key.clone()),
                        lane: Lane::Edit,
                    });
                    // Suspension, policy or deletion may have moved the claim.
                    if let Some(bound) = entry.binding.clone() {
                        triggers.extend(self.others(&key, &bound));
                    }
                }
                // Immutable where the CRD's rule is in force; an entry left behind would be told of for ever.
                let after = connection_of(&object);
                if before != after {
                    self.leave_connection(&key, &before);
                    self.by_connection.entry(after).or_default().insert(key);
                }
            }
            Some(_) => {
                triggers.extend(self.remove_partner(&key));
                triggers.extend(self.put_partner(Arc::unwrap_or_clone(object), now, first_list));
                return triggers;
            }
            None => triggers.extend(self.add_partner(object, now, first_list)),
        }
        triggers
    }

    /// Takes in a connection as the watch has it.
    pub fn put_connection(&mut self, connection: Connection) -> Vec<Trigger> {
        let key = connection.key.clone();
        let object = Arc::new(connection);
        let itself = Trigger {
            key: Key::Connection(key.clone()),
            lane: Lane::Edit,
        };
        let Some(entry) = self.connections.get_mut(&key) else {
            self.connections
                .insert(key.clone(), ConnectionEntry { object, written: None });
            // Its partners may write from now on: claims move at once, not only when its own pass has ended.
            return [vec![itself], self.around_connection(&key)].concat();
        };
        let asks = entry.object.asks_for_a_pass(&object);
        // A connection that was made anew between two looks may lead elsewhere.
        let leads = |connection: &Connection| {
            let GraphConnectionSpec {
                tenant_id,
                cloud,
                access,
                client_id: _,
                auth: _,
            } = &connection.spec;
            (tenant_id.clone(), cloud.unwrap_or_default(), access.unwrap_or_default())
        };
        let claims_move = leads(&entry.object) != leads(&object);
        if entry.object.uid != object.uid {
            entry.written = None;
        }
        object.catch_up(&mut entry.written);
        entry.object = object;
        let mut triggers = if asks { vec![itself] } else { Vec::new() };
        if claims_move {
            triggers.extend(self.around_connection(&key));
        }
        triggers
    }

    /// Drops a partner that is gone; whoever waits for its object is next.
    pub fn remove_partner(&mut self, key: &ObjectKey) -> Vec<Trigger> {
        let Some(entry) = self.partners.remove(key) else {
            return Vec::new();
        };
        self.leave_connection(key, &connection_of(&entry.object));
        entry.binding.map(|bound| self.unbind(key, &bound)).unwrap_or_default()
    }

    /// Drops a connection that is gone; its partners are told, and those that waited for theirs.
    pub fn remove_connection(&mut self, key: &ObjectKey) -> Vec<Trigger> {
        if self.connections.remove(key).is_none() {
            return Vec::new();
        }
        self.around_connection(key)
    }

    /// The partners of a connection that has changed, and all that are bound to the same objects. None of them waits for
    /// the end of a pause that the former state asked for.
    pub fn around_connection(&mut self, key: &ObjectKey) -> Vec<Trigger> {
        let mut keys: HashSet<ObjectKey> = HashSet::new();
        for partner in self.partners_of(key) {
            if let Some(bound) = self.partners.get(&partner).and_then(|entry| entry.binding.as_ref()) {
                keys.extend(self.by_object.get(bound).into_iter().flatten().cloned());
            }
            keys.insert(partner);
        }
        for key in &keys {
            if let Some(entry) = self.partners.get_mut(key) {
                entry.memory.hold_until = None;
                entry.wakes += 1;
            }
        }
        keys.into_iter()
            .map(|key| Trigger {
                key: Key::Partner(key),
                lane: Lane::Bulk,
            })
            .collect()
    }

    /// The keys of one namespace, or of all: what a new list of it is held against.
    #[must_use]
    pub fn keys(&self, namespace: Option<&str>, partners: bool) -> HashSet<ObjectKey> {
        let inside = |key: &&ObjectKey| namespace.is_none_or(|namespace| key.namespace == namespace);
        if partners {
            self.partners.keys().filter(inside).cloned().collect()
        } else {
            self.connections.keys().filter(inside).cloned().collect()
        }
    }

    fn add_partner(&mut self, object: Arc<Partner>, now: Instant, first_list: bool) -> Vec<Trigger> {
        let key = object.key.clone();
        self.by_connection
            .entry(connection_of(&object))
            .or_default()
            .insert(key.clone());
        let status = &object.status;
        let binding = match (&status.cloud, &status.tenant_id, &status.partner_id) {
            (Some(cloud), Some(tenant), Some(id)) => Some(ObjectId::new(cloud, tenant, id)),
            _ => None,
        };
        let mut triggers = vec![Trigger {
            key: Key::Partner(key.clone()),
            lane: if first_list { Lane::Bulk } else { Lane::Edit },
        }];
        if let Some(bound) = &binding {
            self.by_object.entry(bound.clone()).or_default().insert(key.clone());
            // One that could not be read for a while may come back as the oldest.
            if !first_list {
                triggers.extend(self.others(&key, bound));
            }
        }
        let entry = PartnerEntry {
            object,
            memory: PartnerMemory::default(),
            binding,
            seen_at: now,
            wakes: 0,
        };
        self.partners.insert(key, Box::new(entry));
        triggers
    }

    fn leave_connection(&mut self, key: &ObjectKey, connection: &ObjectKey) {
        if let Some(keys) = self.by_connection.get_mut(connection) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_connection.remove(connection);
            }
        }
    }

    fn unbind(&mut self, key: &ObjectKey, object: &ObjectId) -> Vec<Trigger> {
        let triggers = self.others(key, object);
        if let Some(keys) = self.by_object.get_mut(object) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_object.remove(object);
            }
        }
        triggers
    }

    fn others(&self, key: &ObjectKey, object: &ObjectId) -> Vec<Trigger> {
        let keys = self
            .by_object
            .get(object)
            .into_iter()
            .flatten()
            .filter(|other| *other != key);
        keys.map(|other| Trigger {
            key: Key::Partner(other.clone()),
            lane: Lane::Edit,
        })
        .collect()
    }
}

/// The connection that a partner names.
#[must_use]
pub fn connection_of(partner: &Partner) -> ObjectKey {
    ObjectKey {
        namespace: partner.key.namespace.clone(),
        name: partner.spec.connection_ref.name.clone(),
    }
}

#[cfg(test)]
mod tests;
