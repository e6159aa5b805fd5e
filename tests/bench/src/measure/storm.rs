//! A thousand edits at once, over connections of one app in namespaces of their own, while Graph enforces the limits that
//! Microsoft publishes: how near to them the operator writes, and whether it ever goes over.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use compliance_partner_operator::graph::throttle::{REQUESTS, SPAN, WRITES};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use graph_simulator::{Options, Peak, Request, Throttling};
use harness::{PATIENCE, wait_for};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::audit::Audit;
use crate::bed::Bed;
use crate::figures::{number, percentile};
use crate::fleet::{Fleet, Member};
use crate::operator::Operator;
use crate::settings::Settings;
use crate::table::Row;

/// Connections, each with a fifth of the resources.
const CONNECTIONS: usize = 5;

/// Edits that the API server is sent at a time.
const AT_ONCE: usize = 50;

/// The least share of the published rate that is good.
const GOAL: f64 = 90.0;

/// One edit's way to Graph.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Seconds from the API server's answer to the edit to the arrival of the PATCH.
    waited: f64,
    arrived: Instant,
    answered: Instant,
}

/// What the simulator saw.
struct Seen {
    began: Instant,
    written: Vec<Written>,
    throttled: usize,
    peak: Peak,
}

pub(crate) async fn take(settings: &Settings) -> Result<Vec<Row>> {
    let each = settings.resources / CONNECTIONS;
    ensure!(
        each * CONNECTIONS > WRITES,
        "a storm is more than {WRITES} edits: BENCH_RESOURCES is too small"
    );
    let options = Options {
        throttling: Throttling::Enforce,
        // What the operator has used up itself must not hold it back.
        throttle_headers: true,
        ..Options::default()
    };
    let bed = Bed::with(settings, options).await?;
    let mut fleets = Vec::new();
    for connection in 0..CONNECTIONS {
        fleets.push(Fleet::of_one_app(&bed, &format!("storm-{connection}"), connection, each).await?);
    }
    for fleet in &fleets {
        fleet.create().await?;
    }
    let mut audit = Audit::follow(&bed.plane)?;
    let operator = Operator::start(&bed, &[]).await?;
    for fleet in &fleets {
        fleet.until_written(&mut audit).await?;
    }
    let seen = storm(&bed, &fleets).await.with_context(|| operator.log_tail())?;
    wait_for("all of them Ready", PATIENCE, async || {
        for fleet in &fleets {
            fleet.all_ready().await?;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    operator.stop().await?;
    rows(&seen)
}

/// Edits each resource once, all at once, and waits until Graph has taken all of it.
async fn storm(bed: &Bed, fleets: &[Fleet<'_>]) -> Result<Seen> {
    let graph = bed.graph();
    let edits: Vec<_> = fleets
        .iter()
        .flat_map(|fleet| fleet.members().into_iter().map(|member| (fleet.partners(), member)))
        .collect();
    let count = edits.len();
    let began = Instant::now();
    let edit = |(partners, member): (Api<ComplianceManagementPartner>, Member)| async move {
        let spec = Patch::Merge(json!({"spec": {"iosOnboarded": false}}));
        let edited = partners.patch(&member.name, &PatchParams::default(), &spec).await;
        edited.context("an edit was refused")?;
        anyhow::Ok((member.row, Instant::now()))
    };
    let edits: Vec<(String, Instant)> = stream::iter(edits)
        .map(edit)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    crate::say(&format!("{count} edits in {:.1} s", began.elapsed().as_secs_f64()));

    // Twice as long as it would take at the published rate.
    let rounds = u32::try_from(count.div_ceil(WRITES))?;
    let taken = |request: &Request| request.is_patch() && request.status == Some(200);
    wait_for("all PATCHes", SPAN * rounds * 2, async || {
        let (taken, sent) = (graph.count(taken), graph.count(Request::is_patch));
        ensure!(taken == count, "{taken} of {count}, {sent} sent");
        Ok::<_, anyhow::Error>(())
    })
    .await?;

    let patches = graph.requests_where(taken);
    let at = |micros: u64| graph.started() + Duration::from_micros(micros);
    let written = edits.iter().map(|(row, edited)| {
        let patch = patches.iter().find(|patch| patch.path.ends_with(row.as_str()));
        let patch = patch.with_context(|| format!("no PATCH of {row}"))?;
        let took = patch.duration_micros.context("a PATCH without an end")?;
        Ok(Written {
            waited: at(patch.at_micros).saturating_duration_since(*edited).as_secs_f64(),
            arrived: at(patch.at_micros),
            answered: at(patch.at_micros + took),
        })
    });
    let mut written: Vec<Written> = written.collect::<Result<_>>()?;
    written.sort_by_key(|written| written.arrived);
    let peak = graph.throttle_peaks().into_iter().find(|peak| peak.client_id.is_some());
    Ok(Seen {
        began,
        written,
        throttled: graph.count(|request| request.status == Some(429)),
        peak: peak.context("the simulator has counted nothing")?,
    })
}

fn rows(seen: &Seen) -> Result<Vec<Row>> {
    let Seen {
        began,
        written,
        throttled,
        peak,
    } = seen;
    let count = written.len();
    let (first, last) = written.first().zip(written.last()).context("nothing was written")?;
    let end = written.iter().map(|written| written.answered).max().context("no end")?;
    // The first hundred are free: they find the window empty.
    let span = SPAN.as_secs_f64();
    let rate = number(count - WRITES) * span / (last.arrived - first.arrived).as_secs_f64();
    let share = rate * 100.0 / number(WRITES);
    let waits: Vec<f64> = written.iter().map(|written| written.waited).collect();
    let (p50, p99) = (percentile(&waits, 0.5), percentile(&waits, 0.99));
    Ok(vec![
        Row::plain(
            format!("{count} edits at once, over {CONNECTIONS} connections of one app, until all PATCHes are taken"),
            format!("{:.1} s", (end - *began).as_secs_f64()),
        ),
        Row::goal(
            format!("– writes per 20 s after the first {WRITES}, of the {WRITES} that Microsoft publishes"),
            format!("{rate:.1} ({share:.1} %)"),
            format!("≥ {GOAL:.0} %"),
            share >= GOAL,
        ),
        Row::goal("– answers of 429", throttled.to_string(), "0", *throttled == 0),
        Row::goal(
            "– the most writes in any 20 s, as Graph sees them",
            peak.writes.to_string(),
            format!("≤ {WRITES}"),
            peak.writes <= WRITES,
        ),
        Row::goal(
            "– the most requests in any 20 s",
            peak.requests.to_string(),
            format!("≤ {REQUESTS}"),
            peak.requests <= REQUESTS,
        ),
        Row::plain(
            "– from an edit to its PATCH: p50 (p99)",
            format!("{p50:.1} s ({p99:.1} s)"),
        ),
    ])
}
