//! The operator's process, without its clients: the steps of a pass in the driver's order, on the driver's own decisions.
//! Wherever the driver waits for somebody, a pass here waits too, and anything may happen meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use futures::task::noop_waker_ref;
use jiff::Timestamp;

use super::claims::Claims;
use super::graph::Tenant;
use super::kubernetes::{Event, Kubernetes};
use crate::api::connection::Cloud;
use crate::api::reason::{Pair, Reason, Timing};
use crate::connection::sessions::State;
use crate::connection::{
    ConnectionVerdict, Told, due_polls, next_status, settle, shortest_interval, sync_interval, tell,
};
use crate::graph::error::{Failure, FailureKind, TokenFailure, TokenFailureKind};
use crate::graph::model::{self, Patch};
use crate::graph::session::{CredentialFailure, Listing, Trouble};
use crate::graph::throttle::{Decision, Kind, Ledger};
use crate::partner::apply::{Claim, Step, check, claim, decide, was_taken, with};
use crate::partner::claim::ObjectId;
use crate::partner::observe::{Observed, as_named, from_listing, no_such, only, told};
use crate::partner::plan::{Plan, plan};
use crate::partner::resolve::{Known, Way, way};
use crate::partner::status::{self, Binding, Judgement};
use crate::partner::{Finding, Moment, Pass, begin, due, held, judge, keep, remember, report};
use crate::runtime::context::{Config, Writers};
use crate::runtime::index::{SharedIndex, Trigger, connection_of};
use crate::runtime::object::{Connection, Key, ObjectKey, Partner, Written};
use crate::runtime::queue::{Lane, Limits, Queue};
use crate::runtime::write::NotWritten;

/// So many passes within one instant are a loop that nothing but time ends.
const BUSY: usize = 400;

/// What a connection's Secret holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Secret {
    #[default]
    Good,
    Missing,
    Refused,
}

/// All there is, but for the passes that are under way.
pub(super) struct World {
    pub(super) kubernetes: Kubernetes,
    pub(super) tenants: BTreeMap<String, Tenant>,
    pub(super) secrets: BTreeMap<ObjectKey, Secret>,
    pub(super) claims: Claims,
    pub(super) elapsed: Duration,
    pub(super) timing: Timing,
    config: Config,
    began: Instant,
    process: Process,
    random: fastrand::Rng,
}

/// What a restart loses.
struct Process {
    index: SharedIndex,
    queue: Queue<Key, ObjectKey>,
    sessions: BTreeMap<ObjectKey, (State, Rc<Session>)>,
    writers: Writers,
}

/// A connection's session, without its client.
struct Session {
    connection: ObjectKey,
    tenant: String,
    listing: RefCell<Option<Arc<Listing>>>,
    budget: RefCell<Ledger>,
}

type Shared = Rc<RefCell<World>>;

struct Running {
    key: Key,
    lane: Lane,
    began: Duration,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// The world, with the passes that are under way.
pub(super) struct Operator {
    pub(super) world: Shared,
    passes: Vec<Running>,
    busy: usize,
}

/// Anything may happen here.
async fn meanwhile() {
    let waited = Cell::new(false);
    poll_fn(|_| {
        if waited.replace(true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Process {
    fn new(config: &Config) -> Self {
        Self {
            index: SharedIndex::new(config.observe_only),
            queue: Queue::new(Limits {
                total: 4,
                bulk: 3,
                group: 3,
            }),
            sessions: BTreeMap::new(),
            writers: Writers::default(),
        }
    }
}

impl World {
    pub(super) fn new(kubernetes: Kubernetes, config: Config, seed: u64) -> Self {
        Self {
            kubernetes,
            tenants: BTreeMap::new(),
            secrets: BTreeMap::new(),
            claims: Claims::default(),
            elapsed: Duration::ZERO,
            timing: config.timing,
            began: Instant::now(),
            process: Process::new(&config),
            config,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn instant(&self) -> Instant {
        self.began + self.elapsed
    }

    /// The time by the calendar.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(1_794_000_000).unwrap() + self.elapsed
    }

    fn push_all(&mut self, triggers: &[Trigger]) {
        for Trigger { key, lane } in triggers {
            let (group, now) = (self.group(key), self.instant());
            self.process.queue.push(key.clone(), group, *lane, now);
        }
    }

    fn schedule(&mut self, key: Key, lane: Lane, at: Instant) {
        let group = self.group(&key);
        self.process.queue.schedule(key, group, lane, at);
    }

    fn group(&self, key: &Key) -> Option<ObjectKey> {
        match key {
            Key::Connection(key) => Some(key.clone()),
            Key::Partner(key) => {
                let index = self.process.index.lock();
                index.partner(key).map(|entry| connection_of(&entry.object))
            }
        }
    }

    /// The session of this very connection, and what its last pass has come to.
    fn session_of(&self, connection: &Connection) -> Option<(&State, &Rc<Session>)> {
        let (state, session) = self.process.sessions.get(&connection.key)?;
        state.is_of(connection).then_some((state, session))
    }

    fn connection_used_by(&self, partner: &Partner) -> Option<Connection> {
        let index = self.process.index.lock();
        index.connection_used_by(partner).map(|it| (**it).clone())
    }

    fn tenant(&mut self, id: &str) -> &mut Tenant {
        self.tenants.entry(id.to_owned()).or_default()
    }

    fn deliver_partner(&mut self) {
        let Some(event) = self.kubernetes.partner_events.pop_front() else {
            return;
        };
        match event {
            Event::Put(partner) => self.take_in_partner(partner, false),
            Event::Gone(key) => {
                self.claims.partner_gone(&key);
                let triggers = self.process.index.lock().remove_partner(&key);
                self.process.queue.forget(&Key::Partner(key));
                self.push_all(&triggers);
            }
        }
    }

    fn take_in_partner(&mut self, partner: Partner, first_list: bool) {
        self.claims.partner_seen(&partner);
        let now = self.instant();
        let triggers = self.process.index.lock().put_partner(partner, now, first_list);
        self.push_all(&triggers);
    }

    fn deliver_connection(&mut self) {
        let Some(event) = self.kubernetes.connection_events.pop_front() else {
            return;
        };
        match event {
            Event::Put(connection) => self.take_in_connection(connection),
            Event::Gone(key) => {
                self.claims.connection_gone(&key);
                let triggers = self.process.index.lock().remove_connection(&key);
                self.process.queue.forget(&Key::Connection(key.clone()));
                self.process.sessions.remove(&key);
                self.push_all(&triggers);
            }
        }
    }

    fn take_in_connection(&mut self, connection: Connection) {
        self.claims.connection_seen(&connection);
        let triggers = self.process.index.lock().put_connection(connection);
        self.push_all(&triggers);
    }
}

impl Operator {
    pub(super) fn new(world: World) -> Self {
        Self {
            world: Rc::new(RefCell::new(world)),
            passes: Vec::new(),
            busy: 0,
        }
    }

    /// The process ends wherever it is, and a new one begins with nothing but what the API server has.
    pub(super) fn restart(&mut self) {
        self.passes.clear();
        let mut world = self.world.borrow_mut();
        world.process = Process::new(&world.config);
        world.kubernetes.partner_events.clear();
        world.kubernetes.connection_events.clear();
        world.claims = Claims::default();
        let partners: Vec<_> = world.kubernetes.partners.values().cloned().collect();
        let connections: Vec<_> = world.kubernetes.connections.values().cloned().collect();
        let partners_first = world.random.bool();
        for partners_turn in [partners_first, !partners_first] {
            if partners_turn {
                for partner in &partners {
                    world.take_in_partner(partner.clone(), true);
                }
            } else {
                for connection in &connections {
                    world.take_in_connection(connection.clone());
                }
            }
        }
    }

    /// Starts all passes that may begin.
    fn start(&mut self) {
        loop {
            let mut world = self.world.borrow_mut();
            let now = world.instant();
            let Some(job) = world.process.queue.pop(now) else {
                return;
            };
            self.busy += 1;
            assert!(self.busy < BUSY, "passes without end: {:?}", job.key);
            let (began, lane) = (world.elapsed, job.lane);
            drop(world);
            let world = Rc::clone(&self.world);
            let future: Pin<Box<dyn Future<Output = ()>>> = match job.key.clone() {
                Key::Partner(key) => Box::pin(async move { reconcile(&world, &key, lane).await }),
                Key::Connection(key) => Box::pin(async move { reconcile_connection(&world, &key, lane).await }),
            };
            self.passes.push(Running {
                key: job.key,
                lane,
                began,
                future,
            });
        }
    }

    /// Lets one pass go on to its next wait.
    fn advance(&mut self, which: usize) {
        let Some(pass) = self.passes.get_mut(which) else {
            return;
        };
        let mut task = TaskContext::from_waker(noop_waker_ref());
        if pass.future.as_mut().poll(&mut task).is_ready() {
            let pass = self.passes.swap_remove(which);
            self.world.borrow_mut().process.queue.done(&pass.key);
        }
    }

    /// One small step of all that may be next.
    pub(super) fn small_step(&mut self, choice: u8) {
        match choice % 8 {
            0 => self.world.borrow_mut().deliver_partner(),
            1 => self.world.borrow_mut().deliver_connection(),
            2 | 3 => self.start(),
            _ if self.passes.is_empty() => self.start(),
            _ => self.advance(usize::from(choice / 8) % self.passes.len()),
        }
    }

    /// Goes on until there is nothing to do before some time passes.
    pub(super) fn settle(&mut self) {
        self.busy = 0;
        loop {
            let waiting = {
                let mut world = self.world.borrow_mut();
                let waiting = world.kubernetes.partner_events.len() + world.kubernetes.connection_events.len();
                world.deliver_partner();
                world.deliver_connection();
                waiting
            };
            self.start();
            if self.passes.is_empty() && waiting == 0 {
                return;
            }
            for which in (0..self.passes.len()).rev() {
                self.advance(which);
            }
        }
    }

    /// Lets time pass at once, whatever was due meanwhile. Passes that take too long are given up, as the workers do it.
    pub(super) fn jump(&mut self, by: Duration) {
        self.busy = 0;
        let mut world = self.world.borrow_mut();
        world.elapsed += by;
        let (now, instant) = (world.elapsed, world.instant());
        world.tenants.values_mut().for_each(|tenant| tenant.pass_to(now));
        let (limit, again) = (world.timing.pass, world.timing.backoff_cap);
        drop(world);
        let (late, on_time): (Vec<_>, Vec<_>) = self
            .passes
            .drain(..)
            .partition(|pass| now.saturating_sub(pass.began) > limit);
        self.passes = on_time;
        for Running { key, lane, future, .. } in late {
            drop(future);
            let mut world = self.world.borrow_mut();
            if let Key::Partner(key) = &key {
                world.claims.memory_lost(key);
            }
            world.schedule(key.clone(), lane, instant + again);
            world.process.queue.done(&key);
        }
    }

    /// Lets time pass, doing all that is due when it is due.
    pub(super) fn live(&mut self, time: Duration) {
        let end = self.world.borrow().elapsed + time;
        loop {
            self.settle();
            let (now, next) = {
                let world = self.world.borrow();
                let next = world.process.queue.next_due();
                let next = next.map(|next| next.saturating_duration_since(world.began));
                (world.elapsed, next.filter(|next| *next <= end))
            };
            let Some(next) = next else {
                self.jump(end.saturating_sub(now));
                self.settle();
                return;
            };
            self.jump(next.saturating_sub(now));
        }
    }
}

/// Where a pass goes on.
struct Target {
    session: Rc<Session>,
    trouble: Option<ConnectionVerdict>,
    enforce: bool,
}

/// One pass of a partner.
async fn reconcile(world: &Shared, key: &ObjectKey, lane: Lane) {
    let (began, pass) = {
        let world = world.borrow();
        let pass = begin(&world.process.index.lock(), key);
        (world.instant(), pass)
    };
    let Some(mut pass) = pass else { return };
    if let Some(until) = held(&pass, lane, began) {
        world.borrow_mut().schedule(Key::Partner(key.clone()), lane, until);
        return;
    }
    world.borrow_mut().claims.pass_began(&pass.object);
    if let Some(finding) = run(world, &mut pass).await {
        finish(world, pass, finding, began).await;
    }
}

async fn run(world: &Shared, pass: &mut Pass) -> Option<Finding> {
    let target = match resolve(&world.borrow(), pass) {
        Ok(target) => target?,
        Err(finding) => return Some(*finding),
    };
    let seen = match observe(world, pass, &target).await {
        Ok(seen) => seen,
        Err(finding) => return Some(*finding),
    };
    let bound = ObjectId::new(&seen.binding.cloud, &seen.binding.tenant, &seen.binding.id);
    {
        let mut world = world.borrow_mut();
        world.claims.bound(&pass.object, &bound);
        let triggers = world
            .process
            .index
            .lock()
            .bind(&pass.object.key, &pass.object.uid, &bound);
        world.push_all(&triggers);
    }
    apply(world, pass, &target, seen, &bound).await
}

fn resolve(world: &World, pass: &Pass) -> Result<Option<Target>, Box<Finding>> {
    let connection = world.connection_used_by(&pass.object);
    let enforce = world.process.index.lock().enforces(&pass.object);
    let open = connection.as_ref().and_then(|connection| world.session_of(connection));
    let known = Known {
        exists: connection.is_some(),
        verdict: open.and_then(|(state, _)| state.verdict.clone()),
        leads_to: open.map(|(_, session)| (Cloud::Global.name(), session.tenant.clone())),
    };
    match (way(pass, enforce, known), open) {
        (Way::Go(trouble), Some((_, session))) => Ok(Some(Target {
            session: Rc::clone(session),
            trouble,
            enforce,
        })),
        (Way::Stop(finding), _) => Err(finding),
        (Way::Go(_) | Way::Wait, _) => Ok(None),
    }
}

async fn observe(world: &Shared, pass: &mut Pass, target: &Target) -> Result<Observed, Box<Finding>> {
    let began = world.borrow().instant();
    let id = match (&pass.status.partner_id, &pass.object.spec.partner_ref.id) {
        (Some(bound), _) => bound.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => look_up(world, pass, target, began).await?,
    };
    if !pass.edit {
        let listing = target.session.listing.borrow().clone();
        let listing = listing.filter(|_| target.trouble.is_none());
        let (rules, now) = {
            let world = world.borrow();
            (world.config.heartbeat, (world.now(), world.instant()))
        };
        if let Some(row) = from_listing(pass, listing.as_deref(), &id, rules, now)? {
            return Ok(observed(world, pass, target, row, false));
        }
        if let Some(trouble) = &target.trouble {
            return Err(Box::new(Finding::new(trouble.reason, trouble.message.clone())));
        }
    }
    pass.memory.read_at = Some(began);
    match get(world, &target.session, &id).await {
        Ok(row) => Ok(observed(world, pass, target, as_named(pass, &id, row)?, true)),
        Err(Trouble::Graph(failure)) if failure.kind == FailureKind::NotFound => {
            not_found(world, pass, target, &id, began).await
        }
        Err(trouble) => Err(finding(world, pass, &trouble, target, false)),
    }
}

fn observed(world: &Shared, pass: &Pass, target: &Target, row: model::Partner, fresh: bool) -> Observed {
    world.borrow_mut().claims.row_seen(&pass.object, &row);
    let binding = Binding {
        cloud: Cloud::Global.name().to_owned(),
        tenant: target.session.tenant.clone(),
        id: row.id.clone(),
    };
    let wanted = &pass.object.spec.partner_ref.display_name;
    let bound = pass.status.partner_id.as_ref();
    if wanted.is_some() && bound.is_none_or(|bound| !bound.eq_ignore_ascii_case(&row.id)) {
        assert_eq!(*wanted, row.display_name, "bound to an object of another name");
    }
    Observed { row, binding, fresh }
}

async fn look_up(world: &Shared, pass: &Pass, target: &Target, began: Instant) -> Result<String, Box<Finding>> {
    let name = pass.object.spec.partner_ref.display_name.clone().unwrap_or_default();
    let not_before = if pass.edit { began } else { pass.seen_at };
    match list(world, &target.session, not_before).await {
        Ok(listing) => only(listing.named(&name)),
        Err(trouble) => Err(finding(world, pass, &trouble, target, false)),
    }
}

async fn not_found(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    id: &str,
    began: Instant,
) -> Result<Observed, Box<Finding>> {
    let by_name = pass.object.spec.partner_ref.display_name.is_some();
    if by_name && pass.status.partner_id.is_some() {
        let found = look_up(world, pass, target, began).await?;
        if !found.eq_ignore_ascii_case(id) {
            let row = match get(world, &target.session, &found).await {
                Ok(row) => row,
                Err(trouble) => return Err(finding(world, pass, &trouble, target, false)),
            };
            let row = as_named(pass, &found, row)?;
            pass.deeds.rebound_from = Some(id.to_owned());
            return Ok(observed(world, pass, target, row, true));
        }
    }
    Err(no_such(id))
}

fn finding(world: &Shared, pass: &Pass, trouble: &Trouble, target: &Target, write: bool) -> Box<Finding> {
    let (finding, of_connection) = told(trouble, None, write);
    if of_connection && target.trouble.is_none() {
        let key = Key::Connection(connection_of(&pass.object));
        world.borrow_mut().push_all(&[Trigger { key, lane: Lane::Bulk }]);
    }
    Box::new(finding)
}

async fn apply(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    mut seen: Observed,
    bound: &ObjectId,
) -> Option<Finding> {
    let grace = world.borrow().timing.grace.len();
    loop {
        let claim = |pass: &Pass| claim(&world.borrow().process.index.lock(), pass, bound);
        match decide(pass, target.enforce, &seen, claim, grace) {
            Step::End(finding) => return Some(*finding),
            Step::Outdated => return None,
            Step::Send(todo) => return send(world, pass, target, seen, todo, bound).await,
            Step::ReadAnew => {}
        }
        pass.memory.read_at = Some(world.borrow().instant());
        seen = match get(world, &target.session, &seen.binding.id).await {
            Ok(row) => observed(world, pass, target, row, true),
            Err(trouble) => return Some(with(*finding(world, pass, &trouble, target, false), &seen, None)),
        };
    }
}

async fn send(
    world: &Shared,
    pass: &mut Pass,
    target: &Target,
    before: Observed,
    todo: Plan,
    bound: &ObjectId,
) -> Option<Finding> {
    assert!(before.fresh, "a change on the word of a listing");
    let lock = world.borrow().process.writers.of(bound);
    let Ok(_writing) = lock.try_lock() else {
        let _ = lock.lock().await;
        let key = Key::Partner(pass.object.key.clone());
        world.borrow_mut().push_all(&[Trigger { key, lane: Lane::Edit }]);
        return None;
    };
    let id = before.binding.id.clone();
    match patch(world, pass, &target.session, &id, &todo, bound).await {
        Ok(()) => {}
        Err(Trouble::Superseded) => return None,
        Err(trouble) => {
            let finding = finding(world, pass, &trouble, target, true);
            let planned = plan(&pass.object.spec, &before.row);
            return Some(with(*finding, &before, Some(planned)));
        }
    }
    was_taken(pass, todo, world.borrow().instant());
    let row = match get(world, &target.session, &id).await {
        Ok(row) => row,
        Err(trouble) => return Some(with(*finding(world, pass, &trouble, target, false), &before, None)),
    };
    let after = observed(world, pass, target, row, true);
    Some(check(pass, &after))
}

/// One request, as a session makes it: the credential first, then the budget, then whether it is still wanted.
async fn request<T>(
    world: &Shared,
    session: &Session,
    kind: Kind,
    may: impl FnOnce(&World) -> bool,
    call: impl FnOnce(&mut World) -> Result<T, Failure>,
) -> Result<T, Trouble> {
    meanwhile().await;
    let result = {
        let mut world = world.borrow_mut();
        match world.secrets.get(&session.connection).copied().unwrap_or_default() {
            Secret::Good => {}
            Secret::Missing => {
                let why = "Secret graph does not exist: create it.".to_owned();
                return Err(Trouble::Credential(CredentialFailure::NotFound(why)));
            }
            Secret::Refused => {
                let kind = TokenFailureKind::Rejected;
                return Err(Trouble::Token(TokenFailure {
                    kind,
                    ..TokenFailure::unavailable("Entra refuses the secret.")
                }));
            }
        }
        let now = world.instant();
        match session.budget.borrow_mut().decide(kind, now) {
            Decision::Go => {}
            Decision::Wait(_) => panic!("more requests than anybody needs"),
            Decision::Closed(left) => {
                let failure = Failure {
                    kind: FailureKind::Throttled,
                    retry_after: Some(left),
                    ..Failure::unavailable("Microsoft asked for a pause")
                };
                return Err(Trouble::Graph(failure));
            }
        }
        if !may(&world) {
            return Err(Trouble::Superseded);
        }
        let answer = call(&mut world);
        let tenant = world.tenant(&session.tenant);
        if tenant.loses > 0 {
            tenant.loses -= 1;
            Err(Failure::unavailable("the connection was reset"))
        } else {
            answer
        }
    };
    meanwhile().await;
    if let Err(Failure {
        retry_after: Some(wait),
        ..
    }) = &result
    {
        session.budget.borrow_mut().close(world.borrow().instant(), *wait);
    }
    result.map_err(Trouble::Graph)
}

async fn get(world: &Shared, session: &Session, id: &str) -> Result<model::Partner, Trouble> {
    let call = |world: &mut World| world.tenant(&session.tenant).get(id);
    request(world, session, Kind::Read, |_| true, call).await
}

async fn list(world: &Shared, session: &Session, not_before: Instant) -> Result<Arc<Listing>, Trouble> {
    let last = session.listing.borrow().clone();
    if let Some(listing) = last.filter(|listing| listing.began >= not_before) {
        return Ok(listing);
    }
    let began = world.borrow().instant();
    let call = |world: &mut World| world.tenant(&session.tenant).list();
    let rows = request(world, session, Kind::Read, |_| true, call).await?;
    let listing = Arc::new(Listing { began, rows });
    *session.listing.borrow_mut() = Some(Arc::clone(&listing));
    Ok(listing)
}

async fn patch(
    world: &Shared,
    pass: &Pass,
    session: &Session,
    id: &str,
    todo: &Plan,
    bound: &ObjectId,
) -> Result<(), Trouble> {
    let may = |world: &World| {
        let current = world.connection_used_by(&pass.object);
        let current = current.is_some_and(|connection| world.session_of(&connection).is_some());
        current && matches!(claim(&world.process.index.lock(), pass, bound), Claim::Held)
    };
    let in_flight = Rc::new(RefCell::new(None));
    let call = |world: &mut World| {
        *in_flight.borrow_mut() = Some(world.claims.sent(&pass.object, bound, todo));
        let (now, patch): (_, Patch) = (world.elapsed, todo.patch());
        world.tenant(&session.tenant).patch(id, &patch, now)
    };
    request(world, session, Kind::Write, may, call).await?;
    world.borrow_mut().claims.answered(&pass.object, todo);
    Ok(())
}

async fn finish(world: &Shared, mut pass: Pass, finding: Finding, began: Instant) {
    let (now, config) = {
        let world = world.borrow();
        (world.now(), world.config.clone())
    };
    let trouble = remember(&mut pass, &finding, began);
    let generation = pass.object.generation;
    let applied = status::applied(&pass.status.conditions, generation, trouble, &config.timing);
    let next = judge(config.heartbeat, &pass, &finding, applied, now);
    let written = if next == pass.status {
        Ok(())
    } else {
        write_status(world, &mut pass, &next).await
    };
    if written.is_ok() {
        let _ = report::notices(&pass.status, &next, &pass.deeds);
    }
    let mut world = world.borrow_mut();
    let moment = Moment {
        now,
        instant: world.instant(),
        random: world.random.f64(),
    };
    let due = due(&config, &mut pass, &finding, (applied, trouble), written, moment);
    let key = pass.object.key.clone();
    let lane = if pass.edit { Lane::Edit } else { Lane::Bulk };
    let object = Arc::clone(&pass.object);
    let new_generation = pass.status.observed_generation != Some(generation);
    keep(&mut world.process.index.lock(), pass);
    if let Some(due) = due {
        world.schedule(Key::Partner(key), lane, moment.instant + due);
    }
    if new_generation {
        pace(&mut world, &object);
    }
}

async fn write_status(
    world: &Shared,
    pass: &mut Pass,
    next: &crate::api::partner::ComplianceManagementPartnerStatus,
) -> Result<(), NotWritten> {
    meanwhile().await;
    let written = world.borrow_mut().kubernetes.write_partner(&pass.object, next);
    meanwhile().await;
    if let Some(written) = written? {
        pass.memory.write_backoff.reset();
        pass.memory.written = Some(written);
        let key = Key::Partner(pass.object.key.clone());
        world.borrow_mut().kubernetes.unanswered.remove(&key);
    }
    Ok(())
}

fn pace(world: &mut World, partner: &Partner) {
    let Some(connection) = world.connection_used_by(partner) else {
        return;
    };
    let Some((state, session)) = world.session_of(&connection) else {
        return;
    };
    let connected = state.verdict.as_ref().is_some_and(|it| it.reason == Reason::Connected);
    let listed = session.listing.borrow().as_ref().map(|listing| listing.began);
    if let (true, Some(listed)) = (connected && partner.spec.suspend != Some(true), listed) {
        let interval = sync_interval(&world.timing, partner.spec.sync_interval.as_deref());
        let due = listed + interval.mul_f64(state.jitter);
        world.schedule(Key::Connection(connection.key), Lane::Bulk, due);
    }
}

/// One pass of a connection.
async fn reconcile_connection(world: &Shared, key: &ObjectKey, lane: Lane) {
    let open = open(&mut world.borrow_mut(), key);
    let Some((object, before, session)) = open else {
        return;
    };
    let began = world.borrow().instant();
    let (verdict, retry_after, listing) = match list(world, &session, began).await {
        Ok(listing) => (connected(), None, Some(listing)),
        Err(trouble) => {
            let Told {
                reason,
                message,
                retry_after,
            } = tell(&trouble, None, false);
            (ConnectionVerdict { reason, message }, retry_after, None)
        }
    };
    let written = write_connection(world, &object, &verdict, listing.as_deref()).await;
    let mut world = world.borrow_mut();
    let timing = world.timing;
    let now = world.instant();
    let random = world.random.f64();
    let shortest = shortest_interval(&world.process.index.lock(), key, &timing);
    let state = world.process.sessions.get_mut(key).map(|(state, _)| state);
    let state = state.filter(|state| state.uid == object.uid);
    let wait = state.and_then(|state| settle(&timing, state, &verdict, retry_after, shortest, (now, random)));
    let triggers = if lane == Lane::Edit || before.as_ref() != Some(&verdict) {
        world.process.index.lock().around_connection(key)
    } else if let Some(listing) = listing {
        let jitter = world.process.sessions.get(key).map_or(1.0, |(state, _)| state.jitter);
        let index = world.process.index.lock();
        due_polls(&index, key, listing.began, jitter, shortest, &timing)
    } else {
        Vec::new()
    };
    world.push_all(&triggers);
    if let Some(wait) = wait {
        world.schedule(Key::Connection(key.clone()), Lane::Bulk, began + wait);
    }
    if written.is_err() {
        let soon = now + timing.backoff;
        world.schedule(Key::Connection(key.clone()), Lane::Bulk, soon);
    }
}

fn connected() -> ConnectionVerdict {
    ConnectionVerdict {
        reason: Reason::Connected,
        message: "Connected.".to_owned(),
    }
}

fn open(world: &mut World, key: &ObjectKey) -> Option<(Connection, Option<ConnectionVerdict>, Rc<Session>)> {
    let object = {
        let index = world.process.index.lock();
        index.connection(key).map(|entry| (*entry.object).clone())
    };
    let Some(object) = object else {
        world.process.sessions.remove(key);
        return None;
    };
    if world.session_of(&object).is_none() {
        let session = Session {
            connection: key.clone(),
            tenant: object.spec.tenant_id.clone(),
            listing: RefCell::default(),
            budget: RefCell::default(),
        };
        let state = State::new(&object, None, world.random.f64());
        world.process.sessions.insert(key.clone(), (state, Rc::new(session)));
    }
    let (state, session) = world.process.sessions.get(key)?;
    Some((object, state.verdict.clone(), Rc::clone(session)))
}

async fn write_connection(
    world: &Shared,
    object: &Connection,
    verdict: &ConnectionVerdict,
    listing: Option<&Listing>,
) -> Result<(), NotWritten> {
    let (previous, next) = {
        let world = world.borrow();
        let index = world.process.index.lock();
        let entry = index.connection(&object.key).filter(|it| it.object.uid == object.uid);
        let previous = entry.map_or(&object.status, |it| it.object.newest_status(it.written.as_ref()));
        let since = world
            .process
            .sessions
            .get(&object.key)
            .and_then(|(state, _)| state.trouble_since);
        let trouble = since.map_or(Duration::ZERO, |since| world.instant().saturating_duration_since(since));
        let judgement = Judgement {
            generation: object.generation,
            reason: verdict.reason,
            message: verdict.message.clone(),
            applied: status::applied(&previous.conditions, object.generation, trouble, &world.timing),
            connection_pair: Pair::Neither,
        };
        let next = next_status(previous, object, &judgement, None, listing, world.now());
        (previous.clone(), next)
    };
    if next == previous {
        return Ok(());
    }
    meanwhile().await;
    let written = world.borrow_mut().kubernetes.write_connection(object, &next);
    meanwhile().await;
    let Some(written): Option<Written<_>> = written? else {
        return Ok(());
    };
    let mut world = world.borrow_mut();
    world.kubernetes.unanswered.remove(&Key::Connection(object.key.clone()));
    let mut index = world.process.index.lock();
    let entry = index.connection_mut(&object.key);
    if let Some(entry) = entry.filter(|entry| entry.object.uid == object.uid) {
        entry.written = Some(written);
        entry.object.catch_up(&mut entry.written);
    }
    Ok(())
}
