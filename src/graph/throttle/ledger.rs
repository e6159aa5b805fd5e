//! The books of one budget (pure): what went, what is still under way, and how long the service asked to be left alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::usage::{Level, Usage};
use super::{LONGEST_CLOSE, REQUESTS, SPAN, WRITES};

/// So long after a hold no other one begins. Answers that say the same may come all the time, and whoever has waited
/// goes in between.
const BREATH: Duration = Duration::from_secs(1);

/// An exact sliding window: whenever each request arrives between its going and its end, at most `limit` of them arrive
/// in any `span`, wherever it begins.
///
/// The service counts a request when it arrives, which nobody here can see. So it counts from when it goes until a span
/// after its answer came: one that was slow on its way and one that goes a span later never meet in the service's span.
///
/// It remembers the end of each request of the last span (16 bytes each), so memory grows with use alone. A bucket that
/// fills at a rate would be smaller, but lets its burst through on top of what the rate gives within a span.
#[derive(Debug, Clone)]
pub struct Window {
    limit: usize,
    span: Duration,
    /// Requests that went and have not ended.
    under_way: usize,
    /// When the others ended, those of the last span alone.
    ended: VecDeque<Instant>,
    /// All that ever went.
    gone: u64,
}

impl Window {
    /// An empty window. A limit of zero lets nothing through.
    #[must_use]
    pub const fn new(limit: usize, span: Duration) -> Self {
        Self {
            limit,
            span,
            under_way: 0,
            ended: VecDeque::new(),
            gone: 0,
        }
    }

    /// How long until a request may go at the soonest; `None` where it may go now.
    ///
    /// The wait is exact where the one whose place it takes has ended. Otherwise it is a span: none that is under way
    /// leaves before that.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        while self
            .ended
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= self.span)
        {
            self.ended.pop_front();
        }
        let over = self.held().checked_sub(self.limit)?;
        // The window opens once no more than limit - 1 are left in it.
        let leaves = self.ended.get(over).copied().unwrap_or(now);
        Some(self.span.saturating_sub(now.saturating_duration_since(leaves)))
    }

    /// Counts a request that goes now.
    pub fn go(&mut self) {
        self.under_way += 1;
        self.gone += 1;
    }

    /// Notes that a request ended: it was answered, it failed, or nobody waits for it any more. It counts for a span
    /// from now. Times do not run backwards: an earlier one counts as the latest recorded.
    pub fn end(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.ended
            .push_back(self.ended.back().map_or(now, |last| now.max(*last)));
    }

    /// Strikes out a request that was counted and never sent.
    pub fn strike(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.gone = self.gone.saturating_sub(1);
    }

    /// How many it holds.
    fn held(&self) -> usize {
        self.under_way + self.ended.len()
    }

    /// How many had gone and left the window by now.
    fn left(&self) -> u64 {
        let held = u64::try_from(self.held()).unwrap_or(u64::MAX);
        self.gone.saturating_sub(held)
    }

    /// The most that a request which found so many had left can have met at the service, itself included, in thousandths
    /// of the limit.
    fn met(&self, left: u64) -> u64 {
        let limit = u64::try_from(self.limit).unwrap_or(u64::MAX).max(1);
        self.gone.saturating_sub(left).saturating_mul(1_000) / limit
    }

    /// Whether the window holds no request any more.
    fn is_empty(&self, now: Instant) -> bool {
        let ended = |last: &Instant| now.saturating_duration_since(*last) >= self.span;
        self.under_way == 0 && self.ended.back().is_none_or(ended)
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

/// Who goes first where several wait. The more urgent compares as the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for it: an edit, a sync request, a deletion.
    Edit,
    /// Nobody does, but it ends what has begun, such as the next page of a list: given up halfway, the pages before it
    /// would have been for nothing.
    Begun,
    /// Nobody does.
    Poll,
}

/// What the ledger says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may go, and is counted.
    Go,
    /// A window is full, or others use up what is shared; there is room after this time at the soonest, if nobody else
    /// takes it.
    Wait(Duration),
    /// A Retry-After has closed the budget for this time from now.
    Closed(Duration),
}

/// How the windows stood when a request went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    writes: u64,
    requests: u64,
}

/// One budget's books: both windows, what is held back for the sake of others, and until when the service asked to be
/// left alone.
#[derive(Debug, Clone)]
pub struct Ledger {
    writes: Window,
    requests: Window,
    closed_until: Option<Instant>,
    held_reads: Held,
    held_writes: Held,
}

/// Until when requests of one kind are held back, since the service said that a limit is used up.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    polls: Option<Instant>,
    all: Option<Instant>,
}

impl Held {
    /// Begins a hold, unless one lasts or has only just ended; says whether it did.
    fn begin(&mut self, level: Level, now: Instant, span: Duration) -> bool {
        let last = match level {
            // What holds everything holds polls.
            Level::Near => self.polls.max(self.all),
            Level::Reached => self.all,
        };
        if last.is_some_and(|last| now < last + BREATH) {
            return false;
        }
        let until = now.checked_add(span);
        match level {
            Level::Near => self.polls = until,
            Level::Reached => self.all = until,
        }
        true
    }

    /// How long a request of this priority is still held back.
    fn wait(self, priority: Priority, now: Instant) -> Option<Duration> {
        let polls = self.polls.filter(|_| priority == Priority::Poll);
        let left = |until: Option<Instant>| Some(until?.saturating_duration_since(now)).filter(|left| !left.is_zero());
        left(polls).max(left(self.all))
    }
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
    pub fn new(writes: Window, requests: Window) -> Self {
        Self {
            writes,
            requests,
            closed_until: None,
            held_reads: Held::default(),
            held_writes: Held::default(),
        }
    }

    /// Whether a request may go now. [`Decision::Go`] has counted it: asking and counting cannot come apart. Whoever
    /// gets it tells [`Ledger::end`] or [`Ledger::strike`], once.
    pub fn decide(&mut self, kind: Kind, priority: Priority, now: Instant) -> Decision {
        if let Some(left) = self.closed(now) {
            return Decision::Closed(left);
        }
        // None, a window with room, is less than any wait.
        let wait = self.requests.wait(now).max(self.wait_of_kind(kind, priority, now));
        if let Some(wait) = wait {
            return Decision::Wait(wait);
        }
        self.requests.go();
        if kind == Kind::Write {
            self.writes.go();
        }
        Decision::Go
    }

    /// Notes that a request ended, however it did.
    pub fn end(&mut self, kind: Kind, now: Instant) {
        self.requests.end(now);
        if kind == Kind::Write {
            self.writes.end(now);
        }
    }

    /// Strikes out a request that was let go and never sent.
    pub fn strike(&mut self, kind: Kind) {
        self.requests.strike();
        if kind == Kind::Write {
            self.writes.strike();
        }
    }

    /// How the windows stand, for [`Ledger::heed`]: to be asked when a request has been let go.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            writes: self.writes.left(),
            requests: self.requests.left(),
        }
    }

    /// Holds back what the service says is used up by whoever shares the limit, for one span from now: polls where the
    /// limit is near, everything where it is reached. `mark` is of when the request went that it has answered.
    ///
    /// What is no more than this client has used up itself is no news, and the windows see to it. And while the budget
    /// is closed, the service has said itself for how long. Neither holds anything back.
    ///
    /// A hold is not made longer, and the next one begins a second after its end at the soonest. So no request waits on
    /// this account for longer than a span, or a poll than two where the limit is near first and reached then.
    ///
    /// Returns whether a hold has begun.
    pub fn heed(&mut self, usage: Usage, mark: Mark, now: Instant) -> bool {
        let writes = self.writes.met(mark.writes);
        let requests = self.requests.met(mark.requests);
        let own = match usage.only {
            Some(Kind::Read) => requests,
            Some(Kind::Write) => writes,
            None => requests.max(writes),
        };
        let is_own = !usage.is_shared && own >= u64::from(usage.thousandths);
        if is_own || self.closed(now).is_some() {
            return false;
        }
        let span = self.requests.span;
        let mut began = false;
        for (kind, held) in [(Kind::Read, &mut self.held_reads), (Kind::Write, &mut self.held_writes)] {
            if usage.concerns(kind) {
                began |= held.begin(usage.level(), now, span);
            }
        }
        began
    }

    /// Closes the budget for a time, at most [`LONGEST_CLOSE`] from now. A later end that was set before stands. Nothing
    /// is held back on its end: the service's own word counts.
    ///
    /// Returns by how much the closed time has grown.
    pub fn close(&mut self, now: Instant, duration: Duration) -> Duration {
        (self.held_reads, self.held_writes) = (Held::default(), Held::default());
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

    /// How long requests of this kind and priority have to wait for what requests of the other kind do not wait for;
    /// `None` where they need not.
    pub(super) fn wait_of_kind(&mut self, kind: Kind, priority: Priority, now: Instant) -> Option<Duration> {
        match kind {
            Kind::Read => self.held_reads.wait(priority, now),
            Kind::Write => self.writes.wait(now).max(self.held_writes.wait(priority, now)),
        }
    }

    /// Whether nothing would be lost if a new ledger took its place.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        // What is held back is held for a span from an answer, which counts for as long.
        self.closed(now).is_none() && self.requests.is_empty(now)
    }
}

#[cfg(test)]
mod tests;
