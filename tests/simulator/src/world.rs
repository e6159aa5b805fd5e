//! All that the simulator knows: tenants, apps, rows, tokens, rules, the log. One lock, held briefly.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::log::{Digests, Log, Violation, ViolationKind};
use crate::metadata::NodeIdentity;
use crate::options::{Options, ServiceOwned, Throttling, TokenStyle};
use crate::rows::Row;
use crate::script::{Scripts, Server};
use crate::throttle::Throttle;
use crate::token::Tokens;

/// Where the simulator listens, and the names that it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Root of Graph, without `/v1.0` and without a slash at its end.
    pub graph: String,
    /// The authority host, without a slash at its end.
    pub authority: String,
    /// The plain control interface.
    pub control: String,
    /// The metadata service of the node, plain HTTP, without a slash at its end.
    pub metadata: String,
    /// Root of Graph as tokens, scopes and pages name it: `graph`, unless another was asked for.
    pub public_graph: String,
    /// The authority as issuers and assertions name it: `authority`, unless another was asked for.
    pub public_authority: String,
}

/// What an app trusts instead of a credential of its own. All three are compared to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedCredential {
    /// The issuer, a URL, as `iss` has it.
    pub issuer: String,
    /// The subject, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// The audience, such as `api://AzureADTokenExchange`.
    pub audience: String,
}

/// An app registration in a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Its client secrets; any of them will do.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The application permissions that an administrator has granted.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The certificates that were registered, PEM; the key of any of them may sign.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The federated credentials.
    #[serde(default)]
    pub federated: Vec<FederatedCredential>,
}

impl App {
    /// An app with one secret and the least permission that may write.
    #[must_use]
    pub fn with_secret(secret: impl Into<String>) -> Self {
        Self {
            secrets: vec![secret.into()],
            ..Self::without_secret()
        }
    }

    /// An app with no credential yet, and the least permission that may write.
    #[must_use]
    pub fn without_secret() -> Self {
        Self {
            roles: vec!["DeviceManagementServiceConfig.ReadWrite.All".to_owned()],
            ..Self::default()
        }
    }

    /// The same app with these permissions.
    #[must_use]
    pub fn roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// The same app with one more secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// The same app with one more certificate, PEM.
    #[must_use]
    pub fn certificate(mut self, pem: impl Into<String>) -> Self {
        self.certificates.push(pem.into());
        self
    }

    /// The same app with one more federated credential.
    #[must_use]
    pub fn federated(mut self, credential: FederatedCredential) -> Self {
        self.federated.push(credential);
        self
    }
}

/// A tenant.
#[derive(Default)]
pub(crate) struct Tenant {
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) rows: Vec<Row>,
}

/// What can change while the simulator runs.
pub(crate) struct Settings {
    pub(crate) page_size: usize,
    pub(crate) graph_delay: Duration,
    pub(crate) expires_in: u64,
    pub(crate) token_style: TokenStyle,
    pub(crate) service_owned: ServiceOwned,
    pub(crate) throttling: Throttling,
    pub(crate) ids_ignore_case: bool,
    pub(crate) reorder_assignments: bool,
    pub(crate) throttle_headers: bool,
    /// How far Entra's clock is ahead of this machine's.
    pub(crate) clock: SignedDuration,
}

/// A page of a listing that was promised by a `@odata.nextLink`.
pub(crate) struct Page {
    pub(crate) mark: String,
    pub(crate) tenant: String,
    pub(crate) offset: usize,
    pub(crate) size: usize,
    pub(crate) select: Option<Vec<String>>,
}

/// How many pages and request ids are remembered.
const REMEMBERED: usize = 10_000;

/// The state behind the lock.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) tenants: BTreeMap<String, Tenant>,
    /// Keys by issuer: what discovery would find.
    pub(crate) issuers: BTreeMap<String, JwkSet>,
    /// The identities that are assigned to the node.
    pub(crate) identities: Vec<NodeIdentity>,
    pub(crate) tokens: Tokens,
    pub(crate) scripts: Scripts,
    pub(crate) log: Log,
    pub(crate) violations: VecDeque<Violation>,
    pub(crate) throttle: Throttle,
    pub(crate) pages: VecDeque<Page>,
    capacity: usize,
    seen_ids: HashSet<String>,
    seen_order: VecDeque<String>,
    pub(crate) in_flight: InFlight,
}

/// Requests in flight, and the most there ever were, by service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// At Graph now.
    pub graph: u64,
    /// At Entra now.
    pub entra: u64,
    /// The most at Graph since the log was cleared.
    pub graph_peak: u64,
    /// The most at Entra since the log was cleared.
    pub entra_peak: u64,
    /// At the metadata service now.
    pub metadata: u64,
    /// The most at the metadata service since the log was cleared.
    pub metadata_peak: u64,
}

impl InFlight {
    /// One more; says how many there are.
    pub(crate) fn enter(&mut self, server: Server) -> u64 {
        let (now, peak) = match server {
            Server::Graph => (&mut self.graph, &mut self.graph_peak),
            Server::Entra => (&mut self.entra, &mut self.entra_peak),
            Server::Metadata => (&mut self.metadata, &mut self.metadata_peak),
        };
        *now += 1;
        *peak = (*peak).max(*now);
        *now
    }

    /// One less.
    pub(crate) fn leave(&mut self, server: Server) {
        let now = match server {
            Server::Graph => &mut self.graph,
            Server::Entra => &mut self.entra,
            Server::Metadata => &mut self.metadata,
        };
        *now = now.saturating_sub(1);
    }
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            settings: Settings {
                page_size: options.page_size.max(1),
                graph_delay: options.graph_delay,
                expires_in: options.expires_in,
                token_style: options.token_style,
                service_owned: options.service_owned,
                throttling: options.throttling,
                ids_ignore_case: options.ids_ignore_case,
                reorder_assignments: options.reorder_assignments,
                throttle_headers: options.throttle_headers,
                clock: SignedDuration::ZERO,
            },
            tenants: BTreeMap::new(),
            issuers: BTreeMap::new(),
            identities: Vec::new(),
            tokens: Tokens::default(),
            scripts: Scripts::default(),
            log: Log::new(options.log_capacity),
            violations: VecDeque::new(),
            throttle: Throttle::default(),
            pages: VecDeque::new(),
            capacity: options.log_capacity.max(1),
            seen_ids: HashSet::new(),
            seen_order: VecDeque::new(),
            in_flight: InFlight::default(),
        }
    }

    /// Entra's time.
    pub(crate) fn now(&self) -> Timestamp {
        let far = if self.settings.clock.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        Timestamp::now().checked_add(self.settings.clock).unwrap_or(far)
    }

    pub(crate) fn violation(&mut self, seq: u64, kind: ViolationKind, detail: impl Into<String>) {
        while self.violations.len() >= self.capacity {
            self.violations.pop_front();
        }
        self.violations.push_back(Violation {
            seq,
            kind,
            detail: detail.into(),
        });
    }

    /// Whether this `client-request-id` is new.
    pub(crate) fn first_sight(&mut self, id: &str) -> bool {
        let id = id.to_ascii_lowercase();
        if !self.seen_ids.insert(id.clone()) {
            return false;
        }
        self.seen_order.push_back(id);
        if self.seen_order.len() > REMEMBERED
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen_ids.remove(&oldest);
        }
        true
    }

    pub(crate) fn promise(&mut self, page: Page) {
        while self.pages.len() >= REMEMBERED {
            self.pages.pop_front();
        }
        self.pages.push_back(page);
    }

    pub(crate) fn tenant(&self, id: &str) -> Option<&Tenant> {
        self.tenants.get(&id.to_ascii_lowercase())
    }

    pub(crate) fn tenant_mut(&mut self, id: &str) -> Option<&mut Tenant> {
        self.tenants.get_mut(&id.to_ascii_lowercase())
    }
}

/// The world and the means to wait for it.
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    pub(crate) endpoints: Endpoints,
    pub(crate) ca_pem: String,
    pub(crate) started: Instant,
    pub(crate) digests: Digests,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Shared {
    pub(crate) fn new(
        options: &Options,
        endpoints: Endpoints,
        ca_pem: String,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            world: Mutex::new(World::new(options)),
            changed: watch::Sender::new(0),
            endpoints,
            ca_pem,
            started: Instant::now(),
            digests: Digests::default(),
            runtime,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that the log has changed.
    pub(crate) fn notify(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
