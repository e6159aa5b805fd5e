//! Trouble that passes by itself, over all rows of the table at once: what was applied stays as it was for a while, a
//! verdict that is Stalled stays altogether, and everything else waits; and afterwards each row is back.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{Answer, Script};
use harness::{World, kstatus};
use serde_json::json;

use super::gallery::{Gallery, refusal};
use super::look::{CONNECTIONS, PARTNERS, judged, object, shows};
use super::{Row, row, settled};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The rows that do not depend on Graph: what makes them apply is known without asking it.
const NOT_GRAPHS: [&str; 4] = [
    "suspended",
    "connectionnotfound",
    "connectionnotready",
    "connectionstalled",
];

/// Asks for a pass with a fresh read, so that each of them runs into the trouble.
async fn asked(gallery: &Gallery, name: &str, value: &str) -> anyhow::Result<()> {
    gallery.world.asked(name, value).await.map(drop)
}

async fn outage(name: &str, reason: &'static str, answer: Answer) -> anyhow::Result<()> {
    let mut gallery = Gallery::stage(name, false).await?;
    gallery.world.start().await?;
    let rows = settled()?;
    for row in &rows {
        shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
    }
    let before: Vec<_> = before(&gallery, &rows).await?;
    let outage = gallery.world.graph().script(Script::graph().answer(answer));
    let waiting = row(reason, "False")?;
    for (row, before) in rows.iter().zip(&before) {
        asked(&gallery, row.shown_by, "during the outage").await?;
        let applied = row.ready == "True";
        let stays = applied || row.stalled == "True" || NOT_GRAPHS.contains(&row.shown_by);
        if stays {
            let after = object(&gallery.world, PARTNERS, row.shown_by).await?;
            assert_eq!(judged(&after), judged(before), "{} stays as it was", row.reason);
            assert_eq!(kstatus(&after).await?.status, row.kstatus, "{}", row.reason);
        } else {
            shows(&gallery.world, PARTNERS, row.shown_by, &waiting).await?;
        }
    }
    let cleaning = row("Cleaning", "")?;
    shows(&gallery.world, PARTNERS, cleaning.shown_by, &cleaning).await?;
    for name in ["insync", "driftdetected"] {
        ensure!(
            gallery.world.events(name, reason).await?.is_empty(),
            "nothing has turned False"
        );
    }

    turns_unknown(&mut gallery, reason).await?;

    // A generation that nobody has applied waits, whatever was known of the one before.
    for row in &rows {
        if NOT_GRAPHS.contains(&row.shown_by) {
            continue;
        }
        gallery.edit(row.shown_by, json!({"androidOnboarded": false})).await?;
        shows(&gallery.world, PARTNERS, row.shown_by, &waiting).await?;
    }
    gallery.world.graph().remove_script(outage);
    for row in &rows {
        if row.shown_by == "throttled" || row.shown_by == "graphunavailable" {
            continue;
        }
        shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
    }
    ensure!(
        gallery.world.graph().violations().is_empty(),
        "{:?}",
        gallery.world.graph().violations()
    );
    gallery.world.stop().await
}

async fn before(gallery: &Gallery, rows: &[Row]) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut objects = Vec::new();
    for row in rows {
        objects.push(object(&gallery.world, PARTNERS, row.shown_by).await?);
    }
    Ok(objects)
}

/// After its time what was applied is Unknown, and stays so through a restart.
async fn turns_unknown(gallery: &mut Gallery, reason: &'static str) -> anyhow::Result<()> {
    let unknown = row(reason, "Unknown")?;
    let mut config = gallery.world.config();
    config.timing.unknown_after = Duration::from_millis(1);
    gallery.world.start_with(config).await?;
    for name in ["insync", "driftdetected"] {
        shows(&gallery.world, PARTNERS, name, &unknown).await?;
    }
    gallery.world.start().await?;
    for name in ["insync", "driftdetected"] {
        asked(gallery, name, "after a restart").await?;
        shows(&gallery.world, PARTNERS, name, &unknown).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_graph_is_away_each_row_is_what_the_contract_makes_of_it() -> anyhow::Result<()> {
    outage(
        "away",
        "GraphUnavailable",
        refusal(503, "ServiceUnavailable", "Come back later."),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_microsoft_asks_for_a_pause_each_row_is_what_the_contract_makes_of_it() -> anyhow::Result<()> {
    outage(
        "pause",
        "Throttled",
        refusal(429, "TooManyRequests", "Too many requests."),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_an_hour_does_not_put_off_the_moment_of_turning_unknown() -> anyhow::Result<()> {
    let mut world = World::new("hour").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    config.timing.unknown_after = Duration::from_secs(2);
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let pause = refusal(429, "TooManyRequests", "Too many requests.").header("Retry-After", "3600");
    let script = world.graph().script(Script::graph().answer(pause));
    let unknown = row("Throttled", "Unknown")?;
    shows(&world, PARTNERS, "jamf", &unknown).await?;
    shows(
        &world,
        CONNECTIONS,
        "contoso",
        &Row {
            synced: "–", ..unknown
        },
    )
    .await?;
    assert_eq!(
        world.graph().script_hits(script),
        1,
        "a look at the clock is no request"
    );
    world.stop().await
}
