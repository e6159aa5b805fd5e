//! What the admin port counts, and what is told as events.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use graph_simulator::{Answer, Request, Script};
use harness::{CLIENT_SECRET, OPERATOR, PATIENCE, World, wait_for};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::binary::Running;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";

async fn running(world: &World, flags: &[&str]) -> anyhow::Result<Running> {
    let kubeconfig = world
        .plane
        .service_account_kubeconfig(&world.namespace, OPERATOR)
        .await?;
    let scope = ["--watch-namespaces", &world.namespace];
    Running::start(&world.simulator, Some(&kubeconfig), &[&scope, flags].concat())
}

/// A series: its name without the common prefix, its labels, its value.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What `/metrics` serves now.
async fn scraped(operator: &Running) -> anyhow::Result<Vec<Series>> {
    let text = operator.answers("/metrics", 200, PATIENCE).await?;
    ensure!(text.ends_with("# EOF\n"), "no OpenMetrics: {text}");
    text.lines().filter(|line| !line.starts_with('#')).map(series).collect()
}

fn series(line: &str) -> anyhow::Result<Series> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}');
    // No label of ours holds a comma or a quotation mark; one that did would not parse here.
    let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once('=').with_context(|| line.to_owned())?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        anyhow::Ok((name.to_owned(), value.with_context(|| line.to_owned())?.to_owned()))
    });
    let name = name
        .strip_prefix("compliance_partner_")
        .with_context(|| line.to_owned())?;
    Ok(Series {
        name: name.to_owned(),
        labels: labels.collect::<anyhow::Result<_>>()?,
        value: value.parse()?,
    })
}

/// The sum of the series of this name that have these labels; `None` where there is none.
fn sum(all: &[Series], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |series: &&Series| {
        series.name == name
            && labels
                .iter()
                .all(|(label, value)| series.labels.get(*label).map(String::as_str) == Some(value))
    };
    let found: Vec<f64> = all.iter().filter(has).map(|series| series.value).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// Waits until a resource's series have these values; `None` stands for no series.
async fn of_resource(
    operator: &Running,
    world: &World,
    name: &str,
    expected: &[(&str, Option<f64>)],
) -> anyhow::Result<()> {
    wait_for(&format!("the series of {name}"), PATIENCE, async || {
        let all = scraped(operator).await?;
        let own = [("namespace", world.namespace.as_str()), ("name", name)];
        for (series, value) in expected {
            let found = sum(&all, series, &own);
            ensure!(found == *value, "{series}: {found:?} in the place of {value:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resources_series_follow_its_status_and_vanish_with_it() -> anyhow::Result<()> {
    let world = World::new("series").await?;
    world.row(P1, "Example \"Partner\",evil=1\n")?;
    world.row(P2, "Other Partner")?;
    world.connect().await?;
    let time = "2026-11-25T10:00:00Z";
    let heartbeat: k8s_openapi::jiff::Timestamp = time.parse()?;
    #[allow(clippy::cast_precision_loss)]
    let heartbeat = heartbeat.as_second() as f64;
    let change = |changes: Value| world.graph().change_row(&world.tenant, P1, changes);
    change(json!({"lastHeartbeatDateTime": time, "macOsOnboarded": true}))?;
    let mut spec = json!({
        "partnerRef": {"id": P1}, "managementPolicy": "Observe", "iosOnboarded": true, "macOsOnboarded": false,
    });
    world.partner("jamf", spec.clone()).await?;
    let never = json!({"lastHeartbeatDateTime": "0001-01-01T00:00:00Z"});
    world.graph().change_row(&world.tenant, P2, never)?;
    world.partner("never", json!({"partnerRef": {"id": P2}})).await?;
    let operator = running(&world, &["--sync-interval", "1s"]).await?;

    world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    let expected = [
        ("ready", Some(1.0)),
        ("synced", Some(0.0)),
        ("enabled", Some(1.0)),
        ("suspended", Some(0.0)),
        ("heartbeat_timestamp_seconds", Some(heartbeat)),
        ("drifted_fields", Some(2.0)),
    ];
    of_resource(&operator, &world, "jamf", &expected).await?;
    let expected = [("ready", Some(1.0)), ("heartbeat_timestamp_seconds", None)];
    of_resource(&operator, &world, "never", &expected).await?;
    of_resource(
        &operator,
        &world,
        "contoso",
        &[("connection_ready", Some(1.0)), ("ready", None)],
    )
    .await?;
    let own = [("namespace", world.namespace.as_str()), ("name", "jamf")];
    let success = sum(&scraped(&operator).await?, "last_success_timestamp_seconds", &own).context("no success")?;
    let now = k8s_openapi::jiff::Timestamp::now().as_duration().as_secs_f64();
    assert!((now - 60.0..=now).contains(&success), "{success} at {now}");

    change(json!({"partnerState": "terminated"}))?;
    spec["managementPolicy"] = json!("Enforce");
    world.partner("jamf", spec.clone()).await?;
    world
        .partner_is("jamf", "PartnerEnabled", "False", "Terminated")
        .await?;
    let expected = [
        ("synced", Some(1.0)),
        ("enabled", Some(0.0)),
        ("drifted_fields", Some(0.0)),
    ];
    of_resource(&operator, &world, "jamf", &expected).await?;
    let later = wait_for("a later success", PATIENCE, async || {
        let later = sum(&scraped(&operator).await?, "last_success_timestamp_seconds", &own).context("no success")?;
        ensure!(later > success, "{later}");
        Ok(later)
    })
    .await?;
    spec["suspend"] = json!(true);
    world.partner("jamf", spec).await?;
    let expected = [("suspended", Some(1.0)), ("ready", Some(1.0)), ("synced", Some(0.0))];
    of_resource(&operator, &world, "jamf", &expected).await?;

    // A Graph that is down: Ready stays, and nothing succeeds any more.
    world.secret("graph", json!({"client-secret": "wrong"})).await?;
    world.ask("gconn/contoso", "now").await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    world
        .partner_is("never", "Ready", "False", "ConnectionNotReady")
        .await?;
    of_resource(&operator, &world, "contoso", &[("connection_ready", Some(0.0))]).await?;
    of_resource(
        &operator,
        &world,
        "never",
        &[("ready", Some(0.0)), ("synced", Some(0.0))],
    )
    .await?;
    let last = sum(&scraped(&operator).await?, "last_success_timestamp_seconds", &own);
    assert!(last.is_some_and(|last| last >= later));

    closed_sets(&scraped(&operator).await?, &world.namespace)?;
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    wait_for("series that vanish", PATIENCE, async || {
        let all = scraped(&operator).await?;
        let names: BTreeSet<&str> = all
            .iter()
            .filter_map(|series| Some(series.labels.get("name")?.as_str()))
            .collect();
        ensure!(names == BTreeSet::from(["never"]), "{names:?}");
        Ok(())
    })
    .await?;
    operator.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_say_when_a_heartbeat_is_written_and_when_it_is_stale() -> anyhow::Result<()> {
    let world = World::new("flags").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let change = |time: &str| {
        let change = json!({"lastHeartbeatDateTime": time});
        world.graph().change_row(&world.tenant, P1, change)
    };
    change("2026-11-25T10:00:00Z")?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    let flags = ["--heartbeat-resolution", "5s", "--heartbeat-stale-after", "876000h"];
    let operator = running(&world, &[&["--sync-interval", "1s"], &flags[..]].concat()).await?;
    world.in_sync("jamf").await?;
    let series = "heartbeat_timestamp_seconds";
    // Six seconds later it is written by itself; and 57 years ago is not stale yet.
    for (time, seconds) in [
        ("2026-11-25T10:00:06Z", 1_795_600_806.0),
        ("1970-01-02T00:00:00Z", 86_400.0),
    ] {
        change(time)?;
        of_resource(&operator, &world, "jamf", &[(series, Some(seconds))]).await?;
    }
    world.partner_is("jamf", "HeartbeatFresh", "True", "Fresh").await?;
    operator.stop().await?;
    let operator = running(&world, &["--sync-interval", "1s", "--heartbeat-stale-after", "1h30m"]).await?;
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    for (minutes, status) in [(89, "True"), (91, "False")] {
        let time = k8s_openapi::jiff::Timestamp::from_second(now - minutes * 60)?;
        change(&time.to_string())?;
        world.partner_is("jamf", "HeartbeatFresh", status, "").await?;
    }
    operator.stop().await
}

/// No label holds what somebody else wrote, but for the names of resources.
fn closed_sets(all: &[Series], namespace: &str) -> anyhow::Result<()> {
    for Series { name, labels, .. } in all {
        for (label, value) in labels {
            let allowed = match label.as_str() {
                "namespace" => value == namespace,
                "name" => ["jamf", "never", "contoso"].contains(&value.as_str()),
                "kind" => ["ComplianceManagementPartner", "GraphConnection"].contains(&value.as_str()),
                "outcome" => value.chars().all(|letter| letter.is_ascii_alphabetic()),
                "method" => ["GET", "PATCH"].contains(&value.as_str()),
                "status" => ["2xx", "3xx", "4xx", "5xx", "error"].contains(&value.as_str()),
                "le" => name.ends_with("_bucket"),
                _ => false,
            };
            ensure!(allowed, "{name}: {label}={value}");
        }
        let names: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        let own = match name
            .split_once("_duration_seconds")
            .map_or(name.as_str(), |(name, _)| name)
        {
            "reconcile" | "reconciles_total" => BTreeSet::from(["kind", "outcome"]),
            "graph_request" | "graph_requests_total" => BTreeSet::from(["method", "status"]),
            "token_requests_total" => BTreeSet::from(["outcome"]),
            "crd_fields_missing" => BTreeSet::from(["kind"]),
            "throttled_seconds_total"
            | "graph_writes_total"
            | "status_writes_total"
            | "events_dropped_total"
            | "cleanups_abandoned_total"
            | "watch_errors_total" => BTreeSet::new(),
            _ => BTreeSet::from(["namespace", "name"]),
        };
        let names: BTreeSet<&str> = names.into_iter().filter(|name| *name != "le").collect();
        ensure!(names == own, "{name}: {names:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_microsoft_and_of_kubernetes_is_counted() -> anyhow::Result<()> {
    let world = World::new("counted").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.secret("graph", json!({"client-secret": "wrong"})).await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let error = |status: u16, code: &str| Answer::json(status, json!({"error": {"code": code, "message": "No."}}));
    let throttled = error(429, "TooManyRequests").header("Retry-After", "2");
    world.graph().script(Script::graph().answer(throttled).times(1));
    let refused = Script::graph().method("PATCH").answer(error(400, "BadRequest"));
    let refused = world.graph().script(refused);
    let operator = running(&world, &[]).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.ask("gconn/contoso", "now").await?;
    world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    world.graph().remove_script(refused);
    world.asked("jamf", "now").await?;
    world.in_sync("jamf").await?;
    world.event("jamf", "Updated").await?;

    let count = |predicate: fn(&Request) -> bool| {
        #[allow(clippy::cast_precision_loss)]
        let count = world.graph().count(predicate) as f64;
        Some(count)
    };
    let writes = || {
        let writes = world.operator_writes_since(0)?;
        let status = writes
            .iter()
            .filter(|write| write["objectRef"]["subresource"] == "status");
        #[allow(clippy::cast_precision_loss)]
        let count = status.count() as f64;
        anyhow::Ok(Some(count))
    };
    wait_for("counters that agree with what was asked", PATIENCE, async || {
        let all = scraped(&operator).await?;
        let get = |name: &str, labels: &[(&str, &str)]| sum(&all, name, labels);
        let requests = |method, status| get("graph_requests_total", &[("method", method), ("status", status)]);
        let expected = [
            (requests("PATCH", "2xx"), Some(1.0)),
            (requests("PATCH", "4xx"), Some(1.0)),
            (requests("GET", "4xx"), Some(1.0)),
            (get("graph_requests_total", &[]), count(Request::is_graph)),
            (
                get("graph_request_duration_seconds_count", &[]),
                count(Request::is_graph),
            ),
            (get("graph_writes_total", &[]), Some(1.0)),
            (get("token_requests_total", &[("outcome", "rejected")]), Some(1.0)),
            (get("token_requests_total", &[("outcome", "success")]), Some(1.0)),
            (get("throttled_seconds_total", &[]), Some(2.0)),
            (get("events_dropped_total", &[]), Some(0.0)),
            (get("watch_errors_total", &[]), Some(0.0)),
            (get("cleanups_abandoned_total", &[]), Some(0.0)),
            (get("status_writes_total", &[]), writes()?),
        ];
        for (number, (found, expected)) in expected.iter().enumerate() {
            ensure!(found == expected, "{number}: {found:?} in the place of {expected:?}");
        }
        for (kind, outcome) in [
            ("GraphConnection", "CredentialsRejected"),
            ("GraphConnection", "Throttled"),
            ("GraphConnection", "Connected"),
            ("ComplianceManagementPartner", "ConnectionNotReady"),
            ("ComplianceManagementPartner", "RejectedByGraph"),
            ("ComplianceManagementPartner", "InSync"),
        ] {
            let labels = [("kind", kind), ("outcome", outcome)];
            let passes = get("reconciles_total", &labels).with_context(|| format!("{kind} {outcome}"))?;
            ensure!(passes >= 1.0 && get("reconcile_duration_seconds_count", &labels) == Some(passes));
        }
        Ok(())
    })
    .await?;
    operator.stop().await?;
    audited(&operator.process.log()?, &world.namespace)
}

/// One line for each change that was sent: who, what, and how it ended.
fn audited(log: &str, namespace: &str) -> anyhow::Result<()> {
    let lines = log.lines().filter(|line| line.contains(" audit: "));
    let lines = lines.filter_map(|line| Some(line.split_once('{')?.1));
    let lines: Vec<Value> = lines
        .map(|rest| serde_json::from_str(&format!("{{{rest}")))
        .collect::<Result<_, _>>()?;
    let told: Vec<[Value; 5]> = lines
        .iter()
        .map(|line| {
            let paths = [
                "/resource",
                "/generation",
                "/partnerId",
                "/outcome",
                "/fields/iosOnboarded",
            ];
            paths.map(|path| line.pointer(path).cloned().unwrap_or_default())
        })
        .collect();
    let change = json!({"field": "iosOnboarded", "desired": "true", "observed": "false"});
    let line = |outcome: &str| {
        [
            json!(format!("{namespace}/jamf")),
            json!(1),
            json!(P1),
            json!(outcome),
            change.clone(),
        ]
    };
    ensure!(told == [line("refused"), line("taken")], "{lines:#?}");
    ensure!(lines.iter().all(|line| line.get("uid").is_some_and(Value::is_string)));
    ensure!(
        lines
            .last()
            .is_some_and(|line| line.get("requestId").is_some_and(Value::is_string))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_refused_stops_nothing_and_is_counted() -> anyhow::Result<()> {
    let world = World::new("no-events").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    // The operator's rights in this namespace, less those on events.
    let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
    bindings.delete(OPERATOR, &DeleteParams::default()).await?;
    let here = Some(world.namespace.as_str());
    let allow = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": ["intune.msgraph.dev"], "resources": resources, "verbs": verbs});
    let kinds = ["compliancemanagementpartners", "graphconnections"];
    let statuses = ["compliancemanagementpartners/status", "graphconnections/status"];
    let rules = [allow(&kinds, &["list", "watch"]), allow(&statuses, &["patch"])];
    world
        .create::<Role>(here, json!({"metadata": {"name": "silent"}, "rules": rules}))
        .await?;
    let subject = json!({"kind": "ServiceAccount", "name": OPERATOR, "namespace": world.namespace});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "silent"});
    let binding = json!({"metadata": {"name": "silent"}, "roleRef": role, "subjects": [subject]});
    world.create::<RoleBinding>(here, binding).await?;
    let operator = running(&world, &[]).await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.in_sync("jamf").await?;
    wait_for("the event that was dropped", PATIENCE, async || {
        let dropped = sum(&scraped(&operator).await?, "events_dropped_total", &[]);
        ensure!(dropped == Some(1.0), "{dropped:?}");
        Ok(())
    })
    .await?;
    assert!(world.events("jamf", "Updated").await?.is_empty());
    world.asked("jamf", "now").await?;
    world.in_sync("jamf").await?;
    operator.stop().await
}

/// Waits until there are just so many events of these objects and reasons.
async fn told(world: &World, expected: &[(&str, &str, usize)]) -> anyhow::Result<()> {
    wait_for("the events so far", PATIENCE, async || {
        for (object, reason, count) in expected {
            let events = world.events(object, reason).await?;
            ensure!(events.len() == *count, "{object}: {} {reason}", events.len());
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_changes_alone() -> anyhow::Result<()> {
    let mut world = World::new("events").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    told(&world, &[("jamf", "Updated", 1)]).await?;
    let (kind, note) = world.event("jamf", "Updated").await?;
    assert_eq!((kind.as_str(), note.contains("edited")), ("Normal", true), "{note}");

    // Drift is told with its cause and its field, once for each correction.
    let change = |changes: Value| world.graph().change_row(&world.tenant, P1, changes);
    change(json!({"iosOnboarded": false}))?;
    told(&world, &[("jamf", "Updated", 2)]).await?;
    let notes = world.events("jamf", "Updated").await?;
    let notes: Vec<String> = notes.into_iter().filter_map(|event| event.note).collect();
    let drifted = |note: &&String| note.contains("iosOnboarded") && note.contains("drifted");
    assert_eq!(notes.iter().filter(drifted).count(), 1, "{notes:?}");

    // The heartbeat turns stale, is fresh again, and turns stale once more: two episodes, however many polls each has.
    for time in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2020-01-02T00:00:00Z"] {
        change(json!({"lastHeartbeatDateTime": time}))?;
        let status = if time.starts_with("2999") { "True" } else { "False" };
        world.partner_is("jamf", "HeartbeatFresh", status, "").await?;
        let seen = world.graph().last_seq();
        let listed = move |request: &Request| request.is_list() && request.seq > seen;
        world.graph().wait_for_requests(listed, 3, PATIENCE).await?;
    }
    told(&world, &[("jamf", "HeartbeatStale", 2)]).await?;
    // A restart begins no new episode.
    world.stop().await?;
    world.start_polling().await?;
    let seen = world.graph().last_seq();
    let listed = move |request: &Request| request.is_list() && request.seq > seen;
    world.graph().wait_for_requests(listed, 3, PATIENCE).await?;

    // Ready turns False, for one reason after the other; each is told once, of the partner and of its connection.
    world.secret("graph", json!({"client-secret": "wrong"})).await?;
    world.ask("gconn/contoso", "wrong").await?;
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    world.asked("jamf", "still").await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.partner_is("jamf", "Ready", "False", "ConnectionNotFound").await?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection("contoso", json!({})).await?;
    world.in_sync("jamf").await?;
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    world
        .partners()
        .patch("jamf", &PatchParams::default(), &suspend)
        .await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    let told_of = |reason: &'static str| ("jamf", reason, 1);
    let warnings = [
        told_of("ConnectionNotReady"),
        told_of("ConnectionNotFound"),
        ("contoso", "CredentialsRejected", 1),
        ("jamf", "Updated", 2),
        ("jamf", "HeartbeatStale", 2),
    ];
    told(&world, &warnings).await?;
    for (object, reason, _) in &warnings[..3] {
        assert_eq!(world.event(object, reason).await?.0, "Warning", "{reason}");
    }
    for reason in ["InSync", "Suspended", "Connected", "Contested", "PartnerStateChanged"] {
        for object in ["jamf", "contoso"] {
            assert!(world.events(object, reason).await?.is_empty(), "{object}: {reason}");
        }
    }
    world.stop().await
}
