//! How fast Graph is asked: the budgets that Microsoft publishes for Intune, held by (cloud, tenant, client).
//!
//! 100 writes and 1,000 requests in all, writes included, in any 20 seconds. [`Window`] and [`Ledger`] are pure and are
//! told the time; [`Budget`] waits. Others may use up what is shared, which [`usage`] reads off Graph's answers.

mod ledger;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use ledger::{Decision, Kind, Ledger, Mark, Priority, Window};
pub use usage::{Level, Usage, usage};

/// The length of both windows.
pub const SPAN: Duration = Duration::from_secs(20);
/// Writes (POST, PATCH, PUT, DELETE) in a window.
pub const WRITES: usize = 100;
/// Requests of any kind in a window.
pub const REQUESTS: usize = 1_000;
/// The longest time that one Retry-After closes a budget for.
pub const LONGEST_CLOSE: Duration = Duration::from_secs(3_600);

/// The service asked to be left alone, for this time from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request budget is closed by a Retry-After")]
pub struct Closed(pub Duration);

/// The budget of one client in one tenant, shared by all that ask in its name.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<Waiting>,
    /// Told whenever somebody goes, gives up, closes the budget or holds something back.
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

    /// Waits until a request of this kind may go, and counts it until a span after the permit is gone.
    ///
    /// Edits go before polls, and the first to come is the first to go among requests of one kind and priority. A
    /// request passes one of the other kind that came before it only where that one waits for what holds its own kind
    /// alone, such as a full window for writes: it takes nothing from it. Where a Retry-After has closed the budget,
    /// before or while it waits, it returns at once.
    ///
    /// It waits up to 20 seconds, and what the slowest of them took, for each thousand requests (hundred writes) before
    /// it. Dropped, it frees its place and has counted nothing.
    pub async fn acquire(&self, kind: Kind, priority: Priority) -> Result<Permit<'_>, Closed> {
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
                Turn::Go(mark) => {
                    return Ok(Permit {
                        budget: self,
                        kind,
                        priority,
                        mark,
                        sent: true,
                    });
                }
                Turn::Closed(left) => return Err(Closed(left)),
                Turn::Wait(wait) => {
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

/// One request that may go, and is under way for as long as this is there: to be dropped once its answer is read, it has
/// failed, or nobody waits for it any more.
#[derive(Debug)]
#[must_use = "a request counts as ended where its permit is dropped"]
pub struct Permit<'a> {
    budget: &'a Budget,
    kind: Kind,
    priority: Priority,
    mark: Mark,
    sent: bool,
}

impl Permit<'_> {
    /// The permit to send the same once more, which is a request like any other.
    pub async fn again(self) -> Result<Self, Closed> {
        let Self {
            budget, kind, priority, ..
        } = self;
        drop(self);
        budget.acquire(kind, priority).await
    }

    /// Gives it back: nothing was sent, and nothing counts.
    pub fn unused(mut self) {
        self.sent = false;
    }

    /// Heeds what an answer says of the limits that this budget shares with others.
    pub fn heed(&self, usage: Usage) {
        let began = self.budget.state().ledger.heed(usage, self.mark, now());
        if !began {
            return;
        }
        match usage.level() {
            Level::Near => tracing::debug!("Graph says that a limit is near: polls wait for up to 20 s"),
            Level::Reached => tracing::info!("Graph says that a limit is reached: requests wait for up to 20 s"),
        }
        self.budget.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.sent {
            // Frees nothing yet, so there is nobody to tell.
            self.budget.state().ledger.end(self.kind, now());
        } else {
            self.budget.state().ledger.strike(self.kind);
            self.budget.changed.notify_waiters();
        }
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
    Go(Mark),
    Wait(Duration),
    Closed(Duration),
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
            return Turn::Closed(left);
        }
        for other in [Kind::Read, Kind::Write] {
            let first = self.of(other).first().copied().filter(|first| *first < rank);
            // Whoever waits for what does not hold this kind back loses nothing to it.
            let goes_first = |(priority, _)| other == kind || self.ledger.wait_of_kind(other, priority, now).is_none();
            if first.is_some_and(goes_first) {
                return Turn::Behind;
            }
        }
        match self.ledger.decide(kind, rank.0, now) {
            Decision::Go => Turn::Go(self.ledger.mark()),
            Decision::Wait(wait) => Turn::Wait(wait),
            Decision::Closed(left) => Turn::Closed(left),
        }
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
