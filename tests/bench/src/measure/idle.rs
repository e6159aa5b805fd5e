//! What ten polls cost that find nothing new.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use graph_simulator::Request;

use crate::audit::{Asked, Audit};
use crate::bed::Bed;
use crate::figures::{millis, number};
use crate::fleet::{Fleet, LIMIT};
use crate::operator::Operator;
use crate::settings::Settings;
use crate::table::Row;

const POLLS: usize = 10;

/// Polls before these, in which a first status or a second look may still come.
const WARM_UP: usize = 2;

pub(crate) async fn take(settings: &Settings) -> Result<Vec<Row>> {
    let bed = Bed::new(settings).await?;
    let fleet = Fleet::new(&bed, "idle", 1, settings.resources).await?;
    fleet.create().await?;
    let mut audit = Audit::follow(&bed.plane)?;
    let operator = Operator::start(&bed, &["--sync-interval", "1s"]).await?;
    fleet.until_written(&mut audit).await?;

    // From the beginning of one list to the beginning of the tenth after it.
    let first = until_lists(&bed, bed.graph().last_seq(), WARM_UP).await?;
    let mut audit = Audit::follow(&bed.plane)?;
    let busy = operator.processor_time()?;
    let last = until_lists(&bed, first, POLLS).await?;
    let busy = operator.processor_time()?.saturating_sub(busy);
    let asked = audit.asked()?.to_vec();
    let memory = operator.memory()?;
    operator.stop().await?;
    fleet.all_ready().await?;

    let requests = bed
        .graph()
        .requests_where(|request| request.is_graph() && (first..last).contains(&request.seq));
    let lists = requests.iter().filter(|request| begins_list(request)).count();
    let pages = requests.iter().filter(|request| request.is_list()).count();
    let connections: BTreeSet<u64> = requests.iter().map(|request| request.connection).collect();
    let writes = asked.iter().filter(|asked| asked.is_write()).count();
    let others = requests.len() - pages;
    let many = fleet.len();
    Ok(vec![
        Row::goal(
            format!("lists of Graph in {POLLS} idle polls of {many} resources (--sync-interval 1s)"),
            format!("{lists} (of {} pages each)", number(pages) / number(lists.max(1))),
            POLLS.to_string(),
            lists == POLLS,
        ),
        Row::goal("– other requests to Graph", others.to_string(), "0", others == 0),
        Row::goal(
            "– connections to Graph",
            connections.len().to_string(),
            "1",
            connections.len() == 1,
        ),
        Row::goal("– writes to the API server", writes.to_string(), "0", writes == 0),
        Row::plain(
            "– reads of the API server",
            asked.iter().filter(|asked| !Asked::is_write(asked)).count().to_string(),
        ),
        Row::plain(
            "– processor time a poll",
            format!("{:.0} ms", millis(busy) / number(POLLS)),
        ),
        Row::plain("– resident memory after them", memory.to_string()),
    ])
}

/// Whether it asks for a list's first page.
fn begins_list(request: &Request) -> bool {
    request.is_list()
        && request
            .query
            .as_deref()
            .is_none_or(|query| !query.contains("skiptoken"))
}

/// Waits until so many lists have begun after a request; gives the number of the last one.
async fn until_lists(bed: &Bed, after: u64, count: usize) -> Result<u64> {
    let begun = move |request: &Request| request.seq > after && begins_list(request);
    let limit = LIMIT.max(Duration::from_secs(2) * u32::try_from(count)?);
    let lists = bed.graph().wait_for_requests(begun, count, limit).await?;
    lists.get(count - 1).map(|list| list.seq).context("no list")
}
