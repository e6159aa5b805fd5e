//! The operator's process, without its clients: what the watches bring, what the queue starts, and how time passes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use futures::task::noop_waker_ref;
use jiff::Timestamp;

use super::claims::Claims;
use super::connections::reconcile_connection;
use super::expected;
use super::graph::Tenant;
use super::kubernetes::{Event, Kubernetes};
use super::passes::reconcile;
use crate::api::reason::Timing;
use crate::connection::sessions::State;
use crate::graph::listing::Listing;
use crate::graph::throttle::Ledger;
use crate::runtime::context::{Config, Writers};
use crate::runtime::index::{SharedIndex, Trigger, connection_of};
use crate::runtime::object::{Connection, Key, ObjectKey, Partner};
use crate::runtime::queue::{Lane, Limits, Queue};

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
    /// Whose last pass was given up or could not write its status.
    pub(super) behind: BTreeSet<ObjectKey>,
    pub(super) elapsed: Duration,
    pub(super) timing: Timing,
    pub(super) config: Config,
    pub(super) process: Process,
    pub(super) random: fastrand::Rng,
    began: Instant,
}

/// What a restart loses.
pub(super) struct Process {
    pub(super) index: SharedIndex,
    pub(super) queue: Queue<Key, ObjectKey>,
    pub(super) sessions: BTreeMap<ObjectKey, (State, Rc<Session>)>,
    pub(super) writers: Writers,
}

/// A connection's session, without its client.
pub(super) struct Session {
    pub(super) connection: ObjectKey,
    pub(super) tenant: String,
    pub(super) listing: RefCell<Option<Arc<Listing>>>,
    pub(super) budget: RefCell<Ledger>,
}

pub(super) type Shared = Rc<RefCell<World>>;

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
            behind: BTreeSet::new(),
            elapsed: Duration::ZERO,
            timing: config.timing,
            began: Instant::now(),
            process: Process::new(&config),
            config,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.began + self.elapsed
    }

    /// The time by the calendar.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(1_794_000_000).unwrap() + self.elapsed
    }

    pub(super) fn push_all(&mut self, triggers: &[Trigger]) {
        for Trigger { key, lane } in triggers {
            let (group, now) = (self.group(key), self.instant());
            self.process.queue.push(key.clone(), group, *lane, now);
        }
    }

    pub(super) fn schedule(&mut self, key: Key, lane: Lane, at: Instant) {
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
    pub(super) fn session_of(&self, connection: &Connection) -> Option<(&State, &Rc<Session>)> {
        let (state, session) = self.process.sessions.get(&connection.key)?;
        state.is_of(connection).then_some((state, session))
    }

    pub(super) fn connection_used_by(&self, partner: &Partner) -> Option<Connection> {
        let index = self.process.index.lock();
        index.connection_used_by(partner).map(|it| (**it).clone())
    }

    /// Whether a pass of the partner's connection has come to a verdict.
    pub(super) fn is_looked_at(&self, partner: &Partner) -> bool {
        let connection = self.connection_used_by(partner);
        let open = connection.as_ref().and_then(|connection| self.session_of(connection));
        open.is_some_and(|(state, _)| state.verdict.is_some())
    }

    pub(super) fn tenant(&mut self, id: &str) -> &mut Tenant {
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
                return expected::check_holders(&self.world.borrow());
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
                world.behind.insert(key.clone());
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
