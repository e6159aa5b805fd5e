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

    /// How long until one more would be within the limit; nothing where this one was.
    fn wait(&self, now: Instant, limit: usize) -> Option<Duration> {
        if self.times.len() <= limit {
            return None;
        }
        // What was refused counts like the rest, so one more than the surplus has to leave.
        let leaves = self.times.get(self.times.len() - limit)?;
        Some(WINDOW.saturating_sub(now.duration_since(*leaves)))
    }

    /// How much of the limit is used, in hundredths.
    fn hundredths(&self, limit: usize) -> usize {
        self.times.len() * 100 / limit
    }
}

#[derive(Default)]
struct Use {
    writes: Window,
    requests: Window,
}

/// Where a request stands among the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How much of the tightest limit is used, this request included, in hundredths.
    pub(crate) hundredths: usize,
    /// Which limit it is over; of several the one that it has to wait longest for.
    pub(crate) exceeded: Option<Exceeded>,
}

/// A limit that a request is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// How long until one more would be within it.
    pub(crate) wait: Duration,
    /// The limit as `x-ms-throttle-scope` names it: `<Scope>/<Limit>/<ApplicationId>/<TenantId>`.
    pub(crate) scope: String,
}

/// Windows by tenant and app; without an app: all apps of the tenant.
#[derive(Default)]
pub(crate) struct Throttle {
    uses: BTreeMap<(String, Option<String>), Use>,
    violations: BTreeMap<String, u64>,
    over: u64,
}

impl Throttle {
    /// Counts a request, which counts however it is answered (FACTS 4.2), and says where it stands.
    pub(crate) fn record(&mut self, tenant: &str, client_id: &str, write: bool, now: Instant) -> Standing {
        let mut standing = Standing::default();
        let lines = [
            (Some(client_id), "Tenant_Application", APP_WRITES, APP_REQUESTS),
            (None, "Tenant", TENANT_WRITES, TENANT_REQUESTS),
        ];
        for (app, scope, writes, requests) in lines {
            let key = (tenant.to_owned(), app.map(str::to_owned));
            let line = self.uses.entry(key).or_default();
            line.requests.record(now);
            if write {
                line.writes.record(now);
            }
            let windows = [
                (write, &line.writes, "Write", writes),
                (true, &line.requests, "ReadWrite", requests),
            ];
            for (_, window, kind, limit) in windows.into_iter().filter(|(counts, ..)| *counts) {
                standing.hundredths = standing.hundredths.max(window.hundredths(limit));
                let Some(wait) = window.wait(now, limit) else { continue };
                let scope = format!("{scope}/{kind}/{client_id}/{tenant}");
                *self.violations.entry(scope.clone()).or_default() += 1;
                if standing.exceeded.as_ref().is_none_or(|other| wait > other.wait) {
                    standing.exceeded = Some(Exceeded { wait, scope });
                }
            }
        }
        self.over += u64::from(standing.exceeded.is_some());
        standing
    }

    /// How many requests were over any limit.
    pub(crate) fn over(&self) -> u64 {
        self.over
    }

    /// How many requests were over each limit, by its name.
    pub(crate) fn violations(&self) -> BTreeMap<String, u64> {
        self.violations.clone()
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
        self.violations.clear();
        self.over = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "t";
    const APP: &str = "a";

    /// Records so many at once; gives the last one's standing.
    fn burst(throttle: &mut Throttle, app: &str, write: bool, count: usize, now: Instant) -> Standing {
        let mut standing = Standing::default();
        for _ in 0..count {
            standing = throttle.record(TENANT, app, write, now);
        }
        standing
    }

    #[test]
    fn each_limit_stands_for_itself() {
        let now = Instant::now();
        for (write, count, apps, scope) in [
            (true, APP_WRITES, 1, "Tenant_Application/Write/a0/t"),
            (false, APP_REQUESTS, 1, "Tenant_Application/ReadWrite/a0/t"),
            (true, TENANT_WRITES, 4, "Tenant/Write/a0/t"),
            (false, TENANT_REQUESTS, 4, "Tenant/ReadWrite/a0/t"),
        ] {
            let mut throttle = Throttle::default();
            for app in 0..apps {
                let standing = burst(&mut throttle, &format!("a{app}"), write, count / apps, now);
                assert_eq!(standing.exceeded, None, "{scope}");
            }
            let exceeded = throttle.record(TENANT, "a0", write, now).exceeded.unwrap();
            assert_eq!(
                exceeded,
                Exceeded {
                    wait: WINDOW,
                    scope: scope.to_owned()
                }
            );
            assert_eq!(throttle.violations(), BTreeMap::from([(scope.to_owned(), 1)]));
            assert_eq!(throttle.over(), 1);
            assert_eq!(throttle.record("another", "a0", write, now).exceeded, None);
            assert_eq!(throttle.record(TENANT, "a0", write, now + WINDOW).exceeded, None);
        }
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let at = |index: u32| start + Duration::from_millis(100) * index;
        for index in 0..100 {
            assert_eq!(throttle.record(TENANT, APP, true, at(index)).exceeded, None);
        }
        let refused = throttle.record(TENANT, APP, true, at(100)).exceeded.unwrap();
        assert_eq!(refused.wait, Duration::from_millis(10_100));
        let early = at(200) + Duration::from_millis(99);
        let mut impatient = Throttle::default();
        for index in 0..=100 {
            impatient.record(TENANT, APP, true, at(index));
        }
        assert!(impatient.record(TENANT, APP, true, early).exceeded.is_some());
        assert_eq!(
            throttle.record(TENANT, APP, true, at(100) + refused.wait).exceeded,
            None
        );
    }

    #[test]
    fn the_tightest_limit_is_told() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(burst(&mut throttle, APP, true, 79, now).hundredths, 79);
        assert_eq!(throttle.record(TENANT, APP, false, now).hundredths, 8);
        assert_eq!(throttle.record(TENANT, APP, true, now).hundredths, 80);
    }
}
