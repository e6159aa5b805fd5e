//! The reconcile of a `GraphConnection`: it gets the token, lists the tenant's partners, and sets the pace of the polls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Url;

use crate::api::connection::{GraphConnectionSpec, GraphConnectionStatus, ListedPartner};
use crate::api::partner::parse_sync_interval;
use crate::api::reason::{Applied, Pair, Reason, Retry};
use crate::api::{self, GraphConnection};
use crate::credentials::ClientSecretSource;
use crate::graph::client::GraphClient;
use crate::graph::cloud::Cloud;
use crate::graph::error::{Failure, FailureKind, READ_ROLES, TokenFailureKind, WRITE_ROLES};
use crate::graph::session::{CredentialFailure, Listing, Session, Trouble, Waits};
use crate::graph::throttle::{BudgetKey, Priority};
use crate::graph::token::{TokenClient, TokenRequest};
use crate::partner::status::{self, Judgement};
use crate::runtime::backoff::Backoff;
use crate::runtime::controller::{Context, Report};
use crate::runtime::index::{Connection, Key, ObjectKey, Written, newer};
use crate::runtime::queue::Lane;
use crate::runtime::{text, write};

/// The most partners that status lists.
const MOST_LISTED: usize = 100;

/// What the last pass of a connection has come to. Its partners go by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionVerdict {
    /// Why it is as it is.
    pub reason: Reason,
    /// What happened and what to do.
    pub message: String,
}

/// A connection's session, with what its partners need to know.
#[derive(Clone)]
pub struct Open {
    /// The session.
    pub session: Arc<Session>,
    /// What the last pass has come to; `None` before the first one has ended.
    pub verdict: Option<ConnectionVerdict>,
    /// The cloud.
    pub cloud: Cloud,
    /// The tenant's id.
    pub tenant: String,
}

/// The sessions of all connections. A session goes with its connection, and with every change of its spec.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<ObjectKey, State>>);

struct State {
    uid: String,
    spec: GraphConnectionSpec,
    session: Option<Arc<Session>>,
    verdict: Option<ConnectionVerdict>,
    /// The session's share of the interval, 0.9 to 1.1, so that many connections do not list at once.
    jitter: f64,
    backoff: Backoff,
    trouble_since: Option<Instant>,
    request: Option<String>,
}

impl Sessions {
    /// The session of a connection; `None` where no pass of it has begun, or its kind of auth has none yet.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Open> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = sessions.get(key)?;
        let session = Arc::clone(state.session.as_ref()?);
        let cloud = cloud(&state.spec);
        Some(Open {
            session,
            verdict: state.verdict.clone(),
            cloud,
            tenant: state.spec.tenant_id.clone(),
        })
    }

    /// What the last pass of a connection has come to, also where it has no session.
    #[must_use]
    pub fn verdict(&self, key: &ObjectKey) -> Option<ConnectionVerdict> {
        self.with(key, |state| state.verdict.clone()).flatten()
    }

    fn with<T>(&self, key: &ObjectKey, read: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(key)
            .map(read)
    }

    /// Drops the session of a connection that is gone.
    pub fn close(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The cloud of a connection.
fn cloud(spec: &GraphConnectionSpec) -> Cloud {
    match spec.cloud.unwrap_or_default() {
        api::connection::Cloud::Global => Cloud::Global,
        api::connection::Cloud::UsGov => Cloud::UsGov,
        api::connection::Cloud::UsGovDod => Cloud::UsGovDod,
        api::connection::Cloud::China => Cloud::China,
    }
}

/// One pass of a connection.
pub async fn reconcile(ctx: &Context, key: &ObjectKey, lane: Lane) -> Report {
    let Some(object) = ctx.index.lock().connection(key).map(|entry| Arc::clone(&entry.object)) else {
        ctx.sessions.close(key);
        return Report::gone(Key::Connection(key.clone()));
    };
    let before = ctx.sessions.verdict(key);
    let began = Instant::now();
    let (verdict, retry_after, listing) = match open(ctx, &object) {
        Err(verdict) => (verdict, None, None),
        Ok(session) => match visit(ctx, &object, &session, lane, before.is_none(), began).await {
            Ok(listing) => (connected(), None, Some(listing)),
            Err(trouble) => {
                let roles = session.roles().await;
                let Told {
                    reason,
                    message,
                    retry_after,
                } = tell(&trouble, roles.as_deref(), false);
                (ConnectionVerdict { reason, message }, retry_after, None)
            }
        },
    };
    let written = write_status(ctx, &object, &verdict, listing.as_deref()).await;
    let wait = settle(ctx, key, &object, &verdict, retry_after);
    wake_partners(ctx, key, before.as_ref(), &verdict, listing.as_deref());
    if let Some(wait) = wait {
        ctx.queue.schedule(
            Key::Connection(key.clone()),
            Some(key.clone()),
            Lane::Bulk,
            began + wait,
        );
    }
    if written.is_err() {
        let soon = Instant::now() + ctx.config.timing.backoff;
        ctx.queue
            .schedule(Key::Connection(key.clone()), Some(key.clone()), Lane::Bulk, soon);
    }
    Report {
        key: Key::Connection(key.clone()),
        outcome: verdict.reason.as_str(),
        message: verdict.message.clone(),
        changed: written.unwrap_or(true),
        elapsed: began.elapsed(),
    }
}

fn connected() -> ConnectionVerdict {
    ConnectionVerdict {
        reason: Reason::Connected,
        message: "A token was got and the tenant's compliance management partners were listed.".to_owned(),
    }
}

/// The session of the connection as it is now. `Err` where its kind of auth does not work in this version.
fn open(ctx: &Context, object: &Connection) -> Result<Arc<Session>, ConnectionVerdict> {
    let mut sessions = ctx.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
    let stale = sessions
        .get(&object.key)
        .is_none_or(|state| state.uid != object.uid || state.spec != object.spec);
    if stale {
        let state = State {
            uid: object.uid.clone(),
            spec: object.spec.clone(),
            session: session(ctx, object).map(Arc::new),
            verdict: None,
            jitter: 0.9 + 0.2 * fastrand::f64(),
            backoff: Backoff::default(),
            trouble_since: None,
            request: object.status.last_handled_reconcile_at.clone(),
        };
        sessions.insert(object.key.clone(), state);
    }
    sessions
        .get(&object.key)
        .and_then(|state| state.session.clone())
        .ok_or_else(|| ConnectionVerdict {
            reason: Reason::NotSupportedYet,
            message:
                "This version of the operator supports auth.clientSecret alone: use it, or wait for a later version. \
                  Nothing is sent to Entra or Graph."
                    .to_owned(),
        })
}

fn session(ctx: &Context, object: &Connection) -> Option<Session> {
    let spec = &object.spec;
    let secret = &spec.auth.client_secret.as_ref()?.secret_ref;
    let client = spec.client_id.clone()?;
    let (cloud, timing) = (cloud(spec), &ctx.config.timing);
    let endpoints = &ctx.config.endpoints;
    let source = ClientSecretSource::new(
        ctx.client.clone(),
        &object.key.namespace,
        &secret.name,
        secret.key(),
        ctx.identity.clone(),
    );
    let request = TokenRequest {
        authority: endpoints.authority(cloud).to_owned(),
        tenant: spec.tenant_id.clone(),
        client: client.clone(),
        scope: endpoints.scope(cloud),
    };
    let root = Url::parse(endpoints.graph_root(cloud)).ok()?;
    let waits = Waits {
        refused: (timing.credentials, timing.credentials_cap),
        unavailable: (timing.backoff, timing.backoff_cap),
        forbidden: timing.slow.mul_f64(0.9),
    };
    Some(Session::new(
        request,
        Box::new(source),
        TokenClient::new(ctx.http.clone(), timing.request, ctx.metrics.clone()),
        GraphClient::new(ctx.http.clone(), root, timing.request, ctx.metrics.clone()),
        ctx.budgets.get(BudgetKey::new(cloud.name(), &spec.tenant_id, &client)),
        waits,
    ))
}

/// Gets a token and lists. An edit, a request and a connection that is not ready look at the Secret first.
async fn visit(
    ctx: &Context,
    object: &Connection,
    session: &Session,
    lane: Lane,
    first: bool,
    began: Instant,
) -> Result<Arc<Listing>, Trouble> {
    let asked = ctx
        .sessions
        .with(&object.key, |state| {
            let asked = object.request.is_some() && state.request != object.request;
            state.request.clone_from(&object.request);
            asked
        })
        .unwrap_or_default();
    if asked {
        session.forget_refusal().await;
    }
    // A session that is new reads the Secret for its first token anyway.
    if (asked || lane == Lane::Edit) && !first {
        session.recheck_credential().await?;
    }
    let priority = if lane == Lane::Edit {
        Priority::Edit
    } else {
        Priority::Poll
    };
    session.list(began, priority).await
}

/// Remembers the verdict, and tells when the next pass is due.
fn settle(
    ctx: &Context,
    key: &ObjectKey,
    object: &Connection,
    verdict: &ConnectionVerdict,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let timing = &ctx.config.timing;
    let shortest = shortest_interval(ctx, key);
    ctx.sessions.with(key, |state| {
        if state.uid != object.uid {
            return None;
        }
        state.verdict = Some(verdict.clone());
        let transient = verdict.reason.is_transient() || verdict.reason == Reason::PrincipalNotFound;
        if transient {
            state.trouble_since.get_or_insert_with(Instant::now);
        } else {
            state.trouble_since = None;
            state.backoff.reset();
        }
        match verdict.reason.row(Applied::NotYet).retry {
            Retry::OnChange => None,
            Retry::Poll | Retry::Grace => Some(shortest.mul_f64(state.jitter)),
            Retry::Slow => Some(timing.slow),
            Retry::VerySlow => Some(timing.very_slow),
            // A refused credential is asked for no more often than its backoff allows, which the session keeps; its
            // Secret is looked at meanwhile.
            Retry::Secret | Retry::Credentials => Some(timing.secret),
            Retry::Backoff | Retry::OnChangeOrSoon => Some(state.backoff.next(
                timing.backoff,
                timing.backoff_cap,
                retry_after,
                fastrand::f64(),
            )),
        }
    })?
}

/// The shortest syncInterval of the partners that are polled over this connection.
fn shortest_interval(ctx: &Context, key: &ObjectKey) -> Duration {
    let index = ctx.index.lock();
    let partners = index.partners_of(key);
    let intervals = partners.iter().filter_map(|partner| {
        let object = &index.partner(partner)?.object;
        (object.spec.suspend != Some(true)).then(|| sync_interval(ctx, object.spec.sync_interval.as_deref()))
    });
    intervals.min().unwrap_or(ctx.config.timing.sync_interval)
}

/// A resource's own interval, or the operator's.
#[must_use]
pub fn sync_interval(ctx: &Context, own: Option<&str>) -> Duration {
    own.and_then(parse_sync_interval)
        .unwrap_or(ctx.config.timing.sync_interval)
}

/// Queues the partners whose turn it is: all where the verdict is another one, else those whose poll is due.
fn wake_partners(
    ctx: &Context,
    key: &ObjectKey,
    before: Option<&ConnectionVerdict>,
    verdict: &ConnectionVerdict,
    listing: Option<&Listing>,
) {
    let changed = before.is_none_or(|before| before.reason != verdict.reason);
    if changed {
        let triggers = ctx.index.lock().around_connection(key);
        ctx.queue.push_all(&ctx.index, &triggers);
        return;
    }
    let Some(listing) = listing else { return };
    let jitter = ctx.sessions.with(key, |state| state.jitter).unwrap_or(1.0);
    let tolerance = shortest_interval(ctx, key).mul_f64(0.2);
    let index = ctx.index.lock();
    let due = |partner: &ObjectKey| {
        let Some(entry) = index.partner(partner) else {
            return false;
        };
        let interval = sync_interval(ctx, entry.object.spec.sync_interval.as_deref()).mul_f64(jitter);
        let read = entry.memory.read_at;
        read.is_none_or(|read| listing.began.saturating_duration_since(read) + tolerance >= interval)
    };
    let keys: Vec<ObjectKey> = index.partners_of(key).into_iter().filter(due).collect();
    drop(index);
    for partner in keys {
        ctx.queue.push(Key::Partner(partner), Some(key.clone()), Lane::Bulk);
    }
}

/// What is told of some trouble.
pub struct Told {
    /// The reason.
    pub reason: Reason,
    /// What happened and what to do; stable.
    pub message: String,
    /// The pause that was asked for.
    pub retry_after: Option<Duration>,
}

/// Puts trouble of a session in a user's words. `roles` are the token's, `write` whether it was to write.
#[must_use]
pub fn tell(trouble: &Trouble, roles: Option<&[String]>, write: bool) -> Told {
    let told = |reason, message: String, retry_after| Told {
        reason,
        message,
        retry_after,
    };
    match trouble {
        Trouble::Credential(CredentialFailure::NotFound(message)) => {
            told(Reason::SecretNotFound, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::Invalid(message)) => told(Reason::SecretInvalid, message.clone(), None),
        Trouble::Credential(CredentialFailure::NotGranted(message)) => {
            told(Reason::AccessNotGranted, message.clone(), None)
        }
        Trouble::Credential(CredentialFailure::Unavailable(message)) => {
            told(Reason::GraphUnavailable, message.clone(), None)
        }
        Trouble::Token(failure) => {
            let reason = match failure.kind {
                TokenFailureKind::Rejected => Reason::CredentialsRejected,
                TokenFailureKind::Throttled => Reason::Throttled,
                TokenFailureKind::Unavailable => Reason::GraphUnavailable,
            };
            told(reason, failure.message.clone(), failure.retry_after)
        }
        Trouble::TenantMismatch => told(
            Reason::TenantMismatch,
            "Entra's token is for another tenant than spec.tenantId: create the connection anew with the right tenant."
                .to_owned(),
            None,
        ),
        Trouble::Graph(failure) => {
            let (reason, message) = tell_failure(failure, roles, write);
            told(reason, message, failure.retry_after)
        }
    }
}

fn tell_failure(failure: &Failure, roles: Option<&[String]>, write: bool) -> (Reason, String) {
    let scrubbed = &failure.message;
    match failure.kind {
        FailureKind::Unauthorized | FailureKind::Forbidden => {
            (Reason::PermissionDenied, permission_denied(scrubbed, roles, write))
        }
        FailureKind::NotLicensed => (
            Reason::TenantNotLicensed,
            "The tenant has no active Intune licence, or no MDM authority is set: mend that in the Intune admin center."
                .to_owned(),
        ),
        FailureKind::PrincipalNotFound => (
            Reason::PrincipalNotFound,
            "Graph does not know the app's service principal yet. A new one takes some minutes; if it stays so, create \
             the enterprise application in this tenant."
                .to_owned(),
        ),
        FailureKind::Throttled => {
            (Reason::Throttled, "Microsoft asks for a pause; the operator goes on when it is over.".to_owned())
        }
        FailureKind::Unavailable | FailureKind::PreconditionFailed => {
            (Reason::GraphUnavailable, format!("{}. It is tried again.", scrubbed.trim_end_matches('.')))
        }
        FailureKind::NotFound | FailureKind::Rejected => {
            (Reason::RejectedByGraph, format!("Graph refuses the request: {scrubbed}"))
        }
    }
}

/// Goes by the token's own roles, not by Graph's sentence.
fn permission_denied(scrubbed: &str, roles: Option<&[String]>, write: bool) -> String {
    let (needed, least): (&[&str], &str) = if write {
        (&WRITE_ROLES, "DeviceManagementServiceConfig.ReadWrite.All")
    } else {
        (&READ_ROLES, "DeviceManagementServiceConfig.Read.All")
    };
    match roles {
        Some(roles) if roles.iter().any(|role| needed.contains(&role.as_str())) => format!(
            "Graph refuses app-only access here although the app has the role that is needed; nothing can be granted. \
             Graph says: {scrubbed}"
        ),
        _ => format!(
            "The app lacks the application permission {least}: add it to the app registration and grant admin consent. \
             For a connection that only reads, access: ReadOnly and DeviceManagementServiceConfig.Read.All are enough."
        ),
    }
}

/// Writes the connection's status where it differs. `Ok(true)` where it did.
async fn write_status(
    ctx: &Context,
    object: &Connection,
    verdict: &ConnectionVerdict,
    listing: Option<&Listing>,
) -> Result<bool, kube::Error> {
    let previous = previous_status(ctx, object);
    let roles = match ctx.sessions.get(&object.key) {
        Some(open) => open.session.roles().await,
        None => None,
    };
    let trouble = ctx.sessions.with(&object.key, |state| state.trouble_since).flatten();
    let trouble = trouble.map(|since| since.elapsed()).unwrap_or_default();
    let judgement = Judgement {
        generation: object.generation,
        reason: verdict.reason,
        message: verdict.message.clone(),
        applied: status::applied(&previous.conditions, object.generation, trouble, &ctx.config.timing),
        connection_pair: Pair::Neither,
    };
    let next = next_status(&previous, object, &judgement, roles, listing, Timestamp::now());
    if next == previous {
        return Ok(false);
    }
    let written = write::status::<GraphConnection, _>(&ctx.client, &ctx.metrics, &object.key, &object.uid, &next).await;
    match written {
        Ok(write::Write::Gone) => return Ok(false),
        Ok(write::Write::Done(resource_version)) => {
            let mut index = ctx.index.lock();
            if let Some(entry) = index
                .connection_mut(&object.key)
                .filter(|entry| entry.object.uid == object.uid)
            {
                if newer(&resource_version, &entry.object.resource_version) {
                    entry.written = Some(Written {
                        resource_version,
                        status: next.clone(),
                    });
                }
            }
        }
        Err(error) => {
            tracing::warn!(connection = %object.key, %error, "the status could not be written; it is tried again");
            return Err(error);
        }
    }
    if let Some(notice) = crate::partner::report::ready_turned_false(&previous.conditions, &next.conditions) {
        ctx.events.publish::<GraphConnection, _, _>(object, notice);
    }
    Ok(true)
}

fn previous_status(ctx: &Context, object: &Connection) -> GraphConnectionStatus {
    let index = ctx.index.lock();
    let entry = index
        .connection(&object.key)
        .filter(|entry| entry.object.uid == object.uid);
    match entry {
        Some(entry) => match &entry.written {
            Some(written) => written.status.clone(),
            None => entry.object.status.clone(),
        },
        None => object.status.clone(),
    }
}

fn next_status(
    previous: &GraphConnectionStatus,
    object: &Connection,
    judgement: &Judgement,
    roles: Option<Vec<String>>,
    listing: Option<&Listing>,
    now: Timestamp,
) -> GraphConnectionStatus {
    let mut next = previous.clone();
    next.observed_generation = Some(object.generation);
    next.last_handled_reconcile_at = object.request.clone().or(next.last_handled_reconcile_at);
    next.conditions = status::judge(&previous.conditions, judgement, false, now);
    if judgement.reason.is_transient() {
        return next;
    }
    next.roles = roles;
    if let Some(listing) = listing {
        let listed = listing.rows.values().filter_map(|row| {
            let (id, name) = match row {
                Ok(partner) => (partner.id.as_str(), partner.display_name.as_deref()),
                Err(row) => (row.id.as_deref()?, row.display_name.as_deref()),
            };
            let display_name = name.map(|name| text::clean(name, text::DISPLAY_NAME_CHARS));
            Some(ListedPartner {
                id: text::clean(id, 128),
                display_name,
            })
        });
        // Cleaning and cutting may make two ids one; the API server refuses a status with a duplicate key.
        let mut seen = std::collections::BTreeSet::new();
        let unique = listed.filter(|partner| seen.insert(partner.id.clone()));
        next.partners = Some(unique.take(MOST_LISTED).collect());
    }
    next
}
