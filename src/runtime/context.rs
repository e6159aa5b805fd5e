//! What passes share: the configuration, the context, the queue's handle and the report.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::{Notify, Semaphore, SetOnce};

use super::events::Events;
use super::index::{Index, SharedIndex, Trigger};
use super::metrics::Metrics;
use super::object::Key;
use super::queue::{Lane, Limits, Queue};
use super::write::Writer;
use crate::api::reason::Timing;
use crate::connection::Sessions;
use crate::credentials::Identity;
use crate::graph::cloud::Endpoints;
use crate::graph::throttle::Budgets;
use crate::graph::token::TokenClient;
use crate::partner::claim::ObjectId;
use crate::partner::status::HeartbeatRules;

/// How many passes run at once: all, those that nobody waits for, those of one tenant.
const LIMITS: Limits = Limits {
    total: 32,
    bulk: 8,
    group: 4,
};

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
    /// The namespaces in which the operator's own identity, and its node's, may be used; empty: the operator's own.
    pub operator_identity_namespaces: Vec<String>,
    /// The file of the operator's own federated token.
    pub federated_token_file: Option<PathBuf>,
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
    /// Writes to the API server.
    pub writer: Writer,
    /// The request budgets.
    pub budgets: Budgets,
    /// Events.
    pub events: Events,
    /// The HTTPS client for Graph.
    pub http: reqwest::Client,
    /// The same for Entra, and the one for the metadata service.
    pub tokens: TokenClient,
    /// Who the operator is to the API server, once that has answered.
    pub identity: Arc<SetOnce<Identity>>,
    /// Whether the process was asked to end: no change is begun any more.
    pub stopping: AtomicBool,
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

/// The queue, shared. It finds by itself which tenant a pass may have to wait for.
#[derive(Clone)]
pub struct QueueHandle(Arc<QueueInner>);

struct QueueInner {
    queue: Mutex<Queue<Key, String>>,
    index: SharedIndex,
    changed: Notify,
}

impl QueueHandle {
    /// An empty queue for the resources of this index.
    #[must_use]
    pub fn new(index: SharedIndex) -> Self {
        Self(Arc::new(QueueInner {
            queue: Mutex::new(Queue::new(LIMITS)),
            index,
            changed: Notify::new(),
        }))
    }

    /// Locks the queue, for decisions alone.
    pub fn lock(&self) -> MutexGuard<'_, Queue<Key, String>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for the queue.
    pub fn wake(&self) {
        self.0.changed.notify_one();
    }

    /// Waits until the queue has changed.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Asks for a pass now.
    pub fn push(&self, key: Key, lane: Lane) {
        self.push_all(&[Trigger { key, lane }]);
    }

    /// Asks for a pass later; an earlier time that was asked for before stays.
    pub fn schedule(&self, key: Key, lane: Lane, at: Instant) {
        let group = group(&self.0.index.lock(), &key);
        self.lock().schedule(key, group, lane, at);
        self.wake();
    }

    /// Asks for the passes that changes lead to.
    pub fn push_all(&self, triggers: &[Trigger]) {
        if triggers.is_empty() {
            return;
        }
        let groups: Vec<Option<String>> = {
            let index = self.0.index.lock();
            triggers.iter().map(|trigger| group(&index, &trigger.key)).collect()
        };
        let now = Instant::now();
        let mut queue = self.lock();
        for (trigger, group) in triggers.iter().zip(groups) {
            queue.push(trigger.key.clone(), group, trigger.lane, now);
        }
        drop(queue);
        self.wake();
    }
}

/// The tenant that a pass may have to wait for, with its cloud: one that hangs holds only so many workers, however many
/// connections lead to it. A pass without a connection waits for nobody.
fn group(index: &Index, key: &Key) -> Option<String> {
    let connection = match key {
        Key::Connection(key) => &index.connection(key)?.object,
        Key::Partner(key) => index.connection_used_by(&index.partner(key)?.object)?,
    };
    let spec = &connection.spec;
    Some(format!("{}/{}", spec.cloud.unwrap_or_default().name(), spec.tenant_id))
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

    /// A pass that took our finalizer off a resource that is being deleted.
    #[must_use]
    pub fn released(key: Key, began: Instant) -> Self {
        Self {
            key,
            outcome: "Released",
            message: "The resource is let go.".to_owned(),
            changed: true,
            elapsed: began.elapsed(),
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
