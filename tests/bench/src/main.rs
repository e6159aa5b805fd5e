//! Measures the operator's release build as a process of its own, on a real API server and the simulator of Graph, and
//! prints one table: the figures beside their goals.
//!
//! Each measure has a control plane and a simulator of its own, so none sees what another one has left.
//!
//! | variable | meaning |
//! |---|---|
//! | `BENCH_ONLY` | the measures to take, separated by commas: `start`, `memory`, `cold`, `edits-resync`, `edits-first`, `idle`, and `throttle`, which is taken where it is named alone; a part of a name will do |
//! | `BENCH_RESOURCES` | how many resources stand for the thousand; the table says so |
//! | `BENCH_OPERATOR` | another binary of the operator than the one beside this program |
//!
//! It ends with 0 also where goals are missed, which the table says; with 1 where something could not be measured.

mod audit;
mod bed;
mod figures;
mod fleet;
mod machine;
mod measure;
mod operator;
mod settings;
mod table;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use machine::Machine;
use measure::Measure;
use settings::Settings;
use table::{Row, Table};

/// No machine that the figures would be of any use on takes longer.
const LIMIT: Duration = Duration::from_secs(45 * 60);

fn main() -> ExitCode {
    match measured() {
        Ok((table, whole)) => {
            print!("{table}");
            if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The table, and whether all of it could be measured.
fn measured() -> Result<(Table, bool)> {
    let settings = Settings::from_environment()?;
    // As many workers as the operator has: one of the measures sets a client of this process beside it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let all = async { tokio::time::timeout(LIMIT, take(&settings)).await };
    runtime
        .block_on(all)
        .with_context(|| format!("given up after {LIMIT:?}"))?
}

async fn take(settings: &Settings) -> Result<(Table, bool)> {
    let began = Instant::now();
    let machine = Machine::look(&settings.operator)?;
    if machine.load > 0.5 {
        say(&format!(
            "the load of this machine is {} already: the figures will be worse than they could be",
            machine.load
        ));
    }
    let mut rows = Vec::new();
    let mut whole = true;
    for measure in Measure::ALL {
        if !settings.wants(measure) {
            continue;
        }
        say(&format!(
            "{}, {} s after the start",
            measure.name(),
            began.elapsed().as_secs()
        ));
        match measure.take(settings).await {
            Ok(taken) => rows.extend(taken),
            Err(error) => {
                whole = false;
                say(&format!("{} could not be measured: {error:#}", measure.name()));
                rows.push(Row::plain(measure.name(), "could not be measured"));
            }
        }
    }
    say(&format!("done in {} s", began.elapsed().as_secs()));
    let table = Table {
        machine,
        resources: settings.resources,
        rows,
    };
    Ok((table, whole))
}

/// A line on how far it is, apart from the table.
fn say(line: &str) {
    eprintln!("bench: {line}");
}
