//! The metrics that users alert on. Labels come from closed sets, but for the namespace and name of a resource, whose
//! series are read off the index at each scrape and so vanish with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::index::SharedIndex;
use super::object::ObjectKey;
use crate::api::{Condition, ConditionStatus, condition};
use crate::graph::throttle::Budgets;

/// Counters of everything that the operator does outside of itself.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    reconciles: Family<Outcome, Counter>,
    reconcile_seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    graph_requests: Family<Request, Counter>,
    graph_seconds: Family<Request, Histogram, fn() -> Histogram>,
    graph_writes: Counter,
    tokens: Family<TokenOutcome, Counter>,
    status_writes: Counter,
    events_dropped: Counter,
    cleanups_abandoned: Counter,
    watch_errors: Counter,
    fields_missing: Family<Kind, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenOutcome {
    outcome: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new([0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Counters {
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(seconds),
            graph_requests: Family::default(),
            graph_seconds: Family::new_with_constructor(seconds),
            graph_writes: Counter::default(),
            tokens: Family::default(),
            status_writes: Counter::default(),
            events_dropped: Counter::default(),
            cleanups_abandoned: Counter::default(),
            watch_errors: Counter::default(),
            fields_missing: Family::default(),
        }))
    }
}

impl Metrics {
    /// A pass of `kind` ended with `outcome`, a reason or another word of a closed set.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, elapsed: Duration) {
        let labels = Outcome { kind, outcome };
        self.0.reconciles.get_or_create(&labels).inc();
        self.0
            .reconcile_seconds
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64());
    }

    /// A request to Graph ended; `status` is absent where there was no answer.
    pub fn graph_request(&self, method: &str, status: Option<u16>, elapsed: Duration) {
        let method = if method == "PATCH" { "PATCH" } else { "GET" };
        let class = match status.map(|status| status / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            _ => "error",
        };
        let labels = Request { method, status: class };
        self.0.graph_requests.get_or_create(&labels).inc();
        self.0
            .graph_seconds
            .get_or_create(&labels)
            .observe(elapsed.as_secs_f64());
        if method == "PATCH" && class == "2xx" {
            self.0.graph_writes.inc();
        }
    }

    /// A token was asked for.
    pub fn token_request(&self, outcome: &'static str) {
        self.0.tokens.get_or_create(&TokenOutcome { outcome }).inc();
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.0.status_writes.inc();
    }

    /// So many fields of this version are missing in the installed CRD of `kind`.
    pub fn fields_missing(&self, kind: &'static str, count: usize) {
        let gauge = self.0.fields_missing.get_or_create(&Kind { kind });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A clean-up was given up.
    pub fn cleanup_abandoned(&self) {
        self.0.cleanups_abandoned.inc();
    }

    /// An event could not be written.
    pub fn event_dropped(&self) {
        self.0.events_dropped.inc();
    }

    /// A watch failed, or an object in it could not be read.
    pub fn watch_error(&self) {
        self.0.watch_errors.inc();
    }

    /// All metrics, with those of the resources in `index` and the budgets' closed time, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Where the text cannot be written; it is kept in memory.
    pub fn encode(&self, index: &SharedIndex, budgets: &Budgets) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("compliance_partner");
        let counters = &self.0;
        registry.register("reconciles", "Passes by kind and outcome", counters.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time that passes take",
            Unit::Seconds,
            counters.reconcile_seconds.clone(),
        );
        registry.register(
            "graph_requests",
            "Requests to Graph by method and status",
            counters.graph_requests.clone(),
        );
        registry.register_with_unit(
            "graph_request_duration",
            "Time that requests to Graph take",
            Unit::Seconds,
            counters.graph_seconds.clone(),
        );
        registry.register(
            "graph_writes",
            "Changes that Graph has taken",
            counters.graph_writes.clone(),
        );
        registry.register(
            "token_requests",
            "Requests for a token by outcome",
            counters.tokens.clone(),
        );
        registry.register("status_writes", "Statuses written", counters.status_writes.clone());
        registry.register(
            "events_dropped",
            "Events that could not be written",
            counters.events_dropped.clone(),
        );
        registry.register(
            "cleanups_abandoned",
            "Clean-ups given up because connection, Secret or ServiceAccount were gone",
            counters.cleanups_abandoned.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed and objects that cannot be read",
            counters.watch_errors.clone(),
        );
        registry.register(
            "crd_fields_missing",
            "Fields of this version that the installed CustomResourceDefinition drops",
            counters.fields_missing.clone(),
        );
        registry.register_collector(Box::new(Throttled(budgets.closed_total_seconds())));
        registry.register_collector(Box::new(Resources(index.clone())));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

#[derive(Debug)]
struct Throttled(f64);

impl Collector for Throttled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(self.0);
        let help = "Time for which budgets were closed by a Retry-After";
        let unit = Unit::Seconds;
        counter.encode(encoder.encode_descriptor("throttled", help, Some(&unit), counter.metric_type())?)
    }
}

/// One number of a partner's.
type Series = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&super::index::PartnerEntry) -> Option<f64>,
);

const PARTNER_SERIES: [Series; 7] = [
    (
        "ready",
        "Whether the last pass did all that the policies ask for",
        None,
        |entry| is(&entry.status().conditions, "Ready"),
    ),
    ("synced", "Whether Graph equals the managed fields", None, |entry| {
        is(&entry.status().conditions, "Synced")
    }),
    ("enabled", "Whether the partner is enabled", None, |entry| {
        is(&entry.status().conditions, "PartnerEnabled")
    }),
    ("suspended", "Whether the resource is suspended", None, |entry| {
        Some(if entry.object.spec.suspend == Some(true) {
            1.0
        } else {
            0.0
        })
    }),
    (
        "heartbeat_timestamp",
        "The partner's last heartbeat, in Unix time",
        Some(Unit::Seconds),
        |entry| entry.heartbeat(),
    ),
    (
        "last_success_timestamp",
        "The last pass that ended Ready, in Unix time",
        Some(Unit::Seconds),
        |entry| entry.memory.last_success,
    ),
    (
        "drifted_fields",
        "Managed fields that Graph has otherwise",
        None,
        |entry| {
            let drift = entry.status().drift.as_ref();
            u32::try_from(drift.map_or(0, Vec::len)).ok().map(f64::from)
        },
    ),
];

fn is(conditions: &[Condition], kind: &str) -> Option<f64> {
    condition(conditions, kind).map(|found| {
        if found.status == ConditionStatus::True {
            1.0
        } else {
            0.0
        }
    })
}

/// The series of the resources, read off the index.
struct Resources(SharedIndex);

impl fmt::Debug for Resources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resources")
    }
}

impl Collector for Resources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let index = self.0.lock();
        for (name, help, unit, read) in PARTNER_SERIES {
            let series = index.partners().filter_map(|(key, entry)| Some((key, read(entry)?)));
            gauge(&mut encoder, name, help, unit.as_ref(), series)?;
        }
        let series = index
            .connections()
            .filter_map(|(key, entry)| Some((key, is(&entry.status().conditions, "Ready")?)));
        gauge(
            &mut encoder,
            "connection_ready",
            "Whether the connection can be used",
            None,
            series,
        )
    }
}

fn gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    series: impl Iterator<Item = (&'a ObjectKey, f64)>,
) -> fmt::Result {
    let mut descriptor = encoder.encode_descriptor(name, help, unit, prometheus_client::metrics::MetricType::Gauge)?;
    for (key, value) in series {
        let labels = [("namespace", key.namespace.as_str()), ("name", key.name.as_str())];
        ConstGauge::new(value).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}
