//! Edits that come at odd times, and changes that Graph does not take at once.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{Answer, IgnoreWrites, Request, Script};
use harness::{OPERATOR, PATIENCE, World, wait_for};
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::binary::Running;
use crate::history::{at, of};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";

async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Other Partner")?;
    world.connect().await?;
    Ok(world)
}

fn spec(value: bool) -> Value {
    json!({"partnerRef": {"id": P1}, "iosOnboarded": value})
}

fn slow(method: &str) -> Script {
    Script::graph()
        .method(method)
        .path(P1)
        .delay(Duration::from_secs(1))
        .times(1)
        .then_continue()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_comes_while_an_older_one_is_sent_wins() -> anyhow::Result<()> {
    let mut world = world("wins").await?;
    world.start().await?;
    for method in ["GET", "PATCH"] {
        world.partner("jamf", spec(false)).await?;
        world.in_sync("jamf").await?;
        world.graph().clear_log();
        world.graph().script(slow(method));
        world.partner("jamf", spec(true)).await?;
        let under_way = move |request: &Request| request.method == method;
        world.graph().wait_for_requests(under_way, 1, PATIENCE).await?;
        let mut newer = spec(false);
        newer["macOsOnboarded"] = json!(method == "GET");
        world.partner("jamf", newer).await?;
        world.in_sync("jamf").await?;
        let row = world.graph().row(&world.tenant, P1).unwrap();
        assert_eq!(
            (&row["iosOnboarded"], &row["macOsOnboarded"]),
            (&json!(false), &json!(method == "GET"))
        );
        let sent = world.graph().requests_where(Request::is_patch);
        let sent: Vec<Vec<&str>> = sent.iter().map(Request::properties).collect();
        let expected: &[&[&str]] = match method {
            "GET" => &[&["macOsOnboarded"]],
            _ => &[&["iosOnboarded"], &["iosOnboarded", "macOsOnboarded"]],
        };
        assert_eq!(sent, expected, "{method}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_spec_no_longer_names_is_let_go() -> anyhow::Result<()> {
    let mut world = world("let-go").await?;
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields(["iosOnboarded"]))?;
    let mut both = spec(true);
    both["macOsOnboarded"] = json!(true);
    both["displayName"] = json!("Ours");
    world.partner("jamf", both).await?;
    world.start_polling().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "UpdateIneffective").await?;
    assert_eq!(at(&partner, "/status/drift/0/field"), "iosOnboarded");
    world.graph().clear_log();
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status").get("drift"), None);
    // Whatever becomes of it in the portal is none of ours, and what was set is not set back.
    let changes = json!({"iosOnboarded": true, "macOsOnboarded": false, "displayName": "Theirs"});
    world.graph().change_row(&world.tenant, P1, changes)?;
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    let partner = world.asked("jamf", "now").await?;
    assert_eq!(at(&partner, "/status/displayName"), "Theirs");
    assert_eq!(world.patches(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_made_anew_knows_nothing_of_the_one_before() -> anyhow::Result<()> {
    let mut world = world("anew").await?;
    world.partner("jamf", spec(true)).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.asked("jamf", "now").await?;
    world.graph().clear_log();
    // The old one's pass is still under way when the new one is there.
    world.graph().script(slow("GET"));
    world.ask("cmp/jamf", "and again").await?;
    world.graph().wait_for_requests(Request::is_get, 1, PATIENCE).await?;
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P2}, "androidOnboarded": true}))
        .await?;
    let partner = world.in_sync("jamf").await?;
    let status = at(&partner, "/status");
    assert_eq!(
        (&status["partnerId"], &status["displayName"]),
        (&json!(P2), &json!("Other Partner"))
    );
    assert_eq!(status.get("lastHandledReconcileAt"), None);
    assert_eq!(status["observedGeneration"], 1);
    let done = |request: &Request| request.path.ends_with(P1) && request.status.is_some();
    world.graph().wait_for_requests(done, 1, PATIENCE).await?;
    world.asked("jamf", "the new one").await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status/partnerId"), P2);
    let old = world
        .graph()
        .count(|request| request.path.ends_with(P1) && request.is_patch());
    assert_eq!(old, 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again_and_what_does_not_is_told() -> anyhow::Result<()> {
    let mut world = world("answers").await?;
    world.partner("jamf", spec(false)).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let answer = |status: u16| {
        let error = json!({"error": {"code": "Whatever", "message": "Not this one."}});
        Script::graph()
            .method("PATCH")
            .times(1)
            .answer(Answer::json(status, error))
    };
    let passing = [408, 409, 412, 423, 500, 502, 503, 504, 507, 509];
    for (round, status) in passing.into_iter().enumerate() {
        world.graph().clear_log();
        world.graph().script(answer(status));
        world.partner("jamf", spec(round % 2 == 0)).await?;
        world.in_sync("jamf").await?;
        // The row is read before the change is sent again.
        let requests = world.graph().requests_where(Request::is_graph);
        let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["GET", "PATCH", "GET", "PATCH", "GET"], "{status}");
    }
    for reason in ["RejectedByGraph", "PermissionDenied", "UpdateIneffective"] {
        assert!(world.events("jamf", reason).await?.is_empty(), "{reason}");
    }
    for (round, status) in [400, 405, 410, 413, 422, 428, 451].into_iter().enumerate() {
        world.graph().script(answer(status));
        world.partner("jamf", spec(round % 2 == 0)).await?;
        let partner = world.partner_is("jamf", "Stalled", "True", "RejectedByGraph").await?;
        assert!(
            of(&partner, "Ready").unwrap().message.contains("Not this one"),
            "{status}"
        );
        world.asked("jamf", &status.to_string()).await?;
        world.in_sync("jamf").await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_breaks_once_is_made_again_and_nobody_sees_it() -> anyhow::Result<()> {
    let mut world = world("breaks-once").await?;
    world.partner("jamf", spec(true)).await?;
    let mut config = world.config();
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = config.timing.backoff;
    world.start_with(config).await?;
    let before = world.in_sync("jamf").await?;
    world
        .graph()
        .script(Script::graph().method("GET").path(P1).reset().times(1));
    world.graph().clear_log();
    let after = world.asked("jamf", "now").await?;
    assert_eq!(at(&before, "/status/conditions"), at(&after, "/status/conditions"));
    let reads = world.graph().requests_where(Request::is_get);
    assert_eq!(reads.len(), 2, "{reads:#?}");
    assert_eq!((reads[0].status, reads[1].status), (None, Some(200)));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_while_it_is_looked_at_is_no_trouble() -> anyhow::Result<()> {
    let world = world("goes").await?;
    let kubeconfig = world
        .plane
        .service_account_kubeconfig(&world.namespace, OPERATOR)
        .await?;
    let flags = ["--watch-namespaces", &world.namespace];
    let operator = Running::start(&world.simulator, Some(&kubeconfig), &flags)?;
    for policy in ["Enforce", "Observe"] {
        world.graph().clear_log();
        world.graph().script(slow("GET"));
        let mut spec = spec(true);
        spec["managementPolicy"] = json!(policy);
        world.partner("jamf", spec).await?;
        world.graph().wait_for_requests(Request::is_get, 1, PATIENCE).await?;
        world.partners().delete("jamf", &DeleteParams::default()).await?;
        let read = |request: &Request| request.is_get() && request.status.is_some();
        world.graph().wait_for_requests(read, 1, PATIENCE).await?;
    }
    // One that stays, for all of the above to have ended before it has.
    world
        .partner("other", json!({"partnerRef": {"id": P2}, "iosOnboarded": true}))
        .await?;
    world.in_sync("other").await?;
    let metrics = operator.answers("/metrics", 200, PATIENCE).await?;
    assert!(metrics.contains("compliance_partner_watch_errors_total 0"), "{metrics}");
    operator.stop().await?;
    let log = operator.process.log()?;
    let loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let loud: Vec<&str> = log.lines().filter(loud).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert_eq!(world.patches(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_forty_that_fail_together_is_told_of() -> anyhow::Result<()> {
    let mut world = World::new("forty").await?;
    world.connect().await?;
    for number in 0..40 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000005{number:02}");
        world.row(&id, &format!("Partner {number}"))?;
        let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": false});
        world.partner(&format!("p{number}"), spec).await?;
    }
    world.start().await?;
    for number in 0..40 {
        world.in_sync(&format!("p{number}")).await?;
    }
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    for number in 0..40 {
        let name = format!("p{number}");
        world.partner_is(&name, "Ready", "False", "ConnectionNotFound").await?;
    }
    for number in 0..40 {
        world.event(&format!("p{number}"), "ConnectionNotFound").await?;
    }
    ensure!(world.metrics()?.contains("compliance_partner_events_dropped_total 0"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_not_called_stale_by_somebody_who_has_not_looked() -> anyhow::Result<()> {
    let mut world = world("not-looked").await?;
    let mut config = world.config();
    config.heartbeat.stale_after = Duration::from_secs(5);
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let beat = Timestamp::now();
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"lastHeartbeatDateTime": beat.to_string()}))?;
    world.partner("jamf", spec(false)).await?;
    world.in_sync("jamf").await?;
    world.partner_is("jamf", "HeartbeatFresh", "True", "Fresh").await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    let stale_at = beat.as_second() + 7;
    wait_for("the time at which it would be stale", PATIENCE, async || {
        (Timestamp::now().as_second() >= stale_at).then_some(())
    })
    .await?;
    let partner = world.asked("jamf", "in vain").await?;
    assert_eq!(of(&partner, "HeartbeatFresh").unwrap().reason, "Fresh");
    assert_eq!(of(&partner, "PartnerEnabled").unwrap().reason, "Enabled");
    assert!(
        world
            .graph()
            .count(|request| request.is_get() && request.status == Some(503))
            >= 1
    );
    world.graph().remove_script(outage);
    world.asked("jamf", "now").await?;
    world.partner_is("jamf", "HeartbeatFresh", "False", "Stale").await?;
    world.stop().await
}
