//! What the probes ask: progress, and whether everything has been listed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::context::QueueHandle;

/// With no pass ended for this long although some wait, the process is stuck.
const STUCK: Duration = Duration::from_secs(600);

/// What is listed and watched by one request: a kind in one namespace, or in all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct List {
    /// `partners` or `connections`.
    pub kind: &'static str,
    /// The namespace; `None`: all.
    pub namespace: Option<String>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.as_deref().unwrap_or("all namespaces");
        write!(f, "{} in {namespace}", self.kind)
    }
}

/// What has become of a list.
#[derive(Clone, Copy)]
enum State {
    Awaited,
    Listed,
    /// The API server says that the operator may not have it, since then.
    Refused(Instant),
}

/// What the probes ask.
pub struct Health {
    lists: Mutex<HashMap<List, State>>,
    queue: QueueHandle,
    ended: Mutex<Instant>,
    /// How long a namespace that is refused is waited for.
    patience: Duration,
}

impl Health {
    /// Nothing is expected yet. `patience`: how long a namespace that the API server refuses is waited for, before the
    /// operator goes on without it. Rights may be a moment behind the operator that they are made for.
    #[must_use]
    pub fn new(queue: QueueHandle, patience: Duration) -> Self {
        Self {
            lists: Mutex::default(),
            queue,
            ended: Mutex::new(Instant::now()),
            patience,
        }
    }

    /// Whether passes make progress: none waits while none ends.
    #[must_use]
    pub fn live(&self) -> bool {
        let waiting = self
            .queue
            .lock()
            .oldest_waiting(Instant::now())
            .is_some_and(|waiting| waiting > STUCK);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        // What waits for the first lists waits for the API server, and a restart would not help it.
        !self.ready() || !waiting || ended < STUCK
    }

    /// Whether both kinds have been listed in every watched namespace, but for those that the operator may not list: whoever
    /// rules one namespace could hold up all others. Graph being away changes nothing here.
    #[must_use]
    pub fn ready(&self) -> bool {
        let lists = self.lists();
        let settled = |(list, state): (&List, &State)| match state {
            State::Awaited => false,
            State::Listed => true,
            State::Refused(since) => list.namespace.is_some() && since.elapsed() >= self.patience,
        };
        lists.iter().all(settled) && lists.values().any(|state| matches!(state, State::Listed))
    }

    /// Whether both kinds have been listed in a namespace. A partner whose connection is not listed would be told that it
    /// has none.
    #[must_use]
    pub fn serves(&self, namespace: &str) -> bool {
        let lists = self.lists();
        let here = |list: &List| list.namespace.as_deref().is_none_or(|here| here == namespace);
        let mut states = lists.iter().filter(|(list, _)| here(list)).map(|(_, state)| state);
        states.all(|state| matches!(state, State::Listed))
    }

    /// A list that has to be filled before the operator is ready.
    pub fn expect(&self, list: List) {
        self.lists().insert(list, State::Awaited);
    }

    /// A list has been filled.
    pub fn listed(&self, list: &List) {
        let mut lists = self.lists();
        lists.insert(list.clone(), State::Listed);
        let all = lists.values().all(|state| matches!(state, State::Listed));
        drop(lists);
        if all {
            tracing::info!("all resources are listed");
            self.pass_ended();
        }
        self.queue.wake();
    }

    /// The API server refuses a list: the operator has no right to it. What was listed before stays.
    pub fn refused(&self, list: &List) {
        let before = self.ready();
        let mut lists = self.lists();
        let state = lists.entry(list.clone()).or_insert(State::Awaited);
        if matches!(state, State::Awaited) {
            *state = State::Refused(Instant::now());
        }
        drop(lists);
        if !before && self.ready() {
            self.pass_ended();
        }
        self.queue.wake();
    }

    /// A pass has ended.
    pub fn pass_ended(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn lists(&self) -> MutexGuard<'_, HashMap<List, State>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::SharedIndex;
    use super::*;

    /// Both lists of each of these namespaces are expected.
    fn health(namespaces: &[Option<&str>], patience: Duration) -> Health {
        let health = Health::new(QueueHandle::new(SharedIndex::new(false)), patience);
        for namespace in namespaces {
            for list in both(*namespace) {
                health.expect(list);
            }
        }
        health
    }

    fn both(namespace: Option<&str>) -> [List; 2] {
        ["partners", "connections"].map(|kind| List {
            kind,
            namespace: namespace.map(str::to_owned),
        })
    }

    fn all(namespace: Option<&str>, answer: impl Fn(&List)) {
        for list in both(namespace) {
            answer(&list);
        }
    }

    #[test]
    fn ready_is_who_has_listed_all_that_may_be_listed() {
        let health = health(&[Some("a"), Some("b")], Duration::ZERO);
        assert!(!health.ready());
        all(Some("a"), |list| health.listed(list));
        assert!(!health.ready(), "the other is not answered yet");
        all(Some("b"), |list| health.refused(list));
        assert!(health.ready() && health.serves("a") && !health.serves("b"));
        all(Some("b"), |list| health.listed(list));
        assert!(health.ready() && health.serves("b"));
        // What was listed once is known, whatever is refused later.
        all(Some("a"), |list| health.refused(list));
        assert!(health.serves("a"));
    }

    #[test]
    fn a_namespace_with_one_kind_alone_is_not_served() {
        let health = health(&[Some("a"), Some("b")], Duration::ZERO);
        all(Some("a"), |list| health.listed(list));
        let [partners, connections] = both(Some("b"));
        health.listed(&partners);
        health.refused(&connections);
        assert!(health.ready() && !health.serves("b"));
    }

    #[test]
    fn rights_that_may_still_come_are_waited_for() {
        let health = health(&[Some("a"), Some("b")], Duration::from_secs(3_600));
        all(Some("a"), |list| health.listed(list));
        all(Some("b"), |list| health.refused(list));
        assert!(!health.ready());
    }

    #[test]
    fn who_may_list_nothing_is_not_ready() {
        for namespaces in [&[None][..], &[Some("a"), Some("b")]] {
            let health = health(namespaces, Duration::ZERO);
            for namespace in namespaces {
                all(*namespace, |list| health.refused(list));
            }
            assert!(!health.ready(), "{namespaces:?}");
        }
        let wide = health(&[None], Duration::ZERO);
        let [partners, connections] = both(None);
        wide.listed(&partners);
        wide.refused(&connections);
        assert!(!wide.ready());
    }
}
