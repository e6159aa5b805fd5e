//! Workers, and how they end: the queue decides what runs next, and each pass reports on its way out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::context::{Config, Context, QueueHandle, Report, Writers};
use super::events::Events;
use super::health::Health;
use super::index::{SharedIndex, Trigger};
use super::metrics::Metrics;
use super::object::Key;
use super::queue::Lane;
use super::schema::{self, Installed};
use super::text;
use super::watch::{CONNECTIONS, PARTNERS, follow};
use super::write::Writer;
use crate::api::{ComplianceManagementPartner, GraphConnection};
use crate::connection::{self, Sessions};
use crate::credentials::Identity;
use crate::graph::http::{NoClient, http_client, metadata_client};
use crate::graph::metadata::MetadataService;
use crate::graph::throttle::Budgets;
use crate::graph::token::TokenClient;
use crate::partner;

/// How many statuses of first passes and polls are written at once.
const STATUS_SLOTS: usize = 2;

/// How long passes that are under way may take to end when the process is asked to: a change, the read after it and the
/// write of status, each at its longest.
const DRAIN: Duration = Duration::from_secs(75);

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
pub struct NotMade(#[from] NoClient);

impl Operator {
    /// Makes the operator. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// Where no HTTPS client can be made, such as for want of CA certificates.
    pub fn new(client: Client, config: Config) -> Result<Self, NotMade> {
        let metrics = Metrics::default();
        let index = SharedIndex::new(config.observe_only);
        let queue = QueueHandle::new(index.clone());
        let health = Health::new(queue.clone(), config.timing.secret);
        let http = http_client(config.extra_roots.as_deref())?;
        let metadata = MetadataService::new(metadata_client()?, config.endpoints.metadata());
        let tokens = TokenClient::new(http.clone(), metadata, config.timing.request, metrics.clone());
        let context = Context {
            identity: Arc::default(),
            stopping: AtomicBool::new(false),
            index,
            sessions: Sessions::default(),
            queue,
            budgets: Budgets::default(),
            writer: Writer {
                client: client.clone(),
                metrics: metrics.clone(),
                installed: Installed::default(),
            },
            events: Events::new(client.clone(), metrics.clone(), &config.instance),
            metrics,
            http,
            tokens,
            status_slots: Semaphore::new(STATUS_SLOTS),
            writers: Writers::default(),
            client,
            config,
        };
        Ok(Self {
            context: Arc::new(context),
            health: Arc::new(health),
        })
    }

    /// Runs until `stop` turns true; then passes that are under way end, and what they have done is written.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { context, health } = self;
        let mut watches = JoinSet::new();
        let asking = tokio::spawn(learn_identity(Arc::clone(&context)));
        let schemas = compare_schemas(&context);
        let scopes: Vec<Option<String>> = match context.config.watch_namespaces.as_slice() {
            [] => vec![None],
            namespaces => namespaces.iter().cloned().map(Some).collect(),
        };
        // All before any is filled: ready is who has all.
        for scope in &scopes {
            health.expect(PARTNERS.list(scope.clone()));
            health.expect(CONNECTIONS.list(scope.clone()));
        }
        for scope in scopes {
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
        let mut withheld = Withheld::new();
        loop {
            if health.ready() {
                start_passes(&context, &health, &mut passes, &mut withheld);
            }
            let due = context.queue.lock().next_due();
            let due = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = passes.join_next() => end_pass(&context, &health, ended),
                Some(ended) = watches.join_next() => {
                    // Without its watch the operator would go by what once was.
                    let error = ended.err().map(|error| text::of_error(&error));
                    tracing::error!(error, "a watch died; the process ends");
                    std::process::abort();
                }
                () = context.queue.changed() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
        tracing::info!(under_way = passes.len(), "asked to stop: passes under way end first");
        context.stopping.store(true, Ordering::Relaxed);
        asking.abort();
        schemas.abort();
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

/// Asks the API server who the operator is, until it answers: advice on what to grant names the account.
async fn learn_identity(context: Arc<Context>) {
    let api: Api<SelfSubjectReview> = Api::all(context.client.clone());
    let (parameters, question) = (PostParams::default(), SelfSubjectReview::default());
    loop {
        let review = tokio::time::timeout(Duration::from_secs(10), api.create(&parameters, &question)).await;
        let user = review
            .ok()
            .and_then(Result::ok)
            .and_then(|review| review.status?.user_info?.username);
        if let Some(name) = user {
            let _ = context.identity.set(Identity::new(&name));
            // Its own namespace is known from now on, and with it who may use the operator's identity.
            let waiting = context.index.lock().by_operators_identity();
            context.queue.push_all(&waiting);
            return;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Beside the first lists, so that the first writes know what an older CRD does not.
fn compare_schemas(context: &Context) -> JoinHandle<()> {
    let Writer {
        client,
        metrics,
        installed,
    } = context.writer.clone();
    tokio::spawn(schema::watch(client, metrics, installed, context.config.timing.slow))
}

/// What waits until its namespace is listed, by that.
type Withheld = HashMap<String, HashMap<Key, Lane>>;

fn start_passes(context: &Arc<Context>, health: &Health, passes: &mut JoinSet<Report>, withheld: &mut Withheld) {
    for (_, keys) in withheld.extract_if(|namespace, _| health.serves(namespace)) {
        let keys = keys.into_iter().map(|(key, lane)| Trigger { key, lane });
        context.queue.push_all(&keys.collect::<Vec<_>>());
    }
    loop {
        let Some(job) = context.queue.lock().pop(Instant::now()) else {
            return;
        };
        if !health.serves(job.key.namespace()) {
            context.queue.lock().done(&job.key);
            let namespace = job.key.namespace().to_owned();
            withheld.entry(namespace).or_default().insert(job.key, job.lane);
            continue;
        }
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
            if let Ok(report) = tokio::time::timeout(limit, pass).await {
                return report;
            }
            let again = Instant::now() + context.config.timing.backoff_cap;
            context.queue.schedule(job.key.clone(), job.lane, again);
            Report {
                key: job.key,
                outcome: "TimedOut",
                message: "The pass took too long and was given up; it is tried again.".to_owned(),
                changed: true,
                elapsed: began.elapsed(),
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
            let error = text::of_error(&error);
            tracing::error!(error, "a pass died; the process ends");
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
    let message = text::clean(&message, text::CONDITION_MESSAGE_CHARS);
    if changed {
        tracing::info!(kind, %name, outcome, detail = message, elapsed_ms, "reconciled");
    } else {
        tracing::debug!(kind, %name, outcome, detail = message, elapsed_ms, "reconciled");
    }
}
