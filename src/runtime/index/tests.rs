use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::connection::Auth;
use crate::api::partner::ComplianceManagementPartnerStatus;
use crate::partner::plan::tests::make;
use crate::runtime::object::{Object, Request, newer};

fn key(namespace: u8, name: u8) -> ObjectKey {
    ObjectKey {
        namespace: format!("team-{namespace}"),
        name: format!("partner-{name}"),
    }
}

/// Namespace and name of one of the connections.
fn connection_key(namespace: u8, name: u8) -> ObjectKey {
    ObjectKey {
        namespace: format!("team-{namespace}"),
        name: format!("connection-{name}"),
    }
}

fn object_id(number: u8) -> ObjectId {
    ObjectId::new("Global", "t", &format!("P{number}"))
}

fn connection(key: ObjectKey, access: Option<Access>) -> Connection {
    Object {
        key,
        uid: "c1".to_owned(),
        resource_version: "1".to_owned(),
        generation: 1,
        created: Timestamp::UNIX_EPOCH,
        deleting: false,
        finalizers: Vec::new(),
        request: None,
        spec: GraphConnectionSpec {
            tenant_id: "t".to_owned(),
            client_id: None,
            cloud: None,
            access,
            auth: Auth {
                client_secret: None,
                client_certificate: None,
                workload_identity: None,
                operator_identity: None,
                managed_identity: None,
            },
        },
        status: GraphConnectionStatus::default(),
    }
}

fn partner(key: ObjectKey, uid: u32, created: i64, bound: Option<u8>) -> Partner {
    let mut status = ComplianceManagementPartnerStatus::default();
    if let Some(bound) = bound {
        status.cloud = Some("Global".to_owned());
        status.tenant_id = Some("t".to_owned());
        status.partner_id = Some(format!("p{bound}"));
    }
    let mut spec = make::nothing_managed();
    spec.connection_ref.name = "connection-0".to_owned();
    Object {
        key,
        uid: format!("u{uid}"),
        resource_version: "1".to_owned(),
        generation: 1,
        created: Timestamp::from_second(created).unwrap(),
        deleting: false,
        finalizers: Vec::new(),
        request: None,
        spec,
        status,
    }
}

/// Something that happens to the resource with this key, in Kubernetes or in a pass.
#[derive(Clone, Debug)]
enum Happens {
    Put {
        created: i64,
        bound: Option<u8>,
    },
    Suspend(bool),
    Policy(ManagementPolicy),
    Delete,
    Finalizer(bool),
    Request(u8),
    Status(u8),
    OtherConnection(u8),
    Remove,
    Bind {
        object: u8,
        of_this_one: bool,
    },
    ConnectionPut {
        name: u8,
        access: Option<Access>,
        elsewhere: bool,
    },
    ConnectionStatus {
        name: u8,
    },
    ConnectionRemove {
        name: u8,
    },
    ListAgain,
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let access = prop_oneof![Just(None), Just(Some(Access::ReadWrite)), Just(Some(Access::ReadOnly))];
    prop_oneof![
        4 => (0..3_i64, prop::option::of(0..2_u8)).prop_map(|(created, bound)| Put { created, bound }),
        2 => any::<bool>().prop_map(Suspend),
        2 => prop_oneof![Just(ManagementPolicy::Enforce), Just(ManagementPolicy::Observe)].prop_map(Policy),
        1 => Just(Delete),
        1 => any::<bool>().prop_map(Finalizer),
        1 => (0..3_u8).prop_map(Request),
        2 => (0..3_u8).prop_map(Status),
        1 => (0..2_u8).prop_map(OtherConnection),
        1 => Just(Remove),
        4 => (0..2_u8, prop::bool::weighted(0.9)).prop_map(|(object, of_this_one)| Bind { object, of_this_one }),
        3 => (0..2_u8, access, prop::bool::weighted(0.2))
            .prop_map(|(name, access, elsewhere)| ConnectionPut { name, access, elsewhere }),
        1 => (0..2_u8).prop_map(|name| ConnectionStatus { name }),
        1 => (0..2_u8).prop_map(|name| ConnectionRemove { name }),
        1 => Just(ListAgain),
    ]
}

/// What the index should hold, told in the plainest way.
#[derive(Default)]
struct Model {
    partners: BTreeMap<ObjectKey, (Partner, Option<ObjectId>)>,
    connections: BTreeMap<ObjectKey, Connection>,
    uids: u32,
}

impl Model {
    fn eligible(&self, partner: &Partner) -> bool {
        let connection = self.connections.get(&connection_of(partner));
        partner.spec.management_policy != Some(ManagementPolicy::Observe)
            && partner.spec.suspend != Some(true)
            && connection.is_some_and(|it| it.spec.access != Some(Access::ReadOnly) && it.spec.tenant_id == "t")
            && (!partner.deleting || partner.has_finalizer())
    }

    fn holder(&self, object: &ObjectId) -> Option<ObjectKey> {
        self.bound(object)
            .filter(|partner| self.eligible(partner))
            .min_by_key(|partner| (partner.created, partner.uid.clone()))
            .map(|partner| partner.key.clone())
    }

    fn bound(&self, object: &ObjectId) -> impl Iterator<Item = &Partner> {
        let bound = self
            .partners
            .values()
            .filter(move |(_, bound)| bound.as_ref() == Some(object));
        bound.map(|(partner, _)| partner)
    }

    fn holders(&self) -> [Option<ObjectKey>; 2] {
        [0, 1].map(|object| self.holder(&object_id(object)))
    }

    /// Lets it happen here and in the index; gives the triggers, and whether nothing but a status has changed.
    fn happen(&mut self, index: &mut Index, at: &ObjectKey, namespace: u8, what: &Happens) -> (Vec<Trigger>, bool) {
        let connection_at = |name: u8| connection_key(namespace, name);
        match what {
            Happens::Put { created, bound } => {
                self.uids += 1;
                let partner = partner(at.clone(), self.uids, *created, *bound);
                self.partners
                    .insert(at.clone(), (partner.clone(), bound.map(object_id)));
                (index.put_partner(partner, Instant::now(), false), false)
            }
            Happens::Remove => {
                self.partners.remove(at);
                (index.remove_partner(at), false)
            }
            Happens::Bind { object, of_this_one } => {
                let object = object_id(*object);
                let uid = match self.partners.get_mut(at) {
                    Some((partner, bound)) if *of_this_one => {
                        *bound = Some(object.clone());
                        partner.uid.clone()
                    }
                    _ => "another".to_owned(),
                };
                (index.bind(at, &uid, &object), false)
            }
            Happens::ConnectionPut {
                name,
                access,
                elsewhere,
            } => {
                let at = connection_at(*name);
                let mut next = connection(at.clone(), *access);
                if *elsewhere {
                    next.spec.tenant_id = "another".to_owned();
                }
                if let Some(was) = self.connections.get(&at) {
                    next.generation = was.generation + i64::from(was.spec != next.spec);
                }
                self.connections.insert(at, next.clone());
                (index.put_connection(next), false)
            }
            Happens::ConnectionStatus { name } => {
                let Some(known) = self.connections.get_mut(&connection_at(*name)) else {
                    return (Vec::new(), true);
                };
                known.status.roles = Some(Vec::new());
                known.resource_version.push('0');
                (index.put_connection(known.clone()), true)
            }
            Happens::ConnectionRemove { name } => {
                self.connections.remove(&connection_at(*name));
                (index.remove_connection(&connection_at(*name)), false)
            }
            Happens::ListAgain => {
                let known = self.partners.values().map(|(partner, _)| partner.clone());
                let mut triggers: Vec<Trigger> = known
                    .flat_map(|partner| index.put_partner(partner, Instant::now(), false))
                    .collect();
                triggers.extend(
                    self.connections
                        .values()
                        .cloned()
                        .flat_map(|it| index.put_connection(it)),
                );
                (triggers, true)
            }
            edit => {
                let Some((partner, _)) = self.partners.get_mut(at) else {
                    return (Vec::new(), true);
                };
                let before = partner.clone();
                match edit {
                    Happens::Suspend(suspend) => partner.spec.suspend = Some(*suspend),
                    Happens::Policy(policy) => partner.spec.management_policy = Some(*policy),
                    Happens::OtherConnection(name) => {
                        partner.spec.connection_ref.name = connection_at(*name).name;
                    }
                    Happens::Delete => partner.deleting = true,
                    // The API server takes no new finalizer where there is a deletionTimestamp.
                    Happens::Finalizer(true) if partner.deleting => {}
                    Happens::Finalizer(has) => {
                        partner.finalizers = has.then(|| crate::api::FINALIZER.to_owned()).into_iter().collect();
                    }
                    Happens::Request(value) => partner.request = Some(Request::new(&value.to_string())),
                    Happens::Status(value) => partner.status.partner_state = Some(value.to_string()),
                    _ => unreachable!("handled above"),
                }
                partner.generation += i64::from(partner.spec != before.spec);
                let only_status = Partner {
                    status: before.status.clone(),
                    ..partner.clone()
                } == before;
                partner.resource_version.push('0');
                (index.put_partner(partner.clone(), Instant::now(), false), only_status)
            }
        }
    }

    fn check(&self, index: &Index) {
        let mut by_connection: HashMap<ObjectKey, BTreeSet<ObjectKey>> = HashMap::new();
        let mut by_object: HashMap<ObjectId, BTreeSet<ObjectKey>> = HashMap::new();
        for (key, (partner, bound)) in &self.partners {
            assert_eq!(*index.partner(key).unwrap().object, *partner);
            by_connection
                .entry(connection_of(partner))
                .or_default()
                .insert(key.clone());
            if let Some(bound) = bound {
                by_object.entry(bound.clone()).or_default().insert(key.clone());
            }
        }
        assert_eq!(index.partners.len(), self.partners.len());
        assert_eq!(index.connections.len(), self.connections.len());
        assert_eq!(index.by_connection, by_connection);
        assert_eq!(index.by_object, by_object);
        for (object, holder) in self.holders().into_iter().enumerate() {
            let object = object_id(u8::try_from(object).unwrap());
            assert_eq!(index.holder(&object).map(|holder| holder.key), holder);
        }
    }
}

proptest! {
    #[test]
    fn the_index_is_what_it_was_told(
        steps in prop::collection::vec((0..2_u8, 0..2_u8, happens()), 1..40)
    ) {
        let shared = SharedIndex::new(false);
        let mut index = shared.lock();
        let mut model = Model::default();
        let first = Happens::ConnectionPut { name: 0, access: None, elsewhere: false };
        for namespace in 0..2 {
            model.happen(&mut index, &key(namespace, 0), namespace, &first);
        }
        for (namespace, name, what) in steps {
            let at = key(namespace, name);
            let (before, holders) = (model.partners.get(&at).cloned(), model.holders());
            let (triggers, only_status) = model.happen(&mut index, &at, namespace, &what);
            model.check(&index);
            if only_status {
                prop_assert_eq!(&triggers, &Vec::new());
                prop_assert_eq!(&holders, &model.holders());
            }
            let told: BTreeSet<&ObjectKey> = triggers
                .iter()
                .filter_map(|trigger| match &trigger.key {
                    Key::Partner(key) => Some(key),
                    Key::Connection(_) => None,
                })
                .collect();
            // Whoever is bound to an object whose holder is another one now has to look again. A pass that binds is
            // looking already.
            let bound = holders.iter().zip(model.holders()).enumerate().filter(|(_, (was, is))| *was != is);
            for (object, _) in bound {
                for partner in model.bound(&object_id(u8::try_from(object).unwrap())) {
                    let looking = matches!(what, Happens::Bind { .. }) && partner.key == at;
                    prop_assert!(looking || told.contains(&partner.key), "{what:?} does not tell {}", partner.key);
                }
            }
            // An edit leads to a pass of the resource itself.
            if let (Some((was, _)), Some((is, _))) = (before, model.partners.get(&at)) {
                let edited = was.uid != is.uid || was.generation != is.generation || was.deleting != is.deleting
                    || (was.has_finalizer() && !is.has_finalizer()) || was.request != is.request;
                prop_assert!(!edited || told.contains(&at));
            }
        }
    }

    #[test]
    fn a_written_status_stays_until_the_watch_has_caught_up(
        written in 1..2_000_u64, delivered in prop::collection::vec(1..2_000_u64, 1..8)
    ) {
        let shared = SharedIndex::new(false);
        let mut index = shared.lock();
        let at = key(0, 0);
        let mut partner = partner(at.clone(), 1, 0, None);
        index.put_partner(partner.clone(), Instant::now(), true);
        let status = ComplianceManagementPartnerStatus { observed_generation: Some(1), ..Default::default() };
        index.partner_mut(&at).unwrap().memory.written =
            Some(Written { resource_version: written.to_string(), status });
        let mut expected = true;
        for version in delivered {
            partner.resource_version = version.to_string();
            index.put_partner(partner.clone(), Instant::now(), false);
            // The watch's copy lacks what was written: under the very version of the write, an older CRD has dropped it.
            expected &= version <= written;
            prop_assert_eq!(index.partner(&at).unwrap().memory.written.is_some(), expected);
        }
    }
}

#[test]
fn a_written_status_goes_when_the_watch_shows_all_of_it() {
    let shared = SharedIndex::new(false);
    let mut index = shared.lock();
    let at = key(0, 0);
    let mut partner = partner(at.clone(), 1, 0, Some(0));
    index.put_partner(partner.clone(), Instant::now(), true);
    partner.resource_version = "10".to_owned();
    index.partner_mut(&at).unwrap().memory.written = Some(Written {
        resource_version: "10".to_owned(),
        status: partner.status.clone(),
    });
    index.put_partner(partner, Instant::now(), false);
    assert!(index.partner(&at).unwrap().memory.written.is_none());
}

#[test]
fn resource_versions_compare_as_numbers() {
    assert!(newer("10", "9"));
    assert!(!newer("9", "10"));
    assert!(!newer("10", "10"));
    assert!(newer("100000000000000000001", "99999999999999999999"));
}

#[test]
fn what_is_listed_first_is_bulk_and_what_comes_later_an_edit() {
    let shared = SharedIndex::new(false);
    let mut index = shared.lock();
    let lanes = |triggers: Vec<Trigger>| triggers.into_iter().map(|trigger| trigger.lane).collect::<Vec<_>>();
    assert_eq!(
        lanes(index.put_partner(partner(key(0, 0), 1, 0, None), Instant::now(), true)),
        [Lane::Bulk]
    );
    assert_eq!(
        lanes(index.put_partner(partner(key(0, 1), 2, 0, None), Instant::now(), false)),
        [Lane::Edit]
    );
}

#[test]
fn nobody_holds_where_all_only_observe() {
    let shared = SharedIndex::new(true);
    let mut index = shared.lock();
    index.put_connection(connection(connection_key(0, 0), None));
    index.put_partner(partner(key(0, 0), 1, 0, Some(0)), Instant::now(), true);
    assert_eq!(index.holder(&object_id(0)), None);
}

#[test]
fn a_change_around_a_connection_ends_the_pauses_of_all_that_share_its_objects() {
    let shared = SharedIndex::new(false);
    let mut index = shared.lock();
    for (namespace, name) in [(0, 0), (1, 0), (1, 1)] {
        let bound = (name == 0).then_some(0);
        index.put_partner(partner(key(namespace, name), 1, 0, bound), Instant::now(), true);
        let memory = &mut index.partner_mut(&key(namespace, name)).unwrap().memory;
        memory.hold_until = Some(Instant::now());
    }
    index.put_connection(connection(connection_key(0, 0), None));
    let held = |key| index.partner(&key).unwrap().memory.hold_until.is_some();
    assert_eq!(
        [held(key(0, 0)), held(key(1, 0)), held(key(1, 1))],
        [false, false, true]
    );
}

#[test]
fn an_heir_would_write_and_is_there_to_stay() {
    let shared = SharedIndex::new(false);
    let mut index = shared.lock();
    index.put_connection(connection(connection_key(0, 0), None));
    let mut own = partner(key(0, 0), 1, 0, Some(0));
    own.deleting = true;
    own.finalizers = vec![crate::api::FINALIZER.to_owned()];
    let mut other = partner(key(0, 1), 2, 0, Some(0));
    other.spec.connection_ref.name = own.spec.connection_ref.name.clone();
    index.put_partner(own.clone(), Instant::now(), true);
    assert!(!index.has_heir(&object_id(0), &own.uid), "it is not its own heir");
    for (suspend, deleting, heir) in [(false, false, true), (true, false, false), (false, true, false)] {
        other.spec.suspend = Some(suspend);
        other.deleting = deleting;
        index.put_partner(other.clone(), Instant::now(), true);
        assert_eq!(
            index.has_heir(&object_id(0), &own.uid),
            heir,
            "suspended: {suspend}, deleting: {deleting}"
        );
    }
}
