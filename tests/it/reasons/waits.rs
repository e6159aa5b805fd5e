//! Which rows are passed over again where all waits are long but one.

use std::time::Duration;

use anyhow::ensure;
use compliance_partner_operator::api::reason::Timing;
use harness::{NEVER, PATIENCE, World, wait_for};

use super::Row;
use super::look::passes;

/// The one wait that is not.
pub const SHORT: Duration = Duration::from_millis(250);

/// Makes all waits long.
pub fn lengthen(timing: &mut Timing) {
    timing.sync_interval = NEVER;
    (timing.slow, timing.very_slow) = (NEVER, NEVER);
    timing.grace = [NEVER; 3];
    (timing.backoff, timing.backoff_cap, timing.connection_cap) = (NEVER, NEVER, NEVER);
    (timing.secret, timing.credentials, timing.credentials_cap) = (NEVER, NEVER, NEVER);
}

/// Waits until all rows have had a pass, and those of the wait several more; no other row has one more by then.
pub async fn only_those_of(wait: &str, world: &World, kind: &str, rows: &[Row]) -> anyhow::Result<()> {
    let (retried, others): (Vec<Row>, Vec<Row>) = rows.iter().copied().partition(|row| row.again == wait);
    ensure!(!retried.is_empty(), "no row is tried again by {wait}");
    let counts =
        |rows: &[Row]| -> anyhow::Result<Vec<u64>> { rows.iter().map(|row| passes(world, kind, row.reason)).collect() };
    let at_least = async |rows: &[Row], more: u64, than: &[u64]| {
        wait_for(&format!("{more} more passes by {wait}"), PATIENCE, async || {
            for (row, than) in rows.iter().zip(than) {
                let count = passes(world, kind, row.reason)?;
                ensure!(count >= than + more, "{}: {count} of {than} + {more}", row.reason);
            }
            Ok(())
        })
        .await
    };
    at_least(rows, 1, &vec![0; rows.len()]).await?;
    at_least(&retried, 2, &counts(&retried)?).await?;
    let before = counts(&others)?;
    at_least(&retried, 4, &counts(&retried)?).await?;
    for ((row, before), after) in others.iter().zip(before).zip(counts(&others)?) {
        ensure!(
            before == after,
            "{wait}: {} was passed over {before}, then {after} times",
            row.reason
        );
    }
    Ok(())
}
