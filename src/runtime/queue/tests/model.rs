//! The queue against a model that is slow and plain.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

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
