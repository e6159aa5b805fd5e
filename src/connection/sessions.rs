//! The sessions of all connections: who has one, and how one is made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;

use crate::api;
use crate::api::connection::{Auth, GraphConnectionSpec};
use crate::api::reason::Reason;
use crate::credentials::{
    ClientCertificateSource, ClientSecretSource, Identity, ManagedIdentitySource, Namespace, OperatorTokenSource,
    ServiceAccountSource,
};
use crate::graph::client::GraphClient;
use crate::graph::cloud::Cloud;
use crate::graph::session::{CredentialSource, Session, Waits};
use crate::graph::throttle::BudgetKey;
use crate::runtime::backoff::Backoff;
use crate::runtime::context::Context;
use crate::runtime::object::{Connection, ObjectKey, Request};

/// How long a connection waits for the operator's name. It comes with the API server's first answer.
const LONGEST_WAIT_FOR_A_NAME: Duration = Duration::from_secs(10);

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
    /// The cloud.
    pub cloud: Cloud,
    /// The tenant's id.
    pub tenant: String,
}

/// The sessions of all connections. A session goes with its connection, and with every change of its spec.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<ObjectKey, State>>);

/// What is kept of a connection between its passes.
pub(crate) struct State {
    pub(crate) uid: String,
    pub(crate) spec: GraphConnectionSpec,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) verdict: Option<ConnectionVerdict>,
    /// The session's share of the interval, 0.9 to 1.1, so that many connections do not list at once.
    pub(crate) jitter: f64,
    pub(crate) backoff: Backoff,
    pub(crate) trouble_since: Option<Instant>,
    pub(crate) write_backoff: Backoff,
    pub(crate) request: Option<Request>,
}

impl State {
    /// What is known of a connection before its first pass.
    pub(crate) fn new(connection: &Connection, session: Option<Session>, random: f64) -> Self {
        let handled = connection.status.last_handled_reconcile_at.as_ref();
        Self {
            uid: connection.uid.clone(),
            spec: connection.spec.clone(),
            session: session.map(Arc::new),
            verdict: None,
            jitter: 0.9 + 0.2 * random,
            backoff: Backoff::default(),
            trouble_since: None,
            write_backoff: Backoff::default(),
            request: connection
                .request
                .clone()
                .filter(|request| Some(&request.echo) == handled),
        }
    }

    /// Whether it is of this very connection, as it is now.
    pub(crate) fn is_of(&self, connection: &Connection) -> bool {
        self.uid == connection.uid && self.spec == connection.spec
    }
}

impl Sessions {
    /// The session of this very connection; `None` where no pass of it as it is now has begun, or it may have
    /// none.
    #[must_use]
    pub fn get(&self, connection: &Connection) -> Option<Open> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = sessions.get(&connection.key).filter(|state| state.is_of(connection))?;
        Some(Open {
            session: Arc::clone(state.session.as_ref()?),
            cloud: cloud(&state.spec),
            tenant: state.spec.tenant_id.clone(),
        })
    }

    /// What the last pass of this very connection has come to, also where it has no session.
    #[must_use]
    pub fn verdict_of(&self, connection: &Connection) -> Option<ConnectionVerdict> {
        self.with(&connection.key, |state| {
            state.verdict.clone().filter(|_| state.is_of(connection))
        })
        .flatten()
    }

    /// What the last pass of a connection has come to, also where it has no session.
    #[must_use]
    pub fn verdict(&self, key: &ObjectKey) -> Option<ConnectionVerdict> {
        self.with(key, |state| state.verdict.clone()).flatten()
    }

    pub(super) fn with<T>(&self, key: &ObjectKey, read: impl FnOnce(&mut State) -> T) -> Option<T> {
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

/// The session of the connection as it is now. `Err` where it may have none.
pub(super) fn open(ctx: &Context, object: &Connection) -> Result<Arc<Session>, ConnectionVerdict> {
    let mut sessions = ctx.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
    // Whether it may have a session is asked anew: the operator learns after its start which namespace is its own.
    let stale = sessions
        .get(&object.key)
        .is_none_or(|state| !state.is_of(object) || state.session.is_none());
    if stale {
        let fresh = State::new(object, session(ctx, object), fastrand::f64());
        // A connection that has gone meanwhile has closed its session already.
        let there = ctx
            .index
            .lock()
            .connection(&object.key)
            .is_some_and(|entry| entry.object.uid == object.uid);
        if there {
            sessions.insert(object.key.clone(), fresh);
        }
    }
    sessions
        .get(&object.key)
        .and_then(|state| state.session.clone())
        .ok_or_else(|| ConnectionVerdict {
            reason: Reason::IdentityNotAllowed,
            message: format!(
                "This namespace may not use the operator's own identity or that of its node: use another kind of auth, \
                 or have the operator started with --operator-identity-namespaces naming {}. Nothing was sent.",
                object.key.namespace
            ),
        })
}

/// Waits for the operator's own name where it decides whether a connection may have a session, so that none is refused
/// for a moment after each start.
pub(super) async fn until_decidable(ctx: &Context, object: &Connection) {
    let auth = &object.spec.auth;
    let of_operator = auth.operator_identity.is_some() || auth.managed_identity.is_some();
    if of_operator && ctx.config.operator_identity_namespaces.is_empty() {
        let _ = tokio::time::timeout(LONGEST_WAIT_FOR_A_NAME, ctx.identity.wait()).await;
    }
}

/// A session, unless the connection would use an identity that is not its namespace's to use.
fn session(ctx: &Context, object: &Connection) -> Option<Session> {
    let spec = &object.spec;
    let (cloud, timing) = (cloud(spec), &ctx.config.timing);
    let source = source(ctx, object, cloud)?;
    let endpoints = &ctx.config.endpoints;
    let client = spec.client_id.as_deref();
    let root = Url::parse(endpoints.graph_root(cloud)).ok()?;
    let waits = Waits {
        refused: (timing.credentials, timing.credentials_cap),
        unavailable: (timing.backoff, timing.backoff_cap),
        forbidden: timing.slow.mul_f64(0.9),
        // The rest of a pass is for what it does with the listing.
        listing: timing.pass / 3,
    };
    Some(Session::new(
        endpoints.token_request(cloud, &spec.tenant_id, client),
        source,
        ctx.tokens.clone(),
        GraphClient::new(ctx.http.clone(), root, timing.request, ctx.metrics.clone()),
        // A node has one system-assigned identity.
        ctx.budgets.get(BudgetKey::new(
            cloud.name(),
            &spec.tenant_id,
            client.unwrap_or_default(),
        )),
        waits,
    ))
}

/// Where the connection's credential comes from (the schema holds that it is exactly one place); `None` where the
/// namespace may not use it.
fn source(ctx: &Context, object: &Connection, cloud: Cloud) -> Option<Box<dyn CredentialSource>> {
    let Auth {
        client_secret,
        client_certificate,
        workload_identity,
        operator_identity,
        managed_identity,
    } = &object.spec.auth;
    let namespace = || Namespace::new(ctx.client.clone(), &object.key.namespace, Arc::clone(&ctx.identity));
    if let Some(auth) = client_secret {
        let (name, key) = (&auth.secret_ref.name, auth.secret_ref.key());
        return Some(Box::new(ClientSecretSource::new(namespace(), name, key)));
    }
    if let Some(auth) = client_certificate {
        return Some(Box::new(ClientCertificateSource::new(
            namespace(),
            &auth.secret_ref.name,
        )));
    }
    if let Some(auth) = workload_identity {
        let name = &auth.service_account_ref.name;
        let client = object.spec.client_id.as_deref().unwrap_or_default();
        let audience = cloud.federation_audience();
        return Some(Box::new(ServiceAccountSource::new(namespace(), name, client, audience)));
    }
    if !may_use_operators_identity(ctx, &object.key.namespace) {
        return None;
    }
    if operator_identity.is_some() {
        let file = ctx.config.federated_token_file.clone();
        return Some(Box::new(OperatorTokenSource::new(file)));
    }
    // A key that is not known here is none of these.
    managed_identity.as_ref()?;
    Some(Box::new(ManagedIdentitySource))
}

/// Whether a namespace's connections may use the identity of the operator or of its node: where none is named, those of
/// the operator's own namespace may, and nobody before that is known.
fn may_use_operators_identity(ctx: &Context, namespace: &str) -> bool {
    match ctx.config.operator_identity_namespaces.as_slice() {
        [] => ctx.identity.get().and_then(Identity::namespace) == Some(namespace),
        named => named.iter().any(|named| named == namespace),
    }
}
