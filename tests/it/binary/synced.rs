//! What the running program does and tells.

use anyhow::Context as _;
use graph_simulator::{Answer, Options, Request, Script};
use harness::{P1, PATIENCE, World, crds_folder, run_to_end, run_to_success, wait_for};
use kube::api::DeleteParams;
use serde_json::Value;
use tokio::process::Command;

use super::{Running, program};

const METRICS: [&str; 19] = [
    "ready",
    "synced",
    "enabled",
    "suspended",
    "heartbeat_timestamp_seconds",
    "last_success_timestamp_seconds",
    "drifted_fields",
    "connection_ready",
    "reconciles_total",
    "reconcile_duration_seconds_count",
    "graph_requests_total",
    "graph_request_duration_seconds_count",
    "token_requests_total",
    "throttled_seconds_total",
    "graph_writes_total",
    "status_writes_total",
    "events_dropped_total",
    "cleanups_abandoned_total",
    "watch_errors_total",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_syncs_and_tells_how_it_is() -> anyhow::Result<()> {
    let world = World::with_partner("binary", Options::default()).await?;
    let operator = Running::of(&world, &["--log-format", "json"]).await?;
    operator.answers("/livez", 200, PATIENCE).await?;
    operator.answers("/readyz", 200, PATIENCE).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);

    let own = format!("namespace=\"{}\",name=\"jamf\"", world.namespace);
    let series = |name: &str| format!("compliance_partner_{name}");
    let ready = format!("{}{{{own}}} 1", series("ready"));
    wait_for("the metrics of a partner that is ready", PATIENCE, async || {
        let (_, metrics) = operator.get("/metrics").await?;
        let missing = METRICS.iter().find(|name| {
            let name = series(name);
            !metrics
                .lines()
                .any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
        });
        anyhow::ensure!(
            missing.is_none() && metrics.contains(&ready),
            "without {missing:?}:\n{metrics}"
        );
        anyhow::ensure!(metrics.ends_with("# EOF\n"), "no OpenMetrics");
        Ok(())
    })
    .await?;
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    wait_for("series that vanish", PATIENCE, async || {
        let (_, metrics) = operator.get("/metrics").await?;
        anyhow::ensure!(!metrics.contains(&own), "{metrics}");
        anyhow::ensure!(metrics.contains("name=\"contoso\""), "the connection's are still there");
        Ok(())
    })
    .await?;
    operator.stop().await?;
    let log = operator.process.log()?;
    for line in log.lines() {
        serde_json::from_str::<Value>(line).with_context(|| format!("no JSON: {line}"))?;
    }
    assert!(log.contains("InSync"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_flight_ends_and_is_written_before_the_program_does() -> anyhow::Result<()> {
    let world = World::with_partner("sigterm", Options::default()).await?;
    let slow = Script::graph()
        .method("PATCH")
        .delay(std::time::Duration::from_secs(1))
        .then_continue();
    world.graph().script(slow);
    let operator = Running::of(&world, &[]).await?;
    let sent = world.graph().wait_for_requests(Request::is_patch, 1, PATIENCE).await?;
    assert!(sent[0].status.is_none(), "it is on its way");
    operator.stop().await?;
    let partner = world.partners().get("jamf").await?;
    let status = partner.status.unwrap();
    assert!(status.last_update_time.is_some(), "{status:#?}");
    assert_eq!(status.conditions[0].reason, "InSync");
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_only_observes_changes_nothing() -> anyhow::Result<()> {
    let world = World::with_partner("observe-only", Options::default()).await?;
    let operator = Running::of(&world, &["--observe-only", "--sync-interval", "1s"]).await?;
    world.partner_is("jamf", "Ready", "True", "DriftDetected").await?;
    world.asked("jamf", "now").await?;
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    operator.stop().await?;
    assert_eq!(world.patches(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_that_is_down_fails_no_probe() -> anyhow::Result<()> {
    let world = World::with_partner("probes", Options::default()).await?;
    world.graph().script(Script::graph().answer(Answer::status(503)));
    let operator = Running::of(&world, &[]).await?;
    world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    operator.answers("/livez", 200, PATIENCE).await?;
    operator.answers("/readyz", 200, PATIENCE).await?;
    let (status, _) = operator.get("/nothing").await?;
    assert_eq!(status, 404);
    operator.stop().await
}

#[tokio::test]
async fn a_wrong_flag_is_named_and_ends_the_program_with_two() -> anyhow::Result<()> {
    for (flags, named) in [
        (&["run", "--sync-intervall", "1m"][..], "--sync-intervall"),
        (&["run", "--sync-interval", "25h"], "--sync-interval"),
        (&["run", "--heartbeat-stale-after", "3d"], "--heartbeat-stale-after"),
        (&["run", "--graph-endpoint", "http://graph.example"], "--graph-endpoint"),
        (&["run", "--admin-address", "8080"], "--admin-address"),
        (&["run", "--log-level", "loud"], "--log-level"),
    ] {
        let output = run_to_end(Command::new(program()?).args(flags), "", PATIENCE).await?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {told}");
        assert!(told.contains(named), "{flags:?}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn the_program_prints_the_crds_that_users_install() -> anyhow::Result<()> {
    let printed = run_to_success(Command::new(program()?).arg("crd"), "", PATIENCE).await?;
    let mut installed = Vec::new();
    for entry in std::fs::read_dir(crds_folder())? {
        let text = std::fs::read_to_string(entry?.path())?;
        let text = text.trim_start_matches("---\n").trim_end().to_owned();
        assert!(printed.contains(&text), "{text}");
        installed.push(text);
    }
    let documents = printed.split("---\n").filter(|document| !document.trim().is_empty());
    assert_eq!(documents.count(), installed.len());
    Ok(())
}
