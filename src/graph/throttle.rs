//! How fast Graph is asked: the budgets that Microsoft publishes for Intune, held by (cloud, tenant, client).
//!
//! 100 writes and 1,000 requests in all, writes included, in any 20 seconds. [`Window`] and [`Ledger`] are pure and are
//! told the time; [`Budget`] waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The length of both windows.
pub const SPAN: Duration = Duration::from_secs(20);
/// Writes (POST, PATCH, PUT, DELETE) in a window.
pub const WRITES: usize = 100;
/// Requests of any kind in a window.
pub const REQUESTS: usize = 1_000;
/// The longest time that one Retry-After closes a budget for.
pub const LONGEST_CLOSE: Duration = Duration::from_secs(3_600);

/// An exact sliding window: at most `limit` requests in any `span`, wherever it begins.
///
/// It remembers the time of each request of the last span (16 bytes each), so memory grows with use alone. A bucket that
/// fills at a rate would be smaller, but lets its burst through on top of what the rate gives within a span.
#[derive(Debug, Clone)]
pub struct Window {
    limit: usize,
    span: Duration,
    log: VecDeque<Instant>,
}

impl Window {
    /// An empty window. A limit of zero lets nothing through.
    #[must_use]
    pub const fn new(limit: usize, span: Duration) -> Self {
        Self {
            limit,
            span,
            log: VecDeque::new(),
        }
    }

    /// How long until a request may go; `None` where it may go now.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        while self
            .log
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= self.span)
        {
            self.log.pop_front();
        }
        let over = self.log.len().checked_sub(self.limit)?;
        // The window opens once no more than limit - 1 are left in it.
        let leaves = self.log.get(over).copied().unwrap_or(now);
        Some(self.span.saturating_sub(now.saturating_duration_since(leaves)))
    }

    /// Counts a request that goes now. Times do not run backwards: an earlier one counts as the latest recorded.
    pub fn record(&mut self, now: Instant) {
        self.log.push_back(self.log.back().map_or(now, |last| now.max(*last)));
    }

    /// Whether the window holds no request any more.
    fn is_empty(&self, now: Instant) -> bool {
        self.log
            .back()
            .is_none_or(|last| now.saturating_duration_since(*last) >= self.span)
    }
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET.
    Read,
    /// POST, PATCH, PUT or DELETE: counts as a write and as a request.
    Write,
}

/// What the ledger says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may go, and is counted.
    Go,
    /// A window is full; it has room after this time, if nobody else takes it.
    Wait(Duration),
    /// A Retry-After has closed the budget for this time from now.
    Closed(Duration),
}

/// One budget's books: both windows, and until when the service asked to be left alone.
#[derive(Debug, Clone)]
pub struct Ledger {
    writes: Window,
    requests: Window,
    closed_until: Option<Instant>,
}

impl Default for Ledger {
    /// As Microsoft publishes them for one app in one tenant.
    fn default() -> Self {
        Self::new(Window::new(WRITES, SPAN), Window::new(REQUESTS, SPAN))
    }
}

impl Ledger {
    /// An open ledger with these windows: one for writes, one for all requests.
    #[must_use]
    pub const fn new(writes: Window, requests: Window) -> Self {
        Self {
            writes,
            requests,
            closed_until: None,
        }
    }

    /// Whether a request may go now. [`Decision::Go`] has counted it: asking and counting cannot come apart.
    pub fn decide(&mut self, kind: Kind, now: Instant) -> Decision {
        if let Some(left) = self.closed(now) {
            return Decision::Closed(left);
        }
        let requests = self.requests.wait(now);
        let writes = match kind {
            Kind::Read => None,
            Kind::Write => self.writes.wait(now),
        };
        // None, a window with room, is less than any wait.
        if let Some(wait) = requests.max(writes) {
            return Decision::Wait(wait);
        }
        self.requests.record(now);
        if kind == Kind::Write {
            self.writes.record(now);
        }
        Decision::Go
    }

    /// Closes the budget for a time, at most [`LONGEST_CLOSE`] from now. A later end that was set before stands.
    ///
    /// Returns by how much the closed time has grown.
    pub fn close(&mut self, now: Instant, duration: Duration) -> Duration {
        let left = self.closed(now).unwrap_or_default();
        let more = duration.min(LONGEST_CLOSE).saturating_sub(left);
        if more > Duration::ZERO {
            self.closed_until = now.checked_add(left + more);
        }
        more
    }

    /// How long the budget stays closed; `None` where it is open.
    #[must_use]
    pub fn closed(&self, now: Instant) -> Option<Duration> {
        self.closed_until
            .map(|until| until.saturating_duration_since(now))
            .filter(|left| !left.is_zero())
    }

    /// Whether writes have room, whatever the other window says.
    fn writes_have_room(&mut self, now: Instant) -> bool {
        self.writes.wait(now).is_none()
    }

    /// Whether nothing would be lost if a new ledger took its place.
    fn is_blank(&self, now: Instant) -> bool {
        self.closed(now).is_none() && self.requests.is_empty(now)
    }
}

/// Who goes first where both wait. `Edit` compares as the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for it: an edit, a sync request, a deletion.
    Edit,
    /// Nobody does.
    Poll,
}

/// The service asked to be left alone, for this time from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request budget is closed by a Retry-After")]
pub struct Closed(pub Duration);

/// The budget of one client in one tenant, shared by all that ask in its name.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<Waiting>,
    /// Told whenever somebody goes, gives up, or closes the budget.
    changed: Notify,
    closed_millis: Arc<AtomicU64>,
}

impl Budget {
    fn new(ledger: Ledger, closed_millis: Arc<AtomicU64>) -> Self {
        Self {
            state: Mutex::new(Waiting::new(ledger)),
            changed: Notify::new(),
            closed_millis,
        }
    }

    /// Waits until a request of this kind may go, and counts it.
    ///
    /// Edits go before polls, and the first to come is the first to go among requests of one kind and priority. A read
    /// passes a write only where the window for writes is full and the one for all requests is not: it takes nothing
    /// from the write. Where a Retry-After has closed the budget, before or while it waits, it returns at once.
    ///
    /// It waits up to 20 seconds for each thousand requests (hundred writes) before it. Dropped, it frees its place and
    /// has counted nothing.
    pub async fn acquire(&self, kind: Kind, priority: Priority) -> Result<(), Closed> {
        let place = Place {
            budget: self,
            kind,
            rank: self.state().join(kind, priority),
        };
        loop {
            // Made before the state is looked at: a change from then on is not missed.
            let changed = self.changed.notified();
            let turn = self.state().turn(kind, place.rank, now());
            match turn {
                Turn::Decided(Decision::Go) => return Ok(()),
                Turn::Decided(Decision::Closed(left)) => return Err(Closed(left)),
                Turn::Decided(Decision::Wait(wait)) => {
                    let _ = tokio::time::timeout(wait, changed).await;
                }
                Turn::Behind => changed.await,
            }
        }
    }

    /// Closes the budget for a time (a Retry-After), at most an hour from now; never shortens what was set before.
    pub fn close(&self, duration: Duration) {
        let more = self.state().ledger.close(now(), duration);
        let millis = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        self.closed_millis.fetch_add(millis, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// How long the budget stays closed; `None` where it is open.
    #[must_use]
    pub fn closed(&self) -> Option<Duration> {
        self.state().ledger.closed(now())
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics under the lock, and the books are whole between any two of its lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Earlier is smaller: by priority, then by the order of coming.
type Rank = (Priority, u64);

/// The books and those who wait to be entered in them.
#[derive(Debug)]
struct Waiting {
    ledger: Ledger,
    reads: BTreeSet<Rank>,
    writes: BTreeSet<Rank>,
    joined: u64,
}

enum Turn {
    Decided(Decision),
    /// Somebody else goes first, and will tell.
    Behind,
}

impl Waiting {
    fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            joined: 0,
        }
    }

    fn join(&mut self, kind: Kind, priority: Priority) -> Rank {
        self.joined += 1;
        let rank = (priority, self.joined);
        self.of(kind).insert(rank);
        rank
    }

    fn turn(&mut self, kind: Kind, rank: Rank, now: Instant) -> Turn {
        if let Some(left) = self.ledger.closed(now) {
            return Turn::Decided(Decision::Closed(left));
        }
        let before = |others: &BTreeSet<Rank>| others.first().is_some_and(|first| *first < rank);
        let behind_read = before(&self.reads);
        // A write that the window for writes holds back loses nothing to a read.
        let behind_write = before(&self.writes) && (kind == Kind::Write || self.ledger.writes_have_room(now));
        if behind_read || behind_write {
            return Turn::Behind;
        }
        Turn::Decided(self.ledger.decide(kind, now))
    }

    fn of(&mut self, kind: Kind) -> &mut BTreeSet<Rank> {
        match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        }
    }
}

/// A place among those who wait; freed when dropped, whether its holder went or gave up.
struct Place<'a> {
    budget: &'a Budget,
    kind: Kind,
    rank: Rank,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.state().of(self.kind).remove(&self.rank);
        self.budget.changed.notify_waiters();
    }
}

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    cloud: &'static str,
    tenant: String,
    client: String,
}

impl BudgetKey {
    /// The key of a client in a tenant of a cloud. Both ids are GUIDs, in which case means nothing.
    #[must_use]
    pub fn new(cloud: &'static str, tenant: &str, client: &str) -> Self {
        Self {
            cloud,
            tenant: tenant.to_ascii_lowercase(),
            client: client.to_ascii_lowercase(),
        }
    }
}

/// All budgets of this process.
#[derive(Debug, Default)]
pub struct Budgets {
    open: Mutex<HashMap<BudgetKey, Arc<Budget>>>,
    closed_millis: Arc<AtomicU64>,
}

impl Budgets {
    /// The budget of this key, the same one for all who hold it.
    ///
    /// Drops those that nobody holds and that have nothing to remember. A budget that was used within the last span, or
    /// is closed, outlives its holders: a session that is made anew must not begin with empty books.
    pub fn get(&self, key: BudgetKey) -> Arc<Budget> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        open.retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.state().ledger.is_blank(now));
        let fresh = || Arc::new(Budget::new(Ledger::default(), Arc::clone(&self.closed_millis)));
        Arc::clone(open.entry(key).or_insert_with(fresh))
    }

    /// The seconds that all budgets were closed for since the start, counted as soon as they are closed. Never falls.
    #[must_use]
    pub fn closed_total_seconds(&self) -> f64 {
        Duration::from_millis(self.closed_millis.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// Tokio's clock, which tests can hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
