//! Resident memory, once it has stood still.

use anyhow::{Result, ensure};
use graph_simulator::Request;
use harness::wait_for;

use crate::audit::Audit;
use crate::bed::Bed;
use crate::fleet::{Fleet, LIMIT};
use crate::operator::{Memory, Operator};
use crate::settings::Settings;
use crate::table::Row;

const GOAL_IDLE: f64 = 6.0;
const GOAL_FULL: f64 = 12.0;

/// How often the metrics are read, as Prometheus would.
const SCRAPES: usize = 3;

pub(crate) async fn take(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let operator = Operator::start(&bed, &[]).await?;
    operator.ready().await?;
    let idle = operator.settled_memory().await?;
    operator.stop().await?;
    let mut rows = vec![row("resident memory, idle, without resources", idle, GOAL_IDLE)];
    let many = settings.resources;
    let one = (format!("resident memory, {many} resources on one connection"), 1, many);
    let each = (
        format!("resident memory, {many} connections of one resource each"),
        many,
        1,
    );
    for (what, connections, resources) in [one, each] {
        let fleet = Fleet::new(&bed, &format!("memory-{connections}"), connections, resources).await?;
        fleet.create().await?;
        rows.extend(cold_and_again(&bed, &fleet, &what, connections).await?);
        fleet.delete().await?;
    }
    Ok(rows)
}

/// After a cold start, and after a restart with all in sync.
async fn cold_and_again(bed: &Bed, fleet: &Fleet<'_>, what: &str, connections: usize) -> Result<Vec<Row>> {
    let mut audit = Audit::follow(&bed.plane)?;
    let operator = Operator::start(bed, &[]).await?;
    fleet.until_written(&mut audit).await?;
    let cold = operator.settled_memory().await?;
    operator.stop().await?;
    fleet.all_ready().await?;

    let from = bed.graph().last_seq();
    let operator = Operator::start(bed, &[]).await?;
    // Nothing is written: the connections' lists are what shows that passes go on.
    wait_for("a list of every connection", LIMIT, async || {
        let listed = bed
            .graph()
            .count(|request| request.seq > from && is_answered_list(request));
        ensure!(listed >= connections, "{listed} of {connections}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let again = operator.settled_memory().await?;
    for _ in 0..SCRAPES {
        operator.scrape().await?;
    }
    let scraped = operator.settled_memory().await?;
    operator.stop().await?;
    Ok(vec![
        row(what, cold, GOAL_FULL),
        row("– after a restart", again, GOAL_FULL),
        Row::plain(format!("– and after {SCRAPES} reads of /metrics"), scraped.to_string()),
    ])
}

/// The last page of a list. Status is noted when the answer has gone.
fn is_answered_list(request: &Request) -> bool {
    request.is_list() && request.status.is_some()
}

fn row(what: &str, memory: Memory, goal: f64) -> Row {
    Row::goal(
        what,
        memory.to_string(),
        format!("≤ {goal:.0} MiB"),
        memory.mib() <= goal,
    )
}
