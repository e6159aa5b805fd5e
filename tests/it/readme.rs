//! What README.md says of the running operator, and the commands that it gives.
//!
//! - [`entra`]: how an app comes to trust the cluster.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

mod entra;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use harness::{PATIENCE, World, checkout, wait_for};
use serde_json::json;

/// The words in marks of code.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What stands under a heading, up to the next of its level or above.
fn section(heading: &str) -> anyhow::Result<String> {
    let readme = std::fs::read_to_string(checkout().join("README.md"))?;
    let (_, section) = readme
        .split_once(&format!("\n{heading}\n"))
        .with_context(|| format!("no section {heading}"))?;
    let level = heading.split(' ').next().unwrap_or_default().len();
    let next = (1..=level).filter_map(|level| section.find(&format!("\n{} ", "#".repeat(level))));
    let end = next.min().unwrap_or(section.len());
    Ok(section[..end].to_owned())
}

/// The labels of each metric, by the table of the section "Metrics".
fn told() -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let section = section("## Metrics")?;
    let mut told = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').collect();
        // What stands in brackets are values.
        let labels = cells[2].split('(').next().unwrap_or_default();
        let more = cells[2]
            .split("), ")
            .skip(1)
            .map(|rest| rest.split('(').next().unwrap_or_default());
        let labels: BTreeSet<String> = std::iter::once(labels)
            .chain(more)
            .flat_map(code)
            .map(str::to_owned)
            .collect();
        for name in code(cells[1]) {
            told.insert(name.to_owned(), labels.clone());
        }
    }
    Ok(told)
}

/// The labels of each metric that is served; of a histogram without those of its buckets.
fn served(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut served: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let histogram = ["_bucket", "_sum", "_count"];
        let name = histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
        served.entry(name.to_owned()).or_default().extend(labels);
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_of_the_readme_are_those_that_are_served() -> anyhow::Result<()> {
    let told = told()?;
    ensure!(told.len() > 15, "{told:?}");
    let mut world = World::new("readme").await?;
    let id = "aaaaaaaa-1111-4111-8111-000000000001";
    world.row(id, "Example Partner")?;
    world.connect().await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": id}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    wait_for("the metrics of README.md, and no other", PATIENCE, async || {
        let served = served(&world.metrics()?);
        ensure!(served == told, "README.md has {told:#?}, served are {served:#?}");
        Ok(())
    })
    .await?;
    world.stop().await
}
