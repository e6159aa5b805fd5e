//! The pure core against a made-up world: whatever users, the portal, Microsoft, the API server and restarts do, and in
//! whatever order, nothing is written that should not be, and once all is quiet every resource is as it should be.
//!
//! The interpreter of `passes.rs` takes the steps of a pass in the driver's order and leaves every decision to the code
//! that decides in the driver too. What must hold is told anew, without that code: at each change of Graph in
//! `claims.rs`, at each write of status in `kubernetes.rs`, at rest in `expected.rs`. The order of the steps is told anew
//! as well: what the driver forgets to call shows in the integration tests alone.

mod claims;
mod connections;
mod expected;
mod found;
mod graph;
mod kubernetes;
mod operator;
mod passes;
mod waits;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::api::LocalReference;
use crate::api::connection::{Access, Auth, GraphConnectionSpec, GraphConnectionStatus};
use crate::api::partner::{
    Assignment, ComplianceManagementPartnerSpec as Spec, ComplianceManagementPartnerStatus, ManagementPolicy,
    PartnerReference, TargetType,
};
use crate::api::reason::Timing;
use crate::graph::cloud::Endpoints;
use crate::graph::model::{Assignments, PerPlatform, Platform, Property, Target};
use crate::partner::plan::tests::make;
use crate::partner::status::HeartbeatRules;
use crate::runtime::context::Config;
use crate::runtime::object::{Object, ObjectKey, Request};
use graph::{Fault, Row, Tenant};
use kubernetes::Kubernetes;
use operator::{Operator, Secret, World};

const TENANTS: [&str; 2] = [
    "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "bbbbbbbb-2222-4222-8222-000000000001",
];
/// Three resources; the third one in another namespace.
const PARTNERS: [(&str, &str); 3] = [("a", "one"), ("a", "two"), ("b", "three")];
const CONNECTIONS: [(&str, &str); 2] = [("a", "contoso"), ("b", "contoso")];
const IDS: [&str; 2] = ["p1", "p2"];
const NAMES: [&str; 2] = ["Example", "Other"];

#[derive(Clone, Debug)]
enum Happens {
    Create { partner: usize, spec: Box<Spec> },
    Edit { partner: usize, spec: Box<Spec> },
    Suspend { partner: usize, suspend: bool },
    Observe { partner: usize, observe: bool },
    Ask { partner: usize, value: u8 },
    Delete { partner: usize },
    Connect { connection: usize, tenant: usize },
    SetAccess { connection: usize, access: Option<Access> },
    Client { connection: usize, client: u8 },
    Disconnect { connection: usize },
    PutSecret { connection: usize, secret: Secret },
    Portal { tenant: usize, row: usize, to: Box<RowNow> },
    Vanish { tenant: usize, row: usize },
    Beat { tenant: usize, row: usize, minutes: i64 },
    Trouble { tenant: usize, fault: Fault },
    Lag { tenant: usize, seconds: Option<u64> },
    ReadOnly { tenant: usize, read_only: bool },
    Garbled { tenant: usize, garbled: bool },
    Lose { tenant: usize },
    RefuseStatus,
    LoseStatus,
    Restart,
}

/// What the operator does after something has happened.
#[derive(Clone, Debug)]
enum Then {
    Nothing,
    Steps(Vec<u8>),
    Settle,
    Jump(u64),
    Live(u64),
}

/// What somebody makes of a row.
#[derive(Clone, Debug)]
struct RowNow {
    name: usize,
    onboarded: [bool; 3],
    lists: [Assignments; 2],
    keeps: Option<Property>,
    refuses: Option<Property>,
}

fn assignment() -> impl Strategy<Value = Assignment> {
    prop_oneof![
        Just(make::entry(TargetType::AllDevices, None, None)),
        Just(make::entry(
            TargetType::Group,
            Some("abcdef01-0000-4000-8000-00000000abcd"),
            None
        )),
        Just(make::entry(
            TargetType::Group,
            Some("ABCDEF02-0000-4000-8000-00000000ABCD"),
            None
        )),
    ]
}

fn assignments() -> impl Strategy<Value = Assignments> {
    let target = prop_oneof![Just(Target::AllDevices), Just(make::group(1)), Just(make::group(2))];
    let unsupported = prop_oneof![
        4 => Just(BTreeSet::new()),
        1 => Just(BTreeSet::from(["#microsoft.graph.newTarget".to_owned()])),
    ];
    (prop::collection::btree_set(target, 0..3), unsupported)
        .prop_map(|(targets, unsupported)| Assignments { targets, unsupported })
}

prop_compose! {
    fn spec()(
        reference in 0..7_usize,
        policy in prop_oneof![
            4 => Just(None),
            1 => Just(Some(ManagementPolicy::Enforce)),
            1 => Just(Some(ManagementPolicy::Observe)),
        ],
        suspend in prop_oneof![6 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))],
        interval in prop::sample::select(vec![None, Some("5m"), Some("30m"), Some("1h")]),
        name in prop::option::weighted(0.3, prop::sample::select(NAMES.to_vec())),
        flags in prop::array::uniform3(prop::option::of(any::<bool>())),
        lists in prop::array::uniform2(prop::option::of(prop::collection::vec(assignment(), 0..3))),
    ) -> Spec {
        let id = ["p1", "P1", "p1", "P1", "p2"].get(reference).map(|id| (*id).to_owned());
        let display_name = id.is_none().then(|| NAMES[reference % 2].to_owned());
        let [mac_os_enrollment_assignments, ios_enrollment_assignments] = lists;
        let [mac_os_onboarded, android_onboarded, ios_onboarded] = flags;
        Spec {
            connection_ref: LocalReference { name: "contoso".to_owned() },
            // CEL: displayName only where partnerRef.id names the object.
            display_name: name.filter(|_| id.is_some()).map(str::to_owned),
            partner_ref: PartnerReference { id, display_name },
            management_policy: policy,
            suspend,
            sync_interval: interval.map(str::to_owned),
            mac_os_onboarded,
            android_onboarded,
            ios_onboarded,
            mac_os_enrollment_assignments,
            ios_enrollment_assignments,
            ..make::nothing_managed()
        }
    }
}

fn property() -> impl Strategy<Value = Property> {
    prop::sample::select(Property::ALL.to_vec())
}

prop_compose! {
    fn row_now()(
        name in 0..2_usize,
        onboarded in prop::array::uniform3(any::<bool>()),
        lists in prop::array::uniform2(assignments()),
        keeps in prop::option::weighted(0.4, property()),
        refuses in prop::option::weighted(0.1, property()),
    ) -> RowNow {
        RowNow { name, onboarded, lists, keeps, refuses }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    let wait = prop::sample::select(vec![None, Some(5), Some(120), Some(3_000)]);
    prop_oneof![
        2 => Just(Fault::None),
        1 => wait.clone().prop_map(Fault::Throttled),
        1 => wait.prop_map(Fault::Unavailable),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let (partner, connection, tenant, row) = (
        // Much happens to few, so that it meets.
        prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => Just(2)],
        prop_oneof![2 => Just(0_usize), 1 => Just(1)],
        prop_oneof![8 => Just(0_usize), 1 => Just(1)],
        prop_oneof![4 => Just(0_usize), 1 => Just(1)],
    );
    let access = prop::sample::select(vec![None, Some(Access::ReadWrite), Some(Access::ReadOnly)]);
    let secret = prop_oneof![2 => Just(Secret::Good), 1 => Just(Secret::Missing), 1 => Just(Secret::Refused)];
    let boxed = || spec().prop_map(Box::new);
    let users = prop_oneof![
        3 => (partner.clone(), boxed()).prop_map(|(partner, spec)| Create { partner, spec }),
        3 => (partner.clone(), boxed()).prop_map(|(partner, spec)| Edit { partner, spec }),
        2 => (partner.clone(), any::<bool>()).prop_map(|(partner, suspend)| Suspend { partner, suspend }),
        2 => (partner.clone(), any::<bool>()).prop_map(|(partner, observe)| Observe { partner, observe }),
        2 => (partner.clone(), 0..3_u8).prop_map(|(partner, value)| Ask { partner, value }),
        1 => partner.prop_map(|partner| Delete { partner }),
        3 => (connection.clone(), 0..2_usize).prop_map(|(connection, tenant)| Connect { connection, tenant }),
        2 => (connection.clone(), access).prop_map(|(connection, access)| SetAccess { connection, access }),
        1 => (connection.clone(), 0..2_u8).prop_map(|(connection, client)| Client { connection, client }),
        2 => connection.clone().prop_map(|connection| Disconnect { connection }),
        2 => (connection, secret).prop_map(|(connection, secret)| PutSecret { connection, secret }),
    ];
    let lag = prop::sample::select(vec![None, Some(3), Some(30), Some(200)]);
    let microsoft = prop_oneof![
        4 => (tenant.clone(), row.clone(), row_now())
            .prop_map(|(tenant, row, to)| Portal { tenant, row, to: Box::new(to) }),
        1 => (tenant.clone(), row.clone()).prop_map(|(tenant, row)| Vanish { tenant, row }),
        1 => (tenant.clone(), row, prop::sample::select(vec![0, 3, 20, 4_300, 4_400, -60]))
            .prop_map(|(tenant, row, minutes)| Beat { tenant, row, minutes }),
        2 => (tenant.clone(), fault()).prop_map(|(tenant, fault)| Trouble { tenant, fault }),
        2 => (tenant.clone(), lag).prop_map(|(tenant, seconds)| Lag { tenant, seconds }),
        1 => (tenant.clone(), any::<bool>()).prop_map(|(tenant, read_only)| ReadOnly { tenant, read_only }),
        1 => (tenant.clone(), any::<bool>()).prop_map(|(tenant, garbled)| Garbled { tenant, garbled }),
        1 => tenant.prop_map(|tenant| Lose { tenant }),
    ];
    prop_oneof![
        6 => users,
        6 => microsoft,
        1 => Just(RefuseStatus),
        1 => Just(LoseStatus),
        1 => Just(Restart),
    ]
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        2 => Just(Then::Nothing),
        6 => prop::collection::vec(any::<u8>(), 1..16).prop_map(Then::Steps),
        4 => Just(Then::Settle),
        1 => (1..1_000_u64).prop_map(Then::Jump),
        4 => (1..2_000_u64).prop_map(Then::Live),
    ]
}

fn key((namespace, name): (&str, &str)) -> ObjectKey {
    ObjectKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// An object that nobody has made yet.
fn made_up<Spec, Status: Default>(key: ObjectKey, spec: Spec) -> Object<Spec, Status> {
    Object {
        key,
        uid: String::new(),
        resource_version: String::new(),
        generation: 1,
        created: Timestamp::UNIX_EPOCH,
        deleting: false,
        finalizers: Vec::new(),
        request: None,
        spec,
        status: Status::default(),
    }
}

/// An object as the API server makes it.
fn made<Spec, Status: Default>(world: &mut World, key: ObjectKey, spec: Spec, status: Status) -> Object<Spec, Status> {
    let number = world.kubernetes.next_uid();
    Object {
        // Ids say nothing of age.
        uid: format!("uid-{}-{number}", number * 7 % 10),
        // Several are made within one unit of time.
        created: world.now().round(jiff::Unit::Minute).unwrap(),
        status,
        ..made_up(key, spec)
    }
}

fn connection_spec(tenant: usize) -> GraphConnectionSpec {
    GraphConnectionSpec {
        tenant_id: TENANTS[tenant].to_owned(),
        client_id: None,
        cloud: None,
        access: None,
        auth: Auth {
            client_secret: None,
            client_certificate: None,
            workload_identity: None,
            operator_identity: None,
            managed_identity: None,
        },
    }
}

fn connect(world: &mut World, connection: usize, tenant: usize) {
    let key = key(CONNECTIONS[connection]);
    if !world.kubernetes.connections.contains_key(&key) {
        let status = GraphConnectionStatus {
            observed_generation: Some(-1),
            ..Default::default()
        };
        let connection = made(world, key, connection_spec(tenant), status);
        world.kubernetes.put_connection(connection);
    }
}

fn edit(world: &mut World, partner: usize, edit: impl FnOnce(&mut Spec)) {
    let Some(mut partner) = world.kubernetes.partners.get(&key(PARTNERS[partner])).cloned() else {
        return;
    };
    let before = partner.spec.clone();
    edit(&mut partner.spec);
    // Immutable.
    partner.spec.partner_ref = before.partner_ref.clone();
    if partner.spec.partner_ref.id.is_none() {
        partner.spec.display_name = None;
    }
    if partner.spec != before {
        partner.generation += 1;
        world.kubernetes.put_partner(partner);
    }
}

fn edit_connection(world: &mut World, connection: usize, edit: impl FnOnce(&mut GraphConnectionSpec)) {
    let key = key(CONNECTIONS[connection]);
    let Some(mut connection) = world.kubernetes.connections.get(&key).cloned() else {
        return;
    };
    let before = connection.spec.clone();
    edit(&mut connection.spec);
    if connection.spec != before {
        connection.generation += 1;
        world.kubernetes.put_connection(connection);
    }
}

fn portal(tenant: &mut Tenant, id: &str, to: RowNow) {
    let RowNow {
        name,
        onboarded: [mac_os, android, ios],
        lists: [mac_os_list, ios_list],
        keeps,
        refuses,
    } = to;
    let row = tenant.rows.entry(id.to_owned()).or_insert_with(|| Row {
        partner: crate::graph::model::Partner {
            id: id.to_owned(),
            ..make::blank_row()
        },
        // For as long as the row lives.
        keeps: keeps.into_iter().collect(),
        refuses: refuses.into_iter().collect(),
    });
    row.partner.display_name = Some(NAMES[name].to_owned());
    row.partner.onboarded = PerPlatform { mac_os, android, ios };
    *row.partner.assignments.get_mut(Platform::MacOs) = mac_os_list;
    *row.partner.assignments.get_mut(Platform::Ios) = ios_list;
}

fn happen(operator: &mut Operator, what: Happens) {
    let shared = std::rc::Rc::clone(&operator.world);
    let tenant_of = |tenant: usize, act: &dyn Fn(&mut Tenant)| {
        let mut world = shared.borrow_mut();
        act(world.tenants.entry(TENANTS[tenant].to_owned()).or_default());
    };
    match what {
        Happens::Create { partner, spec } => {
            let mut world = shared.borrow_mut();
            let key = key(PARTNERS[partner]);
            if !world.kubernetes.partners.contains_key(&key) {
                let status = ComplianceManagementPartnerStatus {
                    observed_generation: Some(-1),
                    ..Default::default()
                };
                let partner = made(&mut world, key, *spec, status);
                world.kubernetes.put_partner(partner);
            }
        }
        Happens::Edit { partner, spec } => edit(&mut shared.borrow_mut(), partner, |old| *old = *spec),
        Happens::Suspend { partner, suspend } => {
            edit(&mut shared.borrow_mut(), partner, |spec| spec.suspend = Some(suspend));
        }
        Happens::Observe { partner, observe } => edit(&mut shared.borrow_mut(), partner, |spec| {
            spec.management_policy = observe.then_some(ManagementPolicy::Observe);
        }),
        Happens::Ask { partner, value } => {
            let mut world = shared.borrow_mut();
            let asked = world.kubernetes.partners.get(&key(PARTNERS[partner])).cloned();
            if let Some(mut partner) = asked {
                partner.request = Some(Request::new(&value.to_string()));
                world.kubernetes.put_partner(partner);
            }
        }
        Happens::Delete { partner } => shared.borrow_mut().kubernetes.delete_partner(&key(PARTNERS[partner])),
        Happens::Connect { connection, tenant } => connect(&mut shared.borrow_mut(), connection, tenant),
        Happens::SetAccess { connection, access } => {
            edit_connection(&mut shared.borrow_mut(), connection, |spec| spec.access = access);
        }
        Happens::Client { connection, client } => edit_connection(&mut shared.borrow_mut(), connection, |spec| {
            spec.client_id = Some(client.to_string());
        }),
        Happens::Disconnect { connection } => {
            let key = key(CONNECTIONS[connection]);
            shared.borrow_mut().kubernetes.delete_connection(&key);
        }
        Happens::PutSecret { connection, secret } => {
            shared.borrow_mut().secrets.insert(key(CONNECTIONS[connection]), secret);
        }
        Happens::Portal { tenant, row, to } => tenant_of(tenant, &|tenant| portal(tenant, IDS[row], (*to).clone())),
        Happens::Vanish { tenant, row } => tenant_of(tenant, &|tenant| {
            tenant.rows.remove(IDS[row]);
        }),
        Happens::Beat { tenant, row, minutes } => {
            let then = shared.borrow().now() - SignedDuration::from_mins(minutes);
            tenant_of(tenant, &|tenant| {
                if let Some(row) = tenant.rows.get_mut(IDS[row]) {
                    row.partner.last_heartbeat = Some(then);
                }
            });
        }
        Happens::Trouble { tenant, fault } => tenant_of(tenant, &|tenant| tenant.fault = fault),
        Happens::Lag { tenant, seconds } => {
            tenant_of(tenant, &|tenant| tenant.lag = seconds.map(Duration::from_secs));
        }
        Happens::ReadOnly { tenant, read_only } => tenant_of(tenant, &|tenant| tenant.read_only = read_only),
        Happens::Garbled { tenant, garbled } => tenant_of(tenant, &|tenant| tenant.garbled = garbled),
        Happens::Lose { tenant } => tenant_of(tenant, &|tenant| tenant.loses += 1),
        Happens::RefuseStatus => shared.borrow_mut().kubernetes.refuses += 1,
        Happens::LoseStatus => shared.borrow_mut().kubernetes.loses += 1,
        Happens::Restart => operator.restart(),
    }
}

fn go_on(operator: &mut Operator, then: Then) {
    match then {
        Then::Nothing => {}
        Then::Steps(steps) => steps.into_iter().for_each(|step| operator.small_step(step)),
        Then::Settle => operator.settle(),
        Then::Jump(seconds) => operator.jump(Duration::from_secs(seconds)),
        Then::Live(seconds) => operator.live(Duration::from_secs(seconds)),
    }
}

fn config(observe_only: bool) -> Config {
    Config {
        watch_namespaces: Vec::new(),
        timing: Timing::default(),
        heartbeat: HeartbeatRules {
            stale_after: Duration::from_secs(72 * 3_600),
            resolution: Duration::from_secs(900),
        },
        observe_only,
        endpoints: Endpoints::default(),
        operator_identity_namespaces: Vec::new(),
        federated_token_file: None,
        abandon_cleanup_after: None,
        extra_roots: None,
        instance: "model".to_owned(),
    }
}

/// Two connections to the first tenant, two rows in it and one in the other.
fn empty(seed: u64, older_crd: bool, rows: [RowNow; 3]) -> Operator {
    let mut world = World::new(Kubernetes::default(), config(false), seed);
    world.kubernetes.older_crd = older_crd;
    for ((tenant, id), row) in [(0, 0), (0, 1), (1, 0)].into_iter().zip(rows) {
        portal(
            world.tenants.entry(TENANTS[tenant].to_owned()).or_default(),
            IDS[id],
            row,
        );
    }
    for connection in 0..CONNECTIONS.len() {
        connect(&mut world, connection, 0);
    }
    let mut operator = Operator::new(world);
    operator.restart();
    operator
}

/// The same, and two resources.
fn begin(seed: u64, older_crd: bool, rows: [RowNow; 3], specs: [Spec; 2]) -> Operator {
    let mut operator = empty(seed, older_crd, rows);
    for (partner, spec) in specs.into_iter().enumerate() {
        let spec = Box::new(spec);
        happen(&mut operator, Happens::Create { partner, spec });
    }
    operator
}

/// What passes by itself is over; what somebody has to mend stays.
fn calm(operator: &Operator) {
    let mut world = operator.world.borrow_mut();
    (world.kubernetes.refuses, world.kubernetes.loses) = (0, 0);
    for tenant in world.tenants.values_mut() {
        (tenant.fault, tenant.lag, tenant.garbled, tenant.loses) = (Fault::None, None, false, 0);
    }
}

/// The changes of Graph and the writes of status so far.
fn written(operator: &Operator) -> (usize, usize) {
    let world = operator.world.borrow();
    let taken = world.tenants.values().map(|tenant| tenant.taken).sum();
    (taken, world.kubernetes.writes)
}

const HOUR: Duration = Duration::from_secs(3_600);

proptest! {
    #[test]
    fn whatever_happens_it_converges_and_then_is_quiet(
        seed in any::<u64>(),
        older_crd in prop::bool::weighted(0.1),
        rows in prop::array::uniform3(row_now()),
        specs in prop::array::uniform2(spec()),
        steps in prop::collection::vec((happens(), then()), 1..50),
    ) {
        let mut operator = begin(seed, older_crd, rows, specs);
        for (what, then) in steps {
            happen(&mut operator, what);
            go_on(&mut operator, then);
        }
        calm(&operator);
        // The longest pause that Microsoft was made to ask for, then the longest wait of the table and the longest poll.
        operator.live(3 * HOUR);
        expected::check(&operator.world.borrow());
        let before = written(&operator);
        operator.live(2 * HOUR);
        prop_assert_eq!(written(&operator), before);
        expected::check(&operator.world.borrow());
    }
}
