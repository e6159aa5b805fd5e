//! From exec to the end of the first pass, by the operator's own log and the clock that both have.
//!
//! The first pass that can end is a connection's: its token, its list, in which Graph takes its 20 ms, and its status.

use anyhow::{Context as _, Result};
use harness::PATIENCE;
use jiff::Timestamp;

use crate::bed::Bed;
use crate::figures::median;
use crate::fleet::Fleet;
use crate::operator::Operator;
use crate::settings::Settings;
use crate::table::Row;

/// How often it is started; the median counts.
const STARTS: usize = 7;

const GOAL: f64 = 100.0;

pub(crate) async fn take(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let fleet = Fleet::new(&bed, "start", 1, 1).await?;
    let (mut listed, mut first, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        fleet.create().await?;
        let operator = Operator::start(&bed, &[]).await?;
        let after = |time: Timestamp| time.duration_since(operator.started).as_secs_f64() * 1_000.0;
        let in_sync = operator.until_logged(&["reconciled", "InSync"], 1, PATIENCE).await?;
        let passes = operator.logged(&["reconciled"])?;
        let lists = operator.logged(&["all resources are listed"])?;
        first.push(after(*passes.first().context("no pass was logged")?));
        ready.push(after(*in_sync.first().context("no partner was in sync")?));
        listed.push(after(*lists.first().context("no list was logged")?));
        operator.stop().await?;
        fleet.delete().await?;
    }
    let first = median(&first);
    Ok(vec![
        Row::goal(
            "start (exec) to the end of the first pass, by the log",
            format!("{first:.0} ms"),
            format!("≤ {GOAL:.0} ms"),
            first <= GOAL,
        ),
        Row::plain(
            "– of these, until both kinds are listed",
            format!("{:.0} ms", median(&listed)),
        ),
        Row::plain(
            "– start to the first partner Ready (it waits for token and list)",
            format!("{:.0} ms", median(&ready)),
        ),
    ])
}
