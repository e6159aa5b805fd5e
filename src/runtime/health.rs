//! What the probes ask: progress, and whether everything has been listed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::QueueHandle;

/// With no pass ended for this long although some wait, the process is stuck.
const STUCK: Duration = Duration::from_secs(600);

/// What the probes ask.
pub struct Health {
    lists: Mutex<HashMap<String, bool>>,
    queue: QueueHandle,
    ended: Mutex<Instant>,
}

impl Health {
    /// Nothing is expected yet.
    #[must_use]
    pub fn new(queue: QueueHandle) -> Self {
        Self {
            lists: Mutex::default(),
            queue,
            ended: Mutex::new(Instant::now()),
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

    /// Whether both kinds have been listed in every watched namespace. Graph being away changes nothing here.
    #[must_use]
    pub fn ready(&self) -> bool {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        !lists.is_empty() && lists.values().all(|listed| *listed)
    }

    /// A list that has to be filled before the operator is ready.
    pub fn expect(&self, list: &str) {
        self.lists
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(list.to_owned(), false);
    }

    /// A list has been filled.
    pub fn listed(&self, list: &str) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(list.to_owned(), true);
        if lists.values().all(|listed| *listed) {
            tracing::info!("all resources are listed");
            drop(lists);
            self.pass_ended();
            self.queue.wake();
        }
    }

    /// A pass has ended.
    pub fn pass_ended(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}
