//! The limits that Microsoft publishes for Intune's enrolment workload (FACTS 4), counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The window of every limit.
pub const WINDOW: Duration = Duration::from_secs(20);
/// POST, PUT, DELETE and PATCH of one app in one tenant, per window.
pub const APP_WRITES: usize = 100;
/// Any request of one app in one tenant, per window.
pub const APP_REQUESTS: usize = 1000;
/// POST, PUT, DELETE and PATCH of all apps in a tenant, per window.
pub const TENANT_WRITES: usize = 200;
/// Any request of all apps in a tenant, per window.
pub const TENANT_REQUESTS: usize = 2000;

/// The most that one app did in one tenant in any window of 20 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peak {
    /// The tenant.
    pub tenant: String,
    /// The app; absent in the line for all apps of the tenant.
    pub client_id: Option<String>,
    /// The most writes in a window.
    pub writes: usize,
    /// The most requests in a window.
    pub requests: usize,
}

/// Entries of one window; more than any limit, so that a client without one is seen as such.
const CAPACITY: usize = 50_000;

#[derive(Default)]
struct Window {
    times: VecDeque<Instant>,
    peak: usize,
}

impl Window {
    fn record(&mut self, now: Instant) {
        self.trim(now);
        if self.times.len() < CAPACITY {
            self.times.push_back(now);
        }
        self.peak = self.peak.max(self.times.len());
    }

    fn trim(&mut self, now: Instant) {
        while self
            .times
            .front()
            .is_some_and(|first| now.duration_since(*first) >= WINDOW)
        {
            self.times.pop_front();
        }
    }

    /// How long until there is room for one more.
    fn wait(&self, now: Instant, limit: usize) -> Option<Duration> {
        if self.times.len() <= limit {
            return None;
        }
        let leaves = self.times.get(self.times.len() - limit - 1)?;
        Some(WINDOW.saturating_sub(now.duration_since(*leaves)))
    }
}

#[derive(Default)]
struct Use {
    writes: Window,
    requests: Window,
}

/// Windows by tenant and app; without an app: all apps of the tenant.
#[derive(Default)]
pub(crate) struct Throttle {
    uses: BTreeMap<(String, Option<String>), Use>,
}

impl Throttle {
    /// Counts a request; says how long it would have to wait where a limit is exceeded.
    pub(crate) fn record(&mut self, tenant: &str, client_id: &str, write: bool, now: Instant) -> Option<Duration> {
        let mut wait = None;
        let lines = [
            (Some(client_id.to_owned()), APP_WRITES, APP_REQUESTS),
            (None, TENANT_WRITES, TENANT_REQUESTS),
        ];
        for (client_id, writes, requests) in lines {
            let line = self.uses.entry((tenant.to_owned(), client_id)).or_default();
            line.requests.record(now);
            if write {
                line.writes.record(now);
                wait = wait.max(line.writes.wait(now, writes));
            }
            wait = wait.max(line.requests.wait(now, requests));
        }
        wait
    }

    pub(crate) fn peaks(&self) -> Vec<Peak> {
        self.uses
            .iter()
            .map(|((tenant, client_id), line)| Peak {
                tenant: tenant.clone(),
                client_id: client_id.clone(),
                writes: line.writes.peak,
                requests: line.requests.peak,
            })
            .collect()
    }

    pub(crate) fn clear(&mut self) {
        self.uses.clear();
    }
}
