//! The session of one connection: it owns the token and the last listing. Neither is ever served to a connection that
//! has not got a token with its own credential.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::client::{GraphClient, MOST_PAGES, Row, Taken};
use super::error::{Failure, FailureKind, TokenFailure, TokenFailureKind};
use super::listing::Listing;
use super::model::{MOST_ROWS, Partner, Patch};
use super::throttle::{Budget, Kind, LONGEST_CLOSE, Permit, Priority};
use super::token::{Credential, Token, TokenClient, TokenRequest};
use crate::runtime::backoff::Backoff;

/// Where a session's credential comes from. Read at each exchange: what it returns is never kept.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// The credential as it is now.
    async fn read(&self) -> Result<Versioned, CredentialFailure>;

    /// What tells the credential as it is now from an earlier one, as [`Versioned::version`] does, without making one.
    async fn version(&self) -> Result<String, CredentialFailure> {
        Ok(self.read().await?.version)
    }
}

/// A credential with what tells it from an earlier one.
pub struct Versioned {
    /// The credential.
    pub credential: Credential,
    /// Changes with the credential, such as a Secret's uid and resourceVersion. Not secret.
    pub version: String,
}

/// Why there is no credential to exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialFailure {
    /// The Secret is not there.
    NotFound(String),
    /// The ServiceAccount is not there.
    AccountNotFound(String),
    /// The ServiceAccount is not this connection's, or what stands for one holds no token.
    AccountInvalid(String),
    /// The Secret is there, and the key is not in it.
    KeyNotFound(String),
    /// What is in it cannot be used.
    Invalid(String),
    /// The operator may not read it.
    NotGranted(String),
    /// It could not be read just now.
    Unavailable(String),
}

/// Why a session could not do what was asked.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// There is no credential.
    Credential(CredentialFailure),
    /// Entra gave no token.
    Token(TokenFailure),
    /// The token is for another tenant.
    TenantMismatch,
    /// Nothing was sent: when its turn came, the request was not wanted any more.
    Superseded,
    /// Graph did not do it.
    Graph(Failure),
}

/// The waits of a session.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The first and last step of the backoff for a refused credential.
    pub refused: (Duration, Duration),
    /// The first and last step of the backoff for an Entra that does not answer.
    pub unavailable: (Duration, Duration),
    /// So long after the first 403 with a token, it is replaced: a role may have been granted since.
    pub forbidden: Duration,
    /// The bound on one listing, all of its pages and the wait for another's included.
    pub listing: Duration,
}

/// One connection's way to Graph.
pub struct Session {
    request: TokenRequest,
    source: Box<dyn CredentialSource>,
    tokens: TokenClient,
    graph: GraphClient,
    budget: Arc<Budget>,
    waits: Waits,
    /// Held through an exchange: one token request at a time.
    state: Mutex<TokenState>,
    listing: Lock<Option<Arc<Listing>>>,
    /// Held through a listing: one at a time, and whoever waited is answered from it.
    flight: Mutex<()>,
}

#[derive(Default)]
struct TokenState {
    held: Option<Held>,
    refused: Option<Refused>,
    backoff: Backoff,
    /// Since when the token in use has been refused for want of a role.
    forbidden: Option<Instant>,
    /// Whether somebody has asked since for an attempt with a new one.
    renewal_asked: bool,
    /// Whether Graph has refused a token by a 401 although it had just replaced one that was refused.
    refuses_fresh: bool,
    /// Until when the credential is not read again, for what it is read from has not answered.
    unread_until: Option<Instant>,
}

impl TokenState {
    /// The token that is held, where it has not ended and is not the one that Graph has refused.
    fn still_good(&self, refused: Option<&Arc<Token>>, now: Instant) -> Option<Arc<Token>> {
        let token = &self.held.as_ref()?.token;
        let bad = refused.is_some_and(|refused| Arc::ptr_eq(refused, token));
        (!bad && now < token.ends_at).then(|| Arc::clone(token))
    }
}

struct Held {
    token: Arc<Token>,
    version: String,
}

struct Refused {
    version: String,
    until: Instant,
    failure: TokenFailure,
}

impl Refused {
    /// The failure, with how long nothing is sent on its account: whoever is told looks again when that is over, neither
    /// in vain before it nor long after.
    fn told(&self, now: Instant) -> TokenFailure {
        let retry_after = match self.failure.kind {
            // Its credential is looked at meanwhile.
            TokenFailureKind::Rejected => None,
            TokenFailureKind::Throttled | TokenFailureKind::Unavailable => {
                Some(self.until.saturating_duration_since(now))
            }
        };
        TokenFailure {
            retry_after,
            ..self.failure.clone()
        }
    }
}

impl Session {
    /// A session for one connection. Nothing is asked of anybody yet.
    #[must_use]
    pub fn new(
        request: TokenRequest,
        source: Box<dyn CredentialSource>,
        tokens: TokenClient,
        graph: GraphClient,
        budget: Arc<Budget>,
        waits: Waits,
    ) -> Self {
        Self {
            request,
            source,
            tokens,
            graph,
            budget,
            waits,
            state: Mutex::default(),
            listing: Lock::default(),
            flight: Mutex::default(),
        }
    }

    /// Looks at the credential anew. If it has changed, the token and the listing that came by the old one are dropped.
    pub async fn recheck_credential(&self) -> Result<(), Trouble> {
        let read = self.source.version().await;
        let mut state = self.state.lock().await;
        let same = match (&read, &state.held) {
            (Ok(now), Some(held)) => *now == held.version,
            (Ok(_), None) | (Err(CredentialFailure::Unavailable(_)), _) => true,
            (Err(_), _) => false,
        };
        if !same {
            state.held = None;
            *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        drop(state);
        read.map(|_| ()).map_err(Trouble::Credential)
    }

    /// Forgets a remembered refusal: somebody asked for an attempt now. A pause that Entra has asked for is kept.
    pub async fn forget_refusal(&self) {
        let mut state = self.state.lock().await;
        state.refused = state.refused.take().filter(|last| last.failure.retry_after.is_some());
        state.backoff.reset();
    }

    /// Takes a new token for the next call where Graph has refused this one for want of a role: somebody asked for an
    /// attempt now, and a role may have been granted since.
    pub async fn renew_forbidden(&self) {
        let mut state = self.state.lock().await;
        state.renewal_asked = state.forbidden.is_some();
    }

    /// The roles of the token in use; `None` where there is none, or it does not tell.
    pub async fn roles(&self) -> Option<Vec<String>> {
        self.state.lock().await.held.as_ref()?.token.roles.clone()
    }

    /// The last listing.
    #[must_use]
    pub fn listing(&self) -> Option<Arc<Listing>> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A listing that began at `not_before` or later. All that ask at once share one.
    ///
    /// No single answer may take long, and still all pages together can: whoever waits for them has to tell of it.
    pub async fn list(&self, not_before: Instant, priority: Priority) -> Result<Arc<Listing>, Trouble> {
        let listing = tokio::time::timeout(self.waits.listing, self.list_in_turn(not_before, priority)).await;
        listing.unwrap_or_else(|_| {
            let failure = Failure::unavailable("Graph did not list the tenant's partners in time");
            Err(Trouble::Graph(failure))
        })
    }

    async fn list_in_turn(&self, not_before: Instant, priority: Priority) -> Result<Arc<Listing>, Trouble> {
        let _flight = self.flight.lock().await;
        if let Some(listing) = self.listing().filter(|listing| listing.began >= not_before) {
            return Ok(listing);
        }
        let began = Instant::now();
        let listing = Arc::new(Listing::new(began, self.rows(priority).await?));
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&listing));
        Ok(listing)
    }

    async fn rows(&self, mut priority: Priority) -> Result<Vec<Row>, Trouble> {
        let mut rows = Vec::new();
        let mut links = BTreeSet::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let link = next.take();
            let link = link.as_deref();
            let page = self
                .authorized(Kind::Read, priority, &|| true, |token, permit| async move {
                    self.graph.page(&token, permit, link).await
                })
                .await?;
            rows.extend(page.rows);
            priority = priority.min(Priority::Begun);
            if rows.len() > MOST_ROWS {
                let failure = Failure::unavailable("Graph's list has more than 10,000 rows");
                return Err(Trouble::Graph(failure));
            }
            match page.next_link {
                None => return Ok(rows),
                Some(link) if links.insert(link.clone()) => next = Some(link),
                Some(_) => {
                    let failure = Failure::unavailable("Graph's pages lead in a circle");
                    return Err(Trouble::Graph(failure));
                }
            }
        }
        Err(Trouble::Graph(Failure::unavailable(
            "Graph's list has more than 100 pages",
        )))
    }

    /// Reads one object anew.
    pub async fn get(&self, id: &str, priority: Priority) -> Result<Partner, Trouble> {
        self.authorized(Kind::Read, priority, &|| true, |token, permit| async move {
            self.graph.get(&token, permit, id).await
        })
        .await
    }

    /// Changes one object.
    ///
    /// `may` is asked when the request's turn has come; where it says no, nothing is sent.
    pub async fn patch(
        &self,
        id: &str,
        patch: &Patch,
        priority: Priority,
        may: &(dyn Fn() -> bool + Sync),
    ) -> Result<Taken, Trouble> {
        self.authorized(Kind::Write, priority, may, |token, permit| async move {
            self.graph.patch(&token, permit, id, patch).await
        })
        .await
    }

    /// Makes one call with the token; a 401 gets one fresh token and one more try.
    async fn authorized<'a, T, F>(
        &'a self,
        kind: Kind,
        priority: Priority,
        may: &(dyn Fn() -> bool + Sync),
        call: impl Fn(Arc<Token>, Permit<'a>) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut refused: Option<Arc<Token>> = None;
        loop {
            let token = self.token(refused.as_ref()).await?;
            let permit = self.budget.acquire(kind, priority).await;
            let permit = permit.map_err(|closed| Trouble::Graph(throttled(closed.0)))?;
            if !may() {
                permit.unused();
                return Err(Trouble::Superseded);
            }
            let failure = match call(Arc::clone(&token), permit).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            match failure.kind {
                FailureKind::Unauthorized if refused.is_none() && !self.state.lock().await.refuses_fresh => {
                    refused = Some(token);
                }
                FailureKind::Unauthorized | FailureKind::Forbidden => {
                    let mut state = self.state.lock().await;
                    state.forbidden.get_or_insert_with(Instant::now);
                    if failure.kind == FailureKind::Unauthorized {
                        state.refuses_fresh = true;
                    }
                    return Err(Trouble::Graph(Failure {
                        kind: FailureKind::Forbidden,
                        ..failure
                    }));
                }
                FailureKind::Throttled | FailureKind::Unavailable => {
                    // A locked object's pause is its own; a service that is throttled or away is so for all.
                    let of_all = failure.kind == FailureKind::Throttled || failure.status >= Some(500);
                    if let Some(wait) = failure.retry_after.filter(|_| of_all) {
                        self.budget.close(wait);
                    }
                    return Err(Trouble::Graph(failure));
                }
                _ => return Err(Trouble::Graph(failure)),
            }
        }
    }

    /// The token in use, or a new one where there is none, it is old, or Graph has refused it.
    async fn token(&self, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, Trouble> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let roles_may_have_come = state
            .forbidden
            .is_some_and(|since| now.duration_since(since) >= self.waits.forbidden);
        let paused = state.refused.as_ref().is_some_and(|last| now < last.until)
            || state.unread_until.is_some_and(|until| now < until);
        if let Some(held) = &state.held {
            let bad = refused.is_some_and(|refused| Arc::ptr_eq(refused, &held.token));
            let renew = state.renewal_asked || roles_may_have_come || now >= held.token.renew_at;
            // Renewal begins before the end: while Entra is away, a token that still holds serves on.
            if !bad && (!renew || (paused && now < held.token.ends_at)) {
                return Ok(Arc::clone(&held.token));
            }
        }
        if let Some(last) = state.refused.as_ref().filter(|last| now < last.until) {
            let version = self.source.version().await.map_err(Trouble::Credential)?;
            if version == last.version {
                return Err(Trouble::Token(last.told(now)));
            }
        }
        let (version, exchanged) = match self.exchange().await {
            // What the credential is read from does not answer: so long, a token that still holds serves on.
            Err(Trouble::Credential(CredentialFailure::Unavailable(why))) => {
                state.unread_until = Some(now + self.waits.unavailable.0);
                return state
                    .still_good(refused, now)
                    .ok_or(Trouble::Credential(CredentialFailure::Unavailable(why)));
            }
            exchanged => exchanged?,
        };
        if state.held.as_ref().is_some_and(|held| held.version != version) {
            *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        match exchanged {
            Ok(token)
                if token
                    .tenant
                    .as_ref()
                    .is_some_and(|tenant| *tenant != self.request.tenant) =>
            {
                state.held = None;
                Err(Trouble::TenantMismatch)
            }
            Ok(token) => {
                let token = Arc::new(token);
                *state = TokenState {
                    held: Some(Held {
                        token: Arc::clone(&token),
                        version,
                    }),
                    // One that only replaces a refused token fares no better before something has changed.
                    refuses_fresh: state.refuses_fresh && refused.is_some(),
                    ..TokenState::default()
                };
                Ok(token)
            }
            Err(failure) => self.without_new(&mut state, version, failure, refused),
        }
    }

    /// Remembers a failed exchange. Where nothing is held against the credential, a token that still holds serves on.
    fn without_new(
        &self,
        state: &mut TokenState,
        version: String,
        failure: TokenFailure,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, Trouble> {
        let slow = failure.kind == TokenFailureKind::Rejected || failure.is_loop();
        // What somebody has to mend is sent again after the first step at the soonest.
        let ((base, cap), at_least) = if slow {
            let steps = self.waits.refused;
            (steps, failure.retry_after.max(Some(steps.0)))
        } else {
            (self.waits.unavailable, failure.retry_after)
        };
        let wait = state.backoff.next(base, cap, at_least, fastrand::f64());
        let now = Instant::now();
        if failure.kind == TokenFailureKind::Rejected {
            state.held = None;
        }
        let last = Refused {
            version,
            until: now + wait.min(LONGEST_CLOSE),
            failure,
        };
        let told = last.told(now);
        state.refused = Some(last);
        let still_good = state.still_good(refused, now);
        if still_good.is_none() {
            state.held = None;
        }
        still_good.ok_or(Trouble::Token(told))
    }

    /// One exchange with the credential as it is now, and its version. An assertion may have come too late for Entra's
    /// clock: one that is taken anew follows at once.
    async fn exchange(&self) -> Result<(String, Result<Token, TokenFailure>), Trouble> {
        let Versioned { credential, version } = self.source.read().await.map_err(Trouble::Credential)?;
        let exchanged = self.tokens.exchange(&self.request, &credential).await;
        match &exchanged {
            Err(failure) if credential.is_short_lived() && failure.is_assertion_outdated() => {
                let Versioned { credential, version } = self.source.read().await.map_err(Trouble::Credential)?;
                Ok((version, self.tokens.exchange(&self.request, &credential).await))
            }
            _ => Ok((version, exchanged)),
        }
    }
}

fn throttled(left: Duration) -> Failure {
    Failure {
        kind: FailureKind::Throttled,
        status: None,
        code: String::new(),
        message: "Microsoft asked for a pause".to_owned(),
        request_id: None,
        retry_after: Some(left),
    }
}

#[cfg(test)]
mod tests;
