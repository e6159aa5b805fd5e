mod model;

use std::cell::Cell;

use super::*;
use Lane::{Bulk, Edit};

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
