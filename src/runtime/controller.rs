//! Watches, workers, and how they end: what changes in Kubernetes goes into the index, the queue decides what runs next,
//! and each pass reports on its way out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use super::events::Events;
use super::index::{Connection, Index, Key, ObjectKey, Partner, SharedIndex, Trigger, connection_of};
use super::metrics::Metrics;
use super::queue::{Lane, Limits, Queue};
use super::text;
use crate::api::reason::Timing;
use crate::api::{ComplianceManagementPartner, GraphConnection};
use crate::connection::{self, Sessions};
use crate::credentials::Identity;
use crate::graph::cloud::Endpoints;
use crate::graph::throttle::Budgets;
use crate::partner;
use crate::partner::claim::ObjectId;
use crate::partner::status::HeartbeatRules;

/// How many passes run at once: all, those that nobody waits for, those of one connection.
const LIMITS: Limits = Limits {
    total: 32,
    bulk: 8,
    group: 4,
};

/// How many statuses of first passes and polls are written at once.
const STATUS_SLOTS: usize = 4;

/// How many objects one page of a list has.
const PAGE: u32 = 100;

/// How long passes that are under way may take to end when the process is asked to.
const DRAIN: Duration = Duration::from_secs(25);

/// With no pass ended for this long although some wait, the process is stuck.
const STUCK: Duration = Duration::from_secs(600);

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespaces that are watched; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Every wait.
    pub timing: Timing,
    /// How heartbeats are judged and told.
    pub heartbeat: HeartbeatRules,
    /// Whether nothing is ever written to Graph.
    pub observe_only: bool,
    /// Endpoints of a test in the place of Microsoft's.
    pub endpoints: Endpoints,
    /// The namespaces in which the operator's own identity may be used.
    pub operator_identity_namespaces: Vec<String>,
    /// How long a clean-up may be blocked before it is given up; `None`: for ever.
    pub abandon_cleanup_after: Option<Duration>,
    /// CA certificates (PEM) that are trusted beside the system's.
    pub extra_roots: Option<String>,
    /// This process' name, for events.
    pub instance: String,
}

/// All that a pass needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was started with.
    pub config: Config,
    /// The resources.
    pub index: SharedIndex,
    /// The sessions of the connections.
    pub sessions: Sessions,
    /// What runs next.
    pub queue: QueueHandle,
    /// Counters.
    pub metrics: Metrics,
    /// The request budgets.
    pub budgets: Budgets,
    /// Events.
    pub events: Events,
    /// The HTTPS client for Graph and Entra.
    pub http: reqwest::Client,
    /// Who the operator is to the API server.
    pub identity: Identity,
    /// Slots for statuses that nobody waits for.
    pub status_slots: Semaphore,
    /// One writer for each object in Graph.
    pub writers: Writers,
}

/// Locks by object in Graph, so that a claim that moves between two passes never leads to two writers at once.
#[derive(Default)]
pub struct Writers(Mutex<HashMap<ObjectId, Weak<tokio::sync::Mutex<()>>>>);

impl Writers {
    /// The lock of one object.
    pub fn of(&self, object: &ObjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(object).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(object.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// The queue, shared.
#[derive(Clone)]
pub struct QueueHandle(Arc<QueueInner>);

struct QueueInner {
    queue: Mutex<Queue<Key, ObjectKey>>,
    changed: Notify,
}

impl Default for QueueHandle {
    fn default() -> Self {
        Self(Arc::new(QueueInner {
            queue: Mutex::new(Queue::new(LIMITS)),
            changed: Notify::new(),
        }))
    }
}

impl QueueHandle {
    fn lock(&self) -> MutexGuard<'_, Queue<Key, ObjectKey>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a pass now.
    pub fn push(&self, key: Key, group: Option<ObjectKey>, lane: Lane) {
        self.lock().push(key, group, lane, Instant::now());
        self.0.changed.notify_one();
    }

    /// Asks for a pass later.
    pub fn schedule(&self, key: Key, group: Option<ObjectKey>, lane: Lane, at: Instant) {
        self.lock().schedule(key, group, lane, at);
        self.0.changed.notify_one();
    }

    /// Asks for the passes that changes lead to.
    pub fn push_all(&self, index: &SharedIndex, triggers: &[Trigger]) {
        if triggers.is_empty() {
            return;
        }
        let groups: Vec<Option<ObjectKey>> = {
            let index = index.lock();
            triggers.iter().map(|trigger| group(&index, &trigger.key)).collect()
        };
        let now = Instant::now();
        let mut queue = self.lock();
        for (trigger, group) in triggers.iter().zip(groups) {
            queue.push(trigger.key.clone(), group, trigger.lane, now);
        }
        drop(queue);
        self.0.changed.notify_one();
    }
}

/// The connection that a pass goes by: a tenant that hangs holds only so many workers.
fn group(index: &Index, key: &Key) -> Option<ObjectKey> {
    match key {
        Key::Connection(key) => Some(key.clone()),
        Key::Partner(key) => index.partner(key).map(|entry| connection_of(&entry.object)),
    }
}

/// What a pass tells on its way out.
#[derive(Debug)]
pub struct Report {
    /// Of which resource.
    pub key: Key,
    /// A reason, or another word of a closed set.
    pub outcome: &'static str,
    /// What happened and what to do.
    pub message: String,
    /// Whether status has changed.
    pub changed: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// A pass of a resource that is not there any more.
    #[must_use]
    pub fn gone(key: Key) -> Self {
        Self {
            key,
            outcome: "Gone",
            message: String::new(),
            changed: false,
            elapsed: Duration::ZERO,
        }
    }

    /// A pass that had nothing to do.
    #[must_use]
    pub fn unchanged(key: Key, began: Instant) -> Self {
        Self {
            key,
            outcome: "Unchanged",
            message: String::new(),
            changed: false,
            elapsed: began.elapsed(),
        }
    }
}

/// What the probes ask.
pub struct Health {
    lists: Mutex<HashMap<String, bool>>,
    queue: QueueHandle,
    ended: Mutex<Instant>,
}

impl Health {
    fn new(queue: QueueHandle) -> Self {
        Self {
            lists: Mutex::default(),
            queue,
            ended: Mutex::new(Instant::now()),
        }
    }

    /// Whether passes make progress: none waits while none ends.
    #[must_use]
    pub fn live(&self) -> bool {
        let waiting = self
            .queue
            .lock()
            .oldest_waiting(Instant::now())
            .is_some_and(|waiting| waiting > STUCK);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        !waiting || ended < STUCK
    }

    /// Whether both kinds have been listed in every watched namespace. Graph being away changes nothing here.
    #[must_use]
    pub fn ready(&self) -> bool {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        !lists.is_empty() && lists.values().all(|listed| *listed)
    }

    fn expect(&self, list: &str) {
        self.lists
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(list.to_owned(), false);
    }

    fn listed(&self, list: &str) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(list.to_owned(), true);
        if lists.values().all(|listed| *listed) {
            tracing::info!("all resources are listed");
            self.queue.0.changed.notify_one();
        }
    }

    fn pass_ended(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The operator, made but not running.
pub struct Operator {
    /// All that passes need.
    pub context: Arc<Context>,
    /// What the probes ask.
    pub health: Arc<Health>,
}

/// Why the operator cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotMade(#[from] crate::graph::client::NoClient);

impl Operator {
    /// Makes the operator. Asks the API server who it is; where that fails, advice names no account.
    ///
    /// # Errors
    /// Where no HTTPS client can be made, such as for want of CA certificates.
    pub async fn new(client: Client, config: Config) -> Result<Self, NotMade> {
        let metrics = Metrics::default();
        let queue = QueueHandle::default();
        let http = crate::graph::client::http_client(config.extra_roots.as_deref())?;
        let context = Context {
            identity: identity(&client).await,
            index: SharedIndex::new(config.observe_only),
            sessions: Sessions::default(),
            queue: queue.clone(),
            budgets: Budgets::default(),
            events: Events::new(client.clone(), metrics.clone(), &config.instance),
            metrics,
            http,
            status_slots: Semaphore::new(STATUS_SLOTS),
            writers: Writers::default(),
            client,
            config,
        };
        Ok(Self {
            context: Arc::new(context),
            health: Arc::new(Health::new(queue)),
        })
    }

    /// Runs until `stop` turns true; then passes that are under way end, and what they have done is written.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { context, health } = self;
        let mut watches = JoinSet::new();
        let scopes: Vec<Option<String>> = match context.config.watch_namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().cloned().map(Some).collect(),
        };
        for scope in scopes {
            let name = scope.as_deref().unwrap_or("all namespaces");
            health.expect(&format!("partners in {name}"));
            health.expect(&format!("connections in {name}"));
            watches.spawn(follow::<ComplianceManagementPartner, _>(
                Arc::clone(&context),
                Arc::clone(&health),
                scope.clone(),
                PARTNERS,
            ));
            watches.spawn(follow::<GraphConnection, _>(
                Arc::clone(&context),
                Arc::clone(&health),
                scope,
                CONNECTIONS,
            ));
        }
        let mut passes: JoinSet<Report> = JoinSet::new();
        loop {
            // A partner whose connection is not listed yet would be told that it has none.
            if health.ready() {
                start_passes(&context, &mut passes);
            }
            let due = context.queue.lock().next_due();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = passes.join_next() => end_pass(&context, &health, ended),
                () = context.queue.0.changed.notified() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
        tracing::info!(under_way = passes.len(), "asked to stop: passes under way end first");
        watches.abort_all();
        let drain = async {
            while let Some(ended) = passes.join_next().await {
                end_pass(&context, &health, ended);
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            tracing::warn!("some passes did not end in time");
        }
        context.events.drain().await;
    }
}

async fn identity(client: &Client) -> Identity {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let (parameters, question) = (PostParams::default(), SelfSubjectReview::default());
    let review = tokio::time::timeout(Duration::from_secs(10), api.create(&parameters, &question));
    let name = match review.await {
        Ok(Ok(review)) => review.status.and_then(|status| status.user_info?.username),
        _ => None,
    };
    Identity::new(name.as_deref().unwrap_or("the-operator"))
}

fn start_passes(context: &Arc<Context>, passes: &mut JoinSet<Report>) {
    loop {
        let Some(job) = context.queue.lock().pop(Instant::now()) else {
            return;
        };
        let context = Arc::clone(context);
        passes.spawn(async move {
            let limit = context.config.timing.pass;
            let began = Instant::now();
            let pass = async {
                match &job.key {
                    Key::Partner(key) => partner::reconcile(&context, key, job.lane).await,
                    Key::Connection(key) => connection::reconcile(&context, key, job.lane).await,
                }
            };
            match tokio::time::timeout(limit, pass).await {
                Ok(report) => report,
                Err(_) => {
                    let group = group(&context.index.lock(), &job.key);
                    let again = Instant::now() + context.config.timing.backoff_cap;
                    context.queue.schedule(job.key.clone(), group, job.lane, again);
                    let message = "The pass took too long and was given up; it is tried again.".to_owned();
                    Report {
                        key: job.key,
                        outcome: "TimedOut",
                        message,
                        changed: true,
                        elapsed: began.elapsed(),
                    }
                }
            }
        });
    }
}

/// One metric and one log line a pass.
fn end_pass(context: &Context, health: &Health, ended: Result<Report, tokio::task::JoinError>) {
    health.pass_ended();
    let report = match ended {
        Ok(report) => report,
        Err(error) => {
            // A pass that panics has left the queue in the dark about its key: the process starts anew.
            tracing::error!(%error, "a pass died; the process ends");
            std::process::abort();
        }
    };
    let Report {
        key,
        outcome,
        message,
        changed,
        elapsed,
    } = report;
    context.queue.lock().done(&key);
    let (kind, name) = match &key {
        Key::Partner(name) => ("ComplianceManagementPartner", name),
        Key::Connection(name) => ("GraphConnection", name),
    };
    context.metrics.reconciled(kind, outcome, elapsed);
    let elapsed_ms = elapsed.as_millis();
    if changed {
        tracing::info!(kind, %name, outcome, detail = message, elapsed_ms, "reconciled");
    } else {
        tracing::debug!(kind, %name, outcome, detail = message, elapsed_ms, "reconciled");
    }
}

/// How one kind gets into the index and out of it.
struct Kind<K> {
    name: &'static str,
    partners: bool,
    put: fn(&mut Index, K, bool) -> Vec<Trigger>,
}

const PARTNERS: Kind<ComplianceManagementPartner> = Kind {
    name: "partners",
    partners: true,
    put: |index, resource, first| index.put_partner(Partner::from(resource), Instant::now(), first),
};

const CONNECTIONS: Kind<GraphConnection> = Kind {
    name: "connections",
    partners: false,
    put: |index, resource, _| index.put_connection(Connection::from(resource)),
};

/// Keeps the index as the API server has it, for one kind in one namespace or in all.
async fn follow<K, S>(context: Arc<Context>, health: Arc<Health>, scope: Option<String>, kind: Kind<K>)
where
    K: Resource<DynamicType = (), Scope = S> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    DeserializeGuard<K>: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let api: Api<DeserializeGuard<K>> = match &scope {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let list = format!("{} in {}", kind.name, scope.as_deref().unwrap_or("all namespaces"));
    let mut events = watcher(api, watcher::Config::default().page_size(PAGE)).boxed();
    let mut feed = Feed {
        context,
        kind,
        scope,
        first: true,
        listed: std::collections::HashSet::new(),
    };
    let mut wait = Duration::from_millis(500);
    let mut told: Option<Instant> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    health.listed(&list);
                    told = None;
                    wait = Duration::from_millis(500);
                }
                feed.take(event);
            }
            Err(error) => {
                trouble(&feed.context.metrics, &list, &error, &mut told);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// A watch that expires is everyday; one that stays broken is told once a minute.
fn trouble(metrics: &Metrics, list: &str, error: &watcher::Error, told: &mut Option<Instant>) {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => 0,
    };
    if code == 410 {
        tracing::debug!(list, "the watch expired; it is begun anew");
        return;
    }
    metrics.watch_error();
    if told.is_some_and(|told| told.elapsed() < Duration::from_secs(60)) {
        return;
    }
    *told = Some(Instant::now());
    let error = text::clean(&error.to_string(), 300);
    match code {
        404 => tracing::warn!(
            list,
            "the CustomResourceDefinition is not installed: waiting for it; apply the files in crds/"
        ),
        401 | 403 => tracing::warn!(
            list,
            error,
            "the operator may not list or watch: check its ClusterRole and binding"
        ),
        _ => tracing::warn!(list, error, "the API server cannot be watched; trying again"),
    }
}

struct Feed<K> {
    context: Arc<Context>,
    kind: Kind<K>,
    scope: Option<String>,
    /// Whether nothing has been listed before.
    first: bool,
    listed: std::collections::HashSet<ObjectKey>,
}

impl<K: Resource<DynamicType = ()>> Feed<K> {
    fn take(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(guard) => {
                let first = self.first;
                if let Some(key) = self.put(guard, first) {
                    self.listed.insert(key);
                }
            }
            Event::InitDone => {
                let known = self
                    .context
                    .index
                    .lock()
                    .keys(self.scope.as_deref(), self.kind.partners);
                for key in known.difference(&std::mem::take(&mut self.listed)) {
                    self.remove(key);
                }
                self.first = false;
            }
            Event::Apply(guard) => {
                self.put(guard, false);
            }
            Event::Delete(guard) => {
                if let Some(key) = guard_key(&guard) {
                    self.remove(&key);
                }
            }
        }
    }

    /// One object that cannot be read never stops the others: it is told, and left out.
    fn put(&self, guard: DeserializeGuard<K>, first: bool) -> Option<ObjectKey> {
        let key = guard_key(&guard)?;
        let resource = match guard.0 {
            Ok(resource) => resource,
            Err(invalid) => {
                self.context.metrics.watch_error();
                let error = text::clean(&invalid.error.to_string(), 300);
                tracing::warn!(kind = self.kind.name, name = %key, error, "this object cannot be read and is left alone; apply it again");
                self.remove(&key);
                return None;
            }
        };
        let triggers = (self.kind.put)(&mut self.context.index.lock(), resource, first);
        self.context.queue.push_all(&self.context.index, &triggers);
        Some(key)
    }

    fn remove(&self, key: &ObjectKey) {
        let mut index = self.context.index.lock();
        let triggers = if self.kind.partners {
            index.remove_partner(key)
        } else {
            index.remove_connection(key)
        };
        drop(index);
        if self.kind.partners {
            self.context.queue.lock().forget(&Key::Partner(key.clone()));
        } else {
            self.context.queue.lock().forget(&Key::Connection(key.clone()));
            self.context.sessions.close(key);
        }
        self.context.queue.push_all(&self.context.index, &triggers);
    }
}

fn guard_key<K: Resource<DynamicType = ()>>(guard: &DeserializeGuard<K>) -> Option<ObjectKey> {
    let meta = match &guard.0 {
        Ok(resource) => resource.meta(),
        Err(invalid) => &invalid.metadata,
    };
    Some(ObjectKey {
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
    })
}
