//! Three resources, one object in Graph and a clock, all made up: what the pure core comes to, whatever happens and in
//! whatever order. Passes are cut in two, at the read of Graph, so that anything may happen in the middle of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::*;
use super::{RULES, at, find};
use crate::api::connection::{Auth, GraphConnectionSpec, GraphConnectionStatus};
use crate::api::partner::{ComplianceManagementPartnerSpec as Spec, ManagementPolicy};
use crate::partner::claim::ObjectId;
use crate::partner::plan::tests::{make, schema};
use crate::partner::plan::{Plan, managed, plan};
use crate::runtime::index::{SharedIndex, Trigger};
use crate::runtime::object::Partner as Resource;
use crate::runtime::object::{Key, Object, ObjectKey};
use proptest::prelude::*;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Happens {
    Edit(Spec),
    Suspend(bool),
    Observe(bool),
    Create(Spec),
    Delete,
    Portal(Box<Partner>),
    Beat(i64),
    Graph { away: bool },
    LoseOneAnswer,
    Wait(i64),
    Read,
    Finish,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => make::spec().prop_map(Happens::Edit),
        1 => any::<bool>().prop_map(Happens::Suspend),
        1 => any::<bool>().prop_map(Happens::Observe),
        2 => make::spec().prop_map(Happens::Create),
        1 => Just(Happens::Delete),
        2 => make::row().prop_map(|row| Happens::Portal(Box::new(row))),
        1 => (0..5_000_i64).prop_map(Happens::Beat),
        1 => any::<bool>().prop_map(|away| Happens::Graph { away }),
        1 => Just(Happens::LoseOneAnswer),
        1 => (1..2_000_i64).prop_map(Happens::Wait),
        6 => Just(Happens::Read),
        6 => Just(Happens::Finish),
    ]
}

struct World {
    index: SharedIndex,
    resources: BTreeMap<ObjectKey, Resource>,
    row: Partner,
    away: bool,
    lose_one: bool,
    now: i64,
    made: i64,
    /// Passes that have read Graph and not yet acted: the resource as it was, and the row if there was one.
    begun: BTreeMap<ObjectKey, (Resource, Option<Partner>)>,
    trouble_since: BTreeMap<ObjectKey, i64>,
    due: BTreeSet<ObjectKey>,
    patches: usize,
    statuses: usize,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "contoso".to_owned(),
        name: name.to_owned(),
    }
}

fn the_object() -> ObjectId {
    ObjectId::new("Global", TENANT, "p1")
}

fn resource<S, T: Default>(key: ObjectKey, number: i64, spec: S) -> Object<S, T> {
    Object {
        key,
        uid: format!("uid-{number}"),
        resource_version: "1".to_owned(),
        generation: 1,
        // Several are made within a second.
        created: at(number / 2),
        deleting: false,
        finalizers: Vec::new(),
        request: None,
        spec,
        status: T::default(),
    }
}

impl World {
    fn new() -> Self {
        let index = SharedIndex::new(false);
        let auth = Auth {
            client_secret: None,
            client_certificate: None,
            workload_identity: None,
            operator_identity: None,
            managed_identity: None,
        };
        let spec = GraphConnectionSpec {
            tenant_id: TENANT.to_owned(),
            client_id: None,
            cloud: None,
            access: None,
            auth,
        };
        let connection: Object<_, GraphConnectionStatus> = resource(key("contoso"), 0, spec);
        index.lock().put_connection(connection);
        Self {
            index,
            resources: BTreeMap::new(),
            row: make::blank_row(),
            away: false,
            lose_one: false,
            now: 1_794_000_000,
            made: 0,
            begun: BTreeMap::new(),
            trouble_since: BTreeMap::new(),
            due: BTreeSet::new(),
            patches: 0,
            statuses: 0,
        }
    }

    fn queue(&mut self, triggers: Vec<Trigger>) {
        self.due
            .extend(triggers.into_iter().filter_map(|trigger| match trigger.key {
                Key::Partner(key) => Some(key),
                Key::Connection(_) => None,
            }));
    }

    fn put(&mut self, resource: Resource) {
        let triggers = self.index.lock().put_partner(resource.clone(), Instant::now(), false);
        self.resources.insert(resource.key.clone(), resource);
        self.queue(triggers);
    }

    fn edit(&mut self, key: &ObjectKey, edit: impl FnOnce(&mut Spec)) {
        let Some(mut resource) = self.resources.get(key).cloned() else {
            return;
        };
        edit(&mut resource.spec);
        resource.generation += 1;
        self.put(resource);
    }

    fn happen(&mut self, name: &str, what: Happens) {
        let key = key(name);
        match what {
            Happens::Edit(spec) => self.edit(&key, |old| {
                *old = Spec {
                    suspend: old.suspend,
                    management_policy: old.management_policy,
                    ..spec
                };
            }),
            Happens::Suspend(suspend) => self.edit(&key, |spec| spec.suspend = Some(suspend)),
            Happens::Observe(observe) => self.edit(&key, |spec| {
                spec.management_policy = observe.then_some(ManagementPolicy::Observe);
            }),
            Happens::Create(spec) => {
                if !self.resources.contains_key(&key) {
                    self.made += 1;
                    self.put(resource(key, self.made, spec));
                }
            }
            Happens::Delete => {
                self.resources.remove(&key);
                self.trouble_since.remove(&key);
                let triggers = self.index.lock().remove_partner(&key);
                self.queue(triggers);
            }
            Happens::Portal(row) => {
                self.row = Partner {
                    last_heartbeat: self.row.last_heartbeat,
                    ..*row
                }
            }
            Happens::Beat(ago) => self.row.last_heartbeat = Some(at(self.now - ago)),
            Happens::Graph { away } => self.away = away,
            Happens::LoseOneAnswer => self.lose_one = true,
            Happens::Wait(seconds) => {
                self.now += seconds;
                self.due.extend(self.resources.keys().cloned());
            }
            Happens::Read => self.read(&key),
            Happens::Finish => self.finish(&key),
        }
    }

    /// The first half of a pass: it takes the resource as it is, and reads Graph.
    fn read(&mut self, key: &ObjectKey) {
        if self.begun.contains_key(key) || !self.due.remove(key) {
            return;
        }
        let Some(resource) = self.resources.get(key).cloned() else {
            return;
        };
        let row = (!self.away && resource.spec.suspend != Some(true)).then(|| self.row.clone());
        self.begun.insert(key.clone(), (resource, row));
    }

    /// The second half: it acts on what was read, unless the resource has moved on.
    fn finish(&mut self, key: &ObjectKey) {
        let Some((before, row)) = self.begun.remove(key) else {
            return;
        };
        let current = self.resources.get(key);
        if current.is_none_or(|current| (&current.uid, current.generation) != (&before.uid, before.generation)) {
            return;
        }
        let Some(row) = row else {
            let suspended = before.spec.suspend == Some(true);
            let reason = if suspended {
                Reason::Suspended
            } else {
                Reason::GraphUnavailable
            };
            return self.tell(&before, reason, None, None, false);
        };
        let triggers = self.index.lock().bind(key, &before.uid, &the_object());
        self.queue(triggers);
        let planned = plan(&before.spec, &row);
        if !self.index.lock().enforces(&before) {
            let drifted = !planned.is_empty() || !planned.unsupported.is_empty();
            let reason = if drifted { Reason::DriftDetected } else { Reason::InSync };
            return self.tell(&before, reason, Some(&row), Some(&planned), false);
        }
        if self.index.lock().holder(&the_object()).map(|holder| holder.uid) != Some(before.uid.clone()) {
            return self.tell(&before, Reason::PartnerConflict, Some(&row), None, false);
        }
        if planned.is_empty() {
            return self.tell(&before, settled(&planned), Some(&row), Some(&planned), false);
        }
        self.patch(&before, &planned);
        if std::mem::take(&mut self.lose_one) || self.away {
            return self.tell(&before, Reason::GraphUnavailable, Some(&row), None, false);
        }
        let row = self.row.clone();
        let left = plan(&before.spec, &row);
        if left.is_empty() {
            return self.tell(&before, settled(&left), Some(&row), Some(&left), true);
        }
        // The portal was quicker: the next pass sends again.
        self.due.insert(key.clone());
        self.tell(&before, Reason::Verifying, Some(&row), Some(&left), false);
    }

    fn patch(&mut self, writer: &Resource, planned: &Plan) {
        // Told anew, without the index: the oldest of all that would write.
        let would = |resource: &&Resource| {
            let index = self.index.lock();
            let bound = index
                .partner(&resource.key)
                .is_some_and(|entry| entry.binding.is_some());
            bound && resource.spec.suspend != Some(true) && resource.spec.management_policy.is_none()
        };
        let oldest = self.resources.values().filter(would);
        let oldest = oldest.min_by_key(|resource| (resource.created, resource.uid.clone()));
        assert_eq!(oldest.map(|oldest| &oldest.uid), Some(&writer.uid), "a second writer");
        let fields: BTreeSet<_> = managed(&writer.spec)
            .into_iter()
            .map(|(property, _)| property)
            .collect();
        assert!(planned.patch().properties().all(|property| fields.contains(&property)));
        self.row = make::taken(&self.row, &planned.patch().to_json());
        self.patches += 1;
    }

    fn tell(
        &mut self,
        before: &Resource,
        reason: Reason,
        row: Option<&Partner>,
        planned: Option<&Plan>,
        updated: bool,
    ) {
        let trouble = if reason.is_transient() {
            self.due.insert(before.key.clone());
            self.now - *self.trouble_since.entry(before.key.clone()).or_insert(self.now)
        } else {
            self.trouble_since.remove(&before.key);
            0
        };
        let trouble = Duration::from_secs(trouble.unsigned_abs());
        let conditions = &before.status.conditions;
        let verdict = Verdict {
            judgement: Judgement {
                generation: before.generation,
                reason,
                message: format!("Because of {}.", reason.as_str()),
                applied: applied(conditions, before.generation, trouble, &Timing::default()),
                connection_pair: Pair::Neither,
            },
            request: None,
            seen: row.map_or(Seen::Nothing, Seen::Row),
            binding: row.map(|row| Binding {
                cloud: "Global".to_owned(),
                tenant: TENANT.to_owned(),
                id: row.id.clone(),
            }),
            drift: planned.map(Plan::drift),
            updated,
            blocked: Blocked::No,
        };
        let status = next(&before.status, &verdict, RULES, at(self.now));
        assert_eq!(schema::wrong(&status), Vec::<String>::new());
        if status != before.status {
            self.statuses += 1;
            let written = Resource {
                status,
                ..before.clone()
            };
            let due = self.due.clone();
            self.put(written);
            assert_eq!(self.due, due, "a write of status led to a pass");
        }
    }

    /// Polls everything once.
    fn round(&mut self) {
        self.now += 600;
        for key in self.resources.keys().cloned().collect::<Vec<_>>() {
            self.due.insert(key.clone());
            self.read(&key);
            self.finish(&key);
        }
    }

    /// What each resource should say once all is quiet.
    fn check(&self) {
        let holder = self.index.lock().holder(&the_object()).map(|holder| holder.key);
        for (key, resource) in &self.resources {
            let status = &resource.status;
            let reason = |kind| find(status, kind).map(|condition| condition.reason.as_str());
            let planned = plan(&resource.spec, &self.row);
            let enforces = resource.spec.management_policy.is_none();
            if resource.spec.suspend == Some(true) {
                assert_eq!(reason("Synced"), Some("Suspended"));
                continue;
            }
            let expected = if enforces && holder.as_ref() != Some(key) {
                Reason::PartnerConflict
            } else if enforces {
                assert!(planned.is_empty(), "{planned:?} is left");
                settled(&planned)
            } else if planned.is_empty() && planned.unsupported.is_empty() {
                Reason::InSync
            } else {
                assert_eq!(status.drift.clone().unwrap_or_default(), planned.drift());
                Reason::DriftDetected
            };
            assert_eq!(reason("Ready"), Some(expected.as_str()));
        }
    }
}

fn settled(planned: &Plan) -> Reason {
    if planned.unsupported.is_empty() {
        Reason::InSync
    } else {
        Reason::UnsupportedTarget
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_converges_and_then_is_quiet(
        steps in prop::collection::vec((prop::sample::select(NAMES.to_vec()), happens()), 1..60)
    ) {
        let mut world = World::new();
        for (name, what) in steps {
            world.happen(name, what);
        }
        world.away = false;
        world.lose_one = false;
        for name in NAMES {
            world.finish(&key(name));
        }
        // One to bind all and to send, one for those who have to learn of it.
        world.round();
        world.round();
        let (row, patches, statuses) = (world.row.clone(), world.patches, world.statuses);
        world.check();
        world.round();
        prop_assert_eq!((world.row.clone(), world.patches, world.statuses), (row, patches, statuses));
        world.check();
    }
}
