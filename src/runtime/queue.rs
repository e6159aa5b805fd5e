//! Which key runs next. Pure: a state machine that is told the time and starts nothing itself.
//!
//! Two lanes, so that edits never wait behind polls; groups, so that one hanging tenant holds a few workers and not all
//! of them; delayed entries for what is due later. Whoever owns the workers calls [`Queue::pop`] until it gives nothing,
//! sleeps until [`Queue::next_due`] or a push, and tells [`Queue::done`] what has ended.
//!
//! Every operation costs O(log n) at most, however many keys wait behind a group that is at its limit: a group stands in
//! its lane's ring only while it has both a waiting key and a free place.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What a pass is for. `Edit` is the better lane, and compares as the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Edits, sync requests and deletions: somebody waits for them.
    Edit,
    /// Polls and first passes: there are many of them, and nobody waits.
    Bulk,
}

impl Lane {
    const ALL: [Lane; 2] = [Lane::Edit, Lane::Bulk];
}

/// How many keys run at once. A zero lets nothing run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all, both lanes together.
    pub total: usize,
    /// In the Bulk lane. Below `total`, or edits wait behind polls.
    pub bulk: usize,
    /// In one group, both lanes together. The Bulk lane gets one less (but at least one): the last place is kept for
    /// the edits of the same group. A key without a group is under the other two limits alone.
    pub group: usize,
}

/// A key to run now. It counts as running until [`Queue::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<K> {
    /// What runs.
    pub key: K,
    /// The lane it was taken from.
    pub lane: Lane,
}

/// The queue. Its memory is bounded by the keys that wait, run or are due later, each of which it holds once.
#[derive(Debug)]
pub struct Queue<K, G> {
    limits: Limits,
    keys: HashMap<K, Entry<G>>,
    groups: HashMap<Option<G>, Group<K>>,
    /// The groups that have a waiting key and a free place, in the order of their turns.
    ring: PerLane<BTreeMap<u64, Option<G>>>,
    /// What is due later, by time.
    later: BTreeMap<(Instant, u64), K>,
    running: PerLane<usize>,
    queued: PerLane<usize>,
    /// Numbers handed out so far: the order of places, turns and of what is due at the same time.
    tickets: u64,
}

impl<K: Clone + Eq + Hash, G: Clone + Eq + Hash> Queue<K, G> {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            keys: HashMap::new(),
            groups: HashMap::new(),
            ring: PerLane::default(),
            later: BTreeMap::new(),
            running: PerLane::default(),
            queued: PerLane::default(),
            tickets: 0,
        }
    }

    /// Queues a key to run as soon as there is a place.
    ///
    /// A key that waits already keeps its place, or moves to the end of the better lane. A key that runs is remembered,
    /// in the best lane it was pushed in, and queued when it is done. The group told last is the one that counts.
    pub fn push(&mut self, key: K, group: Option<G>, lane: Lane, now: Instant) {
        self.entry(&key, group);
        self.admit(key, lane, now);
    }

    /// Queues a key at a later time. Where it has one already, the earlier of the two stands, in the better of the lanes.
    ///
    /// A pass calls it before its `done`, for the time at which it wants to come back. After a [`forget`](Self::forget)
    /// of a running key it does nothing until the key is pushed again.
    pub fn schedule(&mut self, key: K, group: Option<G>, lane: Lane, at: Instant) {
        self.delay(key, group, lane, at, false);
    }

    /// As [`schedule`](Self::schedule), but replaces whatever time and lane were set.
    pub fn reschedule(&mut self, key: K, group: Option<G>, lane: Lane, at: Instant) {
        self.delay(key, group, lane, at, true);
    }

    /// The next key to run, which counts as running from here on; `None` where nothing waits or no limit leaves a place.
    ///
    /// What is due by `now` joins its lane first. Edit goes before Bulk, groups take turns within a lane, and within a
    /// group the first to come is the first to go. A key that starts loses its delayed entry: its pass sets a new one.
    pub fn pop(&mut self, now: Instant) -> Option<Job<K>> {
        self.admit_due(now);
        let lane = Lane::ALL
            .into_iter()
            .find(|lane| self.has_place(*lane) && !self.ring.of(*lane).is_empty())?;

        let (_, name) = self.ring.of_mut(lane).pop_first()?;
        let group = self.groups.get_mut(&name)?;
        // The next turn of this group comes after those of all others.
        *group.turn.of_mut(lane) = None;
        *group.running.of_mut(lane) += 1;
        let (_, key) = group.waiting.of_mut(lane).pop_first()?;
        *self.queued.of_mut(lane) -= 1;
        *self.running.of_mut(lane) += 1;

        let entry = self.keys.get_mut(&key)?;
        entry.state = State::Running {
            lane,
            group: name.clone(),
            again: None,
            forgotten: false,
        };
        if let Some(due) = entry.due.take() {
            self.later.remove(&(due.at, due.ticket));
        }
        self.settle(name.as_ref());
        Some(Job { key, lane })
    }

    /// Frees the place of a key that ran; what was pushed meanwhile is queued. Does nothing for a key that does not run.
    pub fn done(&mut self, key: &K) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        let State::Running { lane, group, again, .. } = &mut entry.state else {
            return;
        };
        let (lane, name, again) = (*lane, group.take(), *again);
        entry.state = State::Idle;

        *self.running.of_mut(lane) -= 1;
        if let Some(group) = self.groups.get_mut(&name) {
            *group.running.of_mut(lane) -= 1;
        }
        self.settle(name.as_ref());
        match again {
            Some(again) => self.admit(key.clone(), again.lane, again.since),
            None => self.drop_if_idle(key),
        }
    }

    /// Drops what is queued and what is due later: the object has vanished. Where the key runs, nothing follows.
    pub fn forget(&mut self, key: &K) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if let Some(due) = entry.due.take() {
            self.later.remove(&(due.at, due.ticket));
        }
        match &mut entry.state {
            State::Idle => {}
            State::Queued(place) => {
                let (place, name) = (*place, entry.group.clone());
                entry.state = State::Idle;
                self.leave(name.as_ref(), place);
            }
            State::Running { again, forgotten, .. } => {
                *again = None;
                *forgotten = true;
            }
        }
        self.drop_if_idle(key);
    }

    /// When the next delayed entry falls due; it may lie in the past where nobody has called [`pop`](Self::pop) since.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether nothing runs and nothing waits for a place. What is due later does not count.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running() == 0 && Lane::ALL.into_iter().all(|lane| self.queued(lane) == 0)
    }

    /// The keys that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.edit + self.running.bulk
    }

    /// The keys that wait in a lane. One that runs and will run again is not among them.
    #[must_use]
    pub fn queued(&self, lane: Lane) -> usize {
        *self.queued.of(lane)
    }

    /// How long the key that waits longest has waited, from its push or its due time; `None` where none waits.
    ///
    /// Keys whose group is at its limit count too, so a long wait alone does not mean that the workers are stuck.
    /// Looks at every key: meant for a probe, not for the loop.
    #[must_use]
    pub fn oldest_waiting(&self, now: Instant) -> Option<Duration> {
        let queued = self.keys.values().filter_map(|entry| match &entry.state {
            State::Queued(place) => Some(place.since),
            State::Idle | State::Running { .. } => None,
        });
        // Due and not yet in its lane: a loop that has stopped to pop shows here.
        let overdue = self.next_due().filter(|at| *at <= now);
        queued
            .chain(overdue)
            .min()
            .map(|since| now.saturating_duration_since(since))
    }

    /// The entry of a key, made where there is none. A waiting key changes over to its new group and keeps its number.
    fn entry(&mut self, key: &K, group: Option<G>) -> &mut Entry<G> {
        let place = match self.keys.get_mut(key) {
            Some(Entry {
                group: old,
                state: State::Queued(place),
                ..
            }) if *old != group => Some((*place, std::mem::replace(old, group.clone()))),
            _ => None,
        };
        if let Some((place, old)) = place {
            self.leave(old.as_ref(), place);
            self.enter(key.clone(), group.as_ref(), place);
        }
        match self.keys.entry(key.clone()) {
            Slot::Occupied(slot) => {
                let entry = slot.into_mut();
                entry.group = group;
                entry
            }
            Slot::Vacant(slot) => slot.insert(Entry {
                group,
                state: State::Idle,
                due: None,
            }),
        }
    }

    /// Lets a known key into a lane, or remembers it where it runs.
    fn admit(&mut self, key: K, lane: Lane, since: Instant) {
        let ticket = self.ticket();
        let Some(entry) = self.keys.get_mut(&key) else { return };
        let name = entry.group.clone();
        match &mut entry.state {
            State::Idle => {
                let place = Place { lane, ticket, since };
                entry.state = State::Queued(place);
                self.enter(key, name.as_ref(), place);
            }
            State::Queued(place) => {
                let old = *place;
                place.since = old.since.min(since);
                if lane < old.lane {
                    (place.lane, place.ticket) = (lane, ticket);
                    let new = *place;
                    self.leave(name.as_ref(), old);
                    self.enter(key, name.as_ref(), new);
                }
            }
            State::Running { again, forgotten, .. } => {
                *forgotten = false;
                *again = Some(match again {
                    Some(told) => Again {
                        lane: told.lane.min(lane),
                        since: told.since.min(since),
                    },
                    None => Again { lane, since },
                });
            }
        }
    }

    fn admit_due(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let key = first.remove();
            if let Some(due) = self.keys.get_mut(&key).and_then(|entry| entry.due.take()) {
                self.admit(key, due.lane, due.at);
            }
        }
    }

    fn delay(&mut self, key: K, group: Option<G>, lane: Lane, at: Instant, replace: bool) {
        let ticket = self.ticket();
        if let Some(Entry {
            state: State::Running { forgotten: true, .. },
            ..
        }) = self.keys.get(&key)
        {
            return;
        }
        let entry = self.entry(&key, group);
        let old = entry.due.take();
        let new = match &old {
            // Of two at one time the first keeps its place.
            Some(old) if !replace && old.at <= at => Due {
                lane: lane.min(old.lane),
                ..*old
            },
            Some(old) if !replace => Due {
                at,
                ticket,
                lane: lane.min(old.lane),
            },
            _ => Due { at, ticket, lane },
        };
        entry.due = Some(new);
        if let Some(old) = old {
            self.later.remove(&(old.at, old.ticket));
        }
        self.later.insert((new.at, new.ticket), key);
    }

    fn enter(&mut self, key: K, name: Option<&G>, place: Place) {
        let group = self.groups.entry(name.cloned()).or_default();
        group.waiting.of_mut(place.lane).insert(place.ticket, key);
        *self.queued.of_mut(place.lane) += 1;
        self.settle(name);
    }

    fn leave(&mut self, name: Option<&G>, place: Place) {
        if let Some(group) = self.groups.get_mut(&name.cloned()) {
            group.waiting.of_mut(place.lane).remove(&place.ticket);
            *self.queued.of_mut(place.lane) -= 1;
        }
        self.settle(name);
    }

    /// Puts a group into the rings where it belongs after a change, and drops it once it holds nothing.
    ///
    /// A group that is at its limit steps out of the ring but keeps its turn: it is the others' equal once it is free.
    fn settle(&mut self, name: Option<&G>) {
        let name = name.cloned();
        let Some(group) = self.groups.get_mut(&name) else {
            return;
        };
        for lane in Lane::ALL {
            let ring = self.ring.of_mut(lane);
            let turn = group.turn.of_mut(lane);
            if group.waiting.of(lane).is_empty() {
                if let Some(turn) = turn.take() {
                    ring.remove(&turn);
                }
                continue;
            }
            let turn = *turn.get_or_insert_with(|| {
                self.tickets += 1;
                self.tickets
            });
            if name.is_none() || group.has_place(self.limits, lane) {
                ring.insert(turn, name.clone());
            } else {
                ring.remove(&turn);
            }
        }
        if group.is_empty() {
            self.groups.remove(&name);
        }
    }

    /// Whether the limits that are not a group's leave a place in the lane.
    fn has_place(&self, lane: Lane) -> bool {
        self.running() < self.limits.total && (lane == Lane::Edit || self.running.bulk < self.limits.bulk)
    }

    fn drop_if_idle(&mut self, key: &K) {
        if let Some(Entry {
            state: State::Idle,
            due: None,
            ..
        }) = self.keys.get(key)
        {
            self.keys.remove(key);
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

/// What is known of one key.
#[derive(Debug)]
struct Entry<G> {
    /// As told last.
    group: Option<G>,
    state: State<G>,
    /// Its delayed entry, which stands beside any state.
    due: Option<Due>,
}

#[derive(Debug)]
enum State<G> {
    /// Only due later.
    Idle,
    Queued(Place),
    Running {
        lane: Lane,
        /// Where it takes a place; the entry's own group may have changed since.
        group: Option<G>,
        again: Option<Again>,
        /// The object vanished while it ran: what the pass still wants later is not wanted any more.
        forgotten: bool,
    },
}

/// A place in a lane of a group.
#[derive(Debug, Clone, Copy)]
struct Place {
    lane: Lane,
    ticket: u64,
    since: Instant,
}

/// A push that came while the key ran.
#[derive(Debug, Clone, Copy)]
struct Again {
    lane: Lane,
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    ticket: u64,
    lane: Lane,
}

/// The keys of one group, and the keys of none, which no group limit holds.
#[derive(Debug)]
struct Group<K> {
    running: PerLane<usize>,
    waiting: PerLane<BTreeMap<u64, K>>,
    /// Its place among the groups of a lane, while any of its keys waits there.
    turn: PerLane<Option<u64>>,
}

impl<K> Group<K> {
    fn has_place(&self, limits: Limits, lane: Lane) -> bool {
        let bulk = limits.group.min(limits.group.saturating_sub(1).max(1));
        self.running.edit + self.running.bulk < limits.group && (lane == Lane::Edit || self.running.bulk < bulk)
    }

    fn is_empty(&self) -> bool {
        self.running.edit + self.running.bulk == 0 && Lane::ALL.into_iter().all(|lane| self.waiting.of(lane).is_empty())
    }
}

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self {
            running: PerLane::default(),
            waiting: PerLane::default(),
            turn: PerLane::default(),
        }
    }
}

/// One of something for each lane.
#[derive(Debug, Default)]
struct PerLane<T> {
    edit: T,
    bulk: T,
}

impl<T> PerLane<T> {
    fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Edit => &self.edit,
            Lane::Bulk => &self.bulk,
        }
    }

    fn of_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Edit => &mut self.edit,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

#[cfg(test)]
mod tests;
