//! From a cold start to all Ready, beside bare status writes by a client in the same way; and a restart with all in sync.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use compliance_partner_operator::api::partner::ComplianceManagementPartnerStatus as Status;
use compliance_partner_operator::runtime::metrics::Metrics;
use compliance_partner_operator::runtime::object::Partner;
use compliance_partner_operator::runtime::schema::Installed;
use compliance_partner_operator::runtime::write::{self, Writer};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::audit::{Asked, Audit};
use crate::bed::Bed;
use crate::figures::{median, millis, number};
use crate::fleet::{Fleet, LIMIT};
use crate::operator::Operator;
use crate::settings::Settings;
use crate::table::Row;

/// Alternating pairs; the one in the middle counts.
const PAIRS: usize = 3;

/// As many statuses as the operator writes at once.
const AT_ONCE: usize = 4;

const GOAL: f64 = 1.1;

/// One cold start.
struct Cold {
    /// From exec to the API server's answer to the last first status.
    seconds: f64,
    /// Of these, to the answer to the first one.
    lead: f64,
    /// Of these, the time that Graph took for the pages of its list, one after the other.
    listing: f64,
    /// Status writes in all.
    writes: usize,
    /// Processor time of the operator.
    busy: Duration,
    /// What was written, by name.
    statuses: HashMap<String, Status>,
}

pub(crate) async fn take(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let fleet = Fleet::new(&bed, "cold", 1, settings.resources).await?;
    let mut colds = Vec::new();
    let mut bares = Vec::new();
    for _ in 0..PAIRS {
        fleet.create().await?;
        let cold = cold_start(&bed, &fleet).await?;
        fleet.delete().await?;
        fleet.create().await?;
        let bare = bare_writes(&bed, &fleet, &cold.statuses).await?;
        fleet.delete().await?;
        crate::say(&format!("cold start {:.2} s, bare writes {bare:.2} s", cold.seconds));
        colds.push(cold);
        bares.push(bare);
    }
    fleet.create().await?;
    cold_start(&bed, &fleet).await?;
    let (restart, written) = restart(&bed, &fleet).await?;

    let many = fleet.len();
    let seconds: Vec<f64> = colds.iter().map(|cold| cold.seconds).collect();
    let lead: Vec<f64> = colds.iter().map(|cold| cold.lead * 1_000.0).collect();
    let listing: Vec<f64> = colds.iter().map(|cold| cold.listing).collect();
    let busy: Vec<f64> = colds.iter().map(|cold| millis(cold.busy)).collect();
    let ratios: Vec<f64> = seconds.iter().zip(&bares).map(|(cold, bare)| cold / bare).collect();
    let ratio = median(&ratios);
    let writes = colds.iter().map(|cold| cold.writes).max().unwrap_or_default();
    let each = number(writes) / number(many);
    let bare = format!(
        "cold start (exec) to {many} Ready, beside {many} bare status writes, {AT_ONCE} at once (median of {PAIRS} pairs)"
    );
    let measured = format!(
        "{:.2} s beside {:.2} s: {ratio:.2} times",
        median(&seconds),
        median(&bares)
    );
    Ok(vec![
        Row::goal(bare, measured, format!("≤ {GOAL:.1} times"), ratio <= GOAL),
        Row::plain(
            "– of these, until the first status is written",
            format!("{:.0} ms (Graph's list: {:.0} ms)", median(&lead), median(&listing)),
        ),
        Row::plain("– processor time of the operator", format!("{:.0} ms", median(&busy))),
        Row::goal("– status writes a resource", format!("{each:.3}"), "1", writes == many),
        Row::plain(
            format!("restart (exec) with {many} in sync, until all have been looked at"),
            format!("{:.0} ms", restart * 1_000.0),
        ),
        Row::goal("– writes to the API server", written.to_string(), "0", written == 0),
    ])
}

/// Starts the operator on resources that nobody has seen.
async fn cold_start(bed: &Bed, fleet: &Fleet<'_>) -> Result<Cold> {
    let mut audit = Audit::follow(&bed.plane)?;
    let from = bed.graph().last_seq();
    let operator = Operator::start(bed, &[]).await?;
    let written = fleet.until_written(&mut audit).await;
    written.with_context(|| operator.log_tail())?;
    let partners = fleet.all_ready().await?;
    let (started, busy) = (operator.started, operator.processor_time()?);
    operator.stop().await?;
    // Also what was written after all were Ready.
    let writes = audit.of(|asked| asked.is_partner_status(&fleet.namespace))?;
    let since = |time: Timestamp| time.duration_since(started).as_secs_f64();
    let (first, last) = times(&writes, fleet.len())?;
    let pages = bed
        .graph()
        .requests_where(|request| request.seq > from && request.is_list());
    let micros = pages.iter().filter_map(|page| page.duration_micros).sum();
    let named = |partner: ComplianceManagementPartner| Some((partner.name_any(), partner.status?));
    let statuses = partners.into_iter().filter_map(named).collect();
    Ok(Cold {
        seconds: since(last),
        lead: since(first),
        listing: millis(Duration::from_micros(micros)),
        writes: writes.len(),
        busy,
        statuses,
    })
}

/// When the first of the writes was answered, and the one that made the number full.
fn times(writes: &[Asked], count: usize) -> Result<(Timestamp, Timestamp)> {
    let mut times: Vec<Timestamp> = writes.iter().map(|asked| asked.answered).collect();
    times.sort_unstable();
    let last = times.get(count - 1).context("too few statuses were written")?;
    Ok((*times.first().context("no status was written")?, *last))
}

/// Writes the same statuses as the operator did, to new resources of the same names, with its account, its client and its
/// function. In seconds.
async fn bare_writes(bed: &Bed, fleet: &Fleet<'_>, statuses: &HashMap<String, Status>) -> Result<f64> {
    let partners = fleet.partners().list(&ListParams::default()).await?.items;
    let orders: Vec<(Partner, &Status)> = partners
        .into_iter()
        .map(|partner| {
            let status = statuses
                .get(&partner.name_any())
                .context("a resource was not there before")?;
            Ok((Partner::from(partner), status))
        })
        .collect::<Result<_>>()?;
    ensure!(
        orders.len() == fleet.len(),
        "{} resources in the place of {}",
        orders.len(),
        fleet.len()
    );
    let writer = Writer {
        client: bed.operator_client().await?,
        metrics: Metrics::default(),
        installed: Installed::default(),
    };
    let write = |(partner, status): (Partner, &Status)| {
        let (writer, status) = (&writer, status.clone());
        async move {
            let written = write::status::<ComplianceManagementPartner, _, _>(writer, &partner, &status).await?;
            written.map(|_| ()).context("a resource is gone")
        }
    };
    let began = Instant::now();
    let all = stream::iter(orders).map(write).buffer_unordered(AT_ONCE);
    all.try_for_each(|()| std::future::ready(Ok(()))).await?;
    let seconds = began.elapsed().as_secs_f64();
    fleet.all_ready().await?;
    Ok(seconds)
}

/// Starts the operator anew: the seconds until all resources have been looked at, and the writes by then.
async fn restart(bed: &Bed, fleet: &Fleet<'_>) -> Result<(f64, usize)> {
    let mut audit = Audit::follow(&bed.plane)?;
    // A pass that changes nothing is told at this level alone.
    let operator = Operator::start(bed, &["--log-level", "debug"]).await?;
    let passes = ["reconciled", "kind=\"ComplianceManagementPartner\"", "InSync"];
    let mut ended = operator.until_logged(&passes, fleet.len(), LIMIT).await?;
    ended.sort_unstable();
    let last = ended.get(fleet.len() - 1).context("too few passes were logged")?;
    let seconds = last.duration_since(operator.started).as_secs_f64();
    operator.stop().await?;
    let writes = audit.of(Asked::is_write)?;
    if !writes.is_empty() {
        let some: Vec<_> = writes.iter().take(5).collect();
        crate::say(&format!("written after the restart, among others: {some:?}"));
    }
    Ok((seconds, writes.len()))
}
