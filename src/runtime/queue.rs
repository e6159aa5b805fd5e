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
mod tests {
    use super::*;
    use Lane::{Bulk, Edit};
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::HashSet;

    const LIMITS: Limits = Limits {
        total: 6,
        bulk: 3,
        group: 3,
    };

    fn queue(limits: Limits) -> (Queue<u32, u8>, Instant) {
        (Queue::new(limits), Instant::now())
    }

    fn roomy() -> Limits {
        Limits {
            total: 100,
            bulk: 100,
            group: 100,
        }
    }

    fn next<K: Clone + Eq + Hash, G: Clone + Eq + Hash>(queue: &mut Queue<K, G>, now: Instant) -> Option<(K, Lane)> {
        queue.pop(now).map(|job| (job.key, job.lane))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn edits_go_before_polls_and_each_lane_is_first_in_first_out() {
        let (mut queue, now) = queue(roomy());
        for (key, lane) in [(1, Bulk), (2, Bulk), (3, Edit), (4, Edit)] {
            queue.push(key, Some(0), lane, now);
        }
        assert_eq!((queue.queued(Edit), queue.queued(Bulk)), (2, 2));
        for expected in [(3, Edit), (4, Edit), (1, Bulk), (2, Bulk)] {
            assert_eq!(next(&mut queue, now), Some(expected));
        }
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.running(), 4);
        assert!(!queue.is_idle());
    }

    #[test]
    fn a_second_push_promotes_and_never_demotes() {
        let (mut queue, now) = queue(roomy());
        queue.push(1, None, Bulk, now);
        queue.push(2, None, Edit, now);
        queue.push(1, None, Edit, now);
        queue.push(1, None, Bulk, now);
        queue.push(2, None, Bulk, now);
        assert_eq!(next(&mut queue, now), Some((2, Edit)));
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn what_is_pushed_while_it_runs_runs_again_in_the_best_lane() {
        let (mut queue, now) = queue(roomy());
        queue.push(1, Some(0), Bulk, now);
        assert_eq!(next(&mut queue, now), Some((1, Bulk)));
        for lane in [Bulk, Edit, Bulk] {
            queue.push(1, Some(0), lane, now);
        }
        assert_eq!(queue.pop(now), None, "it does not run twice at once");
        queue.done(&1);
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        queue.done(&1);
        assert!(queue.is_idle());
        assert!(queue.keys.is_empty() && queue.groups.is_empty());
    }

    #[test]
    fn the_earliest_time_stands_unless_it_is_replaced() {
        let (mut queue, now) = queue(roomy());
        queue.schedule(1, None, Bulk, now + 5 * SECOND);
        queue.schedule(1, None, Bulk, now + 9 * SECOND);
        assert_eq!(queue.next_due(), Some(now + 5 * SECOND));
        queue.schedule(1, None, Bulk, now + 2 * SECOND);
        assert_eq!(queue.next_due(), Some(now + 2 * SECOND));
        queue.reschedule(1, None, Bulk, now + 7 * SECOND);
        assert_eq!(queue.next_due(), Some(now + 7 * SECOND));
        assert!(queue.is_idle());
        assert_eq!(queue.pop(now + 6 * SECOND), None);
        assert_eq!(next(&mut queue, now + 7 * SECOND), Some((1, Bulk)));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn the_better_lane_of_two_delayed_entries_stands() {
        let (mut queue, now) = queue(roomy());
        queue.schedule(1, None, Bulk, now + SECOND);
        queue.schedule(1, None, Edit, now + 2 * SECOND);
        assert_eq!(next(&mut queue, now + SECOND), Some((1, Edit)));
    }

    #[test]
    fn a_start_drops_the_delayed_entry_and_the_pass_sets_a_new_one() {
        let (mut queue, now) = queue(roomy());
        queue.schedule(1, None, Bulk, now + SECOND);
        queue.push(1, None, Edit, now);
        assert_eq!(queue.next_due(), Some(now + SECOND), "a push clears nothing");
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        assert_eq!(queue.next_due(), None);
        queue.schedule(1, None, Bulk, now + 3 * SECOND);
        queue.done(&1);
        assert_eq!(queue.pop(now + SECOND), None);
        assert_eq!(next(&mut queue, now + 3 * SECOND), Some((1, Bulk)));
    }

    #[test]
    fn what_falls_due_while_it_runs_runs_again() {
        let (mut queue, now) = queue(roomy());
        queue.push(1, None, Edit, now);
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        queue.schedule(1, None, Bulk, now + SECOND);
        assert_eq!(queue.pop(now + 2 * SECOND), None);
        queue.done(&1);
        assert_eq!(next(&mut queue, now + 2 * SECOND), Some((1, Bulk)));
    }

    #[test]
    fn a_forgotten_key_never_runs_again_of_its_own_accord() {
        let (mut queue, now) = queue(roomy());
        queue.push(1, Some(0), Edit, now);
        queue.schedule(1, Some(0), Bulk, now + SECOND);
        queue.push(2, Some(0), Edit, now);
        queue.forget(&1);
        assert_eq!(next(&mut queue, now + SECOND), Some((2, Edit)));

        queue.push(2, Some(0), Edit, now);
        queue.forget(&2);
        queue.schedule(2, Some(0), Bulk, now + SECOND);
        queue.done(&2);
        assert_eq!(queue.pop(now + 2 * SECOND), None);
        assert!(queue.keys.is_empty() && queue.later.is_empty() && queue.groups.is_empty());
    }

    #[test]
    fn an_object_that_comes_back_under_its_name_runs() {
        let (mut queue, now) = queue(roomy());
        queue.push(1, None, Edit, now);
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        queue.forget(&1);
        queue.push(1, None, Bulk, now);
        queue.schedule(1, None, Bulk, now + SECOND);
        queue.done(&1);
        assert_eq!(next(&mut queue, now), Some((1, Bulk)));
    }

    #[test]
    fn a_hanging_group_leaves_the_other_workers_alone_and_its_last_place_to_edits() {
        let (mut queue, now) = queue(Limits {
            total: 8,
            bulk: 6,
            group: 4,
        });
        for key in 0..100 {
            queue.push(key, Some(0), Bulk, now);
        }
        queue.push(200, Some(1), Bulk, now);
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(now)).map(|job| job.key).collect();
        assert_eq!(
            popped,
            [0, 200, 1, 2],
            "the Bulk lane gets three of the group's four places"
        );
        queue.push(300, Some(0), Edit, now);
        queue.push(301, Some(0), Edit, now);
        assert_eq!(next(&mut queue, now), Some((300, Edit)));
        assert_eq!(queue.pop(now), None, "now the group holds four");
        queue.push(302, Some(1), Edit, now);
        assert_eq!(next(&mut queue, now), Some((302, Edit)));
        queue.done(&0);
        assert_eq!(next(&mut queue, now), Some((301, Edit)));
    }

    #[test]
    fn a_group_of_one_place_still_polls() {
        let (mut queue, now) = queue(Limits {
            total: 8,
            bulk: 6,
            group: 1,
        });
        queue.push(1, Some(0), Bulk, now);
        assert_eq!(next(&mut queue, now), Some((1, Bulk)));
    }

    #[test]
    fn limits_of_zero_let_nothing_run() {
        for limits in [
            Limits {
                total: 0,
                bulk: 1,
                group: 1,
            },
            Limits {
                total: 1,
                bulk: 0,
                group: 1,
            },
            Limits {
                total: 1,
                bulk: 1,
                group: 0,
            },
        ] {
            let (mut queue, now) = queue(limits);
            queue.push(1, Some(0), Bulk, now);
            assert_eq!(queue.pop(now), None);
        }
    }

    #[test]
    fn keys_of_no_group_are_held_by_no_group_limit() {
        let (mut queue, now) = queue(Limits {
            total: 50,
            bulk: 50,
            group: 2,
        });
        for key in 0..40 {
            queue.push(key, None, Bulk, now);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop(now)).count(), 40);
    }

    #[test]
    fn a_key_that_changes_its_group_is_held_by_the_new_one_alone() {
        let (mut queue, now) = queue(Limits {
            total: 9,
            bulk: 9,
            group: 2,
        });
        queue.push(1, Some(0), Edit, now);
        queue.push(2, Some(0), Edit, now);
        queue.push(3, Some(0), Edit, now);
        queue.push(4, Some(1), Edit, now);
        assert_eq!(
            std::iter::from_fn(|| queue.pop(now))
                .map(|job| job.key)
                .collect::<Vec<_>>(),
            [1, 4, 2]
        );
        queue.push(1, Some(1), Edit, now);
        queue.push(3, Some(1), Edit, now);
        assert_eq!(next(&mut queue, now), Some((3, Edit)));
        queue.done(&1);
        assert_eq!(queue.pop(now), None, "its group holds two");
        queue.push(5, Some(0), Edit, now);
        assert_eq!(
            next(&mut queue, now),
            Some((5, Edit)),
            "the place it freed was the old group's"
        );
        queue.done(&4);
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
    }

    #[test]
    fn the_oldest_wait_counts_from_the_push_or_the_due_time() {
        let (mut queue, now) = queue(Limits { total: 1, ..LIMITS });
        assert_eq!(queue.oldest_waiting(now), None);
        queue.schedule(1, None, Bulk, now + 5 * SECOND);
        assert_eq!(queue.oldest_waiting(now + 4 * SECOND), None);
        assert_eq!(queue.oldest_waiting(now + 8 * SECOND), Some(3 * SECOND), "nobody pops");
        queue.push(2, None, Edit, now + 7 * SECOND);
        assert_eq!(next(&mut queue, now + 8 * SECOND), Some((2, Edit)));
        assert_eq!(
            queue.oldest_waiting(now + 9 * SECOND),
            Some(4 * SECOND),
            "it waits in its lane now"
        );
        queue.push(1, None, Edit, now + 9 * SECOND);
        assert_eq!(
            queue.oldest_waiting(now + 9 * SECOND),
            Some(4 * SECOND),
            "a promotion does not make it younger"
        );
        queue.done(&2);
        assert_eq!(next(&mut queue, now + 9 * SECOND), Some((1, Edit)));
        assert_eq!(queue.oldest_waiting(now + 99 * SECOND), None);
    }

    #[test]
    fn a_key_that_runs_waits_from_the_first_push_that_it_has_not_seen() {
        let (mut queue, now) = queue(LIMITS);
        queue.push(1, None, Edit, now);
        assert_eq!(next(&mut queue, now), Some((1, Edit)));
        queue.push(1, None, Bulk, now + SECOND);
        queue.push(1, None, Edit, now + 3 * SECOND);
        assert_eq!(queue.oldest_waiting(now + 4 * SECOND), None);
        queue.done(&1);
        assert_eq!(queue.oldest_waiting(now + 4 * SECOND), Some(3 * SECOND));
    }

    thread_local! { static HASHED: Cell<usize> = const { Cell::new(0) }; }

    /// A key that counts how often it is looked at.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Counted(u32);

    impl Hash for Counted {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            HASHED.set(HASHED.get() + 1);
            self.0.hash(state);
        }
    }

    #[test]
    fn blocked_keys_are_not_looked_at() {
        let now = Instant::now();
        let mut queue: Queue<Counted, Counted> = Queue::new(Limits {
            total: 400,
            bulk: 300,
            group: 4,
        });
        for key in 0..20_000 {
            queue.push(Counted(key), Some(Counted(key % 50)), Bulk, now);
        }
        while queue.pop(now).is_some() {}
        assert_eq!(queue.running(), 150);
        queue.push(Counted(90_000), Some(Counted(99)), Bulk, now);
        HASHED.set(0);
        assert_eq!(next(&mut queue, now), Some((Counted(90_000), Bulk)));
        assert_eq!(queue.pop(now), None);
        assert!(HASHED.get() < 10, "{} looks", HASHED.get());
    }

    /// What the queue should be, told in the plainest way: every question looks at every key.
    #[derive(Default)]
    struct Model {
        keys: HashMap<u32, Known>,
        counter: u64,
    }

    #[derive(Default, Clone)]
    struct Known {
        group: Option<u8>,
        queued: Option<(Lane, u64)>,
        due: Option<(Instant, u64, Lane)>,
        running: Option<(Lane, Option<u8>)>,
        again: Option<Lane>,
        forgotten: bool,
    }

    impl Model {
        fn count(&mut self) -> u64 {
            self.counter += 1;
            self.counter
        }

        fn known(&mut self, key: u32, group: Option<u8>) -> &mut Known {
            let known = self.keys.entry(key).or_default();
            known.group = group;
            known
        }

        fn push(&mut self, key: u32, group: Option<u8>, lane: Lane) {
            let number = self.count();
            let known = self.known(key, group);
            if known.running.is_some() {
                known.again = Some(known.again.map_or(lane, |told| told.min(lane)));
                known.forgotten = false;
            } else if known.queued.is_none_or(|(old, _)| lane < old) {
                known.queued = Some((lane, number));
            }
        }

        fn delay(&mut self, key: u32, group: Option<u8>, lane: Lane, at: Instant, replace: bool) {
            let number = self.count();
            if self.keys.get(&key).is_some_and(|known| known.forgotten) {
                return;
            }
            let known = self.known(key, group);
            known.due = Some(match known.due {
                Some(old) if !replace => {
                    let (at, number) = if old.0 <= at { (old.0, old.1) } else { (at, number) };
                    (at, number, lane.min(old.2))
                }
                _ => (at, number, lane),
            });
        }

        fn forget(&mut self, key: u32) {
            if let Some(known) = self.keys.get_mut(&key) {
                (known.queued, known.due, known.again) = (None, None, None);
                known.forgotten = known.running.is_some();
            }
            self.clean();
        }

        fn done(&mut self, key: u32) {
            let known = self.keys.get_mut(&key).unwrap();
            known.running = None;
            known.forgotten = false;
            let (group, again) = (known.group, known.again.take());
            if let Some(lane) = again {
                self.push(key, group, lane);
            }
            self.clean();
        }

        fn clean(&mut self) {
            self.keys
                .retain(|_, known| known.queued.is_some() || known.due.is_some() || known.running.is_some());
        }

        fn running(&self, which: impl Fn(Lane, Option<u8>) -> bool) -> usize {
            self.keys
                .values()
                .filter(|known| known.running.is_some_and(|(lane, group)| which(lane, group)))
                .count()
        }

        /// The keys of a lane that may run, with their numbers.
        fn eligible(&self, limits: Limits, lane: Lane) -> Vec<(u64, u32)> {
            let bulk_of_group = limits.group.min(limits.group.saturating_sub(1).max(1));
            let full = self.running(|_, _| true) >= limits.total
                || (lane == Bulk && self.running(|running, _| running == Bulk) >= limits.bulk);
            let waits = self
                .keys
                .iter()
                .filter_map(|(key, known)| Some((known.queued?, *key, known.group)));
            waits
                .filter(|((queued, _), ..)| *queued == lane && !full)
                .filter(|(_, _, group)| {
                    group.is_none()
                        || self.running(|_, running| running == *group) < limits.group
                            && (lane == Edit
                                || self.running(|lane, running| lane == Bulk && running == *group) < bulk_of_group)
                })
                .map(|((_, number), key, _)| (number, key))
                .collect()
        }

        /// Holds what the queue gave against what it may give, and takes it over.
        fn popped(&mut self, limits: Limits, now: Instant, job: Option<&Job<u32>>) {
            let mut due: Vec<_> = self
                .keys
                .iter()
                .filter_map(|(key, known)| known.due.map(|(at, number, lane)| (at, number, *key, lane)))
                .collect();
            due.sort();
            for (_, _, key, lane) in due.into_iter().take_while(|(at, ..)| *at <= now) {
                let known = self.keys.get_mut(&key).unwrap();
                known.due = None;
                let group = known.group;
                self.push(key, group, lane);
            }
            let lane = [Edit, Bulk]
                .into_iter()
                .find(|lane| !self.eligible(limits, *lane).is_empty());
            assert_eq!(
                job.map(|job| job.lane),
                lane,
                "a key runs as soon as it may, and edits first"
            );
            let Some(Job { key, lane }) = job else { return };
            let eligible = self.eligible(limits, *lane);
            let group = self.keys[key].group;
            let first = eligible
                .iter()
                .filter(|(_, other)| self.keys[other].group == group)
                .min();
            assert_eq!(
                first.map(|(_, key)| key),
                Some(key),
                "first in, first out within a group"
            );
            let known = self.keys.get_mut(key).unwrap();
            assert_eq!(known.running, None, "no key runs twice at once");
            (known.queued, known.due, known.running) = (None, None, Some((*lane, group)));
        }

        /// The limits hold, and the queue knows no more and no less than the model.
        fn check(&self, limits: Limits, queue: &Queue<u32, u8>) {
            assert!(self.running(|_, _| true) <= limits.total);
            assert!(self.running(|lane, _| lane == Bulk) <= limits.bulk);
            for group in 0..4 {
                assert!(self.running(|_, running| running == Some(group)) <= limits.group);
            }
            assert_eq!(queue.running(), self.running(|_, _| true));
            for lane in [Edit, Bulk] {
                let waits = self
                    .keys
                    .values()
                    .filter(|known| known.queued.is_some_and(|(queued, _)| queued == lane));
                assert_eq!(queue.queued(lane), waits.count());
                assert!(queue.ring.of(lane).len() <= queue.groups.len());
            }
            assert_eq!(queue.keys.keys().collect::<HashSet<_>>(), self.keys.keys().collect());
            let due = self.keys.values().filter_map(|known| known.due);
            assert_eq!(queue.later.len(), due.clone().count());
            assert_eq!(queue.next_due(), due.map(|(at, ..)| at).min());
            let waiting = self
                .keys
                .values()
                .filter(|known| known.queued.is_some())
                .map(|known| known.group);
            let running = self
                .keys
                .values()
                .filter_map(|known| known.running)
                .map(|(_, group)| group);
            assert_eq!(
                queue.groups.keys().copied().collect::<HashSet<_>>(),
                waiting.chain(running).collect()
            );
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u32, Option<u8>, Lane),
        Delay {
            key: u32,
            group: Option<u8>,
            lane: Lane,
            ms: u64,
            replace: bool,
        },
        Pop,
        Done(prop::sample::Index),
        Forget(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || 0_u32..16;
        let lane = || prop_oneof![Just(Edit), Just(Bulk)];
        let group = || prop::option::weighted(0.9, 0_u8..4);
        prop_oneof![
            6 => (key(), group(), lane()).prop_map(|(key, group, lane)| Step::Push(key, group, lane)),
            3 => (key(), group(), lane(), 0_u64..50, any::<bool>())
                .prop_map(|(key, group, lane, ms, replace)| Step::Delay { key, group, lane, ms, replace }),
            8 => Just(Step::Pop),
            5 => any::<prop::sample::Index>().prop_map(Step::Done),
            1 => key().prop_map(Step::Forget),
            2 => (0_u64..30).prop_map(Step::Pass),
        ]
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (1_usize..8, 1_usize..8, 1_usize..5).prop_map(|(total, bulk, group)| Limits { total, bulk, group })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn does_what_the_model_does(limits in limits(), steps in prop::collection::vec(step(), 0..200)) {
            let (mut queue, mut now) = queue(limits);
            let mut model = Model::default();
            let mut running: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(key, group, lane) => {
                        queue.push(key, group, lane, now);
                        model.push(key, group, lane);
                    }
                    Step::Delay { key, group, lane, ms, replace } => {
                        let at = now + Duration::from_millis(ms);
                        if replace {
                            queue.reschedule(key, group, lane, at);
                        } else {
                            queue.schedule(key, group, lane, at);
                        }
                        model.delay(key, group, lane, at, replace);
                    }
                    Step::Pop => {
                        let job = queue.pop(now);
                        model.popped(limits, now, job.as_ref());
                        running.extend(job.map(|job| job.key));
                    }
                    Step::Done(index) if !running.is_empty() => {
                        let key = running.swap_remove(index.index(running.len()));
                        queue.done(&key);
                        model.done(key);
                    }
                    Step::Done(_) => queue.done(&99),
                    Step::Forget(key) => {
                        queue.forget(&key);
                        model.forget(key);
                    }
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                }
                model.check(limits, &queue);
            }

            // Whatever was asked for and not forgotten runs in the end, and nothing is left behind.
            loop {
                let job = queue.pop(now);
                model.popped(limits, now, job.as_ref());
                model.check(limits, &queue);
                if let Some(job) = job {
                    running.push(job.key);
                } else if let Some(key) = running.pop() {
                    queue.done(&key);
                    model.done(key);
                } else if let Some(at) = queue.next_due() {
                    now = at;
                } else {
                    break;
                }
            }
            prop_assert!(queue.is_idle() && model.keys.is_empty());
            prop_assert!(queue.keys.is_empty() && queue.groups.is_empty() && queue.later.is_empty());
        }

        /// While a group waits, no other is served twice before it, but for the time that it is at its own limit.
        #[test]
        fn no_group_starves(
            limits in limits(),
            sizes in prop::collection::vec(1_usize..40, 2..8),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 400),
        ) {
            let (mut queue, now) = queue(limits);
            let groups = sizes.len();
            let group_of = |key: u32| usize::try_from(key / 100).unwrap();
            for (group, size) in (0_u8..).zip(&sizes) {
                for key in (0_u32..).take(*size) {
                    queue.push(u32::from(group) * 100 + key, Some(group), Edit, now);
                }
            }
            let mut left = sizes.clone();
            let mut running: Vec<u32> = Vec::new();
            let mut served_since: Vec<HashMap<usize, usize>> = vec![HashMap::new(); groups];
            for end in ends {
                while let Some(job) = queue.pop(now) {
                    let served = group_of(job.key);
                    running.push(job.key);
                    left[served] -= 1;
                    served_since[served].clear();
                    for waiting in (0..groups).filter(|group| *group != served && left[*group] > 0) {
                        let at_limit = running.iter().filter(|key| group_of(**key) == waiting).count() >= limits.group;
                        let times = served_since[waiting].entry(served).or_default();
                        *times = if at_limit { 0 } else { *times + 1 };
                        prop_assert!(*times <= 1, "group {waiting} stands behind group {served} twice");
                    }
                }
                if running.is_empty() {
                    break;
                }
                queue.done(&running.swap_remove(end.index(running.len())));
            }
            prop_assert_eq!(left.iter().sum::<usize>(), 0);
        }
    }
}
