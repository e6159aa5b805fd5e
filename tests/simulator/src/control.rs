//! The control interface in process. The same operations stand behind the HTTP routes.

mod apps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::log::{Request, Violation};
use crate::rows::{self, IgnoreWrites, Row};
use crate::script::{ActiveScript, Script};
use crate::throttle::Peak;
use crate::world::{Endpoints, InFlight, Shared, World};

/// A handle on the simulator's world. Cheap to clone, usable from any thread and runtime.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

#[allow(
    clippy::must_use_candidate,
    reason = "what changes the world may say what it did to nobody"
)]
impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Where the simulator listens.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        self.shared.endpoints.clone()
    }

    /// The moment that the times of the log count from.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    // ---- rows ----

    /// A row where nothing is set up.
    #[must_use]
    pub fn base_row(&self, id: &str, display_name: &str) -> Value {
        rows::base_row(id, display_name)
    }

    /// Adds a row under its own `id`, or replaces it in place. The tenant is made where it is missing. A row without
    /// a string for an id needs [`Control::seed_row_as`].
    pub fn seed_row(&self, tenant: &str, row: Value) -> anyhow::Result<()> {
        let key = row.get("id").and_then(Value::as_str).map(str::to_owned);
        self.seed_row_as(tenant, &key.context("the row has no string `id`")?, row);
        Ok(())
    }

    /// Adds a row of any shape under a key of its own, or replaces it in place.
    pub fn seed_row_as(&self, tenant: &str, key: &str, row: Value) {
        let mut world = self.shared.lock();
        let rows = &mut world.tenants.entry(tenant.to_ascii_lowercase()).or_default().rows;
        match rows.iter_mut().find(|own| own.key == key) {
            Some(own) => *own = Row::new(key.to_owned(), row),
            None => rows.push(Row::new(key.to_owned(), row)),
        }
        drop(world);
        self.shared.notify();
    }

    /// Changes properties of a row, as somebody does in the portal.
    pub fn change_row(&self, tenant: &str, id: &str, changes: Value) -> anyhow::Result<()> {
        let Value::Object(changes) = changes else {
            bail!("the changes are no JSON object")
        };
        self.with_row(tenant, id, |row| rows::merge(&mut row.value, changes))
    }

    /// Takes a property away from a row.
    pub fn remove_property(&self, tenant: &str, id: &str, property: &str) -> anyhow::Result<()> {
        self.with_row(tenant, id, |row| {
            if let Value::Object(object) = &mut row.value {
                object.remove(property);
            }
        })
    }

    /// Deletes a row.
    pub fn delete_row(&self, tenant: &str, id: &str) -> anyhow::Result<()> {
        let mut world = self.shared.lock();
        let rows = world.tenant_mut(tenant).map(|tenant| &mut tenant.rows);
        let rows = rows.with_context(|| format!("no tenant {tenant}"))?;
        let before = rows.len();
        rows.retain(|row| !row.key.eq_ignore_ascii_case(id));
        if rows.len() == before {
            bail!("no row {id} in tenant {tenant}");
        }
        Ok(())
    }

    /// A row as it is stored.
    #[must_use]
    pub fn row(&self, tenant: &str, id: &str) -> Option<Value> {
        find_row(&self.shared.lock(), tenant, id)
    }

    /// All rows of a tenant as they are stored, in the order of the listing.
    #[must_use]
    pub fn rows(&self, tenant: &str) -> Vec<Value> {
        let world = self.shared.lock();
        world
            .tenant(tenant)
            .map(|tenant| tenant.rows.iter().map(|row| row.value.clone()).collect())
            .unwrap_or_default()
    }

    /// Lets writes of a row answer 2xx without effect, or with a late one.
    pub fn ignore_writes(&self, tenant: &str, id: &str, rule: IgnoreWrites) -> anyhow::Result<()> {
        self.with_row(tenant, id, |row| row.ignore = Some(rule))
    }

    /// Lets writes of a row have their effect again.
    pub fn heed_writes(&self, tenant: &str, id: &str) -> anyhow::Result<()> {
        self.with_row(tenant, id, |row| row.ignore = None)
    }

    fn with_row(&self, tenant: &str, id: &str, change: impl FnOnce(&mut Row)) -> anyhow::Result<()> {
        let mut world = self.shared.lock();
        let rows = world.tenant_mut(tenant).map(|tenant| &mut tenant.rows);
        let row = rows.and_then(|rows| rows.iter_mut().find(|row| row.key.eq_ignore_ascii_case(id)));
        change(row.with_context(|| format!("no row {id} in tenant {tenant}"))?);
        drop(world);
        self.shared.notify();
        Ok(())
    }

    /// Sets how many rows a page of a listing has.
    pub fn set_page_size(&self, rows: usize) {
        self.shared.lock().settings.page_size = rows.max(1);
    }

    /// Sets how long every answer of Graph takes.
    pub fn set_graph_delay(&self, delay: Duration) {
        self.shared.lock().settings.graph_delay = delay;
    }

    // ---- scripts ----

    /// Adds a rule. Of those that match, the oldest that is not spent takes a request.
    pub fn script(&self, script: Script) -> u64 {
        self.shared.lock().scripts.add(script)
    }

    /// All rules, spent ones too.
    #[must_use]
    pub fn scripts(&self) -> Vec<ActiveScript> {
        self.shared.lock().scripts.all()
    }

    /// How many requests a rule has taken.
    #[must_use]
    pub fn script_hits(&self, id: u64) -> u64 {
        self.shared.lock().scripts.hits(id)
    }

    /// Removes a rule; says whether it was there.
    pub fn remove_script(&self, id: u64) -> bool {
        self.shared.lock().scripts.remove(id)
    }

    /// Removes all rules.
    pub fn clear_scripts(&self) {
        self.shared.lock().scripts.clear();
    }

    // ---- what happened ----

    /// All requests that the log holds, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests_where(|_| true)
    }

    /// Those for which the predicate holds. It must not call the control interface.
    #[must_use]
    pub fn requests_where(&self, predicate: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.shared
            .lock()
            .log
            .iter()
            .filter(|request| predicate(request))
            .cloned()
            .collect()
    }

    /// How many there are for which the predicate holds. It must not call the control interface.
    #[must_use]
    pub fn count(&self, predicate: impl Fn(&Request) -> bool) -> usize {
        self.shared
            .lock()
            .log
            .iter()
            .filter(|request| predicate(request))
            .count()
    }

    /// The number of the last request, 0 before the first. What comes later has a greater `seq`.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.shared.lock().log.last_seq()
    }

    /// Forgets all requests and the peaks of concurrency. Numbers go on.
    pub fn clear_log(&self) {
        let mut world = self.shared.lock();
        world.log.clear();
        world.in_flight.graph_peak = world.in_flight.graph;
        world.in_flight.entra_peak = world.in_flight.entra;
        world.in_flight.metadata_peak = world.in_flight.metadata;
    }

    /// Requests in flight, and the most there were.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.shared.lock().in_flight
    }

    /// Waits until the log holds `count` requests for which the predicate holds, and gives them. Requests are entered
    /// as they come and changed as they are answered. The predicate must not call the control interface.
    pub async fn wait_for_requests(
        &self,
        predicate: impl Fn(&Request) -> bool + Send + 'static,
        count: usize,
        timeout: Duration,
    ) -> anyhow::Result<Vec<Request>> {
        let look = move |world: &World| {
            let found: Vec<Request> = world.log.iter().filter(|request| predicate(request)).cloned().collect();
            if found.len() >= count {
                Ok(found)
            } else {
                Err(format!("{} of {count} requests", found.len()))
            }
        };
        self.wait(look, timeout).await
    }

    /// Waits until a row is as the predicate wants it, and gives it.
    pub async fn wait_for_row(
        &self,
        tenant: &str,
        id: &str,
        predicate: impl Fn(&Value) -> bool + Send + 'static,
        timeout: Duration,
    ) -> anyhow::Result<Value> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        let look = move |world: &World| match find_row(world, &tenant, &id) {
            Some(row) if predicate(&row) => Ok(row),
            Some(row) => Err(format!("the row is {row}")),
            None => Err(format!("no row {id} in tenant {tenant}")),
        };
        self.wait(look, timeout).await
    }

    /// Looks at each change. Runs on the simulator's runtime: a paused clock of the caller's does not matter.
    async fn wait<T: Send + 'static>(
        &self,
        look: impl Fn(&World) -> Result<T, String> + Send + 'static,
        timeout: Duration,
    ) -> anyhow::Result<T> {
        let shared = Arc::clone(&self.shared);
        let waiting = self.shared.runtime.spawn(async move {
            let mut changes = shared.changes();
            let deadline = tokio::time::Instant::now() + timeout;
            loop {
                changes.borrow_and_update();
                let seen = look(&shared.lock());
                let missing = match seen {
                    Ok(found) => return Ok(found),
                    Err(missing) => missing,
                };
                if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                    return Err(anyhow::anyhow!(
                        "waited {timeout:?} in vain: {missing}{}",
                        tail(&shared.lock())
                    ));
                }
            }
        });
        waiting.await.context("the simulator has stopped")?
    }

    /// What clients did wrong, whatever they were answered.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.lock().violations.iter().cloned().collect()
    }

    /// Forgets them.
    pub fn clear_violations(&self) {
        self.shared.lock().violations.clear();
    }

    /// The most that each app and each tenant did in any window of 20 seconds.
    #[must_use]
    pub fn throttle_peaks(&self) -> Vec<Peak> {
        self.shared.lock().throttle.peaks()
    }

    /// How many requests were over a limit, whether they were answered 429 ([`Throttling::Enforce`]) or not.
    ///
    /// [`Throttling::Enforce`]: crate::Throttling::Enforce
    #[must_use]
    pub fn limit_violations(&self) -> u64 {
        self.shared.lock().throttle.over()
    }

    /// The same for each limit, by its name as `x-ms-throttle-scope` has it. A request over two limits counts for both.
    #[must_use]
    pub fn limit_violations_by_scope(&self) -> BTreeMap<String, u64> {
        self.shared.lock().throttle.violations()
    }

    /// Forgets the windows, and who was over a limit.
    pub fn clear_throttle(&self) {
        self.shared.lock().throttle.clear();
    }
}

fn find_row(world: &World, tenant: &str, id: &str) -> Option<Value> {
    world
        .tenant(tenant)?
        .rows
        .iter()
        .find(|row| row.key.eq_ignore_ascii_case(id))
        .map(|row| row.value.clone())
}

/// The last requests, for the message of a wait that failed.
fn tail(world: &World) -> String {
    let mut lines: Vec<String> = world
        .log
        .iter()
        .rev()
        .take(10)
        .map(|request| {
            let status = request
                .status
                .map_or_else(|| "-".to_owned(), |status| status.to_string());
            format!("\n  #{} {} {} -> {status}", request.seq, request.method, request.path)
        })
        .collect();
    lines.reverse();
    lines.concat()
}
